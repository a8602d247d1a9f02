/* SPDX-License-Identifier: MIT */
/*
 * Sending: what leaves when, and who owns the memory of it until when.
 */
#include "tcp_kit.h"

#include "base/bytes.h"

#include <stdlib.h>
#include <string.h>

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

static void restart_win(uint16_t win)
{
    kit_fini(&k);
    kit_init(&k);
    kit_start(&k);
    k.win = win;
    kit_passive(&k);
}

static const struct dk_tcp_stats *stats(void)
{
    return dk_tcp_stats(k.tcp);
}

static void nodelay(void)
{
    assert_int_equal(dk_tcp_set_option(k.app.conn, DK_TCP_NODELAY, 1, k.now), 0);
}

static void ack(uint32_t n)
{
    kit_inject(&k, A, 1, n, NULL, 0);
}

/* The payload seen last is the pattern from number seq on. */
static void assert_payload(uint32_t seq, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++)
        assert_int_equal(kit_payload[i], kit_byte(seq + i));
}

/* ---- Nagle and silly windows (RFC 9293 section 3.7.4, 3.8.6.2.1) ----------------------------- */

static void test_nagle_holds_a_second_small_segment(void **state)
{
    (void)state;
    kit_write(&k, 10);
    kit_expect(&k, A | P, 1, 1, 10);
    kit_write(&k, 10);
    kit_write(&k, 10);
    kit_expect_none(&k);
    ack(11);
    kit_expect(&k, A | P, 11, 1, 20);
    assert_payload(11, 20);
}

static void test_nagle_sends_full_segments(void **state)
{
    (void)state;
    kit_write(&k, 10);
    kit_drain(&k);
    kit_write(&k, 1470);
    kit_expect(&k, A, 11, 1, 1460);
    kit_expect_none(&k);
    ack(11);
    kit_expect(&k, A | P, 1471, 1, 10);
}

/* Minshall: a small segment behind full ones waits for no acknowledgement of them. */
static void test_minshall_small_tail_of_a_large_push_leaves(void **state)
{
    (void)state;
    kit_write(&k, 1460 + 100);
    kit_expect(&k, A, 1, 1, 1460);
    kit_expect(&k, A | P, 1461, 1, 100);
    kit_write(&k, 1460 + 100);
    kit_expect(&k, A, 1561, 1, 1460);
    kit_expect_none(&k); /* a small one is unacknowledged now */
    ack(1461);
    kit_expect_none(&k);
    ack(1561);
    kit_expect(&k, A | P, 3021, 1, 100);
}

static void test_nodelay_sends_at_once(void **state)
{
    (void)state;
    kit_write(&k, 10);
    kit_write(&k, 10);
    kit_drain(&k);
    nodelay();
    kit_expect(&k, A | P, 11, 1, 10); /* what waited */
    kit_write(&k, 10);
    kit_expect(&k, A | P, 21, 1, 10);
}

static void test_small_part_of_a_large_window_waits(void **state)
{
    (void)state;
    k.win = 100;
    kit_inject(&k, A, 1, 1, NULL, 0);
    kit_write(&k, 1000);
    kit_expect_none(&k);
    kit_pass(&k, 1001 * KIT_MS); /* the override time-out */
    kit_expect(&k, A, 1, 1, 100);
    assert_payload(1, 100);
}

static void test_windows_of_1_to_3_bytes_do_not_deadlock(void **state)
{
    (void)state;
    for (uint16_t win = 1; win <= 3; win++) {
        restart_win(win);
        kit_write(&k, 20);
        uint32_t seq = 1;
        while (seq < 21) {
            kit_pass(&k, KIT_S + 10 * KIT_MS);
            struct kit_packet p;
            while (kit_host_take(k.host, &p)) {
                assert_true(p.payload_len <= win);
                if (p.h.seq - k.irs == seq)
                    seq += p.payload_len;
                dk_buf_put(p.buf);
            }
            ack(seq);
        }
    }
}

/* ---- The closed window (section 3.8.6.1) ----------------------------------------------------- */

static void close_window(void)
{
    kit_write(&k, 100);
    kit_drain(&k);
    k.win = 0;
    ack(101);
    kit_write(&k, 100);
    kit_expect_none(&k);
}

static void test_zero_window_is_probed_with_backoff(void **state)
{
    (void)state;
    close_window();
    int64_t last = k.now;
    int64_t gap = 0;
    for (int i = 0; i < 8; i++) {
        int64_t from = k.now;
        while (k.host->num_out == 0)
            kit_pass(&k, KIT_MS);
        kit_expect(&k, A, 100, 1, 0); /* before the window: it must be answered */
        assert_true(k.now - from + 5 * KIT_MS >= 2 * gap || gap == 0);
        gap = k.now - from;
        last = k.now;
        ack(101);
    }
    assert_true(last > 0 && gap > 20 * KIT_S);
    assert_true(stats()->window_probes == 8);
}

static void test_window_update_lost_probe_finds_it(void **state)
{
    (void)state;
    close_window();
    k.win = 5000; /* the update was lost; the answer to a probe tells */
    kit_pass(&k, 1100 * KIT_MS);
    assert_true(k.host->num_out > 0);
    kit_drain(&k);
    ack(101);
    kit_expect(&k, A | P, 101, 1, 100);
    assert_payload(101, 100);
}

static void test_zero_window_that_is_answered_never_times_out(void **state)
{
    (void)state;
    close_window();
    for (int i = 0; i < 200; i++) {
        kit_pass(&k, 120 * KIT_S);
        kit_drain(&k);
        ack(101);
    }
    assert_int_equal(k.app.failed, 0);
    k.win = 1000;
    ack(101);
    kit_expect(&k, A | P, 101, 1, 100);
}

static void test_zero_window_that_is_not_answered_times_out(void **state)
{
    (void)state;
    close_window();
    kit_pass(&k, 3600 * KIT_S);
    assert_int_equal(k.app.fail_err, -ETIMEDOUT);
}

static void test_window_shrunk_takes_nothing_back(void **state)
{
    (void)state;
    nodelay();
    kit_write(&k, 3000);
    kit_expect(&k, A, 1, 1, 1460);
    kit_expect(&k, A, 1461, 1, 1460);
    kit_expect(&k, A | P, 2921, 1, 80);
    k.win = 100;
    ack(1461); /* the right edge moves left */
    kit_write(&k, 100);
    kit_expect_none(&k);
    kit_pass(&k, 300 * KIT_MS);
    kit_expect(&k, A, 1461, 1, 1460); /* the first goes, and probes */
    k.win = 60000;
    ack(3001);
    kit_expect(&k, A | P, 3001, 1, 100);
    assert_payload(3001, 100);
}

/* Beyond a window that was shrunk nothing is retransmitted but the first. */
static void test_window_shrunk_bounds_retransmission(void **state)
{
    (void)state;
    kit_write(&k, 5 * 1460);
    kit_drain(&k);
    kit_pass(&k, 210 * KIT_MS);
    kit_expect(&k, A, 1, 1, 1460);
    k.win = 1460;
    ack(1461); /* cwnd would let two go */
    kit_expect(&k, A, 1461, 1, 1460);
    kit_expect_none(&k);
}

static void test_window_shrunk_to_zero_is_survived(void **state)
{
    (void)state;
    kit_write(&k, 1000);
    kit_drain(&k);
    k.win = 0;
    for (int i = 0; i < 100; i++) {
        ack(1);
        kit_pass(&k, 120 * KIT_S);
        kit_drain(&k);
    }
    assert_int_equal(k.app.failed, 0);
    k.win = 1000;
    ack(1);
    kit_pass(&k, 120 * KIT_S);
    kit_expect(&k, A | P, 1, 1, 1000);
}

/* Each acknowledgement is progress: nothing is given up. */
static void test_small_windows_after_close_are_progress(void **state)
{
    (void)state;
    restart_win(2000);
    kit_write(&k, 10000);
    dk_tcp_close(k.app.conn, k.now);
    kit_expect(&k, A, 1, 1, 1460);
    k.win = 300;
    for (uint32_t seq = 1461; seq < 10001; seq += 300) {
        ack(seq);
        kit_pass(&k, KIT_S + KIT_MS);
        assert_true(kit_drain(&k) > 0);
    }
    assert_int_equal(k.app.closed, 0);
    ack(10002);
    assert_int_equal(k.app.closed, 1);
}

static void test_progress_confirms_the_neighbour(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 50; i++) {
        kit_pass(&k, 100 * KIT_MS);
        kit_write(&k, 10);
        ack(11 + 10 * i);
    }
    kit_drain(&k);
    assert_in_range(k.host->confirmed, 5, 6);
}

/* SND.WL1, SND.WL2. */
static void test_window_of_an_old_segment_is_not_taken(void **state)
{
    (void)state;
    nodelay();
    kit_write(&k, 100);
    kit_inject_bytes(&k, A, 1, 101, 10);
    kit_inject_bytes(&k, A, 11, 101, 10);
    uint16_t now = k.win;
    k.win = 0;
    kit_inject_bytes(&k, A, 15, 1, 10); /* newer bytes, but an old acknowledgement */
    k.win = now;
    assert_int_equal(k.app.conn->snd_right - k.app.conn->iss, 101 + now);
    k.win = 7;
    kit_inject(&k, A, 25, 101, NULL, 0); /* newer: taken, though smaller */
    assert_int_equal(k.app.conn->snd_wnd, 7);
}

/* Two segments that changed places: the window is that of the one sent later (SND.WL1). */
static void test_window_of_a_segment_that_was_overtaken_is_not_taken(void **state)
{
    (void)state;
    k.win = 5000;
    kit_inject_bytes(&k, A, 101, 1, 100);
    assert_int_equal(k.app.conn->snd_wnd, 5000);
    k.win = 60000;
    kit_inject_bytes(&k, A, 1, 1, 100);
    assert_int_equal(k.app.conn->snd_wnd, 5000);
    kit_inject(&k, A, 201, 1, NULL, 0);
    assert_int_equal(k.app.conn->snd_wnd, 60000);
    kit_drain(&k);
}

static void test_fin_waits_for_the_window(void **state)
{
    (void)state;
    kit_write(&k, 100);
    kit_drain(&k);
    k.win = 0;
    ack(101);
    dk_tcp_shutdown(k.app.conn, k.now);
    kit_expect_none(&k);
    kit_pass(&k, 210 * KIT_MS);
    kit_expect(&k, A, 100, 1, 0);
    k.win = 1;
    ack(101);
    kit_expect(&k, F | A, 101, 1, 0);
}

/* ---- Retransmission (RFC 6298) --------------------------------------------------------------- */

static void test_rto_doubles_and_restarts_by_new_acks_only(void **state)
{
    (void)state;
    kit_write(&k, 100);
    kit_expect(&k, A | P, 1, 1, 100);
    kit_pass(&k, 190 * KIT_MS);
    ack(1); /* tells nothing new: the timer goes on */
    kit_pass(&k, 20 * KIT_MS);
    kit_expect(&k, A | P, 1, 1, 100);
    assert_payload(1, 100);
    kit_pass(&k, 380 * KIT_MS);
    kit_expect_none(&k);
    kit_pass(&k, 40 * KIT_MS);
    kit_expect(&k, A | P, 1, 1, 100);
    kit_pass(&k, 790 * KIT_MS);
    kit_expect(&k, A | P, 1, 1, 100);
    ack(101);
    kit_pass(&k, 100 * KIT_S);
    kit_expect_none(&k);
}

static void test_rto_follows_the_round_trip(void **state)
{
    (void)state;
    uint32_t seq = 1;
    for (int i = 0; i < 50; i++) {
        kit_write(&k, 100);
        kit_pass(&k, 100 * KIT_MS);
        seq += 100;
        ack(seq);
    }
    kit_drain(&k);
    assert_in_range(k.app.conn->srtt_ns, 95 * KIT_MS, 105 * KIT_MS);
    assert_in_range(k.app.conn->rto_ns, 200 * KIT_MS, 210 * KIT_MS);
}

/* RFC 6298 (2.2) and (2.3), with numbers. */
static void test_rto_is_computed_as_the_rfc_has_it(void **state)
{
    (void)state;
    k.app.conn->srtt_ns = -1; /* the handshake took no time */
    kit_write(&k, 10);
    kit_pass(&k, 150 * KIT_MS);
    ack(11);
    assert_int_equal(k.app.conn->rto_ns, 450 * KIT_MS);
    kit_write(&k, 10);
    kit_pass(&k, 350 * KIT_MS);
    ack(21);
    assert_int_equal(k.app.conn->srtt_ns, 175 * KIT_MS);
    assert_int_equal(k.app.conn->rttvar_ns, (75 * 4 + 125) * KIT_MS / 4);
    assert_int_equal(k.app.conn->rto_ns, 175 * KIT_MS + (75 * 4 + 125) * KIT_MS);
    kit_drain(&k);
}

/* Karn: what was sent twice is not measured. */
static void test_retransmitted_segment_is_not_measured(void **state)
{
    (void)state;
    kit_write(&k, 100);
    kit_pass(&k, KIT_MS);
    ack(101);
    int64_t before = k.app.conn->srtt_ns;
    kit_write(&k, 100);
    kit_pass(&k, 5 * KIT_S);
    ack(201);
    assert_int_equal(k.app.conn->srtt_ns, before);
    assert_true(k.app.conn->rto_ns > KIT_S); /* stays backed off (RFC 6298 section 5) */
    kit_drain(&k);
    kit_write(&k, 100);
    kit_pass(&k, KIT_MS);
    ack(301);
    assert_int_equal(k.app.conn->rto_ns, 200 * KIT_MS);
}

static void test_retransmission_after_timeout_loses_nothing(void **state)
{
    (void)state;
    kit_write(&k, 10 * 1460);
    assert_int_equal(kit_drain(&k), 10);
    kit_pass(&k, 210 * KIT_MS); /* all were lost: one goes again */
    kit_expect(&k, A, 1, 1, 1460);
    kit_expect_none(&k);
    ack(1461); /* slow start: two */
    kit_expect(&k, A, 1461, 1, 1460);
    assert_payload(1461, 1460);
    kit_expect(&k, A, 2921, 1, 1460);
    kit_expect_none(&k);
    ack(2921);
    kit_expect(&k, A, 4381, 1, 1460);
    kit_expect(&k, A, 5841, 1, 1460);
    ack(14601);
    kit_expect_none(&k);
    kit_pass(&k, 100 * KIT_S);
    kit_expect_none(&k);
}

static void test_part_of_a_segment_acknowledged_rest_goes_again(void **state)
{
    (void)state;
    kit_write(&k, 1000);
    kit_drain(&k);
    ack(301);
    kit_pass(&k, 300 * KIT_MS);
    kit_expect(&k, A | P, 301, 1, 700);
    assert_payload(301, 700);
}

static void test_no_room_for_a_retransmission_puts_it_off(void **state)
{
    (void)state;
    kit_write(&k, 100);
    kit_drain(&k);
    k.host->no_room = true;
    kit_pass(&k, 210 * KIT_MS);
    k.host->no_room = false;
    dk_tcp_tx_room(&k.host->net, k.now);
    kit_expect(&k, A | P, 1, 1, 100);
    kit_expect_none(&k);
}

/* ---- Ownership of pushed memory -------------------------------------------------------------- */

static void test_push_completes_when_acknowledged(void **state)
{
    (void)state;
    struct dk_buf *buf = kit_push(&k, 3000, 9);
    kit_drain(&k);
    ack(3000);
    assert_int_equal(k.app.num_sent, 0);
    ack(3001);
    assert_int_equal(k.app.num_sent, 1);
    assert_ptr_equal(k.app.sent[0], (void *)9);
    assert_int_equal(buf->refs, 1); /* only ours */
    assert_int_equal(stats()->push_hold_copies, 0);
    dk_buf_put(buf);
}

/* After completion the memory is the pusher's: what is retransmitted is what was pushed. */
static void test_push_hold_passes_memory_may_be_overwritten(void **state)
{
    (void)state;
    struct dk_buf *buf = kit_push(&k, 3000, 1);
    kit_drain(&k);
    ack(1001);
    kit_pass(&k, 99000); /* twice: something was acknowledged the first time */
    assert_int_equal(k.app.num_sent, 0);
    kit_pass(&k, 2000);
    assert_int_equal(k.app.num_sent, 1);
    assert_int_equal(k.app.sent_err[0], 0);
    assert_int_equal(buf->refs, 1);
    assert_int_equal(stats()->push_hold_copied_bytes, 2000);
    assert_int_equal(k.host->owned, 1); /* what waits below for a neighbour or the device */
    memset(buf->data, 0xee, 3000);
    kit_pass(&k, 300 * KIT_MS);
    kit_expect(&k, A, 1001, 1, 460);
    assert_payload(1001, 460);
    ack(1461);
    kit_expect(&k, A, 1461, 1, 1460);
    assert_payload(1461, 1460);
    kit_expect(&k, A | P, 2921, 1, 80);
    assert_payload(2921, 80);
    dk_buf_put(buf);
}

/* Elements of a stream that is always under way are not copied: they wait for their turn, not for
 * the peer. */
static void test_push_hold_does_not_end_while_acknowledgements_come(void **state)
{
    (void)state;
    struct dk_buf *bufs[2] = {kit_push(&k, 3000, 1), kit_push(&k, 3000, 2)};
    kit_drain(&k);
    for (uint32_t acked = 100; acked < 6000; acked += 100) {
        kit_pass(&k, 45000);
        ack(1 + acked);
        kit_drain(&k);
        assert_int_equal(k.app.num_sent, acked / 3000);
    }
    assert_int_equal(stats()->push_hold_copied_bytes, 0);
    kit_pass(&k, 101000); /* and then they end */
    assert_int_equal(k.app.num_sent, 2);
    assert_int_equal(stats()->push_hold_copies, 1);
    assert_int_equal(stats()->push_hold_copied_bytes, 100);
    for (size_t i = 0; i < 2; i++)
        dk_buf_put(bufs[i]);
}

static void test_push_hold_of_what_was_not_sent_yet(void **state)
{
    (void)state;
    restart_win(0);
    struct dk_buf *buf = kit_push(&k, 3000, 1);
    kit_pass(&k, 60000);
    assert_int_equal(k.app.num_sent, 1);
    memset(buf->data, 0xee, 3000);
    k.win = 65535;
    ack(1);
    kit_expect(&k, A, 1, 1, 1460);
    assert_payload(1, 1460);
    dk_buf_put(buf);
}

/* Sends bytes [from, from + len) of a buffer whose first is number 1. */
static int send_part(struct dk_buf *buf, uint32_t from, uint32_t len, uint32_t flags, void *cookie)
{
    const struct dk_tx_piece piece = {buf->data + from, len, buf};
    int r = dk_tcp_send(k.app.conn, &piece, 1, flags, cookie, k.now);
    assert_true(dk_tcp_all_valid(k.tcp));
    return r;
}

static struct dk_buf *make_pattern(uint32_t len)
{
    struct dk_buf *buf = dk_buf_alloc(len, 0);
    for (uint32_t i = 0; i < len; i++)
        buf->data[i] = kit_byte(1 + i);
    return buf;
}

/* Parts are lent until the last is complete: none is copied for having waited. */
static void test_parts_are_not_copied_before_the_last_is_there(void **state)
{
    (void)state;
    struct dk_buf *buf = make_pattern(4000);
    assert_int_equal(send_part(buf, 0, 2000, DK_TCP_SEND_MORE, NULL), 0);
    assert_int_equal(send_part(buf, 2000, 1000, DK_TCP_SEND_MORE, NULL), 0);
    kit_drain(&k);
    kit_pass(&k, KIT_MS);
    assert_int_equal(stats()->push_hold_copied_bytes, 0);
    ack(1001);
    assert_int_equal(send_part(buf, 3000, 1000, 0, (void *)5), 0);
    kit_pass(&k, 49000);
    assert_int_equal(k.app.num_sent, 0);
    kit_pass(&k, 2000);
    assert_int_equal(k.app.num_sent, 1);
    assert_ptr_equal(k.app.sent[0], (void *)5);
    assert_int_equal(stats()->push_hold_copied_bytes, 3000); /* what was not acknowledged */
    assert_int_equal(buf->refs, 1);
    memset(buf->data, 0xee, 4000);
    kit_drain(&k);
    kit_pass(&k, 300 * KIT_MS);
    kit_expect(&k, A, 1001, 1, 460);
    assert_payload(1001, 460);
    dk_buf_put(buf);
}

static void test_parts_complete_once_by_the_ack_of_the_last(void **state)
{
    (void)state;
    struct dk_buf *before = kit_push(&k, 500, 1), *buf = make_pattern(4000);
    assert_int_equal(send_part(buf, 500, 1500, DK_TCP_SEND_MORE, NULL), 0);
    ack(501); /* the element before ends; the part stays lent */
    assert_int_equal(k.app.num_sent, 1);
    assert_int_equal(send_part(buf, 2000, 2000, 0, (void *)2), 0);
    kit_drain(&k);
    ack(2001);
    assert_int_equal(k.app.num_sent, 1);
    ack(4001);
    assert_int_equal(k.app.num_sent, 2);
    assert_ptr_equal(k.app.sent[1], (void *)2);
    assert_int_equal(buf->refs, 1);
    assert_int_equal(stats()->push_hold_copies, 0);
    dk_buf_put(before);
    dk_buf_put(buf);
}

/* Nobody else can change them: what is pushed behind may be, and is copied. */
static void test_parts_given_up_before_the_last_complete_with_it(void **state)
{
    (void)state;
    struct dk_buf *buf = make_pattern(2000);
    assert_int_equal(send_part(buf, 0, 1000, DK_TCP_SEND_MORE, NULL), 0);
    assert_int_equal(send_part(buf, 1000, 1000, DK_TCP_SEND_UNREFERENCED, (void *)1), 1);
    dk_buf_put(buf);
    struct dk_buf *next = kit_push(&k, 100, 2);
    kit_pass(&k, 60000);
    assert_int_equal(k.app.num_sent, 1);
    memset(next->data, 0xee, 100);
    dk_buf_put(next);
    kit_drain(&k);
    kit_pass(&k, 300 * KIT_MS);
    kit_expect(&k, A, 1, 1, 1000);
    assert_payload(1, 1000);
    ack(1001);
    kit_expect(&k, A | P, 1001, 1, 1100);
    assert_payload(1001, 1100);
}

static void test_parts_of_a_connection_that_ends_are_let_go(void **state)
{
    (void)state;
    struct dk_buf *buf = make_pattern(2000);
    assert_int_equal(send_part(buf, 0, 1000, DK_TCP_SEND_MORE, NULL), 0);
    kit_drain(&k);
    kit_inject(&k, R, 1, 0, NULL, 0);
    assert_int_equal(k.app.failed, 1);
    assert_int_equal(k.app.num_sent, 0);
    assert_int_equal(buf->refs, 1);
    dk_buf_put(buf);
}

/* ---- Room ------------------------------------------------------------------------------------ */

static void test_room_is_told_once_when_enough_was_acknowledged(void **state)
{
    (void)state;
    kit_write(&k, 3000);
    kit_drain(&k);
    assert_int_equal(dk_tcp_queued_bytes(k.app.conn), 3000);
    dk_tcp_want_room(k.app.conn, 1000);
    ack(2000);
    assert_int_equal(k.app.room, 0);
    assert_int_equal(dk_tcp_queued_bytes(k.app.conn), 1001);
    ack(2001);
    assert_int_equal(k.app.room, 1);
    ack(3001);
    assert_int_equal(k.app.room, 1);
}

/* Told by an acknowledgement of one segment that is as predicted, too. */
static void test_room_is_told_by_the_shortest_way_in(void **state)
{
    (void)state;
    kit_fini(&k);
    kit_init(&k);
    k.config.no_timestamps = false;
    k.ts = true;
    kit_start(&k);
    kit_passive(&k);
    k.ts_val++;
    for (uint32_t i = 0; i < 3; i++) {
        const uint32_t end = 1 + 100 * (i + 1);
        kit_write(&k, 100);
        dk_tcp_want_room(k.app.conn, 0);
        k.ts_ecr = kit_expect(&k, A | P, end - 100, 1, 100).options.ts_val;
        ack(end);
        assert_int_equal(k.app.room, (int)i + 1);
    }
}

static void test_room_asked_for_again_counts_from_what_is_queued_then(void **state)
{
    (void)state;
    kit_write(&k, 1000);
    dk_tcp_want_room(k.app.conn, 0);
    kit_write(&k, 1000);
    dk_tcp_want_room(k.app.conn, 500);
    kit_drain(&k);
    ack(1001);
    assert_int_equal(k.app.room, 0);
    ack(1501);
    assert_int_equal(k.app.room, 1);
}

static void test_room_is_not_told_after_close(void **state)
{
    (void)state;
    kit_write(&k, 1000);
    dk_tcp_want_room(k.app.conn, 0);
    kit_drain(&k);
    dk_tcp_close(k.app.conn, k.now);
    ack(1001);
    assert_int_equal(k.app.room, 0);
}

static void test_many_pushes_leave_and_complete_in_order(void **state)
{
    (void)state;
    nodelay();
    struct dk_buf *bufs[300];
    for (uint32_t i = 0; i < 300; i++)
        bufs[i] = kit_push(&k, 1 + i * 3, i);
    uint32_t seq = 1;
    for (int rounds = 0; rounds < 1000 && k.app.num_sent < 300; rounds++) {
        struct kit_packet p;
        while (kit_host_take(k.host, &p)) {
            assert_int_equal(p.h.seq - k.irs, seq);
            for (uint32_t i = 0; i < p.payload_len; i++)
                assert_int_equal(p.payload[i], kit_byte(seq + i));
            seq += p.payload_len;
            dk_buf_put(p.buf);
        }
        ack(seq);
    }
    assert_int_equal(k.app.num_sent, 300);
    for (uintptr_t i = 0; i < 300; i++) {
        assert_ptr_equal(k.app.sent[i], (void *)i);
        dk_buf_put(bufs[i]);
    }
}

static void test_unreferenced_push_completes_at_once(void **state)
{
    (void)state;
    struct dk_buf *buf = dk_buf_alloc(100, 0);
    for (uint32_t i = 0; i < 100; i++)
        buf->data[i] = kit_byte(1 + i);
    struct dk_tx_piece piece = {buf->data, 100, buf};
    assert_int_equal(dk_tcp_send(k.app.conn, &piece, 1, DK_TCP_SEND_UNREFERENCED, NULL, k.now), 1);
    dk_buf_put(buf);
    kit_expect(&k, A | P, 1, 1, 100);
    kit_pass(&k, 210 * KIT_MS);
    kit_expect(&k, A | P, 1, 1, 100);
    assert_payload(1, 100);
    ack(101);
    assert_int_equal(k.app.num_sent, 0);
}

static void test_push_of_many_pieces_spans_segments(void **state)
{
    (void)state;
    struct dk_buf *buf = dk_buf_alloc(5000, 0);
    struct dk_tx_piece pieces[50];
    for (uint32_t i = 0; i < 5000; i++)
        buf->data[i] = kit_byte(1 + i);
    for (uint32_t i = 0; i < 50; i++)
        pieces[i] = (struct dk_tx_piece){buf->data + i * 100, 100, buf};
    assert_int_equal(dk_tcp_send(k.app.conn, pieces, 50, 0, (void *)3, k.now), 0);
    uint32_t seq = 1;
    struct kit_packet p;
    while (kit_host_take(k.host, &p)) {
        assert_int_equal(p.h.seq - k.irs, seq);
        for (uint32_t i = 0; i < p.payload_len; i++)
            assert_int_equal(p.payload[i], kit_byte(seq + i));
        seq += p.payload_len;
        dk_buf_put(p.buf);
    }
    assert_int_equal(seq, 5001);
    ack(5001);
    assert_int_equal(k.app.num_sent, 1);
    dk_buf_put(buf);
}

static void test_small_pushes_that_are_copied_share_a_piece(void **state)
{
    (void)state;
    kit_write(&k, 10);
    for (int i = 0; i < 100; i++)
        kit_write(&k, 10);
    assert_int_equal(k.tcp->pieces.used, 1);
    kit_drain(&k);
    ack(11);
    kit_expect(&k, A | P, 11, 1, 1000);
    assert_payload(11, 1000);
}

static void test_push_without_memory_takes_nothing(void **state)
{
    (void)state;
    kit_fini(&k);
    kit_init(&k);
    k.config.pieces_max = 3;
    kit_start(&k);
    kit_passive(&k);
    struct dk_buf *buf = dk_buf_alloc(100, 0);
    struct dk_tx_piece pieces[4];
    for (int i = 0; i < 4; i++)
        pieces[i] = (struct dk_tx_piece){buf->data + 10 * i, 10, buf};
    assert_int_equal(dk_tcp_send(k.app.conn, pieces, 4, 0, NULL, k.now), -ENOBUFS);
    assert_int_equal(buf->refs, 1);
    kit_expect_none(&k);
    assert_int_equal(dk_tcp_send(k.app.conn, pieces, 3, 0, NULL, k.now), 0);
    kit_expect(&k, A | P, 1, 1, 30);
    dk_buf_put(buf);
}

static void test_more_than_4_gib_pass(void **state)
{
    (void)state;
    restart_win(65535);
    struct dk_buf *buf = dk_buf_alloc(1 << 20, 0);
    memset(buf->data, 1, 1 << 20);
    struct dk_tx_piece pieces[64];
    for (int i = 0; i < 64; i++)
        pieces[i] = (struct dk_tx_piece){buf->data, 1 << 20, buf};
    for (int i = 0; i < 80; i++) /* 5 GiB in one queue */
        assert_int_equal(dk_tcp_send(k.app.conn, pieces, 64, DK_TCP_SEND_UNREFERENCED, NULL, k.now),
                         1);
    dk_buf_put(buf);
    struct dk_tcp_info info;
    dk_tcp_get_info(k.app.conn, &info);
    assert_int_equal(info.unsent_bytes + info.unacked_bytes, UINT64_C(80) << 26);
    uint64_t acked = 0;
    for (int i = 0; i < 1000; i++) {
        kit_drain(&k);
        acked = k.app.conn->snd_nxt - k.app.conn->iss;
        ack((uint32_t)acked);
    }
    assert_true(acked > 40000000);
}

/* ---- Keepalive (section 3.8.4) --------------------------------------------------------------- */

static void keepalive(void)
{
    assert_int_equal(dk_tcp_set_option(k.app.conn, DK_TCP_KEEPALIVE_IDLE, 10 * KIT_S, k.now), 0);
    assert_int_equal(dk_tcp_set_option(k.app.conn, DK_TCP_KEEPALIVE_INTERVAL, 2 * KIT_S, k.now), 0);
    assert_int_equal(dk_tcp_set_option(k.app.conn, DK_TCP_KEEPALIVE_COUNT, 3, k.now), 0);
    assert_int_equal(dk_tcp_set_option(k.app.conn, DK_TCP_KEEPALIVE, 1, k.now), 0);
}

static void test_keepalive_peer_answers_stays(void **state)
{
    (void)state;
    keepalive();
    for (int i = 0; i < 10; i++) {
        kit_pass(&k, 10 * KIT_S + KIT_MS);
        kit_expect(&k, A, 0, 1, 0);
        ack(1);
    }
    assert_int_equal(k.app.failed, 0);
}

static void test_keepalive_peer_gone_is_etimedout(void **state)
{
    (void)state;
    keepalive();
    kit_pass(&k, 15900 * KIT_MS);
    assert_int_equal(kit_drain(&k), 3);
    kit_pass(&k, 200 * KIT_MS);
    assert_int_equal(k.app.fail_err, -ETIMEDOUT);
    kit_expect(&k, R | A, 1, 1, 0);
}

/* Of a connection that a listener made, whatever state it is in when the peer goes. */
static void test_keepalive_of_the_listener_is_inherited(void **state)
{
    (void)state;
    k.peer_port++;
    memset(&k.app, 0, sizeof(k.app));
    assert_int_equal(dk_tcp_listen_set_option(k.listener, DK_TCP_KEEPALIVE, 1), 0);
    kit_passive(&k);
    dk_tcp_shutdown(k.app.conn, k.now);
    kit_expect(&k, F | A, 1, 1, 0);
    kit_inject(&k, A, 1, 2, NULL, 0);
    assert_int_equal(kit_state(&k), DK_TCP_FIN_WAIT_2);
    kit_pass(&k, 9000 * KIT_S);
    assert_int_equal(k.app.fail_err, -ETIMEDOUT);
    kit_drain(&k);
}

static void test_keepalive_is_off_by_default(void **state)
{
    (void)state;
    kit_pass(&k, 100000 * KIT_S);
    kit_expect_none(&k);
    assert_int_equal(k.app.failed, 0);
}

/* ---- Path MTU and ICMP (RFC 1191, 8201, 5927) ------------------------------------------------ */

static void icmp(enum dk_icmp_error_kind kind, uint32_t seq, uint32_t mtu)
{
    uint8_t quoted[8];
    dk_put_be16(quoted, k.port);
    dk_put_be16(quoted + 2, k.peer_port);
    dk_put_be32(quoted + 4, k.irs + seq);
    struct dk_icmp_error e = {.kind = kind,
                              .mtu = mtu,
                              .local = k.host->ip,
                              .remote = k.peer_ip,
                              .quoted = quoted,
                              .quoted_len = 8};
    dk_tcp_icmp_error(&k.host->net, &e, k.now);
    kit_tell(&k);
}

static void test_too_big_cuts_segments_and_sends_again(void **state)
{
    (void)state;
    kit_write(&k, 2920);
    assert_int_equal(kit_drain(&k), 2);
    icmp(DK_ICMP_TOO_BIG, 1, 1000);
    assert_int_equal(k.host->path_mtu, 1000);
    kit_expect(&k, A, 1, 1, 960);
    assert_payload(1, 960);
    kit_expect(&k, A, 961, 1, 500);
    kit_expect(&k, A, 1461, 1, 960);
    kit_expect(&k, A | P, 2421, 1, 500);
    assert_payload(2421, 500);
    ack(2921);
    kit_write(&k, 1000);
    kit_expect(&k, A, 2921, 1, 960);
}

static void test_too_big_forged_is_not_believed(void **state)
{
    (void)state;
    kit_write(&k, 1460);
    kit_drain(&k);
    icmp(DK_ICMP_TOO_BIG, 1461, 1000); /* not in flight */
    icmp(DK_ICMP_TOO_BIG, 0, 1000);
    icmp(DK_ICMP_TOO_BIG, 1, 1500); /* says nothing new */
    assert_int_equal(stats()->drop_icmp, 3);
    ack(1461);
    kit_write(&k, 1460);
    kit_drain(&k);
    icmp(DK_ICMP_TOO_BIG, 1461, 1000); /* but 1500 bytes arrived before: not at once */
    kit_expect_none(&k);
    assert_int_equal(k.app.conn->snd_mss, 1460);
    ack(2921);
    kit_pass(&k, 10 * KIT_S);
    assert_int_equal(k.app.conn->snd_mss, 1460);
}

static void test_too_big_after_the_path_changed_is_believed_at_timeout(void **state)
{
    (void)state;
    kit_write(&k, 1460);
    kit_drain(&k);
    ack(1461);
    kit_write(&k, 1460);
    kit_drain(&k);
    icmp(DK_ICMP_TOO_BIG, 1461, 1000);
    kit_pass(&k, 300 * KIT_MS);
    kit_expect(&k, A, 1461, 1, 960);
}

static void test_too_big_below_the_least_is_bounded(void **state)
{
    (void)state;
    kit_write(&k, 1460);
    kit_drain(&k);
    icmp(DK_ICMP_TOO_BIG, 1, 68);
    assert_int_equal(k.app.conn->path_mtu, 552);
    kit_drain(&k);
    kit_fini(&k);
    kit_init(&k);
    k.host->ip = kit_ip6(1);
    kit_start(&k);
    kit_passive(&k);
    kit_write(&k, 1440);
    kit_expect(&k, A | P, 1, 1, 1440);
    icmp(DK_ICMP_TOO_BIG, 1, 100);
    assert_int_equal(k.app.conn->path_mtu, 1280);
    kit_expect(&k, A, 1, 1, 1220);
    kit_expect(&k, A | P, 1221, 1, 220);
}

static void test_too_big_without_mtu_uses_plateaus(void **state)
{
    (void)state;
    kit_write(&k, 1460);
    kit_drain(&k);
    icmp(DK_ICMP_TOO_BIG, 1, 0);
    assert_int_equal(k.app.conn->path_mtu, 1492);
    kit_drain(&k);
}

static void test_emsgsize_measures_the_path_again(void **state)
{
    (void)state;
    k.host->path_mtu = 800; /* another connection learned it */
    kit_write(&k, 1000);
    kit_expect(&k, A, 1, 1, 760);
    kit_expect(&k, A | P, 761, 1, 240);
}

static void test_hard_error_ends_only_opening(void **state)
{
    (void)state;
    kit_write(&k, 10);
    kit_drain(&k);
    icmp(DK_ICMP_PORT_UNREACHABLE, 1, 0);
    assert_int_equal(k.app.failed, 0);
    ack(11);
    struct kit_app app = {0};
    struct dk_endpoint local = {0}, remote = {k.peer_ip, 9};
    assert_int_equal(dk_tcp_connect(k.tcp, &app.conn, &local, &remote, NULL, &kit_ops, &app, k.now),
                     0);
    k.port = app.conn->local_port;
    k.peer_port = 9;
    kit_expect(&k, S, 0, 0, 0);
    icmp(DK_ICMP_PORT_UNREACHABLE, 5, 0);
    assert_int_equal(app.connected, 0);
    icmp(DK_ICMP_PORT_UNREACHABLE, 0, 0);
    assert_int_equal(app.connect_err, -ECONNREFUSED);
}

static void test_soft_error_is_told_at_the_timeout(void **state)
{
    (void)state;
    kit_write(&k, 10);
    kit_drain(&k);
    icmp(DK_ICMP_UNREACHABLE, 1, 0);
    assert_int_equal(k.app.failed, 0);
    kit_pass(&k, 1200 * KIT_S);
    assert_int_equal(k.app.fail_err, -EHOSTUNREACH);
}

/* ---- Options --------------------------------------------------------------------------------- */

static void test_options_have_limits(void **state)
{
    (void)state;
    struct dk_tcp_conn *c = k.app.conn;
    int64_t value;
    assert_int_equal(dk_tcp_set_option(c, DK_TCP_NODELAY, 2, k.now), -EINVAL);
    assert_int_equal(dk_tcp_set_option(c, DK_TCP_TTL, 0, k.now), -EINVAL);
    assert_int_equal(dk_tcp_set_option(c, (enum dk_tcp_option)99, 0, k.now), -EINVAL);
    assert_int_equal(dk_tcp_set_option(c, DK_TCP_RCV_BUF, 1000, k.now), -EINVAL);
    assert_int_equal(dk_tcp_option_check(DK_TCP_MAX_SEGMENT, 20), -EINVAL);
    assert_int_equal(dk_tcp_set_option(c, DK_TCP_TTL, 7, k.now), 0);
    assert_int_equal(dk_tcp_get_option(c, DK_TCP_TTL, &value), 0);
    assert_int_equal(value, 7);
    assert_int_equal(dk_tcp_get_option(c, (enum dk_tcp_option) - 1, &value), -EINVAL);
}

static void test_max_segment_bounds_both_ways(void **state)
{
    (void)state;
    k.peer_port++;
    memset(&k.app, 0, sizeof(k.app));
    assert_int_equal(dk_tcp_listen_set_option(k.listener, DK_TCP_MAX_SEGMENT, 500), 0);
    kit_inject(&k, S, 0, 0, NULL, 0);
    assert_int_equal(kit_expect(&k, S | A, 0, 1, 0).options.mss, 500);
    kit_inject(&k, A, 1, 1, NULL, 0);
    assert_int_equal(dk_tcp_accept(k.listener, &k.app.conn, &kit_ops, &k.app), 0);
    kit_write(&k, 600);
    kit_expect(&k, A, 1, 1, 500);
}

static void test_mtu_from_1280_to_9000_gives_the_mss(void **state)
{
    (void)state;
    static const uint32_t mtus[] = {1280, 1400, 1500, 9000};
    for (size_t i = 0; i < 4; i++) {
        kit_fini(&k);
        kit_init(&k);
        kit_start(&k);
        k.host->mtu = k.host->path_mtu = mtus[i];
        k.syn_opt.mss = 8960;
        kit_listen(&k, 1);
        kit_inject(&k, S, 0, 0, NULL, 0);
        assert_int_equal(kit_expect(&k, S | A, 0, 1, 0).options.mss, mtus[i] - 40);
        kit_inject(&k, A, 1, 1, NULL, 0);
        assert_int_equal(dk_tcp_accept(k.listener, &k.app.conn, &kit_ops, &k.app), 0);
        kit_write(&k, 10000);
        kit_expect(&k, A, 1, 1, mtus[i] - 40);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_nagle_holds_a_second_small_segment),
        TEST(test_nagle_sends_full_segments),
        TEST(test_minshall_small_tail_of_a_large_push_leaves),
        TEST(test_nodelay_sends_at_once),
        TEST(test_small_part_of_a_large_window_waits),
        TEST(test_windows_of_1_to_3_bytes_do_not_deadlock),
        TEST(test_zero_window_is_probed_with_backoff),
        TEST(test_window_update_lost_probe_finds_it),
        TEST(test_zero_window_that_is_answered_never_times_out),
        TEST(test_zero_window_that_is_not_answered_times_out),
        TEST(test_window_shrunk_takes_nothing_back),
        TEST(test_window_shrunk_bounds_retransmission),
        TEST(test_window_shrunk_to_zero_is_survived),
        TEST(test_small_windows_after_close_are_progress),
        TEST(test_progress_confirms_the_neighbour),
        TEST(test_window_of_an_old_segment_is_not_taken),
        TEST(test_window_of_a_segment_that_was_overtaken_is_not_taken),
        TEST(test_fin_waits_for_the_window),
        TEST(test_rto_doubles_and_restarts_by_new_acks_only),
        TEST(test_rto_follows_the_round_trip),
        TEST(test_rto_is_computed_as_the_rfc_has_it),
        TEST(test_retransmitted_segment_is_not_measured),
        TEST(test_retransmission_after_timeout_loses_nothing),
        TEST(test_part_of_a_segment_acknowledged_rest_goes_again),
        TEST(test_no_room_for_a_retransmission_puts_it_off),
        TEST(test_push_completes_when_acknowledged),
        TEST(test_push_hold_passes_memory_may_be_overwritten),
        TEST(test_push_hold_does_not_end_while_acknowledgements_come),
        TEST(test_push_hold_of_what_was_not_sent_yet),
        TEST(test_parts_are_not_copied_before_the_last_is_there),
        TEST(test_parts_complete_once_by_the_ack_of_the_last),
        TEST(test_parts_given_up_before_the_last_complete_with_it),
        TEST(test_parts_of_a_connection_that_ends_are_let_go),
        TEST(test_room_is_told_once_when_enough_was_acknowledged),
        TEST(test_room_is_told_by_the_shortest_way_in),
        TEST(test_room_asked_for_again_counts_from_what_is_queued_then),
        TEST(test_room_is_not_told_after_close),
        TEST(test_many_pushes_leave_and_complete_in_order),
        TEST(test_unreferenced_push_completes_at_once),
        TEST(test_push_of_many_pieces_spans_segments),
        TEST(test_small_pushes_that_are_copied_share_a_piece),
        TEST(test_push_without_memory_takes_nothing),
        TEST(test_more_than_4_gib_pass),
        TEST(test_keepalive_peer_answers_stays),
        TEST(test_keepalive_peer_gone_is_etimedout),
        TEST(test_keepalive_of_the_listener_is_inherited),
        TEST(test_keepalive_is_off_by_default),
        TEST(test_too_big_cuts_segments_and_sends_again),
        TEST(test_too_big_forged_is_not_believed),
        TEST(test_too_big_after_the_path_changed_is_believed_at_timeout),
        TEST(test_too_big_below_the_least_is_bounded),
        TEST(test_too_big_without_mtu_uses_plateaus),
        TEST(test_emsgsize_measures_the_path_again),
        TEST(test_hard_error_ends_only_opening),
        TEST(test_soft_error_is_told_at_the_timeout),
        TEST(test_options_have_limits),
        TEST(test_max_segment_bounds_both_ways),
        TEST(test_mtu_from_1280_to_9000_gives_the_mss),
    };
    return cmocka_run_group_tests_name("tcp_tx", tests, NULL, NULL);
}
