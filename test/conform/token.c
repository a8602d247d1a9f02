/* SPDX-License-Identifier: MIT */
/* Tokens: unique to one operation, used up by one wait, and whatever else is EINVAL. */
#include "suite.h"

#include <stdlib.h>

/* Every call that takes a token says EINVAL to this one. */
static void must_be_no_token(demi_qtoken_t qt)
{
    demi_qresult_t qr;
    int offset = -7;
    must_fail(demi_wait(&qr, qt, ZERO_TIME), EINVAL);
    must_fail(demi_wait(&qr, qt, NULL), EINVAL);
    must_fail(demi_wait_any(&qr, &offset, &qt, 1, ZERO_TIME), EINVAL);
    assert_int_equal(offset, 0);
    must_fail(demi_wait_all(&qr, &qt, 1, ZERO_TIME), EINVAL);
    must_fail(demi_cancel(qt), EINVAL);
}

static void test_token_zero_and_all_ones_are_einval(void **state)
{
    (void)state;
    must_be_no_token(0);
    must_be_no_token(~(demi_qtoken_t)0);
}

static void test_token_random_is_einval(void **state)
{
    (void)state;
    uint64_t random = seed_choose(__func__);
    for (int i = 0; i < 2000; i++) {
        demi_qtoken_t qt = random_next(&random);
        if (i % 2 == 0) /* near what is issued: small slots, small generations */
            qt &= 0x0000000f000000ffu | (qt & 0xf) << 40 | (qt & 0xf) << 24;
        must_be_no_token(qt);
    }
}

static void test_token_live_with_a_bit_flipped_is_einval(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    demi_qtoken_t qt = pop_start(pair.rx);
    for (int bit = 0; bit < 64; bit++)
        must_be_no_token(qt ^ (demi_qtoken_t)1 << bit);
    demi_sgarray_t sga = pattern_sga(10, 1, 0);
    push_all(pair.tx, &sga);
    must(demi_sgafree(&sga));
    demi_qresult_t qr = wait_success(qt, DEMI_OPC_POP);
    pattern_check_sga(&qr.qr_value.sga, 1, 0);
    must(demi_sgafree(&qr.qr_value.sga));
    pair_close(pair);
}

static void test_token_collected_is_einval(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    demi_sgarray_t sga = pattern_sga(10, 1, 0);
    demi_qtoken_t push = push_start(pair.tx, &sga);
    wait_success(push, DEMI_OPC_PUSH);
    must_be_no_token(push);
    must(demi_sgafree(&sga));
    demi_qtoken_t pop = pop_start(pair.rx);
    demi_qresult_t qr = wait_success(pop, DEMI_OPC_POP);
    must(demi_sgafree(&qr.qr_value.sga));
    must_be_no_token(pop);
    pair_close(pair);
}

static void test_token_collected_by_each_wait_is_einval(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    for (int way = 0; way < 4; way++) {
        demi_sgarray_t sga = pattern_sga(10, 1, 0);
        demi_qtoken_t qt = push_start(pair.tx, &sga);
        const struct timespec patience = {PATIENCE_S, 0};
        demi_qresult_t qr;
        int n = -1;
        if (way == 0)
            must(demi_wait_any(&qr, &n, &qt, 1, &patience));
        else if (way == 1)
            must(demi_wait_all(&qr, &qt, 1, &patience));
        else if (way == 2)
            must(demi_wait_next_n(&qr, 1, &n, &patience));
        else
            must(demi_wait_some(&qr, 1, &n, &patience));
        assert_true(qr.qr_qt == qt);
        assert_int_equal(qr.qr_opcode, DEMI_OPC_PUSH);
        must_be_no_token(qt);
        must(demi_sgafree(&sga));
        pop_pattern(pair.rx, 10, 1, 0);
    }
    pair_close(pair);
}

static void test_token_cancelled_is_einval(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    demi_qtoken_t qt = pop_start(pair.rx);
    must(demi_cancel(qt));
    must_be_no_token(qt);
    pair_close(pair);
}

static int compare_tokens(const void *a, const void *b)
{
    demi_qtoken_t x = *(const demi_qtoken_t *)a;
    demi_qtoken_t y = *(const demi_qtoken_t *)b;
    return (x > y) - (x < y);
}

static void test_tokens_over_many_operations_are_unique(void **state)
{
    (void)state;
    enum { ROUNDS = 20000 };
    demi_qtoken_t *all = calloc(2 * ROUNDS, sizeof *all);
    assert_non_null(all);
    struct pair pair = pair_make();
    demi_sgarray_t sga = pattern_sga(1, 1, 0);
    for (int i = 0; i < ROUNDS; i++) {
        all[2 * i] = push_start(pair.tx, &sga);
        wait_success(all[2 * i], DEMI_OPC_PUSH);
        all[2 * i + 1] = pop_start(pair.rx);
        demi_qresult_t qr = wait_success(all[2 * i + 1], DEMI_OPC_POP);
        must(demi_sgafree(&qr.qr_value.sga));
    }
    must(demi_sgafree(&sga));
    must_be_no_token(all[0]);
    must_be_no_token(all[ROUNDS]);
    must_be_no_token(all[2 * ROUNDS - 1]);
    qsort(all, 2 * ROUNDS, sizeof *all, compare_tokens);
    for (int i = 1; i < 2 * ROUNDS; i++)
        must_hold(all[i] != all[i - 1], "token %llx was issued twice", (unsigned long long)all[i]);
    free(all);
    pair_close(pair);
}

static void test_tokens_outstanding_together_each_complete_once(void **state)
{
    (void)state;
    enum { POPS = 3000 };
    struct pair pair = pair_make();
    demi_qtoken_t *qts = calloc(POPS, sizeof *qts);
    demi_qtoken_t *sorted = calloc(POPS, sizeof *qts);
    for (int i = 0; i < POPS; i++)
        sorted[i] = qts[i] = pop_start(pair.rx);
    qsort(sorted, POPS, sizeof *sorted, compare_tokens);
    for (int i = 1; i < POPS; i++)
        assert_true(sorted[i] != sorted[i - 1]);
    must(demi_close(pair.rx));
    for (int i = 0; i < POPS; i++) {
        assert_int_equal(wait_failure(qts[i]), ECANCELED);
        demi_qresult_t qr;
        must_fail(demi_wait(&qr, qts[i], ZERO_TIME), EINVAL);
    }
    if (pair.tx != pair.rx)
        must(demi_close(pair.tx));
    free(qts);
    free(sorted);
}

static void test_token_of_a_call_that_failed_is_untouched(void **state)
{
    (void)state;
    demi_qtoken_t qt = 0x5a5a;
    demi_sgarray_t sga = pattern_sga(1, 1, 0);
    must_fail(demi_pop(&qt, -1), EBADF);
    must_fail(demi_push(&qt, 12345, &sga), EBADF);
    must_fail(demi_accept(&qt, -1), EBADF);
    assert_true(qt == 0x5a5a);
    must(demi_sgafree(&sga));
}

static void test_result_out_on_failure_is_untouched(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    demi_qtoken_t qt = pop_start(pair.rx);
    demi_qresult_t qr = {.qr_qd = 4711};
    must_fail(demi_wait(&qr, qt, ZERO_TIME), ETIMEDOUT);
    must_fail(demi_wait(&qr, 0, ZERO_TIME), EINVAL);
    must_fail(demi_wait_all(&qr, &qt, 1, ZERO_TIME), ETIMEDOUT);
    assert_int_equal(qr.qr_qd, 4711);
    assert_int_equal(qr.qr_opcode, DEMI_OPC_INVALID);
    must(demi_cancel(qt));
    pair_close(pair);
}

int run_token_tests(void)
{
    const struct CMUnitTest tests[] = {
        STARTED(test_token_zero_and_all_ones_are_einval),
        STARTED(test_token_random_is_einval),
        STARTED(test_token_live_with_a_bit_flipped_is_einval),
        STARTED(test_token_collected_is_einval),
        STARTED(test_token_collected_by_each_wait_is_einval),
        STARTED(test_token_cancelled_is_einval),
        STARTED(test_tokens_over_many_operations_are_unique),
        STARTED(test_tokens_outstanding_together_each_complete_once),
        STARTED(test_token_of_a_call_that_failed_is_untouched),
        STARTED(test_result_out_on_failure_is_untouched),
    };
    return cmocka_run_group_tests_name("token", tests, NULL, NULL);
}
