/* SPDX-License-Identifier: MIT */
/*
 * A decorator that makes a block device bad, in a way that can be repeated.
 *
 * Each I/O draws the same number of values from one generator: the k-th I/O has the same fate for
 * the same seed, whatever the rates of other faults. Of these,
 *
 *     error      nothing is done, and it ends with -EIO (of a FLUSH: see below)
 *     lost       a write is done, it says, and is not
 *     torn       a write is done in some of its atomic units only; one of a single unit is whole
 *     misdirect  a write is done elsewhere
 *     rot        a write is done, but for one bit
 *     delay      it begins delay_ns plus 0 to jitter_ns later
 *     reorder    it begins reorder_ns later than that, so that others overtake it
 *
 * Power. With power_at = K, power fails while the K-th write is under way. All writes that were not
 * durable then are, each atomic unit of them by itself, done or not (and those are undone that were
 * done already); a write in flight is as one that is not durable. That is what the device below
 * holds then, and every I/O ends with -EIO from there on. What was durable by a FLUSH or DK_BLK_FUA
 * stays. What was not when a FLUSH failed is not made so by a later one that succeeds. For this
 * each write reads first what it will replace.
 *
 * `wait` has no clock: there, delays pass in no time. poll blocks once, when power fails.
 */
#ifndef DK_DRV_BLK_FAULT_H
#define DK_DRV_BLK_FAULT_H

#include "store/blk.h"

#define DK_BLK_FAULT_ALWAYS 1000000u /* parts per million */

/* Rates are in parts per million of the I/Os that they are about. */
struct dk_blk_fault_options {
    uint64_t seed;
    uint32_t read_error, write_error, flush_error;
    uint32_t lost, torn, misdirect, rot; /* of writes */
    uint32_t delay; /* of I/Os that are delayed at all, 0: all, where there is a delay or jitter */
    uint32_t reorder;
    int64_t delay_ns, jitter_ns;
    int64_t reorder_ns; /* 0: 1 ms */
    uint64_t power_at;  /* write, from 1 on; 0: power does not fail by itself */
    bool watches_power; /* dk_blk_fault_power_off will be called: as if power_at were far away */
};

/* Owns inner from success on; after a failure inner is the caller's still. 0, -EINVAL, -ENOMEM;
 * *why_out says what to do, good until the next open of this thread. */
int dk_blk_fault_open(struct dk_blkdev **dev_out, struct dk_blkdev *inner,
                      const struct dk_blk_fault_options *options, const char **why_out);

/* Power fails now: what is with the device below ends, with -EIO. Blocks. Outside of `done`. */
void dk_blk_fault_power_off(struct dk_blkdev *dev);

/* Writes that began so far: what power_at counts. */
uint64_t dk_blk_fault_writes(const struct dk_blkdev *dev);

#endif /* DK_DRV_BLK_FAULT_H */
