/* SPDX-License-Identifier: MIT */
/*
 * A store: many named logs on one block device. A log is a sequence of records, each an element of
 * one to eight segments whose boundaries are kept; records have numbers from 0 on, which never
 * change: trimming the head leaves the others theirs.
 *
 * The rules, whatever happens to power, process and device:
 *
 *     - A record whose append completed with 0 (and that no trim, truncate or unlink of the
 *       application dropped) is read again by everyone who opens the store later, whole, with its
 *       number, or its read says -EIO; never anything else in its place.
 *     - Records of one log are acknowledged in order: when one is there, all before it are.
 *     - What was not acknowledged is there whole, or not at all.
 *     - A block that holds an acknowledged record is not written again until the record is dropped.
 *
 * format.h has the layout. Everything is driven by whoever calls dk_store_poll; there is no clock,
 * no thread and no system call here. Calls marked "control path" wait for the device, and call
 * `done` of others meanwhile; the others never block. A `done` may append and read, and makes no
 * call of the control path.
 */
#ifndef DK_STORE_STORE_H
#define DK_STORE_STORE_H

#include "base/compiler.h"
#include "base/list.h"
#include "mem/buf.h"
#include "store/blk.h"

#define DK_LOG_NAME_MAX 255 /* bytes, without the end; any but '/' and NUL */
#define DK_LOG_SEGS_MAX 8   /* as DEMI_SGARRAY_MAXSIZE */

struct dk_store;
struct dk_log;

/* Counters of a store: X(field, "name"). */
#define DK_STORE_STATS(X)                                                                          \
    X(appends, "store.appends")                                                                    \
    X(batches, "store.batches") /* group commits */                                                \
    X(payload_bytes, "store.payload_bytes")                                                        \
    X(placed_bytes, "store.placed_bytes") /* written from where the application has them */        \
    X(copied_bytes, "store.copied_bytes") /* gathered: small, or not aligned */                    \
    X(padding_bytes, "store.padding_bytes")                                                        \
    X(reads, "store.reads")                                                                        \
    X(read_copies, "store.read_copies")   /* given as copies: much that was read is held */        \
    X(joined_bytes, "store.joined_bytes") /* of batches that two reads have a part of: copied */   \
    X(damaged, "store.damaged")           /* records whose checksum is wrong: read as -EIO */      \
    X(no_space, "store.no_space")                                                                  \
    X(segments_used, "store.segments_used")             /* gauge */                                \
    X(segments_free, "store.segments_free")             /* gauge */                                \
    X(recovery_read_bytes, "store.recovery_read_bytes") /* of the last open */

struct dk_store_stats {
#define DK_STORE_STATS_FIELD(field, name) uint64_t field;
    DK_STORE_STATS(DK_STORE_STATS_FIELD)
#undef DK_STORE_STATS_FIELD
};

struct dk_store_format_options {
    uint64_t segment_bytes; /* a power of two from 64 KiB to 1 GiB; 0: chosen by the size */
    uint8_t uuid[16];       /* random: the caller's matter */
};

/*
 * Writes an empty store. Control path. 0, -ENOSPC (too small), -EROFS, -EIO, -EEXIST (it holds a
 * store; `force` formats it all the same), -EUCLEAN (it holds something else that is not zero: as
 * with -EEXIST). *why_out says what to do; it is static text.
 */
DK_EXPORT int dk_store_format(struct dk_blkdev *dev, const struct dk_store_format_options *options,
                              bool force, const char **why_out);

struct dk_store_options {
    bool read_only;               /* nothing is written, not even what recovery would mend */
    uint32_t index_entries;       /* of each log in memory, 0: 4096: what finding a record reads */
    struct dk_store_stats *stats; /* where it counts, NULL: its own */
};

/*
 * Opens the store on dev, which is its own from success on, and finds the end of every log. Control
 * path. 0; -EMEDIUMTYPE (no store), -EPROTONOSUPPORT (of a newer version), -ENODATA (the image is
 * shorter than its store), -EUCLEAN (both copies of what must be right are damaged, or say what
 * cannot be of the store itself), -EIO, -ENOMEM.
 */
DK_EXPORT int dk_store_open(struct dk_store **store_out, struct dk_blkdev *dev,
                            const struct dk_store_options *options, const char **why_out);

/* Completes what was issued, marks the end of each log as clean, and closes the device. Control
 * path. */
DK_EXPORT void dk_store_close(struct dk_store *store);

/* In the child of a fork. */
void dk_store_abandon(struct dk_store *store);

/* Starts what waits (a batch of appends goes out here), completes what is done: calls `done` of
 * appends and reads. Returns how many. */
DK_EXPORT uint32_t dk_store_poll(struct dk_store *store, int64_t now);

/* After a poll: has the device begin with what that made, where the next poll may be far; and
 * completes what is done. Who is about to sleep has it begin by that (arm, sleep). */
DK_EXPORT void dk_store_start(struct dk_store *store);

/* As dk_blkdev_ops.arm, next_due. */
DK_EXPORT int dk_store_arm(struct dk_store *store);
DK_EXPORT int64_t dk_store_next_due(const struct dk_store *store);

/* As dk_blkdev_ops.sleep: where the device has it, and when there is nothing to do right now. */
bool dk_store_sleeps(const struct dk_store *store);
bool dk_store_quiet(const struct dk_store *store);
void dk_store_sleep(struct dk_store *store, int64_t timeout_ns);

/* Appends and reads that were issued and not completed. */
DK_EXPORT uint32_t dk_store_outstanding(const struct dk_store *store);

DK_EXPORT const struct dk_store_stats *dk_store_stats(const struct dk_store *store);

#define DK_LOG_CREATE (1u << 0)
#define DK_LOG_EXCL   (1u << 1) /* with CREATE: -EEXIST when it is there */
#define DK_LOG_TRUNC  (1u << 2) /* drops all records; numbers begin at 0 again */

/*
 * Opens a log by name, any number of times; each open is a hold that dk_log_put ends. Control path.
 * 0, -ENOENT, -EEXIST, -ENAMETOOLONG, -EINVAL (an empty name, or with '/'), -ENOSPC, -EROFS, -EIO
 * (also: the place where the log may end could not be read when the store was opened for writing,
 * so that an append might take that of an acknowledged record; DK_LOG_TRUNC drops it all the same),
 * -EUCLEAN (what the metadata says of this log cannot be; dk_log_unlink removes it).
 */
DK_EXPORT int dk_log_open(struct dk_log **log_out, struct dk_store *store, const char *name,
                          uint32_t flags);
DK_EXPORT void dk_log_put(struct dk_log *log);

/* Removes the name; the records go with the last hold, or with the next open of the store. Control
 * path. 0, -ENOENT, -EROFS, -EIO, and as dk_log_open of a name that cannot be. */
DK_EXPORT int dk_log_unlink(struct dk_store *store, const char *name);

/* Calls fn for each log, by name, until it returns false. */
struct dk_log_info {
    const char *name;
    uint64_t first;     /* record: the oldest that is kept */
    uint64_t end;       /* one past the newest that is acknowledged */
    uint64_t bytes;     /* of its segments on the device */
    bool is_end_unread; /* the device cannot read where further records may be */
    bool is_damaged;    /* the metadata says of it what cannot be: it is not opened */
};
DK_EXPORT void dk_store_list(struct dk_store *store,
                             bool (*fn)(const struct dk_log_info *info, void *arg), void *arg);
DK_EXPORT void dk_log_info(const struct dk_log *log, struct dk_log_info *out);

/* Drops records >= record (truncate), < record (trim: the space of whole segments is free again).
 * Control path; appends of that log that were issued complete first. 0, -EINVAL (outside first to
 * end), -EROFS, -EIO, -ENOSPC. */
int dk_log_truncate(struct dk_log *log, uint64_t record);
DK_EXPORT int dk_log_trim(struct dk_log *log, uint64_t record);

struct dk_log_seg {
    uint8_t *data; /* memory of the heap, or any other: then it is copied */
    uint32_t len;
};

/*
 * An append: the caller's storage until `done` is called. Segments stay as they are until then.
 * Those of 4 KiB and more whose address and length the device can write are written from where they
 * are; what is left over, and the others, are gathered, and counted.
 */
struct dk_log_append {
    struct dk_log_seg segs[DK_LOG_SEGS_MAX];
    uint32_t num_segs;
    bool
        is_async; /* done when it is accepted: it may be lost when power fails, with all after it */
    /* 0, or -ENOSPC, -EIO, -EROFS: of this and of all that were issued after it and are not
     * acknowledged yet; -EIO also of records before it that nobody waited for; the log's end is as
     * it was, and the next append begins there. Called in the order of issue. May issue further
     * calls. */
    void (*done)(struct dk_log_append *append, int result);
    void *arg;
    uint64_t record; /* its number; set when done is called with 0 */
    /* The store's. */
    struct dk_list link;
    uint64_t store[6];
};

/* Issues an append: 0; -EMSGSIZE (longer than a segment holds), -EINVAL (no segment or more than
 * eight), -EROFS. It goes out with others at the next poll: a group commit. */
DK_EXPORT int dk_log_append(struct dk_log *log, struct dk_log_append *append);

/*
 * A read of one record: the caller's storage until `done` is called. With 0, segs are views of
 * buffers that the caller holds one time each (dk_buf_put); a segment of length 0 has none.
 */
struct dk_log_read {
    uint64_t record;
    void (*done)(struct dk_log_read *read, int result);
    void *arg;
    struct dk_buf *bufs[DK_LOG_SEGS_MAX];
    uint32_t num_segs;
    /* The store's. */
    struct dk_list link;
    uint64_t store[6];
};

/*
 * Issues a read: 0. `done` says 0, -EIO (damaged, or the device says so), -ENOENT (below the oldest
 * kept), -ENODATA (not acknowledged, or beyond the end). Reads of following records share what the
 * device gave for one: read-ahead is the store's.
 */
DK_EXPORT int dk_log_read(struct dk_log *log, struct dk_log_read *read);

/* Lets go of a read that was issued: true, and it is the caller's without `done`. */
bool dk_log_read_cancel(struct dk_log *log, struct dk_log_read *read);

#endif /* DK_STORE_STORE_H */
