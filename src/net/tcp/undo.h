/* SPDX-License-Identifier: MIT */
/*
 * Retransmissions that were for nothing: found out, and their effect on the congestion window taken
 * back (RFC 4015).
 *
 * By timestamps (Eifel, RFC 3522): the acknowledgement echoes a segment that was sent before the
 * first retransmission. By D-SACK (RFC 3708): the peer had each of the retransmitted segments
 * already. By F-RTO (RFC 5682): after a timeout and the retransmission of one segment,
 * acknowledgements of others arrive.
 */
#ifndef DK_NET_TCP_UNDO_H
#define DK_NET_TCP_UNDO_H

#include "net/tcp/recovery.h"

/* RFC 5682 section 3: which acknowledgement after the timeout is awaited. */
enum dk_tcp_frto {
    DK_TCP_FRTO_OFF,
    DK_TCP_FRTO_FIRST,
    DK_TCP_FRTO_SECOND, /* nothing is retransmitted now: new data goes instead */
};

/* An episode begins. */
void dk_tcp_undo_begin(struct dk_tcp_conn *c);

/* A segment of it, which ends there, was retransmitted. */
void dk_tcp_undo_retransmitted(struct dk_tcp_conn *c, uint64_t end, int64_t now);

/* Finds out; where it was for nothing the episode is over. */
void dk_tcp_undo_ack(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx,
                     const struct dk_tcp_heard *h);

#endif /* DK_NET_TCP_UNDO_H */
