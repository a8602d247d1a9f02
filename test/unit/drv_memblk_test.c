/* SPDX-License-Identifier: MIT */
/*
 * The block device in memory: the contract, in order and in any order; what a watcher is told.
 */
#include "blk_kit.h"

#include "drv/memblk.h"

#include <string.h>

static struct dk_blkdev *open_with(const struct dk_memblk_options *options)
{
    struct dk_blkdev *dev = NULL;
    const char *why = "";
    int r = dk_memblk_open(&dev, options, &why);
    must_hold(r == 0, "%s", why);
    return dev;
}

static struct dk_blkdev *open_plain(bool again, bool read_only)
{
    (void)again;
    return open_with(&(struct dk_memblk_options){.bytes = BLK_BYTES, .read_only = read_only});
}

static struct dk_blkdev *open_shuffled(bool again, bool read_only)
{
    (void)again;
    return open_with(&(struct dk_memblk_options){.bytes = BLK_BYTES,
                                                 .read_only = read_only,
                                                 .block_bytes = 512,
                                                 .depth = 300,
                                                 .seed = 7,
                                                 .limit_bytes = 2 * BLK_BYTES});
}

static const struct blk_maker memblk = {.name = "memblk", .open = open_plain, .forgets = true};
static const struct blk_maker shuffled = {.name = "memblk", .open = open_shuffled, .forgets = true};

struct seen {
    uint32_t taken, effective;
    const struct dk_blk_io *last;
    uint8_t before; /* first byte of the device when it was taken */
    uint8_t after;
    struct dk_blkdev *dev;
};

static void see(void *arg, enum dk_memblk_event event, const struct dk_blk_io *io)
{
    struct seen *seen = arg;
    seen->last = io;
    if (event == DK_MEMBLK_TAKEN)
        seen->taken++, seen->before = *dk_memblk_memory(seen->dev);
    else
        seen->effective++, seen->after = *dk_memblk_memory(seen->dev);
}

static void test_memblk_watcher_is_told_before_and_after_the_effect(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct dk_blkdev *dev = open_with(
        &(struct dk_memblk_options){.bytes = BLK_BYTES, .watch = see, .watch_arg = &seen});
    struct blk_op op;
    seen.dev = dev;
    blk_op_make(&op, dev, DK_BLK_WRITE, 0, 4096, 1);
    memset(op.memory, 0x77, 4096);
    blk_start(dev, &op);
    assert_int_equal(seen.taken, 1);
    assert_int_equal(seen.effective, 0);
    must(-blk_finish(dev, &op));
    assert_int_equal(seen.effective, 1);
    assert_ptr_equal(seen.last, &op.io);
    assert_int_equal(seen.before, 0);
    assert_int_equal(seen.after, 0x77);
    blk_op_free(&op);
    dev->ops->close(dev);
}

struct order {
    char text[64];
};

static void note(struct dk_blk_io *io, int result)
{
    struct order *order = io->arg;
    const char letter[] = {(char)('a' + io->offset / 4096), '\0'};
    must(-result);
    strcat(order->text, letter);
}

/* Completes eight writes: how they came, by their places. */
static struct order order_of(uint64_t seed)
{
    struct dk_blkdev *dev =
        open_with(&(struct dk_memblk_options){.bytes = BLK_BYTES, .seed = seed});
    struct order order = {""};
    struct blk_op ops[8];
    for (size_t i = 0; i < COUNT_OF(ops); i++) {
        blk_op_make(&ops[i], dev, DK_BLK_WRITE, i * 4096, 4096, 1);
        ops[i].io.done = note;
        ops[i].io.arg = &order;
        blk_start(dev, &ops[i]);
    }
    while (dev->ops->wait(dev) > 0)
        continue;
    for (size_t i = 0; i < COUNT_OF(ops); i++)
        blk_op_free(&ops[i]);
    dev->ops->close(dev);
    return order;
}

static void test_memblk_seed_chooses_the_order_of_completions(void **state)
{
    (void)state;
    assert_string_equal(order_of(0).text, "abcdefgh");
    assert_string_not_equal(order_of(1).text, "abcdefgh");
    assert_string_not_equal(order_of(1).text, order_of(2).text);
    assert_string_equal(order_of(1).text, order_of(1).text);
    assert_int_equal(strlen(order_of(3).text), 8);
}

static void test_memblk_grows_to_its_limit(void **state)
{
    (void)state;
    struct dk_blkdev *dev =
        open_with(&(struct dk_memblk_options){.bytes = BLK_BYTES, .limit_bytes = 2 * BLK_BYTES});
    assert_true(dev->caps.flags & DK_BLKDEV_GROWS);
    must_fail(-dev->ops->resize(dev, 2 * BLK_BYTES + 4096), ENOSPC);
    must_fail(-dev->ops->resize(dev, BLK_BYTES + 1), EINVAL);
    assert_int_equal(dev->caps.bytes, BLK_BYTES);
    must(-dev->ops->resize(dev, 2 * BLK_BYTES));
    assert_int_equal(dev->caps.bytes, 2 * BLK_BYTES);
    must(-blk_write(dev, 2 * BLK_BYTES - 4096, 4096, 1, 0));
    must(-blk_read(dev, 2 * BLK_BYTES - 4096, 4096, 1));
    dev->ops->close(dev);
}

static void must_refuse(const struct dk_memblk_options *options, const char *words)
{
    struct dk_blkdev *dev = NULL;
    const char *why = "";
    blk_must_fail(dk_memblk_open(&dev, options, &why), EINVAL, &why, words);
    assert_null(dev);
}

static void test_memblk_options_out_of_range_are_refused(void **state)
{
    (void)state;
    must_refuse(&(struct dk_memblk_options){.block_bytes = 256}, "block");
    must_refuse(&(struct dk_memblk_options){.block_bytes = 8192}, "block");
    must_refuse(&(struct dk_memblk_options){.bytes = 4097}, "whole blocks");
    must_refuse(&(struct dk_memblk_options){.bytes = 8192, .limit_bytes = 4096}, "whole blocks");
    must_refuse(&(struct dk_memblk_options){.bytes = UINT64_MAX - 4095}, "at most");
    must_refuse(&(struct dk_memblk_options){.atomic_bytes = 100}, "torn");
    must_refuse(&(struct dk_memblk_options){.max_bytes = 512}, "one block");
    must_refuse(&(struct dk_memblk_options){.depth = 5000}, "may wait");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BLK_CONTRACT(memblk),
        BLK_CONTRACT(shuffled),
        cmocka_unit_test(test_memblk_watcher_is_told_before_and_after_the_effect),
        cmocka_unit_test(test_memblk_seed_chooses_the_order_of_completions),
        cmocka_unit_test(test_memblk_grows_to_its_limit),
        cmocka_unit_test(test_memblk_options_out_of_range_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
