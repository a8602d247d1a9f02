/* SPDX-License-Identifier: MIT */
/*
 * Runs of slices (slice.h). One lock over everything here; it is not held while a region is made or
 * released.
 *
 * A chunk's `free` has a bit per free slice. `dirty` has those of them that have memory behind them
 * and hold old data. Invariant: dirty is a subset of free; a chunk stands in lists[longest free
 * run].
 */
#include "mem/slice.h"

#include "os/pages.h"
#include "os/sync.h"

#include <errno.h>

#define ALL_FREE       UINT32_MAX
#define KEEP_DIRTY     32u /* slices */
#define KEEP_IDLE      2u  /* chunks */
#define MAX_REGION     16u /* chunks: fewer, larger regions are fewer registrations */
#define FRACTION       8u  /* of all chunks: growth, and what is kept */
#define DIRTY_FRACTION 64u /* of the slices in use */

struct chunk {
    uint32_t free;
    uint32_t dirty;
    struct dk_list link;
};

static struct {
    struct dk_lock lock;
    struct chunk *chunks; /* by chunk */
    struct dk_list lists[DK_CHUNK_SLICES + 1];
    uint64_t filled; /* a bit per list that is not empty */
    uint32_t num_chunks;
    uint32_t idle_chunks;
    uint32_t free_slices;
    uint32_t dirty_slices;
    uint32_t stuck; /* dirty slices below which purging is known to be in vain */
} slices;

int dk_slice_init(void)
{
    size_t n = dk_heap_span >> DK_CHUNK_SHIFT;
    if (slices.chunks)
        return 0;
    slices.chunks = dk_pages_reserve(n * sizeof(*slices.chunks));
    if (!slices.chunks)
        return -ENOMEM;
    for (uint32_t i = 0; i <= DK_CHUNK_SLICES; i++)
        dk_list_init(&slices.lists[i]);
    return 0;
}

static uint32_t run_mask(uint32_t first, uint32_t n)
{
    return (uint32_t)(((UINT64_C(1) << n) - 1) << first);
}

/* Returns the bits from which a run of n set bits starts. */
static uint32_t run_starts(uint32_t bits, uint32_t n)
{
    for (uint32_t have = 1; have < n && bits;) {
        uint32_t step = have < n - have ? have : n - have;
        bits &= bits >> step;
        have += step;
    }
    return bits;
}

static uint32_t longest_run(uint32_t bits)
{
    uint32_t n = 0;
    for (; bits; n++)
        bits &= bits >> 1;
    return n;
}

static uint32_t popcount(uint32_t bits)
{
    return (uint32_t)__builtin_popcount(bits);
}

static struct dk_region *region_of(const struct chunk *c)
{
    return dk_chunk_region[c - slices.chunks];
}

static uint8_t *address(const struct chunk *c, uint32_t slice)
{
    return (uint8_t *)dk_heap_base + ((size_t)(c - slices.chunks) << DK_CHUNK_SHIFT) +
           ((size_t)slice << DK_SLICE_SHIFT);
}

static struct chunk *chunk_at(const void *p)
{
    return &slices.chunks[((uintptr_t)p - dk_heap_base) >> DK_CHUNK_SHIFT];
}

static void unlist(struct chunk *c)
{
    uint32_t n = longest_run(c->free);
    dk_list_del(&c->link);
    if (dk_list_empty(&slices.lists[n]))
        slices.filled &= ~(UINT64_C(1) << n);
}

static void enlist(struct chunk *c)
{
    uint32_t n = longest_run(c->free);
    dk_list_add_head(&slices.lists[n], &c->link);
    slices.filled |= UINT64_C(1) << n;
}

/* Changes which slices of a listed chunk are free; the lock is held. */
static void set_free(struct chunk *c, uint32_t free, uint32_t dirty)
{
    struct dk_region *region = region_of(c);
    unlist(c);
    slices.free_slices += popcount(free) - popcount(c->free);
    slices.dirty_slices += popcount(dirty) - popcount(c->dirty);
    uint32_t idle = (free == ALL_FREE) - (uint32_t)(c->free == ALL_FREE);
    slices.idle_chunks += idle;
    region->idle_chunks += idle;
    c->free = free;
    c->dirty = dirty;
    enlist(c);
}

/* Slices of c where a run of n may start. */
static uint32_t places(const struct chunk *c, uint32_t n, uint32_t align)
{
    /* Bits 0, align, 2 * align, ... */
    uint32_t aligned = align == 32 ? 1 : UINT32_MAX / ((1u << align) - 1);
    return run_starts(c->free, n) & aligned;
}

/* Finds the tightest chunk with a place; the lock is held. */
static struct chunk *find(uint32_t n, uint32_t align)
{
    uint64_t filled = slices.filled >> n << n;
    for (; filled; filled &= filled - 1) {
        struct dk_list *l, *head = &slices.lists[__builtin_ctzll(filled)];
        dk_list_for_each (l, head) {
            struct chunk *c = dk_container_of(l, struct chunk, link);
            if (places(c, n, align))
                return c;
            if (align == 1)
                break; /* cannot be */
        }
    }
    return NULL;
}

static void *take_from(struct chunk *c, uint32_t n, uint32_t align, bool *zero_out)
{
    uint32_t first = (uint32_t)__builtin_ctz(places(c, n, align));
    uint32_t run = run_mask(first, n);
    *zero_out = (c->dirty & run) == 0;
    set_free(c, c->free & ~run, c->dirty & ~run);
    return address(c, first);
}

/* Makes the chunks of a region known, which is free but for slices of its first one; dirty: those
 * of its slices, in each chunk. */
static void add_region(struct dk_region *region, uint32_t taken, uint32_t dirty)
{
    struct chunk *c = chunk_at(region->base);
    dk_lock(&slices.lock);
    for (uint32_t i = 0; i < region->num_chunks; i++) {
        c[i].free = i == 0 ? ~taken : ALL_FREE;
        c[i].dirty = dirty;
        enlist(&c[i]);
    }
    region->idle_chunks = region->num_chunks - (taken != 0);
    slices.num_chunks += region->num_chunks;
    slices.idle_chunks += region->idle_chunks;
    slices.free_slices += region->num_chunks * DK_CHUNK_SLICES - popcount(taken);
    slices.dirty_slices += region->num_chunks * popcount(dirty);
    dk_unlock(&slices.lock);
}

static int grow(void)
{
    struct dk_region *region;
    dk_lock(&slices.lock);
    uint32_t n = slices.num_chunks / FRACTION;
    dk_unlock(&slices.lock);
    n = n < 1 ? 1 : n > MAX_REGION ? MAX_REGION : n;
    if (dk_region_create(&region, n * DK_CHUNK_BYTES) < 0 &&
        dk_region_create(&region, DK_CHUNK_BYTES) < 0)
        return -ENOMEM;
    add_region(region, 0, 0);
    return 0;
}

int dk_slice_reserve(size_t bytes, uint32_t n, struct dk_region **region_out)
{
    const size_t whole = (bytes + DK_CHUNK_BYTES - 1) & ~(DK_CHUNK_BYTES - 1);
    int r = dk_region_create(region_out, whole);
    if (r == 0)
        add_region(*region_out, run_mask(0, n), 0);
    return r;
}

void *dk_slice_take(uint32_t n, uint32_t align, bool *zero_out)
{
    for (;;) {
        void *p = NULL;
        dk_lock(&slices.lock);
        struct chunk *c = find(n, align);
        if (c)
            p = take_from(c, n, align, zero_out);
        dk_unlock(&slices.lock);
        if (p || grow() < 0)
            return p;
    }
}

/* Purges the dirty slices of a chunk, run by run; the lock is held. */
static void purge(struct chunk *c)
{
    uint32_t dirty = c->dirty, left = dirty;
    while (left) {
        uint32_t first = (uint32_t)__builtin_ctz(left);
        uint32_t n = (uint32_t)__builtin_ctzll(~((uint64_t)left >> first));
        if (dk_region_purge(region_of(c), address(c, first), (size_t)n << DK_SLICE_SHIFT))
            dirty &= ~run_mask(first, n);
        left &= ~run_mask(first, n);
    }
    set_free(c, c->free, dirty);
}

/* Purges until no more than `keep` dirty slices are left, chunks with the longest free runs first;
 * the lock is held. */
static void purge_down_to(uint32_t keep)
{
    for (uint32_t n = DK_CHUNK_SLICES; n > 0 && slices.dirty_slices > keep; n--) {
        /* purge() puts a chunk back at the head of its list: walk from the first there is now. */
        struct dk_list *l = slices.lists[n].next, *next;
        for (; l != &slices.lists[n] && slices.dirty_slices > keep; l = next) {
            struct chunk *c = dk_container_of(l, struct chunk, link);
            next = l->next;
            if (c->dirty)
                purge(c);
        }
    }
}

static uint32_t more(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static void purge_excess(void)
{
    uint32_t used = slices.num_chunks * DK_CHUNK_SLICES - slices.free_slices;
    uint32_t keep = more(KEEP_DIRTY, used / DIRTY_FRACTION);
    if (slices.dirty_slices <= more(keep, slices.stuck))
        return;
    purge_down_to(keep / 2);
    /* What a device knows, or hugetlb, stays: look again when there is much more. */
    slices.stuck = slices.dirty_slices > keep / 2 ? slices.dirty_slices + keep : 0;
}

/* Takes a wholly free region out of the lists, if there are more free chunks than `keep`; the lock
 * is held. */
static bool forget(struct dk_region *region, uint32_t keep)
{
    if (region->idle_chunks != region->num_chunks || slices.idle_chunks - region->num_chunks < keep)
        return false;
    struct chunk *c = chunk_at(region->base);
    for (uint32_t i = 0; i < region->num_chunks; i++) {
        slices.dirty_slices -= popcount(c[i].dirty);
        unlist(&c[i]);
    }
    slices.num_chunks -= region->num_chunks;
    slices.idle_chunks -= region->num_chunks;
    slices.free_slices -= region->num_chunks * DK_CHUNK_SLICES;
    return true;
}

/* Releases a region that is out of the lists; false: not now, and it is back. */
static bool release(struct dk_region *region)
{
    if (dk_region_release(region))
        return true;
    add_region(region, 0, ALL_FREE);
    return false;
}

void dk_slice_give(void *p, uint32_t n)
{
    struct chunk *c = chunk_at(p);
    uint32_t run = run_mask((uint32_t)(((uintptr_t)p >> DK_SLICE_SHIFT) % DK_CHUNK_SLICES), n);
    struct dk_region *region = region_of(c);
    dk_lock(&slices.lock);
    set_free(c, c->free | run, c->dirty | run);
    bool gone = forget(region, more(KEEP_IDLE, slices.num_chunks / FRACTION));
    if (!gone)
        purge_excess();
    dk_unlock(&slices.lock);
    if (gone)
        release(region);
}

/* Returns a region that is wholly free and no longer in the lists, or NULL. */
static struct dk_region *forget_any(void)
{
    struct dk_list *l;
    struct dk_region *found = NULL;
    dk_lock(&slices.lock);
    dk_list_for_each (l, &slices.lists[DK_CHUNK_SLICES]) {
        struct dk_region *region = region_of(dk_container_of(l, struct chunk, link));
        if (forget(region, 0)) {
            found = region;
            break;
        }
    }
    dk_unlock(&slices.lock);
    return found;
}

void dk_slice_trim(void)
{
    struct dk_region *region;
    while ((region = forget_any()) != NULL && release(region))
        ;
    dk_lock(&slices.lock);
    purge_down_to(0);
    dk_unlock(&slices.lock);
}

void dk_slice_before_fork(void)
{
    dk_lock(&slices.lock);
}

void dk_slice_after_fork(void)
{
    dk_unlock(&slices.lock);
}
