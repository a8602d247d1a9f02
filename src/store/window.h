/* SPDX-License-Identifier: MIT */
/*
 * Windows: pieces of a log's segments in memory, for its reader. Several are on their way at a
 * time, each behind the other.
 *
 * A window has memory in front of what it loads: the batch that begins in one window and ends in
 * the next is put together there (dk_window_join). So nothing is read twice, and every batch that
 * is given out lies in one piece.
 *
 * Records are views of a window's memory. While somebody holds one the window is not loaded again,
 * and a log has a fixed number of windows: the reader gives copies once DK_WINDOWS_HELD of them are
 * held, so that some always are not. What a large record needed alone is the exception: it is left
 * to who holds it.
 */
#ifndef DK_STORE_WINDOW_H
#define DK_STORE_WINDOW_H

#include "mem/buf.h"
#include "store/xfer.h"

#define DK_WINDOWS      8u /* of a log */
#define DK_WINDOWS_HELD 4u /* at most, but for the present one */

#define DK_WINDOW_BYTES_MAX (4u << 20) /* unless one batch needs more */
#define DK_WINDOW_ROOM_MIN  (256u << 10)
#define DK_WINDOW_ROOM_MAX  (2u << 20)

enum dk_window_state { DK_WINDOW_EMPTY, DK_WINDOW_LOADING, DK_WINDOW_READY, DK_WINDOW_FAILED };

struct dk_log;

struct dk_window {
    struct dk_log *log;
    uint8_t state; /* enum dk_window_state */
    bool stale;    /* what it loads is not needed any more */
    bool careful;  /* it is just what is needed */
    int error;
    uint64_t ordinal; /* of the segment */
    uint64_t start;   /* in the segment */
    uint64_t len;
    uint64_t used; /* when, by the clock of dk_windows */
    struct dk_buf *buf;
    uint8_t *memory;                 /* in buf, aligned */
    uint64_t size;                   /* usable at memory */
    uint8_t *data;                   /* in memory: what is at start */
    uint64_t given_first, given_end; /* among these are the records that somebody got views of */
    uint64_t checked;                /* place of the batch that was found good; UINT64_MAX: none */
    uint32_t record, descriptor;     /* of it: a record, and its first descriptor */
    struct dk_blk_seg seg;
    struct dk_xfer xfer;
};

struct dk_windows {
    struct dk_window *all; /* DK_WINDOWS; NULL: nothing was read yet */
    bool any_failed;
    uint64_t clock;
};

/* What is to be loaded of a segment. */
struct dk_window_load {
    uint32_t at; /* the segment's place in the log's list */
    uint64_t offset, bytes;
    uint64_t room; /* in front of it */
    bool careful;
    uint32_t free;                /* one gets memory while fewer that have it are free */
    const struct dk_window *keep; /* it is not to be replaced; or NULL */
};

/* 0 or -ENOMEM. */
int dk_windows_init(struct dk_windows *ws);
void dk_windows_fini(struct dk_windows *ws);

/* Forgets what they have; of those that are being loaded, when they come. */
void dk_windows_reset(struct dk_windows *ws);

/* Those that the device failed to read are as if they had not been asked for. */
void dk_windows_forget_failed(struct dk_windows *ws);

/* Whether one is being loaded. */
bool dk_windows_busy(const struct dk_windows *ws);

/* How many are held by others, `but` aside. */
uint32_t dk_windows_held(const struct dk_windows *ws, const struct dk_window *but);

/* The one that has a place, in whatever state, or NULL. */
struct dk_window *dk_window_at(const struct dk_windows *ws, uint64_t ordinal, uint64_t offset);

/* Begins to load: 0, -EINPROGRESS: all are being loaded, or held; -ENOMEM. */
int dk_window_load(struct dk_window **w_out, struct dk_log *log, const struct dk_window_load *load);

/* It is in use. */
static inline void dk_window_touch(struct dk_windows *ws, struct dk_window *w)
{
    w->used = ++ws->clock;
}

/* Forgets what a window has from offset on. */
void dk_window_cut(struct dk_window *w, uint64_t offset);

/* Moves what w has from offset on, and next has not, to the front of next, which is ready and has
 * the place where w ends: mostly it begins there, or before, where w was loaded later. False: next
 * has no room for that. */
bool dk_window_join(struct dk_window *w, struct dk_window *next, uint64_t offset);

#endif /* DK_STORE_WINDOW_H */
