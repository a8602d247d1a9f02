/* SPDX-License-Identifier: MIT */
/*
 * How queues below an operator end: a source that is closed, any number of operators further down,
 * cancels every pop that is outstanding; what goes wrong with one element goes wrong with that one.
 */
#include "operators.h"

#include <string.h>

enum { POPS = 3 };

/* Queues in memory and what stands over them. */
struct base {
    int queues[2];
    int qd;       /* over both, or over the first */
    int outer[4]; /* more to close, the last one first; -1: none */
    int outers;
};

static int keep(struct base *b, int qd)
{
    b->outer[b->outers++] = qd;
    return qd;
}

static int merge_of(int one, int two)
{
    int qd = -1;
    must(demi_merge(&qd, one, two));
    return qd;
}

static int frame_of(int qd)
{
    int framed = -1;
    must(demi_frame(&framed, qd, &demi_framer_u32, NULL));
    return framed;
}

/* What can stand between a queue that is closed and the operator that is popped. */
enum below { QUEUE, OPERATOR, MERGE, MERGE_OVER_OPERATOR, MERGE_OVER_MERGE, FRAME, BELOW_KINDS };

static struct base base_make(enum below below, enum kind kind)
{
    struct base b = {.queues = {-1, -1}};
    must(demi_queue(&b.queues[0], 0));
    must(demi_queue(&b.queues[1], 0));
    const int first = b.queues[0], second = b.queues[1];
    if (below == QUEUE)
        b.qd = first;
    else if (below == OPERATOR)
        b.qd = keep(&b, derive(kind, first));
    else if (below == MERGE)
        b.qd = keep(&b, merge_of(first, second));
    else if (below == MERGE_OVER_OPERATOR)
        b.qd = keep(&b, merge_of(keep(&b, derive(kind, first)), second));
    else if (below == FRAME)
        b.qd = keep(&b, frame_of(first));
    else {
        int third = -1;
        must(demi_queue(&third, 0));
        b.qd = keep(&b, merge_of(keep(&b, merge_of(first, keep(&b, third))), second));
    }
    return b;
}

static void base_close(struct base *b)
{
    while (b->outers > 0)
        must(demi_close(b->outer[--b->outers]));
    must(demi_close(b->queues[1]));
}

static bool has_other_source(enum below below)
{
    return below == MERGE || below == MERGE_OVER_OPERATOR || below == MERGE_OVER_MERGE;
}

/* Closes the first queue while pops of qd wait: all are cancelled, and the other source goes on. */
static void close_first_and_check(struct base *b, int qd, enum below below, bool other)
{
    demi_qtoken_t qts[POPS];
    for (int i = 0; i < POPS; i++)
        qts[i] = pop_start(qd);
    must_wait(qts[POPS - 1]);
    must(demi_close(b->queues[0]));
    for (int i = 0; i < POPS; i++)
        assert_int_equal(wait_failure(qts[i]), ECANCELED);
    if (!has_other_source(below) || !other)
        return;
    const demi_qtoken_t next = pop_start(qd);
    must_wait(next);
    send_element(b->queues[1], 100, 1);
    wait_element(next, 100, 1);
}

static void test_closed_source_cancels_all_pops_of_operators_over_it(void **state)
{
    (void)state;
    const uint64_t before = buffers_now();
    for (enum below below = 0; below < BELOW_KINDS; below++)
        FOR_EACH_KIND(kind)
    FOR_EACH_KIND(top)
    {
        struct base b = base_make(below, kind);
        const int qd = derive(top, b.qd);
        close_first_and_check(&b, qd, below, true);
        must(demi_close(qd));
        base_close(&b);
    }
    buffers_must_be(before);
}

static void test_closed_source_cancels_all_pops_of_a_merge_over_operators(void **state)
{
    (void)state;
    for (enum below below = 0; below < BELOW_KINDS; below++)
        FOR_EACH_KIND(kind)
        {
            struct base b = base_make(below, kind);
            int other = -1;
            must(demi_queue(&other, 0));
            const int qd = merge_of(b.qd, other);
            close_first_and_check(&b, qd, below, true);
            must(demi_close(qd));
            base_close(&b);
            must(demi_close(other));
        }
}

static void test_closed_source_cancels_all_pops_of_a_frame_over_operators(void **state)
{
    (void)state;
    for (enum below below = 0; below < FRAME; below++)
        FOR_EACH_KIND(kind)
        {
            struct base b = base_make(below, kind);
            const int qd = frame_of(b.qd);
            close_first_and_check(&b, qd, below, false);
            must(demi_close(qd));
            base_close(&b);
        }
}

static uint32_t by_length(const demi_sgarray_t *sga, void *arg)
{
    (void)arg;
    return (uint32_t)sga_bytes(sga);
}

static void test_closed_source_cancels_all_pops_of_every_output(void **state)
{
    (void)state;
    for (enum below below = 0; below < BELOW_KINDS; below++)
        FOR_EACH_KIND(top)
        {
            struct base b = base_make(below, FILTER);
            int outputs[2];
            must(demi_partition(outputs, 2, b.qd, by_length, NULL));
            const int qd = derive(top, outputs[0]);
            demi_qtoken_t qts[2 * POPS];
            for (int i = 0; i < POPS; i++) {
                qts[i] = pop_start(qd);
                qts[POPS + i] = pop_start(outputs[1]);
            }
            must(demi_close(b.queues[0]));
            for (int i = 0; i < 2 * POPS; i++)
                assert_int_equal(wait_failure(qts[i]), ECANCELED);
            must(demi_close(qd));
            must(demi_close(outputs[0]));
            must(demi_close(outputs[1]));
            base_close(&b);
        }
}

enum { OUTPUT_MAX = 1024 };

static void test_closed_source_cancels_pops_behind_a_full_output(void **state)
{
    (void)state;
    const uint64_t before = buffers_now();
    for (enum below below = 0; below < FRAME; below++) {
        struct base b = base_make(below, FILTER);
        int outputs[2];
        must(demi_partition(outputs, 2, b.qd, by_length, NULL));
        for (int i = 0; i < OUTPUT_MAX + 1; i++)
            send_element(b.queues[0], 2, 0);
        const demi_qtoken_t qt = pop_start(outputs[1]);
        must_wait(qt);
        must(demi_close(b.queues[0]));
        assert_int_equal(wait_failure(qt), ECANCELED);
        must(demi_close(outputs[0]));
        must(demi_close(outputs[1]));
        base_close(&b);
    }
    buffers_must_be(before);
}

static void test_closed_source_ends_a_connection_over_operators(void **state)
{
    (void)state;
    for (enum below below = 0; below < BELOW_KINDS; below++)
        FOR_EACH_KIND(top)
        {
            struct base b = base_make(below, FILTER);
            const int qd = derive(top, b.qd);
            int out = -1;
            demi_qtoken_t watch;
            must(demi_queue(&out, 0));
            must(demi_qconnect_watch(&watch, qd, out));
            must_wait(watch);
            must(demi_close(b.queues[0]));
            assert_int_equal(wait_failure(watch), ECANCELED);
            must(demi_close(qd));
            must(demi_close(out));
            base_close(&b);
        }
}

static int fail_odd(demi_sgarray_t *sga, void *arg)
{
    (void)arg;
    return sga_bytes(sga) % 2 ? ECANCELED : 0;
}

static void test_errno_of_a_map_fails_one_pop_of_operators_over_it(void **state)
{
    (void)state;
    FOR_EACH_KIND(top)
    {
        int source = -1, mapped = -1;
        must(demi_queue(&source, 0));
        must(demi_map_dir(&mapped, source, NULL, fail_odd, NULL));
        const int qd = derive(top, mapped);
        const demi_qtoken_t first = pop_start(qd), second = pop_start(qd);
        must_wait(second);
        send_element(source, 3, 1);
        assert_int_equal(wait_failure(first), ECANCELED);
        if (top == PARTITION) { /* whose the element was is not known */
            assert_int_equal(wait_failure(second), ECANCELED);
        } else {
            must_wait(second);
            send_element(source, 4, 2);
            wait_element(second, 4, 2);
        }
        must(demi_close(qd));
        must(demi_close(mapped));
        must(demi_close(source));
    }
}

static void test_errno_of_a_map_leaves_the_merge_over_it_both_sides(void **state)
{
    (void)state;
    FOR_EACH_KIND(between)
    {
        int source = -1, other = -1, mapped = -1;
        must(demi_queue(&source, 0));
        must(demi_queue(&other, 0));
        must(demi_map_dir(&mapped, source, NULL, fail_odd, NULL));
        const int upper = derive(between, mapped), qd = merge_of(upper, other);
        for (int i = 0; i < 3; i++) { /* those that wait, and those that need not */
            const demi_qtoken_t qt = pop_start(qd);
            must_wait(qt);
            send_element(source, 3, 1);
            assert_int_equal(wait_failure(qt), ECANCELED);
            send_element(source, 5, 1);
            assert_int_equal(wait_failure(pop_start(qd)), ECANCELED);
            send_element(source, 4, 2);
            pop_element(qd, 4, 2);
            send_element(other, 5, 3);
            pop_element(qd, 5, 3);
        }
        must(demi_close(qd));
        must(demi_close(upper));
        must(demi_close(mapped));
        must(demi_close(source));
        must(demi_close(other));
    }
}

int run_compose_ends_tests(void)
{
    const struct CMUnitTest tests[] = {
        STARTED(test_closed_source_cancels_all_pops_of_operators_over_it),
        STARTED(test_closed_source_cancels_all_pops_of_a_merge_over_operators),
        STARTED(test_closed_source_cancels_all_pops_of_a_frame_over_operators),
        STARTED(test_closed_source_cancels_all_pops_of_every_output),
        STARTED(test_closed_source_cancels_pops_behind_a_full_output),
        STARTED(test_closed_source_ends_a_connection_over_operators),
        STARTED(test_errno_of_a_map_fails_one_pop_of_operators_over_it),
        STARTED(test_errno_of_a_map_leaves_the_merge_over_it_both_sides),
    };
    return cmocka_run_group_tests_name("compose_ends", tests, NULL, NULL);
}
