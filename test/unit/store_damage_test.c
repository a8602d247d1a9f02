/* SPDX-License-Identifier: MIT */
/*
 * What a device does to a store: bits that rot, writes that came to another place or to none. A
 * record is read as it was appended, or as -EIO; its log goes on behind it, other logs do not care.
 */
#include "../lib/harness.h"
#include "store_kit.h"

#include "base/crc32c.h"
#include "store/format.h"
#include "store/walk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BYTES   (3u << 19)
#define RECORDS 24u
#define LOGS    2

/* Of the cases: with a heap that fills what is freed each one takes many times as long. */
#define PART SLOWNESS

static const char *const names[LOGS] = {"a", "b"};

static uint32_t len_of(uint64_t i)
{
    static const uint32_t lens[] = {100, 4096, 9000, 0, 36000, 8192, 700};
    return lens[i % 7];
}

static uint64_t seed_of(int log, uint64_t i)
{
    return (uint64_t)log << 32 | i << 8;
}

enum end { CLOSED, KILLED, KILLED_WHEN_IDLE };

/* Two logs of RECORDS records, each a batch. */
static void make(struct store_kit *k, enum end end)
{
    kit_make(k, BYTES);
    for (int l = 0; l < LOGS; l++) {
        struct dk_log *log = kit_log(k, names[l], DK_LOG_CREATE);
        for (uint64_t i = 0; i < RECORDS; i++)
            assert_int_equal(kit_append(k, log, seed_of(l, i), len_of(i), 1), 0);
    }
    for (int64_t ms = 0; end == KILLED_WHEN_IDLE && ms < 300; ms += 10)
        dk_store_poll(k->store, ms * 1000000);
    if (end == CLOSED)
        dk_store_close(k->store);
    else
        kit_kill(k);
    k->store = NULL;
}

struct outcome {
    uint64_t missing; /* records that the log does not have any more */
    uint64_t errors;
};

/* Opens what is there and reads everything; then the medium is as it was. */
static struct outcome look(struct store_kit *k)
{
    const char *why = "";
    struct outcome o = {0};
    uint8_t *kept = malloc(BYTES);
    memcpy(kept, k->medium.memory, BYTES);
    assert_int_equal(kit_open(k, &why), 0);
    for (int l = 0; l < LOGS; l++) {
        struct dk_log *log = kit_log(k, names[l], 0);
        uint64_t end = kit_end_of(log);
        assert_true(end <= RECORDS);
        o.missing += RECORDS - end;
        for (uint64_t i = 0; i < end; i++) {
            int ret = kit_read(k, log, i, seed_of(l, i), len_of(i), 1);
            assert_true(ret == 0 || ret == -EIO);
            o.errors += ret != 0;
        }
        assert_int_equal(kit_append(k, log, 99, 100, 1), 0);
        assert_int_equal(kit_read(k, log, end, 99, 100, 1), 0);
    }
    dk_store_close(k->store);
    k->store = NULL;
    memcpy(k->medium.memory, kept, BYTES);
    free(kept);
    return o;
}

static bool is_blank(const uint8_t *block)
{
    return block[0] == 0 && memcmp(block, block + 1, DK_BLOCK - 1) == 0;
}

/* Some bits of every block that has something, the first bytes above all. */
static void flip_bits(enum end end, uint32_t bits)
{
    struct store_kit k = {0};
    struct dk_random random;
    uint64_t flips = 0, seen = 0, lost = 0;
    dk_random_init(&random, 1);
    make(&k, end);
    for (uint64_t at = 0; at < BYTES; at += DK_BLOCK) {
        if (is_blank(k.medium.memory + at))
            continue;
        for (uint32_t i = 0; i < bits; i++, flips++) {
            uint32_t byte = dk_random_below(&random, i < 2 * bits / 3 ? 144 : DK_BLOCK);
            uint8_t bit = (uint8_t)(1u << dk_random_below(&random, 8));
            k.medium.memory[at + byte] ^= bit;
            struct outcome o = look(&k);
            k.medium.memory[at + byte] ^= bit;
            /* One batch of one record: what is hit is that one. The last batch of a log that was
             * neither closed nor idle is not told from one that never was acknowledged. */
            assert_true(o.errors + o.missing <= 1);
            assert_true(end == KILLED || o.missing == 0);
            seen += o.errors;
            lost += o.missing;
        }
    }
    print_message("seed 1: %llu bits: %llu records read as errors, %llu cut off\n",
                  (unsigned long long)flips, (unsigned long long)seen, (unsigned long long)lost);
    assert_true(seen > flips / 2);
    medium_fini(&k.medium);
}

static void test_bit_of_a_closed_store_flipped_is_one_error_at_most(void **state)
{
    (void)state;
    flip_bits(CLOSED, 9 / PART);
}

static void test_bit_of_a_killed_store_flipped_is_one_error_at_most(void **state)
{
    (void)state;
    flip_bits(KILLED, 9 / PART);
}

static void test_bit_of_a_store_killed_when_idle_flipped_is_one_error_at_most(void **state)
{
    (void)state;
    flip_bits(KILLED_WHEN_IDLE, 6 / PART);
}

/* Blocks of one place come to another, as a write that was misdirected. */
static void test_misdirected_write_is_an_error_or_nothing(void **state)
{
    (void)state;
    struct store_kit k = {0};
    struct dk_random random;
    uint64_t errors = 0;
    uint8_t kept[2 * DK_BLOCK];
    dk_random_init(&random, 2);
    make(&k, CLOSED);
    uint32_t blocks = BYTES / DK_BLOCK;
    uint32_t data = 0;
    while (!is_blank(k.medium.memory + (uint64_t)data * DK_BLOCK) || data < 60)
        data++;
    for (uint32_t i = 0; i < 1500 / PART; i++) {
        uint64_t from = dk_random_below(&random, blocks - 1),
                 to = 33 + dk_random_below(&random, blocks - 34);
        if (from < 33)
            continue;
        uint32_t len = (1 + dk_random_below(&random, 2)) * DK_BLOCK;
        memcpy(kept, k.medium.memory + to * DK_BLOCK, len);
        memmove(k.medium.memory + to * DK_BLOCK, k.medium.memory + from * DK_BLOCK, len);
        struct outcome o = look(&k);
        errors += o.errors;
        assert_int_equal(o.missing, 0);
        assert_true(o.errors <= 3);
        memcpy(k.medium.memory + to * DK_BLOCK, kept, len);
    }
    assert_true(errors > 100 / PART);
    medium_fini(&k.medium);
}

/* Where batches begin. */
static uint32_t find_batches(const struct store_kit *k, uint64_t *at, uint32_t max)
{
    uint32_t n = 0;
    for (uint64_t i = 0; i < BYTES && n < max; i += DK_BLOCK) {
        uint64_t magic;
        memcpy(&magic, k->medium.memory + i, sizeof(magic));
        if (magic == DK_BATCH_MAGIC)
            at[n++] = i;
    }
    return n;
}

/* Any number of batches are gone, as writes that were lost: records behind them are there. */
static void lose_writes(enum end end, uint32_t times)
{
    struct store_kit k = {0};
    struct dk_random random;
    uint64_t at[2 * RECORDS];
    static uint8_t kept[BYTES];
    dk_random_init(&random, 3);
    make(&k, end);
    assert_int_equal(find_batches(&k, at, 2 * RECORDS), 2 * RECORDS);
    memcpy(kept, k.medium.memory, BYTES);
    for (uint32_t i = 0; i < times / PART; i++) {
        uint32_t lost = 0;
        for (uint32_t b = 0; b < 2 * RECORDS; b++) {
            struct dk_batch_head *h = (void *)(k.medium.memory + at[b]);
            /* Of a log that was not idle nothing says that the last one was there. */
            if ((end == KILLED && h->first == RECORDS - 1) ||
                dk_random_below(&random, 1 + i % 8) > 0)
                continue;
            memset(h, 0, (size_t)h->blocks * DK_BLOCK);
            lost++;
        }
        struct outcome o = look(&k);
        assert_int_equal(o.missing, 0);
        assert_int_equal(o.errors, lost);
        memcpy(k.medium.memory, kept, BYTES);
    }
    medium_fini(&k.medium);
}

static void test_lost_writes_are_errors_and_the_log_goes_on(void **state)
{
    (void)state;
    lose_writes(KILLED, 240);
    lose_writes(KILLED_WHEN_IDLE, 160);
}

/* Appends two records in two batches that are in flight together. */
static void append_two_at_once(struct store_kit *k, struct dk_log *log)
{
    struct kit_append a[2];
    k->medium.holds = true;
    for (uint64_t i = 0; i < 2; i++) {
        kit_record(&a[i], 1 + i, 4096, 1);
        kit_issue(log, &a[i]);
        dk_store_poll(k->store, 0);
    }
    k->medium.holds = false;
    kit_wait(k, &a[0]);
    kit_wait(k, &a[1]);
    kit_record_free(&a[0]);
    kit_record_free(&a[1]);
}

/* The first of two batches that were in flight is lost, the second is there: the log ends before
 * both. A later writer's batch of the same length takes the place of the first. */
static void test_batch_left_over_continues_nothing_later(void **state)
{
    (void)state;
    struct store_kit k = {0};
    uint64_t at[8];
    kit_make(&k, BYTES);
    struct dk_log *log = kit_log(&k, "a", DK_LOG_CREATE);
    assert_int_equal(kit_append(&k, log, 0, 4096, 1), 0);
    append_two_at_once(&k, log);
    assert_int_equal(find_batches(&k, at, 8), 3);
    for (int again = 0; again < 3; again++) {
        kit_kill(&k);
        if (again == 0)
            memset(k.medium.memory + at[1], 0, DK_BLOCK);
        const char *why = "";
        assert_int_equal(kit_open(&k, &why), 0);
        log = kit_log(&k, "a", 0);
        assert_int_equal(kit_end_of(log), again == 0 ? 1 : 2);
        if (again == 0)
            assert_int_equal(kit_append(&k, log, 50, 4096, 1), 0);
        assert_int_equal(find_batches(&k, at, 8), 3);
        assert_int_equal(kit_read(&k, log, 1, 50, 4096, 1), 0);
        assert_int_equal(kit_read(&k, log, 2, 0, 0, 1), -ENODATA);
    }
    kit_end(&k);
}

/* The present checkpoint of a store that was closed: changes it, with good checksums. */
static void edit_metadata(struct store_kit *k,
                          void (*edit)(struct dk_entry *e, uint32_t nth, uint32_t kind))
{
    uint8_t *m = k->medium.memory;
    struct dk_geometry g;
    uint64_t at[2];
    assert_int_equal(dk_super_parse(m, 0, &g), 0);
    for (uint32_t r = 0; r < 2; r++)
        at[r] = dk_region_offset(&g, r, 0);
    const struct dk_meta_head *heads[2] = {(void *)(m + at[0]), (void *)(m + at[1])};
    uint32_t region = heads[1]->generation > heads[0]->generation;
    struct dk_meta_head *head = (void *)(m + at[region]);
    uint32_t nth[DK_ENTRY_SEGMENT + 1] = {0};
    for (uint32_t from = sizeof(*head); from < head->bytes;) {
        struct dk_entry *e = (void *)((uint8_t *)head + from);
        edit(e, nth[e->type]++, e->type);
        from += e->bytes;
    }
    dk_meta_seal(head, g.uuid);
    memcpy(m + dk_region_offset(&g, region, 1), head, head->bytes);
}

static void twice_one_ordinal(struct dk_entry *e, uint32_t nth, uint32_t kind)
{
    if (kind == DK_ENTRY_SEGMENT && nth == 1)
        ((struct dk_entry_segment *)e)->ordinal--;
}

static void segment_of_two_logs(struct dk_entry *e, uint32_t nth, uint32_t kind)
{
    if (kind == DK_ENTRY_SEGMENT && nth == 1)
        ((struct dk_entry_segment *)e)->log++;
}

static void segment_that_ends_before_it_begins(struct dk_entry *e, uint32_t nth, uint32_t kind)
{
    if (kind == DK_ENTRY_SEGMENT && nth == 0)
        ((struct dk_entry_segment *)e)->first = ((struct dk_entry_segment *)e)->end + 1;
}

static void records_between_segments(struct dk_entry *e, uint32_t nth, uint32_t kind)
{
    if (kind == DK_ENTRY_SEGMENT && nth == 1)
        ((struct dk_entry_segment *)e)->first++;
}

static void end_in_no_segment(struct dk_entry *e, uint32_t nth, uint32_t kind)
{
    if (kind == DK_ENTRY_LOG && nth == 0)
        ((struct dk_entry_log *)e)->ordinal += 100;
}

static void end_in_the_middle_of_a_block(struct dk_entry *e, uint32_t nth, uint32_t kind)
{
    if (kind == DK_ENTRY_LOG && nth == 0)
        ((struct dk_entry_log *)e)->offset++;
}

static void end_before_the_first_record(struct dk_entry *e, uint32_t nth, uint32_t kind)
{
    if (kind == DK_ENTRY_LOG && nth == 0)
        ((struct dk_entry_log *)e)->first = RECORDS + 1;
}

static void numbers_that_are_too_large(struct dk_entry *e, uint32_t nth, uint32_t kind)
{
    if (kind == DK_ENTRY_LOG && nth == 0)
        ((struct dk_entry_log *)e)->next_ordinal = DK_UNKNOWN - 1;
}

#define FEW 4 /* records of what has to fit besides */

static void check_few(struct store_kit *k, struct dk_log *log, int l)
{
    for (uint64_t i = 0; i < FEW; i++)
        assert_int_equal(kit_read(k, log, i, seed_of(l, i), len_of(i), 1), 0);
}

static bool find_damaged(const struct dk_log_info *info, void *arg)
{
    uint32_t *found = arg;
    *found += info->is_damaged && strcmp(info->name, "a") == 0;
    return true;
}

/* A third log has all it had, and goes on; the damaged one is refused, also later, and can be
 * removed, and then made anew. */
static void refuse_one(void (*edit)(struct dk_entry *e, uint32_t nth, uint32_t kind))
{
    struct store_kit k = {0};
    struct dk_log *log;
    make(&k, CLOSED);
    const char *why = "";
    assert_int_equal(kit_open(&k, &why), 0);
    log = kit_log(&k, "c", DK_LOG_CREATE);
    for (uint64_t i = 0; i < FEW; i++)
        assert_int_equal(kit_append(&k, log, seed_of(2, i), len_of(i), 1), 0);
    dk_store_close(k.store);
    edit_metadata(&k, edit);
    assert_int_equal(kit_open(&k, &why), 0);
    for (uint32_t life = 0; life < 4; life++) {
        uint32_t found = 0;
        assert_int_equal(dk_log_open(&log, k.store, "a", life % 2 ? DK_LOG_TRUNC : 0), -EUCLEAN);
        dk_store_list(k.store, find_damaged, &found);
        assert_int_equal(found, 1);
        log = kit_log(&k, "c", 0);
        check_few(&k, log, 2);
        assert_int_equal(kit_append(&k, log, 9 + life, 9000, 1), 0);
        kit_reopen(&k, life % 2);
    }
    assert_int_equal(dk_log_unlink(k.store, "a"), 0);
    log = kit_log(&k, "a", DK_LOG_CREATE);
    for (uint64_t i = 0; i < FEW; i++)
        assert_int_equal(kit_append(&k, log, seed_of(0, i), len_of(i), 1), 0);
    kit_reopen(&k, false);
    check_few(&k, kit_log(&k, "a", 0), 0);
    check_few(&k, kit_log(&k, "c", 0), 2);
    kit_end(&k);
}

static void test_impossible_metadata_of_one_log_refuses_that_one(void **state)
{
    (void)state;
    refuse_one(twice_one_ordinal);
    refuse_one(segment_of_two_logs);
    refuse_one(segment_that_ends_before_it_begins);
    refuse_one(records_between_segments);
    refuse_one(end_in_no_segment);
    refuse_one(end_in_the_middle_of_a_block);
    refuse_one(end_before_the_first_record);
    refuse_one(numbers_that_are_too_large);
}

static void name_of_another(struct dk_entry *e, uint32_t nth, uint32_t kind)
{
    if (kind == DK_ENTRY_LOG && nth == 0)
        ((struct dk_entry_log *)e)->name[0] = 'b';
}

static void test_name_of_two_logs_is_neithers(void **state)
{
    (void)state;
    struct store_kit k = {0};
    struct dk_log *log;
    const char *why = "";
    make(&k, CLOSED);
    edit_metadata(&k, name_of_another);
    assert_int_equal(kit_open(&k, &why), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(dk_log_open(&log, k.store, "b", 0), -EUCLEAN);
        assert_int_equal(dk_log_unlink(k.store, "b"), 0);
    }
    assert_int_equal(dk_log_open(&log, k.store, "b", 0), -ENOENT);
    kit_end(&k);
}

static void segment_of_nobody(struct dk_entry *e, uint32_t nth, uint32_t kind)
{
    if (kind == DK_ENTRY_SEGMENT && nth == 1)
        ((struct dk_entry_segment *)e)->log = 77;
}

static void fewer_segments(struct dk_entry *e, uint32_t nth, uint32_t kind)
{
    (void)nth;
    if (kind == DK_ENTRY_STORE)
        ((struct dk_entry_store *)e)->num_segments = ((struct dk_entry_store *)e)->touched = 1;
}

static void test_impossible_metadata_of_the_store_refuses_it(void **state)
{
    (void)state;
    void (*const edits[])(struct dk_entry * e, uint32_t nth, uint32_t kind) = {segment_of_nobody,
                                                                               fewer_segments};
    for (int i = 0; i < 2; i++) {
        struct store_kit k = {0};
        const char *why = "";
        make(&k, CLOSED);
        edit_metadata(&k, edits[i]);
        assert_int_equal(kit_open(&k, &why), -EUCLEAN);
        k.store = NULL;
        kit_end(&k);
    }
}

static bool count_item(const struct dk_walk_item *item, void *arg)
{
    uint64_t *counts = arg;
    if (item->kind != DK_WALK_BATCH)
        counts[item->kind == DK_WALK_LOST] += item->count;
    return true;
}

/* A log is cut, goes on elsewhere, and damage reaches over the cut: the last record before it is
 * lost, and those behind it are where they are. */
static void test_damage_at_a_cut_ends_there(void **state)
{
    (void)state;
    struct store_kit k = {0};
    uint64_t at[8], counts[2] = {0};
    kit_make(&k, BYTES);
    struct dk_log *log = kit_log(&k, "a", DK_LOG_CREATE);
    for (uint64_t i = 0; i < 6; i++)
        assert_int_equal(kit_append(&k, log, i, 100, 1), 0);
    assert_int_equal(find_batches(&k, at, 8), 6);
    assert_int_equal(dk_log_truncate(log, 3), 0);
    for (uint64_t i = 3; i < 6; i++)
        assert_int_equal(kit_append(&k, log, 10 + i, 100, 1), 0);
    memset(k.medium.memory + at[2], 0, 2 * DK_BLOCK); /* 4 and 5 are left over */
    kit_reopen(&k, true);
    log = kit_log(&k, "a", 0);
    for (uint64_t i = 0; i < 6; i++)
        assert_int_equal(kit_read(&k, log, i, i < 3 ? i : 10 + i, 100, 1), i == 2 ? -EIO : 0);
    assert_int_equal(dk_log_walk(log, true, count_item, counts), 0);
    assert_int_equal(counts[0], 5);
    assert_int_equal(counts[1], 1);
    kit_end(&k);
}

/* A cut within a batch: what it had behind that is not told of. */
static void test_batch_that_was_cut_has_what_is_before(void **state)
{
    (void)state;
    struct store_kit k = {0};
    struct kit_append a[4];
    uint64_t counts[2] = {0};
    kit_make(&k, BYTES);
    struct dk_log *log = kit_log(&k, "a", DK_LOG_CREATE);
    for (uint64_t i = 0; i < 4; i++) {
        kit_record(&a[i], i, 100, 1);
        kit_issue(log, &a[i]);
    }
    for (uint64_t i = 0; i < 4; i++) {
        kit_wait(&k, &a[i]);
        kit_record_free(&a[i]);
    }
    assert_int_equal(dk_log_truncate(log, 2), 0);
    assert_int_equal(kit_append(&k, log, 20, 100, 1), 0);
    assert_int_equal(dk_log_walk(log, true, count_item, counts), 0);
    assert_int_equal(counts[0], 3);
    assert_int_equal(counts[1], 0);
    kit_end(&k);
}

static void expect_open(struct store_kit *k, int error, const char *words)
{
    const char *why = "";
    assert_int_equal(kit_open(k, &why), error);
    assert_non_null(strstr(why, words));
    k->store = NULL;
}

static void reseal_super(uint8_t *block, uint64_t offset, uint32_t version)
{
    struct dk_geometry g;
    assert_int_equal(dk_super_parse(block, offset, &g), 0);
    dk_super_emit(&g, offset, block);
    struct dk_super *s = (void *)block;
    s->version = version;
    s->crc = 0;
    s->crc = dk_crc32c(0, block, DK_BLOCK);
}

static void test_devices_that_hold_no_store_of_ours_are_refused(void **state)
{
    (void)state;
    struct store_kit k = {0};
    make(&k, CLOSED);
    static uint8_t kept[BYTES];
    uint8_t *m = k.medium.memory;
    memcpy(kept, m, BYTES);
    k.medium.bytes = BYTES - (64u << 10);
    expect_open(&k, -ENODATA, "shorter");
    k.medium.bytes = 200u << 10;
    expect_open(&k, -ENODATA, "shorter");
    k.medium.bytes = BYTES;
    reseal_super(m, 0, 2);
    reseal_super(m + DK_SUPER_COPY, DK_SUPER_COPY, 2);
    expect_open(&k, -EPROTONOSUPPORT, "newer");
    memcpy(m, kept, BYTES);
    m[20] ^= 1;
    m[DK_SUPER_COPY + 20] ^= 1;
    expect_open(&k, -EUCLEAN, "damaged");
    memset(m, 0, BYTES);
    expect_open(&k, -EMEDIUMTYPE, "no store");
    memset(m, 0x5a, BYTES);
    expect_open(&k, -EMEDIUMTYPE, "no store");
    k.medium.bytes = 4096;
    expect_open(&k, -EMEDIUMTYPE, "no store");
    k.medium.bytes = BYTES;
    /* All four copies of the metadata. */
    memcpy(m, kept, BYTES);
    struct dk_geometry g;
    assert_int_equal(dk_super_parse(m, 0, &g), 0);
    for (uint32_t i = 0; i < 4; i++)
        m[dk_region_offset(&g, i / 2, i % 2) + 70] ^= 1;
    expect_open(&k, -EUCLEAN, "metadata");
    /* The present one: the older state is not taken for it. */
    uint32_t refused = 0;
    for (uint32_t region = 0; region < 2; region++) {
        memcpy(m, kept, BYTES);
        m[dk_region_offset(&g, region, 0) + 70] ^= 1;
        m[dk_region_offset(&g, region, 1) + 70] ^= 1;
        const char *why = "";
        int ret = kit_open(&k, &why);
        assert_true(ret == 0 || ret == -EUCLEAN);
        refused += ret != 0;
        if (ret == 0)
            dk_store_close(k.store);
        k.store = NULL;
        memcpy(m, kept, BYTES);
    }
    assert_int_equal(refused, 1);
    medium_fini(&k.medium);
}

static void test_format_keeps_what_is_there_unless_it_is_forced(void **state)
{
    (void)state;
    struct store_kit k = {0};
    const char *why = "";
    struct dk_store_format_options options = {.segment_bytes = 64u << 10, .uuid = {1}};
    make(&k, CLOSED);
    struct dk_blkdev *dev = medium_open(&k.medium);
    assert_int_equal(dk_store_format(dev, &options, false, &why), -EEXIST);
    assert_non_null(strstr(why, "already"));
    memset(k.medium.memory, 0, BYTES);
    k.medium.memory[70000] = 1;
    assert_int_equal(dk_store_format(dev, &options, false, &why), -EUCLEAN);
    assert_int_equal(dk_store_format(dev, &options, true, &why), 0);
    options.segment_bytes = 3;
    assert_int_equal(dk_store_format(dev, &options, true, &why), -EINVAL);
    options.segment_bytes = 1u << 20;
    assert_int_equal(dk_store_format(dev, &options, true, &why), -ENOSPC);
    dev->ops->close(dev);
    assert_int_equal(kit_open(&k, &why), 0);
    kit_end(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bit_of_a_closed_store_flipped_is_one_error_at_most),
        cmocka_unit_test(test_bit_of_a_killed_store_flipped_is_one_error_at_most),
        cmocka_unit_test(test_bit_of_a_store_killed_when_idle_flipped_is_one_error_at_most),
        cmocka_unit_test(test_misdirected_write_is_an_error_or_nothing),
        cmocka_unit_test(test_lost_writes_are_errors_and_the_log_goes_on),
        cmocka_unit_test(test_batch_left_over_continues_nothing_later),
        cmocka_unit_test(test_impossible_metadata_of_one_log_refuses_that_one),
        cmocka_unit_test(test_name_of_two_logs_is_neithers),
        cmocka_unit_test(test_impossible_metadata_of_the_store_refuses_it),
        cmocka_unit_test(test_damage_at_a_cut_ends_there),
        cmocka_unit_test(test_batch_that_was_cut_has_what_is_before),
        cmocka_unit_test(test_devices_that_hold_no_store_of_ours_are_refused),
        cmocka_unit_test(test_format_keeps_what_is_there_unless_it_is_forced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
