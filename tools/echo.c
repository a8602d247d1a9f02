/* SPDX-License-Identifier: MIT */
/*
 * demi echo: options of the echo server, and its statistics at the end.
 */
#include "command.h"
#include "echo_server.h"
#include "session.h"

#include <argp.h>
#include <errno.h>
#include <stdio.h>

#define DEFAULT_ADDRESS "127.0.0.1:7000"

enum option_key { KEY_ONCE = 256 };

static const struct argp_option option_table[] = {
    {"listen", 'l', "HOST:PORT", 0,
     "Address to serve, as 127.0.0.1:7000, [::1]:7000, localhost:0 (default " DEFAULT_ADDRESS
     "); port 0 takes a free one",
     0},
    {"udp", 'u', NULL, 0, "Serve UDP instead of TCP", 0},
    {"count", 'n', "N", 0, "End after N connections (TCP) or N datagrams (UDP)", 0},
    {"once", KEY_ONCE, NULL, 0, "The same as --count 1", 0},
    {0},
};

static void set_address(struct echo_options *options, const char *text, struct argp_state *state)
{
    const char *problem = address_parse(text, AF_UNSPEC, &options->address);
    if (problem != NULL)
        argp_error(state, "--listen %s: %s", text, problem);
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct echo_options *options = state->input;
    switch (key) {
    case 'l':
        set_address(options, arg, state);
        return 0;
    case 'u':
        options->udp = true;
        return 0;
    case 'n':
        if (!session_number(arg, 1, UINT64_MAX, &options->count))
            argp_error(state, "--count %s: must be a number, 1 or more", arg);
        return 0;
    case KEY_ONCE:
        options->count = 1;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected argument '%s'", arg);
        return EINVAL;
    case ARGP_KEY_END:
        if (options->address.len == 0)
            set_address(options, DEFAULT_ADDRESS, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    .options = option_table,
    .parser = parse_option,
    .doc = "Send back what arrives, until SIGINT or SIGTERM.\v"
           "Prints 'listening on HOST:PORT' when it can be reached, and statistics at the end. "
           "Exit codes: 0 success, 1 failure, 2 wrong usage or configuration.",
};

static void print_totals(const struct echo_options *options, const struct echo_totals *totals,
                         uint64_t elapsed_ns)
{
    if (!options->udp)
        printf("%llu connection%s, ", (unsigned long long)totals->connections,
               totals->connections == 1 ? "" : "s");
    printf("%llu %s, %llu bytes sent back, %llu failures, %.1f s\n",
           (unsigned long long)totals->elements, options->udp ? "datagrams" : "pieces",
           (unsigned long long)totals->bytes, (unsigned long long)totals->failures,
           (double)elapsed_ns / 1e9);
}

int echo_run(int argc, char **argv)
{
    struct echo_options options = {0};
    struct echo_totals totals = {0};
    argp_parse(&parser, argc, argv, 0, NULL, &options);
    int code = session_start();
    if (code != COMMAND_OK)
        return code;
    uint64_t start_ns = session_now();
    code = echo_serve(&options, &totals);
    if (code == COMMAND_OK)
        print_totals(&options, &totals, session_now() - start_ns);
    session_end();
    return code;
}
