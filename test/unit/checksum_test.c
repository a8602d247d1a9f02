/* SPDX-License-Identifier: MIT */
/* The Internet checksum, SipHash and the seeded generator, against published values. */
#include "base/bytes.h"
#include "base/checksum.h"
#include "base/random.h"
#include "base/siphash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

/* RFC 1071 word by word, as section 4.1 has it. */
static uint16_t plain_sum(const uint8_t *bytes, size_t len)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < len; i++)
        sum += i % 2 == 0 ? (uint64_t)bytes[i] << 8 : bytes[i];
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

static void fill(uint8_t *bytes, size_t len, uint64_t seed)
{
    struct dk_random random;
    dk_random_init(&random, seed);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)dk_random_u32(&random);
}

static void test_checksum_of_rfc1071_example_is_its_sum(void **state)
{
    (void)state;
    static const uint8_t bytes[8] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
    assert_int_equal(dk_checksum_fold(dk_checksum_add(0, bytes, 8)), 0xddf2);
    assert_int_equal(dk_checksum_finish(dk_checksum_add(0, bytes, 8)), 0x220d);
}

/* 0 and 0xffff are the same number in ones' complement, but not in a header. */
static void test_checksum_of_nothing_or_zeros_is_zero(void **state)
{
    (void)state;
    static const uint8_t zeros[100];
    assert_int_equal(dk_checksum_fold(dk_checksum_add(0, zeros, 0)), 0);
    assert_int_equal(dk_checksum_fold(dk_checksum_add(0, zeros, 100)), 0);
    assert_int_equal(dk_checksum_finish(0), 0xffff);
}

static void test_checksum_of_any_length_and_alignment_is_the_plain_one(void **state)
{
    (void)state;
    uint8_t bytes[300];
    fill(bytes, sizeof(bytes), 1);
    for (size_t start = 0; start < 9; start++)
        for (size_t len = 0; len < sizeof(bytes) - start; len++) {
            uint32_t sum = dk_checksum_add(0, bytes + start, len);
            assert_int_equal(dk_checksum_fold(sum), plain_sum(bytes + start, len));
        }
}

static void test_checksum_of_an_ip_header_is_the_plain_one(void **state)
{
    (void)state;
    uint8_t bytes[21];
    for (uint64_t seed = 0; seed < 2000; seed++) {
        fill(bytes, sizeof(bytes), seed);
        const uint64_t words = dk_checksum_words_20(bytes + 1);
        assert_int_equal(dk_checksum_fold64(words), plain_sum(bytes + 1, 20));
    }
    memset(bytes, 0xff, sizeof(bytes));
    assert_int_equal(dk_checksum_fold64(dk_checksum_words_20(bytes)), 0xffff);
}

/* Sums about each multiple of 0xffff that there is at the ends of the range, and some between. */
static void test_checksum_of_words_is_judged_and_written_as_what_they_fold_to(void **state)
{
    (void)state;
    const uint64_t last = UINT64_MAX / 0xffff;
    for (uint64_t i = 0; i < 40000; i++) {
        uint8_t at[2], not_0[2];
        const uint64_t factor = i % 3 == 0 ? i : i % 3 == 1 ? last - i : i * (last / 40000);
        const uint64_t words = factor * 0xffff + (i % 7) * 0x1111 - 2;
        const uint16_t fold = dk_checksum_fold64(words);
        dk_checksum_put_not_0(not_0, words);
        assert_int_equal(dk_get_be16(not_0), fold == 0xffff ? 0xffff : (uint16_t)~fold);
        if (words == 0)
            continue;
        dk_checksum_put(at, words);
        assert_int_equal(dk_get_be16(at), (uint16_t)~fold);
        assert_int_equal(dk_checksum_words_good(words), fold == 0xffff);
    }
}

static void test_checksum_of_all_ones_keeps_every_carry(void **state)
{
    (void)state;
    static uint8_t bytes[70001];
    memset(bytes, 0xff, sizeof(bytes));
    for (size_t len = 0; len < sizeof(bytes); len += 997)
        assert_int_equal(dk_checksum_fold(dk_checksum_add(0, bytes, len)), plain_sum(bytes, len));
    uint32_t sum = 0;
    for (int i = 0; i < 65536; i++)
        sum = dk_checksum_add(sum, bytes, 2);
    assert_int_equal(dk_checksum_fold(sum), 0xffff);
}

static void test_checksum_over_pieces_at_odd_offsets_is_that_of_the_whole(void **state)
{
    (void)state;
    uint8_t bytes[101];
    fill(bytes, sizeof(bytes), 2);
    for (size_t a = 0; a <= sizeof(bytes); a++)
        for (size_t b = a; b <= sizeof(bytes); b += 7) {
            uint32_t sum = dk_checksum_add_at(0, 0, bytes, a);
            sum = dk_checksum_add_at(sum, a, bytes + a, b - a);
            sum = dk_checksum_add_at(sum, b, bytes + b, sizeof(bytes) - b);
            assert_int_equal(dk_checksum_fold(sum), plain_sum(bytes, sizeof(bytes)));
        }
}

/* The header that RFC 1071's readers know: its checksum is 0xb861. */
static void test_checksum_is_good_until_a_bit_changes(void **state)
{
    (void)state;
    uint8_t header[20] = {0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11,
                          0,    0,    0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7};
    dk_put_be16(header + 10, dk_checksum_finish(dk_checksum_add(0, header, 20)));
    assert_int_equal(dk_get_be16(header + 10), 0xb861);
    assert_true(dk_checksum_is_good(0, header, 20));
    for (int bit = 0; bit < 160; bit++) {
        header[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(dk_checksum_is_good(0, header, 20));
        header[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_false(dk_checksum_is_good(1, header, 20));
}

/* RFC 1624, section 4: equation 2 would give 0xffff. */
static void test_checksum_update_of_rfc1624_example_is_zero(void **state)
{
    (void)state;
    assert_int_equal(dk_checksum_update16(0xdd2f, 0x5555, 0x3285), 0x0000);
}

static void test_checksum_update_is_what_a_new_sum_is(void **state)
{
    (void)state;
    uint8_t bytes[40];
    struct dk_random random;
    dk_random_init(&random, 3);
    for (int i = 0; i < 20000; i++) {
        fill(bytes, sizeof(bytes), (uint64_t)i);
        size_t at = 4u * dk_random_below(&random, 9);
        uint16_t before = dk_checksum_finish(dk_checksum_add(0, bytes, sizeof(bytes)));
        uint32_t from = dk_get_be32(bytes + at), to = dk_random_u32(&random);
        dk_put_be32(bytes + at, to);
        uint16_t after = dk_checksum_finish(dk_checksum_add(0, bytes, sizeof(bytes)));
        assert_int_equal(dk_checksum_update32(before, from, to), after);
    }
}

/* From the reference implementation: key 00 01 .. 0f, input 00 01 .. of each length. */
static void test_siphash_of_reference_inputs_is_as_published(void **state)
{
    (void)state;
    static const struct {
        size_t len;
        uint64_t hash;
    } vectors[] = {
        {0, 0x726fdb47dd0e0e31u},  {1, 0x74f839c593dc67fdu},  {2, 0x0d6c8009d9a94f5au},
        {3, 0x85676696d7fb7e2du},  {4, 0xcf2794e0277187b7u},  {5, 0x18765564cd99a68du},
        {6, 0xcbc9466e58fee3ceu},  {7, 0xab0200f58b01d137u},  {8, 0x93f5f5799a932462u},
        {15, 0xa129ca6149be45e5u}, {63, 0x958a324ceb064572u},
    };
    uint8_t bytes[64];
    for (uint8_t i = 0; i < 64; i++)
        bytes[i] = i;
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++)
        assert_true(dk_siphash(bytes, bytes, vectors[i].len) == vectors[i].hash);
}

static void test_siphash_at_any_alignment_is_the_same(void **state)
{
    (void)state;
    uint8_t key[17], bytes[40];
    for (size_t at = 0; at < 8; at++) {
        for (uint8_t i = 0; i < 16; i++)
            key[i + (at & 1)] = bytes[at + i] = i;
        assert_true(dk_siphash(key + (at & 1), bytes + at, 15) == 0xa129ca6149be45e5u);
    }
}

static void test_random_of_known_state_gives_published_numbers(void **state)
{
    (void)state;
    static const uint64_t splitmix[] = {0xe220a8397b1dcdafu, 0x6e789e6aa1b965f4u,
                                        0x06c45d188009454fu, 0xf88bb8a8724c81ecu};
    static const uint64_t numbers[] = {11520, 0, 1509978240, 1215971899390074240};
    struct dk_random random;
    dk_random_init(&random, 0);
    for (int i = 0; i < 4; i++)
        assert_true(random.state[i] == splitmix[i]);
    random = (struct dk_random){{1, 2, 3, 4}};
    for (int i = 0; i < 4; i++)
        assert_true(dk_random_u64(&random) == numbers[i]);
}

static void test_random_numbers_keep_their_bounds_and_reach_them(void **state)
{
    (void)state;
    struct dk_random random;
    uint32_t below = 0, between = 0;
    dk_random_init(&random, 4);
    for (int i = 0; i < 1000; i++) {
        below |= 1u << dk_random_below(&random, 7);
        int64_t n = dk_random_between(&random, -3, 3);
        assert_in_range(n + 3, 0, 6);
        between |= 1u << (n + 3);
    }
    assert_int_equal(below, 0x7f);
    assert_int_equal(between, 0x7f);
    assert_int_equal(dk_random_below(&random, 0), 0);
    assert_true(dk_random_between(&random, 5, 5) == 5);
    (void)dk_random_between(&random, INT64_MIN, INT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checksum_of_rfc1071_example_is_its_sum),
        cmocka_unit_test(test_checksum_of_nothing_or_zeros_is_zero),
        cmocka_unit_test(test_checksum_of_any_length_and_alignment_is_the_plain_one),
        cmocka_unit_test(test_checksum_of_an_ip_header_is_the_plain_one),
        cmocka_unit_test(test_checksum_of_words_is_judged_and_written_as_what_they_fold_to),
        cmocka_unit_test(test_checksum_of_all_ones_keeps_every_carry),
        cmocka_unit_test(test_checksum_over_pieces_at_odd_offsets_is_that_of_the_whole),
        cmocka_unit_test(test_checksum_is_good_until_a_bit_changes),
        cmocka_unit_test(test_checksum_update_of_rfc1624_example_is_zero),
        cmocka_unit_test(test_checksum_update_is_what_a_new_sum_is),
        cmocka_unit_test(test_siphash_of_reference_inputs_is_as_published),
        cmocka_unit_test(test_siphash_at_any_alignment_is_the_same),
        cmocka_unit_test(test_random_of_known_state_gives_published_numbers),
        cmocka_unit_test(test_random_numbers_keep_their_bounds_and_reach_them),
    };
    return cmocka_run_group_tests_name("checksum", tests, NULL, NULL);
}
