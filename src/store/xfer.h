/* SPDX-License-Identifier: MIT */
/*
 * Transfers: I/Os of any length, cut into what the device takes, and offered again when it had no
 * room. Most are one I/O. A transfer's `done` is called by dk_xfers_pump or by the device's poll,
 * never by dk_xfer_start; it may start others, also itself again.
 */
#ifndef DK_STORE_XFER_H
#define DK_STORE_XFER_H

#include "base/list.h"
#include "store/blk.h"

#define DK_XFER_PARTS 4 /* I/Os in flight of one transfer */
#define DK_XFER_SEGS  16

struct dk_xfer;

struct dk_xfer_part {
    struct dk_blk_io io;
    struct dk_xfer *xfer;
    bool busy;
    struct dk_blk_seg segs[DK_XFER_SEGS]; /* when it is not the whole transfer */
};

/* The caller's storage until `done` is called. */
struct dk_xfer {
    uint8_t op;    /* enum dk_blk_op */
    uint8_t flags; /* DK_BLK_FUA */
    uint32_t num_segs;
    uint64_t offset;
    uint64_t bytes;
    const struct dk_blk_seg *segs;
    void (*done)(struct dk_xfer *xfer, int result);
    void *arg;
    /* Private. */
    struct dk_xfers *owner;
    struct dk_list link; /* to be offered, or done */
    uint64_t at;         /* bytes that were submitted */
    uint32_t seg;        /* where they end: in which segment ... */
    uint32_t seg_at;     /* ... and where in that */
    uint32_t in_flight;
    int result;
    bool submitted_all;
    struct dk_xfer_part parts[DK_XFER_PARTS];
};

struct dk_xfers {
    struct dk_blkdev *dev;
    struct dk_list ready; /* transfers that wait for room, or are done without an I/O */
    uint32_t outstanding; /* transfers */
    bool submitted;       /* I/Os may rest in the device */
    /* A flush, or a write that should be durable, failed (blk.h has what that means); NULL: nobody
     * minds. Called before the `done` of it, from inside the device's poll. */
    void (*on_flush_failed)(void *arg, int error);
    void *arg;
};

void dk_xfers_init(struct dk_xfers *xfers, struct dk_blkdev *dev);

void dk_xfer_start(struct dk_xfers *xfers, struct dk_xfer *xfer);

/* Offers again what found no room, calls `done` of what is complete. Returns how many. */
uint32_t dk_xfers_pump(struct dk_xfers *xfers);

/* Whether pump would do something without the device. */
bool dk_xfers_ready(const struct dk_xfers *xfers);

/* Carries a transfer out and waits for it; `done` of others is called meanwhile. Its own `done` and
 * `arg` are not used. */
int dk_xfer_wait(struct dk_xfers *xfers, struct dk_xfer *xfer);

/* Reads, writes, flushes and waits. */
int dk_xfers_read(struct dk_xfers *xfers, uint64_t offset, uint8_t *to, uint32_t len);
int dk_xfers_write(struct dk_xfers *xfers, uint64_t offset, uint8_t *from, uint32_t len,
                   uint8_t flags);
int dk_xfers_flush(struct dk_xfers *xfers);

#endif /* DK_STORE_XFER_H */
