/* SPDX-License-Identifier: MIT */
/*
 * demi doctor: options, the list of backends, and what a target on the command line means.
 *
 * A target is what DEMI_NET or DEMI_STORE may be: of a chain of decorators and a device the device
 * counts, without its options. Whether a module can be loaded is for the library to say.
 */
#include "doctor.h"

#include "command.h"
#include "doctor_print.h"

#include <demi/admin.h>

#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TARGETS_MAX  32
#define BACKENDS_MAX 64

enum option_key { KEY_ROOT = 256 };

typedef void doctor_check_fn(const struct doctor_machine *m, struct doctor_report *r,
                             const char *device);

struct backend {
    const char *name;
    const char *summary;  /* where the library does not know it */
    const char *packages; /* that its module is built with, and loaded with; NULL: is none */
    doctor_check_fn *check;
};

static const struct backend backends[] = {
    {"kernel", "", NULL, doctor_check_kernel},
    {"memory", "", NULL, doctor_check_nothing},
    {"loop", "", NULL, doctor_check_nothing},
    {"tap", "", NULL, doctor_check_tap},
    {"packet", "", NULL, doctor_check_packet},
    {"dpdk", "", "libdpdk-dev", doctor_check_dpdk},
    {"xdp", "TCP/IP stack over AF_XDP", "libxdp-dev libbpf-dev libmnl-dev clang", doctor_check_xdp},
    {"memblk", "", NULL, doctor_check_nothing},
    {"file", "", NULL, doctor_check_file},
    {"nvme", "", NULL, doctor_check_nvme},
};

#define NUM_BACKENDS (sizeof(backends) / sizeof(backends[0]))

enum output { TEXT, JSON, CONTAINER };

struct options {
    const char *targets[TARGETS_MAX];
    size_t num_targets;
    const char *root;
    enum output output;
};

static struct doctor_report reports[TARGETS_MAX]; /* too large for a stack frame */

static const struct argp_option option_table[] = {
    {"container", 'c', NULL, 0, "Print the arguments of docker run or podman run, and nothing else",
     0},
    {"json", 'j', NULL, 0, "Print JSON", 0},
    {"root", KEY_ROOT, "DIR", 0, "Look at the files below DIR instead of those of this machine", 0},
    {0},
};

/* The name of a layer, up to what ends it. */
static size_t name_length(const char *text)
{
    return strcspn(text, "(:,");
}

/* From behind the ")" of the arguments that begin here; a backslash takes away its meaning. */
static const char *behind_arguments(const char *at)
{
    for (; *at && *at != ')'; at++)
        if (*at == '\\' && at[1])
            at++;
    return *at ? at + 1 : at;
}

static bool is_decorator(const char *text)
{
    const size_t len = name_length(text);
    return text[len] == '(' ||
           (text[len] == ':' && len == strlen("fault") && strncasecmp(text, "fault", len) == 0);
}

/* What stands behind all decorators. */
static const char *device_of(const char *text)
{
    while (is_decorator(text)) {
        const char *at = text + name_length(text);
        at = *at == '(' ? behind_arguments(at) : at;
        if (*at != ':')
            return at;
        text = at + 1;
    }
    return text;
}

static const struct backend *find_backend(const char *name, size_t len)
{
    for (size_t i = 0; i < NUM_BACKENDS; i++)
        if (strlen(backends[i].name) == len && strncasecmp(backends[i].name, name, len) == 0)
            return &backends[i];
    return NULL;
}

/* Finds the backend of a target, and the device that is meant; NULL: there is none of that name. */
static const struct backend *read_target(const char *target, char device[DOCTOR_TEXT_MAX])
{
    const char *text = device_of(target);
    const bool is_path = text[0] == '/' || text[0] == '.';
    const size_t len = is_path ? strlen("file") : name_length(text);
    const char *at = is_path ? text : text + len + (text[len] == ':');
    const size_t bytes = is_path ? strlen(at) : strcspn(at, ",");
    snprintf(device, DOCTOR_TEXT_MAX, "%.*s", (int)bytes, at);
    return find_backend(is_path ? "file" : text, len);
}

/* How many workers the configuration asks for; it may be wrong, which others say. */
static uint32_t find_workers(void)
{
    struct demi_config_value value;
    char message[2048];
    for (size_t i = 0; demi_config_get(i, &value, message, sizeof(message)) == 0; i++)
        if (strcmp(value.key, "workers") == 0)
            return (uint32_t)strtoul(value.value, NULL, 10);
    return 1;
}

static const struct demi_backend *look_up(const struct demi_backend known[], size_t n,
                                          const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(known[i].name, name) == 0)
            return &known[i];
    return NULL;
}

/* What the library says of a part of it that is loaded. */
static void check_module(const struct backend *b, const struct demi_backend *known,
                         struct doctor_report *r)
{
    if (!known) {
        doctor_say(r, DOCTOR_MISSING, "module", "this version of the library has none");
    } else if (known->available) {
        doctor_say(r, DOCTOR_FINE, "module", "it can be loaded");
    } else {
        doctor_say(r, DOCTOR_MISSING, "module", "%s", known->missing);
        doctor_mend(r, "apt-get install %s && make install", b->packages);
    }
}

static void examine(const struct doctor_machine *m, const struct demi_backend known[], size_t n,
                    const char *target, struct doctor_report *r)
{
    char device[DOCTOR_TEXT_MAX];
    const struct backend *b = read_target(target, device);
    const struct demi_backend *found = look_up(known, n, b->name);
    snprintf(r->target, sizeof(r->target), "%s", target);
    r->summary = found ? found->summary : b->summary;
    if (b->packages)
        check_module(b, found, r);
    b->check(m, r, device);
}

static void take_target(struct options *o, const char *arg, struct argp_state *state)
{
    char device[DOCTOR_TEXT_MAX];
    if (strlen(arg) >= DOCTOR_TEXT_MAX || !read_target(arg, device))
        argp_error(state,
                   "'%s' is no backend: kernel, memory, loop, tap[:INTERFACE], packet[:INTERFACE], "
                   "dpdk[:PORT], xdp[:INTERFACE], memblk, file[:PATH], nvme[:PATH]",
                   arg);
    if (o->num_targets == TARGETS_MAX)
        argp_error(state, "more than %d backends", TARGETS_MAX);
    o->targets[o->num_targets++] = arg;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    switch (key) {
    case 'c':
        o->output = CONTAINER;
        return 0;
    case 'j':
        o->output = JSON;
        return 0;
    case KEY_ROOT:
        o->root = strcmp(arg, "/") == 0 ? "" : arg;
        return 0;
    case ARGP_KEY_ARG:
        take_target(o, arg, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    .options = option_table,
    .parser = parse_option,
    .args_doc = "[BACKEND[:DEVICE]]...",
    .doc = "Say what a backend, or one device of it, lacks on this machine, and the command that "
           "mends it.\n\n"
           "A BACKEND may be anything that DEMI_NET or DEMI_STORE may be. Without one, all are "
           "looked at. Commands are for root.\v"
           "Exit codes: 0 nothing is missing, 1 something is, 2 wrong usage.",
};

/* All backends, where none was asked for. */
static void take_all(struct options *o)
{
    for (size_t i = 0; i < NUM_BACKENDS && o->num_targets == i; i++)
        o->targets[o->num_targets++] = backends[i].name;
}

int doctor_run(int argc, char **argv)
{
    struct options o = {.root = ""};
    struct doctor_machine m;
    static struct demi_backend known[BACKENDS_MAX];
    size_t n = 0;
    if (argp_parse(&parser, argc, argv, 0, NULL, &o) != 0)
        return COMMAND_USAGE;
    if (!doctor_machine_init(&m, o.root)) {
        fprintf(stderr, "demi doctor: there is no %s/proc/self/status\n", o.root);
        return COMMAND_USAGE;
    }
    if (demi_backends(known, BACKENDS_MAX, &n) != 0 || n > BACKENDS_MAX)
        n = n > BACKENDS_MAX ? BACKENDS_MAX : 0;
    m.workers = find_workers();
    if (o.num_targets == 0)
        take_all(&o);
    for (size_t i = 0; i < o.num_targets; i++)
        examine(&m, known, n, o.targets[i], &reports[i]);
    if (o.output == CONTAINER)
        return doctor_print_container(reports, o.num_targets);
    return o.output == JSON ? doctor_print_json(&m, reports, o.num_targets)
                            : doctor_print_text(&m, reports, o.num_targets);
}
