/* SPDX-License-Identifier: MIT */
#include "drv/blk_io.h"

#include "os/sync.h"

#include <errno.h>

void dk_blk_queue_add(struct dk_blk_queue *q, struct dk_blk_io *io)
{
    io->next = NULL;
    if (q->first)
        q->last->next = io;
    else
        q->first = io;
    q->last = io;
}

struct dk_blk_io *dk_blk_queue_take(struct dk_blk_queue *q)
{
    struct dk_blk_io *io = q->first;
    if (io)
        q->first = io->next;
    return io;
}

void dk_blkdev_init(struct dk_blkdev *dev, const struct dk_blkdev_ops *ops)
{
    dev->ops = ops;
    dev->stats = &dev->own_stats;
}

static bool is_multiple(uint64_t n, uint32_t of)
{
    return n % of == 0;
}

/* Whether [offset, offset + bytes) are whole blocks of the device. */
static bool is_inside(const struct dk_blkdev_caps *caps, const struct dk_blk_io *io)
{
    return io->bytes > 0 && is_multiple(io->offset, caps->block_bytes) &&
           is_multiple(io->bytes, caps->block_bytes) && io->offset <= caps->bytes &&
           io->bytes <= caps->bytes - io->offset;
}

/* Whether the segments are aligned, and sum up. */
static bool has_segments(const struct dk_blkdev_caps *caps, const struct dk_blk_io *io)
{
    uint64_t sum = 0;
    if (io->num_segs == 0 || io->num_segs > caps->max_segs || io->bytes > caps->max_bytes)
        return false;
    for (uint32_t i = 0; i < io->num_segs; i++) {
        const struct dk_blk_seg *seg = &io->segs[i];
        if (seg->len == 0 || !is_multiple((uintptr_t)seg->data, caps->mem_align) ||
            !is_multiple(seg->len, caps->mem_align))
            return false;
        sum += seg->len;
    }
    return sum == io->bytes;
}

int dk_blk_check(const struct dk_blkdev *dev, const struct dk_blk_io *io)
{
    const struct dk_blkdev_caps *caps = &dev->caps;
    const bool moves_data = io->op == DK_BLK_READ || io->op == DK_BLK_WRITE;
    const bool changes = io->op == DK_BLK_WRITE || io->op == DK_BLK_DISCARD;
    if (io->op > DK_BLK_DISCARD || (io->flags && io->op != DK_BLK_WRITE))
        return -EINVAL;
    if (io->op != DK_BLK_FLUSH && !is_inside(caps, io))
        return -EINVAL;
    if (moves_data != (io->num_segs > 0) || (moves_data && !has_segments(caps, io)))
        return -EINVAL;
    return changes && (caps->flags & DK_BLKDEV_READ_ONLY) ? -EROFS : 0;
}

int dk_blk_error(int result)
{
    switch (result) {
    case 0:
    case -ENOSPC:
    case -EROFS:
    case -ENODEV:
        return result;
    case -EDQUOT:
        return -ENOSPC;
    default:
        return result < 0 ? -EIO : 0;
    }
}

static void count(struct dk_blkdev_stats *stats, const struct dk_blk_io *io)
{
    switch (io->op) {
    case DK_BLK_READ:
        dk_count(&stats->reads, 1);
        dk_count(&stats->read_bytes, io->bytes);
        break;
    case DK_BLK_WRITE:
        dk_count(&stats->writes, 1);
        dk_count(&stats->written_bytes, io->bytes);
        dk_count(&stats->fua_writes, io->flags & DK_BLK_FUA);
        break;
    case DK_BLK_FLUSH:
        dk_count(&stats->flushes, 1);
        break;
    default:
        dk_count(&stats->discards, 1);
    }
}

void dk_blk_complete(struct dk_blkdev *dev, struct dk_blk_io *io, int result)
{
    if (dk_unlikely(result < 0))
        dk_count(&dev->stats->errors, 1);
    else
        count(dev->stats, io);
    io->done(io, result);
}
