/* SPDX-License-Identifier: MIT */
/*
 * wait-any-scale [instructions N]: demi_wait_any in the steady state of a server, which keeps one
 * array and replaces the token that completed. It must cost the same over 10,000 outstanding tokens
 * as over 10.
 *
 * Without arguments: nanoseconds of both, in alternation. With arguments: runs N tokens for
 * callgrind, which collects inside counted_wait_any (wait_any_scale.sh).
 */
#include "bench.h"

#include <demi/libos.h>
#include <demi/queue.h>
#include <demi/sga.h>
#include <demi/wait.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TARGET 1.1

enum { FEW = 10, MANY = 10000, PAIRS = 101, STRETCH = 4000, COUNTED_ROUNDS = 20000 };

/* One queue per token: a completion says nothing about where its neighbours stand. */
struct server {
    int num;
    int *qds;
    demi_qtoken_t *qts;
    demi_sgarray_t sga;
    uint32_t next;
    bool scattered;
};

#define MUST(call)                                                                                 \
    do {                                                                                           \
        int must_error = (call);                                                                   \
        if (must_error != 0) {                                                                     \
            fprintf(stderr, "%s: %s\n", #call, strerror(must_error));                              \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

__attribute__((noinline, noclone)) static int counted_wait_any(demi_qresult_t *qr, int *at,
                                                               const struct server *server)
{
    return demi_wait_any(qr, at, server->qts, server->num, NULL);
}

static struct server *server_start(int num)
{
    struct server *server = calloc(1, sizeof *server);
    server->num = num;
    server->qds = calloc((size_t)num, sizeof *server->qds);
    server->qts = calloc((size_t)num, sizeof *server->qts);
    server->sga = demi_sgaalloc(64);
    for (int i = 0; i < num; i++) {
        MUST(demi_queue(&server->qds[i], 0));
        MUST(demi_pop(&server->qts[i], server->qds[i]));
    }
    return server;
}

/* Completes one pop: they take turns, or they come scattered, which is a test of the caches. */
static void request(struct server *server)
{
    demi_qtoken_t qt;
    demi_qresult_t qr;
    server->next = server->scattered ? server->next * 1664525u + 1013904223u : server->next + 1;
    const uint32_t num = (uint32_t)server->num;
    const uint32_t i =
        server->scattered ? (uint32_t)((uint64_t)server->next * num >> 32) : server->next % num;
    MUST(demi_push(&qt, server->qds[i], &server->sga));
    MUST(demi_wait(&qr, qt, NULL));
}

static void answer(struct server *server, demi_qresult_t *qr, int at)
{
    if (qr->qr_opcode != DEMI_OPC_POP || qr->qr_qd != server->qds[at])
        exit(1);
    MUST(demi_sgafree(&qr->qr_value.sga));
    MUST(demi_pop(&server->qts[at], server->qds[at]));
}

static void serve(struct server *server, int rounds)
{
    for (int i = 0; i < rounds; i++) {
        demi_qresult_t qr;
        int at = -1;
        request(server);
        MUST(counted_wait_any(&qr, &at, server));
        answer(server, &qr, at);
    }
}

/* The same without the function that is counted. */
static void warm_up(struct server *server, int rounds)
{
    for (int i = 0; i < rounds; i++) {
        demi_qresult_t qr;
        int at = -1;
        request(server);
        MUST(demi_wait_any(&qr, &at, server->qts, server->num, NULL));
        answer(server, &qr, at);
    }
}

/* Nanoseconds of one wait_any, the reading of the clock included. */
static double measure(struct server *server)
{
    uint64_t ns = 0;
    for (int i = 0; i < STRETCH; i++) {
        demi_qresult_t qr;
        int at = -1;
        request(server);
        const uint64_t start = bench_now_ns();
        MUST(counted_wait_any(&qr, &at, server));
        ns += bench_now_ns() - start;
        answer(server, &qr, at);
    }
    return (double)ns / STRETCH;
}

/* Short stretches in turn, and the median of the ratios of neighbours: the processor's frequency
 * changes meanwhile, but hardly between neighbours. */
static double compare(struct server *few, struct server *many, bool scattered)
{
    static double few_ns[PAIRS], many_ns[PAIRS], ratios[PAIRS];
    few->scattered = many->scattered = scattered;
    for (int i = 0; i < PAIRS; i++) {
        few_ns[i] = measure(few);
        many_ns[i] = measure(many);
        ratios[i] = many_ns[i] / few_ns[i];
    }
    const double ratio = bench_median(ratios, PAIRS);
    printf("  %-12s %12.1f %14.1f %12.2f\n", scattered ? "scattered" : "in turn",
           bench_median(few_ns, PAIRS), bench_median(many_ns, PAIRS), ratio);
    return ratio;
}

int main(int argc, char **argv)
{
    MUST(demi_init(NULL));
    if (argc == 3 && strcmp(argv[1], "instructions") == 0) {
        struct server *server = server_start(atoi(argv[2]));
        warm_up(server, COUNTED_ROUNDS);
        serve(server, COUNTED_ROUNDS);
        printf("rounds %d\n", COUNTED_ROUNDS);
        return 0;
    }
    struct server *few = server_start(FEW);
    struct server *many = server_start(MANY);
    warm_up(few, COUNTED_ROUNDS);
    warm_up(many, COUNTED_ROUNDS);
    printf("wait_any, one token replaced per call: ns, median of %d stretches\n", PAIRS);
    printf("  %-12s %12s %14s %12s\n", "completions", "10 tokens", "10,000 tokens", "times");
    const double ratio = compare(few, many, false);
    compare(few, many, true);
    printf("%s wait_any over 10,000 tokens, time: %.2f times that over 10, target <= %.2f\n",
           ratio <= TARGET ? "PASS" : "FAIL", ratio, TARGET);
    return ratio > TARGET;
}
