/* SPDX-License-Identifier: MIT */
/*
 * The three-way handshake: segments that arrive in SYN_SENT and SYN_RECEIVED.
 */
#ifndef DK_NET_TCP_HANDSHAKE_H
#define DK_NET_TCP_HANDSHAKE_H

#include "net/tcp/tcb.h"

/* Takes what a SYN says: the first number, and the options of both (RFC 7323 sections 2 and 3). */
void dk_tcp_handshake_syn(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx);

/* RFC 9293 section 3.10.7.3. True: the connection is synchronized now, and the segment may have
 * text and FIN. */
bool dk_tcp_rx_syn_sent(struct dk_tcp_conn *c, struct dk_tcp_rx *rx);

/* A segment in SYN_RECEIVED that has SYN and is the peer's SYN again. True: it goes on through the
 * checks (the answer to ours when both opened at once, its SYN taken off). */
bool dk_tcp_rx_syn_again(struct dk_tcp_conn *c, struct dk_tcp_rx *rx);

/* The fifth check in SYN_RECEIVED. True: established. */
bool dk_tcp_rx_completes(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx);

#endif /* DK_NET_TCP_HANDSHAKE_H */
