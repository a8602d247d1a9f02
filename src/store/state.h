/* SPDX-License-Identifier: MIT */
/*
 * A store in memory: what the parts of src/store share. format.h has what it means on the device.
 *
 * Segments are entries of one table, by their index on the device. A segment is
 *
 *     FREE       anyone's; `touched` and beyond were never written
 *     OWNED      its log's, in log->segs by ordinal; may be written once `change` is durable
 *     DROPPED    no log's any more; free once `change` is durable
 *     DISCARDED  the device is being told that its content is not needed
 *
 * What the metadata says of a thing changes in memory first; `change` is the number of the
 * transaction that will tell it (meta.h).
 *
 * Records of a log, in order:
 *
 *     first <= durable <= acked <= next;  read: [first, acked);  in flight: [acked, next)
 *
 * A segment's records are [first, end); both are DK_UNKNOWN until the first batch of it, or of the
 * one behind it, is made. `last` is the segment that the next batch goes to: the place in
 * log->segs, num_segs where there is none yet. Behind it there is at most one: assigned ahead.
 */
#ifndef DK_STORE_STATE_H
#define DK_STORE_STATE_H

#include "store/format.h"
#include "store/index.h"
#include "store/meta.h"
#include "store/reader.h"
#include "store/xfer.h"

#define DK_BATCHES      32           /* in flight, of all logs */
#define DK_LOG_BATCHES  4            /* of one */
#define DK_BATCH_BUFFER (128u << 10) /* header and what is gathered */
#define DK_BATCH_BYTES  (1u << 20)   /* of a batch, unless one record needs more */
#define DK_BATCH_IOV    160u

enum dk_segment_state {
    DK_SEGMENT_FREE,
    DK_SEGMENT_OWNED,
    DK_SEGMENT_DROPPED,
    DK_SEGMENT_DISCARDED
};

struct dk_segment {
    uint64_t log; /* id, 0: none */
    uint64_t ordinal;
    uint64_t first, end; /* records, or DK_UNKNOWN */
    uint64_t limit;      /* bytes that hold acknowledged batches; more is not read */
    uint64_t change;
    uint8_t state; /* enum dk_segment_state */
    bool marked;   /* goes into the next transaction */
    bool cut;      /* end is what a cut made it, whatever is behind it */
    bool told;     /* the metadata has its end */
};

/* A batch in flight. */
struct dk_batch {
    struct dk_store *store;
    struct dk_log *log;
    struct dk_list link;    /* of log->in_flight, or of the store's free ones */
    struct dk_list appends; /* struct dk_log_append */
    uint32_t num_appends;
    uint32_t num_iov;
    uint64_t end;   /* one past its last record */
    uint64_t limit; /* bytes of the segment up to its end */
    uint64_t bytes;
    uint32_t segment; /* index */
    bool written;     /* or failed: see result */
    int result;
    bool is_async;  /* nobody waits for durability */
    bool fua;       /* durable when it is written */
    uint64_t flush; /* number of the flush that makes it durable, 0: not said yet */
    struct dk_xfer xfer;
    uint8_t *buffer;
    uint8_t *large; /* instead of the buffer, for one record that needs more */
    struct dk_blk_seg iov[DK_BATCH_IOV];
};

enum dk_log_state {
    DK_LOG_RUNS,
    DK_LOG_FAILS, /* what is in flight ends; then all of it, or the next append, fails, and the log
                     is cut */
};

struct dk_log {
    struct dk_store *store;
    struct dk_list link;   /* of store->logs */
    struct dk_list active; /* of store->active, while it has appends or reads */
    uint64_t id;
    char name[DK_LOG_NAME_MAX + 1];
    uint32_t holds;
    bool unlinked;
    bool leaving; /* nobody holds it: it goes when nothing is in flight */
    bool gone;    /* it went, as far as memory says */
    bool marked;  /* goes into the next transaction */
    uint64_t change;

    uint64_t first, durable, acked, next;
    uint64_t base;   /* as in the metadata */
    bool clean;      /* at opening: it was closed, its end is known */
    bool damaged;    /* what the metadata says of it cannot be: refused, and kept as it is */
    bool end_unread; /* at opening: the device could not read where it may end */
    uint64_t clean_ordinal;
    uint64_t known_end;    /* at opening: it was durable up to there */
    uint64_t told_end;     /* the metadata says, or is about to, that it was durable up to there */
    int64_t acked_at;      /* when something was acknowledged last */
    uint64_t next_ordinal; /* at least */

    uint32_t *segs; /* indices by ordinal */
    uint32_t num_segs, max_segs;
    uint32_t last;   /* place in segs */
    uint64_t offset; /* in it: of the next batch */
    uint64_t number; /* of the last batch */
    uint64_t epoch;  /* of the last batch */
    uint32_t chain;
    uint8_t state; /* enum dk_log_state */
    int error;
    struct dk_list waiting;   /* appends that are in no batch */
    struct dk_list in_flight; /* batches */
    uint32_t num_in_flight;
    /* Records before settle_at are durable when flush number settle_flush (0: none) is done: so
     * much of a log that nobody waits for is settled when it begins a segment. */
    uint64_t settle_at, settle_flush;
    bool undurable; /* some acknowledged records are only in the device's cache */

    struct dk_index index;
    struct dk_reader reader;
};

#define DK_GROWTH_SEGS 16u

/* A segment that a file grows by (grow.c). */
struct dk_growth {
    bool runs;
    bool is_doubtful; /* a flush failed meanwhile: what was written may be lost */
    int error;        /* of the last attempt, until it is told */
    uint64_t at, end;
    uint8_t *zeros;
    struct dk_blk_seg segs[DK_GROWTH_SEGS];
    struct dk_xfer xfer;
};

struct dk_store {
    struct dk_blkdev *dev;
    struct dk_xfers xfers;
    struct dk_geometry geometry;
    bool read_only;
    bool fua; /* the device has it cheaper than a flush */
    bool discards;
    uint32_t index_entries;
    uint64_t epoch;
    uint64_t next_log;
    uint32_t num_segments, touched, num_free;
    uint32_t free_hint;   /* no segment before it is free */
    uint32_t num_dropped; /* DROPPED and DISCARDED */
    uint64_t swept;       /* the last transaction after which DROPPED ones were looked for */
    struct dk_segment *segments;
    bool marked;  /* epoch, next_log, num_segments or touched changed */
    bool closing; /* logs are told with their ends */

    struct dk_meta meta;
    struct dk_list logs, active;
    uint32_t num_logs, num_gone;
    bool kicked;     /* something was issued since the last pump */
    int64_t now;     /* of the last poll */
    int64_t tell_at; /* when durable ends of logs that are idle are told next, or INT64_MAX */

    struct dk_batch *batches;
    struct dk_list free_batches;
    uint32_t outstanding; /* appends and reads */

    struct dk_xfer flush;
    uint64_t flush_started, flush_done, flush_wanted;
    bool flushing;

    struct dk_xfer discard;
    uint32_t discarding; /* index, or UINT32_MAX */

    struct dk_growth growth;

    struct dk_store_stats *stats;
    struct dk_store_stats own_stats;
};

static inline struct dk_segment *dk_log_segment(const struct dk_log *log, uint32_t place)
{
    return &log->store->segments[log->segs[place]];
}

#endif /* DK_STORE_STATE_H */
