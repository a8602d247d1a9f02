/* SPDX-License-Identifier: MIT */
/*
 * Segments: who has which, and how a dropped one becomes free (state.h has the states).
 *
 * One that was written before is preferred to one that was not: overwriting needs no allocation of
 * a file system. Where there is none a file grows; then what another log has ahead and does not use
 * is taken.
 */
#include "store/log.h"

#include "mem/heap.h"

#include <errno.h>

int dk_log_add_segment(struct dk_log *log, uint32_t index)
{
    if (log->num_segs == log->max_segs) {
        uint32_t max = log->max_segs == 0 ? 8 : log->max_segs * 2;
        uint32_t *segs = log->segs ? dk_heap_realloc(log->segs, max * sizeof(*segs))
                                   : dk_heap_malloc(max * sizeof(*segs));
        if (!segs)
            return -ENOMEM;
        log->segs = segs;
        log->max_segs = max;
    }
    log->segs[log->num_segs++] = index;
    return 0;
}

/* A free one that was used before, or UINT32_MAX. */
static uint32_t find_used(struct dk_store *store)
{
    uint32_t i = store->free_hint;
    while (i < store->touched && store->segments[i].state != DK_SEGMENT_FREE)
        i++;
    store->free_hint = i;
    return i < store->touched ? i : UINT32_MAX;
}

/* Takes what a log has ahead: UINT32_MAX when none has. */
static uint32_t steal(struct dk_store *store)
{
    struct dk_list *l;
    dk_list_for_each (l, &store->logs) {
        struct dk_log *log = dk_container_of(l, struct dk_log, link);
        if (log->last + 1 >= log->num_segs)
            continue;
        uint32_t index = log->segs[--log->num_segs];
        log->next_ordinal = store->segments[index].ordinal + 1;
        dk_meta_mark_log(log);
        store->num_free++;
        return index;
    }
    return UINT32_MAX;
}

/* Whether dropped ones become free by themselves; else the metadata that says so failed, and is
 * tried again. */
static bool some_come_back(struct dk_store *store)
{
    const struct dk_meta *m = &store->meta;
    if (store->num_dropped == 0)
        return false;
    if (m->step != DK_META_IDLE || m->wanted || store->discarding != UINT32_MAX ||
        store->swept != m->durable)
        return true;
    dk_meta_mark_all(store);
    return false;
}

static int find(struct dk_store *store, bool ahead, uint32_t *index_out)
{
    uint32_t index = find_used(store);
    if (index == UINT32_MAX && store->touched == store->num_segments) {
        if (some_come_back(store))
            return -EAGAIN;
        int ret = dk_store_grow(store);
        if (ret == -EAGAIN)
            return ret;
        if (ret != 0 && (ahead || (index = steal(store)) == UINT32_MAX))
            return ret;
    }
    if (index == UINT32_MAX) {
        index = store->touched++;
        dk_meta_mark_store(store);
    }
    *index_out = index;
    return 0;
}

int dk_segment_take(struct dk_log *log, bool ahead)
{
    struct dk_store *store = log->store;
    uint32_t index;
    int ret = find(store, ahead, &index);
    if (ret != 0)
        return ret;
    store->segments[index].state = DK_SEGMENT_FREE;
    ret = dk_log_add_segment(log, index);
    if (ret != 0) {
        store->free_hint = index < store->free_hint ? index : store->free_hint;
        return ret;
    }
    struct dk_segment *s = &store->segments[index];
    bool marked = s->marked;
    *s = (struct dk_segment){
        .log = log->id,
        .ordinal = log->next_ordinal++,
        .first = DK_UNKNOWN,
        .end = DK_UNKNOWN,
        .state = DK_SEGMENT_OWNED,
        .marked = marked,
    };
    store->num_free--;
    store->stats->segments_free = store->num_free;
    store->stats->segments_used = store->num_segments - store->num_free;
    dk_meta_mark_ends(log);
    return 0;
}

void dk_segment_drop(struct dk_store *store, uint32_t index)
{
    store->segments[index].state = DK_SEGMENT_DROPPED;
    store->num_dropped++;
    dk_meta_mark_segment(store, index);
}

static void make_free(struct dk_store *store, uint32_t index)
{
    struct dk_segment *s = &store->segments[index];
    *s = (struct dk_segment){.state = DK_SEGMENT_FREE, .marked = s->marked};
    store->num_dropped--;
    store->num_free++;
    if (index < store->free_hint)
        store->free_hint = index;
    store->stats->segments_free = store->num_free;
    store->stats->segments_used = store->num_segments - store->num_free;
}

/* What a discard says is not needed: it was advice. */
static void discarded(struct dk_xfer *x, int result)
{
    struct dk_store *store = x->arg;
    (void)result;
    make_free(store, store->discarding);
    store->discarding = UINT32_MAX;
    store->swept = 0;
}

static void discard(struct dk_store *store, uint32_t index)
{
    struct dk_xfer *x = &store->discard;
    store->segments[index].state = DK_SEGMENT_DISCARDED;
    store->discarding = index;
    x->op = DK_BLK_DISCARD;
    x->offset = dk_segment_offset(&store->geometry, index);
    x->bytes = store->geometry.segment_bytes;
    x->done = discarded;
    x->arg = store;
    dk_xfer_start(&store->xfers, x);
}

void dk_segments_pump(struct dk_store *store)
{
    uint64_t durable = store->meta.durable;
    if (store->num_dropped == 0 || store->swept == durable || store->discarding != UINT32_MAX)
        return;
    for (uint32_t i = 0; i < store->touched; i++) {
        const struct dk_segment *s = &store->segments[i];
        if (s->state != DK_SEGMENT_DROPPED || s->change > durable)
            continue;
        if (store->discards) {
            discard(store, i);
            return; /* the next one after it */
        }
        make_free(store, i);
    }
    store->swept = durable;
}
