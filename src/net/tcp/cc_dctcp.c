/* SPDX-License-Identifier: MIT */
/*
 * DCTCP (RFC 8257): the window shrinks by as much as the path is congested.
 *
 * alpha estimates which part of the bytes met congestion, in 2^-16; it starts at all of them and
 * moves by g = 1/16 of the way once in a window of data (section 3.3). Without marks it grows, and
 * with losses it halves, as Reno does (sections 3.4 and 3.5).
 */
#include "net/tcp/cc_window.h"

#define ALPHA_ONE (1u << 16)
#define G_SHIFT   4

struct dctcp {
    uint64_t window_end;
    uint32_t alpha;
    uint32_t bytes, marked; /* acknowledged in this window */
    uint32_t acked;         /* in congestion avoidance, since cwnd grew */
    struct dk_cc_undo undo;
} __attribute__((may_alias));

_Static_assert(sizeof(struct dctcp) <= 8 * DK_TCP_CC_OWN, "own");

static struct dctcp *own(struct dk_tcp_cc *cc)
{
    return (struct dctcp *)cc->own;
}

static void init(struct dk_tcp_cc *cc, int64_t rtt_ns, int64_t now)
{
    (void)rtt_ns;
    (void)now;
    dk_cc_begin(cc);
    *own(cc) = (struct dctcp){.alpha = ALPHA_ONE};
}

/* alpha = (1 - g) alpha + g M; what is below the resolution goes to zero. */
static void update_alpha(struct dctcp *d)
{
    uint32_t m = (uint32_t)((uint64_t)d->marked * ALPHA_ONE / d->bytes);
    uint32_t decay = d->alpha >> G_SHIFT;
    d->alpha -= decay ? decay : d->alpha;
    d->alpha = dk_cc_min32(d->alpha + (m >> G_SHIFT), ALPHA_ONE);
}

static void observe(struct dctcp *d, const struct dk_tcp_cc_ack *ack)
{
    if (ack->bytes == 0)
        return;
    d->bytes += ack->bytes;
    if (ack->ece)
        d->marked += ack->bytes;
    if (ack->snd_una <= d->window_end)
        return;
    if (d->window_end != 0)
        update_alpha(d);
    d->bytes = d->marked = 0;
    d->window_end = ack->snd_nxt;
}

static void on_ack(struct dk_tcp_cc *cc, const struct dk_tcp_cc_ack *ack, int64_t now)
{
    (void)now;
    observe(own(cc), ack);
    if (ack->in_recovery || !dk_cc_is_used(cc, ack))
        return;
    if (dk_cc_in_slow_start(cc))
        dk_cc_slow_start(cc, ack);
    else
        dk_cc_avoid(cc, ack, &own(cc)->acked);
}

static void remember(struct dk_tcp_cc *cc)
{
    struct dctcp *d = own(cc);
    d->undo = dk_cc_remember(cc);
    d->acked = 0;
}

static void on_loss(struct dk_tcp_cc *cc, uint32_t flight, int64_t now)
{
    (void)now;
    remember(cc);
    cc->cwnd = cc->ssthresh = dk_cc_max32(flight / 2, 2 * cc->mss);
}

/* cwnd = cwnd (1 - alpha / 2). */
static void on_ecn(struct dk_tcp_cc *cc, uint32_t flight, int64_t now)
{
    (void)flight;
    (void)now;
    remember(cc);
    uint32_t less = (uint32_t)((uint64_t)cc->cwnd * own(cc)->alpha / (2 * ALPHA_ONE));
    cc->cwnd = cc->ssthresh = dk_cc_max32(cc->cwnd - less, 2 * cc->mss);
}

static void on_rto(struct dk_tcp_cc *cc, uint32_t flight, bool first, int64_t now)
{
    if (first)
        on_loss(cc, flight, now);
    cc->cwnd = cc->mss;
}

static void on_spurious(struct dk_tcp_cc *cc, int64_t now)
{
    (void)now;
    dk_cc_take_back(cc, &own(cc)->undo);
}

const struct dk_tcp_cc_ops dk_tcp_dctcp = {
    .name = "dctcp",
    .flags = DK_TCP_CC_ECN,
    .init = init,
    .on_ack = on_ack,
    .on_loss = on_loss,
    .on_recovered = dk_cc_on_recovered,
    .on_rto = on_rto,
    .on_spurious = on_spurious,
    .on_ecn = on_ecn,
    .on_idle = dk_cc_on_idle,
    .on_mss = dk_cc_on_mss,
};
