/* SPDX-License-Identifier: MIT */
/*
 * A client with one connection that mostly rests, over whichever library OS DEMI_NET names. It is
 * to spin (DEMI_POLL=always), so that only the server has to be woken.
 *
 *     idle-client ADDRESS REQUESTS GAPS GAP_MS
 *
 * Sends as many requests of 64 bytes, one after the other, and prints "busy US", the median round
 * trip. Then, as often, it lets a time without any traffic pass, GAP_MS and up to 16 ms more, which
 * meet a server's timers at each of their phases; sends one request, and prints "first US US", the
 * median and the longest. It says "idle", and keeps the connection until its input ends; then one
 * more request has to be answered, and it prints "last US".
 *
 * While it rests it goes on driving its library: no acknowledgement is owed that would wake the
 * server.
 */
#include "../tools/address.h"
#include "bench.h"

#include <demi/libos.h>
#include <demi/sga.h>
#include <demi/wait.h>

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BYTES       64u
#define FIGURES_MAX 100000
#define NS_PER_MS   1000000L
#define PATIENCE_S  5
#define PHASES      16 /* lengths that a gap has, 1 ms apart */
#define PHASE_STEP  7  /* prime to that: all of them, in no order that a timer has */
#define NAP_MS      20

struct client {
    int qd;
    demi_qtoken_t pop; /* always outstanding */
    demi_sgarray_t request;
    double figures[FIGURES_MAX];
};

static void check(int err, const char *what)
{
    if (err == 0)
        return;
    fprintf(stderr, "idle-client: %s: %s\n", what, strerror(err));
    exit(1);
}

static void connect_to(struct client *c, const struct address *to)
{
    const int on = 1;
    demi_qtoken_t qt;
    demi_qresult_t result;
    check(demi_socket(&c->qd, to->addr.ss_family, SOCK_STREAM, 0), "socket");
    check(demi_connect(&qt, c->qd, (const struct sockaddr *)&to->addr, to->len), "connect");
    check(demi_wait(&result, qt, NULL), "connect");
    check(result.qr_opcode == DEMI_OPC_CONNECT ? 0 : (int)result.qr_ret, "connect");
    check(demi_setsockopt(c->qd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), "TCP_NODELAY");
    c->request = demi_sgaalloc(BYTES);
    check(c->request.sga_numsegs == 1 ? 0 : ENOMEM, "memory");
    memset(c->request.sga_segs[0].sgaseg_buf, 'q', BYTES);
    check(demi_pop(&c->pop, c->qd), "pop");
}

static void send_request(struct client *c)
{
    demi_qtoken_t qt;
    demi_qresult_t result;
    check(demi_push(&qt, c->qd, &c->request), "push");
    check(demi_wait(&result, qt, NULL), "push");
    check(result.qr_opcode == DEMI_OPC_PUSH ? 0 : (int)result.qr_ret, "push");
}

/* Takes a part of the reply; returns its bytes. */
static size_t receive(struct client *c)
{
    const struct timespec patience = {.tv_sec = PATIENCE_S};
    demi_qresult_t result;
    size_t bytes = 0;
    check(demi_wait(&result, c->pop, &patience), "reply");
    check(result.qr_opcode == DEMI_OPC_POP ? 0 : (int)result.qr_ret, "pop");
    const demi_sgarray_t *sga = &result.qr_value.sga;
    for (uint32_t i = 0; i < sga->sga_numsegs; i++)
        bytes += sga->sga_segs[i].sgaseg_len;
    check(bytes > 0 ? 0 : ECONNRESET, "reply");
    check(demi_sgafree(&result.qr_value.sga), "free");
    check(demi_pop(&c->pop, c->qd), "pop");
    return bytes;
}

/* Microseconds of one round trip. */
static double ask(struct client *c)
{
    const uint64_t start = bench_now_ns();
    size_t left = BYTES;
    send_request(c);
    while (left > 0) {
        size_t n = receive(c);
        check(n <= left ? 0 : EBADMSG, "reply");
        left -= n;
    }
    return (double)(bench_now_ns() - start) / 1e3;
}

/* Nothing is sent, and nothing must come. */
static void rest(struct client *c, long ms)
{
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * NS_PER_MS};
    demi_qresult_t result;
    int err = demi_wait(&result, c->pop, &time);
    check(err == ETIMEDOUT ? 0 : err == 0 ? EBADMSG : err, "rest");
}

static void be_busy(struct client *c, size_t requests)
{
    for (size_t i = 0; i < requests; i++)
        c->figures[i] = ask(c);
    printf("busy %.2f\n", bench_median(c->figures, requests));
}

static void ask_after_rests(struct client *c, size_t gaps, long gap_ms)
{
    for (size_t i = 0; i < gaps; i++) {
        rest(c, gap_ms + (long)(i * PHASE_STEP % PHASES));
        c->figures[i] = ask(c);
    }
    double median = bench_median(c->figures, gaps);
    printf("first %.2f %.2f\n", median, c->figures[gaps - 1]);
}

/* Keeps the connection until the input ends, and sleeps meanwhile, outside the library. */
static void be_idle(struct client *c)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    char byte;
    puts("idle");
    for (;;) {
        rest(c, 0);
        if (poll(&input, 1, NAP_MS) > 0 && read(STDIN_FILENO, &byte, 1) <= 0)
            return;
    }
}

static bool read_number(const char *text, long most, long *out)
{
    char *end;
    *out = strtol(text, &end, 10);
    return *end == '\0' && *out > 0 && *out <= most;
}

int main(int argc, char **argv)
{
    static struct client client;
    struct address to;
    long requests, gaps, gap_ms;
    if (argc != 5 || address_parse(argv[1], AF_INET, &to) != NULL ||
        !read_number(argv[2], FIGURES_MAX, &requests) ||
        !read_number(argv[3], FIGURES_MAX, &gaps) || !read_number(argv[4], 60000, &gap_ms)) {
        fprintf(stderr, "usage: idle-client ADDRESS REQUESTS GAPS GAP_MS\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    check(demi_init(NULL), "demi_init");
    connect_to(&client, &to);
    be_busy(&client, (size_t)requests);
    ask_after_rests(&client, (size_t)gaps, gap_ms);
    be_idle(&client);
    printf("last %.2f\n", ask(&client));
    demi_sgafree(&client.request);
    demi_close(client.qd);
    check(demi_fini(), "demi_fini");
    return 0;
}
