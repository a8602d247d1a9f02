/* SPDX-License-Identifier: MIT */
/*
 * Cookies that were used: all that find room are known again, no others are, and the oldest of a
 * set makes room.
 */
#include "base/random.h"
#include "net/tcp/cookie_used.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define SET_SHIFT DK_TCP_COOKIE_HASH_BITS
#define TAG_SHIFT (SET_SHIFT + DK_TCP_USED_SET_BITS)

static struct dk_tcp_used *used;

static int set_up(void **state)
{
    (void)state;
    used = dk_tcp_used_create();
    return used ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    dk_tcp_used_destroy(used);
    return 0;
}

static bool add(uint64_t hash, uint32_t period)
{
    uint32_t forgotten;
    return dk_tcp_used_add(used, hash, period, &forgotten);
}

static void test_used_random_hashes_are_found_again(void **state)
{
    const uint32_t n = DK_TCP_USED_SETS * DK_TCP_USED_WAYS / 4;
    struct dk_random random;
    uint32_t forgotten = 0;
    (void)state;
    dk_random_init(&random, 1);
    for (uint32_t i = 0; i < n; i++)
        forgotten += add(dk_random_u64(&random), i % 32);
    assert_true(forgotten < n / 1000); /* a quarter full: hardly a set has all of its ways used */
    dk_random_init(&random, 1);
    uint32_t missing = 0;
    for (uint32_t i = 0; i < n; i++)
        missing += !dk_tcp_used_has(used, dk_random_u64(&random));
    assert_int_equal(missing, forgotten);
}

static void test_used_other_hashes_are_not_found(void **state)
{
    struct dk_random random;
    uint32_t found = 0;
    (void)state;
    dk_random_init(&random, 2);
    for (uint32_t i = 0; i < 100000; i++)
        add(dk_random_u64(&random), 3);
    for (uint32_t i = 0; i < 1000000; i++)
        found += dk_tcp_used_has(used, dk_random_u64(&random));
    assert_true(found <= 2);
}

static void test_used_oldest_of_a_full_set_is_forgotten(void **state)
{
    const uint64_t set = UINT64_C(77) << SET_SHIFT;
    uint32_t period = 99;
    (void)state;
    for (uint64_t i = 1; i <= DK_TCP_USED_WAYS; i++)
        assert_false(add(i << TAG_SHIFT | set, (uint32_t)i % 32));
    assert_true(dk_tcp_used_add(used, UINT64_C(500) << TAG_SHIFT | set, 5, &period));
    assert_int_equal(period, 1);
    assert_false(dk_tcp_used_has(used, UINT64_C(1) << TAG_SHIFT | set));
    for (uint64_t i = 2; i <= DK_TCP_USED_WAYS; i++)
        assert_true(dk_tcp_used_has(used, i << TAG_SHIFT | set));
    assert_true(dk_tcp_used_has(used, UINT64_C(500) << TAG_SHIFT | set));
}

static void test_used_all_bits_beside_the_wire_count(void **state)
{
    (void)state;
    const uint64_t hash = UINT64_C(0x0123456789abcdef);
    add(hash, 1);
    for (int bit = 0; bit < 64; bit++)
        assert_int_equal(dk_tcp_used_has(used, hash ^ UINT64_C(1) << bit),
                         bit < DK_TCP_COOKIE_HASH_BITS);
}

static void test_used_hash_of_zero_is_found_only_when_added(void **state)
{
    (void)state;
    assert_false(dk_tcp_used_has(used, 0));
    assert_false(add(0, 0));
    assert_true(dk_tcp_used_has(used, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_used_random_hashes_are_found_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_used_other_hashes_are_not_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_used_oldest_of_a_full_set_is_forgotten, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_used_all_bits_beside_the_wire_count, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_used_hash_of_zero_is_found_only_when_added, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
