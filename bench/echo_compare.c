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
#define ROUNDS_MAX        101
#define MEASURE_MS        500
#define WARMUP_NS         UINT64_C(50000000)
#define ROUND_TRIP_TARGET 1.05 /* ours over epoll's, at most */
#define RATE_TARGET       1.00 /* ours over epoll's, at least */
#define SHARE_LEAST       0.95 /* of its CPU that the client must have for figures to mean much */
#define EXIT_SKIPPED      77

enum side { DEMI, EPOLL, SIDES };

struct scenario {
    const char *name;
    size_t connections;
    bool spin;
};

static const struct scenario scenarios[] = {
    {"1 connection, spinning", 1, true},
    {"64 connections, spinning", 64, true},
    {"1 connection, blocking", 1, false},
    {"64 connections, blocking", 64, false},
};

/* What a server tells its parent when it can be reached. */
struct hello {
    uint16_t port;
    char engine[16];
};

struct settings {
    size_t rounds;
    uint64_t measure_ns;
    int server_cpu;
    int client_cpu;
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
    static const char *const others[] = {"DEMI_CONFIG", "CONFIG_PATH", "LIBOS", "DEMI_BACKGROUND",
                                         "DEMI_WORKERS"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        unsetenv(others[i]);
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

static void pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) != 0)
        perror("echo-compare: cannot pin to a CPU");
}

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
        pin(cpu);
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

static bool run_round(const struct settings *settings, const struct scenario *scenario,
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
    struct echo_figures figures[SIDES][ROUNDS_MAX];
    char engine[16];
};

static bool run_rounds(const struct settings *settings, const struct scenario *scenario,
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

typedef double (*figure_fn)(const struct echo_figures *figures);

static double round_trip_us(const struct echo_figures *figures)
{
    return figures->p50_ns / 1e3;
}

static double rate_k(const struct echo_figures *figures)
{
    return figures->per_second / 1e3;
}

static double cpu_us(const struct echo_figures *figures)
{
    return figures->cpu_ns / 1e3;
}

static double share(const struct echo_figures *figures)
{
    return figures->share;
}

static double median_of(const struct rounds *rounds, size_t n, enum side side, figure_fn figure)
{
    double values[ROUNDS_MAX];
    for (size_t i = 0; i < n; i++)
        values[i] = figure(&rounds->figures[side][i]);
    return bench_median(values, n);
}

/* The median of ours over theirs, pair by pair. */
static double median_ratio(const struct rounds *rounds, size_t n, figure_fn figure)
{
    double values[ROUNDS_MAX];
    for (size_t i = 0; i < n; i++)
        values[i] = figure(&rounds->figures[DEMI][i]) / figure(&rounds->figures[EPOLL][i]);
    return bench_median(values, n);
}

/* Prints one row; returns the ratio to two decimals, as it is printed. */
static double print_row(const struct rounds *rounds, size_t n, const char *what, figure_fn figure)
{
    double ratio = median_ratio(rounds, n, figure);
    printf("  %-28s %10.2f %10.2f %8.2f\n", what, median_of(rounds, n, DEMI, figure),
           median_of(rounds, n, EPOLL, figure), ratio);
    return (double)(long)(ratio * 100 + 0.5) / 100;
}

static double lesser(double a, double b)
{
    return a < b ? a : b;
}

static void print_disturbance(const struct rounds *rounds, size_t n)
{
    double least = lesser(median_of(rounds, n, DEMI, share), median_of(rounds, n, EPOLL, share));
    if (least < SHARE_LEAST)
        printf(
            "  NOTE: other work ran here: the client had %.0f %% of its CPU; repeat when quiet\n",
            least * 100);
}

static int verdict(const char *scenario, const char *what, double ratio, double target, bool most)
{
    bool met = most ? ratio <= target : ratio >= target;
    printf("%s %s, %s: %.2fx of epoll, target %s %.2fx\n", met ? "PASS" : "FAIL", scenario, what,
           ratio, most ? "at most" : "at least", target);
    return met ? 0 : 1;
}

static int compare(const struct settings *settings, const struct scenario *scenario)
{
    static struct rounds rounds;
    size_t n = settings->rounds;
    if (!run_rounds(settings, scenario, &rounds)) {
        printf("FAIL %s: did not run\n", scenario->name);
        return 1;
    }
    printf("\n%s (library on %s): medians of %zu pairs\n", scenario->name, rounds.engine, n);
    printf("  %-28s %10s %10s %8s\n", "", "demi", "epoll", "ratio");
    double trip = print_row(&rounds, n, "round trip p50, us", round_trip_us);
    double rate = print_row(&rounds, n, "thousand requests per s", rate_k);
    print_row(&rounds, n, "server CPU per request, us", cpu_us);
    print_disturbance(&rounds, n);
    int missed = verdict(scenario->name, "round trip", trip, ROUND_TRIP_TARGET, true);
    missed += verdict(scenario->name, "throughput", rate, RATE_TARGET, false);
    fflush(stdout);
    return missed;
}

/* Takes the first two CPUs this process may use. */
static bool choose_cpus(struct settings *settings)
{
    cpu_set_t set;
    int found = 0;
    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return false;
    for (int cpu = 0; cpu < CPU_SETSIZE && found < 2; cpu++) {
        if (CPU_ISSET(cpu, &set))
            *(found++ == 0 ? &settings->server_cpu : &settings->client_cpu) = cpu;
    }
    return found == 2;
}

static bool read_arguments(int argc, char **argv, struct settings *settings)
{
    long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : ROUNDS_DEFAULT;
    long ms = argc > 2 ? strtol(argv[2], NULL, 10) : MEASURE_MS;
    settings->rounds = (size_t)rounds;
    settings->measure_ns = (uint64_t)ms * 1000000;
    return rounds >= ROUNDS_LEAST && rounds <= ROUNDS_MAX && ms >= 20 && ms <= 60000;
}

int main(int argc, char **argv)
{
    struct settings settings;
    int missed = 0;
    if (!read_arguments(argc, argv, &settings)) {
        fprintf(stderr, "usage: echo-compare [ROUNDS (%d to %d) [MILLISECONDS]]\n", ROUNDS_LEAST,
                ROUNDS_MAX);
        return 2;
    }
    if (!choose_cpus(&settings)) {
        printf("skipped: needs two CPUs, one for the server and one for the client\n");
        return EXIT_SKIPPED;
    }
    pin(settings.client_cpu);
    printf("TCP echo of %d bytes on loopback, server on CPU %d, spinning client on CPU %d\n",
           ECHO_BYTES, settings.server_cpu, settings.client_cpu);
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++)
        missed += compare(&settings, &scenarios[i]);
    return missed == 0 ? 0 : 1;
}
