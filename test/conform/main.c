/* SPDX-License-Identifier: MIT */
/*
 * conform BACKEND [GROUP]: runs the suite, or one group of it, against a backend. Exit 0 all
 * passed, 77 the backend is not available here (says why), 1 otherwise. `conform --list` names the
 * backends.
 *
 * conform -s BACKEND: the suite, by several processes that share the groups: for devices that take
 * the kernel long to make. Not for those that are one in the machine.
 */
#include "suite.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct {
    const char *name;
    int (*run)(void);
} groups[] = {
    /* One thread only, and the library takes its shortest paths. */
    {"token", run_token_tests},
    {"wait", run_wait_tests},
    {"sga", run_sga_tests},
    {"element", run_element_tests},
    {"lend", run_lend_tests},
    {"zerocopy", run_zerocopy_tests},
    {"cancel", run_cancel_tests},
    {"close", run_close_tests},
    {"accept", run_accept_tests},
    {"datagram", run_datagram_tests},
    {"socket", run_socket_tests},
    {"memory", run_memory_tests},
    {"storage", run_storage_tests},
    {"compose", run_compose_tests},
    {"compose_kinds", run_compose_kinds_tests},
    {"compose_many", run_compose_many_tests},
    {"compose_ends", run_compose_ends_tests},
    {"compose_misuse", run_compose_misuse_tests},
    {"compose_model", run_compose_model_tests},
    {"connect", run_connect_tests},
    {"frame", run_frame_tests},
    {"life", run_life_tests},
    {"exit", run_exit_tests},
    {"model", run_model_tests},
    /* These create threads. */
    {"sleep", run_sleep_tests},
    {"eventfd", run_eventfd_tests},
};

static bool group_is_known(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(groups); i++)
        if (strcmp(groups[i].name, name) == 0)
            return true;
    return false;
}

/* Runs the groups that nobody has taken, or the one of that name: how many tests failed. */
static int run_groups(atomic_uint *next, const char *only, const char *without)
{
    int failed = 0;
    for (unsigned i; (i = atomic_fetch_add(next, 1)) < COUNT_OF(groups);)
        if ((only == NULL || strcmp(only, groups[i].name) == 0) &&
            (without == NULL || strcmp(without, groups[i].name) != 0))
            failed += groups[i].run();
    return failed;
}

static int run(const char *name, atomic_uint *next, const char *only, const char *without)
{
    backend_choose(name);
    const char *missing = backend_missing();
    if (missing != NULL) {
        printf("skipped: %s\n", missing);
        return 77;
    }
    return run_groups(next, only, without) == 0 ? 0 : 1;
}

/* ---- several processes -------------------------------------------------------------------------
 */

#define SHARES 4 /* processes, which mostly wait for the kernel */
#define ALONE  "exit"

struct share {
    pid_t pid;
    FILE *output;
};

static void begin(struct share *share, unsigned index, const char *name, atomic_uint *next)
{
    atomic_uint own = 0;
    share->output = tmpfile();
    must_hold(share->output != NULL, "tmpfile: %s", strerror(errno));
    /* Children of tests have it too, and may set the place in it when they end. */
    must_hold(fcntl(fileno(share->output), F_SETFL, O_APPEND) == 0, "fcntl: %s", strerror(errno));
    fflush(stdout);
    share->pid = fork();
    must_hold(share->pid >= 0, "fork: %s", strerror(errno));
    if (share->pid > 0)
        return;
    dup2(fileno(share->output), STDOUT_FILENO);
    exit(index == 0 ? run(name, &own, ALONE, NULL) : run(name, next, NULL, ALONE));
}

/* Tells what it said, and how it ended. */
static int end(struct share *share)
{
    char line[4096];
    int status = 0;
    waitpid(share->pid, &status, 0);
    rewind(share->output);
    while (fgets(line, sizeof line, share->output) != NULL)
        fputs(line, stdout);
    fclose(share->output);
    if (WIFSIGNALED(status))
        printf("Bail out! %s\n", strsignal(WTERMSIG(status)));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* Each process takes the group that is next. One has its own, which needs a process that has not
 * started the library before. */
static int run_shared(const char *name)
{
    struct share shares[SHARES];
    int worst = 0;
    atomic_uint *next = mmap(NULL, sizeof *next, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                             -1, 0); /* zero */
    must_hold(next != MAP_FAILED, "mmap: %s", strerror(errno));
    for (unsigned i = 0; i < SHARES; i++)
        begin(&shares[i], i, name, next);
    for (unsigned i = 0; i < SHARES; i++) {
        const int code = end(&shares[i]);
        worst = code != 0 && worst != 1 ? code : worst;
    }
    return worst;
}

int main(int argc, char **argv)
{
    const bool shared = argc > 1 && strcmp(argv[1], "-s") == 0;
    atomic_uint next = 0;
    argc -= shared;
    argv += shared;
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        backend_list();
        return 0;
    }
    if (argc < 2 || argc > 3 - shared || !backend_is_known(argv[1]) ||
        (argc == 3 && !group_is_known(argv[2]))) {
        fprintf(stderr, "usage: conform BACKEND [GROUP] | -s BACKEND; one of:\n");
        backend_list();
        return 2;
    }
    return shared ? run_shared(argv[1]) : run(argv[1], &next, argv[2], NULL);
}
