/* SPDX-License-Identifier: MIT */
/*
 * The hash table that grows beside itself: nothing is lost, twice, or found when it is gone, at any
 * moment of growing.
 */
#include "base/random.h"
#include "net/tcp/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define NODES 40000u

static struct dk_tcp_table table;
static struct dk_tcp_node nodes[NODES];
static bool in[NODES];

static bool is_found(const struct dk_tcp_node *node)
{
    uint32_t times = 0;
    struct dk_tcp_node *at = dk_tcp_table_first(&table, node->hash);
    for (; at; at = dk_tcp_table_next(&table, at))
        times += at == node;
    assert_true(times <= 1);
    return times == 1;
}

static void check_all(void)
{
    uint64_t num = 0;
    for (uint32_t i = 0; i < NODES; i++) {
        assert_int_equal(is_found(&nodes[i]), in[i]);
        num += in[i];
    }
    assert_int_equal(table.num, num);
}

static void add(uint32_t i)
{
    dk_tcp_table_add(&table, &nodes[i]);
    in[i] = true;
}

static void del(uint32_t i)
{
    dk_tcp_table_del(&table, &nodes[i]);
    in[i] = false;
    memset(&nodes[i].next, 0xa5, sizeof(nodes[i].next)); /* nobody looks there any more */
}

static int set_up(void **state)
{
    struct dk_random random;
    (void)state;
    memset(in, 0, sizeof(in));
    dk_random_init(&random, 1);
    for (uint32_t i = 0; i < NODES; i++)
        nodes[i].hash = dk_random_u64(&random);
    return dk_tcp_table_init(&table);
}

static int tear_down(void **state)
{
    (void)state;
    dk_tcp_table_fini(&table);
    return 0;
}

static void test_table_grows_and_keeps_load_below_one(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < NODES; i++) {
        add(i);
        assert_true(is_found(&nodes[i]) && is_found(&nodes[i / 2]));
        assert_true(table.num <= table.mask + 1);
    }
    check_all();
}

/* What one addition may do: a bounded number of buckets, however large the table is. */
static void test_table_grows_by_small_steps(void **state)
{
    (void)state;
    uint64_t ready = 0, moved = 0;
    for (uint32_t i = 0; i < NODES; i++) {
        const bool growing = table.bigger != NULL;
        add(i);
        if (growing && table.bigger)
            assert_true(table.ready - ready <= 64 && table.moved - moved <= 8);
        ready = table.ready;
        moved = table.moved;
    }
}

static void test_table_random_changes_agree_with_the_model(void **state)
{
    struct dk_random random;
    (void)state;
    dk_random_init(&random, 2);
    for (uint32_t n = 0; n < 400000; n++) {
        /* More come than go at first, then the other way round. */
        const uint32_t i = dk_random_below(&random, NODES);
        const bool wanted = dk_random_below(&random, 100) < (n < 250000 ? 80u : 20u);
        if (wanted && !in[i])
            add(i);
        else if (!wanted && in[i])
            del(i);
        if (n % 40000 == 0)
            check_all();
    }
    check_all();
    assert_true(table.mask > 8191);
}

/* In the middle of each step of growing. */
static void test_table_removes_while_it_grows(void **state)
{
    (void)state;
    uint32_t first = 0;
    for (uint32_t i = 0; i < NODES; i++) {
        add(i);
        if (table.bigger && i % 3 == 0) {
            del(first);
            assert_false(is_found(&nodes[first]));
            first++;
        }
    }
    check_all();
    for (uint32_t i = 0; i < NODES; i++)
        if (in[i])
            del(i);
    check_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_table_grows_and_keeps_load_below_one, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_table_grows_by_small_steps, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_table_random_changes_agree_with_the_model, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_table_removes_while_it_grows, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
