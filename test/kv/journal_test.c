/* SPDX-License-Identifier: MIT */
/*
 * The log of changes when it fails: no answer that waits for it goes out any more. What it writes
 * and reads is tested over a server that runs (log_test.py).
 */
#include "kv_unit.h"

#include "journal.h"

#include <errno.h>

static bool no_memory; /* demi_sgaalloc fails */

demi_sgarray_t __real_demi_sgaalloc(size_t size);
demi_sgarray_t __wrap_demi_sgaalloc(size_t size);

demi_sgarray_t __wrap_demi_sgaalloc(size_t size)
{
    return no_memory ? (demi_sgarray_t){0} : __real_demi_sgaalloc(size);
}

static void put(struct kv_journal *j, const char *key)
{
    kv_journal_put(j, KV_CHANGE_SET, unit_str(key), unit_str("value"), KV_EXPIRE_NEVER);
}

static void test_change_without_memory_is_never_acknowledged(void **state)
{
    struct kv_journal j = {.qd = -1};

    (void)state;
    assert_true(kv_journal_is_acked(&j, kv_journal_group(&j)));
    no_memory = true;
    put(&j, "lost");
    no_memory = false;
    assert_int_equal(j.error, ENOMEM);
    uint64_t group = kv_journal_group(&j);
    assert_false(kv_journal_is_acked(&j, group));
    put(&j, "later");
    kv_journal_flush(&j);
    assert_false(kv_journal_is_acked(&j, group));
    assert_false(kv_journal_is_acked(&j, kv_journal_group(&j)));
    kv_journal_close(&j);
}

static void test_record_behind_one_that_failed_does_not_count_for_it(void **state)
{
    /* A group of two records is on its way. */
    struct kv_journal j = {.qd = -1, .sent = 1, .records = 2, .end = 2};

    (void)state;
    kv_journal_pushed(&j, ENOSPC);
    kv_journal_pushed(&j, 0);
    assert_int_equal(j.error, ENOSPC);
    assert_false(kv_journal_is_acked(&j, 1));
    kv_journal_pushed(&j, 0); /* even when as many were acknowledged as it has */
    assert_false(kv_journal_is_acked(&j, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_change_without_memory_is_never_acknowledged),
        cmocka_unit_test(test_record_behind_one_that_failed_does_not_count_for_it),
    };

    return cmocka_run_group_tests_name("kv-journal", tests, unit_start_library, unit_stop_library);
}
