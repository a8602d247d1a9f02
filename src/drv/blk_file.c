/* SPDX-License-Identifier: MIT */
/*
 * Chooses the way to a file or block device (blk_file.h).
 */
#include "drv/blk_file.h"

#include "drv/blk_target.h"
#include "os/log.h"

#include <errno.h>

static int lengthen(struct dk_blkdev *dev, uint64_t bytes,
                    int (*how)(struct dk_blk_target *target, uint64_t bytes))
{
    struct dk_blk_file *f = dk_blk_file_of(dev);
    if (bytes % dev->caps.block_bytes != 0 || bytes < dev->caps.bytes)
        return -EINVAL;
    if (bytes == dev->caps.bytes)
        return 0;
    int r = how(&f->target, bytes);
    dev->caps.bytes = f->target.caps.bytes;
    return r;
}

int dk_blk_file_resize(struct dk_blkdev *dev, uint64_t bytes)
{
    return lengthen(dev, bytes, dk_blk_target_grow);
}

int dk_blk_file_extend(struct dk_blkdev *dev, uint64_t bytes)
{
    return lengthen(dev, bytes, dk_blk_target_extend);
}

int dk_blk_file_open(struct dk_blkdev **dev_out, const struct dk_blk_file_options *options,
                     const char **why_out)
{
    struct dk_blk_target target;
    int r = dk_blk_target_open(&target, options, why_out);
    if (r < 0)
        return r;
    r = -EPERM;
    if (!options->threads)
        r = dk_blk_uring_start(dev_out, &target, options, why_out);
    if (r < 0 && !options->threads)
        dk_log(DK_LOG_INFO, "%s: %s: with threads", options->path, *why_out);
    if (r < 0)
        r = dk_blk_threads_start(dev_out, &target, options, why_out);
    if (r < 0)
        dk_blk_target_close(&target);
    return r;
}
