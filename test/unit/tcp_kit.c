/* SPDX-License-Identifier: MIT */
/*
 * See tcp_kit.h.
 */
#include "tcp_kit.h"

#include "base/bytes.h"
#include "base/checksum.h"
#include "mem/buf_now.h"
#include "net/ip_in.h"
#include "net/ip_out.h"
#include "net/tcp/tx.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint8_t kit_payload[65536];

struct dk_ip kit_ip4(uint8_t last)
{
    struct dk_ip ip = {.version = 4};
    ip.bytes[0] = 10;
    ip.bytes[3] = last;
    return ip;
}

struct dk_ip kit_ip6(uint8_t last)
{
    struct dk_ip ip = {.version = 6};
    ip.bytes[0] = 0xfd;
    ip.bytes[15] = last;
    return ip;
}

/* ---- The IP layer ---------------------------------------------------------------------------- */

bool kit_predicts = true;

static struct kit_host *host_of(struct dk_net *net)
{
    return (struct kit_host *)(void *)net;
}

uint32_t dk_ip_pseudo_sum(const struct dk_ip *src, const struct dk_ip *dst, uint8_t protocol,
                          uint32_t len)
{
    size_t n = src->version == 4 ? 4 : 16;
    uint32_t sum = dk_checksum_add(0, src->bytes, n);
    return dk_checksum_add(sum, dst->bytes, n) + protocol + len;
}

int dk_port_claim(struct dk_net *net, uint8_t protocol, const struct dk_endpoint *local)
{
    (void)net, (void)protocol, (void)local;
    return 0; /* nobody else has any */
}

int dk_ip_route(struct dk_net *net, const struct dk_ip *dst, struct dk_ip *src_in_out,
                uint32_t *mtu_out)
{
    struct kit_host *host = host_of(net);
    if (dst->version == host->ip.version && dst->bytes[dst->version == 4 ? 3 : 15] == 250)
        return -ENETUNREACH;
    if (src_in_out->version == 0)
        *src_in_out = host->ip;
    *mtu_out = host->path_mtu < host->mtu ? host->path_mtu : host->mtu;
    return 0;
}

void dk_ip_set_path_mtu(struct dk_net *net, const struct dk_ip *dst, uint32_t mtu, int64_t now)
{
    (void)dst;
    (void)now;
    host_of(net)->path_mtu = mtu;
}

void dk_ip_confirm(struct dk_net *net, const struct dk_ip *dst, int64_t now)
{
    (void)dst;
    (void)now;
    host_of(net)->confirmed++;
}

bool dk_ip_say(struct dk_net *net, const struct dk_ip_tx *tx, dk_ip_emit_fn emit, void *arg)
{
    (void)net;
    (void)tx;
    (void)emit;
    (void)arg;
    return false;
}

bool dk_net_own_lent(struct dk_net *net)
{
    host_of(net)->owned++;
    return true;
}

static void flatten(const struct dk_ip_tx *tx, struct kit_packet *packet)
{
    uint32_t len = tx->header_len;
    for (uint32_t i = 0; i < tx->frame.num_pieces; i++)
        len += tx->frame.pieces[i].len;
    packet->buf = dk_buf_alloc(len, 0);
    packet->len = len;
    packet->src = tx->src;
    packet->dst = tx->dst;
    uint8_t *to = packet->buf->data;
    memcpy(to, tx->header, tx->header_len);
    to += tx->header_len;
    for (uint32_t i = 0; i < tx->frame.num_pieces; i++) {
        memcpy(to, tx->frame.pieces[i].data, tx->frame.pieces[i].len);
        to += tx->frame.pieces[i].len;
    }
    if (tx->partial_checksum) {
        uint8_t *at = packet->buf->data + tx->frame.checksum_offset;
        dk_put_be16(at, dk_checksum_finish(dk_checksum_add(0, packet->buf->data, len)));
    }
}

static void parse(struct kit_packet *packet)
{
    uint8_t *bytes = packet->buf->data;
    uint32_t sum = dk_ip_pseudo_sum(&packet->src, &packet->dst, DK_IP_TCP, packet->len);
    assert_true(dk_checksum_is_good(sum, bytes, packet->len));
    assert_int_equal(dk_tcp_header_parse(bytes, packet->len, &packet->h), DK_WIRE_OK);
    packet->payload = bytes + packet->h.header_len;
    packet->payload_len = packet->len - packet->h.header_len;
}

int dk_ip_send(struct dk_net *net, struct dk_ip_tx *tx, int64_t now)
{
    struct kit_host *host = host_of(net);
    (void)now;
    if (host->no_room)
        return -EAGAIN;
    if (host->send_err)
        return host->send_err;
    struct kit_packet packet;
    assert_int_equal(tx->protocol, DK_IP_TCP);
    flatten(tx, &packet);
    uint32_t header = tx->src.version == 4 ? 20 : 40;
    if (packet.len + header > host->path_mtu) {
        dk_buf_put(packet.buf);
        return -EMSGSIZE;
    }
    parse(&packet);
    assert_true(host->num_out < KIT_PACKETS);
    host->out[(host->first_out + host->num_out++) % KIT_PACKETS] = packet;
    return 0;
}

/* Nothing comes as a frame. */
void dk_net_input_tcp(struct dk_net *net, const struct dk_rx_frame *frame, int64_t now)
{
    (void)net;
    (void)frame;
    (void)now;
    abort();
}

/* There is one way, of which nothing but its destination is read. */
struct dk_way *dk_route_way(struct dk_net *net, const struct dk_ip *dst)
{
    struct kit_host *host = host_of(net);
    if (!kit_predicts)
        return NULL;
    host->way.dst = *dst;
    return &host->way;
}

int dk_ip_send_way(struct dk_net *net, struct dk_way *way, struct dk_ip_tx *tx, uint32_t bytes,
                   int64_t now)
{
    assert_true(dk_ip_equal(&way->dst, &tx->dst));
    assert_int_equal(bytes, dk_ip_tx_bytes(tx));
    return dk_ip_send(net, tx, now);
}

void kit_host_init(struct kit_host *host, struct dk_ip ip, const struct dk_tcp_config *config,
                   int64_t now)
{
    memset(host, 0, sizeof(*host));
    host->ip = ip;
    host->mtu = host->path_mtu = 1500;
    host->net.config.tcp = config;
    memcpy(host->net.config.secret, "a secret of ours", 16);
    host->net.config.device_caps = config->device_caps;
    assert_int_equal(dk_tcp_transport.init(&host->net, now), 0);
}

void kit_host_fini(struct kit_host *host)
{
    struct kit_packet packet;
    while (kit_host_take(host, &packet))
        dk_buf_put(packet.buf);
    dk_tcp_transport.fini(&host->net);
}

bool kit_host_take(struct kit_host *host, struct kit_packet *packet)
{
    if (host->num_out == 0)
        return false;
    *packet = host->out[host->first_out];
    host->first_out = (host->first_out + 1) % KIT_PACKETS;
    host->num_out--;
    return true;
}

void kit_host_give(struct kit_host *host, const struct kit_packet *packet, int64_t now)
{
    struct dk_ip_rx rx = {.src = packet->src,
                          .dst = packet->dst,
                          .protocol = DK_IP_TCP,
                          .ttl = 64,
                          .to_host = kit_predicts,
                          .buf = packet->buf,
                          .data = packet->buf->data,
                          .len = packet->len};
    dk_tcp_input(&host->net, &rx, now);
    assert_true(dk_tcp_all_valid(host->net.tcp));
}

/* ---- The owner ------------------------------------------------------------------------------- */

static void on_connected(struct dk_tcp_conn *conn, void *owner, int err)
{
    struct kit_app *app = owner;
    (void)conn;
    app->connected++;
    app->connect_err = err;
}

static void on_readable(struct dk_tcp_conn *conn, void *owner)
{
    struct kit_app *app = owner;
    (void)conn;
    app->readable++;
}

static void on_sent(struct dk_tcp_conn *conn, void *owner, void *cookie, int err)
{
    struct kit_app *app = owner;
    (void)conn;
    assert_true(app->num_sent < KIT_SENT);
    app->sent[app->num_sent] = cookie;
    app->sent_err[app->num_sent++] = err;
}

static void on_room(struct dk_tcp_conn *conn, void *owner)
{
    struct kit_app *app = owner;
    (void)conn;
    app->room++;
}

static void on_peer_closed(struct dk_tcp_conn *conn, void *owner)
{
    struct kit_app *app = owner;
    (void)conn;
    app->peer_closed++;
}

static void on_failed(struct dk_tcp_conn *conn, void *owner, int err)
{
    struct kit_app *app = owner;
    (void)conn;
    app->failed++;
    app->fail_err = err;
}

static void on_closed(struct dk_tcp_conn *conn, void *owner)
{
    struct kit_app *app = owner;
    assert_ptr_equal(conn, app->conn);
    app->closed++;
    app->conn = NULL;
}

const struct dk_tcp_ops kit_ops = {
    .connected = on_connected,
    .readable = on_readable,
    .sent = on_sent,
    .room = on_room,
    .peer_closed = on_peer_closed,
    .failed = on_failed,
    .closed = on_closed,
};

static void on_acceptable(struct dk_tcp_listener *listener, void *owner)
{
    struct kit *k = owner;
    assert_ptr_equal(listener, k->listener);
    k->acceptable++;
}

static const struct dk_tcp_listener_ops listener_ops = {.acceptable = on_acceptable};

/* ---- The script ------------------------------------------------------------------------------ */

void kit_init(struct kit *k)
{
    memset(k, 0, sizeof(*k));
    k->host = calloc(1, sizeof(*k->host));
    k->now = 1000 * KIT_S;
    k->bufs_before = dk_buf_in_use();
    dk_tcp_config_init(&k->config);
    k->config.rcv_buf_max = 0; /* a test of it says how much */
    k->config.mtu_probing = DK_TCP_MTU_PROBING_OFF;
    k->config.no_timestamps = true;
    k->config.congestion = (uint8_t)dk_tcp_cc_find("reno"); /* numbers by RFC 5681 */
    k->host->ip = kit_ip4(1);
    k->peer_ip = kit_ip4(2);
    k->peer_port = 7777;
    k->port = 80;
    k->iss = 1000000;
    k->win = 65535;
    k->syn_opt = (struct dk_tcp_options){.has = DK_TCP_HAS_MSS, .mss = 1460};
}

void kit_start(struct kit *k)
{
    struct dk_ip ip = k->host->ip;
    kit_host_init(k->host, ip, &k->config, k->now);
    k->tcp = k->host->net.tcp;
    if (ip.version == 6 && k->peer_ip.version == 4)
        k->peer_ip = kit_ip6(2);
}

void kit_fini(struct kit *k)
{
    kit_host_fini(k->host);
    free(k->host);
    assert_int_equal(dk_buf_in_use(), k->bufs_before);
}

void kit_tell(struct kit *k)
{
    dk_tcp_advance(&k->host->net, k->now);
    assert_true(dk_tcp_all_valid(k->tcp));
}

void kit_pass(struct kit *k, int64_t ns)
{
    int64_t until = k->now + ns, due;
    kit_tell(k);
    while ((due = dk_tcp_next_due(&k->host->net)) <= until) {
        if (due > k->now)
            k->now = due;
        kit_tell(k);
    }
    k->now = until;
    kit_tell(k);
}

uint8_t kit_byte(uint32_t n)
{
    return (uint8_t)(n * 7 + (n >> 8) * 13 + (n >> 16));
}

void kit_inject(struct kit *k, uint32_t flags, uint32_t seq, uint32_t ack, const void *data,
                uint32_t len)
{
    uint8_t head[DK_TCP_HEADER_MAX];
    struct dk_tcp_header h = {.src_port = k->peer_port,
                              .dst_port = k->port,
                              .seq = k->iss + seq,
                              .ack = flags & A ? k->irs + ack : 0,
                              .flags = (uint8_t)flags,
                              .window = k->win,
                              .options = k->opt};
    if (flags & S)
        h.options = k->syn_opt;
    if (k->ts) {
        h.options.has |= DK_TCP_HAS_TIMESTAMPS;
        h.options.ts_val = k->ts_val;
        h.options.ts_ecr = k->ts_ecr;
    }
    uint32_t head_len = (uint32_t)dk_tcp_header_emit(&h, head);
    struct kit_packet packet = {.src = k->peer_ip, .dst = k->host->ip, .len = head_len + len};
    packet.buf = k->device_buf ? k->device_buf : dk_buf_alloc(packet.len, 0);
    if (k->device_buf)
        assert_true(dk_buf_give_out(packet.buf, 0, packet.len));
    memcpy(packet.buf->data, head, head_len);
    if (len)
        memcpy(packet.buf->data + head_len, data, len);
    uint32_t sum = dk_ip_pseudo_sum(&packet.src, &packet.dst, DK_IP_TCP, packet.len);
    sum = dk_checksum_add(sum, packet.buf->data, packet.len);
    dk_put_be16(packet.buf->data + DK_TCP_CHECKSUM_OFFSET, dk_checksum_finish(sum));
    kit_host_give(k->host, &packet, k->now);
    dk_buf_put(packet.buf);
    kit_tell(k);
}

void kit_inject_bytes(struct kit *k, uint32_t flags, uint32_t seq, uint32_t ack, uint32_t len)
{
    static uint8_t bytes[65536];
    for (uint32_t i = 0; i < len; i++)
        bytes[i] = kit_byte(seq + i);
    kit_inject(k, flags, seq, ack, bytes, len);
}

static void print(const struct kit *k, const struct kit_packet *p)
{
    print_error("sent: flags %x seq %u ack %u len %u win %u\n", p->h.flags, p->h.seq - k->irs,
                p->h.flags & A ? p->h.ack - k->iss : 0, p->payload_len, p->h.window);
}

struct dk_tcp_header kit_expect(struct kit *k, uint32_t flags, uint32_t seq, uint32_t ack,
                                uint32_t len)
{
    struct kit_packet p;
    if (!kit_host_take(k->host, &p))
        fail_msg("nothing was sent, expected flags %x seq %u ack %u len %u", flags, seq, ack, len);
    if (flags & S)
        k->irs = p.h.seq;
    bool ack_is = !(p.h.flags & A) || p.h.ack - k->iss == ack;
    if (p.h.flags != flags || p.h.seq - k->irs != seq || !ack_is || p.payload_len != len) {
        print(k, &p);
        fail_msg("expected flags %x seq %u ack %u len %u", flags, seq, ack, len);
    }
    memcpy(kit_payload, p.payload, p.payload_len);
    struct dk_tcp_header h = p.h;
    if (h.options.has & DK_TCP_HAS_TIMESTAMPS)
        k->ts_ecr = h.options.ts_val;
    dk_buf_put(p.buf);
    return h;
}

void kit_expect_none(struct kit *k)
{
    struct kit_packet p;
    if (!kit_host_take(k->host, &p))
        return;
    print(k, &p);
    fail_msg("expected nothing");
}

uint32_t kit_drain(struct kit *k)
{
    struct kit_packet p;
    uint32_t n = 0;
    for (; kit_host_take(k->host, &p); n++)
        dk_buf_put(p.buf);
    return n;
}

void kit_listen(struct kit *k, uint32_t backlog)
{
    struct dk_endpoint local = {.port = k->port};
    assert_int_equal(dk_tcp_listen(k->tcp, &k->listener, &local, backlog, &listener_ops, k), 0);
}

void kit_passive(struct kit *k)
{
    if (!k->listener)
        kit_listen(k, 8);
    kit_inject(k, S, 0, 0, NULL, 0);
    kit_expect(k, S | A, 0, 1, 0);
    kit_inject(k, A, 1, 1, NULL, 0);
    assert_int_equal(dk_tcp_accept(k->listener, &k->app.conn, &kit_ops, &k->app), 0);
    kit_tell(k);
    kit_expect_none(k);
    assert_int_equal(kit_state(k), DK_TCP_ESTABLISHED);
}

void kit_active(struct kit *k)
{
    struct dk_endpoint local = {0}, remote = {k->peer_ip, k->peer_port};
    assert_int_equal(
        dk_tcp_connect(k->tcp, &k->app.conn, &local, &remote, NULL, &kit_ops, &k->app, k->now), 0);
    struct dk_tcp_header h = kit_expect(k, S, 0, 0, 0);
    k->port = h.src_port;
    kit_inject(k, S | A, 0, 1, NULL, 0);
    kit_expect(k, A, 1, 1, 0);
    assert_int_equal(k->app.connected, 1);
    assert_int_equal(k->app.connect_err, 0);
}

struct dk_buf *kit_push(struct kit *k, uint32_t len, uintptr_t cookie)
{
    struct dk_buf *buf = dk_buf_alloc(len, 0);
    uint32_t from = (uint32_t)(k->app.conn->snd_end - k->app.conn->iss);
    for (uint32_t i = 0; i < len; i++)
        buf->data[i] = kit_byte(from + i);
    struct dk_tx_piece piece = {buf->data, len, buf};
    assert_int_equal(dk_tcp_send(k->app.conn, &piece, 1, 0, (void *)cookie, k->now), 0);
    assert_true(dk_tcp_all_valid(k->tcp));
    return buf;
}

void kit_write(struct kit *k, uint32_t len)
{
    uint8_t *bytes = malloc(len);
    uint32_t from = (uint32_t)(k->app.conn->snd_end - k->app.conn->iss);
    for (uint32_t i = 0; i < len; i++)
        bytes[i] = kit_byte(from + i);
    struct dk_tx_piece piece = {bytes, len, NULL};
    assert_int_equal(dk_tcp_send(k->app.conn, &piece, 1, DK_TCP_SEND_COPY, NULL, k->now), 1);
    free(bytes);
    assert_true(dk_tcp_all_valid(k->tcp));
}

uint32_t kit_read(struct kit *k, uint32_t *at, uint32_t max)
{
    uint32_t total = 0;
    while (total < max) {
        struct dk_buf *bufs[8];
        int n = dk_tcp_recv(k->app.conn, bufs, 8, max - total, k->now);
        if (n <= 0)
            break;
        for (int i = 0; i < n; i++) {
            size_t len = dk_buf_bytes(bufs[i]);
            for (size_t j = 0; j < len; j++)
                assert_int_equal(bufs[i]->data[j], kit_byte((*at)++));
            total += (uint32_t)len;
            dk_buf_put(bufs[i]);
        }
        assert_true(dk_tcp_all_valid(k->tcp));
    }
    return total;
}

enum dk_tcp_state kit_state(const struct kit *k)
{
    return k->app.conn->state;
}
