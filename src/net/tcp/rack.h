/* SPDX-License-Identifier: MIT */
/*
 * RACK: a segment is lost when one that was sent sufficiently later has arrived (RFC 8985,
 * section 6).
 */
#ifndef DK_NET_TCP_RACK_H
#define DK_NET_TCP_RACK_H

#include "net/tcp/recovery.h"

/* A segment is acknowledged for the first time (steps 1 to 3). */
void dk_tcp_rack_delivered(struct dk_tcp_conn *c, const struct dk_tcp_segment *s,
                           const struct dk_tcp_rx *rx, const struct dk_tcp_heard *h);

/* The reordering window grows by a D-SACK, once in a round trip (step 4). */
void dk_tcp_rack_dsack(struct dk_tcp_conn *c);

/* An episode has ended: what D-SACKs did to the window is forgotten after 16 of them (step 4). */
void dk_tcp_rack_recovered(struct dk_tcp_conn *c);

/* Marks what is lost, and sets the timer for what may be (step 5). Whether something was marked. */
bool dk_tcp_rack_detect(struct dk_tcp_conn *c, int64_t now);

/* As that when the retransmission timer fired (section 6.3). */
void dk_tcp_rack_timeout(struct dk_tcp_conn *c, int64_t now);

#endif /* DK_NET_TCP_RACK_H */
