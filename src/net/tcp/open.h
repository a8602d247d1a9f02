/* SPDX-License-Identifier: MIT */
/*
 * How a connection begins.
 */
#ifndef DK_NET_TCP_OPEN_H
#define DK_NET_TCP_OPEN_H

#include "net/tcp/tcb.h"

/* Chooses the first number (beyond floor, unless that is 0) and queues the SYN; the state is
 * SYN_SENT or SYN_RECEIVED. dk_tcp_output sends it. */
void dk_tcp_open_begin(struct dk_tcp_conn *c, enum dk_tcp_state state, uint64_t isn_floor,
                       int64_t now);

/* Gives one that has begun, and sent nothing, another first number. */
void dk_tcp_open_renumber(struct dk_tcp_conn *c, uint32_t isn);

/* Whether a connection in TIME_WAIT may give way to one that we open: timestamps tell their
 * segments apart (RFC 6191, RFC 7323 section 5.5). */
bool dk_tcp_open_may_replace(const struct dk_tcp_conn *c, int64_t now);

/* The connection is established. */
void dk_tcp_open_done(struct dk_tcp_conn *c, int64_t now);

#endif /* DK_NET_TCP_OPEN_H */
