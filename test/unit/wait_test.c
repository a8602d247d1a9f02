/* SPDX-License-Identifier: MIT */
/* Waiting on a clock that the test owns: how long, how often polled, when asleep, what is read. */
#include "core/alone.h"
#include "fake.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct fake fake;

static int teardown(void **state)
{
    (void)state;
    fake_end(&fake);
    return 0;
}

/* Spins for 50 us, then sleeps. */
static int setup_adaptive(void **state)
{
    (void)state;
    fake_start(&fake, 32768, 64, 50);
    return 0;
}

static int setup_never(void **state)
{
    (void)state;
    fake_start(&fake, 1024, 64, 0);
    return 0;
}

static int setup_always(void **state)
{
    (void)state;
    fake_start(&fake, 1024, 64, UINT32_MAX);
    return 0;
}

static void test_wait_zero_timeout_polls_and_does_not_block(void **state)
{
    (void)state;
    struct dk_op *op = fake_pop(fake.queue);
    const demi_qtoken_t qt = dk_op_token(op);
    demi_qresult_t qr;
    uint32_t at;
    assert_int_equal(fake_wait_any(&fake, &qr, &at, &qt, 1, 0), -ETIMEDOUT);
    assert_true(fake.polls >= 1);
    assert_int_equal(fake.blocks, 0);
    dk_op_release(op);
}

static void test_wait_zero_timeout_finds_what_its_poll_brings(void **state)
{
    (void)state;
    fake.event_op = fake_pop(fake.queue);
    fake.event_at = 0;
    const demi_qtoken_t qt = dk_op_token(fake.event_op);
    demi_qresult_t qr;
    uint32_t at;
    assert_int_equal(fake_wait_any(&fake, &qr, &at, &qt, 1, 0), 0);
    assert_int_equal(fake.blocks, 0);
}

static void test_wait_times_out_when_its_time_has_passed_not_before(void **state)
{
    (void)state;
    struct dk_op *op = fake_pop(fake.queue);
    const demi_qtoken_t qt = dk_op_token(op);
    static const int64_t timeouts[] = {1, 1000, 40000, 60000, 1000000, 7000000000};
    for (size_t i = 0; i < sizeof timeouts / sizeof timeouts[0]; i++) {
        demi_qresult_t qr;
        uint32_t at;
        const int64_t start = fake.now;
        assert_int_equal(fake_wait_any(&fake, &qr, &at, &qt, 1, timeouts[i]), -ETIMEDOUT);
        assert_true(fake.now - start >= timeouts[i]);
        assert_true(fake.now - start <= timeouts[i] + 10000);
    }
    dk_op_release(op);
}

static void test_wait_adaptive_spins_for_its_budget_then_blocks(void **state)
{
    (void)state;
    fake.event_op = fake_pop(fake.queue);
    const demi_qtoken_t qt = dk_op_token(fake.event_op);
    const int64_t start = fake.now;
    fake.event_at = start + 3000000;
    demi_qresult_t qr;
    uint32_t at;
    assert_int_equal(fake_wait_any(&fake, &qr, &at, &qt, 1, -1), 0);
    assert_true(fake.spinning_polls > 100); /* 50 us of 100 ns, at least one look each */
    assert_true(fake.blocks >= 1);
    assert_true(fake.last_block_ns < 0); /* for ever */
    assert_true(fake.now - start < 3100000);
}

static void test_wait_adaptive_event_within_the_budget_never_blocks(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        fake.event_op = fake_pop(fake.queue);
        const demi_qtoken_t qt = dk_op_token(fake.event_op);
        fake.event_at = fake.now + 2000;
        demi_qresult_t qr;
        uint32_t at;
        assert_int_equal(fake_wait_any(&fake, &qr, &at, &qt, 1, -1), 0);
    }
    assert_int_equal(fake.blocks, 0);
}

static void test_wait_never_blocks_at_once(void **state)
{
    (void)state;
    fake.event_op = fake_pop(fake.queue);
    const demi_qtoken_t qt = dk_op_token(fake.event_op);
    fake.event_at = fake.now + 3000000;
    demi_qresult_t qr;
    uint32_t at;
    assert_int_equal(fake_wait_any(&fake, &qr, &at, &qt, 1, 10000000), 0);
    assert_int_equal(fake.spinning_polls, 0);
    assert_true(fake.blocks >= 1 && fake.blocks <= 2);
    assert_true(fake.polls <= 4);
    assert_true(fake.last_block_ns > 0 && fake.last_block_ns <= 10000000);
}

static void test_wait_always_spins_and_never_blocks(void **state)
{
    (void)state;
    fake.event_op = fake_pop(fake.queue);
    const demi_qtoken_t qt = dk_op_token(fake.event_op);
    fake.event_at = fake.now + 3000000;
    demi_qresult_t qr;
    uint32_t at;
    assert_int_equal(fake_wait_any(&fake, &qr, &at, &qt, 1, -1), 0);
    assert_int_equal(fake.blocks, 0);
    assert_true(fake.spinning_polls > 1000);
}

/* Looks as the one thread that calls the library does, before it is a waiter. */
static int look_alone(demi_qtoken_t qt, demi_qresult_t *qr, int64_t most_ns)
{
    if (!dk_alone_enter())
        skip(); /* the kernel has no barrier for it */
    fake.polls = 0;
    const int r = dk_wait_look(fake.inst, &dk_thread_self->waiter, qt, qr, most_ns, true);
    dk_alone_leave(true);
    return r;
}

static void test_wait_alone_spins_to_the_event_and_seldom_reads_the_clock(void **state)
{
    (void)state;
    fake.event_op = fake_pop(fake.queue);
    fake.event_at = fake.now + 2000;
    const int64_t start = fake.now;
    demi_qresult_t qr;
    assert_int_equal(look_alone(dk_op_token(fake.event_op), &qr, INT64_MAX), 0);
    assert_true(fake.polls >= (fake.now - start) / fake.tick_ns * 7);
    assert_int_equal(fake.blocks, 0);
    assert_int_equal(fake.inst->stats->array_reads, 0);
    assert_int_equal(dk_thread_self->waiter.spun_ns, 0);
}

static void test_wait_alone_spins_for_its_budget_and_not_again_as_a_waiter(void **state)
{
    (void)state;
    struct dk_op *op = fake_pop(fake.queue);
    const demi_qtoken_t qt = dk_op_token(op);
    const int64_t start = fake.now;
    demi_qresult_t qr;
    uint32_t at;
    assert_int_equal(look_alone(qt, &qr, INT64_MAX), -EAGAIN);
    assert_true(fake.now - start >= 50000 && fake.now - start <= 51000);
    assert_int_equal(fake.blocks, 0);
    fake.event_op = op;
    fake.event_at = fake.now + 3000000;
    fake.polls = 0;
    assert_int_equal(fake_wait_any(&fake, &qr, &at, &qt, 1, -1), 0);
    assert_true(fake.blocks >= 1 && fake.polls < 20);
    assert_int_equal(dk_thread_self->waiter.spun_ns, 0);
}

static void test_wait_alone_time_that_was_spun_is_of_the_timeout(void **state)
{
    (void)state;
    struct dk_op *op = fake_pop(fake.queue);
    const demi_qtoken_t qt = dk_op_token(op);
    static const int64_t timeouts[] = {1, 1000, 40000, 60000, 1000000};
    for (size_t i = 0; i < sizeof timeouts / sizeof timeouts[0]; i++) {
        demi_qresult_t qr;
        uint32_t at;
        const int64_t start = fake.now;
        assert_int_equal(look_alone(qt, &qr, timeouts[i]), -EAGAIN);
        assert_int_equal(fake_wait_any(&fake, &qr, &at, &qt, 1, timeouts[i]), -ETIMEDOUT);
        assert_true(fake.now - start >= timeouts[i]);
        assert_true(fake.now - start <= timeouts[i] + 3000);
    }
    dk_op_release(op);
}

static void test_wait_alone_spins_no_longer_than_the_timeout(void **state)
{
    (void)state;
    struct dk_op *op = fake_pop(fake.queue);
    const int64_t start = fake.now;
    demi_qresult_t qr;
    assert_int_equal(look_alone(dk_op_token(op), &qr, 1000), -EAGAIN);
    assert_true(fake.now - start >= 1000 && fake.now - start <= 1500);
    assert_int_equal(look_alone(dk_op_token(op), &qr, 0), -EAGAIN);
    assert_int_equal(fake.polls, 0);
    dk_thread_self->waiter.spun_ns = 0;
    dk_op_release(op);
}

static void test_wait_alone_for_several_spins_to_the_event(void **state)
{
    (void)state;
    demi_qtoken_t qts[3];
    for (int i = 0; i < 3; i++) {
        fake.event_op = fake_pop(fake.queue);
        qts[i] = dk_op_token(fake.event_op);
    }
    demi_qresult_t qr;
    uint32_t at;
    fake.event_at = fake.now + 2000;
    fake.polls = 0;
    const int64_t start = fake.now;
    assert_int_equal(fake_wait_any(&fake, &qr, &at, qts, 3, -1), 0);
    assert_int_equal(at, 2);
    assert_true(fake.now - start < 3000 && fake.polls >= 2000 / 100 * 7);
    assert_int_equal(fake.inst->leader, 0);
    assert_int_equal(fake.inst->num_waiting, 0);
}

static void test_wait_alone_ends_at_once_for_whoever_wants_in(void **state)
{
    (void)state;
    struct dk_op *op = fake_pop(fake.queue);
    demi_qresult_t qr;
    if (!dk_alone_enter())
        skip();
    __atomic_store_n(&dk_alone.ended, 1, __ATOMIC_RELAXED);
    fake.polls = 0;
    assert_int_equal(
        dk_wait_look(fake.inst, &dk_thread_self->waiter, dk_op_token(op), &qr, INT64_MAX, true),
        -EAGAIN);
    __atomic_store_n(&dk_alone.ended, 0, __ATOMIC_RELAXED);
    dk_alone_leave(true);
    assert_int_equal(fake.polls, 1);
    dk_op_release(op);
}

static void test_wait_alone_stale_token_is_looked_for_once(void **state)
{
    (void)state;
    struct dk_op *op = fake_pop(fake.queue);
    demi_qresult_t qr;
    assert_int_equal(look_alone(dk_op_token(op) + DK_OP_ONE_GENERATION, &qr, INT64_MAX), -EAGAIN);
    assert_int_equal(fake.polls, 1);
    dk_op_release(op);
}

static void test_wait_block_returns_for_nothing_waits_on(void **state)
{
    (void)state;
    struct dk_op *op = fake_pop(fake.queue);
    struct dk_op *other = fake_pop(fake.queue);
    const demi_qtoken_t qt = dk_op_token(op);
    fake.event_op = other; /* somebody else's operation wakes the device */
    fake.event_at = fake.now + 1000000;
    demi_qresult_t qr;
    uint32_t at;
    const int64_t start = fake.now;
    assert_int_equal(fake_wait_any(&fake, &qr, &at, &qt, 1, 5000000), -ETIMEDOUT);
    assert_true(fake.now - start >= 5000000);
    assert_true(fake.blocks >= 2);
    dk_op_release(op);
}

/* The claim of the design: a wait costs by completions, not by tokens. */
static void test_wait_any_steady_state_reads_no_array(void **state)
{
    (void)state;
    enum { TOKENS = 20000, ROUNDS = 3000 };
    struct dk_op **ops = calloc(TOKENS, sizeof *ops);
    demi_qtoken_t *qts = calloc(TOKENS, sizeof *qts);
    for (int i = 0; i < TOKENS; i++) {
        ops[i] = fake_pop(fake.queue);
        qts[i] = dk_op_token(ops[i]);
    }
    demi_qresult_t qr;
    uint32_t at;
    for (int round = 0; round < 10; round++) { /* the array becomes known */
        dk_op_complete(ops[round * 3], 0);
        assert_int_equal(fake_wait_any(&fake, &qr, &at, qts, TOKENS, 0), 0);
        assert_int_equal(at, round * 3);
        ops[at] = fake_pop(fake.queue);
        qts[at] = dk_op_token(ops[at]);
    }
    const uint64_t reads = fake.inst->stats->array_reads;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        const uint32_t i = round * 7919 % TOKENS;
        dk_op_complete(ops[i], 0);
        assert_int_equal(fake_wait_any(&fake, &qr, &at, qts, TOKENS, 0), 0);
        assert_int_equal(at, i);
        ops[i] = fake_pop(fake.queue);
        qts[i] = dk_op_token(ops[i]);
    }
    assert_true(fake.inst->stats->array_reads - reads <= 3);
    for (int i = 0; i < TOKENS; i++)
        dk_op_release(ops[i]);
    free(ops);
    free(qts);
}

/* Others' results that nobody collects make no wait read its array at every look. */
static void test_wait_any_results_of_others_cause_no_reading_again(void **state)
{
    (void)state;
    enum { TOKENS = 1000 };
    struct dk_op *ops[TOKENS];
    demi_qtoken_t qts[TOKENS];
    demi_qresult_t qr;
    uint32_t at;
    for (int i = 0; i < TOKENS; i++) {
        ops[i] = fake_pop(fake.queue);
        qts[i] = dk_op_token(ops[i]);
    }
    struct dk_op *other = fake_pop(fake.queue);
    const demi_qtoken_t others = dk_op_token(other);
    dk_op_complete(other, 0);
    const uint64_t reads = fake.inst->stats->array_reads;
    const uint32_t polls = fake.polls;
    assert_int_equal(fake_wait_any(&fake, &qr, &at, qts, TOKENS, 45000), -ETIMEDOUT);
    assert_true(fake.polls - polls > 50);
    assert_true(fake.inst->stats->array_reads - reads <= 3);
    assert_int_equal(fake_wait_any(&fake, &qr, &at, &others, 1, 0), 0);
    for (int i = 0; i < TOKENS; i++)
        dk_op_release(ops[i]);
}

static void test_wait_any_stale_token_is_named_before_sleeping(void **state)
{
    (void)state;
    enum { TOKENS = 100 };
    struct dk_op *ops[TOKENS];
    demi_qtoken_t qts[TOKENS];
    demi_qresult_t qr;
    uint32_t at;
    for (int i = 0; i < TOKENS; i++) {
        ops[i] = fake_pop(fake.queue);
        qts[i] = dk_op_token(ops[i]);
    }
    dk_op_release(ops[63]);
    assert_int_equal(fake_wait_any(&fake, &qr, &at, qts, TOKENS, -1), -EINVAL);
    assert_int_equal(at, 63);
    assert_int_equal(fake.blocks, 0);
    for (int i = 0; i < TOKENS; i++)
        if (i != 63)
            dk_op_release(ops[i]);
}

static void test_wait_all_sleeps_through_all_but_the_last(void **state)
{
    (void)state;
    struct dk_op *ops[3];
    demi_qtoken_t qts[3];
    demi_qresult_t qrs[3];
    for (int i = 0; i < 3; i++) {
        ops[i] = fake_pop(fake.queue);
        qts[i] = dk_op_token(ops[i]);
    }
    dk_op_complete(ops[2], 0);
    dk_op_complete(ops[0], -EPIPE);
    fake.event_op = ops[1];
    fake.event_at = fake.now + 1000000;
    assert_int_equal(fake_wait_all(&fake, qrs, qts, 3, -1), 0);
    for (int i = 0; i < 3; i++)
        assert_true(qrs[i].qr_qt == qts[i]);
    assert_int_equal(qrs[0].qr_opcode, DEMI_OPC_FAILED);
    assert_int_equal(qrs[0].qr_ret, EPIPE);
    assert_int_equal(qrs[1].qr_opcode, DEMI_OPC_POP);
}

static void test_cancel_asks_the_queue_and_frees_the_slot(void **state)
{
    (void)state;
    struct dk_op *op = fake_pop(fake.queue);
    const demi_qtoken_t qt = dk_op_token(op);
    assert_int_equal(dk_cancel(fake.inst, qt), 0);
    assert_int_equal(fake.cancelled, 1);
    assert_int_equal(dk_cancel(fake.inst, qt), -EINVAL);
    assert_int_equal(fake.cancelled, 1);
    op = fake_pop(fake.queue);
    dk_op_complete(op, 0);
    const demi_qtoken_t done = dk_op_token(op);
    assert_int_equal(dk_cancel(fake.inst, done), -EALREADY);
    assert_int_equal(fake.cancelled, 1);
    demi_qresult_t qr;
    uint32_t at;
    assert_int_equal(fake_wait_any(&fake, &qr, &at, &done, 1, 0), 0);
}

int main(void)
{
#define TEST(f, setup) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_wait_zero_timeout_polls_and_does_not_block, setup_adaptive),
        TEST(test_wait_zero_timeout_finds_what_its_poll_brings, setup_adaptive),
        TEST(test_wait_times_out_when_its_time_has_passed_not_before, setup_adaptive),
        TEST(test_wait_adaptive_spins_for_its_budget_then_blocks, setup_adaptive),
        TEST(test_wait_adaptive_event_within_the_budget_never_blocks, setup_adaptive),
        TEST(test_wait_never_blocks_at_once, setup_never),
        TEST(test_wait_always_spins_and_never_blocks, setup_always),
        TEST(test_wait_alone_spins_to_the_event_and_seldom_reads_the_clock, setup_adaptive),
        TEST(test_wait_alone_spins_for_its_budget_and_not_again_as_a_waiter, setup_adaptive),
        TEST(test_wait_alone_time_that_was_spun_is_of_the_timeout, setup_adaptive),
        TEST(test_wait_alone_spins_no_longer_than_the_timeout, setup_adaptive),
        TEST(test_wait_alone_for_several_spins_to_the_event, setup_adaptive),
        TEST(test_wait_alone_ends_at_once_for_whoever_wants_in, setup_adaptive),
        TEST(test_wait_alone_stale_token_is_looked_for_once, setup_adaptive),
        TEST(test_wait_block_returns_for_nothing_waits_on, setup_adaptive),
        TEST(test_wait_any_steady_state_reads_no_array, setup_adaptive),
        TEST(test_wait_any_results_of_others_cause_no_reading_again, setup_adaptive),
        TEST(test_wait_any_stale_token_is_named_before_sleeping, setup_adaptive),
        TEST(test_wait_all_sleeps_through_all_but_the_last, setup_adaptive),
        TEST(test_cancel_asks_the_queue_and_frees_the_slot, setup_adaptive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
