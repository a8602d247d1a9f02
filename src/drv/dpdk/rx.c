/* SPDX-License-Identifier: MIT */
/*
 * Receiving. A frame in one mbuf of ours goes on in the buffer that is its data. Others are copied:
 * those in several pieces, those whose memory the driver owns, those of another pool (a ring that
 * leads from port to port), and all while half of the pool is held by who received.
 */
#include "drv/dpdk/burst.h"
#include "drv/dpdk/port.h"
#include "mem/buf_now.h"

#define LOOKS       64u   /* at frames that are out, in one poll */
#define COUNT_EVERY 8192u /* polls */

static struct dk_buf *buf_of(struct rte_mbuf *m)
{
    return ((struct dk_dpdk_rx_priv *)rte_mbuf_to_priv(m))->buf;
}

/* Gives the pool the mbufs that are to return. */
static void return_all(struct dk_dpdk_port *p)
{
    rte_mempool_put_bulk(p->rx_pool, (void **)p->back, p->num_back);
    p->num_back = 0;
}

void dk_dpdk_rx_close(struct dk_dpdk_port *p)
{
    if (p->num_back > 0)
        return_all(p);
}

/* Of who gives each frame back before the next ones come, the last that were given out are back:
 * they return as they stand there. False: not all of them are. */
static inline bool take_last(struct dk_dpdk_port *p)
{
    struct rte_mbuf **first = p->out + p->num_out - DK_DPDK_BACK;
    for (uint32_t i = 0; i < DK_DPDK_BACK; i++)
        if (!dk_buf_is_back(buf_of(first[i])))
            return false;
    p->num_out -= DK_DPDK_BACK;
    rte_mempool_put_bulk(p->rx_pool, (void **)first, DK_DPDK_BACK);
    return true;
}

/* Takes mbufs back whose buffers are. It is asked for when there are DK_DPDK_BACK or more to look
 * at: with one at a time, looking would be most of it. */
__attribute__((noinline)) static void take_back(struct dk_dpdk_port *p)
{
    if (dk_likely(take_last(p)))
        return;
    uint32_t num = p->num_out, at = p->next_out;
    for (uint32_t looks = num < LOOKS ? num : LOOKS; looks > 0; looks--) {
        at = at < num ? at : 0;
        struct rte_mbuf *m = p->out[at];
        if (!dk_buf_is_back(buf_of(m))) {
            at++;
            continue;
        }
        p->out[at] = p->out[--num];
        p->back[p->num_back++] = m;
        if (p->num_back == DK_DPDK_BACK)
            return_all(p);
    }
    p->num_out = num;
    p->next_out = at;
}

/* Neither references nor further pieces: the two numbers lie side by side. */
static inline bool is_single(const struct rte_mbuf *m)
{
    uint32_t both;
    memcpy(&both, &m->refcnt, sizeof both);
    return both == 0x10001;
}

static inline bool is_ours(const struct dk_dpdk_port *p, const struct rte_mbuf *m)
{
    return m->pool == p->own_pool && is_single(m);
}

/* Hands a frame that was described on in its buffer, which is back, as that of each mbuf that was
 * in the pool is. */
static inline void give_out(struct dk_dpdk_port *p, struct rte_mbuf *m, struct dk_rx_frame *out)
{
    struct dk_buf *buf = buf_of(m);
    uint8_t *data = rte_pktmbuf_mtod(m, uint8_t *);
    dk_buf_put_out(buf, data, out->len);
    p->out[p->num_out++] = m;
    out->buf = buf;
    out->data = data;
}

/* Copies a frame to memory of its own size: its bytes may be in the way of the ones that come. */
static bool copy_held(struct rte_mbuf *m, struct dk_rx_frame *out)
{
    out->buf = dk_rxpool_copy(rte_pktmbuf_mtod(m, uint8_t *) - DK_FRAME_PAD,
                              m->data_len + DK_FRAME_PAD, DK_BUF_PEER_BYTES);
    if (!out->buf)
        return false;
    out->data = out->buf->data + DK_FRAME_PAD;
    return true;
}

static bool copy(struct dk_dpdk_port *p, const struct rte_mbuf *m, struct dk_rx_frame *out)
{
    uint8_t *room = dk_frame_room(&p->slab, m->pkt_len);
    if (!room)
        return false;
    uint8_t *to = room;
    for (const struct rte_mbuf *part = m; part; part = part->next) {
        memcpy(to, rte_pktmbuf_mtod(part, const uint8_t *), part->data_len);
        to += part->data_len;
    }
    dk_frame_take(&p->slab, m->pkt_len, out);
    dk_count(&p->dev.stats->rx_copied, 1);
    return true;
}

/* Copies a frame out of an mbuf, which is with DPDK again afterwards. */
__attribute__((noinline)) static bool take_copy(struct dk_dpdk_port *p, struct rte_mbuf *m,
                                                struct dk_rx_frame *out)
{
    const bool taken = is_ours(p, m) ? copy_held(m, out) : copy(p, m, out);
    if (!taken)
        dk_frame_drop_rx(&p->dev, rx_no_memory, 1);
    rte_pktmbuf_free(m);
    return taken;
}

__attribute__((noinline)) static void drop_misfit(struct dk_dpdk_port *p, struct rte_mbuf *m)
{
    if (m->pkt_len < DK_FRAME_HEADER)
        dk_frame_drop_rx(&p->dev, rx_too_short, 1);
    else
        dk_frame_drop_rx(&p->dev, rx_too_long, 1);
    rte_pktmbuf_free(m);
}

static inline bool fits(const struct dk_dpdk_port *p, uint32_t len)
{
    return len - DK_FRAME_HEADER <= p->frame_max - DK_FRAME_HEADER;
}

/* Says what a frame is but for its bytes. */
static inline void describe(const struct dk_dpdk_port *p, const struct rte_mbuf *m,
                            struct dk_rx_frame *out)
{
    out->len = m->pkt_len;
    out->checksum = (m->ol_flags & p->checksum_flags) == RTE_MBUF_F_RX_L4_CKSUM_GOOD
                        ? DK_RX_CHECKSUM_GOOD
                        : DK_RX_CHECKSUM_UNKNOWN;
}

/* Takes a frame; false: it was dropped. */
static inline bool take(struct dk_dpdk_port *p, struct rte_mbuf *m, struct dk_rx_frame *out)
{
    if (dk_unlikely(!fits(p, m->pkt_len))) {
        drop_misfit(p, m);
        return false;
    }
    describe(p, m, out);
    if (dk_unlikely(!is_ours(p, m) || p->num_out >= p->out_max))
        return take_copy(p, m, out);
    give_out(p, m, out);
    return true;
}

/* Takes the first n that came. */
__attribute__((noinline)) static uint32_t take_all(struct dk_dpdk_port *p,
                                                   struct dk_rx_frame frames_out[], uint32_t n)
{
    uint32_t taken = 0;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct dk_rx_frame *out = &frames_out[taken];
        if (dk_likely(take(p, p->came[i], out))) {
            bytes += out->len;
            taken++;
        }
    }
    dk_frame_count_rx(&p->dev, taken, bytes);
    return taken;
}

/* What somebody found who wanted to sleep. */
static uint32_t take_ready(struct dk_dpdk_port *p, struct rte_mbuf *mbufs[], uint32_t max)
{
    uint32_t n = p->num_ready < max ? p->num_ready : max;
    memcpy(mbufs, p->ready, n * sizeof(*mbufs));
    p->num_ready -= n;
    memmove(p->ready, p->ready + n, p->num_ready * sizeof(*mbufs));
    return n;
}

/* What is rare before frames are received: somebody wanted to sleep, or counters are due. Returns
 * how many frames there are, which nobody has to ask the port for. */
__attribute__((noinline)) static uint32_t look_up(struct dk_dpdk_port *p, struct rte_mbuf *mbufs[],
                                                  uint32_t max)
{
    const bool armed = p->armed;
    if (armed)
        dk_dpdk_disarm(p);
    const uint32_t n = take_ready(p, mbufs, max);
    if (!armed && n == 0)
        dk_dpdk_count(p);
    p->until_look = p->num_ready > 0 ? 1 : COUNT_EVERY;
    return n;
}

__attribute__((noinline)) uint16_t dk_dpdk_receive_called(struct dk_dpdk_port *p, uint16_t n,
                                                          uint16_t max)
{
    void *callback = __atomic_load_n(p->rx_called, __ATOMIC_RELAXED);
    return callback ? rte_eth_call_rx_callbacks(p->port, p->queue, p->came, n, max, callback) : n;
}

/* The same of one frame, as most come to who is not in a hurry; what is out is less than may be. */
static inline uint32_t take_one(struct dk_dpdk_port *p, struct dk_rx_frame *out)
{
    struct rte_mbuf *m = p->came[0];
    const uint32_t len = m->pkt_len;
    if (dk_unlikely(!fits(p, len) || !is_ours(p, m)))
        return take_all(p, out, 1);
    describe(p, m, out);
    give_out(p, m, out);
    dk_frame_count_rx(&p->dev, 1, len);
    return 1;
}

/* Receives less than a burst, or after what is rare. */
__attribute__((noinline)) static uint32_t
rx_otherwise(struct dk_dpdk_port *p, struct dk_rx_frame frames_out[], uint32_t max)
{
    if (max > DK_DPDK_BURST)
        max = DK_DPDK_BURST;
    if (p->num_out >= DK_DPDK_BACK)
        take_back(p);
    uint32_t n = p->until_look == 0 ? look_up(p, p->came, max) : 0;
    if (n == 0)
        n = dk_dpdk_receive(p, (uint16_t)max);
    if (n == 0)
        return 0;
    p->active_at = p->now;
    return dk_likely(n == 1 && p->num_out < p->out_max) ? take_one(p, frames_out)
                                                        : take_all(p, frames_out, n);
}

/* Something came: whatever is sent for that goes to a ring that is fetched meanwhile. */
static inline void note_active(struct dk_dpdk_port *p)
{
    dk_dpdk_memif_fetch(p);
    p->active_at = p->now;
}

/* Takes what came when that is not one frame. */
__attribute__((noinline)) static uint32_t take_several(struct dk_dpdk_port *p, uint32_t n)
{
    note_active(p);
    return take_all(p, p->frames_out, n);
}

uint32_t dk_dpdk_rx_burst(struct dk_netdev *dev, struct dk_rx_frame frames_out[], uint32_t max,
                          int64_t now)
{
    struct dk_dpdk_port *p = dk_dpdk_port_of(dev);
    p->now = now;
    if (dk_unlikely(--p->until_look == 0 || p->num_out >= DK_DPDK_BACK || max < DK_DPDK_BURST))
        return rx_otherwise(p, frames_out, max);
    p->frames_out = frames_out;
    const uint16_t n = dk_dpdk_receive(p, DK_DPDK_BURST);
    if (n != 1)
        return n == 0 ? 0 : take_several(p, n);
    note_active(p);
    return take_one(p, p->frames_out); /* DK_DPDK_BACK is less than out_max */
}
