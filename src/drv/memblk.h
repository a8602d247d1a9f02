/* SPDX-License-Identifier: MIT */
/*
 * A block device in memory, for tests and trials: what it holds ends with it.
 *
 * An I/O takes effect, and is done, in a poll after its submit. In the order of submit; or, with a
 * seed, in one that is drawn, and each poll completes as many as it draws (at least one): what the
 * contract allows devices, and few of them do.
 *
 * Who watches is told of each I/O twice: when it is taken, and when it has taken effect, before
 * `done`. From that, and from what a write holds when it is taken, all follows that power may leave
 * behind when it fails at any moment.
 */
#ifndef DK_DRV_MEMBLK_H
#define DK_DRV_MEMBLK_H

#include "store/blk.h"

enum dk_memblk_event { DK_MEMBLK_TAKEN, DK_MEMBLK_EFFECTIVE };

/* Zero: the value in parentheses. */
struct dk_memblk_options {
    uint64_t bytes;        /* (64 MiB) */
    uint64_t limit_bytes;  /* that resize may make of it (none: it does not grow) */
    uint32_t block_bytes;  /* 512 to 4096, a power of two (4096) */
    uint32_t atomic_bytes; /* (512) */
    uint32_t max_bytes;    /* of an I/O (1 MiB) */
    uint32_t depth;        /* (64) */
    bool read_only;
    bool no_fua;   /* durable writes cost as much as flushes: does not show DK_BLKDEV_FUA */
    uint64_t seed; /* of the order of completions (0: as submitted) */
    void (*watch)(void *arg, enum dk_memblk_event event, const struct dk_blk_io *io);
    void *watch_arg;
};

/* 0, -EINVAL or -ENOMEM; *why_out says what to do, good until the next open of this thread. */
int dk_memblk_open(struct dk_blkdev **dev_out, const struct dk_memblk_options *options,
                   const char **why_out);

/* What it holds, caps.bytes of it: a test may look, and damage it. It stays where it is. */
uint8_t *dk_memblk_memory(struct dk_blkdev *dev);

#endif /* DK_DRV_MEMBLK_H */
