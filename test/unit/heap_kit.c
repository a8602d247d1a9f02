/* SPDX-License-Identifier: MIT */
/* See heap_kit.h. */
#include "heap_kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const size_t checked_end = 64 * KIB;

static int compare_sizes(const void *a, const void *b)
{
    const size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

size_t kit_sizes(size_t sizes_out[KIT_SIZES_MAX], size_t limit)
{
    size_t n = 0;
    for (size_t power = 8; power <= limit && power != 0; power *= 2) {
        const size_t step = power / 8;
        for (size_t i = 0; i < 8; i++)
            for (size_t around = 0; around < 3; around++) {
                const size_t size = power + i * step + around - 1;
                if (size <= limit && n < KIT_SIZES_MAX)
                    sizes_out[n++] = size;
            }
    }
    must_hold(n < KIT_SIZES_MAX, "more sizes than KIT_SIZES_MAX");
    qsort(sizes_out, n, sizeof sizes_out[0], compare_sizes);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || sizes_out[kept - 1] != sizes_out[i])
            sizes_out[kept++] = sizes_out[i];
    return kept;
}

void kit_must_be_object(const void *p, size_t size, size_t align)
{
    struct dk_heap_object object = {NULL, 0};
    must_hold(p != NULL, "%zu bytes: no memory", size);
    must_hold((uintptr_t)p % align == 0, "%zu bytes at %p: not a multiple of %zu", size, p, align);
    must_hold(dk_heap_owns(p), "%zu bytes at %p: outside the heap", size, p);
    const size_t usable = dk_heap_usable(p);
    must_hold(usable >= size, "%zu bytes at %p: %zu usable", size, p, usable);
    must_hold(dk_heap_find(p, &object), "%zu bytes at %p: not found", size, p);
    must_hold(object.start == p && object.usable == usable, "%zu bytes at %p: found %zu at %p",
              size, p, object.usable, (void *)object.start);
}

static size_t end_length(size_t size)
{
    return size < checked_end ? size : checked_end;
}

void kit_fill(void *p, size_t size, uint64_t seed)
{
    const size_t end = end_length(size);
    pattern_fill(p, end, seed, 0);
    pattern_fill((uint8_t *)p + size - end, end, seed, size - end);
}

void kit_check(const void *p, size_t size, uint64_t seed)
{
    const size_t end = end_length(size);
    pattern_check(p, end, seed, 0);
    pattern_check((const uint8_t *)p + size - end, end, seed, size - end);
}

struct kit_block kit_malloc(size_t size, uint64_t seed)
{
    struct kit_block block = {dk_heap_malloc(size), size, seed};
    kit_must_be_object(block.p, size, DK_HEAP_ALIGN);
    kit_fill(block.p, size, seed);
    return block;
}

void kit_check_block(const struct kit_block *block)
{
    kit_check(block->p, block->size, block->seed);
}

static int compare_blocks(const void *a, const void *b)
{
    const uintptr_t x = (uintptr_t)((const struct kit_block *)a)->p;
    const uintptr_t y = (uintptr_t)((const struct kit_block *)b)->p;
    return (x > y) - (x < y);
}

void kit_must_be_apart(struct kit_block blocks[], size_t n)
{
    qsort(blocks, n, sizeof blocks[0], compare_blocks);
    for (size_t i = 1; i < n; i++) {
        const struct kit_block *low = &blocks[i - 1], *high = &blocks[i];
        must_hold(low->p + dk_heap_usable(low->p) <= high->p, "%zu bytes at %p overlap %zu at %p",
                  low->size, (void *)low->p, high->size, (void *)high->p);
    }
}

bool kit_is_zero(const void *p, size_t size)
{
    const uint8_t *byte = p;
    return size == 0 || (byte[0] == 0 && memcmp(byte, byte + 1, size - 1) == 0);
}

bool kit_is_held(const void *p)
{
    struct dk_heap_object object;
    return dk_heap_find(p, &object);
}

struct kit_gauges kit_gauges(void)
{
    dk_heap_trim();
    return (struct kit_gauges){
        .superblocks = dk_mem_stats->superblocks,
        .large_objects = dk_mem_stats->large_objects,
        .regions = dk_mem_stats->regions,
        .region_bytes = dk_mem_stats->region_bytes,
    };
}

static void must_equal(const char *name, uint64_t now, uint64_t before)
{
    must_hold(now == before, "mem.%s is %llu, was %llu", name, (unsigned long long)now,
              (unsigned long long)before);
}

void kit_must_be_back(struct kit_gauges before)
{
    const struct kit_gauges now = kit_gauges();
    must_equal("superblocks", now.superblocks, before.superblocks);
    must_equal("large_objects", now.large_objects, before.large_objects);
    must_equal("regions", now.regions, before.regions);
    must_equal("region_bytes", now.region_bytes, before.region_bytes);
}

uint64_t kit_deferred(void)
{
    return dk_mem_stats->deferred_frees;
}

size_t kit_rss(void)
{
    unsigned long total = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu %lu", &total, &resident), 2);
    fclose(file);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}
