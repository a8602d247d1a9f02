/* SPDX-License-Identifier: MIT */
/*
 * What failing power takes away: the undo journal of blk_fault.c.
 *
 * A write that is not durable has an entry here, with what its place held before. An entry goes
 * when the write is durable: it was DK_BLK_FUA and is complete; or it completed before a FLUSH
 * began that is complete. What older entries of the same place would put back is what it wrote,
 * then.
 *
 * A FLUSH that fails leaves all entries there to stay: as with Linux's page cache, and with disks,
 * what it did not write is not written by the next one, which succeeds. Such an entry goes when its
 * place is written anew, durably.
 */
#ifndef DK_DRV_BLK_FAULT_POWER_H
#define DK_DRV_BLK_FAULT_POWER_H

#include "base/list.h"
#include "base/random.h"
#include "store/blk.h"

struct dk_blk_undo {
    struct dk_list link;
    uint64_t offset;
    uint32_t bytes;
    uint64_t completed; /* the number of its completion, 0: it is in flight */
    bool missed;        /* by a FLUSH that failed: no later one makes it durable */
    uint8_t *old;       /* owned */
};

struct dk_blk_journal {
    struct dk_list undos;   /* in the order in which they began */
    uint64_t num_completed; /* writes */
};

void dk_blk_journal_init(struct dk_blk_journal *j);
void dk_blk_journal_fini(struct dk_blk_journal *j);

/* A write of bytes at offset begins, over `old`, which is the journal's now: NULL without memory,
 * and old is the caller's. */
struct dk_blk_undo *dk_blk_journal_begin(struct dk_blk_journal *j, uint64_t offset, uint32_t bytes,
                                         uint8_t *old);

/* It completed. */
void dk_blk_journal_complete(struct dk_blk_journal *j, struct dk_blk_undo *undo);

/* It completed, is durable, and is forgotten: io is what was written. */
void dk_blk_journal_complete_durably(struct dk_blk_journal *j, struct dk_blk_undo *undo,
                                     const struct dk_blk_io *io);

/* A FLUSH that began when num_completed was `mark` completed. */
void dk_blk_journal_flushed(struct dk_blk_journal *j, uint64_t mark);

/* A FLUSH failed. */
void dk_blk_journal_flush_failed(struct dk_blk_journal *j);

/* Undoes some units of some entries, by what is drawn, in dev, where nothing is in flight, and
 * forgets all. Blocks. 0 or what dev says. */
int dk_blk_journal_power_off(struct dk_blk_journal *j, struct dk_blkdev *dev,
                             struct dk_random *random);

#endif /* DK_DRV_BLK_FAULT_POWER_H */
