/* SPDX-License-Identifier: MIT */
/*
 * Regions and registrars: a device that only takes notes is told of all memory, before it is used
 * and until it goes, and every pointer leads to the handle that the device gave.
 */
#include "../threads/crew.h"
#include "heap_kit.h"

#include "mem/slice.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* --- a device that takes notes --------------------------------------------------------------- */

enum { NOTES_MAX = 4096 };

struct note {
    uint8_t *base;
    size_t bytes;
    uint64_t handle;
    bool mapped;
};

struct device {
    struct dk_registrar registrar;
    struct note notes[NOTES_MAX];
    uint32_t num_notes;
    uint32_t num_maps;
    uint32_t num_unmaps;
    atomic_int inside;   /* calls under way */
    int error;           /* map fails with it */
    uint32_t fail_every; /* if not 0: only each so many-th */
    bool indifferent;    /* map succeeds, with no handle */
    size_t allocate;     /* if not 0: map allocates so many bytes */
    uint8_t *allocated[64];
    uint32_t num_allocated;
    uint32_t yields;
    struct device *below; /* it has to know what this one is told of */
    const char *mistake;  /* of the heap, seen in a callback */
};

static struct device devices[DK_REGISTRARS_MAX + 1];

static struct device *device_of(struct dk_registrar *r)
{
    return (struct device *)(void *)r;
}

static void see(struct device *d, bool good, const char *what)
{
    if (!good && d->mistake == NULL)
        d->mistake = what;
}

static uint64_t handle_for(const struct device *d, const void *base)
{
    return (uintptr_t)base * 31 + (uint64_t)(d - devices) + 1;
}

static struct note *note_of(struct device *d, const void *p)
{
    for (uint32_t i = 0; i < d->num_notes; i++) {
        struct note *note = &d->notes[i];
        if (note->mapped && (uintptr_t)p - (uintptr_t)note->base < note->bytes)
            return note;
    }
    return NULL;
}

static void allocate_inside(struct device *d)
{
    if (d->num_allocated == COUNT_OF(d->allocated) || d->num_allocated * d->allocate > 100 * MIB)
        return;
    uint8_t *p = dk_heap_malloc(d->allocate);
    see(d, p != NULL, "no memory inside map");
    if (p == NULL)
        return;
    pattern_fill(p, d->allocate, d->num_allocated, 0);
    d->allocated[d->num_allocated++] = p;
}

/* Whether the memory is there: a system call asks, whatever a sanitizer thinks of free objects. */
static bool is_accessible(const void *p)
{
    static int fds[2] = {-1, -1};
    char byte;
    if (fds[0] < 0 && pipe(fds) != 0)
        return false;
    return syscall(SYS_write, fds[1], p, 1) == 1 && read(fds[0], &byte, 1) == 1;
}

static int device_map(struct dk_registrar *r, void *base, size_t bytes, uint64_t *handle_out)
{
    struct device *d = device_of(r);
    see(d, atomic_fetch_add(&d->inside, 1) == 0, "two calls at a time");
    see(d, (uintptr_t)base % 4096 == 0 && bytes % 4096 == 0 && bytes > 0, "not whole pages");
    see(d, dk_heap_owns(base) && dk_heap_owns((uint8_t *)base + bytes - 1), "outside the range");
    see(d, !note_of(d, base) && !note_of(d, (uint8_t *)base + bytes - 1), "mapped twice");
    see(d, !d->below || note_of(d->below, base), "told before the one below");
    for (uint32_t i = 0; i < d->yields; i++)
        sched_yield();
    d->num_maps++;
    int error = d->error;
    if (d->fail_every != 0 && d->num_maps % d->fail_every != 0)
        error = 0;
    if (d->num_notes == NOTES_MAX) {
        see(d, false, "too many regions for the test");
        error = -ENOSPC;
    }
    if (error == 0 && d->indifferent) {
        *handle_out = DK_NO_HANDLE;
    } else if (error == 0) {
        d->notes[d->num_notes] = (struct note){base, bytes, handle_for(d, base), true};
        *handle_out = d->notes[d->num_notes++].handle;
    }
    if (d->allocate != 0)
        allocate_inside(d);
    atomic_fetch_sub(&d->inside, 1);
    return error;
}

static void device_unmap(struct dk_registrar *r, void *base, size_t bytes, uint64_t handle)
{
    struct device *d = device_of(r);
    see(d, atomic_fetch_add(&d->inside, 1) == 0, "two calls at a time");
    struct note *note = note_of(d, base);
    d->num_unmaps++;
    see(d, note != NULL, "unmap of what is not mapped");
    if (note != NULL) {
        see(d, note->base == base && note->bytes == bytes, "unmap of another range");
        see(d, note->handle == handle, "unmap with another handle");
        note->mapped = false;
    }
    see(d, is_accessible(base), "unmap of memory that is gone");
    see(d, !d->below || note_of(d->below, base), "told after the one below");
    atomic_fetch_sub(&d->inside, 1);
}

static struct device *device_make(uint32_t number)
{
    struct device *d = &devices[number];
    memset(d, 0, sizeof *d);
    d->registrar.name = "notes";
    d->registrar.map = device_map;
    d->registrar.unmap = device_unmap;
    return d;
}

static struct device *device_add(uint32_t number)
{
    struct device *d = device_make(number);
    assert_int_equal(dk_registrar_add(&d->registrar), 0);
    return d;
}

static uint32_t device_live(const struct device *d)
{
    uint32_t live = 0;
    for (uint32_t i = 0; i < d->num_notes; i++)
        live += d->notes[i].mapped;
    return live;
}

static uint64_t device_bytes(const struct device *d)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < d->num_notes; i++)
        bytes += d->notes[i].mapped ? d->notes[i].bytes : 0;
    return bytes;
}

static void device_remove(struct device *d)
{
    dk_registrar_remove(&d->registrar);
    must_hold(d->mistake == NULL, "%s", d->mistake);
    must_hold(device_live(d) == 0, "%u regions stay mapped", device_live(d));
}

/* The handle at p is what map gave for its region. */
static void must_be_known(struct device *d, const void *p)
{
    const struct note *note = note_of(d, p);
    must_hold(d->mistake == NULL, "%s", d->mistake);
    must_hold(note != NULL, "%p: its region was not told", p);
    const uint64_t handle = dk_region_handle(p, &d->registrar);
    must_hold(handle == note->handle, "%p: handle %llx, map gave %llx", p,
              (unsigned long long)handle, (unsigned long long)note->handle);
}

static void must_be_known_everywhere(struct device *d, const uint8_t *p, size_t size)
{
    for (size_t at = 0; at < size; at += 4093)
        must_be_known(d, p + at);
    must_be_known(d, p + size - 1);
}

/* Tells the test of every region that the table of chunks has. */
static uint32_t count_regions(uint64_t *bytes_out)
{
    uint32_t count = 0;
    const struct dk_region *last = NULL;
    *bytes_out = 0;
    for (size_t i = 0; i < dk_heap_span >> DK_CHUNK_SHIFT; i++) {
        const struct dk_region *region = dk_chunk_region[i];
        if (region != NULL && region != last) {
            count++;
            *bytes_out += region->bytes;
        }
        last = region;
    }
    return count;
}

/* --- regions --------------------------------------------------------------------------------- */

static void test_region_of_any_size_is_zero_and_in_the_table(void **state)
{
    (void)state;
    static const size_t sizes[] = {
        1,        4096,           4097, DK_CHUNK_BYTES - 1, DK_CHUNK_BYTES, DK_CHUNK_BYTES + 1,
        10 * MIB, 64 * MIB + 5000};
    for (int round = 0; round < 3; round++) /* dirty from the second on */
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            const uint64_t count = dk_mem_stats->regions, bytes = dk_mem_stats->region_bytes;
            struct dk_region *region = NULL;
            assert_int_equal(dk_region_create(&region, sizes[i]), 0);
            assert_int_equal((uintptr_t)region->base % DK_CHUNK_BYTES, 0);
            assert_true(region->bytes >= sizes[i] && region->bytes % 4096 == 0);
            assert_true(region->bytes <= (size_t)region->num_chunks * DK_CHUNK_BYTES);
            must_hold(kit_is_zero(region->base, region->bytes), "%zu bytes: not zero", sizes[i]);
            memset(region->base, 0xff, region->bytes);
            for (uint32_t k = 0; k < region->num_chunks; k++) {
                const uint8_t *at = region->base + k * DK_CHUNK_BYTES;
                assert_ptr_equal(dk_chunk_region[((uintptr_t)at - dk_heap_base) >> DK_CHUNK_SHIFT],
                                 region);
                assert_false(kit_is_held(at)); /* memory, but no object */
            }
            assert_int_equal(dk_mem_stats->regions, count + 1);
            assert_int_equal(dk_mem_stats->region_bytes, bytes + region->bytes);
            const uint8_t *base = region->base;
            assert_true(dk_region_release(region));
            assert_null(dk_chunk_region[((uintptr_t)base - dk_heap_base) >> DK_CHUNK_SHIFT]);
            assert_int_equal(dk_mem_stats->regions, count);
            assert_int_equal(dk_mem_stats->region_bytes, bytes);
        }
}

static void test_region_beyond_the_range_is_enomem(void **state)
{
    (void)state;
    struct dk_region *untouched = (struct dk_region *)(uintptr_t)4711, *region = untouched;
    const struct kit_gauges before = kit_gauges();
    assert_int_equal(dk_region_create(&region, dk_heap_span + 1), -ENOMEM);
    assert_int_equal(dk_region_create(&region, dk_heap_span), -ENOMEM); /* a part is in use */
    assert_int_equal(dk_region_create(&region, SIZE_MAX), -ENOMEM);
    assert_int_equal(dk_region_create(&region, SIZE_MAX - DK_CHUNK_BYTES), -ENOMEM);
    assert_int_equal(dk_region_create(&region, (size_t)1 << 63), -ENOMEM);
    assert_ptr_equal(region, untouched);
    kit_must_be_back(before);
}

/* Whether all address space of the chunks is mapped. A gap would be filled by somebody's mmap,
 * which the heap's next use of the chunk would destroy. */
static void must_have_no_gap(const uint8_t *base, size_t num_chunks, const char *when)
{
    static unsigned char resident[64 * DK_CHUNK_BYTES / 4096];
    assert_true(num_chunks * DK_CHUNK_BYTES / 4096 <= sizeof resident);
    must_hold(mincore((void *)(uintptr_t)base, num_chunks * DK_CHUNK_BYTES, resident) == 0,
              "a gap in %zu chunks at %p, %s", num_chunks, (const void *)base, when);
}

static void test_region_leaves_no_gap_in_the_range(void **state)
{
    (void)state;
    static const size_t sizes[] = {1,          4096, MIB, DK_CHUNK_BYTES, DK_CHUNK_BYTES + 4096,
                                   9 * MIB + 1};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        struct dk_region *region;
        assert_int_equal(dk_region_create(&region, sizes[i]), 0);
        uint8_t *base = region->base;
        const size_t num_chunks = region->num_chunks;
        must_have_no_gap(base, num_chunks, "in use");
        assert_true(dk_region_release(region));
        must_have_no_gap(base, num_chunks, "released");
    }
}

static void test_regions_many_come_and_go_in_any_order(void **state)
{
    (void)state;
    enum { MANY = 200 };
    struct dk_region *regions[MANY] = {0};
    uint64_t random = seed_choose(__func__);
    const struct kit_gauges before = kit_gauges();
    for (int step = 0; step < 3000; step++) {
        const uint32_t i = random_below(&random, MANY);
        if (regions[i] == NULL) {
            const size_t bytes = 1 + random_below(&random, 12 * MIB);
            assert_int_equal(dk_region_create(&regions[i], bytes), 0);
            regions[i]->base[0] = (uint8_t)i;
            regions[i]->base[regions[i]->bytes - 1] = (uint8_t)i;
        } else {
            assert_int_equal(regions[i]->base[0], i);
            assert_int_equal(regions[i]->base[regions[i]->bytes - 1], (uint8_t)i);
            assert_true(dk_region_release(regions[i]));
            regions[i] = NULL;
        }
    }
    for (int i = 0; i < MANY; i++)
        if (regions[i] != NULL)
            assert_true(dk_region_release(regions[i]));
    kit_must_be_back(before);
}

static void test_region_purged_pages_are_zero_and_counted(void **state)
{
    (void)state;
    struct dk_region *region;
    dk_region_set_pages(DK_PAGES_PLAIN);
    assert_int_equal(dk_region_create(&region, 4 * MIB), 0);
    assert_int_equal(region->kind, DK_PAGES_PLAIN);
    memset(region->base, 0x77, region->bytes);
    const uint64_t purged = dk_mem_stats->purged_bytes;
    const size_t resident = kit_rss();
    assert_true(dk_region_purge(region, region->base + 8192, 2 * MIB));
    assert_int_equal(dk_mem_stats->purged_bytes, purged + 2 * MIB);
    assert_true(under_sanitizer() || kit_rss() + MIB < resident);
    assert_true(kit_is_zero(region->base + 8192, 2 * MIB));
    assert_int_equal(region->base[8191], 0x77);
    assert_int_equal(region->base[8192 + 2 * MIB], 0x77);
    assert_true(dk_region_release(region));
    dk_region_set_pages(DK_PAGES_HUGETLB);
}

static void test_region_kind_of_pages_is_at_most_what_was_asked_for(void **state)
{
    (void)state;
    for (int best = DK_PAGES_PLAIN; best <= DK_PAGES_HUGETLB; best++) {
        struct dk_region *region;
        const uint64_t huge = dk_mem_stats->hugetlb_bytes;
        dk_region_set_pages((enum dk_page_kind)best);
        assert_int_equal(dk_region_create(&region, 2 * DK_CHUNK_BYTES), 0);
        assert_true(region->kind <= best);
        assert_int_equal(dk_mem_stats->hugetlb_bytes,
                         huge + (region->kind == DK_PAGES_HUGETLB ? region->bytes : 0));
        print_message("pages of kind %d, asked for %d\n", region->kind, best);
        region->base[DK_CHUNK_BYTES] = 1;
        assert_true(dk_region_release(region));
        assert_int_equal(dk_mem_stats->hugetlb_bytes, huge);
    }
}

/* --- registrars ------------------------------------------------------------------------------ */

static void test_registrar_added_is_told_of_all_there_is(void **state)
{
    (void)state;
    uint8_t *small = dk_heap_malloc(100), *large = dk_heap_malloc(MIB);
    uint8_t *own = dk_heap_malloc(20 * MIB + 1);
    const uint64_t registered = dk_mem_stats->registered_bytes;
    struct device *d = device_add(0);
    uint64_t bytes = 0;
    assert_int_equal(device_live(d), count_regions(&bytes));
    assert_int_equal(device_live(d), dk_mem_stats->regions);
    assert_int_equal(device_bytes(d), bytes);
    assert_int_equal(dk_mem_stats->registered_bytes, registered + bytes);
    must_be_known_everywhere(d, small, 100);
    must_be_known_everywhere(d, large, MIB);
    must_be_known_everywhere(d, own, 20 * MIB + 1);
    device_remove(d);
    assert_int_equal(dk_mem_stats->registered_bytes, registered);
    dk_heap_free(small);
    dk_heap_free(large);
    dk_heap_free(own);
}

static void test_registrar_is_told_of_later_regions_before_their_memory_is_used(void **state)
{
    (void)state;
    static const size_t sizes[] = {100, 5000, 200000, MIB, 3 * MIB, 33 * MIB};
    static uint8_t *held[COUNT_OF(sizes)][40];
    dk_heap_trim();
    struct device *d = device_add(0);
    for (size_t k = 0; k < COUNT_OF(held[0]); k++)
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            held[i][k] = dk_heap_malloc(sizes[i]);
            must_be_known(d, held[i][k]);
            must_be_known(d, held[i][k] + sizes[i] - 1);
        }
    for (size_t k = 0; k < COUNT_OF(held[0]); k++)
        for (size_t i = 0; i < COUNT_OF(sizes); i++)
            must_be_known_everywhere(d, held[i][k], sizes[i]);
    const uint32_t live = device_live(d);
    for (size_t k = 0; k < COUNT_OF(held[0]); k++)
        for (size_t i = 0; i < COUNT_OF(sizes); i++)
            dk_heap_free(held[i][k]);
    dk_heap_trim();
    assert_true(d->num_unmaps > 0 && device_live(d) < live);
    assert_int_equal(device_live(d), dk_mem_stats->regions);
    device_remove(d);
}

static void test_registrar_is_told_of_a_region_that_goes(void **state)
{
    (void)state;
    dk_heap_trim();
    struct device *d = device_add(0);
    const uint64_t registered = dk_mem_stats->registered_bytes;
    for (int i = 0; i < 10; i++) {
        uint8_t *p = dk_heap_malloc(100 * MIB);
        must_be_known(d, p);
        assert_true(dk_mem_stats->registered_bytes >= registered + 100 * MIB);
        dk_heap_free(p);
        dk_heap_trim();
        assert_null(note_of(d, p));
        assert_int_equal(dk_mem_stats->registered_bytes, registered);
    }
    assert_int_equal(d->num_unmaps, 10);
    device_remove(d);
}

static void test_registrars_each_have_their_own_handles(void **state)
{
    (void)state;
    struct device *first = device_add(0), *second = device_add(1);
    uint8_t *p = dk_heap_malloc(30 * MIB), *q = dk_heap_malloc(64);
    assert_int_not_equal(first->registrar.index, second->registrar.index);
    must_be_known_everywhere(first, p, 30 * MIB);
    must_be_known_everywhere(second, p, 30 * MIB);
    must_be_known(first, q);
    must_be_known(second, q);
    assert_true(dk_region_handle(p, &first->registrar) != dk_region_handle(p, &second->registrar));
    device_remove(first);
    must_be_known_everywhere(second, p, 30 * MIB);
    first = device_add(0);
    must_be_known(first, p);
    must_be_known(second, p);
    dk_heap_free(p);
    dk_heap_free(q);
    device_remove(second);
    device_remove(first);
}

/* Whichever index it has. */
static void test_registrar_added_later_is_told_after_and_of_the_end_before(void **state)
{
    (void)state;
    struct device *first = device_add(0), *below = device_add(1);
    device_remove(first);
    struct device *upon = device_make(2);
    upon->below = below;
    assert_int_equal(dk_registrar_add(&upon->registrar), 0);
    assert_true(upon->registrar.index < below->registrar.index);
    const uint32_t maps = upon->num_maps;
    uint8_t *p = dk_heap_malloc(30 * MIB);
    must_be_known_everywhere(upon, p, 30 * MIB);
    dk_heap_free(p);
    assert_true(upon->num_maps > maps && upon->num_unmaps > 0);
    device_remove(upon);
    device_remove(below);
}

static void test_registrar_removed_is_told_no_more(void **state)
{
    (void)state;
    struct device *d = device_add(0);
    device_remove(d);
    const uint32_t calls = d->num_maps + d->num_unmaps;
    uint8_t *p = dk_heap_malloc(70 * MIB);
    dk_heap_free(p);
    dk_heap_trim();
    assert_int_equal(d->num_maps + d->num_unmaps, calls);
    assert_int_equal(dk_mem_stats->registered_bytes, 0);
    assert_int_equal(dk_mem_stats->locked_bytes, 0);
}

static void test_registrars_beyond_the_most_are_enospc(void **state)
{
    (void)state;
    uint32_t indices = 0;
    uint8_t *p = dk_heap_malloc(1000);
    for (uint32_t i = 0; i < DK_REGISTRARS_MAX; i++) {
        struct device *d = device_add(i);
        assert_true(d->registrar.index < DK_REGISTRARS_MAX);
        assert_int_equal(indices >> d->registrar.index & 1, 0);
        indices |= 1u << d->registrar.index;
    }
    struct device *more = device_make(DK_REGISTRARS_MAX);
    assert_int_equal(dk_registrar_add(&more->registrar), -ENOSPC);
    assert_int_equal(more->num_maps, 0);
    uint8_t *own = dk_heap_malloc(12 * MIB);
    for (uint32_t i = 0; i < DK_REGISTRARS_MAX; i++) {
        must_be_known(&devices[i], p);
        must_be_known_everywhere(&devices[i], own, 12 * MIB);
    }
    device_remove(&devices[3]);
    more = device_add(DK_REGISTRARS_MAX);
    must_be_known(more, p);
    must_be_known(more, own + 12 * MIB - 1);
    device_remove(more);
    for (uint32_t i = 0; i < DK_REGISTRARS_MAX; i++)
        if (i != 3)
            device_remove(&devices[i]);
    dk_heap_free(p);
    dk_heap_free(own);
}

static void test_registrar_that_fails_has_no_handle_and_later_regions_are_tried(void **state)
{
    (void)state;
    const uint64_t failures = dk_mem_stats->register_failures;
    uint8_t *p = dk_heap_malloc(100);
    struct device *d = device_make(0);
    d->error = -ENOMEM;
    assert_int_equal(dk_registrar_add(&d->registrar), 0);
    assert_int_equal(d->num_maps, dk_mem_stats->regions);
    assert_int_equal(dk_mem_stats->register_failures, failures + d->num_maps);
    assert_int_equal(dk_mem_stats->registered_bytes, 0);
    assert_true(dk_region_handle(p, &d->registrar) == DK_NO_HANDLE);
    uint8_t *own = dk_heap_malloc(50 * MIB);
    assert_true(dk_region_handle(own, &d->registrar) == DK_NO_HANDLE);
    assert_int_equal(dk_mem_stats->register_failures, failures + d->num_maps);
    d->error = 0;
    uint8_t *later = dk_heap_malloc(60 * MIB);
    must_be_known_everywhere(d, later, 60 * MIB);
    assert_true(dk_region_handle(own, &d->registrar) == DK_NO_HANDLE);
    dk_heap_free(own);
    dk_heap_free(later);
    dk_heap_trim();
    assert_int_equal(d->num_unmaps, 1); /* for each handle that map gave */
    device_remove(d);
    assert_int_equal(d->num_unmaps, 1);
    dk_heap_free(p);
}

/* A device that reaches one range only. */
static void test_registrar_that_does_without_a_region_is_no_failure(void **state)
{
    (void)state;
    struct device *d = device_make(0);
    const uint64_t failures = dk_mem_stats->register_failures;
    d->indifferent = true;
    assert_int_equal(dk_registrar_add(&d->registrar), 0);
    uint8_t *p = dk_heap_malloc(4 * MIB);
    assert_true(d->num_maps > 0 && dk_region_handle(p, &d->registrar) == DK_NO_HANDLE);
    assert_int_equal(dk_mem_stats->register_failures, failures);
    assert_int_equal(dk_mem_stats->registered_bytes, 0);
    dk_heap_free(p);
    device_remove(d);
    assert_int_equal(d->num_unmaps, 0);
    assert_int_equal(dk_mem_stats->registered_bytes, 0);
}

static uint32_t count_inside(uint8_t *const objects[], uint32_t n, const uint8_t *base,
                             size_t bytes)
{
    uint32_t inside = 0;
    for (uint32_t i = 0; i < n; i++)
        inside += (size_t)(objects[i] - base) < bytes;
    return inside;
}

static void test_reserved_range_is_allocated_from_and_stays(void **state)
{
    (void)state;
    static uint8_t *objects[3000];
    uint8_t *base = NULL;
    size_t bytes = 0;
    const struct kit_gauges before = kit_gauges();
    assert_int_equal(dk_heap_reserve(5 * MIB, 100000, &base, &bytes), 0);
    assert_true(bytes == 6 * MIB && (uintptr_t)base % DK_CHUNK_BYTES == 0);
    memset(base, 0xab, 100000);
    dk_heap_trim(); /* nothing is allocated of it yet */
    for (size_t i = 0; i < COUNT_OF(objects); i++) {
        assert_non_null(objects[i] = dk_heap_malloc(2048));
        assert_true((size_t)(objects[i] - base) >= 2 * DK_SLICE_BYTES);
        memset(objects[i], (int)i, 2048);
    }
    assert_true(count_inside(objects, COUNT_OF(objects), base, bytes) > 2000);
    for (size_t i = 0; i < COUNT_OF(objects); i++)
        dk_heap_free(objects[i]);
    dk_heap_trim();
    for (size_t i = 0; i < 100000; i++)
        assert_int_equal(base[i], 0xab);
    dk_heap_unreserve(base, 100000);
    dk_heap_trim();
    kit_must_be_back(before);
    assert_int_equal(dk_heap_reserve((size_t)1 << 62, 1, &base, &bytes), -ENOMEM);
}

static void test_registrar_that_fails_now_and_then_keeps_counts_true(void **state)
{
    (void)state;
    static uint8_t *held[60];
    const uint64_t failures = dk_mem_stats->register_failures;
    dk_heap_trim();
    struct device *d = device_make(0);
    d->error = -EPERM;
    d->fail_every = 3;
    assert_int_equal(dk_registrar_add(&d->registrar), 0);
    for (size_t i = 0; i < COUNT_OF(held); i++) {
        held[i] = dk_heap_malloc((i % 5 + 1) * 5 * MIB);
        if (note_of(d, held[i]) != NULL)
            must_be_known(d, held[i]);
        else
            assert_true(dk_region_handle(held[i], &d->registrar) == DK_NO_HANDLE);
        assert_int_equal(dk_mem_stats->registered_bytes, device_bytes(d));
    }
    assert_int_equal(dk_mem_stats->register_failures, failures + d->num_maps / 3);
    for (size_t i = 0; i < COUNT_OF(held); i++) {
        dk_heap_free(held[i]);
        assert_int_equal(dk_mem_stats->registered_bytes, device_bytes(d));
    }
    device_remove(d);
    assert_int_equal(dk_mem_stats->registered_bytes, 0);
    assert_int_equal(d->num_unmaps, d->num_maps - d->num_maps / 3);
}

/* --- a device that allocates in its callback -------------------------------------------------- */

static void use_a_device_that_allocates(size_t inside)
{
    static uint8_t *held[30];
    dk_heap_trim();
    struct device *d = device_make(0), *other = device_add(1);
    d->allocate = inside;
    assert_int_equal(dk_registrar_add(&d->registrar), 0);
    for (size_t i = 0; i < COUNT_OF(held); i++) {
        held[i] = dk_heap_malloc((i % 4 + 1) * 3 * MIB);
        must_be_known(d, held[i]);
        must_be_known(other, held[i]);
    }
    assert_true(d->num_allocated > 0);
    d->allocate = 0;
    for (uint32_t i = 0; i < d->num_allocated; i++) {
        must_be_known_everywhere(d, d->allocated[i], inside);
        must_be_known_everywhere(other, d->allocated[i], inside);
        pattern_check(d->allocated[i], inside, i, 0);
        dk_heap_free(d->allocated[i]);
    }
    for (size_t i = 0; i < COUNT_OF(held); i++)
        dk_heap_free(held[i]);
    device_remove(d);
    device_remove(other);
    assert_int_equal(dk_mem_stats->registered_bytes, 0);
}

static void test_registrar_that_allocates_in_map_is_told_of_that_too(void **state)
{
    (void)state;
    static const size_t sizes[] = {64, 5000, 100000, MIB, 5 * MIB, 40 * MIB};
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        use_a_device_that_allocates(sizes[i]);
    dk_heap_trim();
}

/* Regions that come inside are told too: only a few calls may make one. */
static int map_and_free(struct dk_registrar *r, void *base, size_t bytes, uint64_t *handle_out)
{
    const size_t most = device_of(r)->num_maps < 5 ? 20 * MIB : MIB;
    for (size_t size = 100; size < most; size *= 20) {
        uint8_t *p = dk_heap_malloc(size);
        see(device_of(r), p != NULL, "no memory inside map");
        dk_heap_free(p);
    }
    dk_heap_trim();
    return device_map(r, base, bytes, handle_out);
}

static void test_registrar_that_frees_and_trims_in_map_does_not_hang(void **state)
{
    (void)state;
    dk_heap_trim();
    const struct kit_gauges before = kit_gauges();
    struct device *d = device_make(0);
    d->registrar.map = map_and_free;
    assert_int_equal(dk_registrar_add(&d->registrar), 0);
    for (int i = 0; i < 10; i++) {
        uint8_t *p = dk_heap_malloc(10 * MIB), *q = dk_heap_malloc(300);
        must_be_known(d, p);
        must_be_known(d, q);
        dk_heap_free(p);
        dk_heap_free(q);
    }
    device_remove(d);
    kit_must_be_back(before);
}

/* --- registered memory stays ----------------------------------------------------------------- */

static void test_registered_region_is_not_purged(void **state)
{
    (void)state;
    struct dk_region *region;
    dk_region_set_pages(DK_PAGES_PLAIN);
    struct device *d = device_add(0);
    assert_int_equal(dk_region_create(&region, 4 * MIB), 0);
    memset(region->base, 0x77, region->bytes);
    const uint64_t purged = dk_mem_stats->purged_bytes;
    assert_false(dk_region_purge(region, region->base, 2 * MIB));
    assert_int_equal(region->base[0], 0x77);
    assert_int_equal(region->base[2 * MIB - 1], 0x77);
    assert_int_equal(dk_mem_stats->purged_bytes, purged);
    device_remove(d);
    assert_true(dk_region_purge(region, region->base, 2 * MIB));
    assert_true(dk_region_release(region));
    dk_region_set_pages(DK_PAGES_HUGETLB);
}

/* A page that was purged and comes back is another page: the device would read the old one. */
static void test_registered_heap_frees_without_purging(void **state)
{
    (void)state;
    static uint8_t *held[3000];
    struct device *d = device_add(0);
    const uint64_t purged = dk_mem_stats->purged_bytes;
    for (size_t i = 0; i < COUNT_OF(held); i++) {
        held[i] = dk_heap_malloc(16384);
        memset(held[i], 0x31, 16384);
    }
    for (size_t i = 0; i < COUNT_OF(held); i++)
        if (i % 100 != 0)
            dk_heap_free(held[i]);
    dk_heap_trim();
    assert_int_equal(dk_mem_stats->purged_bytes, purged);
    for (size_t i = 0; i < COUNT_OF(held); i += 100) {
        must_be_known(d, held[i]);
        dk_heap_free(held[i]);
    }
    held[0] = dk_heap_zalloc(MIB); /* dirty memory, not purged */
    assert_true(kit_is_zero(held[0], MIB));
    dk_heap_free(held[0]);
    device_remove(d);
}

/* --- threads, fork --------------------------------------------------------------------------- */

static void allocate_and_ask(int index, void *arg)
{
    struct device *d = arg;
    uint64_t random = (uint64_t)index * 77 + 5;
    uint8_t *held[24] = {0};
    size_t sizes[24];
    const int steps = under_sanitizer() ? 300 : 3000;
    for (int step = 0; step < steps && !crew_failed(); step++) {
        const uint32_t i = random_below(&random, COUNT_OF(held));
        if (held[i] != NULL)
            dk_heap_free(held[i]);
        sizes[i] = 1 + random_below(&random, step % 50 == 0 ? 8 * MIB : 20000);
        held[i] = dk_heap_malloc(sizes[i]);
        CREW_CHECK(held[i] != NULL);
        const uint8_t *ends[2] = {held[i], held[i] + sizes[i] - 1};
        for (int k = 0; k < 2; k++) {
            const struct dk_region *region =
                dk_chunk_region[((uintptr_t)ends[k] - dk_heap_base) >> DK_CHUNK_SHIFT];
            CREW_CHECK(dk_region_handle(ends[k], &d->registrar) == handle_for(d, region->base));
        }
    }
    for (size_t i = 0; i < COUNT_OF(held); i++)
        if (held[i] != NULL)
            dk_heap_free(held[i]);
}

static void test_registrar_is_told_first_whichever_thread_grows_the_heap(void **state)
{
    (void)state;
    dk_heap_trim();
    struct device *d = device_make(0);
    d->yields = 20;
    assert_int_equal(dk_registrar_add(&d->registrar), 0);
    crew_start(4, allocate_and_ask, d);
    crew_join();
    print_message("%u regions came, %u went\n", d->num_maps, d->num_unmaps);
    device_remove(d);
}

static void come_and_go(int index, void *arg)
{
    (void)arg;
    uint64_t random = (uint64_t)index;
    for (int i = 0; i < (under_sanitizer() ? 20 : 150) && !crew_failed(); i++) {
        if (index < 2) {
            struct device *d = device_make((uint32_t)index);
            CREW_CHECK(dk_registrar_add(&d->registrar) == 0);
            uint8_t *p = dk_heap_malloc(3 * MIB);
            CREW_CHECK(p != NULL);
            CREW_CHECK(dk_region_handle(p, &d->registrar) != DK_NO_HANDLE);
            dk_heap_free(p);
            dk_registrar_remove(&d->registrar);
            CREW_CHECK(d->mistake == NULL && device_live(d) == 0);
        } else {
            uint8_t *p = dk_heap_malloc(1 + random_below(&random, 9 * MIB));
            CREW_CHECK(p != NULL);
            p[0] = 1;
            dk_heap_free(p);
            if (i % 16 == 0)
                dk_heap_trim();
        }
    }
}

static void test_registrars_come_and_go_while_the_heap_grows_and_shrinks(void **state)
{
    (void)state;
    crew_start(4, come_and_go, NULL);
    crew_join();
    assert_int_equal(dk_mem_stats->registered_bytes, 0);
}

static void child_has_no_registrar(struct device *parents, uint8_t *old)
{
    const uint32_t calls = parents->num_maps + parents->num_unmaps;
    CHILD(dk_mem_stats->registered_bytes == 0);
    CHILD(dk_region_handle(old, &parents->registrar) == DK_NO_HANDLE);
    uint8_t *p = dk_heap_malloc(44 * MIB);
    CHILD(p != NULL);
    p[0] = p[44 * MIB - 1] = 1;
    dk_heap_free(p);
    dk_heap_free(old);
    dk_heap_trim();
    CHILD(parents->num_maps + parents->num_unmaps == calls);
    struct device *own = device_make(1);
    CHILD(dk_registrar_add(&own->registrar) == 0);
    p = dk_heap_malloc(MIB);
    CHILD(dk_region_handle(p, &own->registrar) == note_of(own, p)->handle);
    dk_registrar_remove(&own->registrar);
    CHILD(own->mistake == NULL && device_live(own) == 0);
    child_exit(0);
}

static void test_registrar_stays_with_the_parent_of_a_fork(void **state)
{
    (void)state;
    uint8_t *p = dk_heap_malloc(20 * MIB);
    struct device *d = device_add(0);
    const uint64_t registered = dk_mem_stats->registered_bytes;
    const int pid = child_fork();
    if (pid == 0)
        child_has_no_registrar(d, p);
    assert_int_equal(child_wait(pid), 0);
    assert_int_equal(dk_mem_stats->registered_bytes, registered);
    must_be_known_everywhere(d, p, 20 * MIB);
    dk_heap_free(p);
    device_remove(d);
}

/* --- where a call of map may come from -------------------------------------------------------- */

/* Runs in a child of its own, because what fails here hangs. */
static void must_not_hang(void (*run)(void), const char *what)
{
    const int pid = child_fork();
    if (pid == 0) {
        run();
        child_exit(0);
    }
    const int status = child_wait(pid);
    must_hold(status == 0, "%s: status %x", what, (unsigned)status);
}

static void *add_device(void *arg)
{
    struct device *d = arg;
    d->mistake = dk_registrar_add(&d->registrar) == 0 ? d->mistake : "not added";
    return NULL;
}

static atomic_bool inside_map;

static int map_and_allocate_late(struct dk_registrar *r, void *base, size_t bytes, uint64_t *handle)
{
    inside_map = true;
    for (int i = 0; i < 20000; i++) /* so long that the fork has begun */
        sched_yield();
    return device_map(r, base, bytes, handle);
}

static void fork_while_a_new_thread_is_in_map(void)
{
    pthread_t thread;
    struct device *d = device_make(0);
    d->registrar.map = map_and_allocate_late;
    d->allocate = 100;
    CHILD(pthread_create(&thread, NULL, add_device, d) == 0);
    while (!inside_map)
        sched_yield();
    const pid_t pid = fork();
    CHILD(pid >= 0);
    if (pid == 0) {
        dk_heap_free(dk_heap_malloc(1000));
        child_exit(0);
    }
    CHILD(pthread_join(thread, NULL) == 0);
    CHILD(child_wait(pid) == 0);
    CHILD(d->mistake == NULL && d->num_allocated > 0);
}

static void test_fork_while_a_device_is_told_does_not_hang(void **state)
{
    (void)state;
#if defined(__SANITIZE_THREAD__)
    print_message("a child of fork has none of the threads that ThreadSanitizer misses there\n");
    skip();
#endif
    must_not_hang(fork_while_a_new_thread_is_in_map, "fork while a thread is in map");
}

static pthread_key_t last_words;

/* The heap's own end of the thread came before: its key is older. */
static void allocate_at_the_end(void *arg)
{
    static void *held[64];
    struct device *d = arg;
    for (size_t i = 0; i < COUNT_OF(held); i++) {
        held[i] = dk_heap_malloc(200000);
        see(d, held[i] != NULL, "no memory at the end of a thread");
        see(d, held[i] == NULL || note_of(d, held[i]) != NULL, "its region was not told");
    }
    for (size_t i = 0; i < COUNT_OF(held); i++)
        if (held[i] != NULL)
            dk_heap_free(held[i]);
}

static void *end_with_last_words(void *arg)
{
    dk_heap_free(dk_heap_malloc(1));
    pthread_setspecific(last_words, arg);
    return NULL;
}

static void grow_at_the_end_of_a_thread(void)
{
    pthread_t thread;
    struct device *d = device_make(0);
    CHILD(dk_registrar_add(&d->registrar) == 0);
    d->allocate = 100;
    CHILD(pthread_key_create(&last_words, allocate_at_the_end) == 0);
    CHILD(pthread_create(&thread, NULL, end_with_last_words, d) == 0);
    CHILD(pthread_join(thread, NULL) == 0);
    CHILD(d->mistake == NULL && d->num_allocated > 0);
}

static void test_device_told_at_the_end_of_a_thread_may_allocate(void **state)
{
    (void)state;
    must_not_hang(grow_at_the_end_of_a_thread, "map of a thread that ends");
}

/* The heap is there, and has memory. */
static int start_heap(void **state)
{
    (void)state;
    return dk_heap_malloc(1) == NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_region_of_any_size_is_zero_and_in_the_table),
        cmocka_unit_test(test_region_beyond_the_range_is_enomem),
        cmocka_unit_test(test_region_leaves_no_gap_in_the_range),
        cmocka_unit_test(test_regions_many_come_and_go_in_any_order),
        cmocka_unit_test(test_region_purged_pages_are_zero_and_counted),
        cmocka_unit_test(test_region_kind_of_pages_is_at_most_what_was_asked_for),
        cmocka_unit_test(test_registrar_added_is_told_of_all_there_is),
        cmocka_unit_test(test_registrar_is_told_of_later_regions_before_their_memory_is_used),
        cmocka_unit_test(test_registrar_is_told_of_a_region_that_goes),
        cmocka_unit_test(test_registrars_each_have_their_own_handles),
        cmocka_unit_test(test_registrar_added_later_is_told_after_and_of_the_end_before),
        cmocka_unit_test(test_registrar_removed_is_told_no_more),
        cmocka_unit_test(test_registrars_beyond_the_most_are_enospc),
        cmocka_unit_test(test_registrar_that_fails_has_no_handle_and_later_regions_are_tried),
        cmocka_unit_test(test_registrar_that_does_without_a_region_is_no_failure),
        cmocka_unit_test(test_reserved_range_is_allocated_from_and_stays),
        cmocka_unit_test(test_registrar_that_fails_now_and_then_keeps_counts_true),
        cmocka_unit_test(test_registrar_that_allocates_in_map_is_told_of_that_too),
        cmocka_unit_test(test_registrar_that_frees_and_trims_in_map_does_not_hang),
        cmocka_unit_test(test_registered_region_is_not_purged),
        cmocka_unit_test(test_registered_heap_frees_without_purging),
        cmocka_unit_test(test_registrar_stays_with_the_parent_of_a_fork),
        cmocka_unit_test(test_fork_while_a_device_is_told_does_not_hang),
        cmocka_unit_test(test_device_told_at_the_end_of_a_thread_may_allocate),
        cmocka_unit_test(test_registrar_is_told_first_whichever_thread_grows_the_heap),
        cmocka_unit_test(test_registrars_come_and_go_while_the_heap_grows_and_shrinks),
    };
    alarm(under_sanitizer() ? 300 : 100);
    return cmocka_run_group_tests_name("region", tests, start_heap, NULL);
}
