/* SPDX-License-Identifier: MIT */
/*
 * Claim: one echo server runs unchanged on our TCP/IP stack over a packet socket or AF_XDP, on the
 * kernel's sockets through the library, and is measured beside the same server written by hand on
 * epoll. Over AF_XDP, which shares the interface and its address with the kernel, our stack is not
 * slower than the epoll server when both spin.
 *
 *   echo-stack packet|xdp [ROUNDS [MILLISECONDS]]
 *
 * A client of Linux and the server are in two network namespaces, joined by a veth pair; both are
 * made here and go with the process. All servers do equal work: TCP_NODELAY, one receive and one
 * send per message of 64 bytes, one thread on the first CPU; the client spins on the second. Every
 * round runs each server once, beginning with another one each time; the figures are medians. What
 * a message costs over veth is the kernel's path through both interfaces: the stack adds its own to
 * it and saves the kernel's sockets. A round counts only when every message came back.
 *
 * For AF_XDP the pair hands frames on as they are on a wire, to all servers, and from them:
 * without that, a checksum that the kernel left to the other end is wrong.
 */
#include "echo_demi.h"
#include "echo_epoll.h"
#include "echo_rounds.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS_DEFAULT 7
#define MEASURE_MS     200
/* Long: on hosts with page tables in software a pool of frames is slow while it is new to the
 * kernel, for half a second; a server is measured as it goes on (doc/performance.md). */
#define WARMUP_NS      UINT64_C(600000000)
#define EXIT_SKIPPED   77

#define CLIENT_ADDRESS "10.77.0.1"
#define KERNEL_ADDRESS "10.77.0.2" /* of the server's kernel */
#define STACK_ADDRESS  "10.77.0.3" /* of the stack, on the same interface */

enum side { STACK, KERNEL, EPOLL, SIDES };

/* What the stack runs over. */
struct device {
    const char *name;
    const char *sides[SIDES];
    const char *net;       /* DEMI_NET */
    const char *address;   /* of the stack */
    const char *addresses; /* DEMI_NET_ADDRESSES; NULL: those of the interface, which it shares */
    bool wire;             /* the pair has no offloads */
    bool claims;           /* that it is not slower than epoll's server, when both spin */
};

static const struct device devices[] = {
    {"packet",
     {"our stack, packet:", "kernel sockets", "epoll"},
     "packet:veth1",
     STACK_ADDRESS,
     STACK_ADDRESS "/24",
     false,
     false},
    {"xdp",
     {"our stack, xdp:", "kernel sockets", "epoll"},
     "xdp:veth1",
     KERNEL_ADDRESS,
     NULL,
     true,
     true},
};

struct settings {
    struct echo_settings common;
    const struct device *device;
    int server_net; /* the server's namespace */
};

struct rounds {
    struct echo_figures figures[SIDES][ECHO_ROUNDS_MAX];
};

/* ---- The link. */

static _Noreturn void skip(const char *reason)
{
    printf("SKIP %s\n", reason);
    exit(EXIT_SKIPPED);
}

__attribute__((format(printf, 1, 2))) static bool ip(const char *format, ...)
{
    char command[256];
    int used = snprintf(command, sizeof(command), "ip ");
    va_list ap;
    va_start(ap, format);
    vsnprintf(command + used, sizeof(command) - (size_t)used, format, ap);
    va_end(ap);
    return system(command) == 0;
}

static bool enter_new(int *fd_out)
{
    if (unshare(CLONE_NEWNET) != 0)
        return false;
    *fd_out = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    return *fd_out >= 0;
}

/* Frames as they are on a wire, in what the interface sends and receives. */
static bool set_wire(const char *interface)
{
    static const uint32_t commands[] = {ETHTOOL_STXCSUM, ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool set = fd >= 0;
    for (size_t i = 0; set && i < sizeof(commands) / sizeof(commands[0]); i++) {
        struct ethtool_value off = {.cmd = commands[i]};
        struct ifreq request = {.ifr_data = (char *)&off};
        snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", interface);
        set = ioctl(fd, SIOCETHTOOL, &request) == 0;
    }
    if (fd >= 0)
        close(fd);
    return set;
}

/* Leaves this process in the client's namespace. */
static void make_link(struct settings *settings)
{
    int client_net;
    if (system("ip -V >/dev/null 2>&1") != 0)
        skip("ip(8) is not installed (iproute2)");
    if (!enter_new(&settings->server_net) || !enter_new(&client_net))
        skip("network namespaces are not allowed here: run as root");
    if (!ip("link add veth0 type veth peer name veth1 netns /proc/%d/fd/%d 2>/dev/null", getpid(),
            settings->server_net))
        skip("no veth interfaces in this kernel");
    const bool wire = settings->device->wire;
    bool made = ip("addr add " CLIENT_ADDRESS "/24 dev veth0") && ip("link set veth0 up") &&
                (!wire || set_wire("veth0")) && setns(settings->server_net, CLONE_NEWNET) == 0 &&
                ip("addr add " KERNEL_ADDRESS "/24 dev veth1") && ip("link set veth1 up") &&
                (!wire || set_wire("veth1")) && setns(client_net, CLONE_NEWNET) == 0;
    close(client_net);
    if (!made) {
        fprintf(stderr, "echo-stack: cannot configure the link\n");
        exit(1);
    }
}

/* ---- One round. */

static uint32_t address_of(const struct device *device, enum side side)
{
    return inet_addr(side == STACK ? device->address : KERNEL_ADDRESS);
}

static void configure(const struct device *device, enum side side, bool spin)
{
    echo_clean_environment();
    setenv("DEMI_NET", side == STACK ? device->net : "kernel", 1);
    if (side == STACK && device->addresses)
        setenv("DEMI_NET_ADDRESSES", device->addresses, 1);
    setenv("DEMI_POLL", spin ? "always" : "never", 1);
}

static void tell_port(int fd, uint16_t port)
{
    if (write(fd, &port, sizeof(port)) != (ssize_t)sizeof(port))
        _exit(1);
    close(fd);
}

static void serve(const struct device *device, enum side side, bool spin, int hello_fd)
{
    const uint32_t address = address_of(device, side);
    uint16_t port;
    if (side == EPOLL) {
        int fd = echo_epoll_listen(address, &port);
        if (fd < 0)
            _exit(1);
        tell_port(hello_fd, port);
        echo_epoll_serve(fd, spin);
        _exit(1);
    }
    configure(device, side, spin);
    int qd = echo_demi_listen(address, &port);
    tell_port(hello_fd, port);
    echo_demi_serve(qd);
}

/* Forks a server that dies with this process. Returns its pid, or -1. */
static pid_t start_server(const struct settings *settings, enum side side, bool spin,
                          uint16_t *port_out)
{
    int fds[2];
    if (pipe(fds) != 0)
        return -1;
    fflush(stdout);
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(fds[0]);
        echo_pin(settings->common.server_cpu);
        if (getppid() == parent && setns(settings->server_net, CLONE_NEWNET) == 0)
            serve(settings->device, side, spin, fds[1]);
        _exit(1);
    }
    close(fds[1]);
    bool ready = pid > 0 && read(fds[0], port_out, sizeof(*port_out)) == (ssize_t)sizeof(*port_out);
    close(fds[0]);
    if (pid > 0 && !ready)
        waitpid(pid, NULL, 0);
    return ready ? pid : -1;
}

static bool run_round(const struct settings *settings, const struct echo_scenario *scenario,
                      enum side side, struct echo_figures *out)
{
    uint16_t port = 0;
    pid_t pid = start_server(settings, side, scenario->spin, &port);
    if (pid < 0) {
        fprintf(stderr, "echo-stack: %s: the server did not start\n",
                settings->device->sides[side]);
        return false;
    }
    struct echo_load load = {.address = address_of(settings->device, side),
                             .port = port,
                             .server = pid,
                             .connections = scenario->connections,
                             .warmup_ns = WARMUP_NS,
                             .measure_ns = settings->common.measure_ns};
    int err = echo_client_run(&load, out);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    if (err != 0)
        fprintf(stderr, "echo-stack: %s: client: %s\n", settings->device->sides[side],
                strerror(-err));
    return err == 0;
}

/* ---- All rounds of a scenario. */

static bool run_rounds(const struct settings *settings, const struct echo_scenario *scenario,
                       struct rounds *rounds)
{
    for (size_t round = 0; round < settings->common.rounds; round++) {
        for (size_t turn = 0; turn < SIDES; turn++) {
            enum side side = (enum side)((round + turn) % SIDES);
            if (!run_round(settings, scenario, side, &rounds->figures[side][round]))
                return false;
        }
    }
    return true;
}

static void print_row(const struct rounds *rounds, size_t n, const char *what,
                      echo_figure_fn figure)
{
    printf("  %-28s", what);
    for (size_t side = 0; side < SIDES; side++)
        printf(" %18.2f", echo_median(rounds->figures[side], n, figure));
    printf("\n");
}

static void print_disturbance(const struct rounds *rounds, size_t n)
{
    double least = 1;
    for (size_t side = 0; side < SIDES; side++) {
        double had = echo_median(rounds->figures[side], n, echo_share);
        least = had < least ? had : least;
    }
    echo_print_disturbance(least);
}

/* What counts with one connection is the round trip, with many the rate; the other is a figure. */
static int judge(const struct rounds *rounds, size_t n, const struct echo_scenario *scenario)
{
    const struct echo_figures *ours = rounds->figures[STACK], *theirs = rounds->figures[EPOLL];
    const double rate = echo_ratio(ours, theirs, n, echo_rate_k);
    if (scenario->connections > 1)
        return echo_judge(scenario->name, "requests per second", rate, 1.0, false);
    const double trip = echo_ratio(ours, theirs, n, echo_round_trip_us);
    return echo_judge(scenario->name, "round trip", trip, 1.0, true);
}

static int measure(const struct settings *settings, const struct echo_scenario *scenario)
{
    static struct rounds rounds;
    size_t n = settings->common.rounds;
    if (!run_rounds(settings, scenario, &rounds)) {
        printf("FAIL %s: a server did not answer every message\n", scenario->name);
        return 1;
    }
    printf("\n%s: medians of %zu rounds\n  %-28s", scenario->name, n, "");
    for (size_t side = 0; side < SIDES; side++)
        printf(" %18s", settings->device->sides[side]);
    printf("\n");
    print_row(&rounds, n, "round trip p50, us", echo_round_trip_us);
    print_row(&rounds, n, "thousand requests per s", echo_rate_k);
    print_row(&rounds, n, "server CPU per request, us", echo_cpu_us);
    print_disturbance(&rounds, n);
    for (size_t side = 0; side < SIDES; side++)
        printf("FIGURE %s, %s, round trip: %.2f us\n", scenario->name,
               settings->device->sides[side],
               echo_median(rounds.figures[side], n, echo_round_trip_us));
    printf("PASS %s: all three servers answered every message\n", scenario->name);
    int missed = settings->device->claims && scenario->spin ? judge(&rounds, n, scenario) : 0;
    fflush(stdout);
    return missed;
}

static const struct device *find_device(const char *name)
{
    for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++)
        if (strcmp(devices[i].name, name) == 0)
            return &devices[i];
    return NULL;
}

int main(int argc, char **argv)
{
    struct settings settings = {
        .common = {.rounds = ROUNDS_DEFAULT, .measure_ns = MEASURE_MS * UINT64_C(1000000)},
        .device = find_device(argc > 1 ? argv[1] : "")};
    int missed = 0;
    if (!settings.device || !echo_read_arguments(argc - 1, argv + 1, 1, &settings.common)) {
        fprintf(stderr, "usage: echo-stack packet|xdp [ROUNDS [MILLISECONDS]]\n");
        return 2;
    }
    if (!echo_choose_cpus(&settings.common))
        skip("it needs two CPUs, one for the server and one for the client");
    make_link(&settings);
    echo_pin(settings.common.client_cpu);
    printf("TCP echo of %d bytes over veth, server on CPU %d, spinning client on CPU %d\n",
           ECHO_BYTES, settings.common.server_cpu, settings.common.client_cpu);
    for (size_t i = 0; i < ECHO_SCENARIOS; i++)
        missed += measure(&settings, &echo_scenarios[i]);
    return missed == 0 ? 0 : 1;
}
