/* SPDX-License-Identifier: MIT */
/*
 * What a store looks like on its device, and how its parts are made and checked. Version 1. All
 * numbers are little-endian; "block" is 4096 bytes; checksums are CRC-32C, computed with the field
 * of the checksum itself as zero.
 *
 *     block 0        superblock
 *     block 16       superblock again: no write of neighbouring blocks hits both
 *     block 32       metadata: region A, region A again, region B, region B again; each has
 *                    meta_bytes
 *     data_offset    segments, segment_bytes each, side by side; a file may grow by further ones
 *
 * Superblock. It is written when the store is formatted and never again; either copy is enough. A
 * version that is not ours is refused, since it says what everything else means.
 *
 * Metadata: a log of transactions. A transaction is a header and entries, each of which says the
 * new state of one thing: of the store, of a log, of a segment. It takes whole blocks. The first of
 * a region is a checkpoint, which says everything; the following are of one block each, numbered
 * without a gap. When a region is full (and when the store is opened for writing) a checkpoint with
 * the next generation goes to the other region; when that is durable, a marker goes to the last
 * block of the old region, "generation N is there"; when that is durable too, the switch counts.
 * Every transaction is written to both copies of its region before it counts, and either is enough.
 * One transaction is written at a time. So:
 *
 *     - The region with the higher generation whose checkpoint is good is the present one. A marker
 *       that tells of a higher generation: the present one is damaged, and nothing is guessed.
 *     - The first place at which neither copy holds the next number is the end, unless the place
 *       behind it holds a later number: then a transaction that counted is damaged.
 *     - A transaction that did not count may be found whole, and then counts.
 *
 * Segments belong to one log each, which the metadata says before anything is written there. A
 * log's segments are ordered by their ordinals, which are never used twice in a log. A segment is
 * filled with batches from its first block on; each begins where the one before it ended.
 *
 * What metadata says of a log can be whole and yet impossible: two segments of one ordinal, records
 * that overlap or are missing between segments, an end where there is none, a name twice. Then that
 * log is refused, and says so in its entry from there on; its segments stay its own, and nothing is
 * read or written there, until it is unlinked. Other logs go on. What is impossible of the store
 * itself, and a segment of a log that there is not, refuses the store.
 *
 * A batch is what one commit wrote, in whole blocks: a header, one descriptor for each record, one
 * for each segment of a record (lengths and places: payload may be anywhere in the batch behind the
 * descriptors), and the payload. The header has its own place, so that a batch that came to another
 * one is not taken for what should be there; the checksum covers header and descriptors. Payload
 * is covered by the checksum of its record. `chain` is the checksum of the log's batch before it.
 *
 * Batches are written several at a time, and acknowledged in order. `committed`: all records before
 * that one were durable when this batch was made.
 *
 * The end of a log, where it was not closed cleanly, is the first place without the batch that
 * continues: log, ordinal, place, first record and chain as expected, an epoch not below that of
 * the batch before; and, for records from the last `committed` on, payload that is good. If any
 * batch behind that place says that the records there were committed, it is no end but damage: they
 * read as errors, and the log goes on at the first good batch behind them.
 *
 * A damaged batch that no later one tells of cannot be told from one that was never finished: that
 * is the last one of a log, or the last few that were in flight together. So the metadata says,
 * too, up to where a log was durable: whenever it says something of that log, at each opening for
 * writing, and when nothing was appended for a moment (log.c). Records before that place are there
 * or are errors, and the log does not end before it. What is left: damage of the last batches, of
 * a log that was neither closed nor idle since, cuts them off. To rule that out each commit would
 * have to be written at two places.
 *
 * What is left over of batches behind an end is never taken for a continuation later: each opening
 * for writing has an epoch of its own, and no batch is followed by one of a smaller epoch.
 *
 * A segment's entry says the first record and the end of its records when these are known to be
 * durable (`DK_UNKNOWN` before); only segments without them have to be read to find the end. What
 * cuts a log (truncation, an I/O error) gives its last segment an end, and the next record goes to
 * a new segment, so that nothing is written again.
 */
#ifndef DK_STORE_FORMAT_H
#define DK_STORE_FORMAT_H

#include "store/store.h"

#define DK_BLOCK              4096u
#define DK_STORE_VERSION      1u
#define DK_SUPER_COPY         (16ull * DK_BLOCK)
#define DK_META_OFFSET        (32ull * DK_BLOCK)
#define DK_STORE_SEGMENTS_MAX 65536u
#define DK_STORE_LOGS_MAX     1024u
#define DK_SEGMENT_BYTES_MIN  (64ull << 10)
#define DK_SEGMENT_BYTES_MAX  (1ull << 30)
#define DK_META_BYTES_MAX     (8ull << 20)
#define DK_UNKNOWN            UINT64_MAX
#define DK_BATCH_RECORDS_MAX  512u
#define DK_BATCH_SEGS_MAX     1024u
#define DK_BATCH_PLACE_UNIT   8u

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers on the device as in memory");

#define DK_SUPER_MAGIC 0x45524f5453494d45ull /* "EMISTORE" */
#define DK_META_MAGIC  0x4154454d494d4544ull /* "DEMIMETA" */
#define DK_BATCH_MAGIC 0x48435442494d4544ull /* "DEMIBTCH" */

struct dk_super {
    uint64_t magic;
    uint32_t version;
    uint32_t crc; /* of the block */
    uint8_t uuid[16];
    uint64_t segment_bytes;
    uint64_t meta_bytes; /* of one copy of one region */
    uint64_t data_offset;
    uint32_t max_segments; /* that the metadata has room for */
    uint32_t max_logs;
    uint64_t offset; /* of this copy */
};

enum dk_meta_kind {
    DK_META_RECORD,
    DK_META_CHECKPOINT,
    DK_META_MARKER, /* no entries; generation: the one that is in the other region */
};

struct dk_meta_head {
    uint64_t magic;
    uint32_t crc;   /* of `bytes` */
    uint32_t bytes; /* header and entries, without what fills the block */
    uint8_t uuid[16];
    uint64_t generation;
    uint64_t number; /* of the transaction; goes on through all regions */
    uint32_t offset; /* in the region */
    uint16_t region; /* 0: A, 1: B */
    uint16_t kind;   /* enum dk_meta_kind */
    uint32_t entries;
    uint32_t zero;
};

enum dk_entry_type { DK_ENTRY_STORE = 1, DK_ENTRY_LOG, DK_ENTRY_LOG_GONE, DK_ENTRY_SEGMENT };

/* Each begins with these; the length of all is a multiple of eight. */
struct dk_entry {
    uint16_t type;
    uint16_t bytes;
    uint32_t index; /* of a segment; of a log's name the length */
};

struct dk_entry_store {
    struct dk_entry entry;
    uint64_t epoch;
    uint64_t next_log;
    uint32_t num_segments;
    uint32_t touched; /* segments from this one on were never used */
};

#define DK_ENTRY_LOG_UNLINKED (1ull << 0)
#define DK_ENTRY_LOG_CLEAN    (1ull << 1) /* closed: end and offset say where it ends */
#define DK_ENTRY_LOG_DAMAGED  (1ull << 2) /* refused: what was said of it cannot be */
#define DK_ENTRY_LOG_DURABLE  (1ull << 3) /* end: all before it was durable, and more may follow */

struct dk_entry_log {
    struct dk_entry entry;
    uint64_t id;
    uint64_t first;        /* records before it are dropped */
    uint64_t base;         /* the first record of its first segment, when no segment says that */
    uint64_t next_ordinal; /* at least */
    uint64_t flags;        /* DK_ENTRY_LOG_... */
    uint64_t end;          /* CLEAN: one past the last record; DURABLE: see there */
    uint64_t offset;       /* CLEAN: of the place for the next batch, in the last segment in use */
    uint64_t ordinal;      /* CLEAN: of that segment; DK_UNKNOWN: there is none */
    uint64_t number;       /* CLEAN: of the last batch */
    uint64_t epoch;        /* CLEAN: of the last batch */
    uint64_t chain;        /* CLEAN: checksum of the last batch */
    char name[];           /* filled with zeros to a multiple of eight */
};

struct dk_entry_log_gone {
    struct dk_entry entry;
    uint64_t id;
};

struct dk_entry_segment {
    struct dk_entry entry;
    uint64_t log; /* 0: free */
    uint64_t ordinal;
    uint64_t first; /* record, or DK_UNKNOWN */
    uint64_t end;   /* one past its last record, or DK_UNKNOWN */
};

struct dk_batch_head {
    uint64_t magic;
    uint32_t crc;   /* of `bytes` */
    uint32_t bytes; /* header and descriptors */
    uint8_t uuid[16];
    uint64_t log;
    uint64_t ordinal; /* of the segment */
    uint64_t offset;  /* on the device */
    uint64_t epoch;
    uint64_t number; /* of the batch in its log */
    uint64_t first;  /* record */
    uint64_t committed;
    uint32_t records;
    uint32_t segs; /* of all records */
    uint32_t blocks;
    uint32_t chain;
};

struct dk_batch_record {
    uint32_t crc; /* of the bytes of its segments, one after the other */
    uint32_t segs;
};

struct dk_batch_seg {
    uint32_t len;
    uint32_t place; /* from the batch's begin, in units of 8 bytes */
};

_Static_assert(sizeof(struct dk_super) == 72 && sizeof(struct dk_meta_head) == 64, "on the device");
_Static_assert(sizeof(struct dk_entry_log) == 96 && sizeof(struct dk_entry_segment) == 40, "as is");
_Static_assert(sizeof(struct dk_batch_head) == 104, "on the device");

/* What a store is told by its superblock. */
struct dk_geometry {
    uint8_t uuid[16];
    uint64_t segment_bytes;
    uint64_t meta_bytes;
    uint64_t data_offset;
    uint32_t max_segments;
    uint32_t max_logs;
};

static inline uint64_t dk_round_up(uint64_t bytes, uint64_t to)
{
    return (bytes + to - 1) / to * to;
}

static inline uint64_t dk_segment_offset(const struct dk_geometry *g, uint32_t index)
{
    return g->data_offset + (uint64_t)index * g->segment_bytes;
}

/* Where a copy (0, 1) of a region (0: A, 1: B) begins. */
static inline uint64_t dk_region_offset(const struct dk_geometry *g, uint32_t region, uint32_t copy)
{
    return DK_META_OFFSET + (region * 2 + copy) * g->meta_bytes;
}

/* Fills a block. */
void dk_super_emit(const struct dk_geometry *g, uint64_t offset, uint8_t *block);

/* 0; -EMEDIUMTYPE (no magic), -EUCLEAN (the checksum is wrong, or what it says cannot be),
 * -EPROTONOSUPPORT (another version). */
int dk_super_parse(const uint8_t *block, uint64_t offset, struct dk_geometry *out);

/* Completes a header whose other fields are set, over head->bytes. */
void dk_meta_seal(struct dk_meta_head *head, const uint8_t uuid[16]);

/* Whether a transaction is at that place of a region: `room` bytes follow `at`. It may have any
 * kind, generation and number. */
bool dk_meta_valid(const uint8_t *at, uint64_t room, const uint8_t uuid[16], uint32_t region,
                   uint64_t offset);

/* As dk_meta_valid, of the header alone: nothing that it says is checked but magic and place. */
bool dk_meta_head_plausible(const uint8_t *at, const uint8_t uuid[16], uint32_t region,
                            uint64_t offset);

/* Calls for each entry of a valid transaction; stops with -EUCLEAN at one that cannot be, and with
 * what fn returns when that is not 0. */
int dk_meta_entries(const struct dk_meta_head *head, int (*fn)(const struct dk_entry *e, void *arg),
                    void *arg);

/* Bytes of header and descriptors. */
static inline uint32_t dk_batch_head_bytes(uint32_t records, uint32_t segs)
{
    return (uint32_t)(sizeof(struct dk_batch_head) + records * sizeof(struct dk_batch_record) +
                      segs * sizeof(struct dk_batch_seg));
}

#define DK_BATCH_HEAD_MAX                                                                          \
    (sizeof(struct dk_batch_head) + DK_BATCH_RECORDS_MAX * sizeof(struct dk_batch_record) +        \
     DK_BATCH_SEGS_MAX * sizeof(struct dk_batch_seg))

static inline struct dk_batch_record *dk_batch_records(const struct dk_batch_head *head)
{
    return (struct dk_batch_record *)(void *)((uint8_t *)(uintptr_t)head + sizeof(*head));
}

static inline struct dk_batch_seg *dk_batch_segs(const struct dk_batch_head *head)
{
    return (struct dk_batch_seg *)(void *)(dk_batch_records(head) + head->records);
}

/* Completes a batch's header and returns its checksum. */
uint32_t dk_batch_seal(struct dk_batch_head *head);

/* Where a batch is looked for. */
struct dk_batch_place {
    const uint8_t *uuid;
    uint64_t log, ordinal, offset;
    uint64_t room; /* bytes from its begin to the end of the segment */
};

enum dk_batch_check {
    DK_BATCH_GOOD,
    DK_BATCH_BAD,  /* nothing there that belongs there */
    DK_BATCH_MORE, /* more bytes are needed to tell: head->bytes */
};

/* Looks for a batch at `at`, of which `len` bytes (a block at least) are there. GOOD: header and
 * descriptors are whole, and all that they say lies within the batch and the segment. */
enum dk_batch_check dk_batch_check(const uint8_t *at, uint64_t len,
                                   const struct dk_batch_place *place);

/* Whether a record's payload is good: the whole batch is at head. segs: its first descriptor. */
bool dk_batch_record_good(const struct dk_batch_head *head, const struct dk_batch_record *record,
                          const struct dk_batch_seg *segs);

#endif /* DK_STORE_FORMAT_H */
