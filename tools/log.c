/* SPDX-License-Identifier: MIT */
/*
 * demi log VERB DEVICE [LOG]: the verbs and their options.
 */
#include "log_command.h"

#include "os/module.h"

#include <argp.h>
#include <dk_build_id.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_SEGMENT = 0x100 };

struct verb {
    const char *name;
    int (*run)(const struct log_options *options);
};

static const struct verb verbs[] = {
    {"create", log_create}, {"list", log_list},     {"append", log_append},
    {"cat", log_cat},       {"verify", log_verify}, {"dump", log_dump},
    {"stat", log_stat},     {"trim", log_trim},     {"unlink", log_unlink},
};

#define NUM_VERBS (sizeof(verbs) / sizeof(verbs[0]))

struct arguments {
    const struct verb *verb;
    struct log_options options;
};

static const struct argp_option option_table[] = {
    {"count", 'n', "COUNT", 0, "cat, dump: so many records", 0},
    {"force", 'f', NULL, 0, "create: over what is on the device already", 0},
    {"from", 'r', "RECORD", 0, "cat, dump: from this record on; trim: the oldest to be kept", 0},
    {"json", 'j', NULL, 0, "list, stat: print JSON", 0},
    {"null", '0', NULL, 0, "append, cat: a record ends with NUL instead of a newline", 0},
    {"segment", KEY_SEGMENT, "BYTES", 0, "create: bytes of a segment; K, M and G multiply", 0},
    {"size", 's', "BYTES", 0, "create: bytes of a file; K, M and G multiply", 0},
    {"whole", 'w', NULL, 0, "append: all of the input is one record; cat: nothing between records",
     0},
    {0},
};

/* A number with a unit; ends the program when it is none. */
static uint64_t number(struct argp_state *state, const char *option, const char *arg)
{
    static const char units[] = "KMG";
    char *end;
    errno = 0;
    uint64_t n = strtoull(arg, &end, 10);
    const char *unit = *end != '\0' ? strchr(units, *end) : NULL;
    uint32_t shift = unit ? 10u * (uint32_t)(unit - units + 1) : 0;
    if (errno != 0 || end == arg || arg[0] == '-' || end[unit != NULL] != '\0' ||
        n > UINT64_MAX >> 1 >> shift)
        argp_error(state, "%s %s: must be a number", option, arg);
    return n << shift;
}

static void take_argument(struct arguments *a, char *arg, struct argp_state *state)
{
    if (state->arg_num == 0) {
        for (size_t i = 0; i < NUM_VERBS && !a->verb; i++)
            if (strcmp(arg, verbs[i].name) == 0)
                a->verb = &verbs[i];
        if (!a->verb)
            argp_error(
                state,
                "'%s' is no verb; verbs: create list append cat verify dump stat trim unlink", arg);
    } else if (state->arg_num == 1) {
        a->options.device = arg;
    } else if (state->arg_num == 2) {
        a->options.name = arg;
    } else {
        argp_error(state, "too many arguments");
    }
}

/* What is dropped has to be said. */
static void check_arguments(const struct arguments *a, struct argp_state *state)
{
    if (!a->options.device)
        argp_error(state, "a verb and a device are wanted");
    if (a->verb->run == log_trim && a->options.from == UINT64_MAX)
        argp_error(state, "trim: the oldest record to be kept is wanted: --from RECORD");
    if (a->verb->run == log_unlink && !a->options.name)
        argp_error(state, "unlink: a log is wanted");
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    struct log_options *o = &a->options;
    switch (key) {
    case '0':
        o->null = true;
        return 0;
    case 'f':
        o->force = true;
        return 0;
    case 'j':
        o->json = true;
        return 0;
    case 'n':
        o->count = number(state, "--count", arg);
        return 0;
    case 'r':
        o->from = number(state, "--from", arg);
        return 0;
    case 's':
        o->size = number(state, "--size", arg);
        return 0;
    case 'w':
        o->whole = true;
        return 0;
    case KEY_SEGMENT:
        o->segment = number(state, "--segment", arg);
        return 0;
    case ARGP_KEY_ARG:
        take_argument(a, arg, state);
        return 0;
    case ARGP_KEY_END:
        check_arguments(a, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    .options = option_table,
    .parser = parse_option,
    .args_doc = "VERB DEVICE [LOG]",
    .doc = "Look at logs on a file or block device, and make them.\n\n"
           "  create  make a store where there is none, and the log\n"
           "  list    the logs: oldest record, end, bytes on the device\n"
           "  append  each line of standard input is a record, durable when it ends\n"
           "  cat     records to standard output\n"
           "  verify  check every checksum; say what is damaged, and where\n"
           "  dump    where records are: batches, places, lengths\n"
           "  stat    the store itself\n"
           "  trim    drop the records before one; whole segments of them are free again\n"
           "  unlink  remove a log\n"
           "\vDEVICE is a path, or what demi_store(7) says. The log of a file that holds one need "
           "not be named.\n\nExit codes: 0 success, 1 failure or damage, 2 wrong usage.",
};

/* Structures of the library are shared with it: those of another build may differ. */
static bool is_of_this_build(void)
{
    if (strcmp(dk_module_build(), DK_BUILD_ID) == 0)
        return true;
    fprintf(stderr, "%s: this command is of the build %s, and the library is %s: install both\n",
            program_invocation_short_name, DK_BUILD_ID, dk_module_build());
    return false;
}

int log_run(int argc, char **argv)
{
    struct arguments a = {.options = {.from = UINT64_MAX, .count = UINT64_MAX}};
    if (argp_parse(&parser, argc, argv, 0, NULL, &a) != 0)
        return COMMAND_USAGE;
    if (!is_of_this_build())
        return COMMAND_FAILED;
    return a.verb->run(&a.options);
}
