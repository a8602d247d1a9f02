/* SPDX-License-Identifier: MIT */
/*
 * A server under floods: a well-behaved client opens connections, asks, reads the answer to its
 * end, again and again, while somebody else sends as many frames as a bad day has. Two stacks, a
 * virtual clock, a fixed seed: the numbers are the same each time.
 *
 *     flood            all floods; TAP
 *
 * The client gets at least 0.9 of what it gets in calm, and the server's memory stays bounded.
 */
#include "../lib/received.h"
#include "base/bytes.h"
#include "base/random.h"
#include "net/net.h"
#include "net/tcp/tcb.h"
#include "net/wire/arp.h"
#include "net/wire/ethernet.h"
#include "net/wire/ipv4.h"

#include <stdio.h>
#include <stdlib.h>

#define US            INT64_C(1000)
#define MS            (1000 * US)
#define S             (1000 * MS)
#define STEP_NS       (20 * US)
#define RUN_NS        (2 * S)
#define LATENCY_NS    (2 * MS)
#define PER_STEP      4 /* frames of a flood: 200,000 in a second */
#define SESSIONS      16
#define REQUEST_BYTES 100
#define ANSWER_BYTES  4000
#define LINK_FRAMES   8192
#define BUFFERS_MAX   6000 /* of the server, however long a flood lasts */
#define PORT          80

struct frame {
    int64_t due;
    uint32_t len;
    uint8_t bytes[1600];
};

/* One way of the link. */
struct way {
    uint32_t first, num;
    struct frame frames[LINK_FRAMES];
};

struct host {
    struct dk_net *net;
    struct dk_tcp *tcp;
    struct way *out;
};

struct session {
    struct dk_tcp_conn *conn;
    uint32_t received;
};

static struct way ways[2];
static struct host server, client;
static struct session sessions[SESSIONS];
static struct dk_tcp_listener *listener;
static struct dk_random attacker;
static int64_t now;
static uint32_t exchanges, failures;
static uint8_t answer[ANSWER_BYTES];

static const struct dk_mac server_mac = {{2, 0, 0, 0, 0, 1}}, client_mac = {{2, 0, 0, 0, 0, 2}},
                           router_mac = {{2, 0, 0, 0, 0, 254}};

static struct dk_ip ip4(uint32_t a)
{
    struct dk_ip ip = {.version = 4};
    ip.v4 = htonl(a);
    return ip;
}

#define SERVER_IP UINT32_C(0x0a000001)
#define CLIENT_IP UINT32_C(0x0a000002)
#define ROUTER_IP UINT32_C(0x0a0000fe)

/* ---- The link -------------------------------------------------------------------------------- */

static struct frame *frame_add(struct way *w)
{
    if (w->num == LINK_FRAMES)
        return NULL;
    struct frame *f = &w->frames[(w->first + w->num++) % LINK_FRAMES];
    f->due = now + LATENCY_NS;
    return f;
}

static bool emit(void *arg, const struct dk_tx_frame *frame)
{
    struct host *h = arg;
    struct frame *f = frame_add(h->out);
    if (!f)
        return true; /* lost */
    memcpy(f->bytes, frame->head, frame->head_len);
    f->len = frame->head_len;
    for (uint32_t i = 0; i < frame->num_pieces; i++) {
        memcpy(f->bytes + f->len, frame->pieces[i].data, frame->pieces[i].len);
        f->len += frame->pieces[i].len;
    }
    return true;
}

static void deliver(struct way *w, struct host *to)
{
    while (w->num > 0 && w->frames[w->first].due <= now) {
        struct frame *f = &w->frames[w->first];
        struct dk_buf *buf = received(f->bytes, f->len);
        if (!buf)
            abort();
        dk_net_input(to->net, &(struct dk_rx_frame){.buf = buf, .data = buf->data, .len = f->len},
                     now);
        dk_buf_put(buf);
        w->first = (w->first + 1) % LINK_FRAMES;
        w->num--;
    }
    dk_net_advance(to->net, now);
}

/* ---- The server ------------------------------------------------------------------------------ */

static uint32_t take(struct dk_tcp_conn *c, bool *end)
{
    struct dk_buf *bufs[16];
    uint32_t bytes = 0;
    int n;
    while ((n = dk_tcp_recv(c, bufs, 16, SIZE_MAX, now)) > 0)
        for (int i = 0; i < n; i++) {
            bytes += dk_buf_bytes(bufs[i]);
            dk_buf_put(bufs[i]);
        }
    *end = n == 0;
    return bytes;
}

static void ignore_connected(struct dk_tcp_conn *c, void *owner, int err)
{
    (void)c, (void)owner, (void)err;
}

static void ignore_sent(struct dk_tcp_conn *c, void *owner, void *cookie, int err)
{
    (void)c, (void)owner, (void)cookie, (void)err;
}

static void ignore(struct dk_tcp_conn *c, void *owner)
{
    (void)c, (void)owner;
}

static void serve(struct dk_tcp_conn *c, void *owner)
{
    const struct dk_tx_piece piece = {.data = answer, .len = ANSWER_BYTES};
    bool end;
    (void)owner;
    if (take(c, &end) < REQUEST_BYTES)
        return;
    dk_tcp_send(c, &piece, 1, DK_TCP_SEND_COPY, NULL, now);
    dk_tcp_close(c, now);
}

static void give_up(struct dk_tcp_conn *c, void *owner, int err)
{
    (void)owner, (void)err;
    dk_tcp_close(c, now);
}

static const struct dk_tcp_ops server_ops = {.connected = ignore_connected,
                                             .readable = serve,
                                             .sent = ignore_sent,
                                             .peer_closed = ignore,
                                             .failed = give_up,
                                             .closed = ignore};

static void acceptable(struct dk_tcp_listener *l, void *owner)
{
    struct dk_tcp_conn *c;
    (void)owner;
    while (dk_tcp_accept(l, &c, &server_ops, NULL) == 0)
        continue;
}

static const struct dk_tcp_listener_ops listener_ops = {acceptable};

/* ---- The client ------------------------------------------------------------------------------ */

static void begin(struct session *s);

static void ask(struct dk_tcp_conn *c, void *owner, int err)
{
    const struct dk_tx_piece piece = {.data = answer, .len = REQUEST_BYTES};
    (void)owner;
    if (err == 0)
        dk_tcp_send(c, &piece, 1, DK_TCP_SEND_COPY, NULL, now);
    else
        dk_tcp_close(c, now);
}

static void read_answer(struct dk_tcp_conn *c, void *owner)
{
    struct session *s = owner;
    bool end;
    s->received += take(c, &end);
    if (end)
        dk_tcp_close(c, now);
}

static void over(struct dk_tcp_conn *c, void *owner)
{
    struct session *s = owner;
    (void)c;
    if (s->received == ANSWER_BYTES)
        exchanges++;
    else
        failures++;
    begin(s);
}

static const struct dk_tcp_ops client_ops = {.connected = ask,
                                             .readable = read_answer,
                                             .sent = ignore_sent,
                                             .peer_closed = read_answer,
                                             .failed = give_up,
                                             .closed = over};

static void begin(struct session *s)
{
    const struct dk_endpoint any = {.port = 0}, to = {ip4(SERVER_IP), PORT};
    s->received = 0;
    if (dk_tcp_connect(client.tcp, &s->conn, &any, &to, NULL, &client_ops, s, now) != 0)
        abort();
}

/* ---- The attacker ---------------------------------------------------------------------------- */

static uint32_t draw(void)
{
    return (uint32_t)dk_random_u64(&attacker);
}

static struct frame *frame_begin(const struct dk_mac *from, uint16_t type)
{
    struct frame *f = frame_add(client.out);
    const struct dk_eth_header eth = {.dst = server_mac, .src = *from, .type = type};
    if (f)
        f->len = (uint32_t)dk_eth_header_emit(&eth, f->bytes);
    return f;
}

static void put_ip(struct frame *f, struct dk_ip src, uint8_t protocol, uint16_t len,
                   uint16_t fragment)
{
    const struct dk_ip4_header ip = {.src = src,
                                     .dst = ip4(SERVER_IP),
                                     .header_len = 20,
                                     .ttl = 60,
                                     .protocol = protocol,
                                     .total_len = (uint16_t)(20 + len),
                                     .id = (uint16_t)draw(),
                                     .fragment_offset = fragment,
                                     .more_fragments = fragment != 0};
    f->len += (uint32_t)dk_ip4_header_emit(&ip, f->bytes + f->len);
}

static void send_tcp(struct dk_ip src, const struct dk_mac *mac, uint8_t flags)
{
    struct frame *f = frame_begin(mac, DK_ETHERTYPE_IP4);
    if (!f)
        return;
    const struct dk_ip dst = ip4(SERVER_IP);
    struct dk_tcp_header h = {.src_port = (uint16_t)(draw() | 1),
                              .dst_port = PORT,
                              .seq = draw(),
                              .ack = draw(),
                              .flags = flags,
                              .window = 60000,
                              .options = {.has = DK_TCP_HAS_MSS, .mss = 1460}};
    uint8_t bytes[DK_TCP_HEADER_MAX];
    const uint32_t len = (uint32_t)dk_tcp_header_emit(&h, bytes);
    const uint32_t sum = dk_ip_pseudo_sum(&src, &dst, DK_IP_TCP, len);
    dk_put_be16(bytes + DK_TCP_CHECKSUM_OFFSET,
                dk_checksum_finish(dk_checksum_add(sum, bytes, len)));
    put_ip(f, src, DK_IP_TCP, (uint16_t)len, 0);
    memcpy(f->bytes + f->len, bytes, len);
    f->len += len;
}

static struct dk_ip far_away(void)
{
    return ip4(UINT32_C(0xc6120000) | (draw() & 0x1ffff));
}

static struct dk_ip on_the_link(void)
{
    return ip4(UINT32_C(0x0a000000) | (256 + draw() % 60000));
}

static void syn(void)
{
    send_tcp(far_away(), &router_mac, DK_TCP_SYN);
}

static void syn_near(void)
{
    send_tcp(on_the_link(), &router_mac, DK_TCP_SYN);
}

static void ack(void)
{
    send_tcp(far_away(), &router_mac, DK_TCP_ACK);
}

static void syn_and_ack(void)
{
    send_tcp(far_away(), &router_mac, draw() & 1 ? DK_TCP_SYN : DK_TCP_ACK);
}

/* As if from the client, at ports that it may have. */
static void rst(void)
{
    send_tcp(ip4(CLIENT_IP), &client_mac, DK_TCP_RST);
}

static void fragment(void)
{
    struct frame *f = frame_begin(&router_mac, DK_ETHERTYPE_IP4);
    if (!f)
        return;
    put_ip(f, far_away(), DK_IP_UDP, 1000, 1000);
    memset(f->bytes + f->len, 0, 1000);
    f->len += 1000;
}

static void arp(void)
{
    struct frame *f = frame_begin(&router_mac, DK_ETHERTYPE_ARP);
    if (!f)
        return;
    const struct dk_arp question = {.operation = DK_ARP_REQUEST,
                                    .sender_mac = {{2, 1, 0, 0, (uint8_t)draw(), (uint8_t)draw()}},
                                    .sender_ip = on_the_link(),
                                    .target_ip = ip4(SERVER_IP)};
    f->len += (uint32_t)dk_arp_emit(&question, f->bytes + f->len);
}

/* ---- Runs ------------------------------------------------------------------------------------ */

static void open_host(struct host *h, uint32_t ip, const struct dk_mac *mac, struct way *out)
{
    struct dk_tcp_config tcp;
    dk_tcp_config_init(&tcp);
    ;
    struct dk_net_config config = {
        .mac = *mac,
        .mtu = 1500,
        .num_addresses = 1,
        .addresses = {{ip4(ip), 16}},
        .num_routes = 1,
        .routes = {{{.version = 4}, 0, ip4(ROUTER_IP)}},
        .secret = "of the flood sim",
        .seed = ip,
        .skip_dad = true,
        .tcp = &tcp,
        .emit = emit,
        .emit_arg = h,
    };
    const char *why = NULL;
    const struct dk_ip router = ip4(ROUTER_IP);
    h->out = out;
    if (dk_net_create(&h->net, &config, now, &why) != 0 ||
        dk_net_add_neighbour(h->net, &router, &router_mac) != 0)
        abort();
    h->tcp = dk_net_tcp(h->net);
}

/* Runs with a flood; returns the exchanges of the client. */
static uint32_t run(void (*attack)(void), uint32_t *buffers_out)
{
    const struct dk_endpoint local = {ip4(SERVER_IP), PORT};
    const uint32_t before = dk_buf_in_use();
    now = S;
    exchanges = failures = *buffers_out = 0;
    memset(ways, 0, sizeof(ways));
    dk_random_init(&attacker, 7);
    open_host(&server, SERVER_IP, &server_mac, &ways[0]);
    open_host(&client, CLIENT_IP, &client_mac, &ways[1]);
    if (dk_tcp_listen(server.tcp, &listener, &local, 128, &listener_ops, NULL) != 0)
        abort();
    for (int i = 0; i < SESSIONS; i++)
        begin(&sessions[i]);
    for (int64_t end = now + RUN_NS; now < end; now += STEP_NS) {
        for (int i = 0; attack && i < PER_STEP; i++)
            attack();
        deliver(&ways[1], &server);
        deliver(&ways[0], &client);
        const uint32_t used = dk_buf_in_use() - before;
        *buffers_out = used > *buffers_out ? used : *buffers_out;
    }
    const uint32_t done = dk_tcp_all_valid(server.tcp) ? exchanges : 0;
    dk_net_destroy(client.net);
    dk_net_destroy(server.net);
    if (dk_buf_in_use() != before)
        return 0;
    return done;
}

int main(void)
{
    static const struct {
        const char *name;
        void (*attack)(void);
    } floods[] = {
        {"SYN", syn}, {"SYN from the link", syn_near},
        {"ACK", ack}, {"SYN and ACK, with cookies", syn_and_ack},
        {"RST", rst}, {"fragments", fragment},
        {"ARP", arp},
    };
    const uint32_t n = sizeof(floods) / sizeof(floods[0]);
    uint32_t buffers;
    const uint32_t calm = run(NULL, &buffers);
    int bad = 0;
    printf("1..%u\n# calm: %u exchanges in 2 s, %u buffers\n", n, calm, buffers);
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t done = run(floods[i].attack, &buffers);
        const bool good =
            calm > 1000 && done >= calm * 9 / 10 && failures == 0 && buffers <= BUFFERS_MAX;
        bad += !good;
        printf("%sok %u - %s: %.2f of calm, %u failed, %u buffers\n", good ? "" : "not ", i + 1,
               floods[i].name, (double)done / calm, failures, buffers);
        fflush(stdout);
    }
    return bad != 0;
}
