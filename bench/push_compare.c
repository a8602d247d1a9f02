/* SPDX-License-Identifier: MIT */
/*
 * Claim: a large push over the kernel's sockets costs what send(2) costs: no byte is copied by the
 * library, and as many arrive per second.
 *
 *   push-compare [MILLISECONDS]
 *
 * Both senders do equal work: one thread on the first CPU, one buffer that is written once, one
 * element (one send) at a time, each waited for: send(2) blocks, and a push is waited for by
 * demi_wait, which sleeps at once (poll=never). The receiver is the same plain process on the
 * second CPU: recv(2) into 256 KiB. The memory pushed is a part of an object of demi_malloc. The
 * counters of copies must not move.
 */
#include "bench.h"

#include <demi/admin.h>
#include <demi/libos.h>
#include <demi/memory.h>
#include <demi/wait.h>
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define MEASURE_MS 300
#define WARMUP_NS  UINT64_C(50000000)
#define TARGET     0.97 /* neighbours in time differ by a few per cent here */

static const uint32_t sizes[] = {65536, 262144, 1048576};

static uint64_t measure_ns = MEASURE_MS * UINT64_C(1000000);

static void pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof(set), &set); /* where there is one CPU only, both share it */
}

static void die(const char *what, int err)
{
    fprintf(stderr, "push-compare: %s: %s\n", what, strerror(err));
    _exit(1);
}

/* The receiver: reads until the end. */
static int start_receiver(struct sockaddr_in *addr)
{
    static char buf[262144];
    socklen_t len = sizeof(*addr);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *addr = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (struct sockaddr *)addr, len) < 0 || listen(listener, 1) < 0 ||
        getsockname(listener, (struct sockaddr *)addr, &len) < 0)
        die("receiver", errno);
    int pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pin(1);
        int fd = accept(listener, NULL, NULL);
        while (recv(fd, buf, sizeof(buf), 0) > 0)
            ;
        _exit(0);
    }
    close(listener);
    return pid;
}

/* Sends one element and waits until it may be reused. */
typedef void (*send_fn)(int fd, const demi_sgarray_t *sga);

static void send_plain(int fd, const demi_sgarray_t *sga)
{
    const char *at = sga->sga_segs[0].sgaseg_buf;
    size_t left = sga->sga_segs[0].sgaseg_len;
    while (left > 0) {
        ssize_t n = send(fd, at, left, MSG_NOSIGNAL);
        if (n < 0)
            die("send", errno);
        at += n;
        left -= (size_t)n;
    }
}

static void send_demi(int qd, const demi_sgarray_t *sga)
{
    demi_qtoken_t qt;
    demi_qresult_t qr;
    int err = demi_push(&qt, qd, sga);
    if (err == 0)
        err = demi_wait(&qr, qt, NULL);
    if (err == 0 && qr.qr_opcode == DEMI_OPC_FAILED)
        err = (int)qr.qr_ret;
    if (err != 0)
        die("push", err);
}

/* Bytes per second of one sender. */
static double measure(send_fn send_one, int fd, uint32_t size)
{
    char *object = demi_malloc(size + 1000);
    demi_sgarray_t sga = {.sga_numsegs = 1};
    sga.sga_segs[0].sgaseg_buf = object + 500;
    sga.sga_segs[0].sgaseg_len = size;
    memset(object, 7, size + 1000);
    uint64_t start = bench_now_ns() + WARMUP_NS, now, bytes = 0;
    while (bench_now_ns() < start)
        send_one(fd, &sga);
    start = bench_now_ns();
    do {
        send_one(fd, &sga);
        bytes += size;
        now = bench_now_ns();
    } while (now - start < measure_ns);
    demi_free(object);
    return (double)bytes / (double)(now - start) * 1e3;
}

static uint64_t copied_bytes(void)
{
    struct demi_stat stats[128];
    size_t n = 0;
    uint64_t sum = 0;
    demi_stats(stats, 128, &n);
    for (size_t i = 0; i < n && i < 128; i++)
        if (strncmp(stats[i].name, "mem.copied_bytes", 16) == 0)
            sum += stats[i].value;
    return sum;
}

static void finish(int pid)
{
    int status;
    waitpid(pid, &status, 0);
}

static double run_plain(void *arg)
{
    const uint32_t *size = arg;
    struct sockaddr_in addr;
    int pid = start_receiver(&addr);
    pin(0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
        die("connect", errno);
    double rate = measure(send_plain, fd, *size);
    close(fd);
    finish(pid);
    return rate;
}

static double run_demi(void *arg)
{
    const uint32_t *size = arg;
    struct sockaddr_in addr;
    demi_qtoken_t qt;
    demi_qresult_t qr;
    int qd = -1;
    int pid = start_receiver(&addr);
    pin(0);
    if (demi_init(NULL) != 0 || demi_socket(&qd, AF_INET, SOCK_STREAM, 0) != 0 ||
        demi_connect(&qt, qd, (struct sockaddr *)&addr, sizeof(addr)) != 0 ||
        demi_wait(&qr, qt, NULL) != 0 || qr.qr_opcode != DEMI_OPC_CONNECT)
        die("connect", ECONNREFUSED);
    uint64_t before = copied_bytes();
    double rate = measure(send_demi, qd, *size);
    uint64_t copied = copied_bytes() - before;
    demi_close(qd);
    demi_fini();
    finish(pid);
    if (copied == 0)
        return rate;
    fprintf(stderr, "push-compare: %llu bytes were copied\n", (unsigned long long)copied);
    return -1;
}

int main(int argc, char **argv)
{
    int missed = 0;
    if (argc > 1)
        measure_ns = strtoull(argv[1], NULL, 10) * 1000000;
    setenv("DEMI_NET", "kernel", 1);
    setenv("DEMI_POLL", "never", 0);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint32_t size = sizes[i];
        char what[80];
        snprintf(what, sizeof(what), "push and wait, %u KiB in one segment, no byte copied",
                 size / 1024);
        const struct bench_claim claim = {
            .what = what, .unit = "MB/s", .more_is_better = true, .target = TARGET};
        const struct bench_side ours = {
            .name = "demi_push, demi_wait", .run = run_demi, .arg = &size};
        const struct bench_side theirs = {.name = "send(2)", .run = run_plain, .arg = &size};
        missed |= bench_compare(&claim, &ours, &theirs);
    }
    return missed;
}
