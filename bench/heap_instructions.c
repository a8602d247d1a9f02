/* SPDX-License-Identifier: MIT */
/*
 * heap-instructions ROUNDS one|many: allocates 64 bytes, takes and gives back a reference on its
 * middle, frees it; in a process that has one thread, or had more. Counts nothing itself:
 * heap_instructions.sh runs it under callgrind, which collects inside functions named to it.
 */
#include "mem/heap.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *nothing(void *arg)
{
    return arg;
}

static void rounds(int n)
{
    for (int i = 0; i < n; i++) {
        char *p = dk_heap_malloc(64);
        if (p == NULL || !dk_heap_get(p + 40)) {
            fprintf(stderr, "heap-instructions: round %d failed\n", i);
            exit(1);
        }
        dk_heap_put(p + 40);
        dk_heap_free(p);
    }
}

int main(int argc, char **argv)
{
    pthread_t thread;
    if (argc != 3)
        return 2;
    if (strcmp(argv[2], "many") == 0 &&
        (pthread_create(&thread, NULL, nothing, NULL) != 0 || pthread_join(thread, NULL) != 0))
        return 1;
    rounds(atoi(argv[1]));
    return 0;
}
