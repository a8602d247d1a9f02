/* SPDX-License-Identifier: MIT */
/*
 * What log_compare.py measures, one thing per run; prints one number.
 *
 *   log-load raw FILE SECONDS       us, median: one durable write of 4 KiB at a time by io_uring
 *   log-load one LOG SECONDS        us, median: one append of 4 KiB at a time
 *   log-load many LOG SECONDS       appends of 4 KiB per second, 64 outstanding
 *   log-load fill LOG BYTES         appends of 4 KiB per second until it has so many bytes
 *   log-load read LOG BYTES         bytes per second of reading so many, 64 pops outstanding
 *
 * `raw` is the best that we know of: direct I/O, one RWF_DSYNC write, over a file whose blocks were
 * written before. The log is the public interface, in its defaults.
 */
#include "bench.h"

#include <demi/libos.h>
#include <demi/memory.h>
#include <demi/sga.h>
#include <demi/storage.h>
#include <demi/wait.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BYTES       4096u
#define FILE_BYTES  (UINT64_C(256) << 20)
#define OUTSTANDING 64
#define MAX_FIGURES 1000000

static double figures[MAX_FIGURES];

static void must(int error, const char *what)
{
    if (error == 0)
        return;
    fprintf(stderr, "log-load: %s: %s\n", what, strerror(error));
    exit(1);
}

static void *page(void)
{
    void *p = demi_aligned_alloc(4096, BYTES);
    must(p ? 0 : ENOMEM, "memory");
    memset(p, 0x5a, BYTES);
    return p;
}

/* A file of which every block was written. */
static int written_file(const char *path)
{
    static char zeros[1 << 20] __attribute__((aligned(4096)));
    int fd = open(path, O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
    must(fd < 0 ? errno : 0, path);
    for (uint64_t at = 0; at < FILE_BYTES; at += sizeof(zeros))
        must(pwrite(fd, zeros, sizeof(zeros), (off_t)at) == sizeof(zeros) ? 0 : EIO, path);
    must(fsync(fd) < 0 ? errno : 0, path);
    return fd;
}

static void write_durably(struct io_uring *ring, int fd, const void *data, uint64_t at)
{
    struct io_uring_cqe *cqe;
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    io_uring_prep_write(sqe, fd, data, BYTES, at);
    sqe->rw_flags = RWF_DSYNC;
    io_uring_submit_and_wait(ring, 1);
    must(-io_uring_peek_cqe(ring, &cqe), "io_uring");
    must(cqe->res == BYTES ? 0 : EIO, "write");
    io_uring_cqe_seen(ring, cqe);
}

static double run_raw(const char *path, uint64_t ns)
{
    struct io_uring ring;
    struct io_uring_params p = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};
    const int fd = written_file(path);
    const void *data = page();
    size_t n = 0;
    must(-io_uring_queue_init_params(8, &ring, &p), "io_uring");
    for (uint64_t end = bench_now_ns() + ns, now = 0; now < end && n < MAX_FIGURES; n++) {
        const uint64_t start = bench_now_ns();
        write_durably(&ring, fd, data, n * BYTES % FILE_BYTES);
        now = bench_now_ns();
        figures[n] = (double)(now - start) / 1e3;
    }
    return bench_median(figures, n);
}

static demi_qtoken_t push(int qd, void *data)
{
    demi_qtoken_t qt;
    demi_sgarray_t sga = {.sga_numsegs = 1,
                          .sga_segs = {{.sgaseg_buf = data, .sgaseg_len = BYTES}}};
    must(demi_push(&qt, qd, &sga), "push");
    return qt;
}

static void must_succeed(const demi_qresult_t *qr)
{
    must(qr->qr_opcode == DEMI_OPC_FAILED ? (int)qr->qr_ret : 0, "result");
}

static double run_one(int qd, uint64_t ns)
{
    void *data = page();
    size_t n = 0;
    for (uint64_t end = bench_now_ns() + ns, now = 0; now < end && n < MAX_FIGURES; n++) {
        demi_qresult_t qr;
        const uint64_t start = bench_now_ns();
        must(demi_wait(&qr, push(qd, data), NULL), "wait");
        must_succeed(&qr);
        now = bench_now_ns();
        figures[n] = (double)(now - start) / 1e3;
    }
    return bench_median(figures, n);
}

/* Appends until so much time has passed, or so many were made. */
static double run_many(int qd, uint64_t ns, uint64_t most)
{
    void *data = page();
    demi_qtoken_t qts[OUTSTANDING];
    uint64_t n = 0;
    const uint64_t start = bench_now_ns();
    for (int i = 0; i < OUTSTANDING; i++)
        qts[i] = push(qd, data);
    for (; n < most && bench_now_ns() - start < ns; n++) {
        demi_qresult_t qr;
        int at;
        must(demi_wait_any(&qr, &at, qts, OUTSTANDING, NULL), "wait");
        must_succeed(&qr);
        qts[at] = push(qd, data);
    }
    const double rate = (double)n * 1e9 / (double)(bench_now_ns() - start);
    demi_qresult_t rest[OUTSTANDING];
    must(demi_wait_all(rest, qts, OUTSTANDING, NULL), "wait");
    return rate;
}

static demi_qtoken_t pop(int qd)
{
    demi_qtoken_t qt;
    must(demi_pop(&qt, qd), "pop");
    return qt;
}

static double run_read(int qd, uint64_t most)
{
    demi_qtoken_t qts[OUTSTANDING];
    uint64_t bytes = 0;
    const uint64_t start = bench_now_ns();
    for (int i = 0; i < OUTSTANDING; i++)
        qts[i] = pop(qd);
    for (int i = 0; bytes < most; i = (i + 1) % OUTSTANDING) {
        demi_qresult_t qr;
        must(demi_wait(&qr, qts[i], NULL), "wait");
        must_succeed(&qr);
        must(qr.qr_value.sga.sga_numsegs == 0 ? ENODATA : 0, "the log ends");
        bytes += qr.qr_value.sga.sga_segs[0].sgaseg_len;
        demi_sgafree(&qr.qr_value.sga);
        qts[i] = pop(qd);
    }
    return (double)bytes * 1e9 / (double)(bench_now_ns() - start);
}

int main(int argc, char *argv[])
{
    const struct demi_args args = {.argc = argc, .argv = argv};
    const uint64_t amount = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
    const uint64_t ns = amount * UINT64_C(1000000000);
    double figure = 0;
    int qd;
    if (argc < 4)
        return 2;
    must(demi_init(&args), "init");
    if (strcmp(argv[1], "raw") == 0) {
        figure = run_raw(argv[2], ns);
    } else {
        must(demi_open(&qd, argv[2], O_RDWR | O_CREAT), argv[2]);
        if (strcmp(argv[1], "one") == 0)
            figure = run_one(qd, ns);
        else if (strcmp(argv[1], "many") == 0)
            figure = run_many(qd, ns, UINT64_MAX);
        else if (strcmp(argv[1], "fill") == 0)
            figure = run_many(qd, UINT64_MAX, amount / BYTES);
        else
            figure = run_read(qd, amount);
        must(demi_close(qd), "close");
    }
    printf("%.3f\n", figure);
    return demi_fini();
}
