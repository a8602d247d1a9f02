/* SPDX-License-Identifier: MIT */
/*
 * What a container is given is all that the reports need, and nothing else: all other capabilities
 * are dropped.
 */
#include "doctor_print.h"

#include "command.h"

#include <inttypes.h>
#include <jansson.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>

#define CONTAINER_MAX 2048

/* Those that some check asks for. */
static const struct {
    int number;
    const char *name;
} capability_names[] = {
    {CAP_NET_ADMIN, "CAP_NET_ADMIN"}, {CAP_NET_RAW, "CAP_NET_RAW"},
    {CAP_IPC_LOCK, "CAP_IPC_LOCK"},   {CAP_SYS_RAWIO, "CAP_SYS_RAWIO"},
    {CAP_SYS_ADMIN, "CAP_SYS_ADMIN"}, {CAP_BPF, "CAP_BPF"},
    {CAP_PERFMON, "CAP_PERFMON"},
};

#define NUM_CAPABILITIES (sizeof(capability_names) / sizeof(capability_names[0]))

const char *doctor_capability_name(int capability)
{
    for (size_t i = 0; i < NUM_CAPABILITIES; i++)
        if (capability_names[i].number == capability)
            return capability_names[i].name;
    return "";
}

static bool has(uint64_t capabilities, size_t i)
{
    return capabilities >> capability_names[i].number & 1;
}

/* Arguments of one container, as words. */
struct words {
    char text[CONTAINER_MAX];
    size_t used;
};

__attribute__((format(printf, 2, 3))) static void add(struct words *w, const char *fmt, ...)
{
    char word[DOCTOR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(word, sizeof(word), fmt, ap);
    va_end(ap);
    const int n =
        snprintf(w->text + w->used, sizeof(w->text) - w->used, "%s%s", w->used ? " " : "", word);
    if (n > 0 && (size_t)n < sizeof(w->text) - w->used)
        w->used += (size_t)n;
}

static void add_devices(struct words *w, const struct doctor_needs *n)
{
    char word[DOCTOR_TEXT_MAX];
    for (size_t i = 0; i < n->num_devices; i++) {
        snprintf(word, sizeof(word), "--device=%s", n->devices[i]);
        const char *at = strstr(w->text, word);
        const char after = at ? at[strlen(word)] : 'x';
        if (after != ' ' && after != '\0') /* not there yet */
            add(w, "%s", word);
    }
}

static void container_words(struct words *w, const struct doctor_report reports[], size_t num)
{
    struct doctor_needs all = {0};
    *w = (struct words){0};
    for (size_t i = 0; i < num; i++) {
        all.capabilities |= reports[i].needs.capabilities;
        all.memlock |= reports[i].needs.memlock;
        all.io_uring |= reports[i].needs.io_uring;
        all.bpf |= reports[i].needs.bpf;
    }
    add(w, "--cap-drop=ALL");
    for (size_t i = 0; i < NUM_CAPABILITIES; i++)
        if (has(all.capabilities, i))
            add(w, "--cap-add=%s", capability_names[i].name + strlen("CAP_"));
    for (size_t i = 0; i < num; i++)
        add_devices(w, &reports[i].needs);
    if (all.memlock)
        add(w, "--ulimit=memlock=-1:-1");
    if (all.io_uring || all.bpf)
        add(w, "--security-opt=seccomp=unconfined");
}

int doctor_print_container(const struct doctor_report reports[], size_t n)
{
    struct words w;
    container_words(&w, reports, n);
    printf("%s\n", w.text);
    return COMMAND_OK;
}

static int exit_code(const struct doctor_report reports[], size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (doctor_worst(&reports[i]) == DOCTOR_MISSING)
            return COMMAND_FAILED;
    return COMMAND_OK;
}

static const char *const level_names[] = {
    [DOCTOR_FINE] = "fine", [DOCTOR_ADVICE] = "advice", [DOCTOR_MISSING] = "missing"};

static void print_machine(const struct doctor_machine *m)
{
    printf("Linux %" PRIu32 ".%" PRIu32 ", user %" PRIu32 "%s, capabilities:", m->version >> 16,
           m->version & 0xffff, m->uid, m->is_user_ns ? " of a user namespace" : "");
    for (size_t i = 0; i < NUM_CAPABILITIES; i++)
        if (has(m->capabilities, i))
            printf(" %s", capability_names[i].name);
    printf("%s\n", m->capabilities ? "" : " none");
}

static void print_report(const struct doctor_report *r)
{
    struct words w;
    printf("\n%s: %s\n", r->target, r->summary);
    for (size_t i = 0; i < r->num_findings; i++) {
        const struct doctor_finding *f = &r->findings[i];
        printf("  %-8s %-14s %s\n", level_names[f->level], f->check, f->text);
        if (f->mend[0])
            printf("  %8s %14s -> %s\n", "", "", f->mend);
    }
    container_words(&w, r, 1);
    printf("  in a container: %s\n", w.text);
}

int doctor_print_text(const struct doctor_machine *m, const struct doctor_report reports[],
                      size_t n)
{
    print_machine(m);
    for (size_t i = 0; i < n; i++)
        print_report(&reports[i]);
    return exit_code(reports, n);
}

static json_t *findings_json(const struct doctor_report *r)
{
    json_t *list = json_array();
    for (size_t i = 0; i < r->num_findings; i++) {
        const struct doctor_finding *f = &r->findings[i];
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:s, s:s}", "check", f->check, "level",
                                        level_names[f->level], "text", f->text, "mend", f->mend));
    }
    return list;
}

static json_t *capabilities_json(uint64_t capabilities)
{
    json_t *list = json_array();
    for (size_t i = 0; i < NUM_CAPABILITIES; i++)
        if (has(capabilities, i))
            json_array_append_new(list, json_string(capability_names[i].name));
    return list;
}

static json_t *devices_json(const struct doctor_needs *n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n->num_devices; i++)
        json_array_append_new(list, json_string(n->devices[i]));
    return list;
}

static json_t *report_json(const struct doctor_report *r)
{
    struct words w;
    container_words(&w, r, 1);
    return json_pack("{s:s, s:s, s:s, s:o, s:{s:o, s:o, s:b, s:b, s:b}, s:s}", "target", r->target,
                     "summary", r->summary, "worst", level_names[doctor_worst(r)], "findings",
                     findings_json(r), "needs", "capabilities",
                     capabilities_json(r->needs.capabilities), "devices", devices_json(&r->needs),
                     "memlock", (int)r->needs.memlock, "io_uring", (int)r->needs.io_uring, "bpf",
                     (int)r->needs.bpf, "container", w.text);
}

int doctor_print_json(const struct doctor_machine *m, const struct doctor_report reports[],
                      size_t n)
{
    json_t *list = json_array(), *root;
    int err = 0;
    for (size_t i = 0; i < n; i++)
        err |= json_array_append_new(list, report_json(&reports[i]));
    root = json_pack("{s:i, s:o, s:o}", "user", (int)m->uid, "capabilities",
                     capabilities_json(m->capabilities), "reports", list);
    if (err != 0 || json_dumpf(root, stdout, JSON_INDENT(2)) != 0) {
        fprintf(stderr, "demi doctor: cannot write JSON\n");
        json_decref(root);
        return COMMAND_FAILED;
    }
    json_decref(root);
    putchar('\n');
    return exit_code(reports, n);
}
