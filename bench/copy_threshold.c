/* SPDX-License-Identifier: MIT */
/*
 * Where copying a pushed segment begins to cost more than referencing it: what the default of
 * copy_threshold stands on.
 *
 *   copy-threshold
 *
 * An element of one segment, in the middle of an object of demi_malloc that was just written, goes
 * through a queue in memory and is freed. With copy_threshold 0 it is referenced at every size,
 * with 1 GiB it is copied at every size; the work is otherwise the same. Nobody reads the element:
 * that costs the same either way.
 */
#include "bench.h"

#include <demi/libos.h>
#include <demi/memory.h>
#include <demi/queue.h>
#include <demi/sga.h>
#include <demi/wait.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUND_NS UINT64_C(30000000)
#define BATCH    1000

static const uint32_t sizes[] = {64, 128, 256, 512, 1024, 2048, 4096, 16384};

static uint32_t size;

static void once(int qd, char *object)
{
    demi_sgarray_t sga = {.sga_numsegs = 1};
    demi_qresult_t qr[2];
    demi_qtoken_t qt;
    sga.sga_segs[0].sgaseg_buf = object + 16;
    sga.sga_segs[0].sgaseg_len = size;
    if (demi_push(&qt, qd, &sga) != 0 || demi_wait(&qr[0], qt, NULL) != 0 ||
        demi_pop(&qt, qd) != 0 || demi_wait(&qr[1], qt, NULL) != 0 ||
        qr[1].qr_value.sga.sga_segs[0].sgaseg_len != size ||
        demi_sgafree(&qr[1].qr_value.sga) != 0) {
        fprintf(stderr, "copy-threshold: a round failed\n");
        exit(1);
    }
}

/* Nanoseconds of one element. */
static double run(void *arg)
{
    int qd = -1;
    setenv("DEMI_COPY_THRESHOLD", arg, 1);
    char *object = demi_malloc(size + 32);
    if (!object || demi_init(NULL) != 0 || demi_queue(&qd, 0) != 0)
        return -1;
    memset(object, 1, size + 32);
    uint64_t start = bench_now_ns(), now, n = 0;
    do {
        for (int i = 0; i < BATCH; i++)
            once(qd, object);
        n += BATCH;
        now = bench_now_ns();
    } while (now - start < ROUND_NS);
    demi_close(qd);
    demi_fini();
    demi_free(object);
    return (double)(now - start) / (double)n;
}

int main(void)
{
    static char always_reference[] = "0", always_copy[] = "1073741824";
    int missed = 0;
    setenv("DEMI_NET", "memory", 1);
    const struct bench_side reference = {.name = "referenced", .run = run, .arg = always_reference};
    const struct bench_side copy = {.name = "copied", .run = run, .arg = always_copy};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char what[64];
        size = sizes[i];
        snprintf(what, sizeof(what), "an element of %u bytes, referenced beside copied", size);
        /* The default is 1024: from there on a reference must not cost more. */
        const struct bench_claim claim = {
            .what = what, .unit = "ns", .target = size >= 1024 ? 1.0 : 0};
        missed |= bench_compare(&claim, &reference, &copy);
    }
    return missed;
}
