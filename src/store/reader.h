/* SPDX-License-Identifier: MIT */
/*
 * Reading a log: one record after the other, out of windows (window.h). Records are views of a
 * window, each of one reader, who may write to it: another one of the same record gets a copy, or
 * what is read once more. Reads of one log are served in the order of issue. While records are read
 * one after the other, the windows behind the present one are on their way.
 *
 * Who keeps records keeps windows. Once DK_WINDOWS_HELD others than the present one are held,
 * records are given as copies (counted), until some are let go: so what a reader has is bounded by
 * its windows, and what is held beyond these is as large as its records.
 */
#ifndef DK_STORE_READER_H
#define DK_STORE_READER_H

#include "store/format.h"
#include "store/window.h"

#define DK_READ_BYTES       (256u << 10) /* of a window, unless a batch needs more */
#define DK_READ_AHEAD_BYTES (1u << 20)   /* of one that is read ahead, likewise */
#define DK_READ_AHEAD       2u           /* windows behind the present one */

struct dk_reader {
    struct dk_list reads; /* struct dk_log_read */
    struct dk_windows windows;
    bool located; /* the following say where the search for the first read's record is */
    bool careful; /* the device failed to read more: only what is needed */
    bool unread;  /* the search passed a block that the device failed to read */
    bool ahead;   /* what is behind the present batch was asked for */
    bool copies;  /* records are given as copies: much is held */
    uint64_t ordinal;
    uint64_t offset;
    uint64_t expected;             /* record of the batch there, as far as known */
    uint64_t next;                 /* behind the record that was served last */
    uint64_t lost_first, lost_end; /* records that the search found to be lost */
    uint64_t batch_bytes;          /* of large batches that were seen lately */
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
