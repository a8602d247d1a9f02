/* SPDX-License-Identifier: MIT */
/*
 * net-instructions WHAT PACKETS [BURST [CONNECTIONS]]: two stacks over the loop device, of which
 * the second, the server, is counted: what it does is inside server_works(), and includes the
 * device's part. Counts nothing itself: net_instructions.py runs it under callgrind, and the
 * difference of two runs is the steady state. There is no clock and no chance in it, so that it
 * repeats to the instruction.
 *
 *     udp   a datagram of 64 bytes is received and one of 64 bytes sent
 *     tcp   64 bytes are received, with the acknowledgement of the reply before, and a reply of 64
 *           bytes is sent, with an acknowledgement
 *     copy  as tcp, where the reply is copied, as the interface does it with what is short, and the
 *           next is asked when the reply is there
 *     ack   an acknowledgement without data is received, of 64 bytes sent before
 *     full  a full segment is received, and every second one acknowledged
 *     gro   the same, where those of one burst reach TCP together
 *     bulk  64 KiB go from client to server as large packets (TSO), the checksums left to the
 *           device; what both do is counted, inside both_work()
 *
 * BURST packets (first 1) arrive between two polls. Of TCP's CONNECTIONS (first 1) each has its
 * turn with a packet, in an order that no cache foresees. Where CONNECTIONS are given, time goes on
 * by packets, not by polls, so that timers are as frequent with small bursts as with large ones;
 * and the nanoseconds of processor time that a packet took the server are printed, without those of
 * reading the clock, after each connection has had two turns.
 */
#include "base/compiler.h"
#include "drv/loop.h"
#include "net/net.h"
#include "net/tcp/tcp.h"
#include "net/udp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BYTES     64u
#define PORT      7
#define SEGMENT   1448u        /* of a full one, with timestamps */
#define PUSH      (64u * 1024) /* of bulk */
#define PORTS     16u          /* from there on; one has ephemeral ports of a client for 28,232 */
#define STRIDE    611953u      /* prime: from one connection's turn to the next's */
#define BURST_MAX 32u
#define RX_MAX    64u   /* frames in a poll: acknowledgements come too */
#define STEP_NS   10000 /* of time between two polls */
#define PACKET_NS 300   /* or for each packet */

struct host {
    struct dk_net *net;
    struct dk_netdev *dev;
};

static struct host client, server;
static struct dk_udp_sock *client_udp, *server_udp;
static struct dk_tcp_listener *listeners[PORTS];
static struct dk_tcp_conn **client_tcp, **server_tcp;
static uint32_t num_conns = 1, num_accepted, turn;
static int64_t server_ns;
static bool is_timed;
static int64_t now = 1, step_ns = STEP_NS;
static uint32_t reply_flags = DK_TCP_SEND_UNREFERENCED;
static uint64_t received; /* bytes that came as they should: replies, or data */
static const uint8_t payload[BYTES];
static struct dk_buf *long_payload;

static void must(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "net-instructions: %s\n", what);
    exit(1);
}

static bool give_to_device(void *arg, const struct dk_tx_frame *frame)
{
    struct dk_netdev *dev = ((struct host *)arg)->dev;
    return dev->ops->tx_burst(dev, frame, 1, now) == 1;
}

/* One poll, as src/libos/stack does it; returns how many frames came. */
static inline uint32_t poll_host(struct host *host)
{
    struct dk_rx_frame frames[RX_MAX];
    const uint32_t n = host->dev->ops->rx_burst(host->dev, frames, RX_MAX, now);
    dk_net_input_burst(host->net, frames, n, now);
    if (dk_net_due_is(dk_net_due(host->net), now))
        dk_net_advance(host->net, now);
    return n;
}

__attribute__((noipa)) static uint32_t server_works(void)
{
    return poll_host(&server);
}

static int64_t processor_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

/* What two readings of the clock tell when nothing is between them. */
static double clock_ns(void)
{
    enum { TIMES = 10000 };
    int64_t sum = 0;
    for (int i = 0; i < TIMES; i++) {
        const int64_t start = processor_ns();
        sum += processor_ns() - start;
    }
    return (double)sum / TIMES;
}

static void poll_server(void)
{
    const int64_t start = is_timed ? processor_ns() : 0;
    server_works();
    if (is_timed)
        server_ns += processor_ns() - start;
}

static void step(void)
{
    now += step_ns;
    poll_host(&client);
    poll_server();
}

/* The same where nothing is counted. */
static void prepare(void)
{
    now += STEP_NS;
    poll_host(&client);
    poll_host(&server);
}

static struct dk_ip address(uint8_t last)
{
    return (struct dk_ip){.bytes = {10, 0, 0, last}, .version = 4};
}

static void open_host(struct host *host, uint8_t last, bool gro)
{
    const char *why = "";
    struct dk_tcp_config tcp;
    dk_tcp_config_init(&tcp);
    tcp.conns_max = num_conns > tcp.conns_max ? num_conns : tcp.conns_max;
    const struct dk_net_config config = {
        .mac = host->dev->caps.mac,
        .mtu = host->dev->caps.mtu,
        .device_caps = host->dev->caps.flags,
        .gro = gro,
        .num_addresses = 1,
        .addresses = {{.ip = address(last), .prefix_len = 24}},
        .skip_dad = true,
        .emit = give_to_device,
        .emit_arg = host,
        .tcp = &tcp,
    };
    must(dk_net_create(&host->net, &config, now, &why) == 0, "cannot make a stack");
}

static void open_hosts(uint32_t offloads, bool gro)
{
    const char *why;
    struct dk_netdev *devs[2];
    const struct dk_loop_options options = {.offloads = offloads,
                                            .ring_frames = num_conns > 1 ? 1024 : 0};
    must(dk_loop_open_pair(devs, &options, &why) == 0, "cannot make a link");
    client.dev = devs[0];
    server.dev = devs[1];
    open_host(&client, 1, gro);
    open_host(&server, 2, gro);
}

static void close_hosts(void)
{
    dk_net_destroy(client.net);
    dk_net_destroy(server.net);
    client.dev->ops->close(client.dev);
    server.dev->ops->close(server.dev);
}

static struct dk_tx_piece piece(void)
{
    return (struct dk_tx_piece){.data = payload, .len = BYTES};
}

/* What was received goes back from where it lies. */
static struct dk_tx_piece piece_of(struct dk_buf *buf)
{
    return (struct dk_tx_piece){.data = buf->data, .len = (uint32_t)dk_buf_bytes(buf), .buf = buf};
}

/* ---- UDP ------------------------------------------------------------------------------------- */

static void on_server_udp(void *arg, struct dk_udp_sock *sock, uint32_t events)
{
    struct dk_udp_datagram d;
    (void)arg;
    (void)events;
    while (dk_udp_recv(sock, &d) == 0) {
        const struct dk_tx_piece reply = piece_of(d.buf);
        if (dk_udp_send(sock, &d.from, &reply, 1, now) != 0)
            abort();
        dk_buf_put(d.buf);
    }
}

static void on_client_udp(void *arg, struct dk_udp_sock *sock, uint32_t events)
{
    struct dk_udp_datagram d;
    (void)arg;
    (void)events;
    while (dk_udp_recv(sock, &d) == 0) {
        received += dk_buf_bytes(d.buf);
        dk_buf_put(d.buf);
    }
}

static void open_udp(void)
{
    const struct dk_endpoint at = {.ip = address(2), .port = PORT};
    must(dk_udp_open(server.net, on_server_udp, NULL, &server_udp) == 0 &&
             dk_udp_open(client.net, on_client_udp, NULL, &client_udp) == 0 &&
             dk_udp_bind(server_udp, &at) == 0 && dk_udp_connect(client_udp, &at) == 0,
         "cannot open sockets");
}

static void close_udp(void)
{
    dk_udp_close(client_udp);
    dk_udp_close(server_udp);
}

static void udp(uint32_t burst)
{
    const struct dk_tx_piece request = piece();
    for (uint32_t i = 0; i < burst; i++)
        must(dk_udp_send(client_udp, NULL, &request, 1, now) == 0, "cannot send");
    step();
}

/* ---- TCP ------------------------------------------------------------------------------------- */

static void on_connected(struct dk_tcp_conn *conn, void *owner, int error)
{
    (void)conn;
    (void)owner;
    must(error == 0, "cannot connect");
}

static void on_sent(struct dk_tcp_conn *conn, void *owner, void *cookie, int error)
{
    (void)conn;
    (void)owner;
    (void)cookie;
    (void)error;
}

static void on_end(struct dk_tcp_conn *conn, void *owner)
{
    (void)conn;
    (void)owner;
}

static void on_failed(struct dk_tcp_conn *conn, void *owner, int error)
{
    (void)conn;
    (void)owner;
    (void)error;
    must(false, "a connection failed");
}

/* Takes what came, and lets it go. */
static void on_bulk(struct dk_tcp_conn *conn, void *owner)
{
    struct dk_buf *bufs[RX_MAX];
    int n;
    (void)owner;
    while ((n = dk_tcp_recv(conn, bufs, RX_MAX, SIZE_MAX, now)) > 0) {
        for (int i = 0; i < n; i++) {
            received += dk_buf_bytes(bufs[i]);
            dk_buf_put(bufs[i]);
        }
    }
}

/* Takes what came; the server sends it back. */
static void on_readable(struct dk_tcp_conn *conn, void *owner)
{
    struct dk_buf *bufs[RX_MAX];
    const int n = dk_tcp_recv(conn, bufs, RX_MAX, SIZE_MAX, now);
    for (int i = 0; i < n; i++) {
        const struct dk_tx_piece reply = piece_of(bufs[i]);
        if (owner == &client)
            received += reply.len;
        else if (dk_tcp_send(conn, &reply, 1, reply_flags, NULL, now) != 1)
            abort();
        dk_buf_put(bufs[i]);
    }
}

static const struct dk_tcp_ops tcp_ops = {
    .connected = on_connected,
    .readable = on_readable,
    .sent = on_sent,
    .peer_closed = on_end,
    .failed = on_failed,
    .closed = on_end,
};

static const struct dk_tcp_ops bulk_ops = {
    .connected = on_connected,
    .readable = on_bulk,
    .sent = on_sent,
    .peer_closed = on_end,
    .failed = on_failed,
    .closed = on_end,
};

static void on_acceptable(struct dk_tcp_listener *l, void *owner)
{
    const struct dk_tcp_ops *ops = long_payload ? &bulk_ops : &tcp_ops;
    while (dk_tcp_accept(l, &server_tcp[num_accepted], ops, owner) == 0)
        num_accepted++;
}

static const struct dk_tcp_listener_ops listener_ops = {.acceptable = on_acceptable};

static void connect_one(uint32_t i)
{
    const struct dk_endpoint any = {.ip = address(1)};
    const struct dk_endpoint at = {.ip = address(2), .port = (uint16_t)(PORT + i % PORTS)};
    must(dk_tcp_connect(dk_net_tcp(client.net), &client_tcp[i], &any, &at, NULL, &tcp_ops, &client,
                        now) == 0,
         "cannot open a connection");
    for (int n = 0; n < 100 && num_accepted <= i; n++)
        prepare();
    must(num_accepted == i + 1, "no connection");
    dk_tcp_set_option(client_tcp[i], DK_TCP_NODELAY, 1, now);
    dk_tcp_set_option(server_tcp[i], DK_TCP_NODELAY, 1, now);
}

static void open_tcp(void)
{
    client_tcp = calloc(num_conns, sizeof(struct dk_tcp_conn *));
    server_tcp = calloc(num_conns, sizeof(struct dk_tcp_conn *));
    must(client_tcp && server_tcp, "no memory");
    for (uint16_t i = 0; i < PORTS; i++) {
        const struct dk_endpoint at = {.ip = address(2), .port = (uint16_t)(PORT + i)};
        must(dk_tcp_listen(dk_net_tcp(server.net), &listeners[i], &at, 1, &listener_ops, &server) ==
                 0,
             "cannot listen");
    }
    for (uint32_t i = 0; i < num_conns; i++)
        connect_one(i);
}

static void close_tcp(void)
{
    for (uint16_t i = 0; i < PORTS; i++)
        dk_tcp_listen_close(listeners[i], now);
    for (uint32_t i = 0; i < num_conns; i++) {
        dk_tcp_abort(client_tcp[i], now);
        dk_tcp_abort(server_tcp[i], now);
    }
    for (int i = 0; i < 10; i++)
        prepare();
    free(client_tcp);
    free(server_tcp);
}

static void send_tcp(struct dk_tcp_conn *conns[], uint32_t burst)
{
    const struct dk_tx_piece data = piece();
    for (uint32_t i = 0; i < burst; i++) {
        struct dk_tcp_conn *conn = conns[(uint64_t)turn++ * STRIDE % num_conns];
        must(dk_tcp_send(conn, &data, 1, DK_TCP_SEND_COPY, NULL, now) == 1, "cannot send");
    }
}

static void tcp(uint32_t burst)
{
    send_tcp(client_tcp, burst);
    step();
}

/* As that, where who asks has its last answer. */
static void ask(uint32_t burst)
{
    now += step_ns;
    poll_host(&client);
    send_tcp(client_tcp, burst);
    poll_server();
}

static void open_copy(void)
{
    reply_flags = DK_TCP_SEND_COPY;
    open_tcp();
}

static void open_ack(void)
{
    open_tcp();
    for (uint32_t i = 0; i < num_conns; i++)
        dk_tcp_set_option(client_tcp[i], DK_TCP_QUICK_ACK, 1, now);
}

static void ack(uint32_t burst)
{
    send_tcp(server_tcp, burst);
    step();
}

static void open_bulk(void)
{
    long_payload = dk_buf_alloc(PUSH, 0);
    must(long_payload != NULL, "no memory");
    memset(long_payload->data, 1, PUSH);
    open_tcp();
}

static void close_bulk(void)
{
    close_tcp();
    dk_buf_put(long_payload);
}

static void push(uint32_t bytes)
{
    const struct dk_tx_piece data = {.data = long_payload->data, .len = bytes, .buf = long_payload};
    must(dk_tcp_send(client_tcp[0], &data, 1, DK_TCP_SEND_UNREFERENCED, NULL, now) == 1,
         "cannot send");
}

static void full(uint32_t burst)
{
    for (uint32_t i = 0; i < burst; i++)
        push(SEGMENT);
    step();
}

/* The clock goes on until all has come: windows are small at first. */
__attribute__((noipa)) static void both_work(uint32_t burst)
{
    const uint64_t until = received + (uint64_t)burst * PUSH;
    for (uint32_t i = 0; i < burst; i++)
        push(PUSH);
    while (received < until)
        step();
}

/* ---- All of them ----------------------------------------------------------------------------- */

static const struct what {
    const char *name;
    void (*open)(void);
    void (*round)(uint32_t burst);
    void (*close)(void);
    uint32_t bytes;    /* of a packet */
    uint32_t offloads; /* DK_NETDEV_... */
    bool gro;
} whats[] = {
    {"udp", open_udp, udp, close_udp, BYTES, 0, false},
    {"tcp", open_tcp, tcp, close_tcp, BYTES, 0, false},
    {"copy", open_copy, ask, close_tcp, BYTES, 0, false},
    {"ack", open_ack, ack, close_tcp, BYTES, 0, false},
    {"full", open_bulk, full, close_bulk, SEGMENT, 0, false},
    {"gro", open_bulk, full, close_bulk, SEGMENT, 0, true},
    {"bulk", open_bulk, both_work, close_bulk, PUSH,
     DK_NETDEV_TX_CHECKSUM | DK_NETDEV_RX_CHECKSUM | DK_NETDEV_TSO, true},
};

static const struct what *find(const char *name)
{
    for (size_t i = 0; i < sizeof(whats) / sizeof(whats[0]); i++) {
        if (strcmp(whats[i].name, name) == 0)
            return &whats[i];
    }
    must(false, "WHAT is udp, tcp, copy, ack, full, gro or bulk");
    return NULL;
}

static void time_rounds(const struct what *what, uint32_t packets, uint32_t burst)
{
    uint32_t polls = 0;
    step_ns = (int64_t)burst * PACKET_NS;
    for (uint32_t i = 0; i < 2 * num_conns; i += burst)
        what->round(burst);
    server_ns = 0;
    for (uint32_t i = 0; i < packets; i += burst, polls++)
        what->round(burst);
    printf("%.1f ns\n", ((double)server_ns - polls * clock_ns()) / packets);
}

int main(int argc, char **argv)
{
    must(argc >= 3 && argc <= 5, "usage: net-instructions WHAT PACKETS [BURST [CONNECTIONS]]");
    const struct what *what = find(argv[1]);
    const uint32_t packets = (uint32_t)atoi(argv[2]);
    const uint32_t burst = argc > 3 ? (uint32_t)atoi(argv[3]) : 1;
    num_conns = argc > 4 ? (uint32_t)atoi(argv[4]) : 1;
    is_timed = argc > 4;
    must(burst > 0 && burst <= BURST_MAX && num_conns > 0,
         "BURST is 1 to 32, CONNECTIONS more than 0");
    open_hosts(what->offloads, what->gro);
    what->open();
    if (is_timed)
        time_rounds(what, packets, burst);
    else
        for (uint32_t i = 0; i < packets; i += burst)
            what->round(burst);
    for (int i = 0; i < 10; i++)
        step();
    must(received >= (uint64_t)packets * what->bytes, "not all packets came, or were answered");
    what->close();
    close_hosts();
    return 0;
}
