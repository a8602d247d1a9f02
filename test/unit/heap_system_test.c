/* SPDX-License-Identifier: MIT */
/*
 * The heap and the system: memory goes back, gauges are true, threads come and go, and a forked
 * child has a heap that works.
 */
#include "../threads/crew.h"
#include "heap_kit.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Small, at the border, runs of slices, regions of their own. */
static const size_t some_sizes[] = {16, 100, 1000, 4096, 65536, 262144, 262145, MIB, 64 * MIB};

/* --- memory goes back ------------------------------------------------------------------------ */

/* Allocates bytes in objects of one size, touches every page, frees all. */
static void use(size_t size, size_t bytes)
{
    const size_t count = (bytes + size - 1) / size;
    uint8_t **held = calloc(count, sizeof *held);
    for (size_t i = 0; i < count; i++) {
        held[i] = dk_heap_malloc(size);
        assert_non_null(held[i]);
        for (size_t at = 0; at < size; at += 4096)
            held[i][at] = 1;
    }
    for (size_t i = 0; i < count; i++)
        dk_heap_free(held[i]);
    free(held);
}

static void test_gauges_go_back_when_all_is_freed(void **state)
{
    (void)state;
    const struct kit_gauges before = kit_gauges();
    for (size_t i = 0; i < COUNT_OF(some_sizes); i++)
        for (int round = 0; round < 3; round++) {
            use(some_sizes[i], 20 * MIB);
            kit_must_be_back(before);
        }
}

static void test_gauges_say_what_there_is(void **state)
{
    (void)state;
    const struct kit_gauges before = kit_gauges();
    void *large[10], *small[1000];
    for (size_t i = 0; i < COUNT_OF(large); i++) {
        large[i] = dk_heap_malloc(300000 + i * MIB);
        assert_int_equal(dk_mem_stats->large_objects, before.large_objects + i + 1);
    }
    assert_true(dk_mem_stats->region_bytes >= before.region_bytes + 45 * MIB);
    assert_true(dk_mem_stats->regions > before.regions);
    for (size_t i = 0; i < COUNT_OF(small); i++)
        small[i] = dk_heap_malloc(5000);
    assert_int_equal(dk_mem_stats->large_objects, before.large_objects + COUNT_OF(large));
    assert_true(dk_mem_stats->superblocks > before.superblocks);
    assert_true(dk_mem_stats->hugetlb_bytes <= dk_mem_stats->region_bytes);
    for (size_t i = 0; i < COUNT_OF(large); i++) {
        dk_heap_free(large[i]);
        assert_int_equal(dk_mem_stats->large_objects, before.large_objects + 9 - i);
    }
    for (size_t i = 0; i < COUNT_OF(small); i++)
        dk_heap_free(small[i]);
    kit_must_be_back(before);
}

static void test_256_mib_used_and_freed_are_no_longer_resident(void **state)
{
    (void)state;
    static const size_t sizes[] = {1000, 16384, 262144, MIB, 256 * MIB};
    if (under_sanitizer()) {
        print_message("a sanitizer's own memory counts as resident\n");
        skip();
    }
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        dk_heap_trim();
        const size_t before = kit_rss();
        use(sizes[i], 256 * MIB);
        dk_heap_trim();
        const size_t after = kit_rss();
        must_hold(after < before + 16 * MIB, "objects of %zu: %zu KiB resident, before %zu",
                  sizes[i], after / KIB, before / KIB);
    }
}

/* The use of memory goes up and down: address space and memory must not go up only. */
static void test_use_in_waves_of_other_sizes_does_not_grow(void **state)
{
    (void)state;
    const struct kit_gauges before = kit_gauges();
    uint64_t most = 0;
    for (size_t round = 0; round < 40; round++) {
        use(some_sizes[round * 5 % COUNT_OF(some_sizes)], 16 * MIB);
        if (round < 9)
            most = dk_mem_stats->region_bytes > most ? dk_mem_stats->region_bytes : most;
        must_hold(dk_mem_stats->region_bytes <= most + 64 * MIB, "round %zu: %llu MiB", round,
                  (unsigned long long)dk_mem_stats->region_bytes / MIB);
    }
    kit_must_be_back(before);
}

/* One object in each piece of memory stays: the rest is used again, nothing is lost. */
static void test_memory_with_holes_is_used_again(void **state)
{
    (void)state;
    enum { MANY = 20000 };
    static uint8_t *held[MANY];
    const struct kit_gauges before = kit_gauges();
    for (size_t i = 0; i < MANY; i++)
        assert_non_null(held[i] = dk_heap_malloc(512));
    for (size_t i = 0; i < MANY; i++)
        if (i % 16 != 0)
            dk_heap_free(held[i]);
    const uint64_t superblocks = dk_mem_stats->superblocks;
    for (size_t i = 0; i < MANY; i++)
        if (i % 16 != 0)
            assert_non_null(held[i] = dk_heap_malloc(512));
    must_hold(dk_mem_stats->superblocks <= superblocks + 2, "%llu superblocks more",
              (unsigned long long)(dk_mem_stats->superblocks - superblocks));
    for (size_t i = 0; i < MANY; i++)
        dk_heap_free(held[i]);
    kit_must_be_back(before);
}

/* Whether the page that p is on has memory behind it. */
static bool is_resident(const void *p)
{
    unsigned char resident = 0;
    assert_int_equal(mincore((void *)((uintptr_t)p & ~(uintptr_t)4095), 4096, &resident), 0);
    return resident & 1;
}

/* Nobody asks for that size any more, and one object in 16 pages stays. */
static void test_pages_without_objects_go_back_while_others_are_used(void **state)
{
    (void)state;
    enum { MANY = 16384, EVERY = 32, HOLES = MANY / EVERY, ROUNDS = 1000 };
    static struct kit_block blocks[MANY];
    if (under_sanitizer()) {
        print_message("checked objects are filled with junk while they are free\n");
        skip();
    }
    const struct kit_gauges before = kit_gauges();
    for (size_t i = 0; i < MANY; i++)
        blocks[i] = kit_malloc(2048, i);
    for (size_t i = 0; i < MANY; i++)
        if (i % EVERY != 0)
            dk_heap_free(blocks[i].p);
    size_t resident = HOLES;
    for (size_t round = 0; round < ROUNDS && resident > HOLES / 8; round++) {
        use(40000, 8 * MIB);
        resident = 0;
        for (size_t i = EVERY / 2; i < MANY; i += EVERY)
            resident += is_resident(blocks[i].p);
    }
    must_hold(resident <= HOLES / 8, "%zu of %d pages are still there", resident, HOLES);
    for (size_t i = 0; i < MANY; i++) {
        if (i % EVERY == 0)
            kit_check_block(&blocks[i]);
        else
            blocks[i] = kit_malloc(2048, i);
    }
    for (size_t i = 0; i < MANY; i++) {
        kit_check_block(&blocks[i]);
        dk_heap_free(blocks[i].p);
    }
    kit_must_be_back(before);
}

/* --- threads --------------------------------------------------------------------------------- */

static int map_nothing(struct dk_registrar *r, void *base, size_t bytes, uint64_t *handle_out)
{
    (void)r;
    (void)bytes;
    *handle_out = (uintptr_t)base;
    return 0;
}

static void unmap_nothing(struct dk_registrar *r, void *base, size_t bytes, uint64_t handle)
{
    (void)r;
    (void)base;
    (void)bytes;
    (void)handle;
}

static void use_first(int index, void *arg)
{
    if (index == 0) {
        CREW_CHECK(dk_registrar_add(arg) == 0);
        uint8_t *p = dk_heap_malloc(5 * MIB);
        CREW_CHECK(p != NULL);
        CREW_CHECK(dk_region_handle(p, arg) == (uintptr_t)p);
        dk_heap_free(p);
        return;
    }
    for (size_t size = 16; size < MIB; size *= 2) {
        uint8_t *p = dk_heap_malloc(size);
        CREW_CHECK(p != NULL && dk_heap_usable(p) >= size);
        memset(p, index, size);
        CREW_CHECK(p[0] == index && p[size - 1] == index);
        dk_heap_free(p);
    }
}

/* A device may be the first who needs the heap. */
static void test_first_use_by_many_threads_at_once(void **state)
{
    (void)state;
    struct dk_registrar registrar = {.name = "nothing", .map = map_nothing, .unmap = unmap_nothing};
    crew_start(8, use_first, &registrar);
    crew_join();
    dk_registrar_remove(&registrar);
}

static void use_briefly(int index, void *arg)
{
    (void)arg;
    void *held[200];
    for (size_t i = 0; i < COUNT_OF(held); i++) {
        const size_t size = 1 + (i + (size_t)index) * 97 % 9000;
        CREW_CHECK((held[i] = dk_heap_malloc(size)) != NULL);
        memset(held[i], index, size);
    }
    for (size_t i = 0; i < COUNT_OF(held); i++)
        dk_heap_free(held[i]);
}

static void test_threads_that_ended_leave_nothing(void **state)
{
    (void)state;
    const struct kit_gauges before = kit_gauges();
    for (int round = 0; round < 60; round++) {
        crew_start(8, use_briefly, NULL);
        crew_join();
    }
    kit_must_be_back(before);
}

static pthread_key_t last_words;

/* The heap's own end of the thread came before: its key is older. */
static void use_at_the_end(void *arg)
{
    (void)arg;
    for (size_t size = 1; size < MIB; size = size * 2 + 1) {
        uint8_t *p = dk_heap_zalloc(size), *q = dk_heap_malloc(size);
        if (p == NULL || q == NULL || !kit_is_zero(p, size))
            crew_fails("a thread that ends may allocate", __FILE__, __LINE__);
        dk_heap_free(p);
        dk_heap_free(q);
    }
}

static void leave_last_words(int index, void *arg)
{
    use_briefly(index, arg);
    CREW_CHECK(pthread_setspecific(last_words, &last_words) == 0);
}

static void test_threads_that_allocate_at_their_very_end_leave_nothing(void **state)
{
    (void)state;
    assert_int_equal(pthread_key_create(&last_words, use_at_the_end), 0);
    const struct kit_gauges before = kit_gauges();
    for (int round = 0; round < 5; round++) {
        crew_start(6, leave_last_words, NULL);
        crew_join();
    }
    kit_must_be_back(before);
    pthread_key_delete(last_words);
}

enum { HANDED = 3000, CREW = 4 };

static _Atomic(uint8_t *) handed[CREW][HANDED];

static size_t handed_size(int thread, int i)
{
    return 16 + (size_t)(thread * 31 + i * 17) % 2000;
}

/* Each allocates a row; all rows are freed by the next thread, as they come. */
static void hand_over(int index, void *arg)
{
    (void)arg;
    const int other = (index + 1) % CREW;
    for (int i = 0; i < HANDED; i++) {
        uint8_t *p = dk_heap_malloc(handed_size(index, i));
        CREW_CHECK(p != NULL);
        pattern_fill(p, handed_size(index, i), (uint64_t)index, (uint64_t)i * 3);
        handed[index][i] = p;
        uint8_t *got;
        while ((got = atomic_exchange(&handed[other][i], NULL)) == NULL)
            if (crew_failed())
                return;
            else
                sched_yield();
        const size_t size = handed_size(other, i);
        CREW_CHECK(pattern_length(got, size, (uint64_t)other, (uint64_t)i * 3) == size);
        dk_heap_free(got);
    }
}

static void test_objects_allocated_here_are_freed_there(void **state)
{
    (void)state;
    const struct kit_gauges before = kit_gauges();
    for (int round = 0; round < 5; round++) {
        crew_start(CREW, hand_over, NULL);
        crew_join();
    }
    kit_must_be_back(before);
}

/* A reference given back here comes before the next use of the memory there, without any help: for
 * ThreadSanitizer, which looks for what orders the two. */
static _Atomic(uint8_t *) in_flight;

static void read_or_reuse(int index, void *arg)
{
    const int rounds = *(int *)arg;
    for (int i = 0; i < rounds && !crew_failed(); i++) {
        if (index == 0) {
            uint8_t *p = dk_heap_malloc(100);
            pattern_fill(p, 100, 1, 0);
            CREW_CHECK(dk_heap_get(p));
            in_flight = p;
            while (in_flight != NULL && !crew_failed())
                sched_yield();
            for (int spin = 0; spin < i % 200; spin++)
                dk_cpu_relax();
            dk_heap_free(p);
            uint8_t *q = dk_heap_malloc(100); /* the same memory if the put came first */
            pattern_fill(q, 100, 2, 0);
            dk_heap_free(q);
        } else {
            uint8_t *p;
            while ((p = atomic_exchange(&in_flight, NULL)) == NULL && !crew_failed())
                sched_yield();
            CREW_CHECK(pattern_length(p, 100, 1, 0) == 100);
            dk_heap_put(p);
        }
    }
}

static void test_put_here_comes_before_reuse_there(void **state)
{
    (void)state;
    int rounds = under_sanitizer() ? 5000 : 20000;
    crew_start(2, read_or_reuse, &rounds);
    crew_join();
}

static uint8_t *left[100];

static void leave_objects(int index, void *arg)
{
    (void)index;
    (void)arg;
    for (size_t i = 0; i < COUNT_OF(left); i++) {
        CREW_CHECK((left[i] = dk_heap_malloc(1 + i * 50)) != NULL);
        pattern_fill(left[i], 1 + i * 50, i, 0);
        if (i % 2 == 0) {
            CREW_CHECK(dk_heap_get(left[i]));
            dk_heap_free(left[i]);
        }
    }
}

static void test_objects_of_a_thread_that_ended_live_on(void **state)
{
    (void)state;
    const struct kit_gauges before = kit_gauges();
    crew_start(1, leave_objects, NULL);
    crew_join();
    use(5000, MIB);
    for (size_t i = 0; i < COUNT_OF(left); i++) {
        pattern_check(left[i], 1 + i * 50, i, 0);
        if (i % 2 == 0)
            dk_heap_put(left[i]);
        else
            dk_heap_free(left[i]);
    }
    kit_must_be_back(before);
}

/* --- fork and exit --------------------------------------------------------------------------- */

static atomic_bool forked_enough;

static void use_until_forked_enough(int index, void *arg)
{
    (void)arg;
    uint64_t random = (uint64_t)index;
    while (!forked_enough && !crew_failed()) {
        const size_t size = 1 + random_below(&random, index == 0 ? 2000000 : 5000);
        uint8_t *p = dk_heap_malloc(size);
        CREW_CHECK(p != NULL);
        p[0] = p[size - 1] = 1;
        CREW_CHECK(dk_heap_get(p));
        dk_heap_free(p);
        dk_heap_put(p + size - 1);
    }
}

static void child_uses_the_heap(const struct kit_block *blocks, size_t n)
{
    for (size_t i = 0; i < COUNT_OF(some_sizes); i++) {
        uint8_t *p = dk_heap_zalloc(some_sizes[i]);
        CHILD(p != NULL && kit_is_zero(p, some_sizes[i]));
        CHILD((p = dk_heap_realloc(p, some_sizes[i] * 2)) != NULL);
        dk_heap_free(p);
    }
    for (size_t i = 0; i < n; i++) { /* the parent's objects are the child's too */
        CHILD(pattern_length(blocks[i].p, blocks[i].size, blocks[i].seed, 0) == blocks[i].size);
        dk_heap_free(blocks[i].p);
    }
    dk_heap_trim();
    child_exit(0);
}

static void test_fork_while_threads_allocate_child_has_a_heap(void **state)
{
    (void)state;
    struct kit_block blocks[50];
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        blocks[i] = kit_malloc(1 + i * 1000, i);
    forked_enough = false;
    crew_start(3, use_until_forked_enough, NULL);
    for (int i = 0; i < (under_sanitizer() ? 8 : 60); i++) {
        const int pid = child_fork();
        if (pid == 0)
            child_uses_the_heap(blocks, COUNT_OF(blocks));
        const int status = child_wait(pid);
        if (status != 0)
            forked_enough = true;
        must_hold(status == 0, "child %d: status %x", i, (unsigned)status);
    }
    forked_enough = true;
    crew_join();
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        kit_check_block(&blocks[i]);
        dk_heap_free(blocks[i].p);
    }
}

static void test_fork_of_a_fork_has_a_heap(void **state)
{
    (void)state;
    struct kit_block block = kit_malloc(5000, 1);
    const int pid = child_fork();
    if (pid == 0) {
        const pid_t next = fork();
        CHILD(next >= 0);
        if (next == 0)
            child_uses_the_heap(&block, 1);
        CHILD(child_wait(next) == 0);
        child_uses_the_heap(&block, 1);
    }
    assert_int_equal(child_wait(pid), 0);
    kit_check_block(&block);
    dk_heap_free(block.p);
}

/* In a handler that ends the process, perhaps over the heap, destructors still free. */
static void test_exiting_frees_of_this_thread_do_nothing(void **state)
{
    (void)state;
    const int pid = child_fork();
    if (pid == 0) {
        uint8_t *p = dk_heap_malloc(100), *large = dk_heap_malloc(MIB);
        memset(p, 0x11, 100);
        dk_heap_exiting();
        dk_heap_free(p);
        dk_heap_free(large);
        CHILD(p[0] == 0x11 && p[99] == 0x11);
        CHILD(kit_is_held(p) && kit_is_held(large));
        child_exit(0);
    }
    assert_int_equal(child_wait(pid), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_use_by_many_threads_at_once), /* so it is the first */
        cmocka_unit_test(test_gauges_go_back_when_all_is_freed),
        cmocka_unit_test(test_gauges_say_what_there_is),
        cmocka_unit_test(test_256_mib_used_and_freed_are_no_longer_resident),
        cmocka_unit_test(test_use_in_waves_of_other_sizes_does_not_grow),
        cmocka_unit_test(test_memory_with_holes_is_used_again),
        cmocka_unit_test(test_pages_without_objects_go_back_while_others_are_used),
        cmocka_unit_test(test_fork_of_a_fork_has_a_heap),
        cmocka_unit_test(test_exiting_frees_of_this_thread_do_nothing),
        cmocka_unit_test(test_threads_that_ended_leave_nothing),
        cmocka_unit_test(test_threads_that_allocate_at_their_very_end_leave_nothing),
        cmocka_unit_test(test_objects_allocated_here_are_freed_there),
        cmocka_unit_test(test_put_here_comes_before_reuse_there),
        cmocka_unit_test(test_objects_of_a_thread_that_ended_live_on),
        cmocka_unit_test(test_fork_while_threads_allocate_child_has_a_heap),
    };
    alarm(under_sanitizer() ? 300 : 100);
    return cmocka_run_group_tests_name("heap-system", tests, NULL, NULL);
}
