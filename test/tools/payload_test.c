/* SPDX-License-Identifier: MIT */
/*
 * Probe contents: every byte that is wrong, moved or of another probe is noticed.
 */
#include "payload.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define LEN 3000

static uint8_t bytes[LEN];

static void test_payload_whole_matches(void **state)
{
    static const size_t lens[] = {0, 1, 7, 8, 9, 64, LEN};
    (void)state;
    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        payload_fill(bytes, lens[i], 0x1122334455667788);
        assert_true(payload_matches(bytes, lens[i], 0x1122334455667788, 0));
        assert_true(payload_has_number(bytes, lens[i], 0x1122334455667788));
    }
}

static void test_payload_in_two_pieces_matches(void **state)
{
    (void)state;
    payload_fill(bytes, LEN, 99);
    for (size_t cut = 0; cut <= LEN; cut++) {
        assert_true(payload_matches(bytes, cut, 99, 0));
        assert_true(payload_matches(bytes + cut, LEN - cut, 99, cut));
    }
}

static void test_payload_one_bit_wrong_does_not_match(void **state)
{
    (void)state;
    payload_fill(bytes, LEN, 7);
    for (size_t at = 0; at < LEN; at++) {
        bytes[at] ^= (uint8_t)(1 << at % 8);
        assert_false(payload_matches(bytes, LEN, 7, 0));
        bytes[at] ^= (uint8_t)(1 << at % 8);
    }
    assert_true(payload_matches(bytes, LEN, 7, 0));
}

static void test_payload_of_another_probe_does_not_match(void **state)
{
    (void)state;
    for (uint64_t other = 0; other < 1000; other++) {
        payload_fill(bytes, 64, other);
        assert_int_equal(payload_has_number(bytes, 64, 500), other == 500);
        assert_int_equal(payload_matches(bytes, 64, 500, 0), other == 500);
    }
    payload_fill(bytes, 1, 3);
    assert_false(payload_matches(bytes, 1, 4, 0));
}

static void test_payload_moved_does_not_match(void **state)
{
    (void)state;
    payload_fill(bytes, LEN, 5);
    for (size_t by = 1; by < 1024; by++)
        assert_false(payload_matches(bytes + 8 + by, 512, 5, 8));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_payload_whole_matches),
        cmocka_unit_test(test_payload_in_two_pieces_matches),
        cmocka_unit_test(test_payload_one_bit_wrong_does_not_match),
        cmocka_unit_test(test_payload_of_another_probe_does_not_match),
        cmocka_unit_test(test_payload_moved_does_not_match),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
