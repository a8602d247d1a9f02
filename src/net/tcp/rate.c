/* SPDX-License-Identifier: MIT */
/*
 * The times of the newest segment that is known to be delivered begin the interval of the next that
 * leaves (newest_time); with nothing in flight it begins anew.
 */
#include "net/tcp/rate.h"

void dk_tcp_rate_note_sent(struct dk_tcp_conn *c, struct dk_tcp_segment *s, int64_t now)
{
    struct dk_tcp_rated *r = dk_tcp_rated(c);
    if (c->flight_bytes == 0)
        r->newest_time = r->delivered_at = now;
    s->sent = (struct dk_tcp_sent){.delivered = (uint32_t)r->delivered,
                                   .delivered_at = dk_tcp_rate_ticks(r->delivered_at),
                                   .first_sent = dk_tcp_rate_ticks(r->newest_time),
                                   .in_flight = c->flight_bytes + (uint32_t)(s->end - s->seq),
                                   .lost = r->lost_bytes};
    s->limited = r->app_limited && r->delivered <= r->app_limited;
}

bool dk_tcp_rate_note_delivered(struct dk_tcp_conn *c, const struct dk_tcp_segment *s,
                                uint32_t bytes)
{
    struct dk_tcp_rated *r = dk_tcp_rated(c);
    r->delivered += bytes;
    if (bytes < s->end - s->seq || s->tx_time < r->newest_time)
        return false;
    r->newest_limited = s->limited;
    r->newest_time = s->tx_time;
    r->newest = s->sent;
    return true;
}

void dk_tcp_rate_note_lost(struct dk_tcp_conn *c, const struct dk_tcp_segment *s)
{
    struct dk_tcp_rated *r = dk_tcp_rated(c);
    const uint32_t bytes = (uint32_t)(s->end - s->seq);
    if (s->transmits == 0 || c->cc.cwnd == 0)
        return;
    r->lost_bytes += bytes;
    if (!c->cc.ops->on_lost)
        return;
    struct dk_tcp_cc_lost lost = {.bytes = bytes,
                                  .tx_in_flight = s->sent.in_flight,
                                  .lost_since = r->lost_bytes - s->sent.lost,
                                  .total = r->delivered,
                                  .is_app_limited = s->limited,
                                  .has_sack = c->sack_on};
    c->cc.ops->on_lost(&c->cc, &lost);
}

void dk_tcp_rate_begin(struct dk_tcp_conn *c, int64_t now)
{
    struct dk_tcp_rated *r = dk_tcp_rated(c);
    r->newest_time = r->delivered_at = now;
    for (struct dk_tcp_segment *s = c->board; s; s = s->next)
        dk_tcp_rate_note_sent(c, s, now);
}

/* How long the newest segment's interval took: the longer of sending and of acknowledging. */
static uint32_t interval_ticks(const struct dk_tcp_rated *r)
{
    const uint32_t send = dk_tcp_rate_ticks(r->newest_time) - r->newest.first_sent;
    const uint32_t ack = dk_tcp_rate_ticks(r->delivered_at) - r->newest.delivered_at;
    return send > ack ? send : ack;
}

void dk_tcp_rate_sample(const struct dk_tcp_conn *c, bool newest, uint64_t before,
                        struct dk_tcp_rate *rate)
{
    const struct dk_tcp_rated *r = dk_tcp_rated(c);
    *rate = (struct dk_tcp_rate){.total = r->delivered,
                                 .prior_total = r->delivered,
                                 .newly = (uint32_t)(r->delivered - before),
                                 .in_flight = c->flight_bytes};
    if (!newest)
        return;
    rate->delivered = (uint32_t)r->delivered - r->newest.delivered;
    rate->prior_total -= rate->delivered;
    rate->tx_in_flight = r->newest.in_flight;
    rate->lost = r->lost_bytes - r->newest.lost;
    rate->is_app_limited = r->newest_limited;
    const uint32_t ticks = interval_ticks(r);
    /* Shorter than any round trip: acknowledgements came together, it tells nothing. */
    if (((int64_t)ticks + 1) << DK_TCP_RATE_TICK_SHIFT >= c->min_rtt_ns)
        rate->interval_ns = (int64_t)ticks << DK_TCP_RATE_TICK_SHIFT;
}

uint64_t dk_tcp_rate_latest(const struct dk_tcp_conn *c, bool *limited_out)
{
    *limited_out = c->flight_bytes < c->cc.cwnd;
    if (!c->rate_on)
        return c->srtt_ns > 0 ? (uint64_t)c->flight_bytes * DK_NS_PER_S / (uint64_t)c->srtt_ns : 0;
    const struct dk_tcp_rated *r = dk_tcp_rated(c);
    const uint32_t ticks = interval_ticks(r), bytes = (uint32_t)r->delivered - r->newest.delivered;
    *limited_out = r->newest_limited;
    return ticks ? (uint64_t)bytes * (DK_NS_PER_S >> DK_TCP_RATE_TICK_SHIFT) / ticks : 0;
}
