/* SPDX-License-Identifier: MIT */
/*
 * Many connections: held, used, closed, and more than there may be. Two stacks over the loop
 * device, under a virtual clock.
 *
 *     many [CONNECTIONS]       100,000 without it; TAP
 *
 * Memory is what the process has more than before, by connection of either stack, when all are
 * idle.
 */
#include "drv/loop.h"
#include "net/tcp/tcb.h"
#include "net/tcp/time_wait.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define MS          INT64_C(1000000)
#define S           (1000 * MS)
#define STEP_NS     (10 * INT64_C(1000))
#define BURST       64
#define FEW         64u
#define STORM       2000 /* connects that are under way at a time */
#define PORTS       16   /* that the server listens on, from PORT on */
#define PORT        1000
#define BYTES       64
#define BYTES_MAX   1024 /* of memory, of an idle connection */
#define PATIENCE_NS (120 * S)
#define ABORT_US    100 /* at most, to end one: it is 1 when it is not looked for in lists */

struct host {
    struct dk_net *net;
    struct dk_tcp *tcp;
    struct dk_netdev *dev;
    bool no_room;
};

struct end {
    struct dk_tcp_conn *conn;
    bool connected;
};

static struct host server, client;
static struct dk_tcp_listener *listeners[PORTS];
static struct end *ends; /* of the client */
static uint32_t num_ends;
static uint32_t connected, failed, closed, accepted, server_closed, answers, server_failed;
static int64_t now = S;
static uint8_t payload[BYTES];
static uint32_t point, bad;

static void check(bool good, const char *what)
{
    printf("%sok %u - %s\n", good ? "" : "not ", ++point, what);
    fflush(stdout);
    bad += !good;
}

/* ---- The link -------------------------------------------------------------------------------- */

static bool emit(void *arg, const struct dk_tx_frame *frame)
{
    struct host *h = arg;
    h->no_room = h->dev->ops->tx_burst(h->dev, frame, 1, now) == 0;
    return !h->no_room;
}

static void poll_host(struct host *h)
{
    struct dk_rx_frame frames[BURST];
    const uint32_t n = h->dev->ops->rx_burst(h->dev, frames, BURST, now);
    dk_net_input_burst(h->net, frames, n, now);
    if (h->no_room) {
        h->no_room = false;
        dk_net_tx_room(h->net, now);
    }
    dk_net_advance(h->net, now);
}

static void step(void)
{
    now += STEP_NS;
    poll_host(&client);
    poll_host(&server);
}

/* Until a counter has come to a number; false: it does not. */
static bool until(const uint32_t *counter, uint32_t number)
{
    const int64_t end = now + PATIENCE_NS;
    while (*counter < number && now < end) {
        step();
        int64_t due = dk_net_next_due(client.net), other = dk_net_next_due(server.net);
        due = other < due ? other : due;
        /* Nothing is on its way: on to the next timer. */
        if (client.dev->ops->arm(client.dev) >= 0 && server.dev->ops->arm(server.dev) >= 0 &&
            due > now && due < end)
            now = due;
    }
    return *counter >= number;
}

static void pass(int64_t ns)
{
    const int64_t end = now + ns;
    while (now < end) {
        now += ns / 1000;
        poll_host(&client);
        poll_host(&server);
    }
}

static struct dk_ip address(uint8_t last)
{
    return (struct dk_ip){.bytes = {10, 0, 0, last}, .version = 4};
}

static void open_host(struct host *h, uint8_t last, uint32_t conns_max)
{
    const char *why = "";
    struct dk_tcp_config tcp;
    dk_tcp_config_init(&tcp);
    tcp.conns_max = tcp.time_wait_max = conns_max;
    const struct dk_net_config config = {
        .mac = h->dev->caps.mac,
        .mtu = h->dev->caps.mtu,
        .num_addresses = 1,
        .addresses = {{.ip = address(last), .prefix_len = 24}},
        .secret = "of many connect.",
        .skip_dad = true,
        .emit = emit,
        .emit_arg = h,
        .tcp = &tcp,
    };
    if (dk_net_create(&h->net, &config, now, &why) != 0)
        abort();
    h->tcp = dk_net_tcp(h->net);
}

/* ---- The server ------------------------------------------------------------------------------ */

static void ignore_connected(struct dk_tcp_conn *c, void *owner, int err)
{
    (void)c, (void)owner, (void)err;
}

static void ignore_sent(struct dk_tcp_conn *c, void *owner, void *cookie, int err)
{
    (void)c, (void)owner, (void)cookie, (void)err;
}

static void echo(struct dk_tcp_conn *c, void *owner)
{
    struct dk_buf *buf;
    (void)owner;
    while (dk_tcp_recv(c, &buf, 1, SIZE_MAX, now) > 0) {
        const struct dk_tx_piece piece = {buf->data, (uint32_t)dk_buf_bytes(buf), buf};
        if (dk_tcp_send(c, &piece, 1, DK_TCP_SEND_UNREFERENCED, NULL, now) < 0)
            server_failed++;
        dk_buf_put(buf);
    }
}

static void close_too(struct dk_tcp_conn *c, void *owner)
{
    echo(c, owner);
    dk_tcp_close(c, now);
}

static void server_fails(struct dk_tcp_conn *c, void *owner, int err)
{
    (void)owner, (void)err;
    server_failed++;
    dk_tcp_close(c, now);
}

static void server_is_closed(struct dk_tcp_conn *c, void *owner)
{
    (void)c, (void)owner;
    server_closed++;
}

static const struct dk_tcp_ops server_ops = {.connected = ignore_connected,
                                             .readable = echo,
                                             .sent = ignore_sent,
                                             .peer_closed = close_too,
                                             .failed = server_fails,
                                             .closed = server_is_closed};

static void acceptable(struct dk_tcp_listener *l, void *owner)
{
    struct dk_tcp_conn *c;
    (void)owner;
    while (dk_tcp_accept(l, &c, &server_ops, NULL) == 0)
        accepted++;
}

static const struct dk_tcp_listener_ops listener_ops = {acceptable};

static void open_server(void)
{
    for (uint32_t i = 0; i < PORTS; i++) {
        const struct dk_endpoint at = {address(2), (uint16_t)(PORT + i)};
        if (dk_tcp_listen(server.tcp, &listeners[i], &at, STORM, &listener_ops, NULL) != 0)
            abort();
    }
}

/* ---- The client ------------------------------------------------------------------------------ */

static void is_connected(struct dk_tcp_conn *c, void *owner, int err)
{
    struct end *e = owner;
    (void)c;
    e->connected = err == 0;
    connected += err == 0;
    failed += err != 0;
}

static void read_answer(struct dk_tcp_conn *c, void *owner)
{
    struct dk_buf *buf;
    (void)owner;
    while (dk_tcp_recv(c, &buf, 1, SIZE_MAX, now) > 0) {
        answers += dk_buf_bytes(buf) == BYTES && memcmp(buf->data, payload, BYTES) == 0;
        dk_buf_put(buf);
    }
}

static void nothing(struct dk_tcp_conn *c, void *owner)
{
    (void)c, (void)owner;
}

static void client_fails(struct dk_tcp_conn *c, void *owner, int err)
{
    (void)c, (void)owner, (void)err;
    failed++;
}

static void is_closed(struct dk_tcp_conn *c, void *owner)
{
    struct end *e = owner;
    (void)c;
    e->conn = NULL;
    closed++;
}

static const struct dk_tcp_ops client_ops = {.connected = is_connected,
                                             .readable = read_answer,
                                             .sent = ignore_sent,
                                             .peer_closed = nothing,
                                             .failed = client_fails,
                                             .closed = is_closed};

static bool connect_one(uint32_t i)
{
    const struct dk_endpoint any = {.port = 0}, to = {address(2), (uint16_t)(PORT + i % PORTS)};
    ends[i].connected = false;
    return dk_tcp_connect(client.tcp, &ends[i].conn, &any, &to, NULL, &client_ops, &ends[i], now) ==
           0;
}

/* Connects so many, STORM at a time; false: not all. */
static bool connect_all(uint32_t n)
{
    connected = failed = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (!connect_one(i))
            return false;
        if (i - connected >= STORM && !until(&connected, i - STORM / 2))
            return false;
    }
    return until(&connected, n) && failed == 0;
}

static void close_all(void)
{
    for (uint32_t i = 0; i < num_ends; i++)
        if (ends[i].conn)
            dk_tcp_close(ends[i].conn, now);
}

/* Every connection of the first n sends, and is answered. */
static bool use_all(uint32_t n)
{
    const struct dk_tx_piece piece = {.data = payload, .len = BYTES};
    answers = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (dk_tcp_send(ends[i].conn, &piece, 1, DK_TCP_SEND_COPY, NULL, now) < 0)
            return false;
        if (i % BURST == BURST - 1)
            step();
    }
    return until(&answers, n);
}

/* ---- What it costs --------------------------------------------------------------------------- */

static uint64_t resident_bytes(void)
{
    unsigned long all, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%lu %lu", &all, &resident) != 2)
        abort();
    fclose(f);
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static double seconds(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static uint64_t pools_bytes(const struct dk_tcp *tcp)
{
    const struct dk_tcp_pool *pools[] = {&tcp->conns,     &tcp->segments, &tcp->pieces,
                                         &tcp->elements,  &tcp->ranges,   &tcp->reasms,
                                         &tcp->recoveries};
    uint64_t bytes = (tcp->table.mask + 1) * sizeof(void *);
    for (uint32_t i = 0; i < sizeof(pools) / sizeof(pools[0]); i++)
        bytes += (uint64_t)pools[i]->made * pools[i]->object_bytes;
    return bytes;
}

/* What the process has without connections: with the device's memory in use, and without that of
 * the few connections that saw to it. */
static uint64_t resident_before(void)
{
    const uint32_t few = num_ends / 50;
    connect_all(few);
    for (int i = 0; i < 100; i++)
        use_all(few);
    closed = 0;
    close_all();
    until(&closed, few);
    pass(61 * S);
    accepted = 0;
    return resident_bytes() - 2 * (uint64_t)few * sizeof(struct dk_tcp_conn);
}

static void report_memory(uint64_t before)
{
    const uint64_t both = 2 * (uint64_t)num_ends;
    const uint64_t bytes = (resident_bytes() - before) / both;
    printf("# memory of an idle connection: %lu bytes of the process, %lu in pools and tables, "
           "of which a connection is %zu\n",
           (unsigned long)bytes,
           (unsigned long)((pools_bytes(client.tcp) + pools_bytes(server.tcp)) / both),
           sizeof(struct dk_tcp_conn));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    check(bytes < BYTES_MAX, "an idle connection has less than 1024 bytes");
#endif
}

/* Seconds of a question and answer where there are few connections. */
static double use_few(void)
{
    if (!connect_all(FEW))
        return 0;
    double start = seconds();
    for (uint32_t i = 0; i < 500; i++)
        use_all(FEW);
    const double each = (seconds() - start) / (500 * FEW);
    closed = 0;
    close_all();
    until(&closed, FEW);
    return each;
}

/* ---- Runs ------------------------------------------------------------------------------------ */

static void hold_and_use(double few)
{
    const uint64_t before = resident_before();
    double start = seconds();
    check(connect_all(num_ends) && until(&accepted, num_ends), "all connect");
    const double each = (seconds() - start) / num_ends;
    printf("# %.2f us for each to connect, both ends: %.0f are accepted in a second\n", each * 1e6,
           1 / each);
    pass(S);
    report_memory(before);
    check(use_all(num_ends), "all are used");
    start = seconds();
    check(use_all(num_ends), "and used again");
    const double all = (seconds() - start) / num_ends;
    printf("# %.2f us for question and answer, with %u connections %.2f: ratio %.2f\n", all * 1e6,
           FEW, few * 1e6, all / few);
    check(dk_tcp_all_valid(client.tcp) && dk_tcp_all_valid(server.tcp), "all invariants hold");
}

static void storm_of_closes(void)
{
    closed = server_closed = 0;
    close_all();
    check(until(&closed, num_ends) && until(&server_closed, num_ends), "all close at once");
    check(client.tcp->conns.used == 0 && server.tcp->conns.used == 0 &&
              client.tcp->time_wait_pool.used == num_ends,
          "what is left is TIME_WAIT");
    printf("# a record of TIME_WAIT is %zu bytes\n", sizeof(struct dk_tcp_time_wait));
    check(failed == 0 && server_failed == 0, "no connection failed");
    pass(61 * S);
    check(client.tcp->time_wait_pool.used == 0, "TIME_WAIT ends");
}

/* Connects and closes, again and again: ports come again, by RFC 6191 or when TIME_WAIT ends. */
static void storm_of_connections(void)
{
    bool good = true;
    for (uint32_t round = 0; round < 5 && good; round++) {
        const uint32_t n = num_ends / 5;
        good = connect_all(n);
        closed = 0;
        close_all();
        good = good && until(&closed, n);
        pass(2 * S);
    }
    check(good, "connections come and go");
    check(dk_tcp_all_valid(client.tcp) && dk_tcp_all_valid(server.tcp),
          "all invariants hold again");
}

/* The server has no more room: who is too many waits, and gets in when another has gone. */
static void beyond_the_limit(void)
{
    const uint32_t limit = 1000, more = 50;
    const struct dk_tcp_stats *stats = dk_tcp_stats(server.tcp);
    connected = failed = 0;
    for (uint32_t i = 0; i < limit + more; i++)
        connect_one(i);
    until(&connected, limit);
    pass(10 * MS);
    check(connected == limit && server.tcp->conns.used == limit && stats->drop_no_memory >= more,
          "no more connections than there may be");
    check(use_all(limit), "those that there are go on");
    closed = 0;
    for (uint32_t i = 0; i < more; i++)
        if (ends[i].connected)
            dk_tcp_close(ends[i].conn, now);
    check(until(&connected, limit + more), "who was too many gets in when others have gone");
    closed = 0;
    close_all();
    check(until(&closed, limit), "all close");
}

/* All are given up at once, and are told so at once: what each costs does not grow with them. */
static void storm_of_aborts(void)
{
    closed = 0;
    check(connect_all(num_ends), "all connect to be given up");
    for (uint32_t i = 0; i < num_ends; i++)
        dk_tcp_abort(ends[i].conn, now);
    const double start = seconds();
    check(until(&closed, num_ends), "all are given up at once");
    const double each = (seconds() - start) * 1e6 / num_ends;
    printf("# %.2f us for each to end\n", each);
    check(each < ABORT_US, "none costs more for being one of many");
}

static void open_both(uint32_t server_max)
{
    const char *why;
    struct dk_netdev *devs[2];
    const struct dk_loop_options options = {.ring_frames = 4096};
    if (dk_loop_open_pair(devs, &options, &why) != 0)
        abort();
    client = (struct host){.dev = devs[0]};
    server = (struct host){.dev = devs[1]};
    open_host(&client, 1, 2 * num_ends);
    open_host(&server, 2, server_max);
    open_server();
    accepted = 0;
}

static void close_both(void)
{
    dk_net_destroy(client.net);
    dk_net_destroy(server.net);
    client.dev->ops->close(client.dev);
    server.dev->ops->close(server.dev);
}

int main(int argc, char **argv)
{
    const uint32_t buffers = dk_buf_in_use();
    num_ends = argc > 1 ? (uint32_t)atoi(argv[1]) : 100000;
    ends = calloc(num_ends, sizeof(*ends));
    if (!ends || num_ends < 2000)
        return 2;
    memset(payload, 'x', sizeof(payload));
    open_both(2 * num_ends);
    const double few = use_few();
    close_both();
    open_both(2 * num_ends);
    hold_and_use(few);
    storm_of_closes();
    storm_of_connections();
    storm_of_aborts();
    close_both();
    open_both(1000);
    beyond_the_limit();
    close_both();
    check(dk_buf_in_use() == buffers, "no buffer is left");
    printf("1..%u\n", point);
    free(ends);
    return bad != 0;
}
