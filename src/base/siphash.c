/* SPDX-License-Identifier: MIT */
/*
 * SipHash-2-4: four words of state, input as little-endian words of 64 bits, the last one with the
 * length in its top byte; two rounds for each word, four at the end.
 */
#include "base/siphash.h"

#include "base/bytes.h"

struct sip {
    uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotate(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

static inline void rounds(struct sip *s, int n)
{
    for (; n > 0; n--) {
        s->v0 += s->v1;
        s->v1 = rotate(s->v1, 13) ^ s->v0;
        s->v0 = rotate(s->v0, 32);
        s->v2 += s->v3;
        s->v3 = rotate(s->v3, 16) ^ s->v2;
        s->v0 += s->v3;
        s->v3 = rotate(s->v3, 21) ^ s->v0;
        s->v2 += s->v1;
        s->v1 = rotate(s->v1, 17) ^ s->v2;
        s->v2 = rotate(s->v2, 32);
    }
}

static inline void absorb(struct sip *s, uint64_t word)
{
    s->v3 ^= word;
    rounds(s, 2);
    s->v0 ^= word;
}

uint64_t dk_siphash(const uint8_t key[16], const void *bytes, size_t len)
{
    uint64_t k0 = dk_get_le64(key), k1 = dk_get_le64(key + 8);
    /* "somepseudorandomlygeneratedbytes" */
    struct sip s = {k0 ^ 0x736f6d6570736575u, k1 ^ 0x646f72616e646f6du, k0 ^ 0x6c7967656e657261u,
                    k1 ^ 0x7465646279746573u};
    const uint8_t *at = bytes, *tail = at + (len & ~(size_t)7);
    for (; at != tail; at += 8)
        absorb(&s, dk_get_le64(at));
    uint64_t last = (uint64_t)len << 56;
    for (size_t i = 0; i < (len & 7); i++)
        last |= (uint64_t)tail[i] << (8 * i);
    absorb(&s, last);
    s.v2 ^= 0xff;
    rounds(&s, 4);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}
