/* SPDX-License-Identifier: MIT */
/*
 * Where some batches of a log are: a bounded table by record, so that a record is found by reading
 * a few headers, not all. Invariant: the entries ascend. When it is full every second entry goes,
 * and from then on half as many batches are put in.
 */
#ifndef DK_STORE_INDEX_H
#define DK_STORE_INDEX_H

#include <stdint.h>

struct dk_index_entry {
    uint64_t record;  /* the first of a batch */
    uint64_t ordinal; /* of the segment */
    uint64_t offset;  /* in it */
};

struct dk_index {
    struct dk_index_entry *entries; /* `room` of them */
    uint32_t num, room, max;
    uint32_t stride; /* one of so many batches is put in */
    uint32_t skipped;
};

void dk_index_init(struct dk_index *index, uint32_t max);
void dk_index_fini(struct dk_index *index);

/* Puts a batch in, or not: it is one of many. Without memory none is. */
void dk_index_add(struct dk_index *index, uint64_t record, uint64_t ordinal, uint64_t offset);

/* The last entry whose record is not beyond `record`, or NULL. */
const struct dk_index_entry *dk_index_find(const struct dk_index *index, uint64_t record);

/* Drops the entries from a record on, and those before one. */
void dk_index_cut(struct dk_index *index, uint64_t record);
void dk_index_trim(struct dk_index *index, uint64_t record);

#endif /* DK_STORE_INDEX_H */
