/* SPDX-License-Identifier: MIT */
/*
 * Sending. A frame becomes a chain of mbufs: bytes that were copied, and pieces of application
 * memory where they lie. Short pieces are copied too: a copy costs less than an mbuf.
 *
 * Where the driver takes one mbuf per frame only, or reads later than we could be told of, the
 * frame is copied into one.
 *
 * A short frame is copied when it is put (dk_netdev_ops.tx_put), into an mbuf that waits in `put`
 * for the flush: the port gets those of one call, or poll, at a time.
 */
#include "base/bytes.h"
#include "drv/dpdk/burst.h"
#include "drv/dpdk/port.h"

#include <rte_ether.h>
#include <rte_ip.h>

#define ATTACH_MIN 512u /* bytes of a piece that is sent where it lies */

#define STUCK_NS        500000000
#define TCP_CHECKSUM_AT 16u /* in its header; that of UDP is elsewhere */

static void let_go(void *addr, void *opaque)
{
    struct dk_dpdk_ext_priv *priv = opaque;
    (void)addr;
    priv->port->attached--;
    dk_buf_put(priv->buf);
}

/* A chain that is being built. */
struct chain {
    struct rte_mbuf *head, *last;
};

static void append(struct chain *c, struct rte_mbuf *m)
{
    c->last->next = m;
    c->last = m;
    c->head->nb_segs++;
    c->head->pkt_len += m->data_len;
}

static bool attach(struct dk_dpdk_port *p, struct chain *c, const struct dk_tx_piece *piece)
{
    struct rte_mbuf *m = rte_pktmbuf_alloc(p->ext_pool);
    if (dk_unlikely(!m))
        return false;
    struct dk_dpdk_ext_priv *priv = rte_mbuf_to_priv(m);
    priv->port = p;
    priv->buf = piece->buf;
    priv->shared.free_cb = let_go;
    priv->shared.fcb_opaque = priv;
    rte_mbuf_ext_refcnt_set(&priv->shared, 1);
    dk_buf_get(piece->buf);
    p->attached++;
    dk_count(&p->dev.stats->tx_attached, 1);
    rte_pktmbuf_attach_extbuf(m, (void *)(uintptr_t)piece->data, (uintptr_t)piece->data,
                              (uint16_t)piece->len, &priv->shared);
    m->data_len = (uint16_t)piece->len;
    m->pkt_len = piece->len;
    append(c, m);
    return true;
}

/* Copies bytes to the end of a chain: behind what was copied there, or into an mbuf of their own.
 */
static bool copy(struct dk_dpdk_port *p, struct chain *c, const uint8_t *from, uint32_t len)
{
    while (len > 0) {
        uint32_t room = c->last->pool == p->tx_pool ? rte_pktmbuf_tailroom(c->last) : 0;
        if (room == 0) {
            struct rte_mbuf *m = p->segments ? rte_pktmbuf_alloc(p->tx_pool) : NULL;
            if (!m)
                return false;
            append(c, m);
            continue;
        }
        uint32_t n = len < room ? len : room;
        memcpy(rte_pktmbuf_mtod_offset(c->last, uint8_t *, c->last->data_len), from, n);
        c->last->data_len = (uint16_t)(c->last->data_len + n);
        c->head->pkt_len += n;
        from += n;
        len -= n;
    }
    return true;
}

static bool can_attach(const struct dk_dpdk_port *p, const struct chain *c,
                       const struct dk_tx_piece *piece)
{
    /* One more for what follows it, and is copied. */
    return p->attaches && piece->len >= ATTACH_MIN && piece->len <= UINT16_MAX && piece->buf &&
           c->head->nb_segs + 2 < p->segments_max && dk_dpdk_memory_is_known(p, piece->data);
}

static bool fill(struct dk_dpdk_port *p, struct chain *c, const struct dk_tx_frame *frame)
{
    if (!copy(p, c, frame->head, frame->head_len))
        return false;
    for (uint32_t i = 0; i < frame->num_pieces; i++) {
        const struct dk_tx_piece *piece = &frame->pieces[i];
        const bool attaches = can_attach(p, c, piece);
        if (attaches ? !attach(p, c, piece) : !copy(p, c, piece->data, piece->len))
            return false;
        if (!attaches)
            dk_count(&p->dev.stats->tx_copied_bytes, piece->len);
    }
    return true;
}

/* Describes headers for a device that finishes checksums, or cuts segments. The sum of the pseudo
 * header is there; of one that is cut it has no length, as DPDK wants it. IPv4's own sum is there
 * too, of the whole: whoever cuts for a device that does not make it knows how. */
static void describe(const struct dk_dpdk_port *p, struct rte_mbuf *m,
                     const struct dk_tx_frame *frame)
{
    uint8_t *head = rte_pktmbuf_mtod(m, uint8_t *);
    bool tagged = dk_get_be16(head + 12) == RTE_ETHER_TYPE_VLAN;
    m->l2_len = DK_FRAME_HEADER + (tagged ? DK_FRAME_TAG : 0);
    m->l3_len = frame->checksum_start - m->l2_len;
    uint8_t *ip = head + m->l2_len, *transport = head + frame->checksum_start;
    bool is_ip6 = ip[0] >> 4 == 6, is_tcp = frame->checksum_offset == TCP_CHECKSUM_AT;
    m->ol_flags |= is_ip6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4;
    if (frame->segment_bytes == 0) {
        m->ol_flags |= is_tcp ? RTE_MBUF_F_TX_TCP_CKSUM : RTE_MBUF_F_TX_UDP_CKSUM;
        return;
    }
    m->l4_len = (uint32_t)(transport[12] >> 4) * 4;
    m->tso_segsz = frame->segment_bytes;
    const bool sums_ip = !is_ip6 && p->sums_ip;
    m->ol_flags |= RTE_MBUF_F_TX_TCP_SEG | (sums_ip ? RTE_MBUF_F_TX_IP_CKSUM : 0);
    uint16_t sum;
    if (is_ip6) {
        sum = rte_ipv6_phdr_cksum((const struct rte_ipv6_hdr *)(const void *)ip, m->ol_flags);
    } else {
        if (sums_ip)
            ((struct rte_ipv4_hdr *)(void *)ip)->hdr_checksum = 0;
        sum = rte_ipv4_phdr_cksum((const struct rte_ipv4_hdr *)(const void *)ip, m->ol_flags);
    }
    memcpy(transport + TCP_CHECKSUM_AT, &sum, sizeof sum);
}

/* Whether the driver can cut a frame, after it has changed the sum of the pseudo header if it wants
 * another (net_virtio: one with the length). */
static bool prepare(struct dk_dpdk_port *p, struct rte_mbuf *m)
{
    p->refuses = rte_eth_tx_prepare(p->port, p->queue, &m, 1) != 1;
    return !p->refuses;
}

/* Makes the mbufs of a frame; NULL while there are none to be had, or the driver refuses it. */
static struct rte_mbuf *build(struct dk_dpdk_port *p, const struct dk_tx_frame *frame)
{
    struct chain c;
    c.head = c.last = rte_pktmbuf_alloc(p->tx_pool);
    if (dk_unlikely(!c.head))
        return NULL;
    if (dk_unlikely(!fill(p, &c, frame)))
        goto fail;
    if (frame->checksum_start != 0)
        describe(p, c.head, frame);
    if (frame->segment_bytes != 0 && dk_unlikely(!prepare(p, c.head)))
        goto fail;
    return c.head;

fail:
    rte_pktmbuf_free(c.head);
    return NULL;
}

static uint32_t longest(const struct dk_dpdk_port *p, const struct dk_tx_frame *frame)
{
    return frame->segment_bytes != 0 ? p->whole_max : p->frame_max;
}

static bool fits(const struct dk_dpdk_port *p, const struct dk_tx_frame *frame)
{
    const uint32_t bytes = dk_tx_frame_bytes(frame);
    return bytes >= DK_FRAME_HEADER && bytes <= longest(p, frame);
}

/* Makes mbufs of frames up to one that does not fit; returns how many. */
static uint32_t build_some(struct dk_dpdk_port *p, const struct dk_tx_frame frames[], uint32_t n,
                           struct rte_mbuf *mbufs[DK_DPDK_BURST])
{
    uint32_t i;
    p->refuses = false;
    for (i = 0; i < n && i < DK_DPDK_BURST && fits(p, &frames[i]); i++)
        if ((mbufs[i] = build(p, &frames[i])) == NULL)
            break;
    return i;
}

static uint64_t bytes_of(struct rte_mbuf *const mbufs[], uint32_t n)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < n; i++)
        bytes += mbufs[i]->pkt_len;
    return bytes;
}

uint16_t dk_dpdk_send_called(const struct dk_dpdk_port *p, struct rte_mbuf *mbufs[], uint16_t n)
{
    void *callback = __atomic_load_n(p->tx_called, __ATOMIC_RELAXED);
    if (callback)
        n = rte_eth_call_tx_callbacks(p->port, p->queue, mbufs, n, callback);
    return p->fast->tx_pkt_burst(*p->tx_place, mbufs, n);
}

/* Gives the port n mbufs, of so many bytes; returns how many it took. */
static inline uint32_t give(struct dk_dpdk_port *p, struct rte_mbuf *mbufs[], uint32_t n,
                            uint64_t bytes)
{
    const uint32_t sent = dk_dpdk_send(p, mbufs, (uint16_t)n);
    if (dk_unlikely(sent < n))
        bytes -= bytes_of(mbufs + sent, n - sent);
    dk_frame_count_tx(&p->dev, sent, bytes);
    return sent;
}

/* The same, where those that it did not take are made anew. */
static uint32_t send_some(struct dk_dpdk_port *p, struct rte_mbuf *mbufs[], uint32_t n)
{
    const uint32_t sent = n ? give(p, mbufs, n, bytes_of(mbufs, n)) : 0;
    for (uint32_t i = sent; i < n; i++)
        rte_pktmbuf_free(mbufs[i]);
    return sent;
}

/* Whether nothing has left for so long that there cannot be a link: net_af_packet does not tell of
 * an interface that is down. */
static bool is_stuck(struct dk_dpdk_port *p)
{
    const uint64_t frames = p->dev.stats->tx_frames;
    if (p->stuck_frames != frames || p->stuck_at == 0) {
        p->stuck_frames = frames;
        p->stuck_at = p->now;
    }
    return p->now - p->stuck_at > STUCK_NS;
}

/* Nothing could be sent: whether because there is no link, for which it is dropped. */
static bool is_down(struct dk_dpdk_port *p)
{
    if (dk_dpdk_link(&p->dev) != DK_LINK_DOWN)
        return p->is_alone || is_stuck(p);
    dk_dpdk_revive(p);
    return true;
}

static uint32_t drop_all(struct dk_dpdk_port *p, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        dk_frame_drop_tx(&p->dev, tx_link_down);
    return n;
}

/* Drops a frame that could not be built, if it never can be; returns whether it did. */
static bool drop_unfit(struct dk_dpdk_port *p, const struct dk_tx_frame *frame)
{
    if (!fits(p, frame))
        dk_frame_misfit(&p->dev, dk_tx_frame_bytes(frame), longest(p, frame));
    else if (p->refuses)
        dk_frame_drop_tx(&p->dev, tx_refused);
    else
        return false;
    return true;
}

/* Sends frames one by one or in bursts, behind what was put. */
uint32_t dk_dpdk_tx_burst(struct dk_netdev *dev, const struct dk_tx_frame frames[], uint32_t n,
                          int64_t now)
{
    struct dk_dpdk_port *p = dk_dpdk_port_of(dev);
    struct rte_mbuf *mbufs[DK_DPDK_BURST];
    uint32_t taken = 0;
    if (dk_unlikely(!dk_dpdk_tx_flush(dev, now)))
        return 0;
    p->wants_room = false;
    while (taken < n) {
        const struct dk_tx_frame *next = &frames[taken];
        const uint32_t built = build_some(p, next, n - taken, mbufs);
        uint32_t sent = send_some(p, mbufs, built);
        if (dk_unlikely(built == 0 && drop_unfit(p, next)))
            sent = 1;
        taken += sent;
        if (dk_likely(sent > 0))
            continue;
        if (is_down(p))
            return taken + drop_all(p, n - taken);
        p->wants_room = true;
        break;
    }
    return taken;
}

/* ---- what is put ------------------------------------------------------------------------------
 */

/* Takes mbufs for what is put next from the pool, as many as there are. All that were there before
 * are the port's by now. Returns true: of those none is left. */
__attribute__((noinline)) static bool renew(struct dk_dpdk_port *p)
{
    struct dk_tx_rooms *rooms = &p->rooms;
    uint32_t n = DK_TX_ROOMS;
    while (n > 0 && rte_mempool_get_bulk(p->tx_pool, (void **)p->put, n) != 0)
        n /= 4;
    for (uint32_t i = 0; i < n; i++) {
        struct rte_mbuf *m = p->put[i];
        m->data_off = RTE_PKTMBUF_HEADROOM;
        m->ol_flags = 0; /* the rest is as it has to be in a pool, or is not looked at */
        rooms->frames[i].at = rte_pktmbuf_mtod(m, uint8_t *);
    }
    rooms->sent = rooms->next = 0;
    dk_tx_rooms_have(rooms, n);
    return true;
}

void dk_dpdk_tx_open(struct dk_dpdk_port *p)
{
    const uint32_t most = p->room < p->frame_max ? p->room : p->frame_max;
    p->rooms.bytes_max = p->attaches && most >= ATTACH_MIN ? ATTACH_MIN - 1 : most;
    p->dev.rooms = &p->rooms;
    renew(p);
}

void dk_dpdk_tx_close(struct dk_dpdk_port *p)
{
    for (uint32_t i = p->rooms.sent; i < p->rooms.has; i++)
        rte_mbuf_raw_free(p->put[i]);
    p->rooms = (struct dk_tx_rooms){0};
}

enum dk_tx_put dk_dpdk_tx_put(struct dk_netdev *dev, const struct dk_tx_frame *frame)
{
    struct dk_dpdk_port *p = dk_dpdk_port_of(dev);
    struct dk_tx_rooms *rooms = &p->rooms;
    const uint32_t bytes = dk_tx_frame_bytes(frame);
    if (dk_unlikely(bytes > rooms->bytes_max || bytes < DK_FRAME_HEADER || frame->segment_bytes))
        return DK_TX_PUT_NOT; /* what is cut is prepared, see build() */
    if (dk_unlikely(rooms->next == rooms->has)) {
        if (!dk_dpdk_tx_flush(dev, p->now) || rooms->has == 0) {
            p->wants_room = true;
            return DK_TX_PUT_FULL;
        }
    }
    const uint32_t at = rooms->next++;
    rooms->frames[at].len = bytes;
    dk_frame_gather(frame, rooms->frames[at].at);
    if (frame->checksum_start != 0)
        describe(p, p->put[at], frame);
    return DK_TX_PUT_TAKEN;
}

/* Keeps what was not sent, or drops it where there is no link; returns whether none is left. */
__attribute__((noinline)) static bool flush_later(struct dk_dpdk_port *p, bool some)
{
    struct dk_tx_rooms *rooms = &p->rooms;
    p->wants_room = true;
    if (some || !is_down(p))
        return false;
    drop_all(p, rooms->next - rooms->sent);
    rte_pktmbuf_free_bulk(p->put + rooms->sent, rooms->next - rooms->sent);
    rooms->sent = rooms->next;
    p->wants_room = false;
    return true;
}

/* Says of a frame in its room how long it is; returns that. */
static inline uint32_t finish(struct dk_dpdk_port *p, uint32_t i)
{
    struct rte_mbuf *m = p->put[i];
    const uint32_t len = p->rooms.frames[i].len;
    m->data_len = (uint16_t)len;
    m->pkt_len = len;
    return len;
}

/* Gives the port what is in rooms, if that is not one frame; returns whether none is left. */
__attribute__((noinline)) static bool flush_several(struct dk_dpdk_port *p)
{
    struct dk_tx_rooms *rooms = &p->rooms;
    const uint32_t first = rooms->sent, n = rooms->next - first;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < n; i++)
        bytes += finish(p, first + i);
    if (n > 0) {
        const uint32_t sent = give(p, p->put + first, n, bytes);
        rooms->sent += sent;
        if (dk_unlikely(sent < n) && !flush_later(p, sent > 0))
            return false;
        p->wants_room = false;
    }
    return rooms->sent != rooms->has || renew(p);
}

/* Of one frame, which was counted: it found no room. */
__attribute__((noinline)) static bool flush_one_later(struct dk_dpdk_port *p)
{
    dk_frame_count_tx(&p->dev, (uint64_t)-1, -(uint64_t)p->rooms.frames[p->rooms.sent].len);
    return flush_later(p, false) && (p->rooms.sent != p->rooms.has || renew(p));
}

bool dk_dpdk_tx_flush(struct dk_netdev *dev, int64_t now)
{
    struct dk_dpdk_port *p = dk_dpdk_port_of(dev);
    struct dk_tx_rooms *rooms = &p->rooms;
    const uint32_t first = rooms->sent;
    (void)now;
    if (dk_unlikely(rooms->next - first != 1))
        return flush_several(p);
    /* Counted before it is sent: its length would have to be saved over that. */
    dk_frame_count_tx(&p->dev, 1, finish(p, first));
    if (dk_unlikely(dk_dpdk_send(p, &p->put[first], 1) != 1))
        return flush_one_later(p);
    p->wants_room = false;
    return dk_likely(++rooms->sent != rooms->has) || renew(p);
}
