/* SPDX-License-Identifier: MIT */
/*
 * The retransmission time-out (RFC 6298).
 */
#ifndef DK_NET_TCP_RTO_H
#define DK_NET_TCP_RTO_H

#include "net/tcp/tcb.h"
#include "net/tcp/timer.h"

#define DK_TCP_GRANULARITY_NS DK_NS_PER_MS /* of the clock, G; ours is far finer */

/* No probe is sent sooner: timers, ours and the peer's, are seldom finer. */
#define DK_TCP_PROBE_MIN_NS DK_NS_PER_MS

void dk_tcp_rto_init(struct dk_tcp_conn *c);

static inline int64_t dk_tcp_rto_bounded(const struct dk_tcp_conn *c, int64_t rto)
{
    const struct dk_tcp_config *config = &c->tcp->config;
    if (rto < config->rto_min_ns)
        return config->rto_min_ns;
    return rto > config->rto_max_ns ? config->rto_max_ns : rto;
}

/* (2.2) */
void dk_tcp_rto_first(struct dk_tcp_conn *c, int64_t rtt_ns);

static inline int64_t dk_tcp_rto_unbounded(const struct dk_tcp_conn *c)
{
    const int64_t k = 4 * c->rttvar_ns;
    return c->srtt_ns + (k > DK_TCP_GRANULARITY_NS ? k : DK_TCP_GRANULARITY_NS);
}

/* The time-out of what was measured: mostly the least that there is. */
static inline void dk_tcp_rto_compute(struct dk_tcp_conn *c)
{
    const int64_t least = c->tcp->config.rto_min_ns;
    if (dk_likely(c->srtt_ns + 4 * c->rttvar_ns + DK_TCP_GRANULARITY_NS <= least))
        c->rto_ns = least;
    else
        c->rto_ns = dk_tcp_rto_bounded(c, dk_tcp_rto_unbounded(c));
}

/* Takes a measured round trip of something that was sent once, or found by timestamps. Ends the
 * backoff. */
static inline void dk_tcp_rto_sample(struct dk_tcp_conn *c, int64_t rtt_ns)
{
    const int64_t rtt = rtt_ns + (rtt_ns == 0), srtt = c->srtt_ns;
    if (dk_unlikely((uint64_t)rtt < (uint64_t)c->min_rtt_ns)) /* or that is -1 */
        c->min_rtt_ns = rtt;
    if (dk_unlikely(srtt < 0)) { /* (2.2) */
        dk_tcp_rto_first(c, rtt);
        return;
    }
    /* (2.3), where a shift rounds towards less */
    const int64_t off = rtt - srtt, distance = off < 0 ? -off : off;
    c->rttvar_ns += (distance - c->rttvar_ns) >> 2;
    c->srtt_ns = srtt + (off >> 3);
    dk_tcp_rto_compute(c);
}

/* Doubles it (5.5). */
void dk_tcp_rto_backoff(struct dk_tcp_conn *c);

/* The SYN was retransmitted and is acknowledged now: starts with 3 s (5.7). */
void dk_tcp_rto_after_syn(struct dk_tcp_conn *c);

/* A user timeout was set: the timer fires no later than it ends. */
void dk_tcp_rto_bound(struct dk_tcp_conn *c);

/* How long to wait for an acknowledgement until a tail loss probe (RFC 8985 section 7.2). */
static inline int64_t dk_tcp_probe_timeout(const struct dk_tcp_conn *c)
{
    if (c->srtt_ns < 0)
        return DK_NS_PER_S;
    return 2 * c->srtt_ns > DK_TCP_PROBE_MIN_NS ? 2 * c->srtt_ns : DK_TCP_PROBE_MIN_NS;
}

/* Starts the timer for what is in flight, on a connection without user timeout. */
static inline void dk_tcp_rto_start(struct dk_tcp_conn *c, int64_t now)
{
    dk_tcp_timer_set(c, DK_TCP_TIMER_RTO, now + c->rto_ns);
    if (dk_unlikely(!dk_tcp_timer_is_set(c, DK_TCP_TIMER_LOSS)) && c->sack_on)
        dk_tcp_timer_set(c, DK_TCP_TIMER_LOSS, now + dk_tcp_probe_timeout(c)); /* tlp.c */
}

/* Starts the timer for what is in flight, or stops it when nothing is (5.1 to 5.3). */
static inline void dk_tcp_rto_restart(struct dk_tcp_conn *c, int64_t now)
{
    if (c->snd_una == c->snd_nxt) {
        dk_tcp_timer_clear(c, DK_TCP_TIMER_RTO);
        return;
    }
    dk_tcp_rto_start(c, now);
    if (dk_unlikely(c->concerns & DK_TCP_CONCERN_TIMEOUT))
        dk_tcp_rto_bound(c);
}

/* Something is in flight now. */
static inline void dk_tcp_sent_something(struct dk_tcp_conn *c, int64_t now)
{
    if (dk_likely(dk_tcp_timer_is_set(c, DK_TCP_TIMER_RTO)))
        return;
    c->stalled_since = now;
    dk_tcp_timer_clear(c, DK_TCP_TIMER_PERSIST);
    dk_tcp_rto_restart(c, now);
}

/* base doubled n times, within the limits. */
int64_t dk_tcp_rto_backed_off(const struct dk_tcp_conn *c, int64_t base, uint32_t n);

/* Whether the user timeout (RFC 5482), or without one the number of retries, is used up. */
bool dk_tcp_rto_gives_up(const struct dk_tcp_conn *c, uint32_t retries, int64_t now);

#endif /* DK_NET_TCP_RTO_H */
