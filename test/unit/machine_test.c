/* SPDX-License-Identifier: MIT */
/* Secrets of the machine: the same each time, of an id only. */
#include "os/machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ID "0123456789abcdef0123456789abcdef"

static char path[32];

static int set_up(void **state)
{
    (void)state;
    strcpy(path, "/tmp/machine-test-XXXXXX");
    const int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int tear_down(void **state)
{
    (void)state;
    return unlink(path);
}

static int secret_of(const char *text, uint64_t use, uint8_t out[16])
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    return dk_machine_secret(path, use, out);
}

static void test_secret_is_of_the_machine_and_the_use(void **state)
{
    uint8_t first[16], second[16];
    (void)state;
    assert_int_equal(secret_of(ID "\n", 1, first), 0);
    assert_int_equal(secret_of(ID, 1, second), 0);
    assert_memory_equal(first, second, 16);
    assert_memory_not_equal(first, first + 8, 8);
    assert_int_equal(secret_of(ID "\n", 2, second), 0);
    assert_memory_not_equal(first, second, 16);
    assert_int_equal(secret_of("1123456789abcdef0123456789abcdef\n", 1, second), 0);
    assert_memory_not_equal(first, second, 16);
}

static void test_secret_of_no_id_is_an_error(void **state)
{
    static const char *const bad[] = {"",
                                      "\n",
                                      "uninitialized\n",
                                      "0123456789abcdef0123456789abcde\n",
                                      "0123456789abcdef0123456789abcdefg",
                                      "0123456789abcdef-0123456789abcde\n",
                                      "00000000000000000000000000000000\n"};
    uint8_t secret[16] = "left as it was", before[16];
    (void)state;
    memcpy(before, secret, 16);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(secret_of(bad[i], 1, secret), -EINVAL);
    assert_int_equal(dk_machine_secret("/no/such/file", 1, secret), -ENOENT);
    assert_memory_equal(secret, before, 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_secret_is_of_the_machine_and_the_use, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_secret_of_no_id_is_an_error, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
