/* SPDX-License-Identifier: MIT */
/*
 * Appends: taken in here, sent in batches when the store is pumped (batch.c), acknowledged in order
 * (commit.c). A batch needs a segment that the metadata gave to the log; when the last one is half
 * full the next is asked for, so that nobody waits for metadata where there is space.
 */
#include "store/log.h"

#include "mem/heap.h"

#include <errno.h>

void dk_log_activate(struct dk_log *log)
{
    log->store->kicked = true;
    if (dk_list_empty(&log->active))
        dk_list_add_tail(&log->store->active, &log->active);
}

int dk_log_append(struct dk_log *log, struct dk_log_append *append)
{
    struct dk_store *store = log->store;
    if (store->read_only)
        return -EROFS;
    if (append->num_segs < 1 || append->num_segs > DK_LOG_SEGS_MAX)
        return -EINVAL;
    if (dk_append_plan(store, append) > store->geometry.segment_bytes)
        return -EMSGSIZE;
    dk_list_add_tail(&log->waiting, &append->link);
    store->outstanding++;
    dk_log_activate(log);
    return 0;
}

bool dk_log_busy(const struct dk_log *log)
{
    return !dk_list_empty(&log->waiting) || log->num_in_flight > 0;
}

uint32_t dk_appends_fail(struct dk_store *store, struct dk_list *appends, int error)
{
    uint32_t n = 0;
    struct dk_list failed, *l;
    dk_list_init(&failed);
    while ((l = dk_list_first(appends))) {
        dk_list_del(l);
        dk_list_add_tail(&failed, l);
    }
    for (; (l = dk_list_first(&failed)); n++) {
        struct dk_log_append *a = dk_container_of(l, struct dk_log_append, link);
        dk_list_del_init(l);
        store->outstanding--;
        a->done(a, error);
    }
    return n;
}

/* Makes the segment at a place of the log one that may be written: 0, -EINPROGRESS, or an error. */
static int ready_segment(struct dk_log *log, uint32_t place)
{
    struct dk_store *store = log->store;
    if (place == log->num_segs) {
        int ret = dk_segment_take(log, false);
        if (ret != 0)
            return ret == -EAGAIN ? -EINPROGRESS : ret;
    }
    int ret = dk_meta_state(store, dk_log_segment(log, place)->change);
    if (ret != 0 && ret != -EINPROGRESS)
        dk_meta_mark_segment(store, log->segs[place]); /* for the next attempt */
    return ret;
}

/* Sends one batch: 0, -EINPROGRESS (something else has to come first), or an error. */
static int send_one(struct dk_log *log)
{
    int ret = ready_segment(log, log->last);
    if (ret != 0)
        return ret;
    struct dk_batch *batch = dk_container_of(log->store->free_batches.next, struct dk_batch, link);
    ret = dk_batch_send(log, batch);
    if (ret != -EFBIG)
        return ret;
    ret = ready_segment(log, log->last + 1);
    if (ret != 0)
        return ret;
    uint64_t offset = log->offset;
    log->last++;
    log->offset = 0;
    ret = dk_batch_send(log, batch);
    if (ret != 0) {
        log->last--;
        log->offset = offset;
    }
    return ret;
}

/* Asks for the next segment when the last one is half full, unless space is short. */
static void look_ahead(struct dk_log *log)
{
    struct dk_store *store = log->store;
    bool spare = store->num_free > store->num_segments / 8 ||
                 (store->dev->caps.flags & DK_BLKDEV_GROWS) != 0;
    if (log->last + 1 == log->num_segs && log->offset > store->geometry.segment_bytes / 2 && spare)
        dk_segment_take(log, true);
}

static uint32_t send_waiting(struct dk_log *log)
{
    int ret = 0;
    while (ret == 0 && !dk_list_empty(&log->waiting) && log->num_in_flight < DK_LOG_BATCHES &&
           !dk_list_empty(&log->store->free_batches))
        ret = send_one(log);
    look_ahead(log);
    if (ret == 0 || ret == -EINPROGRESS || log->num_in_flight > 0)
        return 0; /* an error waits until all before it is acknowledged */
    if (ret == -ENOSPC)
        log->store->stats->no_space++;
    return dk_appends_fail(log->store, &log->waiting, ret);
}

uint32_t dk_log_pump_appends(struct dk_log *log)
{
    uint32_t n = dk_log_commit(log);
    if (log->state == DK_LOG_RUNS)
        n += send_waiting(log);
    return n;
}

int dk_appends_init(struct dk_store *store)
{
    dk_list_init(&store->free_batches);
    if (store->read_only)
        return 0;
    store->batches = dk_heap_zalloc(DK_BATCHES * sizeof(*store->batches));
    if (!store->batches)
        return -ENOMEM;
    for (uint32_t i = 0; i < DK_BATCHES; i++) {
        struct dk_batch *b = &store->batches[i];
        b->store = store;
        dk_list_init(&b->appends);
        dk_list_add_tail(&store->free_batches, &b->link);
    }
    return 0;
}

void dk_appends_fini(struct dk_store *store)
{
    if (!store->batches)
        return;
    for (uint32_t i = 0; i < DK_BATCHES; i++)
        if (store->batches[i].buffer)
            dk_heap_free(store->batches[i].buffer);
    dk_heap_free(store->batches);
    store->batches = NULL;
}
