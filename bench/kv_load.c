/* SPDX-License-Identifier: MIT */
/*
 * Load on a key-value server of the Redis protocol, lighter than the server's own work: one request
 * that never changes, answers that are compared and not parsed.
 *
 *     kv-load PORT CONNECTIONS SECONDS [PIPELINE [KEYS]]
 *
 * Each connection sends PIPELINE SETs of 3 bytes, reads all their answers, and sends the next. The
 * key is the same each time; with KEYS each request takes the next of so many instead. It prints
 *
 *     REQUESTS-PER-SECOND  OWN-CPU  MEDIAN-US  P99-US  LONGEST-US  REQUESTS
 *
 * after SECONDS, or when it is told to terminate. A warm-up does not count, but among REQUESTS.
 * OWN-CPU is what share of one CPU the load itself took (near 1: it was what limited); times are
 * those from a request (with its pipeline) to its answer.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define REQUEST         "*3\r\n$3\r\nSET\r\n$16\r\nkey:%012u\r\n$3\r\nxxx\r\n"
#define REQUEST_BYTES   (sizeof("*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000000\r\n$3\r\nxxx\r\n") - 1)
#define KEY_AT          (sizeof("*3\r\n$3\r\nSET\r\n$16\r\nkey:") - 1)
#define KEY_DIGITS      12
#define ANSWER          "+OK\r\n"
#define ANSWER_BYTES    (sizeof(ANSWER) - 1)
#define MAX_CONNECTIONS 1024
#define MAX_PIPELINE    64
#define MAX_EVENTS      64
#define WARM_SECONDS    0.3
/* Latencies are counted in steps of 1/16 of their power of two. */
#define STEPS           16
#define BUCKETS         (64 * STEPS)

struct connection {
    int fd;
    size_t answered; /* bytes, of this round */
    uint64_t sent_ns;
};

static volatile sig_atomic_t stopped;

static struct {
    unsigned port, connections, pipeline, keys, key;
    double seconds;
    char requests[MAX_PIPELINE * REQUEST_BYTES];
    char answers[MAX_PIPELINE * ANSWER_BYTES];
    struct connection all[MAX_CONNECTIONS];
    int epoll;
    uint64_t rounds, warm_rounds;
    uint64_t longest_ns;
    uint64_t latencies[BUCKETS];
} load;

static void fail(const char *what)
{
    fprintf(stderr, "kv-load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static unsigned bucket_of(uint64_t ns)
{
    if (ns < STEPS)
        return (unsigned)ns;
    const unsigned shift = 59 - (unsigned)__builtin_clzll(ns); /* leaves STEPS..2 * STEPS - 1 */
    return shift * STEPS + (unsigned)(ns >> shift);
}

/* The upper end of a bucket. */
static uint64_t bucket_ns(unsigned bucket)
{
    const unsigned shift = bucket < 2 * STEPS ? 0 : bucket / STEPS - 1;
    return (uint64_t)(bucket - shift * STEPS + 1) << shift;
}

static double quantile_us(double part)
{
    uint64_t below = 0;
    unsigned bucket = 0;
    while (bucket < BUCKETS - 1 && (below += load.latencies[bucket]) < part * (double)load.rounds)
        bucket++;
    return (double)bucket_ns(bucket) / 1e3;
}

static void connect_one(struct connection *c)
{
    const struct sockaddr_in addr = {.sin_family = AF_INET,
                                     .sin_port = htons((uint16_t)load.port),
                                     .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
    const int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
        fail("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (epoll_ctl(load.epoll, EPOLL_CTL_ADD, c->fd, &ev) < 0)
        fail("epoll_ctl");
}

/* Writes the next keys into the requests. */
static void choose_keys(void)
{
    char digits[KEY_DIGITS + 1];
    for (unsigned i = 0; i < load.pipeline; i++) {
        snprintf(digits, sizeof(digits), "%0*u", KEY_DIGITS, load.key);
        memcpy(load.requests + i * REQUEST_BYTES + KEY_AT, digits, KEY_DIGITS);
        load.key = (load.key + 1) % load.keys;
    }
}

static void ask(struct connection *c, uint64_t now)
{
    const size_t bytes = load.pipeline * REQUEST_BYTES;
    if (load.keys > 1)
        choose_keys();
    c->answered = 0;
    c->sent_ns = now;
    if (send(c->fd, load.requests, bytes, MSG_NOSIGNAL) != (ssize_t)bytes)
        fail("send");
}

/* Counts a round that was answered whole. */
static void count(const struct connection *c, uint64_t now)
{
    const uint64_t ns = now - c->sent_ns;
    load.rounds++;
    load.latencies[bucket_of(ns)]++;
    if (ns > load.longest_ns)
        load.longest_ns = ns;
}

/* Reads answers: true when the last of the round is there. */
static bool hear(struct connection *c)
{
    char buf[MAX_PIPELINE * ANSWER_BYTES];
    const size_t left = load.pipeline * ANSWER_BYTES - c->answered;
    const ssize_t n = recv(c->fd, buf, left, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0)
        fail("a connection ended");
    if (memcmp(buf, load.answers + c->answered, (size_t)n) != 0) {
        fprintf(stderr, "kv-load: answered %.*s\n", (int)n, buf);
        exit(1);
    }
    c->answered += (size_t)n;
    return (size_t)n == left;
}

static void run(double seconds)
{
    struct epoll_event events[MAX_EVENTS];
    uint64_t now = now_ns(CLOCK_MONOTONIC);
    const uint64_t end = now + (uint64_t)(seconds * 1e9);
    while (now < end && !stopped) {
        const int n = epoll_wait(load.epoll, events, MAX_EVENTS, (int)((end - now) / 1000000 + 1));
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (!hear(c))
                continue;
            now = now_ns(CLOCK_MONOTONIC);
            count(c, now);
            ask(c, now);
        }
        now = now_ns(CLOCK_MONOTONIC);
    }
}

static bool prepare(int argc, char **argv)
{
    if (argc < 4 || argc > 6)
        return false;
    load.port = (unsigned)atoi(argv[1]);
    load.connections = (unsigned)atoi(argv[2]);
    load.seconds = atof(argv[3]);
    load.pipeline = argc > 4 ? (unsigned)atoi(argv[4]) : 1;
    load.keys = argc > 5 ? (unsigned)atoi(argv[5]) : 1;
    if (load.connections < 1 || load.connections > MAX_CONNECTIONS || load.pipeline < 1 ||
        load.pipeline > MAX_PIPELINE || load.keys < 1)
        return false;
    for (unsigned i = 0; i < load.pipeline; i++) {
        char request[REQUEST_BYTES + 1];
        snprintf(request, sizeof(request), REQUEST, 0u);
        memcpy(load.requests + i * REQUEST_BYTES, request, REQUEST_BYTES);
        memcpy(load.answers + i * ANSWER_BYTES, ANSWER, ANSWER_BYTES);
    }
    return true;
}

static void stop(int number)
{
    (void)number;
    stopped = 1;
}

/* Forgets what was counted while it warmed up. */
static void begin(void)
{
    load.warm_rounds = load.rounds;
    load.rounds = load.longest_ns = 0;
    memset(load.latencies, 0, sizeof(load.latencies));
}

int main(int argc, char **argv)
{
    if (!prepare(argc, argv)) {
        fprintf(stderr, "usage: kv-load PORT CONNECTIONS SECONDS [PIPELINE [KEYS]]\n");
        return 2;
    }
    signal(SIGTERM, stop);
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    for (unsigned i = 0; i < load.connections; i++)
        connect_one(&load.all[i]);
    for (unsigned i = 0; i < load.connections; i++)
        ask(&load.all[i], now_ns(CLOCK_MONOTONIC));
    run(WARM_SECONDS);
    begin();
    const uint64_t start = now_ns(CLOCK_MONOTONIC), cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    run(load.seconds);
    const double took = (double)(now_ns(CLOCK_MONOTONIC) - start);
    const double used = (double)(now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu);
    printf("%.0f %.2f %.1f %.1f %.1f %llu\n", (double)(load.rounds * load.pipeline) / took * 1e9,
           used / took, quantile_us(0.5), quantile_us(0.99), (double)load.longest_ns / 1e3,
           (unsigned long long)(load.warm_rounds + load.rounds) * load.pipeline);
    return 0;
}
