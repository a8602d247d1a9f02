/* SPDX-License-Identifier: MIT */
/*
 * The records of loss recovery (struct dk_tcp_recovery), of which there are fewer than connections.
 *
 * A connection takes one when something may be lost, and keeps it afterwards, with what it learned
 * about reordering, until the connection ends or another needs it: one that has no trouble now
 * gives it up, the one that needed it longest ago first. Where all are in use the connection works
 * on this loss without SACK (RFC 6582), takes nothing back and probes no tail; it is counted. Its
 * `loss` is dk_tcp.no_recovery then, which is all zero whenever nothing is being worked on.
 */
#ifndef DK_NET_TCP_RECORD_H
#define DK_NET_TCP_RECORD_H

#include "net/tcp/tcb.h"

static inline bool dk_tcp_record_is_there(const struct dk_tcp_conn *c)
{
    return c->loss != &c->tcp->no_recovery;
}

/* Whether losses are found out by SACK and time, or else by duplicate acknowledgements. */
static inline bool dk_tcp_uses_sack(const struct dk_tcp_conn *c)
{
    return c->sack_on && dk_tcp_record_is_there(c);
}

/* Work on a loss begins, with a record where there is one for the connection, and ends. */
void dk_tcp_record_need(struct dk_tcp_conn *c);
void dk_tcp_record_done(struct dk_tcp_conn *c);

/* The connection ends. */
void dk_tcp_record_put(struct dk_tcp_conn *c);

#endif /* DK_NET_TCP_RECORD_H */
