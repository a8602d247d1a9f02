/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the store call of each other, by part.
 */
#ifndef DK_STORE_LOG_H
#define DK_STORE_LOG_H

#include "store/state.h"

/* store.c: brings everything on that can be without the device; calls `done`. Returns how many. */
uint32_t dk_store_pump(struct dk_store *store);

/* Pumps, and waits for the device if there was nothing to do. */
void dk_store_wait(struct dk_store *store);

/* Reads and waits; counted as recovery_read_bytes. */
int dk_store_read_sync(struct dk_store *store, uint64_t offset, uint8_t *to, uint32_t len);

/* log.c */
struct dk_log *dk_log_new(struct dk_store *store, uint64_t id);
void dk_log_free(struct dk_log *log);
struct dk_log *dk_log_by_id(const struct dk_store *store, uint64_t id);
struct dk_log *dk_log_by_name(const struct dk_store *store, const char *name);

/* Marks a log that nobody can reach any more as gone, and its segments as dropped. */
void dk_log_vanish(struct dk_log *log);

/* Frees logs that are gone once the device knows. */
void dk_logs_sweep(struct dk_store *store);

/* Drops records from `record` on: the next one goes to a new segment. Nothing is in flight. */
void dk_log_cut(struct dk_log *log, uint64_t record);

/* Something of a log was acknowledged, and is durable: that is told when it has been idle. */
void dk_log_note_durable(struct dk_log *log);

/* Tells the metadata up to where logs are durable that are idle; before that is due it does
 * nothing. */
void dk_logs_tell(struct dk_store *store);

/* Drops segments all of whose records are before `first`. */
void dk_log_drop_below_first(struct dk_log *log);

/* grow.c: asks for one more segment of a file, ahead of its use: 0, -EAGAIN (it is being made, and
 * there later), -ENOSPC, -ENOMEM, or why the attempt before failed. */
int dk_store_grow(struct dk_store *store);

/* segment.c: gives a log one more segment behind its others: 0, -ENOSPC, -EAGAIN (some are about to
 * be free, or there), -ENOMEM. ahead: it is not needed yet, so nobody else's is taken. */
int dk_segment_take(struct dk_log *log, bool ahead);

/* Adds a segment, which the table says is its own, to a log. 0 or -ENOMEM. */
int dk_log_add_segment(struct dk_log *log, uint32_t index);

void dk_segment_drop(struct dk_store *store, uint32_t index);

/* Makes dropped segments free. */
void dk_segments_pump(struct dk_store *store);

/* append.c */
int dk_appends_init(struct dk_store *store);
void dk_appends_fini(struct dk_store *store);

/* A log has something to do. */
void dk_log_activate(struct dk_log *log);

/* Sends batches, and acknowledges. Returns how many appends are done. */
uint32_t dk_log_pump_appends(struct dk_log *log);

/* Whether appends of a log are waiting or in flight. */
bool dk_log_busy(const struct dk_log *log);

/* commit.c: a batch was written, or not. */
void dk_batch_written(struct dk_xfer *xfer, int result);

/* Acknowledges, in order, what is safe. */
uint32_t dk_log_commit(struct dk_log *log);

/* All that is not acknowledged is going to fail. */
void dk_log_fail(struct dk_log *log, int error);

/* All writes of a log that fails have ended: its appends fail, and it is cut and goes on. Returns
 * how many. */
uint32_t dk_log_give_up(struct dk_log *log);

/* A flush failed: as xfer.h's on_flush_failed; arg is the store. */
void dk_flush_failed(void *arg, int error);

/* Ends appends with an error; returns how many. */
uint32_t dk_appends_fail(struct dk_store *store, struct dk_list *appends, int error);

/* Starts a flush that somebody waits for. */
void dk_flush_pump(struct dk_store *store);

/* batch.c: makes a batch of waiting appends for the place behind the last one and starts to write
 * it. 0; -EFBIG: there is no room for the first of them in the segment; -ENOMEM. */
int dk_batch_send(struct dk_log *log, struct dk_batch *batch);

/* Plans how an append is written; returns the bytes that a batch of just this one has. */
uint64_t dk_append_plan(const struct dk_store *store, struct dk_log_append *append);

/* recover.c: finds the end of every log. */
int dk_recover(struct dk_store *store);

#endif /* DK_STORE_LOG_H */
