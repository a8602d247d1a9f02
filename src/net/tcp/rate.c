/* SPDX-License-Identifier: MIT */
/*
 * The times of the newest segment that is known to be delivered begin the interval of the next that
 * leaves (newest_time); with nothing in flight it begins anew.
 */
#include "net/tcp/rate.h"

void dk_tcp_rate_lost(struct dk_tcp_conn *c, const struct dk_tcp_segment *s)
{
    const uint32_t bytes = (uint32_t)(s->end - s->seq);
    if (s->transmits == 0)
        return;
    c->lost_bytes += bytes;
    if (!c->cc.ops->on_lost || !c->cc.cwnd)
        return;
    struct dk_tcp_cc_lost lost = {.bytes = bytes,
                                  .tx_in_flight = s->sent.in_flight,
                                  .lost_since = c->lost_bytes - s->sent.lost,
                                  .total = c->delivered,
                                  .is_app_limited = s->limited,
                                  .has_sack = c->sack_on};
    c->cc.ops->on_lost(&c->cc, &lost);
}

/* How long the newest segment's interval took: the longer of sending and of acknowledging. */
static uint32_t interval_ticks(const struct dk_tcp_conn *c)
{
    const uint32_t send = dk_tcp_rate_ticks(c->newest_time) - c->newest.first_sent;
    const uint32_t ack = dk_tcp_rate_ticks(c->delivered_at) - c->newest.delivered_at;
    return send > ack ? send : ack;
}

void dk_tcp_rate_sample(const struct dk_tcp_conn *c, bool newest, uint64_t before,
                        struct dk_tcp_rate *rate)
{
    *rate = (struct dk_tcp_rate){.total = c->delivered,
                                 .prior_total = c->delivered,
                                 .newly = (uint32_t)(c->delivered - before),
                                 .in_flight = c->flight_bytes};
    if (!newest)
        return;
    rate->delivered = (uint32_t)c->delivered - c->newest.delivered;
    rate->prior_total -= rate->delivered;
    rate->tx_in_flight = c->newest.in_flight;
    rate->lost = c->lost_bytes - c->newest.lost;
    rate->is_app_limited = c->newest_limited;
    const uint32_t ticks = interval_ticks(c);
    /* Shorter than any round trip: acknowledgements came together, it tells nothing. */
    if (((int64_t)ticks + 1) << DK_TCP_RATE_TICK_SHIFT >= c->min_rtt_ns)
        rate->interval_ns = (int64_t)ticks << DK_TCP_RATE_TICK_SHIFT;
}

uint64_t dk_tcp_rate_latest(const struct dk_tcp_conn *c)
{
    const uint32_t ticks = interval_ticks(c), bytes = (uint32_t)c->delivered - c->newest.delivered;
    return ticks ? (uint64_t)bytes * (DK_NS_PER_S >> DK_TCP_RATE_TICK_SHIFT) / ticks : 0;
}
