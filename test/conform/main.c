/* SPDX-License-Identifier: MIT */
/*
 * conform BACKEND [GROUP]: runs the suite, or one group of it, against a backend. Exit 0 all
 * passed, 77 the backend is not available here (says why), 1 otherwise. `conform --list` names the
 * backends.
 */
#include "suite.h"

#include <stdio.h>
#include <string.h>

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

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        backend_list();
        return 0;
    }
    if (argc < 2 || argc > 3 || !backend_choose(argv[1])) {
        fprintf(stderr, "usage: conform BACKEND [GROUP]; one of:\n");
        backend_list();
        return 2;
    }
    const char *missing = backend_missing();
    if (missing != NULL) {
        printf("skipped: %s\n", missing);
        return 77;
    }
    int failed = 0;
    int ran = 0;
    for (size_t i = 0; i < COUNT_OF(groups); i++) {
        if (argc == 3 && strcmp(argv[2], groups[i].name) != 0)
            continue;
        failed += groups[i].run();
        ran++;
    }
    return failed == 0 && ran > 0 ? 0 : 1;
}
