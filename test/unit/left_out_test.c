/* SPDX-License-Identifier: MIT */
/* A build without what a module needs says so; that of a module that it could have, as before. */
#include "libos/module.h"
#include "libos/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

static void test_left_out_module_says_what_was_not_there(void **state)
{
    const void *driver = NULL;
    const char *why = NULL;
    (void)state;
    assert_int_equal(dk_module_find("xdp", &driver, &why), -ENOSYS);
    assert_null(driver);
    assert_non_null(strstr(why, "built without libmnl (>= 1.0), clang, so there is no module xdp"));
    assert_non_null(strstr(why, "doc/dependencies.md"));
}

static void test_other_module_says_where_it_is_sought(void **state)
{
    const void *driver = NULL;
    const char *why = NULL;
    (void)state;
    assert_int_equal(dk_module_find("dpdk", &driver, &why), -ENOSYS);
    assert_null(driver);
    assert_null(strstr(why, "without"));
    assert_non_null(strstr(why, "-Dstatic_backends=dpdk"));
}

static void test_left_out_backend_is_listed_with_the_reason(void **state)
{
    const char *why = NULL;
    (void)state;
    assert_string_equal(dk_libos_find("xdp:eth0")->probe(&why), "");
    assert_non_null(strstr(why, "clang"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_left_out_module_says_what_was_not_there),
        cmocka_unit_test(test_other_module_says_where_it_is_sought),
        cmocka_unit_test(test_left_out_backend_is_listed_with_the_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
