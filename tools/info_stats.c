/* SPDX-License-Identifier: MIT */
/*
 * Reads the counters of a process and prints them in the order in which the library gives them.
 */
#include "info_stats.h"

#include "command.h"

#include <demi/admin.h>

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int info_stats_pid(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || text[digits] != '\0')
        return 0;
    errno = 0;
    long pid = strtol(text, NULL, 10);
    return errno == 0 && pid <= INT_MAX ? (int)pid : 0;
}

static int fail(int pid, int err)
{
    const char *why = strerror(err);
    if (err == ENOENT && kill(pid, 0) < 0 && errno == ESRCH)
        why = "there is no such process";
    else if (err == ENOENT)
        why = "it keeps no statistics: it does not use this library, or could not make its file "
              "(DEMI_LOG=info says why)";
    else if (err == ESRCH)
        why = "it is gone; the file that it left is removed when the next process starts";
    else if (err == EACCES)
        why = "it is another user's";
    else if (err == EPROTO)
        why = "its file is damaged, or of another version of the library";
    fprintf(stderr, "demi info: process %d: %s\n", pid, why);
    return COMMAND_FAILED;
}

/* Reads all counters into an array of the caller's: 0 or a positive errno. */
static int collect(int pid, struct demi_stat **stats_out, size_t *n_out)
{
    size_t room = 0, n = 0;
    struct demi_stat *stats = NULL;
    int err;
    while ((err = demi_stats_pid(stats, room, &n, pid)) == 0 && n > room) {
        free(stats);
        room = n + 64; /* an instance may come meanwhile */
        stats = calloc(room, sizeof(*stats));
        if (stats == NULL)
            return ENOMEM;
    }
    if (err != 0) {
        free(stats);
        return err;
    }
    *stats_out = stats;
    *n_out = n;
    return 0;
}

static void print_text(const struct demi_stat stats[], size_t n)
{
    size_t width = 0;
    for (size_t i = 0; i < n; i++)
        width = strlen(stats[i].name) > width ? strlen(stats[i].name) : width;
    for (size_t i = 0; i < n; i++) {
        if (stats[i].text != NULL)
            printf("%-*s  %s\n", (int)width, stats[i].name, stats[i].text);
        else
            printf("%-*s  %" PRIu64 "\n", (int)width, stats[i].name, stats[i].value);
    }
}

static int print_json(const struct demi_stat stats[], size_t n)
{
    json_t *root = json_object();
    int err = root == NULL;
    for (size_t i = 0; i < n; i++)
        err |=
            json_object_set_new(root, stats[i].name,
                                stats[i].text != NULL ? json_string(stats[i].text)
                                                      : json_integer((json_int_t)stats[i].value));
    if (err == 0)
        err = json_dumpf(root, stdout, JSON_INDENT(2));
    json_decref(root);
    putchar('\n');
    if (err != 0)
        fprintf(stderr, "demi info: cannot write JSON\n");
    return err == 0 ? COMMAND_OK : COMMAND_FAILED;
}

int info_stats(int pid, bool json)
{
    struct demi_stat *stats;
    size_t n;
    int code = COMMAND_OK;
    int err = collect(pid, &stats, &n);
    if (err != 0)
        return fail(pid, err);
    if (json)
        code = print_json(stats, n);
    else
        print_text(stats, n);
    free(stats);
    return code;
}
