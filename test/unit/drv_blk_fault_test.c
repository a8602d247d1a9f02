/* SPDX-License-Identifier: MIT */
/*
 * The decorator that makes block devices bad: without rates it is the device below; each fault does
 * what it says, and no more; a seed repeats it; failing power takes what was not durable, in units.
 */
#include "blk_kit.h"

#include "drv/blk_fault.h"
#include "drv/memblk.h"
#include "mem/heap.h"

#include <stdlib.h>
#include <string.h>

#define ALWAYS DK_BLK_FAULT_ALWAYS
#define BLOCK  4096u
#define UNIT   512u

static struct dk_blkdev *memory; /* below */

static struct dk_blkdev *open_over(const struct dk_memblk_options *below,
                                   const struct dk_blk_fault_options *options)
{
    struct dk_blkdev *dev = NULL;
    const char *why = "";
    int r = dk_memblk_open(&memory, below, &why);
    if (r == 0)
        r = dk_blk_fault_open(&dev, memory, options, &why);
    must_hold(r == 0, "%s", why);
    return dev;
}

static struct dk_blkdev *open_fault(const struct dk_blk_fault_options *options)
{
    return open_over(&(struct dk_memblk_options){.bytes = BLK_BYTES}, options);
}

static struct dk_blkdev *open_harmless(bool again, bool read_only)
{
    (void)again;
    return open_over(&(struct dk_memblk_options){.bytes = BLK_BYTES, .read_only = read_only},
                     &(struct dk_blk_fault_options){.seed = 1});
}

static struct dk_blkdev *open_late(bool again, bool read_only)
{
    (void)again;
    return open_over(
        &(struct dk_memblk_options){.bytes = BLK_BYTES, .read_only = read_only, .seed = 3},
        &(struct dk_blk_fault_options){.seed = 1,
                                       .delay_ns = 1000,
                                       .jitter_ns = 100000,
                                       .reorder = ALWAYS / 4,
                                       .watches_power = true});
}

static const struct blk_maker harmless = {
    .name = "harmless", .open = open_harmless, .forgets = true};
static const struct blk_maker late = {.name = "late", .open = open_late, .forgets = true};

static const uint8_t *at(uint64_t offset)
{
    return dk_memblk_memory(memory) + offset;
}

static bool is_zero(const uint8_t *p, size_t n)
{
    while (n > 0 && *p == 0)
        p++, n--;
    return n == 0;
}

static void test_fault_error_does_nothing(void **state)
{
    (void)state;
    struct dk_blkdev *dev = open_fault(&(struct dk_blk_fault_options){.write_error = ALWAYS});
    must_fail(-blk_write(dev, 0, BLOCK, 1, 0), EIO);
    must(-blk_flush(dev));
    assert_true(is_zero(at(0), BLOCK));
    assert_int_equal(dev->stats->fault_errors, 1);
    dev->ops->close(dev);
    dev = open_fault(&(struct dk_blk_fault_options){.read_error = ALWAYS});
    must(-blk_write(dev, 0, BLOCK, 1, 0));
    must_fail(-blk_read(dev, 0, BLOCK, 1), EIO);
    dev->ops->close(dev);
    dev = open_fault(&(struct dk_blk_fault_options){.flush_error = ALWAYS});
    must(-blk_write(dev, 0, BLOCK, 1, 0));
    must(-blk_read(dev, 0, BLOCK, 1));
    must_fail(-blk_flush(dev), EIO);
    dev->ops->close(dev);
}

static void test_fault_lost_write_says_it_was_done(void **state)
{
    (void)state;
    struct dk_blkdev *dev = open_fault(&(struct dk_blk_fault_options){.lost = ALWAYS});
    must(-blk_write(dev, 0, BLOCK, 1, DK_BLK_FUA));
    assert_true(is_zero(at(0), BLOCK));
    assert_int_equal(dev->stats->fault_lost, 1);
    dev->ops->close(dev);
}

static void test_fault_torn_write_is_old_and_new_in_units(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct dk_blkdev *dev =
            open_fault(&(struct dk_blk_fault_options){.seed = seed, .torn = ALWAYS});
        uint32_t old = 0;
        must(-blk_write(dev, BLOCK, 2 * BLOCK, 1, 0));
        for (uint32_t i = 0; i < 2 * BLOCK; i += UNIT) {
            bool is_old = is_zero(at(BLOCK + i), UNIT);
            old += is_old;
            if (!is_old)
                pattern_check(at(BLOCK + i), UNIT, 1, BLOCK + i);
        }
        assert_in_range(old, 1, 2 * BLOCK / UNIT - 1);
        assert_true(is_zero(at(0), BLOCK) && is_zero(at(3 * BLOCK), BLOCK));
        assert_int_equal(dev->stats->fault_torn, 1);
        dev->ops->close(dev);
    }
}

static void test_fault_misdirected_write_is_elsewhere(void **state)
{
    (void)state;
    struct dk_blkdev *dev = open_fault(&(struct dk_blk_fault_options){.misdirect = ALWAYS});
    uint64_t found = 0;
    must(-blk_write(dev, BLOCK, BLOCK, 1, 0));
    assert_true(is_zero(at(BLOCK), BLOCK));
    for (uint64_t offset = 0; offset < BLK_BYTES; offset += BLOCK)
        found += pattern_length(at(offset), BLOCK, 1, BLOCK) == BLOCK;
    assert_int_equal(found, 1);
    assert_int_equal(dev->stats->fault_misdirected, 1);
    dev->ops->close(dev);
}

static void test_fault_rot_turns_one_bit_over_on_the_device(void **state)
{
    (void)state;
    struct dk_blkdev *dev = open_fault(&(struct dk_blk_fault_options){.rot = ALWAYS});
    struct blk_op op;
    int bits = 0;
    blk_op_make(&op, dev, DK_BLK_WRITE, 0, 2 * BLOCK, 2);
    pattern_fill(op.memory, 2 * BLOCK, 1, 0);
    blk_start(dev, &op);
    must(-blk_finish(dev, &op));
    pattern_check(op.memory, 2 * BLOCK, 1, 0); /* the application's memory is left alone */
    for (uint32_t i = 0; i < 2 * BLOCK; i++)
        bits += __builtin_popcount(at(0)[i] ^ op.memory[i]);
    assert_int_equal(bits, 1);
    blk_op_free(&op);
    dev->ops->close(dev);
}

/* By the clock that poll is given, not before. */
static void test_fault_delay_begins_late(void **state)
{
    (void)state;
    struct dk_blkdev *dev = open_fault(&(struct dk_blk_fault_options){.delay_ns = 1000});
    struct blk_op op;
    blk_op_make(&op, dev, DK_BLK_WRITE, 0, BLOCK, 1);
    memset(op.memory, 1, BLOCK);
    blk_start(dev, &op);
    assert_int_equal(dev->ops->arm(dev), -1); /* it does not know its time yet */
    assert_int_equal(dev->ops->poll(dev, 5000), 0);
    assert_int_equal(dev->ops->next_due(dev), 6000);
    assert_true(dev->ops->arm(dev) >= 0);
    assert_int_equal(dev->ops->poll(dev, 5999), 0);
    assert_true(is_zero(at(0), BLOCK));
    assert_int_equal(dev->ops->poll(dev, 6000), 1);
    assert_int_equal(op.times_done, 1);
    assert_int_equal(dev->ops->next_due(dev), INT64_MAX);
    assert_int_equal(dev->stats->fault_delayed, 1);
    blk_op_free(&op);
    dev->ops->close(dev);
}

static void note(struct dk_blk_io *io, int result)
{
    char *text = io->arg;
    const char letter[] = {(char)('a' + io->offset / BLOCK), '\0'};
    must(-result);
    strcat(text, letter);
}

static void order_of(uint64_t seed, char text[32])
{
    struct dk_blkdev *dev =
        open_fault(&(struct dk_blk_fault_options){.seed = seed, .reorder = ALWAYS / 2});
    struct blk_op ops[12];
    text[0] = '\0';
    for (size_t i = 0; i < COUNT_OF(ops); i++) {
        blk_op_make(&ops[i], dev, DK_BLK_WRITE, i * BLOCK, BLOCK, 1);
        ops[i].io.done = note;
        ops[i].io.arg = text;
        must(-dev->ops->submit(dev, &ops[i].io));
    }
    while (dev->ops->wait(dev) > 0)
        continue;
    for (size_t i = 0; i < COUNT_OF(ops); i++)
        blk_op_free(&ops[i]);
    assert_true(dev->stats->fault_reordered > 0);
    dev->ops->close(dev);
}

static void test_fault_seed_repeats_it(void **state)
{
    (void)state;
    char first[32], second[32], other[32];
    order_of(1, first);
    order_of(1, second);
    order_of(2, other);
    assert_int_equal(strlen(first), 12);
    assert_string_equal(first, second);
    assert_string_not_equal(first, other);
    assert_string_not_equal(first, "abcdefghijkl");
}

static void test_fault_rates_are_what_they_say(void **state)
{
    (void)state;
    struct dk_blkdev *dev =
        open_fault(&(struct dk_blk_fault_options){.seed = 5, .write_error = ALWAYS / 10});
    int errors = 0;
    for (int i = 0; i < 2000; i++)
        errors += blk_write(dev, 0, BLOCK, 1, 0) == -EIO;
    assert_in_range(errors, 150, 250);
    assert_int_equal(dev->stats->fault_errors, errors);
    dev->ops->close(dev);
}

/* A run of writes, some durable, until power fails: what must be there, and what may. */
#define PLACES 8u

struct run {
    uint64_t state;
    uint64_t durable[PLACES];      /* seed of what a place surely holds, if nothing came after */
    uint64_t possible[PLACES][64]; /* seeds that may be there in some units, the durable one too */
    uint32_t num_possible[PLACES];
};

static void know(struct run *run, uint32_t place, uint64_t seed, bool is_durable)
{
    if (is_durable)
        run->num_possible[place] = 0;
    if (is_durable)
        run->durable[place] = seed;
    run->possible[place][run->num_possible[place]++ % 64] = seed;
}

static bool is_possible(const struct run *run, uint32_t place, const uint8_t *unit, uint64_t offset)
{
    for (uint32_t i = 0; i < run->num_possible[place]; i++) {
        uint64_t seed = run->possible[place][i];
        if (seed ? pattern_length(unit, UNIT, seed, offset) == UNIT : is_zero(unit, UNIT))
            return true;
    }
    return false;
}

/* Writes until power fails; false: it did. */
static bool write_some(struct run *run, struct dk_blkdev *dev)
{
    const uint32_t place = random_below(&run->state, PLACES);
    const uint64_t seed = random_next(&run->state) | 1;
    const bool fua = random_below(&run->state, 4) == 0;
    int r = blk_write(dev, place * BLOCK, BLOCK, seed, fua ? DK_BLK_FUA : 0);
    know(run, place, seed, fua && r == 0);
    if (r == 0 && random_below(&run->state, 5) == 0 && (r = blk_flush(dev)) == 0)
        for (uint32_t i = 0; i < PLACES; i++)
            know(run, i, run->possible[i][run->num_possible[i] - 1], true);
    return r == 0;
}

static uint32_t check_run(const struct run *run)
{
    uint32_t lost = 0;
    for (uint32_t place = 0; place < PLACES; place++)
        for (uint32_t i = 0; i < BLOCK; i += UNIT) {
            uint64_t offset = place * BLOCK + i;
            must_hold(is_possible(run, place, at(offset), offset),
                      "place %u unit %u holds what nobody wrote, or lost what was durable", place,
                      i / UNIT);
            uint64_t last = run->possible[place][run->num_possible[place] - 1];
            lost += last && pattern_length(at(offset), UNIT, last, offset) != UNIT;
        }
    return lost;
}

static void test_fault_power_takes_what_was_not_durable_and_nothing_else(void **state)
{
    (void)state;
    uint64_t seed = seed_choose("power");
    uint32_t lost = 0;
    for (uint32_t i = 0; i < 200; i++) {
        struct run run = {.state = random_next(&seed)};
        struct dk_blkdev *dev = open_fault(
            &(struct dk_blk_fault_options){.seed = random_next(&seed), .power_at = 1 + i % 40});
        for (uint32_t place = 0; place < PLACES; place++)
            know(&run, place, 0, true);
        while (write_some(&run, dev))
            continue;
        assert_int_equal(dk_blk_fault_writes(dev), 1 + i % 40);
        lost += check_run(&run);
        must_fail(-blk_write(dev, 0, BLOCK, 1, 0), EIO); /* and it is off from there on */
        must_fail(-blk_read(dev, 0, BLOCK, 1), EIO);
        must_fail(-blk_flush(dev), EIO);
        dev->ops->close(dev);
    }
    assert_true(lost > 100);
}

/* Several in flight: none is acknowledged when it fails, all are done. */
static void test_fault_power_off_ends_what_is_in_flight(void **state)
{
    (void)state;
    struct dk_blkdev *dev = open_fault(&(struct dk_blk_fault_options){.watches_power = true});
    struct blk_op ops[8];
    must(-blk_write(dev, 0, 8 * BLOCK, 1, DK_BLK_FUA));
    for (size_t i = 0; i < COUNT_OF(ops); i++) {
        blk_op_make(&ops[i], dev, DK_BLK_WRITE, i * BLOCK, BLOCK, 1);
        pattern_fill(ops[i].memory, BLOCK, 2, i * BLOCK);
        ops[i].io.flags = DK_BLK_FUA;
        blk_start(dev, &ops[i]);
    }
    dev->ops->poll(dev, 1); /* they read what they will replace */
    dk_blk_fault_power_off(dev);
    for (size_t i = 0; i < COUNT_OF(ops); i++) {
        must_fail(-blk_finish(dev, &ops[i]), EIO);
        blk_op_free(&ops[i]);
    }
    for (uint64_t i = 0; i < 8 * BLOCK; i += UNIT)
        assert_true(pattern_length(at(i), UNIT, 1, i) == UNIT ||
                    pattern_length(at(i), UNIT, 2, i) == UNIT);
    dev->ops->close(dev);
}

static void test_fault_grows_with_the_device_below(void **state)
{
    (void)state;
    struct dk_blkdev *dev =
        open_over(&(struct dk_memblk_options){.bytes = BLK_BYTES, .limit_bytes = 2 * BLK_BYTES},
                  &(struct dk_blk_fault_options){.watches_power = true});
    must(-dev->ops->resize(dev, 2 * BLK_BYTES));
    assert_int_equal(dev->caps.bytes, 2 * BLK_BYTES);
    must(-blk_write(dev, 2 * BLK_BYTES - BLOCK, BLOCK, 1, 0));
    dk_blk_fault_power_off(dev);
    must_fail(-dev->ops->resize(dev, 2 * BLK_BYTES), EIO);
    dev->ops->close(dev);
}

static void test_fault_options_out_of_range_are_refused(void **state)
{
    (void)state;
    const struct dk_blk_fault_options wrong[] = {
        {.lost = ALWAYS + 1}, {.delay_ns = -1}, {.jitter_ns = INT64_MAX}, {.rot = UINT32_MAX}};
    struct dk_blkdev *dev = open_harmless(false, false), *over = NULL;
    const char *why = "";
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        blk_must_fail(dk_blk_fault_open(&over, dev, &wrong[i], &why), EINVAL, &why, "at most");
    assert_null(over);
    dev->ops->close(dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BLK_CONTRACT(harmless),
        BLK_CONTRACT(late),
        cmocka_unit_test(test_fault_error_does_nothing),
        cmocka_unit_test(test_fault_lost_write_says_it_was_done),
        cmocka_unit_test(test_fault_torn_write_is_old_and_new_in_units),
        cmocka_unit_test(test_fault_misdirected_write_is_elsewhere),
        cmocka_unit_test(test_fault_rot_turns_one_bit_over_on_the_device),
        cmocka_unit_test(test_fault_delay_begins_late),
        cmocka_unit_test(test_fault_seed_repeats_it),
        cmocka_unit_test(test_fault_rates_are_what_they_say),
        cmocka_unit_test(test_fault_power_takes_what_was_not_durable_and_nothing_else),
        cmocka_unit_test(test_fault_power_off_ends_what_is_in_flight),
        cmocka_unit_test(test_fault_grows_with_the_device_below),
        cmocka_unit_test(test_fault_options_out_of_range_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
