/* SPDX-License-Identifier: MIT */
/*
 * The contract of a block device: what src/drv implements and the store runs over.
 *
 * A device belongs to one store: all calls are made by whoever runs that, one at a time. Only
 * `wait`, `sleep`, `resize` and `close` block. An I/O is the caller's again when `done` is called,
 * which happens inside poll or wait, never inside submit. A decorator (fault) is a device over
 * another device that it owns.
 *
 * Order and durability. I/Os in flight at the same time take effect in any order, and a write that
 * power fails in the middle of leaves each of its atomic units (caps.atomic_bytes) old or new. A
 * completed write is durable when it had DK_BLK_FUA, or when a FLUSH that was submitted after its
 * completion has completed; before that it may be lost whole or in units, in any combination. A
 * read that follows a completed write sees it, durable or not. When a FLUSH fails, what was
 * submitted before it ended and is not durable may never become so: a later FLUSH that succeeds
 * says nothing of it. The same holds when a DK_BLK_FUA write fails, which many devices make of a
 * write and a flush.
 *
 * Life: open -> any of the others -> close. open is a function of each driver, with options of its
 * own; this table begins after it.
 */
#ifndef DK_STORE_BLK_H
#define DK_STORE_BLK_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dk_blkdev;

#define DK_BLKDEV_READ_ONLY (1u << 0) /* writes are -EROFS */
#define DK_BLKDEV_FUA       (1u << 1) /* DK_BLK_FUA costs less than a write and a FLUSH */
#define DK_BLKDEV_GROWS     (1u << 2) /* a file: `resize` may make it larger */

struct dk_blkdev_caps {
    uint64_t bytes;        /* a multiple of block_bytes */
    uint32_t block_bytes;  /* offsets and lengths of I/Os are multiples: 512 to 4096 */
    uint32_t atomic_bytes; /* of a write, at an aligned offset, that is never torn: >= 512 */
    uint32_t mem_align;    /* of each segment's address and length */
    uint32_t max_bytes;    /* of one I/O, at most */
    uint32_t max_segs;     /* of one I/O, at most */
    uint32_t depth;        /* I/Os in flight, at most */
    uint32_t flags;        /* DK_BLKDEV_... */
};

/* Names as seen by `demi info --stats`: X(field, "name"). A decorator counts only what it does. */
#define DK_BLKDEV_STATS(X)                                                                         \
    X(reads, "blk.reads")                                                                          \
    X(read_bytes, "blk.read_bytes")                                                                \
    X(writes, "blk.writes")                                                                        \
    X(written_bytes, "blk.written_bytes")                                                          \
    X(flushes, "blk.flushes")                                                                      \
    X(fua_writes, "blk.fua_writes")                                                                \
    X(discards, "blk.discards")                                                                    \
    X(errors, "blk.errors")             /* I/Os that ended with one */                             \
    X(registered, "blk.registered")     /* segments that lay in memory the device knows */         \
    X(unregistered, "blk.unregistered") /* segments that it had to be told of, or to copy */       \
    X(fault_torn, "blk_fault.torn")     /* on purpose (drv/blk_fault.h), as all of these */        \
    X(fault_lost, "blk_fault.lost")                                                                \
    X(fault_misdirected, "blk_fault.misdirected")                                                  \
    X(fault_rotten, "blk_fault.rotten")                                                            \
    X(fault_errors, "blk_fault.errors")                                                            \
    X(fault_delayed, "blk_fault.delayed")                                                          \
    X(fault_reordered, "blk_fault.reordered")

struct dk_blkdev_stats {
#define DK_BLKDEV_STATS_FIELD(field, name) uint64_t field;
    DK_BLKDEV_STATS(DK_BLKDEV_STATS_FIELD)
#undef DK_BLKDEV_STATS_FIELD
};

enum dk_blk_op {
    DK_BLK_READ,
    DK_BLK_WRITE,
    DK_BLK_FLUSH,   /* no segments: what completed before it was submitted becomes durable */
    DK_BLK_DISCARD, /* offset and bytes, no segments: the content is not needed any more, and is
                       anything afterwards; a device without it completes with 0 */
};

#define DK_BLKDEV_WRITTEN 1 /* of extend */

#define DK_BLK_FUA (1u << 0) /* of a WRITE: durable when it completes */

/* A piece of memory of the heap, at caps.mem_align. */
struct dk_blk_seg {
    uint8_t *data;
    uint32_t len;
};

/* An I/O: the caller's storage, with segs, from submit until done is called. */
struct dk_blk_io {
    uint8_t op;    /* enum dk_blk_op */
    uint8_t flags; /* DK_BLK_FUA */
    uint32_t num_segs;
    uint64_t offset; /* bytes */
    uint64_t bytes;  /* the sum of the segments; of DISCARD what it is about */
    const struct dk_blk_seg *segs;
    /* result: 0, or a negative errno (-EIO, -EROFS, -ENOSPC, -ENODEV; then nothing is said about
     * how much of a write was done). May submit, also io itself again. */
    void (*done)(struct dk_blk_io *io, int result);
    void *arg;
    /* The device's, while it has the I/O. */
    struct dk_blk_io *next;
    uint64_t device[4];
};

/* A NULL member: the device has no such thing, and the caller acts as its comment says. */
struct dk_blkdev_ops {
    const char *name; /* of the driver */
    /*
     * Takes an I/O: 0, and `done` will be called once. -EAGAIN: no room, to be offered again after
     * a completion. -EINVAL: not aligned, too long, or beyond the end; -EROFS. It may rest in the
     * driver until the next poll, wait or arm, so that a burst costs one system call.
     */
    int (*submit)(struct dk_blkdev *dev, struct dk_blk_io *io);
    /* Starts what rests, and calls `done` of what has completed. Returns how many. */
    uint32_t (*poll)(struct dk_blkdev *dev, int64_t now);
    /* As poll, but blocks until at least one I/O completed, when any is in flight. */
    uint32_t (*wait)(struct dk_blkdev *dev);
    /* Starts what rests, and returns a descriptor that becomes readable when poll has something to
     * complete; -1: it has right now. Called before sleeping, again each time. */
    int (*arm)(struct dk_blkdev *dev);
    /* Starts what rests, and blocks until poll may have something to complete, a signal came, or
     * timeout_ns passed (< 0: never): arm and a wait for its descriptor in one system call. NULL:
     * it takes these two. */
    void (*sleep)(struct dk_blkdev *dev, int64_t timeout_ns);
    /* When poll will have something by itself (a delayed completion), INT64_MAX: never. NULL:
     * never.
     */
    int64_t (*next_due)(struct dk_blkdev *dev);
    /* Makes the device `bytes` long, durably; caps.bytes says so afterwards. 0, -ENOSPC or another
     * error. NULL: its size is what it is. */
    int (*resize)(struct dk_blkdev *dev, uint64_t bytes);
    /* As resize, in a moment: the new blocks read as zeros, and are durable with the next FLUSH. 0:
     * they were not written yet, and a write into them costs more than into others;
     * DK_BLKDEV_WRITTEN; or an error. NULL: resize takes no time. */
    int (*extend)(struct dk_blkdev *dev, uint64_t bytes);
    /* Waits for what is in flight, whose `done` are called, and frees everything. */
    void (*close)(struct dk_blkdev *dev);
    /* In the child of a fork: closes descriptors, and touches nothing else; the device is the
     * parent's. NULL: it has none. */
    void (*abandon)(struct dk_blkdev *dev);
};

/* The first member of every device. */
struct dk_blkdev {
    const struct dk_blkdev_ops *ops;
    struct dk_blkdev_caps caps;    /* set by open */
    struct dk_blkdev *inner;       /* of a decorator: the device that it owns, else NULL */
    struct dk_blkdev_stats *stats; /* where it counts: never NULL */
    struct dk_blkdev_stats own_stats;
};

#endif /* DK_STORE_BLK_H */
