/* SPDX-License-Identifier: MIT */
/*
 * Receiving: which segments are taken, in what order, what is acknowledged and when, the window.
 */
#include "tcp_kit.h"

#include "mem/buf_now.h"

#include <stdlib.h>
#include <string.h>

static struct kit k;
static uint32_t at; /* next byte that the reader expects */

static int setup(void **state)
{
    (void)state;
    kit_init(&k);
    kit_start(&k);
    kit_passive(&k);
    at = 1;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    kit_fini(&k);
    return 0;
}

/* A connection with options of the test's own. */
static void restart(int64_t rcv_buf, bool scale, bool timestamps)
{
    kit_fini(&k);
    kit_init(&k);
    k.config.no_timestamps = !timestamps;
    if (rcv_buf)
        k.config.rcv_buf_bytes = (uint32_t)rcv_buf;
    if (scale)
        k.syn_opt.has |= DK_TCP_HAS_WINDOW_SCALE;
    k.ts = timestamps;
    k.ts_val = 1000;
    kit_start(&k);
    kit_passive(&k);
    at = 1;
}

static const struct dk_tcp_stats *stats(void)
{
    return dk_tcp_stats(k.tcp);
}

/* ---- Acknowledgements (RFC 9293 section 3.8.6.3, RFC 5681 section 4.2) ----------------------- */

static void test_ack_is_delayed(void **state)
{
    (void)state;
    kit_inject_bytes(&k, A, 1, 1, 100);
    kit_expect_none(&k);
    kit_pass(&k, 39 * KIT_MS);
    kit_expect_none(&k);
    kit_pass(&k, 2 * KIT_MS);
    kit_expect(&k, A, 1, 101, 0);
    kit_pass(&k, KIT_S);
    kit_expect_none(&k);
}

static void test_every_second_full_segment_is_acknowledged(void **state)
{
    (void)state;
    uint32_t seq = 1;
    kit_inject_bytes(&k, A, seq, 1, 1460);
    kit_drain(&k); /* the first says how long segments are */
    seq += 1460;
    for (int i = 0; i < 10; i++) {
        kit_inject_bytes(&k, A, seq, 1, 1460);
        seq += 1460;
        if (i % 2 == 0)
            kit_expect(&k, A, 1, seq, 0);
        else
            kit_expect_none(&k);
    }
}

static void test_reply_carries_the_ack(void **state)
{
    (void)state;
    kit_inject_bytes(&k, A, 1, 1, 64);
    kit_read(&k, &at, 64);
    kit_write(&k, 64);
    kit_expect(&k, A | P, 1, 65, 64);
    kit_inject(&k, A, 65, 65, NULL, 0);
    kit_pass(&k, KIT_S);
    kit_expect_none(&k);
}

static void test_quick_ack_is_not_delayed(void **state)
{
    (void)state;
    dk_tcp_set_option(k.app.conn, DK_TCP_QUICK_ACK, 1, k.now);
    kit_inject_bytes(&k, A, 1, 1, 1);
    kit_expect(&k, A, 1, 2, 0);
}

static void test_no_room_for_ack_puts_it_off(void **state)
{
    (void)state;
    k.host->no_room = true;
    kit_inject_bytes(&k, A, 11, 1, 10);
    kit_expect_none(&k);
    k.host->no_room = false;
    dk_tcp_tx_room(&k.host->net, k.now);
    kit_expect(&k, A, 1, 1, 0);
}

/* ---- Order and overlap (section 3.10.7.4, seventh check) ------------------------------------- */

static void test_out_of_order_is_acknowledged_at_once_and_kept(void **state)
{
    (void)state;
    kit_inject_bytes(&k, A, 101, 1, 100);
    kit_expect(&k, A, 1, 1, 0);
    kit_inject_bytes(&k, A, 301, 1, 100);
    kit_expect(&k, A, 1, 1, 0);
    kit_inject_bytes(&k, A, 1, 1, 100); /* fills a gap */
    kit_expect(&k, A, 1, 201, 0);
    kit_inject_bytes(&k, A, 201, 1, 100);
    kit_expect(&k, A, 1, 401, 0);
    assert_int_equal(kit_read(&k, &at, 1000), 400);
}

static void test_overlaps_of_every_kind_give_each_byte_once(void **state)
{
    (void)state;
    kit_inject_bytes(&k, A, 21, 1, 10); /*           [21,31)       */
    kit_inject_bytes(&k, A, 41, 1, 10); /*                [41,51)  */
    kit_inject_bytes(&k, A, 16, 1, 10); /* over the front of one   */
    kit_inject_bytes(&k, A, 26, 1, 10); /* over its end            */
    kit_inject_bytes(&k, A, 43, 1, 3);  /* within                  */
    kit_inject_bytes(&k, A, 11, 1, 60); /* over all of them        */
    kit_inject_bytes(&k, A, 11, 1, 60); /* the same again          */
    kit_inject_bytes(&k, A, 1, 1, 30);
    assert_int_equal(kit_read(&k, &at, 1000), 70);
    kit_inject_bytes(&k, A, 31, 1, 50); /* partly old */
    assert_int_equal(kit_read(&k, &at, 1000), 10);
}

/* What came first is kept: bytes cannot be changed once they are acknowledged or seen. */
static void test_overlap_with_other_bytes_keeps_the_first(void **state)
{
    (void)state;
    uint8_t other[100];
    memset(other, 0xff, sizeof(other));
    kit_inject_bytes(&k, A, 51, 1, 50);
    kit_inject(&k, A, 51, 1, other, 50);
    kit_inject_bytes(&k, A, 1, 1, 50);
    kit_inject(&k, A, 1, 1, other, 100);
    assert_int_equal(kit_read(&k, &at, 1000), 100);
}

static void test_random_segments_in_any_order_arrive_whole(void **state)
{
    (void)state;
    srand(7);
    for (int round = 0; round < 50; round++) {
        uint32_t base = at, end = base + 3000;
        for (int i = 0; i < 200; i++) {
            uint32_t from = base + (uint32_t)rand() % 3000, len = 1 + (uint32_t)rand() % 400;
            if (from + len > end)
                len = end - from;
            kit_inject_bytes(&k, A, from, 1, len);
            kit_read(&k, &at, 10000);
        }
        kit_inject_bytes(&k, A, at, 1, end - at);
        kit_read(&k, &at, 10000);
        assert_int_equal(at, end);
        kit_drain(&k);
    }
}

static void test_sequence_numbers_wrap(void **state)
{
    (void)state;
    kit_fini(&k);
    kit_init(&k);
    k.iss = UINT32_MAX - 50;
    kit_start(&k);
    kit_passive(&k);
    at = 1;
    kit_inject_bytes(&k, A, 31, 1, 100); /* over the end of numbers, out of order */
    kit_expect(&k, A, 1, 1, 0);
    kit_inject_bytes(&k, A, 1, 1, 30);
    kit_expect(&k, A, 1, 131, 0);
    assert_int_equal(kit_read(&k, &at, 1000), 130);
    kit_inject(&k, F | A, 131, 1, NULL, 0);
    kit_expect(&k, A, 1, 132, 0);
}

static void test_reassembly_has_a_limit(void **state)
{
    (void)state;
    k.tcp->config.conn_reasm_max = 4;
    for (uint32_t i = 1; i <= 10; i++)
        kit_inject_bytes(&k, A, 1 + 10 * i, 1, 5);
    assert_int_equal(stats()->drop_reasm_full, 6);
    assert_int_equal(k.app.conn->reasm->num_ranges, 4);
    kit_inject_bytes(&k, A, 1, 1, 100); /* what was dropped comes again */
    assert_int_equal(kit_read(&k, &at, 1000), 100);
    assert_null(k.app.conn->reasm);
    assert_int_equal(k.tcp->reasms.used, 0);
}

static void test_reassembly_without_a_record_drops(void **state)
{
    (void)state;
    k.tcp->reasms.max = 0;
    kit_inject_bytes(&k, A, 11, 1, 5);
    kit_expect(&k, A, 1, 1, 0);
    assert_int_equal(stats()->drop_reasm_full, 1);
    kit_inject_bytes(&k, A, 1, 1, 20);
    assert_int_equal(kit_read(&k, &at, 1000), 20);
}

/* ---- Sequence numbers (first check) ---------------------------------------------------------- */

static void test_old_segment_is_acknowledged_again(void **state)
{
    (void)state;
    kit_inject_bytes(&k, A, 1, 1, 100);
    kit_pass(&k, 50 * KIT_MS);
    kit_expect(&k, A, 1, 101, 0);
    kit_inject_bytes(&k, A, 1, 1, 100);
    kit_expect(&k, A, 1, 101, 0);
    assert_int_equal(kit_read(&k, &at, 1000), 100);
    assert_int_equal(stats()->drop_out_of_window, 1);
    kit_inject_bytes(&k, A, 51, 1, 100); /* partly old: an acknowledgement was lost */
    kit_expect(&k, A, 1, 151, 0);
}

static void test_segment_beyond_the_window_is_refused(void **state)
{
    (void)state;
    kit_inject_bytes(&k, A, 70000, 1, 10);
    kit_expect(&k, A, 1, 1, 0);
    assert_int_equal(stats()->drop_out_of_window, 1);
    kit_inject_bytes(&k, A, 65530, 1, 10); /* at the edge: a part */
    kit_expect(&k, A, 1, 1, 0);
    const struct dk_tcp_range *range = k.app.conn->reasm->ranges;
    assert_int_equal(range->end - range->seq, 65536 - 65530);
}

static void test_keepalive_probe_is_answered(void **state)
{
    (void)state;
    kit_inject(&k, A, 0, 1, NULL, 0);
    kit_expect(&k, A, 1, 1, 0);
    kit_inject(&k, A, 0, 1, "x", 1); /* with a byte of garbage (section 3.8.4) */
    kit_expect(&k, A, 1, 1, 0);
    assert_int_equal(k.app.readable, 0);
}

static void test_segment_without_ack_is_dropped(void **state)
{
    (void)state;
    kit_inject_bytes(&k, P, 1, 1, 10);
    kit_expect_none(&k);
    assert_int_equal(stats()->drop_no_ack, 1);
}

/* RFC 6093. */
static void test_urgent_data_is_data(void **state)
{
    (void)state;
    kit_inject_bytes(&k, A | U, 1, 1, 10);
    assert_int_equal(kit_read(&k, &at, 100), 10);
    assert_int_equal(stats()->urgent_ignored, 1);
}

/* ---- Acknowledgements that arrive (fifth check, RFC 5961 section 5) -------------------------- */

static void test_ack_of_what_was_never_sent_is_challenged(void **state)
{
    (void)state;
    kit_inject_bytes(&k, A, 1, 2, 10);
    kit_expect(&k, A, 1, 1, 0);
    assert_int_equal(stats()->drop_ack_range, 1);
    assert_int_equal(k.app.readable, 0); /* its text neither */
}

static void test_ack_too_old_is_challenged(void **state)
{
    (void)state;
    kit_write(&k, 100);
    kit_drain(&k);
    kit_inject(&k, A, 1, 101, NULL, 0);
    kit_inject_bytes(&k, A, 1, 1, 10); /* old, within the largest window */
    assert_int_equal(kit_read(&k, &at, 100), 10);
    kit_inject_bytes(&k, A, 11, 0 - 70000u, 10);
    kit_expect(&k, A, 101, 11, 0);
    assert_int_equal(stats()->drop_ack_range, 1);
}

/* ---- The window (sections 3.8.6 and 3.8.6.2.2, RFC 7323 section 2) --------------------------- */

static void test_window_closes_and_reader_opens_it(void **state)
{
    (void)state;
    restart(4000, false, false);
    kit_inject_bytes(&k, A, 1, 1, 1460);
    kit_inject_bytes(&k, A, 1461, 1, 1460);
    kit_inject_bytes(&k, A, 2921, 1, 1080);
    kit_pass(&k, 50 * KIT_MS);
    kit_drain(&k);
    kit_inject_bytes(&k, A, 4001, 1, 1); /* probes */
    assert_int_equal(kit_expect(&k, A, 1, 4001, 0).window, 0);
    kit_inject(&k, A, 4000, 1, NULL, 0);
    assert_int_equal(kit_expect(&k, A, 1, 4001, 0).window, 0);
    kit_read(&k, &at, 100); /* no silly window */
    kit_expect_none(&k);
    kit_read(&k, &at, 1900);
    assert_int_equal(kit_expect(&k, A, 1, 4001, 0).window, 2000);
    kit_inject_bytes(&k, A, 4001, 1, 1460);
    kit_read(&k, &at, 10000);
    assert_int_equal(at, 5461);
}

/* A probe of a closed window also acknowledges. */
static void test_zero_window_still_takes_acks(void **state)
{
    (void)state;
    restart(100, false, false);
    struct dk_buf *buf = kit_push(&k, 10, 5);
    kit_drain(&k);
    kit_inject_bytes(&k, A, 1, 1, 100);
    kit_inject_bytes(&k, A, 101, 11, 1);
    assert_int_equal(k.app.num_sent, 1);
    kit_drain(&k);
    dk_buf_put(buf);
}

static void test_window_never_moves_left(void **state)
{
    (void)state;
    static const struct {
        int64_t buffer;
        bool scale;
    } cases[] = {{1, false},    {3, false},     {1000, false},   {65535, false},
                 {65537, true}, {100001, true}, {1000003, true}, {(1 << 29) + 12345, true}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        restart(cases[i].buffer, cases[i].scale, false);
        srand((unsigned)i);
        uint32_t seq = 1;
        uint64_t edge = 0;
        for (int n = 0; n < 2000; n++) {
            uint64_t room = k.app.conn->rcv_adv - k.app.conn->rcv_nxt;
            uint32_t len = 1 + (uint32_t)rand() % (rand() % 2 ? 1460 : 7);
            if (len > room)
                len = (uint32_t)room;
            if (len)
                kit_inject_bytes(&k, A, seq, 1, len);
            seq += len;
            if (rand() % 3 == 0)
                kit_read(&k, &at, (uint32_t)rand() % 5000);
            if (rand() % 3 == 0)
                kit_pass(&k, 41 * KIT_MS);
            struct kit_packet p;
            while (kit_host_take(k.host, &p)) {
                uint64_t told =
                    (uint64_t)(p.h.ack - k.iss) + ((uint64_t)p.h.window << k.app.conn->rcv_wscale);
                assert_true(told >= edge);
                edge = told;
                dk_buf_put(p.buf);
            }
            assert_true(k.app.conn->rx_bytes <=
                        (uint64_t)cases[i].buffer + (2u << k.app.conn->rcv_wscale));
        }
        kit_read(&k, &at, 1u << 30);
        kit_drain(&k);
        assert_int_equal(at, seq);
    }
}

/* Tiny segments do not hold a frame each. */
static void test_tiny_segments_are_put_together(void **state)
{
    (void)state;
    k.tcp->config.rcv_bufs_max = 8;
    for (uint32_t i = 0; i < 5000; i++)
        kit_inject_bytes(&k, A, 1 + i, 1, 1);
    assert_true(dk_buf_in_use() - k.bufs_before < 100 + kit_drain(&k));
    assert_true(k.app.conn->rx_bufs < 12);
    assert_int_equal(stats()->rx_coalesced_bytes, 5000 - 8);
    assert_int_equal(kit_read(&k, &at, 10000), 5000);
    kit_inject_bytes(&k, A, 5001, 1, 100);
    assert_int_equal(kit_read(&k, &at, 10000), 100);
}

static void test_part_of_a_segment_is_read(void **state)
{
    (void)state;
    kit_inject_bytes(&k, A, 1, 1, 1000);
    kit_inject_bytes(&k, A, 1001, 1, 1000);
    assert_int_equal(kit_read(&k, &at, 1), 1);
    assert_int_equal(kit_read(&k, &at, 998), 998);
    assert_int_equal(kit_read(&k, &at, 2), 2);
    assert_int_equal(kit_read(&k, &at, 5000), 999);
}

/* A segment in two parts, about one that is there, lies in a buffer that its device wants back. An
 * element of many segments has the first part, the reader gets the second one later. */
static void test_parts_of_a_segment_hold_its_buffer_apart(void **state)
{
    (void)state;
    struct dk_buf *device = dk_buf_alloc_device(100, 0), *bufs[8];
    kit_inject_bytes(&k, A, 11, 1, 10);
    k.device_buf = device;
    kit_inject_bytes(&k, A, 6, 1, 25);
    k.device_buf = NULL;
    kit_inject_bytes(&k, A, 1, 1, 5);
    assert_int_equal(dk_tcp_recv(k.app.conn, bufs, 8, SIZE_MAX, k.now), 4);
    bufs[0]->more = bufs[1];
    bufs[1]->more = bufs[2];
    dk_buf_put(bufs[0]);
    assert_false(dk_buf_give_out(device, 0, 100));
    for (uint32_t i = 0; i < 10; i++)
        assert_int_equal(bufs[3]->data[i], kit_byte(21 + i));
    dk_buf_put(bufs[3]);
    assert_true(dk_buf_give_out(device, 0, 100));
    dk_buf_put(device);
    dk_buf_give_up(device);
}

/* ---- Timestamps (RFC 7323) ------------------------------------------------------------------- */

static void test_timestamps_of_the_past_are_refused(void **state)
{
    (void)state;
    restart(0, false, true);
    k.ts_val = 2000;
    kit_inject_bytes(&k, A, 1, 1, 10);
    k.ts_val = 1999;
    kit_inject_bytes(&k, A, 11, 1, 10);
    struct dk_tcp_header h = kit_expect(&k, A, 1, 11, 0);
    assert_int_equal(h.options.ts_ecr, 2000);
    assert_int_equal(stats()->drop_paws, 1);
    k.ts_val = 2000;
    kit_inject_bytes(&k, A, 11, 1, 10);
    assert_int_equal(kit_read(&k, &at, 100), 20);
    k.ts_val = 1; /* a reset is taken whatever its timestamp says */
    kit_inject(&k, R, 21, 0, NULL, 0);
    assert_int_equal(k.app.failed, 1);
}

static void test_timestamps_wrap(void **state)
{
    (void)state;
    kit_fini(&k);
    kit_init(&k);
    k.config.no_timestamps = false;
    k.ts = true;
    k.ts_val = UINT32_MAX - 1;
    kit_start(&k);
    kit_passive(&k);
    at = 1;
    k.ts_val = 3;
    kit_inject_bytes(&k, A, 1, 1, 10);
    assert_int_equal(kit_read(&k, &at, 100), 10);
    assert_int_equal(stats()->drop_paws, 0);
}

static void test_timestamps_after_24_days_are_taken(void **state)
{
    (void)state;
    restart(0, false, true);
    kit_pass(&k, 25 * 24 * 3600 * KIT_S);
    k.ts_val = 1000 - 5;
    kit_inject_bytes(&k, A, 1, 1, 10);
    assert_int_equal(kit_read(&k, &at, 100), 10);
}

/* Section 3.2: dropped, and never a reason to reset. */
static void test_timestamp_that_vanishes_is_dropped(void **state)
{
    (void)state;
    restart(0, false, true);
    k.ts = false;
    kit_inject_bytes(&k, A, 1, 1, 10);
    kit_expect_none(&k);
    assert_int_equal(stats()->drop_no_timestamp, 1);
    k.syn_opt.has = 0;
    kit_inject(&k, S, 500, 0, NULL, 0); /* a SYN is challenged (RFC 5961 section 4) */
    kit_expect(&k, A, 1, 1, 0);
    kit_inject(&k, R, 1, 0, NULL, 0); /* needs none */
    assert_int_equal(k.app.failed, 1);
}

/* Section 4.3: the echo is of the segment that moves the left edge. */
static void test_timestamp_echo_is_of_the_first_missing_byte(void **state)
{
    (void)state;
    restart(0, false, true);
    k.ts_val = 1100;
    kit_inject_bytes(&k, A, 11, 1, 10);
    assert_int_equal(kit_expect(&k, A, 1, 1, 0).options.ts_ecr, 1000);
    k.ts_val = 1200;
    kit_inject_bytes(&k, A, 1, 1, 10);
    assert_int_equal(kit_expect(&k, A, 1, 21, 0).options.ts_ecr, 1200);
}

static void test_every_segment_has_a_timestamp(void **state)
{
    (void)state;
    restart(0, false, true);
    kit_write(&k, 3000);
    dk_tcp_shutdown(k.app.conn, k.now);
    for (int i = 0; i < 4; i++) {
        kit_pass(&k, 5 * KIT_S); /* retransmissions too */
        struct kit_packet p;
        while (kit_host_take(k.host, &p)) {
            assert_true(p.h.options.has & DK_TCP_HAS_TIMESTAMPS);
            dk_buf_put(p.buf);
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_ack_is_delayed),
        TEST(test_every_second_full_segment_is_acknowledged),
        TEST(test_reply_carries_the_ack),
        TEST(test_quick_ack_is_not_delayed),
        TEST(test_no_room_for_ack_puts_it_off),
        TEST(test_out_of_order_is_acknowledged_at_once_and_kept),
        TEST(test_overlaps_of_every_kind_give_each_byte_once),
        TEST(test_overlap_with_other_bytes_keeps_the_first),
        TEST(test_random_segments_in_any_order_arrive_whole),
        TEST(test_sequence_numbers_wrap),
        TEST(test_reassembly_has_a_limit),
        TEST(test_reassembly_without_a_record_drops),
        TEST(test_old_segment_is_acknowledged_again),
        TEST(test_segment_beyond_the_window_is_refused),
        TEST(test_keepalive_probe_is_answered),
        TEST(test_segment_without_ack_is_dropped),
        TEST(test_urgent_data_is_data),
        TEST(test_ack_of_what_was_never_sent_is_challenged),
        TEST(test_ack_too_old_is_challenged),
        TEST(test_window_closes_and_reader_opens_it),
        TEST(test_zero_window_still_takes_acks),
        TEST(test_window_never_moves_left),
        TEST(test_tiny_segments_are_put_together),
        TEST(test_part_of_a_segment_is_read),
        TEST(test_parts_of_a_segment_hold_its_buffer_apart),
        TEST(test_timestamps_of_the_past_are_refused),
        TEST(test_timestamps_wrap),
        TEST(test_timestamps_after_24_days_are_taken),
        TEST(test_timestamp_that_vanishes_is_dropped),
        TEST(test_timestamp_echo_is_of_the_first_missing_byte),
        TEST(test_every_segment_has_a_timestamp),
    };
    return cmocka_run_group_tests_name("tcp_rx", tests, NULL, NULL);
}
