/* SPDX-License-Identifier: MIT */
/*
 * A namespace of an NVMe device, whose commands are written here and passed through the kernel by
 * io_uring (/dev/ngXnY; Linux 6.1): no block layer, no page cache.
 *
 * Sections are of the NVM Express base specification 2.0 and the NVM command set specification 1.0.
 *
 * One process at a time: the character device is locked (flock), and the block device of the same
 * namespace is held exclusively while this one is open, so that it is not mounted meanwhile; where
 * there is no block device, that is said once.
 *
 * A write with DK_BLK_FUA has the FUA bit; a FLUSH is a Flush command; a discard is a Dataset
 * Management command with the deallocate attribute, where the device has it.
 */
#ifndef DK_DRV_BLK_NVME_H
#define DK_DRV_BLK_NVME_H

#include "store/blk.h"

/* Zero: the value in parentheses. */
struct dk_blk_nvme_options {
    const char *path; /* /dev/ngXnY */
    bool read_only;
    bool interrupts;   /* completions are not polled for, even if the device can */
    bool unregistered; /* the heap is not registered with io_uring */
    uint32_t depth;    /* (64), at most 1024 */
};

/* 0, or -ENOENT, -EACCES, -EBUSY (mounted, or another process has it), -ENOTTY (no NVMe device),
 * -EOPNOTSUPP (a format with metadata, or a kernel without passthrough), -EROFS (write protected),
 * -EIO, -ENOMEM; *why_out says what to do, good until the next open of this thread. */
int dk_blk_nvme_open(struct dk_blkdev **dev_out, const struct dk_blk_nvme_options *options,
                     const char **why_out);

#endif /* DK_DRV_BLK_NVME_H */
