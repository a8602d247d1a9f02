/* SPDX-License-Identifier: MIT */
/*
 * A server under floods: a well-behaved client opens connections, asks, reads the answer to its
 * end, again and again, while somebody else sends as many frames as a bad day has. Two stacks, a
 * virtual clock, a fixed seed: the numbers are the same each time.
 *
 *     flood [DEAF]     all floods; TAP; DEAF: connections that read nothing, 100,000 without it
 *
 * The client gets at least 0.9 of what it gets in calm, and the server's memory stays bounded.
 *
 * The last two are no frames of nobody: somebody opens very many connections, asks on each, and
 * reads nothing, but answers each probe of the window that is shut. The server has room for all of
 * them, and gives them up, as it has closed them, before probes go on for ever; or it has room for
 * some, and counts the others.
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
#define BUFFERS_MAX   6000  /* of the server, however long a flood lasts */
#define DEAF_WINDOW   500   /* of a peer that will read nothing */
#define DEAF_ANSWER   1000  /* what it asks for */
#define DEAF_MEMORY   2200  /* of the server for one of them, with what it is to be sent */
#define DEAF_PER_STEP 2     /* opened: 100,000 in a second */
#define DEAF_PORTS    1024  /* of one address */
#define SLAB_BYTES    16384 /* of memory where pushes are copied to */
#define PATIENCE_NS   (3600 * S)
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

/* What somebody does beside the client. */
struct attack {
    const char *name;
    void (*step)(void);                  /* PER_STEP times in a step; NULL: calm */
    void (*hear)(const struct frame *f); /* what the server sends to others than the client */
    bool keeps;         /* the server closes no connection: the client asks on the same ones */
    uint32_t conns_max; /* of the server; 0: as ever */
};

/* What came of a run. */
struct outcome {
    uint32_t exchanges, failures, buffers;
    bool valid; /* and nothing is left */
};

/* A connection that reads nothing. */
struct deaf {
    uint32_t iss; /* of the server */
    bool is_full; /* it has what fits in its window */
};

static struct way ways[2];
static struct host server, client;
static struct session sessions[SESSIONS];
static struct dk_tcp_listener *listener;
static struct dk_random attacker;
static const struct attack *attack;
static int64_t now;
static uint32_t exchanges, failures;
static uint8_t first_byte; /* of what was read last */
static bool is_over;       /* no new exchanges */
static struct deaf *deafs;
static uint32_t num_deaf, deafs_tried, deafs_asked;
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

static void input(struct host *to, const struct frame *f)
{
    struct dk_buf *buf = dk_buf_alloc(f->len, DK_BUF_PEER_BYTES);
    if (!buf)
        abort();
    memcpy(buf->data, f->bytes, f->len);
    dk_net_input(to->net, &(struct dk_rx_frame){.buf = buf, .data = buf->data, .len = f->len}, now);
    dk_buf_put(buf);
}

static bool is_for_client(const struct frame *f)
{
    return memcmp(f->bytes, client_mac.bytes, sizeof(client_mac.bytes)) == 0;
}

static void deliver(struct way *w, struct host *to)
{
    while (w->num > 0 && w->frames[w->first].due <= now) {
        const struct frame *f = &w->frames[w->first];
        if (to == &client && attack->hear && !is_for_client(f))
            attack->hear(f);
        else
            input(to, f);
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
            first_byte = bufs[i]->data[0];
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
    struct dk_tx_piece piece = {.data = answer, .len = ANSWER_BYTES};
    bool end;
    (void)owner;
    if (take(c, &end) < REQUEST_BYTES)
        return;
    if (first_byte != answer[0])
        piece.len = DEAF_ANSWER;
    dk_tcp_send(c, &piece, 1, DK_TCP_SEND_COPY, NULL, now);
    if (!attack->keeps)
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
    if (attack->keeps && s->received == ANSWER_BYTES) {
        exchanges++;
        s->received = 0;
        ask(c, owner, 0);
    }
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
    if (!is_over)
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

static void send_segment(struct dk_ip src, const struct dk_mac *mac, const struct dk_tcp_header *h,
                         uint32_t payload)
{
    struct frame *f = frame_begin(mac, DK_ETHERTYPE_IP4);
    if (!f)
        return;
    const struct dk_ip dst = ip4(SERVER_IP);
    uint8_t bytes[DK_TCP_HEADER_MAX + REQUEST_BYTES];
    const uint32_t header_len = (uint32_t)dk_tcp_header_emit(h, bytes), len = header_len + payload;
    memset(bytes + header_len, 1, payload);
    const uint32_t sum = dk_ip_pseudo_sum(&src, &dst, DK_IP_TCP, len);
    dk_put_be16(bytes + DK_TCP_CHECKSUM_OFFSET,
                dk_checksum_finish(dk_checksum_add(sum, bytes, len)));
    put_ip(f, src, DK_IP_TCP, (uint16_t)len, 0);
    memcpy(f->bytes + f->len, bytes, len);
    f->len += len;
}

static void send_tcp(struct dk_ip src, const struct dk_mac *mac, uint8_t flags)
{
    const struct dk_tcp_header h = {.src_port = (uint16_t)(draw() | 1),
                                    .dst_port = PORT,
                                    .seq = draw(),
                                    .ack = draw(),
                                    .flags = flags,
                                    .window = 60000,
                                    .options = {.has = DK_TCP_HAS_MSS, .mss = 1460}};
    send_segment(src, mac, &h, 0);
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

/* ---- Connections that read nothing ----------------------------------------------------------- */

static struct dk_ip deaf_ip(uint32_t number)
{
    return ip4(UINT32_C(0xc6130000) + number / DEAF_PORTS);
}

static struct dk_tcp_header deaf_header(uint32_t number, uint32_t seq, uint32_t ack, uint8_t flags,
                                        uint16_t window)
{
    return (struct dk_tcp_header){.src_port = (uint16_t)(DEAF_PORTS + number % DEAF_PORTS),
                                  .dst_port = PORT,
                                  .seq = number + seq,
                                  .ack = ack,
                                  .flags = flags,
                                  .window = window};
}

static void open_deaf(void)
{
    if (deafs_tried == num_deaf)
        return;
    struct dk_tcp_header h = deaf_header(deafs_tried, 0, 0, DK_TCP_SYN, DEAF_WINDOW);
    h.options = (struct dk_tcp_options){.has = DK_TCP_HAS_MSS, .mss = 1460};
    send_segment(deaf_ip(deafs_tried++), &router_mac, &h, 0);
}

/* Of PER_STEP calls in a step. */
static void open_deafs(void)
{
    static uint32_t turn;
    if (turn++ % (PER_STEP / DEAF_PER_STEP) == 0)
        open_deaf();
}

/* Asks, once the connection is there; then takes what fits and shuts its window. Whatever comes
 * then, a probe, is answered: it is there still, and has no room. */
static void answer_as_deaf(uint32_t number, const struct dk_tcp_header *h, uint32_t payload)
{
    struct deaf *d = &deafs[number];
    if (h->flags & DK_TCP_SYN) {
        d->iss = h->seq;
        deafs_asked++;
        const struct dk_tcp_header question =
            deaf_header(number, 1, d->iss + 1, DK_TCP_ACK | DK_TCP_PSH, DEAF_WINDOW);
        send_segment(deaf_ip(number), &router_mac, &question, REQUEST_BYTES);
        return;
    }
    if (h->flags & DK_TCP_RST)
        return;
    d->is_full |= payload == DEAF_WINDOW && h->seq == d->iss + 1;
    const struct dk_tcp_header full =
        deaf_header(number, 1 + REQUEST_BYTES, d->iss + 1 + (d->is_full ? DEAF_WINDOW : 0),
                    DK_TCP_ACK, d->is_full ? 0 : DEAF_WINDOW);
    if (payload > 0)
        send_segment(deaf_ip(number), &router_mac, &full, 0);
}

static void hear_as_deaf(const struct frame *f)
{
    struct dk_ip4_header ip;
    struct dk_tcp_header h;
    if (dk_ip4_header_parse(f->bytes + DK_ETH_HEADER_LEN, f->len - DK_ETH_HEADER_LEN, &ip) !=
            DK_WIRE_OK ||
        ip.protocol != DK_IP_TCP)
        return;
    const uint8_t *segment = f->bytes + DK_ETH_HEADER_LEN + ip.header_len;
    const uint32_t len = ip.total_len - ip.header_len;
    if (dk_tcp_header_parse(segment, len, &h) != DK_WIRE_OK)
        return;
    const uint32_t number =
        (ntohl(ip.dst.v4) - UINT32_C(0xc6130000)) * DEAF_PORTS + (uint32_t)h.dst_port - DEAF_PORTS;
    if (number < num_deaf)
        answer_as_deaf(number, &h, len - h.header_len);
}

/* ---- Runs ------------------------------------------------------------------------------------ */

static void open_host(struct host *h, uint32_t ip, const struct dk_mac *mac, struct way *out)
{
    struct dk_tcp_config tcp;
    dk_tcp_config_init(&tcp);
    if (h == &server && attack->conns_max)
        tcp.conns_max = attack->conns_max;
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

static void open_both(void)
{
    const struct dk_endpoint local = {ip4(SERVER_IP), PORT};
    now = S;
    exchanges = failures = deafs_tried = deafs_asked = 0;
    is_over = false;
    memset(ways, 0, sizeof(ways));
    memset(deafs, 0, num_deaf * sizeof(*deafs));
    dk_random_init(&attacker, 7);
    open_host(&server, SERVER_IP, &server_mac, &ways[0]);
    open_host(&client, CLIENT_IP, &client_mac, &ways[1]);
    if (dk_tcp_listen(server.tcp, &listener, &local, 128, &listener_ops, NULL) != 0)
        abort();
    for (int i = 0; i < SESSIONS; i++)
        begin(&sessions[i]);
}

static void step(void)
{
    for (int i = 0; attack->step && i < PER_STEP; i++)
        attack->step();
    deliver(&ways[1], &server);
    deliver(&ways[0], &client);
}

/* Runs beside an attack, and leaves what there is then. */
static struct outcome run(const struct attack *beside)
{
    struct outcome out = {0};
    const uint32_t before = dk_buf_in_use();
    attack = beside;
    open_both();
    for (int64_t end = now + RUN_NS; now < end; now += STEP_NS) {
        step();
        const uint32_t used = dk_buf_in_use() - before;
        out.buffers = used > out.buffers ? used : out.buffers;
    }
    out.exchanges = exchanges;
    out.failures = failures;
    out.valid = dk_tcp_all_valid(server.tcp);
    return out;
}

/* Ends a run; false: something is left. */
static bool end_run(uint32_t buffers_before)
{
    dk_net_destroy(client.net);
    dk_net_destroy(server.net);
    return dk_buf_in_use() == buffers_before;
}

static uint32_t points, bad;

static void check(bool good, const char *what)
{
    bad += !good;
    printf("%sok %u - %s\n", good ? "" : "not ", ++points, what);
    fflush(stdout);
}

static uint32_t calm_exchanges(const struct attack *calm)
{
    const uint32_t before = dk_buf_in_use();
    const struct outcome out = run(calm);
    printf("# %s: %u exchanges in 2 s, %u buffers\n", calm->name, out.exchanges, out.buffers);
    return out.valid && end_run(before) && out.failures == 0 ? out.exchanges : 0;
}

static void check_floods(uint32_t calm)
{
    static const struct attack floods[] = {
        {.name = "SYN", .step = syn}, {.name = "SYN from the link", .step = syn_near},
        {.name = "ACK", .step = ack}, {.name = "SYN and ACK, with cookies", .step = syn_and_ack},
        {.name = "RST", .step = rst}, {.name = "fragments", .step = fragment},
        {.name = "ARP", .step = arp},
    };
    for (uint32_t i = 0; i < sizeof(floods) / sizeof(floods[0]); i++) {
        const uint32_t before = dk_buf_in_use();
        const struct outcome out = run(&floods[i]);
        printf("# %.2f of calm, %u failed, %u buffers\n", (double)out.exchanges / calm,
               out.failures, out.buffers);
        check(end_run(before) && out.valid && calm > 1000 && out.exchanges >= calm * 9 / 10 &&
                  out.failures == 0 && out.buffers <= BUFFERS_MAX,
              floods[i].name);
    }
}

/* At most, of what the server has for connections: objects, and buffers as if all were the large
 * ones that pushes are copied to. */
static uint64_t server_bytes(uint32_t buffers)
{
    const struct dk_tcp *tcp = server.tcp;
    const struct dk_tcp_pool *pools[] = {&tcp->conns,     &tcp->segments, &tcp->pieces,
                                         &tcp->elements,  &tcp->reasms,   &tcp->ranges,
                                         &tcp->recoveries};
    uint64_t bytes = (tcp->table.mask + 1) * sizeof(void *) + (uint64_t)buffers * SLAB_BYTES;
    for (uint32_t i = 0; i < sizeof(pools) / sizeof(pools[0]); i++)
        bytes += (uint64_t)pools[i]->made * pools[i]->object_bytes;
    return bytes;
}

static void report_deafs(const struct outcome *out, uint32_t calm)
{
    const struct dk_tcp_stats *stats = dk_tcp_stats(server.tcp);
    printf(
        "# %.2f of calm, %u failed; of %u that read nothing %u have asked; server: %u connections, "
        "%lu bytes for each; window_probes %lu, drop_no_memory %lu\n",
        (double)out->exchanges / calm, out->failures, deafs_tried, deafs_asked,
        server.tcp->conns.used,
        (unsigned long)(server_bytes(out->buffers) / server.tcp->conns.made),
        (unsigned long)stats->window_probes, (unsigned long)stats->drop_no_memory);
}

static bool is_served(const struct outcome *out, uint32_t calm)
{
    return out->valid && calm > 1000 && out->exchanges >= calm * 9 / 10 && out->failures == 0;
}

/* Until the server has given up all connections, and no longer than that needs. */
static void run_until_given_up(void)
{
    const int64_t end = now + PATIENCE_NS;
    is_over = true;
    while (server.tcp->conns.used > 0 && now < end) {
        const bool under_way = ways[0].num + ways[1].num > 0;
        const int64_t due = dk_net_next_due(server.net);
        now = under_way || due < now + STEP_NS ? now + STEP_NS : due;
        step();
    }
}

/* The server has room for all of them, and is through with each when it has its answer. */
static void check_deafs(uint32_t calm)
{
    const struct attack deaf = {
        .step = open_deafs, .hear = hear_as_deaf, .conns_max = num_deaf + 2 * SESSIONS + 1000};
    const uint32_t before = dk_buf_in_use();
    const struct outcome out = run(&deaf);
    const struct dk_tcp_stats *stats = dk_tcp_stats(server.tcp);
    report_deafs(&out, calm);
    check(is_served(&out, calm), "connections that read nothing: others are served");
    check(deafs_asked == num_deaf && server.tcp->conns.used >= num_deaf &&
              server_bytes(out.buffers) <= (uint64_t)DEAF_MEMORY * server.tcp->conns.made,
          "each holds what was accepted for it, no more");
    check(stats->window_probes > num_deaf, "they are probed, and counted (tcp.window_probes)");
    const int64_t start = now;
    run_until_given_up();
    printf("# given up after %d s, %lu probes\n", (int)((now - start) / S),
           (unsigned long)stats->window_probes);
    check(server.tcp->conns.used == 0 && stats->timeouts == num_deaf,
          "they are given up, and counted (tcp.timeouts)");
    check(end_run(before), "nothing is left of them");
}

/* It has room for a third of them, and closes none: whom it knew before goes on. */
static void check_deafs_beyond(void)
{
    static const struct attack calm_deaf = {.name = "calm, the same connections", .keeps = true};
    const struct attack deaf = {
        .step = open_deafs, .hear = hear_as_deaf, .keeps = true, .conns_max = num_deaf / 3};
    const uint32_t calm = calm_exchanges(&calm_deaf), before = dk_buf_in_use();
    const struct outcome out = run(&deaf);
    const struct dk_tcp_stats *stats = dk_tcp_stats(server.tcp);
    report_deafs(&out, calm);
    check(is_served(&out, calm), "more of them than there may be: who is there is served");
    check(server.tcp->conns.made <= deaf.conns_max &&
              stats->drop_no_memory >= num_deaf - deaf.conns_max,
          "those that find no room are counted (tcp.drop_no_memory)");
    check(end_run(before), "nothing is left of them");
}

int main(int argc, char **argv)
{
    static const struct attack calm_attack = {.name = "calm"};
    num_deaf = argc > 1 ? (uint32_t)atoi(argv[1]) : 100000;
    deafs = calloc(num_deaf, sizeof(*deafs));
    if (!deafs || num_deaf < 1000)
        return 2;
    const uint32_t calm = calm_exchanges(&calm_attack);
    check_floods(calm);
    check_deafs(calm);
    check_deafs_beyond();
    printf("1..%u\n", points);
    free(deafs);
    return bad != 0;
}
