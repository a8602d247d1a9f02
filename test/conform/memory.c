/* SPDX-License-Identifier: MIT */
/* The queue in memory: capacity, end, sharing. */
#include "suite.h"

#include <stdlib.h>
#include <string.h>

static void test_memory_push_beyond_capacity_waits_for_a_pop(void **state)
{
    (void)state;
    for (uint32_t capacity = 1; capacity <= 5; capacity++) {
        int qd = -1;
        must(demi_queue(&qd, capacity));
        demi_qtoken_t qts[20];
        for (uint64_t i = 0; i < 20; i++) {
            demi_sgarray_t sga = pattern_sga(i + 1, i, 0);
            qts[i] = push_start(qd, &sga);
            must(demi_sgafree(&sga));
        }
        demi_qresult_t qr;
        for (uint32_t i = 0; i < capacity; i++) {
            must(demi_wait(&qr, qts[i], ZERO_TIME));
            assert_int_equal(qr.qr_opcode, DEMI_OPC_PUSH);
        }
        for (uint64_t i = 0; i < 20; i++) {
            if (i + capacity < 20)
                must_fail(demi_wait(&qr, qts[i + capacity], ZERO_TIME), ETIMEDOUT);
            demi_sgarray_t sga = pop_one(qd);
            assert_int_equal(sga_bytes(&sga), i + 1);
            pattern_check_sga(&sga, i, 0);
            must(demi_sgafree(&sga));
            if (i + capacity < 20)
                must(demi_wait(&qr, qts[i + capacity], ZERO_TIME));
        }
        must(demi_close(qd));
    }
}

static void test_memory_waiting_pop_lets_a_push_through_a_full_queue(void **state)
{
    (void)state;
    int qd = -1;
    must(demi_queue(&qd, 1));
    demi_qtoken_t pops[3] = {pop_start(qd), pop_start(qd), pop_start(qd)};
    for (uint64_t i = 0; i < 3; i++) { /* handed to the pops: none is held */
        demi_sgarray_t sga = pattern_sga(10, i, 0);
        demi_qresult_t qr;
        must(demi_wait(&qr, push_start(qd, &sga), ZERO_TIME));
        must(demi_sgafree(&sga));
    }
    for (uint64_t i = 0; i < 3; i++) {
        demi_qresult_t qr;
        must(demi_wait(&qr, pops[i], ZERO_TIME));
        pattern_check_sga(&qr.qr_value.sga, i, 0);
        must(demi_sgafree(&qr.qr_value.sga));
    }
    must(demi_close(qd));
}

static void test_memory_cancel_of_a_waiting_push_has_no_effect(void **state)
{
    (void)state;
    int qd = -1;
    must(demi_queue(&qd, 1));
    demi_qtoken_t qts[4];
    for (uint64_t i = 0; i < 4; i++) {
        demi_sgarray_t sga = pattern_sga(10, i, 0);
        qts[i] = push_start(qd, &sga);
        must(demi_sgafree(&sga));
    }
    must_fail(demi_cancel(qts[0]), EALREADY);
    must(demi_cancel(qts[1]));
    must(demi_cancel(qts[3]));
    pop_pattern(qd, 10, 0, 0);
    pop_pattern(qd, 10, 2, 0);
    wait_success(qts[0], DEMI_OPC_PUSH);
    wait_success(qts[2], DEMI_OPC_PUSH);
    demi_qtoken_t qt = pop_start(qd);
    demi_qresult_t qr;
    must_fail(demi_wait(&qr, qt, ZERO_TIME), ETIMEDOUT);
    must(demi_cancel(qt));
    must(demi_close(qd));
}

static void test_memory_without_limit_takes_many(void **state)
{
    (void)state;
    enum { MANY = 10000 };
    int qd = -1;
    must(demi_queue(&qd, 0));
    for (uint64_t i = 0; i < MANY; i++) {
        demi_sgarray_t sga = pattern_sga(8, 1, i * 8);
        demi_qresult_t qr;
        must(demi_wait(&qr, push_start(qd, &sga), ZERO_TIME));
        must(demi_sgafree(&sga));
    }
    pop_pattern(qd, (size_t)MANY * 8, 1, 0);
    must(demi_close(qd));
}

static void test_memory_shutdown_what_is_queued_is_popped_then_the_end(void **state)
{
    (void)state;
    int qd = -1;
    must(demi_queue(&qd, 0));
    for (uint64_t i = 0; i < 3; i++) {
        demi_sgarray_t sga = pattern_sga(10, 1, i * 10);
        push_all(qd, &sga);
        must(demi_sgafree(&sga));
    }
    must(demi_shutdown(qd, SHUT_WR));
    pop_pattern(qd, 30, 1, 0);
    for (int i = 0; i < 10; i++)
        pop_end(qd);
    must(demi_close(qd));
}

static void test_memory_shutdown_waiting_pushes_are_still_accepted(void **state)
{
    (void)state;
    int qd = -1;
    must(demi_queue(&qd, 1));
    demi_qtoken_t qts[3];
    for (uint64_t i = 0; i < 3; i++) {
        demi_sgarray_t sga = pattern_sga(10, 1, i * 10);
        qts[i] = push_start(qd, &sga);
        must(demi_sgafree(&sga));
    }
    must(demi_shutdown(qd, SHUT_WR)); /* the end comes after everything pushed before */
    pop_pattern(qd, 30, 1, 0);
    pop_end(qd);
    for (int i = 0; i < 3; i++)
        wait_success(qts[i], DEMI_OPC_PUSH);
    must(demi_close(qd));
}

static void test_memory_close_with_elements_frees_them_and_ends_every_push(void **state)
{
    (void)state;
    int qd = -1;
    must(demi_queue(&qd, 2));
    demi_qtoken_t qts[5];
    for (uint64_t i = 0; i < 5; i++) {
        demi_sgarray_t sga = pattern_sga(5000, 1, 0);
        qts[i] = push_start(qd, &sga);
        must(demi_sgafree(&sga));
    }
    must(demi_close(qd));
    for (int i = 0; i < 2; i++)
        wait_success(qts[i], DEMI_OPC_PUSH);
    for (int i = 2; i < 5; i++)
        wait_result(qts[i]); /* its own result; it must not stay outstanding */
}

static void test_memory_elements_keep_all_their_segments(void **state)
{
    (void)state;
    int qd = -1;
    must(demi_queue(&qd, 0));
    for (uint32_t n = 1; n <= DEMI_SGARRAY_MAXSIZE; n++) {
        uint32_t lens[DEMI_SGARRAY_MAXSIZE];
        for (uint32_t i = 0; i < n; i++)
            lens[i] = i == 1 ? 0 : i + 1;
        demi_sgarray_t sga = demi_sgaalloc_segs(lens, n);
        assert_int_equal(sga.sga_numsegs, n);
        for (uint32_t i = 0; i < n; i++)
            pattern_fill(sga.sga_segs[i].sgaseg_buf, lens[i], i, 0);
        push_all(qd, &sga);
        must(demi_sgafree(&sga));
        demi_sgarray_t popped = pop_one(qd);
        assert_int_equal(popped.sga_numsegs, n);
        for (uint32_t i = 0; i < n; i++) {
            assert_int_equal(popped.sga_segs[i].sgaseg_len, lens[i]);
            pattern_check(popped.sga_segs[i].sgaseg_buf, lens[i], i, 0);
        }
        must(demi_sgafree(&popped));
    }
    must(demi_close(qd));
}

static void test_memory_clones_pushed_and_popped_are_freed_by_themselves(void **state)
{
    (void)state;
    int qd = -1;
    must(demi_queue(&qd, 0));
    demi_sgarray_t sga = pattern_sga(5000, 1, 0);
    for (int i = 0; i < 10; i++) {
        demi_sgarray_t clone;
        must(demi_sgaclone(&clone, &sga));
        push_all(qd, &clone);
        must(demi_sgafree(&clone));
    }
    must(demi_sgafree(&sga));
    for (int i = 0; i < 10; i++) {
        demi_sgarray_t popped = pop_one(qd);
        pattern_check_sga(&popped, 1, 0);
        must(demi_sgafree(&popped));
    }
    must(demi_close(qd));
}

static void test_memory_socket_calls_are_eopnotsupp(void **state)
{
    (void)state;
    int qd = -1;
    must(demi_queue(&qd, 0));
    struct sockaddr_storage addr;
    socklen_t len = loopback(AF_INET, 0, &addr);
    struct sockaddr *sa = (struct sockaddr *)&addr;
    demi_qtoken_t qt = 4711;
    int value = 1;
    socklen_t size = sizeof value;
    demi_sgarray_t sga = pattern_sga(1, 1, 0);
    must_fail(demi_bind(qd, sa, len), EOPNOTSUPP);
    must_fail(demi_listen(qd, 1), EOPNOTSUPP);
    must_fail(demi_accept(&qt, qd), EOPNOTSUPP);
    must_fail(demi_connect(&qt, qd, sa, len), EOPNOTSUPP);
    must_fail(demi_getsockname(qd, sa, &len), EOPNOTSUPP);
    must_fail(demi_getpeername(qd, sa, &len), EOPNOTSUPP);
    must_fail(demi_setsockopt(qd, SOL_SOCKET, SO_KEEPALIVE, &value, size), EOPNOTSUPP);
    must_fail(demi_getsockopt(qd, SOL_SOCKET, SO_TYPE, &value, &size), EOPNOTSUPP);
    assert_true(qt == 4711);
    must(demi_sgafree(&sga));
    must(demi_close(qd));
    must_fail(demi_queue(NULL, 0), EINVAL);
}

static void test_memory_many_queues(void **state)
{
    (void)state;
    enum { MANY = 5000 };
    int *qds = calloc(MANY, sizeof *qds);
    for (int i = 0; i < MANY; i++) {
        must(demi_queue(&qds[i], 0));
        demi_sgarray_t sga = pattern_sga(8, (uint64_t)i, 0);
        push_all(qds[i], &sga);
        must(demi_sgafree(&sga));
    }
    for (int i = MANY - 1; i >= 0; i--) {
        pop_pattern(qds[i], 8, (uint64_t)i, 0);
        must(demi_close(qds[i]));
    }
    free(qds);
}

enum { MANY_POPS = 300 };

struct many_pops {
    int qds[MANY_POPS];
    demi_qtoken_t qts[MANY_POPS];
    bool ready[MANY_POPS];
};

static void many_complete(struct many_pops *many, uint32_t i)
{
    if (many->ready[i])
        return;
    demi_sgarray_t sga = pattern_sga(4, i, 0);
    push_all(many->qds[i], &sga);
    must(demi_sgafree(&sga));
    many->ready[i] = true;
}

/* Waits over the chosen ones: one of the ready among them, or a time-out when none is. */
static void many_wait(struct many_pops *many, const uint32_t *index, int n)
{
    static demi_qtoken_t array[MANY_POPS]; /* the same memory with other contents each time */
    bool any = false;
    for (int i = 0; i < n; i++) {
        array[i] = many->qts[index[i]];
        any |= many->ready[index[i]];
    }
    demi_qresult_t qr;
    int at = -1;
    const int error = demi_wait_any(&qr, &at, array, n, ZERO_TIME);
    if (!any) {
        must_fail(error, ETIMEDOUT);
        return;
    }
    must(error);
    assert_in_range(at, 0, n - 1);
    const uint32_t i = index[at];
    assert_true(qr.qr_qt == many->qts[i]);
    assert_true(many->ready[i]);
    assert_int_equal(qr.qr_qd, many->qds[i]);
    pattern_check_sga(&qr.qr_value.sga, i, 0);
    must(demi_sgafree(&qr.qr_value.sga));
    many->ready[i] = false;
    many->qts[i] = pop_start(many->qds[i]);
}

static void test_memory_wait_any_over_changing_arrays_finds_what_is_ready(void **state)
{
    (void)state;
    uint64_t random = seed_choose(__func__);
    struct many_pops *many = calloc(1, sizeof *many);
    uint32_t order[MANY_POPS];
    for (uint32_t i = 0; i < MANY_POPS; i++) {
        must(demi_queue(&many->qds[i], 0));
        many->qts[i] = pop_start(many->qds[i]);
        order[i] = i;
    }
    for (int round = 0; round < 6000; round++) {
        for (uint32_t k = random_below(&random, 3); k > 0; k--)
            many_complete(many, random_below(&random, MANY_POPS));
        for (uint32_t k = random_below(&random, 4); k > 0; k--) { /* a little disorder */
            const uint32_t i = random_below(&random, MANY_POPS);
            const uint32_t j = random_below(&random, MANY_POPS);
            const uint32_t swap = order[i];
            order[i] = order[j];
            order[j] = swap;
        }
        const uint32_t from = random_below(&random, 3) == 0 ? random_below(&random, MANY_POPS) : 0;
        const uint32_t left = MANY_POPS - from;
        const uint32_t n = random_below(&random, 2) == 0 ? left : 1 + random_below(&random, left);
        many_wait(many, &order[from], (int)n);
    }
    for (int i = 0; i < MANY_POPS; i++) {
        must(demi_close(many->qds[i]));
        demi_qresult_t qr = wait_result(many->qts[i]);
        if (qr.qr_opcode == DEMI_OPC_POP)
            must(demi_sgafree(&qr.qr_value.sga));
    }
    free(many);
}

static void test_memory_wait_any_long_array_with_a_stale_token_names_it(void **state)
{
    (void)state;
    int qd = -1;
    must(demi_queue(&qd, 0));
    demi_qtoken_t qts[MANY_POPS];
    for (int i = 0; i < MANY_POPS; i++)
        qts[i] = pop_start(qd);
    demi_qresult_t qr;
    int at = -1;
    must_fail(demi_wait_any(&qr, &at, qts, MANY_POPS, ZERO_TIME), ETIMEDOUT);
    for (int i = MANY_POPS - 1; i >= 0; i -= 13) {
        const demi_qtoken_t good = qts[i];
        const demi_qtoken_t bad[] = {0, ~(demi_qtoken_t)0, good + ((demi_qtoken_t)1 << 24),
                                     good - ((demi_qtoken_t)1 << 24)};
        for (size_t k = 0; k < COUNT_OF(bad); k++) {
            qts[i] = bad[k];
            must_fail(demi_wait_any(&qr, &at, qts, MANY_POPS, NULL), EINVAL);
            assert_int_equal(at, i);
        }
        qts[i] = good;
    }
    must(demi_close(qd));
}

int run_memory_tests(void)
{
    if (!backend_can(CAN_INHERENT))
        return 0;
    const struct CMUnitTest tests[] = {
        STARTED(test_memory_push_beyond_capacity_waits_for_a_pop),
        STARTED(test_memory_waiting_pop_lets_a_push_through_a_full_queue),
        STARTED(test_memory_cancel_of_a_waiting_push_has_no_effect),
        STARTED(test_memory_without_limit_takes_many),
        STARTED(test_memory_shutdown_what_is_queued_is_popped_then_the_end),
        STARTED(test_memory_shutdown_waiting_pushes_are_still_accepted),
        STARTED(test_memory_close_with_elements_frees_them_and_ends_every_push),
        STARTED(test_memory_elements_keep_all_their_segments),
        STARTED(test_memory_clones_pushed_and_popped_are_freed_by_themselves),
        STARTED(test_memory_socket_calls_are_eopnotsupp),
        STARTED(test_memory_many_queues),
        STARTED(test_memory_wait_any_over_changing_arrays_finds_what_is_ready),
        STARTED(test_memory_wait_any_long_array_with_a_stale_token_names_it),
    };
    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
