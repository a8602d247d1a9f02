/* SPDX-License-Identifier: MIT */
/*
 * A block device whose medium outlives it: tests open what was left again, change it, and have it
 * fail. It knows what of its medium is durable, so that a test can make of it whatever power may
 * leave behind.
 */
#ifndef DEMI_TEST_UNIT_STORE_DEV_H
#define DEMI_TEST_UNIT_STORE_DEV_H

#include "base/random.h"
#include "store/blk.h"

#define MEDIUM_PENDING_MAX 256

/* A write that may be lost, whole or in units. */
struct medium_write {
    uint64_t offset, bytes;
    uint8_t *data;
    uint64_t done;              /* the how many-th to complete; 0: it did not */
    const struct dk_blk_io *io; /* until then */
};

struct medium {
    uint8_t *memory;  /* as reads see it */
    uint8_t *durable; /* what is left in any case; NULL: not kept */
    uint64_t bytes, limit_bytes;
    uint32_t block_bytes, atomic_bytes, max_bytes, max_segs, depth; /* 0: usual */
    bool no_fua, read_only;
    bool holds;    /* completes nothing */
    bool shuffles; /* completes in any order, some at a time */
    struct dk_random random;
    struct medium_write pending[MEDIUM_PENDING_MAX]; /* in the order of submit */
    uint32_t num_pending;
    uint64_t writes, flushes;   /* submitted so far */
    uint64_t reads, read_bytes; /* submitted so far */
    uint32_t most_reads;        /* in flight at once */
    uint64_t resizes, extends;
    uint64_t done;                              /* writes that completed */
    uint64_t fail_write, fail_flush, fail_from; /* the number of one that fails; 0: none */
    bool fails_late;                            /* what fails was done all the same */
    uint64_t bad_offset, bad_bytes;             /* reads of it fail */
    /* Called when power may fail: after each submit and each completion. */
    void (*moment)(struct medium *m);
    void *arg;
};

/* keeps: whether what is durable is told from what is not. */
void medium_init(struct medium *m, uint64_t bytes, uint64_t limit_bytes, bool keeps);
void medium_fini(struct medium *m);

/* Forgets what is not durable, and is not asked any more: for a copy of a medium. */
void medium_settle(struct medium *m);

struct dk_blkdev *medium_open(struct medium *m);

#endif /* DEMI_TEST_UNIT_STORE_DEV_H */
