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

/* The rest of these, while rate_on. */
void dk_tcp_rate_note_sent(struct dk_tcp_conn *c, struct dk_tcp_segment *s, int64_t now);
bool dk_tcp_rate_note_delivered(struct dk_tcp_conn *c, const struct dk_tcp_segment *s,
                                uint32_t bytes);
void dk_tcp_rate_note_lost(struct dk_tcp_conn *c, const struct dk_tcp_segment *s);

/* A segment leaves, and is not counted in flight_bytes yet. */
static inline void dk_tcp_rate_sent(struct dk_tcp_conn *c, struct dk_tcp_segment *s, int64_t now)
{
    if (dk_unlikely(c->rate_on))
        dk_tcp_rate_note_sent(c, s, now);
}

/* `bytes` of a segment have arrived; all of it when they reach its end. Whether the newest segment
 * is this one now. */
static inline bool dk_tcp_rate_delivered(struct dk_tcp_conn *c, const struct dk_tcp_segment *s,
                                         uint32_t bytes)
{
    return dk_unlikely(c->rate_on) && dk_tcp_rate_note_delivered(c, s, bytes);
}

/* A segment was marked as lost. */
static inline void dk_tcp_rate_lost(struct dk_tcp_conn *c, const struct dk_tcp_segment *s)
{
    if (dk_unlikely(c->rate_on))
        dk_tcp_rate_note_lost(c, s);
}

/* Bytes delivered until now. */
static inline uint64_t dk_tcp_rate_total(const struct dk_tcp_conn *c)
{
    return dk_unlikely(c->rate_on) ? dk_tcp_rated(c)->delivered : 0;
}

/* Makes a sample of what an acknowledgement has delivered; `before` it was delivered so much.
 * newest: the newest segment is one of those. */
void dk_tcp_rate_sample(const struct dk_tcp_conn *c, bool newest, uint64_t before,
                        struct dk_tcp_rate *rate_out);

/* Nothing more can be sent now: when that is for want of data, what is in flight is less than the
 * path would carry. */
static inline void dk_tcp_rate_check_limited(struct dk_tcp_conn *c)
{
    if (dk_likely(!c->rate_on) || c->snd_nxt < c->snd_end || c->flight_bytes >= c->cc.cwnd ||
        c->lost_hint)
        return;
    struct dk_tcp_rated *r = dk_tcp_rated(c);
    r->app_limited = r->delivered + c->flight_bytes;
}

/* Measuring begins, amid a connection perhaps. */
void dk_tcp_rate_begin(struct dk_tcp_conn *c, int64_t now);

/* Bytes per second: measured, or else what is in flight in a round trip (Little's law); 0: not
 * known. Whether the application has less to send than may be. */
uint64_t dk_tcp_rate_latest(const struct dk_tcp_conn *c, bool *limited_out);

#endif /* DK_NET_TCP_RATE_H */
