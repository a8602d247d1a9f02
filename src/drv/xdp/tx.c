/* SPDX-License-Identifier: MIT */
/*
 * Sending. A frame becomes a row of descriptors: chunks of ours, with bytes that were copied, and
 * pieces of application memory where they lie in the UMEM. Short pieces are copied too: a copy
 * costs less than a descriptor. Kernels before 6.6 take frames of one descriptor only: all is
 * copied.
 *
 * The kernel sends in the course of a system call (copy mode), or when the driver is told that
 * there is something (need-wakeup).
 */
#include "drv/xdp/state.h"
#include "os/netif.h"

#include <errno.h>
#include <sys/socket.h>

#define ATTACH_MIN 512u /* bytes of a piece that is sent where it lies */
#define DESCS_MAX  12u  /* of a frame: the kernel has at most 17 fragments, drivers have fewer */
#define KICKS      128  /* each sends 32 frames or more */
#define PAGE_BYTES 4096u
#define ID_SHIFT   XSK_UNALIGNED_BUF_OFFSET_SHIFT

/* The descriptors of a frame, before they are in the ring. */
struct row {
    uint32_t num;
    uint32_t room; /* in the last one, which is a chunk; 0: it is none */
    struct {
        uint16_t id;
        uint32_t len;
        uint8_t *at;
    } descs[DESCS_MAX];
};

static void give_id(struct dk_xdp *x, uint16_t id)
{
    if (id < x->num_chunks) {
        x->free_chunks[x->num_free_chunks++] = id;
        return;
    }
    dk_buf_put(x->held[id]);
    x->held[id] = NULL;
    x->free_ids[x->num_free_ids++] = id;
}

static void collect(struct dk_xdp *x)
{
    struct dk_xdp_queue *q = &x->queues[0];
    uint32_t at, n = xsk_ring_cons__peek(&q->completed, x->num_ids, &at);
    for (uint32_t i = 0; i < n; i++)
        give_id(x, (uint16_t)(*xsk_ring_cons__comp_addr(&q->completed, at + i) >> ID_SHIFT));
    if (n > 0)
        xsk_ring_cons__release(&q->completed, n);
}

static bool is_drained(const struct dk_xdp_queue *q)
{
    return __atomic_load_n(q->tx.consumer, __ATOMIC_ACQUIRE) == *q->tx.producer;
}

bool dk_xdp_kick(struct dk_xdp *x)
{
    struct dk_xdp_queue *q = &x->queues[0];
    for (int i = 0; i < KICKS && !is_drained(q) && xsk_ring_prod__needs_wakeup(&q->tx); i++) {
        if (sendto(q->fd, NULL, 0, MSG_DONTWAIT, NULL, 0) >= 0 || errno == EAGAIN || errno == EINTR)
            continue;
        x->is_down = errno == ENETDOWN || errno == ENXIO || errno == ENODEV;
        break; /* EBUSY, ENOBUFS: the interface's queue is full */
    }
    return is_drained(q);
}

static bool add_chunk(struct dk_xdp *x, struct row *row)
{
    if (dk_unlikely(x->num_free_chunks == 0 || row->num == DESCS_MAX))
        return false;
    const uint16_t id = x->free_chunks[--x->num_free_chunks];
    row->descs[row->num].id = id;
    row->descs[row->num].len = 0;
    row->descs[row->num++].at = x->chunks + (size_t)id * x->chunk_bytes;
    row->room = x->chunk_bytes;
    return true;
}

/* Copies bytes to the end of a row. */
static bool copy(struct dk_xdp *x, struct row *row, const uint8_t *from, uint32_t len)
{
    while (len > 0) {
        if (row->room == 0 && !add_chunk(x, row))
            return false;
        const uint32_t n = len < row->room ? len : row->room;
        uint8_t *to = row->descs[row->num - 1].at + row->descs[row->num - 1].len;
        dk_frame_copy(to, from, n);
        row->descs[row->num - 1].len += n;
        row->room -= n;
        from += n;
        len -= n;
    }
    return true;
}

static void attach(struct dk_xdp *x, struct row *row, const struct dk_tx_piece *piece)
{
    const uint16_t id = x->free_ids[--x->num_free_ids];
    dk_buf_get(piece->buf);
    x->held[id] = piece->buf;
    row->descs[row->num].id = id;
    row->descs[row->num].len = piece->len;
    row->descs[row->num++].at = (uint8_t *)(uintptr_t)piece->data;
    row->room = 0;
    dk_count(&x->dev.stats->tx_attached, 1);
}

/* A NIC has the UMEM page by page. */
static bool is_on_one_page(const struct dk_tx_piece *piece)
{
    return (uintptr_t)piece->data / PAGE_BYTES ==
           ((uintptr_t)piece->data + piece->len - 1) / PAGE_BYTES;
}

static bool can_attach(struct dk_xdp *x, const struct row *row, const struct dk_tx_piece *piece)
{
    if (!x->segments || piece->len < ATTACH_MIN || !piece->buf)
        return false;
    /* Two more for what follows it, and is copied. */
    if (piece->len <= x->chunk_bytes && x->num_free_ids > 0 && row->num + 2 < DESCS_MAX &&
        dk_xdp_can_read(x, piece->data, piece->len) && (!x->zero_copy || is_on_one_page(piece)))
        return true;
    dk_count(&x->dev.stats->tx_copied, 1);
    return false;
}

static bool fill(struct dk_xdp *x, struct row *row, const struct dk_tx_frame *frame)
{
    if (!copy(x, row, frame->head, frame->head_len))
        return false;
    for (uint32_t i = 0; i < frame->num_pieces; i++) {
        const struct dk_tx_piece *piece = &frame->pieces[i];
        if (can_attach(x, row, piece)) {
            attach(x, row, piece);
            continue;
        }
        if (!copy(x, row, piece->data, piece->len))
            return false;
        dk_count(&x->dev.stats->tx_copied_bytes, piece->len);
    }
    return true;
}

static void put_in_ring(struct dk_xdp *x, const struct row *row)
{
    struct xsk_ring_prod *tx = &x->queues[0].tx;
    uint32_t at = 0;
    xsk_ring_prod__reserve(tx, row->num, &at); /* there is room: see build */
    for (uint32_t i = 0; i < row->num; i++) {
        struct xdp_desc *desc = xsk_ring_prod__tx_desc(tx, at + i);
        const uint64_t id = row->descs[i].id;
        desc->addr = ((uint64_t)(row->descs[i].at - x->umem) - id) | id << ID_SHIFT;
        desc->len = row->descs[i].len;
        desc->options = i + 1 < row->num ? XDP_PKT_CONTD : 0;
    }
    xsk_ring_prod__submit(tx, row->num);
}

/* Puts a frame in the ring; false: there is no room. */
static bool build(struct dk_xdp *x, const struct dk_tx_frame *frame)
{
    struct row row = {.num = 0, .room = 0};
    if (xsk_prod_nb_free(&x->queues[0].tx, DESCS_MAX) < DESCS_MAX)
        return false;
    if (dk_likely(fill(x, &row, frame))) {
        put_in_ring(x, &row);
        return true;
    }
    for (uint32_t i = 0; i < row.num; i++)
        give_id(x, row.descs[i].id);
    return false;
}

static uint32_t drop_all(struct dk_xdp *x, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        dk_frame_drop_tx(&x->dev, tx_link_down);
    return n;
}

static uint32_t build_all(struct dk_xdp *x, const struct dk_tx_frame frames[], uint32_t n)
{
    uint32_t i, sent = 0;
    uint64_t total = 0;
    for (i = 0; i < n; i++) {
        const uint32_t bytes = dk_tx_frame_bytes(&frames[i]);
        if (!dk_frame_fits(&x->dev, bytes, x->frame_max))
            continue;
        if (!build(x, &frames[i]))
            break;
        total += bytes;
        sent++;
    }
    dk_frame_count_tx(&x->dev, sent, total);
    return i;
}

uint32_t dk_xdp_tx_burst(struct dk_netdev *dev, const struct dk_tx_frame frames[], uint32_t n,
                         int64_t now)
{
    struct dk_xdp *x = dk_xdp_of(dev);
    (void)now;
    if (dk_unlikely(x->is_down)) {
        if (!dk_netif_has_carrier(x->port->watch_fd, x->port->name))
            return drop_all(x, n);
        x->is_down = false;
    }
    collect(x);
    uint32_t taken = build_all(x, frames, n);
    bool drained = dk_xdp_kick(x);
    if (taken < n) { /* once more: what was sent has made room */
        collect(x);
        taken += build_all(x, frames + taken, n - taken);
        drained = dk_xdp_kick(x);
    }
    if (dk_unlikely(x->is_down))
        return taken + drop_all(x, n - taken);
    dk_wake_want_room(&x->wake, taken < n || !drained);
    return taken;
}

uint32_t dk_xdp_reclaim(struct dk_netdev *dev, int64_t now)
{
    struct dk_xdp *x = dk_xdp_of(dev);
    (void)now;
    if (dk_unlikely(!is_drained(&x->queues[0])))
        dk_xdp_kick(x);
    collect(x);
    return x->num_ids - x->num_chunks - x->num_free_ids;
}
