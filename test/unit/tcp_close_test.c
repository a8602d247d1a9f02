/* SPDX-License-Identifier: MIT */
/*
 * How connections end: FIN in every state and order, resets, TIME_WAIT, who hears of it.
 */
#include "tcp_kit.h"

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

static const struct dk_tcp_stats *stats(void)
{
    return dk_tcp_stats(k.tcp);
}

static void close_it(void)
{
    dk_tcp_close(k.app.conn, k.now);
    kit_tell(&k);
}

static int receive(void)
{
    struct dk_buf *buf;
    return dk_tcp_recv(k.app.conn, &buf, 1, 100, k.now);
}

static void assert_gone(void)
{
    assert_int_equal(k.app.closed, 1);
    assert_int_equal(k.tcp->conns.used, 0);
    kit_pass(&k, 600 * KIT_S);
    kit_expect_none(&k);
}

/* RFC 9293 section 3.6, figure 12, with the peer closing second. */
/* Connections in TIME_WAIT; there are no others. */
static uint32_t waiting(void)
{
    assert_int_equal(k.tcp->conns.used, 0);
    return k.tcp->time_wait_pool.used;
}

static void test_active_close_passes_fin_wait_and_time_wait(void **state)
{
    (void)state;
    dk_tcp_shutdown(k.app.conn, k.now);
    assert_int_equal(kit_state(&k), DK_TCP_FIN_WAIT_1);
    kit_expect(&k, F | A, 1, 1, 0);
    kit_inject(&k, A, 1, 2, NULL, 0);
    assert_int_equal(kit_state(&k), DK_TCP_FIN_WAIT_2);
    kit_inject_bytes(&k, A, 1, 2, 10); /* half-closed: it still receives */
    uint32_t at = 1;
    assert_int_equal(kit_read(&k, &at, 100), 10);
    kit_inject(&k, F | A, 11, 2, NULL, 0);
    assert_int_equal(kit_state(&k), DK_TCP_TIME_WAIT);
    kit_expect(&k, A, 2, 12, 0);
    assert_int_equal(k.app.peer_closed, 1);
    assert_int_equal(receive(), 0);
    assert_int_equal(receive(), 0);
    struct dk_tx_piece piece = {(const uint8_t *)"x", 1, NULL};
    assert_int_equal(dk_tcp_send(k.app.conn, &piece, 1, 0, NULL, k.now), -EPIPE);
    close_it();
    assert_int_equal(k.app.closed, 1);
    assert_int_equal(waiting(), 1); /* without an owner */
    kit_pass(&k, 59 * KIT_S);
    assert_int_equal(waiting(), 1);
    kit_pass(&k, 2 * KIT_S);
    assert_int_equal(waiting(), 0);
    kit_expect_none(&k);
}

static void test_passive_close_passes_close_wait_and_last_ack(void **state)
{
    (void)state;
    kit_inject(&k, F | A, 1, 1, NULL, 0);
    assert_int_equal(kit_state(&k), DK_TCP_CLOSE_WAIT);
    kit_expect(&k, A, 1, 2, 0);
    kit_write(&k, 10); /* half-closed: it still sends */
    kit_expect(&k, A | P, 1, 2, 10);
    kit_inject(&k, A, 2, 11, NULL, 0);
    close_it();
    kit_expect(&k, F | A, 11, 2, 0);
    assert_int_equal(kit_state(&k), DK_TCP_LAST_ACK);
    kit_inject(&k, A, 2, 12, NULL, 0);
    assert_gone();
}

static void test_simultaneous_close_passes_closing(void **state)
{
    (void)state;
    close_it();
    kit_expect(&k, F | A, 1, 1, 0);
    kit_inject(&k, F | A, 1, 1, NULL, 0);
    assert_int_equal(kit_state(&k), DK_TCP_CLOSING);
    kit_expect(&k, A, 2, 2, 0);
    assert_int_equal(k.app.closed, 0);
    kit_inject(&k, A, 2, 2, NULL, 0);
    assert_int_equal(k.app.closed, 1);
    assert_int_equal(waiting(), 1);
    kit_pass(&k, 61 * KIT_S);
    assert_int_equal(waiting(), 0);
    kit_expect_none(&k);
}

static void test_fin_wait_1_fin_with_ack_of_ours_is_time_wait(void **state)
{
    (void)state;
    close_it();
    kit_expect(&k, F | A, 1, 1, 0);
    kit_inject(&k, F | A, 1, 2, NULL, 0);
    assert_int_equal(waiting(), 1);
    kit_expect(&k, A, 2, 2, 0);
    assert_int_equal(k.app.closed, 1);
}

static void test_fin_is_retransmitted_in_fin_wait_1(void **state)
{
    (void)state;
    close_it();
    kit_expect(&k, F | A, 1, 1, 0);
    kit_pass(&k, 210 * KIT_MS);
    kit_expect(&k, F | A, 1, 1, 0);
    kit_pass(&k, 410 * KIT_MS);
    kit_expect(&k, F | A, 1, 1, 0);
    kit_inject(&k, F | A, 1, 2, NULL, 0);
    kit_expect(&k, A, 2, 2, 0);
    kit_pass(&k, 30 * KIT_S);
    kit_expect_none(&k);
}

static void test_fin_is_retransmitted_in_closing_and_last_ack(void **state)
{
    (void)state;
    close_it();
    kit_expect(&k, F | A, 1, 1, 0);
    kit_inject(&k, F | A, 1, 1, NULL, 0);
    kit_expect(&k, A, 2, 2, 0);
    kit_pass(&k, 210 * KIT_MS);
    kit_expect(&k, F | A, 1, 2, 0);
    kit_inject(&k, A, 2, 2, NULL, 0);
    assert_int_equal(k.app.closed, 1);
    k.peer_port++;
    memset(&k.app, 0, sizeof(k.app));
    kit_passive(&k);
    kit_inject(&k, F | A, 1, 1, NULL, 0);
    kit_expect(&k, A, 1, 2, 0);
    close_it();
    kit_expect(&k, F | A, 1, 2, 0);
    kit_pass(&k, 210 * KIT_MS);
    kit_expect(&k, F | A, 1, 2, 0);
    kit_inject(&k, A, 2, 2, NULL, 0);
    assert_int_equal(k.app.closed, 1);
}

static void test_last_ack_peer_gone_ends(void **state)
{
    (void)state;
    kit_inject(&k, F | A, 1, 1, NULL, 0);
    close_it();
    kit_pass(&k, 1200 * KIT_S);
    kit_drain(&k);
    assert_gone();
    assert_int_equal(stats()->timeouts, 1);
}

static void test_data_and_fin_lost_go_again_together(void **state)
{
    (void)state;
    kit_write(&k, 100);
    kit_expect(&k, A | P, 1, 1, 100);
    close_it();
    kit_expect(&k, F | A, 101, 1, 0);
    kit_pass(&k, 210 * KIT_MS);
    kit_expect(&k, A | P, 1, 1, 100);
    kit_inject(&k, A, 1, 101, NULL, 0);
    kit_expect(&k, F | A, 101, 1, 0);
    kit_inject(&k, A, 1, 102, NULL, 0);
    assert_int_equal(k.app.closed, 1);
}

static void test_fin_before_its_data_waits(void **state)
{
    (void)state;
    kit_inject_bytes(&k, F | A, 101, 1, 50);
    kit_expect(&k, A, 1, 1, 0);
    assert_int_equal(kit_state(&k), DK_TCP_ESTABLISHED);
    assert_int_equal(k.app.peer_closed, 0);
    kit_inject_bytes(&k, A, 1, 1, 100);
    kit_expect(&k, A, 1, 152, 0);
    assert_int_equal(kit_state(&k), DK_TCP_CLOSE_WAIT);
    uint32_t at = 1;
    assert_int_equal(kit_read(&k, &at, 1000), 150);
    assert_int_equal(receive(), 0);
}

static void test_bare_fin_out_of_order_waits(void **state)
{
    (void)state;
    kit_inject(&k, F | A, 11, 1, NULL, 0);
    kit_expect(&k, A, 1, 1, 0);
    kit_inject_bytes(&k, A, 1, 1, 10);
    kit_expect(&k, A, 1, 12, 0);
    assert_int_equal(kit_state(&k), DK_TCP_CLOSE_WAIT);
}

/* Nothing comes behind a FIN, whatever a peer sends. */
static void test_data_behind_fin_is_ignored(void **state)
{
    (void)state;
    kit_inject(&k, F | A, 11, 1, NULL, 0);
    kit_inject_bytes(&k, A, 1, 1, 100);
    uint32_t at = 1;
    assert_int_equal(kit_read(&k, &at, 1000), 10);
    assert_int_equal(receive(), 0);
    assert_int_equal(kit_state(&k), DK_TCP_CLOSE_WAIT);
}

/* A FIN that is in the middle of what came already is not believed. */
static void test_fin_within_received_data_is_ignored(void **state)
{
    (void)state;
    kit_inject_bytes(&k, A, 51, 1, 50);
    kit_inject_bytes(&k, A | F, 1, 1, 20);
    kit_inject_bytes(&k, A, 21, 1, 30);
    assert_int_equal(kit_state(&k), DK_TCP_ESTABLISHED);
    uint32_t at = 1;
    assert_int_equal(kit_read(&k, &at, 1000), 100);
}

static void test_fin_again_is_acknowledged_again(void **state)
{
    (void)state;
    kit_inject(&k, F | A, 1, 1, NULL, 0);
    kit_expect(&k, A, 1, 2, 0);
    kit_inject(&k, F | A, 1, 1, NULL, 0);
    kit_expect(&k, A, 1, 2, 0);
    assert_int_equal(k.app.peer_closed, 1);
    assert_int_equal(kit_state(&k), DK_TCP_CLOSE_WAIT);
}

static void time_wait(void)
{
    close_it();
    kit_expect(&k, F | A, 1, 1, 0);
    kit_inject(&k, F | A, 1, 2, NULL, 0);
    kit_expect(&k, A, 2, 2, 0);
    assert_int_equal(k.app.closed, 1);
    assert_int_equal(waiting(), 1);
}

static void test_time_wait_fin_restarts_it(void **state)
{
    (void)state;
    time_wait();
    kit_pass(&k, 50 * KIT_S);
    kit_inject(&k, F | A, 1, 2, NULL, 0);
    kit_expect(&k, A, 2, 2, 0);
    kit_pass(&k, 50 * KIT_S);
    assert_int_equal(waiting(), 1);
    kit_pass(&k, 11 * KIT_S);
    assert_int_equal(waiting(), 0);
}

static void test_time_wait_rst_ends_it(void **state)
{
    (void)state;
    time_wait();
    kit_inject(&k, R, 2, 0, NULL, 0);
    assert_int_equal(waiting(), 0);
}

/* RFC 6191: beyond what was used, a new connection begins, beyond what we used. */
static void test_time_wait_new_syn_reuses_the_port(void **state)
{
    (void)state;
    uint32_t former = k.irs;
    time_wait();
    k.iss += 100; /* its numbers grew */
    memset(&k.app, 0, sizeof(k.app));
    kit_passive(&k);
    assert_true((int32_t)(k.irs - former) > 0);
    assert_int_equal(stats()->time_wait_reused, 1);
    kit_inject_bytes(&k, A, 1, 1, 10);
    uint32_t at = 1;
    assert_int_equal(kit_read(&k, &at, 100), 10);
}

static void test_time_wait_old_syn_does_not(void **state)
{
    (void)state;
    time_wait();
    kit_inject(&k, S, 0, 0, NULL, 0); /* the SYN of the old connection again */
    kit_expect(&k, A, 2, 2, 0);
    assert_int_equal(stats()->time_wait_reused, 0);
    assert_int_equal(waiting(), 1);
}

static void test_time_wait_timestamps_tell_a_new_syn(void **state)
{
    (void)state;
    kit_fini(&k);
    kit_init(&k);
    k.config.no_timestamps = false;
    k.ts = true;
    k.ts_val = 1000;
    kit_start(&k);
    kit_passive(&k);
    time_wait();
    k.iss -= 5000; /* numbers before the old ones, but later */
    k.ts_val = 1000;
    kit_inject(&k, S, 0, 0, NULL, 0);
    assert_int_equal(stats()->time_wait_reused, 0);
    kit_drain(&k);
    k.ts_val = 1001;
    memset(&k.app, 0, sizeof(k.app));
    kit_passive(&k);
    assert_int_equal(stats()->time_wait_reused, 1);
}

static void test_time_wait_gives_way_when_there_are_too_many(void **state)
{
    (void)state;
    kit_fini(&k);
    kit_init(&k);
    k.config.time_wait_max = 1;
    kit_start(&k);
    kit_passive(&k);
    time_wait();
    k.peer_port++;
    memset(&k.app, 0, sizeof(k.app));
    kit_passive(&k);
    assert_int_equal(stats()->time_wait_recycled, 0);
    time_wait();
    assert_int_equal(stats()->time_wait_recycled, 1);
}

/* One whose owner closed it long after it ended is in order with those that came since. */
static void test_time_wait_closed_late_waits_with_the_others(void **state)
{
    (void)state;
    assert_int_equal(dk_tcp_shutdown(k.app.conn, k.now), 0);
    kit_expect(&k, F | A, 1, 1, 0);
    kit_inject(&k, F | A, 1, 2, NULL, 0);
    kit_expect(&k, A, 2, 2, 0);
    assert_int_equal(kit_state(&k), DK_TCP_TIME_WAIT);
    struct kit_app late = k.app;
    const uint16_t port = k.peer_port++;
    memset(&k.app, 0, sizeof(k.app));
    kit_pass(&k, 30 * KIT_S);
    kit_passive(&k);
    close_it();
    kit_expect(&k, F | A, 1, 1, 0);
    kit_inject(&k, F | A, 1, 2, NULL, 0);
    kit_expect(&k, A, 2, 2, 0);
    k.app = late;
    k.peer_port = port;
    close_it();
    assert_int_equal(waiting(), 2);
    assert_true(dk_tcp_all_valid(k.tcp));
    kit_pass(&k, 59 * KIT_S);
    assert_int_equal(waiting(), 2);
    kit_pass(&k, 2 * KIT_S);
    assert_int_equal(waiting(), 0);
}

/* Our own connection from the same port, after a while, told apart by timestamps. */
static void test_connect_reuses_time_wait(void **state)
{
    (void)state;
    kit_fini(&k);
    kit_init(&k);
    k.config.no_timestamps = false;
    k.ts = true;
    kit_start(&k);
    kit_active(&k);
    uint32_t former = k.irs;
    close_it();
    kit_expect(&k, F | A, 1, 1, 0);
    kit_inject(&k, F | A, 1, 2, NULL, 0);
    kit_expect(&k, A, 2, 2, 0);
    struct dk_endpoint local = {.port = k.port}, remote = {k.peer_ip, k.peer_port};
    struct kit_app app = {0};
    assert_int_equal(dk_tcp_connect(k.tcp, &app.conn, &local, &remote, NULL, &kit_ops, &app, k.now),
                     -EADDRINUSE);
    kit_pass(&k, 1001 * KIT_MS);
    assert_int_equal(dk_tcp_connect(k.tcp, &app.conn, &local, &remote, NULL, &kit_ops, &app, k.now),
                     0);
    assert_int_equal(stats()->time_wait_reused, 1);
    kit_expect(&k, S, 0, 0, 0);
    assert_true((int32_t)(k.irs - former) > 65535);
}

static void test_fin_wait_2_without_owner_times_out(void **state)
{
    (void)state;
    close_it();
    kit_expect(&k, F | A, 1, 1, 0);
    kit_inject(&k, A, 1, 2, NULL, 0);
    assert_int_equal(k.app.closed, 1); /* all was acknowledged */
    assert_int_equal(k.tcp->conns.used, 1);
    kit_pass(&k, 61 * KIT_S);
    assert_int_equal(k.tcp->conns.used, 0);
    kit_expect_none(&k);
}

static void test_fin_wait_2_with_owner_waits_for_the_peer(void **state)
{
    (void)state;
    dk_tcp_shutdown(k.app.conn, k.now);
    kit_expect(&k, F | A, 1, 1, 0);
    kit_inject(&k, A, 1, 2, NULL, 0);
    kit_pass(&k, 3600 * KIT_S);
    assert_int_equal(kit_state(&k), DK_TCP_FIN_WAIT_2);
    close_it();
    kit_pass(&k, 61 * KIT_S);
    assert_gone();
}

/* RFC 9293 section 3.6.1: who closes with bytes unread resets. */
static void test_close_with_unread_bytes_resets(void **state)
{
    (void)state;
    kit_inject_bytes(&k, A, 1, 1, 10);
    close_it();
    kit_expect(&k, R | A, 1, 11, 0);
    assert_gone();
}

static void test_data_after_close_is_reset(void **state)
{
    (void)state;
    close_it();
    kit_expect(&k, F | A, 1, 1, 0);
    kit_inject_bytes(&k, A, 1, 1, 10);
    kit_expect(&k, R | A, 2, 1, 0);
    assert_int_equal(stats()->drop_after_close, 1);
    assert_gone();
}

static void test_close_sends_what_was_pushed_first(void **state)
{
    (void)state;
    kit_fini(&k);
    kit_init(&k);
    kit_start(&k);
    k.win = 1000;
    kit_passive(&k);
    struct dk_buf *buf = kit_push(&k, 2500, 7);
    close_it();
    kit_expect(&k, A, 1, 1, 1000);
    kit_inject(&k, A, 1, 1001, NULL, 0);
    kit_expect(&k, A, 1001, 1, 1000);
    kit_inject(&k, A, 1, 2001, NULL, 0);
    kit_expect(&k, F | P | A, 2001, 1, 500);
    kit_inject(&k, A, 1, 2502, NULL, 0);
    assert_int_equal(k.app.num_sent, 1);
    assert_int_equal(k.app.sent_err[0], 0);
    assert_int_equal(k.app.closed, 1);
    dk_buf_put(buf);
}

static void test_abort_resets_and_completes_pushes(void **state)
{
    (void)state;
    struct dk_buf *buf = kit_push(&k, 100, 1);
    struct dk_buf *second = kit_push(&k, 100, 2);
    kit_expect(&k, A | P, 1, 1, 100);
    dk_tcp_abort(k.app.conn, k.now);
    assert_int_equal(k.app.closed, 0); /* no callback from inside a call */
    kit_tell(&k);
    kit_expect(&k, R | A, 101, 1, 0);
    assert_int_equal(k.app.num_sent, 2);
    assert_ptr_equal(k.app.sent[0], (void *)1);
    assert_int_equal(k.app.sent_err[0], -ECANCELED);
    assert_int_equal(k.app.sent_err[1], -ECANCELED);
    assert_gone();
    dk_buf_put(buf);
    dk_buf_put(second);
}

static void test_abort_after_close(void **state)
{
    (void)state;
    close_it();
    kit_expect(&k, F | A, 1, 1, 0);
    dk_tcp_abort(k.app.conn, k.now);
    kit_tell(&k);
    kit_expect(&k, R | A, 2, 1, 0);
    assert_gone();
}

static void test_reset_by_peer_is_told_after_the_data(void **state)
{
    (void)state;
    struct dk_buf *buf = kit_push(&k, 100, 1);
    kit_drain(&k);
    kit_inject_bytes(&k, A, 1, 1, 10);
    kit_inject(&k, R, 11, 0, NULL, 0);
    assert_int_equal(k.app.failed, 1);
    assert_int_equal(k.app.fail_err, -ECONNRESET);
    assert_int_equal(k.app.sent_err[0], -ECONNRESET);
    uint32_t at = 1;
    assert_int_equal(kit_read(&k, &at, 100), 10);
    assert_int_equal(receive(), -ECONNRESET);
    struct dk_tx_piece piece = {(const uint8_t *)"x", 1, NULL};
    assert_int_equal(dk_tcp_send(k.app.conn, &piece, 1, 0, NULL, k.now), -ECONNRESET);
    close_it();
    assert_gone();
    dk_buf_put(buf);
}

/* RFC 5961 section 3. */
static void test_rst_must_be_exact(void **state)
{
    (void)state;
    kit_inject(&k, R, 2, 0, NULL, 0); /* in the window */
    kit_expect(&k, A, 1, 1, 0);
    kit_inject(&k, R, 65535, 0, NULL, 0); /* its last number */
    kit_expect(&k, A, 1, 1, 0);
    kit_inject(&k, R, 65536, 0, NULL, 0); /* outside */
    kit_inject(&k, R, 0, 0, NULL, 0);
    kit_inject(&k, R, 70000, 0, NULL, 0);
    kit_expect_none(&k);
    assert_int_equal(k.app.failed, 0);
    assert_int_equal(stats()->challenge_acks, 2);
    assert_int_equal(stats()->drop_rst_inexact, 3);
    kit_inject(&k, R, 1, 0, NULL, 0);
    assert_int_equal(k.app.failed, 1);
}

/* RFC 5961 section 4. */
static void test_syn_in_a_connection_is_challenged(void **state)
{
    (void)state;
    kit_inject(&k, S, 100, 0, NULL, 0);
    kit_expect(&k, A, 1, 1, 0);
    kit_inject(&k, S, 0, 0, NULL, 0);
    kit_expect(&k, A, 1, 1, 0);
    kit_inject(&k, S | A, 1, 1, NULL, 0);
    kit_expect(&k, A, 1, 1, 0);
    assert_int_equal(k.app.failed, 0);
}

/* RFC 5961 section 7. */
static void test_challenges_are_limited(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++)
        kit_inject(&k, R, 2, 0, NULL, 0);
    assert_int_equal(kit_drain(&k), 8);
    kit_pass(&k, KIT_S);
    kit_inject(&k, R, 2, 0, NULL, 0);
    kit_expect(&k, A, 1, 1, 0);
}

static void test_peer_gone_is_etimedout(void **state)
{
    (void)state;
    struct dk_buf *buf = kit_push(&k, 100, 1);
    kit_pass(&k, 1200 * KIT_S);
    assert_int_equal(k.app.failed, 1);
    assert_int_equal(k.app.fail_err, -ETIMEDOUT);
    assert_int_equal(k.app.num_sent, 1); /* its memory came back long before */
    assert_int_equal(k.app.sent_err[0], 0);
    assert_int_equal(kit_drain(&k), 16);
    dk_buf_put(buf);
}

/* RFC 5482. */
static void test_user_timeout_is_kept(void **state)
{
    (void)state;
    assert_int_equal(dk_tcp_set_option(k.app.conn, DK_TCP_USER_TIMEOUT, 5 * KIT_S, k.now), 0);
    kit_write(&k, 100);
    kit_pass(&k, 4990 * KIT_MS);
    assert_int_equal(k.app.failed, 0);
    kit_pass(&k, 20 * KIT_MS);
    assert_int_equal(k.app.fail_err, -ETIMEDOUT);
}

static void test_user_timeout_set_late_is_kept_too(void **state)
{
    (void)state;
    kit_write(&k, 100);
    kit_pass(&k, 10 * KIT_S);
    assert_int_equal(dk_tcp_set_option(k.app.conn, DK_TCP_USER_TIMEOUT, 11 * KIT_S, k.now), 0);
    kit_pass(&k, 990 * KIT_MS);
    assert_int_equal(k.app.failed, 0);
    kit_pass(&k, 20 * KIT_MS);
    assert_int_equal(k.app.fail_err, -ETIMEDOUT);
    kit_drain(&k);
}

static void test_shutdown_is_refused_without_connection(void **state)
{
    (void)state;
    kit_inject(&k, R, 1, 0, NULL, 0);
    assert_int_equal(dk_tcp_shutdown(k.app.conn, k.now), -ENOTCONN);
}

static void test_close_before_established_is_silent(void **state)
{
    (void)state;
    struct kit_app app = {0};
    struct dk_endpoint local = {0}, remote = {k.peer_ip, 9};
    assert_int_equal(dk_tcp_connect(k.tcp, &app.conn, &local, &remote, NULL, &kit_ops, &app, k.now),
                     0);
    kit_drain(&k);
    dk_tcp_close(app.conn, k.now);
    kit_tell(&k);
    assert_int_equal(app.closed, 1);
    assert_int_equal(app.connected, 0);
    kit_pass(&k, 10 * KIT_S);
    kit_expect_none(&k);
}

static void test_no_room_for_fin_puts_it_off(void **state)
{
    (void)state;
    k.host->no_room = true;
    close_it();
    kit_expect_none(&k);
    k.host->no_room = false;
    dk_tcp_tx_room(&k.host->net, k.now);
    kit_expect(&k, F | A, 1, 1, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_active_close_passes_fin_wait_and_time_wait),
        TEST(test_passive_close_passes_close_wait_and_last_ack),
        TEST(test_simultaneous_close_passes_closing),
        TEST(test_fin_wait_1_fin_with_ack_of_ours_is_time_wait),
        TEST(test_fin_is_retransmitted_in_fin_wait_1),
        TEST(test_fin_is_retransmitted_in_closing_and_last_ack),
        TEST(test_last_ack_peer_gone_ends),
        TEST(test_data_and_fin_lost_go_again_together),
        TEST(test_fin_before_its_data_waits),
        TEST(test_bare_fin_out_of_order_waits),
        TEST(test_data_behind_fin_is_ignored),
        TEST(test_fin_within_received_data_is_ignored),
        TEST(test_fin_again_is_acknowledged_again),
        TEST(test_time_wait_fin_restarts_it),
        TEST(test_time_wait_rst_ends_it),
        TEST(test_time_wait_new_syn_reuses_the_port),
        TEST(test_time_wait_old_syn_does_not),
        TEST(test_time_wait_timestamps_tell_a_new_syn),
        TEST(test_time_wait_gives_way_when_there_are_too_many),
        TEST(test_time_wait_closed_late_waits_with_the_others),
        TEST(test_connect_reuses_time_wait),
        TEST(test_fin_wait_2_without_owner_times_out),
        TEST(test_fin_wait_2_with_owner_waits_for_the_peer),
        TEST(test_close_with_unread_bytes_resets),
        TEST(test_data_after_close_is_reset),
        TEST(test_close_sends_what_was_pushed_first),
        TEST(test_abort_resets_and_completes_pushes),
        TEST(test_abort_after_close),
        TEST(test_reset_by_peer_is_told_after_the_data),
        TEST(test_rst_must_be_exact),
        TEST(test_syn_in_a_connection_is_challenged),
        TEST(test_challenges_are_limited),
        TEST(test_peer_gone_is_etimedout),
        TEST(test_user_timeout_is_kept),
        TEST(test_user_timeout_set_late_is_kept_too),
        TEST(test_shutdown_is_refused_without_connection),
        TEST(test_close_before_established_is_silent),
        TEST(test_no_room_for_fin_puts_it_off),
    };
    return cmocka_run_group_tests_name("tcp_close", tests, NULL, NULL);
}
