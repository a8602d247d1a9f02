/* SPDX-License-Identifier: MIT */
/*
 * The counters of the heap, and where they are (stats.h).
 */
#include "mem/stats.h"

#include <stddef.h>

#define NAME(field, name) name,
const char *const dk_mem_stat_names[DK_MEM_STATS_COUNT] = {DK_MEM_STATS(NAME)};

static struct dk_mem_stats own;

struct dk_mem_stats *dk_mem_stats = &own;

void dk_mem_stats_move(struct dk_mem_stats *to)
{
    struct dk_mem_stats *from = dk_mem_stats;
    if (!to)
        to = &own;
    if (to == from)
        return;
    for (size_t i = 0; i < DK_MEM_STATS_COUNT; i++)
        __atomic_store_n((uint64_t *)to + i,
                         __atomic_load_n((uint64_t *)from + i, __ATOMIC_RELAXED), __ATOMIC_RELAXED);
    __atomic_store_n(&dk_mem_stats, to, __ATOMIC_RELEASE);
}
