/* SPDX-License-Identifier: MIT */
/*
 * Inside a superblock (layout.h).
 */
#include "mem/layout.h"

#include <string.h>

#define MAX_SLICES   16u /* of a superblock of a class */
#define LINE_BYTES   64u
#define REFS_COLOURS 16u

static size_t round_up(size_t n, size_t unit)
{
    return (n + unit - 1) & ~(unit - 1);
}

uint32_t dk_layout_slices(size_t object_bytes)
{
    uint32_t n = 1;
    for (; n < MAX_SLICES; n++) {
        size_t run = n * DK_SLICE_BYTES;
        if (run >= object_bytes && run % object_bytes <= run / 8)
            break;
    }
    return n;
}

/*
 * Where in its first lines a run has its reference bytes. Runs start at multiples of 64 KiB: were
 * all bytes at their start, those of different classes would meet in the few places that a cache
 * has for such addresses.
 */
static size_t colour_of(const uint8_t *run)
{
    return ((uintptr_t)run >> DK_SLICE_SHIFT) * 5 % REFS_COLOURS * LINE_BYTES;
}

/* Bytes for so many granules, whole words, because they are searched by words. */
static size_t refs_bytes(size_t num_objects, size_t stride)
{
    return round_up(num_objects * stride, 8);
}

void dk_layout_make(struct dk_superblock *sb, uint8_t *run)
{
    size_t bytes = sb->object_bytes, room = sb->num_slices * DK_SLICE_BYTES;
    size_t granule = bytes & -bytes, stride = bytes / granule, before = 0, n = room / bytes;
    sb->refs = sb->inline_refs;
    if (refs_bytes(n, stride) > DK_INLINE_REFS) {
        sb->refs = run + colour_of(run);
        do
            before = round_up(colour_of(run) + refs_bytes(n, stride), granule);
        while (before + n * bytes > room && n--);
    }
    sb->start = run + before;
    sb->num_objects = (uint32_t)n;
    sb->ref_stride = stride;
    sb->ref_shift = (uint8_t)__builtin_ctzll(granule);
    memset(sb->refs, DK_REF_NONE, refs_bytes(n, stride));
    for (size_t i = 0; i < n; i++)
        *dk_object_ref(sb, i) = DK_REF_FREE;
}

/* Sets the high bit of every byte that is zero. */
static uint64_t zero_bytes(uint64_t word)
{
    const uint64_t low = UINT64_C(0x7f7f7f7f7f7f7f7f);
    return ~(((word & low) + low) | word | low);
}

/* Takes the free objects that start in eight granules, at most max. */
static uint32_t take_eight(struct dk_superblock *sb, uint32_t eight, struct dk_free_object out[],
                           uint32_t max)
{
    uint64_t *word = (uint64_t *)(void *)sb->refs + eight;
    /* Pairs with the release of who gave the object back. */
    uint64_t free = zero_bytes(__atomic_load_n(word, __ATOMIC_ACQUIRE));
    uint32_t n = 0;
    for (; free && n < max; free &= free - 1) {
        size_t granule = eight * (size_t)8 + (uint32_t)__builtin_ctzll(free) / 8;
        out[n].p = sb->start + (granule << sb->ref_shift);
        out[n].ref = sb->refs + granule;
        __atomic_store_n(out[n].ref, DK_REF_CACHED, __ATOMIC_RELAXED);
        n++;
    }
    return n;
}

uint32_t dk_layout_take(struct dk_superblock *sb, struct dk_free_object out[], uint32_t max)
{
    uint32_t words = (uint32_t)(refs_bytes(sb->num_objects, sb->ref_stride) / 8), n = 0;
    for (uint32_t looked = 0; looked < words && n < max; looked++) {
        if (sb->cursor >= words)
            sb->cursor = 0;
        n += take_eight(sb, sb->cursor, out + n, max - n);
        sb->cursor += n < max;
    }
    return n;
}

/* Purges the whole pages of [from, to). */
static bool purge(uint8_t *from, uint8_t *to)
{
    uintptr_t first = round_up((uintptr_t)from, DK_LAYOUT_PAGE_BYTES);
    uintptr_t last = (uintptr_t)to & ~(DK_LAYOUT_PAGE_BYTES - 1);
    struct dk_region *region = dk_chunk_region[((uintptr_t)from - dk_heap_base) >> DK_CHUNK_SHIFT];
    return first >= last || dk_region_purge(region, (void *)first, last - first);
}

void dk_layout_purge(struct dk_superblock *sb)
{
    uint8_t *end = sb->start + sb->num_objects * sb->object_bytes;
    uint8_t *free_from = sb->start; /* no object is held from there to p */
    bool may = true;
    for (uint32_t i = 0; i < sb->num_objects && may; i++) {
        uint8_t *p = sb->start + i * sb->object_bytes;
        /* Pairs with the release of who gave the object back. */
        if (__atomic_load_n(dk_object_ref(sb, i), __ATOMIC_ACQUIRE) == DK_REF_FREE)
            continue;
        may = purge(free_from, p);
        free_from = p + sb->object_bytes;
    }
    if (may)
        purge(free_from, end);
}
