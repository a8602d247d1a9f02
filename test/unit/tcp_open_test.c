/* SPDX-License-Identifier: MIT */
/*
 * How connections begin: handshakes, listeners, what arrives where nothing listens.
 */
#include "tcp_kit.h"

#include "net/tcp/rcvq.h"

#include <stdlib.h>
#include <string.h>

static struct kit k;

static int setup(void **state)
{
    (void)state;
    kit_init(&k);
    kit_start(&k);
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

static void connect_to(uint16_t local_port)
{
    struct dk_endpoint local = {.port = local_port}, remote = {k.peer_ip, k.peer_port};
    assert_int_equal(
        dk_tcp_connect(k.tcp, &k.app.conn, &local, &remote, NULL, &kit_ops, &k.app, k.now), 0);
    k.port = k.app.conn->local_port;
}

/* RFC 9293 section 3.10.7.1. */
static void test_closed_segments_are_answered_by_rst(void **state)
{
    (void)state;
    kit_inject(&k, S, 0, 0, NULL, 0);
    kit_expect(&k, R | A, 0 - k.irs, 1, 0);
    kit_inject(&k, A, 5, 77, NULL, 0);
    kit_expect(&k, R, 77, 0, 0);
    kit_inject_bytes(&k, F, 5, 0, 10);
    kit_expect(&k, R | A, 0 - k.irs, 16, 0);
    kit_inject(&k, R, 5, 0, NULL, 0);
    kit_inject(&k, R | A, 5, 9, NULL, 0);
    kit_expect_none(&k);
    assert_int_equal(stats()->drop_no_connection, 5);
}

static void test_malformed_segments_are_counted(void **state)
{
    (void)state;
    struct kit_packet p = {.src = k.peer_ip, .dst = k.host->ip, .buf = dk_buf_alloc(40, 0)};
    memset(p.buf->data, 0, 40);
    p.len = 19;
    kit_host_give(k.host, &p, k.now);
    assert_int_equal(stats()->drop_truncated, 1);
    p.len = 40;
    kit_host_give(k.host, &p, k.now);
    assert_int_equal(stats()->drop_checksum, 1);
    p.dst.bytes[0] = 224;
    kit_host_give(k.host, &p, k.now);
    assert_int_equal(stats()->drop_address, 1);
    dk_buf_put(p.buf);
    uint16_t port = k.peer_port;
    k.peer_port = 0;
    kit_inject(&k, S, 0, 0, NULL, 0);
    assert_int_equal(stats()->drop_port_zero, 1);
    k.peer_port = port;
    kit_expect_none(&k);
}

static void test_listen_ack_is_reset_other_flags_are_dropped(void **state)
{
    (void)state;
    kit_listen(&k, 1);
    kit_inject(&k, A, 1, 500, NULL, 0);
    kit_expect(&k, R, 500, 0, 0);
    kit_inject(&k, R, 1, 0, NULL, 0);
    kit_inject(&k, 0, 1, 0, NULL, 0);
    kit_inject(&k, F, 1, 0, NULL, 0);
    kit_inject(&k, S | F, 1, 0, NULL, 0);
    kit_expect_none(&k);
    assert_int_equal(stats()->drop_listen_flags, 5);
}

static void test_passive_open_is_accepted(void **state)
{
    (void)state;
    kit_passive(&k);
    assert_int_equal(k.acceptable, 1);
    kit_inject_bytes(&k, A, 1, 1, 100);
    assert_int_equal(k.app.readable, 1);
    uint32_t at = 1;
    assert_int_equal(kit_read(&k, &at, 1000), 100);
}

static void test_data_with_the_handshakes_ack_is_kept(void **state)
{
    (void)state;
    kit_listen(&k, 1);
    kit_inject(&k, S, 0, 0, NULL, 0);
    kit_expect(&k, S | A, 0, 1, 0);
    kit_inject_bytes(&k, A | P, 1, 1, 100);
    kit_inject_bytes(&k, A | F, 101, 1, 10);
    kit_expect(&k, A, 1, 112, 0);
    assert_int_equal(dk_tcp_accept(k.listener, &k.app.conn, &kit_ops, &k.app), 0);
    kit_tell(&k);
    assert_int_equal(k.app.readable, 1);
    assert_int_equal(k.app.peer_closed, 1);
    uint32_t at = 1;
    assert_int_equal(kit_read(&k, &at, 1000), 110);
    struct dk_buf *buf;
    assert_int_equal(dk_tcp_recv(k.app.conn, &buf, 1, 100, k.now), 0);
}

static void test_syn_received_rst_returns_to_listen(void **state)
{
    (void)state;
    kit_listen(&k, 1);
    kit_inject(&k, S, 0, 0, NULL, 0);
    kit_expect(&k, S | A, 0, 1, 0);
    kit_inject(&k, R, 1, 0, NULL, 0);
    assert_int_equal(k.tcp->num_half_open, 0);
    assert_int_equal(k.tcp->conns.used, 0);
    kit_pass(&k, 10 * KIT_S);
    kit_expect_none(&k);
}

static void test_syn_received_bad_ack_is_reset(void **state)
{
    (void)state;
    kit_listen(&k, 1);
    kit_inject(&k, S, 0, 0, NULL, 0);
    kit_expect(&k, S | A, 0, 1, 0);
    kit_inject(&k, A, 1, 5, NULL, 0);
    kit_expect(&k, R, 5, 0, 0);
    assert_int_equal(k.tcp->num_half_open, 1);
    kit_inject(&k, A, 1, 1, NULL, 0);
    assert_int_equal(dk_tcp_accept(k.listener, &k.app.conn, &kit_ops, &k.app), 0);
}

static void test_syn_received_syn_again_is_answered_again(void **state)
{
    (void)state;
    kit_listen(&k, 1);
    kit_inject(&k, S, 0, 0, NULL, 0);
    kit_expect(&k, S | A, 0, 1, 0);
    kit_inject(&k, S, 0, 0, NULL, 0);
    kit_expect(&k, S | A, 0, 1, 0);
    kit_expect_none(&k);
    assert_int_equal(k.tcp->num_half_open, 1);
}

static void test_syn_ack_is_retransmitted_and_given_up(void **state)
{
    (void)state;
    kit_listen(&k, 1);
    kit_inject(&k, S, 0, 0, NULL, 0);
    kit_expect(&k, S | A, 0, 1, 0);
    kit_pass(&k, 999 * KIT_MS);
    kit_expect_none(&k);
    kit_pass(&k, 2 * KIT_MS);
    kit_expect(&k, S | A, 0, 1, 0);
    kit_pass(&k, 2 * KIT_S);
    kit_expect(&k, S | A, 0, 1, 0);
    kit_pass(&k, 300 * KIT_S);
    assert_int_equal(kit_drain(&k), 4);
    assert_int_equal(k.tcp->conns.used, 0);
}

static void test_backlog_0_takes_one_and_the_next_waits(void **state)
{
    (void)state;
    kit_listen(&k, 0);
    struct kit_app second = {0};
    kit_inject(&k, S, 0, 0, NULL, 0);
    kit_expect(&k, S | A, 0, 1, 0);
    uint32_t irs = k.irs;
    k.peer_port++;
    kit_inject(&k, S, 0, 0, NULL, 0);
    kit_expect(&k, S | A, 0, 1, 0);
    uint32_t second_irs = k.irs;
    k.peer_port--;
    k.irs = irs;
    kit_inject(&k, A, 1, 1, NULL, 0);
    k.peer_port++;
    k.irs = second_irs;
    kit_inject(&k, A, 1, 1, NULL, 0); /* no room for it */
    assert_int_equal(stats()->drop_accept_queue_full, 1);
    k.peer_port++;
    kit_inject(&k, S, 0, 0, NULL, 0); /* nor for this */
    assert_int_equal(stats()->drop_accept_queue_full, 2);
    kit_expect_none(&k);
    assert_int_equal(dk_tcp_accept(k.listener, &k.app.conn, &kit_ops, &k.app), 0);
    assert_int_equal(dk_tcp_accept(k.listener, &second.conn, &kit_ops, &second), -EAGAIN);
    k.peer_port--;
    kit_pass(&k, 1100 * KIT_MS); /* our SYN,ACK again, and the peer's answer */
    kit_expect(&k, S | A, 0, 1, 0);
    kit_inject(&k, A, 1, 1, NULL, 0);
    assert_int_equal(dk_tcp_accept(k.listener, &second.conn, &kit_ops, &second), 0);
    assert_int_equal(k.acceptable, 2);
}

static void test_close_of_listener_resets_unaccepted(void **state)
{
    (void)state;
    kit_listen(&k, 3);
    kit_inject(&k, S, 0, 0, NULL, 0);
    kit_expect(&k, S | A, 0, 1, 0);
    kit_inject(&k, A, 1, 1, NULL, 0);
    uint32_t irs = k.irs;
    k.peer_port++;
    kit_inject(&k, S, 0, 0, NULL, 0);
    kit_expect(&k, S | A, 0, 1, 0);
    dk_tcp_listen_close(k.listener, k.now);
    k.listener = NULL;
    uint32_t half_open = k.irs;
    k.irs = irs;
    kit_expect(&k, R | A, 1, 1, 0);
    k.irs = half_open;
    kit_expect(&k, R | A, 1, 1, 0);
    kit_expect_none(&k);
    assert_int_equal(k.tcp->conns.used, 0);
    kit_pass(&k, 10 * KIT_S);
    kit_expect_none(&k);
}

static void test_reset_of_unaccepted_leaves_the_queue(void **state)
{
    (void)state;
    kit_listen(&k, 3);
    kit_inject(&k, S, 0, 0, NULL, 0);
    kit_expect(&k, S | A, 0, 1, 0);
    kit_inject(&k, A, 1, 1, NULL, 0);
    kit_inject(&k, R, 1, 0, NULL, 0);
    assert_int_equal(dk_tcp_accept(k.listener, &k.app.conn, &kit_ops, &k.app), -EAGAIN);
    assert_int_equal(k.tcp->conns.used, 0);
}

static void flood(void)
{
    for (int i = 0; i < 10000; i++) {
        k.peer_port = (uint16_t)(10000 + i);
        kit_inject(&k, S, 0, 0, NULL, 0);
        kit_drain(&k);
    }
}

/* RFC 4987 section 3.6: a flood is bounded, and a peer that is real gets in by its first SYN. */
static void test_syn_flood_is_answered_with_cookies(void **state)
{
    (void)state;
    kit_listen(&k, 8);
    uint16_t real = k.peer_port;
    flood();
    assert_int_equal(k.tcp->num_half_open, 128);
    assert_int_equal(k.tcp->conns.used, 128);
    assert_int_equal(stats()->half_open_replaced, 0);
    assert_int_equal(stats()->syn_cookies_sent, 10000 - 128);
    k.peer_port = real;
    kit_inject(&k, S, 0, 0, NULL, 0);
    kit_expect(&k, S | A, 0, 1, 0);
    kit_inject(&k, A, 1, 1, NULL, 0);
    assert_int_equal(dk_tcp_accept(k.listener, &k.app.conn, &kit_ops, &k.app), 0);
    assert_int_equal(k.tcp->num_half_open, 128);
}

/* Without cookies a peer that is real gets in by its second SYN. */
static void test_syn_flood_replaces_the_oldest(void **state)
{
    (void)state;
    kit_listen(&k, 8);
    k.tcp->config.syn_cookies = DK_TCP_SYN_COOKIES_NEVER;
    kit_inject(&k, S, 0, 0, NULL, 0);
    kit_expect(&k, S | A, 0, 1, 0);
    uint16_t real = k.peer_port;
    flood();
    assert_int_equal(k.tcp->num_half_open, 128);
    assert_int_equal(stats()->half_open_replaced, 10001 - 128);
    k.peer_port = real;
    kit_inject(&k, S, 0, 0, NULL, 0);
    kit_expect(&k, S | A, 0, 1, 0);
    kit_inject(&k, A, 1, 1, NULL, 0);
    assert_int_equal(dk_tcp_accept(k.listener, &k.app.conn, &kit_ops, &k.app), 0);
}

static void test_connect_is_established(void **state)
{
    (void)state;
    kit_active(&k);
    assert_int_equal(kit_state(&k), DK_TCP_ESTABLISHED);
    assert_int_equal(stats()->connects, 1);
}

static void test_connect_refused(void **state)
{
    (void)state;
    connect_to(0);
    kit_expect(&k, S, 0, 0, 0);
    kit_inject(&k, R | A, 0, 1, NULL, 0);
    assert_int_equal(k.app.connected, 1);
    assert_int_equal(k.app.connect_err, -ECONNREFUSED);
    assert_int_equal(k.app.failed, 0);
    struct dk_buf *buf;
    assert_int_equal(dk_tcp_recv(k.app.conn, &buf, 1, 1, k.now), -ECONNREFUSED);
    dk_tcp_close(k.app.conn, k.now);
    kit_tell(&k);
    assert_int_equal(k.app.closed, 1);
    assert_int_equal(k.tcp->conns.used, 0);
    kit_expect_none(&k);
}

static void test_syn_sent_wrong_answers_change_nothing(void **state)
{
    (void)state;
    connect_to(0);
    kit_expect(&k, S, 0, 0, 0);
    kit_inject(&k, R | A, 0, 5, NULL, 0); /* RST of something else */
    kit_inject(&k, R, 0, 0, NULL, 0);
    kit_inject(&k, A | R, 0, 0, NULL, 0);
    kit_expect_none(&k);
    kit_inject(&k, S | A, 0, 2, NULL, 0); /* of an old connection: half-open, section 3.5.1 */
    kit_expect(&k, R, 2, 0, 0);
    kit_inject(&k, A, 0, 0, NULL, 0);
    kit_expect(&k, R, 0, 0, 0);
    kit_inject(&k, A, 0, 1, NULL, 0);
    kit_expect_none(&k);
    assert_int_equal(k.app.connected, 0);
    kit_inject(&k, S | A, 0, 1, NULL, 0);
    kit_expect(&k, A, 1, 1, 0);
    assert_int_equal(k.app.connected, 1);
}

static void test_connect_nobody_answers_times_out(void **state)
{
    (void)state;
    connect_to(0);
    kit_expect(&k, S, 0, 0, 0);
    kit_pass(&k, 1001 * KIT_MS);
    kit_expect(&k, S, 0, 0, 0);
    kit_pass(&k, 200 * KIT_S);
    assert_int_equal(kit_drain(&k), 5);
    assert_int_equal(k.app.connect_err, -ETIMEDOUT);
    assert_int_equal(stats()->timeouts, 1);
}

static void test_connect_neighbour_is_silent(void **state)
{
    (void)state;
    connect_to(0);
    kit_expect(&k, S, 0, 0, 0);
    k.host->send_err = -EHOSTUNREACH;
    kit_pass(&k, 1001 * KIT_MS);
    assert_int_equal(k.app.connect_err, -EHOSTUNREACH);
}

/* RFC 9293 section 3.5, figure 7. */
static void test_simultaneous_open(void **state)
{
    (void)state;
    connect_to(0);
    kit_expect(&k, S, 0, 0, 0);
    kit_inject(&k, S, 0, 0, NULL, 0);
    assert_int_equal(kit_state(&k), DK_TCP_SYN_RECEIVED);
    kit_expect(&k, S | A, 0, 1, 0);
    kit_inject(&k, S | A, 0, 1, NULL, 0);
    assert_int_equal(kit_state(&k), DK_TCP_ESTABLISHED);
    assert_int_equal(k.app.connected, 1);
    kit_drain(&k);
    kit_inject_bytes(&k, A, 1, 1, 10);
    uint32_t at = 1;
    assert_int_equal(kit_read(&k, &at, 100), 10);
}

static void test_simultaneous_open_syn_ack_lost(void **state)
{
    (void)state;
    connect_to(0);
    kit_expect(&k, S, 0, 0, 0);
    kit_inject(&k, S, 0, 0, NULL, 0);
    kit_expect(&k, S | A, 0, 1, 0);
    kit_pass(&k, 1100 * KIT_MS);
    kit_expect(&k, S | A, 0, 1, 0);
    kit_inject(&k, A, 1, 1, NULL, 0);
    assert_int_equal(kit_state(&k), DK_TCP_ESTABLISHED);
}

static void test_push_before_established_follows_the_handshake(void **state)
{
    (void)state;
    connect_to(0);
    kit_expect(&k, S, 0, 0, 0);
    kit_write(&k, 10);
    struct dk_buf *buf = kit_push(&k, 5000, 1);
    kit_expect_none(&k);
    kit_inject(&k, S | A, 0, 1, NULL, 0);
    kit_expect(&k, A, 1, 1, 1460);
    for (uint32_t i = 0; i < 1460; i++)
        assert_int_equal(kit_payload[i], kit_byte(1 + i));
    kit_expect(&k, A, 1461, 1, 1460);
    kit_expect(&k, A, 2921, 1, 1460);
    kit_expect(&k, A | P, 4381, 1, 630);
    kit_inject(&k, A, 1, 5011, NULL, 0);
    assert_int_equal(k.app.num_sent, 1);
    dk_buf_put(buf);
}

static void test_syn_options_are_negotiated(void **state)
{
    (void)state;
    k.tcp->config.no_timestamps = false;
    k.syn_opt = (struct dk_tcp_options){.has = DK_TCP_HAS_MSS | DK_TCP_HAS_WINDOW_SCALE |
                                               DK_TCP_HAS_TIMESTAMPS,
                                        .mss = 1000,
                                        .window_scale = 14,
                                        .ts_val = 42};
    kit_listen(&k, 1);
    kit_inject(&k, S, 0, 0, NULL, 0);
    struct dk_tcp_header h = kit_expect(&k, S | A, 0, 1, 0);
    assert_int_equal(h.options.mss, 1460);
    assert_true(h.options.has & DK_TCP_HAS_WINDOW_SCALE);
    assert_int_equal(h.options.window_scale, 3); /* of 256 KiB */
    assert_true(h.options.has & DK_TCP_HAS_TIMESTAMPS);
    assert_int_equal(h.options.ts_ecr, 42);
    assert_int_equal(h.window, 65535);
    k.ts = true;
    k.ts_val = 43;
    k.win = 100;
    kit_inject(&k, A, 1, 1, NULL, 0);
    assert_int_equal(dk_tcp_accept(k.listener, &k.app.conn, &kit_ops, &k.app), 0);
    assert_int_equal(k.app.conn->snd_mss, 1000 - 12);
    assert_int_equal(k.app.conn->snd_wnd, 100 << 14);
    kit_write(&k, 5);
    h = kit_expect(&k, A | P, 1, 1, 5);
    assert_int_equal(h.options.ts_ecr, 43);
}

static void test_options_that_are_not_offered_are_not_answered(void **state)
{
    (void)state;
    k.tcp->config.no_timestamps = false;
    k.syn_opt = (struct dk_tcp_options){0};
    kit_listen(&k, 1);
    kit_inject(&k, S, 0, 0, NULL, 0);
    struct dk_tcp_header h = kit_expect(&k, S | A, 0, 1, 0);
    assert_int_equal(h.options.has, DK_TCP_HAS_MSS);
    kit_inject(&k, A, 1, 1, NULL, 0);
    assert_int_equal(dk_tcp_accept(k.listener, &k.app.conn, &kit_ops, &k.app), 0);
    assert_int_equal(k.app.conn->snd_mss, 536); /* MUST-15 */
    kit_write(&k, 600);
    h = kit_expect(&k, A, 1, 1, 536);
    assert_int_equal(h.options.has, 0);
}

static void test_window_scales_follow_the_buffer(void **state)
{
    (void)state;
    static const struct {
        int64_t buffer;
        uint8_t scale;
    } cases[] = {{1, 0},      {65535, 0},   {65536, 1},    {131070, 1},
                 {131071, 2}, {1 << 20, 5}, {1 << 29, 14}, {(int64_t)65535 << 14, 14}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(dk_tcp_rcv_scale(cases[i].buffer), cases[i].scale);
}

/* RFC 6528: the same ends get numbers that grow with time, other ends others. */
static void test_isn_is_keyed_and_grows(void **state)
{
    (void)state;
    connect_to(5000);
    uint64_t first = k.app.conn->iss;
    dk_tcp_abort(k.app.conn, k.now);
    kit_tell(&k);
    k.now += KIT_S;
    connect_to(5000);
    assert_int_equal((uint32_t)(k.app.conn->iss - first), 250000);
    dk_tcp_abort(k.app.conn, k.now);
    kit_tell(&k);
    connect_to(5001);
    assert_int_not_equal((uint32_t)(k.app.conn->iss - first), 250000);
}

static void test_ephemeral_ports_are_in_range_and_not_in_order(void **state)
{
    (void)state;
    static struct kit_app apps[200];
    uint32_t steps = 0, last = 0;
    for (int i = 0; i < 200; i++) {
        struct dk_endpoint local = {0}, remote = {k.peer_ip, (uint16_t)(1 + i)};
        memset(&apps[i], 0, sizeof(apps[i]));
        assert_int_equal(
            dk_tcp_connect(k.tcp, &apps[i].conn, &local, &remote, NULL, &kit_ops, &apps[i], k.now),
            0);
        uint32_t port = apps[i].conn->local_port;
        assert_in_range(port, 32768, 60999);
        steps += port == last + 1;
        last = port;
    }
    assert_true(steps < 5);
}

static void test_ephemeral_ports_run_out(void **state)
{
    (void)state;
    k.tcp->config.port_first = 40000;
    k.tcp->config.port_last = 40009;
    static struct kit_app apps[11];
    struct dk_endpoint local = {0}, remote = {k.peer_ip, 99};
    for (int i = 0; i < 11; i++) {
        int err =
            dk_tcp_connect(k.tcp, &apps[i].conn, &local, &remote, NULL, &kit_ops, &apps[i], k.now);
        assert_int_equal(err, i < 10 ? 0 : -EADDRNOTAVAIL);
    }
    remote.port++; /* another end: the same ports again */
    assert_int_equal(
        dk_tcp_connect(k.tcp, &apps[10].conn, &local, &remote, NULL, &kit_ops, &apps[10], k.now),
        0);
}

/* A port that would connect a host with itself is passed over. */
static void test_ephemeral_port_is_not_the_remote_one(void **state)
{
    (void)state;
    k.tcp->config.port_first = 40000;
    k.tcp->config.port_last = 40001;
    struct dk_endpoint local = {0}, remote = {k.host->ip, 40000};
    assert_int_equal(
        dk_tcp_connect(k.tcp, &k.app.conn, &local, &remote, NULL, &kit_ops, &k.app, k.now), 0);
    assert_int_equal(k.app.conn->local_port, 40001);
}

static void test_connect_arguments(void **state)
{
    (void)state;
    struct kit_app app;
    struct dk_endpoint local = {0}, remote = {k.peer_ip, 0};
    assert_int_equal(dk_tcp_connect(k.tcp, &app.conn, &local, &remote, NULL, &kit_ops, &app, k.now),
                     -EINVAL);
    remote.port = 5;
    remote.ip.bytes[0] = 239;
    assert_int_equal(dk_tcp_connect(k.tcp, &app.conn, &local, &remote, NULL, &kit_ops, &app, k.now),
                     -EINVAL);
    remote.ip = kit_ip4(250);
    assert_int_equal(dk_tcp_connect(k.tcp, &app.conn, &local, &remote, NULL, &kit_ops, &app, k.now),
                     -ENETUNREACH);
    connect_to(5000);
    remote = (struct dk_endpoint){k.peer_ip, k.peer_port};
    local.port = 5000;
    assert_int_equal(dk_tcp_connect(k.tcp, &app.conn, &local, &remote, NULL, &kit_ops, &app, k.now),
                     -EADDRINUSE);
}

static void test_bind_keeps_ports_apart(void **state)
{
    (void)state;
    struct dk_endpoint any = {.port = 80}, own = {k.host->ip, 80}, free_port = {0};
    assert_int_equal(dk_tcp_bind(k.tcp, &any, 0), 0);
    assert_int_equal(dk_tcp_bind(k.tcp, &own, 0), -EADDRINUSE);
    dk_tcp_unbind(k.tcp, &any);
    assert_int_equal(dk_tcp_bind(k.tcp, &own, 0), 0);
    dk_tcp_unbind(k.tcp, &own);
    assert_int_equal(dk_tcp_bind(k.tcp, &free_port, 0), 0);
    assert_in_range(free_port.port, 32768, 60999);
    kit_passive(&k);
    dk_tcp_listen_close(k.listener, k.now);
    assert_int_equal(dk_tcp_bind(k.tcp, &any, 0), -EADDRINUSE); /* its connection is there */
    assert_int_equal(dk_tcp_bind(k.tcp, &any, DK_TCP_BIND_REUSE), 0);
}

static void test_bind_of_any_port_ends_when_all_are_used(void **state)
{
    (void)state;
    k.tcp->config.port_first = 40000;
    k.tcp->config.port_last = 40009;
    connect_to(40003);
    bool seen[10] = {false};
    for (int i = 0; i < 10; i++) {
        struct dk_endpoint local = {.port = 0};
        int err = dk_tcp_bind(k.tcp, &local, 0);
        assert_int_equal(err, i < 9 ? 0 : -EADDRNOTAVAIL);
        if (err)
            continue;
        assert_in_range(local.port, 40000, 40009);
        assert_false(seen[local.port - 40000]);
        assert_int_not_equal(local.port, 40003);
        seen[local.port - 40000] = true;
    }
}

/* Scales 0 to 14 with odd buffers, in both roles: what is told is what is taken. */
static void scale_of(uint8_t scale, bool active)
{
    kit_fini(&k);
    kit_init(&k);
    k.config.rcv_buf_bytes = (65535u << scale) - 3;
    k.config.port_first = 80;
    k.config.port_last = 80;
    k.syn_opt.has |= DK_TCP_HAS_WINDOW_SCALE;
    k.syn_opt.window_scale = scale;
    k.win = 3;
    kit_start(&k);
    if (active)
        kit_active(&k);
    else
        kit_passive(&k);
    struct dk_tcp_conn *c = k.app.conn;
    assert_int_equal(c->rcv_wscale, scale);
    assert_int_equal(c->snd_wnd, active ? 3 : 3u << scale); /* that of a SYN is not scaled */
    kit_inject_bytes(&k, A, 1, 1, 1000);
    assert_int_equal(c->snd_wnd, 3u << scale);
    kit_pass(&k, 50 * KIT_MS);
    struct dk_tcp_header h = kit_expect(&k, A, 1, 1001, 0);
    uint64_t edge = 1001 + ((uint64_t)h.window << scale);
    assert_int_equal(c->rcv_adv - c->irs, edge);
    kit_inject_bytes(&k, A, (uint32_t)edge - 10, 1, 10); /* the last bytes of the window */
    assert_int_equal(c->reasm->ranges->end - c->irs, edge);
    kit_inject_bytes(&k, A, (uint32_t)edge, 1, 10); /* and behind it */
    assert_int_equal(c->reasm->num_ranges, 1);
    kit_drain(&k);
}

static void test_window_scales_0_to_14_in_both_roles(void **state)
{
    (void)state;
    for (uint8_t scale = 0; scale <= 14; scale++) {
        scale_of(scale, false);
        scale_of(scale, true);
    }
}

static void test_listener_of_the_address_goes_first(void **state)
{
    (void)state;
    static const struct dk_tcp_listener_ops ops = {0};
    struct dk_endpoint own = {k.host->ip, 80}, any = {.port = 80};
    struct dk_tcp_listener *l;
    assert_int_equal(dk_tcp_listen(k.tcp, &l, &own, 1, &ops, NULL), 0);
    assert_int_equal(dk_tcp_listen(k.tcp, &l, &any, 1, &ops, NULL), -EADDRINUSE);
    any.ip.version = 6; /* all of the other version */
    assert_int_equal(dk_tcp_listen(k.tcp, &l, &any, 1, &ops, NULL), 0);
}

static void test_connections_have_a_limit(void **state)
{
    (void)state;
    kit_fini(&k);
    kit_init(&k);
    k.config.conns_max = 3;
    kit_start(&k);
    kit_listen(&k, 8);
    for (int i = 0; i < 5; i++) {
        k.peer_port++;
        kit_inject(&k, S, 0, 0, NULL, 0);
    }
    assert_int_equal(stats()->drop_no_memory, 2);
    struct kit_app app;
    struct dk_endpoint local = {0}, remote = {k.peer_ip, 9};
    assert_int_equal(dk_tcp_connect(k.tcp, &app.conn, &local, &remote, NULL, &kit_ops, &app, k.now),
                     -ENOBUFS);
}

static void test_no_room_in_the_device_puts_the_syn_off(void **state)
{
    (void)state;
    k.host->no_room = true;
    connect_to(0);
    kit_expect_none(&k);
    k.host->no_room = false;
    dk_tcp_tx_room(&k.host->net, k.now);
    kit_expect(&k, S, 0, 0, 0);
    kit_expect_none(&k);
    assert_int_equal(k.app.conn->retransmits, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_closed_segments_are_answered_by_rst),
        TEST(test_malformed_segments_are_counted),
        TEST(test_listen_ack_is_reset_other_flags_are_dropped),
        TEST(test_passive_open_is_accepted),
        TEST(test_data_with_the_handshakes_ack_is_kept),
        TEST(test_syn_received_rst_returns_to_listen),
        TEST(test_syn_received_bad_ack_is_reset),
        TEST(test_syn_received_syn_again_is_answered_again),
        TEST(test_syn_ack_is_retransmitted_and_given_up),
        TEST(test_backlog_0_takes_one_and_the_next_waits),
        TEST(test_close_of_listener_resets_unaccepted),
        TEST(test_reset_of_unaccepted_leaves_the_queue),
        TEST(test_syn_flood_is_answered_with_cookies),
        TEST(test_syn_flood_replaces_the_oldest),
        TEST(test_connect_is_established),
        TEST(test_connect_refused),
        TEST(test_syn_sent_wrong_answers_change_nothing),
        TEST(test_connect_nobody_answers_times_out),
        TEST(test_connect_neighbour_is_silent),
        TEST(test_simultaneous_open),
        TEST(test_simultaneous_open_syn_ack_lost),
        TEST(test_push_before_established_follows_the_handshake),
        TEST(test_syn_options_are_negotiated),
        TEST(test_options_that_are_not_offered_are_not_answered),
        TEST(test_window_scales_follow_the_buffer),
        TEST(test_isn_is_keyed_and_grows),
        TEST(test_ephemeral_ports_are_in_range_and_not_in_order),
        TEST(test_ephemeral_ports_run_out),
        TEST(test_ephemeral_port_is_not_the_remote_one),
        TEST(test_connect_arguments),
        TEST(test_bind_keeps_ports_apart),
        TEST(test_bind_of_any_port_ends_when_all_are_used),
        TEST(test_window_scales_0_to_14_in_both_roles),
        TEST(test_listener_of_the_address_goes_first),
        TEST(test_connections_have_a_limit),
        TEST(test_no_room_in_the_device_puts_the_syn_off),
    };
    return cmocka_run_group_tests_name("tcp_open", tests, NULL, NULL);
}
