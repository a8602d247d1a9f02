/* SPDX-License-Identifier: MIT */
/*
 * Claim: a server written on demi_wait_any over kernel sockets answers as fast as one written by
 * hand on epoll.
 *
 *   echo-compare [ROUNDS [MILLISECONDS]]
 *
 * Both servers do equal work: TCP_NODELAY, one receive and one send per message of 64 bytes, one
 * thread on the first CPU. The same client, on the second CPU, loads one of them at a time. Both
 * spin (poll=always; epoll_wait with time-out 0) or both block (poll=never; time-out -1).
 *
 * Rounds are short and alternate ABBA, each with a new server process: on a shared machine the
 * placement of memory moves round trips by half, and only neighbours in time compare. The figures
 * are medians over rounds; the verdict is on the median of the ratios of pairs, to two decimals.
 */
#include "bench.h"
#include "echo_demi.h"
#include "echo_epoll.h"
#include "echo_rounds.h"

#include <demi/admin.h>

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS_DEFAULT    9
#define ROUNDS_LEAST      7
#define MEASURE_MS        500
#define WARMUP_NS         UINT64_C(50000000)
#define ROUND_TRIP_TARGET 1.05 /* ours over epoll's, at most */
#define RATE_TARGET       1.00 /* ours over epoll's, at least */
#define EXIT_SKIPPED      77

enum side { DEMI, EPOLL, SIDES };

/* What a server tells its parent when it can be reached. */
struct hello {
    uint16_t port;
    char engine[16];
};

/* ---- The server on the library. */

/* Which engine carries the sockets, as the counters tell. */
static void read_engine(char *engine, size_t len)
{
    struct demi_stat stats[128];
    size_t n = 0;
    snprintf(engine, len, "kernel");
    if (demi_stats(stats, 128, &n) != 0)
        return;
    for (size_t i = 0; i < n && i < 128; i++) {
        if (strcmp(stats[i].name, "kernel.engine") == 0 && stats[i].text != NULL)
            snprintf(engine, len, "%s", stats[i].text);
    }
}

/* The environment may choose the engine; everything else is the comparison's. */
static void configure_demi(bool spin)
{
    echo_clean_environment();
    setenv("DEMI_NET", "kernel", 1);
    setenv("DEMI_POLL", spin ? "always" : "never", 1);
}

static void send_hello(int fd, const struct hello *hello)
{
    if (write(fd, hello, sizeof(*hello)) != (ssize_t)sizeof(*hello))
        _exit(1);
    close(fd);
}

static void run_demi(bool spin, int hello_fd)
{
    struct hello hello = {0};
    configure_demi(spin);
    int qd = echo_demi_listen(0, &hello.port);
    read_engine(hello.engine, sizeof(hello.engine));
    send_hello(hello_fd, &hello);
    echo_demi_serve(qd);
}

static void run_epoll(bool spin, int hello_fd)
{
    struct hello hello = {.engine = "epoll"};
    int fd = echo_epoll_listen(0, &hello.port);
    if (fd >= 0) {
        send_hello(hello_fd, &hello);
        fd = echo_epoll_serve(fd, spin);
    }
    fprintf(stderr, "echo-compare: epoll server: %s\n", strerror(-fd));
}

/* ---- One round. */

/* Forks a server that dies with this process. Returns its pid, or -1. */
static pid_t start_server(enum side side, bool spin, int cpu, struct hello *hello)
{
    int fds[2];
    pid_t parent = getpid();
    if (pipe(fds) != 0)
        return -1;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(fds[0]);
        echo_pin(cpu);
        if (getppid() == parent)
            side == DEMI ? run_demi(spin, fds[1]) : run_epoll(spin, fds[1]);
        _exit(1);
    }
    close(fds[1]);
    bool ready = pid > 0 && read(fds[0], hello, sizeof(*hello)) == (ssize_t)sizeof(*hello);
    close(fds[0]);
    if (pid > 0 && !ready)
        waitpid(pid, NULL, 0);
    return ready ? pid : -1;
}

static bool run_round(const struct echo_settings *settings, const struct echo_scenario *scenario,
                      enum side side, struct echo_figures *out, char engine[16])
{
    struct hello hello;
    pid_t pid = start_server(side, scenario->spin, settings->server_cpu, &hello);
    if (pid < 0) {
        fprintf(stderr, "echo-compare: the server did not start\n");
        return false;
    }
    struct echo_load load = {.port = hello.port,
                             .server = pid,
                             .connections = scenario->connections,
                             .warmup_ns = WARMUP_NS,
                             .measure_ns = settings->measure_ns};
    int err = echo_client_run(&load, out);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    if (err != 0)
        fprintf(stderr, "echo-compare: client: %s\n", strerror(-err));
    if (side == DEMI)
        snprintf(engine, 16, "%s", hello.engine);
    return err == 0;
}

/* ---- All rounds of a scenario, and the verdict. */

struct rounds {
    struct echo_figures figures[SIDES][ECHO_ROUNDS_MAX];
    char engine[16];
};

static bool run_rounds(const struct echo_settings *settings, const struct echo_scenario *scenario,
                       struct rounds *rounds)
{
    for (size_t round = 0; round < settings->rounds; round++) {
        for (size_t turn = 0; turn < SIDES; turn++) {
            enum side side = (round + turn) % 2 == 0 ? DEMI : EPOLL;
            if (!run_round(settings, scenario, side, &rounds->figures[side][round], rounds->engine))
                return false;
        }
    }
    return true;
}

/* Prints one row; returns the ratio to two decimals, as it is printed. */
static double print_row(const struct rounds *rounds, size_t n, const char *what,
                        echo_figure_fn figure)
{
    double ratio = echo_ratio(rounds->figures[DEMI], rounds->figures[EPOLL], n, figure);
    printf("  %-28s %10.2f %10.2f %8.2f\n", what, echo_median(rounds->figures[DEMI], n, figure),
           echo_median(rounds->figures[EPOLL], n, figure), ratio);
    return ratio;
}

static double lesser(double a, double b)
{
    return a < b ? a : b;
}

static void print_disturbance(const struct rounds *rounds, size_t n)
{
    double least = lesser(echo_median(rounds->figures[DEMI], n, echo_share),
                          echo_median(rounds->figures[EPOLL], n, echo_share));
    echo_print_disturbance(least);
}

static int compare(const struct echo_settings *settings, const struct echo_scenario *scenario)
{
    static struct rounds rounds;
    size_t n = settings->rounds;
    if (!run_rounds(settings, scenario, &rounds)) {
        printf("FAIL %s: did not run\n", scenario->name);
        return 1;
    }
    printf("\n%s (library on %s): medians of %zu pairs\n", scenario->name, rounds.engine, n);
    printf("  %-28s %10s %10s %8s\n", "", "demi", "epoll", "ratio");
    double trip = print_row(&rounds, n, "round trip p50, us", echo_round_trip_us);
    double rate = print_row(&rounds, n, "thousand requests per s", echo_rate_k);
    print_row(&rounds, n, "server CPU per request, us", echo_cpu_us);
    print_disturbance(&rounds, n);
    int missed = echo_judge(scenario->name, "round trip", trip, ROUND_TRIP_TARGET, true);
    missed += echo_judge(scenario->name, "throughput", rate, RATE_TARGET, false);
    fflush(stdout);
    return missed;
}

int main(int argc, char **argv)
{
    struct echo_settings settings = {.rounds = ROUNDS_DEFAULT,
                                     .measure_ns = MEASURE_MS * UINT64_C(1000000)};
    int missed = 0;
    if (!echo_read_arguments(argc, argv, ROUNDS_LEAST, &settings)) {
        fprintf(stderr, "usage: echo-compare [ROUNDS (%d to %d) [MILLISECONDS]]\n", ROUNDS_LEAST,
                ECHO_ROUNDS_MAX);
        return 2;
    }
    if (!echo_choose_cpus(&settings)) {
        printf("skipped: needs two CPUs, one for the server and one for the client\n");
        return EXIT_SKIPPED;
    }
    echo_pin(settings.client_cpu);
    printf("TCP echo of %d bytes on loopback, server on CPU %d, spinning client on CPU %d\n",
           ECHO_BYTES, settings.server_cpu, settings.client_cpu);
    for (size_t i = 0; i < ECHO_SCENARIOS; i++)
        missed += compare(&settings, &echo_scenarios[i]);
    return missed == 0 ? 0 : 1;
}
