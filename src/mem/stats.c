/* SPDX-License-Identifier: MIT */
/*
 * The counters' own memory, and their names (stats.h).
 */
#include "mem/stats.h"

const char *const dk_mem_stat_names[DK_MEM_STATS_COUNT] = {
#define NAME(field, name) name,
    DK_MEM_STATS(NAME)
#undef NAME
};

static struct dk_mem_stats own;

struct dk_mem_stats *dk_mem_stats = &own;

void dk_mem_stats_move(struct dk_mem_stats *to)
{
    struct dk_mem_stats *from = dk_mem_stats;
    if (!to)
        to = &own;
    if (to == from)
        return;
    *to = *from;
    __atomic_store_n(&dk_mem_stats, to, __ATOMIC_RELEASE);
}
