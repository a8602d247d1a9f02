/* SPDX-License-Identifier: MIT */
/* Congestion control as a connection has it: which algorithm, its memory, what it is told. */
#include "tcp_kit.h"

#include "net/tcp/rate.h"

#include <string.h>

static const struct dk_tcp_cc_ops *ops_of(const struct kit *k)
{
    return k->app.conn->cc.ops;
}

static int64_t number_of(const char *name)
{
    return dk_tcp_cc_find(name);
}

static int choose(struct kit *k, const char *name)
{
    return dk_tcp_set_option(k->app.conn, DK_TCP_CONGESTION, number_of(name), k->now);
}

static int setup(void **state)
{
    static struct kit k;
    kit_init(&k);
    *state = &k;
    return 0;
}

static int teardown(void **state)
{
    kit_fini(*state);
    return 0;
}

/* ---- Choice ---------------------------------------------------------------------------------- */

static void test_cubic_is_the_default(void **state)
{
    struct kit *k = *state;
    dk_tcp_config_init(&k->config);
    k->config.no_timestamps = true;
    kit_start(k);
    kit_active(k);
    assert_ptr_equal(ops_of(k), &dk_tcp_cubic);
}

static void test_configuration_says_the_default(void **state)
{
    struct kit *k = *state;
    k->config.congestion = (uint8_t)number_of("dctcp");
    kit_start(k);
    kit_passive(k);
    int64_t value;
    assert_ptr_equal(ops_of(k), &dk_tcp_dctcp);
    assert_int_equal(dk_tcp_get_option(k->app.conn, DK_TCP_CONGESTION, &value), 0);
    assert_int_equal(value, number_of("dctcp"));
}

static void test_listener_gives_its_algorithm(void **state)
{
    struct kit *k = *state;
    kit_start(k);
    kit_listen(k, 8);
    assert_int_equal(dk_tcp_listen_set_option(k->listener, DK_TCP_CONGESTION, number_of("bbr")), 0);
    kit_passive(k);
    assert_ptr_equal(ops_of(k), &dk_tcp_bbr);
    assert_int_equal(k->tcp->cc_states.used, 1);
}

static void test_change_keeps_the_window(void **state)
{
    struct kit *k = *state;
    kit_start(k);
    kit_passive(k);
    struct dk_tcp_cc *cc = &k->app.conn->cc;
    cc->cwnd = 123456;
    cc->ssthresh = 100000;
    static const char *const names[] = {"bbr", "cubic", "bbr", "dctcp", "reno", "bbr"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_int_equal(choose(k, names[i]), 0);
        assert_string_equal(ops_of(k)->name, names[i]);
        assert_int_equal(cc->cwnd, 123456);
        assert_int_equal(cc->ssthresh, 100000);
        assert_int_equal(k->tcp->cc_states.used, ops_of(k)->state_bytes != 0);
        assert_true(ops_of(k) != &dk_tcp_bbr || cc->pacing_rate != 0);
    }
}

static void test_what_there_is_not_is_refused(void **state)
{
    struct kit *k = *state;
    kit_start(k);
    kit_passive(k);
    assert_int_equal(dk_tcp_set_option(k->app.conn, DK_TCP_CONGESTION, 4, k->now), -EINVAL);
    assert_int_equal(dk_tcp_set_option(k->app.conn, DK_TCP_CONGESTION, -1, k->now), -EINVAL);
    assert_ptr_equal(ops_of(k), &dk_tcp_newreno);
}

/* The memory of an algorithm goes with its connection. */
static void test_memory_goes_with_the_connection(void **state)
{
    struct kit *k = *state;
    k->config.congestion = (uint8_t)number_of("bbr");
    kit_start(k);
    kit_active(k);
    assert_int_equal(k->tcp->cc_states.used, 1);
    kit_inject(k, R, 1, 0, NULL, 0);
    kit_tell(k);
    dk_tcp_close(k->app.conn, k->now);
    kit_tell(k);
    assert_int_equal(k->app.closed, 1);
    assert_int_equal(k->tcp->cc_states.used, 0);
}

/* Without it a connection keeps what it has, and none begins. */
static void test_without_memory_nothing_changes(void **state)
{
    struct kit *k = *state;
    kit_start(k);
    kit_passive(k);
    k->tcp->cc_states.max = k->tcp->cc_states.made; /* none */
    assert_int_equal(choose(k, "bbr"), -ENOBUFS);
    assert_ptr_equal(ops_of(k), &dk_tcp_newreno);
    int64_t value;
    assert_int_equal(dk_tcp_get_option(k->app.conn, DK_TCP_CONGESTION, &value), 0);
    assert_int_equal(value, number_of("newreno"));
}

/* ---- What it is told ------------------------------------------------------------------------- */

static struct {
    struct dk_tcp_cc_ack ack;
    struct dk_tcp_rate rate;
    struct dk_tcp_cc_lost lost;
    uint32_t acks, losts;
} heard;

static void spy_init(struct dk_tcp_cc *cc, int64_t rtt_ns, int64_t now)
{
    dk_tcp_newreno.init(cc, rtt_ns, now);
}

static void spy_ack(struct dk_tcp_cc *cc, const struct dk_tcp_cc_ack *ack, int64_t now)
{
    heard.ack = *ack;
    heard.rate = *ack->rate;
    heard.acks++;
    dk_tcp_newreno.on_ack(cc, ack, now);
}

static void spy_lost(struct dk_tcp_cc *cc, const struct dk_tcp_cc_lost *lost)
{
    (void)cc;
    heard.lost = *lost;
    heard.losts++;
}

/* NewReno that tells. */
static void spy_on(struct kit *k)
{
    static struct dk_tcp_cc_ops spy;
    spy = dk_tcp_newreno;
    spy.init = spy_init;
    spy.on_ack = spy_ack;
    spy.on_lost = spy_lost;
    spy.flags = DK_TCP_CC_RATE;
    memset(&heard, 0, sizeof(heard));
    struct dk_tcp_rated *rated = dk_tcp_pool_get(&k->tcp->cc_states);
    memset(rated, 0, sizeof(*rated));
    k->app.conn->cc.ops = &spy;
    k->app.conn->cc.caller = rated; /* NewReno needs only the first words of `own` */
    k->app.conn->rate_on = true;
    dk_tcp_rate_begin(k->app.conn, k->now);
}

#define MSS 1460u

/* Ten segments leave at once, and are acknowledged 100 ms later: 14,600 bytes in 100 ms. */
static void test_rate_of_a_flight(void **state)
{
    struct kit *k = *state;
    kit_start(k);
    kit_passive(k);
    spy_on(k);
    kit_write(k, 100 * MSS);
    assert_int_equal(kit_drain(k), 10);
    kit_pass(k, 100 * KIT_MS);
    kit_inject(k, A, 1, 1 + 10 * MSS, NULL, 0);
    assert_int_equal(heard.ack.bytes, 10 * MSS);
    assert_int_equal(heard.rate.newly, 10 * MSS);
    assert_int_equal(heard.rate.delivered, 10 * MSS);
    assert_in_range(heard.rate.interval_ns, 99990000, 100010000);
    assert_int_equal(heard.rate.tx_in_flight, 10 * MSS);
    assert_int_equal(heard.rate.in_flight, 0);
    assert_false(heard.rate.is_app_limited);
    kit_drain(k);
}

/* What left spread over 90 ms and was acknowledged at once took 90 ms: it was not faster. */
static void test_rate_is_not_above_that_of_sending(void **state)
{
    struct kit *k = *state;
    kit_start(k);
    kit_passive(k);
    spy_on(k);
    k->app.conn->option[DK_TCP_NODELAY] = 1;
    for (int i = 0; i < 10; i++) {
        kit_write(k, MSS);
        kit_pass(k, 10 * KIT_MS);
    }
    kit_drain(k);
    kit_inject(k, A, 1, 1 + 10 * MSS, NULL, 0);
    assert_int_equal(heard.rate.delivered, 10 * MSS);
    assert_in_range(heard.rate.interval_ns, 99990000, 100010000);
    assert_true(heard.rate.is_app_limited);
}

/* draft-cheng-iccrg-delivery-rate-estimation section 3.3: an interval below the least round trip
 * tells nothing. What is acknowledged here is the first of two transmissions. */
static void test_rate_faster_than_a_round_trip_is_none(void **state)
{
    struct kit *k = *state;
    kit_start(k);
    kit_passive(k);
    spy_on(k);
    kit_write(k, MSS);
    kit_drain(k);
    kit_pass(k, 100 * KIT_MS);
    kit_inject(k, A, 1, 1 + MSS, NULL, 0);
    k->app.conn->min_rtt_ns = 100 * KIT_MS; /* that of the handshake was none */
    kit_write(k, MSS);
    kit_drain(k);
    while (kit_drain(k) == 0)
        kit_pass(k, KIT_MS);
    kit_pass(k, KIT_MS);
    kit_inject(k, A, 1, 1 + 2 * MSS, NULL, 0);
    assert_int_equal(heard.rate.delivered, MSS);
    assert_int_equal(heard.rate.interval_ns, 0);
}

/* What is acknowledged in parts counts once. */
static void test_delivered_bytes_count_once(void **state)
{
    struct kit *k = *state;
    kit_start(k);
    kit_passive(k);
    spy_on(k);
    uint64_t before = dk_tcp_rate_total(k->app.conn);
    kit_write(k, 4 * MSS);
    kit_drain(k);
    kit_pass(k, 10 * KIT_MS);
    kit_inject(k, A, 1, 1 + 100, NULL, 0);
    assert_int_equal(heard.rate.delivered, 0); /* no segment has arrived whole */
    kit_inject(k, A, 1, 1 + MSS + 1, NULL, 0);
    kit_inject(k, A, 1, 1 + 4 * MSS, NULL, 0);
    assert_int_equal(dk_tcp_rate_total(k->app.conn) - before, 4 * MSS);
}

/* Losses are told by segment, with what was in flight when it left. */
static void test_losses_are_told(void **state)
{
    struct kit *k = *state;
    kit_start(k);
    kit_passive(k);
    spy_on(k);
    kit_write(k, 6 * MSS);
    kit_drain(k);
    for (int i = 0; i < 3; i++)
        kit_inject(k, A, 1, 1, NULL, 0);
    assert_int_equal(heard.losts, 1);
    assert_int_equal(heard.lost.bytes, MSS);
    assert_int_equal(heard.lost.tx_in_flight, MSS); /* it was the first */
    assert_int_equal(heard.lost.lost_since, MSS);
    kit_drain(k);
    kit_pass(k, 10 * KIT_S);
    assert_true(heard.losts >= 7);
    kit_drain(k);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_cubic_is_the_default),
        TEST(test_configuration_says_the_default),
        TEST(test_listener_gives_its_algorithm),
        TEST(test_change_keeps_the_window),
        TEST(test_what_there_is_not_is_refused),
        TEST(test_memory_goes_with_the_connection),
        TEST(test_without_memory_nothing_changes),
        TEST(test_rate_of_a_flight),
        TEST(test_rate_is_not_above_that_of_sending),
        TEST(test_rate_faster_than_a_round_trip_is_none),
        TEST(test_delivered_bytes_count_once),
        TEST(test_losses_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
