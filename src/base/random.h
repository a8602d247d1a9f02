/* SPDX-License-Identifier: MIT */
/*
 * A small generator of random numbers, xoshiro256** of Blackman and Vigna, seeded through
 * splitmix64. The state is the caller's and the same seed gives the same numbers: for jitter,
 * simulations and tests. Nobody's secrets: the state can be computed from what it gave.
 */
#ifndef DK_BASE_RANDOM_H
#define DK_BASE_RANDOM_H

#include <stdint.h>

struct dk_random {
    uint64_t state[4];
};

static inline uint64_t dk_random_splitmix(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Any seed is as good as another, 0 too. */
static inline void dk_random_init(struct dk_random *random, uint64_t seed)
{
    for (int i = 0; i < 4; i++)
        random->state[i] = dk_random_splitmix(&seed);
}

static inline uint64_t dk_random_rotate(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

static inline uint64_t dk_random_u64(struct dk_random *random)
{
    uint64_t *s = random->state;
    uint64_t result = dk_random_rotate(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = dk_random_rotate(s[3], 45);
    return result;
}

static inline uint32_t dk_random_u32(struct dk_random *random)
{
    return (uint32_t)(dk_random_u64(random) >> 32);
}

/* Returns a number from 0 to bound - 1; for bound 0: 0. Even but for one part in 2^32 / bound. */
static inline uint32_t dk_random_below(struct dk_random *random, uint32_t bound)
{
    return (uint32_t)((uint64_t)dk_random_u32(random) * bound >> 32);
}

/* Returns a number from low to high, both included; even but for one part in 2^64 / span. */
static inline int64_t dk_random_between(struct dk_random *random, int64_t low, int64_t high)
{
    uint64_t span = (uint64_t)high - (uint64_t)low + 1; /* 0: all of them */
    uint64_t number = dk_random_u64(random);
    return (int64_t)((uint64_t)low + (span == 0 ? number : number % span));
}

#endif /* DK_BASE_RANDOM_H */
