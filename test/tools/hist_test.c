/* SPDX-License-Identifier: MIT */
/*
 * The histogram of `demi ping`: exact ends, quantiles within the promised error, rows that lose
 * nothing.
 */
#include "hist.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct hist hist;

static int setup(void **state)
{
    (void)state;
    hist_init(&hist);
    return 0;
}

static void assert_close(uint64_t got, uint64_t want)
{
    uint64_t error = want / HIST_STEPS + 1;
    if (got + error < want || got > want + error)
        fail_msg("%llu is not close to %llu", (unsigned long long)got, (unsigned long long)want);
}

static void test_hist_empty_is_zero(void **state)
{
    struct hist_row rows[HIST_ROWS_MAX];
    (void)state;
    assert_int_equal(hist_quantile(&hist, 0.5), 0);
    assert_int_equal(hist.min_ns, 0);
    assert_int_equal(hist.max_ns, 0);
    assert_true(hist_mean(&hist) == 0);
    assert_int_equal(hist_rows(&hist, rows), 0);
}

static void test_hist_one_value_is_every_quantile(void **state)
{
    (void)state;
    hist_add(&hist, 123457);
    assert_int_equal(hist_quantile(&hist, 0), 123457);
    assert_int_equal(hist_quantile(&hist, 0.5), 123457);
    assert_int_equal(hist_quantile(&hist, 1), 123457);
    assert_int_equal(hist.min_ns, 123457);
    assert_int_equal(hist.max_ns, 123457);
}

static void test_hist_uniform_values_quantiles_are_close(void **state)
{
    static const double qs[] = {0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 1};
    (void)state;
    for (uint64_t ns = 1; ns <= 1000000; ns++)
        hist_add(&hist, ns);
    for (size_t i = 0; i < sizeof(qs) / sizeof(qs[0]); i++)
        assert_close(hist_quantile(&hist, qs[i]), (uint64_t)(qs[i] * 1000000));
    assert_true(hist_mean(&hist) == 500000.5);
}

static void test_hist_small_values_are_exact(void **state)
{
    (void)state;
    for (uint64_t ns = 0; ns < 100; ns++)
        hist_add(&hist, ns);
    assert_int_equal(hist_quantile(&hist, 0.5), 49);
    assert_int_equal(hist_quantile(&hist, 0.99), 98);
    assert_int_equal(hist_quantile(&hist, 1), 99);
}

static void test_hist_every_power_of_two_is_close(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < HIST_MAX_BITS; bit++) {
        for (int64_t delta = -1; delta <= 1; delta++) {
            uint64_t ns = (UINT64_C(1) << bit) + (uint64_t)delta;
            hist_init(&hist);
            hist_add(&hist, 0);
            hist_add(&hist, ns);
            hist_add(&hist, HIST_MAX_NS);
            assert_close(hist_quantile(&hist, 0.5), ns);
        }
    }
}

static void test_hist_value_beyond_range_counts_as_greatest(void **state)
{
    (void)state;
    hist_add(&hist, UINT64_MAX);
    assert_int_equal(hist.max_ns, HIST_MAX_NS);
    assert_int_equal(hist_quantile(&hist, 0.5), HIST_MAX_NS);
}

static void test_hist_outlier_moves_only_the_greatest(void **state)
{
    (void)state;
    for (int i = 0; i < 9999; i++)
        hist_add(&hist, 6000);
    hist_add(&hist, 5000000);
    assert_close(hist_quantile(&hist, 0.999), 6000);
    assert_int_equal(hist_quantile(&hist, 1), 5000000);
}

static void assert_rows_cover(const struct hist_row *rows, size_t num_rows)
{
    uint64_t count = 0;
    assert_in_range(num_rows, 1, HIST_ROWS_MAX);
    assert_true(rows[0].from_ns <= hist.min_ns);
    assert_true(rows[num_rows - 1].to_ns > hist.max_ns);
    for (size_t i = 0; i < num_rows; i++) {
        assert_true(rows[i].from_ns < rows[i].to_ns);
        if (i > 0)
            assert_int_equal(rows[i].from_ns, rows[i - 1].to_ns);
        count += rows[i].count;
    }
    assert_int_equal(count, hist.count);
}

static void test_hist_rows_of_any_range_cover_all(void **state)
{
    struct hist_row rows[HIST_ROWS_MAX];
    (void)state;
    srand(1);
    for (int round = 0; round < 500; round++) {
        uint64_t ns = 0;
        hist_init(&hist);
        for (int i = 0; i < 1 + round % 50; i++) {
            ns = ((uint64_t)rand() << 20) >> (rand() % 52);
            hist_add(&hist, ns);
        }
        assert_rows_cover(rows, hist_rows(&hist, rows));
    }
}

static void test_hist_print_rare_value_has_a_mark(void **state)
{
    char *text = NULL;
    size_t len = 0;
    (void)state;
    for (int i = 0; i < 100000; i++)
        hist_add(&hist, 6000);
    hist_add(&hist, 9000);
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    hist_print(&hist, out);
    fclose(out);
    assert_non_null(strstr(text, "         1 #\n"));
    assert_non_null(
        strstr(text, "    100000 ##################################################\n"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_hist_empty_is_zero, setup),
        cmocka_unit_test_setup(test_hist_one_value_is_every_quantile, setup),
        cmocka_unit_test_setup(test_hist_uniform_values_quantiles_are_close, setup),
        cmocka_unit_test_setup(test_hist_small_values_are_exact, setup),
        cmocka_unit_test_setup(test_hist_every_power_of_two_is_close, setup),
        cmocka_unit_test_setup(test_hist_value_beyond_range_counts_as_greatest, setup),
        cmocka_unit_test_setup(test_hist_outlier_moves_only_the_greatest, setup),
        cmocka_unit_test_setup(test_hist_rows_of_any_range_cover_all, setup),
        cmocka_unit_test_setup(test_hist_print_rare_value_has_a_mark, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
