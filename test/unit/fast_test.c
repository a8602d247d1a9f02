/* SPDX-License-Identifier: MIT */
/*
 * The shortest path of a process with one thread: an operation that is done at once and has not
 * left the free list. Whatever comes between it and its wait, it is an operation like any other.
 */
#include "api/api.h"
#include "core/instance.h"
#include "core/led.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <demi/admin.h>
#include <demi/libos.h>
#include <demi/queue.h>
#include <demi/sga.h>
#include <demi/wait.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

static int qd;
static const struct timespec at_once;

static int setup(void **state)
{
    (void)state;
    setenv("DEMI_NET", "memory", 1);
    assert_int_equal(demi_init(NULL), 0);
    assert_int_equal(demi_queue(&qd, 0), 0);
    for (int i = 0; i < 3; i++) { /* in use: its ring is there */
        demi_sgarray_t sga = demi_sgaalloc(8);
        demi_qresult_t qr;
        assert_int_equal(demi_blocking_push(qd, &sga), 0);
        assert_int_equal(demi_blocking_pop(qd, &qr), 0);
        assert_int_equal(demi_sgafree(&qr.qr_value.sga), 0);
        assert_int_equal(demi_sgafree(&sga), 0);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_int_equal(demi_fini(), 0);
    return 0;
}

static demi_qtoken_t push(void)
{
    demi_sgarray_t sga = demi_sgaalloc(8);
    demi_qtoken_t qt = 0;
    assert_int_equal(demi_push(&qt, qd, &sga), 0);
    assert_int_equal(demi_sgafree(&sga), 0);
    return qt;
}

static void collect(demi_qtoken_t qt, demi_opcode_t opcode)
{
    demi_qresult_t qr;
    assert_int_equal(demi_wait(&qr, qt, &at_once), 0);
    assert_true(qr.qr_qt == qt);
    assert_int_equal(qr.qr_opcode, opcode);
    if (opcode == DEMI_OPC_POP)
        assert_int_equal(demi_sgafree(&qr.qr_value.sga), 0);
    assert_int_equal(demi_wait(&qr, qt, &at_once), EINVAL);
}

static void test_fast_push_is_fresh(void **state)
{
    (void)state;
    const demi_qtoken_t qt = push();
    assert_non_null(dk_api.first->fresh); /* else these tests test nothing */
    collect(qt, DEMI_OPC_PUSH);
    assert_null(dk_api.first->fresh);
    demi_qtoken_t pop;
    assert_int_equal(demi_pop(&pop, qd), 0);
    assert_non_null(dk_api.first->fresh);
    collect(pop, DEMI_OPC_POP);
}

static void test_fast_two_outstanding_have_two_slots(void **state)
{
    (void)state;
    demi_qtoken_t qts[20];
    for (int i = 0; i < 20; i++) {
        qts[i] = push();
        for (int k = 0; k < i; k++)
            assert_true(((qts[k] ^ qts[i]) & ((1u << 24) - 1)) != 0);
    }
    for (int i = 19; i >= 0; i--)
        collect(qts[i], DEMI_OPC_PUSH);
}

static void test_fast_other_token_is_not_taken_for_it(void **state)
{
    (void)state;
    const demi_qtoken_t old = push();
    collect(old, DEMI_OPC_PUSH);
    const demi_qtoken_t qt = push();
    demi_qresult_t qr;
    assert_int_equal(demi_wait(&qr, old, &at_once), EINVAL);
    assert_int_equal(demi_wait(&qr, qt + ((demi_qtoken_t)1 << 24), &at_once), EINVAL);
    assert_int_equal(demi_cancel(qt), EALREADY);
    assert_int_equal(demi_cancel(old), EINVAL);
    collect(qt, DEMI_OPC_PUSH);
}

static void test_fast_is_found_by_every_wait(void **state)
{
    (void)state;
    for (int way = 0; way < 4; way++) {
        const demi_qtoken_t qt = push();
        demi_qresult_t qr;
        int n = -1;
        if (way == 0)
            assert_int_equal(demi_wait_any(&qr, &n, &qt, 1, &at_once), 0);
        else if (way == 1)
            assert_int_equal(demi_wait_all(&qr, &qt, 1, &at_once), 0);
        else if (way == 2)
            assert_int_equal(demi_wait_some(&qr, 1, &n, &at_once), 0);
        else
            assert_int_equal(demi_wait_next_n(&qr, 1, &n, &at_once), 0);
        assert_true(qr.qr_qt == qt);
        assert_int_equal(qr.qr_opcode, DEMI_OPC_PUSH);
        assert_int_equal(demi_wait(&qr, qt, &at_once), EINVAL);
    }
}

static void test_fast_results_come_in_the_order_of_completion(void **state)
{
    (void)state;
    demi_qtoken_t qts[6];
    demi_qresult_t qrs[6];
    int n = 0;
    for (int i = 0; i < 6; i++)
        qts[i] = push();
    assert_int_equal(demi_wait_some(qrs, 6, &n, &at_once), 0);
    assert_int_equal(n, 6);
    for (int i = 0; i < 6; i++)
        assert_true(qrs[i].qr_qt == qts[i]);
}

static void test_fast_generations_used_up_slot_is_retired(void **state)
{
    (void)state;
    const uint64_t last = (UINT64_C(1) << 40) - 1;
    assert_true(dk_op_set_next_generation(dk_api.first, last));
    const demi_qtoken_t qt = push();
    assert_true(qt >> 24 == last);
    collect(qt, DEMI_OPC_PUSH);
    for (int i = 0; i < 50; i++) {
        const demi_qtoken_t next = push();
        assert_true(((next ^ qt) & ((1u << 24) - 1)) != 0);
        assert_true(next != 0 && next >> 24 != 0);
        collect(next, DEMI_OPC_PUSH);
    }
}

static void test_fast_freed_or_foreign_sga_is_refused(void **state)
{
    (void)state;
    static char own[8] = "owned";
    demi_qtoken_t qt = 4711;
    demi_sgarray_t sga = demi_sgaalloc(8);
    demi_sgarray_t copy = sga;
    assert_int_equal(demi_sgafree(&sga), 0);
    assert_int_equal(demi_push(&qt, qd, &copy), EINVAL);
    demi_sgarray_t other = demi_sgaalloc(8); /* the same memory, most likely */
    assert_int_equal(demi_push(&qt, qd, &copy), EINVAL);
    assert_int_equal(demi_sgafree(&other), 0);
    assert_true(qt == 4711);
    memset(&sga, 0, sizeof sga);
    sga.sga_numsegs = 1;
    sga.sga_segs[0] = (demi_sgaseg_t){own, sizeof own};
    assert_int_equal(demi_push(&qt, qd, &sga), 0);
    own[0] = 'X'; /* lent until the token completes, and it has */
    collect(qt, DEMI_OPC_PUSH);
    demi_qresult_t qr;
    assert_int_equal(demi_blocking_pop(qd, &qr), 0);
    assert_memory_equal(qr.qr_value.sga.sga_segs[0].sgaseg_buf, "owned", 6);
    assert_int_equal(demi_sgafree(&qr.qr_value.sga), 0);
}

static void test_fast_left_at_fini_leaves_nothing_behind(void **state)
{
    (void)state;
    const uint32_t before = dk_buf_in_use();
    demi_qtoken_t qt;
    push();
    push();
    assert_int_equal(demi_pop(&qt, qd), 0); /* fresh, with an element */
    assert_int_equal(demi_fini(), 0);
    assert_int_equal(dk_buf_in_use(), before);
    assert_int_equal(demi_init(NULL), 0);
}

static uint64_t completions(void)
{
    struct demi_stat stats[64];
    size_t n = 0;
    assert_int_equal(demi_stats(stats, 64, &n), 0);
    for (size_t i = 0; i < n; i++)
        if (strcmp(stats[i].name, "core.completions") == 0)
            return stats[i].value;
    fail();
    return 0;
}

/* A push and a pop with nothing but their waits: not even one that fails, which would count. */
static void go_round(void)
{
    demi_qtoken_t qt = push();
    demi_qresult_t qr;
    assert_int_equal(demi_wait(&qr, qt, NULL), 0);
    assert_int_equal(demi_pop(&qt, qd), 0);
    assert_int_equal(demi_wait(&qr, qt, NULL), 0);
    assert_int_equal(demi_sgafree(&qr.qr_value.sga), 0);
}

/* An operation that was outstanding puts its slot before the one of the shortest path. */
static void test_fast_among_others_is_counted(void **state)
{
    (void)state;
    uint64_t expected = completions();
    demi_qtoken_t pops[8], qt;
    unsigned outstanding = 0;
    int other;
    assert_int_equal(demi_queue(&other, 0), 0);
    srand(1);
    for (int i = 0; i < 5000; i++) {
        const int what = rand() % 16;
        if (what == 0 && outstanding < 8) {
            assert_int_equal(demi_pop(&pops[outstanding++], other), 0);
        } else if (what == 1 && outstanding == 1) {
            assert_int_equal(demi_cancel(pops[--outstanding]), 0);
        } else if (what == 2 && outstanding > 0) {
            demi_sgarray_t sga = demi_sgaalloc(8);
            assert_int_equal(demi_push(&qt, other, &sga), 0);
            assert_int_equal(demi_sgafree(&sga), 0);
            collect(qt, DEMI_OPC_PUSH);
            go_round();
            collect(pops[0], DEMI_OPC_POP);
            memmove(pops, pops + 1, --outstanding * sizeof pops[0]);
            expected += 4;
            assert_int_equal(completions(), expected);
        } else if (what == 3) {
            assert_int_equal(completions(), expected);
        } else if (what == 4) {
            qt = push(); /* fresh, and no more when the next one comes */
            go_round();
            collect(qt, DEMI_OPC_PUSH);
            assert_int_equal(demi_pop(&qt, qd), 0);
            collect(qt, DEMI_OPC_POP);
            expected += 4;
        } else {
            go_round();
            expected += 2;
        }
    }
    assert_int_equal(completions(), expected);
}

/* A slot that comes free while another operation is fresh is used again. */
static void test_fast_slot_freed_meanwhile_is_not_lost(void **state)
{
    (void)state;
    struct dk_instance *inst = dk_api.first;
    for (int i = 0; i < 2000; i++) {
        demi_qtoken_t pop, first, second, next;
        assert_int_equal(demi_pop(&pop, qd), 0);
        first = push(); /* for the pop: both are done, neither is fresh */
        second = push();
        assert_non_null(inst->fresh);
        collect(pop, DEMI_OPC_POP);
        assert_int_equal(demi_pop(&next, qd), 0);
        assert_true((next & DK_OP_MAX_SLOTS) < 16);
        collect(first, DEMI_OPC_PUSH);
        collect(second, DEMI_OPC_PUSH);
        collect(next, DEMI_OPC_POP);
    }
    for (int i = 0; i < 2000; i++) {
        struct dk_queue *q = dk_queue_lookup(qd);
        struct dk_op *op;
        assert_true(dk_queue_get(q));
        assert_int_equal(dk_op_alloc(&op, inst, q, DEMI_OPC_POP), 0);
        assert_true((dk_op_token(op) & DK_OP_MAX_SLOTS) < 16);
        const demi_qtoken_t qt = push();
        assert_non_null(inst->fresh);
        dk_op_release(op);
        assert_int_equal(demi_cancel(qt), EALREADY); /* looked at: not fresh any more */
        collect(qt, DEMI_OPC_PUSH);
        demi_qtoken_t pop;
        assert_int_equal(demi_pop(&pop, qd), 0);
        collect(pop, DEMI_OPC_POP);
    }
}

static bool pass_all(const demi_sgarray_t *sga, void *arg)
{
    (void)sga;
    (void)arg;
    return true;
}

static void *close_queue(void *arg)
{
    assert_int_equal(demi_close(*(int *)arg), 0);
    return NULL;
}

/* A push that was fresh when its queue was closed holds the queue, whoever closed it. */
static void test_fast_push_before_another_thread_closes_holds_the_queue(void **state)
{
    (void)state;
    struct dk_instance *inst = dk_api.first;
    pthread_t other;
    int filtered, again;
    assert_int_equal(demi_filter(&filtered, qd, pass_all, NULL), 0);
    struct dk_queue *q = dk_queue_lookup(filtered);
    assert_false(q->anywhere);
    dk_lead_take(inst);
    assert_int_equal(pthread_create(&other, NULL, close_queue, &filtered), 0);
    while (__atomic_load_n(&inst->lead_wanted, __ATOMIC_ACQUIRE) == 0)
        sched_yield();
    assert_true(dk_op_reserve(inst));
    const demi_qtoken_t qt = dk_led_make_fresh(inst, q, false); /* as a push does */
    dk_lead_drop(inst);
    assert_int_equal(pthread_join(other, NULL), 0);
    assert_int_equal(demi_queue(&again, 0), 0);
    assert_int_not_equal(again, filtered); /* its descriptor waits for the token */
    assert_int_equal(demi_close(again), 0);
    collect(qt, DEMI_OPC_PUSH);
    assert_int_equal(q->state, DK_QUEUE_FREE);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_fast_push_is_fresh),
        TEST(test_fast_two_outstanding_have_two_slots),
        TEST(test_fast_other_token_is_not_taken_for_it),
        TEST(test_fast_is_found_by_every_wait),
        TEST(test_fast_results_come_in_the_order_of_completion),
        TEST(test_fast_generations_used_up_slot_is_retired),
        TEST(test_fast_freed_or_foreign_sga_is_refused),
        TEST(test_fast_left_at_fini_leaves_nothing_behind),
        TEST(test_fast_among_others_is_counted),
        TEST(test_fast_slot_freed_meanwhile_is_not_lost),
        TEST(test_fast_push_before_another_thread_closes_holds_the_queue), /* last: threads */
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
