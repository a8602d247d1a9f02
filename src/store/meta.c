/* SPDX-License-Identifier: MIT */
/*
 * Writing metadata (meta.h): a transaction from what is marked, to both copies of a region; a
 * checkpoint and a marker where the region is full.
 */
#include "store/meta.h"

#include "store/log.h"

#include <errno.h>
#include <string.h>

uint64_t dk_meta_region_bytes(uint32_t max_segments, uint32_t max_logs)
{
    uint64_t whole = sizeof(struct dk_meta_head) + sizeof(struct dk_entry_store) +
                     (uint64_t)max_segments * sizeof(struct dk_entry_segment) +
                     (uint64_t)max_logs * (sizeof(struct dk_entry_log) + DK_LOG_NAME_MAX + 1);
    uint32_t records = 8 + (max_segments / 4 < 248 ? max_segments / 4 : 248);
    return dk_round_up(whole, DK_BLOCK) + (uint64_t)(records + 1) * DK_BLOCK;
}

uint64_t dk_meta_mark_store(struct dk_store *store)
{
    store->marked = true;
    store->meta.wanted = true;
    return store->meta.number;
}

uint64_t dk_meta_mark_log(struct dk_log *log)
{
    log->marked = true;
    log->store->meta.wanted = true;
    log->change = log->store->meta.number;
    return log->change;
}

uint64_t dk_meta_mark_segment(struct dk_store *store, uint32_t index)
{
    struct dk_meta *m = &store->meta;
    struct dk_segment *s = &store->segments[index];
    if (!s->marked && m->num_marked == DK_META_MARKED)
        m->checkpoint = true;
    else if (!s->marked)
        m->marked[m->num_marked++] = index;
    s->marked = true;
    s->change = m->number;
    m->wanted = true;
    return m->number;
}

void dk_meta_mark_ends(struct dk_log *log)
{
    for (uint32_t i = log->num_segs; i-- > 0 && !dk_log_segment(log, i)->told;)
        dk_meta_mark_segment(log->store, log->segs[i]);
}

void dk_meta_flush_first(struct dk_store *store)
{
    store->meta.flush_first = true;
}

uint64_t dk_meta_mark_all(struct dk_store *store)
{
    store->meta.checkpoint = true;
    store->meta.wanted = true;
    return store->meta.number;
}

int dk_meta_state(const struct dk_store *store, uint64_t number)
{
    const struct dk_meta *m = &store->meta;
    if (m->durable >= number)
        return 0;
    return m->failed >= number ? m->error : -EINPROGRESS;
}

/* A transaction in the making. */
struct writer {
    struct dk_meta_head *head;
    uint64_t max;
    bool full;
};

static void *put(struct writer *w, uint16_t type, size_t bytes)
{
    bytes = dk_round_up(bytes, 8);
    if (w->full || w->head->bytes + bytes > w->max) {
        w->full = true;
        return NULL;
    }
    struct dk_entry *e = (void *)((uint8_t *)w->head + w->head->bytes);
    memset(e, 0, bytes);
    *e = (struct dk_entry){.type = type, .bytes = (uint16_t)bytes};
    w->head->bytes += (uint32_t)bytes;
    w->head->entries++;
    return e;
}

static void put_store(struct writer *w, const struct dk_store *store)
{
    struct dk_entry_store *e = put(w, DK_ENTRY_STORE, sizeof(*e));
    if (!e)
        return;
    e->epoch = store->epoch;
    e->next_log = store->next_log;
    e->num_segments = store->num_segments;
    e->touched = store->touched;
}

static void put_end(struct dk_entry_log *e, const struct dk_log *log)
{
    e->flags |= DK_ENTRY_LOG_CLEAN;
    e->end = log->acked;
    e->ordinal = log->last < log->num_segs ? dk_log_segment(log, log->last)->ordinal : DK_UNKNOWN;
    e->offset = log->offset;
    e->number = log->number;
    e->epoch = log->epoch;
    e->chain = log->chain;
}

static void put_log(struct writer *w, struct dk_log *log)
{
    if (log->gone) {
        struct dk_entry_log_gone *gone = put(w, DK_ENTRY_LOG_GONE, sizeof(*gone));
        if (gone)
            gone->id = log->id;
        return;
    }
    size_t len = strlen(log->name);
    struct dk_entry_log *e = put(w, DK_ENTRY_LOG, sizeof(*e) + len);
    if (!e)
        return;
    e->entry.index = (uint32_t)len;
    memcpy(e->name, log->name, len);
    e->id = log->id;
    e->first = log->first;
    e->base = log->base;
    e->next_ordinal = log->next_ordinal;
    e->flags = (log->unlinked ? DK_ENTRY_LOG_UNLINKED : 0) |
               (log->damaged ? DK_ENTRY_LOG_DAMAGED : 0) | DK_ENTRY_LOG_DURABLE;
    e->end = log->told_end = log->durable;
    if (log->store->closing && !log->damaged && log->durable == log->next && !log->end_unread)
        put_end(e, log);
}

/* first and end of a segment as the device may know them: see format.h. */
static void put_records(struct dk_entry_segment *e, const struct dk_log *log, struct dk_segment *s)
{
    bool begun = s->first != DK_UNKNOWN && log->durable > s->first;
    bool ended = s->end != DK_UNKNOWN && (s->cut || log->durable > s->end);
    e->first = begun || log->damaged ? s->first : DK_UNKNOWN;
    e->end = ended || log->damaged ? s->end : DK_UNKNOWN;
    s->told = ended;
}

static const struct dk_log *log_of(const struct dk_store *store, uint64_t id)
{
    struct dk_list *l;
    dk_list_for_each (l, &store->logs) {
        const struct dk_log *log = dk_container_of(l, struct dk_log, link);
        if (log->id == id)
            return log;
    }
    return NULL;
}

static void put_segment(struct writer *w, const struct dk_store *store, uint32_t index)
{
    struct dk_segment *s = &store->segments[index];
    const struct dk_log *log = s->state == DK_SEGMENT_OWNED ? log_of(store, s->log) : NULL;
    struct dk_entry_segment *e = put(w, DK_ENTRY_SEGMENT, sizeof(*e));
    if (!e)
        return;
    e->entry.index = index;
    if (!log)
        return;
    e->log = s->log;
    e->ordinal = s->ordinal;
    put_records(e, log, s);
}

static void put_marked(struct writer *w, const struct dk_store *store)
{
    struct dk_list *l;
    if (store->marked)
        put_store(w, store);
    dk_list_for_each (l, &store->logs) {
        struct dk_log *log = dk_container_of(l, struct dk_log, link);
        if (log->marked)
            put_log(w, log);
    }
    for (uint32_t i = 0; i < store->meta.num_marked; i++)
        put_segment(w, store, store->meta.marked[i]);
}

static void put_all(struct writer *w, const struct dk_store *store)
{
    struct dk_list *l;
    put_store(w, store);
    dk_list_for_each (l, &store->logs) {
        struct dk_log *log = dk_container_of(l, struct dk_log, link);
        if (log->gone)
            continue;
        put_log(w, log);
        for (uint32_t i = 0; i < log->num_segs; i++)
            put_segment(w, store, log->segs[i]);
    }
}

static void unmark(struct dk_store *store)
{
    struct dk_list *l;
    struct dk_meta *m = &store->meta;
    store->marked = false;
    dk_list_for_each (l, &store->logs)
        dk_container_of(l, struct dk_log, link)->marked = false;
    for (uint32_t i = 0; i < m->num_marked; i++)
        store->segments[m->marked[i]].marked = false;
    m->num_marked = 0;
    m->wanted = false;
}

static struct writer begin(struct dk_meta *m, enum dk_meta_kind kind, uint64_t max)
{
    bool other = kind == DK_META_CHECKPOINT;
    struct writer w = {.head = (void *)m->buffer, .max = max};
    *w.head = (struct dk_meta_head){
        .bytes = sizeof(*w.head),
        .kind = (uint16_t)kind,
        .generation = m->generation + other,
        .region = (uint16_t)(m->region ^ (other ? 1u : 0u)),
        .offset = other ? 0 : (uint32_t)m->at,
        .number = m->number,
    };
    return w;
}

/* Makes the transaction in the buffer: 0, or -ENOSPC, which a store with good limits never sees. */
static int encode(struct dk_store *store)
{
    struct dk_meta *m = &store->meta;
    uint64_t room = store->geometry.meta_bytes - DK_BLOCK;
    bool whole = m->checkpoint || m->at + DK_BLOCK > room;
    struct writer w = {0};
    if (!whole) {
        w = begin(m, DK_META_RECORD, DK_BLOCK);
        put_marked(&w, store);
        whole = w.full;
    }
    if (whole) {
        w = begin(m, DK_META_CHECKPOINT, room);
        put_all(&w, store);
    }
    if (w.full)
        return -ENOSPC;
    dk_meta_seal(w.head, store->geometry.uuid);
    m->bytes = (uint32_t)dk_round_up(w.head->bytes, DK_BLOCK);
    memset(m->buffer + w.head->bytes, 0, m->bytes - w.head->bytes);
    return 0;
}

static void fail(struct dk_meta *m, int error)
{
    m->step = DK_META_IDLE;
    m->failed = m->writing;
    m->error = error;
    m->checkpoint = true;
}

static void written(struct dk_xfer *x, int result);

static void write_copies(struct dk_store *store, uint32_t region, uint64_t at,
                         const struct dk_blk_seg *seg)
{
    struct dk_meta *m = &store->meta;
    m->copies = 2;
    m->result = 0;
    for (uint32_t copy = 0; copy < 2; copy++) {
        struct dk_xfer *x = &m->xfers[copy];
        x->op = DK_BLK_WRITE;
        x->flags = DK_BLK_FUA;
        x->offset = dk_region_offset(&store->geometry, region, copy) + at;
        x->bytes = seg->len;
        x->segs = seg;
        x->num_segs = 1;
        x->done = written;
        x->arg = store;
        dk_xfer_start(&store->xfers, x);
    }
}

static void write_transaction(struct dk_store *store)
{
    struct dk_meta *m = &store->meta;
    m->writing = m->number;
    int ret = encode(store);
    m->number++;
    unmark(store);
    if (ret != 0) {
        fail(m, ret);
        return;
    }
    const struct dk_meta_head *head = (const void *)m->buffer;
    m->step = DK_META_WRITING;
    m->seg = (struct dk_blk_seg){m->buffer, m->bytes};
    write_copies(store, head->region, head->offset, &m->seg);
}

/* Tells in the region that was left which generation came after it. */
static void write_marker(struct dk_store *store)
{
    struct dk_meta *m = &store->meta;
    uint64_t at = store->geometry.meta_bytes - DK_BLOCK;
    struct dk_meta_head head = {
        .bytes = sizeof(head),
        .kind = DK_META_MARKER,
        .generation = m->generation,
        .region = (uint16_t)(m->region ^ 1),
        .offset = (uint32_t)at,
        .number = m->writing,
    };
    dk_meta_seal(&head, store->geometry.uuid);
    memset(m->marker, 0, DK_BLOCK);
    memcpy(m->marker, &head, sizeof(head));
    m->step = DK_META_MARKING;
    m->marker_seg = (struct dk_blk_seg){m->marker, DK_BLOCK};
    write_copies(store, head.region, at, &m->marker_seg);
}

static void step_done(struct dk_store *store)
{
    struct dk_meta *m = &store->meta;
    const struct dk_meta_head *head = (const void *)m->buffer;
    if (m->result != 0) {
        fail(m, m->result);
        return;
    }
    if (m->step == DK_META_WRITING) {
        m->at = head->offset + m->bytes;
        if (head->kind == DK_META_CHECKPOINT) {
            m->region = head->region;
            m->generation = head->generation;
            m->checkpoint = false;
            write_marker(store);
            return;
        }
    }
    m->step = DK_META_IDLE;
    m->durable = m->writing;
}

static void written(struct dk_xfer *x, int result)
{
    struct dk_store *store = x->arg;
    if (result != 0)
        store->meta.result = result;
    if (--store->meta.copies == 0)
        step_done(store);
}

static void flushed(struct dk_xfer *x, int result)
{
    struct dk_store *store = x->arg;
    struct dk_meta *m = &store->meta;
    if (result != 0) {
        m->flush_first = true;
        m->writing = m->number++;
        unmark(store);
        fail(m, result);
        return;
    }
    m->step = DK_META_IDLE;
    if (!m->flush_first)
        write_transaction(store);
}

void dk_meta_pump(struct dk_store *store)
{
    struct dk_meta *m = &store->meta;
    if (m->step != DK_META_IDLE || !m->wanted)
        return;
    if (!m->flush_first) {
        write_transaction(store);
        return;
    }
    struct dk_xfer *x = &m->xfers[0];
    m->flush_first = false;
    m->step = DK_META_FLUSHING;
    x->op = DK_BLK_FLUSH;
    x->flags = 0;
    x->num_segs = 0;
    x->offset = x->bytes = 0;
    x->done = flushed;
    x->arg = store;
    dk_xfer_start(&store->xfers, x);
}

int dk_meta_wait(struct dk_store *store, uint64_t number)
{
    int ret;
    while ((ret = dk_meta_state(store, number)) == -EINPROGRESS)
        dk_store_wait(store);
    return ret;
}
