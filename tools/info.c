/* SPDX-License-Identifier: MIT */
/*
 * demi info: version, what this build and this machine have, and what to do about what is missing;
 * with --config, every configuration value and where it came from; with --stats, the counters of
 * another process.
 */
#include "command.h"
#include "info_print.h"
#include "info_stats.h"

#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

struct options {
    bool config;
    bool json;
    int stats_pid; /* 0: not asked for */
};

static const struct argp_option option_table[] = {
    {"config", 'c', NULL, 0, "Print every configuration value, its default, and its origin", 0},
    {"json", 'j', NULL, 0, "Print JSON", 0},
    {"stats", 's', "PID", 0, "Print the counters of a running process", 0},
    {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case 'c':
        options->config = true;
        return 0;
    case 'j':
        options->json = true;
        return 0;
    case 's':
        options->stats_pid = info_stats_pid(arg);
        if (options->stats_pid == 0)
            argp_error(state, "--stats %s: must be the number of a process", arg);
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "no argument is taken");
        return EINVAL;
    case ARGP_KEY_END:
        if (options->config && options->stats_pid != 0)
            argp_error(state, "--config and --stats exclude each other");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    .options = option_table,
    .parser = parse_option,
    .doc = "Show the library's version, its library OSes, and what is missing here for the others."
           "\vExit codes: 0 success, 1 failure, 2 wrong usage or configuration.",
};

static int list_backends(struct info *info)
{
    int err = demi_backends(info->backends, INFO_BACKENDS_MAX, &info->num_backends);
    if (info->num_backends > INFO_BACKENDS_MAX)
        info->num_backends = INFO_BACKENDS_MAX;
    return err;
}

static int list_values(struct info *info, char *message, size_t len)
{
    int err = 0;
    while (info->num_values < INFO_VALUES_MAX) {
        err = demi_config_get(info->num_values, &info->values[info->num_values], message, len);
        if (err != 0)
            break;
        info->num_values++;
    }
    return err == ENOENT ? 0 : err;
}

static int fail(const char *what, int err)
{
    fprintf(stderr, "demi info: %s: %s\n", what, strerror(err));
    return COMMAND_FAILED;
}

static int collect(struct info *info, const struct options *options)
{
    char message[2048] = "";
    int err = list_backends(info);
    if (err != 0)
        return fail("cannot list the library OSes", err);
    if (!options->config)
        return COMMAND_OK;
    err = list_values(info, message, sizeof(message));
    if (err == EINVAL) {
        fprintf(stderr, "demi info: %s\n", message);
        return COMMAND_USAGE;
    }
    return err == 0 ? COMMAND_OK : fail("cannot read the configuration", err);
}

int info_run(int argc, char **argv)
{
    struct options options = {0};
    static struct info info; /* too large for a stack frame */
    argp_parse(&parser, argc, argv, 0, NULL, &options);
    if (options.stats_pid != 0)
        return info_stats(options.stats_pid, options.json);
    int code = collect(&info, &options);
    if (code == COMMAND_OK)
        code = options.json ? info_print_json(&info, options.config)
                            : info_print_text(&info, options.config);
    return code;
}
