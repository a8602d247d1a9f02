/* SPDX-License-Identifier: MIT */
/*
 * Pacing: segments leave at the rate that congestion control says, if it says one.
 *
 * pace_at is when everything that was sent has left at that rate. A segment may go while with it
 * that is no more than a quantum ahead; then the timer waits until it has come. So what leaves at
 * once is a quantum, about a millisecond's worth, and the wheel fires as often at most. The timer
 * is the one of probes, which are for when the window lets nothing go; then no pace is in the way.
 */
#ifndef DK_NET_TCP_PACE_H
#define DK_NET_TCP_PACE_H

#include "net/tcp/timer.h"

/* Bytes that may leave at once: of a millisecond, two segments at least and 64 KiB at most
 * (draft-ietf-ccwg-bbr, "Send Quantum"). */
uint32_t dk_tcp_pace_quantum(const struct dk_tcp_conn *c);

/* Whether a segment may go at a rate; if not the timer is set. */
bool dk_tcp_pace_decide(struct dk_tcp_conn *c, int64_t now);
void dk_tcp_pace_note(struct dk_tcp_conn *c, uint32_t bytes, int64_t now);

static inline bool dk_tcp_pace_allows(struct dk_tcp_conn *c, int64_t now)
{
    return dk_likely(!c->rate_on) || dk_tcp_pace_decide(c, now);
}

/* So many bytes have left. */
static inline void dk_tcp_pace_sent(struct dk_tcp_conn *c, uint32_t bytes, int64_t now)
{
    if (dk_unlikely(c->rate_on))
        dk_tcp_pace_note(c, bytes, now);
}

/* Whether the timer is set for the pace. */
static inline bool dk_tcp_pace_waits(const struct dk_tcp_conn *c)
{
    return dk_unlikely(c->rate_on) && dk_tcp_rated(c)->pace_waits;
}

#endif /* DK_NET_TCP_PACE_H */
