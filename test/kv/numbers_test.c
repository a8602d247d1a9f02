/* SPDX-License-Identifier: MIT */
/*
 * Numbers, patterns, and the hash of the key-value server.
 */
#include "kv_unit.h"

#include "glob.h"
#include "numbers.h"
#include "siphash.h"

#include <inttypes.h>

static void test_parse_i64_canonical_accepted(void **state)
{
    static const struct {
        const char *text;
        int64_t value;
    } cases[] = {
        {"0", 0},
        {"7", 7},
        {"-1", -1},
        {"10", 10},
        {"536870912", 536870912},
        {"9223372036854775807", INT64_MAX},
        {"-9223372036854775808", INT64_MIN},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t v = 99;
        assert_true(kv_parse_i64(cases[i].text, strlen(cases[i].text), &v));
        assert_int_equal(v, cases[i].value);
    }
}

static void test_parse_i64_other_spellings_rejected(void **state)
{
    static const char *const cases[] = {"",
                                        "-",
                                        "+1",
                                        "01",
                                        "-0",
                                        "-01",
                                        " 1",
                                        "1 ",
                                        "1.0",
                                        "0x1",
                                        "abc",
                                        "9223372036854775808",
                                        "-9223372036854775809",
                                        "18446744073709551616",
                                        "99999999999999999999",
                                        "1\n"};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t v = 99;
        if (kv_parse_i64(cases[i], strlen(cases[i]), &v))
            fail_msg("accepted '%s'", cases[i]);
        assert_int_equal(v, 99);
    }
}

static void check_formats(int64_t v)
{
    char got[KV_I64_CHARS + 1] = "", want[KV_I64_CHARS + 2];
    int64_t back;
    unsigned n = kv_format_i64(got, v);

    snprintf(want, sizeof(want), "%" PRId64, v);
    assert_string_equal(got, want);
    assert_int_equal(n, strlen(want));
    assert_true(kv_parse_i64(got, n, &back));
    assert_int_equal(back, v);
    if (v >= 0)
        assert_int_equal(kv_digits((uint64_t)v), n);
}

static void test_format_any_number_parses_back(void **state)
{
    uint64_t random = unit_seed("numbers"), power = 1;

    (void)state;
    check_formats(INT64_MIN);
    check_formats(INT64_MAX);
    check_formats(0);
    for (int digits = 1; digits <= 19; digits++, power *= 10) {
        for (int64_t around = -2; around <= 2; around++) {
            check_formats((int64_t)power + around);
            check_formats(-(int64_t)power + around);
        }
    }
    for (int i = 0; i < 10000; i++)
        check_formats((int64_t)(unit_random(&random) >> (i % 64)));
}

static void test_format_u64_largest_is_whole(void **state)
{
    char text[KV_I64_CHARS + 1] = "";

    (void)state;
    assert_int_equal(kv_format_u64(text, UINT64_MAX), 20);
    assert_string_equal(text, "18446744073709551615");
}

static void test_parse_u64_overflow_rejected(void **state)
{
    uint64_t v = 1;

    (void)state;
    assert_true(kv_parse_u64("18446744073709551615", 20, &v));
    assert_true(v == UINT64_MAX);
    assert_true(kv_parse_u64("007", 3, &v));
    assert_int_equal(v, 7);
    assert_false(kv_parse_u64("18446744073709551616", 20, &v));
    assert_false(kv_parse_u64("", 0, &v));
}

static void test_parse_bytes_units_as_redis(void **state)
{
    static const struct {
        const char *text;
        uint64_t value;
    } cases[] = {{"1", 1},        {"1k", 1000},     {"1kb", 1024},      {"2MB", 2 << 20},
                 {"3m", 3000000}, {"1gb", 1 << 30}, {"1G", 1000000000}, {"0", 0}};
    static const char *const wrong[] = {
        "", "kb", "1x", "-1", "1 kb", "99999999999999999999", "18446744073709551615gb"};
    uint64_t v;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_true(kv_parse_bytes(cases[i].text, &v));
        assert_true(v == cases[i].value);
    }
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_false(kv_parse_bytes(wrong[i], &v));
}

/* Each expectation is what Redis 7.0.15 answers to SCAN MATCH. */
static void test_glob_pattern_as_redis(void **state)
{
    static const struct {
        const char *pattern, *text;
        bool matches;
    } cases[] = {
        {"", "", true},           {"", "a", false},
        {"*", "", true},          {"*", "abc", true},
        {"**", "abc", true},      {"a*c", "abc", true},
        {"a*c", "abcd", false},   {"a?c", "abc", true},
        {"?", "", false},         {"a*b*c", "aXbYbZc", true},
        {"*aab", "aaaaab", true}, {"[abc]", "b", true},
        {"[abc]", "d", false},    {"[^a]", "b", true},
        {"[^a]", "a", false},     {"[a-c]", "b", true},
        {"[c-a]", "b", true},     {"[a-]", "^", true},
        {"[a-]", "b", false},     {"[\\-]", "-", true},
        {"[a\\-z]", "-", true},   {"[a\\-z]", "b", false},
        {"[\\\\a-c]", "b", true}, {"[", "[", false},
        {"[a", "a", true},        {"a[b", "ab", true},
        {"[]", "a", false},       {"[^]", "a", true},
        {"\\", "\\", true},       {"a\\", "a\\", true},
        {"\\*", "*", true},       {"\\*", "x", false},
        {"h*llo", "hllo", true},  {"h[ae]llo", "hello", true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (kv_glob(cases[i].pattern, strlen(cases[i].pattern), cases[i].text,
                    strlen(cases[i].text), false) != cases[i].matches)
            fail_msg("pattern '%s', text '%s'", cases[i].pattern, cases[i].text);
}

static void test_glob_folded_case_ignored(void **state)
{
    (void)state;
    assert_true(kv_glob("SA[V-W]E", 8, "save", 4, true));
    assert_false(kv_glob("SAVE", 4, "save", 4, false));
}

/* A naive matcher would need longer than the age of the universe. */
static void test_glob_many_stars_ends_soon(void **state)
{
    char pattern[64], text[4096];

    (void)state;
    for (size_t i = 0; i < sizeof(pattern); i += 2)
        memcpy(pattern + i, "a*", 2);
    memset(text, 'a', sizeof(text));
    pattern[sizeof(pattern) - 1] = 'b';
    assert_false(kv_glob(pattern, sizeof(pattern), text, sizeof(text), false));
}

/* Key 00 01 .. 0f, input 00 01 ..: the layout of the reference's test vectors. */
static void test_siphash_reference_key_known_values(void **state)
{
    static const uint64_t want[] = {
        UINT64_C(0xabac0158050fc4dc), UINT64_C(0xc9f49bf37d57ca93), UINT64_C(0x82cb9b024dc7d44d),
        UINT64_C(0x8bf80ab8e7ddf7fb), UINT64_C(0xcf75576088d38328), UINT64_C(0xdef9d52f49533b67),
        UINT64_C(0xc50d2b50c59f22a7), UINT64_C(0xd3927d989bb11140), UINT64_C(0x369095118d299a8e)};
    static const uint64_t key[2] = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};
    unsigned char input[8] = {0, 1, 2, 3, 4, 5, 6, 7};

    (void)state;
    for (size_t n = 0; n < sizeof(want) / sizeof(want[0]); n++)
        assert_true(kv_siphash(key, input, n) == want[n]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_i64_canonical_accepted),
        cmocka_unit_test(test_parse_i64_other_spellings_rejected),
        cmocka_unit_test(test_format_any_number_parses_back),
        cmocka_unit_test(test_format_u64_largest_is_whole),
        cmocka_unit_test(test_parse_u64_overflow_rejected),
        cmocka_unit_test(test_parse_bytes_units_as_redis),
        cmocka_unit_test(test_glob_pattern_as_redis),
        cmocka_unit_test(test_glob_folded_case_ignored),
        cmocka_unit_test(test_glob_many_stars_ends_soon),
        cmocka_unit_test(test_siphash_reference_key_known_values),
    };

    return cmocka_run_group_tests_name("kv-numbers", tests, NULL, NULL);
}
