/* SPDX-License-Identifier: MIT */
/* Being alone: the first thread that attaches is, until another one does. */
#include "api/api.h"
#include "core/alone.h"
#include "core/instance.h"
#include "core/thread.h"
#include "os/sync.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <demi/libos.h>
#include <demi/queue.h>
#include <demi/sga.h>
#include <demi/wait.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WAITED 2 /* exit code of a child whose exit took long */
#define TRIES  5

static uint32_t attached;

static void *attach(void *arg)
{
    (void)arg;
    assert_non_null(dk_thread_get());
    __atomic_store_n(&attached, 1, __ATOMIC_RELEASE);
    assert_false(dk_alone_enter());
    return NULL;
}

static void *touch_nothing(void *arg)
{
    return arg;
}

/* In a process of its own, where no thread has attached. */
/* The exit code of a child that runs this. */
static int code_of_child(void (*run)(void))
{
    int status;
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        run();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void in_child(void (*run)(void))
{
    assert_int_equal(code_of_child(run), 0);
}

static void must(bool holds)
{
    if (!holds)
        _exit(1);
}

static void be_first(void)
{
    must(!dk_alone_enter()); /* nobody has attached */
    must(dk_thread_get() != NULL);
}

static void other_threads_that_stay_outside(void)
{
    pthread_t other;
    be_first();
    must(dk_alone_enter());
    dk_alone_leave(true);
    must(pthread_create(&other, NULL, touch_nothing, NULL) == 0);
    must(dk_mt());
    must(dk_alone_enter() && dk_alone_is());
    dk_alone_leave(true);
    must(!dk_alone_is() && pthread_join(other, NULL) == 0);
}

static void one_that_attaches(void)
{
    static struct dk_instance inst;
    pthread_t other;
    be_first();
    must(dk_alone_enter() && dk_lead_try_now(&inst, true));
    must(pthread_create(&other, NULL, attach, NULL) == 0);
    while (!__atomic_load_n(&dk_alone.ended, __ATOMIC_ACQUIRE))
        sched_yield();
    for (int i = 0; i < 1000; i++) {
        must(!__atomic_load_n(&attached, __ATOMIC_ACQUIRE)); /* it waits */
        sched_yield();
    }
    must(!dk_lead_try(&inst)); /* what is held is, for who takes it otherwise */
    dk_lead_drop_now(&inst, true);
    must(dk_lead_try(&inst));
    dk_alone_leave(true);
    must(pthread_join(other, NULL) == 0 && attached == 1);
    must(!dk_alone_enter() && !dk_alone_is());
}

static void a_fork_while_inside(void)
{
    be_first();
    must(dk_alone_enter());
    dk_thread_after_fork(); /* what the child does first */
    must(!dk_alone_is() && dk_alone_enter());
    dk_alone_leave(true);
}

static bool is_done;

static void *push_elsewhere(void *qd)
{
    demi_sgarray_t sga = demi_sgaalloc(8);
    must(demi_blocking_push(*(int *)qd, &sga) == 0 && demi_sgafree(&sga) == 0);
    __atomic_store_n(&is_done, true, __ATOMIC_RELEASE);
    return NULL;
}

/* A filter that has another thread call the library, and waits for it. */
static bool ask_other(const demi_sgarray_t *sga, void *qd)
{
    const struct timespec deadline = {.tv_sec = time(NULL) + 10};
    pthread_t other;
    (void)sga;
    must(pthread_create(&other, NULL, push_elsewhere, qd) == 0);
    must(pthread_timedjoin_np(other, NULL, &deadline) == 0);
    return true;
}

static void function_that_waits_for_another(void)
{
    demi_sgarray_t sga = demi_sgaalloc(8);
    demi_qresult_t qr;
    demi_qtoken_t pop;
    pthread_t other;
    int source, filtered, elsewhere;
    setenv("DEMI_NET", "memory", 1);
    must(demi_init(NULL) == 0 && demi_queue(&source, 0) == 0 && demi_queue(&elsewhere, 0) == 0);
    must(pthread_create(&other, NULL, touch_nothing, NULL) == 0 && dk_alone_enter());
    dk_alone_leave(true);
    must(demi_filter(&filtered, source, ask_other, &elsewhere) == 0);
    must(demi_blocking_push(source, &sga) == 0 && demi_sgafree(&sga) == 0);
    must(demi_pop(&pop, filtered) == 0 && demi_wait(&qr, pop, NULL) == 0);
    must(qr.qr_opcode == DEMI_OPC_POP && __atomic_load_n(&is_done, __ATOMIC_ACQUIRE));
    must(pthread_join(other, NULL) == 0);
}

/* What was spun for a time-out that is none is of no later wait's. */
static void time_out_that_is_none(void)
{
    const struct timespec none = {.tv_nsec = 1000000000}, at_once = {0};
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(7)};
    demi_qresult_t qr;
    demi_qtoken_t pop;
    int qd;
    setenv("DEMI_NET", "loop", 1);
    must(demi_init(NULL) == 0 && demi_socket(&qd, AF_INET, SOCK_DGRAM, 0) == 0);
    must(demi_bind(qd, (struct sockaddr *)&at, sizeof at) == 0 && demi_pop(&pop, qd) == 0);
    must(demi_wait(&qr, pop, &at_once) == ETIMEDOUT);
    must(demi_wait(&qr, pop, &none) == EINVAL && dk_thread_self->waiter.spun_ns == 0);
}

static int64_t clock_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int64_t exit_began;

/* Behind the library's end: it waits a second for the call of another thread. */
static void check_exit(void)
{
    if (clock_ns() - exit_began >= 900000000)
        _exit(WAITED);
}

/* As in a signal handler over a call that is alone. */
static void exit_while_inside(void)
{
    pthread_t other;
    must(atexit(check_exit) == 0);
    setenv("DEMI_NET", "loop", 1);
    must(demi_init(NULL) == 0);
    must(pthread_create(&other, NULL, touch_nothing, NULL) == 0 && pthread_join(other, NULL) == 0);
    must(dk_mt() && dk_alone_enter() && dk_lead_try_now(dk_api.first, true));
    exit_began = clock_ns();
    exit(0);
}

static bool has_barrier(void)
{
    return dk_barrier_init() == 0;
}

static void test_alone_beside_threads_that_do_not_attach(void **state)
{
    (void)state;
    if (!has_barrier())
        skip();
    in_child(other_threads_that_stay_outside);
}

static void test_alone_ends_before_another_thread_has_attached(void **state)
{
    (void)state;
    if (!has_barrier())
        skip();
    in_child(one_that_attaches);
}

static void test_alone_is_nobody_while_a_function_of_the_application_runs(void **state)
{
    (void)state;
    if (!has_barrier())
        skip();
    in_child(function_that_waits_for_another);
}

static void test_alone_time_out_that_is_none_leaves_nothing(void **state)
{
    (void)state;
    if (!has_barrier())
        skip();
    in_child(time_out_that_is_none);
}

static void test_alone_exit_waits_for_nobody(void **state)
{
    (void)state;
    int code = WAITED;
    if (!has_barrier())
        skip();
    for (int i = 0; i < TRIES && code == WAITED; i++) /* beside load it may wait for a CPU */
        code = code_of_child(exit_while_inside);
    assert_int_equal(code, 0); /* else it took its own call for another thread's */
}

static void test_alone_child_of_a_fork_is_outside(void **state)
{
    (void)state;
    if (!has_barrier())
        skip();
    in_child(a_fork_while_inside);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alone_beside_threads_that_do_not_attach),
        cmocka_unit_test(test_alone_ends_before_another_thread_has_attached),
        cmocka_unit_test(test_alone_is_nobody_while_a_function_of_the_application_runs),
        cmocka_unit_test(test_alone_time_out_that_is_none_leaves_nothing),
        cmocka_unit_test(test_alone_exit_waits_for_nobody),
        cmocka_unit_test(test_alone_child_of_a_fork_is_outside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
