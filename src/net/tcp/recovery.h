/* SPDX-License-Identifier: MIT */
/*
 * Loss recovery: what an acknowledgement means when something is lost, selectively acknowledged,
 * probed, or doubted. A connection of which nothing of that is true is not `troubled`, and never
 * comes here.
 *
 *      record.c    what a connection needs for all this, and has only then
 *      recovery.c  the order of things; beginning and end of an episode; PRR (RFC 6937)
 *      sack.c      SACK blocks that arrive (RFC 2018, 2883), on the scoreboard (RFC 6675)
 *      rack.c      what is lost, by time (RFC 8985 section 6)
 *      tlp.c       tail loss probe (RFC 8985 section 7)
 *      undo.c      episodes that were for nothing (RFC 3522, 3708, 4015, 5682)
 *      rx_ack.c    without SACK: duplicate acknowledgements and NewReno (RFC 5681, 6582)
 */
#ifndef DK_NET_TCP_RECOVERY_H
#define DK_NET_TCP_RECOVERY_H

#include "net/tcp/record.h"

/* RFC 5681 section 3.2, RFC 6675 section 2, RFC 8985 section 6.2. */
#define DK_TCP_DUP_THRESH 3

/* Entries of the scoreboard that one acknowledgement may look at: what lies beyond is not marked by
 * it. A peer that wants us to walk a long list all the time pays with its own throughput. */
#define DK_TCP_WALK_MAX 16384

/* What one acknowledgement told. */
struct dk_tcp_heard {
    uint64_t prior_una, prior_fack;
    uint32_t delivered; /* bytes, cumulatively or selectively, for the first time */
    uint32_t sacked;    /* of them, selectively */
    uint32_t walk;      /* entries that may still be looked at */
    bool duplicate;     /* by RFC 5681 section 2 */
    bool original;      /* it told of something that was sent once, before the timeout */
    bool dsack;
    uint64_t dsack_start, dsack_end;
    int64_t rtt_ns; /* a sample of the round trip, or -1 */
};

/* As an acknowledgement within the range (rx_ack.c) of a troubled connection, or with blocks. */
void dk_tcp_recovery_ack(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx);

/* An episode begins or ends, RFC 6582 or 6675; flight: as the algorithm is to take it. */
void dk_tcp_recovery_enter(struct dk_tcp_conn *c, uint32_t flight, int64_t now);
void dk_tcp_recovery_leave(struct dk_tcp_conn *c, int64_t now);

/* The retransmission timer fired; first: not again for the same segment. Marks what is lost. */
void dk_tcp_recovery_timeout(struct dk_tcp_conn *c, bool first, int64_t now);

/* DK_TCP_TIMER_LOSS fired. */
void dk_tcp_recovery_timer(struct dk_tcp_conn *c, int64_t now);

/* Bytes were sent during recovery, for the first time or again. */
static inline void dk_tcp_recovery_sent(struct dk_tcp_conn *c, uint32_t bytes)
{
    if (dk_unlikely(c->in_recovery) && dk_tcp_record_is_there(c))
        c->loss->prr_out += bytes;
}

#endif /* DK_NET_TCP_RECOVERY_H */
