/* SPDX-License-Identifier: MIT */
/*
 * The sixth to eighth checks: what a segment brings.
 */
#ifndef DK_NET_TCP_RX_TEXT_H
#define DK_NET_TCP_RX_TEXT_H

#include "net/tcp/event.h"
#include "net/tcp/rcvq.h"
#include "net/tcp/reasm.h"

/* Urgent data is data like any other, and the pointer says nothing (RFC 6093 section 6). */
void dk_tcp_rx_urgent(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx);

/* Takes the text; false: there is nobody to read it, and the connection was reset. */
bool dk_tcp_rx_text(struct dk_tcp_conn *c, struct dk_tcp_rx *rx);

/* Takes FIN, once everything before it has come. */
void dk_tcp_rx_fin(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx);

/* A segment came that is larger than those before. */
void dk_tcp_rx_larger(struct dk_tcp_conn *c, uint32_t len);

__attribute__((always_inline)) static inline void dk_tcp_owe_ack(struct dk_tcp_conn *c,
                                                                 uint32_t len)
{
    if (dk_unlikely(len > c->rcv_mss))
        dk_tcp_rx_larger(c, len);
    c->ack_bytes += len;
    if (c->ack_bytes >= c->ack_limit)
        c->ack_now = true;
}

/* Whether the owner takes a buffer that comes next, where all is as it mostly is: then it was read,
 * as dk_tcp_recv would have. */
static inline __attribute__((always_inline)) bool
dk_tcp_offer(struct dk_tcp *tcp, struct dk_tcp_conn *c, struct dk_buf *buf, uint32_t len)
{
    if (dk_unlikely(c->rx_head || c->gap || dk_tcp_window_is_low(c)) ||
        !c->ops->offer(c, c->owner, buf))
        return false;
    tcp->read_bytes += len;
    return true;
}

/*
 * Takes len bytes of a buffer, which begin at rcv_nxt and are within the window, in a state that
 * takes text. gives: as that of a frame; the owner may have them at once. NULL: neither. Returns
 * whether it has; then it is to be seen to that they are acknowledged (dk_tcp_timer_owed_ack).
 */
__attribute__((always_inline)) static inline bool
dk_tcp_rx_in_order(struct dk_tcp *tcp, struct dk_tcp_conn *c, struct dk_buf *buf, uint8_t *data,
                   uint32_t len, bool *gives)
{
    struct dk_buf *view =
        gives ? dk_buf_keep_given(buf, data, len, gives) : dk_buf_keep(buf, data, len);
    if (dk_unlikely(!view)) {
        DK_TCP_COUNT(tcp, drop_no_memory); /* as if it was lost */
        return false;
    }
    c->rcv_nxt += len;
    dk_count(&tcp->stats.rx_bytes, len);
    if (gives && c->offers && dk_likely(dk_tcp_offer(tcp, c, view, len))) {
        dk_tcp_owe_ack(c, len);
        return true;
    }
    dk_tcp_rcvq_append(c, view, len);
    if (dk_unlikely(c->gap) && c->reasm) {
        c->ack_now |= c->reasm->ranges != NULL; /* RFC 5681 section 4.2: it filled a gap */
        dk_tcp_reasm_drain(c);
    }
    dk_tcp_owe_ack(c, len);
    dk_tcp_event_of(tcp, c, DK_TCP_EV_READABLE);
    return false;
}

#endif /* DK_NET_TCP_RX_TEXT_H */
