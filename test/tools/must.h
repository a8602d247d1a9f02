/* SPDX-License-Identifier: MIT */
/*
 * For programs that tests run: a call that returns an error number, 0 where it is good; else the
 * program says which, and ends with 1.
 */
#ifndef DK_TEST_TOOLS_MUST_H
#define DK_TEST_TOOLS_MUST_H

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MUST(call)                                                                                 \
    do {                                                                                           \
        int must_error = (call);                                                                   \
        if (must_error != 0) {                                                                     \
            fprintf(stderr, "%s: %s\n", #call, strerror(must_error));                              \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

#endif /* DK_TEST_TOOLS_MUST_H */
