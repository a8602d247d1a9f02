/* SPDX-License-Identifier: MIT */
/* Waiting while something else happens: a second thread at the same token, cancel and close from
 * elsewhere, and a storm of signals. */
#include "suite.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* A thread that sleeps on one token. */
struct sleeper {
    pthread_t thread;
    demi_qtoken_t qt;
    demi_qresult_t qr;
    int error;
};

/* The main thread's looks at the token may make this one find it busy: then it tries again. */
static void *sleeper_run(void *arg)
{
    struct sleeper *sleeper = arg;
    const struct timespec patience = {PATIENCE_S, 0};
    do
        sleeper->error = demi_wait(&sleeper->qr, sleeper->qt, &patience);
    while (sleeper->error == EBUSY);
    return NULL;
}

/* Returns when the thread sleeps on its token: when another wait is refused. */
static void sleeper_start(struct sleeper *sleeper, demi_qtoken_t qt)
{
    memset(sleeper, 0, sizeof *sleeper);
    sleeper->qt = qt;
    assert_int_equal(pthread_create(&sleeper->thread, NULL, sleeper_run, sleeper), 0);
    const uint64_t give_up = now_ns() + PATIENCE_S * 1000000000ull;
    demi_qresult_t qr;
    while (must_either(demi_wait(&qr, qt, ZERO_TIME), ETIMEDOUT, EBUSY) != EBUSY)
        must_hold(now_ns() < give_up, "a second wait is never refused");
}

static void sleeper_join(struct sleeper *sleeper)
{
    assert_int_equal(pthread_join(sleeper->thread, NULL), 0);
}

static void test_wait_token_that_another_thread_sleeps_on_is_ebusy(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    struct sleeper sleeper;
    demi_qtoken_t qt = pop_start(pair.rx);
    sleeper_start(&sleeper, qt);
    demi_qresult_t qr;
    int offset = -1;
    const struct timespec some = ms_time(200);
    must_fail(demi_wait(&qr, qt, &some), EBUSY);
    must_fail(demi_wait(&qr, qt, NULL), EBUSY);
    must_fail(demi_wait_any(&qr, &offset, &qt, 1, &some), EBUSY);
    must_fail(demi_wait_all(&qr, &qt, 1, &some), EBUSY);
    demi_sgarray_t sga = pattern_sga(100, 1, 0);
    push_all(pair.tx, &sga);
    must(demi_sgafree(&sga));
    sleeper_join(&sleeper);
    must(sleeper.error);
    assert_int_equal(sleeper.qr.qr_opcode, DEMI_OPC_POP);
    pattern_check_sga(&sleeper.qr.qr_value.sga, 1, 0);
    must(demi_sgafree(&sleeper.qr.qr_value.sga));
    must_fail(demi_wait(&qr, qt, ZERO_TIME), EINVAL);
    pair_close(pair);
}

static void test_wait_some_leaves_what_another_thread_sleeps_on(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    struct sleeper sleeper;
    demi_qtoken_t qt = pop_start(pair.rx);
    sleeper_start(&sleeper, qt);
    demi_sgarray_t sga = pattern_sga(100, 1, 0);
    demi_qtoken_t push = push_start(pair.tx, &sga);
    must(demi_sgafree(&sga));
    demi_qresult_t qrs[4];
    int n = -1;
    const struct timespec patience = {PATIENCE_S, 0};
    must(demi_wait_some(qrs, 4, &n, &patience));
    assert_int_equal(n, 1);
    assert_true(qrs[0].qr_qt == push);
    sleeper_join(&sleeper);
    must(sleeper.error);
    assert_int_equal(sga_bytes(&sleeper.qr.qr_value.sga), 100);
    must(demi_sgafree(&sleeper.qr.qr_value.sga));
    must_fail(demi_wait_some(qrs, 4, &n, ZERO_TIME), ETIMEDOUT);
    pair_close(pair);
}

static void test_cancel_elsewhere_wakes_the_sleeper_with_ecanceled(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    struct sleeper sleeper;
    demi_qtoken_t qt = pop_start(pair.rx);
    sleeper_start(&sleeper, qt);
    must(demi_cancel(qt));
    sleeper_join(&sleeper);
    must_fail(sleeper.error, ECANCELED);
    demi_qresult_t qr;
    must_fail(demi_wait(&qr, qt, ZERO_TIME), EINVAL);
    demi_sgarray_t sga = pattern_sga(100, 1, 0);
    push_all(pair.tx, &sga);
    must(demi_sgafree(&sga));
    pop_pattern(pair.rx, 100, 1, 0);
    pair_close(pair);
}

static void test_close_elsewhere_completes_the_sleepers_pop(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    struct sleeper sleeper;
    demi_qtoken_t qt = pop_start(pair.rx);
    sleeper_start(&sleeper, qt);
    must(demi_close(pair.rx));
    sleeper_join(&sleeper);
    must(sleeper.error);
    assert_int_equal(sleeper.qr.qr_opcode, DEMI_OPC_FAILED);
    assert_int_equal(sleeper.qr.qr_ret, ECANCELED);
    if (pair.tx != pair.rx)
        must(demi_close(pair.tx));
}

static void *issue_pop(void *arg)
{
    int *qd = arg;
    demi_qtoken_t qt = 0;
    int error = demi_pop(&qt, *qd);
    return error == 0 ? (void *)(uintptr_t)qt : NULL;
}

static void test_wait_some_leaves_what_another_thread_issued(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    pthread_t thread;
    void *returned = NULL;
    assert_int_equal(pthread_create(&thread, NULL, issue_pop, &pair.rx), 0);
    assert_int_equal(pthread_join(thread, &returned), 0);
    assert_non_null(returned);
    const demi_qtoken_t qt = (demi_qtoken_t)(uintptr_t)returned;
    demi_sgarray_t sga = pattern_sga(100, 1, 0);
    push_all(pair.tx, &sga);
    must(demi_sgafree(&sga));
    demi_qresult_t qr;
    int n = -1;
    const struct timespec moment = ms_time(5);
    must_fail(demi_wait_some(&qr, 1, &n, &moment), ETIMEDOUT);
    assert_int_equal(n, 0);
    must_fail(demi_wait_next_n(&qr, 1, &n, ZERO_TIME), ETIMEDOUT);
    qr = wait_success(qt, DEMI_OPC_POP);
    must(demi_sgafree(&qr.qr_value.sga));
    pair_close(pair);
}

static void *use_the_library(void *arg)
{
    int *error = arg;
    int qd = -1;
    demi_qresult_t qr;
    char byte = 1;
    demi_sgarray_t sga = built_sga(&byte, 1);
    *error = demi_queue(&qd, 0);
    *error |= demi_blocking_push(qd, &sga);
    *error |= demi_blocking_pop(qd, &qr);
    *error |= demi_sgafree(&qr.qr_value.sga);
    *error |= demi_close(qd);
    return NULL;
}

/* The first in this process to create a thread: what the only thread left behind stays its own. */
static void test_result_from_before_the_first_thread_is_still_of_its_issuer(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    demi_sgarray_t sga = pattern_sga(10, 1, 0);
    for (int i = 0; i < 3; i++) {
        push_all(pair.tx, &sga);
        pop_pattern(pair.rx, 10, 1, 0);
    }
    demi_qtoken_t qt = push_start(pair.tx, &sga);
    must(demi_sgafree(&sga));
    int error = -1;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, use_the_library, &error), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    must(error);
    demi_qresult_t qr;
    int n = -1;
    const struct timespec patience = {PATIENCE_S, 0};
    must(demi_wait_some(&qr, 1, &n, &patience));
    assert_int_equal(n, 1);
    assert_true(qr.qr_qt == qt);
    pop_pattern(pair.rx, 10, 1, 0);
    pair_close(pair);
}

static volatile sig_atomic_t storm_count;

static void storm_hit(int signum)
{
    (void)signum;
    storm_count = storm_count + 1;
}

/* A signal every 200 us, without SA_RESTART. */
static timer_t storm_start(void)
{
    struct sigaction action = {.sa_handler = storm_hit};
    sigaction(SIGUSR1, &action, NULL);
    storm_count = 0;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    timer_t timer;
    assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    const struct itimerspec often = {{0, 200000}, {0, 200000}};
    assert_int_equal(timer_settime(timer, 0, &often, NULL), 0);
    return timer;
}

static void storm_stop(timer_t timer)
{
    assert_int_equal(timer_delete(timer), 0);
}

static void test_wait_under_signals_is_never_interrupted(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    demi_qtoken_t qt = pop_start(pair.rx);
    timer_t timer = storm_start();
    demi_qresult_t qr;
    int n;
    const struct timespec timeout = ms_time(60);
    for (int way = 0; way < 5; way++) {
        const uint64_t start = now_ns();
        const sig_atomic_t before = storm_count;
        if (way == 0)
            must_fail(demi_wait(&qr, qt, &timeout), ETIMEDOUT);
        else if (way == 1)
            must_fail(demi_wait_any(&qr, &n, &qt, 1, &timeout), ETIMEDOUT);
        else if (way == 2)
            must_fail(demi_wait_all(&qr, &qt, 1, &timeout), ETIMEDOUT);
        else if (way == 3)
            must_fail(demi_wait_next_n(&qr, 1, &n, &timeout), ETIMEDOUT);
        else
            must_fail(demi_wait_some(&qr, 1, &n, &timeout), ETIMEDOUT);
        must_hold(now_ns() - start >= 60000000, "way %d returned early", way);
        const int hits = (int)(storm_count - before); /* a stalled machine joins many into one */
        if (hits == 0)
            storm_stop(timer);
        must_hold(hits > 0, "way %d: no signal came", way);
    }
    storm_stop(timer);
    must(demi_cancel(qt));
    pair_close(pair);
}

static void test_transfer_under_signals_loses_nothing(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    timer_t timer = storm_start();
    uint64_t at = 0;
    const size_t size = backend_can(CAN_STREAM) ? 256 * 1024 : 8 * 1024;
    for (int i = 0; i < 40; i++) {
        demi_sgarray_t sga = pattern_sga(size, 7, at);
        demi_qtoken_t qt = push_start(pair.tx, &sga);
        must(demi_sgafree(&sga));
        pop_pattern(pair.rx, size, 7, at);
        wait_success(qt, DEMI_OPC_PUSH);
        at += size;
    }
    storm_stop(timer);
    pair_close(pair);
}

static void test_connections_under_signals_are_made(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    timer_t timer = storm_start();
    for (int i = 0; i < 50; i++) {
        struct pair pair = pair_make();
        demi_sgarray_t sga = pattern_sga(10, 1, 0);
        push_all(pair.tx, &sga);
        must(demi_sgafree(&sga));
        pop_pattern(pair.rx, 10, 1, 0);
        pair_close(pair);
    }
    storm_stop(timer);
}

int run_sleep_tests(void)
{
    const struct CMUnitTest tests[] = {
        STARTED(test_result_from_before_the_first_thread_is_still_of_its_issuer),
        STARTED(test_wait_under_signals_is_never_interrupted),
        STARTED(test_transfer_under_signals_loses_nothing),
        STARTED(test_connections_under_signals_are_made),
        STARTED(test_wait_token_that_another_thread_sleeps_on_is_ebusy),
        STARTED(test_wait_some_leaves_what_another_thread_sleeps_on),
        STARTED(test_cancel_elsewhere_wakes_the_sleeper_with_ecanceled),
        STARTED(test_close_elsewhere_completes_the_sleepers_pop),
        STARTED(test_wait_some_leaves_what_another_thread_issued),
    };
    return cmocka_run_group_tests_name("sleep", tests, NULL, NULL);
}
