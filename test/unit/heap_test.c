/* SPDX-License-Identifier: MIT */
/*
 * The heap by itself: sizes, alignment, contents, realloc, and finding an object from a pointer
 * into it. Who holds an object is heap_hold_test.c's subject.
 */
#include "heap_kit.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define SUPERBLOCK_MAX (256 * KIB) /* largest object of a size class */

/* Sizes of each kind: small ones, the largest of a class, runs of slices, regions of their own. */
static const size_t some_sizes[] = {
    1,         16,      17,      100,     128,     129,          1000,   4096,
    5000,      65536,   65537,   200000,  262144,  262145,       300000, MIB,
    MIB + 777, 2 * MIB, 5 * MIB, 8 * MIB, 9 * MIB, 40 * MIB + 1,
};

/* Whether objects have canaries: on request, and always under AddressSanitizer. */
static bool debugging(void)
{
    const char *debug = getenv("DEMI_DEBUG");
#if defined(__SANITIZE_ADDRESS__)
    debug = "heap";
#endif
    return debug != NULL && strstr(debug, "heap") != NULL;
}

/* --- malloc ---------------------------------------------------------------------------------- */

static void test_malloc_each_size_to_5000_is_roomy_and_apart(void **state)
{
    (void)state;
    enum { MANY = 5000 };
    struct kit_block *blocks = calloc(MANY, sizeof *blocks);
    for (size_t i = 0; i < MANY; i++) {
        blocks[i] = kit_malloc(i + 1, i);
        blocks[i].size = dk_heap_usable(blocks[i].p); /* all of it is for the holder */
        kit_fill(blocks[i].p, blocks[i].size, i);
    }
    kit_must_be_apart(blocks, MANY);
    for (size_t i = 0; i < MANY; i++)
        kit_check_block(&blocks[i]);
    for (size_t i = 0; i < MANY; i += 2)
        dk_heap_free(blocks[i].p);
    for (size_t i = 1; i < MANY; i += 2)
        kit_check_block(&blocks[i]);
    for (size_t i = 0; i < MANY; i += 2)
        blocks[i] = kit_malloc(1 + i * 7919 % MANY, i);
    kit_must_be_apart(blocks, MANY);
    for (size_t i = 0; i < MANY; i++) {
        kit_check_block(&blocks[i]);
        dk_heap_free(blocks[i].p);
    }
    free(blocks);
}

static void test_malloc_sizes_around_borders_of_classes_are_roomy_and_apart(void **state)
{
    (void)state;
    static size_t sizes[KIT_SIZES_MAX];
    static struct kit_block blocks[KIT_SIZES_MAX];
    const size_t n = kit_sizes(sizes, under_sanitizer() ? 2 * MIB : 16 * MIB);
    for (size_t i = 0; i < n; i++) {
        blocks[i] = kit_malloc(sizes[i], i);
        memset(blocks[i].p + dk_heap_usable(blocks[i].p) - 1, 0x5a, 1);
        kit_fill(blocks[i].p, sizes[i], i);
    }
    kit_must_be_apart(blocks, n);
    for (size_t i = 0; i < n; i++)
        kit_check_block(&blocks[i]);
    for (size_t i = 0; i < n; i++)
        dk_heap_free(blocks[n - 1 - i].p);
}

/* Devices and tables pay for rounding: multiples of 16 to 128 bytes, then 8 classes per doubling,
 * then whole slices of 64 KiB. */
static void test_malloc_gives_little_more_than_asked_for(void **state)
{
    (void)state;
    static size_t sizes[KIT_SIZES_MAX];
    const size_t n = kit_sizes(sizes, 32 * MIB);
    for (size_t i = 0; i < n; i++) {
        const size_t size = sizes[i];
        const size_t slack = size <= 128 ? 15 : size <= SUPERBLOCK_MAX ? size / 8 : 64 * KIB - 1;
        uint8_t *p = dk_heap_malloc(size);
        kit_must_be_object(p, size, DK_HEAP_ALIGN);
        const size_t usable = dk_heap_usable(p);
        must_hold(usable <= size + slack, "%zu bytes have %zu usable", size, usable);
        uint8_t *same = dk_heap_malloc(usable);
        must_hold(dk_heap_usable(same) == usable, "%zu bytes have %zu usable", usable,
                  dk_heap_usable(same));
        dk_heap_free(p);
        dk_heap_free(same);
    }
}

static void test_malloc_powers_of_two_to_512_mib_are_roomy(void **state)
{
    (void)state;
    for (size_t power = 16; power <= 512 * MIB; power *= 2)
        for (size_t around = 0; around < 3; around++) {
            struct kit_block block = kit_malloc(power + around - 1, power + around);
            struct kit_block other = kit_malloc(power + around - 1, power + around + 1);
            kit_check_block(&block);
            kit_check_block(&other);
            dk_heap_free(block.p);
            dk_heap_free(other.p);
        }
    dk_heap_trim();
}

static void test_malloc_1_gib_is_usable_at_both_ends(void **state)
{
    (void)state;
    struct rlimit limit;
    for (size_t around = 0; around < 3; around++) {
        const size_t size = GIB + around - 1;
        uint8_t *p = dk_heap_malloc(size);
        if (p == NULL && getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur < 4 * GIB) {
            print_message("the limit of address space is %llu bytes\n",
                          (unsigned long long)limit.rlim_cur);
            skip();
        }
        if (p == NULL && dk_heap_span < 4 * GIB) {
            print_message("the heap got an address range of %zu bytes\n", dk_heap_span);
            skip();
        }
        kit_must_be_object(p, size, DK_HEAP_ALIGN);
        kit_fill(p, size, around);
        kit_check(p, size, around);
        struct dk_heap_object object;
        assert_true(dk_heap_find(p + size / 2, &object));
        assert_ptr_equal(object.start, p);
        assert_true(dk_heap_find(p + size - 1, &object));
        assert_ptr_equal(object.start, p);
        dk_heap_free(p);
        assert_false(kit_is_held(p + size / 2));
    }
    dk_heap_trim();
}

static void test_malloc_of_0_is_a_pointer_of_its_own(void **state)
{
    (void)state;
    uint8_t *a = dk_heap_malloc(0), *b = dk_heap_zalloc(0), *c = dk_heap_aligned(64, 0);
    kit_must_be_object(a, 1, DK_HEAP_ALIGN);
    kit_must_be_object(b, 1, DK_HEAP_ALIGN);
    kit_must_be_object(c, 1, 64);
    assert_true(a != b && b != c && a != c);
    dk_heap_free(a);
    dk_heap_free(b);
    dk_heap_free(c);
}

static void test_malloc_impossible_sizes_are_null_and_change_nothing(void **state)
{
    (void)state;
    static const size_t sizes[] = {
        SIZE_MAX,
        SIZE_MAX - 1,
        SIZE_MAX - 15,
        SIZE_MAX - 16,
        SIZE_MAX - 4095,
        SIZE_MAX - 65535,
        SIZE_MAX - 65536,
        SIZE_MAX - (2 * MIB - 1),
        PTRDIFF_MAX,
        PTRDIFF_MAX - 4095,
        (size_t)1 << 63,
        (size_t)1 << 47,
        ((size_t)1 << 36) + 1,
    };
    struct kit_block block = kit_malloc(1000, 1);
    const struct kit_gauges before = kit_gauges();
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        must_hold(dk_heap_malloc(sizes[i]) == NULL, "malloc of %zx bytes", sizes[i]);
        must_hold(dk_heap_zalloc(sizes[i]) == NULL, "zalloc of %zx bytes", sizes[i]);
        must_hold(dk_heap_alloc_ref(sizes[i]) == NULL, "alloc_ref of %zx bytes", sizes[i]);
        must_hold(dk_heap_realloc(block.p, sizes[i]) == NULL, "realloc to %zx bytes", sizes[i]);
        for (size_t align = 16; align <= 4 * MIB; align *= 4)
            must_hold(dk_heap_aligned(align, sizes[i]) == NULL, "%zx bytes at %zu", sizes[i],
                      align);
        kit_check_block(&block);
    }
    kit_must_be_back(before);
    dk_heap_free(block.p);
}

static void test_malloc_impossible_alignments_are_null(void **state)
{
    (void)state;
    for (size_t align = (size_t)1 << 37; align != 0; align *= 2)
        must_hold(dk_heap_aligned(align, 1) == NULL, "alignment %zx", align);
}

/* --- aligned --------------------------------------------------------------------------------- */

static void test_aligned_16_to_4_mib_with_every_kind_of_size(void **state)
{
    (void)state;
    static const size_t sizes[] = {1,     15,    16,     17,     48,  100,     1000, 4095,
                                   4096,  4097,  65536,  65537,  MIB, 5 * MIB, 40,   24,
                                   20000, 90000, 262144, 262145, 33,  7,       64,   300000};
    static struct kit_block blocks[COUNT_OF(sizes)];
    for (size_t align = 1; align <= 4 * MIB; align *= 2) {
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            blocks[i] = (struct kit_block){dk_heap_aligned(align, sizes[i]), sizes[i], i};
            kit_must_be_object(blocks[i].p, sizes[i], align < 16 ? 16 : align);
            kit_fill(blocks[i].p, sizes[i], i);
        }
        kit_must_be_apart(blocks, COUNT_OF(sizes));
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            struct dk_heap_object object;
            kit_check_block(&blocks[i]);
            assert_true(dk_heap_find(blocks[i].p + blocks[i].size - 1, &object));
            assert_ptr_equal(object.start, blocks[i].p);
            dk_heap_free(blocks[i].p);
            assert_false(kit_is_held(blocks[i].p));
        }
    }
    dk_heap_trim();
}

static void test_aligned_realloc_keeps_contents(void **state)
{
    (void)state;
    for (size_t align = 16; align <= 4 * MIB; align *= 4)
        for (size_t i = 0; i < COUNT_OF(some_sizes); i++) {
            uint8_t *p = dk_heap_aligned(align, 1000);
            kit_must_be_object(p, 1000, align);
            kit_fill(p, 1000, align);
            p = dk_heap_realloc(p, some_sizes[i]);
            kit_must_be_object(p, some_sizes[i], DK_HEAP_ALIGN);
            pattern_check(p, some_sizes[i] < 1000 ? some_sizes[i] : 1000, align, 0);
            dk_heap_free(p);
        }
    dk_heap_trim();
}

/* Direct I/O and page-sized DMA work on what malloc gives. */
static void test_malloc_powers_of_two_from_a_page_on_are_page_aligned(void **state)
{
    (void)state;
    uint8_t *held[8];
    if (debugging()) {
        print_message("a canary behind the object moves it to another class\n");
        skip();
    }
    for (size_t size = 4096; size <= 64 * MIB; size *= 2) {
        for (size_t i = 0; i < COUNT_OF(held); i++) {
            held[i] = i % 2 == 0 ? dk_heap_malloc(size) : dk_heap_zalloc(size);
            kit_must_be_object(held[i], size, 4096);
        }
        for (size_t i = 0; i < COUNT_OF(held); i++)
            dk_heap_free(held[i]);
    }
    dk_heap_trim();
}

/* --- zalloc ---------------------------------------------------------------------------------- */

static void dirty(size_t size, size_t count)
{
    uint8_t **held = calloc(count, sizeof *held);
    for (size_t i = 0; i < count; i++) {
        held[i] = dk_heap_malloc(size);
        assert_non_null(held[i]);
        memset(held[i], 0xff, dk_heap_usable(held[i]));
    }
    for (size_t i = 0; i < count; i++) /* the even ones first */
        dk_heap_free(held[i * 2 < count ? i * 2 : (i * 2 - count) | 1]);
    free(held);
}

static void must_be_zero_then_dirty(size_t size, size_t count, const char *after)
{
    uint8_t **held = calloc(count, sizeof *held);
    for (size_t i = 0; i < count; i++) {
        held[i] = dk_heap_zalloc(size);
        kit_must_be_object(held[i], size, DK_HEAP_ALIGN);
        must_hold(kit_is_zero(held[i], size), "%zu bytes, the %zuth, after %s", size, i, after);
        memset(held[i], 0xee, dk_heap_usable(held[i]));
    }
    for (size_t i = 0; i < count; i++)
        dk_heap_free(held[i]);
    free(held);
}

static void test_zalloc_after_reuse_of_dirty_memory_is_zero(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(some_sizes); i++) {
        const size_t size = some_sizes[i];
        const size_t count = size <= 5000 ? 200 : size <= MIB ? 10 : 2;
        must_be_zero_then_dirty(size, count, "nothing");
        dirty(size, count);
        must_be_zero_then_dirty(size, count + count / 2, "free");
        must_be_zero_then_dirty(size, count, "reuse");
        dirty(size, count);
        dk_heap_trim();
        must_be_zero_then_dirty(size, count, "trim");
    }
    dk_heap_trim();
}

/* Slices go from objects of one kind to those of another. */
static void test_zalloc_of_memory_that_had_another_size_is_zero(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(some_sizes); i += 3)
        for (size_t j = 0; j < COUNT_OF(some_sizes); j += 2) {
            const size_t from = some_sizes[i], to = some_sizes[j];
            dirty(from, 1 + (under_sanitizer() ? 512 * KIB : 4 * MIB) / (from < 64 ? 64 : from));
            must_be_zero_then_dirty(to, to < MIB ? 20 : 2, "another size");
        }
    dk_heap_trim();
}

/* --- realloc --------------------------------------------------------------------------------- */

static void realloc_one(size_t from, size_t to)
{
    struct kit_block block = kit_malloc(from, from ^ to << 1);
    const size_t kept = from < to ? from : to;
    const size_t ends = kept < 64 * KIB ? kept : 64 * KIB;
    pattern_fill(block.p + kept - ends, ends, block.seed, kept - ends);
    uint8_t *p = dk_heap_realloc(block.p, to);
    kit_must_be_object(p, to, DK_HEAP_ALIGN);
    pattern_check(p, ends, block.seed, 0);
    pattern_check(p + kept - ends, ends, block.seed, kept - ends);
    must_hold(p == block.p || !kit_is_held(block.p), "%zu to %zu bytes: the old object is held",
              from, to);
    must_hold(from != to || p == block.p, "%zu to %zu bytes: moved", from, to);
    kit_fill(p, to, 1);
    kit_check(p, to, 1);
    dk_heap_free(p);
    assert_false(kit_is_held(p));
}

static void test_realloc_from_each_kind_of_size_to_each_keeps_contents(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(some_sizes); i++)
        for (size_t j = 0; j < COUNT_OF(some_sizes); j++)
            realloc_one(some_sizes[i], some_sizes[j]);
    dk_heap_trim();
}

static void test_realloc_of_a_growing_and_shrinking_object_keeps_contents(void **state)
{
    (void)state;
    size_t size = 1;
    uint8_t *p = dk_heap_malloc(size);
    p[0] = pattern_byte(7, 0);
    while (size < 8 * MIB) {
        const size_t next = size + size / 3 + 1;
        p = dk_heap_realloc(p, next);
        kit_must_be_object(p, next, DK_HEAP_ALIGN);
        pattern_fill(p + size, next - size, 7, size);
        size = next;
    }
    pattern_check(p, size, 7, 0);
    while (size > 1) {
        size -= size / 3 + 1;
        p = dk_heap_realloc(p, size == 0 ? 1 : size);
        pattern_check(p, size < 64 * KIB ? size : 64 * KIB, 7, 0);
    }
    dk_heap_free(p);
    dk_heap_trim();
}

/* --- find ------------------------------------------------------------------------------------ */

static void must_find(const uint8_t *at, const uint8_t *start, size_t usable)
{
    struct dk_heap_object object;
    must_hold(dk_heap_find(at, &object), "%zu bytes: byte %td is not found", usable, at - start);
    must_hold(object.start == start && object.usable == usable,
              "%zu bytes: byte %td is found in %zu at %td", usable, at - start, object.usable,
              object.start - start);
}

static void test_find_from_every_byte_of_an_object_gives_its_start(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(some_sizes); i++) {
        uint8_t *p = dk_heap_malloc(some_sizes[i]);
        const size_t usable = dk_heap_usable(p);
        const size_t step = usable <= 300000 ? 1 : 509;
        for (size_t at = 0; at < usable; at += step)
            must_find(p + at, p, usable);
        must_find(p + usable - 1, p, usable);
        struct dk_heap_object object;
        must_hold(!dk_heap_find(p + usable, &object) || object.start >= p + usable,
                  "%zu bytes: the byte past the end is found", usable);
        must_hold(!dk_heap_find(p - 1, &object) || object.start + object.usable <= p,
                  "%zu bytes: the byte before it is found", usable);
        dk_heap_free(p);
        for (size_t at = 0; at < usable; at += step)
            must_hold(!kit_is_held(p + at), "%zu bytes, freed: byte %zu is found", usable, at);
        assert_false(kit_is_held(p + usable - 1));
    }
    dk_heap_trim();
}

static void test_find_of_neighbours_gives_each_its_own(void **state)
{
    (void)state;
    static uint8_t *objects[3000];
    for (size_t i = 0; i < COUNT_OF(objects); i++)
        objects[i] = dk_heap_malloc(1 + i);
    for (size_t i = 0; i < COUNT_OF(objects); i++) {
        const size_t usable = dk_heap_usable(objects[i]);
        must_find(objects[i], objects[i], usable);
        must_find(objects[i] + usable / 2, objects[i], usable);
        must_find(objects[i] + usable - 1, objects[i], usable);
    }
    for (size_t i = 0; i < COUNT_OF(objects); i += 2)
        dk_heap_free(objects[i]);
    for (size_t i = 0; i < COUNT_OF(objects); i++)
        must_hold(kit_is_held(objects[i]) == (i % 2 == 1), "object of %zu bytes", i + 1);
    for (size_t i = 1; i < COUNT_OF(objects); i += 2)
        dk_heap_free(objects[i]);
}

static int in_data = 1;

static void test_find_of_other_memory_is_false(void **state)
{
    (void)state;
    static char in_bss[4096];
    char on_stack[16] = "";
    char *of_libc = malloc(100), *large_of_libc = malloc(MIB);
    const void *others[] = {
        NULL,
        (void *)1,
        (void *)4096,
        (void *)UINTPTR_MAX,
        (void *)(UINTPTR_MAX - 4095),
        (void *)((uintptr_t)1 << 63),
        (void *)((uintptr_t)1 << 47),
        &in_data,
        in_bss,
        on_stack,
        of_libc,
        large_of_libc,
        (void *)(uintptr_t)&test_find_of_other_memory_is_false,
        (void *)(dk_heap_base - 1),
        (void *)(dk_heap_base + dk_heap_span),
        (void *)(dk_heap_base + dk_heap_span - 1),
    };
    for (size_t i = 0; i < COUNT_OF(others); i++)
        must_hold(!kit_is_held(others[i]), "%p", others[i]);
    free(of_libc);
    free(large_of_libc);
}

/* Headers of superblocks, free memory, reserved memory: no crash, and what is found contains it. */
static void must_agree(const uint8_t *p)
{
    struct dk_heap_object object, again;
    if (!dk_heap_find(p, &object))
        return;
    must_hold(object.start <= p && p < object.start + object.usable, "%p: found %zu bytes at %p",
              (const void *)p, object.usable, (void *)object.start);
    must_hold(dk_heap_find(object.start, &again) && again.start == object.start, "%p: no start",
              (void *)object.start);
}

static void test_find_anywhere_in_the_range_is_consistent(void **state)
{
    (void)state;
    uint64_t random = seed_choose(__func__);
    static uint8_t *objects[COUNT_OF(some_sizes)];
    for (size_t i = 0; i < COUNT_OF(some_sizes); i++)
        objects[i] = dk_heap_malloc(some_sizes[i]);
    for (size_t i = 0; i < COUNT_OF(some_sizes); i++) {
        const uintptr_t slice = (uintptr_t)objects[i] & ~(64 * KIB - 1);
        for (uintptr_t at = slice; at < slice + 64 * KIB; at++)
            must_agree((uint8_t *)at);
        const uintptr_t chunk = (uintptr_t)objects[i] & ~(DK_CHUNK_BYTES - 1);
        for (uintptr_t at = chunk; at < chunk + 2 * DK_CHUNK_BYTES; at += 4093)
            must_agree((uint8_t *)at);
    }
    for (int i = 0; i < 200000; i++)
        must_agree((uint8_t *)(dk_heap_base + random_next(&random) % dk_heap_span));
    for (size_t i = 0; i < COUNT_OF(some_sizes); i++)
        dk_heap_free(objects[i]);
    dk_heap_trim();
}

/* --- errno ----------------------------------------------------------------------------------- */

static void test_heap_leaves_errno_alone(void **state)
{
    (void)state;
    enum { ODD = 4711 };
    for (size_t i = 0; i < COUNT_OF(some_sizes); i++) {
        errno = ODD;
        void *old = dk_heap_malloc(some_sizes[i]);
        assert_int_equal(errno, ODD);
        assert_true(dk_heap_get(old));
        void *p = dk_heap_realloc(old, some_sizes[i] * 2);
        assert_int_equal(errno, ODD);
        dk_heap_put(old);
        dk_heap_free(p);
        assert_int_equal(errno, ODD);
        p = dk_heap_aligned(8192, some_sizes[i]);
        dk_heap_free(p);
        dk_heap_free(dk_heap_zalloc(some_sizes[i]));
        dk_heap_put(dk_heap_alloc_ref(some_sizes[i]));
        assert_int_equal(errno, ODD);
        dk_heap_trim();
        assert_int_equal(errno, ODD);
    }
    assert_null(dk_heap_malloc(SIZE_MAX));
    assert_null(dk_heap_malloc((size_t)1 << 46));
    assert_int_equal(errno, ODD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_malloc_of_0_is_a_pointer_of_its_own),
        cmocka_unit_test(test_malloc_each_size_to_5000_is_roomy_and_apart),
        cmocka_unit_test(test_malloc_sizes_around_borders_of_classes_are_roomy_and_apart),
        cmocka_unit_test(test_malloc_gives_little_more_than_asked_for),
        cmocka_unit_test(test_malloc_powers_of_two_to_512_mib_are_roomy),
        cmocka_unit_test(test_malloc_1_gib_is_usable_at_both_ends),
        cmocka_unit_test(test_malloc_impossible_sizes_are_null_and_change_nothing),
        cmocka_unit_test(test_malloc_impossible_alignments_are_null),
        cmocka_unit_test(test_aligned_16_to_4_mib_with_every_kind_of_size),
        cmocka_unit_test(test_aligned_realloc_keeps_contents),
        cmocka_unit_test(test_malloc_powers_of_two_from_a_page_on_are_page_aligned),
        cmocka_unit_test(test_zalloc_after_reuse_of_dirty_memory_is_zero),
        cmocka_unit_test(test_zalloc_of_memory_that_had_another_size_is_zero),
        cmocka_unit_test(test_realloc_from_each_kind_of_size_to_each_keeps_contents),
        cmocka_unit_test(test_realloc_of_a_growing_and_shrinking_object_keeps_contents),
        cmocka_unit_test(test_find_from_every_byte_of_an_object_gives_its_start),
        cmocka_unit_test(test_find_of_neighbours_gives_each_its_own),
        cmocka_unit_test(test_find_of_other_memory_is_false),
        cmocka_unit_test(test_find_anywhere_in_the_range_is_consistent),
        cmocka_unit_test(test_heap_leaves_errno_alone),
    };
    alarm(under_sanitizer() ? 300 : 100);
    return cmocka_run_group_tests_name("heap", tests, NULL, NULL);
}
