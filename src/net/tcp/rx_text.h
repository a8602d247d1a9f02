/* SPDX-License-Identifier: MIT */
/*
 * The sixth to eighth checks: what a segment brings.
 */
#ifndef DK_NET_TCP_RX_TEXT_H
#define DK_NET_TCP_RX_TEXT_H

#include "net/tcp/tcb.h"

/* Urgent data is data like any other, and the pointer says nothing (RFC 6093 section 6). */
void dk_tcp_rx_urgent(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx);

/* Takes the text; false: there is nobody to read it, and the connection was reset. */
bool dk_tcp_rx_text(struct dk_tcp_conn *c, struct dk_tcp_rx *rx);

/* Takes FIN, once everything before it has come. */
void dk_tcp_rx_fin(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx);

/* Takes the text of a segment that begins at rcv_nxt and is within the window, in a state that
 * takes text. */
void dk_tcp_rx_in_order(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx);

#endif /* DK_NET_TCP_RX_TEXT_H */
