/* SPDX-License-Identifier: MIT */
/*
 * The queue is a chain of buffers linked by `more`, which is ours as long as they are in it.
 *
 * Window and scale: an edge that was told cannot be told again exactly when the distance to rcv_nxt
 * is no multiple of 2^rcv_wscale. It is rounded up then, because an edge that moves left is worse
 * than one that is some bytes too far right (RFC 7323 section 2.4); but not when the queue is full
 * beyond its limit already, or a peer could push the edge on for ever with tiny segments. What is
 * received up to rcv_adv is taken in any case.
 */
#include "net/tcp/rcvq.h"

#include "net/tcp/tune.h"

/* A buffer that small segments are put together in. */
#define TOGETHER_BYTES 4096u

/* Unread segments that a connection may have while all of them have too much. */
#define PRESSED_SEGMENTS 4

uint8_t dk_tcp_rcv_scale(int64_t rcv_buf)
{
    uint8_t scale = 0;
    while (scale < DK_TCP_WINDOW_SCALE_MAX && (int64_t)DK_TCP_WINDOW_MAX << scale < rcv_buf)
        scale++;
    return scale;
}

/* The window is moved by a segment, or half of the buffer (RFC 9293 section 3.8.6.2.2), no less.
 * Every second segment is acknowledged at once (RFC 5681 section 4.2). */
void dk_tcp_rcvq_sized(struct dk_tcp_conn *c)
{
    const uint32_t limit = (uint32_t)c->option[DK_TCP_RCV_BUF];
    c->window_span = dk_tcp_min32(limit / 2, c->rcv_mss);
    c->window_low = limit - c->window_span + 1;
    c->ack_limit = c->option[DK_TCP_QUICK_ACK] ? 1 : 2 * c->rcv_mss;
}

static void link_last(struct dk_tcp_conn *c, struct dk_buf *buf)
{
    buf->more = NULL;
    *(c->rx_head ? &c->rx_tail->more : &c->rx_head) = buf;
    c->rx_tail = buf;
    c->rx_bufs++;
    c->rx_tail_room = 0;
}

/* Copies the bytes of buf behind those of others: false, without memory for it. */
static bool put_together(struct dk_tcp_conn *c, struct dk_buf *buf)
{
    uint32_t len = (uint32_t)dk_buf_bytes(buf);
    if (c->rx_tail_room < len) {
        uint32_t size = len > TOGETHER_BYTES ? len : TOGETHER_BYTES;
        struct dk_buf *room = dk_buf_alloc(size, 0);
        if (!room)
            return false;
        room->end = room->data;
        link_last(c, room);
        c->rx_tail_room = size;
    }
    memcpy(c->rx_tail->end, buf->data, len);
    c->rx_tail->end += len;
    c->rx_tail_room -= len;
    dk_count(&c->tcp->stats.rx_coalesced_bytes, len);
    return true;
}

void dk_tcp_rcvq_append_more(struct dk_tcp_conn *c, struct dk_buf *buf, uint32_t len)
{
    c->rx_bytes += len;
    if (dk_unlikely(c->rx_bufs >= c->tcp->config.rcv_bufs_max) && put_together(c, buf))
        dk_buf_put(buf);
    else
        link_last(c, buf);
}

void dk_tcp_rcvq_clear(struct dk_tcp_conn *c)
{
    while (c->rx_head) {
        struct dk_buf *buf = c->rx_head;
        c->rx_head = buf->more;
        buf->more = NULL;
        dk_buf_put(buf);
    }
    c->tcp->read_bytes += c->rx_bytes;
    c->rx_bytes = 0;
    c->rx_bufs = c->rx_tail_room = 0;
}

static struct dk_buf *take_whole(struct dk_tcp_conn *c)
{
    struct dk_buf *buf = c->rx_head;
    c->rx_head = buf->more;
    buf->more = NULL;
    c->rx_bufs--;
    if (!c->rx_head)
        c->rx_tail_room = 0;
    return buf;
}

/* Takes the first bytes of the first buffer: a view. NULL: without descriptors. */
static struct dk_buf *take_part(struct dk_tcp_conn *c, size_t bytes)
{
    struct dk_buf *buf = c->rx_head, *more = buf->more;
    buf->more = NULL; /* a view of a chain would hold all of it */
    struct dk_buf *part = dk_buf_view(buf, buf->data, bytes);
    buf->more = more;
    if (part)
        buf->data += bytes;
    return part;
}

uint32_t dk_tcp_rcvq_take(struct dk_tcp_conn *c, struct dk_buf *bufs_out[], uint32_t max_bufs,
                          size_t max_bytes)
{
    uint32_t n = 0;
    while (n < max_bufs && c->rx_head && max_bytes > 0) {
        size_t bytes = dk_buf_bytes(c->rx_head);
        struct dk_buf *buf;
        if (bytes <= max_bytes) {
            buf = take_whole(c);
        } else {
            bytes = max_bytes;
            buf = take_part(c, bytes);
            if (!buf)
                break;
        }
        c->rx_bytes -= bytes;
        c->tcp->read_bytes += bytes;
        max_bytes -= bytes;
        bufs_out[n++] = buf;
    }
    return n;
}

/* What may be unread: less than the buffer, while all connections together have too much. Who reads
 * goes on with that; who does not gets nothing more. */
static uint64_t unread_limit(struct dk_tcp_conn *c, uint64_t limit)
{
    const uint64_t least = PRESSED_SEGMENTS * (uint64_t)c->rcv_mss;
    if (dk_likely(!dk_tcp_is_pressed(c->tcp)) || limit <= least)
        return limit;
    DK_TCP_COUNT(c->tcp, rcv_window_pressed);
    return least;
}

/* The edge to be told; where the queue is full beyond its limit it may be before rcv_adv. */
static uint64_t edge_to_tell(struct dk_tcp_conn *c, int64_t now)
{
    if (c->rcv_tuned && dk_tcp_tune_is_due(c, now))
        dk_tcp_tune_round(c, now);
    const uint64_t limit = (uint64_t)c->option[DK_TCP_RCV_BUF];
    const uint64_t may = unread_limit(c, limit);
    const uint64_t most = (uint64_t)DK_TCP_WINDOW_MAX << c->rcv_wscale;
    const uint64_t unit = (UINT64_C(1) << c->rcv_wscale) - 1;
    const uint64_t room = c->rx_bytes < may ? may - c->rx_bytes : 0;
    const uint64_t free = c->rcv_nxt + (dk_tcp_min64(room, most) & ~unit);
    if (free >= c->rcv_adv + dk_tcp_min64(may / 2, c->rcv_mss))
        return free;
    const uint64_t known = c->rcv_adv > c->rcv_nxt ? c->rcv_adv - c->rcv_nxt : 0;
    if (c->rx_bytes > limit)
        return c->rcv_nxt + (known & ~unit);
    return c->rcv_nxt + dk_tcp_min64((known + unit) & ~unit, most);
}

struct dk_tcp_window dk_tcp_window_tell_other(struct dk_tcp_conn *c, int64_t now)
{
    const uint64_t edge = edge_to_tell(c, now);
    return (struct dk_tcp_window){dk_tcp_max64(c->rcv_adv, edge),
                                  (uint32_t)((edge - c->rcv_nxt) >> c->rcv_wscale)};
}

bool dk_tcp_window_update_due(struct dk_tcp_conn *c, int64_t now)
{
    if (!dk_tcp_window_is_low(c))
        return false;
    const uint64_t known = c->rcv_adv > c->rcv_nxt ? c->rcv_adv - c->rcv_nxt : 0;
    const uint64_t fresh = dk_tcp_window_tell(c, now).edge - c->rcv_nxt;
    return fresh > known && fresh >= 2 * known;
}
