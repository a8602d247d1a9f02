/* SPDX-License-Identifier: MIT */
/*
 * What was received in order and not read yet, and the window that this leaves.
 */
#ifndef DK_NET_TCP_RCVQ_H
#define DK_NET_TCP_RCVQ_H

#include "net/tcp/tcb.h"

#define DK_TCP_WINDOW_MAX 65535u /* of the field */

/* The scale that the receive buffer needs (RFC 7323 section 2.3). */
uint8_t dk_tcp_rcv_scale(int64_t rcv_buf);

static inline void dk_tcp_rcvq_link(struct dk_tcp_conn *c, struct dk_buf *buf)
{
    buf->more = NULL;
    *(c->rx_head ? &c->rx_tail->more : &c->rx_head) = buf;
    c->rx_tail = buf;
    c->rx_bufs++;
    c->rx_tail_room = 0;
}

/* As dk_tcp_rcvq_append, which counted the bytes, where many buffers are held. */
void dk_tcp_rcvq_append_many(struct dk_tcp_conn *c, struct dk_buf *buf);

/*
 * Appends a buffer of exactly the len bytes that come next; its hold is taken over. Where too many
 * buffers are held its bytes are put behind others in a buffer of ours.
 */
static inline void dk_tcp_rcvq_append(struct dk_tcp_conn *c, struct dk_buf *buf, uint32_t len)
{
    c->rx_bytes += len;
    if (dk_likely(c->rx_bufs < c->tcp->config.rcv_bufs_max))
        dk_tcp_rcvq_link(c, buf);
    else
        dk_tcp_rcvq_append_many(c, buf);
}

void dk_tcp_rcvq_clear(struct dk_tcp_conn *c);

/* Takes all that is there, where it is one buffer of no more than max_bytes; else NULL. */
static inline struct dk_buf *dk_tcp_rcvq_take_only(struct dk_tcp_conn *c, size_t max_bytes)
{
    struct dk_buf *buf = c->rx_head;
    if (c->rx_bufs != 1 || c->rx_bytes > max_bytes)
        return NULL;
    c->rx_head = NULL;
    c->tcp->read_bytes += c->rx_bytes;
    c->rx_bytes = 0;
    c->rx_bufs = 0;
    c->rx_tail_room = 0;
    return buf;
}

/* As dk_tcp_recv; only takes what is there: how many buffers. */
uint32_t dk_tcp_rcvq_take(struct dk_tcp_conn *c, struct dk_buf *bufs_out[], uint32_t max_bufs,
                          size_t max_bytes);

/* As dk_tcp_window_edge, when there may be enough room to move it, or less than there was. */
uint64_t dk_tcp_window_edge_other(struct dk_tcp_conn *c, int64_t now);

/*
 * The right edge that the next segment sent will tell. It is not before rcv_adv; it moves right
 * only by what avoids silly windows (RFC 9293 section 3.8.6.2.2).
 */
static inline uint64_t dk_tcp_window_edge(struct dk_tcp_conn *c, int64_t now)
{
    const uint64_t limit = (uint64_t)c->option[DK_TCP_RCV_BUF];
    const uint64_t unit = (UINT64_C(1) << c->rcv_wscale) - 1;
    const uint64_t known = c->rcv_adv - c->rcv_nxt;
    if (dk_unlikely((int64_t)known < 0 ||
                    known + dk_tcp_min64(limit / 2, c->rcv_mss) <= limit - c->rx_bytes))
        return dk_tcp_window_edge_other(c, now);
    return c->rcv_nxt + ((known + unit) & ~unit);
}

/* Whether the window that the peer knows is half of the buffer or less: what is read may have to be
 * told. */
static inline bool dk_tcp_window_is_low(const struct dk_tcp_conn *c)
{
    const int64_t known = (int64_t)(c->rcv_adv - c->rcv_nxt);
    return 2 * known <= c->option[DK_TCP_RCV_BUF];
}

/* Whether the reader has made so much room that the peer is to be told at once. */
bool dk_tcp_window_update_due(struct dk_tcp_conn *c, int64_t now);

#endif /* DK_NET_TCP_RCVQ_H */
