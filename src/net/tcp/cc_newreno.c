/* SPDX-License-Identifier: MIT */
/*
 * Reno's congestion control as RFC 5681 has it, with the recovery of RFC 6582.
 *
 * Growth counts bytes acknowledged (appropriate byte counting). The temporary inflation of the
 * window during recovery is not here: it belongs to the counting of what is in flight (rx_ack.c).
 */
#include "net/tcp/cc_window.h"

struct reno {
    uint32_t acked; /* in congestion avoidance, since cwnd grew */
    struct dk_cc_undo undo;
} __attribute__((may_alias));

_Static_assert(sizeof(struct reno) <= 8 * DK_TCP_CC_OWN, "own");

static struct reno *own(struct dk_tcp_cc *cc)
{
    return (struct reno *)cc->own;
}

static void init(struct dk_tcp_cc *cc, int64_t rtt_ns, int64_t now)
{
    (void)rtt_ns;
    (void)now;
    dk_cc_begin(cc);
    cc->skips_unused = true;
    *own(cc) = (struct reno){.acked = 0};
}

static void on_ack(struct dk_tcp_cc *cc, const struct dk_tcp_cc_ack *ack, int64_t now)
{
    (void)now;
    if (ack->in_recovery || !dk_cc_is_used(cc, ack))
        return;
    if (dk_cc_in_slow_start(cc))
        dk_cc_slow_start(cc, ack);
    else
        dk_cc_avoid(cc, ack, &own(cc)->acked);
}

/* RFC 5681 equation (4), in whole segments: a part of one is never used, but has to be acknowledged
 * like the rest of the window before that grows. */
static void halve(struct dk_tcp_cc *cc, uint32_t flight)
{
    struct reno *r = own(cc);
    r->undo = dk_cc_remember(cc);
    r->acked = 0;
    cc->ssthresh = dk_cc_max32(flight / 2 / cc->mss * cc->mss, 2 * cc->mss);
}

static void on_loss(struct dk_tcp_cc *cc, uint32_t flight, int64_t now)
{
    (void)now;
    halve(cc, flight);
    cc->cwnd = cc->ssthresh;
}

static void on_rto(struct dk_tcp_cc *cc, uint32_t flight, bool first, int64_t now)
{
    (void)now;
    if (first) /* RFC 5681 section 3.1: held constant for repeated timeouts */
        halve(cc, flight);
    cc->cwnd = cc->mss;
}

static void on_spurious(struct dk_tcp_cc *cc, int64_t now)
{
    (void)now;
    dk_cc_take_back(cc, &own(cc)->undo);
}

const struct dk_tcp_cc_ops dk_tcp_newreno = {
    .name = "reno",
    .init = init,
    .on_ack = on_ack,
    .on_loss = on_loss,
    .on_recovered = dk_cc_on_recovered,
    .on_rto = on_rto,
    .on_spurious = on_spurious,
    .on_ecn = on_loss, /* RFC 3168 section 6.1.2: as for a loss */
    .on_idle = dk_cc_on_idle,
    .on_mss = dk_cc_on_mss,
};
