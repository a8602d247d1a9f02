/* SPDX-License-Identifier: MIT */
/*
 * Logs by name: opening, unlinking, and dropping records from either end. A log to which nothing
 * was appended for IDLE_NS has the metadata say up to where it is durable (format.h has what for):
 * one transaction, while there is nothing else to do.
 */
#include "store/log.h"

#include "mem/heap.h"

#include <errno.h>
#include <string.h>

#define IDLE_NS (INT64_C(100) * 1000 * 1000)

struct dk_log *dk_log_new(struct dk_store *store, uint64_t id)
{
    struct dk_log *log = dk_heap_zalloc(sizeof(*log));
    if (!log)
        return NULL;
    log->store = store;
    log->id = id;
    dk_list_init(&log->waiting);
    dk_list_init(&log->in_flight);
    dk_list_init(&log->active);
    dk_index_init(&log->index, store->index_entries);
    dk_reader_init(&log->reader);
    dk_list_add_tail(&store->logs, &log->link);
    store->num_logs++;
    return log;
}

void dk_log_free(struct dk_log *log)
{
    dk_list_del(&log->link);
    dk_list_del(&log->active);
    log->store->num_logs--;
    dk_reader_fini(&log->reader);
    dk_index_fini(&log->index);
    if (log->segs)
        dk_heap_free(log->segs);
    dk_heap_free(log);
}

struct dk_log *dk_log_by_id(const struct dk_store *store, uint64_t id)
{
    struct dk_list *l;
    dk_list_for_each (l, &store->logs) {
        struct dk_log *log = dk_container_of(l, struct dk_log, link);
        if (log->id == id)
            return log;
    }
    return NULL;
}

struct dk_log *dk_log_by_name(const struct dk_store *store, const char *name)
{
    struct dk_list *l;
    dk_list_for_each (l, &store->logs) {
        struct dk_log *log = dk_container_of(l, struct dk_log, link);
        if (!log->unlinked && strcmp(log->name, name) == 0)
            return log;
    }
    return NULL;
}

void dk_log_vanish(struct dk_log *log)
{
    for (uint32_t i = 0; i < log->num_segs; i++)
        dk_segment_drop(log->store, log->segs[i]);
    log->num_segs = log->last = 0;
    log->leaving = false;
    log->gone = true;
    dk_meta_mark_log(log);
}

/* Whether nothing of a log that is gone is in use any more. */
static bool is_over(const struct dk_log *log)
{
    return log->gone && dk_meta_state(log->store, log->change) == 0 && !dk_log_busy(log) &&
           dk_list_empty(&log->reader.reads) && !dk_reader_busy(log);
}

void dk_logs_sweep(struct dk_store *store)
{
    struct dk_list *l, *next;
    dk_list_for_each_safe (l, next, &store->logs) {
        struct dk_log *log = dk_container_of(l, struct dk_log, link);
        if (is_over(log)) {
            dk_log_free(log);
            store->num_gone--;
        }
    }
}

/* A log that is unlinked and that nobody holds goes, when nothing of it is in flight. */
static void let_go(struct dk_log *log)
{
    if (log->holds > 0 || !log->unlinked || log->gone || log->store->read_only)
        return;
    log->store->num_gone++;
    if (dk_log_busy(log))
        log->leaving = true; /* dk_store_pump */
    else
        dk_log_vanish(log);
}

void dk_log_cut(struct dk_log *log, uint64_t record)
{
    struct dk_store *store = log->store;
    while (log->num_segs > 0) {
        struct dk_segment *s = dk_log_segment(log, log->num_segs - 1);
        if (s->first != DK_UNKNOWN && s->first < record) {
            s->end = record;
            s->cut = true;
            s->told = false;
            break;
        }
        dk_segment_drop(store, log->segs[--log->num_segs]);
    }
    dk_meta_mark_ends(log);
    if (log->undurable)
        dk_meta_flush_first(store);
    log->undurable = log->end_unread = false;
    log->base = log->durable = log->acked = log->next = record;
    log->last = log->num_segs;
    log->offset = 0;
    dk_index_cut(&log->index, record);
    dk_reader_reset(log);
    dk_meta_mark_log(log);
}

void dk_log_note_durable(struct dk_log *log)
{
    struct dk_store *store = log->store;
    log->acked_at = store->now;
    if (store->tell_at == INT64_MAX)
        store->tell_at = store->now + IDLE_NS;
}

void dk_logs_tell(struct dk_store *store)
{
    int64_t next = INT64_MAX;
    struct dk_list *l;
    if (store->now < store->tell_at)
        return;
    dk_list_for_each (l, &store->logs) {
        struct dk_log *log = dk_container_of(l, struct dk_log, link);
        int64_t due = log->acked_at + IDLE_NS;
        if (log->gone || log->durable <= log->told_end)
            continue;
        if (due <= store->now)
            dk_meta_mark_log(log);
        else if (due < next)
            next = due;
    }
    store->tell_at = next;
}

void dk_log_drop_below_first(struct dk_log *log)
{
    uint32_t n = 0;
    while (n < log->num_segs) {
        const struct dk_segment *s = dk_log_segment(log, n);
        if (s->end == DK_UNKNOWN || s->end > log->first || !(s->cut || log->durable > s->end))
            break;
        dk_segment_drop(log->store, log->segs[n++]);
    }
    if (n == 0)
        return;
    dk_meta_mark_ends(log); /* the first that is left says where it begins */
    memmove(log->segs, log->segs + n, (log->num_segs - n) * sizeof(*log->segs));
    log->num_segs -= n;
    log->last -= n;
    dk_index_trim(&log->index, log->first);
}

/* Waits until what was issued to a log is done. */
static void drain(struct dk_log *log)
{
    while (dk_log_busy(log))
        dk_store_wait(log->store);
}

/* A flush failed that records needed which nobody waits for: that is told now, once. */
static int take_error(struct dk_log *log)
{
    int error = log->error;
    drain(log);
    if (log->state == DK_LOG_FAILS)
        dk_log_give_up(log);
    return error;
}

/* Waits until what was issued is acknowledged, and makes it durable. */
static int settle(struct dk_log *log)
{
    for (drain(log); log->undurable; drain(log)) {
        uint64_t acked = log->acked;
        int ret = log->state == DK_LOG_FAILS ? 0 : dk_xfers_flush(&log->store->xfers);
        if (ret != 0)
            return ret;
        if (log->state == DK_LOG_FAILS)
            return take_error(log);
        log->undurable = log->acked != acked;
        log->durable = acked;
    }
    return 0;
}

int dk_log_truncate(struct dk_log *log, uint64_t record)
{
    if (log->store->read_only)
        return -EROFS;
    int ret = settle(log);
    if (ret != 0)
        return ret;
    if (record < log->first || record > log->acked)
        return -EINVAL;
    if (record == log->acked)
        return 0;
    dk_log_cut(log, record);
    dk_log_drop_below_first(log);
    return dk_meta_wait(log->store, log->change);
}

int dk_log_trim(struct dk_log *log, uint64_t record)
{
    if (log->store->read_only)
        return -EROFS;
    int ret = settle(log);
    if (ret != 0)
        return ret;
    if (record < log->first || record > log->acked)
        return -EINVAL;
    if (record == log->first)
        return 0;
    log->first = record;
    dk_log_drop_below_first(log);
    return dk_meta_wait(log->store, dk_meta_mark_log(log));
}

static int check_name(const char *name)
{
    size_t len = strnlen(name, DK_LOG_NAME_MAX + 1);
    if (len > DK_LOG_NAME_MAX)
        return -ENAMETOOLONG;
    return len == 0 || strchr(name, '/') ? -EINVAL : 0;
}

static int create(struct dk_store *store, const char *name, struct dk_log **log_out)
{
    if (store->num_logs >= store->geometry.max_logs)
        return -ENOSPC;
    struct dk_log *log = dk_log_new(store, store->next_log);
    if (!log)
        return -ENOMEM;
    memcpy(log->name, name, strlen(name) + 1);
    store->next_log++;
    dk_meta_mark_store(store);
    int ret = dk_meta_wait(store, dk_meta_mark_log(log));
    if (ret != 0) {
        log->unlinked = true;
        let_go(log);
        return ret;
    }
    *log_out = log;
    return 0;
}

/* Drops all records, and the numbers that they had. */
static int empty(struct dk_log *log)
{
    int ret = settle(log);
    if (ret != 0)
        return ret;
    log->first = 0;
    dk_log_cut(log, 0);
    return dk_meta_wait(log->store, log->change);
}

int dk_log_open(struct dk_log **log_out, struct dk_store *store, const char *name, uint32_t flags)
{
    int ret = check_name(name);
    if (ret != 0)
        return ret;
    struct dk_log *log = dk_log_by_name(store, name);
    if (log && (flags & DK_LOG_CREATE) && (flags & DK_LOG_EXCL))
        return -EEXIST;
    if (!log && !(flags & DK_LOG_CREATE))
        return -ENOENT;
    if (store->read_only && (!log || (flags & DK_LOG_TRUNC)))
        return -EROFS;
    if (log && log->damaged)
        return -EUCLEAN;
    if (log && log->end_unread && !store->read_only && !(flags & DK_LOG_TRUNC))
        return -EIO;
    if (!log)
        ret = create(store, name, &log);
    else if ((flags & DK_LOG_TRUNC) && (log->acked > 0 || log->num_segs > 0 || dk_log_busy(log)))
        ret = empty(log);
    if (ret != 0)
        return ret;
    log->holds++;
    *log_out = log;
    return 0;
}

void dk_log_put(struct dk_log *log)
{
    log->holds--;
    let_go(log);
}

int dk_log_unlink(struct dk_store *store, const char *name)
{
    int ret = check_name(name);
    if (ret != 0)
        return ret;
    struct dk_log *log = dk_log_by_name(store, name);
    if (store->read_only)
        return -EROFS;
    if (!log)
        return -ENOENT;
    log->unlinked = true;
    let_go(log);
    return dk_meta_wait(store, dk_meta_mark_log(log));
}

void dk_log_info(const struct dk_log *log, struct dk_log_info *out)
{
    *out = (struct dk_log_info){
        .name = log->name,
        .first = log->first,
        .end = log->acked,
        .bytes = log->num_segs * log->store->geometry.segment_bytes,
        .is_end_unread = log->end_unread,
        .is_damaged = log->damaged,
    };
}

/* The next name behind one, NULL: the first. */
static const struct dk_log *next_name(const struct dk_store *store, const char *behind)
{
    const struct dk_log *best = NULL;
    struct dk_list *l;
    dk_list_for_each (l, &store->logs) {
        const struct dk_log *log = dk_container_of(l, struct dk_log, link);
        if (!log->unlinked && (!behind || strcmp(log->name, behind) > 0) &&
            (!best || strcmp(log->name, best->name) < 0))
            best = log;
    }
    return best;
}

void dk_store_list(struct dk_store *store, bool (*fn)(const struct dk_log_info *info, void *arg),
                   void *arg)
{
    const struct dk_log *log = NULL;
    while ((log = next_name(store, log ? log->name : NULL))) {
        struct dk_log_info info;
        dk_log_info(log, &info);
        if (!fn(&info, arg))
            return;
    }
}
