/* SPDX-License-Identifier: MIT */
/*
 * Segments that arrived before what precedes them (RFC 9293 section 3.10.7.4, seventh check).
 *
 * Ranges in order, without overlap, all beyond rcv_nxt. Bytes that are there already are kept, and
 * what comes again for the same numbers is not looked at.
 */
#ifndef DK_NET_TCP_REASM_H
#define DK_NET_TCP_REASM_H

#include "net/tcp/tcb.h"

/* Keeps a segment's bytes as far as they are new; what finds no room is dropped and counted. */
void dk_tcp_reasm_insert(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx);

/* The record of what is out of order, made where there is none: NULL without memory. */
struct dk_tcp_reasm *dk_tcp_reasm_need(struct dk_tcp_conn *c);

/* Gives it back when nothing is in it. */
void dk_tcp_reasm_tidy(struct dk_tcp_conn *c);

/* Moves what is in order now to the receive queue; advances rcv_nxt. There is a record. */
void dk_tcp_reasm_drain(struct dk_tcp_conn *c);

/* The number behind the last byte that was received, in order or not. */
uint64_t dk_tcp_reasm_end(const struct dk_tcp_conn *c);

void dk_tcp_reasm_clear(struct dk_tcp_conn *c);

#endif /* DK_NET_TCP_REASM_H */
