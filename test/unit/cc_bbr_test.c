/* SPDX-License-Identifier: MIT */
/*
 * BBR over a simple link: a rate, a propagation delay, a buffer that drops at its tail. The sender
 * always has data, obeys the window and the pacing rate, and learns of each segment that arrives or
 * is dropped a propagation delay later. Deterministic.
 */
#include "net/tcp/bbr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#define MSS  1000u
#define MS   INT64_C(1000000)
#define S    INT64_C(1000000000)
#define RING 65536u

struct packet {
    int64_t sent_at, done_at; /* when the sender hears of it */
    bool dropped;
    uint64_t delivered;
    int64_t delivered_at, first_sent;
    uint32_t in_flight;
    uint64_t lost;
};

struct link {
    uint64_t rate; /* bytes per second */
    int64_t delay; /* of a round trip without queue */
    uint32_t buffer;
    int64_t busy_until;
    struct dk_tcp_cc cc;
    struct dk_bbr bbr;
    struct packet ring[RING];
    uint32_t head, tail; /* oldest, next */
    int64_t now, next_send;
    uint64_t delivered, lost;
    int64_t delivered_at, first_sent;
    uint32_t in_flight;
    uint32_t seen; /* states, as bits */
    uint32_t most_in_flight;
    uint32_t entered[DK_BBR_STATES];
};

static struct link *l;

static void link_init(uint64_t rate, int64_t delay, uint32_t buffer)
{
    static struct link one;
    l = &one;
    memset(l, 0, sizeof(*l));
    l->rate = rate;
    l->delay = delay;
    l->buffer = buffer;
    l->now = l->next_send = l->busy_until = S;
    l->cc.ops = &dk_tcp_bbr;
    l->cc.mss = MSS;
    l->cc.state = &l->bbr;
    dk_tcp_bbr.init(&l->cc, delay, l->now);
}

static int64_t ns_for(uint64_t bytes, uint64_t rate)
{
    return (int64_t)(bytes * (uint64_t)S / rate);
}

static void send_one(void)
{
    struct packet *p = &l->ring[l->tail++ % RING];
    if (l->in_flight == 0)
        l->first_sent = l->delivered_at = l->now;
    l->in_flight += MSS;
    *p = (struct packet){.sent_at = l->now,
                         .delivered = l->delivered,
                         .delivered_at = l->delivered_at,
                         .first_sent = l->first_sent,
                         .in_flight = l->in_flight,
                         .lost = l->lost};
    int64_t begin = l->busy_until > l->now ? l->busy_until : l->now;
    int64_t queued = (int64_t)((uint64_t)(begin - l->now) * l->rate / (uint64_t)S);
    p->dropped = queued + MSS > l->buffer;
    if (!p->dropped)
        l->busy_until = begin = begin + ns_for(MSS, l->rate);
    p->done_at = begin + l->delay;
    l->next_send = (l->next_send > l->now ? l->next_send : l->now) + ns_for(MSS, l->cc.pacing_rate);
}

static void hear_of_loss(const struct packet *p)
{
    l->lost += MSS;
    if (!l->bbr.in_recovery)
        dk_tcp_bbr.on_loss(&l->cc, l->in_flight, l->now);
    struct dk_tcp_cc_lost lost = {.bytes = MSS,
                                  .tx_in_flight = p->in_flight,
                                  .lost_since = (uint32_t)(l->lost - p->lost),
                                  .total = l->delivered,
                                  .has_sack = true};
    dk_tcp_bbr.on_lost(&l->cc, &lost);
}

static void hear_of_delivery(const struct packet *p)
{
    l->delivered += MSS;
    l->delivered_at = l->now;
    l->first_sent = p->sent_at;
    int64_t send = p->sent_at - p->first_sent, ack = l->now - p->delivered_at;
    struct dk_tcp_rate rate = {.total = l->delivered,
                               .prior_total = p->delivered,
                               .delivered = (uint32_t)(l->delivered - p->delivered),
                               .newly = MSS,
                               .interval_ns = send > ack ? send : ack,
                               .tx_in_flight = p->in_flight,
                               .lost = (uint32_t)(l->lost - p->lost),
                               .in_flight = l->in_flight};
    struct dk_tcp_cc_ack a = {.bytes = MSS,
                              .flight = l->in_flight + MSS,
                              .rtt_ns = l->now - p->sent_at,
                              .srtt_ns = l->now - p->sent_at,
                              .rate = &rate};
    uint8_t before = l->bbr.state;
    dk_tcp_bbr.on_ack(&l->cc, &a, l->now);
    l->entered[l->bbr.state] += before != l->bbr.state;
    l->seen |= 1u << l->bbr.state;
    if (l->bbr.in_recovery && p->lost == l->lost)
        dk_tcp_bbr.on_recovered(&l->cc, l->in_flight, l->now);
}

static bool may_send(void)
{
    return l->in_flight + MSS <= l->cc.cwnd;
}

/* Runs until then, or until a state is entered. */
static void run(int64_t until, int state)
{
    while (l->now < until && (int)l->bbr.state != state) {
        int64_t heard = l->head != l->tail ? l->ring[l->head % RING].done_at : INT64_MAX;
        int64_t send = may_send() ? (l->next_send > l->now ? l->next_send : l->now) : INT64_MAX;
        l->now = heard < send ? heard : send;
        if (send < heard) {
            send_one();
            if (l->in_flight > l->most_in_flight)
                l->most_in_flight = l->in_flight;
            continue;
        }
        const struct packet *p = &l->ring[l->head++ % RING];
        l->in_flight -= MSS;
        if (p->dropped)
            hear_of_loss(p);
        else
            hear_of_delivery(p);
    }
}

static void assert_percent(uint64_t value, uint64_t of, uint32_t low, uint32_t high)
{
    if (value * 100 < of * low || value * 100 > of * high)
        fail_msg("%lu is not %u to %u percent of %lu", value, low, high, of);
}

/* 10 MB/s and 40 ms: 400 segments of product. */
#define RATE  UINT64_C(10000000)
#define DELAY (40 * MS)
#define BDP   UINT64_C(400000)

static void test_startup_finds_the_bandwidth_and_drains(void **state)
{
    (void)state;
    link_init(RATE, DELAY, 10 * BDP);
    run(S + 2 * S, DK_BBR_DRAIN);
    assert_int_equal(l->bbr.state, DK_BBR_DRAIN);
    assert_true(l->now < S + 15 * DELAY);
    assert_percent(dk_bbr_max_bw(&l->bbr), RATE, 95, 101);
    while (l->bbr.state == DK_BBR_DRAIN && l->now < S + 20 * DELAY)
        run(l->now + MS, -1);
    assert_true(dk_bbr_in_probe_bw(&l->bbr));
    assert_percent(l->in_flight, BDP, 80, 110);
}

/* The queue that startup builds is bounded by its gain. */
static void test_startup_bounds_the_queue(void **state)
{
    (void)state;
    link_init(RATE, DELAY, 100 * BDP);
    run(S + 2 * S, -1);
    assert_percent(l->most_in_flight, BDP, 150, 320);
    assert_int_equal(l->lost, 0);
}

static void test_initial_rate_sends_the_window_in_a_round_trip(void **state)
{
    (void)state;
    link_init(RATE, DELAY, BDP);
    assert_int_equal(l->cc.cwnd, 10 * MSS);
    assert_percent(l->cc.pacing_rate, 10 * MSS * 25 * 277 / 100, 99, 101);
}

/* DOWN, CRUISE, REFILL, UP, in that order, again and again. */
static void test_probe_bw_goes_round(void **state)
{
    (void)state;
    link_init(RATE, DELAY, 10 * BDP);
    run(2 * S, -1);
    const int order[] = {DK_BBR_CRUISE, DK_BBR_REFILL, DK_BBR_UP, DK_BBR_DOWN,
                         DK_BBR_CRUISE, DK_BBR_REFILL, DK_BBR_UP, DK_BBR_DOWN};
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        run(l->now + 4 * S, order[i]);
        assert_int_equal(l->bbr.state, order[i]);
    }
    assert_true(l->entered[DK_BBR_UP] >= 2);
    assert_int_equal(l->entered[DK_BBR_STARTUP], 0);
}

static void test_steady_rate_is_the_links(void **state)
{
    (void)state;
    link_init(RATE, DELAY, 10 * BDP);
    run(3 * S, -1);
    uint64_t before = l->delivered;
    run(9 * S, -1);
    assert_percent(l->delivered - before, 6 * RATE, 96, 100);
    assert_percent(l->bbr.bw, RATE, 97, 102);
    assert_percent((uint64_t)l->bbr.min_rtt_ns, DELAY, 99, 106);
}

/* BBR.MinRTTFilterLen: after ten seconds without a shorter round trip the queue is emptied, for
 * 200 ms with half of the product in flight; then it cruises. */
static void test_probe_rtt_comes_after_ten_seconds(void **state)
{
    (void)state;
    link_init(RATE, DELAY, 10 * BDP);
    l->bbr.min_rtt_ns = DELAY; /* no queue hides it */
    run(20 * S, DK_BBR_PROBE_RTT);
    assert_int_equal(l->bbr.state, DK_BBR_PROBE_RTT);
    assert_in_range(l->now, 11 * S - 100 * MS, 12 * S + 500 * MS);
    int64_t entered = l->now;
    run(entered + 100 * MS, -1);
    assert_percent(l->in_flight, BDP, 35, 60);
    assert_int_equal(l->bbr.state, DK_BBR_PROBE_RTT);
    run(entered + S, DK_BBR_CRUISE);
    assert_int_equal(l->bbr.state, DK_BBR_CRUISE);
    assert_in_range(l->now - entered, 200 * MS, 400 * MS);
    assert_percent(l->bbr.bw, RATE, 90, 102); /* low samples did not count */
    assert_percent(l->cc.cwnd, BDP, 150, 260);
}

/* A buffer of a tenth of the product: startup ends by loss, the volume in flight is learned, and
 * the link is used nevertheless. */
static void test_shallow_buffer_bounds_what_is_in_flight(void **state)
{
    (void)state;
    link_init(RATE, DELAY, BDP / 10);
    run(3 * S, -1);
    assert_true(l->bbr.full_bw_reached);
    uint64_t delivered = l->delivered, lost = l->lost;
    run(9 * S, -1);
    assert_true(l->bbr.inflight_longterm != DK_BBR_INFLIGHT_NONE);
    assert_percent(l->bbr.inflight_longterm, BDP, 60, 130);
    assert_percent(l->delivered - delivered, 6 * RATE, 80, 100);
    assert_percent(l->lost - lost, 6 * RATE, 0, 3);
}

/* The link becomes faster: the next probe finds it. */
static void test_more_bandwidth_is_found(void **state)
{
    (void)state;
    link_init(RATE, DELAY, 10 * BDP);
    run(3 * S, -1);
    l->rate = 2 * RATE;
    run(9 * S, -1);
    assert_percent(l->bbr.bw, 2 * RATE, 90, 102);
}

/* The link becomes slower: forgotten within two cycles of probing. */
static void test_less_bandwidth_is_found(void **state)
{
    (void)state;
    link_init(RATE, DELAY, 20 * BDP);
    run(3 * S, -1);
    l->rate = RATE / 2;
    run(14 * S, -1);
    assert_percent(l->bbr.bw, RATE / 2, 90, 110);
}

/* A timeout leaves one segment; what was delivered brings the window back. */
static void test_timeout_leaves_one_segment(void **state)
{
    (void)state;
    link_init(RATE, DELAY, 10 * BDP);
    run(3 * S, -1);
    uint32_t before = l->cc.cwnd;
    dk_tcp_bbr.on_rto(&l->cc, l->in_flight, true, l->now);
    assert_int_equal(l->cc.cwnd, MSS);
    run(5 * S, -1);
    assert_percent(l->cc.cwnd, before, 60, 130);
}

static void test_undo_brings_the_window_back(void **state)
{
    (void)state;
    link_init(RATE, DELAY, 10 * BDP);
    run(3 * S, -1);
    uint32_t before = l->cc.cwnd;
    dk_tcp_bbr.on_rto(&l->cc, l->in_flight, true, l->now);
    dk_tcp_bbr.on_spurious(&l->cc, l->now);
    assert_int_equal(l->cc.cwnd, before);
}

/* After idle: the window stays, the rate is the path's. */
static void test_idle_restart_paces_at_the_known_rate(void **state)
{
    (void)state;
    link_init(RATE, DELAY, 10 * BDP);
    run(3 * S, DK_BBR_UP);
    uint32_t before = l->cc.cwnd;
    dk_tcp_bbr.on_idle(&l->cc, S, l->now + S);
    assert_int_equal(l->cc.cwnd, before);
    assert_percent(l->cc.pacing_rate, l->bbr.bw, 98, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_startup_finds_the_bandwidth_and_drains),
        cmocka_unit_test(test_startup_bounds_the_queue),
        cmocka_unit_test(test_initial_rate_sends_the_window_in_a_round_trip),
        cmocka_unit_test(test_probe_bw_goes_round),
        cmocka_unit_test(test_steady_rate_is_the_links),
        cmocka_unit_test(test_probe_rtt_comes_after_ten_seconds),
        cmocka_unit_test(test_shallow_buffer_bounds_what_is_in_flight),
        cmocka_unit_test(test_more_bandwidth_is_found),
        cmocka_unit_test(test_less_bandwidth_is_found),
        cmocka_unit_test(test_timeout_leaves_one_segment),
        cmocka_unit_test(test_undo_brings_the_window_back),
        cmocka_unit_test(test_idle_restart_paces_at_the_known_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
