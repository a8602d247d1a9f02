/* SPDX-License-Identifier: MIT */
/* Logs of a store: what is appended is read, now and after the store was opened again. */
#include "store_kit.h"

#include "mem/heap.h"
#include "store/state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BYTES (4u << 20)

static void test_appended_records_are_read_now_and_after_both_ways_to_end(void **state)
{
    (void)state;
    struct store_kit k = {0};
    kit_make(&k, BYTES);
    struct dk_log *log = kit_log(&k, "a", DK_LOG_CREATE);
    for (uint64_t i = 0; i < 40; i++)
        assert_int_equal(kit_append(&k, log, 100 + i, (uint32_t)(i * 331), 1 + i % 8), 0);
    for (int again = 0; again < 4; again++) {
        for (uint64_t i = 0; i < 40; i++)
            assert_int_equal(kit_read(&k, log, i, 100 + i, (uint32_t)(i * 331), 1 + i % 8), 0);
        assert_int_equal(kit_read(&k, log, 40, 0, 0, 1), -ENODATA);
        kit_reopen(&k, again & 1);
        log = kit_log(&k, "a", 0);
        assert_int_equal(kit_end_of(log), 40);
    }
    kit_end(&k);
}

static void test_records_of_all_sizes_fill_segments(void **state)
{
    (void)state;
    static const uint32_t lens[] = {0, 1, 4095, 4096, 4097, 8192, 32768, 33000, 60000, 500, 61440};
    struct store_kit k = {0};
    kit_make(&k, BYTES);
    struct dk_log *log = kit_log(&k, "a", DK_LOG_CREATE);
    for (uint64_t i = 0; i < 77; i++)
        assert_int_equal(kit_append(&k, log, i, lens[i % 11], 1), 0);
    for (int again = 0; again < 3; again++) {
        for (uint64_t i = 0; i < 77; i++)
            assert_int_equal(kit_read(&k, log, i, i, lens[i % 11], 1), 0);
        for (uint64_t i = 77; i-- > 0;)
            assert_int_equal(kit_read(&k, log, i, i, lens[i % 11], 1), 0);
        kit_reopen(&k, again & 1);
        log = kit_log(&k, "a", 0);
    }
    assert_true(dk_store_stats(k.store)->segments_used > 20);
    kit_end(&k);
}

static void test_appends_of_one_poll_are_one_batch_in_order(void **state)
{
    (void)state;
    struct store_kit k = {0};
    struct kit_append a[100];
    kit_make(&k, BYTES);
    struct dk_log *log = kit_log(&k, "a", DK_LOG_CREATE);
    assert_int_equal(kit_append(&k, log, 7, 10, 1), 0);
    uint64_t batches = dk_store_stats(k.store)->batches;
    for (uint64_t i = 0; i < 100; i++) {
        kit_record(&a[i], 1000 + i, 100, 1);
        kit_issue(log, &a[i]);
    }
    kit_wait(&k, &a[99]);
    assert_int_equal(dk_store_stats(k.store)->batches - batches, 1);
    for (uint64_t i = 0; i < 100; i++) {
        assert_true(a[i].is_done);
        assert_int_equal(a[i].result, 0);
        assert_int_equal(a[i].append.record, i + 1);
        assert_int_equal(kit_read(&k, log, i + 1, 1000 + i, 100, 1), 0);
        kit_record_free(&a[i]);
    }
    kit_end(&k);
}

static void test_aligned_payload_is_written_from_where_it_is(void **state)
{
    (void)state;
    struct store_kit k = {0};
    kit_make(&k, BYTES);
    struct dk_log *log = kit_log(&k, "a", DK_LOG_CREATE);
    assert_int_equal(kit_append(&k, log, 1, 8192, 1), 0);
    const struct dk_store_stats *s = dk_store_stats(k.store);
    assert_int_equal(s->placed_bytes, 8192);
    assert_int_equal(s->copied_bytes, 0);
    assert_int_equal(kit_append(&k, log, 1, 33000, 1), 0);
    assert_int_equal(s->placed_bytes, 8192 + 32768);
    assert_int_equal(s->copied_bytes, 33000 - 32768);
    assert_int_equal(kit_append(&k, log, 1, 100, 1), 0);
    assert_int_equal(s->copied_bytes, 33000 - 32768 + 100);
    assert_int_equal(s->payload_bytes, 8192 + 33000 + 100);
    static uint8_t foreign[8192] __attribute__((aligned(4096)));
    struct kit_append a;
    kit_record(&a, 0, 1, 1);
    struct dk_log_seg own = a.append.segs[0];
    a.append.segs[0] = (struct dk_log_seg){foreign, sizeof(foreign)};
    kit_issue(log, &a);
    kit_wait(&k, &a);
    assert_int_equal(a.result, 0);
    assert_int_equal(s->placed_bytes, 8192 + 32768);
    a.append.segs[0] = own;
    kit_record_free(&a);
    kit_end(&k);
}

static void test_trim_frees_segments_and_numbers_stay(void **state)
{
    (void)state;
    struct store_kit k = {0};
    kit_make(&k, BYTES);
    struct dk_log *log = kit_log(&k, "a", DK_LOG_CREATE);
    for (uint64_t i = 0; i < 60; i++)
        assert_int_equal(kit_append(&k, log, i, 12000, 1), 0);
    uint64_t used = dk_store_stats(k.store)->segments_used;
    assert_int_equal(dk_log_trim(log, 50), 0);
    dk_store_poll(k.store, 0);
    dk_store_poll(k.store, 0);
    dk_store_poll(k.store, 0);
    assert_true(dk_store_stats(k.store)->segments_used < used);
    for (int again = 0; again < 3; again++) {
        assert_int_equal(kit_first(log), 50);
        assert_int_equal(kit_end_of(log), 60);
        assert_int_equal(kit_read(&k, log, 49, 0, 0, 1), -ENOENT);
        for (uint64_t i = 50; i < 60; i++)
            assert_int_equal(kit_read(&k, log, i, i, 12000, 1), 0);
        kit_reopen(&k, again & 1);
        log = kit_log(&k, "a", 0);
    }
    assert_int_equal(dk_log_trim(log, 61), -EINVAL);
    assert_int_equal(dk_log_trim(log, 49), -EINVAL);
    assert_int_equal(dk_log_trim(log, 60), 0);
    assert_int_equal(kit_append(&k, log, 60, 12000, 1), 0);
    assert_int_equal(kit_read(&k, log, 60, 60, 12000, 1), 0);
    kit_end(&k);
}

static void test_truncate_drops_the_tail_and_numbers_go_on(void **state)
{
    (void)state;
    struct store_kit k = {0};
    kit_make(&k, BYTES);
    struct dk_log *log = kit_log(&k, "a", DK_LOG_CREATE);
    for (uint64_t i = 0; i < 30; i++)
        assert_int_equal(kit_append(&k, log, i, 9000, 1), 0);
    assert_int_equal(dk_log_truncate(log, 31), -EINVAL);
    assert_int_equal(dk_log_truncate(log, 11), 0);
    for (int again = 0; again < 3; again++) {
        assert_int_equal(kit_end_of(log), 11);
        assert_int_equal(kit_read(&k, log, 11, 0, 0, 1), -ENODATA);
        assert_int_equal(kit_read(&k, log, 10, 10, 9000, 1), 0);
        kit_reopen(&k, again & 1);
        log = kit_log(&k, "a", 0);
    }
    for (uint64_t i = 11; i < 30; i++)
        assert_int_equal(kit_append(&k, log, 500 + i, 5000, 1), 0);
    for (int again = 0; again < 3; again++) {
        for (uint64_t i = 0; i < 30; i++)
            assert_int_equal(kit_read(&k, log, i, i < 11 ? i : 500 + i, i < 11 ? 9000 : 5000, 1),
                             0);
        kit_reopen(&k, again & 1);
        log = kit_log(&k, "a", 0);
    }
    assert_int_equal(dk_log_truncate(log, 0), 0);
    assert_int_equal(kit_end_of(log), 0);
    assert_int_equal(kit_append(&k, log, 1, 10, 1), 0);
    assert_int_equal(kit_read(&k, log, 0, 1, 10, 1), 0);
    kit_end(&k);
}

static bool count_log(const struct dk_log_info *info, void *arg)
{
    char *names = arg;
    strcat(names, info->name);
    strcat(names, ",");
    return true;
}

struct view {
    struct dk_log_read read;
    int result;
};

static void view_done(struct dk_log_read *read, int result)
{
    ((struct view *)read->arg)->result = result;
}

static void view(struct store_kit *k, struct dk_log *log, struct view *v, uint64_t record)
{
    *v = (struct view){.read = {.record = record, .done = view_done, .arg = v}, .result = 1};
    assert_int_equal(dk_log_read(log, &v->read), 0);
    for (int i = 0; v->result == 1; i++) {
        assert_true(i < 100000);
        dk_store_poll(k->store, 0);
    }
    assert_int_equal(v->result, 0);
    assert_int_equal(v->read.num_segs, 1);
}

/* Who reads a record may write to what was given; others do not see that. */
static void test_record_that_was_given_is_its_readers_alone(void **state)
{
    (void)state;
    struct store_kit k = {0};
    struct view one, two;
    uint8_t expected[5000];
    kit_make(&k, BYTES);
    struct dk_log *log = kit_log(&k, "a", DK_LOG_CREATE);
    for (uint64_t i = 0; i < 4; i++)
        assert_int_equal(kit_append(&k, log, i, sizeof(expected), 1), 0);
    kit_fill(expected, sizeof(expected), 1);
    view(&k, log, &one, 1);
    view(&k, log, &two, 1);
    memset(one.read.bufs[0]->data, 0x5a, sizeof(expected));
    assert_memory_equal(two.read.bufs[0]->data, expected, sizeof(expected));
    memset(two.read.bufs[0]->data, 0xa5, sizeof(expected));
    for (uint64_t i = 0; i < 4; i++)
        assert_int_equal(kit_read(&k, log, i, i, sizeof(expected), 1), 0);
    dk_buf_put(one.read.bufs[0]);
    for (uint64_t i = 4; i-- > 0;)
        assert_int_equal(kit_read(&k, log, i, i, sizeof(expected), 1), 0);
    dk_buf_put(two.read.bufs[0]);
    assert_int_equal(dk_store_stats(k.store)->damaged, 0);
    kit_end(&k);
}

static void test_names(void **state)
{
    (void)state;
    struct store_kit k = {0};
    char names[100] = "", long_name[300];
    struct dk_log *log, *b;
    kit_make(&k, BYTES);
    memset(long_name, 'x', sizeof(long_name));
    long_name[256] = '\0';
    assert_int_equal(dk_log_open(&log, k.store, "a", 0), -ENOENT);
    assert_int_equal(dk_log_open(&log, k.store, "", DK_LOG_CREATE), -EINVAL);
    assert_int_equal(dk_log_open(&log, k.store, "a/b", DK_LOG_CREATE), -EINVAL);
    assert_int_equal(dk_log_open(&log, k.store, long_name, DK_LOG_CREATE), -ENAMETOOLONG);
    long_name[255] = '\0';
    assert_int_equal(dk_log_open(&log, k.store, long_name, DK_LOG_CREATE), 0);
    dk_log_put(log);
    assert_int_equal(dk_log_unlink(k.store, long_name), 0);
    b = kit_log(&k, "b", DK_LOG_CREATE | DK_LOG_EXCL);
    log = kit_log(&k, "a", DK_LOG_CREATE);
    assert_int_equal(dk_log_open(&log, k.store, "a", DK_LOG_CREATE | DK_LOG_EXCL), -EEXIST);
    assert_int_equal(kit_append(&k, b, 5, 100, 1), 0);
    dk_store_list(k.store, count_log, names);
    assert_string_equal(names, "a,b,");
    assert_int_equal(dk_log_unlink(k.store, "a"), 0);
    assert_int_equal(dk_log_unlink(k.store, "a"), -ENOENT);
    assert_int_equal(dk_log_unlink(k.store, "b"), 0);
    /* Its holder still has it. */
    assert_int_equal(kit_append(&k, b, 6, 100, 1), 0);
    assert_int_equal(kit_read(&k, b, 1, 6, 100, 1), 0);
    struct dk_log *other = kit_log(&k, "b", DK_LOG_CREATE | DK_LOG_EXCL);
    assert_int_equal(kit_end_of(other), 0);
    dk_log_put(b);
    kit_reopen(&k, false);
    names[0] = '\0';
    dk_store_list(k.store, count_log, names);
    assert_string_equal(names, "b,");
    for (int i = 0; i < 10; i++)
        dk_store_poll(k.store, 0);
    assert_int_equal(dk_store_stats(k.store)->segments_used, 0);
    kit_end(&k);
}

static void test_trunc_at_open_begins_at_zero(void **state)
{
    (void)state;
    struct store_kit k = {0};
    kit_make(&k, BYTES);
    struct dk_log *log = kit_log(&k, "a", DK_LOG_CREATE);
    for (uint64_t i = 0; i < 20; i++)
        assert_int_equal(kit_append(&k, log, i, 9000, 1), 0);
    assert_int_equal(dk_log_trim(log, 15), 0);
    log = kit_log(&k, "a", DK_LOG_TRUNC);
    assert_int_equal(kit_first(log), 0);
    assert_int_equal(kit_end_of(log), 0);
    assert_int_equal(kit_append(&k, log, 77, 9000, 1), 0);
    for (int again = 0; again < 3; again++) {
        assert_int_equal(kit_end_of(log), 1);
        assert_int_equal(kit_read(&k, log, 0, 77, 9000, 1), 0);
        kit_reopen(&k, again & 1);
        log = kit_log(&k, "a", 0);
    }
    kit_end(&k);
}

static void test_full_device_says_so_and_goes_on_after_trim(void **state)
{
    (void)state;
    struct store_kit k = {0};
    kit_make(&k, 1u << 20);
    struct dk_log *log = kit_log(&k, "a", DK_LOG_CREATE), *b = kit_log(&k, "b", DK_LOG_CREATE);
    assert_int_equal(kit_append(&k, b, 9, 100, 1), 0);
    uint64_t n = 0;
    int ret;
    while ((ret = kit_append(&k, log, n, 30000, 1)) == 0)
        assert_true(++n < 1000);
    assert_int_equal(ret, -ENOSPC);
    assert_true(dk_store_stats(k.store)->no_space > 0);
    assert_int_equal(kit_end_of(log), n);
    assert_int_equal(kit_append(&k, b, 10, 100, 1), 0);
    for (int again = 0; again < 5; again++) {
        kit_reopen(&k, again & 1);
        log = kit_log(&k, "a", 0);
        assert_int_equal(kit_end_of(log), n);
        assert_int_equal(kit_append(&k, log, n, 30000, 1), -ENOSPC);
        assert_int_equal(dk_log_trim(log, n - 3), 0);
        assert_int_equal(kit_append(&k, log, n, 30000, 1), 0);
        n++;
        while ((ret = kit_append(&k, log, n, 30000, 1)) == 0)
            n++;
        assert_int_equal(ret, -ENOSPC);
    }
    for (uint64_t i = kit_first(log); i < n; i++)
        assert_int_equal(kit_read(&k, log, i, i, 30000, 1), 0);
    kit_end(&k);
}

static void test_file_grows(void **state)
{
    (void)state;
    struct store_kit k = {.medium = {.limit_bytes = 16u << 20}};
    kit_make(&k, 4096);
    struct dk_log *log = kit_log(&k, "a", DK_LOG_CREATE);
    uint64_t n = 0;
    int ret;
    while ((ret = kit_append(&k, log, n, 60000, 1)) == 0)
        assert_true(++n < 1000);
    assert_int_equal(ret, -ENOSPC);
    assert_true(n > 100);
    assert_true(k.medium.extends > 10);
    assert_int_equal(k.medium.resizes, 1); /* format; nothing blocks while appends go on */
    for (int again = 0; again < 3; again++) {
        kit_reopen(&k, again & 1);
        log = kit_log(&k, "a", 0);
        assert_int_equal(kit_end_of(log), n);
        for (uint64_t i = 0; i < n; i++)
            assert_int_equal(kit_read(&k, log, i, i, 60000, 1), 0);
    }
    kit_end(&k);
}

/* What appends are acknowledged while a segment is being made: the next one is asked for before the
 * last one is full. */
static void test_file_grows_beside_appends(void **state)
{
    (void)state;
    struct store_kit k = {.medium = {.limit_bytes = 16u << 20}};
    uint64_t n = 0, beside = 0;
    kit_make(&k, 4096);
    struct dk_log *log = kit_log(&k, "a", DK_LOG_CREATE);
    for (; n < 100; n++) {
        assert_int_equal(kit_append(&k, log, n, 6000, 1), 0);
        beside += k.store->growth.runs;
    }
    assert_true(beside > 3);
    for (uint64_t i = 0; i < n; i++)
        assert_int_equal(kit_read(&k, log, i, i, 6000, 1), 0);
    kit_end(&k);
}

static void count_moment(struct medium *m)
{
    ++*(unsigned *)m->arg;
}

static void test_start_has_the_device_begin_with_what_a_poll_made(void **state)
{
    (void)state;
    struct store_kit k = {0};
    struct kit_append a;
    unsigned moments = 0; /* submits and completions */
    kit_make(&k, BYTES);
    struct dk_log *log = kit_log(&k, "a", DK_LOG_CREATE);
    assert_int_equal(kit_append(&k, log, 0, 100, 1), 0); /* the log has its segment now */
    dk_store_poll(k.store, 0);
    dk_store_start(k.store);
    k.medium.moment = count_moment;
    k.medium.arg = &moments;
    kit_record(&a, 1, 100, 1);
    kit_issue(log, &a);
    dk_store_poll(k.store, 0);
    assert_int_equal(moments, 1);
    dk_store_start(k.store);
    assert_int_equal(moments, 2);
    assert_true(a.is_done);
    assert_int_equal(a.result, 0);
    dk_store_start(k.store); /* nothing rests */
    assert_int_equal(moments, 2);
    k.medium.moment = NULL;
    kit_record_free(&a);
    kit_end(&k);
}

static void test_wrong_calls_are_refused(void **state)
{
    (void)state;
    struct store_kit k = {0};
    struct kit_append a;
    kit_make(&k, BYTES);
    struct dk_log *log = kit_log(&k, "a", DK_LOG_CREATE);
    assert_int_equal(kit_append(&k, log, 0, 66000, 1), -EMSGSIZE);
    kit_record(&a, 0, 10, 1);
    a.append.num_segs = 0;
    assert_int_equal(dk_log_append(log, &a.append), -EINVAL);
    a.append.num_segs = 9;
    assert_int_equal(dk_log_append(log, &a.append), -EINVAL);
    a.append.num_segs = 1;
    assert_int_equal(kit_append(&k, log, 0, 61440, 1), 0);
    k.options.read_only = true;
    kit_reopen(&k, true);
    log = kit_log(&k, "a", 0);
    assert_int_equal(dk_log_append(log, &a.append), -EROFS);
    assert_int_equal(dk_log_trim(log, 1), -EROFS);
    assert_int_equal(dk_log_truncate(log, 0), -EROFS);
    assert_int_equal(dk_log_unlink(k.store, "a"), -EROFS);
    struct dk_log *other;
    assert_int_equal(dk_log_open(&other, k.store, "b", DK_LOG_CREATE), -EROFS);
    assert_int_equal(kit_read(&k, log, 0, 0, 61440, 1), 0);
    kit_record_free(&a);
    kit_end(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_appended_records_are_read_now_and_after_both_ways_to_end),
        cmocka_unit_test(test_records_of_all_sizes_fill_segments),
        cmocka_unit_test(test_appends_of_one_poll_are_one_batch_in_order),
        cmocka_unit_test(test_aligned_payload_is_written_from_where_it_is),
        cmocka_unit_test(test_trim_frees_segments_and_numbers_stay),
        cmocka_unit_test(test_truncate_drops_the_tail_and_numbers_go_on),
        cmocka_unit_test(test_record_that_was_given_is_its_readers_alone),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_trunc_at_open_begins_at_zero),
        cmocka_unit_test(test_full_device_says_so_and_goes_on_after_trim),
        cmocka_unit_test(test_file_grows),
        cmocka_unit_test(test_file_grows_beside_appends),
        cmocka_unit_test(test_start_has_the_device_begin_with_what_a_poll_made),
        cmocka_unit_test(test_wrong_calls_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
