/* SPDX-License-Identifier: MIT */
/*
 * RFC 6298: SRTT and RTTVAR in nanoseconds; the clock's granularity G is far below the least RTO.
 *
 * The least RTO is configured (200 ms by default where the RFC has 1 s: what Linux does, and what
 * its peers' delayed acknowledgements of 40 ms allow).
 */
#include "net/tcp/rto.h"

#include "net/tcp/timer.h"

#define AFTER_SYN_NS (3 * DK_NS_PER_S)

void dk_tcp_rto_init(struct dk_tcp_conn *c)
{
    c->srtt_ns = c->rttvar_ns = c->min_rtt_ns = -1;
    c->rto_ns = c->tcp->config.rto_initial_ns;
}

int64_t dk_tcp_rto_backed_off(const struct dk_tcp_conn *c, int64_t base, uint32_t n)
{
    int64_t max = c->tcp->config.rto_max_ns;
    while (n-- > 0 && base < max)
        base *= 2;
    return base > max ? max : base;
}

void dk_tcp_rto_backoff(struct dk_tcp_conn *c)
{
    c->rto_ns = dk_tcp_rto_backed_off(c, c->rto_ns, 1);
}

void dk_tcp_rto_first(struct dk_tcp_conn *c, int64_t rtt_ns)
{
    c->srtt_ns = rtt_ns;
    c->rttvar_ns = rtt_ns / 2;
    dk_tcp_rto_compute(c);
}

void dk_tcp_rto_after_syn(struct dk_tcp_conn *c)
{
    if (c->srtt_ns < 0)
        c->rto_ns = dk_tcp_rto_bounded(c, AFTER_SYN_NS);
}

void dk_tcp_rto_bound(struct dk_tcp_conn *c)
{
    int64_t timeout = dk_tcp_option_ns(c, DK_TCP_USER_TIMEOUT);
    if (timeout <= 0 || !dk_tcp_timer_is_set(c, DK_TCP_TIMER_RTO))
        return;
    if (c->stalled_since + timeout < c->due[DK_TCP_TIMER_RTO])
        dk_tcp_timer_set(c, DK_TCP_TIMER_RTO, c->stalled_since + timeout);
}

bool dk_tcp_rto_gives_up(const struct dk_tcp_conn *c, uint32_t retries, int64_t now)
{
    int64_t timeout = dk_tcp_option_ns(c, DK_TCP_USER_TIMEOUT);
    if (timeout > 0)
        return now - c->stalled_since >= timeout;
    bool opening = c->state == DK_TCP_SYN_SENT || c->state == DK_TCP_SYN_RECEIVED;
    return retries >= (opening ? c->tcp->config.syn_retries : c->tcp->config.retries);
}
