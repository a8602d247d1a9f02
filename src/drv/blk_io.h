/* SPDX-License-Identifier: MIT */
/*
 * What drivers of block devices have in common: the check of an I/O, a queue of I/Os, counting.
 */
#ifndef DK_DRV_BLK_IO_H
#define DK_DRV_BLK_IO_H

#include "store/blk.h"

/* I/Os in the order in which they were submitted, by their `next`. */
struct dk_blk_queue {
    struct dk_blk_io *first, *last;
};

void dk_blk_queue_add(struct dk_blk_queue *q, struct dk_blk_io *io);
struct dk_blk_io *dk_blk_queue_take(struct dk_blk_queue *q); /* NULL: it is empty */

/* Begins a device: it counts in its own counters. */
void dk_blkdev_init(struct dk_blkdev *dev, const struct dk_blkdev_ops *ops);

/* Whether the device can do this I/O: 0, -EINVAL or -EROFS. */
int dk_blk_check(const struct dk_blkdev *dev, const struct dk_blk_io *io);

/* What the kernel says of an I/O, in the words of the contract: 0, -ENOSPC, -EROFS, -ENODEV, -EIO.
 */
int dk_blk_error(int result);

/* Ends an I/O: counts what it did, or that it failed, and calls `done`. */
void dk_blk_complete(struct dk_blkdev *dev, struct dk_blk_io *io, int result);

#endif /* DK_DRV_BLK_IO_H */
