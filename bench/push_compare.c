/* SPDX-License-Identifier: MIT */
/*
 * Claim: a large push over the kernel's sockets costs what send(2) costs: no byte is copied by the
 * library, and as many arrive per second.
 *
 *   push-compare [ROUNDS]
 *
 * Both senders do equal work: one thread on the first CPU, one buffer that is written once, one
 * element (one send) at a time, each waited for: send(2) blocks, demi_wait spins a little and then
 * sleeps, as it does by default. Both have TCP_NODELAY. The receiver is one plain process on the
 * second CPU: poll(2), then recv(2) into 256 KiB. The memory pushed is a part of an object of
 * demi_malloc. The counters of copies must not move.
 *
 * What arrives per second over loopback falls into modes that differ by three times, whoever sends,
 * and last for tenths of a second. So both sides keep their connection, to the same receiver, and
 * take turns of a few milliseconds; the ratio is that of neighbours in time.
 */
#include "bench.h"

#include <demi/admin.h>
#include <demi/libos.h>
#include <demi/memory.h>
#include <demi/wait.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define MEASURE_NS UINT64_C(15000000)
#define WARMUP_NS  UINT64_C(3000000)
#define TARGET     0.97 /* a push enters and leaves the library, which takes a few hundredths */
#define ROUNDS     151

static const uint32_t sizes[] = {65536, 262144, 1048576};

static struct {
    int fd; /* of send(2) */
    int qd;
    uint32_t size;
    char *object; /* what is sent lies in it */
} sender;

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

/* Reads what comes on two connections until both end. */
static void receive(int listener)
{
    static char buf[262144];
    struct pollfd fds[2];
    for (int i = 0; i < 2; i++)
        fds[i] = (struct pollfd){.fd = accept(listener, NULL, NULL), .events = POLLIN};
    for (int open = 2; open > 0;) {
        poll(fds, 2, -1);
        for (int i = 0; i < 2; i++)
            if (fds[i].revents != 0 && recv(fds[i].fd, buf, sizeof(buf), 0) <= 0) {
                fds[i].fd = -1;
                open--;
            }
    }
}

static int start_receiver(struct sockaddr_in *addr)
{
    socklen_t len = sizeof(*addr);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *addr = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (struct sockaddr *)addr, len) < 0 || listen(listener, 2) < 0 ||
        getsockname(listener, (struct sockaddr *)addr, &len) < 0)
        die("receiver", errno);
    int pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pin(1);
        receive(listener);
        _exit(0);
    }
    close(listener);
    return pid;
}

static void connect_plain(const struct sockaddr_in *addr)
{
    int on = 1;
    sender.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (setsockopt(sender.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0 ||
        connect(sender.fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0)
        die("connect", errno);
}

static void connect_demi(const struct sockaddr_in *addr)
{
    demi_qtoken_t qt;
    demi_qresult_t qr;
    if (demi_socket(&sender.qd, AF_INET, SOCK_STREAM, 0) != 0 ||
        demi_connect(&qt, sender.qd, (const struct sockaddr *)addr, sizeof(*addr)) != 0 ||
        demi_wait(&qr, qt, NULL) != 0 || qr.qr_opcode != DEMI_OPC_CONNECT)
        die("connect", ECONNREFUSED);
}

/* Sends one element and waits until it may be reused. */
typedef void (*send_fn)(const demi_sgarray_t *sga);

static void send_plain(const demi_sgarray_t *sga)
{
    const char *at = sga->sga_segs[0].sgaseg_buf;
    size_t left = sga->sga_segs[0].sgaseg_len;
    while (left > 0) {
        ssize_t n = send(sender.fd, at, left, MSG_NOSIGNAL);
        if (n < 0)
            die("send", errno);
        at += n;
        left -= (size_t)n;
    }
}

static void send_demi(const demi_sgarray_t *sga)
{
    demi_qtoken_t qt;
    demi_qresult_t qr;
    int err = demi_push(&qt, sender.qd, sga);
    if (err == 0)
        err = demi_wait(&qr, qt, NULL);
    if (err == 0 && qr.qr_opcode == DEMI_OPC_FAILED)
        err = (int)qr.qr_ret;
    if (err != 0)
        die("push", err);
}

/* Megabytes per second of one turn. */
static double take_turn(send_fn send_one)
{
    demi_sgarray_t sga = {.sga_numsegs = 1};
    sga.sga_segs[0].sgaseg_buf = sender.object + 500;
    sga.sga_segs[0].sgaseg_len = sender.size;
    uint64_t start = bench_now_ns() + WARMUP_NS, now, bytes = 0;
    while (bench_now_ns() < start)
        send_one(&sga);
    start = bench_now_ns();
    do {
        send_one(&sga);
        bytes += sender.size;
        now = bench_now_ns();
    } while (now - start < MEASURE_NS);
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

static double run_plain(void *arg)
{
    (void)arg;
    return take_turn(send_plain);
}

static double run_demi(void *arg)
{
    (void)arg;
    uint64_t before = copied_bytes();
    double rate = take_turn(send_demi);
    uint64_t copied = copied_bytes() - before;
    if (copied == 0)
        return rate;
    fprintf(stderr, "push-compare: %llu bytes were copied\n", (unsigned long long)copied);
    return -1;
}

static int compare(uint32_t size, int rounds)
{
    char what[80];
    snprintf(what, sizeof(what), "push and wait, %u KiB in one segment, no byte copied",
             size / 1024);
    const struct bench_claim claim = {
        .what = what, .unit = "MB/s", .more_is_better = true, .target = TARGET, .rounds = rounds};
    const struct bench_side ours = {.name = "demi_push, demi_wait", .run = run_demi};
    const struct bench_side theirs = {.name = "send(2)", .run = run_plain};
    sender.size = size;
    sender.object = demi_malloc(size + 1000);
    if (sender.object == NULL)
        die("object", ENOMEM);
    memset(sender.object, 7, size + 1000);
    int missed = bench_compare(&claim, &ours, &theirs);
    demi_free(sender.object);
    return missed;
}

int main(int argc, char **argv)
{
    struct sockaddr_in addr;
    int missed = 0, rounds = argc > 1 ? atoi(argv[1]) : ROUNDS, status;
    if (rounds < 1 || rounds > BENCH_ROUNDS_MAX)
        return 2;
    setenv("DEMI_NET", "kernel", 1);
    int pid = start_receiver(&addr);
    pin(0);
    if (demi_init(NULL) != 0)
        die("demi_init", EINVAL);
    connect_plain(&addr);
    connect_demi(&addr);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        missed |= compare(sizes[i], rounds);
    demi_close(sender.qd);
    close(sender.fd);
    demi_fini();
    waitpid(pid, &status, 0);
    return missed;
}
