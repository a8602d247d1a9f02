/* SPDX-License-Identifier: MIT */
/*
 * getrandom(2), without waiting for the pool.
 */
#include "os/entropy.h"

#include "os/clock.h"

#include <string.h>
#include <sys/random.h>

uint64_t dk_entropy_u64(void)
{
    uint64_t bits;
    if (getrandom(&bits, sizeof(bits), GRND_NONBLOCK) != sizeof(bits))
        bits = (uint64_t)dk_clock_monotonic.now(&dk_clock_monotonic) * UINT64_C(0x9e3779b97f4a7c15);
    return bits;
}

void dk_entropy_secret(uint8_t secret_out[16])
{
    const uint64_t words[2] = {dk_entropy_u64(), dk_entropy_u64()};
    memcpy(secret_out, words, sizeof(words));
}
