/* SPDX-License-Identifier: MIT */
/*
 * The whole input path of the stack, with a listener, an established connection and a UDP socket,
 * over IPv4 and IPv6. The bytes are a list of records:
 *
 *     kind (1)  length (2, little-endian)  bytes
 *
 * Some records are frames or packets as they are; others are mended (checksums, sequence numbers
 * near to those of the connection), so that more than the first check sees them; others let time
 * pass, or are calls of the application. After each one every invariant of TCP has to hold, and
 * whatever the stack sent has to be acceptable to a strict receiver; in the end no buffer is left.
 */
#include "fuzz.h"

#include "../lib/received.h"
#include "../pkt/pkt.h"

#define RECORDS_MAX 400
#define MTU         1500
#define SECOND      INT64_C(1000000000)
#define WAKE_MAX    20000 /* calls of dk_net_advance for one record */

enum kind_of_record {
    RECORD_FRAME,
    RECORD_PACKET,
    RECORD_MENDED,  /* an IP packet whose checksums and lengths are put right */
    RECORD_SEGMENT, /* of the connection: 12 bytes, then options, then payload */
    RECORD_TIME,
    RECORD_CALL,
    RECORD_ERROR, /* of ICMP, about the connection: what (1), MTU (2), distance (2) */
    RECORD_KINDS,
};

struct world {
    struct dk_net *net;
    int64_t now;
    int version;
    bool full;
    uint32_t iss; /* of the first SYN|ACK that was sent */
    bool has_iss;
    struct dk_tcp_listener *listener;
    struct dk_tcp_conn *conn;
    struct dk_udp_sock *sock;
    uint32_t connects;
};

static struct dk_ip address(int version, uint8_t last)
{
    struct dk_ip ip = {.version = (uint8_t)version};
    ip.bytes[0] = version == 4 ? 10 : 0xfd;
    ip.bytes[version == 4 ? 3 : 15] = last;
    return ip;
}

static bool emit(void *arg, const struct dk_tx_frame *f)
{
    struct world *w = arg;
    uint8_t frame[DK_TX_HEAD_MAX + 65536];
    uint32_t len = f->head_len;
    if (w->full)
        return false;
    FUZZ_CHECK(f->head_len <= DK_TX_HEAD_MAX && dk_tx_frame_bytes(f) <= MTU + 14);
    memcpy(frame, f->head, f->head_len);
    for (uint32_t i = 0; i < f->num_pieces; i++) {
        memcpy(frame + len, f->pieces[i].data, f->pieces[i].len);
        len += f->pieces[i].len;
    }
    struct packet *p = decode(frame, len, w->now, MTU + 14);
    if (p->wrong != NULL)
        fprintf(stderr, "sent: %s\n", p->wrong);
    FUZZ_CHECK(p->wrong == NULL);
    if (p->kind == KIND_TCP && (p->flags & SYN) != 0 && !w->has_iss) {
        w->iss = p->seq;
        w->has_iss = true;
    }
    free(p);
    return true;
}

static void on_connected(struct dk_tcp_conn *conn, void *owner, int err)
{
    (void)owner;
    if (err != 0)
        dk_tcp_abort(conn, 0);
}

static void on_readable(struct dk_tcp_conn *conn, void *owner)
{
    (void)conn;
    (void)owner;
}

static void on_sent(struct dk_tcp_conn *conn, void *owner, void *cookie, int err)
{
    (void)conn;
    (void)owner;
    (void)cookie;
    (void)err;
}

static void on_failed(struct dk_tcp_conn *conn, void *owner, int err)
{
    (void)conn;
    (void)owner;
    (void)err;
}

static void on_closed(struct dk_tcp_conn *conn, void *owner)
{
    struct world *w = owner;
    if (w->conn == conn)
        w->conn = NULL;
}

static const struct dk_tcp_ops ops = {
    .connected = on_connected,
    .readable = on_readable,
    .sent = on_sent,
    .peer_closed = on_readable,
    .failed = on_failed,
    .closed = on_closed,
};

static void on_acceptable(struct dk_tcp_listener *listener, void *owner)
{
    (void)listener;
    (void)owner;
}

static const struct dk_tcp_listener_ops listener_ops = {on_acceptable};

static void on_udp(void *arg, struct dk_udp_sock *sock, uint32_t events)
{
    (void)arg;
    (void)sock;
    (void)events;
}

/* ---- Packets --------------------------------------------------------------------------------- */

static void settle(struct world *w)
{
    int calls = 0;
    do {
        dk_net_advance(w->net, w->now);
        FUZZ_CHECK(++calls < WAKE_MAX);
    } while (dk_net_next_due(w->net) <= w->now);
    FUZZ_CHECK(dk_tcp_all_valid(dk_net_tcp(w->net)));
}

static void put_frame(struct world *w, const uint8_t *bytes, uint32_t len)
{
    struct dk_buf *buf = received(bytes, len);
    FUZZ_CHECK(buf != NULL);
    struct dk_rx_frame rx = {.buf = buf, .data = buf->data, .len = len};
    dk_net_input(w->net, &rx, w->now);
    dk_buf_put(buf);
}

static void put_packet(struct world *w, const uint8_t *bytes, uint32_t len)
{
    struct dk_buf *buf = dk_buf_alloc(len == 0 ? 1 : len, 0);
    FUZZ_CHECK(buf != NULL);
    memcpy(buf->data, bytes, len);
    dk_net_input_ip(w->net, buf, buf->data, len, w->now);
    dk_buf_put(buf);
}

/* Writes the transport's checksum, where it has one. */
static void mend_transport(struct dk_ip *src, struct dk_ip *dst, uint8_t protocol, uint8_t *at,
                           uint32_t len)
{
    static const uint8_t places[256] = {[1] = 2, [6] = 16, [17] = 6, [58] = 2};
    uint32_t place = places[protocol];
    if (place == 0 || len < place + 2)
        return;
    put16(at + place, 0);
    uint32_t sum = protocol == 1 ? 0 : sum_pseudo(src, dst, protocol, len);
    put16(at + place, sum_finish(sum_bytes(sum, at, len)));
}

static void mend_ip4(uint8_t *ip, uint32_t len)
{
    uint32_t head = (uint32_t)(ip[0] & 0xf) * 4;
    if (head < 20 || head > len)
        return;
    struct dk_ip src = {.version = 4}, dst = {.version = 4};
    memcpy(src.bytes, ip + 12, 4);
    memcpy(dst.bytes, ip + 16, 4);
    put16(ip + 2, len);
    if ((get16(ip + 6) & 0x3fff) == 0)
        mend_transport(&src, &dst, ip[9], ip + head, len - head);
    put16(ip + 10, 0);
    put16(ip + 10, sum_finish(sum_bytes(0, ip, head)));
}

static void mend_ip6(uint8_t *ip, uint32_t len)
{
    struct dk_ip src = {.version = 6}, dst = {.version = 6};
    memcpy(src.bytes, ip + 8, 16);
    memcpy(dst.bytes, ip + 24, 16);
    put16(ip + 4, len - 40);
    mend_transport(&src, &dst, ip[6], ip + 40, len - 40);
}

static void put_mended(struct world *w, const uint8_t *bytes, uint32_t len)
{
    uint8_t ip[65536];
    memcpy(ip, bytes, len);
    if (len >= 20 && ip[0] >> 4 == 4)
        mend_ip4(ip, len);
    else if (len >= 40 && ip[0] >> 4 == 6)
        mend_ip6(ip, len);
    put_packet(w, ip, len);
}

/* ---- Segments of the connection -------------------------------------------------------------- */

struct segment {
    uint32_t seq, ack;
    uint8_t flags;
    uint16_t window, urgent;
    uint16_t src_port, dst_port;
    const uint8_t *options, *payload;
    uint32_t options_len, payload_len;
};

static void put_segment(struct world *w, const struct segment *s)
{
    uint8_t ip[65536] = {0};
    uint32_t options_len = s->options_len & ~3u;
    uint32_t head = w->version == 4 ? 20 : 40, len = 20 + options_len + s->payload_len;
    struct dk_ip src = address(w->version, 2), dst = address(w->version, 1);
    uint8_t *tcp = ip + head;
    put16(tcp, s->src_port);
    put16(tcp + 2, s->dst_port);
    put32(tcp + 4, s->seq);
    put32(tcp + 8, s->ack);
    tcp[12] = (uint8_t)((20 + options_len) / 4 << 4);
    tcp[13] = s->flags;
    put16(tcp + 14, s->window);
    put16(tcp + 18, s->urgent);
    if (options_len > 0)
        memcpy(tcp + 20, s->options, options_len);
    if (s->payload_len > 0)
        memcpy(tcp + 20 + options_len, s->payload, s->payload_len);
    if (w->version == 4) {
        memcpy(ip, (uint8_t[]){0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6}, 10);
        memcpy(ip + 12, src.bytes, 4);
        memcpy(ip + 16, dst.bytes, 4);
    } else {
        memcpy(ip, (uint8_t[]){0x60, 0, 0, 0, 0, 0, 6, 64}, 8);
        memcpy(ip + 8, src.bytes, 16);
        memcpy(ip + 24, dst.bytes, 16);
    }
    put_mended(w, ip, head + len);
}

/* SACK blocks are distances, too: sixteen bits of each number, from what is not acknowledged. */
static void move_blocks(uint8_t *options, uint32_t len, uint32_t snd_una)
{
    for (uint32_t at = 0; at + 2 <= len && options[at] != 0;) {
        uint32_t size = options[at] == 1 ? 1 : options[at + 1];
        if (options[at] != 1 && (size < 2 || size > len - at))
            return;
        for (uint32_t i = 2; options[at] == 5 && i + 4 <= size; i += 4)
            put32(options + at + i, snd_una + (uint32_t)(int16_t)get16(options + at + i + 2));
        at += size;
    }
}

/* flags, options' length, seq and ack as signed distances (2 each), window (2), ports (1), urgent
 * (1), scale of the distances (1). */
static void put_near_segment(struct world *w, const uint8_t *bytes, uint32_t len)
{
    struct dk_tcp_info info = {0};
    uint8_t options[40];
    if (len < 12)
        return;
    if (w->conn != NULL)
        dk_tcp_get_info(w->conn, &info);
    uint32_t shift = bytes[10] % 17;
    int32_t seq = (int16_t)get16(bytes + 2), ack = (int16_t)get16(bytes + 4);
    bool other = (bytes[8] & 1) != 0;
    struct segment s = {
        .flags = bytes[0],
        .seq = info.rcv_nxt + ((uint32_t)seq << shift),
        .ack = info.snd_nxt + ((uint32_t)ack << shift),
        .window = (uint16_t)get16(bytes + 6),
        .urgent = bytes[9],
        .src_port = (uint16_t)(other ? 5000 + (bytes[8] >> 1) : 5000),
        .dst_port = (uint16_t)((bytes[11] & 1) != 0 ? 81 : 80),
    };
    s.options = options;
    s.options_len = bytes[1] < 40 ? bytes[1] : 40;
    s.options_len = s.options_len < len - 12 ? s.options_len : len - 12;
    memcpy(options, bytes + 12, s.options_len);
    move_blocks(options, s.options_len, info.snd_una);
    s.payload = bytes + 12 + s.options_len;
    s.payload_len = len - 12 - s.options_len;
    put_segment(w, &s);
}

/* An error about a segment of the connection, near to what is in flight. */
static void put_error(struct world *w, const uint8_t *bytes, uint32_t len)
{
    static const enum icmp errors[] = {ICMP_TOO_BIG, ICMP_UNREACHABLE_HOST, ICMP_UNREACHABLE_PORT,
                                       ICMP_TIME_EXCEEDED};
    struct dk_tcp_info info = {0};
    uint8_t ip[200] = {0};
    uint32_t head = w->version == 4 ? 20 : 40;
    uint8_t *icmp = ip + head, *quote = icmp + 8, *tcp = quote + head;
    struct dk_ip peer = address(w->version, 2), us = address(w->version, 1);
    if (len < 5 || w->conn == NULL)
        return;
    dk_tcp_get_info(w->conn, &info);
    icmp_type(w->version, errors[bytes[0] % 4], icmp, icmp + 1);
    put32(icmp + 4, get16(bytes + 1));
    for (int i = 0; i < 2; i++) {
        uint8_t *at = i == 0 ? ip : quote;
        const struct dk_ip *src = i == 0 ? &peer : &us, *dst = i == 0 ? &us : &peer;
        if (w->version == 4) {
            memcpy(at, (uint8_t[]){0x45, 0, 0, 60, 0, 0, 0, 0, 64, i == 0 ? 1 : 6}, 10);
            memcpy(at + 12, src->bytes, 4);
            memcpy(at + 16, dst->bytes, 4);
            put16(at + 10, sum_finish(sum_bytes(0, at, 20)));
        } else {
            memcpy(at, (uint8_t[]){0x60, 0, 0, 0, 0, 60, i == 0 ? 58 : 6, 64}, 8);
            memcpy(at + 8, src->bytes, 16);
            memcpy(at + 24, dst->bytes, 16);
        }
    }
    put16(tcp, info.local.port);
    put16(tcp + 2, info.remote.port);
    put32(tcp + 4, info.snd_una + (uint32_t)(int16_t)get16(bytes + 3));
    tcp[12] = 0x50;
    put_mended(w, ip, 2 * head + 8 + 20);
}

static void establish(struct world *w)
{
    static const uint8_t options[] = {4, 2, 1, 1,  2, 4, 5, 0xb4, 1, 3, 3, 7,
                                      1, 1, 8, 10, 0, 0, 1, 0,    0, 0, 0, 0};
    struct segment syn = {.seq = 999,
                          .flags = SYN,
                          .window = 65535,
                          .src_port = 5000,
                          .dst_port = 80,
                          .options = options,
                          .options_len = w->version == 4 ? 24 : 12};
    struct segment ack = {.seq = 1000,
                          .flags = ACK,
                          .window = 500,
                          .src_port = 5000,
                          .dst_port = 80,
                          .options = options + 12,
                          .options_len = w->version == 4 ? 12 : 0};
    put_segment(w, &syn);
    settle(w);
    FUZZ_CHECK(w->has_iss);
    ack.ack = w->iss + 1;
    put_segment(w, &ack);
    settle(w);
    FUZZ_CHECK(dk_tcp_accept(w->listener, &w->conn, &ops, w) == 0);
}

/* ---- Calls ----------------------------------------------------------------------------------- */

static void call_send(struct world *w, uint32_t len)
{
    struct dk_buf *buf = dk_buf_alloc(len + 1, 0);
    FUZZ_CHECK(buf != NULL);
    memset(buf->data, 0x61, len + 1);
    struct dk_tx_piece piece = {.data = buf->data, .len = len + 1, .buf = buf};
    dk_tcp_send(w->conn, &piece, 1, len % 3, NULL, w->now);
    dk_buf_put(buf);
}

static void call_recv(struct world *w, size_t most)
{
    struct dk_buf *bufs[8];
    int n = dk_tcp_recv(w->conn, bufs, 8, most + 1, w->now);
    for (int i = 0; i < n; i++)
        dk_buf_put(bufs[i]);
}

static void call_accept(struct world *w)
{
    struct dk_tcp_conn *conn;
    if (dk_tcp_accept(w->listener, &conn, &ops, w) != 0)
        return;
    if (w->conn == NULL)
        w->conn = conn;
    else
        dk_tcp_close(conn, w->now);
}

static void call_connect(struct world *w, uint16_t port)
{
    struct dk_endpoint local = {0}, remote = {.ip = address(w->version, 2), .port = port};
    struct dk_tcp_conn *conn;
    if (w->connects++ > 8 ||
        dk_tcp_connect(dk_net_tcp(w->net), &conn, &local, &remote, NULL, &ops, w, w->now) != 0)
        return;
    if (w->conn == NULL)
        w->conn = conn;
    else
        dk_tcp_close(conn, w->now);
}

static void call_udp(struct world *w)
{
    struct dk_udp_datagram d;
    if (dk_udp_recv(w->sock, &d) == 0)
        dk_buf_put(d.buf);
}

static void call(struct world *w, const uint8_t *bytes, uint32_t len)
{
    uint32_t value = len >= 3 ? get16(bytes + 1) : 0;
    if (len == 0)
        return;
    switch (bytes[0] % 10) {
    case 0:
        call_accept(w);
        return;
    case 1:
        call_connect(w, (uint16_t)value);
        return;
    case 2:
        call_udp(w);
        return;
    case 3:
        w->full = !w->full;
        if (!w->full)
            dk_net_tx_room(w->net, w->now);
        return;
    default:
        break;
    }
    if (w->conn == NULL)
        return;
    switch (bytes[0] % 10) {
    case 4:
        dk_tcp_shutdown(w->conn, w->now);
        break;
    case 5:
        dk_tcp_close(w->conn, w->now);
        w->conn = NULL;
        break;
    case 6:
        dk_tcp_abort(w->conn, w->now);
        w->conn = NULL;
        break;
    case 7:
    case 8:
        call_send(w, value);
        break;
    default:
        call_recv(w, value);
    }
}

/* Up to an hour, by every time at which the stack wants to be called. */
static void pass_time(struct world *w, const uint8_t *bytes, uint32_t len)
{
    int64_t ns = len >= 2 ? (int64_t)get16(bytes) << (len >= 3 ? bytes[2] % 26 : 10) : SECOND;
    int64_t until = w->now + (ns < 3600 * SECOND ? ns : 3600 * SECOND);
    for (int calls = 0;; calls++) {
        int64_t due = dk_net_next_due(w->net);
        if (due > until)
            break;
        FUZZ_CHECK(calls < WAKE_MAX);
        w->now = due > w->now ? due : w->now;
        settle(w);
    }
    w->now = until;
}

/* ---- The world ------------------------------------------------------------------------------- */

static void begin(struct world *w)
{
    struct dk_tcp_config tcp;
    dk_tcp_config_init(&tcp);
    tcp.conns_max = 32;
    tcp.half_open_max = 8;
    tcp.listeners_max = 4;
    tcp.segments_max = tcp.pieces_max = tcp.elements_max = 512;
    tcp.reasm_max = 128;
    tcp.recoveries_max = 4;
    tcp.conn_reasm_max = 32;
    struct dk_net_config c = {
        .mac = {{2, 0, 0, 0, 0, 1}},
        .mtu = MTU,
        .num_addresses = 2,
        .skip_dad = true,
        .tcp = &tcp,
        .emit = emit,
        .emit_arg = w,
        .secret = "input of fuzzer",
    };
    c.addresses[0] = (struct dk_net_address){address(4, 1), 24};
    c.addresses[1] = (struct dk_net_address){address(6, 1), 64};
    const char *why;
    FUZZ_CHECK(dk_net_create(&w->net, &c, w->now, &why) == 0);
    for (int version = 4; version <= 6; version += 2) {
        struct dk_ip peer = address(version, 2);
        dk_net_add_neighbour(w->net, &peer, &(struct dk_mac){{2, 0, 0, 0, 0, 2}});
    }
    struct dk_endpoint any = {.port = 80}, udp = {.port = 7000};
    FUZZ_CHECK(dk_tcp_listen(dk_net_tcp(w->net), &w->listener, &any, 2, &listener_ops, w) == 0);
    FUZZ_CHECK(dk_udp_open(w->net, on_udp, w, &w->sock) == 0);
    FUZZ_CHECK(dk_udp_bind(w->sock, &udp) == 0);
    settle(w);
    establish(w);
}

static void run_record(struct world *w, uint8_t kind, const uint8_t *bytes, uint32_t len)
{
    switch (kind % RECORD_KINDS) {
    case RECORD_FRAME:
        put_frame(w, bytes, len);
        break;
    case RECORD_PACKET:
        put_packet(w, bytes, len);
        break;
    case RECORD_MENDED:
        put_mended(w, bytes, len);
        break;
    case RECORD_SEGMENT:
        put_near_segment(w, bytes, len);
        break;
    case RECORD_TIME:
        pass_time(w, bytes, len);
        break;
    case RECORD_ERROR:
        put_error(w, bytes, len);
        break;
    default:
        call(w, bytes, len);
    }
    settle(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    uint32_t buffers = dk_buf_in_use();
    struct world w = {.now = 1000 * SECOND, .version = len > 0 && (bytes[0] & 0x80) != 0 ? 6 : 4};
    begin(&w);
    for (int i = 0; i < RECORDS_MAX && len >= 3; i++) {
        uint32_t size = (uint32_t)bytes[1] | (uint32_t)bytes[2] << 8;
        uint8_t kind = bytes[0] & 0x7f;
        bytes += 3;
        len -= 3;
        size = size < len ? size : (uint32_t)len;
        size = size < 60000 ? size : 60000;
        run_record(&w, kind, bytes, size);
        bytes += size;
        len -= size;
    }
    dk_udp_close(w.sock);
    dk_net_destroy(w.net);
    FUZZ_CHECK(dk_buf_in_use() == buffers);
    return 0;
}
