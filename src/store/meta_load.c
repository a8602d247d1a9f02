/* SPDX-License-Identifier: MIT */
/*
 * Reading metadata (meta.h): the present region, its checkpoint, and the transactions behind it.
 * Nothing that is read is trusted: see format.h for what the rules are about.
 */
#include "store/meta.h"

#include "mem/heap.h"
#include "store/log.h"
#include "store/state.h"

#include <errno.h>
#include <string.h>

#define CHUNK (64u << 10)

struct loader {
    struct dk_store *store;
    struct dk_meta_head best; /* of the present checkpoint */
    bool found;
    uint32_t copy;      /* of it */
    uint64_t marked;    /* the highest generation that a marker tells of */
    uint8_t *chunks[2]; /* of either copy */
    uint64_t chunk_at;  /* in the region; both are of the same place */
    uint64_t chunk_len;
    uint32_t unread[2]; /* of either copy, bit i: block i of the chunk could not be read */
    const char *why;
};

static int load(struct loader *l, uint64_t offset, uint8_t *to, uint64_t len)
{
    return dk_store_read_sync(l->store, offset, to, (uint32_t)len);
}

/* Reads the checkpoint of one copy of a region into the buffer: 1 when it is good. */
static int load_checkpoint(struct loader *l, uint32_t region, uint32_t copy)
{
    struct dk_store *store = l->store;
    uint8_t *buffer = store->meta.buffer;
    uint64_t at = dk_region_offset(&store->geometry, region, copy);
    uint64_t room = store->geometry.meta_bytes - DK_BLOCK;
    int ret = load(l, at, buffer, DK_BLOCK);
    if (ret != 0)
        return ret == -EIO ? 0 : ret;
    const struct dk_meta_head *head = (const void *)buffer;
    if (!dk_meta_head_plausible(buffer, store->geometry.uuid, region, 0) || head->bytes > room)
        return 0;
    uint64_t whole = dk_round_up(head->bytes, DK_BLOCK);
    if (whole > DK_BLOCK) {
        ret = load(l, at + DK_BLOCK, buffer + DK_BLOCK, whole - DK_BLOCK);
        if (ret != 0)
            return ret == -EIO ? 0 : ret;
    }
    return dk_meta_valid(buffer, whole, store->geometry.uuid, region, 0) &&
           head->kind == DK_META_CHECKPOINT;
}

/* The highest generation that the marker of a region's copy tells of. */
static int load_marker(struct loader *l, uint32_t region, uint32_t copy)
{
    struct dk_store *store = l->store;
    uint64_t last = store->geometry.meta_bytes - DK_BLOCK;
    uint8_t *block = store->meta.marker;
    int ret = load(l, dk_region_offset(&store->geometry, region, copy) + last, block, DK_BLOCK);
    if (ret != 0)
        return ret == -EIO ? 0 : ret;
    struct dk_meta_head head;
    memcpy(&head, block, sizeof(head));
    if (dk_meta_valid(block, DK_BLOCK, store->geometry.uuid, region, last) &&
        head.kind == DK_META_MARKER && head.generation > l->marked)
        l->marked = head.generation;
    return 0;
}

static int choose(struct loader *l)
{
    for (uint32_t i = 0; i < 4; i++) {
        int ret = load_checkpoint(l, i / 2, i % 2);
        if (ret < 0)
            return ret;
        const struct dk_meta_head *head = (const void *)l->store->meta.buffer;
        if (ret == 1 && (!l->found || head->generation > l->best.generation)) {
            l->best = *head;
            l->copy = i % 2;
            l->found = true;
        }
        ret = load_marker(l, i / 2, i % 2);
        if (ret < 0)
            return ret;
    }
    if (l->found && l->marked <= l->best.generation)
        return 0;
    l->why = l->found ? "the present metadata is damaged, only an older state is left"
                      : "both copies of the metadata are damaged";
    return -EUCLEAN;
}

static int apply_store(struct dk_store *store, const struct dk_entry_store *e)
{
    if (e->num_segments > store->geometry.max_segments || e->touched > e->num_segments)
        return -EUCLEAN;
    store->epoch = e->epoch;
    store->next_log = e->next_log;
    store->num_segments = e->num_segments;
    store->touched = e->touched;
    return 0;
}

static int apply_log(struct dk_store *store, const struct dk_entry_log *e)
{
    struct dk_log *log = dk_log_by_id(store, e->id);
    if (e->id == 0 || memchr(e->name, '\0', e->entry.index) || memchr(e->name, '/', e->entry.index))
        return -EUCLEAN;
    if (!log) {
        if (store->num_logs >= store->geometry.max_logs)
            return -EUCLEAN;
        log = dk_log_new(store, e->id);
        if (!log)
            return -ENOMEM;
    }
    memcpy(log->name, e->name, e->entry.index);
    log->name[e->entry.index] = '\0';
    log->first = e->first;
    log->base = e->base;
    log->next_ordinal = e->next_ordinal;
    log->unlinked = e->flags & DK_ENTRY_LOG_UNLINKED;
    log->clean = e->flags & DK_ENTRY_LOG_CLEAN;
    log->damaged = e->flags & DK_ENTRY_LOG_DAMAGED;
    log->known_end = e->flags & DK_ENTRY_LOG_DURABLE ? e->end : 0;
    log->acked = e->end;
    log->offset = e->offset;
    log->clean_ordinal = e->ordinal;
    log->number = e->number;
    log->epoch = e->epoch;
    log->chain = (uint32_t)e->chain;
    return 0;
}

static int apply_gone(struct dk_store *store, const struct dk_entry_log_gone *e)
{
    struct dk_log *log = dk_log_by_id(store, e->id);
    if (!log)
        return -EUCLEAN;
    dk_log_free(log);
    return 0;
}

static int apply_segment(struct dk_store *store, const struct dk_entry_segment *e)
{
    if (e->entry.index >= store->geometry.max_segments)
        return -EUCLEAN;
    struct dk_segment *s = &store->segments[e->entry.index];
    *s = (struct dk_segment){
        .log = e->log,
        .ordinal = e->ordinal,
        .first = e->first,
        .end = e->end,
        .cut = e->log != 0 && e->end != DK_UNKNOWN,
        .told = e->log != 0 && e->end != DK_UNKNOWN,
        .state = e->log != 0 ? DK_SEGMENT_OWNED : DK_SEGMENT_FREE,
    };
    return 0;
}

static int apply(const struct dk_entry *e, void *arg)
{
    struct dk_store *store = arg;
    switch (e->type) {
    case DK_ENTRY_STORE:
        return apply_store(store, (const void *)e);
    case DK_ENTRY_LOG:
        return apply_log(store, (const void *)e);
    case DK_ENTRY_LOG_GONE:
        return apply_gone(store, (const void *)e);
    default:
        return apply_segment(store, (const void *)e);
    }
}

/* Reads a chunk block by block, since it could not be read at once. */
static int load_singly(struct loader *l, uint64_t from, uint32_t copy)
{
    for (uint32_t i = 0; i * DK_BLOCK < l->chunk_len; i++) {
        uint8_t *block = l->chunks[copy] + (uint64_t)i * DK_BLOCK;
        int ret = load(l, from + (uint64_t)i * DK_BLOCK, block, DK_BLOCK);
        if (ret == 0)
            continue;
        if (ret != -EIO)
            return ret;
        memset(block, 0, DK_BLOCK);
        l->unread[copy] |= 1u << i;
    }
    return 0;
}

/* Makes the chunks hold the block at a place of the region. */
static int load_chunks(struct loader *l, uint64_t at)
{
    const struct dk_geometry *g = &l->store->geometry;
    uint64_t end = g->meta_bytes - DK_BLOCK;
    if (l->chunk_len > 0 && at >= l->chunk_at && at < l->chunk_at + l->chunk_len)
        return 0;
    l->chunk_at = at;
    l->chunk_len = end - at < CHUNK ? end - at : CHUNK;
    for (uint32_t copy = 0; copy < 2; copy++) {
        uint64_t from = dk_region_offset(g, l->best.region, copy) + at;
        int ret = load(l, from, l->chunks[copy], l->chunk_len);
        l->unread[copy] = 0;
        if (ret == -EIO)
            ret = load_singly(l, from, copy);
        if (ret != 0)
            return ret;
    }
    return 0;
}

/* The transaction of the present generation at a place, of either copy. NULL: none. */
static const struct dk_meta_head *record_at(struct loader *l, uint64_t at)
{
    for (uint32_t copy = 0; copy < 2; copy++) {
        const uint8_t *block = l->chunks[copy] + (at - l->chunk_at);
        const struct dk_meta_head *head = (const void *)block;
        if (dk_meta_valid(block, DK_BLOCK, l->store->geometry.uuid, l->best.region, at) &&
            head->kind == DK_META_RECORD && head->generation == l->best.generation)
            return head;
    }
    return NULL;
}

/* Whether neither copy of a block could be read: it may be a transaction that counted. */
static bool is_unread(const struct loader *l, uint64_t at)
{
    uint32_t block = (uint32_t)((at - l->chunk_at) / DK_BLOCK);
    return (l->unread[0] & l->unread[1]) >> block & 1;
}

/* Applies what is behind the checkpoint; *at is where it ends. */
static int replay(struct loader *l, uint64_t *at, uint64_t *number)
{
    uint64_t end = l->store->geometry.meta_bytes - DK_BLOCK;
    bool missing = false;
    for (uint64_t place = *at; place < end; place += DK_BLOCK) {
        int ret = load_chunks(l, place);
        if (ret != 0)
            return ret;
        const struct dk_meta_head *head = record_at(l, place);
        if (!head && is_unread(l, place))
            return -EIO;
        if (!head && missing)
            return 0;
        if (head && (missing || head->number != *number)) {
            l->why = "a transaction in the middle of the metadata is damaged";
            return -EUCLEAN;
        }
        missing = !head;
        if (missing)
            continue;
        ret = dk_meta_entries(head, apply, l->store);
        if (ret != 0)
            return ret;
        (*number)++;
        *at = place + DK_BLOCK;
    }
    return 0;
}

static int load_all(struct loader *l)
{
    struct dk_store *store = l->store;
    struct dk_meta *m = &store->meta;
    int ret = choose(l);
    if (ret != 0)
        return ret;
    ret = load_checkpoint(l, l->best.region, l->copy);
    if (ret != 1)
        return ret < 0 ? ret : -EIO;
    ret = dk_meta_entries((const void *)m->buffer, apply, store);
    if (ret != 0)
        return ret;
    m->region = l->best.region;
    m->generation = l->best.generation;
    m->at = dk_round_up(l->best.bytes, DK_BLOCK);
    m->number = l->best.number + 1;
    ret = replay(l, &m->at, &m->number);
    m->durable = m->number - 1;
    return ret;
}

int dk_meta_load(struct dk_store *store, const char **why_out)
{
    struct loader l = {.store = store, .why = "the metadata says what cannot be"};
    int ret = -ENOMEM;
    for (uint32_t copy = 0; copy < 2; copy++)
        l.chunks[copy] = dk_heap_aligned(DK_BLOCK, CHUNK);
    if (l.chunks[0] && l.chunks[1])
        ret = load_all(&l);
    for (uint32_t copy = 0; copy < 2; copy++)
        if (l.chunks[copy])
            dk_heap_free(l.chunks[copy]);
    if (ret == -EUCLEAN)
        *why_out = l.why;
    return ret;
}
