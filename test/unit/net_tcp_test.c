/* SPDX-License-Identifier: MIT */
/*
 * TCP over the whole stack: two of them joined by a wire of frames, under a virtual clock. What TCP
 * itself does is tested elsewhere (tcp_*_test.c); here it meets ARP, neighbour discovery, the path
 * MTU, and a device without room.
 */
#include "base/bytes.h"
#include "base/checksum.h"
#include "net/ip_out.h"
#include "net/route.h"
#include "net/stack.h"
#include "net/tcp/header.h"
#include "net/tcp/tcp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define WIRE_MAX  4096
#define CONNS_MAX 64
#define STREAM    300000u

struct frame {
    struct dk_buf *buf;
    uint32_t len;
    int to;
};

static struct {
    struct dk_net *nets[2];
    struct frame wire[WIRE_MAX];
    uint32_t num, lost;
    bool no_room, cut;
    bool takes; /* who is offered bytes */
    uint32_t offers, readable;
    int64_t now;
    uint32_t bufs;
} w;

struct owner {
    struct dk_tcp_conn *conn;
    uint32_t received;
    int connected, err, closed, sent;
    bool eof;
};

static struct owner clients[CONNS_MAX], servers[CONNS_MAX];
static uint32_t num_accepted;

static bool emit(void *arg, const struct dk_tx_frame *frame)
{
    if (w.no_room)
        return false;
    struct frame *f = &w.wire[w.num++];
    assert_true(w.num < WIRE_MAX);
    f->len = dk_tx_frame_bytes(frame);
    f->buf = dk_buf_alloc(f->len, 0);
    f->to = !(int)(intptr_t)arg;
    uint8_t *at = f->buf->data;
    memcpy(at, frame->head, frame->head_len);
    at += frame->head_len;
    for (uint32_t i = 0; i < frame->num_pieces; i++) {
        memcpy(at, frame->pieces[i].data, frame->pieces[i].len);
        at += frame->pieces[i].len;
    }
    return true;
}

static uint8_t byte_at(uint32_t n)
{
    return (uint8_t)(n * 31 + (n >> 9));
}

static void on_connected(struct dk_tcp_conn *conn, void *owner, int err)
{
    struct owner *o = owner;
    (void)conn;
    o->connected++;
    o->err = err;
}

static void take(struct owner *o, struct dk_buf *buf)
{
    for (size_t i = 0; i < dk_buf_bytes(buf); i++)
        assert_int_equal(buf->data[i], byte_at(o->received++));
    dk_buf_put(buf);
}

static bool on_offer(struct dk_tcp_conn *conn, void *owner, struct dk_buf *buf)
{
    assert_true(dk_tcp_is_empty(conn));
    w.offers++;
    if (w.takes)
        take(owner, buf);
    return w.takes;
}

static void on_readable(struct dk_tcp_conn *conn, void *owner)
{
    struct owner *o = owner;
    struct dk_buf *buf;
    int n;
    w.readable++;
    while ((n = dk_tcp_recv(conn, &buf, 1, SIZE_MAX, w.now)) == 1)
        take(o, buf);
    o->eof = n == 0;
}

static void on_sent(struct dk_tcp_conn *conn, void *owner, void *cookie, int err)
{
    struct owner *o = owner;
    (void)conn;
    assert_int_equal(err, 0);
    memset(((struct dk_buf *)cookie)->data, 0xee, STREAM);
    dk_buf_put(cookie);
    o->sent++;
}

static void on_peer_closed(struct dk_tcp_conn *conn, void *owner)
{
    (void)owner;
    dk_tcp_close(conn, w.now);
}

static void on_failed(struct dk_tcp_conn *conn, void *owner, int err)
{
    struct owner *o = owner;
    (void)conn;
    o->err = err;
}

static void on_closed(struct dk_tcp_conn *conn, void *owner)
{
    struct owner *o = owner;
    (void)conn;
    o->closed++;
}

static const struct dk_tcp_ops ops = {
    .connected = on_connected,
    .offer = on_offer,
    .readable = on_readable,
    .sent = on_sent,
    .peer_closed = on_peer_closed,
    .failed = on_failed,
    .closed = on_closed,
};

static void on_acceptable(struct dk_tcp_listener *listener, void *owner)
{
    (void)owner;
    struct owner *o = &servers[num_accepted];
    while (dk_tcp_accept(listener, &o->conn, &ops, o) == 0)
        o = &servers[++num_accepted];
}

static const struct dk_tcp_listener_ops listener_ops = {.acceptable = on_acceptable};

static struct dk_ip address(int version, int host)
{
    struct dk_ip ip = {.version = (uint8_t)version};
    ip.bytes[0] = version == 4 ? 10 : 0xfd;
    ip.bytes[version == 4 ? 3 : 15] = (uint8_t)(1 + host);
    return ip;
}

static void open_net(int host, uint32_t mtu)
{
    struct dk_net_config config = {.mtu = mtu, .emit = emit, .emit_arg = (void *)(intptr_t)host};
    config.mac.bytes[0] = 2;
    config.mac.bytes[5] = (uint8_t)(1 + host);
    config.skip_dad = true;
    config.num_addresses = 2;
    config.addresses[0] = (struct dk_net_address){address(4, host), 24};
    config.addresses[1] = (struct dk_net_address){address(6, host), 64};
    config.seed = (uint64_t)host;
    const char *why = NULL;
    assert_int_equal(dk_net_create(&w.nets[host], &config, w.now, &why), 0);
}

static void set_up(uint32_t mtu0, uint32_t mtu1)
{
    memset(&w, 0, sizeof(w));
    memset(clients, 0, sizeof(clients));
    memset(servers, 0, sizeof(servers));
    num_accepted = 0;
    w.now = DK_NS_PER_S;
    w.bufs = dk_buf_in_use();
    open_net(0, mtu0);
    open_net(1, mtu1);
    struct dk_tcp_listener *listener;
    struct dk_endpoint any = {.port = 80};
    assert_int_equal(
        dk_tcp_listen(dk_net_tcp(w.nets[1]), &listener, &any, CONNS_MAX, &listener_ops, NULL), 0);
}

static void tear_down(void)
{
    for (uint32_t i = 0; i < w.num; i++)
        dk_buf_put(w.wire[i].buf);
    dk_net_destroy(w.nets[0]);
    dk_net_destroy(w.nets[1]);
    assert_int_equal(dk_buf_in_use(), w.bufs);
}

/* All frames that are on the wire arrive; what they cause is on the wire then. */
static void deliver(void)
{
    static struct frame arriving[WIRE_MAX];
    uint32_t n = w.num;
    memcpy(arriving, w.wire, n * sizeof(arriving[0]));
    w.num = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct frame *f = &arriving[i];
        struct dk_rx_frame rx = {.buf = f->buf, .data = f->buf->data, .len = f->len};
        if (!w.cut)
            dk_net_input(w.nets[f->to], &rx, w.now);
        dk_buf_put(f->buf);
    }
    for (int h = 0; h < 2; h++)
        assert_true(dk_tcp_all_valid(dk_net_tcp(w.nets[h])));
}

static void pass(int64_t ns)
{
    int64_t until = w.now + ns;
    for (;;) {
        int64_t due = w.num ? w.now + 10000 : INT64_MAX;
        for (int h = 0; h < 2; h++) {
            int64_t at = dk_net_next_due(w.nets[h]);
            due = at < due ? at : due;
        }
        if (due > until)
            break;
        w.now = due > w.now ? due : w.now;
        deliver();
        for (int h = 0; h < 2; h++)
            dk_net_advance(w.nets[h], w.now);
    }
    w.now = until;
}

static void connect_client(int i, int version)
{
    struct dk_endpoint local = {0}, remote = {address(version, 1), 80};
    assert_int_equal(dk_tcp_connect(dk_net_tcp(w.nets[0]), &clients[i].conn, &local, &remote, NULL,
                                    &ops, &clients[i], w.now),
                     0);
}

static void push(struct owner *o)
{
    struct dk_buf *buf = dk_buf_alloc(STREAM, 0);
    for (uint32_t i = 0; i < STREAM; i++)
        buf->data[i] = byte_at(i);
    struct dk_tx_piece piece = {buf->data, STREAM, buf};
    assert_int_equal(dk_tcp_send(o->conn, &piece, 1, 0, buf, w.now), 0);
}

static void stream(int version, uint32_t mtu0, uint32_t mtu1)
{
    set_up(mtu0, mtu1);
    connect_client(0, version);
    push(&clients[0]); /* waits for ARP or neighbour discovery, and the handshake */
    pass(100 * DK_NS_PER_MS);
    assert_int_equal(num_accepted, 1);
    push(&servers[0]);
    pass(5 * DK_NS_PER_S);
    assert_int_equal(servers[0].received, STREAM);
    assert_int_equal(clients[0].received, STREAM);
    assert_int_equal(clients[0].sent + servers[0].sent, 2);
    dk_tcp_close(clients[0].conn, w.now);
    pass(DK_NS_PER_S);
    assert_int_equal(clients[0].closed + servers[0].closed, 2);
    tear_down();
}

static void test_streams_both_ways_over_ip4(void **state)
{
    (void)state;
    stream(4, 1500, 1500);
}

static void test_streams_both_ways_over_ip6(void **state)
{
    (void)state;
    stream(6, 1500, 1500);
}

static void test_streams_between_links_of_other_mtu(void **state)
{
    (void)state;
    stream(4, 9000, 1300);
    stream(6, 1280, 9000);
}

static void test_fifty_connects_to_an_unresolved_neighbour(void **state)
{
    (void)state;
    set_up(1500, 1500);
    for (int i = 0; i < 50; i++)
        connect_client(i, 4);
    pass(20 * DK_NS_PER_S);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(clients[i].connected, 1);
        assert_int_equal(clients[i].err, 0);
    }
    assert_int_equal(num_accepted, 50);
    tear_down();
}

static void test_neighbour_that_does_not_answer_is_ehostunreach(void **state)
{
    (void)state;
    set_up(1500, 1500);
    w.cut = true;
    connect_client(0, 4);
    connect_client(1, 6);
    pass(100 * DK_NS_PER_S);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(clients[i].connected, 1);
        assert_int_equal(clients[i].err, -EHOSTUNREACH);
    }
    tear_down();
}

static void test_port_where_nobody_listens_is_econnrefused(void **state)
{
    (void)state;
    set_up(1500, 1500);
    struct dk_endpoint local = {0}, remote = {address(4, 1), 81};
    assert_int_equal(dk_tcp_connect(dk_net_tcp(w.nets[0]), &clients[0].conn, &local, &remote, NULL,
                                    &ops, &clients[0], w.now),
                     0);
    pass(DK_NS_PER_S);
    assert_int_equal(clients[0].err, -ECONNREFUSED);
    tear_down();
}

static void test_device_without_room_loses_nothing(void **state)
{
    (void)state;
    set_up(1500, 1500);
    connect_client(0, 4);
    pass(DK_NS_PER_MS);
    w.no_room = true;
    push(&clients[0]);
    assert_int_equal(w.num, 0);
    w.no_room = false;
    dk_net_tx_room(w.nets[0], w.now);
    assert_true(w.num > 0);
    pass(10 * DK_NS_PER_MS); /* no retransmission was needed */
    assert_int_equal(servers[0].received, STREAM);
    assert_int_equal(dk_tcp_stats(dk_net_tcp(w.nets[0]))->retransmits, 0);
    tear_down();
}

/* Whether a frame on the wire, with three bytes that the server of a connection expects next, is
 * taken by it. */
static bool takes_next(struct owner *client, struct owner *server)
{
    struct dk_tcp_conn *c = client->conn;
    const uint32_t bytes = DK_TCP_USUAL_LEN + 3;
    struct dk_buf *buf = dk_buf_alloc(34 + bytes, 0);
    uint8_t *header = buf->data + 34;
    const struct dk_ip_tx tx = {
        .src = c->local_ip, .dst = c->remote_ip, .protocol = DK_IP_TCP, .header = header};
    memcpy(buf->data, &w.nets[1]->config.mac, 6);
    memcpy(buf->data + 6, &w.nets[0]->config.mac, 6);
    memcpy(buf->data + 12, "\x08", 2);
    dk_ip_put_header(w.nets[1], &tx, header, bytes, 0, true, NULL);
    dk_tcp_put_usual(c, c->snd_nxt, DK_TCP_ACK, 100, header, w.now, 0);
    for (uint32_t i = 0; i < 3; i++)
        header[DK_TCP_USUAL_LEN + i] = byte_at(server->received + i);
    dk_put_be16(header + 16,
                dk_checksum_finish(dk_checksum_add(c->pseudo_sum + bytes, header, bytes)));
    const uint32_t before = server->received;
    struct dk_rx_frame frame = {.buf = buf, .data = buf->data, .len = 34 + bytes};
    dk_net_input(w.nets[1], &frame, w.now);
    dk_net_advance(w.nets[1], w.now);
    dk_buf_put(buf);
    c->snd_nxt = c->snd_end += server->received - before; /* as if it had sent them */
    c->snd_una = c->snd_nxt;
    return server->received == before + 3;
}

static void test_frame_is_taken_only_between_addresses_that_were_found_good(void **state)
{
    (void)state;
    set_up(1500, 1500);
    connect_client(0, 4);
    pass(DK_NS_PER_S);
    struct dk_tcp_conn *server = servers[0].conn;
    assert_true(server->pair4 != 0);
    assert_true(takes_next(&clients[0], &servers[0]));
    dk_route_changed(w.nets[1]); /* an address of ours, perhaps the peer's now */
    assert_true(server->pair4 == 0);
    assert_true(takes_next(&clients[0], &servers[0]));
    assert_true(server->pair4 != 0);
    tear_down();
}

/* What the owner does not take waits, and what comes behind it is not offered; of what is taken no
 * event tells, and it is acknowledged all the same. */
static void test_segment_is_offered_where_none_waits(void **state)
{
    (void)state;
    set_up(1500, 1500);
    connect_client(0, 4);
    pass(DK_NS_PER_S);
    push(&clients[0]); /* the window grows */
    pass(DK_NS_PER_S);
    w.offers = w.readable = 0;
    const struct dk_tcp_conn *server = servers[0].conn;
    const uint64_t acked = server->last_ack_sent;
    w.takes = true;
    assert_true(takes_next(&clients[0], &servers[0]));
    assert_true(w.offers == 1 && w.readable == 0);
    assert_true(server->last_ack_sent == acked);
    pass(DK_NS_PER_S);
    assert_true(server->last_ack_sent == acked + 3);
    w.takes = false;
    assert_true(takes_next(&clients[0], &servers[0]));
    assert_true(w.offers == 2 && w.readable == 1);
    tear_down();
}

static void stream_offered(bool takes)
{
    set_up(1500, 1500);
    connect_client(0, 4);
    pass(DK_NS_PER_S);
    w.takes = takes;
    push(&clients[0]);
    pass(5 * DK_NS_PER_S);
    assert_int_equal(servers[0].received, STREAM);
    assert_int_equal(clients[0].sent, 1);
    assert_true(w.offers > 0 && (takes || w.readable > 0));
    tear_down();
}

static void test_stream_that_is_offered_and_taken(void **state)
{
    (void)state;
    stream_offered(true);
}

static void test_stream_that_is_offered_and_waits(void **state)
{
    (void)state;
    stream_offered(false);
}

static void test_connection_with_ourselves_takes_nothing_of_the_wire(void **state)
{
    (void)state;
    set_up(1500, 1500);
    struct dk_endpoint local = {0}, remote = {address(4, 1), 80};
    assert_int_equal(dk_tcp_connect(dk_net_tcp(w.nets[1]), &clients[0].conn, &local, &remote, NULL,
                                    &ops, &clients[0], w.now),
                     0);
    pass(DK_NS_PER_S);
    assert_int_equal(num_accepted, 1);
    assert_false(takes_next(&clients[0], &servers[0]));
    assert_int_equal(w.nets[1]->stats.ip4_own_source, 1);
    tear_down();
}

static void test_counters_are_told_by_name(void **state)
{
    (void)state;
    set_up(1500, 1500);
    connect_client(0, 4);
    pass(DK_NS_PER_S);
    const char *name;
    uint64_t value = 0;
    for (size_t i = 0; dk_net_stat(w.nets[0], i, &name, &value) == 0; i++)
        if (strcmp(name, "tcp.connects") == 0)
            break;
    assert_string_equal(name, "tcp.connects");
    assert_int_equal(value, 1);
    tear_down();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streams_both_ways_over_ip4),
        cmocka_unit_test(test_streams_both_ways_over_ip6),
        cmocka_unit_test(test_streams_between_links_of_other_mtu),
        cmocka_unit_test(test_fifty_connects_to_an_unresolved_neighbour),
        cmocka_unit_test(test_neighbour_that_does_not_answer_is_ehostunreach),
        cmocka_unit_test(test_port_where_nobody_listens_is_econnrefused),
        cmocka_unit_test(test_device_without_room_loses_nothing),
        cmocka_unit_test(test_frame_is_taken_only_between_addresses_that_were_found_good),
        cmocka_unit_test(test_segment_is_offered_where_none_waits),
        cmocka_unit_test(test_stream_that_is_offered_and_taken),
        cmocka_unit_test(test_stream_that_is_offered_and_waits),
        cmocka_unit_test(test_connection_with_ourselves_takes_nothing_of_the_wire),
        cmocka_unit_test(test_counters_are_told_by_name),
    };
    return cmocka_run_group_tests_name("net_tcp", tests, NULL, NULL);
}
