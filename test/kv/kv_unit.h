/* SPDX-License-Identifier: MIT */
/*
 * What the unit tests of the key-value server share: cmocka, seeded random numbers, keys made of
 * numbers, and the library over no device.
 */
#ifndef KV_UNIT_H
#define KV_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "entry.h"

#include <demi/libos.h>
#include <demi/sga.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A seed from KV_TEST_SEED or the clock; printed, so that a failure can be repeated. */
static inline uint64_t unit_seed(const char *what)
{
    const char *given = getenv("KV_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);

    printf("# %s: KV_TEST_SEED=%llu\n", what, (unsigned long long)seed);
    return seed;
}

/* splitmix64 */
static inline uint64_t unit_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* The key of a number; good until the next call. */
static inline struct kv_str unit_key(unsigned n)
{
    static char text[24];

    return (struct kv_str){text, (uint32_t)snprintf(text, sizeof(text), "key:%u", n)};
}

static inline unsigned unit_key_number(const struct kv_entry *e)
{
    char text[24] = "";

    memcpy(text, kv_entry_key(e) + 4, e->key_len - 4);
    return (unsigned)strtoul(text, NULL, 10);
}

static inline struct kv_str unit_str(const char *text)
{
    return (struct kv_str){text, (uint32_t)strlen(text)};
}

/* For tests whose values are large: their memory is the library's. */
static inline int unit_start_library(void **state)
{
    (void)state;
    setenv("DEMI_NET", "memory", 1);
    return demi_init(NULL);
}

static inline int unit_stop_library(void **state)
{
    (void)state;
    return demi_fini();
}

#endif /* KV_UNIT_H */
