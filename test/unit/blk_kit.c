/* SPDX-License-Identifier: MIT */
#include "blk_kit.h"

#include "mem/heap.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define BLOCK 4096u /* a multiple of every device's */

static const struct blk_maker *maker_of(void **state)
{
    return *state;
}

static struct dk_blkdev *open_first(void **state)
{
    struct dk_blkdev *dev = maker_of(state)->open(false, false);
    if (!dev)
        skip();
    assert_true(dev->caps.bytes >= BLK_BYTES);
    return dev;
}

static void close_last(void **state, struct dk_blkdev *dev)
{
    dev->ops->close(dev);
    if (maker_of(state)->clean)
        maker_of(state)->clean();
}

static void on_done(struct dk_blk_io *io, int result)
{
    struct blk_op *op = io->arg;
    op->times_done++;
    op->result = result;
}

void blk_op_make(struct blk_op *op, const struct dk_blkdev *dev, uint8_t what, uint64_t offset,
                 uint32_t bytes, uint32_t num_segs)
{
    const uint32_t align = dev->caps.mem_align;
    uint32_t at = 0;
    while (num_segs > 1 && bytes / num_segs < align)
        num_segs--; /* none is empty */
    memset(op, 0, sizeof(*op));
    op->io = (struct dk_blk_io){.op = what,
                                .num_segs = num_segs,
                                .offset = offset,
                                .bytes = bytes,
                                .segs = op->segs,
                                .done = on_done,
                                .arg = op};
    op->memory = num_segs ? dk_heap_aligned(BLOCK, bytes) : NULL;
    for (uint32_t i = 0; i < num_segs; i++) {
        uint32_t len = i + 1 == num_segs ? bytes - at : bytes / num_segs / align * align;
        op->segs[i] = (struct dk_blk_seg){op->memory + at, len};
        at += len;
    }
}

void blk_op_free(struct blk_op *op)
{
    if (op->memory)
        dk_heap_free(op->memory);
}

void blk_start(struct dk_blkdev *dev, struct blk_op *op)
{
    int r;
    op->times_done = 0;
    while ((r = dev->ops->submit(dev, &op->io)) == -EAGAIN)
        assert_true(dev->ops->wait(dev) > 0);
    must(-r);
}

int blk_finish(struct dk_blkdev *dev, struct blk_op *op)
{
    while (op->times_done == 0)
        assert_true(dev->ops->wait(dev) > 0);
    assert_int_equal(op->times_done, 1);
    return op->result;
}

static int run(struct dk_blkdev *dev, struct blk_op *op)
{
    blk_start(dev, op);
    return blk_finish(dev, op);
}

int blk_write(struct dk_blkdev *dev, uint64_t offset, uint32_t bytes, uint64_t seed, uint8_t flags)
{
    struct blk_op op;
    blk_op_make(&op, dev, DK_BLK_WRITE, offset, bytes, 1);
    op.io.flags = flags;
    pattern_fill(op.memory, bytes, seed, offset);
    int r = run(dev, &op);
    blk_op_free(&op);
    return r;
}

int blk_read_raw(struct dk_blkdev *dev, uint64_t offset, uint32_t bytes, uint8_t *out)
{
    struct blk_op op;
    blk_op_make(&op, dev, DK_BLK_READ, offset, bytes, 1);
    int r = run(dev, &op);
    memcpy(out, op.memory, bytes);
    blk_op_free(&op);
    return r;
}

int blk_read(struct dk_blkdev *dev, uint64_t offset, uint32_t bytes, uint64_t seed)
{
    uint8_t *got = malloc(bytes);
    int r = blk_read_raw(dev, offset, bytes, got);
    if (r == 0)
        pattern_check(got, bytes, seed, offset);
    free(got);
    return r;
}

int blk_flush(struct dk_blkdev *dev)
{
    struct blk_op op;
    blk_op_make(&op, dev, DK_BLK_FLUSH, 0, 0, 0);
    return run(dev, &op);
}

void blk_must_fail(int r, int error, const char *const *why_out, const char *words)
{
    must_fail(-r, error);
    must_hold(strstr(*why_out, words), "it says: %s", *why_out);
}

void blk_test_caps(void **state)
{
    struct dk_blkdev *dev = open_first(state);
    const struct dk_blkdev_caps *caps = &dev->caps;
    assert_true(caps->block_bytes >= 512 && caps->block_bytes <= 4096);
    assert_int_equal(caps->block_bytes & (caps->block_bytes - 1), 0);
    assert_int_equal(caps->bytes % caps->block_bytes, 0);
    assert_true(caps->atomic_bytes >= 512);
    assert_true(caps->mem_align > 0 && caps->mem_align <= 4096);
    assert_true(caps->max_bytes >= 128u << 10 && caps->max_bytes % caps->block_bytes == 0);
    assert_true(caps->max_segs >= 8 && caps->depth >= 8);
    assert_true((dev->ops->resize != NULL) == ((caps->flags & DK_BLKDEV_GROWS) != 0));
    close_last(state, dev);
}

void blk_test_written_is_read(void **state)
{
    struct dk_blkdev *dev = open_first(state);
    must(-blk_write(dev, 0, BLOCK, 1, 0));
    must(-blk_write(dev, BLK_BYTES - BLOCK, BLOCK, 2, DK_BLK_FUA));
    must(-blk_write(dev, BLOCK, 3 * BLOCK, 3, 0));
    must(-blk_read(dev, BLOCK, 3 * BLOCK, 3));
    must(-blk_flush(dev));
    must(-blk_read(dev, 0, BLOCK, 1));
    must(-blk_read(dev, BLK_BYTES - BLOCK, BLOCK, 2));
    must(-blk_write(dev, 2 * BLOCK, BLOCK, 4, DK_BLK_FUA));
    must(-blk_read(dev, BLOCK, BLOCK, 3));
    must(-blk_read(dev, 2 * BLOCK, BLOCK, 4));
    must(-blk_read(dev, 3 * BLOCK, BLOCK, 3));
    close_last(state, dev);
}

void blk_test_segments(void **state)
{
    struct dk_blkdev *dev = open_first(state);
    struct blk_op op;
    const uint32_t bytes = 16 * BLOCK, pieces[] = {1, 2, 3, 7, 8};
    for (size_t i = 0; i < COUNT_OF(pieces); i++) {
        blk_op_make(&op, dev, DK_BLK_WRITE, 4 * BLOCK, bytes, pieces[i]);
        pattern_fill(op.memory, bytes, i, 4 * BLOCK);
        op.io.flags = i % 2 ? DK_BLK_FUA : 0;
        must(-run(dev, &op));
        op.io.op = DK_BLK_READ;
        op.io.flags = 0;
        memset(op.memory, 0, bytes);
        must(-run(dev, &op));
        pattern_check(op.memory, bytes, i, 4 * BLOCK);
        blk_op_free(&op);
    }
    close_last(state, dev);
}

void blk_test_largest(void **state)
{
    struct dk_blkdev *dev = open_first(state);
    const uint32_t bytes = dev->caps.max_bytes < BLK_BYTES ? dev->caps.max_bytes : BLK_BYTES;
    must(-blk_write(dev, 0, bytes, 5, 0));
    must(-blk_read(dev, 0, bytes, 5));
    close_last(state, dev);
}

/* Fills the device to its depth and beyond: each I/O is done once, whatever the order. */
void blk_test_many_in_flight(void **state)
{
    struct dk_blkdev *dev = open_first(state);
    const uint32_t n = dev->caps.depth + 16;
    struct blk_op *ops = calloc(n, sizeof(*ops));
    uint32_t taken = 0;
    for (uint32_t i = 0; i < n; i++) {
        blk_op_make(&ops[i], dev, DK_BLK_WRITE, (i * BLOCK) % BLK_BYTES, BLOCK, 1);
        pattern_fill(ops[i].memory, BLOCK, 6, ops[i].io.offset);
    }
    while (taken < n && dev->ops->submit(dev, &ops[taken].io) == 0)
        taken++;
    assert_true(taken >= dev->caps.depth);
    for (uint32_t i = taken; i < n; i++)
        blk_start(dev, &ops[i]);
    for (uint32_t i = 0; i < n; i++) {
        must(-blk_finish(dev, &ops[i]));
        must(-blk_read(dev, ops[i].io.offset, BLOCK, 6));
        blk_op_free(&ops[i]);
    }
    free(ops);
    assert_int_equal(dev->ops->wait(dev), 0);
    close_last(state, dev);
}

struct again {
    struct dk_blkdev *dev;
    uint32_t left;
};

static void submit_again(struct dk_blk_io *io, int result)
{
    struct again *again = io->arg;
    must(-result);
    if (--again->left > 0)
        must(-again->dev->ops->submit(again->dev, io));
}

void blk_test_submits_when_done(void **state)
{
    struct dk_blkdev *dev = open_first(state);
    struct again again = {.dev = dev, .left = 100};
    struct blk_op op;
    blk_op_make(&op, dev, DK_BLK_WRITE, BLOCK, BLOCK, 1);
    op.io.done = submit_again;
    op.io.arg = &again;
    must(-dev->ops->submit(dev, &op.io));
    while (again.left > 0)
        assert_true(dev->ops->wait(dev) > 0);
    blk_op_free(&op);
    close_last(state, dev);
}

static bool is_readable(struct dk_blkdev *dev, int timeout_ms)
{
    int fd = dev->ops->arm(dev);
    if (dev->ops->next_due && dev->ops->next_due(dev) != INT64_MAX)
        return true;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return fd < 0 || poll(&p, 1, timeout_ms) == 1;
}

void blk_test_arm(void **state)
{
    struct dk_blkdev *dev = open_first(state);
    struct blk_op op;
    blk_op_make(&op, dev, DK_BLK_WRITE, 0, BLOCK, 1);
    for (int i = 0; i < 20; i++) {
        assert_false(is_readable(dev, 0));
        blk_start(dev, &op);
        while (op.times_done == 0) {
            assert_true(is_readable(dev, PATIENCE_S * 1000));
            dev->ops->poll(dev, (int64_t)now_ns());
        }
        must(-op.result);
        /* One that says so for nothing may be polled once. */
        dev->ops->poll(dev, (int64_t)now_ns());
    }
    blk_op_free(&op);
    close_last(state, dev);
}

/* Between submit and poll there is nothing but sleep. */
void blk_test_sleep(void **state)
{
    struct dk_blkdev *dev = open_first(state);
    struct blk_op op;
    if (!dev->ops->sleep) {
        print_message("%s takes arm and a wait\n", dev->ops->name);
        close_last(state, dev);
        skip();
    }
    blk_op_make(&op, dev, DK_BLK_WRITE, 0, BLOCK, 1);
    for (int i = 0; i < 20; i++) {
        const int64_t start = (int64_t)now_ns();
        blk_start(dev, &op);
        while (op.times_done == 0) {
            dev->ops->sleep(dev, PATIENCE_S * INT64_C(1000000000));
            dev->ops->poll(dev, (int64_t)now_ns());
        }
        must(-op.result);
        assert_true((int64_t)now_ns() - start < PATIENCE_S * INT64_C(1000000000));
    }
    const int64_t start = (int64_t)now_ns();
    dev->ops->sleep(dev, 3000000); /* over nothing */
    assert_true((int64_t)now_ns() - start >= 3000000);
    blk_op_free(&op);
    close_last(state, dev);
}

static int refusal(struct dk_blkdev *dev, uint8_t what, uint64_t offset, uint32_t bytes)
{
    struct blk_op op;
    const bool has_data = what == DK_BLK_READ || what == DK_BLK_WRITE;
    blk_op_make(&op, dev, what, offset, bytes, has_data);
    int r = dev->ops->submit(dev, &op.io);
    assert_true(r < 0);
    blk_op_free(&op);
    return r;
}

void blk_test_refuses(void **state)
{
    struct dk_blkdev *dev = open_first(state);
    const struct dk_blkdev_caps *caps = &dev->caps;
    struct blk_op op;
    must_fail(-refusal(dev, DK_BLK_READ, 1, BLOCK), EINVAL);
    must_fail(-refusal(dev, DK_BLK_WRITE, 0, BLOCK + 16), EINVAL);
    must_fail(-refusal(dev, DK_BLK_READ, caps->bytes, BLOCK), EINVAL);
    must_fail(-refusal(dev, DK_BLK_WRITE, caps->bytes - BLOCK, 2 * BLOCK), EINVAL);
    must_fail(-refusal(dev, DK_BLK_READ, UINT64_MAX - BLOCK + 1, BLOCK), EINVAL);
    must_fail(-refusal(dev, DK_BLK_WRITE, 0, caps->max_bytes + caps->block_bytes), EINVAL);
    must_fail(-refusal(dev, DK_BLK_DISCARD, 0, BLOCK + 16), EINVAL);
    must_fail(-refusal(dev, DK_BLK_DISCARD + 1, 0, BLOCK), EINVAL);
    blk_op_make(&op, dev, DK_BLK_WRITE, 0, BLOCK, 1);
    op.segs[0].len -= 16; /* not the sum */
    must_fail(-dev->ops->submit(dev, &op.io), EINVAL);
    op.segs[0].len += 16;
    op.segs[0].data++;
    assert_int_equal(dev->ops->submit(dev, &op.io), caps->mem_align > 1 ? -EINVAL : 0);
    dev->ops->wait(dev);
    op.segs[0].data--;
    op.io.num_segs = 0;
    must_fail(-dev->ops->submit(dev, &op.io), EINVAL);
    blk_op_free(&op);
    close_last(state, dev);
}

void blk_test_discard(void **state)
{
    struct dk_blkdev *dev = open_first(state);
    struct blk_op op;
    must(-blk_write(dev, 0, 64 * BLOCK, 7, 0));
    blk_op_make(&op, dev, DK_BLK_DISCARD, 16 * BLOCK, 0, 0);
    op.io.bytes = 32 * BLOCK;
    must(-run(dev, &op));
    must(-blk_read(dev, 0, 16 * BLOCK, 7));
    must(-blk_read(dev, 48 * BLOCK, 16 * BLOCK, 7));
    must(-blk_write(dev, 16 * BLOCK, 32 * BLOCK, 8, DK_BLK_FUA));
    must(-blk_read(dev, 16 * BLOCK, 32 * BLOCK, 8));
    must(-blk_read(dev, 48 * BLOCK, 16 * BLOCK, 7));
    close_last(state, dev);
}

void blk_test_kept(void **state)
{
    if (maker_of(state)->forgets)
        return;
    struct dk_blkdev *dev = open_first(state);
    must(-blk_write(dev, 5 * BLOCK, 3 * BLOCK, 9, DK_BLK_FUA));
    dev->ops->close(dev);
    dev = maker_of(state)->open(true, false);
    assert_non_null(dev);
    must(-blk_read(dev, 5 * BLOCK, 3 * BLOCK, 9));
    close_last(state, dev);
}

void blk_test_read_only(void **state)
{
    struct dk_blkdev *dev = open_first(state);
    must(-blk_write(dev, 0, BLOCK, 10, DK_BLK_FUA));
    dev->ops->close(dev);
    dev = maker_of(state)->open(true, true);
    assert_non_null(dev);
    assert_true(dev->caps.flags & DK_BLKDEV_READ_ONLY);
    must_fail(-refusal(dev, DK_BLK_WRITE, 0, BLOCK), EROFS);
    must_fail(-refusal(dev, DK_BLK_DISCARD, 0, BLOCK), EROFS);
    if (!maker_of(state)->forgets)
        must(-blk_read(dev, 0, BLOCK, 10));
    must(-blk_flush(dev));
    close_last(state, dev);
}

void blk_test_close_in_flight(void **state)
{
    struct dk_blkdev *dev = open_first(state);
    struct blk_op ops[8];
    for (size_t i = 0; i < COUNT_OF(ops); i++) {
        blk_op_make(&ops[i], dev, DK_BLK_WRITE, i * BLOCK, BLOCK, 1);
        pattern_fill(ops[i].memory, BLOCK, 11, i * BLOCK);
        blk_start(dev, &ops[i]);
    }
    dev->ops->close(dev);
    for (size_t i = 0; i < COUNT_OF(ops); i++) {
        assert_int_equal(ops[i].times_done, 1);
        must(-ops[i].result);
        blk_op_free(&ops[i]);
    }
    if (maker_of(state)->clean)
        maker_of(state)->clean();
}

#define MODEL_BLOCKS 64u
#define MODEL_OPS    16u
#define MODEL_ROUNDS 60

/* What each block was filled from; I/Os in flight together do not overlap. */
struct model {
    uint64_t seeds[MODEL_BLOCKS]; /* 0: never written */
    uint64_t state;
};

static void model_write(struct model *m, struct dk_blkdev *dev, struct blk_op *op, uint32_t block,
                        uint32_t blocks)
{
    const uint64_t seed = random_next(&m->state) | 1;
    const uint64_t at = (uint64_t)block * BLOCK;
    blk_op_make(op, dev, DK_BLK_WRITE, at, blocks * BLOCK, 1 + random_below(&m->state, 8));
    op->io.flags = random_below(&m->state, 2) ? DK_BLK_FUA : 0;
    pattern_fill(op->memory, blocks * BLOCK, seed, at);
    for (uint32_t i = 0; i < blocks; i++)
        m->seeds[block + i] = seed;
}

static void model_check(const struct model *m, const struct blk_op *op)
{
    for (uint64_t i = 0; i < op->io.bytes / BLOCK; i++) {
        uint64_t at = op->io.offset + i * BLOCK;
        if (m->seeds[at / BLOCK])
            pattern_check(op->memory + i * BLOCK, BLOCK, m->seeds[at / BLOCK], at);
    }
}

static void model_round(struct model *m, struct dk_blkdev *dev)
{
    struct blk_op ops[MODEL_OPS];
    const uint32_t share = MODEL_BLOCKS / MODEL_OPS;
    for (uint32_t i = 0; i < MODEL_OPS; i++) {
        uint32_t first = random_below(&m->state, share);
        uint32_t blocks = 1 + random_below(&m->state, share - first);
        if (random_below(&m->state, 2))
            model_write(m, dev, &ops[i], i * share + first, blocks);
        else
            blk_op_make(&ops[i], dev, DK_BLK_READ, (uint64_t)(i * share + first) * BLOCK,
                        blocks * BLOCK, 1);
        blk_start(dev, &ops[i]);
    }
    for (uint32_t i = 0; i < MODEL_OPS; i++) {
        must(-blk_finish(dev, &ops[i]));
        model_check(m, &ops[i]);
        blk_op_free(&ops[i]);
    }
}

void blk_test_model(void **state)
{
    struct dk_blkdev *dev = open_first(state);
    struct model m = {.state = seed_choose("blk model")};
    for (int i = 0; i < MODEL_ROUNDS; i++)
        model_round(&m, dev);
    close_last(state, dev);
}

void blk_test_stats(void **state)
{
    struct dk_blkdev *dev = open_first(state);
    struct dk_blkdev_stats elsewhere = {0};
    assert_non_null(dev->stats);
    for (struct dk_blkdev *d = dev; d; d = d->inner)
        d->stats = &elsewhere;
    must(-blk_write(dev, 0, 2 * BLOCK, 12, 0));
    must(-blk_write(dev, 0, BLOCK, 12, DK_BLK_FUA));
    must(-blk_read(dev, 0, 2 * BLOCK, 12));
    must(-blk_flush(dev));
    assert_int_equal(elsewhere.writes, 2);
    assert_int_equal(elsewhere.written_bytes, 3 * BLOCK);
    assert_int_equal(elsewhere.fua_writes, 1);
    assert_true(elsewhere.reads >= 1); /* fault reads what is replaced, too */
    assert_true(elsewhere.read_bytes >= 2 * BLOCK);
    assert_int_equal(elsewhere.flushes, 1);
    assert_int_equal(elsewhere.errors, 0);
    close_last(state, dev);
}

void blk_test_abandon(void **state)
{
    struct dk_blkdev *dev = open_first(state);
    struct blk_op op;
    blk_op_make(&op, dev, DK_BLK_WRITE, 0, BLOCK, 1);
    pattern_fill(op.memory, BLOCK, 13, 0);
    blk_start(dev, &op);
    int child = child_fork();
    if (child == 0) {
        if (dev->ops->abandon)
            dev->ops->abandon(dev);
        child_exit(0);
    }
    assert_int_equal(child_wait(child), 0);
    must(-blk_finish(dev, &op));
    must(-blk_read(dev, 0, BLOCK, 13));
    blk_op_free(&op);
    close_last(state, dev);
}
