/* SPDX-License-Identifier: MIT */
/*
 * Memory overhead: a trace with about 64 MiB live, whose sizes change from phase to phase.
 *
 * Each phase shrinks what is live to a quarter by freeing at random, grows it again with sizes of
 * its own, and then replaces objects at random until eight times as much was allocated: then few
 * objects of the phase before are left. A line is printed at its end: the name, live bytes that
 * were asked for, and bytes resident beyond those before the first allocation.
 *
 * All objects are written whole. Pages of hugetlbfs count as resident. The trace's own table is
 * mapped and written before it starts.
 */
#include "heap_load.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { TURNOVER = 8 };

#define MIB        ((size_t)1 << 20)
#define LIVE_BYTES (64 * MIB)
#define SLOTS      ((size_t)1 << 22)

struct phase {
    const char *name;
    uint32_t least, most;
    bool skewed; /* small ones likelier; else every doubling is as likely */
};

static const struct phase phases[] = {
    {"mixed, 16 B to 4 KiB", 16, 4096, true},     {"small, 16 to 512 B", 16, 512, true},
    {"large, 4 to 256 KiB", 4096, 262144, false}, {"mixed, 16 B to 4 KiB, again", 16, 4096, true},
    {"any, 16 B to 256 KiB", 16, 262144, false},
};

static struct {
    struct object {
        void *p;
        uint32_t size;
    } * objects;
    size_t n;
    size_t bytes; /* asked for */
    size_t allocated;
    uint32_t seed;
} live;

static uint32_t choose_size(const struct phase *phase)
{
    const uint32_t doublings = (uint32_t)__builtin_ctz(phase->most / phase->least);
    if (phase->skewed)
        return heap_skewed_size(&live.seed, doublings);
    const uint32_t from = phase->least << heap_random(&live.seed) % doublings;
    return from + heap_random(&live.seed) % from;
}

static void add(const struct phase *phase)
{
    const uint32_t size = choose_size(phase);
    void *p = HEAP_ALLOC(size);
    if (p == NULL || live.n == SLOTS)
        abort();
    memset(p, 0xa5, size);
    live.objects[live.n++] = (struct object){p, size};
    live.bytes += size;
    live.allocated += size;
}

static void drop_any(void)
{
    const size_t at = (((size_t)heap_random(&live.seed) << 32) | heap_random(&live.seed)) % live.n;
    HEAP_FREE(live.objects[at].p);
    live.bytes -= live.objects[at].size;
    live.objects[at] = live.objects[--live.n];
}

static size_t resident_bytes(void)
{
    char line[128];
    size_t kib, sum = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status != NULL && fgets(line, sizeof line, status) != NULL)
        if (sscanf(line, "VmRSS: %zu", &kib) == 1 || sscanf(line, "HugetlbPages: %zu", &kib) == 1)
            sum += kib * 1024;
    if (status != NULL)
        fclose(status);
    return sum;
}

static void run_phase(const struct phase *phase)
{
    while (live.bytes > LIVE_BYTES / 4)
        drop_any();
    while (live.bytes < LIVE_BYTES)
        add(phase);
    live.allocated = 0;
    while (live.allocated < TURNOVER * LIVE_BYTES) {
        drop_any();
        while (live.bytes < LIVE_BYTES)
            add(phase);
    }
}

int heap_memory_trace(void)
{
    const size_t table_bytes = SLOTS * sizeof(struct object);
    live.objects =
        mmap(NULL, table_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (live.objects == MAP_FAILED)
        return 1;
    memset(live.objects, 1, table_bytes);
    live.seed = 20260101;
    resident_bytes(); /* stdio allocates */
    const size_t before = resident_bytes();
    for (size_t i = 0; i < sizeof phases / sizeof phases[0]; i++) {
        run_phase(&phases[i]);
        printf("phase %s: %zu %zu\n", phases[i].name, live.bytes, resident_bytes() - before);
    }
    while (live.n > 0)
        drop_any();
    printf("left %zu\n", resident_bytes() - before);
    return 0;
}
