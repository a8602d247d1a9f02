/* SPDX-License-Identifier: MIT */
/*
 * Bursts where connections are many (net/tcp/crowd.c) have the effect of their frames one by one:
 * two stacks under a virtual clock live through the same, once so and once so. What each has sent,
 * to the byte, and what it has counted is the same.
 */
#include "base/bytes.h"
#include "base/checksum.h"
#include "base/crc32c.h"
#include "base/random.h"
#include "net/stack.h"
#include "net/tcp/pcb.h"
#include "net/wire/ethernet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define CONNS     1500u /* more than are few; their table grows within bursts */
#define ROUNDS    400u
#define WIRE_MAX  2048u
#define BURST_MAX 64u
#define BYTES_MAX 100u

struct frame {
    uint32_t len;
    uint8_t bytes[1600];
};

struct host {
    struct dk_net *net;
    struct frame *wire; /* that it will receive */
    uint32_t num;
};

static struct {
    struct host hosts[2]; /* of clients; the server */
    struct dk_random random;
    bool at_once;  /* frames of a burst */
    bool verified; /* checksums, by the device */
    int64_t now;
    uint32_t crc; /* of all that was sent */
    uint32_t num_accepted, bufs;
    struct dk_tcp_conn *clients[CONNS];
} w;

/* What came of a life. */
struct outcome {
    uint32_t crc;
    struct dk_tcp_stats tcp[2];
    struct dk_net_stats net[2];
};

static void put_on_wire(struct host *to, const uint8_t *bytes, uint32_t len)
{
    assert_true(to->num < WIRE_MAX && len <= sizeof(to->wire->bytes));
    struct frame *f = &to->wire[to->num++];
    f->len = len;
    memcpy(f->bytes, bytes, len);
}

static bool emit(void *arg, const struct dk_tx_frame *frame)
{
    uint8_t bytes[sizeof(((struct frame *)0)->bytes)];
    struct host *to = &w.hosts[arg == &w.hosts[0]];
    uint32_t len = frame->head_len;
    assert_true(dk_tx_frame_bytes(frame) <= sizeof(bytes));
    memcpy(bytes, frame->head, len);
    for (uint32_t i = 0; i < frame->num_pieces; len += frame->pieces[i++].len)
        memcpy(bytes + len, frame->pieces[i].data, frame->pieces[i].len);
    w.crc = dk_crc32c(w.crc, bytes, len);
    put_on_wire(to, bytes, len);
    return true;
}

/* ---- Who uses it ----------------------------------------------------------------------------- */

static void on_connected(struct dk_tcp_conn *c, void *owner, int err)
{
    (void)c, (void)owner;
    assert_int_equal(err, 0);
}

static void on_readable(struct dk_tcp_conn *c, void *owner)
{
    struct dk_buf *buf;
    while (dk_tcp_recv(c, &buf, 1, SIZE_MAX, w.now) == 1) {
        const struct dk_tx_piece piece = {buf->data, (uint32_t)dk_buf_bytes(buf), buf};
        if (!owner) /* the server sends it back */
            dk_tcp_send(c, &piece, 1, DK_TCP_SEND_COPY, NULL, w.now);
        dk_buf_put(buf);
    }
}

static void on_sent(struct dk_tcp_conn *c, void *owner, void *cookie, int err)
{
    (void)c, (void)owner, (void)cookie, (void)err;
}

static void on_end(struct dk_tcp_conn *c, void *owner)
{
    (void)owner;
    dk_tcp_close(c, w.now);
}

static void on_failed(struct dk_tcp_conn *c, void *owner, int err)
{
    (void)err;
    on_end(c, owner);
}

static void on_closed(struct dk_tcp_conn *c, void *owner)
{
    (void)c;
    if (owner)
        *(struct dk_tcp_conn **)owner = NULL;
}

static const struct dk_tcp_ops ops = {.connected = on_connected,
                                      .readable = on_readable,
                                      .sent = on_sent,
                                      .peer_closed = on_end,
                                      .failed = on_failed,
                                      .closed = on_closed};

static void on_acceptable(struct dk_tcp_listener *l, void *owner)
{
    struct dk_tcp_conn *c;
    (void)owner;
    while (dk_tcp_accept(l, &c, &ops, NULL) == 0)
        w.num_accepted++;
}

static const struct dk_tcp_listener_ops listener_ops = {on_acceptable};

/* ---- The stacks ------------------------------------------------------------------------------ */

static struct dk_ip address(int version, int host)
{
    struct dk_ip ip = {.version = (uint8_t)version};
    ip.bytes[0] = version == 4 ? 10 : 0xfd;
    ip.bytes[version == 4 ? 3 : 15] = (uint8_t)(1 + host);
    return ip;
}

static void open_host(int host, bool gro)
{
    struct dk_net_config config = {.mtu = 1500, .emit = emit, .emit_arg = &w.hosts[host]};
    config.mac.bytes[0] = 2;
    config.mac.bytes[5] = (uint8_t)(1 + host);
    config.skip_dad = true;
    config.gro = gro;
    config.num_addresses = 2;
    config.addresses[0] = (struct dk_net_address){address(4, host), 24};
    config.addresses[1] = (struct dk_net_address){address(6, host), 64};
    config.seed = (uint64_t)host;
    const char *why = NULL;
    assert_int_equal(dk_net_create(&w.hosts[host].net, &config, w.now, &why), 0);
}

/* Frames arrive, all in one burst, or one after the other as they would where few are. */
static void input(struct dk_net *net, const struct frame frames[], uint32_t n)
{
    struct dk_rx_frame rx[BURST_MAX];
    for (uint32_t i = 0; i < n; i++) {
        struct dk_buf *buf = dk_buf_alloc(frames[i].len, 0);
        memcpy(buf->data, frames[i].bytes, frames[i].len);
        rx[i] = (struct dk_rx_frame){.buf = buf, .data = buf->data, .len = frames[i].len};
        rx[i].checksum = w.verified ? DK_RX_CHECKSUM_GOOD : DK_RX_CHECKSUM_UNKNOWN;
    }
    if (w.at_once) {
        dk_net_input_burst(net, rx, n, w.now);
        return;
    }
    for (uint32_t i = 0; i < n;) {
        const uint32_t taken = dk_net_input_some(net, &rx[i], n - i, w.now);
        for (const uint32_t end = i + taken; i < end; i++)
            dk_buf_put(rx[i].buf);
    }
}

/* All that is on the way to a host arrives, in bursts. */
static void deliver(struct host *to)
{
    static struct frame arriving[WIRE_MAX];
    const uint32_t n = to->num;
    memcpy(arriving, to->wire, n * sizeof(arriving[0]));
    to->num = 0;
    for (uint32_t i = 0; i < n;) {
        uint32_t burst = 1 + dk_random_below(&w.random, BURST_MAX);
        burst = burst < n - i ? burst : n - i;
        input(to->net, &arriving[i], burst);
        i += burst;
        dk_net_advance(to->net, w.now);
    }
}

static void step(void)
{
    w.now += 20000;
    for (int h = 0; h < 2; h++) {
        deliver(&w.hosts[h]);
        dk_net_advance(w.hosts[h].net, w.now);
    }
}

static void open_both(bool at_once, bool gro)
{
    memset(&w, 0, sizeof(w));
    w.bufs = dk_buf_in_use();
    w.now = DK_NS_PER_S;
    w.at_once = at_once;
    dk_random_init(&w.random, 3);
    for (int h = 0; h < 2; h++)
        assert_non_null(w.hosts[h].wire = calloc(WIRE_MAX, sizeof(struct frame)));
    open_host(0, gro);
    open_host(1, gro);
    struct dk_tcp_listener *listener;
    const struct dk_endpoint any = {.port = 80};
    assert_int_equal(
        dk_tcp_listen(dk_net_tcp(w.hosts[1].net), &listener, &any, CONNS, &listener_ops, NULL), 0);
    for (uint32_t i = 0; i < CONNS; i++) {
        const struct dk_endpoint local = {.port = 0}, to = {address(i % 4 ? 4 : 6, 1), 80};
        assert_int_equal(dk_tcp_connect(dk_net_tcp(w.hosts[0].net), &w.clients[i], &local, &to,
                                        NULL, &ops, &w.clients[i], w.now),
                         0);
        dk_tcp_set_option(w.clients[i], DK_TCP_NODELAY, 1, w.now);
        if (i % BURST_MAX == 0)
            step();
    }
    for (int i = 0; i < 10; i++)
        step();
    assert_int_equal(w.num_accepted, CONNS);
}

static void close_both(void)
{
    for (int h = 0; h < 2; h++) {
        dk_net_destroy(w.hosts[h].net);
        free(w.hosts[h].wire);
    }
    assert_int_equal(dk_buf_in_use(), w.bufs);
}

/* ---- What happens ---------------------------------------------------------------------------- */

static void send_some(struct dk_tcp_conn *c)
{
    static const uint8_t bytes[BYTES_MAX] = {1, 2, 3};
    const struct dk_tx_piece piece = {.data = bytes,
                                      .len = 1 + dk_random_below(&w.random, BYTES_MAX)};
    dk_tcp_send(c, &piece, 1, DK_TCP_SEND_COPY, NULL, w.now);
}

/* One connection does something; few end. */
static void act(void)
{
    struct dk_tcp_conn *c = w.clients[dk_random_below(&w.random, CONNS)];
    const uint32_t what = dk_random_below(&w.random, 1000);
    if (!c)
        return;
    if (what < 900)
        send_some(c);
    if (what < 200) /* frames of one connection, one behind the other */
        send_some(c);
    if (what >= 998)
        dk_tcp_abort(c, w.now);
    else if (what >= 996)
        dk_tcp_close(c, w.now);
}

/* Frames come twice, late, cut, or with a bit that changed: in between, or behind what ends their
 * connection. */
static void disturb(struct host *to)
{
    if (to->num == 0)
        return;
    struct frame f = to->wire[dk_random_below(&w.random, to->num)];
    switch (dk_random_below(&w.random, 8)) {
    case 0:
        f.len = dk_random_below(&w.random, f.len + 1);
        break;
    case 1:
        f.bytes[dk_random_below(&w.random, f.len)] ^=
            (uint8_t)(1u << dk_random_below(&w.random, 8));
        break;
    case 2:
        for (uint32_t i = DK_ETH_HEADER_LEN; i < f.len; i++)
            f.bytes[i] = (uint8_t)dk_random_u64(&w.random);
        break;
    default:
        break;
    }
    put_on_wire(to, f.bytes, f.len);
}

static struct outcome live(bool at_once, bool gro)
{
    struct outcome out;
    open_both(at_once, gro);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        for (uint32_t n = dk_random_below(&w.random, 100); n > 0; n--)
            act();
        for (uint32_t n = dk_random_below(&w.random, 10); n > 0; n--)
            disturb(&w.hosts[dk_random_below(&w.random, 2)]);
        step();
        if (round % 50 == 0)
            w.now += DK_NS_PER_S; /* timers */
    }
    out.crc = w.crc;
    for (int h = 0; h < 2; h++) {
        assert_true(dk_tcp_all_valid(dk_net_tcp(w.hosts[h].net)));
        out.tcp[h] = *dk_tcp_stats(dk_net_tcp(w.hosts[h].net));
        out.net[h] = w.hosts[h].net->stats;
    }
    close_both();
    return out;
}

static void compare(bool gro)
{
    const struct outcome one_by_one = live(false, gro), at_once = live(true, gro);
    const struct dk_tcp_stats *server = &at_once.tcp[1];
    assert_true(server->rx_segments > 10000 && server->resets > 10 && server->drop_checksum > 10 &&
                server->drop_listen_flags > 0 && server->retransmits > 0);
    assert_true((at_once.net[1].gro_frames > 100) == gro);
    assert_memory_equal(one_by_one.tcp, at_once.tcp, sizeof(at_once.tcp));
    assert_memory_equal(one_by_one.net, at_once.net, sizeof(at_once.net));
    assert_int_equal(one_by_one.crc, at_once.crc);
}

static void test_bursts_of_many_have_the_effect_of_their_frames(void **state)
{
    (void)state;
    compare(false);
}

static void test_bursts_of_many_have_groups_as_ever(void **state)
{
    (void)state;
    compare(true);
}

/* A frame from an address that has the same bucket, and ports, as somebody else. */
static bool is_in_bucket_of(const struct dk_tcp *tcp, const struct dk_tcp_conn *c, uint32_t src)
{
    const uint64_t pair = (c->pair4 & ~(uint64_t)UINT32_MAX) | src;
    return ((dk_tcp_hash4(tcp, pair, c->ports) ^ c->node.hash) & tcp->table.mask) == 0;
}

/* Changes the source of a frame, and the sum of IP's header with it. */
static void forge(struct frame *f, uint32_t src)
{
    uint8_t *ip = f->bytes + DK_ETH_HEADER_LEN;
    memcpy(ip + 12, &src, sizeof(src));
    dk_put_be16(ip + 10, 0);
    dk_put_be16(ip + 10, dk_checksum_finish(dk_checksum_add(0, ip, 20)));
}

static void test_burst_of_many_takes_no_frame_from_another_address(void **state)
{
    (void)state;
    open_both(true, false);
    w.verified = true; /* or the sum of the connection's addresses would tell */
    struct host *server = &w.hosts[1];
    const struct dk_tcp *tcp = dk_net_tcp(server->net);
    for (uint32_t i = 1; i <= 2; i++) /* the first are found by their pairs afterwards */
        send_some(w.clients[i]);
    step();
    step();
    for (uint32_t i = 1; i <= 2; i++)
        send_some(w.clients[i]);
    assert_int_equal(server->num, 2);
    struct frame frames[2] = {server->wire[0], server->wire[1]};
    server->num = 0;
    const uint8_t *ip = frames[0].bytes + DK_ETH_HEADER_LEN;
    uint64_t pair;
    uint32_t ports, src;
    memcpy(&pair, ip + 12, sizeof(pair));
    memcpy(&ports, ip + 20, sizeof(ports));
    struct dk_tcp_conn *c =
        dk_tcp_conn_of(dk_tcp_table_first(&tcp->table, dk_tcp_hash4(tcp, pair, ports)));
    while (c && (c->ports != ports || c->pair4 != pair))
        c = dk_tcp_conn_of(dk_tcp_table_next(&tcp->table, &c->node));
    assert_non_null(c);
    for (src = htobe32(UINT32_C(0x0a000003)); !is_in_bucket_of(tcp, c, src);)
        src = htobe32(be32toh(src) + 1);
    forge(&frames[0], src);
    const struct dk_tcp_stats before = *dk_tcp_stats(tcp);
    const uint64_t rcv_nxt = c->rcv_nxt;
    input(server->net, frames, 2);
    assert_true(c->rcv_nxt == rcv_nxt);
    assert_int_equal(dk_tcp_stats(tcp)->drop_listen_flags, before.drop_listen_flags + 1);
    assert_true(dk_tcp_stats(tcp)->rx_bytes > before.rx_bytes); /* of the other */
    close_both();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bursts_of_many_have_the_effect_of_their_frames),
        cmocka_unit_test(test_bursts_of_many_have_groups_as_ever),
        cmocka_unit_test(test_burst_of_many_takes_no_frame_from_another_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
