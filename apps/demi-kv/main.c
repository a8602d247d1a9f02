/* SPDX-License-Identifier: MIT */
/*
 * demi-kv: a key-value server that speaks the Redis protocol, over any library OS of Demikernel.
 *
 * Options, limits of the process, signals; the rest is the server (server.h). SIGINT and SIGTERM
 * end it in order; a second one ends it at once.
 */
#include "input.h"
#include "numbers.h"
#include "server.h"

#include <argp.h>
#include <demi/admin.h>
#include <demi/libos.h>
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* Descriptors that are not clients. */
#define OTHER_DESCRIPTORS 32

#define MAX_CLIENTS_LIMIT (1u << 20)
#define MIN_BULK          (1u << 20)

enum option_key {
    OPT_MAX_CLIENTS = 256,
    OPT_MAX_MEMORY,
    OPT_MAX_BULK,
    OPT_MAX_ARGS,
    OPT_MAX_REQUEST,
    OPT_MAX_UNSENT,
    OPT_LOG,
    OPT_LOG_MIN,
    OPT_BACKLOG
};

static const struct argp_option options[] = {
    {"port", 'p', "N", 0, "TCP port, 0 for any that is free (default 6379)", 0},
    {"bind", 'b', "ADDRESS", 0, "numeric IPv4 or IPv6 address (default 127.0.0.1)", 0},
    {"backlog", OPT_BACKLOG, "N", 0, "connections waiting to be accepted (default 511)", 0},
    {"maxclients", OPT_MAX_CLIENTS, "N", 0, "connections at one time (default 10000)", 0},
    {"maxmemory", OPT_MAX_MEMORY, "BYTES", 0,
     "memory of keys and values beyond which writes are refused (default 0: no limit)", 0},
    {"proto-max-bulk-len", OPT_MAX_BULK, "BYTES", 0,
     "longest value or argument, 1mb to 512mb (default 512mb)", 0},
    {"max-args", OPT_MAX_ARGS, "N", 0, "arguments of one command, at most and by default 1048576",
     0},
    {"client-query-buffer-limit", OPT_MAX_REQUEST, "BYTES", 0,
     "bytes of one command, 1mb to 1gb (default 1gb)", 0},
    {"client-output-limit", OPT_MAX_UNSENT, "BYTES", 0,
     "unsent replies beyond which a client is not read any more (default 1mb)", 0},
    {"log", OPT_LOG, "PATH", 0,
     "log of all changes: each is on stable storage before it is answered, and read at the start",
     0},
    {"log-rewrite-min", OPT_LOG_MIN, "BYTES", 0,
     "bytes of the log below which it is not rewritten by itself (default 64mb)", 0},
    {0},
};

static const char doc[] =
    "A key-value server that speaks the Redis protocol, over Demikernel.\v"
    "BYTES may have a unit: kb, mb, gb. The library OS is chosen by DEMI_NET and the other "
    "settings of demikernel.conf(5). When it listens, the server prints \"ready on ADDRESS:PORT\".";

static volatile sig_atomic_t stop_requested;

static void request_stop(int signal_number)
{
    (void)signal_number;
    stop_requested = 1;
}

/* Reads a number of a range, or ends the program with a message. */
static uint64_t number_arg(const struct argp_state *state, const char *arg, const char *name,
                           uint64_t min, uint64_t max)
{
    uint64_t v;

    if (!kv_parse_bytes(arg, &v) || v < min || v > max)
        argp_error(state, "--%s: %llu to %llu expected, not '%s'", name, (unsigned long long)min,
                   (unsigned long long)max, arg);
    return v;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct kv_config *config = state->input;

    switch (key) {
    case 'p':
        config->port = (uint16_t)number_arg(state, arg, "port", 0, UINT16_MAX);
        return 0;
    case 'b':
        config->bind = arg;
        return 0;
    case OPT_BACKLOG:
        config->backlog = (uint32_t)number_arg(state, arg, "backlog", 1, 65535);
        return 0;
    case OPT_MAX_CLIENTS:
        config->max_clients = (uint32_t)number_arg(state, arg, "maxclients", 1, MAX_CLIENTS_LIMIT);
        return 0;
    case OPT_MAX_MEMORY:
        config->max_memory = number_arg(state, arg, "maxmemory", 0, INT64_MAX);
        return 0;
    case OPT_MAX_BULK:
        config->limits.max_bulk =
            (uint32_t)number_arg(state, arg, "proto-max-bulk-len", MIN_BULK, RESP_MAX_BULK);
        return 0;
    case OPT_MAX_ARGS:
        config->limits.max_args = (uint32_t)number_arg(state, arg, "max-args", 16, RESP_MAX_ARGS);
        return 0;
    case OPT_MAX_REQUEST:
        config->max_request =
            number_arg(state, arg, "client-query-buffer-limit", MIN_BULK, KV_INPUT_MAX);
        return 0;
    case OPT_MAX_UNSENT:
        config->max_unsent = number_arg(state, arg, "client-output-limit", KV_OUT_BYTES, INT64_MAX);
        return 0;
    case OPT_LOG:
        config->log = arg;
        return 0;
    case OPT_LOG_MIN:
        config->log_min = number_arg(state, arg, "log-rewrite-min", 0, INT64_MAX);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Allows as many descriptors as clients need, or says how many clients there can be. */
static void raise_descriptor_limit(struct kv_config *config)
{
    struct rlimit limit;
    rlim_t wanted = config->max_clients + OTHER_DESCRIPTORS;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < wanted) {
        uint32_t clients = limit.rlim_cur > 2 * OTHER_DESCRIPTORS
                               ? (uint32_t)limit.rlim_cur - OTHER_DESCRIPTORS
                               : OTHER_DESCRIPTORS;
        fprintf(stderr, "demi-kv: %llu descriptors allow %u clients, not %u (see ulimit -n)\n",
                (unsigned long long)limit.rlim_cur, clients, config->max_clients);
        config->max_clients = clients;
    }
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = request_stop, .sa_flags = SA_RESETHAND};

    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/*
 * Large values come and go all the time. By default their memory goes back to the kernel each time,
 * and each new one is paid for by page faults: three times the cost of storing 300 KB.
 */
static void tune_allocator(void)
{
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    mallopt(M_TRIM_THRESHOLD, 32 << 20);
    mallopt(M_TOP_PAD, 1 << 20);
}

/* Lets the library put together as large a command as is allowed. */
static void set_element_limit(const struct kv_config *config)
{
    char bytes[24];

    snprintf(bytes, sizeof(bytes), "%llu", (unsigned long long)config->max_request);
    setenv("DEMI_ELEMENT_MAX", bytes, 0);
}

static void announce(const struct kv_config *config)
{
    bool is_ipv6 = strchr(config->bind, ':') != NULL;

    printf("ready on %s%s%s:%u\n", is_ipv6 ? "[" : "", config->bind, is_ipv6 ? "]" : "",
           config->port);
    fflush(stdout);
}

static int fail(const char *what, int err)
{
    fprintf(stderr, "demi-kv: %s: %s\n", what, strerror(err));
    return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    static const struct argp argp = {options, parse_option, NULL, doc, NULL, NULL, NULL};
    static struct kv_server server;
    struct kv_config config = {.bind = "127.0.0.1",
                               .port = 6379,
                               .max_clients = 10000,
                               .backlog = 511,
                               .max_unsent = 1024 * 1024,
                               .max_request = KV_INPUT_MAX,
                               .log_min = UINT64_C(64) << 20,
                               .limits = {RESP_MAX_BULK, RESP_MAX_ARGS}};
    const char *what;
    int err;

    argp_program_version = demi_version();
    argp_parse(&argp, argc, argv, 0, NULL, &config);
    raise_descriptor_limit(&config);
    catch_signals();
    tune_allocator();
    set_element_limit(&config);
    if ((err = demi_init(NULL)) != 0)
        return fail("demi_init", err);
    if ((err = kv_server_open(&server, &config, &stop_requested, &what)) != 0) {
        demi_fini();
        return fail(what, err);
    }
    announce(&config);
    err = kv_server_run(&server);
    kv_server_close(&server);
    demi_fini();
    return err != 0 ? fail(server.journal.error ? "log" : "wait", err) : EXIT_SUCCESS;
}
