/* SPDX-License-Identifier: MIT */
/*
 * Two stacks over a network that loses, delays, reorders, duplicates and corrupts, under a virtual
 * clock: streams of random sizes both ways arrive whole and in order, every connection ends, no
 * buffer leaks. A seed gives the same run again: DK_SEED=n runs that one only.
 */
#include "tcp_kit.h"

#include "base/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLIGHT_MAX 8192
#define ENDS_MAX   16 /* connections of a run */

struct in_flight {
    struct kit_packet packet;
    int64_t at;
    uint64_t order;
    int to;
};

/* One end of a connection: what it has still to push, and what it saw. */
struct end {
    struct sim *sim;
    int host;
    struct dk_tcp_conn *conn;
    uint64_t to_push, pushed, received, expected;
    uint64_t key_out, key_in; /* of the pattern */
    uint32_t outstanding, sent_events;
    uint64_t abort_at; /* received bytes: then it aborts */
    bool half_closed, eof, closed, failed, held_read;
};

struct sim {
    uint64_t seed;
    struct dk_random random;
    struct kit_host hosts[2];
    struct dk_tcp_config config;
    struct dk_tcp_listener *listener;
    struct end ends[ENDS_MAX][2];
    int num_conns, num_accepted;
    int64_t now;
    uint32_t loss, duplicate, corrupt, delay_us; /* per thousand; jitter */
    uint32_t no_room;                            /* per thousand: the device says so */
    int64_t dark_from;                           /* nothing arrives any more; INT64_MAX: never */
    bool ip6, aborts;                            /* some ends abort in the middle */
    struct in_flight flight[FLIGHT_MAX];
    uint32_t num_flight;
    uint64_t order;
};

static struct sim *sim;
static struct dk_tcp_stats total;

static uint32_t below(uint32_t n)
{
    return dk_random_below(&sim->random, n);
}

static bool chance(uint32_t per_thousand)
{
    return below(1000) < per_thousand;
}

static uint8_t byte_at(uint64_t key, uint64_t n)
{
    return (uint8_t)((key + n) * UINT64_C(0x9e3779b97f4a7c15) >> 56);
}

/* ---- The owner ------------------------------------------------------------------------------- */

static void on_connected(struct dk_tcp_conn *conn, void *owner, int err)
{
    struct end *e = owner;
    (void)conn;
    if (err)
        e->failed = true;
}

static void receive(struct end *e)
{
    struct dk_buf *bufs[4];
    int n;
    while ((n = dk_tcp_recv(e->conn, bufs, 1 + below(4), 1 + below(20000), sim->now)) > 0) {
        for (int i = 0; i < n; i++) {
            size_t len = dk_buf_bytes(bufs[i]);
            for (size_t j = 0; j < len; j++)
                if (bufs[i]->data[j] != byte_at(e->key_in, e->received++))
                    fail_msg("seed %lu: byte %lu is wrong", sim->seed, e->received - 1);
            dk_buf_put(bufs[i]);
        }
        if (chance(100)) {
            e->held_read = true; /* the rest later: the window closes */
            return;
        }
    }
    e->held_read = false;
    if (n == 0)
        e->eof = true;
}

static void on_readable(struct dk_tcp_conn *conn, void *owner)
{
    struct end *e = owner;
    (void)conn;
    if (!e->held_read)
        receive(e);
}

/* The memory of an element that is complete is overwritten: nobody may read it any more. */
static void on_sent(struct dk_tcp_conn *conn, void *owner, void *cookie, int err)
{
    struct end *e = owner;
    struct dk_buf *buf = cookie;
    (void)conn;
    if (err)
        e->failed = true;
    memset(buf->data, 0xee, dk_buf_bytes(buf));
    dk_buf_put(buf);
    e->outstanding--;
}

static void on_peer_closed(struct dk_tcp_conn *conn, void *owner)
{
    (void)conn;
    (void)owner;
}

static void on_failed(struct dk_tcp_conn *conn, void *owner, int err)
{
    struct end *e = owner;
    (void)conn;
    (void)err;
    e->failed = true;
}

static void on_closed(struct dk_tcp_conn *conn, void *owner)
{
    struct end *e = owner;
    (void)conn;
    e->closed = true;
    e->conn = NULL;
}

static const struct dk_tcp_ops ops = {
    .connected = on_connected,
    .readable = on_readable,
    .sent = on_sent,
    .peer_closed = on_peer_closed,
    .failed = on_failed,
    .closed = on_closed,
};

static void on_acceptable(struct dk_tcp_listener *listener, void *owner)
{
    struct dk_tcp_conn *conn;
    (void)owner;
    struct end *unknown = &sim->ends[0][1];
    while (dk_tcp_accept(listener, &conn, &ops, unknown) == 0) {
        /* Which one it is tells the port of the other end. */
        for (int i = 0; i < sim->num_conns; i++) {
            struct dk_tcp_conn *other = sim->ends[i][0].conn;
            if (other && other->local_port == conn->remote_port) {
                conn->owner = &sim->ends[i][1];
                sim->ends[i][1].conn = conn;
            }
        }
        assert_true(conn->owner != unknown || sim->ends[0][1].conn == conn);
        sim->num_accepted++;
    }
}

static const struct dk_tcp_listener_ops listener_ops = {.acceptable = on_acceptable};

static void push(struct end *e)
{
    uint32_t len = 1 + below(chance(300) ? 30000 : 300);
    if (len > e->to_push)
        len = (uint32_t)e->to_push;
    struct dk_buf *buf = dk_buf_alloc(len, 0);
    for (uint32_t i = 0; i < len; i++)
        buf->data[i] = byte_at(e->key_out, e->pushed + i);
    struct dk_tx_piece pieces[3];
    uint32_t cut = below(len), n = 0;
    if (cut)
        pieces[n++] = (struct dk_tx_piece){buf->data, cut, buf};
    pieces[n++] = (struct dk_tx_piece){buf->data + cut, len - cut, buf};
    uint32_t flags = chance(200) ? DK_TCP_SEND_COPY : 0;
    int err = dk_tcp_send(e->conn, pieces, n, flags, buf, sim->now);
    if (err < 0) {
        assert_true(e->failed || e->conn->err);
        e->failed = true;
        dk_buf_put(buf);
        return;
    }
    e->pushed += len;
    e->to_push -= len;
    if (err == 0) {
        e->outstanding++;
    } else {
        memset(buf->data, 0xee, len);
        dk_buf_put(buf);
    }
}

static void act(struct end *e)
{
    if (!e->conn)
        return;
    if (e->held_read && chance(300))
        receive(e);
    if (e->received >= e->abort_at)
        e->failed = true;
    if (e->failed) {
        dk_tcp_abort(e->conn, sim->now);
        return;
    }
    if (e->to_push > 0 && chance(500))
        push(e);
    if (e->to_push == 0 && !e->half_closed && e->conn->state >= DK_TCP_ESTABLISHED) {
        e->half_closed = true;
        assert_int_equal(dk_tcp_shutdown(e->conn, sim->now), 0);
    }
    if (e->half_closed && e->eof && !e->conn->closing)
        dk_tcp_close(e->conn, sim->now);
}

/* ---- The network ----------------------------------------------------------------------------- */

static void put_in_flight(const struct kit_packet *packet, int to)
{
    assert_true(sim->num_flight < FLIGHT_MAX);
    int64_t delay = 20000 + (int64_t)below(sim->delay_us + 1) * 1000;
    sim->flight[sim->num_flight++] =
        (struct in_flight){*packet, sim->now + delay, sim->order++, to};
}

static void corrupt(struct kit_packet *packet)
{
    struct dk_buf *copy = dk_buf_alloc(packet->len, 0);
    memcpy(copy->data, packet->buf->data, packet->len);
    copy->data[below(packet->len)] ^= (uint8_t)(1u << below(8));
    dk_buf_put(packet->buf);
    packet->buf = copy;
}

static void collect(int from)
{
    struct kit_packet packet;
    while (kit_host_take(&sim->hosts[from], &packet)) {
        if (chance(sim->loss) || sim->now >= sim->dark_from) {
            dk_buf_put(packet.buf);
            continue;
        }
        if (chance(sim->duplicate)) {
            dk_buf_get(packet.buf);
            put_in_flight(&packet, !from);
        }
        if (chance(sim->corrupt))
            corrupt(&packet);
        put_in_flight(&packet, !from);
    }
}

static struct in_flight *next_packet(void)
{
    struct in_flight *next = NULL;
    for (uint32_t i = 0; i < sim->num_flight; i++) {
        struct in_flight *f = &sim->flight[i];
        if (!next || f->at < next->at || (f->at == next->at && f->order < next->order))
            next = f;
    }
    return next;
}

static void deliver(struct in_flight *f)
{
    struct in_flight it = *f;
    *f = sim->flight[--sim->num_flight];
    kit_host_give(&sim->hosts[it.to], &it.packet, sim->now);
    dk_buf_put(it.packet.buf);
}

static void settle(void)
{
    for (int h = 0; h < 2; h++) {
        dk_tcp_advance(&sim->hosts[h].net, sim->now);
        sim->hosts[h].no_room = false;
        dk_tcp_tx_room(&sim->hosts[h].net, sim->now);
        assert_true(dk_tcp_all_valid(sim->hosts[h].net.tcp));
        collect(h);
        sim->hosts[h].no_room = chance(sim->no_room);
    }
}

static bool is_done(void)
{
    for (int i = 0; i < sim->num_conns; i++)
        for (int side = 0; side < 2; side++)
            if (!sim->ends[i][side].closed &&
                (side == 0 || sim->ends[i][side].conn || !sim->ends[i][0].closed))
                return false;
    return true;
}

/* Of a run that does not end. */
static void print_ends(void)
{
    for (int i = 0; i < sim->num_conns; i++)
        for (int side = 0; side < 2; side++) {
            const struct end *e = &sim->ends[i][side];
            const struct dk_tcp_conn *c = e->conn;
            print_error("conn %d side %d: received %lu of %lu, to push %lu, eof %d closed %d\n", i,
                        side, e->received, e->expected, e->to_push, e->eof, e->closed);
            if (c)
                print_error("  state %d una +%lu nxt +%lu end +%lu wnd %u unread %lu buffer %ld\n",
                            c->state, c->snd_una - c->iss, c->snd_nxt - c->iss, c->snd_end - c->iss,
                            c->snd_wnd, c->rx_bytes, (long)c->option[DK_TCP_RCV_BUF]);
        }
    print_error("time %.3f s\n", (double)(sim->now - 1000 * KIT_S) / 1e9);
}

/* Whether an end has something to do that waits for nothing. */
static bool wants_to_act(void)
{
    for (int i = 0; i < sim->num_conns; i++)
        for (int side = 0; side < 2; side++) {
            const struct end *e = &sim->ends[i][side];
            if (e->conn && (e->to_push > 0 || e->held_read || !e->half_closed))
                return true;
        }
    return false;
}

/* Goes to the next thing that happens. */
static void step(void)
{
    struct in_flight *f = next_packet();
    int64_t due = f ? f->at : INT64_MAX, acting = INT64_MAX;
    if (wants_to_act())
        acting = sim->now + 1000 * (int64_t)(1 + below(2000));
    for (int h = 0; h < 2; h++) {
        int64_t timer = dk_tcp_next_due(&sim->hosts[h].net);
        if (timer < due)
            due = timer;
    }
    if (acting < due) {
        sim->now = acting;
    } else {
        if (due > sim->now)
            sim->now = due;
        if (f && f->at <= sim->now)
            deliver(f);
    }
    for (int i = 0; i < sim->num_conns; i++)
        for (int side = 0; side < 2; side++)
            act(&sim->ends[i][side]);
    settle();
}

static void connect_one(int i)
{
    struct dk_endpoint local = {0}, remote = {sim->hosts[1].ip, 80};
    for (int side = 0; side < 2; side++) {
        struct end *e = &sim->ends[i][side];
        *e = (struct end){.sim = sim, .host = side, .abort_at = UINT64_MAX};
        if (sim->aborts && chance(300))
            e->abort_at = below(20000);
        e->to_push = below(chance(200) ? 300000 : 20000);
    }
    int64_t buffers[2] = {1 + below(chance(200) ? 3000 : 200000), 0};
    dk_tcp_listen_get_option(sim->listener, DK_TCP_RCV_BUF, &buffers[1]);
    for (int side = 0; side < 2; side++) /* a small window takes a round trip each time */
        if (sim->ends[i][side].to_push > 40 * (uint64_t)buffers[!side])
            sim->ends[i][side].to_push = 40 * (uint64_t)buffers[!side];
    sim->ends[i][0].expected = sim->ends[i][1].to_push;
    sim->ends[i][1].expected = sim->ends[i][0].to_push;
    sim->ends[i][0].key_out = sim->ends[i][1].key_in = dk_random_u64(&sim->random);
    sim->ends[i][1].key_out = sim->ends[i][0].key_in = dk_random_u64(&sim->random);
    int64_t option[DK_TCP_OPTIONS];
    dk_tcp_options_default(sim->hosts[0].net.tcp, option);
    option[DK_TCP_NODELAY] = chance(500);
    option[DK_TCP_KEEPALIVE] = 1; /* so that a dark network ends the idle ones */
    option[DK_TCP_KEEPALIVE_IDLE] = 100 * KIT_S;
    option[DK_TCP_RCV_BUF] = buffers[0];
    assert_int_equal(dk_tcp_connect(sim->hosts[0].net.tcp, &sim->ends[i][0].conn, &local, &remote,
                                    option, &ops, &sim->ends[i][0], sim->now),
                     0);
}

static void set_up(uint64_t seed)
{
    memset(sim, 0, sizeof(*sim));
    sim->seed = seed;
    dk_random_init(&sim->random, seed);
    sim->now = 1000 * KIT_S;
    sim->loss = chance(200) ? 0 : below(150);
    sim->duplicate = below(50);
    sim->corrupt = below(20);
    sim->delay_us = chance(300) ? 0 : below(2000);
    sim->no_room = chance(500) ? 0 : below(300);
    sim->dark_from = chance(50) ? sim->now + below(500) * KIT_MS : INT64_MAX;
    sim->aborts = chance(100);
    sim->ip6 = chance(300);
    dk_tcp_config_init(&sim->config);
    sim->config.congestion = (uint8_t)below(4);
    sim->config.ecn = (uint8_t)below(3);
    sim->config.no_timestamps = chance(500);
    sim->config.no_window_scale = chance(200);
    sim->config.no_sack = chance(300);
    sim->config.rcv_bufs_max = 4 + below(100);
    sim->config.conn_reasm_max = 2 + below(100);
    sim->config.push_hold_ns = 1000 * (1 + (int64_t)below(1000));
    for (int h = 0; h < 2; h++) {
        uint8_t last = (uint8_t)(h + 1);
        kit_host_init(&sim->hosts[h], sim->ip6 ? kit_ip6(last) : kit_ip4(last), &sim->config,
                      sim->now);
        sim->hosts[h].mtu = sim->hosts[h].path_mtu = (sim->ip6 ? 1280 : 600) + below(8000);
    }
    sim->num_conns = 1 + (int)below(4);
    struct dk_endpoint local = {.port = 80};
    assert_int_equal(
        dk_tcp_listen(sim->hosts[1].net.tcp, &sim->listener, &local, below(4), &listener_ops, NULL),
        0);
    assert_int_equal(dk_tcp_listen_set_option(sim->listener, DK_TCP_RCV_BUF,
                                              1 + below(chance(200) ? 3000 : 200000)),
                     0);
    assert_int_equal(dk_tcp_listen_set_option(sim->listener, DK_TCP_KEEPALIVE, 1), 0);
    assert_int_equal(dk_tcp_listen_set_option(sim->listener, DK_TCP_KEEPALIVE_IDLE, 100 * KIT_S),
                     0);
    for (int i = 0; i < sim->num_conns; i++)
        connect_one(i);
}

static void check_ends(void)
{
    for (int i = 0; i < sim->num_conns; i++)
        for (int side = 0; side < 2; side++) {
            struct end *e = &sim->ends[i][side];
            assert_int_equal(e->outstanding, 0);
            if (!e->failed && !sim->ends[i][!side].failed && e->received != e->expected)
                fail_msg("seed %lu: %lu of %lu bytes", sim->seed, e->received, e->expected);
        }
}

static void add_up(void)
{
    for (int h = 0; h < 2; h++) {
        const uint64_t *from = (const uint64_t *)dk_tcp_stats(sim->hosts[h].net.tcp);
        for (size_t i = 0; i < sizeof(total) / sizeof(uint64_t); i++)
            ((uint64_t *)&total)[i] += from[i];
    }
}

/* That the network was as bad as it was meant to be. */
static void check_total(void)
{
    assert_true(total.retransmits > 0 && total.fast_retransmits > 0 && total.rto_fired > 0);
    assert_true(total.out_of_order > 0 && total.drop_checksum > 0 && total.window_probes > 0);
    assert_true(total.push_hold_copies > 0 && total.push_copied_bytes > 0);
    assert_true(total.rx_coalesced_bytes > 0 && total.tx_no_room > 0 && total.delayed_acks > 0);
}

static void print_total(void)
{
#define PRINT(field, name) print_message("%-28s %lu\n", name, total.field);
    DK_TCP_STATS(PRINT)
#undef PRINT
}

static uint32_t run(uint64_t seed)
{
    uint32_t bufs = dk_buf_in_use(), steps = 0, failed = 0;
    set_up(seed);
    for (; !is_done(); steps++) {
        if (steps > 3000000 || sim->now > 100000 * KIT_S)
            break;
        step();
    }
    if (!is_done()) {
        print_ends();
        fail_msg("seed %lu: does not end", seed);
    }
    check_ends();
    for (int i = 0; i < sim->num_conns; i++)
        if (!sim->aborts && sim->dark_from == INT64_MAX)
            failed += sim->ends[i][0].failed || sim->ends[i][1].failed;
    for (uint32_t i = 0; i < sim->num_flight; i++)
        dk_buf_put(sim->flight[i].packet.buf);
    add_up();
    kit_host_fini(&sim->hosts[0]);
    kit_host_fini(&sim->hosts[1]);
    if (dk_buf_in_use() != bufs)
        fail_msg("seed %lu: %u buffers leaked", seed, dk_buf_in_use() - bufs);
    return failed;
}

static void test_streams_over_a_bad_network_arrive_whole(void **state)
{
    (void)state;
    const char *only = getenv("DK_SEED"), *count = getenv("DK_SEEDS");
    uint64_t first = only ? strtoull(only, NULL, 0) : 1;
    uint64_t n = only ? 1 : count ? strtoull(count, NULL, 0) : 500;
    uint32_t failed = 0;
    sim = malloc(sizeof(*sim));
    for (uint64_t i = 0; i < n; i++)
        failed += run(first + i);
    free(sim);
    /* Fifteen timeouts in a row do not happen at these rates of loss. */
    assert_int_equal(failed, 0);
    if (getenv("DK_PRINT"))
        print_total();
    if (!only)
        check_total();
}

/* The same network, once with the short ways in and out and once without: every segment, timeout
 * and copy is the same, or the counters would differ. */
static void test_short_ways_change_nothing(void **state)
{
    (void)state;
    struct dk_tcp_stats predicted;
    sim = malloc(sizeof(*sim));
    for (uint64_t seed = 1; seed <= 100; seed++) {
        memset(&total, 0, sizeof(total));
        run(seed);
        predicted = total;
        memset(&total, 0, sizeof(total));
        kit_predicts = false;
        run(seed);
        kit_predicts = true;
        if (memcmp(&predicted, &total, sizeof(total)) != 0)
            fail_msg("seed %lu: %lu and %lu segments sent", seed, predicted.tx_segments,
                     total.tx_segments);
    }
    free(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streams_over_a_bad_network_arrive_whole),
        cmocka_unit_test(test_short_ways_change_nothing),
    };
    return cmocka_run_group_tests_name("tcp_sim", tests, NULL, NULL);
}
