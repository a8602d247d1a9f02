/* SPDX-License-Identifier: MIT */
/*
 * Writing the log of changes (journal.h).
 *
 * A group is written into chunks of memory of the library, each of which becomes one record.
 */
#include "journal.h"

#include <demi/libos.h>
#include <demi/sga.h>
#include <demi/storage.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A record fits in the smallest segment that a device may have. */
#define CHUNK_BYTES (32u << 10)

/* A group goes, though more is ready, when it has this much: then it is its bytes that take time;
 * and after so many turns of the server, each of which runs what was ready. */
#define OFFER_BYTES (128u << 10)
#define OFFER_TURNS 8

/* The walk adds this much at a time, while no more than that is waiting. */
#define WALK_BYTES (64u << 10)

struct kv_journal_chunk {
    struct kv_journal_chunk *next;
    demi_sgarray_t sga;
    uint32_t used; /* with its head */
};

static char *bytes_of(const struct kv_journal_chunk *chunk)
{
    return chunk->sga.sga_segs[0].sgaseg_buf;
}

static void fail(struct kv_journal *j, int error)
{
    if (j->error == 0)
        j->error = error;
}

static struct kv_journal_chunk *add_chunk(struct kv_journal *j)
{
    struct kv_journal_chunk *chunk = malloc(sizeof(*chunk));

    if (chunk)
        chunk->sga = demi_sgaalloc(CHUNK_BYTES);
    if (!chunk || chunk->sga.sga_numsegs == 0) {
        free(chunk);
        fail(j, ENOMEM);
        return NULL;
    }
    chunk->next = NULL;
    chunk->used = sizeof(struct kv_record_head);
    if (j->last)
        j->last->next = chunk;
    else
        j->first = chunk;
    j->last = chunk;
    return chunk;
}

/* Appends bytes to the group, over as many chunks as it takes. */
static void put(struct kv_journal *j, const void *bytes, size_t len)
{
    const char *from = bytes;

    while (len > 0) {
        struct kv_journal_chunk *chunk = j->last;
        if ((!chunk || chunk->used == CHUNK_BYTES) && !(chunk = add_chunk(j)))
            return;
        size_t room = CHUNK_BYTES - chunk->used, part = len < room ? len : room;
        memcpy(bytes_of(chunk) + chunk->used, from, part);
        chunk->used += (uint32_t)part;
        j->unsent += part;
        from += part;
        len -= part;
    }
}

void kv_journal_put(struct kv_journal *j, enum kv_change what, struct kv_str key,
                    struct kv_str value, int64_t when_ms)
{
    const struct kv_change_head head = {
        .what = what, .key_len = key.len, .value_len = value.len, .when_ms = when_ms};

    put(j, &head, sizeof(head));
    put(j, key.p, key.len);
    put(j, value.p, value.len);
}

static void changed(void *arg, enum kv_change what, struct kv_str key, struct kv_str value,
                    int64_t when_ms)
{
    kv_journal_put(arg, what, key, value, when_ms);
}

/* Sends a chunk, and frees it. */
static void send_chunk(struct kv_journal *j, struct kv_journal_chunk *chunk)
{
    const struct kv_record_head head = {
        .magic = KV_JOURNAL_MAGIC, .version = KV_JOURNAL_VERSION, .is_last = chunk->next == NULL};
    demi_qtoken_t token;
    int err;

    memcpy(bytes_of(chunk), &head, sizeof(head));
    chunk->sga.sga_segs[0].sgaseg_len = chunk->used;
    err = j->error == 0 ? demi_push(&token, j->qd, &chunk->sga) : j->error;
    if (err != 0)
        fail(j, err);
    j->records++;
    j->bytes += chunk->used;
    demi_sgafree(&chunk->sga);
    free(chunk);
}

void kv_journal_flush(struct kv_journal *j)
{
    struct kv_journal_chunk *chunk = j->first;

    if (!kv_journal_may_send(j))
        return;
    j->first = j->last = NULL;
    j->unsent = 0;
    j->turns = 0;
    while (chunk) {
        struct kv_journal_chunk *next = chunk->next;
        send_chunk(j, chunk);
        chunk = next;
    }
    j->sent++;
    j->end = j->records;
}

bool kv_journal_offer(struct kv_journal *j, bool idle)
{
    if (!kv_journal_may_send(j))
        return false;
    if (!idle && j->unsent < OFFER_BYTES && ++j->turns < OFFER_TURNS)
        return false;
    kv_journal_flush(j);
    return true;
}

void kv_journal_pushed(struct kv_journal *j, int error)
{
    if (error != 0)
        fail(j, error);
    if (j->error != 0)
        return; /* one behind a gap does not count: it would for the one that failed */
    j->records_acked++;
    if (j->records_acked == j->end)
        j->acked = j->sent;
}

/* ---- rewriting ---------------------------------------------------------------------------- */

void kv_journal_rewrite(struct kv_journal *j)
{
    if (j->qd < 0 || j->rewrite != KV_REWRITE_NONE)
        return;
    j->rewrite = KV_REWRITE_WALKS;
    j->cursor = 0;
    j->from = UINT64_MAX; /* set when nothing of an older group is unsent */
}

struct walk {
    struct kv_journal *journal;
    struct kv_db *db;
};

static void write_entry(struct kv_entry *e, void *arg)
{
    const struct walk *w = arg;

    if (kv_db_is_due(w->db, e))
        return;
    kv_journal_put(w->journal, KV_CHANGE_SET, (struct kv_str){kv_entry_key(e), e->key_len},
                   (struct kv_str){kv_entry_value(e), e->value_len},
                   kv_entry_expires(e) ? kv_entry_ttl(e)->when_ms : KV_EXPIRE_NEVER);
}

/* Whether the walk can go on now. */
static bool may_walk(struct kv_journal *j)
{
    if (j->from == UINT64_MAX && !j->first) {
        j->from = j->records;
        j->from_bytes = j->bytes;
    }
    return j->from != UINT64_MAX && j->unsent < WALK_BYTES;
}

static bool walk(struct kv_journal *j, struct kv_db *db)
{
    struct walk w = {j, db};

    if (!may_walk(j))
        return false;
    do {
        j->cursor = kv_dict_scan(&db->dict, j->cursor, write_entry, &w);
    } while (j->cursor != 0 && j->unsent < WALK_BYTES);
    if (j->cursor == 0) {
        j->rewrite = KV_REWRITE_WAITS;
        j->until = kv_journal_group(j);
    }
    return j->cursor != 0;
}

/* What was written before the walk is not needed any more, once that is acknowledged. */
static void drop_old(struct kv_journal *j)
{
    int err;

    if (!kv_journal_is_acked(j, j->until))
        return;
    if ((err = demi_trim(j->qd, (int64_t)j->from)) != 0)
        fail(j, err);
    j->bytes -= j->from_bytes;
    j->rewrite = KV_REWRITE_NONE;
    j->rewrites++;
}

bool kv_journal_step(struct kv_journal *j, struct kv_db *db, uint64_t min_bytes)
{
    if (j->qd < 0 || j->error != 0)
        return false;
    if (j->rewrite == KV_REWRITE_NONE && j->bytes > min_bytes && j->bytes / 2 > db->entry_bytes)
        kv_journal_rewrite(j);
    if (j->rewrite == KV_REWRITE_WALKS)
        return walk(j, db);
    if (j->rewrite == KV_REWRITE_WAITS)
        drop_old(j);
    return false;
}

/* ---- opening and closing ------------------------------------------------------------------ */

int kv_journal_open(struct kv_journal *j, const char *path, struct kv_db *db, const char **what_out)
{
    int err;

    *what_out = "log";
    if ((err = demi_open(&j->qd, path, O_RDWR | O_CREAT)) != 0)
        return err;
    if ((err = kv_journal_replay(j, db, what_out)) != 0)
        return err;
    j->records_acked = j->records;
    db->changed = changed;
    db->changed_arg = j;
    return 0;
}

void kv_journal_close(struct kv_journal *j)
{
    while (j->first) {
        struct kv_journal_chunk *chunk = j->first;
        j->first = chunk->next;
        demi_sgafree(&chunk->sga);
        free(chunk);
    }
    if (j->qd >= 0)
        demi_close(j->qd);
    j->qd = -1;
}
