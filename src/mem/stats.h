/* SPDX-License-Identifier: MIT */
/*
 * Counters of the heap, of buffers and of copies: process-wide, written by any thread.
 *
 * They stand behind a pointer, so that they can move into the file that other processes read.
 */
#ifndef DK_MEM_STATS_H
#define DK_MEM_STATS_H

#include "os/sync.h"

/* X(field, "name"). Gauges go up and down; all else only counts up. */
#define DK_MEM_STATS(X)                                                                            \
    X(copies_foreign, "mem.copies_foreign") /* pushed memory that is not the heap's */             \
    X(copied_bytes_foreign, "mem.copied_bytes_foreign")                                            \
    X(copies_small, "mem.copies_small") /* pushed segments below the copy threshold */             \
    X(copied_bytes_small, "mem.copied_bytes_small")                                                \
    X(copies_pool, "mem.copies_pool") /* popped: half of a receive pool was held */                \
    X(copied_bytes_pool, "mem.copied_bytes_pool")                                                  \
    X(copies_refused, "mem.copies_refused") /* pushed: no reference could be taken */              \
    X(copied_bytes_refused, "mem.copied_bytes_refused")                                            \
    X(references, "mem.references")             /* taken by pushes on application memory */        \
    X(deferred_frees, "mem.deferred_frees")     /* of memory that was in flight */                 \
    X(superblocks, "mem.superblocks")           /* gauge */                                        \
    X(large_objects, "mem.large_objects")       /* gauge */                                        \
    X(regions, "mem.regions")                   /* gauge */                                        \
    X(region_bytes, "mem.region_bytes")         /* gauge: address space with memory behind it */   \
    X(hugetlb_bytes, "mem.hugetlb_bytes")       /* gauge: of those, in huge pages of hugetlbfs */  \
    X(registered_bytes, "mem.registered_bytes") /* gauge, summed over registrars */                \
    X(register_failures, "mem.register_failures")                                                  \
    X(locked_bytes, "mem.locked_bytes") /* gauge */                                                \
    X(purged_bytes, "mem.purged_bytes") /* given back to the system */

struct dk_mem_stats {
#define DK_MEM_STATS_FIELD(field, name) uint64_t field;
    DK_MEM_STATS(DK_MEM_STATS_FIELD)
#undef DK_MEM_STATS_FIELD
};

#define DK_MEM_STATS_COUNT (sizeof(struct dk_mem_stats) / sizeof(uint64_t))

/* Names in the order of the fields. */
extern const char *const dk_mem_stat_names[DK_MEM_STATS_COUNT];

/* Never NULL; changed only by dk_mem_stats_move. */
DK_HIDDEN extern struct dk_mem_stats *dk_mem_stats;

/* Copies the counters to `to`, which counts from here on; NULL: back to the library's own memory.
 * Counts of other threads at that moment may be lost. */
void dk_mem_stats_move(struct dk_mem_stats *to);

/* Adds to a counter. Two's complement: n may be a negative number for a gauge. */
#define dk_mem_count(field, n) dk_mem_add(&dk_mem_stats_get()->field, (uint64_t)(n))

static inline struct dk_mem_stats *dk_mem_stats_get(void)
{
    return __atomic_load_n(&dk_mem_stats, __ATOMIC_RELAXED);
}

static inline void dk_mem_add(uint64_t *counter, uint64_t n)
{
    if (dk_mt())
        __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
    else
        *counter += n;
}

#endif /* DK_MEM_STATS_H */
