/* SPDX-License-Identifier: MIT */
/*
 * The keyspace: what keys there are, their values, and when they expire.
 *
 * Ties together the table (dict.h), the order of expiry (expire.h) and entries (entry.h): every
 * change of an entry goes through here, because table and heap both point to it. Time is given by
 * the caller in `now_ms`; an entry whose time has come is not there any more for anyone, and is
 * removed when it is met or by kv_db_expire.
 */
#ifndef KV_DB_H
#define KV_DB_H

#include "dict.h"
#include "expire.h"

struct kv_graveyard;

/* What happened to a key, as it is told to who keeps a log. */
enum kv_change {
    KV_CHANGE_SET, /* value and expiry are these */
    KV_CHANGE_APPEND,
    KV_CHANGE_EXPIRE, /* at a time, or KV_EXPIRE_NEVER */
    KV_CHANGE_DELETE,
    KV_CHANGE_FLUSH, /* all keys are gone */
    KV_CHANGES,
};

struct kv_db {
    struct kv_dict dict;
    struct kv_expiry expiry;
    struct kv_graveyard *dead; /* what FLUSHALL emptied, being freed bit by bit */
    int64_t now_ms;            /* wall clock, set once per turn of the event loop */
    uint64_t entry_bytes;      /* what all entries cost */
    uint64_t hits;
    uint64_t misses;
    uint64_t expired;
    /* Is told of every change but expiry, which happens by itself; NULL: nobody. Bytes are good for
     * the call. */
    void (*changed)(void *arg, enum kv_change what, struct kv_str key, struct kv_str value,
                    int64_t when_ms);
    void *changed_arg;
};

/*
 * A value to store. Its bytes are copied, unless it is large and fills at least half of what was
 * received: then that memory is shared.
 */
struct kv_value {
    struct kv_str bytes;
    const demi_sgarray_t *sga; /* the bytes lie in it as a bulk string; or NULL */
    uint32_t received;         /* bytes received together with them */
};

/* What becomes of the expiry of a key that is stored: a time, or one of these. */
#define KV_EXPIRE_NEVER INT64_MAX
#define KV_EXPIRE_KEEP  INT64_MIN

/* Starts an empty keyspace; the seed is the key of its hash. */
void kv_db_init(struct kv_db *db, const uint64_t seed[2]);

/* Returns the entry of a key, or NULL. Good until the next call that changes the keyspace. */
struct kv_entry *kv_db_find(struct kv_db *db, struct kv_str key);

/* As kv_db_find, and counts a hit or a miss: for commands that read. */
struct kv_entry *kv_db_read(struct kv_db *db, struct kv_str key);

/* Stores a value. false without memory: the key is as it was. */
bool kv_db_set(struct kv_db *db, struct kv_str key, const struct kv_value *value, int64_t when_ms);

/* Replaces the value of an existing entry if a small one fits in its place; whether it did. */
bool kv_db_overwrite(struct kv_db *db, struct kv_entry *e, struct kv_str bytes);

/* Appends to a value (made empty before, if need be); the new length, or -1 without memory. */
int64_t kv_db_append(struct kv_db *db, struct kv_str key, struct kv_str tail);

/* Sets or clears (KV_EXPIRE_NEVER) when an existing key expires. false without memory. */
bool kv_db_expire_at(struct kv_db *db, struct kv_str key, int64_t when_ms);

/* Removes a key; whether it was there. */
bool kv_db_delete(struct kv_db *db, struct kv_str key);

/* Empties the keyspace at once; the memory is freed by kv_db_step. */
void kv_db_flush(struct kv_db *db);

/* Removes at most n entries whose time has come; whether more are due. */
bool kv_db_expire(struct kv_db *db, unsigned n);

/* Does a bounded piece of background work; whether some is left. */
bool kv_db_step(struct kv_db *db);

/* Whether an entry's time has come. */
static inline bool kv_db_is_due(const struct kv_db *db, struct kv_entry *e)
{
    return kv_entry_expires(e) && kv_entry_ttl(e)->when_ms <= db->now_ms;
}

/* Bytes that keys, values, and the tables over them take. */
uint64_t kv_db_bytes(const struct kv_db *db);

#endif /* KV_DB_H */
