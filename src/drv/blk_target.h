/* SPDX-License-Identifier: MIT */
/*
 * The open file or block device behind blk_file.h, and the two ways to it.
 */
#ifndef DK_DRV_BLK_TARGET_H
#define DK_DRV_BLK_TARGET_H

#include "base/list.h"
#include "store/blk.h"

struct dk_blk_file_options;

#define DK_BLK_SEGS_MAX 128u

struct dk_blk_target {
    int fd;
    bool is_block; /* no regular file */
    bool is_direct;
    uint32_t poll_bytes; /* of I/Os that can be polled for, at most; 0: none can */
    struct dk_blkdev_caps caps;
};

/* Opens, locks and measures what options->path names. As dk_blk_file_open. */
int dk_blk_target_open(struct dk_blk_target *target, const struct dk_blk_file_options *options,
                       const char **why_out);
void dk_blk_target_close(struct dk_blk_target *target);

/* Extends a regular file to bytes, durably, of blocks that were written: 0 or a negative errno; and
 * then it is as it was. */
int dk_blk_target_grow(struct dk_blk_target *target, uint64_t bytes);

/* As that, without writing, and durable with the next flush; DK_BLKDEV_WRITTEN: they are. */
int dk_blk_target_extend(struct dk_blk_target *target, uint64_t bytes);

/* What both ways begin with. */
struct dk_blk_file {
    struct dk_blkdev dev;
    struct dk_blk_target target;
};

static inline struct dk_blk_file *dk_blk_file_of(struct dk_blkdev *dev)
{
    return dk_container_of(dev, struct dk_blk_file, dev);
}

/* The device's `resize` and `extend`. */
int dk_blk_file_resize(struct dk_blkdev *dev, uint64_t bytes);
int dk_blk_file_extend(struct dk_blkdev *dev, uint64_t bytes);

/* Make a device over the target, which is its own from success on. 0 or a negative errno. */
int dk_blk_uring_start(struct dk_blkdev **dev_out, const struct dk_blk_target *target,
                       const struct dk_blk_file_options *options, const char **why_out);
int dk_blk_threads_start(struct dk_blkdev **dev_out, const struct dk_blk_target *target,
                         const struct dk_blk_file_options *options, const char **why_out);

#endif /* DK_DRV_BLK_TARGET_H */
