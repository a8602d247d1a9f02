/* SPDX-License-Identifier: MIT */
/*
 * Looking at all that a store holds, waiting for the device: for tools. Nothing may be in flight.
 */
#ifndef DK_STORE_WALK_H
#define DK_STORE_WALK_H

#include "store/store.h"

enum dk_walk_kind {
    DK_WALK_BATCH,  /* a batch that is good: its records follow */
    DK_WALK_RECORD, /* of that batch; is_good says whether its payload is */
    DK_WALK_LOST,   /* records of which there is no batch any more */
    DK_WALK_SUPER,  /* a copy of the superblock; is_good */
    DK_WALK_META,   /* a block, or the checkpoint, of a copy of the present metadata; is_good */
};

struct dk_walk_item {
    enum dk_walk_kind kind;
    bool is_good;
    uint64_t offset;   /* on the device: of the batch, of the record's first byte, of the damage */
    uint64_t bytes;    /* of the batch; of the payload; of the damage */
    uint64_t record;   /* BATCH, RECORD, LOST: the first */
    uint64_t count;    /* BATCH, LOST: records */
    uint32_t num_segs; /* RECORD */
    uint32_t lens[DK_LOG_SEGS_MAX];
    uint64_t batch, epoch; /* BATCH: number in the log, and of the writer */
    uint32_t segment;      /* BATCH: index on the device */
    uint32_t copy;         /* SUPER, META: 0 or 1 */
};

/* Calls fn for everything in a log, in order, until it returns false; payload says whether that is
 * read and checked, else records count as good. 0, or -EIO and the like: the device is gone;
 * -ENOMEM.
 */
DK_EXPORT int dk_log_walk(struct dk_log *log, bool payload,
                          bool (*fn)(const struct dk_walk_item *item, void *arg), void *arg);

/* Calls fn for each copy of what the store itself needs. */
DK_EXPORT int dk_store_walk_copies(struct dk_store *store,
                                   bool (*fn)(const struct dk_walk_item *item, void *arg),
                                   void *arg);

struct dk_store_info {
    uint8_t uuid[16];
    uint64_t segment_bytes;
    uint64_t meta_bytes; /* of one of its four parts */
    uint64_t data_offset;
    uint32_t num_segments, free_segments, max_segments;
    uint32_t num_logs, max_logs;
    uint64_t epoch;      /* openings for writing */
    uint64_t generation; /* checkpoints of the metadata */
};

DK_EXPORT void dk_store_info(const struct dk_store *store, struct dk_store_info *out);

#endif /* DK_STORE_WALK_H */
