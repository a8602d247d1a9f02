/* SPDX-License-Identifier: MIT */
/*
 * A store's life, and what brings it on.
 */
#include "store/store.h"

#include "mem/heap.h"
#include "store/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define INDEX_ENTRIES 4096u

int dk_store_read_sync(struct dk_store *store, uint64_t offset, uint8_t *to, uint32_t len)
{
    store->stats->recovery_read_bytes += len;
    return dk_xfers_read(&store->xfers, offset, to, len);
}

uint32_t dk_store_pump(struct dk_store *store)
{
    struct dk_list *l, *next;
    uint32_t n = dk_xfers_pump(&store->xfers);
    store->kicked = false;
    dk_segments_pump(store);
    dk_list_for_each_safe (l, next, &store->active) {
        struct dk_log *log = dk_container_of(l, struct dk_log, active);
        n += dk_log_pump_appends(log) + dk_reader_pump(log);
        if (dk_log_busy(log) || !dk_list_empty(&log->reader.reads))
            continue;
        dk_list_del_init(&log->active);
        if (log->leaving)
            dk_log_vanish(log);
    }
    dk_flush_pump(store);
    dk_meta_pump(store);
    if (store->num_gone > 0)
        dk_logs_sweep(store);
    return n;
}

void dk_store_wait(struct dk_store *store)
{
    if (dk_store_pump(store) == 0 && !store->kicked && !dk_xfers_ready(&store->xfers))
        store->dev->ops->wait(store->dev);
}

uint32_t dk_store_poll(struct dk_store *store, int64_t now)
{
    uint32_t outstanding = store->outstanding;
    store->now = now;
    store->dev->ops->poll(store->dev, now);
    dk_logs_tell(store);
    dk_store_pump(store);
    if (dk_xfers_ready(&store->xfers) || store->kicked)
        dk_store_pump(store);
    return outstanding > store->outstanding ? outstanding - store->outstanding : 0;
}

void dk_store_start(struct dk_store *store)
{
    if (!store->xfers.submitted)
        return;
    store->xfers.submitted = false;
    if (store->dev->ops->poll(store->dev, store->now) > 0)
        dk_store_pump(store); /* who finds something acts on it: nobody is told of it again */
}

bool dk_store_quiet(const struct dk_store *store)
{
    return !store->kicked && !dk_xfers_ready(&store->xfers);
}

int dk_store_arm(struct dk_store *store)
{
    return dk_store_quiet(store) ? store->dev->ops->arm(store->dev) : -1;
}

bool dk_store_sleeps(const struct dk_store *store)
{
    return store->dev->ops->sleep != NULL;
}

void dk_store_sleep(struct dk_store *store, int64_t timeout_ns)
{
    store->dev->ops->sleep(store->dev, timeout_ns);
}

int64_t dk_store_next_due(const struct dk_store *store)
{
    const struct dk_blkdev_ops *ops = store->dev->ops;
    int64_t due = ops->next_due ? ops->next_due(store->dev) : INT64_MAX;
    return due < store->tell_at ? due : store->tell_at;
}

uint32_t dk_store_outstanding(const struct dk_store *store)
{
    return store->outstanding;
}

const struct dk_store_stats *dk_store_stats(const struct dk_store *store)
{
    return store->stats;
}

/* Reads the superblock, of either copy. */
static int load_super(struct dk_store *store, const char **why_out)
{
    static const uint64_t places[] = {0, DK_SUPER_COPY};
    uint64_t bytes = store->dev->caps.bytes;
    uint8_t *block = store->meta.marker;
    int worst = -EMEDIUMTYPE;
    for (uint32_t i = 0; i < 2 && places[i] + DK_BLOCK <= bytes; i++) {
        int ret = dk_store_read_sync(store, places[i], block, DK_BLOCK);
        if (ret == 0)
            ret = dk_super_parse(block, places[i], &store->geometry);
        if (ret == 0)
            return 0;
        if (worst == -EMEDIUMTYPE || ret == -EPROTONOSUPPORT)
            worst = ret;
    }
    *why_out = worst == -EMEDIUMTYPE       ? "there is no store (demi log create makes one)"
               : worst == -EPROTONOSUPPORT ? "the store was made by a newer version"
               : worst == -EUCLEAN         ? "both superblocks are damaged"
                                           : "the device cannot be read";
    return worst;
}

static int check_length(const struct dk_store *store, uint32_t segments, const char **why_out)
{
    if (store->dev->caps.bytes >= dk_segment_offset(&store->geometry, segments))
        return 0;
    *why_out = "the device is shorter than its store";
    return -ENODATA;
}

static int by_ordinal(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

struct owned {
    uint64_t ordinal;
    uint32_t index;
};

static int sort_segments(struct dk_log *log)
{
    struct owned *all = dk_heap_malloc((log->num_segs + 1) * sizeof(*all));
    if (!all)
        return -ENOMEM;
    for (uint32_t i = 0; i < log->num_segs; i++)
        all[i] = (struct owned){dk_log_segment(log, i)->ordinal, log->segs[i]};
    qsort(all, log->num_segs, sizeof(*all), by_ordinal);
    for (uint32_t i = 0; i < log->num_segs; i++) {
        log->segs[i] = all[i].index;
        if (i > 0 && all[i].ordinal == all[i - 1].ordinal)
            log->damaged = true;
    }
    if (log->num_segs > 0 && all[log->num_segs - 1].ordinal >= log->next_ordinal)
        log->next_ordinal = all[log->num_segs - 1].ordinal + 1;
    dk_heap_free(all);
    return 0;
}

/* Gives the logs their segments. */
static int attach_segments(struct dk_store *store)
{
    struct dk_list *l;
    struct dk_log *log = NULL;
    store->num_free = store->num_segments;
    for (uint32_t i = 0; i < store->geometry.max_segments; i++) {
        const struct dk_segment *s = &store->segments[i];
        if (s->state == DK_SEGMENT_FREE)
            continue;
        if (!log || log->id != s->log)
            log = dk_log_by_id(store, s->log);
        if (!log || i >= store->num_segments)
            return -EUCLEAN;
        if (i >= store->touched) {
            log->damaged = true;
            store->touched = i + 1; /* nobody else's */
        }
        int ret = dk_log_add_segment(log, i);
        if (ret != 0)
            return ret;
        store->num_free--;
    }
    store->stats->segments_free = store->num_free;
    store->stats->segments_used = store->num_segments - store->num_free;
    dk_list_for_each (l, &store->logs) {
        int ret = sort_segments(dk_container_of(l, struct dk_log, link));
        if (ret != 0)
            return ret;
    }
    return 0;
}

/* What a writer does before its first batch: unlinked logs go, and its epoch is durable. What was
 * found at the ends of logs is made durable too: it may have been in the device's cache. */
static int begin_writing(struct dk_store *store)
{
    struct dk_list *l;
    dk_list_for_each (l, &store->logs) {
        struct dk_log *log = dk_container_of(l, struct dk_log, link);
        if (!log->unlinked)
            continue;
        store->num_gone++;
        dk_log_vanish(log);
    }
    store->epoch++;
    dk_meta_flush_first(store);
    return dk_meta_wait(store, dk_meta_mark_all(store));
}

static int load(struct dk_store *store, const char **why_out)
{
    struct dk_geometry *g = &store->geometry;
    *why_out = "the device cannot be read";
    int ret = load_super(store, why_out);
    if (ret == 0)
        ret = check_length(store, 0, why_out);
    if (ret != 0)
        return ret;
    store->segments = dk_heap_zalloc(g->max_segments * sizeof(*store->segments));
    store->meta.buffer = dk_heap_aligned(DK_BLOCK, g->meta_bytes);
    if (!store->segments || !store->meta.buffer)
        return -ENOMEM;
    ret = dk_meta_load(store, why_out);
    if (ret == 0)
        ret = check_length(store, store->num_segments, why_out);
    if (ret != 0)
        return ret;
    ret = attach_segments(store);
    if (ret == 0)
        ret = dk_recover(store);
    if (ret == -EUCLEAN)
        *why_out = "the metadata says what cannot be";
    return ret;
}

static void destroy(struct dk_store *store)
{
    struct dk_list *l;
    while ((l = dk_list_first(&store->logs)))
        dk_log_free(dk_container_of(l, struct dk_log, link));
    dk_appends_fini(store);
    if (store->segments)
        dk_heap_free(store->segments);
    if (store->meta.buffer)
        dk_heap_free(store->meta.buffer);
    if (store->meta.marker)
        dk_heap_free(store->meta.marker);
    dk_heap_free(store);
}

static struct dk_store *create(struct dk_blkdev *dev, const struct dk_store_options *options)
{
    struct dk_store *store = dk_heap_zalloc(sizeof(*store));
    if (!store)
        return NULL;
    store->dev = dev;
    store->read_only = options->read_only || (dev->caps.flags & DK_BLKDEV_READ_ONLY);
    store->fua = dev->caps.flags & DK_BLKDEV_FUA;
    store->discards = !(dev->caps.flags & DK_BLKDEV_GROWS);
    store->index_entries = options->index_entries > 0 ? options->index_entries : INDEX_ENTRIES;
    store->stats = options->stats ? options->stats : &store->own_stats;
    store->stats->recovery_read_bytes = 0;
    store->discarding = UINT32_MAX;
    store->tell_at = INT64_MAX;
    dk_list_init(&store->logs);
    dk_list_init(&store->active);
    dk_xfers_init(&store->xfers, dev);
    store->xfers.on_flush_failed = dk_flush_failed;
    store->xfers.arg = store;
    store->meta.marker = dk_heap_aligned(DK_BLOCK, DK_BLOCK);
    if (store->meta.marker && dk_appends_init(store) == 0)
        return store;
    destroy(store);
    return NULL;
}

int dk_store_open(struct dk_store **store_out, struct dk_blkdev *dev,
                  const struct dk_store_options *options, const char **why_out)
{
    static const struct dk_store_options none;
    const char *why = "no memory";
    if (dev->caps.block_bytes > DK_BLOCK) {
        *why_out = "the device's blocks are larger than 4096 bytes";
        return -EINVAL;
    }
    struct dk_store *store = create(dev, options ? options : &none);
    int ret = store ? load(store, &why) : -ENOMEM;
    if (ret == 0 && !store->read_only) {
        why = "the device cannot be written";
        ret = begin_writing(store);
    }
    if (ret == 0) {
        *store_out = store;
        return 0;
    }
    if (store)
        destroy(store);
    *why_out = ret == -ENOMEM ? "no memory" : why;
    return ret;
}

/* Tells the ends of all logs, when they are durable. */
static void tell_ends(struct dk_store *store)
{
    struct dk_list *l;
    if (dk_xfers_flush(&store->xfers) == 0)
        dk_list_for_each (l, &store->logs) {
            struct dk_log *log = dk_container_of(l, struct dk_log, link);
            if (log->state == DK_LOG_FAILS)
                continue; /* a flush before this one failed */
            log->durable = log->acked;
            log->undurable = false;
        }
    store->closing = true;
    dk_meta_wait(store, dk_meta_mark_all(store));
}

void dk_store_close(struct dk_store *store)
{
    while (store->outstanding > 0)
        dk_store_wait(store);
    if (!store->read_only)
        tell_ends(store);
    while (store->xfers.outstanding > 0)
        dk_store_wait(store);
    store->dev->ops->close(store->dev);
    destroy(store);
}

void dk_store_abandon(struct dk_store *store)
{
    if (store->dev->ops->abandon)
        store->dev->ops->abandon(store->dev);
}
