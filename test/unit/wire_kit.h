/* SPDX-License-Identifier: MIT */
/*
 * For tests of the packet formats: bytes in a block of exactly their length, so that a sanitizer
 * sees each read beyond it, at an odd address.
 */
#ifndef TEST_UNIT_WIRE_KIT_H
#define TEST_UNIT_WIRE_KIT_H

#include "net/wire/reason.h"
#include "net/wire/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Copies len bytes into a block of their own, which free_exact frees. */
static inline uint8_t *exact(const uint8_t *bytes, size_t len)
{
    uint8_t *block = malloc(len + 1);
    assert_non_null(block);
    memcpy(block + 1, bytes, len);
    return block + 1;
}

static inline void free_exact(uint8_t *bytes)
{
    free(bytes - 1);
}

static inline void must_be(enum dk_wire reason, enum dk_wire expected)
{
    assert_string_equal(dk_wire_name(reason), dk_wire_name(expected));
}

static inline void must_print(const struct dk_text *text, const char *expected)
{
    assert_string_equal(text->at, expected);
    assert_int_equal(text->len, strlen(expected));
}

static const uint8_t MAC_1[6] = {0x02, 0, 0, 0, 0, 1};
static const uint8_t MAC_2[6] = {0x02, 0, 0, 0, 0, 2};

#endif /* TEST_UNIT_WIRE_KIT_H */
