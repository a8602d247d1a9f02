/* SPDX-License-Identifier: MIT */
/*
 * Who holds an object of the heap: references of the library beside the application's hold, in
 * every order, to numbers that one byte cannot count; realloc in flight; what is counted.
 */
#include "heap_kit.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const size_t some_sizes[] = {1,     16,     100,    128,    1000, 4096,
                                    65536, 262144, 262145, 300000, MIB,  9 * MIB};

/* Around what a byte can count, and beyond it. */
static const uint32_t some_counts[] = {1,   2,   3,   62,  63,  64,  119, 120, 121,
                                       122, 125, 126, 127, 128, 129, 255, 256, 2000};

enum { NEIGHBOURS = 64 };

/* Allocates what may come to lie where a freed object was, and writes to all of it. */
static void scribble(size_t size)
{
    uint8_t *held[NEIGHBOURS];
    const size_t count = size > 64 * KIB ? 3 : NEIGHBOURS;
    for (size_t i = 0; i < count; i++) {
        held[i] = dk_heap_malloc(size);
        assert_non_null(held[i]);
        memset(held[i], 0xdb, size < 64 * KIB ? size : 64 * KIB);
    }
    for (size_t i = 0; i < count; i++)
        dk_heap_free(held[i]);
}

static void must_be_intact(const struct kit_block *block, const char *when)
{
    must_hold(kit_is_held(block->p + block->size - 1), "%zu bytes %s: not held", block->size, when);
    kit_check_block(block);
}

static void must_be_gone(const struct kit_block *block)
{
    must_hold(!kit_is_held(block->p), "%zu bytes: still held", block->size);
    must_hold(!kit_is_held(block->p + block->size - 1), "%zu bytes: still held", block->size);
}

static void get_many(const struct kit_block *block, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) /* from anywhere inside */
        must_hold(dk_heap_get(block->p + i * 7919ull % block->size), "reference %u refused", i);
}

static void put_many(const struct kit_block *block, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        must_hold(kit_is_held(block->p + block->size - 1), "%zu bytes: not held", block->size);
        if (i + 4 > count)
            must_be_intact(block, "referenced");
        dk_heap_put(block->p + i * 104729ull % block->size);
    }
}

/* --- orders of free and put ------------------------------------------------------------------ */

static void test_get_put_then_free_reclaims_at_free(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(some_sizes); i++)
        for (size_t k = 0; k < COUNT_OF(some_counts); k++) {
            struct kit_block block = kit_malloc(some_sizes[i], i + k);
            get_many(&block, some_counts[k]);
            put_many(&block, some_counts[k]);
            must_be_intact(&block, "no longer referenced");
            dk_heap_free(block.p);
            must_be_gone(&block);
        }
}

static void test_free_before_puts_reclaims_at_the_last_put(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(some_sizes); i++)
        for (size_t k = 0; k < COUNT_OF(some_counts); k++) {
            struct kit_block block = kit_malloc(some_sizes[i], i + k);
            get_many(&block, some_counts[k]);
            dk_heap_free(block.p);
            scribble(block.size);
            put_many(&block, some_counts[k]);
            must_be_gone(&block);
        }
}

static void test_free_between_puts_reclaims_at_the_last_put(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(some_sizes); i++)
        for (size_t k = 1; k < COUNT_OF(some_counts); k++) {
            const uint32_t count = some_counts[k], first = 1 + count * 2 / 3 % count;
            struct kit_block block = kit_malloc(some_sizes[i], i + k);
            get_many(&block, count);
            put_many(&block, first < count ? first : count - 1);
            dk_heap_free(block.p);
            scribble(block.size);
            put_many(&block, count - (first < count ? first : count - 1));
            must_be_gone(&block);
        }
}

/* A clone of what is in flight takes references on what the application gave up already. */
static void test_get_of_a_freed_object_in_flight_keeps_it(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(some_sizes); i++)
        for (size_t k = 0; k < COUNT_OF(some_counts); k++) {
            struct kit_block block = kit_malloc(some_sizes[i], i + k);
            get_many(&block, 1);
            dk_heap_free(block.p);
            get_many(&block, some_counts[k]);
            dk_heap_put(block.p);
            scribble(block.size);
            put_many(&block, some_counts[k]);
            must_be_gone(&block);
        }
}

static void test_references_random_order_of_many_objects(void **state)
{
    (void)state;
    enum { OBJECTS = 300, STEPS = 60000 };
    uint64_t random = seed_choose(__func__);
    static struct kit_block blocks[OBJECTS];
    static uint32_t refs[OBJECTS];
    static bool owned[OBJECTS];
    for (int step = 0; step < STEPS; step++) {
        const uint32_t i = random_below(&random, OBJECTS);
        struct kit_block *block = &blocks[i];
        if (!owned[i] && refs[i] == 0) {
            *block = kit_malloc(1 + random_below(&random, 3000), random_next(&random));
            owned[i] = true;
        }
        const uint32_t count = random_below(&random, random_below(&random, 20) == 0 ? 600 : 8);
        if (random_below(&random, 2) == 0) {
            for (uint32_t k = 0; k < count; k++)
                assert_true(dk_heap_get(block->p + k % block->size));
            refs[i] += count;
        }
        for (uint32_t k = random_below(&random, refs[i] + 1); k > 0; k--, refs[i]--)
            dk_heap_put(block->p);
        if (owned[i] && random_below(&random, 4) == 0) {
            dk_heap_free(block->p);
            owned[i] = false;
        }
        if (owned[i] || refs[i] > 0)
            must_be_intact(block, "in use");
    }
    for (uint32_t i = 0; i < OBJECTS; i++) {
        if (owned[i])
            dk_heap_free(blocks[i].p);
        for (; refs[i] > 0; refs[i]--)
            dk_heap_put(blocks[i].p);
    }
}

/* All beyond what a byte counts at the same time. */
static void test_references_of_many_objects_beyond_a_byte_are_counted(void **state)
{
    (void)state;
    enum { OBJECTS = 2000, REFS = 300 };
    static struct kit_block blocks[OBJECTS];
    for (int i = 0; i < OBJECTS; i++) {
        blocks[i] = kit_malloc(64, (uint64_t)i);
        get_many(&blocks[i], REFS);
    }
    for (int i = 0; i < OBJECTS; i += 2)
        dk_heap_free(blocks[i].p);
    for (int round = 0; round < REFS; round++)
        for (int i = 0; i < OBJECTS; i++) {
            must_hold(kit_is_held(blocks[i].p), "object %d after %d puts", i, round);
            dk_heap_put(blocks[i].p);
        }
    for (int i = 0; i < OBJECTS; i++)
        must_hold(kit_is_held(blocks[i].p) == (i % 2 == 1), "object %d", i);
    for (int i = 1; i < OBJECTS; i += 2) {
        kit_check_block(&blocks[i]);
        dk_heap_free(blocks[i].p);
    }
}

static void test_references_as_many_as_it_takes_are_given_back(void **state)
{
    (void)state;
    enum { MOST = 1000000 };
    struct kit_block block = kit_malloc(100, 1);
    uint32_t count = 0;
    while (count < MOST && dk_heap_get(block.p))
        count++;
    assert_true(count >= 2000);
    dk_heap_free(block.p);
    for (uint32_t i = 0; i < count; i++) {
        must_hold(kit_is_held(block.p), "after %u of %u puts", i, count);
        if (i % 1009 == 0)
            kit_check_block(&block);
        dk_heap_put(block.p + i % 100);
    }
    must_be_gone(&block);
}

static void test_object_in_flight_is_handed_out_again_after_the_last_put_only(void **state)
{
    (void)state;
    enum { MANY = 20000, ALL = 5 * MANY }; /* ALL: more than are free */
    static void *held[ALL];
    for (size_t i = 0; i < COUNT_OF(some_sizes) && some_sizes[i] <= 4096; i++) {
        /* Its neighbours stay, or its memory might be given back and be another size's. */
        void *before = dk_heap_malloc(some_sizes[i]);
        struct kit_block block = kit_malloc(some_sizes[i], i);
        void *behind = dk_heap_malloc(some_sizes[i]);
        int n;
        get_many(&block, 2);
        dk_heap_free(block.p);
        dk_heap_put(block.p);
        for (n = 0; n < MANY; n++) {
            held[n] = dk_heap_malloc(block.size);
            must_hold(held[n] != block.p, "%zu bytes: handed out in flight", block.size);
        }
        while (n > 0)
            dk_heap_free(held[--n]);
        must_be_intact(&block, "in flight");
        dk_heap_put(block.p);
        for (n = 0; n < ALL; n++)
            if ((held[n] = dk_heap_malloc(block.size)) == block.p)
                break;
        must_hold(n < ALL, "%zu bytes: never handed out again", block.size);
        for (; n >= 0; n--)
            dk_heap_free(held[n]);
        dk_heap_free(before);
        dk_heap_free(behind);
    }
}

/* --- alloc_ref ------------------------------------------------------------------------------- */

static void test_alloc_ref_is_freed_by_its_last_put(void **state)
{
    (void)state;
    const uint64_t deferred = kit_deferred();
    for (size_t i = 0; i < COUNT_OF(some_sizes); i++)
        for (size_t k = 0; k < COUNT_OF(some_counts); k++) {
            struct kit_block block = {dk_heap_alloc_ref(some_sizes[i]), some_sizes[i], k};
            struct dk_heap_object object;
            assert_non_null(block.p);
            assert_true(dk_heap_find(block.p, &object));
            assert_ptr_equal(object.start, block.p);
            assert_true(object.usable >= block.size);
            kit_fill(block.p, block.size, block.seed);
            get_many(&block, some_counts[k]);
            scribble(block.size);
            put_many(&block, some_counts[k] + 1);
            must_be_gone(&block);
        }
    assert_int_equal(kit_deferred(), deferred); /* nobody freed anything */
}

/* --- realloc in flight ----------------------------------------------------------------------- */

static void realloc_in_flight(size_t from, size_t to)
{
    const uint64_t deferred = kit_deferred();
    struct kit_block block = kit_malloc(from, from + to);
    const size_t kept = from < to ? from : to;
    get_many(&block, 2);
    uint8_t *p = dk_heap_realloc(block.p, to);
    kit_must_be_object(p, to, DK_HEAP_ALIGN);
    must_hold(p + to <= block.p || block.p + from <= p, "%zu to %zu bytes: not moved", from, to);
    assert_int_equal(kit_deferred(), deferred + 1);
    pattern_check(p, kept < 64 * KIB ? kept : 64 * KIB, block.seed, 0);
    kit_fill(p, to, 4711);
    scribble(from);
    put_many(&block, 2);
    must_be_gone(&block);
    kit_check(p, to, 4711);
    dk_heap_free(p);
}

static void test_realloc_in_flight_moves_and_leaves_the_original_intact(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(some_sizes); i++)
        for (size_t k = 0; k < COUNT_OF(some_sizes); k++)
            realloc_in_flight(some_sizes[i], some_sizes[k]);
}

static void test_realloc_in_flight_without_memory_changes_nothing(void **state)
{
    (void)state;
    struct kit_block block = kit_malloc(1000, 1);
    const uint64_t deferred = kit_deferred();
    get_many(&block, 1);
    assert_null(dk_heap_realloc(block.p, SIZE_MAX));
    assert_int_equal(kit_deferred(), deferred);
    must_be_intact(&block, "after a realloc that failed");
    dk_heap_put(block.p);
    must_be_intact(&block, "after the last put");
    dk_heap_free(block.p);
    must_be_gone(&block);
}

static void test_realloc_after_the_last_put_may_stay(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(some_sizes); i++)
        for (size_t k = 0; k < COUNT_OF(some_counts); k++) {
            struct kit_block block = kit_malloc(some_sizes[i], i);
            get_many(&block, some_counts[k]);
            put_many(&block, some_counts[k]);
            assert_ptr_equal(dk_heap_realloc(block.p, block.size), block.p);
            kit_check_block(&block);
            dk_heap_free(block.p);
        }
}

/* --- what is counted ------------------------------------------------------------------------- */

static void test_deferred_frees_counts_frees_in_flight_and_no_others(void **state)
{
    (void)state;
    const uint64_t before = kit_deferred();
    uint64_t expected = 0;
    for (size_t i = 0; i < COUNT_OF(some_sizes); i++)
        for (uint32_t refs = 0; refs < 300; refs += 37) {
            struct kit_block block = kit_malloc(some_sizes[i], i);
            get_many(&block, refs);
            if (refs % 2 == 0)
                put_many(&block, refs);
            expected += refs % 2;
            dk_heap_free(block.p);
            assert_int_equal(kit_deferred(), before + expected);
            if (refs % 2 == 1)
                put_many(&block, refs);
        }
    assert_int_equal(kit_deferred(), before + expected);
}

static void test_references_given_back_gauges_go_back(void **state)
{
    (void)state;
    enum { OBJECTS = 3000 };
    static struct kit_block blocks[OBJECTS];
    const struct kit_gauges before = kit_gauges();
    for (size_t i = 0; i < OBJECTS; i++) {
        blocks[i] = kit_malloc(i % 100 == 0 ? 300000 : 1 + i * 7919 % 20000, i);
        get_many(&blocks[i], i % 50 == 0 ? 200 : 1);
        dk_heap_free(blocks[i].p);
    }
    assert_true(dk_mem_stats->large_objects == before.large_objects + OBJECTS / 100);
    assert_true(dk_mem_stats->superblocks > before.superblocks);
    for (size_t i = 0; i < OBJECTS; i++)
        put_many(&blocks[i], i % 50 == 0 ? 200 : 1);
    kit_must_be_back(before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get_put_then_free_reclaims_at_free),
        cmocka_unit_test(test_free_before_puts_reclaims_at_the_last_put),
        cmocka_unit_test(test_free_between_puts_reclaims_at_the_last_put),
        cmocka_unit_test(test_get_of_a_freed_object_in_flight_keeps_it),
        cmocka_unit_test(test_references_random_order_of_many_objects),
        cmocka_unit_test(test_references_of_many_objects_beyond_a_byte_are_counted),
        cmocka_unit_test(test_references_as_many_as_it_takes_are_given_back),
        cmocka_unit_test(test_object_in_flight_is_handed_out_again_after_the_last_put_only),
        cmocka_unit_test(test_alloc_ref_is_freed_by_its_last_put),
        cmocka_unit_test(test_realloc_in_flight_moves_and_leaves_the_original_intact),
        cmocka_unit_test(test_realloc_in_flight_without_memory_changes_nothing),
        cmocka_unit_test(test_realloc_after_the_last_put_may_stay),
        cmocka_unit_test(test_deferred_frees_counts_frees_in_flight_and_no_others),
        cmocka_unit_test(test_references_given_back_gauges_go_back),
    };
    alarm(under_sanitizer() ? 300 : 100);
    return cmocka_run_group_tests_name("heap-hold", tests, NULL, NULL);
}
