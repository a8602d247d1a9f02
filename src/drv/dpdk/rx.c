/* SPDX-License-Identifier: MIT */
/*
 * Receiving. A frame in one mbuf of ours goes on in the buffer that is its data. Others are copied:
 * those in several pieces, those whose memory the driver owns, those of another pool (a ring that
 * leads from port to port), and all while half of the pool is held by who received.
 */
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

/* Takes mbufs back whose buffers are. */
static void take_back(struct dk_dpdk_port *p)
{
    uint32_t looks = p->num_out < LOOKS ? p->num_out : LOOKS;
    while (looks-- > 0) {
        if (p->next_out >= p->num_out)
            p->next_out = 0;
        struct rte_mbuf *m = p->out[p->next_out];
        if (!dk_buf_is_back(buf_of(m))) {
            p->next_out++;
            continue;
        }
        p->out[p->next_out] = p->out[--p->num_out];
        p->back[p->num_back++] = m;
        if (p->num_back == DK_DPDK_BACK)
            return_all(p);
    }
}

static bool is_ours(const struct dk_dpdk_port *p, struct rte_mbuf *m)
{
    return p->own_buffers && m->pool == p->rx_pool && m->nb_segs == 1 &&
           rte_mbuf_refcnt_read(m) == 1;
}

/* Hands a frame on in its buffer; false: nothing happened. */
static bool give_out(struct dk_dpdk_port *p, struct rte_mbuf *m, struct dk_rx_frame *out)
{
    struct dk_buf *buf = buf_of(m);
    uint8_t *data = rte_pktmbuf_mtod(m, uint8_t *);
    if (!dk_buf_give_out(buf, (size_t)(data - buf->memory), m->data_len))
        return false;
    p->out[p->num_out++] = m;
    out->buf = buf;
    out->data = data;
    return true;
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

/* Takes a frame out of an mbuf, which is with DPDK again or in `out` afterwards. */
static bool take(struct dk_dpdk_port *p, struct rte_mbuf *m, struct dk_rx_frame *out)
{
    bool ours = is_ours(p, m), taken;
    if (dk_likely(ours && p->num_out < p->num_bufs / 2) && give_out(p, m, out))
        return true;
    taken = ours ? copy_held(m, out) : copy(p, m, out);
    if (!taken)
        dk_frame_drop_rx(&p->dev, rx_no_memory, 1);
    rte_pktmbuf_free(m);
    return taken;
}

static bool fits(struct dk_dpdk_port *p, struct rte_mbuf *m)
{
    if (dk_likely(m->pkt_len >= DK_FRAME_HEADER && m->pkt_len <= p->frame_max))
        return true;
    if (m->pkt_len < DK_FRAME_HEADER)
        dk_frame_drop_rx(&p->dev, rx_too_short, 1);
    else
        dk_frame_drop_rx(&p->dev, rx_too_long, 1);
    rte_pktmbuf_free(m);
    return false;
}

static uint8_t checksum_of(const struct dk_dpdk_port *p, const struct rte_mbuf *m)
{
    return p->dev.caps.flags & DK_NETDEV_RX_CHECKSUM &&
                   (m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_GOOD
               ? DK_RX_CHECKSUM_GOOD
               : DK_RX_CHECKSUM_UNKNOWN;
}

static uint32_t take_all(struct dk_dpdk_port *p, struct rte_mbuf *mbufs[], uint32_t n,
                         struct dk_rx_frame frames_out[])
{
    uint32_t taken = 0;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct rte_mbuf *m = mbufs[i];
        struct dk_rx_frame *out = &frames_out[taken];
        if (!fits(p, m))
            continue;
        out->len = m->pkt_len;
        out->checksum = checksum_of(p, m);
        if (!take(p, m, out))
            continue;
        bytes += out->len;
        taken++;
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

uint32_t dk_dpdk_rx_burst(struct dk_netdev *dev, struct dk_rx_frame frames_out[], uint32_t max,
                          int64_t now)
{
    struct dk_dpdk_port *p = dk_dpdk_port_of(dev);
    struct rte_mbuf *mbufs[DK_DPDK_BURST];
    uint32_t n;
    max = max < DK_DPDK_BURST ? max : DK_DPDK_BURST;
    p->now = now;
    if (dk_unlikely(p->armed))
        dk_dpdk_disarm(p);
    if (dk_unlikely(++p->polls % COUNT_EVERY == 0))
        dk_dpdk_count(p);
    if (p->num_out > 0)
        take_back(p);
    if (dk_unlikely(p->num_ready > 0))
        n = take_ready(p, mbufs, max);
    else
        n = dk_likely(p->started) ? rte_eth_rx_burst(p->port, p->queue, mbufs, (uint16_t)max) : 0;
    if (n == 0)
        return 0;
    p->active_at = now;
    return take_all(p, mbufs, n, frames_out);
}
