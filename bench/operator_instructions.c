/* SPDX-License-Identifier: MIT */
/*
 * operator-instructions WHAT ROUNDS: push, wait, pop, wait through an operator over queues in
 * memory, one segment of 64 bytes. Counts nothing itself: operator_instructions.sh runs it under
 * callgrind.
 */
#include <demi/libos.h>
#include <demi/queue.h>
#include <demi/sga.h>
#include <demi/wait.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHAIN   8
#define WAITING 4 /* elements that stay in the sort */
#define OUTPUTS 4

/* Where elements go in and come out, by round. */
static struct {
    int in[OUTPUTS], out[OUTPUTS];
    uint32_t waiting;
    bool random;
} way;

static bool pass(const demi_sgarray_t *sga, void *arg)
{
    (void)arg;
    return sga->sga_segs[0].sgaseg_len == 64;
}

static int edit(demi_sgarray_t *sga, void *arg)
{
    (void)arg;
    *(char *)sga->sga_segs[0].sgaseg_buf = 1;
    return 0;
}

static int key_of(const demi_sgarray_t *sga)
{
    return *(const int *)sga->sga_segs[0].sgaseg_buf;
}

static int order(const demi_sgarray_t *a, const demi_sgarray_t *b, void *arg)
{
    (void)arg;
    return key_of(a) - key_of(b);
}

/* Writes what the elements are sorted by: equal keys, or random ones. */
static void set_key(const demi_sgarray_t *sga)
{
    static uint32_t x = 1;
    x = x * 1664525 + 1013904223;
    *(int *)sga->sga_segs[0].sgaseg_buf = way.random ? (int)(x >> 2) : 1;
}

static uint32_t next_output(const demi_sgarray_t *sga, void *arg)
{
    (void)sga;
    return (*(uint32_t *)arg)++;
}

static int make_chain(int source)
{
    int error = 0;
    for (int i = 0; i < CHAIN && error == 0; i++)
        error = demi_filter(&way.out[0], i == 0 ? source : way.out[0], pass, NULL);
    return error;
}

/* One operator over source; `in` stays the source unless elements are to be pushed through it. */
static int make(const char *what, int source)
{
    static uint32_t turn;
    int *out = &way.out[0];
    int error = 0;
    bool pushed_through = strstr(what, "-push") != NULL;
    if (strncmp(what, "filter", 6) == 0)
        error = demi_filter(out, source, pass, NULL);
    else if (strncmp(what, "mapin", 5) == 0)
        error = demi_map_dir(out, source, edit, NULL, NULL);
    else if (strcmp(what, "map") == 0)
        error = demi_map_dir(out, source, NULL, edit, NULL);
    else if (strncmp(what, "sort", 4) == 0)
        error = demi_sort(out, source, order, NULL);
    else if (strcmp(what, "partition") == 0)
        return demi_partition(way.out, OUTPUTS, source, next_output, &turn);
    else if (strcmp(what, "chain") == 0)
        error = make_chain(source);
    else if (strcmp(what, "queue") != 0)
        return 1;
    if (strncmp(what, "sort", 4) == 0)
        way.waiting = WAITING;
    way.random = strcmp(what, "sort-random") == 0;
    for (int i = 0; i < OUTPUTS; i++) {
        way.out[i] = way.out[0];
        way.in[i] = pushed_through ? way.out[0] : source;
    }
    return error;
}

static int make_merge(int source)
{
    int second = -1;
    int error = demi_queue(&second, 0);
    if (error == 0)
        error = demi_merge(&way.out[0], source, second);
    for (int i = 0; i < OUTPUTS; i++) {
        way.out[i] = way.out[0];
        way.in[i] = i % 2 == 0 ? source : second;
    }
    return error;
}

/* All four calls; the results of both waits. The pusher lets go before the pop: who maps the
 * element has it alone. */
static int all_four(int in, int out, demi_sgarray_t *sga, demi_qresult_t qr[2])
{
    demi_qtoken_t qt;
    int error = demi_push(&qt, in, sga);
    error |= demi_wait(&qr[0], qt, NULL);
    error |= demi_sgafree(sga);
    error |= demi_pop(&qt, out);
    error |= demi_wait(&qr[1], qt, NULL);
    return error;
}

static void rounds(int n)
{
    for (int i = 0; i < n; i++) {
        demi_qresult_t qr[2];
        demi_sgarray_t sga = demi_sgaalloc(64);
        int turn = i % OUTPUTS;
        if (sga.sga_buf != NULL)
            set_key(&sga);
        if (sga.sga_buf == NULL || all_four(way.in[turn], way.out[turn], &sga, qr) != 0 ||
            qr[0].qr_opcode != DEMI_OPC_PUSH || qr[1].qr_opcode != DEMI_OPC_POP ||
            qr[1].qr_value.sga.sga_segs[0].sgaseg_len != 64 ||
            demi_sgafree(&qr[1].qr_value.sga) != 0) {
            fprintf(stderr, "operator-instructions: round %d failed\n", i);
            exit(1);
        }
    }
}

int main(int argc, char **argv)
{
    int source = -1;
    if (argc != 3 || demi_init(NULL) != 0 || demi_queue(&source, 0) != 0)
        return 1;
    for (int i = 0; i < OUTPUTS; i++)
        way.in[i] = way.out[i] = source;
    if (strcmp(argv[1], "merge") == 0 ? make_merge(source) != 0 : make(argv[1], source) != 0)
        return 1;
    for (uint32_t i = 0; i < way.waiting; i++) {
        demi_sgarray_t sga = demi_sgaalloc(64);
        if (sga.sga_buf != NULL)
            set_key(&sga);
        if (demi_blocking_push(way.in[0], &sga) != 0 || demi_sgafree(&sga) != 0)
            return 1;
    }
    rounds(atoi(argv[2]));
    return demi_fini();
}
