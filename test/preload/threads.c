/* SPDX-License-Identifier: MIT */
/*
 * Threads that come and go, free each other's memory, and free while they end.
 *
 * Threads report by counting what went wrong: a failed assertion may only be in the main thread.
 */
#include "heap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CREW = 4, SLOTS = 512, KEYS = 60 };

static uint32_t wrong;

static void expect(bool holds)
{
    if (!holds)
        __atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
}

/* Runs n threads of the same function to their end; each gets its number. */
static void run_crew(void *(*body)(void *), uintptr_t n)
{
    pthread_t threads[CREW];
    assert_true(n <= CREW);
    for (uintptr_t i = 0; i < n; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, body, (void *)(i + 1)), 0);
    for (uintptr_t i = 0; i < n; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
}

static long resident_kib(void)
{
    long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    assert_non_null(statm);
    assert_int_equal(fscanf(statm, "%*d %ld", &pages), 1);
    fclose(statm);
    return pages * 4;
}

/* An object that says itself what must be in it. */
struct parcel {
    uint32_t size;
    uint32_t seed;
    unsigned char bytes[];
};

static struct parcel *parcel_make(uint32_t *seed)
{
    const uint32_t size = next_random(seed) % (next_random(seed) % 32 == 0 ? 100000 : 600);
    struct parcel *parcel = malloc(sizeof *parcel + size);
    expect(heap_has(parcel));
    parcel->size = size;
    fill(parcel->bytes, size);
    return parcel;
}

static void parcel_open(struct parcel *parcel)
{
    expect(parcel == NULL || filled(parcel->bytes, parcel->size));
    free(parcel);
}

static struct parcel *slots[SLOTS];

static struct parcel *slot_swap(uint32_t at, struct parcel *parcel)
{
    return __atomic_exchange_n(&slots[at % SLOTS], parcel, __ATOMIC_ACQ_REL);
}

static void empty_slots(void)
{
    for (uint32_t i = 0; i < SLOTS; i++)
        parcel_open(slot_swap(i, NULL));
}

static void *trade(void *arg)
{
    uint32_t seed = (uint32_t)(uintptr_t)arg;
    for (int i = 0; i < 30000; i++)
        parcel_open(slot_swap(next_random(&seed), parcel_make(&seed)));
    return NULL;
}

static void test_threads_freeing_each_others_memory_keep_it_whole(void **state)
{
    (void)state;
    run_crew(trade, CREW);
    empty_slots();
    assert_int_equal(wrong, 0);
}

static void *live_briefly(void *arg)
{
    static uint32_t born;
    uint32_t seed = __atomic_add_fetch(&born, 1, __ATOMIC_RELAXED) * 2654435761u | 1;
    struct parcel *own[20];
    for (int i = 0; i < 20; i++)
        own[i] = parcel_make(&seed);
    for (int i = 0; i < 20; i++)
        parcel_open(i % 4 == 0 ? slot_swap(next_random(&seed), own[i]) : own[i]);
    return arg;
}

static void test_threads_created_in_thousands_leave_no_memory(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++)
        run_crew(live_briefly, CREW);
    const long before = resident_kib();
    for (int i = 0; i < 1500; i++)
        run_crew(live_briefly, CREW);
    const long grown = resident_kib() - before;
    empty_slots();
    assert_int_equal(wrong, 0);
    if (grown > 32 * 1024)
        fail_msg("6000 threads left %ld KiB", grown);
}

static void *detached(void *arg)
{
    uint32_t *left = arg;
    free(malloc(1000));
    __atomic_sub_fetch(left, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void test_detached_threads_end_by_themselves(void **state)
{
    (void)state;
    pthread_attr_t attr;
    uint32_t left = 200;
    assert_int_equal(pthread_attr_init(&attr), 0);
    assert_int_equal(pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED), 0);
    for (uint32_t i = left; i > 0; i--) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, &attr, detached, &left), 0);
    }
    pthread_attr_destroy(&attr);
    while (__atomic_load_n(&left, __ATOMIC_ACQUIRE) != 0)
        sched_yield();
}

static pthread_key_t keys[KEYS];
static uint32_t destroyed;

struct belonging {
    pthread_key_t key;
    int lives;
    struct parcel *parcel;
};

/* Frees, allocates again, and comes back twice more: whichever order the heap's own destructor has,
 * some of this is after it. */
static void destroy(void *p)
{
    struct belonging *belonging = p;
    uint32_t seed = belonging->key + 1;
    parcel_open(belonging->parcel);
    belonging->parcel = parcel_make(&seed);
    if (--belonging->lives > 0) {
        pthread_setspecific(belonging->key, belonging);
        return;
    }
    parcel_open(belonging->parcel);
    free(belonging);
    __atomic_add_fetch(&destroyed, 1, __ATOMIC_RELAXED);
}

static void *own_and_end(void *arg)
{
    uint32_t seed = (uint32_t)(uintptr_t)arg;
    for (int i = 0; i < KEYS; i++) {
        struct belonging *belonging = malloc(sizeof *belonging);
        *belonging = (struct belonging){keys[i], 3, parcel_make(&seed)};
        expect(pthread_setspecific(keys[i], belonging) == 0);
    }
    return NULL;
}

static void test_destructors_of_thread_keys_may_free_and_allocate(void **state)
{
    (void)state;
    for (int i = 0; i < KEYS; i++)
        assert_int_equal(pthread_key_create(&keys[i], destroy), 0);
    for (int i = 0; i < 100; i++)
        run_crew(own_and_end, CREW);
    for (int i = 0; i < KEYS; i++)
        assert_int_equal(pthread_key_delete(keys[i]), 0);
    assert_int_equal(wrong, 0);
    assert_int_equal(destroyed, 100 * CREW * KEYS);
}

static void *exit_early(void *arg)
{
    uint32_t seed = (uint32_t)(uintptr_t)arg;
    void *cleaned = malloc(5000);
    pthread_cleanup_push(free, cleaned);
    parcel_open(parcel_make(&seed));
    pthread_exit(NULL);
    pthread_cleanup_pop(0);
}

static void *wait_to_be_cancelled(void *arg)
{
    void *cleaned = malloc(5000);
    pthread_cleanup_push(free, cleaned);
    for (;;) {
        free(malloc(300));
        pthread_testcancel();
    }
    pthread_cleanup_pop(0);
    return arg;
}

static void test_threads_that_exit_or_are_cancelled_clean_up(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++)
        run_crew(exit_early, CREW);
    for (int i = 0; i < 50; i++) {
        pthread_t thread;
        void *result;
        assert_int_equal(pthread_create(&thread, NULL, wait_to_be_cancelled, NULL), 0);
        assert_int_equal(pthread_cancel(thread), 0);
        assert_int_equal(pthread_join(thread, &result), 0);
        assert_ptr_equal(result, PTHREAD_CANCELED);
    }
    assert_int_equal(wrong, 0);
}

/* One thread allocates all there is, another frees all there is: what is freed must come back. */
static void *consume(void *arg)
{
    for (int i = 0; i < 400000; i++) {
        struct parcel *parcel;
        while ((parcel = slot_swap((uint32_t)i, NULL)) == NULL)
            sched_yield();
        free(parcel);
    }
    return arg;
}

static void test_memory_that_others_free_is_used_again(void **state)
{
    (void)state;
    pthread_t consumer;
    const long before = resident_kib();
    assert_int_equal(pthread_create(&consumer, NULL, consume, NULL), 0);
    for (uint32_t i = 0; i < 400000; i++) {
        struct parcel *parcel = malloc(1024);
        memset(parcel, 0, 1024);
        while (__atomic_load_n(&slots[i % SLOTS], __ATOMIC_ACQUIRE) != NULL)
            sched_yield();
        slot_swap(i, parcel);
    }
    assert_int_equal(pthread_join(consumer, NULL), 0);
    const long grown = resident_kib() - before;
    if (grown > 32 * 1024)
        fail_msg("400 MiB went through, of which %ld KiB stay", grown);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_freeing_each_others_memory_keep_it_whole),
        cmocka_unit_test(test_threads_created_in_thousands_leave_no_memory),
        cmocka_unit_test(test_detached_threads_end_by_themselves),
        cmocka_unit_test(test_destructors_of_thread_keys_may_free_and_allocate),
        cmocka_unit_test(test_threads_that_exit_or_are_cancelled_clean_up),
        cmocka_unit_test(test_memory_that_others_free_is_used_again),
    };
    return cmocka_run_group_tests_name("preload-threads", tests, NULL, NULL);
}
