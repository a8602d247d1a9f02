/* SPDX-License-Identifier: MIT */
/*
 * fork(2) while other threads are in the midst of allocating.
 *
 * A child is bounded by alarm(2): a lock that a thread of the parent held would stop it for ever.
 */
#include "heap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CREW = 4, SLOTS = 256, FORKS = 80, CHILD_SECONDS = 20 };

static void *slots[SLOTS];
static bool stop;

/* Allocates and frees at random, in its own slots and, once in a while, in those of all. */
static void *churn(void *arg)
{
    uint32_t seed = (uint32_t)(uintptr_t)arg;
    void *own[64] = {NULL};
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        void *p = malloc(next_random(&seed) % (next_random(&seed) % 16 == 0 ? 200000 : 2000));
        if (next_random(&seed) % 4 == 0) {
            free(__atomic_exchange_n(&slots[next_random(&seed) % SLOTS], p, __ATOMIC_ACQ_REL));
            continue;
        }
        const uint32_t at = next_random(&seed) % 64;
        free(own[at]);
        own[at] = p;
    }
    for (int i = 0; i < 64; i++)
        free(own[i]);
    return NULL;
}

static pthread_t crew[CREW];

static int crew_start(void **state)
{
    (void)state;
    stop = false;
    for (uintptr_t i = 0; i < CREW; i++)
        if (pthread_create(&crew[i], NULL, churn, (void *)(i + 1)) != 0)
            return -1;
    return 0;
}

static int crew_stop(void **state)
{
    (void)state;
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    for (int i = 0; i < CREW; i++)
        pthread_join(crew[i], NULL);
    return 0;
}

/* Allocates, checks and frees, and frees what threads of the parent allocated. */
static int use_memory(uint32_t seed)
{
    void *live[200];
    for (int i = 0; i < 200; i++) {
        const size_t size = 500 + next_random(&seed) % (i % 16 == 0 ? 300000 : 1500);
        live[i] = malloc(size);
        if (!heap_has(live[i]))
            return 1;
        fill(live[i], 500);
    }
    for (int i = 0; i < SLOTS; i++) {
        free(slots[i]);
        slots[i] = NULL;
    }
    for (int i = 0; i < 200; i++) {
        if (!filled(live[i], 500))
            return 2;
        free(live[i]);
    }
    return 0;
}

static void *use_memory_thread(void *arg)
{
    return (void *)(intptr_t)use_memory((uint32_t)(uintptr_t)arg);
}

static void await(pid_t child)
{
    int status;
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (status != 0)
        fail_msg("a child ended with status 0x%x%s", (unsigned)status,
                 WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? ": it hung" : "");
}

static pid_t begin_child(void)
{
    const pid_t child = fork();
    if (child == 0)
        alarm(CHILD_SECONDS);
    return child;
}

static void test_fork_while_others_allocate_child_has_a_heap(void **state)
{
    (void)state;
    for (uint32_t i = 1; i <= FORKS; i++) {
        const pid_t child = begin_child();
        if (child == 0)
            _exit(use_memory(i));
        await(child);
    }
}

static void test_fork_child_may_have_threads(void **state)
{
    (void)state;
    for (uint32_t i = 1; i <= 20; i++) {
        const pid_t child = begin_child();
        if (child == 0) {
            pthread_t thread;
            void *result = &thread;
            if (pthread_create(&thread, NULL, use_memory_thread, (void *)(uintptr_t)i) != 0 ||
                pthread_join(thread, &result) != 0)
                _exit(3);
            _exit((int)(intptr_t)result);
        }
        await(child);
    }
}

/* The grandchild's parent has one thread; it ends with the hooks of exit. */
static void test_fork_of_a_child_has_a_heap(void **state)
{
    (void)state;
    for (uint32_t i = 1; i <= 20; i++) {
        const pid_t child = begin_child();
        if (child == 0) {
            int status = 4;
            const pid_t grandchild = begin_child();
            if (grandchild == 0)
                exit(use_memory(i));
            waitpid(grandchild, &status, 0);
            _exit(status != 0 ? 5 : use_memory(i + 100));
        }
        await(child);
    }
}

static void *fork_from_thread(void *arg)
{
    const pid_t child = begin_child();
    if (child == 0)
        _exit(use_memory((uint32_t)(uintptr_t)arg));
    return (void *)(intptr_t)child;
}

static void test_fork_in_several_threads_at_once(void **state)
{
    (void)state;
    for (uintptr_t round = 0; round < 20; round++) {
        pthread_t threads[CREW];
        void *child;
        for (uintptr_t i = 0; i < CREW; i++)
            assert_int_equal(
                pthread_create(&threads[i], NULL, fork_from_thread, (void *)(round * CREW + i + 1)),
                0);
        for (int i = 0; i < CREW; i++) {
            assert_int_equal(pthread_join(threads[i], &child), 0);
            await((pid_t)(intptr_t)child);
        }
    }
}

static bool handlers_work;

static void allocating_handler(void)
{
    if (handlers_work)
        free(memset(malloc(3000), 1, 3000));
}

static void test_fork_handlers_may_allocate(void **state)
{
    (void)state;
    handlers_work = true;
    for (uint32_t i = 1; i <= 50; i++) {
        const pid_t child = begin_child();
        if (child == 0)
            _exit(use_memory(i));
        await(child);
    }
    handlers_work = false;
}

static void test_fork_and_exec_of_a_program(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        const pid_t child = begin_child();
        if (child == 0) {
            execlp("true", "true", (char *)NULL);
            _exit(6);
        }
        await(child);
    }
}

/* The memory of a parent is the parent's: what the child does to it is not seen. */
static void test_fork_parents_objects_stay_whole(void **state)
{
    (void)state;
    enum { COUNT = 500 };
    void *live[COUNT];
    for (int i = 0; i < COUNT; i++)
        fill(live[i] = malloc(2000), 2000);
    const pid_t child = begin_child();
    if (child == 0) {
        for (int i = 0; i < COUNT; i++) {
            if (!filled(live[i], 2000))
                _exit(7);
            free(live[i]);
        }
        _exit(use_memory(1));
    }
    await(child);
    for (int i = 0; i < COUNT; i++) {
        assert_true(filled(live[i], 2000));
        free(live[i]);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, crew_start, crew_stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_fork_while_others_allocate_child_has_a_heap),
        TEST(test_fork_child_may_have_threads),
        TEST(test_fork_of_a_child_has_a_heap),
        TEST(test_fork_in_several_threads_at_once),
        TEST(test_fork_handlers_may_allocate),
        TEST(test_fork_and_exec_of_a_program),
        TEST(test_fork_parents_objects_stay_whole),
    };
    pthread_atfork(allocating_handler, allocating_handler, allocating_handler);
    return cmocka_run_group_tests_name("preload-fork", tests, NULL, NULL);
}
