/* SPDX-License-Identifier: MIT */
/*
 * What the files of libos/log share.
 *
 *     logs ---> disks ---> uses ---> queues
 *     of an     stores     open      each with a position
 *     instance             logs
 *
 * Everything is changed under the instance's lead. What the store completes is only noted in its
 * callbacks, which may come in the middle of any call to it; dk_logs_settle, after such calls,
 * gives what is there to pops and takers.
 *
 * Reads run ahead of who wants them: a queue's `reads` are those of the records from `cursor` on,
 * in order, and a record counts as popped (`cursor` moves) only when it is handed over. So a pop
 * that is cancelled, and a taker that rests, leave nothing behind.
 */
#ifndef DK_LIBOS_LOG_LOGS_H
#define DK_LIBOS_LOG_LOGS_H

#include "base/list.h"
#include "core/instance.h"
#include "core/taker.h"
#include "libos/log/log.h"
#include "store/store.h"

#include <demi/storage.h>

#define DK_LOGS_DISKS_MAX 64    /* of an instance */
#define DK_LOGS_READS_MAX 32    /* of a queue, ahead of its position */
#define DK_LOGS_FILE_LOG  "log" /* name of the one log in a file */

struct dk_logs_stats {
    struct dk_store_stats store;
    struct dk_blkdev_stats dev;
};

#define DK_LOGS_STATS_COUNT (sizeof(struct dk_logs_stats) / sizeof(uint64_t))

/* What a thread sleeps over. */
struct dk_logs_watch {
    bool awake; /* there is something to do right now */
    int64_t due;
    uint32_t num;
    int fds[DK_LOGS_DISKS_MAX];
    struct dk_store *alone; /* instead of these: it sleeps by itself, and is the only one */
};

/* Where a thread sleeps: see sleep.c. */
struct dk_logs_sleep {
    int kickfd, timerfd, epfd;
    uint32_t kicked, armed, blocking;
    uint32_t armed_by;          /* thread that armed last */
    int64_t armed_due;          /* until when who armed sleeps at most */
    int64_t timer_due;          /* what timerfd is set to; INT64_MAX: it is not */
    struct dk_logs_watch watch; /* of who blocks */
};

struct dk_logs {
    struct dk_poller poller;
    struct dk_instance *inst;
    struct dk_list disks;
    uint32_t num_disks;
    struct dk_list ready;  /* queues that something happened to */
    struct dk_list pushes; /* free ones; push.c */
    struct dk_list reads;  /* likewise; read.c */
    struct dk_logs_sleep sleep;
    struct dk_logs_stats *stats; /* in the statistics file, else own_stats */
    struct dk_logs_stats own_stats;
};

/* A store that is open. */
struct dk_logs_disk {
    struct dk_list link; /* of logs->disks */
    struct dk_logs *logs;
    struct dk_store *store; /* owned; NULL: it was closed */
    struct dk_list uses;
    uint32_t holds; /* uses, and calls that look at it */
    bool is_file;   /* holds one log, and goes with its last queue; else the configured device */
    bool read_only;
    uint64_t dev, ino; /* of a file: what it is, whatever its name */
    int watched;       /* its descriptor in sleep.epfd, or -1 */
};

/* A log that is open; it ends with its last queue. */
struct dk_logs_use {
    struct dk_list link; /* of disk->uses */
    struct dk_logs_disk *disk;
    struct dk_log *log;     /* held */
    struct dk_list queues;  /* closed ones with pushes outstanding among them */
    struct dk_list waiting; /* queues at the end, that want more */
    uint32_t appending;     /* pushes that are outstanding */
    bool changing;          /* records are being dropped: nothing is read */
};

struct dk_logq {
    struct dk_list link; /* of use->queues */
    struct dk_queue *q;
    struct dk_logs *logs;
    struct dk_logs_use *use;
    struct dk_list ready;   /* of logs->ready */
    struct dk_list waiting; /* of use->waiting */
    struct dk_list pops;
    struct dk_list reads;
    uint64_t cursor; /* record that the next pop has */
    uint32_t num_pops, num_reads;
    uint32_t pushes; /* outstanding */
    struct dk_taker *taker;
    bool hungry; /* the taker waits for an element */
    bool readable, writable, is_async, follows;
    bool write_ended, read_ended, closed;
};

extern const struct dk_queue_ops dk_logq_ops;

/* logs.c. The logs of an instance, made at need: 0 or a negative errno. */
int dk_logs_get(struct dk_logs **logs_out, struct dk_instance *inst);

/* Gives what is there to who waits for it, and closes what nobody uses. Not inside a call of the
 * store. */
void dk_logs_settle(struct dk_logs *logs);

/* Something happened to lq that dk_logs_settle is to look at. */
void dk_logq_note(struct dk_logq *lq);

/* disk.c. The store that a path is in, opened at need, with a hold. 0 or a negative errno. */
int dk_logs_disk_get(struct dk_logs_disk **disk_out, struct dk_logs *logs,
                     const struct dk_logs_options *options, const char *path, int flags,
                     mode_t mode);
/* Ends a hold; the store of a file is closed with the last. */
void dk_logs_disk_put(struct dk_logs_disk *disk);
/* Completes what was issued, and closes the store; the disk goes with its last hold. */
void dk_logs_disk_close(struct dk_logs_disk *disk);
void dk_logs_disk_abandon(struct dk_logs_disk *disk);
/* The name of a path's log in its store. */
const char *dk_logs_disk_name(const struct dk_logs_disk *disk, const char *path);
/* Opens the store on dev, which is its own from success on; with a hold. */
int dk_logs_disk_open(struct dk_logs_disk **disk_out, struct dk_logs *logs, struct dk_blkdev *dev,
                      bool is_file, const char **why_out);
/* segment_bytes 0: as the device suggests. */
int dk_logs_format(struct dk_blkdev *dev, uint64_t segment_bytes, bool force, const char **why_out);

/* file.c. The store in a file, made with O_CREAT; with a hold. */
int dk_logs_get_file(struct dk_logs_disk **disk_out, struct dk_logs *logs, const char *path,
                     int flags, mode_t mode);
/* Removes a file that holds a log. */
int dk_logs_unlink_file(const char *path);

/* open.c. A queue of a use went: the last one ends it. */
void dk_logs_use_put(struct dk_logs_use *use);
/* Records of the log are dropped between these two: reads of all its queues are let go, and their
 * positions put where there is something. */
void dk_logs_change_begin(struct dk_logs_use *use);
void dk_logs_change_end(struct dk_logs_use *use);

/* queue.c. Makes a queue on a use: 0 or a negative errno. */
int dk_logq_create(struct dk_logs_use *use, int flags, int *qd_out);
/* Gives what is there to who waits for it; a closed queue ends with its last push. */
void dk_logq_serve(struct dk_logq *lq);
/* Serves the queues that wait at the end of a log. */
void dk_logs_end_moved(struct dk_logs_use *use);

/* read.c. The next record, as dk_taker_take; DK_TAKE_NONE: lq is noted when there may be one. */
int dk_logq_next(struct dk_logq *lq, uint32_t wanted, demi_sgarray_t *sga_out);
/* Forgets what was read ahead. */
void dk_logq_drop_reads(struct dk_logq *lq);
void dk_logs_free_reads(struct dk_logs *logs);

/* push.c */
int dk_logq_push(struct dk_queue *q, struct dk_op *op, const demi_sgarray_t *sga);
void dk_logs_free_pushes(struct dk_logs *logs);

/* sleep.c */
int dk_logs_sleep_open(struct dk_logs *logs);
void dk_logs_sleep_close(struct dk_logs *logs);
void dk_logs_arm(struct dk_poller *p);
void dk_logs_block(struct dk_poller *p, int64_t timeout_ns);
void dk_logs_kick(struct dk_poller *p);
int dk_logs_fd(struct dk_poller *p);
/* There is something for a poll to start: who sleeps wakes up. */
void dk_logs_wake(struct dk_logs *logs);
/* Around a poll. Who polls does not sleep; and another thread that does wakes up if there is more
 * to do, since who polled may not poll again. */
void dk_logs_poll_begin(struct dk_logs *logs);
void dk_logs_poll_end(struct dk_logs *logs);

#endif /* DK_LIBOS_LOG_LOGS_H */
