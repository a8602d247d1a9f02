/* SPDX-License-Identifier: MIT */
/*
 * demi-relay: passes TCP connections and UDP datagrams on to targets, over any library OS of
 * Demikernel.
 *
 * Options, limits of the process, signals, threads; the rest is the workers' (worker.h). SIGINT and
 * SIGTERM end it in order; a second one ends it at once. SIGUSR1 asks for a report.
 */
#include "worker.h"

#include <argp.h>
#include <arpa/inet.h>
#include <demi/admin.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* Descriptors that are not of pairs. */
#define OTHER_DESCRIPTORS 64

enum option_key {
    OPT_ALLOW = 256,
    OPT_BACKLOG,
    OPT_CHECK,
    OPT_CHECK_TIMEOUT,
    OPT_CONNECT_TIMEOUT,
    OPT_DENY_LARGER,
    OPT_DRAIN,
    OPT_EXPECT,
    OPT_FALL,
    OPT_HASH,
    OPT_IDLE,
    OPT_LEAST,
    OPT_MAX_CONNECTIONS,
    OPT_PROBE,
    OPT_RISE,
    OPT_STATS,
};

static const struct argp_option options[] = {
    {"udp", 'u', NULL, 0, "relay datagrams instead of connections", 0},
    {"workers", 'w', "N", 0, "threads, each with its own instance (default 1)", 0},
    {"hash", OPT_HASH, NULL, 0, "the target is chosen by the client's address", 0},
    {"least", OPT_LEAST, NULL, 0, "the target with the fewest connections is chosen", 0},
    {"allow", OPT_ALLOW, "PREFIX", 0, "serve clients of this ADDRESS[/BITS] only; repeatable", 0},
    {"deny-larger", OPT_DENY_LARGER, "BYTES", 0,
     "with --udp: drop larger datagrams of clients (default 0: none)", 0},
    {"max-connections", OPT_MAX_CONNECTIONS, "N", 0, "clients at one time (default 8000)", 0},
    {"backlog", OPT_BACKLOG, "N", 0, "connections waiting to be accepted (default 511)", 0},
    {"connect-timeout", OPT_CONNECT_TIMEOUT, "SECONDS", 0,
     "for a target to take a connection (default 5)", 0},
    {"check", OPT_CHECK, "SECONDS", 0, "between probes of each target, 0: none (default 2)", 0},
    {"check-timeout", OPT_CHECK_TIMEOUT, "SECONDS", 0, "for a probe to be answered (default 2)", 0},
    {"rise", OPT_RISE, "N", 0, "probes in a row that bring a target up (default 2)", 0},
    {"fall", OPT_FALL, "N", 0,
     "probes in a row without an answer that take a target down (default 3); a refusal does at "
     "once",
     0},
    {"probe", OPT_PROBE, "TEXT", 0,
     "with --udp: the datagram that is a probe, with escapes as \\n and \\x00 (default: no probes)",
     0},
    {"expect", OPT_EXPECT, "TEXT", 0,
     "with --probe: what an answer begins with, empty: any (default: none is expected)", 0},
    {"idle", OPT_IDLE, "SECONDS", 0,
     "end clients when nothing moved for so long, 0: never (default 300; with --udp 60)", 0},
    {"drain", OPT_DRAIN, "SECONDS", 0, "for connections to end at SIGTERM (default 10)", 0},
    {"stats", OPT_STATS, "SECONDS", 0, "between reports on standard error (default 0: none)", 0},
    {0},
};

static const char doc[] =
    "Relays TCP connections, or UDP datagrams, to one of several targets, over Demikernel.\v"
    "LISTEN and TARGET are ADDRESS:PORT, numeric, IPv6 in brackets. Targets are taken in turn "
    "unless an option says otherwise. SIGUSR1 prints a report on standard error. The library OS is "
    "chosen by DEMI_NET and the other settings of demikernel.conf(5). When it listens, the relay "
    "prints \"ready on ADDRESS:PORT\".";

static struct relay_shared shared;

/* ---- options ------------------------------------------------------------------------------ */

static uint32_t number_arg(const struct argp_state *state, const char *arg, const char *name,
                           uint32_t min, uint32_t max)
{
    char *end;
    unsigned long v;

    errno = 0;
    v = strtoul(arg, &end, 10);
    if (arg[0] < '0' || arg[0] > '9' || *end != '\0' || errno != 0 || v < min || v > max)
        argp_error(state, "--%s: %u to %u expected, not '%s'", name, min, max, arg);
    return (uint32_t)v;
}

/* Seconds, with a fraction. */
static int64_t time_arg(const struct argp_state *state, const char *arg, const char *name,
                        double min)
{
    char *end;
    double v = strtod(arg, &end);

    if (arg[0] < '0' || arg[0] > '9' || *end != '\0' || !(v >= min && v <= 1e6))
        argp_error(state, "--%s: %g to 1000000 seconds expected, not '%s'", name, min, arg);
    return (int64_t)(v * 1000);
}

static void text_arg(const struct argp_state *state, const char *arg, const char *name,
                     struct relay_text *out)
{
    if (!relay_parse_text(arg, out))
        argp_error(state,
                   "--%s: at most %d bytes, with \\n \\r \\t \\0 \\\\ or \\xHH, expected, not '%s'",
                   name, RELAY_MAX_TEXT, arg);
}

static void add_prefix(const struct argp_state *state, struct relay_config *config, const char *arg)
{
    if (config->num_allow == RELAY_MAX_PREFIXES)
        argp_error(state, "--allow: at most %d", RELAY_MAX_PREFIXES);
    if (!relay_parse_prefix(arg, &config->allow[config->num_allow++]))
        argp_error(state, "--allow: ADDRESS or ADDRESS/BITS expected, not '%s'", arg);
}

static void add_address(const struct argp_state *state, struct relay_config *config,
                        const char *arg)
{
    struct relay_address addr;

    if (!relay_parse_address(arg, &addr))
        argp_error(state, "ADDRESS:PORT expected, not '%s'", arg);
    if (state->arg_num == 0) {
        config->listen = addr;
        return;
    }
    if (relay_port_of(&addr.sa) == 0)
        argp_error(state, "target '%s': port 0 cannot be connected to, give the one it listens on",
                   arg);
    if (relay_same_address(&addr.sa, &config->listen.sa))
        argp_error(state, "target '%s' is where the relay itself listens", arg);
    if (config->num_targets == RELAY_MAX_TARGETS)
        argp_error(state, "at most %d targets", RELAY_MAX_TARGETS);
    config->target_names[config->num_targets] = arg;
    config->targets[config->num_targets++] = addr;
}

static error_t parse_limit(int key, const char *arg, const struct argp_state *state,
                           struct relay_config *config)
{
    switch (key) {
    case OPT_DENY_LARGER:
        config->max_datagram = number_arg(state, arg, "deny-larger", 0, 65535);
        return 0;
    case OPT_MAX_CONNECTIONS:
        config->max_connections = number_arg(state, arg, "max-connections", 1, 1u << 20);
        return 0;
    case OPT_BACKLOG:
        config->backlog = number_arg(state, arg, "backlog", 1, 65535);
        return 0;
    case OPT_CONNECT_TIMEOUT:
        config->connect_ms = time_arg(state, arg, "connect-timeout", 0.01);
        return 0;
    case OPT_IDLE:
        config->idle_ms = time_arg(state, arg, "idle", 0);
        return 0;
    case OPT_DRAIN:
        config->drain_ms = time_arg(state, arg, "drain", 0);
        return 0;
    case OPT_STATS:
        config->stats_ms = time_arg(state, arg, "stats", 0);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_check(int key, const char *arg, const struct argp_state *state,
                           struct relay_config *config)
{
    switch (key) {
    case OPT_CHECK:
        config->check_ms = time_arg(state, arg, "check", 0);
        return 0;
    case OPT_CHECK_TIMEOUT:
        config->check_timeout_ms = time_arg(state, arg, "check-timeout", 0.01);
        return 0;
    case OPT_RISE:
        config->rise = number_arg(state, arg, "rise", 1, 1000);
        return 0;
    case OPT_FALL:
        config->fall = number_arg(state, arg, "fall", 1, 1000);
        return 0;
    case OPT_PROBE:
        text_arg(state, arg, "probe", &config->probe);
        if (config->probe.len == 0)
            argp_error(state, "--probe: what it sends must not be empty");
        return 0;
    case OPT_EXPECT:
        text_arg(state, arg, "expect", &config->expect);
        config->expects = true;
        return 0;
    default:
        return parse_limit(key, arg, state, config);
    }
}

/* What one option needs of another. */
static void check_config(const struct argp_state *state, const struct relay_config *config)
{
    if (config->num_targets == 0)
        argp_error(state, "LISTEN and at least one TARGET expected");
    if (config->probe.len > 0 && !config->udp)
        argp_error(state, "--probe needs --udp: a TCP target is probed by a connection");
    if (config->probe.len > 0 && config->check_ms == 0)
        argp_error(state, "--probe: none is made with --check 0, give the seconds between them");
    if (config->expects && config->probe.len == 0)
        argp_error(state, "--expect needs --probe: there is nothing to be answered");
    if (config->max_datagram > 0 && !config->udp)
        argp_error(state, "--deny-larger needs --udp: connections have no datagrams");
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct relay_config *config = state->input;

    switch (key) {
    case 'u':
        config->udp = true;
        return 0;
    case 'w':
        config->workers = number_arg(state, arg, "workers", 1, RELAY_MAX_WORKERS);
        return 0;
    case OPT_HASH:
        config->choice = RELAY_HASH;
        return 0;
    case OPT_LEAST:
        config->choice = RELAY_LEAST;
        return 0;
    case OPT_ALLOW:
        add_prefix(state, config, arg);
        return 0;
    case ARGP_KEY_ARG:
        add_address(state, config, arg);
        return 0;
    case ARGP_KEY_END:
        check_config(state, config);
        if (config->idle_ms < 0)
            config->idle_ms = config->udp ? 60000 : 300000;
        return 0;
    default:
        return parse_check(key, arg, state, config);
    }
}

/* ---- the process -------------------------------------------------------------------------- */

static void request_stop(int signal_number)
{
    (void)signal_number;
    atomic_store(&shared.stop, true);
}

static void request_report(int signal_number)
{
    (void)signal_number;
    atomic_store(&shared.report, true);
}

static void catch_signals(void)
{
    struct sigaction stop = {.sa_handler = request_stop, .sa_flags = SA_RESETHAND};
    struct sigaction report = {.sa_handler = request_report, .sa_flags = SA_RESTART};

    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGUSR1, &report, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* Allows as many descriptors as clients need, or says how many clients there can be. */
static void raise_descriptor_limit(struct relay_config *config)
{
    struct rlimit limit;
    rlim_t wanted = 2 * (rlim_t)config->max_connections + OTHER_DESCRIPTORS;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < wanted) {
        uint32_t clients = limit.rlim_cur > 2 * OTHER_DESCRIPTORS
                               ? (uint32_t)(limit.rlim_cur - OTHER_DESCRIPTORS) / 2
                               : OTHER_DESCRIPTORS / 2;
        fprintf(stderr, "demi-relay: %llu descriptors allow %u connections, not %u (ulimit -n)\n",
                (unsigned long long)limit.rlim_cur, clients, config->max_connections);
        config->max_connections = clients;
    }
}

static void print_address(FILE *to, const struct relay_address *addr)
{
    char host[INET6_ADDRSTRLEN];
    bool is_ipv6 = addr->sa.sa_family == AF_INET6;
    const void *bytes = is_ipv6 ? (const void *)&addr->in6.sin6_addr : &addr->in.sin_addr;

    inet_ntop(addr->sa.sa_family, bytes, host, sizeof(host));
    fprintf(to, is_ipv6 ? "[%s]:%u" : "%s:%u", host, ntohs((uint16_t)relay_port_of(&addr->sa)));
}

static void announce(const struct relay_address *addr)
{
    printf("ready on ");
    print_address(stdout, addr);
    printf("\n");
    fflush(stdout);
}

static const char *advice(int err)
{
    switch (err) {
    case EADDRINUSE:
        return ": another process listens there, choose another port or stop it (ss -lnp)";
    case EADDRNOTAVAIL:
        return ": no interface has this address (ip address)";
    case EACCES:
        return ": a port below net.ipv4.ip_unprivileged_port_start needs CAP_NET_BIND_SERVICE";
    default:
        return "";
    }
}

static int fail(const char *what, int err)
{
    fprintf(stderr, "demi-relay: %s", what);
    if (*advice(err)) {
        fputc(' ', stderr);
        print_address(stderr, &shared.listen);
    }
    fprintf(stderr, ": %s%s\n", strerror(err), advice(err));
    return EXIT_FAILURE;
}

/* ---- threads ------------------------------------------------------------------------------ */

static struct thread {
    pthread_t id;
    uint32_t index;
    int err;
    const char *what; /* failed; NULL: it serves */
} threads[RELAY_MAX_WORKERS];

static pthread_barrier_t opened;

static void *run_worker(void *arg)
{
    struct thread *thread = arg;
    struct relay_worker *w = &shared.workers[thread->index];

    thread->err = relay_worker_open(w, &shared, thread->index, &thread->what);
    pthread_barrier_wait(&opened);
    if (thread->err == 0)
        thread->err = relay_worker_run(w);
    return NULL;
}

/* Starts the workers but the first, and waits until each listens or has failed. */
static int start_workers(uint32_t n)
{
    if (n == 1)
        return 0; /* a process with one thread pays for no atomics */
    if (pthread_barrier_init(&opened, NULL, n) != 0)
        return ENOMEM;
    for (uint32_t i = 1; i < n; i++) {
        int err;

        threads[i].index = i;
        err = pthread_create(&threads[i].id, NULL, run_worker, &threads[i]);
        if (err != 0)
            exit(fail("thread", err)); /* the others wait for it */
    }
    pthread_barrier_wait(&opened);
    for (uint32_t i = 1; i < n; i++)
        if (threads[i].err != 0)
            exit(fail(threads[i].what, threads[i].err));
    return 0;
}

/* Runs until it is told to stop. 0 or an errno. */
static int serve(const struct relay_config *config)
{
    int err = start_workers(config->workers);

    if (err != 0)
        return err;
    announce(&shared.listen);
    err = relay_worker_run(&shared.workers[0]);
    atomic_store(&shared.stop, true);
    for (uint32_t i = 1; i < config->workers; i++) {
        pthread_join(threads[i].id, NULL);
        err = err != 0 ? err : threads[i].err;
    }
    return err;
}

int main(int argc, char **argv)
{
    static const struct argp argp = {options, parse_option, "LISTEN TARGET...", doc, NULL,
                                     NULL,    NULL};
    static struct relay_config config = {.workers = 1,
                                         .max_connections = 8000,
                                         .backlog = 511,
                                         .idle_ms = -1,
                                         .connect_ms = 5000,
                                         .check_ms = 2000,
                                         .check_timeout_ms = 2000,
                                         .rise = 2,
                                         .fall = 3,
                                         .drain_ms = 10000};
    const char *what;
    char workers[16];
    int err;

    argp_program_version = demi_version();
    argp_parse(&argp, argc, argv, 0, NULL, &config);
    raise_descriptor_limit(&config);
    catch_signals();
    snprintf(workers, sizeof(workers), "%u", config.workers);
    setenv("DEMI_WORKERS", workers, 1);
    shared.config = &config;
    shared.listen = config.listen;
    relay_targets_init(&shared.targets, &config);
    shared.workers = calloc(config.workers, sizeof(*shared.workers));
    if (!shared.workers)
        return fail("start", ENOMEM);
    err = relay_worker_open(&shared.workers[0], &shared, 0, &what);
    if (err == 0)
        err = serve(&config);
    else
        fail(what, err);
    if (config.stats_ms > 0)
        relay_report(&shared);
    demi_fini();
    free(shared.workers);
    return err != 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
