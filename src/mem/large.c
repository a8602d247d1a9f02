/* SPDX-License-Identifier: MIT */
/*
 * Large objects (large.h). Up to a chunk they are runs of slices; beyond, or with a larger
 * alignment, regions of their own, which come and go with them.
 */
#include "mem/large.h"

#include "mem/overflow.h"
#include "mem/stats.h"
#include "os/sync.h"

#include <string.h>

/* Regions of freed objects that could not be released: their thread was inside a registrar. */
static struct {
    struct dk_lock lock;
    struct dk_superblock *first;
} late;

static size_t round_up(size_t n, size_t unit)
{
    return (n + unit - 1) & ~(unit - 1);
}

static void fill_header(struct dk_superblock *sb, uint8_t *start, size_t bytes, uint8_t ref,
                        bool debug)
{
    sb->start = start;
    sb->reciprocal = 0;
    sb->object_bytes = bytes;
    sb->refs = sb->inline_refs;
    sb->ref_stride = 0;
    sb->num_objects = 1;
    __atomic_store_n(&sb->size_class, DK_LARGE, __ATOMIC_RELAXED);
    sb->debug = debug;
    sb->overflow = NULL;
    sb->inline_refs[0] = ref;
    dk_superblock_set_map(start, bytes, sb);
    dk_mem_count(large_objects, 1);
}

static void *alloc_run(size_t bytes, size_t align, uint8_t ref, bool debug, bool *zero_out)
{
    uint32_t n = (uint32_t)(round_up(bytes, DK_SLICE_BYTES) >> DK_SLICE_SHIFT);
    size_t align_slices = align > DK_SLICE_BYTES ? align >> DK_SLICE_SHIFT : 1;
    uint8_t *run = dk_slice_take(n, (uint32_t)align_slices, zero_out);
    if (!run)
        return NULL;
    struct dk_superblock *sb = dk_superblock_header(run);
    sb->region = NULL;
    sb->num_slices = n;
    fill_header(sb, run, n * DK_SLICE_BYTES, ref, debug);
    return run;
}

static void *alloc_region(size_t bytes, size_t align, uint8_t ref, bool debug)
{
    struct dk_region *region;
    size_t slack = align > DK_CHUNK_BYTES ? align : 0;
    /* Whole slices: room to grow, which costs nothing until it is used. */
    if (dk_region_create(&region, round_up(bytes + slack, DK_SLICE_BYTES)) < 0)
        return NULL;
    uint8_t *start = (uint8_t *)round_up((uintptr_t)region->base, align);
    struct dk_superblock *sb = dk_superblock_header(start);
    sb->region = region;
    sb->num_slices = 0;
    fill_header(sb, start, (size_t)(region->base + region->bytes - start), ref, debug);
    return start;
}

static void keep_for_later(struct dk_superblock *sb)
{
    dk_lock(&late.lock);
    sb->link.next = (struct dk_list *)late.first;
    __atomic_store_n(&late.first, sb, __ATOMIC_RELAXED);
    dk_unlock(&late.lock);
}

void dk_large_trim(void)
{
    dk_lock(&late.lock);
    struct dk_superblock *sb = late.first;
    __atomic_store_n(&late.first, NULL, __ATOMIC_RELAXED);
    dk_unlock(&late.lock);
    while (sb) {
        struct dk_superblock *next = (struct dk_superblock *)sb->link.next;
        if (!dk_region_release(sb->region))
            keep_for_later(sb);
        sb = next;
    }
}

void *dk_large_alloc(size_t bytes, size_t align, uint8_t ref, bool debug, bool *zero_out)
{
    if (bytes <= DK_CHUNK_BYTES && align <= DK_CHUNK_BYTES)
        return alloc_run(bytes, align, ref, debug, zero_out);
    *zero_out = true;
    return alloc_region(bytes, align, ref, debug);
}

void dk_large_free(struct dk_superblock *sb)
{
    uint8_t *start = sb->start;
    uint32_t num_slices = sb->num_slices;
    sb->inline_refs[0] = DK_REF_FREE;
    dk_superblock_set_map(start, sb->object_bytes, NULL);
    dk_overflow_drop(sb);
    dk_mem_count(large_objects, -1);
    if (!sb->region)
        dk_slice_give(start, num_slices);
    else if (!dk_region_release(sb->region))
        keep_for_later(sb);
    else if (dk_unlikely(__atomic_load_n(&late.first, __ATOMIC_RELAXED) != NULL))
        dk_large_trim();
}

void *dk_large_grow(struct dk_superblock *sb, size_t bytes)
{
    bool zero;
    /* What grows once often grows again: address space behind it saves most of the moves. */
    void *p = dk_large_alloc(bytes + bytes / 8, DK_SLICE_BYTES, DK_REF_APP, false, &zero);
    if (!p)
        p = dk_large_alloc(bytes, DK_SLICE_BYTES, DK_REF_APP, false, &zero);
    if (!p)
        return NULL;
    struct dk_region *to = dk_superblock_at(p)->region, *from = sb->region;
    bool whole = to && from && to->base == p && from->base == sb->start;
    if (!whole || !dk_region_move(to, from))
        memcpy(p, sb->start, sb->object_bytes);
    dk_large_free(sb);
    return p;
}
