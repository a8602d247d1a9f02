/* SPDX-License-Identifier: MIT */
/*
 * Which algorithm of congestion control a connection has.
 */
#ifndef DK_NET_TCP_CONGESTION_H
#define DK_NET_TCP_CONGESTION_H

#include "net/tcp/tcb.h"

/* Size of the objects of dk_tcp.cc_states. */
uint32_t dk_tcp_congestion_object_bytes(void);

/*
 * Gives a connection the algorithm of that number. One that is established already goes on with
 * the window and threshold that it has. 0, or -ENOBUFS: nothing has changed.
 */
int dk_tcp_congestion_choose(struct dk_tcp_conn *c, uint32_t number, int64_t now);

/* The connection is established: its first round trip, if it was measured, is known. */
void dk_tcp_congestion_begin(struct dk_tcp_conn *c, int64_t now);

/* The connection is freed. */
void dk_tcp_congestion_end(struct dk_tcp_conn *c);

#endif /* DK_NET_TCP_CONGESTION_H */
