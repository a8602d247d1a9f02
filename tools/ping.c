/* SPDX-License-Identifier: MIT */
/*
 * demi ping: options, and the verdict.
 */
#include "command.h"
#include "ping_probe.h"
#include "ping_report.h"
#include "session.h"

#include <argp.h>
#include <errno.h>
#include <stddef.h>
#include <unistd.h>

#define UDP_SIZE_MAX       65507
#define TCP_SIZE_MAX       (256 << 20)
#define CONNECTIONS_MAX    100000
#define WARMUP_MAX         1000 /* of the default */
#define UDP_TIMEOUT_MS     1000
#define TCP_TIMEOUT_MS     5000
#define TIMEOUT_MS_MAX     3600000
#define RATE_MAX           1000000000
#define NOT_GIVEN          UINT64_MAX
#define NS_PER_MS          UINT64_C(1000000)
#define DEFAULT_COUNT_TEXT "10000"

struct arguments {
    struct ping_options ping;
    const char *target;
    uint64_t timeout_ms;
    int family;
    bool json;
};

enum option_key { KEY_TIMEOUT = 256 };

static const struct argp_option option_table[] = {
    {"udp", 'u', NULL, 0, "Use UDP instead of TCP", 0},
    {"size", 's', "BYTES", 0, "Bytes of a probe (default 64); K and M multiply", 0},
    {"count", 'n', "N", 0, "Probes to measure (default " DEFAULT_COUNT_TEXT ")", 0},
    {"warmup", 'w', "N", 0, "Probes before those (default a tenth of count, at most 1000)", 0},
    {"rate", 'r', "N", 0, "Probes per second (default: the next when one is answered)", 0},
    {"connections", 'c', "N", 0, "Connections, each with one probe under way (default 1)", 0},
    {"timeout", KEY_TIMEOUT, "MS", 0,
     "Milliseconds after which a probe is lost (default 1000 for UDP, 5000 for TCP)", 0},
    {"json", 'j', NULL, 0, "Print JSON", 0},
    {"ipv4", '4', NULL, 0, "Look the host name up as IPv4", 0},
    {"ipv6", '6', NULL, 0, "Look the host name up as IPv6", 0},
    {0},
};

/* The options that are numbers. */
static const struct {
    int key;
    const char *name;
    size_t offset;
    uint64_t min;
    uint64_t max;
} number_table[] = {
    {'s', "size", offsetof(struct arguments, ping.size), 1, TCP_SIZE_MAX},
    {'n', "count", offsetof(struct arguments, ping.count), 1, INT64_MAX / 2},
    {'w', "warmup", offsetof(struct arguments, ping.warmup), 0, INT64_MAX / 2},
    {'r', "rate", offsetof(struct arguments, ping.rate), 1, RATE_MAX},
    {'c', "connections", offsetof(struct arguments, ping.connections), 1, CONNECTIONS_MAX},
    {KEY_TIMEOUT, "timeout", offsetof(struct arguments, timeout_ms), 1, TIMEOUT_MS_MAX},
};

static error_t parse_number(int key, const char *text, struct argp_state *state)
{
    for (size_t i = 0; i < sizeof(number_table) / sizeof(number_table[0]); i++) {
        if (number_table[i].key != key)
            continue;
        uint64_t *out = (uint64_t *)((char *)state->input + number_table[i].offset);
        if (!session_number(text, number_table[i].min, number_table[i].max, out))
            argp_error(state, "--%s %s: must be %llu to %llu", number_table[i].name, text,
                       (unsigned long long)number_table[i].min,
                       (unsigned long long)number_table[i].max);
        return 0;
    }
    return ARGP_ERR_UNKNOWN;
}

/* What depends on more than one option. */
static void complete(struct arguments *arguments, struct argp_state *state)
{
    struct ping_options *ping = &arguments->ping;
    if (arguments->target == NULL)
        argp_error(state, "HOST:PORT is missing");
    const char *problem = address_parse(arguments->target, arguments->family, &ping->address);
    if (problem != NULL)
        argp_error(state, "%s: %s", arguments->target, problem);
    if (ping->udp && ping->size > UDP_SIZE_MAX)
        argp_error(state, "--size %llu: a datagram has at most %d bytes",
                   (unsigned long long)ping->size, UDP_SIZE_MAX);
    if (ping->warmup == NOT_GIVEN)
        ping->warmup = ping->count / 10 < WARMUP_MAX ? ping->count / 10 : WARMUP_MAX;
    if (arguments->timeout_ms == NOT_GIVEN)
        arguments->timeout_ms = ping->udp ? UDP_TIMEOUT_MS : TCP_TIMEOUT_MS;
    ping->timeout_ns = arguments->timeout_ms * NS_PER_MS;
    ping->progress = isatty(STDERR_FILENO);
}

static error_t take_target(struct arguments *arguments, const char *text, struct argp_state *state)
{
    if (arguments->target != NULL)
        argp_error(state, "unexpected argument '%s'", text);
    arguments->target = text;
    return 0;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    switch (key) {
    case 'u':
        arguments->ping.udp = true;
        return 0;
    case 'j':
        arguments->json = true;
        return 0;
    case '4':
        arguments->family = AF_INET;
        return 0;
    case '6':
        arguments->family = AF_INET6;
        return 0;
    case ARGP_KEY_ARG:
        return take_target(arguments, arg, state);
    case ARGP_KEY_END:
        complete(arguments, state);
        return 0;
    default:
        return parse_number(key, arg, state);
    }
}

static const struct argp parser = {
    .options = option_table,
    .parser = parse_option,
    .args_doc = "HOST:PORT",
    .doc = "Measure round trips to an echo server, and check what comes back.\v"
           "With --rate, a round trip counts from when its probe was due, if it had to wait for "
           "earlier replies. Exit codes: 0 all were answered, 1 some were lost or wrong, 2 wrong "
           "usage or configuration.",
};

static int verdict(const struct ping_totals *totals)
{
    bool good =
        totals->answered > 0 && totals->lost == 0 && totals->corrupt == 0 && totals->broken == 0;
    return good ? COMMAND_OK : COMMAND_FAILED;
}

static int report(const struct arguments *arguments, const struct ping_totals *totals)
{
    if (!arguments->json)
        ping_report_text(&arguments->ping, totals);
    else if (ping_report_json(&arguments->ping, totals) != COMMAND_OK)
        return COMMAND_FAILED;
    return verdict(totals);
}

int ping_run(int argc, char **argv)
{
    static struct ping_totals totals; /* too large for a stack frame */
    struct arguments arguments = {
        .family = AF_UNSPEC,
        .timeout_ms = NOT_GIVEN,
        .ping = {.size = 64, .count = 10000, .warmup = NOT_GIVEN, .connections = 1},
    };
    argp_parse(&parser, argc, argv, 0, NULL, &arguments);
    int code = session_start();
    if (code != COMMAND_OK)
        return code;
    code = ping_probe(&arguments.ping, &totals);
    if (code == COMMAND_OK)
        code = report(&arguments, &totals);
    session_end();
    return code;
}
