/* SPDX-License-Identifier: MIT */
/*
 * Reno's congestion control as RFC 5681 has it, with the recovery of RFC 6582.
 *
 * own[0] counts bytes acknowledged in congestion avoidance: cwnd grows by one segment for each cwnd
 * of them (RFC 5681 section 3.1, appropriate byte counting). The temporary inflation of the window
 * during recovery is not here: it belongs to the counting of what is in flight (rx_ack.c).
 */
#include "net/tcp/cc.h"

#define ACKED(cc)         ((cc)->own[0])
#define UNDO_CWND(cc)     ((cc)->own[1]) /* before the last loss */
#define UNDO_SSTHRESH(cc) ((cc)->own[2])

static uint32_t max32(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static uint32_t min32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

uint32_t dk_tcp_cc_initial_window(uint32_t mss)
{
    return min32(10 * mss, max32(2 * mss, 14600));
}

static void init(struct dk_tcp_cc *cc, int64_t now)
{
    (void)now;
    cc->cwnd = dk_tcp_cc_initial_window(cc->mss);
    cc->ssthresh = UINT32_MAX; /* "arbitrarily high" */
    ACKED(cc) = 0;
}

static void grow(struct dk_tcp_cc *cc, uint32_t bytes)
{
    cc->cwnd = cc->cwnd > UINT32_MAX / 2 ? cc->cwnd : cc->cwnd + bytes;
}

static void on_ack(struct dk_tcp_cc *cc, const struct dk_tcp_cc_ack *ack, int64_t now)
{
    (void)now;
    if (ack->in_recovery)
        return;
    if (cc->cwnd < cc->ssthresh) {
        /* A window that was not used says nothing about the path: it does not grow. */
        if (cc->cwnd < 2 * (uint64_t)ack->flight)
            grow(cc, min32(ack->bytes, 2 * cc->mss)); /* RFC 3465: L = 2, delayed ACKs */
        return;
    }
    if ((uint64_t)ack->flight + cc->mss < cc->cwnd)
        return;
    ACKED(cc) += ack->bytes;
    if (ACKED(cc) >= cc->cwnd) {
        ACKED(cc) -= cc->cwnd;
        grow(cc, cc->mss);
    }
}

/* RFC 5681 equation (4). */
static void halve(struct dk_tcp_cc *cc, uint32_t flight)
{
    UNDO_CWND(cc) = cc->cwnd;
    UNDO_SSTHRESH(cc) = cc->ssthresh;
    cc->ssthresh = max32(flight / 2, 2 * cc->mss);
    ACKED(cc) = 0;
}

static void on_loss(struct dk_tcp_cc *cc, uint32_t flight, int64_t now)
{
    (void)now;
    halve(cc, flight);
    cc->cwnd = cc->ssthresh;
}

/* RFC 6582 section 3.2 step 3, option 1: no burst. */
static void on_recovered(struct dk_tcp_cc *cc, uint32_t flight, int64_t now)
{
    (void)now;
    cc->cwnd = min32(cc->ssthresh, max32(flight, cc->mss) + cc->mss);
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
    cc->cwnd = max32(cc->cwnd, (uint32_t)UNDO_CWND(cc));
    cc->ssthresh = max32(cc->ssthresh, (uint32_t)UNDO_SSTHRESH(cc));
}

static void on_idle(struct dk_tcp_cc *cc, int64_t idle_ns, int64_t now)
{
    (void)idle_ns;
    (void)now;
    cc->cwnd = min32(cc->cwnd, dk_tcp_cc_initial_window(cc->mss));
}

static void on_mss(struct dk_tcp_cc *cc, uint32_t former_mss)
{
    (void)former_mss;
    cc->cwnd = max32(cc->cwnd, cc->mss);
}

const struct dk_tcp_cc_ops dk_tcp_newreno = {
    .name = "newreno",
    .init = init,
    .on_ack = on_ack,
    .on_loss = on_loss,
    .on_recovered = on_recovered,
    .on_rto = on_rto,
    .on_spurious = on_spurious,
    .on_idle = on_idle,
    .on_mss = on_mss,
};
