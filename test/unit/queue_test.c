/* SPDX-License-Identifier: MIT */
/* The descriptor table. */
#include "fake.h"

#include <errno.h>

static struct fake fake;

static int setup(void **state)
{
    (void)state;
    fake_start(&fake, 1024, 32, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_end(&fake);
    return 0;
}

static void test_queue_table_full_is_emfile_and_recovers(void **state)
{
    (void)state;
    struct dk_queue *queues[31];
    struct dk_queue *q = NULL;
    for (int i = 0; i < 31; i++)
        queues[i] = fake_queue(&fake);
    assert_int_equal(dk_queue_create(&q, fake.inst, fake.queue->ops, &fake, false), -EMFILE);
    assert_null(q);
    const int qd = queues[7]->qd;
    fake_queue_close(queues[7]);
    queues[7] = fake_queue(&fake);
    assert_int_equal(queues[7]->qd, qd);
    assert_int_equal(dk_queue_create(&q, fake.inst, fake.queue->ops, &fake, false), -EMFILE);
    for (int i = 0; i < 31; i++)
        fake_queue_close(queues[i]);
}

static void test_queue_lookup_finds_only_what_is_open(void **state)
{
    (void)state;
    static const int never[] = {-1, INT32_MIN, INT32_MAX, 31, 32, 33, 1 << 20};
    for (size_t i = 0; i < sizeof never / sizeof never[0]; i++)
        assert_null(dk_queue_lookup(never[i]));
    struct dk_queue *q = fake_queue(&fake);
    assert_ptr_equal(dk_queue_lookup(q->qd), q);
    const int qd = q->qd;
    struct dk_op *op = fake_pop(q);
    fake_queue_close(q);
    assert_null(dk_queue_lookup(qd));
    dk_op_release(op);
    assert_null(dk_queue_lookup(qd));
}

static void test_queue_reused_has_another_generation(void **state)
{
    (void)state;
    struct dk_queue *q = fake_queue(&fake);
    uint32_t gen = q->gen;
    const int qd = q->qd;
    for (int i = 0; i < 100; i++) {
        fake_queue_close(q);
        q = fake_queue(&fake);
        assert_int_equal(q->qd, qd);
        assert_int_not_equal(q->gen, gen);
        gen = q->gen;
    }
    fake_queue_close(q);
}

static void count(struct dk_queue *q, void *arg)
{
    (void)q;
    ++*(int *)arg;
}

static void test_queue_for_each_visits_the_open_ones(void **state)
{
    (void)state;
    struct dk_queue *queues[5];
    for (int i = 0; i < 5; i++)
        queues[i] = fake_queue(&fake);
    int seen = 0;
    dk_queue_for_each(fake.inst, count, &seen);
    assert_int_equal(seen, 6);
    fake_queue_close(queues[2]);
    seen = 0;
    dk_queue_for_each(NULL, count, &seen);
    assert_int_equal(seen, 5);
    for (int i = 0; i < 5; i++)
        if (i != 2)
            fake_queue_close(queues[i]);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_queue_table_full_is_emfile_and_recovers),
        TEST(test_queue_lookup_finds_only_what_is_open),
        TEST(test_queue_reused_has_another_generation),
        TEST(test_queue_for_each_visits_the_open_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
