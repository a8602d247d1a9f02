/* SPDX-License-Identifier: MIT */
/*
 * The keyspace (db.h).
 */
#include "db.h"

#include <stdlib.h>
#include <string.h>

/* Background work per step: buckets freed, buckets moved. */
#define DRAIN_BUCKETS 256
#define MOVE_BUCKETS  128

/* APPEND makes room for as much again, at most this much more. */
#define APPEND_SPARE (1024 * 1024)

struct kv_graveyard {
    struct kv_dict dict;
    struct kv_graveyard *next;
};

/* Where a search ended. */
struct found {
    struct kv_place at;
    struct kv_entry *entry; /* NULL: not there */
    uint64_t hash;
};

void kv_db_init(struct kv_db *db, const uint64_t seed[2])
{
    memset(db, 0, sizeof(*db));
    kv_dict_init(&db->dict, seed);
}

static const struct kv_str nothing = {"", 0};

static void tell(const struct kv_db *db, enum kv_change what, struct kv_str key,
                 struct kv_str value, int64_t when_ms)
{
    if (db->changed)
        db->changed(db->changed_arg, what, key, value, when_ms);
}

/* Frees an entry that is in neither table nor heap any more. */
static void forget(struct kv_db *db, struct kv_entry *e)
{
    db->entry_bytes -= kv_entry_cost(e);
    kv_entry_free(e);
}

static void remove_at(struct kv_db *db, const struct found *f)
{
    kv_expiry_clear(&db->expiry, f->entry);
    kv_dict_remove(&db->dict, f->at);
    forget(db, f->entry);
}

/* Finds a key, removing it when it is due. */
static struct found search(struct kv_db *db, struct kv_str key)
{
    struct found f = {.hash = kv_dict_hash(&db->dict, key)};

    if (!kv_dict_find(&db->dict, key, f.hash, &f.at))
        return f;
    f.entry = kv_place_entry(f.at);
    if (__builtin_expect(kv_db_is_due(db, f.entry), 0)) {
        remove_at(db, &f);
        db->expired++;
        f.entry = NULL;
    }
    return f;
}

struct kv_entry *kv_db_find(struct kv_db *db, struct kv_str key)
{
    return search(db, key).entry;
}

struct kv_entry *kv_db_read(struct kv_db *db, struct kv_str key)
{
    struct kv_entry *e = search(db, key).entry;

    if (e)
        db->hits++;
    else
        db->misses++;
    return e;
}

/* Makes a blob of a large value as db.h says. */
static bool blob_from(const struct kv_value *value, struct kv_blob *out)
{
    struct kv_str bytes = value->bytes;

    if (value->sga && bytes.len >= value->received / 2 &&
        kv_blob_share(out, value->sga, (char *)(uintptr_t)bytes.p, bytes.len))
        return true;
    if (!kv_blob_create(out, bytes.len))
        return false;
    memcpy(out->data, bytes.p, bytes.len);
    return true;
}

static struct kv_entry *make_entry(struct kv_str key, const struct kv_value *value, bool has_ttl)
{
    struct kv_blob blob;
    struct kv_entry *e;

    if (value->bytes.len < KV_BLOB_MIN) {
        e = kv_entry_create(key, has_ttl, value->bytes.len);
        if (e)
            memcpy(kv_entry_value(e), value->bytes.p, value->bytes.len);
        return e;
    }
    if (!blob_from(value, &blob))
        return NULL;
    e = kv_entry_create_blob(key, has_ttl, &blob);
    if (!e)
        kv_blob_free(&blob);
    return e;
}

/* The expiry that e has, or KV_EXPIRE_NEVER. */
static int64_t expiry_of(struct kv_entry *e)
{
    return e && kv_entry_expires(e) ? kv_entry_ttl(e)->when_ms : KV_EXPIRE_NEVER;
}

/* Sets or clears the expiry of an entry in the table; it has room when it must. */
static bool set_expiry(struct kv_db *db, struct kv_entry *e, int64_t when_ms)
{
    if (when_ms != KV_EXPIRE_NEVER)
        return kv_expiry_set(&db->expiry, e, when_ms);
    kv_expiry_clear(&db->expiry, e);
    return true;
}

/*
 * Puts a new entry in the place of the one that was found, or of none. The heap comes first: it is
 * the one step that can fail for an entry that exists.
 */
static bool install(struct kv_db *db, const struct found *f, struct kv_entry *e, int64_t when_ms)
{
    if (!set_expiry(db, e, when_ms))
        return false;
    if (f->entry) {
        kv_expiry_clear(&db->expiry, f->entry);
        kv_place_set(f->at, e);
        forget(db, f->entry);
    } else if (!kv_dict_insert(&db->dict, e, f->hash)) {
        kv_expiry_clear(&db->expiry, e);
        return false;
    }
    db->entry_bytes += kv_entry_cost(e);
    return true;
}

static bool set_in_place(struct kv_db *db, struct kv_entry *e, struct kv_str bytes, int64_t when_ms)
{
    bool has_room = e->has_ttl || when_ms == KV_EXPIRE_NEVER;

    if (bytes.len >= KV_BLOB_MIN || !has_room || !kv_entry_fits(e, bytes.len) ||
        !set_expiry(db, e, when_ms))
        return false;
    memcpy(kv_entry_value(e), bytes.p, bytes.len);
    e->value_len = bytes.len;
    return true;
}

/* Stores a value where a key was found, or not. */
static bool set_found(struct kv_db *db, const struct found *f, struct kv_str key,
                      const struct kv_value *value, int64_t when_ms)
{
    struct kv_entry *e;

    if (f->entry && set_in_place(db, f->entry, value->bytes, when_ms))
        return true;
    e = make_entry(key, value, when_ms != KV_EXPIRE_NEVER);
    if (!e)
        return false;
    if (install(db, f, e, when_ms))
        return true;
    kv_entry_free(e);
    return false;
}

bool kv_db_set(struct kv_db *db, struct kv_str key, const struct kv_value *value, int64_t when_ms)
{
    struct found f = search(db, key);

    if (when_ms == KV_EXPIRE_KEEP)
        when_ms = expiry_of(f.entry);
    if (!set_found(db, &f, key, value, when_ms))
        return false;
    tell(db, KV_CHANGE_SET, key, value->bytes, when_ms);
    return true;
}

bool kv_db_overwrite(struct kv_db *db, struct kv_entry *e, struct kv_str bytes)
{
    int64_t when_ms = expiry_of(e);

    if (!set_in_place(db, e, bytes, when_ms))
        return false;
    tell(db, KV_CHANGE_SET, (struct kv_str){kv_entry_key(e), e->key_len}, bytes, when_ms);
    return true;
}

/* Replaces an entry by one with room for an expiry, with the same value. */
static struct kv_entry *make_ttl_room(struct kv_db *db, const struct found *f)
{
    struct kv_entry *old = f->entry, *e;
    struct kv_str key = {kv_entry_key(old), old->key_len};

    if (old->is_blob)
        e = kv_entry_create_blob(key, true, kv_entry_blob(old));
    else
        e = kv_entry_create(key, true, old->value_len);
    if (!e)
        return NULL;
    if (!old->is_blob)
        memcpy(kv_entry_value(e), kv_entry_value(old), old->value_len);
    db->entry_bytes += kv_entry_cost(e) - kv_entry_cost(old);
    kv_place_set(f->at, e);
    kv_entry_free_shell(old);
    return e;
}

bool kv_db_expire_at(struct kv_db *db, struct kv_str key, int64_t when_ms)
{
    struct found f = search(db, key);

    if (!f.entry)
        return true;
    if (when_ms != KV_EXPIRE_NEVER && !f.entry->has_ttl)
        f.entry = make_ttl_room(db, &f);
    if (!f.entry || !set_expiry(db, f.entry, when_ms))
        return false;
    tell(db, KV_CHANGE_EXPIRE, key, nothing, when_ms);
    return true;
}

/* Appends within a growable blob that has room. */
static bool append_in_place(struct kv_entry *e, struct kv_str tail)
{
    struct kv_blob *blob = e->is_blob ? kv_entry_blob(e) : NULL;

    if (!blob || blob->cap < blob->len + tail.len)
        return false;
    memcpy(blob->data + blob->len, tail.p, tail.len);
    blob->len += tail.len;
    e->value_len = blob->len;
    return true;
}

/* Makes the entry that holds the old value and the tail, with room for more when it is large. */
static struct kv_entry *make_appended(struct kv_entry *old, struct kv_str tail, bool has_ttl)
{
    struct kv_str key = {kv_entry_key(old), old->key_len};
    uint32_t len = old->value_len + tail.len, spare = len < APPEND_SPARE ? len : APPEND_SPARE;
    struct kv_blob blob;
    struct kv_entry *e;

    if (len < KV_BLOB_MIN) {
        e = kv_entry_create(key, has_ttl, len);
        if (!e)
            return NULL;
        memcpy(kv_entry_value(e), kv_entry_value(old), old->value_len);
        memcpy(kv_entry_value(e) + old->value_len, tail.p, tail.len);
        return e;
    }
    if (!kv_blob_create_growable(&blob, kv_entry_value(old), old->value_len, len + spare))
        return NULL;
    memcpy(blob.data + blob.len, tail.p, tail.len);
    blob.len = len;
    e = kv_entry_create_blob(key, has_ttl, &blob);
    if (!e)
        kv_blob_free(&blob);
    return e;
}

/* Appends to the entry that was found; the new length, or -1 without memory. */
static int64_t append_found(struct kv_db *db, const struct found *f, struct kv_str tail)
{
    struct kv_entry *e;
    int64_t when_ms;

    if (append_in_place(f->entry, tail))
        return f->entry->value_len;
    when_ms = expiry_of(f->entry);
    e = make_appended(f->entry, tail, when_ms != KV_EXPIRE_NEVER);
    if (!e)
        return -1;
    if (install(db, f, e, when_ms))
        return e->value_len;
    kv_entry_free(e);
    return -1;
}

int64_t kv_db_append(struct kv_db *db, struct kv_str key, struct kv_str tail)
{
    struct found f = search(db, key);
    struct kv_value first = {.bytes = tail};
    int64_t len;

    if (!f.entry)
        return kv_db_set(db, key, &first, KV_EXPIRE_NEVER) ? (int64_t)tail.len : -1;
    len = append_found(db, &f, tail);
    if (len >= 0)
        tell(db, KV_CHANGE_APPEND, key, tail, 0);
    return len;
}

bool kv_db_delete(struct kv_db *db, struct kv_str key)
{
    struct found f = search(db, key);

    if (!f.entry)
        return false;
    remove_at(db, &f);
    tell(db, KV_CHANGE_DELETE, key, nothing, 0);
    return true;
}

void kv_db_flush(struct kv_db *db)
{
    struct kv_graveyard *grave = malloc(sizeof(*grave));
    struct kv_dict dict = db->dict;

    tell(db, KV_CHANGE_FLUSH, nothing, nothing, 0);
    kv_expiry_fini(&db->expiry);
    kv_dict_init(&db->dict, dict.key);
    db->entry_bytes = 0;
    if (grave) {
        grave->dict = dict;
        grave->next = db->dead;
        db->dead = grave;
        return;
    }
    while (kv_dict_drain(&dict, DRAIN_BUCKETS, kv_entry_free)) {
    }
}

bool kv_db_expire(struct kv_db *db, unsigned n)
{
    while (kv_expiry_next_ms(&db->expiry) <= db->now_ms) {
        struct kv_entry *e = kv_expiry_first(&db->expiry);
        if (n-- == 0)
            return true;
        search(db, (struct kv_str){kv_entry_key(e), e->key_len});
    }
    return false;
}

bool kv_db_step(struct kv_db *db)
{
    struct kv_graveyard *grave = db->dead;

    if (!grave)
        return kv_dict_step(&db->dict, MOVE_BUCKETS);
    if (!kv_dict_drain(&grave->dict, DRAIN_BUCKETS, kv_entry_free)) {
        db->dead = grave->next;
        free(grave);
    }
    return true;
}

uint64_t kv_db_bytes(const struct kv_db *db)
{
    return db->entry_bytes + kv_dict_bytes(&db->dict) + db->expiry.cap * sizeof(*db->expiry.items);
}
