/* SPDX-License-Identifier: MIT */
/*
 * A process whose statistics are looked at from outside:
 *
 *   stats_process sleep N      pushes N elements to a queue in memory, one wait after all, then
 *                              sleeps in a wait for ever
 *   stats_process work N       pushes and pops N elements, each with its wait, then sleeps
 *   stats_process threads N    two threads, each "sleep N" with an instance of its own
 *   stats_process fork N       "sleep N", after a child was made that lives on without demi_init
 *   stats_process init N       the same, and the child does "sleep 2N" after its demi_init
 *   stats_process log N        appends N records to a log, one after another, then sleeps
 *   stats_process exit N       "sleep N" but for the sleep: ends by exit
 *   stats_process fini N       ends by demi_fini, and then waits for the end of standard input
 *
 * Prints its own counters, a line "NAME VALUE" each, "child PID" if there is one, and "ready".
 */
#include "must.h"

#include <demi/admin.h>
#include <demi/libos.h>
#include <demi/queue.h>
#include <demi/sga.h>
#include <demi/storage.h>
#include <demi/wait.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void push_all(int n)
{
    demi_qtoken_t *qts = calloc((size_t)n, sizeof(*qts));
    demi_qresult_t *qrs = calloc((size_t)n, sizeof(*qrs));
    int qd;
    MUST(demi_queue(&qd, 0));
    for (int i = 0; i < n; i++) {
        demi_sgarray_t sga = demi_sgaalloc(64);
        MUST(demi_push(&qts[i], qd, &sga));
        MUST(demi_sgafree(&sga));
    }
    MUST(demi_wait_all(qrs, qts, n, NULL));
    free(qrs);
    free(qts);
}

static void push_and_pop(int n)
{
    demi_qtoken_t qt;
    demi_qresult_t qr;
    int qd;
    MUST(demi_queue(&qd, 0));
    demi_sgarray_t sga = demi_sgaalloc(64);
    for (int i = 0; i < n; i++) {
        MUST(demi_push(&qt, qd, &sga));
        MUST(demi_wait(&qr, qt, NULL));
        MUST(demi_pop(&qt, qd));
        MUST(demi_wait(&qr, qt, NULL));
        MUST(demi_sgafree(&qr.qr_value.sga));
    }
    MUST(demi_sgafree(&sga));
}

static void append(int n)
{
    demi_qtoken_t qt;
    demi_qresult_t qr;
    int qd;
    MUST(demi_open(&qd, "log", O_RDWR | O_CREAT));
    demi_sgarray_t sga = demi_sgaalloc(64);
    memset(sga.sga_segs[0].sgaseg_buf, 7, 64);
    for (int i = 0; i < n; i++) {
        MUST(demi_push(&qt, qd, &sga));
        MUST(demi_wait(&qr, qt, NULL));
        MUST(qr.qr_opcode == DEMI_OPC_PUSH ? 0 : (int)qr.qr_ret);
    }
    MUST(demi_sgafree(&sga));
}

static void print_stats(void)
{
    struct demi_stat stats[256];
    size_t n;
    MUST(demi_stats(stats, 256, &n));
    for (size_t i = 0; i < n; i++) {
        if (stats[i].text)
            printf("%s %s\n", stats[i].name, stats[i].text);
        else
            printf("%s %llu\n", stats[i].name, (unsigned long long)stats[i].value);
    }
}

static void print_ready(void)
{
    printf("ready\n");
    fflush(stdout);
}

static void sleep_for_ever(void)
{
    demi_qtoken_t qt;
    demi_qresult_t qr;
    int qd;
    MUST(demi_queue(&qd, 0));
    MUST(demi_pop(&qt, qd));
    MUST(demi_wait(&qr, qt, NULL));
}

static void *run_thread(void *arg)
{
    MUST(demi_init(NULL));
    push_all(*(int *)arg);
    sleep_for_ever();
    return NULL;
}

/* A child that does not start the library, or does and pushes 2n. */
static void make_child(int n, int init)
{
    int child = fork();
    if (child == 0) {
        if (init) {
            MUST(demi_init(NULL));
            push_all(2 * n);
            sleep_for_ever();
        }
        for (;;)
            pause();
    }
    printf("child %d\n", child);
}

int main(int argc, char **argv)
{
    const char *what = argc == 3 ? argv[1] : "";
    int n = argc == 3 ? atoi(argv[2]) : 0;
    pthread_t thread;
    MUST(demi_init(NULL));
    if (strcmp(what, "work") == 0)
        push_and_pop(n);
    else if (strcmp(what, "log") == 0)
        append(n);
    else
        push_all(n);
    if (strcmp(what, "threads") == 0)
        MUST(pthread_create(&thread, NULL, run_thread, &n));
    if (strcmp(what, "fork") == 0 || strcmp(what, "init") == 0)
        make_child(n, what[0] == 'i');
    print_stats();
    if (strcmp(what, "fini") == 0)
        MUST(demi_fini());
    print_ready();
    if (strcmp(what, "exit") == 0)
        return 0;
    if (strcmp(what, "fini") == 0)
        return getchar() == EOF ? 0 : 1;
    sleep_for_ever();
}
