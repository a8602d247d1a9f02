/* SPDX-License-Identifier: MIT */
/*
 * Reading a log in order: what is asked for, when, and what is held of it.
 */
#include "store_kit.h"

#include "store/walk.h"
#include "store/window.h"

#include <errno.h>
#include <string.h>

#define MIB      (UINT64_C(1) << 20)
#define TOGETHER 37u /* appends of one batch or two */

/* A store with segments that hold several windows. */
static struct dk_log *make(struct store_kit *k, uint64_t bytes)
{
    k->segment_bytes = 8 * MIB;
    kit_make(k, bytes);
    return kit_log(k, "a", DK_LOG_CREATE);
}

static void fill(struct store_kit *k, struct dk_log *log, uint32_t records,
                 uint32_t (*len)(uint64_t record))
{
    static struct kit_append a[TOGETHER];
    for (uint64_t i = 0; i < records; i += TOGETHER) {
        uint32_t n = records - i < TOGETHER ? (uint32_t)(records - i) : TOGETHER;
        for (uint32_t j = 0; j < n; j++) {
            kit_record(&a[j], i + j, len(i + j), 1);
            kit_issue(log, &a[j]);
        }
        for (uint32_t j = 0; j < n; j++) {
            kit_wait(k, &a[j]);
            assert_int_equal(a[j].result, 0);
            kit_record_free(&a[j]);
        }
    }
}

/* 1 to 12 KiB, most not whole blocks. */
static uint32_t len_mixed(uint64_t record)
{
    return 1024 + (uint32_t)(record * 2654435761u % 11264);
}

static uint32_t len_block(uint64_t record)
{
    (void)record;
    return 4096;
}

static uint32_t len_large(uint64_t record)
{
    static const uint32_t lens[] = {1u << 20, 3u << 20, 700, (5u << 20) + 77, 1u << 20};
    return lens[record % 5];
}

/* Among small ones now and then one that makes a batch too large to be moved to another window. */
static uint32_t len_varied(uint64_t record)
{
    return record % 101 == 50 ? 100000 + (uint32_t)(record * 7919u % 800000) : 4096;
}

/* Reads all in order; returns how many are errors. */
static uint32_t read_all(struct store_kit *k, struct dk_log *log, uint32_t records,
                         uint32_t (*len)(uint64_t record))
{
    uint32_t errors = 0;
    for (uint64_t i = 0; i < records; i++) {
        int ret = kit_read(k, log, i, i, len(i), 1);
        assert_true(ret == 0 || ret == -EIO);
        errors += ret != 0;
    }
    return errors;
}

/* Batches that two windows have a part of, too. */
static void test_log_read_in_order_is_read_once_and_ahead(void **state)
{
    (void)state;
    enum { RECORDS = 3000 };
    struct store_kit k = {0};
    struct dk_log *log = make(&k, 64 * MIB);
    fill(&k, log, RECORDS, len_mixed);
    kit_reopen(&k, true);
    log = kit_log(&k, "a", 0);
    k.medium.reads = k.medium.read_bytes = k.medium.most_reads = 0;
    assert_int_equal(read_all(&k, log, RECORDS, len_mixed), 0);
    uint64_t payload = 0;
    for (uint64_t i = 0; i < RECORDS; i++)
        payload += len_mixed(i);
    assert_true(k.medium.read_bytes >= payload);
    assert_true(k.medium.read_bytes < payload + payload / 20); /* and headers */
    assert_true(k.medium.most_reads >= 2);
    assert_true(k.medium.reads < payload / MIB + 8);
    assert_true(dk_store_stats(k.store)->joined_bytes > 0);
    assert_true(dk_store_stats(k.store)->joined_bytes < payload / 4);
    assert_int_equal(dk_store_stats(k.store)->read_copies, 0);
    kit_end(&k);
}

static void test_records_larger_than_windows_are_read_in_order_and_backwards(void **state)
{
    (void)state;
    enum { RECORDS = 20 };
    struct store_kit k = {0};
    struct dk_log *log = make(&k, 96 * MIB);
    fill(&k, log, RECORDS, len_large);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(read_all(&k, log, RECORDS, len_large), 0);
        for (uint64_t i = RECORDS; i-- > 0;)
            assert_int_equal(kit_read(&k, log, i, i, len_large(i), 1), 0);
        kit_reopen(&k, again == 0);
        log = kit_log(&k, "a", 0);
    }
    kit_end(&k);
}

/* A window of bytes that say where they are, with room in front. */
static struct dk_window window(uint8_t *memory, uint64_t room, uint64_t start, uint64_t len)
{
    for (uint64_t i = 0; i < len; i++)
        memory[room + i] = (uint8_t)((start + i) * 2654435761u >> 13);
    return (struct dk_window){.state = DK_WINDOW_READY,
                              .memory = memory,
                              .data = memory + room,
                              .start = start,
                              .len = len};
}

/* The second begins before the first one ends, or even before what is moved. */
static void test_windows_that_overlap_are_joined_without_a_seam(void **state)
{
    (void)state;
    enum { ROOM = 3000, LEN = 5000, OFFSET = 14000 };
    static uint8_t first[LEN], second[ROOM + LEN];
    for (uint64_t start = OFFSET - 500; start <= 10000 + LEN; start += 100) {
        struct dk_window w = window(first, 0, 10000, LEN);
        struct dk_window next = window(second, ROOM, start, LEN);
        assert_true(dk_window_join(&w, &next, OFFSET));
        assert_int_equal(w.start + w.len, OFFSET);
        assert_int_equal(next.start, start < OFFSET ? start : OFFSET);
        assert_int_equal(next.start + next.len, start + LEN);
        for (uint64_t i = 0; i < next.len; i++)
            assert_int_equal(next.data[i], (uint8_t)((next.start + i) * 2654435761u >> 13));
    }
    struct dk_window w = window(first, 0, 10000, LEN);
    struct dk_window next = window(second, ROOM, 10000 + LEN, LEN);
    assert_false(dk_window_join(&w, &next, 10000 + LEN - ROOM - 1));
    assert_int_equal(w.len, LEN);
}

/* Where a batch could not be moved, its window is loaded anew, and has a part of the next one. */
static void test_windows_that_overlap_are_read_in_order(void **state)
{
    (void)state;
    enum { RECORDS = 3000 };
    for (uint32_t seed = 0; seed < 8; seed++) {
        struct store_kit k = {.medium = {.depth = seed % 4}};
        struct dk_log *log = make(&k, 64 * MIB);
        fill(&k, log, RECORDS, len_varied);
        k.medium.shuffles = true;
        dk_random_init(&k.medium.random, seed);
        kit_reopen(&k, seed % 2 == 0);
        log = kit_log(&k, "a", 0);
        for (uint64_t i = seed * 17; i < RECORDS; i++)
            assert_int_equal(kit_read(&k, log, i, i, len_varied(i), 1), 0);
        kit_end(&k);
    }
}

/* Completions in any order, of I/Os that are cut, with little room. */
static void test_windows_that_come_in_any_order_are_read_in_order(void **state)
{
    (void)state;
    enum { RECORDS = 1500 };
    static const struct medium mediums[] = {
        {.depth = 1},
        {.max_bytes = 65536, .depth = 3},
        {.max_bytes = 262144, .max_segs = 1},
    };
    for (uint32_t m = 0; m < 3; m++) {
        struct store_kit k = {.medium = mediums[m]};
        struct dk_log *log = make(&k, 64 * MIB);
        fill(&k, log, RECORDS, len_mixed);
        k.medium.shuffles = true;
        dk_random_init(&k.medium.random, m);
        assert_int_equal(read_all(&k, log, RECORDS, len_mixed), 0);
        kit_end(&k);
    }
}

/* A block that cannot be read, wherever in a window. */
static void test_bad_block_in_a_window_is_an_error_of_its_batch(void **state)
{
    (void)state;
    enum { RECORDS = 600 };
    struct store_kit k = {0};
    struct dk_log *log = make(&k, 64 * MIB);
    struct dk_store_info info;
    uint32_t errors = 0;
    fill(&k, log, RECORDS, len_mixed);
    dk_store_info(k.store, &info);
    for (uint64_t at = 0; at < 3 * MIB; at += 23 * 4096) {
        kit_reopen(&k, true);
        log = kit_log(&k, "a", 0);
        k.medium.bad_offset = info.data_offset + at;
        k.medium.bad_bytes = 4096;
        uint32_t now = read_all(&k, log, RECORDS, len_mixed);
        assert_true(now <= TOGETHER);
        errors += now;
        k.medium.bad_bytes = 0;
        kit_reopen(&k, true);
        log = kit_log(&k, "a", 0);
        assert_int_equal(read_all(&k, log, RECORDS, len_mixed), 0);
    }
    assert_true(errors > 10);
    kit_end(&k);
}

struct view {
    struct dk_log_read read;
    int result;
};

static void view_done(struct dk_log_read *read, int result)
{
    ((struct view *)read->arg)->result = result;
}

/* Reads a record of one segment, whose buffer is the caller's. */
static struct dk_buf *take(struct store_kit *k, struct dk_log *log, uint64_t record)
{
    struct view v = {.read = {.record = record, .done = view_done, .arg = &v}, .result = 1};
    assert_int_equal(dk_log_read(log, &v.read), 0);
    for (int i = 0; v.result == 1; i++) {
        assert_true(i < 100000);
        dk_store_poll(k->store, 0);
    }
    assert_int_equal(v.result, 0);
    assert_int_equal(v.read.num_segs, 1);
    return v.read.bufs[0];
}

/* Bytes that buffers of one segment hold: each object once. */
static uint64_t held_bytes(struct dk_buf *const bufs[], uint32_t num)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < num; i++) {
        struct dk_buf *const of = bufs[i]->kind == DK_BUF_VIEW ? bufs[i]->owner : bufs[i];
        bool is_new = true;
        for (uint32_t j = 0; j < i && is_new; j++)
            is_new = bufs[j]->kind != DK_BUF_VIEW || bufs[j]->owner != of;
        bytes += is_new ? dk_buf_bytes(of) : 0;
    }
    return bytes;
}

/* Memory is bounded by the windows of a log, and what the kept records need themselves. */
static void test_record_of_a_hundred_that_is_kept_keeps_little_memory(void **state)
{
    (void)state;
    enum { RECORDS = 20000, EACH = 100, LEN = 4096 };
    static struct dk_buf *kept[RECORDS / EACH];
    uint8_t expected[LEN];
    struct store_kit k = {0};
    struct dk_log *log = make(&k, 104 * MIB);
    fill(&k, log, RECORDS, len_block);
    for (uint64_t i = 0; i < RECORDS; i++) {
        struct dk_buf *buf = take(&k, log, i);
        if (i % EACH == 0)
            kept[i / EACH] = buf;
        else
            dk_buf_put(buf);
    }
    const uint64_t window = MIB + DK_WINDOW_ROOM_MIN + 4096;
    assert_true(held_bytes(kept, RECORDS / EACH) <
                (DK_WINDOWS_HELD + 1) * window + RECORDS / EACH * LEN);
    assert_true(dk_store_stats(k.store)->read_copies > RECORDS / 2);
    for (uint64_t i = 0; i < RECORDS / EACH; i++) {
        kit_fill(expected, LEN, i * EACH);
        assert_memory_equal(kept[i]->data, expected, LEN);
        dk_buf_put(kept[i]);
    }
    const uint64_t copies = dk_store_stats(k.store)->read_copies;
    for (uint64_t i = RECORDS / 4; i < RECORDS / 2;
         i++) /* what nobody was given of these windows */
        assert_int_equal(kit_read(&k, log, i, i, LEN, 1), 0);
    assert_int_equal(dk_store_stats(k.store)->read_copies, copies); /* views again */
    kit_end(&k);
}

/* Two that read at places of their own, one behind the other. */
static void test_two_readers_in_order_disturb_each_other_little(void **state)
{
    (void)state;
    enum { RECORDS = 3000, BEHIND = 20 };
    struct store_kit k = {0};
    struct dk_log *log = make(&k, 64 * MIB);
    fill(&k, log, RECORDS, len_mixed);
    k.medium.reads = k.medium.read_bytes = 0;
    uint64_t payload = 0;
    for (uint64_t i = 0; i < RECORDS + BEHIND; i++) {
        if (i < RECORDS)
            assert_int_equal(kit_read(&k, log, i, i, len_mixed(i), 1), 0);
        if (i >= BEHIND)
            assert_int_equal(kit_read(&k, log, i - BEHIND, i - BEHIND, len_mixed(i - BEHIND), 1),
                             0);
        payload += i < RECORDS ? len_mixed(i) : 0;
    }
    assert_true(k.medium.read_bytes < 4 * payload);
    kit_end(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_read_in_order_is_read_once_and_ahead),
        cmocka_unit_test(test_records_larger_than_windows_are_read_in_order_and_backwards),
        cmocka_unit_test(test_windows_that_overlap_are_joined_without_a_seam),
        cmocka_unit_test(test_windows_that_overlap_are_read_in_order),
        cmocka_unit_test(test_windows_that_come_in_any_order_are_read_in_order),
        cmocka_unit_test(test_bad_block_in_a_window_is_an_error_of_its_batch),
        cmocka_unit_test(test_record_of_a_hundred_that_is_kept_keeps_little_memory),
        cmocka_unit_test(test_two_readers_in_order_disturb_each_other_little),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
