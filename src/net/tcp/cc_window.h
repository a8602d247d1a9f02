/* SPDX-License-Identifier: MIT */
/*
 * Steps that algorithms with a window of Reno's kind share (RFC 5681).
 *
 * A window that was not used says nothing about the path: it does not grow (RFC 7661). In slow
 * start it counts as used from half on, because what is acknowledged doubles it. An echo of
 * congestion does not let it grow (RFC 3168 section 6.1.2).
 */
#ifndef DK_NET_TCP_CC_WINDOW_H
#define DK_NET_TCP_CC_WINDOW_H

#include "net/tcp/cc.h"

static inline uint32_t dk_cc_max32(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static inline uint32_t dk_cc_min32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static inline bool dk_cc_in_slow_start(const struct dk_tcp_cc *cc)
{
    return cc->cwnd < cc->ssthresh;
}

static inline bool dk_cc_is_used(const struct dk_tcp_cc *cc, const struct dk_tcp_cc_ack *ack)
{
    if (ack->ece)
        return false;
    if (dk_cc_in_slow_start(cc))
        return cc->cwnd < 2 * (uint64_t)ack->flight;
    return (uint64_t)ack->flight + cc->mss >= cc->cwnd;
}

static inline void dk_cc_grow(struct dk_tcp_cc *cc, uint32_t bytes)
{
    cc->cwnd = cc->cwnd > UINT32_MAX / 2 ? cc->cwnd : cc->cwnd + bytes;
}

/* RFC 3465 section 2.2: L = 2, what delayed acknowledgements need. */
static inline void dk_cc_slow_start(struct dk_tcp_cc *cc, const struct dk_tcp_cc_ack *ack)
{
    dk_cc_grow(cc, dk_cc_min32(ack->bytes, 2 * cc->mss));
}

/* One segment for each cwnd acknowledged; *acked counts bytes (RFC 5681 section 3.1). */
static inline void dk_cc_avoid(struct dk_tcp_cc *cc, const struct dk_tcp_cc_ack *ack,
                               uint32_t *acked)
{
    *acked += ack->bytes;
    if (*acked >= cc->cwnd) {
        *acked -= cc->cwnd;
        dk_cc_grow(cc, cc->mss);
    }
}

static inline void dk_cc_begin(struct dk_tcp_cc *cc)
{
    cc->cwnd = dk_tcp_cc_initial_window(cc->mss);
    cc->skips_unused = false;
    cc->ssthresh = UINT32_MAX; /* "arbitrarily high" */
}

/* What a reduction changed, to be taken back (RFC 4015, RFC 9438 section 4.9). */
struct dk_cc_undo {
    uint32_t cwnd, ssthresh;
};

static inline struct dk_cc_undo dk_cc_remember(const struct dk_tcp_cc *cc)
{
    return (struct dk_cc_undo){.cwnd = cc->cwnd, .ssthresh = cc->ssthresh};
}

static inline void dk_cc_take_back(struct dk_tcp_cc *cc, const struct dk_cc_undo *undo)
{
    cc->cwnd = dk_cc_max32(cc->cwnd, undo->cwnd);
    cc->ssthresh = dk_cc_max32(cc->ssthresh, undo->ssthresh);
}

/* ---- Functions of algorithms (struct dk_tcp_cc_ops) ------------------------------------------ */

/* RFC 6582 section 3.2 step 3, option 1: no burst. */
void dk_cc_on_recovered(struct dk_tcp_cc *cc, uint32_t flight, int64_t now);

/* RFC 5681 section 4.1: the restart window. */
void dk_cc_on_idle(struct dk_tcp_cc *cc, int64_t idle_ns, int64_t now);

/* One segment at least. */
void dk_cc_on_mss(struct dk_tcp_cc *cc, uint32_t former_mss);

#endif /* DK_NET_TCP_CC_WINDOW_H */
