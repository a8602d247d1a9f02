/* SPDX-License-Identifier: MIT */
/*
 * Regions and registrars (region.h).
 *
 * `lock` guards address space, the list of regions and the set of registrars, for a few
 * instructions or one system call. `telling` is held while registrars are called, which may block;
 * it is always taken before `lock`. A registrar that allocates comes back here on the same thread
 * (`inside`): what it creates is told by the call that it is inside of, what it releases stays.
 *
 * Invariant: regions that were not told to every registrar are the last ones of the list.
 */
#include "mem/region.h"

#include "mem/stats.h"
#include "os/log.h"
#include "os/pages.h"
#include "os/sync.h"

#include <errno.h>
#include <string.h>

#define PAGE_BYTES ((size_t)4096)
#define MAX_SPAN   ((size_t)1 << 38) /* 256 GiB */
#define MIN_SPAN   ((size_t)1 << 26)

uintptr_t dk_heap_base;
uintptr_t dk_heap_span;
struct dk_region **dk_chunk_region;

static struct {
    struct dk_lock lock;
    struct dk_lock telling;
    struct dk_region *regions; /* by first chunk */
    uint64_t *taken;           /* a bit per chunk */
    uint32_t num_chunks;
    uint32_t first_free; /* no chunk before it is free */
    struct dk_list all;
    struct dk_registrar *registrars[DK_REGISTRARS_MAX];
    uint32_t present;                 /* a bit per registrar */
    uint8_t order[DK_REGISTRARS_MAX]; /* their indices, as they were added */
    uint32_t num;
    enum dk_page_kind best;
    bool warned;
} space = {.best = DK_PAGES_HUGETLB};

static _Thread_local bool inside;

static size_t round_up(size_t n, size_t unit)
{
    return (n + unit - 1) & ~(unit - 1);
}

/* Reserves as much of the range as there is, and at most half of what the process may have: stacks
 * and libraries need some too. */
static size_t reserve_range(void)
{
    size_t limit = dk_pages_address_limit() / 2;
    for (size_t span = MAX_SPAN; span >= MIN_SPAN; span /= 2) {
        if (span > limit)
            continue;
        uint8_t *p = dk_pages_claim(span, DK_CHUNK_BYTES);
        if (p) {
            dk_heap_base = (uintptr_t)p;
            return span;
        }
    }
    return 0;
}

/* Makes what is not made yet of the tables for so many chunks. */
static bool make_tables(uint32_t num_chunks)
{
    if (!dk_chunk_region)
        dk_chunk_region = dk_pages_reserve(num_chunks * sizeof(struct dk_region *));
    if (!space.regions)
        space.regions = dk_pages_reserve(num_chunks * sizeof(*space.regions));
    if (!space.taken)
        space.taken = dk_pages_reserve(round_up(num_chunks, 64) / 8);
    return dk_chunk_region && space.regions && space.taken;
}

int dk_region_init(void)
{
    int r = 0;
    dk_lock(&space.lock);
    if (!space.num_chunks)
        space.num_chunks = (uint32_t)(reserve_range() >> DK_CHUNK_SHIFT);
    if (!space.num_chunks || !make_tables(space.num_chunks)) {
        r = -ENOMEM;
    } else if (!dk_heap_span) {
        dk_list_init(&space.all);
        const uintptr_t span = (uintptr_t)space.num_chunks << DK_CHUNK_SHIFT;
        __atomic_store_n(&dk_heap_span, span, __ATOMIC_RELEASE);
    }
    dk_unlock(&space.lock);
    return r;
}

void dk_region_set_pages(enum dk_page_kind best)
{
    space.best = best;
}

static uint32_t chunk_of(const struct dk_region *region)
{
    return (uint32_t)(((uintptr_t)region->base - dk_heap_base) >> DK_CHUNK_SHIFT);
}

static bool is_taken(uint32_t chunk)
{
    return space.taken[chunk / 64] >> chunk % 64 & 1;
}

static void set_taken(uint32_t first, uint32_t n, bool taken)
{
    for (uint32_t i = first; i < first + n; i++) {
        uint64_t bit = UINT64_C(1) << i % 64;
        space.taken[i / 64] = taken ? space.taken[i / 64] | bit : space.taken[i / 64] & ~bit;
    }
}

/* Finds the first run of n free chunks; `lock` is held. */
static bool find_run(uint32_t n, uint32_t *first_out)
{
    uint32_t run = 0;
    for (uint32_t i = space.first_free; i < space.num_chunks; i++) {
        if (i % 64 == 0 && space.taken[i / 64] == UINT64_MAX) {
            i += 63;
            run = 0;
            continue;
        }
        run = is_taken(i) ? 0 : run + 1;
        if (run == n) {
            *first_out = i + 1 - n;
            return true;
        }
    }
    return false;
}

static bool take_chunks(uint32_t n, uint32_t *first_out)
{
    dk_lock(&space.lock);
    bool found = find_run(n, first_out);
    if (found) {
        set_taken(*first_out, n, true);
        if (*first_out == space.first_free)
            space.first_free += n;
    }
    dk_unlock(&space.lock);
    return found;
}

static void give_chunks(uint32_t first, uint32_t n)
{
    dk_lock(&space.lock);
    set_taken(first, n, false);
    if (first < space.first_free)
        space.first_free = first;
    dk_unlock(&space.lock);
}

/* Puts memory behind a region, the best kind that there is. */
static int back(struct dk_region *region)
{
    size_t whole = (size_t)region->num_chunks << DK_CHUNK_SHIFT;
    int r = space.best == DK_PAGES_HUGETLB ? dk_pages_back_huge(region->base, whole) : -ENOMEM;
    if (r == 0) {
        region->kind = DK_PAGES_HUGETLB;
        region->bytes = whole;
    }
    if (r != -ENOMEM)
        return r;
    region->kind = DK_PAGES_PLAIN;
    if (!dk_pages_back(region->base, region->bytes))
        return -ENOMEM;
    /* Only whole huge pages: the rest of the last one would be memory that nobody asked for. */
    size_t huge = region->bytes & ~(DK_CHUNK_BYTES - 1);
    if (huge && space.best != DK_PAGES_PLAIN && dk_pages_prefer_huge(region->base, huge))
        region->kind = DK_PAGES_THP;
    return 0;
}

static void count_region(const struct dk_region *region, int64_t sign)
{
    dk_mem_count(regions, sign);
    dk_mem_count(region_bytes, sign * (int64_t)region->bytes);
    if (region->kind == DK_PAGES_HUGETLB)
        dk_mem_count(hugetlb_bytes, sign * (int64_t)region->bytes);
}

static void lock_in_memory(struct dk_region *region)
{
    if (region->locked || !dk_pages_lock(region->base, region->bytes))
        return; /* what a device pins for itself stays anyway */
    region->locked = true;
    dk_mem_count(locked_bytes, region->bytes);
}

static void unlock_from_memory(struct dk_region *region)
{
    if (!region->locked)
        return;
    dk_pages_unlock(region->base, region->bytes);
    region->locked = false;
    dk_mem_count(locked_bytes, -(int64_t)region->bytes);
}

static void warn_once(const struct dk_registrar *r, const struct dk_region *region, int error)
{
    if (space.warned)
        return;
    space.warned = true;
    dk_log(DK_LOG_WARN,
           "%s cannot register %zu bytes of memory (%s): I/O from there is copied (raise the limit "
           "of locked memory: ulimit -l)",
           r->name, region->bytes, strerror(error));
}

static void map_one(struct dk_registrar *r, struct dk_region *region)
{
    uint64_t handle = DK_NO_HANDLE;
    int error = r->map(r, region->base, region->bytes, &handle);
    if (error < 0) {
        dk_mem_count(register_failures, 1);
        warn_once(r, region, -error);
        return;
    }
    if (handle == DK_NO_HANDLE)
        return;
    dk_mem_count(registered_bytes, region->bytes);
    __atomic_store_n(&region->handles[r->index], handle, __ATOMIC_RELEASE);
}

static void unmap_one(struct dk_registrar *r, struct dk_region *region)
{
    uint64_t handle = region->handles[r->index];
    if (handle == DK_NO_HANDLE)
        return;
    __atomic_store_n(&region->handles[r->index], DK_NO_HANDLE, __ATOMIC_RELEASE);
    r->unmap(r, region->base, region->bytes, handle);
    dk_mem_count(registered_bytes, -(int64_t)region->bytes);
}

/* Tells a region to the registrars that it was not told to; `telling` is held. */
static void tell(struct dk_region *region, uint32_t present)
{
    uint32_t missing = present & ~region->told;
    region->told |= (uint8_t)missing;
    lock_in_memory(region);
    for (uint32_t i = 0; i < space.num; i++)
        if (missing >> space.order[i] & 1)
            map_one(space.registrars[space.order[i]], region);
}

/* Returns the first region that some registrar was not told of, or NULL. */
static struct dk_region *find_untold(void)
{
    struct dk_region *region = NULL;
    dk_lock(&space.lock);
    if (!dk_list_empty(&space.all))
        region = dk_container_of(space.all.prev, struct dk_region, link);
    for (struct dk_region *r = region; r && (r->told & space.present) != space.present;) {
        region = r;
        struct dk_list *prev = r->link.prev;
        r = prev == &space.all ? NULL : dk_container_of(prev, struct dk_region, link);
    }
    if (region && (region->told & space.present) == space.present)
        region = NULL;
    dk_unlock(&space.lock);
    return region;
}

/* Tells every registrar of every region; `telling` is held. */
static void tell_all(void)
{
    struct dk_region *region;
    inside = true;
    while ((region = find_untold()) != NULL)
        tell(region, space.present);
    inside = false;
}

static void publish(struct dk_region *region)
{
    uint32_t first = chunk_of(region);
    for (uint32_t i = 0; i < region->num_chunks; i++)
        dk_chunk_region[first + i] = region;
    dk_lock(&space.lock);
    dk_list_add_tail(&space.all, &region->link);
    bool registrars = space.present != 0;
    dk_unlock(&space.lock);
    count_region(region, 1);
    dk_pages_add_root(region->base, region->bytes);
    if (registrars && !inside) {
        dk_lock(&space.telling);
        tell_all();
        dk_unlock(&space.telling);
    }
}

int dk_region_create(struct dk_region **region_out, size_t bytes)
{
    uint32_t first, n = (uint32_t)(round_up(bytes, DK_CHUNK_BYTES) >> DK_CHUNK_SHIFT);
    if (bytes > dk_heap_span || !take_chunks(n, &first))
        return -ENOMEM;
    struct dk_region *region = &space.regions[first];
    region->base = (uint8_t *)dk_heap_base + ((size_t)first << DK_CHUNK_SHIFT);
    region->bytes = round_up(bytes, PAGE_BYTES);
    region->num_chunks = n;
    region->idle_chunks = 0;
    region->told = 0;
    region->locked = false;
    memset(region->handles, 0xff, sizeof(region->handles));
    int r = back(region);
    if (r < 0) {
        if (r != -EFAULT)
            give_chunks(first, n);
        return -ENOMEM;
    }
    publish(region);
    *region_out = region;
    return 0;
}

/* Tells the registrars that a region goes; `telling` is held. */
static void tell_going(struct dk_region *region)
{
    for (uint32_t i = space.num; i-- > 0;)
        unmap_one(space.registrars[space.order[i]], region);
    unlock_from_memory(region);
}

bool dk_region_release(struct dk_region *region)
{
    if (inside)
        return false;
    uint32_t first = chunk_of(region);
    dk_lock(&space.telling);
    inside = true;
    tell_going(region);
    inside = false;
    dk_lock(&space.lock);
    dk_list_del(&region->link);
    dk_unlock(&space.lock);
    tell_all(); /* of what unmap allocated */
    dk_unlock(&space.telling);
    dk_pages_drop_root(region->base, region->bytes);
    count_region(region, -1);
    for (uint32_t i = 0; i < region->num_chunks; i++)
        dk_chunk_region[first + i] = NULL;
    uint32_t n = region->num_chunks;
    if (dk_pages_unback(region->base, (size_t)n << DK_CHUNK_SHIFT))
        give_chunks(first, n);
    return true;
}

bool dk_region_purge(struct dk_region *region, void *p, size_t bytes)
{
    if (region->kind == DK_PAGES_HUGETLB)
        return false;
    dk_lock(&space.lock); /* no registrar comes meanwhile */
    bool may = space.present == 0 && dk_pages_purge(p, bytes);
    dk_unlock(&space.lock);
    if (may)
        dk_mem_count(purged_bytes, bytes);
    return may;
}

bool dk_region_move(struct dk_region *to, struct dk_region *from)
{
    if (to->kind == DK_PAGES_HUGETLB || from->kind == DK_PAGES_HUGETLB)
        return false;
    dk_lock(&space.lock); /* no registrar comes meanwhile */
    bool moved = space.present == 0 && dk_pages_move(to->base, from->base, from->bytes);
    dk_unlock(&space.lock);
    return moved;
}

static uint32_t free_index(void)
{
    return (uint32_t)__builtin_ctz(~space.present);
}

int dk_registrar_add(struct dk_registrar *r)
{
    if (dk_region_init() < 0)
        return -ENOMEM;
    dk_lock(&space.telling);
    r->index = free_index();
    if (r->index >= DK_REGISTRARS_MAX) {
        dk_unlock(&space.telling);
        return -ENOSPC;
    }
    struct dk_list *l;
    dk_lock(&space.lock);
    space.registrars[r->index] = r;
    space.present |= 1u << r->index;
    space.order[space.num++] = (uint8_t)r->index;
    dk_list_for_each (l, &space.all)
        dk_container_of(l, struct dk_region, link)->told &= (uint8_t) ~(1u << r->index);
    dk_unlock(&space.lock);
    tell_all();
    dk_unlock(&space.telling);
    return 0;
}

/* Returns the region after one, or (NULL) the first; NULL at the end. The list only grows at its
 * end while `telling` is held. */
static struct dk_region *next_region(struct dk_region *region)
{
    dk_lock(&space.lock);
    struct dk_list *l = region ? region->link.next : space.all.next;
    dk_unlock(&space.lock);
    return l == &space.all ? NULL : dk_container_of(l, struct dk_region, link);
}

static void drop_from_order(uint32_t index)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < space.num; i++)
        if (space.order[i] != index)
            space.order[kept++] = space.order[i];
    space.num = kept;
}

void dk_registrar_remove(struct dk_registrar *r)
{
    dk_lock(&space.telling);
    inside = true;
    for (struct dk_region *region = NULL; (region = next_region(region)) != NULL;) {
        unmap_one(r, region);
        if (space.present == 1u << r->index)
            unlock_from_memory(region);
    }
    inside = false;
    dk_lock(&space.lock);
    space.present &= ~(1u << r->index);
    space.registrars[r->index] = NULL;
    drop_from_order(r->index);
    dk_unlock(&space.lock);
    tell_all(); /* of what unmap allocated */
    dk_unlock(&space.telling);
}

uint64_t dk_region_handle_at(const void *p, const struct dk_registrar *r)
{
    return dk_heap_owns(p) ? dk_region_handle(p, r) : DK_NO_HANDLE;
}

void dk_region_before_fork(void)
{
    dk_lock(&space.telling);
}

void dk_region_before_fork_last(void)
{
    dk_lock(&space.lock);
}

/* Devices are the parent's: the child's memory is registered with nobody. Locks in memory are not
 * inherited. */
static void forget_registrars(void)
{
    struct dk_list *l;
    dk_list_for_each (l, &space.all) {
        struct dk_region *region = dk_container_of(l, struct dk_region, link);
        memset(region->handles, 0xff, sizeof(region->handles));
        region->locked = false;
    }
    space.present = 0;
    space.num = 0;
    memset(space.registrars, 0, sizeof(space.registrars));
    dk_mem_stats->registered_bytes = dk_mem_stats->locked_bytes = 0;
}

void dk_region_after_fork(bool child)
{
    if (child && dk_heap_span)
        forget_registrars();
    dk_unlock(&space.lock);
    dk_unlock(&space.telling);
}
