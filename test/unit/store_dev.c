/* SPDX-License-Identifier: MIT */
#include "store_dev.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_MAX 128

struct device {
    struct dk_blkdev dev;
    struct medium *m;
    struct dk_blk_io *queue[QUEUE_MAX];
    uint64_t numbers[QUEUE_MAX]; /* of writes and flushes */
    uint32_t num;
};

static struct device *device_of(struct dk_blkdev *dev)
{
    return (struct device *)(void *)dev;
}

static void *must_alloc(size_t bytes)
{
    void *p = calloc(1, bytes);
    if (!p)
        abort();
    return p;
}

void medium_init(struct medium *m, uint64_t bytes, uint64_t limit_bytes, bool keeps)
{
    *m = (struct medium){.bytes = bytes, .limit_bytes = limit_bytes};
    uint64_t most = limit_bytes > bytes ? limit_bytes : bytes;
    m->memory = must_alloc(most);
    if (keeps)
        m->durable = must_alloc(most);
}

static void drop(struct medium *m, uint32_t at)
{
    free(m->pending[at].data);
    m->num_pending--;
    memmove(&m->pending[at], &m->pending[at + 1], (m->num_pending - at) * sizeof(m->pending[0]));
}

void medium_settle(struct medium *m)
{
    while (m->num_pending > 0)
        drop(m, 0);
    free(m->durable);
    m->durable = NULL;
    m->moment = NULL;
    m->fail_write = m->fail_flush = m->fail_from = 0;
}

void medium_fini(struct medium *m)
{
    medium_settle(m);
    free(m->memory);
}

static void moment(struct medium *m)
{
    if (m->moment)
        m->moment(m);
}

static uint8_t *gather(const struct dk_blk_io *io)
{
    uint8_t *data = must_alloc(io->bytes), *at = data;
    for (uint32_t i = 0; i < io->num_segs; at += io->segs[i].len, i++)
        memcpy(at, io->segs[i].data, io->segs[i].len);
    return data;
}

static void note_write(struct medium *m, const struct dk_blk_io *io)
{
    if (!m->durable)
        return;
    if (m->num_pending == MEDIUM_PENDING_MAX)
        abort();
    m->pending[m->num_pending++] = (struct medium_write){
        .offset = io->offset,
        .bytes = io->bytes,
        .data = io->op == DK_BLK_DISCARD ? must_alloc(io->bytes) : gather(io),
        .io = io,
    };
}

static bool aligned(const struct dk_blkdev *dev, const struct dk_blk_io *io)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < io->num_segs; i++) {
        if ((uintptr_t)io->segs[i].data % dev->caps.mem_align != 0 ||
            io->segs[i].len % dev->caps.mem_align != 0)
            return false;
        sum += io->segs[i].len;
    }
    bool moves = io->op == DK_BLK_READ || io->op == DK_BLK_WRITE;
    return io->offset % dev->caps.block_bytes == 0 && io->bytes % dev->caps.block_bytes == 0 &&
           io->offset + io->bytes <= dev->caps.bytes &&
           (!moves || (sum == io->bytes && io->bytes > 0 && io->bytes <= dev->caps.max_bytes &&
                       io->num_segs <= dev->caps.max_segs));
}

/* What is being read is in the queue. */
static void count_read(const struct device *d, const struct dk_blk_io *io)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < d->num; i++)
        n += d->queue[i]->op == DK_BLK_READ;
    d->m->reads++;
    d->m->read_bytes += io->bytes;
    d->m->most_reads = n > d->m->most_reads ? n : d->m->most_reads;
}

static int submit(struct dk_blkdev *dev, struct dk_blk_io *io)
{
    struct device *d = device_of(dev);
    struct medium *m = d->m;
    if (!aligned(dev, io))
        return -EINVAL;
    bool changes = io->op == DK_BLK_WRITE || io->op == DK_BLK_DISCARD;
    if (changes && m->read_only)
        return -EROFS;
    if (d->num == dev->caps.depth)
        return -EAGAIN;
    d->numbers[d->num] = changes ? ++m->writes : io->op == DK_BLK_FLUSH ? ++m->flushes : 0;
    io->device[0] = m->done; /* what a flush makes durable had completed by now */
    d->queue[d->num++] = io;
    if (io->op == DK_BLK_READ)
        count_read(d, io);
    if (changes)
        note_write(m, io);
    moment(m);
    return 0;
}

/* What is older and not durable can only come before it. */
static void to_durable(struct medium *m, uint32_t at)
{
    const struct medium_write *w = &m->pending[at];
    memcpy(m->durable + w->offset, w->data, w->bytes);
    for (uint32_t i = 0; i < at; i++) {
        struct medium_write *old = &m->pending[i];
        uint64_t from = old->offset > w->offset ? old->offset : w->offset;
        uint64_t old_end = old->offset + old->bytes, end = w->offset + w->bytes;
        end = end < old_end ? end : old_end;
        if (from < end)
            memcpy(old->data + (from - old->offset), w->data + (from - w->offset), end - from);
    }
}

static void finish_write(struct medium *m, const struct dk_blk_io *io, const uint8_t *data)
{
    memcpy(m->memory + io->offset, data, io->bytes);
    for (uint32_t i = 0; i < m->num_pending; i++) {
        struct medium_write *w = &m->pending[i];
        if (w->io != io)
            continue;
        w->done = ++m->done;
        w->io = NULL;
        if (io->flags & DK_BLK_FUA) {
            to_durable(m, i);
            drop(m, i);
        }
        return;
    }
}

/* What had completed as one of the first `done` is durable. */
static void finish_flush(struct medium *m, uint64_t done)
{
    for (uint32_t i = 0; i < m->num_pending;) {
        if (m->pending[i].done == 0 || m->pending[i].done > done) {
            i++;
            continue;
        }
        to_durable(m, i);
        drop(m, i);
    }
}

static bool is_bad(const struct medium *m, const struct dk_blk_io *io)
{
    return m->bad_bytes > 0 && io->offset < m->bad_offset + m->bad_bytes &&
           m->bad_offset < io->offset + io->bytes;
}

static int carry_out(struct medium *m, const struct dk_blk_io *io, uint64_t number)
{
    if (io->op == DK_BLK_FLUSH) {
        if (number == m->fail_flush)
            return -EIO;
        finish_flush(m, io->device[0]);
        return 0;
    }
    if (io->op == DK_BLK_READ) {
        const uint8_t *at = m->memory + io->offset;
        if (is_bad(m, io))
            return -EIO;
        for (uint32_t i = 0; i < io->num_segs; at += io->segs[i].len, i++)
            memcpy(io->segs[i].data, at, io->segs[i].len);
        return 0;
    }
    bool fails = number == m->fail_write || (m->fail_from && number >= m->fail_from);
    if (fails && !m->fails_late)
        return -EIO; /* it stays among the pending ones: nobody knows */
    uint8_t *data = io->op == DK_BLK_DISCARD ? must_alloc(io->bytes) : gather(io);
    finish_write(m, io, data);
    free(data);
    return fails ? -EIO : 0;
}

static void complete(struct device *d, uint32_t at)
{
    struct dk_blk_io *io = d->queue[at];
    uint64_t number = d->numbers[at];
    d->num--;
    memmove(&d->queue[at], &d->queue[at + 1], (d->num - at) * sizeof(d->queue[0]));
    memmove(&d->numbers[at], &d->numbers[at + 1], (d->num - at) * sizeof(d->numbers[0]));
    int result = carry_out(d->m, io, number);
    for (uint32_t i = 0; result != 0 && i < d->m->num_pending; i++)
        if (d->m->pending[i].io == io)
            d->m->pending[i].io = NULL;
    io->done(io, result);
    moment(d->m);
}

static uint32_t wait_some(struct dk_blkdev *dev)
{
    struct device *d = device_of(dev);
    struct medium *m = d->m;
    uint32_t n = m->holds ? 0 : d->num;
    if (m->shuffles && n > 0)
        n = 1 + dk_random_below(&m->random, n);
    for (uint32_t i = 0; i < n; i++)
        complete(d, m->shuffles ? dk_random_below(&m->random, d->num) : 0);
    return n;
}

static uint32_t poll(struct dk_blkdev *dev, int64_t now)
{
    (void)now;
    return wait_some(dev);
}

static int arm(struct dk_blkdev *dev)
{
    (void)dev;
    return -1;
}

static int lengthen(struct dk_blkdev *dev, uint64_t bytes)
{
    struct medium *m = device_of(dev)->m;
    if (bytes > m->limit_bytes)
        return -ENOSPC;
    m->bytes = dev->caps.bytes = bytes;
    return 0;
}

static int resize(struct dk_blkdev *dev, uint64_t bytes)
{
    device_of(dev)->m->resizes++;
    return lengthen(dev, bytes);
}

static int extend(struct dk_blkdev *dev, uint64_t bytes)
{
    device_of(dev)->m->extends++;
    return lengthen(dev, bytes);
}

static void close_device(struct dk_blkdev *dev)
{
    while (wait_some(dev) > 0)
        continue;
    free(dev);
}

static const struct dk_blkdev_ops ops = {
    .name = "medium",
    .submit = submit,
    .poll = poll,
    .wait = wait_some,
    .arm = arm,
    .resize = resize,
    .extend = extend,
    .close = close_device,
};

static uint32_t usual(uint32_t said, uint32_t otherwise)
{
    return said ? said : otherwise;
}

struct dk_blkdev *medium_open(struct medium *m)
{
    struct device *d = must_alloc(sizeof(*d));
    d->m = m;
    d->dev.ops = &ops;
    d->dev.stats = &d->dev.own_stats;
    d->dev.caps = (struct dk_blkdev_caps){
        .bytes = m->bytes,
        .block_bytes = usual(m->block_bytes, 512),
        .atomic_bytes = usual(m->atomic_bytes, 512),
        .mem_align = 512,
        .max_bytes = usual(m->max_bytes, 1u << 20),
        .max_segs = usual(m->max_segs, 64),
        .depth = usual(m->depth, 32),
        .flags = (m->no_fua ? 0 : DK_BLKDEV_FUA) | (m->limit_bytes ? DK_BLKDEV_GROWS : 0) |
                 (m->read_only ? DK_BLKDEV_READ_ONLY : 0),
    };
    return &d->dev;
}
