/* SPDX-License-Identifier: MIT */
/*
 * Samples of the delivery rate (draft-cheng-iccrg-delivery-rate-estimation).
 *
 * Each segment takes along what had been delivered when it left; when it is delivered itself, the
 * difference, over the time that it took to be sent or to be acknowledged, whichever is longer, is
 * a rate that the path has carried. Samples from when the application had nothing more to send are
 * marked as such. A tick is 2^10 ns; 32 bits of them are over an hour, more than any timeout.
 *
 * Whoever finds out that a segment has arrived, by a cumulative acknowledgement or a selective one,
 * calls dk_tcp_rate_delivered, once for each byte, and sets delivered_at. Then a sample can be
 * taken from what was noted of the newest segment; an algorithm that wants none does not pay for it
 * (DK_TCP_CC_RATE).
 */
#ifndef DK_NET_TCP_RATE_H
#define DK_NET_TCP_RATE_H

#include "net/tcp/tcb.h"

#define DK_TCP_RATE_TICK_SHIFT 10

static inline uint32_t dk_tcp_rate_ticks(int64_t ns)
{
    return (uint32_t)(ns >> DK_TCP_RATE_TICK_SHIFT);
}

/* A segment leaves, and is not counted in flight_bytes yet. */
static inline void dk_tcp_rate_sent(struct dk_tcp_conn *c, struct dk_tcp_segment *s, int64_t now)
{
    if (c->flight_bytes == 0)
        c->newest_time = c->delivered_at = now;
    s->sent.delivered = (uint32_t)c->delivered;
    s->sent.delivered_at = dk_tcp_rate_ticks(c->delivered_at);
    s->sent.first_sent = dk_tcp_rate_ticks(c->newest_time);
    s->sent.in_flight = c->flight_bytes + (uint32_t)(s->end - s->seq);
    s->sent.lost = c->lost_bytes;
    s->limited = c->delivered <= c->app_limited;
}

/* `bytes` of a segment have arrived; all of it when they reach its end. Whether c->newest is of it
 * now. */
static inline bool dk_tcp_rate_delivered(struct dk_tcp_conn *c, const struct dk_tcp_segment *s,
                                         uint32_t bytes)
{
    c->delivered += bytes;
    if (dk_unlikely(bytes < s->end - s->seq || s->tx_time < c->newest_time))
        return false;
    c->newest_limited = s->limited;
    c->newest_time = s->tx_time;
    c->newest = s->sent;
    return true;
}

/* A segment was marked as lost. */
void dk_tcp_rate_lost(struct dk_tcp_conn *c, const struct dk_tcp_segment *s);

/* Makes a sample of what an acknowledgement has delivered; `before` it was delivered so much.
 * newest: c->newest is of one of those segments. */
void dk_tcp_rate_sample(const struct dk_tcp_conn *c, bool newest, uint64_t before,
                        struct dk_tcp_rate *rate_out);

/* Nothing more can be sent now: when that is for want of data, what is in flight is less than the
 * path would carry. */
static inline void dk_tcp_rate_check_limited(struct dk_tcp_conn *c)
{
    if (c->snd_nxt >= c->snd_end && c->flight_bytes < c->cc.cwnd && !c->lost_hint)
        c->app_limited = c->delivered + c->flight_bytes;
}

/* Bytes per second, of the latest segment that was acknowledged; 0: not known. */
uint64_t dk_tcp_rate_latest(const struct dk_tcp_conn *c);

#endif /* DK_NET_TCP_RATE_H */
