/* SPDX-License-Identifier: MIT */
/*
 * threads BACKEND [GROUP]: several threads in the library. Backends are those of the conformance
 * suite. Exit 77: the backend is not available here.
 */
#include "groups.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(void);
} groups[] = {
    {"leader", run_leader_tests},     {"one_queue", run_one_queue_tests},
    {"race", run_race_tests},         {"stress", run_stress_tests},
    {"instance", run_instance_tests}, {"connect", run_connect_tests},
    {"compose", run_compose_tests},
};

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 3 || !backend_choose(argv[1])) {
        fprintf(stderr, "usage: threads BACKEND [GROUP]\n");
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
