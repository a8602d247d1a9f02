/* SPDX-License-Identifier: MIT */
/*
 * Claim: an element of a queue that 16 threads wait for wakes one of them. On a memory queue that
 * is exactly one wake-up per element; on a socket it is at most one, and at most one hand-over of
 * the lead, which is counted apart: the thread that slept in the device leaves with its element,
 * and another takes its place there.
 *
 * All 16 sleep before each element comes: their number is in core.asleep. The peer of a socket is a
 * plain one, which takes no part in leading. Threads are woken by io_uring only while one thread
 * drives the instance, so what is measured as io_uring is the change to epoll, too.
 */
#include "bench.h"

#include <arpa/inet.h>
#include <demi/admin.h>
#include <demi/libos.h>
#include <demi/queue.h>
#include <demi/sga.h>
#include <demi/wait.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAITERS     16
#define ELEMENTS    2000
#define MAX_STATS   64
#define PATIENCE_NS UINT64_C(10000000000)

struct counters {
    uint64_t asleep, wakeups, handovers;
};

static int qd;            /* all wait for it */
static int peer;          /* a plain socket, or -1 */
static uint32_t popped;   /* by all */
static uint32_t stopping; /* the next element ends its thread */

static void die(const char *what, int err)
{
    fprintf(stderr, "wake-ups: %s: %s\n", what, strerror(err));
    exit(1);
}

static void must(const char *what, int err)
{
    if (err != 0)
        die(what, err);
}

static void read_counters(struct counters *c)
{
    static struct demi_stat stats[MAX_STATS];
    size_t n = 0;
    must("demi_stats", demi_stats(stats, MAX_STATS, &n));
    for (size_t i = 0; i < n && i < MAX_STATS; i++) {
        if (strcmp(stats[i].name, "core.asleep") == 0)
            c->asleep = stats[i].value;
        else if (strcmp(stats[i].name, "core.wakeups") == 0)
            c->wakeups = stats[i].value;
        else if (strcmp(stats[i].name, "core.handovers") == 0)
            c->handovers = stats[i].value;
    }
}

static void *pop_one_by_one(void *arg)
{
    bool last = false;
    while (!last) {
        demi_qresult_t qr;
        must("demi_blocking_pop", demi_blocking_pop(qd, &qr));
        must("demi_sgafree", demi_sgafree(&qr.qr_value.sga));
        last = __atomic_load_n(&stopping, __ATOMIC_ACQUIRE) != 0;
        __atomic_add_fetch(&popped, 1, __ATOMIC_ACQ_REL);
    }
    return arg;
}

static void push_one(void)
{
    if (peer >= 0) {
        if (send(peer, "element", 7, 0) != 7)
            die("send", errno);
        return;
    }
    demi_sgarray_t sga = demi_sgaalloc(7);
    must("demi_blocking_push", demi_blocking_push(qd, &sga));
    must("demi_sgafree", demi_sgafree(&sga));
}

/* Returns when so many elements came and so many threads sleep, with the counters of then. */
static void await(uint32_t elements, uint64_t threads, struct counters *c)
{
    uint64_t give_up = bench_now_ns() + PATIENCE_NS;
    do {
        if (bench_now_ns() > give_up)
            die("a thread is not woken", ETIMEDOUT);
        sched_yield();
        read_counters(c);
    } while (c->asleep != threads || __atomic_load_n(&popped, __ATOMIC_ACQUIRE) != elements);
    /* They were read one after the other, some of them perhaps before the element came. */
    read_counters(c);
}

static void connect_socket(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    demi_qtoken_t qt;
    demi_qresult_t qr;
    int listener;
    must("demi_socket", demi_socket(&listener, AF_INET, SOCK_STREAM, 0));
    must("demi_bind", demi_bind(listener, (struct sockaddr *)&addr, len));
    must("demi_listen", demi_listen(listener, 1));
    must("demi_getsockname", demi_getsockname(listener, (struct sockaddr *)&addr, &len));
    peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (peer < 0 || connect(peer, (struct sockaddr *)&addr, len) < 0)
        die("connect", errno);
    must("demi_accept", demi_accept(&qt, listener));
    must("demi_wait", demi_wait(&qr, qt, NULL));
    qd = qr.qr_value.ares.qd;
    must("demi_close", demi_close(listener));
}

static int verdict(const char *name, bool exact, struct counters sum, struct counters most,
                   uint64_t least)
{
    bool met = exact ? least == 1 && most.wakeups == 1 && most.handovers == 0
                     : most.wakeups <= 1 && most.handovers <= 1;
    printf("FIGURE %s, wake-ups per element: %.3f (%d to %d)\n", name,
           (double)sum.wakeups / ELEMENTS, (int)least, (int)most.wakeups);
    printf("FIGURE %s, hand-overs per element: %.3f (at most %d)\n", name,
           (double)sum.handovers / ELEMENTS, (int)most.handovers);
    printf("%s %s: %d threads, %s\n", met ? "PASS" : "FAIL", name, WAITERS,
           exact ? "one wake-up per element and no hand-over"
                 : "at most one wake-up per element, and at most one hand-over");
    return met ? 0 : 1;
}

static uint64_t max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* What each element costs, one after the other. */
static int count_elements(const char *name, bool exact)
{
    struct counters before, now, sum = {0}, most = {0};
    uint64_t least = UINT64_MAX;
    await(0, WAITERS, &before);
    for (uint32_t i = 1; i <= ELEMENTS; i++) {
        push_one();
        await(i, WAITERS, &now);
        uint64_t wakeups = now.wakeups - before.wakeups;
        uint64_t handovers = now.handovers - before.handovers;
        least = wakeups < least ? wakeups : least;
        most.wakeups = max(most.wakeups, wakeups);
        most.handovers = max(most.handovers, handovers);
        sum.wakeups += wakeups;
        sum.handovers += handovers;
        before = now;
    }
    return verdict(name, exact, sum, most, least);
}

static void end_threads(pthread_t threads[])
{
    struct counters now;
    __atomic_store_n(&stopping, 1, __ATOMIC_RELEASE);
    for (uint32_t i = 1; i <= WAITERS; i++) {
        push_one();
        await(ELEMENTS + i, WAITERS - i, &now);
    }
    for (int i = 0; i < WAITERS; i++)
        pthread_join(threads[i], NULL);
}

/* One kind of queue; engine: of its sockets, NULL: a memory queue. */
static int measure(const char *name, const char *engine)
{
    pthread_t threads[WAITERS];
    setenv("DEMI_NET", engine ? "kernel" : "memory", 1);
    setenv("DEMI_ENGINE", engine ? engine : "auto", 1);
    int err = demi_init(NULL);
    if (err == ENODEV) {
        printf("skipped %s: not available here\n", name);
        return 0;
    }
    must("demi_init", err);
    popped = stopping = 0;
    peer = -1;
    if (engine)
        connect_socket();
    else
        must("demi_queue", demi_queue(&qd, 0));
    for (int i = 0; i < WAITERS; i++)
        must("pthread_create", pthread_create(&threads[i], NULL, pop_one_by_one, NULL));
    printf("%s\n", name);
    int missed = count_elements(name, !engine);
    end_threads(threads);
    must("demi_close", demi_close(qd));
    if (peer >= 0)
        close(peer);
    must("demi_fini", demi_fini());
    return missed;
}

int main(void)
{
    int missed = measure("wake-ups on a memory queue", NULL);
    missed |= measure("wake-ups on a socket, io_uring", "io_uring");
    missed |= measure("wake-ups on a socket, epoll", "epoll");
    return missed;
}
