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

/* Takes a measured round trip of something that was sent once, or found by timestamps. Ends the
 * backoff. */
static inline void dk_tcp_rto_sample(struct dk_tcp_conn *c, int64_t rtt_ns)
{
    int64_t rtt = rtt_ns < 1 ? 1 : rtt_ns, srtt = c->srtt_ns, rttvar = c->rttvar_ns;
    if (rtt < c->min_rtt_ns || c->min_rtt_ns < 0)
        c->min_rtt_ns = rtt;
    if (dk_unlikely(srtt < 0)) { /* (2.2) */
        srtt = rtt;
        rttvar = rtt / 2;
    } else { /* (2.3), where a shift rounds towards less */
        int64_t off = srtt > rtt ? srtt - rtt : rtt - srtt;
        rttvar += (off - rttvar) >> 2;
        srtt += (rtt - srtt) >> 3;
    }
    int64_t k = 4 * rttvar;
    c->srtt_ns = srtt;
    c->rttvar_ns = rttvar;
    c->rto_ns =
        dk_tcp_rto_bounded(c, srtt + (k > DK_TCP_GRANULARITY_NS ? k : DK_TCP_GRANULARITY_NS));
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

/* Starts the timer for what is in flight, or stops it when nothing is (5.1 to 5.3). */
static inline void dk_tcp_rto_restart(struct dk_tcp_conn *c, int64_t now)
{
    if (c->snd_una == c->snd_nxt) {
        dk_tcp_timer_clear(c, DK_TCP_TIMER_RTO);
        return;
    }
    dk_tcp_timer_set(c, DK_TCP_TIMER_RTO, now + c->rto_ns);
    if (dk_unlikely(!dk_tcp_timer_is_set(c, DK_TCP_TIMER_LOSS)) && c->sack_on)
        dk_tcp_timer_set(c, DK_TCP_TIMER_LOSS, now + dk_tcp_probe_timeout(c)); /* tlp.c */
    if (dk_unlikely(c->option[DK_TCP_USER_TIMEOUT] > 0))
        dk_tcp_rto_bound(c);
}

/* Something is in flight now. */
static inline void dk_tcp_sent_something(struct dk_tcp_conn *c, int64_t now)
{
    if (dk_tcp_timer_is_set(c, DK_TCP_TIMER_RTO))
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
