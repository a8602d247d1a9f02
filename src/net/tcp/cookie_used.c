/* SPDX-License-Identifier: MIT */
/*
 * Cookies that were used: a cache of sets, each in the order in which they came.
 */
#include "net/tcp/cookie_used.h"

#include "mem/heap.h"

#include <string.h>

#define TAG_MASK ((1u << DK_TCP_USED_TAG_BITS) - 1)

_Static_assert(DK_TCP_COOKIE_HASH_BITS + DK_TCP_USED_SET_BITS + DK_TCP_USED_TAG_BITS == 64,
               "no bit of the hash for two uses");

struct dk_tcp_used *dk_tcp_used_create(void)
{
    struct dk_tcp_used *used = dk_heap_aligned(64, sizeof(*used));
    if (used)
        memset(used, 0, sizeof(*used));
    return used;
}

void dk_tcp_used_destroy(struct dk_tcp_used *used)
{
    if (used)
        dk_heap_free(used);
}

static uint32_t set_of(uint64_t hash)
{
    return (uint32_t)(hash >> DK_TCP_COOKIE_HASH_BITS) & (DK_TCP_USED_SETS - 1);
}

static uint32_t tag_of(uint64_t hash)
{
    const uint32_t tag = (uint32_t)(hash >> (DK_TCP_COOKIE_HASH_BITS + DK_TCP_USED_SET_BITS));
    return tag ? tag : 1;
}

bool dk_tcp_used_has(const struct dk_tcp_used *used, uint64_t hash)
{
    const uint32_t *set = used->sets[set_of(hash)], tag = tag_of(hash);
    for (uint32_t i = 0; i < DK_TCP_USED_WAYS; i++)
        if ((set[i] & TAG_MASK) == tag)
            return true;
    return false;
}

bool dk_tcp_used_add(struct dk_tcp_used *used, uint64_t hash, uint32_t period,
                     uint32_t *forgotten_period_out)
{
    uint32_t *set = used->sets[set_of(hash)];
    const uint32_t oldest = set[0];
    memmove(set, set + 1, (DK_TCP_USED_WAYS - 1) * sizeof(set[0]));
    set[DK_TCP_USED_WAYS - 1] = period << DK_TCP_USED_TAG_BITS | tag_of(hash);
    if (oldest)
        *forgotten_period_out = oldest >> DK_TCP_USED_TAG_BITS;
    return oldest != 0;
}
