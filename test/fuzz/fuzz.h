/* SPDX-License-Identifier: MIT */
/*
 * What a fuzz target is: one function that takes any bytes, parses them, and fails by FUZZ_CHECK
 * where a property does not hold. With clang, libFuzzer calls it (make fuzz); elsewhere replay.c
 * calls it with each file of the kept corpus, so that what was found once stays found.
 *
 * The property of all formats: what was parsed and written again parses as the same.
 */
#ifndef TEST_FUZZ_FUZZ_H
#define TEST_FUZZ_FUZZ_H

#include "net/wire/reason.h"
#include "net/wire/text.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define FUZZ_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* Every reason has a name. */
static inline void fuzz_check_reason(enum dk_wire reason)
{
    FUZZ_CHECK(reason < DK_WIRE_COUNT && strcmp(dk_wire_name(reason), "unknown") != 0);
}

/* A text is terminated, in its buffer, and one line. */
static inline void fuzz_check_text(const struct dk_text *text)
{
    FUZZ_CHECK(text->len < text->size && strlen(text->at) == text->len);
    FUZZ_CHECK(strchr(text->at, '\n') == NULL);
}

#endif /* TEST_FUZZ_FUZZ_H */
