/* SPDX-License-Identifier: MIT */
/*
 * A block device in a file, or a block device of the kernel.
 *
 * Through io_uring, or, where that is forbidden or wanted, through threads that call preadv and
 * pwritev. Direct I/O where the file system has it; else through the page cache, which is said
 * once. Either way a FLUSH is fdatasync, and a write with DK_BLK_FUA has RWF_DSYNC: Linux writes
 * it with the FUA bit where device and range allow that, and else flushes behind it, with what
 * metadata must be there to read it again.
 *
 * One process at a time: the file is locked (flock), and a block device opened exclusively, so one
 * that is mounted is refused too. Those that only read may be several, while nobody writes.
 *
 * A file grows by `resize`. New blocks are allocated and written with zeros right then: a durable
 * write to a block that was only allocated costs twice as much as one to a block that was written,
 * because its extent has to be converted, in the journal of the file system (measured on ext4: 180
 * us and 90 us).
 *
 * A discard of a file does nothing, for the same reason; on a block device it gives the blocks
 * back.
 */
#ifndef DK_DRV_BLK_FILE_H
#define DK_DRV_BLK_FILE_H

#include "store/blk.h"

/* Zero: the value in parentheses. */
struct dk_blk_file_options {
    const char *path;
    bool read_only;
    bool create;       /* the file, when there is none */
    uint32_t mode;     /* of a file that is created (0600) */
    uint64_t bytes;    /* that a file has at least; it is extended to that (as it is) */
    bool buffered;     /* through the page cache, even if direct I/O is there */
    bool threads;      /* not io_uring, even if it is allowed */
    bool interrupts;   /* completions are not polled for, even if the device can */
    bool unregistered; /* the heap is not registered with io_uring */
    uint32_t depth;    /* (64), at most 4096 */
};

/* 0, or -ENOENT, -EACCES, -EROFS, -EBUSY (another process has it), -EINVAL, -ENOSPC, -ENOMEM and
 * what open says; *why_out says what to do, good until the next open of this thread. */
int dk_blk_file_open(struct dk_blkdev **dev_out, const struct dk_blk_file_options *options,
                     const char **why_out);

/* Makes it last that a file was created, moved or removed: writes the directory of its path.
 * Blocks. 0 or a negative errno. */
int dk_blk_file_sync_name(const char *path);

#endif /* DK_DRV_BLK_FILE_H */
