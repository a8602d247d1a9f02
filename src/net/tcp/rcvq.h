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

/* As dk_tcp_rcvq_append, where some are there. */
void dk_tcp_rcvq_append_more(struct dk_tcp_conn *c, struct dk_buf *buf, uint32_t len);

/*
 * Appends a buffer of exactly the len bytes that come next; its hold is taken over. Where too many
 * buffers are held its bytes are put behind others in a buffer of ours.
 */
__attribute__((always_inline)) static inline void
dk_tcp_rcvq_append(struct dk_tcp_conn *c, struct dk_buf *buf, uint32_t len)
{
    if (dk_unlikely(c->rx_head != NULL)) {
        dk_tcp_rcvq_append_more(c, buf, len);
        return;
    }
    buf->more = NULL;
    c->rx_head = c->rx_tail = buf;
    c->rx_bytes = len;
    c->rx_bufs = 1;
    c->rx_tail_room = 0;
}

void dk_tcp_rcvq_clear(struct dk_tcp_conn *c);

/* Takes all that is there, where it is one buffer of no more than max_bytes; else false. */
static inline bool dk_tcp_rcvq_take_only(struct dk_tcp_conn *c, struct dk_buf **buf_out,
                                         size_t max_bytes)
{
    if (c->rx_bufs != 1 || c->rx_bytes > max_bytes)
        return false;
    *buf_out = c->rx_head;
    c->tcp->read_bytes += c->rx_bytes;
    c->rx_head = NULL;
    c->rx_bytes = 0;
    c->rx_bufs = 0;
    return true;
}

/* As dk_tcp_recv; only takes what is there: how many buffers. */
uint32_t dk_tcp_rcvq_take(struct dk_tcp_conn *c, struct dk_buf *bufs_out[], uint32_t max_bufs,
                          size_t max_bytes);

/* Whether the window is not to be moved but for what its scale makes of it: what the peer knows of
 * it, and what is unread, is all of the buffer but for less than a segment. */
static inline bool dk_tcp_window_stays(const struct dk_tcp_conn *c)
{
    const uint32_t used = (uint32_t)(c->rcv_adv - c->rcv_nxt + c->rx_bytes);
    return used - c->window_low < c->window_span;
}

/* What the next segment sent tells of the window. */
struct dk_tcp_window {
    uint64_t edge;  /* the right one, no less than rcv_adv */
    uint32_t field; /* what stands for it, in units of the scale */
};

/* As the following, where the window may be moved. */
struct dk_tcp_window dk_tcp_window_tell_other(struct dk_tcp_conn *c, int64_t now);

/*
 * It does not move left, and right only by what avoids silly windows (RFC 9293 section
 * 3.8.6.2.2).
 */
static inline struct dk_tcp_window dk_tcp_window_tell(struct dk_tcp_conn *c, int64_t now)
{
    const int64_t units = (int64_t)(c->rcv_nxt - c->rcv_adv) >> c->rcv_wscale; /* rounds up */
    if (dk_unlikely(!dk_tcp_window_stays(c)))
        return dk_tcp_window_tell_other(c, now);
    return (struct dk_tcp_window){c->rcv_nxt - ((uint64_t)units << c->rcv_wscale),
                                  (uint32_t)-units};
}

/* Whether the window that the peer knows is half of the buffer or less: what is read may have to be
 * told. No window is so large that two of them do not fit in 31 bits. */
static inline bool dk_tcp_window_is_low(const struct dk_tcp_conn *c)
{
    const int32_t known = (int32_t)((uint32_t)c->rcv_adv - (uint32_t)c->rcv_nxt);
    return 2 * known <= c->option[DK_TCP_RCV_BUF];
}

/* The receive buffer, rcv_mss, or DK_TCP_QUICK_ACK changed: so does what follows of them. */
void dk_tcp_rcvq_sized(struct dk_tcp_conn *c);

/* Whether the reader has made so much room that the peer is to be told at once. */
bool dk_tcp_window_update_due(struct dk_tcp_conn *c, int64_t now);

#endif /* DK_NET_TCP_RCVQ_H */
