/* SPDX-License-Identifier: MIT */
/*
 * A stream of bytes that both ends know: the words of a counter, mixed with a seed. A byte that is
 * lost, repeated, or in another place does not fit.
 */
#ifndef TEST_INTEROP_PATTERN_H
#define TEST_INTEROP_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The finalizer of SplitMix64. */
static inline uint64_t pattern_mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* Writes the bytes of the stream `seed` that begin at `offset`. */
static inline void pattern_fill(uint64_t seed, uint64_t offset, uint8_t *out, size_t len)
{
    while (len > 0) {
        uint64_t word = pattern_mix(seed ^ pattern_mix(offset / 8));
        size_t skip = offset % 8, n = 8 - skip < len ? 8 - skip : len;
        memcpy(out, (const uint8_t *)&word + skip, n);
        out += n;
        offset += n;
        len -= n;
    }
}

/* Whether these are the bytes of the stream `seed` that begin at `offset`. */
static inline bool pattern_fits(uint64_t seed, uint64_t offset, const uint8_t *bytes, size_t len)
{
    uint8_t expected[2048];
    while (len > 0) {
        size_t n = len < sizeof(expected) ? len : sizeof(expected);
        pattern_fill(seed, offset, expected, n);
        if (memcmp(expected, bytes, n) != 0)
            return false;
        bytes += n;
        offset += n;
        len -= n;
    }
    return true;
}

#endif /* TEST_INTEROP_PATTERN_H */
