/* SPDX-License-Identifier: MIT */
/*
 * A device that fails now and then, and one that takes little at a time: what fails says so, what
 * was acknowledged stays, and the next one works.
 */
#include "store_kit.h"

#include "mem/heap.h"
#include "store/format.h"
#include "store/state.h"
#include "store/walk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BYTES (2u << 20)

struct kept {
    uint64_t seeds[200];
    uint64_t num;
    uint32_t errors;
};

static uint32_t len_of(uint64_t seed)
{
    static const uint32_t lens[] = {100, 4096, 9000, 30000, 0, 12288};
    return lens[seed % 6];
}

/* Appends; what is acknowledged has to be there, in this order. */
static void append(struct store_kit *k, struct dk_log *log, struct kept *kept, uint64_t seed)
{
    int ret = kit_append(k, log, seed, len_of(seed), 1);
    assert_true(ret == 0 || ret == -EIO);
    if (ret == 0)
        kept->seeds[kept->num++] = seed;
    else
        kept->errors++;
    assert_int_equal(kit_end_of(log), kept->num);
}

static void check(struct store_kit *k, struct dk_log *log, const struct kept *kept)
{
    assert_int_equal(kit_end_of(log), kept->num);
    for (uint64_t i = 0; i < kept->num; i++)
        assert_int_equal(kit_read(k, log, i, kept->seeds[i], len_of(kept->seeds[i]), 1), 0);
}

/* One failure at the k-th write or flush of a workload, for every k. */
static bool fail_once(uint64_t at, bool flush, bool late, bool grows)
{
    struct store_kit k = {.medium = {.no_fua = flush, .limit_bytes = grows ? 8 * BYTES : 0}};
    struct kept kept = {0};
    kit_make(&k, grows ? 4096 : BYTES);
    struct dk_log *log = kit_log(&k, "a", DK_LOG_CREATE);
    uint64_t begin = flush ? k.medium.flushes : k.medium.writes;
    k.medium.fails_late = late;
    if (flush)
        k.medium.fail_flush = begin + at;
    else
        k.medium.fail_write = begin + at;
    for (uint64_t i = 0; i < 24; i++)
        append(&k, log, &kept, i);
    bool reached = (flush ? k.medium.flushes : k.medium.writes) >= begin + at;
    /* The flush of a new segment: of the append that waits for it, and of one in flight meanwhile.
     */
    assert_true(kept.errors <= (flush && grows ? 2u : 1u));
    check(&k, log, &kept);
    kit_reopen(&k, at % 2);
    log = kit_log(&k, "a", 0);
    check(&k, log, &kept);
    append(&k, log, &kept, 100);
    check(&k, log, &kept);
    assert_int_equal(kept.num + kept.errors, 25);
    assert_true(!grows || k.medium.extends > 2);
    kit_end(&k);
    return reached;
}

static void test_every_write_fails_once(void **state)
{
    (void)state;
    for (int late = 0; late < 2; late++) {
        uint64_t n = 1;
        while (fail_once(n, false, late, false))
            n++;
        assert_true(n > 24);
    }
}

static void test_every_flush_fails_once(void **state)
{
    (void)state;
    uint64_t n = 1;
    while (fail_once(n, true, false, false))
        n++;
    assert_true(n > 20);
}

static void test_every_write_and_flush_of_a_file_that_grows_fails_once(void **state)
{
    (void)state;
    for (int flush = 0; flush < 2; flush++) {
        uint64_t n = 1;
        while (fail_once(n, flush, false, true))
            n++;
        assert_true(n > 20);
    }
}

static void test_appends_behind_one_that_fails_fail_with_it(void **state)
{
    (void)state;
    struct store_kit k = {0};
    struct kit_append a[6];
    kit_make(&k, BYTES);
    struct dk_log *log = kit_log(&k, "a", DK_LOG_CREATE), *b = kit_log(&k, "b", DK_LOG_CREATE);
    assert_int_equal(kit_append(&k, log, 1, 100, 1), 0);
    assert_int_equal(kit_append(&k, b, 1, 100, 1), 0);
    k.medium.fail_write = k.medium.writes + 1;
    for (int i = 0; i < 6; i++) {
        kit_record(&a[i], 10 + (uint64_t)i, 20000, 1);
        kit_issue(i == 5 ? b : log, &a[i]);
    }
    for (int i = 0; i < 6; i++)
        kit_wait(&k, &a[i]);
    /* Two are in the batch that fails, the others wait for a segment; the other log goes on. */
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(a[i].result, -EIO);
    assert_int_equal(a[5].result, 0);
    assert_int_equal(kit_end_of(log), 1);
    assert_int_equal(kit_append(&k, log, 50, 20000, 1), 0);
    assert_int_equal(kit_read(&k, log, 0, 1, 100, 1), 0);
    assert_int_equal(kit_read(&k, log, 1, 50, 20000, 1), 0);
    assert_int_equal(kit_read(&k, b, 1, 15, 20000, 1), 0);
    for (int i = 0; i < 6; i++)
        kit_record_free(&a[i]);
    kit_end(&k);
}

static void test_device_that_fails_for_good_says_so_and_loses_nothing(void **state)
{
    (void)state;
    struct store_kit k = {0};
    struct kept kept = {0};
    struct dk_log *log, *other;
    kit_make(&k, BYTES);
    log = kit_log(&k, "a", DK_LOG_CREATE);
    for (uint64_t i = 0; i < 30; i++)
        append(&k, log, &kept, i);
    k.medium.fail_from = k.medium.writes + 1;
    for (uint64_t i = 30; i < 40; i++)
        append(&k, log, &kept, i);
    assert_int_equal(kept.errors, 10);
    check(&k, log, &kept);
    assert_int_equal(dk_log_trim(log, 5), -EIO);
    assert_int_equal(dk_log_open(&other, k.store, "b", DK_LOG_CREATE), -EIO);
    assert_int_equal(dk_log_unlink(k.store, "nothing"), -ENOENT);
    kit_kill(&k);
    k.medium.fail_from = 0;
    const char *why = "";
    assert_int_equal(kit_open(&k, &why), 0);
    log = kit_log(&k, "a", 0);
    assert_int_equal(kit_first(log), 0);
    check(&k, log, &kept);
    append(&k, log, &kept, 50);
    check(&k, log, &kept);
    kit_end(&k);
}

static void test_block_that_cannot_be_read_is_an_error_of_its_record(void **state)
{
    (void)state;
    struct store_kit k = {0};
    struct kept kept = {0};
    kit_make(&k, BYTES);
    struct dk_log *log = kit_log(&k, "a", DK_LOG_CREATE);
    for (uint64_t i = 0; i < 60; i++)
        append(&k, log, &kept, i);
    for (int again = 0; again < 2; again++) {
        uint32_t errors = 0;
        for (uint64_t at = BYTES / 4; at < BYTES; at += 4096) {
            uint32_t now = 0;
            k.medium.bad_offset = at;
            k.medium.bad_bytes = 4096;
            kit_reopen(&k, true);
            log = kit_log(&k, "a", 0);
            for (uint64_t i = 0; i < kept.num; i++) {
                int ret = kit_read(&k, log, i, kept.seeds[i], len_of(kept.seeds[i]), 1);
                assert_true(ret == 0 || ret == -EIO);
                now += ret != 0;
            }
            assert_true(now <= 1);
            errors += now;
        }
        assert_true(errors > 100);
        k.medium.bad_bytes = 0;
        check(&k, log, &kept);
    }
    kit_end(&k);
}

/* Three records of one batch. */
static void append_together(struct store_kit *k, struct dk_log *log, struct kept *kept)
{
    struct kit_append a[3];
    for (uint64_t i = 0; i < 3; i++) {
        kit_record(&a[i], i, len_of(i), 1);
        kit_issue(log, &a[i]);
        kept->seeds[kept->num++] = i;
    }
    for (int i = 0; i < 3; i++) {
        kit_wait(k, &a[i]);
        assert_int_equal(a[i].result, 0);
        kit_record_free(&a[i]);
    }
}

/* Any one block cannot be read for a while: what it has is an error until then, and no longer. */
static void test_block_that_could_not_be_read_is_tried_again(void **state)
{
    (void)state;
    struct store_kit k = {0};
    struct kept kept = {0};
    uint32_t errors = 0, most = 0;
    kit_make(&k, BYTES);
    struct dk_log *log = kit_log(&k, "a", DK_LOG_CREATE);
    for (uint64_t i = 0; i < 15; i++)
        append_together(&k, log, &kept);
    for (uint64_t at = BYTES / 4; at < BYTES; at += 4096) {
        uint32_t now = 0;
        kit_reopen(&k, true);
        log = kit_log(&k, "a", 0);
        k.medium.bad_offset = at;
        k.medium.bad_bytes = 4096;
        for (uint64_t i = 0; i < kept.num; i++)
            now += kit_read(&k, log, i, kept.seeds[i], len_of(kept.seeds[i]), 1) != 0;
        for (uint64_t i = 0; i < kept.num; i++) {
            k.medium.bad_bytes = 4096;
            (void)kit_read(&k, log, i, kept.seeds[i], len_of(kept.seeds[i]), 1);
            dk_store_poll(k.store, 0); /* what it reads ahead fails too */
            k.medium.bad_bytes = 0;
            uint64_t next = (i + 1) % kept.num;
            assert_int_equal(kit_read(&k, log, next, kept.seeds[next], len_of(next % 3), 1), 0);
        }
        errors += now;
        most = now > most ? now : most;
    }
    assert_int_equal(most, 3); /* a header */
    assert_true(errors > 50);
    kit_end(&k);
}

/* A log that was not closed, and any one block that cannot be read: it has all its records, or is
 * not opened, and then nothing becomes of it. */
static void test_end_that_cannot_be_read_is_not_taken_for_one(void **state)
{
    (void)state;
    struct store_kit k = {0};
    struct kept kept = {0};
    uint32_t refused = 0;
    bool refuses = false;
    kit_make(&k, BYTES);
    struct dk_log *log = kit_log(&k, "a", DK_LOG_CREATE);
    for (uint64_t i = 0; i < 9; i++)
        append(&k, log, &kept, i);
    for (uint64_t at = 0; at < BYTES; at += 4096) {
        k.medium.bad_offset = at;
        k.medium.bad_bytes = 4096;
        kit_reopen(&k, refuses);
        int ret = dk_log_open(&log, k.store, "a", 0);
        assert_true(ret == 0 || ret == -EIO);
        refuses = ret != 0;
        refused += refuses;
        if (!refuses)
            assert_int_equal(kit_end_of(log), kept.num);
    }
    assert_true(refused >= 3);
    k.medium.bad_bytes = 0;
    kit_reopen(&k, false);
    log = kit_log(&k, "a", 0);
    check(&k, log, &kept);
    append(&k, log, &kept, 100);
    check(&k, log, &kept);
    kit_end(&k);
}

/* Of a log that was idle the end is known: what cannot be read of its last record is that one's
 * error, and no reason to refuse the log. */
static void test_last_payload_of_an_idle_log_that_cannot_be_read_is_an_error(void **state)
{
    (void)state;
    struct store_kit k = {0};
    uint64_t last = BYTES - 4096;
    kit_make(&k, BYTES);
    struct dk_log *log = kit_log(&k, "a", DK_LOG_CREATE);
    for (uint64_t i = 0; i < 3; i++)
        assert_int_equal(kit_append(&k, log, i, 12288, 1), 0);
    for (int64_t ms = 0; ms < 300; ms += 10)
        dk_store_poll(k.store, ms * 1000000);
    while (k.medium.memory[last] == 0 &&
           memcmp(k.medium.memory + last, k.medium.memory + last + 1, 4095) == 0)
        last -= 4096;
    kit_kill(&k);
    k.medium.bad_offset = last;
    k.medium.bad_bytes = 4096;
    const char *why = "";
    assert_int_equal(kit_open(&k, &why), 0);
    log = kit_log(&k, "a", 0);
    assert_int_equal(kit_end_of(log), 3);
    for (uint64_t i = 0; i < 3; i++)
        assert_int_equal(kit_read(&k, log, i, i, 12288, 1), i == 2 ? -EIO : 0);
    kit_end(&k);
}

/* A place in the metadata of which neither copy can be read: of one all behind it, of the other all
 * before it. All is there, or nothing is opened. */
static void test_metadata_that_cannot_be_read_is_not_taken_for_its_end(void **state)
{
    (void)state;
    struct store_kit k = {0};
    struct kept kept = {0};
    struct dk_store_info info = {0};
    uint32_t refused = 0;
    const char *why = "";
    kit_make(&k, 2 * BYTES);
    struct dk_log *log = kit_log(&k, "a", DK_LOG_CREATE);
    for (uint64_t at = 4096; at == 4096 || at + 4096 < info.meta_bytes; at += 4096) {
        for (uint64_t i = 0; i < 2; i++) /* a segment, which the metadata has to tell */
            append(&k, log, &kept, 3);
        dk_store_info(k.store, &info);
        uint64_t region = (info.generation - 1) % 2; /* the present one */
        kit_kill(&k);
        k.medium.bad_offset = DK_META_OFFSET + 2 * region * info.meta_bytes + at;
        k.medium.bad_bytes = info.meta_bytes + 4096;
        int ret = kit_open(&k, &why);
        assert_true(ret == 0 || ret == -EIO);
        refused += ret != 0;
        k.medium.bad_bytes = 0;
        if (ret != 0)
            assert_int_equal(kit_open(&k, &why), 0);
        log = kit_log(&k, "a", 0);
        check(&k, log, &kept);
    }
    assert_true(refused >= 2);
    kit_end(&k);
}

static void test_log_whose_end_cannot_be_read_can_be_emptied(void **state)
{
    (void)state;
    struct store_kit k = {0};
    kit_make(&k, BYTES);
    struct dk_log *log = kit_log(&k, "a", DK_LOG_CREATE);
    assert_int_equal(kit_append(&k, log, 1, 100, 1), 0);
    k.medium.bad_offset = BYTES / 2;
    k.medium.bad_bytes = BYTES / 2;
    for (uint64_t at = BYTES / 2; dk_log_open(&log, k.store, "a", 0) == 0; at -= 4096) {
        k.medium.bad_offset = at;
        kit_reopen(&k, false);
    }
    struct dk_log_info info;
    k.options.read_only = true; /* who only looks sees what is known, and that it is not all */
    kit_reopen(&k, false);
    log = kit_log(&k, "a", 0);
    dk_log_info(log, &info);
    assert_true(info.is_end_unread);
    k.options.read_only = false;
    kit_reopen(&k, false);
    log = kit_log(&k, "a", DK_LOG_TRUNC);
    dk_log_info(log, &info);
    assert_false(info.is_end_unread);
    k.medium.bad_bytes = 0;
    assert_int_equal(kit_append(&k, log, 2, 100, 1), 0);
    kit_reopen(&k, false);
    log = kit_log(&k, "a", 0);
    assert_int_equal(kit_read(&k, log, 0, 2, 100, 1), 0);
    kit_end(&k);
}

/* Small I/Os, few at a time, in any order. */
static void test_device_that_takes_little_at_a_time(void **state)
{
    (void)state;
    static const struct medium mediums[] = {
        {.max_bytes = 4096, .depth = 1},
        {.max_bytes = 12288, .max_segs = 2, .depth = 3},
        {.max_segs = 1, .depth = 2, .no_fua = true, .block_bytes = 4096},
    };
    for (uint32_t m = 0; m < 3; m++) {
        struct store_kit k = {.medium = mediums[m]};
        struct kept kept = {0};
        struct kit_append a[40];
        kit_make(&k, BYTES);
        k.medium.shuffles = true;
        dk_random_init(&k.medium.random, m);
        struct dk_log *log = kit_log(&k, "a", DK_LOG_CREATE);
        for (uint64_t i = 0; i < 40; i++) {
            kit_record(&a[i], i, len_of(i), 1);
            kit_issue(log, &a[i]);
            kept.seeds[kept.num++] = i;
        }
        for (uint64_t i = 0; i < 40; i++) {
            kit_wait(&k, &a[i]);
            assert_int_equal(a[i].result, 0);
            kit_record_free(&a[i]);
        }
        check(&k, log, &kept);
        kit_reopen(&k, false);
        log = kit_log(&k, "a", 0);
        check(&k, log, &kept);
        kit_end(&k);
    }
}

static void test_async_appends_cost_no_flush_and_are_there_after_close(void **state)
{
    (void)state;
    struct store_kit k = {.medium = {.no_fua = true}};
    kit_make(&k, BYTES);
    struct dk_log *log = kit_log(&k, "a", DK_LOG_CREATE);
    uint64_t flushes = k.medium.flushes;
    for (uint64_t i = 0; i < 5; i++)
        assert_int_equal(kit_append_async(&k, log, i, 100), 0);
    assert_true(k.medium.flushes <= flushes + 1);
    assert_int_equal(kit_append(&k, log, 5, 100, 1), 0);
    assert_true(k.medium.flushes > flushes);
    assert_int_equal(kit_append_async(&k, log, 6, 100), 0);
    kit_reopen(&k, true);
    log = kit_log(&k, "a", 0);
    for (uint64_t i = 0; i < 7; i++)
        assert_int_equal(kit_read(&k, log, i, i, 100, 1), 0);
    kit_end(&k);
}

/* What nobody waited for became durable with its first batch: the end of an idle log is told. */
static void test_end_of_async_appends_is_told_when_the_log_is_idle(void **state)
{
    (void)state;
    struct store_kit k = {.medium = {.no_fua = true}};
    kit_make(&k, BYTES);
    struct dk_log *log = kit_log(&k, "a", DK_LOG_CREATE);
    assert_int_equal(kit_append_async(&k, log, 0, 100), 0);
    for (int64_t ms = 0; ms < 300; ms += 10)
        dk_store_poll(k.store, ms * 1000000);
    assert_int_equal(log->durable, 1);
    assert_int_equal(log->told_end, 1);
    kit_end(&k);
}

/* An append of another log, with a flush that fails. */
static void fail_flush(struct store_kit *k, struct dk_log *other)
{
    k->medium.fail_flush = k->medium.flushes + 1;
    assert_int_equal(kit_append(k, other, 1, 100, 1), -EIO);
}

/* Nobody waited for the records that it was about, too: who comes next is told. */
static void test_flush_that_failed_is_told_to_who_appended_without_waiting(void **state)
{
    (void)state;
    struct store_kit k = {.medium = {.no_fua = true}};
    kit_make(&k, BYTES);
    struct dk_log *log = kit_log(&k, "a", DK_LOG_CREATE), *b = kit_log(&k, "b", DK_LOG_CREATE);
    for (uint64_t i = 0; i < 6; i += 2) {
        assert_int_equal(kit_append_async(&k, log, i, 100), 0);
        fail_flush(&k, b);
        if (i == 0)
            assert_int_equal(kit_append(&k, log, 50, 100, 1), -EIO);
        else if (i == 2)
            assert_int_equal(dk_log_trim(log, 0), -EIO);
        else
            assert_int_equal(dk_log_truncate(log, 1), -EIO);
        assert_int_equal(dk_log_trim(log, 0), 0);
        assert_int_equal(kit_append(&k, log, i + 1, 100, 1), 0);
    }
    kit_reopen(&k, false);
    log = kit_log(&k, "a", 0);
    assert_int_equal(kit_end_of(log), 6);
    for (uint64_t i = 0; i < 6; i++)
        assert_int_equal(kit_read(&k, log, i, i, 100, 1), 0);
    kit_end(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_write_fails_once),
        cmocka_unit_test(test_every_flush_fails_once),
        cmocka_unit_test(test_every_write_and_flush_of_a_file_that_grows_fails_once),
        cmocka_unit_test(test_appends_behind_one_that_fails_fail_with_it),
        cmocka_unit_test(test_device_that_fails_for_good_says_so_and_loses_nothing),
        cmocka_unit_test(test_block_that_cannot_be_read_is_an_error_of_its_record),
        cmocka_unit_test(test_block_that_could_not_be_read_is_tried_again),
        cmocka_unit_test(test_end_that_cannot_be_read_is_not_taken_for_one),
        cmocka_unit_test(test_last_payload_of_an_idle_log_that_cannot_be_read_is_an_error),
        cmocka_unit_test(test_metadata_that_cannot_be_read_is_not_taken_for_its_end),
        cmocka_unit_test(test_log_whose_end_cannot_be_read_can_be_emptied),
        cmocka_unit_test(test_device_that_takes_little_at_a_time),
        cmocka_unit_test(test_async_appends_cost_no_flush_and_are_there_after_close),
        cmocka_unit_test(test_end_of_async_appends_is_told_when_the_log_is_idle),
        cmocka_unit_test(test_flush_that_failed_is_told_to_who_appended_without_waiting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
