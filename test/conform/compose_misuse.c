/* SPDX-License-Identifier: MIT */
/*
 * Operators used badly: wrong arguments; functions of the application that call the library, break
 * their promises, or answer nonsense. An errno, never a crash, and nothing is lost or leaks.
 */
#include "operators.h"

#include <demi/memory.h>
#include <stdlib.h>
#include <string.h>

static bool pass(const demi_sgarray_t *sga, void *arg)
{
    (void)sga;
    (void)arg;
    return true;
}

static int keep(demi_sgarray_t *sga, void *arg)
{
    (void)sga;
    (void)arg;
    return 0;
}

static int equal(const demi_sgarray_t *a, const demi_sgarray_t *b, void *arg)
{
    (void)a;
    (void)b;
    (void)arg;
    return 0;
}

static void test_null_arguments_are_einval(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    int qd = -7;
    must_fail(demi_filter(NULL, pair.rx, pass, NULL), EINVAL);
    must_fail(demi_filter(&qd, pair.rx, NULL, NULL), EINVAL);
    must_fail(demi_map(NULL, pair.rx, keep, NULL), EINVAL);
    must_fail(demi_map(&qd, pair.rx, NULL, NULL), EINVAL);
    must_fail(demi_map_dir(NULL, pair.rx, keep, keep, NULL), EINVAL);
    must_fail(demi_map_dir(&qd, pair.rx, NULL, NULL, NULL), EINVAL);
    must_fail(demi_sort(NULL, pair.rx, equal, NULL), EINVAL);
    must_fail(demi_sort(&qd, pair.rx, NULL, NULL), EINVAL);
    assert_int_equal(qd, -7);
    pair_close(pair);
}

static void test_descriptors_that_are_not_open_are_ebadf(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    int closed = -1;
    must(demi_queue(&closed, 0));
    must(demi_close(closed));
    const int bad[] = {-1, closed, 100000, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        int qd = -7;
        FOR_EACH_KIND(kind)
        must_fail(try_derive(&qd, kind, bad[i]), EBADF);
        must_fail(demi_merge(&qd, bad[i], pair.rx), EBADF);
        must_fail(demi_merge(&qd, pair.rx, bad[i]), EBADF);
        assert_int_equal(qd, -7);
    }
    pair_close(pair);
}

static void test_before_init_is_enosys(void **state)
{
    (void)state;
    int qd = -7;
    FOR_EACH_KIND(kind)
    must_fail(try_derive(&qd, kind, 0), ENOSYS);
    must_fail(demi_merge(&qd, 0, 1), ENOSYS);
    assert_int_equal(qd, -7);
}

/* --- functions that call the library --- */

static int victim;    /* a queue that they try to use */
static int other;     /* another */
static int times_run; /* of the functions */
static int wrong;     /* calls that did not say EDEADLK */
static const char *first_wrong;

static void expect_deadlock(int error, const char *call)
{
    if (error == EDEADLK)
        return;
    wrong++;
    first_wrong = first_wrong != NULL ? first_wrong : call;
}

#define DEADLOCKS(call) expect_deadlock((call), #call)

static void call_operations(const demi_sgarray_t *sga)
{
    struct sockaddr_storage addr;
    const socklen_t len = loopback(AF_INET, 9, &addr);
    demi_qtoken_t qt = 0;
    demi_qresult_t qr;
    DEADLOCKS(demi_push(&qt, other, sga));
    DEADLOCKS(demi_push(&qt, victim, sga));
    DEADLOCKS(demi_pushto(&qt, victim, sga, (struct sockaddr *)&addr, len));
    DEADLOCKS(demi_pop(&qt, other));
    DEADLOCKS(demi_pop(&qt, victim));
    DEADLOCKS(demi_accept(&qt, victim));
    DEADLOCKS(demi_connect(&qt, victim, (struct sockaddr *)&addr, len));
    DEADLOCKS(demi_blocking_push(other, sga));
    DEADLOCKS(demi_blocking_pop(other, &qr));
}

static void call_waits(void)
{
    demi_qtoken_t qt = 1;
    demi_qresult_t qr;
    int n = 0;
    DEADLOCKS(demi_wait(&qr, qt, ZERO_TIME));
    DEADLOCKS(demi_wait_any(&qr, &n, &qt, 1, ZERO_TIME));
    DEADLOCKS(demi_wait_all(&qr, &qt, 1, ZERO_TIME));
    DEADLOCKS(demi_wait_next_n(&qr, 1, &n, ZERO_TIME));
    DEADLOCKS(demi_wait_some(&qr, 1, &n, ZERO_TIME));
    DEADLOCKS(demi_cancel(qt));
    DEADLOCKS(demi_eventfd(&n));
}

static void call_control(void)
{
    struct sockaddr_storage addr;
    socklen_t len = loopback(AF_INET, 9, &addr);
    int value = 0, qd = -1;
    socklen_t size = sizeof value;
    DEADLOCKS(demi_socket(&qd, AF_INET, SOCK_STREAM, 0));
    DEADLOCKS(demi_bind(victim, (struct sockaddr *)&addr, len));
    DEADLOCKS(demi_listen(victim, 1));
    DEADLOCKS(demi_close(victim));
    DEADLOCKS(demi_close(other));
    DEADLOCKS(demi_shutdown(other, SHUT_WR));
    DEADLOCKS(demi_setsockopt(victim, SOL_SOCKET, SO_KEEPALIVE, &value, sizeof value));
    DEADLOCKS(demi_getsockopt(victim, SOL_SOCKET, SO_KEEPALIVE, &value, &size));
    DEADLOCKS(demi_getsockname(victim, (struct sockaddr *)&addr, &len));
    DEADLOCKS(demi_getpeername(victim, (struct sockaddr *)&addr, &len));
    DEADLOCKS(demi_queue(&qd, 0));
    DEADLOCKS(demi_merge(&qd, victim, other));
    FOR_EACH_KIND(kind)
    DEADLOCKS(try_derive(&qd, kind, other));
}

static void call_life(void)
{
    struct demi_stat stat;
    size_t n;
    DEADLOCKS(demi_init(NULL));
    DEADLOCKS(demi_fini());
    DEADLOCKS(demi_stats(&stat, 1, &n));
}

/* What is allowed: memory and arrays. */
static void call_memory(const demi_sgarray_t *sga)
{
    demi_sgarray_t mine = demi_sgaalloc(100), clone;
    void *p = demi_malloc(100);
    wrong += mine.sga_numsegs != 1 || p == NULL;
    demi_free(demi_realloc(p, 5000));
    wrong += demi_sgaclone(&clone, &mine) != 0 || demi_sgafree(&clone) != 0;
    wrong += demi_sgafree(&mine) != 0;
    wrong += sga->sga_numsegs != 1;
}

static void call_everything(const demi_sgarray_t *sga)
{
    times_run++;
    call_operations(sga);
    call_waits();
    call_control();
    call_life();
    call_memory(sga);
}

static bool calling_filter(const demi_sgarray_t *sga, void *arg)
{
    (void)arg;
    call_everything(sga);
    return true;
}

static int calling_map(demi_sgarray_t *sga, void *arg)
{
    (void)arg;
    call_everything(sga);
    return 0;
}

static int calling_sort(const demi_sgarray_t *a, const demi_sgarray_t *b, void *arg)
{
    (void)arg;
    call_everything(a);
    call_everything(b);
    return 0;
}

static uint32_t calling_partition(const demi_sgarray_t *sga, void *arg)
{
    (void)arg;
    call_everything(sga);
    return 0;
}

static int derive_calling(enum kind kind, int qd)
{
    int derived = -1;
    if (kind == FILTER)
        must(demi_filter(&derived, qd, calling_filter, NULL));
    else if (kind == SORT)
        must(demi_sort(&derived, qd, calling_sort, NULL));
    else if (kind == PARTITION)
        must(demi_partition(&derived, 1, qd, calling_partition, NULL));
    else
        must(demi_map(&derived, qd, calling_map, NULL));
    return derived;
}

static void test_functions_may_use_memory_and_all_else_is_edeadlk(void **state)
{
    (void)state;
    FOR_EACH_KIND(kind)
    {
        struct pair pair = pair_make();
        times_run = wrong = 0;
        first_wrong = NULL;
        must(demi_queue(&other, 0));
        victim = derive_calling(kind, pair.rx);
        for (uint64_t i = 0; i < 3; i++) { /* the element is there, or is to come */
            send_element(pair.tx, 10, 0);
            pop_element(victim, 10, 0);
            const demi_qtoken_t qt = pop_start(victim);
            send_element(pair.tx, 10, 0);
            wait_element(qt, 10, 0);
        }
        if (backend_can(CAN_BOUNDARY) && kind == SORT) { /* it needs two to compare */
            send_element(pair.tx, 10, 0);
            send_element(pair.tx, 10, 0);
            pop_element(victim, 10, 0);
            pop_element(victim, 10, 0);
        }
        if (pair.tx == pair.rx) {
            send_element(victim, 10, 0);
            pop_element(victim, 10, 0);
        }
        must_hold(wrong == 0, "%s: %d calls, first %s", kind_name(kind), wrong,
                  first_wrong != NULL ? first_wrong : "memory");
        assert_true(times_run > 0 || !backend_can(CAN_REFERENCE));
        send_element(other, 10, 1); /* nothing of that has happened, and all works again */
        pop_element(other, 10, 1);
        must(demi_close(victim));
        must(demi_close(other));
        pair_close(pair);
    }
}

/* --- maps that break their promises --- */

static demi_sgarray_t stale; /* freed long ago */

static int free_it(demi_sgarray_t *sga, void *arg)
{
    (void)arg;
    demi_sgafree(sga);
    return 0;
}

static int free_it_and_fail(demi_sgarray_t *sga, void *arg)
{
    (void)arg;
    demi_sgafree(sga);
    return EIO;
}

static int free_it_and_replace(demi_sgarray_t *sga, void *arg)
{
    (void)arg;
    demi_sgafree(sga);
    *sga = demi_sgaalloc(20);
    return 0;
}

static int put_stale(demi_sgarray_t *sga, void *arg)
{
    (void)arg;
    *sga = stale;
    return 0;
}

static int put_garbage(demi_sgarray_t *sga, void *arg)
{
    (void)arg;
    memset(sga, 0xa5, sizeof *sga);
    return 0;
}

static int put_nothing(demi_sgarray_t *sga, void *arg)
{
    (void)arg;
    memset(sga, 0, sizeof *sga);
    return 0;
}

static int put_no_segments(demi_sgarray_t *sga, void *arg)
{
    (void)arg;
    sga->sga_numsegs = 0;
    return 0;
}

static int put_many_segments(demi_sgarray_t *sga, void *arg)
{
    (void)arg;
    sga->sga_numsegs = DEMI_SGARRAY_MAXSIZE + 1;
    return 0;
}

static int put_null(demi_sgarray_t *sga, void *arg)
{
    (void)arg;
    sga->sga_segs[0].sgaseg_buf = NULL;
    return 0;
}

/* It says so much; it did not write there. */
static int put_too_long(demi_sgarray_t *sga, void *arg)
{
    (void)arg;
    sga->sga_segs[0].sgaseg_len = 100u << 20;
    return 0;
}

static int fail_negative(demi_sgarray_t *sga, void *arg)
{
    (void)sga;
    (void)arg;
    return -EIO;
}

static int fail_least(demi_sgarray_t *sga, void *arg)
{
    (void)sga;
    (void)arg;
    return INT32_MIN;
}

static const struct bad_map {
    const char *name;
    demi_map_fn fn;
    int error; /* of the operation; 0: any but success */
} bad_maps[] = {
    {"frees its element", free_it, EINVAL},
    {"frees its element and fails", free_it_and_fail, 0},
    {"frees and replaces", free_it_and_replace, EINVAL},
    {"puts what was freed", put_stale, EINVAL},
    {"puts garbage", put_garbage, EINVAL},
    {"puts nothing", put_nothing, EINVAL},
    {"puts no segments", put_no_segments, EINVAL},
    {"puts nine segments", put_many_segments, EINVAL},
    {"puts NULL", put_null, EINVAL},
    {"puts a length beyond its buffer", put_too_long, EINVAL},
    {"returns a negative errno", fail_negative, EINVAL},
    {"returns the least number", fail_least, EINVAL},
};

static void check_bad_map(const struct bad_map *bad, int error)
{
    if (bad->error == 0)
        must_hold(error > 0, "a map that %s: %s", bad->name, errno_name(error));
    else
        must_hold(error == bad->error, "a map that %s: %s", bad->name, errno_name(error));
}

static void test_map_that_breaks_its_promise_fails_that_operation(void **state)
{
    (void)state;
    stale = demi_sgaalloc(100);
    must(demi_sgafree(&stale));
    struct pair pair = pair_make();
    send_element(pair.tx, 10, 1);
    pop_element(pair.rx, 10, 1);
    for (size_t i = 0; i < COUNT_OF(bad_maps); i++) {
        const struct bad_map *bad = &bad_maps[i];
        const uint64_t before = buffers_now();
        int qd = -1, top = -1;
        must(demi_map_dir(&qd, pair.rx, NULL, bad->fn, NULL));
        top = derive(i % 2 == 0 ? FILTER : SORT, qd);
        send_element(pair.tx, 10, 1);
        check_bad_map(bad, wait_failure(pop_start(top))); /* there before the pop */
        const demi_qtoken_t qt = pop_start(top);
        send_element(pair.tx, 10, 1);
        check_bad_map(bad, wait_failure(qt)); /* and after */
        must(demi_close(top));
        must(demi_close(qd));
        must(demi_map_dir(&qd, pair.tx, bad->fn, NULL, NULL));
        demi_sgarray_t sga = pattern_sga(10, 1, 0);
        check_bad_map(bad, push_outcome(qd, &sga));
        pattern_check_sga(&sga, 1, 0);
        must(demi_sgafree(&sga));
        must(demi_close(qd));
        send_element(pair.tx, 10, 2); /* and all is well again */
        pop_element(pair.rx, 10, 2);
        buffers_must_be(before);
    }
    pair_close(pair);
}

static int fail_huge(demi_sgarray_t *sga, void *arg)
{
    (void)sga;
    (void)arg;
    return INT32_MAX;
}

static void test_map_errno_is_passed_on_as_it_is(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    int qd = -1;
    must(demi_map_dir(&qd, pair.rx, NULL, fail_huge, NULL));
    send_element(pair.tx, 10, 1);
    assert_int_equal(wait_failure(pop_start(qd)), INT32_MAX);
    must(demi_close(qd));
    pair_close(pair);
}

static int clone_it(demi_sgarray_t *sga, void *arg)
{
    return demi_sgaclone(arg, sga);
}

/* A map that keeps a clone: it may, and the element is then shared. */
static void test_map_that_keeps_a_clone(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    const uint64_t before = buffers_now();
    demi_sgarray_t clone = {0};
    int qd = -1;
    must(demi_map_dir(&qd, pair.rx, NULL, clone_it, &clone));
    send_element(pair.tx, 10, 1);
    pop_element(qd, 10, 1);
    check_element(clone, 10, 1);
    must(demi_close(qd));
    buffers_must_be(before);
    pair_close(pair);
}

/* Writes one byte behind the only segment, where another element may lie. */
static int write_beyond(demi_sgarray_t *sga, void *arg)
{
    (void)arg;
    sga->sga_segs[0].sgaseg_len += 1;
    return 0;
}

static void test_map_cannot_widen_an_element_into_its_neighbours(void **state)
{
    (void)state;
    backend_needs(CAN_POOL); /* received elements lie side by side */
    struct pair pair = pair_make();
    int qd = -1;
    must(demi_map_dir(&qd, pair.rx, NULL, write_beyond, NULL));
    send_element(pair.tx, 10, 1);
    assert_int_equal(wait_failure(pop_start(qd)), EINVAL);
    must(demi_close(qd));
    pair_close(pair);
}

/* --- orders and numbers that make no sense --- */

static int random_order(const demi_sgarray_t *a, const demi_sgarray_t *b, void *arg)
{
    (void)a;
    (void)b;
    return (int)random_below(arg, 3) - 1;
}

static int always_before(const demi_sgarray_t *a, const demi_sgarray_t *b, void *arg)
{
    (void)a;
    (void)b;
    (void)arg;
    return -1;
}

static int extreme(const demi_sgarray_t *a, const demi_sgarray_t *b, void *arg)
{
    (void)a;
    (void)b;
    return random_below(arg, 2) ? INT32_MIN : INT32_MAX;
}

static void test_sort_by_an_inconsistent_order_loses_nothing(void **state)
{
    (void)state;
    backend_needs(CAN_BOUNDARY);
    static const demi_sort_fn orders[] = {random_order, always_before, extreme};
    enum { ELEMENTS = 40 };
    uint64_t random = seed_choose(__func__);
    struct pair pair = pair_make();
    for (int round = 0; round < 30; round++) {
        int seen[ELEMENTS] = {0}, left = 0, qd = -1;
        must(demi_sort(&qd, pair.rx, orders[round % 3], &random));
        for (uint8_t i = 0; i < ELEMENTS || left > 0;) {
            if (i < ELEMENTS && (left == 0 || random_below(&random, 2) == 0)) {
                demi_sgarray_t sga = demi_sgaalloc(1);
                *(uint8_t *)sga.sga_segs[0].sgaseg_buf = i++;
                push_all(pair.tx, &sga);
                must(demi_sgafree(&sga));
                left++;
            } else {
                demi_sgarray_t sga = pop_one(qd);
                seen[*(uint8_t *)sga.sga_segs[0].sgaseg_buf]++;
                must(demi_sgafree(&sga));
                left--;
            }
        }
        for (int i = 0; i < ELEMENTS; i++)
            assert_int_equal(seen[i], 1);
        must(demi_close(qd));
    }
    pair_close(pair);
}

static uint32_t any_number(const demi_sgarray_t *sga, void *arg)
{
    (void)sga;
    return (uint32_t)random_next(arg);
}

static void test_partition_by_any_number_loses_nothing(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    enum { ELEMENTS = 500, OUTPUTS = 7 };
    uint64_t random = seed_choose(__func__);
    int source = -1, qds[OUTPUTS];
    demi_qtoken_t qts[OUTPUTS];
    must(demi_queue(&source, 0));
    must(demi_partition(qds, OUTPUTS, source, any_number, &random));
    for (int i = 0; i < OUTPUTS; i++)
        qts[i] = pop_start(qds[i]);
    for (int i = 0; i < ELEMENTS; i++)
        send_element(source, 8, 1);
    for (int got = 0; got < ELEMENTS; got++) {
        demi_qresult_t qr;
        int which = -1;
        const struct timespec patience = {PATIENCE_S, 0};
        must(demi_wait_any(&qr, &which, qts, OUTPUTS, &patience));
        check_element(qr.qr_value.sga, 8, 1);
        qts[which] = pop_start(qds[which]);
    }
    for (int i = 0; i < OUTPUTS; i++)
        must(demi_close(qds[i]));
    must(demi_close(source));
}

int run_compose_misuse_tests(void)
{
    const struct CMUnitTest tests[] = {
        STARTED(test_null_arguments_are_einval),
        STARTED(test_descriptors_that_are_not_open_are_ebadf),
        UNSTARTED(test_before_init_is_enosys),
        STARTED(test_functions_may_use_memory_and_all_else_is_edeadlk),
        STARTED(test_map_that_breaks_its_promise_fails_that_operation),
        STARTED(test_map_errno_is_passed_on_as_it_is),
        STARTED(test_map_that_keeps_a_clone),
        STARTED(test_map_cannot_widen_an_element_into_its_neighbours),
        STARTED(test_sort_by_an_inconsistent_order_loses_nothing),
        STARTED(test_partition_by_any_number_loses_nothing),
    };
    return cmocka_run_group_tests_name("compose_misuse", tests, NULL, NULL);
}
