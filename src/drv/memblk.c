/* SPDX-License-Identifier: MIT */
/*
 * A block device in memory (memblk.h).
 *
 * Invariant: waiting[0] to waiting[num_waiting - 1] are the I/Os that were taken and have not taken
 * effect, in the order of submit.
 */
#include "drv/memblk.h"

#include "base/list.h"
#include "base/random.h"
#include "drv/blk_io.h"
#include "drv/why.h"
#include "mem/heap.h"
#include "os/pages.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define DEFAULT_BYTES (UINT64_C(64) << 20)
#define MAX_BYTES     (UINT64_C(1) << 40)
#define DEFAULT_MAX   (1u << 20)
#define DEFAULT_DEPTH 64u
#define MAX_DEPTH     4096u
#define MAX_SEGS      64u
#define MEM_ALIGN     4u /* stricter than memory needs: what devices need is asked for here, too */

struct memblk {
    struct dk_blkdev dev;
    struct dk_memblk_options options;
    uint64_t limit_bytes;
    uint8_t *memory;
    struct dk_random random;
    int event_fd; /* never readable: what completes does so in the next poll */
    uint32_t num_waiting;
    struct dk_blk_io *waiting[];
};

static struct memblk *memblk_of(struct dk_blkdev *dev)
{
    return dk_container_of(dev, struct memblk, dev);
}

static void watch(struct memblk *m, enum dk_memblk_event event, const struct dk_blk_io *io)
{
    if (m->options.watch)
        m->options.watch(m->options.watch_arg, event, io);
}

static int submit(struct dk_blkdev *dev, struct dk_blk_io *io)
{
    struct memblk *m = memblk_of(dev);
    int r = dk_blk_check(dev, io);
    if (r < 0)
        return r;
    if (m->num_waiting == dev->caps.depth)
        return -EAGAIN;
    m->waiting[m->num_waiting++] = io;
    watch(m, DK_MEMBLK_TAKEN, io);
    return 0;
}

/* Zeros, that cost no memory where they are whole pages. */
static void discard(uint8_t *at, uint64_t bytes)
{
    if (((uintptr_t)at | bytes) % 4096 != 0 || !dk_pages_purge(at, bytes))
        memset(at, 0, bytes);
}

static void take_effect(struct memblk *m, const struct dk_blk_io *io)
{
    uint8_t *at = m->memory + io->offset;
    if (io->op == DK_BLK_DISCARD)
        discard(at, io->bytes);
    for (uint32_t i = 0; i < io->num_segs; at += io->segs[i].len, i++) {
        if (io->op == DK_BLK_READ)
            memcpy(io->segs[i].data, at, io->segs[i].len);
        else
            memcpy(at, io->segs[i].data, io->segs[i].len);
    }
}

static void complete(struct memblk *m, uint32_t index)
{
    struct dk_blk_io *io = m->waiting[index];
    m->num_waiting--;
    memmove(&m->waiting[index], &m->waiting[index + 1],
            (m->num_waiting - index) * sizeof(struct dk_blk_io *));
    take_effect(m, io);
    watch(m, DK_MEMBLK_EFFECTIVE, io);
    dk_blk_complete(&m->dev, io, 0);
}

/* What is submitted by a `done` waits for the next poll. */
static uint32_t poll_once(struct dk_blkdev *dev)
{
    struct memblk *m = memblk_of(dev);
    uint32_t old = m->num_waiting, n = old;
    if (old > 0 && m->options.seed)
        n = 1 + dk_random_below(&m->random, old);
    for (uint32_t i = 0; i < n; i++, old--)
        complete(m, m->options.seed ? dk_random_below(&m->random, old) : 0);
    return n;
}

static uint32_t poll(struct dk_blkdev *dev, int64_t now)
{
    (void)now;
    return poll_once(dev);
}

static int arm(struct dk_blkdev *dev)
{
    struct memblk *m = memblk_of(dev);
    return m->num_waiting > 0 ? -1 : m->event_fd;
}

static int resize(struct dk_blkdev *dev, uint64_t bytes)
{
    struct memblk *m = memblk_of(dev);
    if (bytes % dev->caps.block_bytes != 0 || bytes < dev->caps.bytes)
        return -EINVAL;
    if (bytes > m->limit_bytes)
        return -ENOSPC;
    dev->caps.bytes = bytes;
    return 0;
}

static void release(struct memblk *m)
{
    if (m->memory)
        dk_pages_release(m->memory, m->limit_bytes);
    if (m->event_fd >= 0)
        close(m->event_fd);
    dk_heap_free(m);
}

static void close_memblk(struct dk_blkdev *dev)
{
    while (poll_once(dev) > 0)
        continue;
    release(memblk_of(dev));
}

static void abandon(struct dk_blkdev *dev)
{
    close(memblk_of(dev)->event_fd);
}

static const struct dk_blkdev_ops fixed_ops = {
    .name = "memblk",
    .submit = submit,
    .poll = poll,
    .wait = poll_once,
    .arm = arm,
    .close = close_memblk,
    .abandon = abandon,
};

static const struct dk_blkdev_ops growing_ops = {
    .name = "memblk",
    .submit = submit,
    .poll = poll,
    .wait = poll_once,
    .arm = arm,
    .resize = resize,
    .close = close_memblk,
    .abandon = abandon,
};

uint8_t *dk_memblk_memory(struct dk_blkdev *dev)
{
    return memblk_of(dev)->memory;
}

static bool is_power_of_two(uint32_t n)
{
    return n > 0 && (n & (n - 1)) == 0;
}

static int check(const struct dk_blkdev_caps *caps, uint64_t limit_bytes, const char **why_out)
{
    if (!is_power_of_two(caps->block_bytes) || caps->block_bytes < 512 || caps->block_bytes > 4096)
        return dk_why(why_out, -EINVAL, "memblk: a block has 512, 1024, 2048 or 4096 bytes");
    if (caps->bytes % caps->block_bytes != 0 || limit_bytes % caps->block_bytes != 0 ||
        caps->bytes > limit_bytes || limit_bytes > MAX_BYTES)
        return dk_why(why_out, -EINVAL, "memblk: whole blocks, and at most 1024 GiB");
    if (!is_power_of_two(caps->atomic_bytes) || caps->atomic_bytes < 512)
        return dk_why(why_out, -EINVAL, "memblk: what is never torn has 512 bytes, 1024, ...");
    if (caps->max_bytes < caps->block_bytes || caps->depth > MAX_DEPTH)
        return dk_why(why_out, -EINVAL, "memblk: an I/O has one block or more, and %u may wait",
                      MAX_DEPTH);
    return 0;
}

static uint64_t first_of(uint64_t said, uint64_t otherwise)
{
    return said ? said : otherwise;
}

static struct dk_blkdev_caps caps_of(const struct dk_memblk_options *o)
{
    return (struct dk_blkdev_caps){
        .bytes = first_of(o->bytes, DEFAULT_BYTES),
        .block_bytes = (uint32_t)first_of(o->block_bytes, 4096),
        .atomic_bytes = (uint32_t)first_of(o->atomic_bytes, 512),
        .mem_align = MEM_ALIGN,
        .max_bytes = (uint32_t)first_of(o->max_bytes, DEFAULT_MAX),
        .max_segs = MAX_SEGS,
        .depth = (uint32_t)first_of(o->depth, DEFAULT_DEPTH),
        .flags = (o->read_only ? DK_BLKDEV_READ_ONLY : 0) | (o->no_fua ? 0 : DK_BLKDEV_FUA) |
                 (o->limit_bytes ? DK_BLKDEV_GROWS : 0),
    };
}

int dk_memblk_open(struct dk_blkdev **dev_out, const struct dk_memblk_options *options,
                   const char **why_out)
{
    const struct dk_blkdev_caps caps = caps_of(options);
    const uint64_t limit_bytes = first_of(options->limit_bytes, caps.bytes);
    int r = check(&caps, limit_bytes, why_out);
    if (r < 0)
        return r;
    struct memblk *m = dk_heap_zalloc(sizeof(*m) + caps.depth * sizeof(struct dk_blk_io *));
    if (!m)
        return dk_why(why_out, -ENOMEM, "memblk: no memory");
    dk_blkdev_init(&m->dev, options->limit_bytes ? &growing_ops : &fixed_ops);
    m->dev.caps = caps;
    m->options = *options;
    m->limit_bytes = limit_bytes;
    dk_random_init(&m->random, options->seed);
    m->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r = m->event_fd < 0 ? -errno : 0;
    m->memory = r == 0 ? dk_pages_reserve(limit_bytes) : NULL;
    if (!m->memory) {
        release(m);
        return r < 0 ? dk_why(why_out, r, "memblk: no file descriptor")
                     : dk_why(why_out, -ENOMEM, "memblk: no memory for %llu bytes",
                              (unsigned long long)limit_bytes);
    }
    *dev_out = &m->dev;
    return 0;
}
