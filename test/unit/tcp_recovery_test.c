/* SPDX-License-Identifier: MIT */
/*
 * Loss and congestion: RFC 5681, 6582, 3042, 6928.
 */
#include "tcp_kit.h"

#include <stdlib.h>
#include <string.h>

#define MSS 1460u

static struct kit k;

static int setup(void **state)
{
    (void)state;
    kit_init(&k);
    kit_start(&k);
    kit_passive(&k);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    kit_fini(&k);
    return 0;
}

static void ack_segments(uint32_t n)
{
    kit_inject(&k, A, 1, 1 + n * MSS, NULL, 0);
}

static uint32_t cwnd(void)
{
    return k.app.conn->cc.cwnd / MSS;
}

/* So many full segments left, beginning with segment n. */
static void expect_segments(uint32_t n, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct kit_packet p;
        assert_true(kit_host_take(k.host, &p));
        assert_int_equal(p.h.seq - k.irs, 1 + (n + i) * MSS);
        assert_int_equal(p.payload_len, MSS);
        dk_buf_put(p.buf);
    }
}

static void test_initial_window_is_ten_segments(void **state)
{
    (void)state;
    kit_write(&k, 40 * MSS);
    expect_segments(0, 10);
    kit_expect_none(&k);
    assert_int_equal(dk_tcp_cc_initial_window(8960), 2 * 8960);
    assert_int_equal(dk_tcp_cc_initial_window(536), 5360);
}

static void test_slow_start_grows_by_what_is_acknowledged(void **state)
{
    (void)state;
    kit_write(&k, 40 * MSS);
    expect_segments(0, 10);
    ack_segments(1);
    expect_segments(10, 2);
    ack_segments(3);
    expect_segments(12, 4);
    assert_int_equal(cwnd(), 13);
    kit_expect_none(&k);
}

static void test_a_window_that_is_not_used_does_not_grow(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 20; i++) {
        kit_write(&k, MSS);
        ack_segments(i + 1);
    }
    kit_drain(&k);
    assert_int_equal(cwnd(), 10);
}

static void test_congestion_avoidance_grows_by_one_segment(void **state)
{
    (void)state;
    k.app.conn->cc.ssthresh = 10 * MSS;
    kit_write(&k, 43 * MSS);
    expect_segments(0, 10);
    for (uint32_t i = 1; i <= 10; i++)
        ack_segments(i);
    assert_int_equal(cwnd(), 11);
    for (uint32_t i = 11; i <= 20; i++)
        ack_segments(i);
    assert_int_equal(cwnd(), 11);
    ack_segments(21);
    assert_int_equal(cwnd(), 12);
    kit_drain(&k);
}

/* RFC 3042, then RFC 5681 section 3.2 steps 1 to 6. */
static void test_third_duplicate_ack_retransmits(void **state)
{
    (void)state;
    kit_write(&k, 44 * MSS);
    expect_segments(0, 10);
    ack_segments(0);
    expect_segments(10, 1); /* limited transmit */
    ack_segments(0);
    expect_segments(11, 1);
    kit_expect_none(&k);
    ack_segments(0);
    expect_segments(0, 1); /* fast retransmit */
    kit_expect_none(&k);
    assert_int_equal(k.app.conn->cc.ssthresh, 5 * MSS); /* of ten, limited transmit apart */
    ack_segments(0); /* of twelve in flight five may be: the fifth more lets one go */
    ack_segments(0);
    ack_segments(0);
    kit_expect_none(&k);
    ack_segments(0);
    kit_expect_none(&k);
    ack_segments(0);
    expect_segments(12, 1);
    ack_segments(12); /* everything that was sent before */
    assert_false(k.app.conn->in_recovery);
    assert_true(cwnd() <= 5);
    assert_int_equal(dk_tcp_stats(k.tcp)->fast_retransmits, 1);
    assert_int_equal(dk_tcp_stats(k.tcp)->retransmits, 1);
    kit_drain(&k);
}

static void test_two_duplicate_acks_do_not(void **state)
{
    (void)state;
    kit_write(&k, 10 * MSS);
    expect_segments(0, 10);
    ack_segments(0);
    ack_segments(0);
    ack_segments(10);
    kit_expect_none(&k);
    assert_int_equal(dk_tcp_stats(k.tcp)->fast_retransmits, 0);
}

/* RFC 5681 section 2: data, a window update, or nothing in flight make no duplicate. */
static void test_what_is_no_duplicate_ack(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++)
        ack_segments(0);
    kit_write(&k, 10 * MSS);
    expect_segments(0, 10);
    for (uint32_t i = 0; i < 5; i++)
        kit_inject_bytes(&k, A, 1 + 10 * i, 1, 10);
    for (uint16_t i = 0; i < 5; i++) {
        k.win--;
        kit_inject(&k, A, 51, 1, NULL, 0);
    }
    kit_drain(&k);
    assert_int_equal(dk_tcp_stats(k.tcp)->dup_acks, 0);
    assert_int_equal(dk_tcp_stats(k.tcp)->retransmits, 0);
}

/* RFC 6582: one hole after the other, one round trip each, in one recovery. */
static void test_partial_acks_retransmit_the_next_hole(void **state)
{
    (void)state;
    kit_write(&k, 10 * MSS);
    expect_segments(0, 10); /* 0, 3 and 6 are lost */
    for (int i = 0; i < 7; i++)
        ack_segments(0);
    expect_segments(0, 1);
    kit_expect_none(&k);
    ack_segments(3);
    expect_segments(3, 1);
    assert_true(k.app.conn->in_recovery);
    ack_segments(6);
    expect_segments(6, 1);
    kit_expect_none(&k);
    ack_segments(10);
    assert_false(k.app.conn->in_recovery);
    assert_int_equal(dk_tcp_stats(k.tcp)->fast_retransmits, 1);
    assert_int_equal(dk_tcp_stats(k.tcp)->retransmits, 3);
    assert_int_equal(dk_tcp_stats(k.tcp)->rto_fired, 0);
}

/* RFC 6582 section 3.2 step 3: the window deflates by what was acknowledged, less one segment. */
static void test_partial_ack_lets_one_new_segment_go(void **state)
{
    (void)state;
    kit_write(&k, 30 * MSS);
    expect_segments(0, 10);
    ack_segments(0);
    ack_segments(0);
    expect_segments(10, 2); /* limited transmit */
    ack_segments(0);
    expect_segments(0, 1);
    for (int i = 0; i < 6; i++)
        ack_segments(0); /* nine of twelve arrived: 0, 3 and 6 are lost */
    expect_segments(12, 2);
    kit_expect_none(&k);
    ack_segments(3);
    expect_segments(3, 1);
    expect_segments(14, 1);
    kit_expect_none(&k);
}

/* Holes of a recovery, each repaired after 90 ms; ends before a time-out. */
static uint32_t repair_holes(uint32_t most)
{
    kit_write(&k, 30 * MSS);
    for (int i = 0; i < 3; i++)
        ack_segments(0);
    uint32_t n = 0;
    while (n < most) {
        kit_pass(&k, 90 * KIT_MS);
        if (dk_tcp_stats(k.tcp)->rto_fired)
            break;
        ack_segments(++n);
    }
    kit_drain(&k);
    return n;
}

/* The timer restarts for nine partial acknowledgements: between "slow but steady", and "impatient",
 * which ends a long recovery by slow start (RFC 6582 section 4). */
static void test_few_holes_need_no_timeout(void **state)
{
    (void)state;
    assert_int_equal(repair_holes(9), 9);
}

static void test_many_holes_end_in_a_timeout(void **state)
{
    (void)state;
    assert_int_equal(repair_holes(12), 11); /* two in the 200 ms after the ninth */
    assert_int_equal(dk_tcp_stats(k.tcp)->rto_fired, 1);
}

/* RFC 6582 section 3.2 step 1: duplicates of what was sent before a timeout begin no recovery. */
static void test_duplicate_acks_after_a_timeout_do_not_retransmit_again(void **state)
{
    (void)state;
    kit_write(&k, 10 * MSS);
    expect_segments(0, 10);
    kit_pass(&k, 210 * KIT_MS);
    expect_segments(0, 1);
    for (int i = 0; i < 9; i++)
        ack_segments(0);
    kit_drain(&k);
    assert_int_equal(dk_tcp_stats(k.tcp)->fast_retransmits, 0);
    ack_segments(10);
    kit_pass(&k, 10 * KIT_S);
    kit_expect_none(&k);
}

/* RFC 5681 section 3.1 (equation 4), and that it is held for repeated timeouts. */
static void test_timeout_halves_ssthresh_once(void **state)
{
    (void)state;
    kit_write(&k, 10 * MSS);
    kit_drain(&k);
    kit_pass(&k, 210 * KIT_MS);
    assert_int_equal(cwnd(), 1);
    assert_int_equal(k.app.conn->cc.ssthresh, 5 * MSS);
    kit_pass(&k, 5 * KIT_S);
    assert_int_equal(cwnd(), 1);
    assert_int_equal(k.app.conn->cc.ssthresh, 5 * MSS);
    kit_drain(&k);
}

static void test_retransmission_lost_again_is_found_by_the_timer(void **state)
{
    (void)state;
    kit_write(&k, 10 * MSS);
    expect_segments(0, 10);
    for (int i = 0; i < 9; i++)
        ack_segments(0);
    expect_segments(0, 1);
    kit_expect_none(&k);
    kit_pass(&k, 210 * KIT_MS);
    expect_segments(0, 1);
    ack_segments(10);
    kit_pass(&k, 10 * KIT_S);
    kit_expect_none(&k);
}

/* RFC 5681 section 4.1. */
static void test_window_restarts_after_idle(void **state)
{
    (void)state;
    kit_write(&k, 40 * MSS);
    for (uint32_t i = 1; i <= 40; i++)
        ack_segments(i);
    kit_drain(&k);
    assert_true(cwnd() > 15);
    kit_pass(&k, 10 * KIT_S);
    kit_write(&k, 40 * MSS);
    expect_segments(40, 10);
    kit_expect_none(&k);
}

/* Small segments that are lost do not come as large ones, or in another order. */
static void test_small_segments_lost_are_sent_again_as_they_were(void **state)
{
    (void)state;
    dk_tcp_set_option(k.app.conn, DK_TCP_NODELAY, 1, k.now);
    for (int i = 0; i < 5; i++)
        kit_write(&k, 100);
    assert_int_equal(kit_drain(&k), 5);
    for (int i = 0; i < 4; i++)
        kit_inject(&k, A, 1, 1, NULL, 0);
    kit_expect(&k, A, 1, 1, 100);
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(kit_payload[i], kit_byte(1 + i));
    kit_inject(&k, A, 1, 501, NULL, 0);
    kit_expect_none(&k);
}

/* RFC 6298 (5.7). */
static void test_rto_is_3_s_after_a_lost_syn(void **state)
{
    (void)state;
    struct kit_app app = {0};
    struct dk_endpoint local = {0}, remote = {k.peer_ip, 9};
    assert_int_equal(dk_tcp_connect(k.tcp, &app.conn, &local, &remote, NULL, &kit_ops, &app, k.now),
                     0);
    k.port = app.conn->local_port;
    k.peer_port = 9;
    kit_pass(&k, 1100 * KIT_MS);
    kit_expect(&k, S, 0, 0, 0);
    kit_expect(&k, S, 0, 0, 0);
    kit_inject(&k, S | A, 0, 1, NULL, 0);
    assert_int_equal(app.conn->rto_ns, 3 * KIT_S);
    assert_int_equal(app.conn->cc.cwnd, app.conn->snd_mss); /* RFC 5681 section 3.1 */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_initial_window_is_ten_segments),
        TEST(test_slow_start_grows_by_what_is_acknowledged),
        TEST(test_a_window_that_is_not_used_does_not_grow),
        TEST(test_congestion_avoidance_grows_by_one_segment),
        TEST(test_third_duplicate_ack_retransmits),
        TEST(test_two_duplicate_acks_do_not),
        TEST(test_what_is_no_duplicate_ack),
        TEST(test_partial_acks_retransmit_the_next_hole),
        TEST(test_partial_ack_lets_one_new_segment_go),
        TEST(test_few_holes_need_no_timeout),
        TEST(test_many_holes_end_in_a_timeout),
        TEST(test_duplicate_acks_after_a_timeout_do_not_retransmit_again),
        TEST(test_timeout_halves_ssthresh_once),
        TEST(test_retransmission_lost_again_is_found_by_the_timer),
        TEST(test_window_restarts_after_idle),
        TEST(test_small_segments_lost_are_sent_again_as_they_were),
        TEST(test_rto_is_3_s_after_a_lost_syn),
    };
    return cmocka_run_group_tests_name("tcp_recovery", tests, NULL, NULL);
}
