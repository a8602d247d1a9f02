/* SPDX-License-Identifier: MIT */
/*
 * Reading a log: one record after the other, out of windows. A window is a piece of a segment in
 * memory that begins with a batch; records are views of it, each of one reader, who may write to
 * it: another one of the same record gets a copy, or what is read once more. Reads of one log are
 * served in the order of issue. While records are read one after the other, the window behind the
 * present one is on its way.
 */
#ifndef DK_STORE_READER_H
#define DK_STORE_READER_H

#include "mem/buf.h"
#include "store/format.h"
#include "store/xfer.h"

#define DK_READ_WINDOWS   2
#define DK_READ_BYTES     (256u << 10) /* of a window, unless a batch needs more */
#define DK_READ_AHEAD     (1u << 20)   /* of one that is read ahead, meanwhile */
#define DK_READ_BYTES_MAX (4u << 20)   /* as above: what large batches make of it */

enum dk_window_state { DK_WINDOW_EMPTY, DK_WINDOW_LOADING, DK_WINDOW_READY, DK_WINDOW_FAILED };

struct dk_window {
    struct dk_log *log;
    uint8_t state; /* enum dk_window_state */
    bool stale;    /* what it loads is not needed any more */
    bool careful;  /* it is just what is needed */
    int error;
    uint64_t ordinal; /* of the segment */
    uint64_t start;   /* in the segment */
    uint64_t len;
    uint64_t behind; /* the first batch that is not wholly in it; its begin in the segment */
    struct dk_buf *buf;
    uint8_t *data;                   /* in buf, aligned */
    uint64_t size;                   /* usable at data */
    uint64_t given_first, given_end; /* among these are the records that somebody got views of */
    struct dk_blk_seg seg;
    struct dk_xfer xfer;
};

struct dk_reader {
    struct dk_list reads;      /* struct dk_log_read */
    struct dk_window *windows; /* DK_READ_WINDOWS; NULL: nothing was read yet */
    uint32_t turn;             /* the window to be replaced next */
    bool located; /* the following say where the search for the first read's record is */
    bool careful; /* the device failed to read more: only what is needed */
    bool unread;  /* the search passed a block that the device failed to read */
    uint64_t ordinal;
    uint64_t offset;
    uint64_t expected;             /* record of the batch there, as far as known */
    uint64_t next;                 /* behind the record that was served last */
    uint64_t lost_first, lost_end; /* records that the search found to be lost */
    uint64_t batch_bytes;          /* of large batches that were seen */
};

struct dk_log;

void dk_reader_init(struct dk_reader *reader);
void dk_reader_fini(struct dk_reader *reader);

/* Forgets what was read of a log: it was cut. Windows that are on their way are forgotten when they
 * come. */
void dk_reader_reset(struct dk_log *log);

/* Serves what can be served. Returns how many reads were done. */
uint32_t dk_reader_pump(struct dk_log *log);

/* Whether a window is being loaded. */
bool dk_reader_busy(const struct dk_log *log);

#endif /* DK_STORE_READER_H */
