/* SPDX-License-Identifier: MIT */
/*
 * Congestion control without a connection: NewReno, CUBIC, HyStart++ and DCTCP, against what the
 * formulas of their RFCs give. BBR has a file of its own.
 *
 * A path of a fixed round trip acknowledges segment by segment, spread evenly over each round trip.
 */
#include "net/tcp/cc.h"
#include "net/tcp/hystart.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#define MSS 1000u
#define MS  INT64_C(1000000)
#define S   INT64_C(1000000000)

struct path {
    struct dk_tcp_cc cc;
    int64_t now, rtt;
    uint64_t una; /* all below is acknowledged */
    bool idle;    /* hardly anything is in flight */
};

static void path_init(struct path *p, const struct dk_tcp_cc_ops *ops, int64_t rtt)
{
    *p = (struct path){.cc = {.ops = ops, .mss = MSS}, .rtt = rtt, .now = 5 * S, .una = 1000000};
    ops->init(&p->cc, rtt, p->now);
}

static struct dk_tcp_cc_ack ack_of(const struct path *p, uint32_t bytes)
{
    uint32_t flight = p->idle ? MSS : p->cc.cwnd;
    return (struct dk_tcp_cc_ack){.bytes = bytes,
                                  .flight = flight,
                                  .rtt_ns = p->rtt,
                                  .srtt_ns = p->rtt,
                                  .snd_una = p->una,
                                  .snd_nxt = p->una - bytes + flight};
}

static void one_ack(struct path *p, bool ece)
{
    p->una += MSS;
    struct dk_tcp_cc_ack ack = ack_of(p, MSS);
    ack.ece = ece;
    p->cc.ops->on_ack(&p->cc, &ack, p->now);
}

/* A round trip. */
static void one_round(struct path *p, bool ece)
{
    uint32_t n = p->cc.cwnd / MSS;
    for (uint32_t i = 0; i < n; i++) {
        p->now += p->rtt / n;
        one_ack(p, ece);
    }
}

static void rounds_until(struct path *p, int64_t until)
{
    while (p->now + p->rtt <= until)
        one_round(p, false);
}

static void lose(struct path *p)
{
    uint32_t flight = p->cc.cwnd;
    p->cc.ops->on_loss(&p->cc, flight, p->now);
    p->cc.ops->on_recovered(&p->cc, flight, p->now);
}

static void assert_near(uint32_t value, double expected, double within)
{
    double off = (double)value - expected;
    if (off > within || off < -within)
        fail_msg("%u is not within %.0f of %.0f", value, within, expected);
}

/* ---- Common ---------------------------------------------------------------------------------- */

static void test_names_find_their_algorithm(void **state)
{
    (void)state;
    assert_ptr_equal(dk_tcp_cc_get(0), &dk_tcp_cubic); /* the default */
    for (uint32_t i = 0; dk_tcp_cc_get(i); i++)
        assert_int_equal(dk_tcp_cc_find(dk_tcp_cc_get(i)->name), i);
    assert_int_equal(dk_tcp_cc_find("reno"), dk_tcp_cc_find("newreno"));
    assert_true(dk_tcp_cc_find("vegas") < 0);
    assert_true(dk_tcp_cc_find("") < 0);
}

/* RFC 6928: min(10 MSS, max(2 MSS, 14600)). */
static void test_initial_window_is_ten_segments_within_bounds(void **state)
{
    (void)state;
    assert_int_equal(dk_tcp_cc_initial_window(1000), 10000);
    assert_int_equal(dk_tcp_cc_initial_window(1460), 14600);
    assert_int_equal(dk_tcp_cc_initial_window(2000), 14600);
    assert_int_equal(dk_tcp_cc_initial_window(9000), 18000);
}

static void test_every_algorithm_keeps_a_segment(void **state)
{
    (void)state;
    for (uint32_t i = 0; dk_tcp_cc_get(i); i++) {
        const struct dk_tcp_cc_ops *ops = dk_tcp_cc_get(i);
        uint64_t memory[128] = {0};
        struct dk_tcp_cc cc = {.ops = ops, .mss = MSS};
        if (ops->state_bytes)
            cc.state = memory;
        assert_true(ops->state_bytes <= sizeof(memory));
        ops->init(&cc, -1, 0);
        assert_int_equal(cc.cwnd, 10 * MSS);
        for (int n = 0; n < 40; n++) {
            ops->on_loss(&cc, MSS, n);
            ops->on_ecn(&cc, MSS, n);
            ops->on_rto(&cc, MSS, true, n);
            ops->on_recovered(&cc, 0, n);
            ops->on_idle(&cc, S, n);
            assert_true(cc.cwnd >= MSS);
        }
        cc.mss = 9 * MSS;
        ops->on_mss(&cc, MSS);
        assert_true(cc.cwnd >= 9 * MSS);
    }
}

static void test_window_that_is_not_used_does_not_grow(void **state)
{
    (void)state;
    const struct dk_tcp_cc_ops *const all[] = {&dk_tcp_cubic, &dk_tcp_newreno, &dk_tcp_dctcp};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct path p;
        path_init(&p, all[i], 100 * MS);
        p.idle = true;
        for (int n = 0; n < 100; n++)
            one_round(&p, false);
        assert_int_equal(p.cc.cwnd, 10 * MSS);
    }
}

/* ---- NewReno --------------------------------------------------------------------------------- */

static void test_newreno_halves_and_grows_by_a_segment(void **state)
{
    struct path p;
    (void)state;
    path_init(&p, &dk_tcp_newreno, 100 * MS);
    one_round(&p, false);
    assert_int_equal(p.cc.cwnd, 20 * MSS); /* slow start */
    lose(&p);
    assert_int_equal(p.cc.ssthresh, 10 * MSS);
    assert_int_equal(p.cc.cwnd, 10 * MSS);
    for (uint32_t n = 1; n <= 5; n++) {
        one_round(&p, false);
        assert_int_equal(p.cc.cwnd, (10 + n) * MSS);
    }
}

static void test_newreno_undoes_what_was_no_loss(void **state)
{
    struct path p;
    (void)state;
    path_init(&p, &dk_tcp_newreno, 100 * MS);
    one_round(&p, false);
    p.cc.ops->on_rto(&p.cc, 20 * MSS, true, p.now);
    assert_int_equal(p.cc.cwnd, MSS);
    p.cc.ops->on_spurious(&p.cc, p.now);
    assert_int_equal(p.cc.cwnd, 20 * MSS);
    assert_int_equal(p.cc.ssthresh, UINT32_MAX);
}

/* ---- CUBIC ----------------------------------------------------------------------------------- */

/* In congestion avoidance with a window of n segments that just lost one. */
static void cubic_after_loss(struct path *p, int64_t rtt, uint32_t n)
{
    path_init(p, &dk_tcp_cubic, rtt);
    p->cc.cwnd = n * MSS;
    lose(p);
}

/* W_cubic in bytes (RFC 9438, figure 1). */
static double w_cubic(double w_max, double k, double t)
{
    return (w_max + 0.4 * (t - k) * (t - k) * (t - k)) * MSS;
}

/* Section 4.6: beta = 0.7. */
static void test_cubic_reduces_to_seven_tenths(void **state)
{
    struct path p;
    (void)state;
    cubic_after_loss(&p, 100 * MS, 100);
    assert_int_equal(p.cc.cwnd, 70 * MSS);
    assert_int_equal(p.cc.ssthresh, 70 * MSS);
}

/*
 * Sections 4.2, 4.4, 4.5: W_max = 100, cwnd_epoch = 70, so K = cbrt(30 / 0.4) = 4.2172 s. The
 * window is on the way to the value of a round trip later, so it is W_cubic(t) give or take a
 * segment.
 */
static void test_cubic_follows_its_curve(void **state)
{
    struct path p;
    (void)state;
    cubic_after_loss(&p, 200 * MS, 100);
    int64_t begin = p.now;
    const double k = 4.2172;
    const double at[] = {1, 2, 3, 4.2, 5, 6, 8, 10};
    for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
        rounds_until(&p, begin + (int64_t)(at[i] * 1e9));
        double t = (double)(p.now - begin) / 1e9;
        double low = w_cubic(100, k, t), high = w_cubic(100, k, t + 0.2);
        assert_near(p.cc.cwnd, (low + high) / 2, (high - low) / 2 + 2 * MSS);
    }
}

/* The same far away: a window of 20,000 segments (K = 24.7 s), where units and shifts count. */
static void test_cubic_follows_its_curve_of_a_large_window(void **state)
{
    struct path p;
    (void)state;
    cubic_after_loss(&p, 200 * MS, 20000);
    int64_t begin = p.now;
    const double k = 24.6621;
    const double at[] = {1, 5, 10, 20, 24, 30, 40};
    for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
        rounds_until(&p, begin + (int64_t)(at[i] * 1e9));
        double t = (double)(p.now - begin) / 1e9;
        double low = w_cubic(20000, k, t), high = w_cubic(20000, k, t + 0.2);
        assert_near(p.cc.cwnd, (low + high) / 2, (high - low) / 2 + 20 * MSS);
    }
}

/* Section 4.4: no more than half of the window in a round trip. */
static void test_cubic_grows_by_half_at_most(void **state)
{
    struct path p;
    (void)state;
    cubic_after_loss(&p, 100 * MS, 100);
    one_round(&p, false);
    p.now += 100 * S; /* W_cubic is far above */
    uint32_t before = p.cc.cwnd;
    one_round(&p, false);
    assert_in_range(p.cc.cwnd, before + before * 4 / 10, before + before / 2 + 30 * MSS);
}

/* Section 4.3: with a short round trip W_est is above: 9/17 segments in each, from 7 to the 10 that
 * there were before; then one. */
static void test_cubic_is_friendly_to_reno(void **state)
{
    struct path p;
    (void)state;
    cubic_after_loss(&p, 10 * MS, 10);
    assert_int_equal(p.cc.cwnd, 7 * MSS);
    uint32_t rounds = 0;
    while (p.cc.cwnd < 10 * MSS) {
        one_round(&p, false);
        assert_near(p.cc.cwnd, 7000 + 1000 * ++rounds * 9 / 17.0, 1000);
    }
    assert_in_range(rounds, 5, 7);
    for (uint32_t n = 1; n <= 8; n++) {
        one_round(&p, false);
        assert_near(p.cc.cwnd, 10000 + 1000 * n, 1000);
    }
}

/* Section 4.7: the second loss comes at 80 segments, below W_max = 100. So W_max becomes 0.85 of
 * 80 = 68, cwnd 56, and K = cbrt(12 / 0.4) = 3.107 s. */
static void test_cubic_converges_fast(void **state)
{
    struct path p;
    (void)state;
    cubic_after_loss(&p, 200 * MS, 100);
    p.cc.cwnd = 80 * MSS;
    lose(&p);
    assert_int_equal(p.cc.cwnd, 56 * MSS);
    int64_t begin = p.now;
    rounds_until(&p, begin + 3200 * MS);
    assert_near(p.cc.cwnd, 68000, 1500);
    rounds_until(&p, begin + 4 * S);
    assert_near(p.cc.cwnd, w_cubic(68, 3.107, 4), 2500);
}

/* Section 4.8: after a timeout the curve begins at its plateau: K = 0, W_max = cwnd. */
static void test_cubic_begins_anew_after_a_timeout(void **state)
{
    struct path p;
    (void)state;
    cubic_after_loss(&p, 200 * MS, 100);
    p.cc.cwnd = 100 * MSS;
    p.cc.ops->on_rto(&p.cc, 100 * MSS, true, p.now);
    assert_int_equal(p.cc.cwnd, MSS);
    assert_int_equal(p.cc.ssthresh, 70 * MSS);
    while (p.cc.cwnd < p.cc.ssthresh)
        one_round(&p, false);
    int64_t begin = p.now;
    double from = p.cc.cwnd / 1000.0;
    rounds_until(&p, begin + 4 * S);
    double t = (double)(p.now - begin) / 1e9;
    assert_near(p.cc.cwnd, w_cubic(from, 0, t + 0.1), 5000);
}

/* Section 4.2: time in which the window is not used does not count. */
static void test_cubic_stands_still_while_not_used(void **state)
{
    struct path p;
    (void)state;
    cubic_after_loss(&p, 200 * MS, 100);
    int64_t begin = p.now;
    rounds_until(&p, begin + 2 * S);
    p.idle = true;
    rounds_until(&p, p.now + 20 * S);
    p.idle = false;
    one_round(&p, false);
    assert_near(p.cc.cwnd, w_cubic(100, 4.2172, 2.2), 3000);
}

/* Section 4.9. */
static void test_cubic_undoes_what_was_no_loss(void **state)
{
    struct path p;
    (void)state;
    cubic_after_loss(&p, 200 * MS, 100);
    p.cc.ops->on_spurious(&p.cc, p.now);
    assert_int_equal(p.cc.cwnd, 100 * MSS);
    assert_int_equal(p.cc.ssthresh, UINT32_MAX);
}

/* Section 4.6: for ECN-Echo the window may become one segment. */
static void test_cubic_reduces_for_an_echo(void **state)
{
    struct path p;
    (void)state;
    path_init(&p, &dk_tcp_cubic, 100 * MS);
    p.cc.ops->on_ecn(&p.cc, 10 * MSS, p.now);
    assert_int_equal(p.cc.cwnd, 7 * MSS);
    p.cc.ops->on_ecn(&p.cc, MSS, p.now);
    assert_int_equal(p.cc.cwnd, MSS);
    assert_int_equal(p.cc.ssthresh, 2 * MSS);
}

/* Growth stays below the limit of 32 bits. */
static void test_cubic_has_room_in_its_numbers(void **state)
{
    struct path p;
    (void)state;
    path_init(&p, &dk_tcp_cubic, S);
    p.cc.cwnd = UINT32_MAX / 2 - MSS;
    lose(&p);
    for (int i = 0; i < 2000; i++) {
        p.now += 5 * S;
        uint32_t before = p.cc.cwnd;
        p.una += p.cc.cwnd;
        struct dk_tcp_cc_ack ack = ack_of(&p, p.cc.cwnd);
        p.cc.ops->on_ack(&p.cc, &ack, p.now);
        assert_true(p.cc.cwnd >= before);
    }
}

/* ---- HyStart++ ------------------------------------------------------------------------------- */

struct rounds {
    struct dk_hystart h;
    uint64_t una, flight;
    uint32_t growth; /* of the last acknowledgement */
};

static void hystart_round(struct rounds *r, int64_t rtt, int acks)
{
    uint64_t end = r->una + r->flight;
    for (int i = 1; i <= acks; i++) {
        r->una = i < acks ? r->una + r->flight / (uint64_t)acks : end;
        struct dk_tcp_cc_ack ack = {.bytes = MSS,
                                    .rtt_ns = rtt,
                                    .snd_una = r->una,
                                    .snd_nxt = i < acks ? end : end + r->flight};
        r->growth = dk_hystart_ack(&r->h, MSS, &ack);
    }
}

static void hystart_begin(struct rounds *r)
{
    *r = (struct rounds){.una = 1000, .flight = 10000};
    dk_hystart_init(&r->h);
    hystart_round(r, 40 * MS, 10);
    hystart_round(r, 40 * MS, 10);
    assert_int_equal(r->h.phase, DK_HYSTART_SLOW_START);
    assert_int_equal(r->growth, MSS);
}

/* RFC 9406 section 4.2: RttThresh is an eighth of 40 ms: 5 ms. */
static void test_hystart_notices_longer_round_trips(void **state)
{
    struct rounds r;
    (void)state;
    hystart_begin(&r);
    hystart_round(&r, 44 * MS, 10);
    assert_int_equal(r.h.phase, DK_HYSTART_SLOW_START);
    hystart_begin(&r);
    hystart_round(&r, 45500000, 10);
    assert_int_equal(r.h.phase, DK_HYSTART_CSS);
    assert_int_equal(r.growth, MSS / 4);
}

static void test_hystart_needs_eight_samples(void **state)
{
    struct rounds r;
    (void)state;
    hystart_begin(&r);
    hystart_round(&r, 80 * MS, 7);
    assert_int_equal(r.h.phase, DK_HYSTART_SLOW_START);
    hystart_begin(&r);
    hystart_round(&r, 80 * MS, 8);
    assert_int_equal(r.h.phase, DK_HYSTART_CSS);
}

/* Section 4.2: the round in which CSS begins counts among its five. */
static void test_hystart_ends_after_five_rounds(void **state)
{
    struct rounds r;
    (void)state;
    hystart_begin(&r);
    for (int i = 0; i < 5; i++) {
        assert_int_not_equal(r.h.phase, DK_HYSTART_DONE);
        hystart_round(&r, (60 + i) * MS, 10);
    }
    assert_int_equal(r.h.phase, DK_HYSTART_DONE);
}

/* It was jitter: slow start goes on. */
static void test_hystart_resumes_when_round_trips_shrink(void **state)
{
    struct rounds r;
    (void)state;
    hystart_begin(&r);
    hystart_round(&r, 60 * MS, 10);
    assert_int_equal(r.h.phase, DK_HYSTART_CSS);
    hystart_round(&r, 50 * MS, 10);
    assert_int_equal(r.h.phase, DK_HYSTART_SLOW_START);
    assert_int_equal(r.growth, MSS);
}

/* The thresholds are 4 ms at least and 16 ms at most. */
static void test_hystart_bounds_its_threshold(void **state)
{
    struct rounds r = {.una = 1000, .flight = 10000};
    (void)state;
    dk_hystart_init(&r.h);
    hystart_round(&r, 1 * MS, 20);
    hystart_round(&r, 4900000, 10);
    assert_int_equal(r.h.phase, DK_HYSTART_SLOW_START);
    r = (struct rounds){.una = 1000, .flight = 10000};
    dk_hystart_init(&r.h);
    hystart_round(&r, 400 * MS, 20);
    hystart_round(&r, 417 * MS, 10);
    assert_int_equal(r.h.phase, DK_HYSTART_CSS);
}

/* L = 8: no more than eight segments for an acknowledgement. */
static void test_hystart_bounds_growth(void **state)
{
    struct dk_hystart h;
    (void)state;
    dk_hystart_init(&h);
    struct dk_tcp_cc_ack ack = {.bytes = 50 * MSS, .rtt_ns = -1, .snd_una = 1, .snd_nxt = 2};
    assert_int_equal(dk_hystart_ack(&h, MSS, &ack), 8 * MSS);
}

/* CUBIC uses it: ssthresh is found by the round trips alone. */
static void test_cubic_leaves_slow_start_by_round_trips(void **state)
{
    struct path p;
    (void)state;
    path_init(&p, &dk_tcp_cubic, 40 * MS);
    for (int i = 0; i < 4; i++)
        one_round(&p, false);
    assert_int_equal(p.cc.cwnd, 160 * MSS);
    p.rtt = 80 * MS;
    for (int i = 0; i < 8; i++)
        one_round(&p, false);
    assert_in_range(p.cc.ssthresh, 200 * MSS, 1000 * MSS);
}

/* ---- DCTCP ----------------------------------------------------------------------------------- */

static void dctcp_begin(struct path *p)
{
    path_init(p, &dk_tcp_dctcp, 1 * MS);
    p->cc.cwnd = p->cc.ssthresh = 1000 * MSS;
    one_ack(p, true);
}

/* RFC 8257 section 3.3: alpha is 1 at first, so the first echo halves. */
static void test_dctcp_is_careful_at_first(void **state)
{
    struct path p;
    (void)state;
    dctcp_begin(&p);
    p.cc.ops->on_ecn(&p.cc, p.cc.cwnd, p.now);
    assert_int_equal(p.cc.cwnd, 500 * MSS);
}

/* After n windows without marks alpha = (15/16)^n: 0.5239 after ten. */
static void test_dctcp_forgets_congestion(void **state)
{
    struct path p;
    (void)state;
    dctcp_begin(&p);
    for (int i = 0; i < 10; i++)
        one_round(&p, false);
    one_ack(&p, false);
    uint32_t before = p.cc.cwnd;
    p.cc.ops->on_ecn(&p.cc, before, p.now);
    assert_near(p.cc.cwnd, before * (1 - 0.5239 / 2), 10 * MSS);
}

/* A quarter of the bytes marked, for long: alpha is 1/4, so the window loses an eighth. */
static void test_dctcp_measures_congestion(void **state)
{
    struct path p;
    (void)state;
    dctcp_begin(&p);
    for (uint32_t i = 0; i < 200000; i++) {
        one_ack(&p, i % 4 == 0);
        p.cc.cwnd = 1000 * MSS;
    }
    p.cc.ops->on_ecn(&p.cc, p.cc.cwnd, p.now);
    assert_near(p.cc.cwnd, 875 * MSS, 8 * MSS);
}

/* Section 3.5. */
static void test_dctcp_halves_for_a_loss(void **state)
{
    struct path p;
    (void)state;
    dctcp_begin(&p);
    for (int i = 0; i < 100; i++)
        one_round(&p, false);
    p.cc.ops->on_loss(&p.cc, 800 * MSS, p.now);
    assert_int_equal(p.cc.cwnd, 400 * MSS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_find_their_algorithm),
        cmocka_unit_test(test_initial_window_is_ten_segments_within_bounds),
        cmocka_unit_test(test_every_algorithm_keeps_a_segment),
        cmocka_unit_test(test_window_that_is_not_used_does_not_grow),
        cmocka_unit_test(test_newreno_halves_and_grows_by_a_segment),
        cmocka_unit_test(test_newreno_undoes_what_was_no_loss),
        cmocka_unit_test(test_cubic_reduces_to_seven_tenths),
        cmocka_unit_test(test_cubic_follows_its_curve),
        cmocka_unit_test(test_cubic_follows_its_curve_of_a_large_window),
        cmocka_unit_test(test_cubic_grows_by_half_at_most),
        cmocka_unit_test(test_cubic_is_friendly_to_reno),
        cmocka_unit_test(test_cubic_converges_fast),
        cmocka_unit_test(test_cubic_begins_anew_after_a_timeout),
        cmocka_unit_test(test_cubic_stands_still_while_not_used),
        cmocka_unit_test(test_cubic_undoes_what_was_no_loss),
        cmocka_unit_test(test_cubic_reduces_for_an_echo),
        cmocka_unit_test(test_cubic_has_room_in_its_numbers),
        cmocka_unit_test(test_hystart_notices_longer_round_trips),
        cmocka_unit_test(test_hystart_needs_eight_samples),
        cmocka_unit_test(test_hystart_ends_after_five_rounds),
        cmocka_unit_test(test_hystart_resumes_when_round_trips_shrink),
        cmocka_unit_test(test_hystart_bounds_its_threshold),
        cmocka_unit_test(test_hystart_bounds_growth),
        cmocka_unit_test(test_cubic_leaves_slow_start_by_round_trips),
        cmocka_unit_test(test_dctcp_is_careful_at_first),
        cmocka_unit_test(test_dctcp_forgets_congestion),
        cmocka_unit_test(test_dctcp_measures_congestion),
        cmocka_unit_test(test_dctcp_halves_for_a_loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
