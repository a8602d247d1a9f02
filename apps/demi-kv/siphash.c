/* SPDX-License-Identifier: MIT */
/*
 * SipHash-1-3 (siphash.h), written from the paper: four 64-bit words of state, input taken as
 * little-endian words, the last one holding the length in its top byte.
 */
#include "siphash.h"

#include <endian.h>
#include <string.h>

struct state {
    uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotl(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

static inline void sip_round(struct state *s)
{
    s->v0 += s->v1;
    s->v2 += s->v3;
    s->v1 = rotl(s->v1, 13) ^ s->v0;
    s->v3 = rotl(s->v3, 16) ^ s->v2;
    s->v0 = rotl(s->v0, 32);
    s->v2 += s->v1;
    s->v0 += s->v3;
    s->v1 = rotl(s->v1, 17) ^ s->v2;
    s->v3 = rotl(s->v3, 21) ^ s->v0;
    s->v2 = rotl(s->v2, 32);
}

static inline uint64_t word_at(const unsigned char *p)
{
    uint64_t w;

    memcpy(&w, p, sizeof(w));
    return le64toh(w);
}

/* The bytes behind the last whole word, and the length. */
static inline uint64_t last_word(const unsigned char *p, size_t len)
{
    uint64_t w = (uint64_t)len << 56;

    for (size_t i = 0; i < (len & 7); i++)
        w |= (uint64_t)p[i] << (8 * i);
    return w;
}

static inline void absorb(struct state *s, uint64_t word)
{
    s->v3 ^= word;
    sip_round(s);
    s->v0 ^= word;
}

uint64_t kv_siphash(const uint64_t key[2], const void *data, size_t len)
{
    struct state s = {key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du,
                      key[0] ^ 0x6c7967656e657261u, key[1] ^ 0x7465646279746573u};
    const unsigned char *p = data, *end = p + (len & ~(size_t)7);

    for (; p != end; p += 8)
        absorb(&s, word_at(p));
    absorb(&s, last_word(p, len));
    s.v2 ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}
