/* SPDX-License-Identifier: MIT */
/*
 * The model of the path: "Updating Network Path Model Parameters" of draft-ietf-ccwg-bbr.
 *
 * The filters need no list. Bandwidth is the largest of this and the former cycle of probing; the
 * excess of acknowledgements that came together is the largest of the last five to ten rounds.
 */
#include "net/tcp/bbr.h"

#define LOSS_THRESH_PERCENT 2
#define BETA_PERCENT        70
#define HEADROOM_PERCENT    15
#define EXTRA_ACKED_ROUNDS  5 /* twice: BBR.ExtraAckedFilterLen is 10 */
#define FULL_BW_ROUNDS      3
#define QUANTUM_MAX         (64u << 10)
#define NS_PER_S            INT64_C(1000000000)

static uint64_t max64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint32_t percent_of(uint32_t value, uint32_t percent)
{
    return (uint32_t)((uint64_t)value * percent / 100);
}

static uint32_t clamp32(uint64_t value)
{
    return value < UINT32_MAX / 2 ? (uint32_t)value : UINT32_MAX / 2;
}

uint32_t dk_bbr_bdp(const struct dk_tcp_cc *cc, const struct dk_bbr *b, uint64_t bw,
                    uint32_t percent)
{
    if (b->min_rtt_ns == DK_BBR_RTT_NONE)
        return dk_tcp_cc_initial_window(cc->mss);
    /* 2^37 bytes per second for 2^26 microseconds (a minute) fit. */
    uint64_t us = (uint64_t)b->min_rtt_ns / 1000;
    uint64_t rate = bw < UINT64_C(1) << 37 ? bw : UINT64_C(1) << 37;
    uint64_t bytes = rate * (us < 1u << 26 ? us : 1u << 26) / 1000000;
    return clamp32(bytes * percent / 100);
}

/* BBR.offload_budget: three quanta, of a millisecond each. */
static uint32_t offload_budget(const struct dk_tcp_cc *cc)
{
    uint64_t quantum = cc->pacing_rate / 1000;
    if (quantum > QUANTUM_MAX)
        quantum = QUANTUM_MAX;
    return 3 * dk_cc_max32((uint32_t)quantum, 2 * cc->mss);
}

uint32_t dk_bbr_inflight(const struct dk_tcp_cc *cc, const struct dk_bbr *b, uint32_t bytes)
{
    bytes = dk_cc_max32(bytes, offload_budget(cc));
    bytes = dk_cc_max32(bytes, dk_bbr_min_pipe(cc));
    return b->state == DK_BBR_UP ? bytes + 2 * cc->mss : bytes;
}

uint32_t dk_bbr_inflight_with_headroom(const struct dk_tcp_cc *cc, const struct dk_bbr *b)
{
    uint32_t most = b->inflight_longterm;
    if (most == DK_BBR_INFLIGHT_NONE)
        return most;
    uint32_t headroom = dk_cc_max32(cc->mss, percent_of(most, HEADROOM_PERCENT));
    return dk_cc_max32(most > headroom ? most - headroom : 0, dk_bbr_min_pipe(cc));
}

void dk_bbr_reset_short_term(struct dk_bbr *b)
{
    b->bw_shortterm = DK_BBR_BW_NONE;
    b->inflight_shortterm = DK_BBR_INFLIGHT_NONE;
}

void dk_bbr_reset_congestion(struct dk_bbr *b)
{
    b->loss_in_round = false;
    b->loss_events = 0;
    b->bw_latest = 0;
    b->inflight_latest = 0;
}

void dk_bbr_reset_full_bw(struct dk_bbr *b, uint64_t full_bw)
{
    b->full_bw = full_bw;
    b->full_bw_count = 0;
    b->full_bw_now = false;
}

void dk_bbr_advance_max_bw(struct dk_bbr *b)
{
    if (b->max_bw[1] == 0)
        return; /* no sample in this cycle: the former one counts on */
    b->max_bw[0] = b->max_bw[1];
    b->max_bw[1] = 0;
}

/* UpdateLatestDeliverySignals. */
static void update_latest(struct dk_bbr *b, const struct dk_bbr_sample *s)
{
    b->loss_round_start = false;
    b->bw_latest = max64(b->bw_latest, s->delivery_rate);
    b->inflight_latest = dk_cc_max32(b->inflight_latest, s->rate->delivered);
    if (s->rate->delivered && s->rate->prior_total >= b->loss_round_delivered) {
        b->loss_round_delivered = s->rate->total;
        b->loss_round_start = true;
    }
}

static void update_round(struct dk_bbr *b, const struct dk_bbr_sample *s)
{
    b->round_start = s->rate->delivered && s->rate->prior_total >= b->next_round_delivered;
    if (!b->round_start)
        return;
    b->next_round_delivered = s->rate->total;
    b->round_count++;
    b->rounds_since_probe_up++;
}

static void update_max_bw(struct dk_bbr *b, const struct dk_bbr_sample *s)
{
    update_round(b, s);
    if (s->delivery_rate && (s->delivery_rate >= dk_bbr_max_bw(b) || !s->is_app_limited))
        b->max_bw[1] = max64(b->max_bw[1], s->delivery_rate);
}

static bool is_probing(const struct dk_bbr *b)
{
    return b->state == DK_BBR_STARTUP || b->state == DK_BBR_REFILL || b->state == DK_BBR_UP;
}

/* AdaptLowerBoundsFromCongestion: once in a round trip. */
static void adapt_lower_bounds(const struct dk_tcp_cc *cc, struct dk_bbr *b)
{
    if (is_probing(b) || !b->loss_in_round)
        return;
    if (b->bw_shortterm == DK_BBR_BW_NONE)
        b->bw_shortterm = dk_bbr_max_bw(b);
    if (b->inflight_shortterm == DK_BBR_INFLIGHT_NONE)
        b->inflight_shortterm = cc->cwnd;
    b->bw_shortterm = max64(b->bw_latest, b->bw_shortterm * BETA_PERCENT / 100);
    b->inflight_shortterm =
        dk_cc_max32(b->inflight_latest, percent_of(b->inflight_shortterm, BETA_PERCENT));
}

static void update_ack_aggregation(struct dk_tcp_cc *cc, struct dk_bbr *b,
                                   const struct dk_bbr_sample *s)
{
    uint64_t us = (uint64_t)(s->now - b->extra_acked_since) / 1000;
    uint64_t expected =
        us < 1u << 26 && b->bw < UINT64_C(1) << 37 ? b->bw * us / 1000000 : UINT32_MAX;
    if (b->extra_acked_delivered <= expected) {
        b->extra_acked_delivered = 0;
        b->extra_acked_since = s->now;
        expected = 0;
    }
    b->extra_acked_delivered += s->rate->newly;
    uint32_t extra = dk_cc_min32(clamp32(b->extra_acked_delivered - expected), cc->cwnd);
    if (b->round_start) {
        uint32_t rounds = b->full_bw_reached ? EXTRA_ACKED_ROUNDS : 1;
        if (++b->extra_acked_rounds >= rounds) {
            b->extra_acked_rounds = 0;
            b->extra_acked[0] = b->full_bw_reached ? b->extra_acked[1] : 0;
            b->extra_acked[1] = 0;
        }
    }
    b->extra_acked[1] = dk_cc_max32(b->extra_acked[1], extra);
}

/* The pipe is full when three rounds brought less than a quarter more. */
static void check_full_bw(struct dk_bbr *b, const struct dk_bbr_sample *s)
{
    if (b->full_bw_now || !b->round_start || s->is_app_limited)
        return;
    if (s->delivery_rate >= b->full_bw + b->full_bw / 4) {
        dk_bbr_reset_full_bw(b, s->delivery_rate);
        return;
    }
    b->full_bw_now = ++b->full_bw_count >= FULL_BW_ROUNDS;
    b->full_bw_reached |= b->full_bw_now;
}

bool dk_bbr_is_inflight_too_high(const struct dk_bbr *b, uint32_t lost, uint32_t tx_in_flight)
{
    if (lost > 0 && !b->has_sack)
        return true;
    return (uint64_t)lost * 100 > (uint64_t)tx_in_flight * LOSS_THRESH_PERCENT;
}

void dk_bbr_update_model(struct dk_tcp_cc *cc, struct dk_bbr *b, const struct dk_bbr_sample *s)
{
    if (b->loss_seen && b->loss_events < UINT8_MAX)
        b->loss_events++;
    b->loss_seen = false;
    update_latest(b, s);
    update_max_bw(b, s);
    if (b->loss_round_start)
        adapt_lower_bounds(cc, b);
    update_ack_aggregation(cc, b, s);
    check_full_bw(b, s);
}

void dk_bbr_advance_model(struct dk_bbr *b, const struct dk_bbr_sample *s)
{
    if (b->loss_round_start) {
        b->loss_in_round = false;
        b->loss_events = 0;
        b->bw_latest = s->delivery_rate;
        b->inflight_latest = s->rate->delivered;
    }
    uint64_t bw = dk_bbr_max_bw(b);
    b->bw = bw < b->bw_shortterm ? bw : b->bw_shortterm;
}

void dk_bbr_save_cwnd(struct dk_tcp_cc *cc, struct dk_bbr *b)
{
    if (!b->in_recovery && b->state != DK_BBR_PROBE_RTT)
        b->prior_cwnd = cc->cwnd;
    else
        b->prior_cwnd = dk_cc_max32(b->prior_cwnd, cc->cwnd);
}

void dk_bbr_save_upon_loss(struct dk_tcp_cc *cc, struct dk_bbr *b)
{
    dk_bbr_save_cwnd(cc, b);
    b->undo_state = DK_BBR_STATES;
    b->undo_bw_shortterm = b->bw_shortterm;
    b->undo_inflight_shortterm = b->inflight_shortterm;
    b->undo_inflight_longterm = b->inflight_longterm;
}

void dk_bbr_restore(struct dk_tcp_cc *cc, struct dk_bbr *b)
{
    cc->cwnd = dk_cc_max32(cc->cwnd, b->prior_cwnd);
    b->loss_in_round = false;
    dk_bbr_reset_full_bw(b, 0);
    b->bw_shortterm = max64(b->bw_shortterm, b->undo_bw_shortterm);
    b->inflight_shortterm = dk_cc_max32(b->inflight_shortterm, b->undo_inflight_shortterm);
    b->inflight_longterm = dk_cc_max32(b->inflight_longterm, b->undo_inflight_longterm);
}
