/* SPDX-License-Identifier: MIT */
/*
 * States of BBR, and what follows from model and state for the pacing rate and the window
 * (draft-ietf-ccwg-bbr; bbr.h has the picture).
 *
 * Where the draft draws a random number, bits of what was delivered until then serve: two flows
 * need not agree on when to probe, and no more is asked of it.
 */
#include "net/tcp/bbr.h"

#include <string.h>

#define NS_PER_MS         INT64_C(1000000)
#define NS_PER_S          INT64_C(1000000000)
#define MIN_RTT_FILTER_NS (10 * NS_PER_S)
#define PROBE_RTT_NS      (200 * NS_PER_MS)
#define PACING_MARGIN     1 /* percent */
#define BETA_PERCENT      70
#define LOSS_THRESH       2 /* percent */
#define STARTUP_LOSSES    6
#define RENO_ROUNDS       63
#define DRAIN_ROUNDS      3
#define UP_ROUNDS_MAX     30
#define PROBE_RTT_PERCENT 50

/* Gains in percent. */
static const struct {
    uint16_t pacing, cwnd;
} gains[DK_BBR_STATES] = {
    [DK_BBR_STARTUP] = {277, 200},  [DK_BBR_DRAIN] = {50, 200},   [DK_BBR_DOWN] = {90, 200},
    [DK_BBR_CRUISE] = {100, 200},   [DK_BBR_REFILL] = {100, 200}, [DK_BBR_UP] = {125, 225},
    [DK_BBR_PROBE_RTT] = {100, 50},
};

static void start_round(struct dk_bbr *b, uint64_t total)
{
    b->next_round_delivered = total;
}

static uint64_t scramble(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* PickProbeWait: 2 to 3 s, and one round more or less. */
static void pick_probe_wait(struct dk_bbr *b, const struct dk_bbr_sample *s)
{
    uint64_t bits = scramble(s->rate->total ^ (uint64_t)s->now);
    b->rounds_since_probe_up = bits & 1;
    b->bw_probe_wait_ns = 2 * NS_PER_S + (int64_t)((bits >> 32) * (uint64_t)NS_PER_S >> 32);
}

static void start_down(struct dk_bbr *b, const struct dk_bbr_sample *s)
{
    dk_bbr_reset_congestion(b);
    b->probe_up_acked_per_inc = UINT32_MAX; /* inflight_longterm does not grow */
    pick_probe_wait(b, s);
    b->cycle_stamp = s->now;
    b->ack_phase = DK_BBR_ACKS_PROBE_STOPPING;
    start_round(b, s->rate->total);
    b->state = DK_BBR_DOWN;
}

static void start_refill(struct dk_bbr *b, uint64_t total)
{
    dk_bbr_reset_short_term(b);
    b->bw_probe_up_rounds = 0;
    b->bw_probe_up_acked = 0;
    b->prev_probe_precautionary = false;
    b->ack_phase = DK_BBR_ACKS_REFILLING;
    start_round(b, total);
    b->state = DK_BBR_REFILL;
}

/* RaiseInflightLongtermSlope: twice as fast with each round. */
static void raise_slope(const struct dk_tcp_cc *cc, struct dk_bbr *b)
{
    uint32_t growth = 1u << b->bw_probe_up_rounds;
    if (b->bw_probe_up_rounds < UP_ROUNDS_MAX)
        b->bw_probe_up_rounds++;
    b->probe_up_acked_per_inc = dk_cc_max32(cc->cwnd / growth, cc->mss);
}

static void start_up(const struct dk_tcp_cc *cc, struct dk_bbr *b, const struct dk_bbr_sample *s)
{
    b->ack_phase = DK_BBR_ACKS_PROBE_STARTING;
    start_round(b, s->rate->total);
    dk_bbr_reset_full_bw(b, s->delivery_rate);
    b->state = DK_BBR_UP;
    raise_slope(cc, b);
}

static void enter_drain(struct dk_bbr *b)
{
    b->state = DK_BBR_DRAIN;
    b->drain_start_round = b->round_count;
}

/* ---- Startup and drain ----------------------------------------------------------------------- */

/* CheckStartupHighLoss: the path loses more than it should for a round of recovery. */
static void check_startup_loss(const struct dk_tcp_cc *cc, struct dk_bbr *b,
                               const struct dk_bbr_sample *s)
{
    if (b->full_bw_reached || !b->in_recovery || !b->loss_in_round)
        return;
    if (b->has_sack && (!b->loss_round_start || b->loss_events < STARTUP_LOSSES ||
                        !dk_bbr_is_inflight_too_high(b, s->lost, s->tx_in_flight)))
        return;
    b->undo_state = DK_BBR_STARTUP;
    b->full_bw_reached = true;
    b->inflight_longterm =
        dk_cc_max32(dk_bbr_bdp(cc, b, dk_bbr_max_bw(b), 100), b->inflight_latest);
}

static void check_startup_done(const struct dk_tcp_cc *cc, struct dk_bbr *b,
                               const struct dk_bbr_sample *s)
{
    if (b->state != DK_BBR_STARTUP)
        return;
    check_startup_loss(cc, b, s);
    if (b->full_bw_reached)
        enter_drain(b);
}

static void check_drain_done(const struct dk_tcp_cc *cc, struct dk_bbr *b,
                             const struct dk_bbr_sample *s)
{
    if (b->state != DK_BBR_DRAIN)
        return;
    uint32_t bdp = dk_bbr_inflight(cc, b, dk_bbr_bdp(cc, b, b->bw, 100));
    if (s->in_flight <= bdp || b->round_count > b->drain_start_round + DRAIN_ROUNDS)
        start_down(b, s);
}

/* ---- Probing for bandwidth ------------------------------------------------------------------- */

static uint32_t target_inflight(const struct dk_tcp_cc *cc, const struct dk_bbr *b)
{
    return dk_cc_min32(dk_bbr_bdp(cc, b, b->bw, 100), cc->cwnd);
}

static bool is_time_to_probe(const struct dk_tcp_cc *cc, struct dk_bbr *b,
                             const struct dk_bbr_sample *s)
{
    /* As often as Reno would lose a packet with this window, at most. */
    uint32_t rounds = dk_cc_min32(target_inflight(cc, b) / cc->mss, RENO_ROUNDS);
    if (s->now <= b->cycle_stamp + b->bw_probe_wait_ns && b->rounds_since_probe_up < rounds)
        return false;
    start_refill(b, s->rate->total);
    return true;
}

static bool is_time_to_cruise(const struct dk_tcp_cc *cc, const struct dk_bbr *b,
                              const struct dk_bbr_sample *s)
{
    uint32_t bdp = dk_bbr_bdp(cc, b, dk_bbr_max_bw(b), 100);
    return s->in_flight <= dk_bbr_inflight_with_headroom(cc, b) &&
           s->in_flight <= dk_bbr_inflight(cc, b, bdp);
}

static bool is_time_to_go_down(const struct dk_tcp_cc *cc, struct dk_bbr *b,
                               const struct dk_bbr_sample *s)
{
    if (b->prev_probe_too_high && s->in_flight >= b->inflight_longterm) {
        b->prev_probe_precautionary = true;
        return true;
    }
    if (s->is_cwnd_limited && cc->cwnd >= b->inflight_longterm) {
        dk_bbr_reset_full_bw(b, s->delivery_rate); /* it is we who limit it */
        return false;
    }
    return b->full_bw_now;
}

/* ProbeInflightLongtermUpward. */
static void probe_upward(const struct dk_tcp_cc *cc, struct dk_bbr *b,
                         const struct dk_bbr_sample *s)
{
    if (!s->is_cwnd_limited || cc->cwnd < b->inflight_longterm)
        return;
    b->bw_probe_up_acked += s->rate->newly;
    if (b->bw_probe_up_acked >= b->probe_up_acked_per_inc) {
        uint32_t n = b->bw_probe_up_acked / b->probe_up_acked_per_inc;
        b->bw_probe_up_acked -= n * b->probe_up_acked_per_inc;
        b->inflight_longterm += n * cc->mss;
    }
    if (b->round_start)
        raise_slope(cc, b);
}

/* The end of what the last probe brought: true when it has led to a transition. */
static bool end_of_samples(struct dk_bbr *b, const struct dk_bbr_sample *s)
{
    b->is_bw_probe_sample = false;
    b->ack_phase = DK_BBR_ACKS_INIT;
    if (!dk_bbr_in_probe_bw(b))
        return false;
    if (!s->is_app_limited)
        dk_bbr_advance_max_bw(b);
    if (!b->prev_probe_precautionary || b->prev_probe_too_high)
        return false;
    start_refill(b, s->rate->total);
    return true;
}

/* AdaptLongTermModel. */
static bool adapt_long_term(const struct dk_tcp_cc *cc, struct dk_bbr *b,
                            const struct dk_bbr_sample *s)
{
    if (b->ack_phase == DK_BBR_ACKS_PROBE_STARTING && b->round_start)
        b->ack_phase = DK_BBR_ACKS_PROBE_FEEDBACK;
    if (b->ack_phase == DK_BBR_ACKS_PROBE_STOPPING && b->round_start && end_of_samples(b, s))
        return true;
    if (dk_bbr_is_inflight_too_high(b, s->lost, s->tx_in_flight) ||
        b->inflight_longterm == DK_BBR_INFLIGHT_NONE)
        return false;
    b->inflight_longterm = dk_cc_max32(b->inflight_longterm, s->tx_in_flight);
    if (b->state == DK_BBR_UP)
        probe_upward(cc, b, s);
    return false;
}

/* UpdateProbeBWCyclePhase. */
static void update_cycle(const struct dk_tcp_cc *cc, struct dk_bbr *b,
                         const struct dk_bbr_sample *s)
{
    if (!b->full_bw_reached || adapt_long_term(cc, b, s))
        return;
    switch (b->state) {
    case DK_BBR_DOWN:
        if (!is_time_to_probe(cc, b, s) && is_time_to_cruise(cc, b, s))
            b->state = DK_BBR_CRUISE;
        break;
    case DK_BBR_CRUISE:
        is_time_to_probe(cc, b, s);
        break;
    case DK_BBR_REFILL:
        if (b->round_start) {
            b->is_bw_probe_sample = true;
            start_up(cc, b, s);
        }
        break;
    case DK_BBR_UP:
        if (is_time_to_go_down(cc, b, s)) {
            b->prev_probe_too_high = false;
            start_down(b, s);
        }
        break;
    default:
        break;
    }
}

/* ---- Probing for the round trip -------------------------------------------------------------- */

static void update_min_rtt(const struct dk_tcp_cc *cc, struct dk_bbr *b,
                           const struct dk_bbr_sample *s)
{
    b->min_rtt_expired = s->now > b->min_rtt_stamp + MIN_RTT_FILTER_NS;
    if (b->min_rtt_expired && b->state != DK_BBR_PROBE_RTT)
        b->probe_rtt_cwnd =
            dk_cc_max32(dk_bbr_bdp(cc, b, b->bw, PROBE_RTT_PERCENT), dk_bbr_min_pipe(cc));
    if (s->rtt_ns >= 0 && (s->rtt_ns < b->min_rtt_ns || b->min_rtt_expired)) {
        b->min_rtt_ns = s->rtt_ns;
        b->min_rtt_stamp = s->now;
    }
}

static void exit_probe_rtt(struct dk_bbr *b, const struct dk_bbr_sample *s)
{
    dk_bbr_reset_short_term(b);
    b->state = DK_BBR_STARTUP;
    if (!b->full_bw_reached)
        return;
    start_down(b, s);
    b->state = DK_BBR_CRUISE;
}

static void check_probe_rtt_done(struct dk_tcp_cc *cc, struct dk_bbr *b,
                                 const struct dk_bbr_sample *s)
{
    if (b->probe_rtt_done == 0 || s->now <= b->probe_rtt_done)
        return;
    b->min_rtt_stamp = s->now;
    cc->cwnd = dk_cc_max32(cc->cwnd, b->prior_cwnd);
    exit_probe_rtt(b, s);
}

static void handle_probe_rtt(struct dk_tcp_cc *cc, struct dk_bbr *b, const struct dk_bbr_sample *s)
{
    b->limited_until = s->rate->total + s->in_flight;
    if (b->probe_rtt_done == 0 && s->in_flight <= b->probe_rtt_cwnd) {
        b->probe_rtt_done = s->now + PROBE_RTT_NS;
        b->probe_rtt_round_done = false;
        start_round(b, s->rate->total);
    } else if (b->probe_rtt_done != 0) {
        b->probe_rtt_round_done |= b->round_start;
        if (b->probe_rtt_round_done)
            check_probe_rtt_done(cc, b, s);
    }
}

static void check_probe_rtt(struct dk_tcp_cc *cc, struct dk_bbr *b, const struct dk_bbr_sample *s)
{
    if (b->state != DK_BBR_PROBE_RTT && b->min_rtt_expired && !b->idle_restart) {
        dk_bbr_save_cwnd(cc, b);
        b->state = DK_BBR_PROBE_RTT;
        b->probe_rtt_done = 0;
        b->ack_phase = DK_BBR_ACKS_PROBE_STOPPING;
        start_round(b, s->rate->total);
    }
    if (b->state == DK_BBR_PROBE_RTT)
        handle_probe_rtt(cc, b, s);
    if (s->rate->delivered > 0)
        b->idle_restart = false;
}

/* ---- Pacing rate and window ------------------------------------------------------------------ */

static void set_pacing_rate(struct dk_tcp_cc *cc, const struct dk_bbr *b, uint32_t gain)
{
    uint64_t rate = b->bw / 10000 * gain * (100 - PACING_MARGIN) +
                    b->bw % 10000 * gain * (100 - PACING_MARGIN) / 10000;
    if (rate > 0 && (b->full_bw_reached || rate > cc->pacing_rate))
        cc->pacing_rate = rate;
}

/* BoundCwndForModel. */
static uint32_t cwnd_cap(const struct dk_tcp_cc *cc, const struct dk_bbr *b)
{
    uint32_t cap = DK_BBR_INFLIGHT_NONE;
    if (b->state == DK_BBR_PROBE_RTT || b->state == DK_BBR_CRUISE)
        cap = dk_bbr_inflight_with_headroom(cc, b);
    else if (dk_bbr_in_probe_bw(b))
        cap = b->inflight_longterm;
    cap = dk_cc_min32(cap, b->inflight_shortterm);
    return dk_cc_max32(cap, dk_bbr_min_pipe(cc));
}

static void set_cwnd(struct dk_tcp_cc *cc, const struct dk_bbr *b, const struct dk_bbr_sample *s)
{
    uint32_t most = dk_bbr_bdp(cc, b, b->bw, gains[b->state].cwnd);
    most = dk_bbr_inflight(cc, b, most + dk_cc_max32(b->extra_acked[0], b->extra_acked[1]));
    if (b->full_bw_reached)
        cc->cwnd = dk_cc_min32(cc->cwnd + s->rate->newly, most);
    else if (cc->cwnd < most || s->rate->total < dk_tcp_cc_initial_window(cc->mss))
        dk_cc_grow(cc, s->rate->newly);
    cc->cwnd = dk_cc_max32(cc->cwnd, dk_bbr_min_pipe(cc));
    if (b->state == DK_BBR_PROBE_RTT)
        cc->cwnd = dk_cc_min32(cc->cwnd, b->probe_rtt_cwnd);
    cc->cwnd = dk_cc_min32(cc->cwnd, cwnd_cap(cc, b));
}

static void sample_of(const struct dk_tcp_cc *cc, const struct dk_bbr *b,
                      const struct dk_tcp_cc_ack *ack, int64_t now, struct dk_bbr_sample *s)
{
    const struct dk_tcp_rate *rate = ack->rate;
    *s = (struct dk_bbr_sample){
        .rate = rate,
        .rtt_ns = ack->rtt_ns,
        .now = now,
        .tx_in_flight = rate->tx_in_flight,
        .lost = rate->lost,
        .in_flight = rate->in_flight,
        .is_app_limited = rate->is_app_limited || rate->prior_total < b->limited_until,
        .is_cwnd_limited = (uint64_t)ack->flight + cc->mss >= cc->cwnd,
    };
    if (rate->delivered && rate->interval_ns > 0)
        s->delivery_rate = (uint64_t)rate->delivered * NS_PER_S / (uint64_t)rate->interval_ns;
}

/* ---- The contract ---------------------------------------------------------------------------- */

static void init(struct dk_tcp_cc *cc, int64_t rtt_ns, int64_t now)
{
    struct dk_bbr *b = dk_bbr_of(cc);
    dk_cc_begin(cc);
    memset(b, 0, sizeof(*b));
    b->min_rtt_ns = rtt_ns > 0 ? rtt_ns : DK_BBR_RTT_NONE;
    b->min_rtt_stamp = b->extra_acked_since = now;
    b->probe_rtt_cwnd = cc->cwnd;
    b->undo_state = DK_BBR_STATES;
    b->inflight_longterm = DK_BBR_INFLIGHT_NONE;
    b->probe_up_acked_per_inc = UINT32_MAX;
    dk_bbr_reset_short_term(b);
    uint64_t ns = (uint64_t)(rtt_ns > 0 ? rtt_ns : NS_PER_MS);
    cc->pacing_rate = (uint64_t)cc->cwnd * NS_PER_S / ns * gains[DK_BBR_STARTUP].pacing / 100;
}

static void on_ack(struct dk_tcp_cc *cc, const struct dk_tcp_cc_ack *ack, int64_t now)
{
    struct dk_bbr *b = dk_bbr_of(cc);
    struct dk_bbr_sample s;
    b->now = now;
    sample_of(cc, b, ack, now, &s);
    dk_bbr_update_model(cc, b, &s);
    check_startup_done(cc, b, &s);
    check_drain_done(cc, b, &s);
    update_cycle(cc, b, &s);
    update_min_rtt(cc, b, &s);
    check_probe_rtt(cc, b, &s);
    dk_bbr_advance_model(b, &s);
    set_pacing_rate(cc, b, gains[b->state].pacing);
    set_cwnd(cc, b, &s);
}

static void on_loss(struct dk_tcp_cc *cc, uint32_t flight, int64_t now)
{
    struct dk_bbr *b = dk_bbr_of(cc);
    (void)flight;
    (void)now;
    dk_bbr_save_upon_loss(cc, b);
    b->in_recovery = true;
}

/* HandleInflightTooHigh. */
static void inflight_too_high(struct dk_tcp_cc *cc, struct dk_bbr *b, uint32_t bytes,
                              const struct dk_tcp_cc_lost *lost)
{
    b->prev_probe_too_high = true;
    b->is_bw_probe_sample = false; /* once for each probe */
    if (!lost->is_app_limited) {
        uint32_t least = (uint32_t)((uint64_t)target_inflight(cc, b) * BETA_PERCENT / 100);
        b->inflight_longterm = dk_cc_max32(bytes, least);
    }
    if (b->state != DK_BBR_UP)
        return;
    struct dk_tcp_rate rate = {.total = lost->total};
    struct dk_bbr_sample s = {.rate = &rate, .now = b->now};
    b->undo_state = DK_BBR_UP;
    start_down(b, &s);
}

/* InflightAtLoss: at what volume the losses became too many. */
static uint32_t inflight_at_loss(const struct dk_tcp_cc_lost *lost)
{
    int64_t before = (int64_t)lost->tx_in_flight - lost->bytes;
    int64_t lost_before = (int64_t)lost->lost_since - lost->bytes;
    int64_t prefix = (before * LOSS_THRESH - lost_before * 100) / (100 - LOSS_THRESH);
    int64_t bytes = before + (prefix > 0 ? prefix : 0);
    return bytes > 0 ? (uint32_t)bytes : 0;
}

static void on_lost(struct dk_tcp_cc *cc, const struct dk_tcp_cc_lost *lost)
{
    struct dk_bbr *b = dk_bbr_of(cc);
    b->has_sack = lost->has_sack;
    b->loss_seen = true;
    if (!b->loss_in_round) {
        b->loss_round_delivered = lost->total;
        dk_bbr_save_upon_loss(cc, b);
    }
    b->loss_in_round = true;
    if (b->is_bw_probe_sample &&
        dk_bbr_is_inflight_too_high(b, lost->lost_since, lost->tx_in_flight))
        inflight_too_high(cc, b, inflight_at_loss(lost), lost);
}

static void on_recovered(struct dk_tcp_cc *cc, uint32_t flight, int64_t now)
{
    struct dk_bbr *b = dk_bbr_of(cc);
    (void)flight;
    (void)now;
    b->in_recovery = false;
    cc->cwnd = dk_cc_max32(cc->cwnd, b->prior_cwnd);
    cc->cwnd = dk_cc_min32(cc->cwnd, cwnd_cap(cc, b));
}

static void on_rto(struct dk_tcp_cc *cc, uint32_t flight, bool first, int64_t now)
{
    struct dk_bbr *b = dk_bbr_of(cc);
    (void)flight;
    (void)now;
    if (first)
        dk_bbr_save_upon_loss(cc, b);
    b->in_recovery = false;
    cc->cwnd = cc->mss;
}

static void on_spurious(struct dk_tcp_cc *cc, int64_t now)
{
    struct dk_bbr *b = dk_bbr_of(cc);
    (void)now;
    uint8_t former = b->undo_state;
    dk_bbr_restore(cc, b);
    b->in_recovery = false;
    b->undo_state = DK_BBR_STATES;
    if (former == DK_BBR_STARTUP && b->state != DK_BBR_STARTUP) {
        b->full_bw_reached = false;
        if (b->state != DK_BBR_PROBE_RTT)
            b->state = DK_BBR_STARTUP;
    } else if (former == DK_BBR_UP && b->state != DK_BBR_UP && b->state != DK_BBR_PROBE_RTT) {
        start_refill(b, b->next_round_delivered);
    }
}

/* Nothing is sent that could be marked. */
static void on_ecn(struct dk_tcp_cc *cc, uint32_t flight, int64_t now)
{
    (void)cc;
    (void)flight;
    (void)now;
}

/* HandleRestartFromIdle: the window stays, the rate is what the path is known to take. */
static void on_idle(struct dk_tcp_cc *cc, int64_t idle_ns, int64_t now)
{
    struct dk_bbr *b = dk_bbr_of(cc);
    struct dk_tcp_rate rate = {.total = b->next_round_delivered};
    struct dk_bbr_sample s = {.rate = &rate, .now = now};
    (void)idle_ns;
    b->idle_restart = true;
    b->extra_acked_since = now;
    if (dk_bbr_in_probe_bw(b))
        set_pacing_rate(cc, b, 100);
    else if (b->state == DK_BBR_PROBE_RTT)
        check_probe_rtt_done(cc, b, &s);
}

static void on_mss(struct dk_tcp_cc *cc, uint32_t former_mss)
{
    (void)former_mss;
    cc->cwnd = dk_cc_max32(cc->cwnd, dk_bbr_min_pipe(cc));
}

const struct dk_tcp_cc_ops dk_tcp_bbr = {
    .name = "bbr",
    .state_bytes = sizeof(struct dk_bbr),
    .flags = DK_TCP_CC_RATE | DK_TCP_CC_OWN_RECOVERY | DK_TCP_CC_NO_ECN,
    .init = init,
    .on_ack = on_ack,
    .on_loss = on_loss,
    .on_recovered = on_recovered,
    .on_rto = on_rto,
    .on_spurious = on_spurious,
    .on_ecn = on_ecn,
    .on_idle = on_idle,
    .on_mss = on_mss,
    .on_lost = on_lost,
};
