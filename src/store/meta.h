/* SPDX-License-Identifier: MIT */
/*
 * Metadata: telling the device what changed (format.h has the form).
 *
 * Whoever changes a thing that the metadata has marks it; all that is marked goes into the next
 * transaction together, so what is changed without calling dk_meta_pump in between is changed at
 * once or not at all. One transaction is written at a time. Invariant: what memory says is what the
 * device says after the next transaction; a transaction that failed leaves that to the next one,
 * which is a checkpoint.
 */
#ifndef DK_STORE_META_H
#define DK_STORE_META_H

#include "store/format.h"
#include "store/xfer.h"

struct dk_log;
struct dk_segment;

#define DK_META_MARKED 64

enum dk_meta_step {
    DK_META_IDLE,
    DK_META_FLUSHING, /* records that the transaction relies on */
    DK_META_WRITING,
    DK_META_MARKING,
};

struct dk_meta {
    uint32_t region; /* the present one */
    uint64_t generation;
    uint64_t number;  /* of the next transaction */
    uint64_t durable; /* all up to this one are */
    uint64_t failed;  /* the last that failed */
    int error;        /* why */
    uint64_t at;      /* place in the region for the next one */
    uint8_t step;     /* enum dk_meta_step */
    bool wanted;      /* something is marked */
    bool checkpoint;  /* the next one has to be */
    bool flush_first;
    uint64_t writing; /* number of the one in flight */
    uint32_t bytes;   /* of it */
    uint32_t copies;  /* writes in flight */
    int result;
    uint32_t num_marked;
    uint32_t marked[DK_META_MARKED]; /* segments; more make it a checkpoint */
    uint8_t *buffer;                 /* meta_bytes */
    uint8_t *marker;                 /* a block */
    struct dk_blk_seg seg, marker_seg;
    struct dk_xfer xfers[2];
};

/* Each marks a thing, and returns the number of the transaction that will tell it. */
uint64_t dk_meta_mark_store(struct dk_store *store);
uint64_t dk_meta_mark_log(struct dk_log *log);
uint64_t dk_meta_mark_segment(struct dk_store *store, uint32_t index);

/* Marks the segments of a log whose ends were not told yet. */
void dk_meta_mark_ends(struct dk_log *log);

/* The next transaction waits until all that was written before is durable. */
void dk_meta_flush_first(struct dk_store *store);

/* The next transaction is a checkpoint: at opening. */
uint64_t dk_meta_mark_all(struct dk_store *store);

/* Starts a transaction when something is marked and none is in flight. */
void dk_meta_pump(struct dk_store *store);

/* 0: it is durable, -EINPROGRESS: not yet, else why it failed. */
int dk_meta_state(const struct dk_store *store, uint64_t number);

/* Pumps the store until a transaction is durable or failed. */
int dk_meta_wait(struct dk_store *store, uint64_t number);

/* Reads the metadata into an empty store. *why_out as dk_store_open. */
int dk_meta_load(struct dk_store *store, const char **why_out);

/* Bytes of a region for so many segments and logs. */
uint64_t dk_meta_region_bytes(uint32_t max_segments, uint32_t max_logs);

#endif /* DK_STORE_META_H */
