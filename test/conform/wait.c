/* SPDX-License-Identifier: MIT */
/*
 * The wait family, one thread. Many of these tests use several pairs, so that operations complete
 * in the order that the test chooses.
 */
#include "suite.h"

#include <string.h>

enum { PAIRS = 6 };

static struct pair pairs[PAIRS];
static demi_qtoken_t pops[PAIRS];

static void pairs_with_pops(void)
{
    for (int i = 0; i < PAIRS; i++) {
        pairs[i] = pair_make();
        pops[i] = pop_start(pairs[i].rx);
    }
}

/* Makes pop i complete, and waits until it is ready without collecting it. */
static void complete_pop(int i)
{
    demi_sgarray_t sga = pattern_sga((size_t)i + 1, (uint64_t)i, 0);
    push_all(pairs[i].tx, &sga);
    must(demi_sgafree(&sga));
    /* wait_all with a token that cannot complete drives the devices and collects nothing. */
    struct pair idle = pair_make();
    demi_qtoken_t both[2] = {pops[i], pop_start(idle.rx)};
    demi_qresult_t qrs[2];
    const struct timespec moment = ms_time(4);
    must_fail(demi_wait_all(qrs, both, 2, &moment), ETIMEDOUT);
    must_fail(demi_cancel(pops[i]), EALREADY);
    must(demi_cancel(both[1]));
    pair_close(idle);
}

static void must_be_pop(const demi_qresult_t *qr, int i)
{
    assert_int_equal(qr->qr_opcode, DEMI_OPC_POP);
    assert_int_equal(qr->qr_qd, pairs[i].rx);
    assert_true(qr->qr_qt == pops[i]);
    demi_sgarray_t sga = qr->qr_value.sga;
    assert_int_equal(sga_bytes(&sga), i + 1);
    pattern_check_sga(&sga, (uint64_t)i, 0);
    must(demi_sgafree(&sga));
    pops[i] = 0;
}

static void pairs_end(void)
{
    for (int i = 0; i < PAIRS; i++) {
        if (pops[i] != 0)
            must(demi_cancel(pops[i]));
        pair_close(pairs[i]);
    }
}

static void test_wait_nothing_arrives_times_out_and_token_stays_good(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    demi_qtoken_t qt = pop_start(pair.rx);
    demi_qresult_t qr;
    static const unsigned times[] = {0, 1, 20, 60};
    for (size_t i = 0; i < COUNT_OF(times); i++) {
        const struct timespec timeout = ms_time(times[i]);
        const uint64_t start = now_ns();
        must_fail(demi_wait(&qr, qt, &timeout), ETIMEDOUT);
        const uint64_t ms = (now_ns() - start) / 1000000;
        must_hold(ms >= times[i], "returned after %d of %u ms", (int)ms, times[i]);
        must_hold(ms < times[i] + 1500, "returned after %d ms, asked for %u", (int)ms, times[i]);
    }
    demi_sgarray_t sga = pattern_sga(5, 1, 0);
    push_all(pair.tx, &sga);
    must(demi_sgafree(&sga));
    qr = wait_success(qt, DEMI_OPC_POP);
    pattern_check_sga(&qr.qr_value.sga, 1, 0);
    must(demi_sgafree(&qr.qr_value.sga));
    pair_close(pair);
}

static void test_wait_any_and_next_time_out_in_time(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    demi_qtoken_t qts[2] = {pop_start(pair.rx), pop_start(pair.rx)};
    demi_qresult_t qrs[2];
    const struct timespec timeout = ms_time(15);
    for (int way = 0; way < 4; way++) {
        int n = 99;
        const uint64_t start = now_ns();
        if (way == 0)
            must_fail(demi_wait_any(qrs, &n, qts, 2, &timeout), ETIMEDOUT);
        else if (way == 1)
            must_fail(demi_wait_all(qrs, qts, 2, &timeout), ETIMEDOUT);
        else if (way == 2)
            must_fail(demi_wait_next_n(qrs, 2, &n, &timeout), ETIMEDOUT);
        else
            must_fail(demi_wait_some(qrs, 2, &n, &timeout), ETIMEDOUT);
        must_hold(now_ns() - start >= 15000000, "way %d returned early", way);
        if (way >= 2)
            assert_int_equal(n, 0);
    }
    must(demi_cancel(qts[0]));
    must(demi_cancel(qts[1]));
    pair_close(pair);
}

static void test_wait_bad_arguments_are_einval(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    demi_qtoken_t qt = pop_start(pair.rx);
    demi_qresult_t qr;
    int n = 0;
    must_fail(demi_wait(NULL, qt, ZERO_TIME), EINVAL);
    must_fail(demi_wait_any(NULL, &n, &qt, 1, ZERO_TIME), EINVAL);
    must_fail(demi_wait_any(&qr, NULL, &qt, 1, ZERO_TIME), EINVAL);
    must_fail(demi_wait_any(&qr, &n, NULL, 1, ZERO_TIME), EINVAL);
    must_fail(demi_wait_any(&qr, &n, &qt, 0, ZERO_TIME), EINVAL);
    must_fail(demi_wait_any(&qr, &n, &qt, -1, ZERO_TIME), EINVAL);
    must_fail(demi_wait_all(NULL, &qt, 1, ZERO_TIME), EINVAL);
    must_fail(demi_wait_all(&qr, NULL, 1, ZERO_TIME), EINVAL);
    must_fail(demi_wait_all(&qr, &qt, -1, ZERO_TIME), EINVAL);
    must_fail(demi_wait_next_n(NULL, 1, &n, ZERO_TIME), EINVAL);
    must_fail(demi_wait_next_n(&qr, 1, NULL, ZERO_TIME), EINVAL);
    must_fail(demi_wait_next_n(&qr, -1, &n, ZERO_TIME), EINVAL);
    must_fail(demi_wait_some(NULL, 1, &n, ZERO_TIME), EINVAL);
    must_fail(demi_wait_some(&qr, 1, NULL, ZERO_TIME), EINVAL);
    must_fail(demi_wait_some(&qr, -1, &n, ZERO_TIME), EINVAL);
    const struct timespec bad[] = {{-1, 0}, {0, -1}, {0, 1000000000}, {-1, 999999999}};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        must_fail(demi_wait(&qr, qt, &bad[i]), EINVAL);
        must_fail(demi_wait_any(&qr, &n, &qt, 1, &bad[i]), EINVAL);
        must_fail(demi_wait_all(&qr, &qt, 1, &bad[i]), EINVAL);
        must_fail(demi_wait_next_n(&qr, 1, &n, &bad[i]), EINVAL);
        must_fail(demi_wait_some(&qr, 1, &n, &bad[i]), EINVAL);
    }
    must_fail(demi_wait(&qr, qt, ZERO_TIME), ETIMEDOUT);
    must(demi_cancel(qt));
    pair_close(pair);
}

static void test_wait_timeout_of_centuries_does_not_overflow(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    demi_qtoken_t qt = pop_start(pair.rx);
    demi_sgarray_t sga = pattern_sga(5, 1, 0);
    push_all(pair.tx, &sga);
    must(demi_sgafree(&sga));
    const struct timespec ages = {.tv_sec = INT64_MAX, .tv_nsec = 999999999};
    demi_qresult_t qr;
    must(demi_wait(&qr, qt, &ages));
    assert_int_equal(qr.qr_opcode, DEMI_OPC_POP);
    must(demi_sgafree(&qr.qr_value.sga));
    pair_close(pair);
}

static void test_wait_any_returns_the_one_that_completed(void **state)
{
    (void)state;
    pairs_with_pops();
    static const int order[PAIRS] = {3, 0, 5, 1, 4, 2};
    for (int k = 0; k < PAIRS; k++) {
        demi_qtoken_t left[PAIRS];
        int index[PAIRS];
        int n = 0;
        for (int i = 0; i < PAIRS; i++)
            if (pops[i] != 0) {
                index[n] = i;
                left[n++] = pops[i];
            }
        complete_pop(order[k]);
        demi_qresult_t qr;
        int offset = -1;
        const struct timespec patience = {PATIENCE_S, 0};
        must(demi_wait_any(&qr, &offset, left, n, &patience));
        assert_in_range(offset, 0, n - 1);
        assert_int_equal(index[offset], order[k]);
        must_be_pop(&qr, order[k]);
    }
    pairs_end();
}

static void test_wait_any_over_all_ready_returns_each_once(void **state)
{
    (void)state;
    pairs_with_pops();
    demi_qtoken_t qts[PAIRS];
    for (int i = 0; i < PAIRS; i++) {
        complete_pop(i);
        qts[i] = pops[i];
    }
    bool seen[PAIRS] = {false};
    int n = PAIRS;
    int index[PAIRS] = {0, 1, 2, 3, 4, 5};
    while (n > 0) {
        demi_qresult_t qr;
        int offset = -1;
        must(demi_wait_any(&qr, &offset, qts, n, ZERO_TIME));
        assert_in_range(offset, 0, n - 1);
        assert_false(seen[index[offset]]);
        seen[index[offset]] = true;
        must_be_pop(&qr, index[offset]);
        n--;
        qts[offset] = qts[n];
        index[offset] = index[n];
    }
    pairs_end();
}

/* A completion is looked for where its token was last passed: other arrays must not be misled. */
static void test_wait_any_array_changes_between_calls_finds_only_its_own(void **state)
{
    (void)state;
    pairs_with_pops();
    demi_qresult_t qr;
    int offset = -1;
    must_fail(demi_wait_any(&qr, &offset, pops, PAIRS, ZERO_TIME), ETIMEDOUT);
    demi_qtoken_t without_2[] = {pops[0], pops[1], pops[3], pops[4], pops[5]};
    demi_qtoken_t backwards[] = {pops[5], pops[4], pops[3], pops[2], pops[1], pops[0]};
    complete_pop(2);
    must_fail(demi_wait_any(&qr, &offset, without_2, 5, ZERO_TIME), ETIMEDOUT);
    must_fail(demi_wait_any(&qr, &offset, pops, 2, ZERO_TIME), ETIMEDOUT);
    must(demi_wait_any(&qr, &offset, backwards, PAIRS, ZERO_TIME));
    assert_int_equal(offset, 3);
    must_be_pop(&qr, 2);
    complete_pop(5);
    must_fail(demi_wait_any(&qr, &offset, &backwards[1], 2, ZERO_TIME), ETIMEDOUT);
    demi_qtoken_t last_only[] = {pops[5]};
    must(demi_wait_any(&qr, &offset, last_only, 1, ZERO_TIME));
    assert_int_equal(offset, 0);
    must_be_pop(&qr, 5);
    pairs_end();
}

/* Operations that keep completing at one place do not hide one that completed at another. */
static void test_wait_any_busy_queue_does_not_starve_another(void **state)
{
    (void)state;
    enum { BUSY = 40 };
    struct pair busy = pair_make();
    struct pair calm = pair_make();
    for (uint64_t i = 0; i < BUSY; i++) {
        demi_sgarray_t sga = pattern_sga(1, 1, i);
        push_all(busy.tx, &sga);
        must(demi_sgafree(&sga));
    }
    demi_sgarray_t sga = pattern_sga(10, 2, 0);
    push_all(calm.tx, &sga);
    must(demi_sgafree(&sga));
    demi_qtoken_t qts[2] = {pop_start(busy.rx), pop_start(calm.rx)};
    bool served = false;
    const struct timespec patience = {PATIENCE_S, 0};
    for (uint64_t busy_popped = 0; !served;) {
        demi_qresult_t qr;
        int at = -1;
        must(demi_wait_any(&qr, &at, qts, 2, &patience));
        assert_int_equal(qr.qr_opcode, DEMI_OPC_POP);
        served = at == 1;
        must(demi_sgafree(&qr.qr_value.sga));
        if (served)
            break;
        demi_sgarray_t more = pattern_sga(1, 1, BUSY + busy_popped++);
        push_all(busy.tx, &more); /* it is never empty */
        must(demi_sgafree(&more));
        qts[0] = pop_start(busy.rx);
        must_hold(busy_popped < 20, "20 results of one queue, none of the other");
    }
    must(demi_close(busy.rx));
    demi_qresult_t qr = wait_result(qts[0]);
    if (qr.qr_opcode == DEMI_OPC_POP)
        must(demi_sgafree(&qr.qr_value.sga));
    if (busy.tx != busy.rx)
        must(demi_close(busy.tx));
    pair_close(calm);
}

static void test_wait_any_token_that_is_not_outstanding_is_named(void **state)
{
    (void)state;
    pairs_with_pops();
    demi_qresult_t qr;
    demi_qtoken_t qts[PAIRS];
    memcpy(qts, pops, sizeof qts);
    must_fail(demi_wait_any(&qr, &(int){0}, qts, PAIRS, ZERO_TIME), ETIMEDOUT);
    must(demi_cancel(pops[4]));
    int offset = -1;
    must_fail(demi_wait_any(&qr, &offset, qts, PAIRS, NULL), EINVAL);
    assert_int_equal(offset, 4);
    pops[4] = pop_start(pairs[4].rx);
    qts[4] = pops[4];
    must_fail(demi_wait_any(&qr, &offset, qts, PAIRS, ZERO_TIME), ETIMEDOUT);
    pairs_end();
}

static void test_wait_all_collects_results_in_the_order_of_the_array(void **state)
{
    (void)state;
    pairs_with_pops();
    for (int i = PAIRS - 1; i >= 0; i--)
        complete_pop(i);
    demi_qresult_t qrs[PAIRS];
    const struct timespec patience = {PATIENCE_S, 0};
    must(demi_wait_all(qrs, pops, PAIRS, &patience));
    for (int i = 0; i < PAIRS; i++)
        must_be_pop(&qrs[i], i);
    pairs_end();
}

static void test_wait_all_one_missing_collects_none(void **state)
{
    (void)state;
    pairs_with_pops();
    for (int i = 0; i < PAIRS - 1; i++)
        complete_pop(i);
    demi_qresult_t qrs[PAIRS];
    const struct timespec moment = ms_time(3);
    must_fail(demi_wait_all(qrs, pops, PAIRS, ZERO_TIME), ETIMEDOUT);
    must_fail(demi_wait_all(qrs, pops, PAIRS, &moment), ETIMEDOUT);
    for (int i = 0; i < PAIRS - 1; i++)
        must_fail(demi_cancel(pops[i]), EALREADY);
    complete_pop(PAIRS - 1);
    must(demi_wait_all(qrs, pops, PAIRS, ZERO_TIME));
    for (int i = 0; i < PAIRS; i++)
        must_be_pop(&qrs[i], i);
    pairs_end();
}

static void test_wait_all_one_bad_token_collects_none(void **state)
{
    (void)state;
    pairs_with_pops();
    complete_pop(0);
    complete_pop(1);
    demi_qresult_t qrs[3];
    demi_qtoken_t qts[3] = {pops[0], pops[1], 0};
    must_fail(demi_wait_all(qrs, qts, 3, NULL), EINVAL);
    qts[2] = pops[2];
    must(demi_cancel(pops[2]));
    pops[2] = 0;
    must_fail(demi_wait_all(qrs, qts, 3, NULL), EINVAL);
    demi_qresult_t qr;
    for (int i = 0; i < 2; i++) {
        must(demi_wait(&qr, pops[i], ZERO_TIME));
        must_be_pop(&qr, i);
    }
    pairs_end();
}

static void test_wait_all_same_token_twice_is_einval(void **state)
{
    (void)state;
    pairs_with_pops();
    complete_pop(0);
    demi_qresult_t qrs[2];
    const demi_qtoken_t twice[2] = {pops[0], pops[0]};
    must_fail(demi_wait_all(qrs, twice, 2, ZERO_TIME), EINVAL);
    must(demi_wait(qrs, pops[0], ZERO_TIME));
    must_be_pop(qrs, 0);
    pairs_end();
}

static int pop_of(demi_qtoken_t qt)
{
    for (int i = 0; i < PAIRS; i++)
        if (pops[i] == qt)
            return i;
    must_hold(false, "a result of a token that was not outstanding");
    return -1;
}

static void test_wait_next_n_returns_at_n(void **state)
{
    (void)state;
    pairs_with_pops();
    for (int i = 0; i < 4; i++)
        complete_pop(i);
    demi_qresult_t qrs[PAIRS];
    int n = -1;
    const struct timespec patience = {PATIENCE_S, 0};
    must(demi_wait_next_n(qrs, 3, &n, &patience));
    assert_int_equal(n, 3);
    for (int i = 0; i < n; i++)
        must_be_pop(&qrs[i], pop_of(qrs[i].qr_qt));
    must(demi_wait_next_n(qrs, 1, &n, &patience));
    assert_int_equal(n, 1);
    must_be_pop(qrs, pop_of(qrs[0].qr_qt));
    pairs_end();
}

static void test_wait_next_n_too_few_times_out_with_those_there_are(void **state)
{
    (void)state;
    pairs_with_pops();
    complete_pop(1);
    complete_pop(4);
    demi_qresult_t qrs[PAIRS];
    int n = -1;
    const struct timespec moment = ms_time(5);
    must_fail(demi_wait_next_n(qrs, PAIRS, &n, &moment), ETIMEDOUT);
    assert_int_equal(n, 2);
    for (int i = 0; i < n; i++) {
        const int which = pop_of(qrs[i].qr_qt);
        assert_true(which == 1 || which == 4);
        must_be_pop(&qrs[i], which);
    }
    must_fail(demi_wait_next_n(qrs, PAIRS, &n, ZERO_TIME), ETIMEDOUT);
    assert_int_equal(n, 0);
    complete_pop(0);
    must(demi_wait(qrs, pops[0], ZERO_TIME));
    must_be_pop(qrs, 0);
    pairs_end();
}

static void test_wait_some_returns_what_is_ready_at_most_n(void **state)
{
    (void)state;
    pairs_with_pops();
    demi_qresult_t qrs[PAIRS];
    int n = -1;
    must_fail(demi_wait_some(qrs, PAIRS, &n, ZERO_TIME), ETIMEDOUT);
    assert_int_equal(n, 0);
    for (int i = 0; i < 5; i++)
        complete_pop(i);
    must(demi_wait_some(qrs, 2, &n, NULL));
    assert_int_equal(n, 2);
    for (int i = 0; i < n; i++)
        must_be_pop(&qrs[i], pop_of(qrs[i].qr_qt));
    must(demi_wait_some(qrs, PAIRS, &n, NULL));
    assert_int_equal(n, 3);
    for (int i = 0; i < n; i++)
        must_be_pop(&qrs[i], pop_of(qrs[i].qr_qt));
    must_fail(demi_wait_some(qrs, PAIRS, &n, ZERO_TIME), ETIMEDOUT);
    assert_int_equal(n, 0);
    pairs_end();
}

static void test_wait_kinds_mixed_each_result_comes_once(void **state)
{
    (void)state;
    uint64_t random = seed_choose(__func__);
    pairs_with_pops();
    for (int round = 0; round < 300; round++) {
        const int i = (int)random_below(&random, PAIRS);
        demi_sgarray_t sga = pattern_sga((size_t)i + 1, (uint64_t)i, 0);
        push_all(pairs[i].tx, &sga);
        must(demi_sgafree(&sga));
        demi_qresult_t qr;
        int n = -1;
        const struct timespec patience = {PATIENCE_S, 0};
        switch (random_below(&random, 5)) {
        case 0:
            must(demi_wait(&qr, pops[i], &patience));
            break;
        case 1:
            must(demi_wait_any(&qr, &n, pops, PAIRS, &patience));
            assert_int_equal(n, i);
            break;
        case 2:
            must(demi_wait_all(&qr, &pops[i], 1, &patience));
            break;
        case 3:
            must(demi_wait_next_n(&qr, 1, &n, &patience));
            break;
        default:
            must(demi_wait_some(&qr, 1, &n, &patience));
        }
        must_be_pop(&qr, i);
        must_fail(demi_wait_some(&qr, 1, &n, ZERO_TIME), ETIMEDOUT);
        pops[i] = pop_start(pairs[i].rx);
        if (round % 16 == 0) { /* other places in the array */
            const int j = (int)random_below(&random, PAIRS);
            const struct pair pair = pairs[i];
            const demi_qtoken_t qt = pops[i];
            pairs[i] = pairs[j];
            pops[i] = pops[j];
            pairs[j] = pair;
            pops[j] = qt;
        }
    }
    pairs_end();
}

static void test_blocking_calls_return_the_operations_result(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    demi_sgarray_t sga = pattern_sga(100, 1, 0);
    must(demi_blocking_push(pair.tx, &sga));
    must(demi_sgafree(&sga));
    demi_qresult_t qr;
    must(demi_blocking_pop(pair.rx, &qr));
    assert_int_equal(qr.qr_opcode, DEMI_OPC_POP);
    pattern_check_sga(&qr.qr_value.sga, 1, 0);
    assert_int_equal(sga_bytes(&qr.qr_value.sga), 100);
    must(demi_sgafree(&qr.qr_value.sga));
    must_fail(demi_blocking_pop(pair.rx, NULL), EINVAL);
    must_fail(demi_blocking_push(pair.tx, NULL), EINVAL);
    must_fail(demi_blocking_pop(-1, &qr), EBADF);
    pair_close(pair);
    must_fail(demi_blocking_pop(pair.rx, &qr), EBADF);
}

int run_wait_tests(void)
{
    const struct CMUnitTest tests[] = {
        STARTED(test_wait_nothing_arrives_times_out_and_token_stays_good),
        STARTED(test_wait_any_and_next_time_out_in_time),
        STARTED(test_wait_bad_arguments_are_einval),
        STARTED(test_wait_timeout_of_centuries_does_not_overflow),
        STARTED(test_wait_any_returns_the_one_that_completed),
        STARTED(test_wait_any_over_all_ready_returns_each_once),
        STARTED(test_wait_any_array_changes_between_calls_finds_only_its_own),
        STARTED(test_wait_any_busy_queue_does_not_starve_another),
        STARTED(test_wait_any_token_that_is_not_outstanding_is_named),
        STARTED(test_wait_all_collects_results_in_the_order_of_the_array),
        STARTED(test_wait_all_one_missing_collects_none),
        STARTED(test_wait_all_one_bad_token_collects_none),
        STARTED(test_wait_all_same_token_twice_is_einval),
        STARTED(test_wait_next_n_returns_at_n),
        STARTED(test_wait_next_n_too_few_times_out_with_those_there_are),
        STARTED(test_wait_some_returns_what_is_ready_at_most_n),
        STARTED(test_wait_kinds_mixed_each_result_comes_once),
        STARTED(test_blocking_calls_return_the_operations_result),
    };
    return cmocka_run_group_tests_name("wait", tests, NULL, NULL);
}
