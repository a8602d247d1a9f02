/* SPDX-License-Identifier: MIT */
#include "store/walk.h"

#include "mem/heap.h"
#include "store/log.h"
#include "store/scan.h"

#include <errno.h>
#include <string.h>

#define AHEAD (64u << 10)

struct walker {
    struct dk_log *log;
    struct dk_scan scan;
    bool payload;
    bool (*fn)(const struct dk_walk_item *item, void *arg);
    void *arg;
    uint64_t expected; /* record */
    bool stopped;
};

static void tell(struct walker *w, const struct dk_walk_item *item)
{
    if (!w->stopped)
        w->stopped = !w->fn(item, w->arg);
}

/* Records from `expected` to `end` that the log has, and that nothing was found of. */
static void tell_lost(struct walker *w, uint64_t end, uint64_t offset, uint64_t bytes)
{
    uint64_t from = w->expected > w->log->first ? w->expected : w->log->first;
    end = end < w->log->acked ? end : w->log->acked;
    w->expected = end > w->expected ? end : w->expected;
    if (from >= end)
        return;
    tell(w, &(struct dk_walk_item){
                .kind = DK_WALK_LOST,
                .record = from,
                .count = end - from,
                .offset = offset,
                .bytes = bytes,
            });
}

static void tell_record(struct walker *w, uint64_t batch, uint64_t number,
                        const struct dk_batch_record *record, const struct dk_batch_seg *segs)
{
    if (number < w->log->first)
        return;
    struct dk_walk_item item = {
        .kind = DK_WALK_RECORD,
        .record = number,
        .count = 1,
        .num_segs = record->segs,
        .offset = batch + (uint64_t)segs[0].place * DK_BATCH_PLACE_UNIT,
        .is_good = !w->payload || dk_scan_record_good(&w->scan, batch, record, segs),
    };
    for (uint32_t i = 0; i < record->segs; i++) {
        item.lens[i] = segs[i].len;
        item.bytes += segs[i].len;
    }
    tell(w, &item);
}

/* Tells of a batch, of which `copy` holds header and descriptors; records from `end` on are not
 * what the log has there any more. */
static void tell_batch(struct walker *w, const struct dk_batch_head *copy, uint32_t segment,
                       uint64_t end)
{
    uint64_t records = end - copy->first < copy->records ? end - copy->first : copy->records;
    const struct dk_batch_record *record = dk_batch_records(copy);
    const struct dk_batch_seg *segs = dk_batch_segs(copy);
    tell(w, &(struct dk_walk_item){
                .kind = DK_WALK_BATCH,
                .is_good = true,
                .offset = copy->offset,
                .bytes = (uint64_t)copy->blocks * DK_BLOCK,
                .record = copy->first,
                .count = records,
                .batch = copy->number,
                .epoch = copy->epoch,
                .segment = segment,
            });
    for (uint32_t i = 0; i < records && !w->stopped; i++) {
        tell_record(w, copy->offset, copy->first + i, &record[i], segs);
        segs += record[i].segs;
    }
    w->expected = copy->first + records;
}

static void walk_segment(struct walker *w, uint32_t place, uint8_t *copy)
{
    struct dk_log *log = w->log;
    const struct dk_segment *s = dk_log_segment(log, place);
    uint64_t begin = dk_segment_offset(&log->store->geometry, log->segs[place]);
    uint64_t bad = DK_UNKNOWN, offset = 0;
    const uint64_t end = s->end < log->acked ? s->end : log->acked;
    while (offset < s->limit && !w->stopped && w->scan.error == 0 && w->expected < end) {
        const struct dk_batch_head *h = dk_scan_batch(&w->scan, log, log->segs[place], offset,
                                                      w->payload ? DK_SCAN_BYTES : AHEAD);
        if (!h) {
            bad = bad == DK_UNKNOWN ? offset : bad;
            offset += DK_BLOCK;
            continue;
        }
        if (h->first >= end)
            break; /* left over: the log was cut before it */
        memcpy(copy, h, h->bytes);
        h = (const void *)copy;
        if (bad != DK_UNKNOWN)
            tell_lost(w, h->first, begin + bad, offset - bad);
        bad = DK_UNKNOWN;
        tell_batch(w, h, log->segs[place], end);
        offset += (uint64_t)h->blocks * DK_BLOCK;
    }
    if (w->stopped || w->scan.error != 0)
        return;
    bad = bad == DK_UNKNOWN ? offset : bad;
    tell_lost(w, end, begin + bad, s->limit - bad);
}

int dk_log_walk(struct dk_log *log, bool payload,
                bool (*fn)(const struct dk_walk_item *item, void *arg), void *arg)
{
    struct walker w = {.log = log, .payload = payload, .fn = fn, .arg = arg};
    uint8_t *copy = dk_heap_malloc(DK_BATCH_HEAD_MAX);
    int ret = copy ? dk_scan_init(&w.scan, log->store) : -ENOMEM;
    if (ret == 0) {
        w.expected = log->first;
        if (log->num_segs > 0 && dk_log_segment(log, 0)->first < log->first)
            w.expected = dk_log_segment(log, 0)->first;
        for (uint32_t i = 0; i < log->num_segs && !w.stopped && w.scan.error == 0; i++)
            if (dk_log_segment(log, i)->first != DK_UNKNOWN)
                walk_segment(&w, i, copy);
        ret = w.scan.error;
        if (!w.stopped && ret == 0)
            tell_lost(&w, log->acked, 0, 0); /* nothing says where they were */
        dk_scan_fini(&w.scan);
    }
    if (copy)
        dk_heap_free(copy);
    return ret;
}

static bool super_good(struct dk_store *store, uint64_t offset, uint8_t *block)
{
    struct dk_geometry g;
    return dk_store_read_sync(store, offset, block, DK_BLOCK) == 0 &&
           dk_super_parse(block, offset, &g) == 0 &&
           memcmp(g.uuid, store->geometry.uuid, sizeof(g.uuid)) == 0;
}

/* Whether a copy of the present region has a transaction at a place; *bytes_out: its blocks. */
static bool meta_good(struct dk_store *store, uint32_t copy, uint64_t at, uint8_t *buffer,
                      uint64_t *bytes_out)
{
    const struct dk_geometry *g = &store->geometry;
    const struct dk_meta *m = &store->meta;
    const struct dk_meta_head *head = (const void *)buffer;
    uint64_t from = dk_region_offset(g, m->region, copy) + at;
    uint64_t room = at == 0 ? g->meta_bytes - DK_BLOCK : DK_BLOCK;
    *bytes_out = DK_BLOCK;
    if (dk_store_read_sync(store, from, buffer, DK_BLOCK) != 0 ||
        !dk_meta_head_plausible(buffer, g->uuid, m->region, at) || head->bytes > room)
        return false;
    uint64_t whole = dk_round_up(head->bytes, DK_BLOCK);
    if (whole > DK_BLOCK && dk_store_read_sync(store, from + DK_BLOCK, buffer + DK_BLOCK,
                                               (uint32_t)(whole - DK_BLOCK)) != 0)
        return false;
    bool good =
        dk_meta_valid(buffer, whole, g->uuid, m->region, at) && head->generation == m->generation;
    if (good)
        *bytes_out = whole;
    return good;
}

/* The checkpoint is of one length in both copies: where one is damaged, the other says it. */
static uint64_t checkpoint_bytes(struct dk_store *store, uint8_t *buffer)
{
    uint64_t bytes;
    for (uint32_t copy = 0; copy < 2; copy++)
        if (meta_good(store, copy, 0, buffer, &bytes))
            return bytes;
    return DK_BLOCK;
}

int dk_store_walk_copies(struct dk_store *store,
                         bool (*fn)(const struct dk_walk_item *item, void *arg), void *arg)
{
    static const uint64_t supers[] = {0, DK_SUPER_COPY};
    const struct dk_geometry *g = &store->geometry;
    uint8_t *buffer = dk_heap_aligned(DK_BLOCK, g->meta_bytes);
    if (!buffer)
        return -ENOMEM;
    struct dk_walk_item item = {.kind = DK_WALK_SUPER, .bytes = DK_BLOCK};
    bool more = true;
    for (item.copy = 0; item.copy < 2 && more; item.copy++) {
        item.offset = supers[item.copy];
        item.is_good = super_good(store, item.offset, buffer);
        more = fn(&item, arg);
    }
    item.kind = DK_WALK_META;
    uint64_t first = checkpoint_bytes(store, buffer), bytes;
    for (uint64_t at = 0; at < store->meta.at && more; at += at == 0 ? first : DK_BLOCK) {
        for (item.copy = 0; item.copy < 2 && more; item.copy++) {
            item.is_good = meta_good(store, item.copy, at, buffer, &bytes);
            item.offset = dk_region_offset(g, store->meta.region, item.copy) + at;
            item.bytes = at == 0 ? first : DK_BLOCK;
            more = fn(&item, arg);
        }
    }
    dk_heap_free(buffer);
    return 0;
}

void dk_store_info(const struct dk_store *store, struct dk_store_info *out)
{
    const struct dk_geometry *g = &store->geometry;
    *out = (struct dk_store_info){
        .segment_bytes = g->segment_bytes,
        .meta_bytes = g->meta_bytes,
        .data_offset = g->data_offset,
        .num_segments = store->num_segments,
        .free_segments = store->num_free,
        .max_segments = g->max_segments,
        .num_logs = store->num_logs - store->num_gone,
        .max_logs = g->max_logs,
        .epoch = store->epoch,
        .generation = store->meta.generation,
    };
    memcpy(out->uuid, g->uuid, sizeof(out->uuid));
}
