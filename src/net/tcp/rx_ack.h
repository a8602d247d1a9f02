/* SPDX-License-Identifier: MIT */
/*
 * The fifth check: what a segment acknowledges.
 */
#ifndef DK_NET_TCP_RX_ACK_H
#define DK_NET_TCP_RX_ACK_H

#include "net/tcp/tcb.h"

/* True: the segment goes on to its text. */
bool dk_tcp_rx_ack(struct dk_tcp_conn *c, struct dk_tcp_rx *rx);

/* The part of that which is left of a segment that is known to acknowledge something up to snd_nxt,
 * and to be no duplicate, on a connection whose FIN was not sent. rx->ack and wnd are set. */
void dk_tcp_rx_ack_good(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx);

/* Our SYN is acknowledged: lets it go and takes the round trip. */
void dk_tcp_rx_ack_syn(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx, uint64_t ack);

#endif /* DK_NET_TCP_RX_ACK_H */
