/* SPDX-License-Identifier: MIT */
/*
 * One stream that always has something to send, over whichever library OS DEMI_NET names.
 *
 *     path-send ADDRESS CONGESTION SECONDS
 *
 * Prints "connected", and at the end what TCP says of itself. It runs before other processes, as
 * what Linux's TCP does in interrupts does.
 */
#include "../tools/address.h"

#include <demi/libos.h>
#include <demi/sga.h>
#include <demi/wait.h>

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PUSH_BYTES (64u << 10)
#define PUSHES     4
#define NS_PER_S   1e9

static void check(int err, const char *what)
{
    if (err == 0)
        return;
    fprintf(stderr, "path-send: %s: %s\n", what, strerror(err));
    exit(2);
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / NS_PER_S;
}

static int connect_to(const struct address *to, const char *congestion)
{
    demi_qtoken_t qt;
    demi_qresult_t result;
    int qd;
    check(demi_socket(&qd, to->addr.ss_family, SOCK_STREAM, 0), "socket");
    check(
        demi_setsockopt(qd, IPPROTO_TCP, TCP_CONGESTION, congestion, (socklen_t)strlen(congestion)),
        "TCP_CONGESTION");
    check(demi_connect(&qt, qd, (const struct sockaddr *)&to->addr, to->len), "connect");
    check(demi_wait(&result, qt, NULL), "connect");
    check(result.qr_opcode == DEMI_OPC_CONNECT ? 0 : (int)result.qr_ret, "connect");
    puts("connected");
    fflush(stdout);
    return qd;
}

static void push(int qd, const demi_sgarray_t *junk)
{
    demi_qtoken_t qt;
    check(demi_push(&qt, qd, junk), "push");
}

static void send_for(int qd, double seconds)
{
    const struct timespec nap = {.tv_nsec = 50000000};
    demi_sgarray_t junk = demi_sgaalloc(PUSH_BYTES);
    double end = now_s() + seconds;
    check(junk.sga_numsegs == 1 ? 0 : ENOMEM, "memory");
    memset(junk.sga_segs[0].sgaseg_buf, 'x', PUSH_BYTES);
    for (int i = 0; i < PUSHES; i++)
        push(qd, &junk);
    while (now_s() < end) {
        demi_qresult_t result;
        int n = 0, err = demi_wait_some(&result, 1, &n, &nap);
        check(err == ETIMEDOUT || err == EINTR ? 0 : err, "wait");
        if (err != 0)
            continue;
        check(result.qr_opcode == DEMI_OPC_PUSH ? 0 : (int)result.qr_ret, "push");
        push(qd, &junk);
    }
    demi_sgafree(&junk);
}

static void print_info(int qd)
{
    struct tcp_info i = {0};
    socklen_t len = sizeof(i);
    check(demi_getsockopt(qd, IPPROTO_TCP, TCP_INFO, &i, &len), "TCP_INFO");
    printf("acked=%llu retrans=%u cwnd=%u ssthresh=%u rtt_us=%u min_rtt_us=%u options=%u\n",
           (unsigned long long)i.tcpi_bytes_acked, i.tcpi_total_retrans, i.tcpi_snd_cwnd,
           i.tcpi_snd_ssthresh, i.tcpi_rtt, i.tcpi_min_rtt, i.tcpi_options);
}

int main(int argc, char **argv)
{
    const struct linger at_once = {.l_onoff = 1};
    const struct sched_param first = {.sched_priority = 1};
    struct address to;
    const char *problem = argc == 4 ? address_parse(argv[1], AF_INET, &to) : "wrong arguments";
    if (problem) {
        fprintf(stderr, "path-send: %s\n", problem);
        return 2;
    }
    if (sched_setscheduler(0, SCHED_FIFO, &first) != 0)
        perror("path-send: no real-time priority");
    check(demi_init(NULL), "demi_init");
    int qd = connect_to(&to, argv[2]);
    send_for(qd, strtod(argv[3], NULL));
    print_info(qd);
    check(demi_setsockopt(qd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), "SO_LINGER");
    demi_close(qd);
    check(demi_fini(), "demi_fini");
    return 0;
}
