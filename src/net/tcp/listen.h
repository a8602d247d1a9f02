/* SPDX-License-Identifier: MIT */
/*
 * Listeners: half-open connections, and those that wait to be accepted.
 */
#ifndef DK_NET_TCP_LISTEN_H
#define DK_NET_TCP_LISTEN_H

#include "net/tcp/tcb.h"

/* The listener for a segment to an endpoint: of the address before of all; NULL: none. */
struct dk_tcp_listener *dk_tcp_listener_find(struct dk_tcp *tcp, const struct dk_ip *ip,
                                             uint16_t port);

/* A segment for no connection, to a listener (RFC 9293 section 3.10.7.2). isn_floor: our first
 * number is to be beyond it (a connection in TIME_WAIT gave way), 0: any. Returns the connection
 * that the segment, an ACK of a SYN cookie, is for now; NULL: it is done with. */
struct dk_tcp_conn *dk_tcp_listen_input(struct dk_tcp_listener *l, const struct dk_tcp_rx *rx,
                                        uint64_t isn_floor);

/* A half-open connection's handshake is complete; false: there is no room in the accept queue. */
bool dk_tcp_listen_established(struct dk_tcp_conn *c);

/* A connection leaves its listener's queue, if it is in one. */
void dk_tcp_listen_forget(struct dk_tcp_conn *c);

/* Ends all listeners, without a word. */
void dk_tcp_listen_fini(struct dk_tcp *tcp);

#endif /* DK_NET_TCP_LISTEN_H */
