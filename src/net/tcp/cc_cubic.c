/* SPDX-License-Identifier: MIT */
/*
 * CUBIC (RFC 9438), with HyStart++ (RFC 9406) in the first slow start.
 *
 *      W_cubic(t) = C (t - K)^3 + W_max        C = 0.4, in segments and seconds
 *      K = cubic root of ((W_max - cwnd_epoch) / C)
 *
 * t begins with congestion avoidance and stands still while the window is not used (section 4.2).
 * Windows are bytes; time is in units of 2^-12 s, so that a cube of up to 128 s fits in 64 bits.
 * beta is 0.7; alpha of the Reno-friendly region is 3 (1 - beta) / (1 + beta) = 9/17.
 *
 * `undo` is what a reduction changed. HyStart++ is over by then, so they share memory; if the first
 * reduction is undone, it begins anew.
 */
#include "net/tcp/cc_window.h"
#include "net/tcp/hystart.h"

#define UNIT_SHIFT 12
#define UNITS_MAX  (INT64_C(128) << UNIT_SHIFT)
#define NS_PER_S   INT64_C(1000000000)
#define NO_EPOCH   (-1)
#define LAST_SHIFT 20

struct cubic {
    int64_t epoch; /* when congestion avoidance began, pauses added; NO_EPOCH */
    uint32_t last; /* acknowledgement in it: 2^20 ns */
    uint32_t w_max, cwnd_prior, w_est;
    uint32_t k;         /* units of time */
    uint32_t acked;     /* bytes, since cwnd grew */
    uint32_t est_acked; /* bytes, since w_est grew */
    union {
        struct dk_hystart hystart;
        struct {
            struct dk_cc_undo window;
            uint32_t w_max;
        } undo;
    };
} __attribute__((may_alias));

_Static_assert(sizeof(struct cubic) <= 8 * DK_TCP_CC_OWN, "own");

static struct cubic *own(struct dk_tcp_cc *cc)
{
    return (struct cubic *)cc->own;
}

static uint32_t ticks(int64_t now)
{
    return (uint32_t)(now >> LAST_SHIFT);
}

/* What was since the last acknowledgement is no time of the epoch. */
static void pause_epoch(struct cubic *c, int64_t now)
{
    if (c->epoch == NO_EPOCH)
        return;
    c->epoch += (int64_t)(ticks(now) - c->last) << LAST_SHIFT;
    c->last = ticks(now);
}

static void init(struct dk_tcp_cc *cc, int64_t rtt_ns, int64_t now)
{
    struct cubic *c = own(cc);
    (void)rtt_ns;
    (void)now;
    dk_cc_begin(cc);
    *c = (struct cubic){.epoch = NO_EPOCH};
    cc->skips_unused = true;
    dk_hystart_init(&c->hystart);
}

/* The largest r with r^3 <= x. */
static uint32_t cubic_root(uint64_t x)
{
    uint64_t root = 0;
    for (uint64_t bit = UINT64_C(1) << 21; bit; bit >>= 1) {
        uint64_t r = root | bit;
        if (r <= 2642245 && r * r * r <= x) /* beyond, the cube has more than 64 bits */
            root = r;
    }
    return (uint32_t)root;
}

/* K for a window that is `below` bytes under W_max (figure 2). */
static uint32_t root_of(uint32_t below, uint32_t mss)
{
    /* 1/C = 5/2; three times UNIT_SHIFT are 36, which leaves 28 bits. */
    if (below < UINT32_C(1) << 25)
        return cubic_root(((uint64_t)below * 5 << 36) / (2 * (uint64_t)mss));
    return cubic_root(((uint64_t)below * 5 << 30) / (2 * (uint64_t)mss)) << 2;
}

/* C d^3 segments in bytes; d in units of time. */
static int64_t cubic_bytes(int64_t d, uint32_t mss)
{
    int64_t away = d < 0 ? -d : d;
    if (away > UNITS_MAX)
        away = UNITS_MAX;
    uint64_t cube = (uint64_t)(away * away * away) >> 16;
    int64_t bytes = (int64_t)(cube * mss * 2 / 5 >> 20);
    return d < 0 ? -bytes : bytes;
}

/* Figure 1. The epoch is moved on by whole ticks, so it may lie a little ahead. */
static int64_t w_cubic(const struct cubic *c, uint32_t mss, int64_t t_ns)
{
    if (t_ns > 2 * 128 * NS_PER_S)
        t_ns = 2 * 128 * NS_PER_S;
    int64_t t = t_ns * (INT64_C(1) << UNIT_SHIFT) / NS_PER_S;
    return (int64_t)c->w_max + cubic_bytes(t - c->k, mss);
}

static void begin_epoch(struct dk_tcp_cc *cc, int64_t now)
{
    struct cubic *c = own(cc);
    cc->skips_unused = false; /* time that is not used has to be known */
    c->epoch = now;
    c->last = ticks(now);
    c->w_est = cc->cwnd;
    c->acked = c->est_acked = 0;
    c->k = 0;
    if (c->w_max > cc->cwnd)
        c->k = root_of(c->w_max - cc->cwnd, cc->mss);
    else /* section 4.10: slow start ended without a loss, or as after a timeout (4.8) */
        c->w_max = cc->cwnd;
}

static void end_epoch(struct dk_tcp_cc *cc)
{
    own(cc)->epoch = NO_EPOCH;
    cc->skips_unused = true;
}

/* Section 4.3: W_est grows by alpha segments for each cwnd acknowledged, by one segment once it has
 * reached what cwnd was before the reduction. */
static void estimate_reno(struct dk_tcp_cc *cc, uint32_t bytes)
{
    struct cubic *c = own(cc);
    c->est_acked += bytes;
    uint64_t need = c->w_est >= c->cwnd_prior ? cc->cwnd : (uint64_t)cc->cwnd * 17 / 9;
    if (c->est_acked < need)
        return;
    c->est_acked -= (uint32_t)need;
    c->w_est += cc->mss;
}

/* Sections 4.4 and 4.5: towards the window that a round trip from now has, (target - cwnd) / cwnd
 * segments for each that is acknowledged. */
static void approach(struct dk_tcp_cc *cc, int64_t target, uint32_t bytes)
{
    struct cubic *c = own(cc);
    int64_t most = (int64_t)cc->cwnd + cc->cwnd / 2;
    if (target > most)
        target = most;
    c->acked = dk_cc_min32(c->acked, cc->cwnd) + bytes;
    if (target <= cc->cwnd)
        return;
    uint64_t need = (uint64_t)cc->cwnd * cc->mss / (uint64_t)(target - cc->cwnd);
    if (c->acked < need)
        return;
    uint32_t n = (uint32_t)(c->acked / need);
    c->acked -= (uint32_t)(n * need);
    dk_cc_grow(cc, n * cc->mss);
}

static void avoid(struct dk_tcp_cc *cc, const struct dk_tcp_cc_ack *ack, int64_t now)
{
    struct cubic *c = own(cc);
    if (c->epoch == NO_EPOCH)
        begin_epoch(cc, now);
    c->last = ticks(now);
    estimate_reno(cc, ack->bytes);
    int64_t t = now - c->epoch, rtt = ack->srtt_ns > 0 ? ack->srtt_ns : 0;
    if (w_cubic(c, cc->mss, t) < c->w_est)
        cc->cwnd = dk_cc_max32(cc->cwnd, c->w_est);
    else
        approach(cc, w_cubic(c, cc->mss, t + rtt), ack->bytes);
}

static void slow_start(struct dk_tcp_cc *cc, const struct dk_tcp_cc_ack *ack)
{
    struct dk_hystart *h = &own(cc)->hystart;
    if (cc->ssthresh != UINT32_MAX) { /* not the first one (RFC 9406 section 4.3) */
        dk_cc_slow_start(cc, ack);
        return;
    }
    dk_cc_grow(cc, dk_hystart_ack(h, cc->mss, ack));
    if (h->phase == DK_HYSTART_DONE)
        cc->ssthresh = cc->cwnd;
}

static void on_ack(struct dk_tcp_cc *cc, const struct dk_tcp_cc_ack *ack, int64_t now)
{
    struct cubic *c = own(cc);
    if (ack->in_recovery || ack->bytes == 0)
        return;
    if (!dk_cc_is_used(cc, ack)) {
        pause_epoch(c, now);
        return;
    }
    if (dk_cc_in_slow_start(cc))
        slow_start(cc, ack);
    else
        avoid(cc, ack, now);
}

/* Sections 4.6 and 4.7 (fast convergence); cwnd is set by the caller. */
static void reduce(struct dk_tcp_cc *cc, uint32_t flight)
{
    struct cubic *c = own(cc);
    c->undo.window = dk_cc_remember(cc);
    c->undo.w_max = c->w_max;
    c->cwnd_prior = cc->cwnd;
    c->w_max = cc->cwnd < c->w_max ? (uint32_t)((uint64_t)cc->cwnd * 17 / 20) : cc->cwnd;
    end_epoch(cc);
    cc->ssthresh = (uint32_t)((uint64_t)flight * 7 / 10);
}

static void on_loss(struct dk_tcp_cc *cc, uint32_t flight, int64_t now)
{
    (void)now;
    reduce(cc, flight);
    cc->cwnd = cc->ssthresh = dk_cc_max32(cc->ssthresh, 2 * cc->mss);
}

static void on_ecn(struct dk_tcp_cc *cc, uint32_t flight, int64_t now)
{
    (void)now;
    reduce(cc, flight);
    cc->cwnd = dk_cc_max32(cc->ssthresh, cc->mss);
    cc->ssthresh = dk_cc_max32(cc->ssthresh, 2 * cc->mss);
}

/* Section 4.8. */
static void on_rto(struct dk_tcp_cc *cc, uint32_t flight, bool first, int64_t now)
{
    (void)now;
    if (first) {
        reduce(cc, flight);
        cc->ssthresh = dk_cc_max32(cc->ssthresh, 2 * cc->mss);
    }
    own(cc)->w_max = 0;
    cc->cwnd = cc->mss;
}

/* Section 4.9. */
static void on_spurious(struct dk_tcp_cc *cc, int64_t now)
{
    struct cubic *c = own(cc);
    (void)now;
    dk_cc_take_back(cc, &c->undo.window);
    c->w_max = dk_cc_max32(c->w_max, c->undo.w_max);
    end_epoch(cc);
    if (cc->ssthresh == UINT32_MAX)
        dk_hystart_init(&c->hystart);
}

static void on_idle(struct dk_tcp_cc *cc, int64_t idle_ns, int64_t now)
{
    struct cubic *c = own(cc);
    dk_cc_on_idle(cc, idle_ns, now);
    pause_epoch(c, now);
}

const struct dk_tcp_cc_ops dk_tcp_cubic = {
    .name = "cubic",
    .init = init,
    .on_ack = on_ack,
    .on_loss = on_loss,
    .on_recovered = dk_cc_on_recovered,
    .on_rto = on_rto,
    .on_spurious = on_spurious,
    .on_ecn = on_ecn,
    .on_idle = on_idle,
    .on_mss = dk_cc_on_mss,
};
