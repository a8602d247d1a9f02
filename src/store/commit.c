/* SPDX-License-Identifier: MIT */
/*
 * Acknowledging batches. A batch that was written with FUA, with all before it durable, is durable
 * itself. Any other that somebody waits for needs a flush that begins after it and all before it
 * were written; one flush serves all logs.
 *
 * A flush that fails may have lost any write that was submitted before it ended and was not
 * durable, also one that it was not meant for, and no later flush brings it back (blk.h). So all
 * batches in flight that are not durable by themselves fail then, those included that are still
 * being written; a FUA batch does not, its write says what became of it. A log whose acknowledged
 * records nobody waits for may have been lost fails at its next append, truncation or trim, which
 * tells so; those records are read, or are errors.
 *
 * When a batch fails, what is in flight with it ends first. What is acknowledged then stays, the
 * rest fails in the order of issue, and the log is cut: what the device may have of it is never
 * found again, and the next record goes to a new segment.
 */
#include "store/log.h"

#include "mem/heap.h"

#include <errno.h>

void dk_log_fail(struct dk_log *log, int error)
{
    if (log->state == DK_LOG_FAILS)
        return;
    log->state = DK_LOG_FAILS;
    log->error = error;
}

void dk_batch_written(struct dk_xfer *xfer, int result)
{
    struct dk_batch *b = xfer->arg;
    b->written = true;
    if (b->result == 0) /* else a flush failed meanwhile */
        b->result = result;
    if (b->result != 0)
        dk_log_fail(b->log, b->result);
}

static struct dk_batch *head_of(struct dk_log *log)
{
    struct dk_list *l = dk_list_first(&log->in_flight);
    return l ? dk_container_of(l, struct dk_batch, link) : NULL;
}

static void release(struct dk_batch *b)
{
    struct dk_log *log = b->log;
    if (b->large)
        dk_heap_free(b->large);
    b->large = NULL;
    dk_list_del(&b->link);
    dk_list_add_head(&log->store->free_batches, &b->link); /* what has a buffer comes first */
    log->num_in_flight--;
}

/* What is written at the head of the log and needs a flush is told which. */
static void want_flush(struct dk_log *log)
{
    struct dk_store *store = log->store;
    struct dk_list *l;
    dk_list_for_each (l, &log->in_flight) {
        struct dk_batch *b = dk_container_of(l, struct dk_batch, link);
        if (!b->written || b->result != 0)
            return;
        if (b->flush == 0 && !b->is_async && !b->fua)
            b->flush = store->flush_wanted = store->flush_started + 1;
    }
}

static bool is_safe(const struct dk_log *log, const struct dk_batch *b)
{
    if (!b->written || b->result != 0)
        return false;
    return b->is_async || b->fua || (b->flush != 0 && b->flush <= log->store->flush_done);
}

/* The first batch of a segment that nobody waits for. */
static void settle(struct dk_log *log, const struct dk_batch *b)
{
    log->settle_at = b->end;
    log->settle_flush = log->store->flush_wanted = log->store->flush_started + 1;
}

static void settled(struct dk_log *log, uint64_t flush)
{
    if (log->settle_flush == 0 || log->settle_flush > flush)
        return;
    log->settle_flush = 0;
    if (log->settle_at > log->durable && log->settle_at <= log->acked) {
        log->durable = log->settle_at;
        dk_log_note_durable(log);
    }
}

static uint32_t acknowledge(struct dk_log *log, struct dk_batch *b)
{
    struct dk_store *store = log->store;
    struct dk_segment *s = &store->segments[b->segment];
    uint32_t n = 0;
    struct dk_list done, *l;
    dk_list_init(&done);
    while ((l = dk_list_first(&b->appends))) {
        dk_list_del(l);
        dk_list_add_tail(&done, l);
    }
    dk_index_add(&log->index, b->end - b->num_appends, s->ordinal, b->limit - b->bytes);
    s->limit = b->limit;
    log->acked = b->end;
    log->undurable = b->is_async;
    if (!b->is_async) {
        log->durable = b->end;
        dk_log_note_durable(log);
    } else if (b->limit == b->bytes) {
        settle(log, b);
    }
    release(b);
    for (; (l = dk_list_first(&done)); n++) {
        struct dk_log_append *a = dk_container_of(l, struct dk_log_append, link);
        dk_list_del_init(l);
        store->outstanding--;
        a->done(a, 0);
    }
    return n;
}

uint32_t dk_log_give_up(struct dk_log *log)
{
    struct dk_list failed, *l;
    struct dk_batch *b;
    dk_list_init(&failed);
    while ((b = head_of(log))) {
        while ((l = dk_list_first(&b->appends))) {
            dk_list_del(l);
            dk_list_add_tail(&failed, l);
        }
        release(b);
    }
    while ((l = dk_list_first(&log->waiting))) {
        dk_list_del(l);
        dk_list_add_tail(&failed, l);
    }
    dk_log_cut(log, log->acked);
    log->state = DK_LOG_RUNS;
    return dk_appends_fail(log->store, &failed, log->error);
}

static bool all_written(struct dk_log *log)
{
    struct dk_list *l;
    dk_list_for_each (l, &log->in_flight)
        if (!dk_container_of(l, struct dk_batch, link)->written)
            return false;
    return true;
}

uint32_t dk_log_commit(struct dk_log *log)
{
    uint32_t n = 0;
    struct dk_batch *b;
    while ((b = head_of(log)) && is_safe(log, b))
        n += acknowledge(log, b);
    if (log->state == DK_LOG_FAILS && dk_log_busy(log) && all_written(log) &&
        (!b || b->result != 0))
        return n + dk_log_give_up(log);
    want_flush(log);
    return n;
}

/* What of a log was not durable when a flush failed. */
static void doubt(struct dk_log *log, int error)
{
    struct dk_list *l;
    bool any = log->undurable;
    log->settle_flush = 0;
    dk_list_for_each (l, &log->in_flight) {
        struct dk_batch *b = dk_container_of(l, struct dk_batch, link);
        if (b->fua)
            continue;
        if (b->result == 0)
            b->result = error;
        any = true;
    }
    if (any)
        dk_log_fail(log, error);
}

void dk_flush_failed(void *arg, int error)
{
    struct dk_store *store = arg;
    struct dk_list *l;
    dk_list_for_each (l, &store->logs)
        doubt(dk_container_of(l, struct dk_log, link), error);
    store->growth.is_doubtful = true;
}

static void flushed(struct dk_xfer *x, int result)
{
    struct dk_store *store = x->arg;
    struct dk_list *l;
    store->flushing = false;
    if (result != 0) {
        dk_flush_failed(store, result); /* also one that the device did not take at all */
        return;
    }
    store->flush_done = store->flush_started;
    dk_list_for_each (l, &store->logs)
        settled(dk_container_of(l, struct dk_log, link), store->flush_done);
}

void dk_flush_pump(struct dk_store *store)
{
    struct dk_xfer *x = &store->flush;
    if (store->flushing || store->flush_wanted <= store->flush_started)
        return;
    store->flush_started++;
    store->flushing = true;
    x->op = DK_BLK_FLUSH;
    x->done = flushed;
    x->arg = store;
    dk_xfer_start(&store->xfers, x);
}
