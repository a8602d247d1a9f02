/* SPDX-License-Identifier: MIT */
/*
 * The table of keys: a hash table of buckets, each one cache line of seven entries.
 *
 *     bucket:  tag[7] | chained | slot[7]
 *
 * A tag is eight bits of an entry's hash (0: the slot is empty), so that other entries of the
 * bucket are not touched by a search. When `chained`, slot[6] is the next bucket of the chain and
 * tag[6] is 0. A bucket is chosen by the low bits of the hash, the tag is made of the top bits.
 *
 * The table grows and shrinks by doubling and halving, without a pause: there are two tables while
 * it does, and every search and every insert moves one bucket. A bucket of table 0 below `moved` is
 * empty. New entries go to table 1 when there is one.
 *
 * kv_dict_scan visits every entry that is there from its first call to its last, whatever happens
 * in between; some may be visited twice. The cursor counts in the reversed bits of the bucket
 * number: what a bucket is split into, or merged with, when the table changes size, are its
 * neighbours in that order.
 */
#ifndef KV_DICT_H
#define KV_DICT_H

#include "entry.h"

#define KV_BUCKET_SLOTS 7

struct kv_bucket {
    uint8_t tag[KV_BUCKET_SLOTS];
    uint8_t chained;
    union {
        struct kv_entry *entry;
        struct kv_bucket *next;
    } slot[KV_BUCKET_SLOTS];
} __attribute__((aligned(64)));

struct kv_table {
    struct kv_bucket *buckets; /* mask + 1 of them, or NULL */
    uint64_t mask;
};

struct kv_dict {
    uint64_t key[2]; /* of the hash */
    struct kv_table table[2];
    uint64_t moved; /* buckets of table 0 that were moved to table 1 */
    uint64_t count;
    uint64_t chained_buckets;
};

/* Where an entry stands; good until the next call that is not a find. */
struct kv_place {
    struct kv_bucket *bucket;
    unsigned slot;
};

/* Makes an empty table; takes no memory until the first insert. */
void kv_dict_init(struct kv_dict *d, const uint64_t key[2]);

static inline struct kv_entry *kv_place_entry(struct kv_place at)
{
    return at.bucket->slot[at.slot].entry;
}

/* Replaces an entry by one of the same key. */
static inline void kv_place_set(struct kv_place at, struct kv_entry *e)
{
    at.bucket->slot[at.slot].entry = e;
}

uint64_t kv_dict_hash(const struct kv_dict *d, struct kv_str key);

/* Finds a key; false when it is not there. Moves one bucket if the table is changing size. */
bool kv_dict_find(struct kv_dict *d, struct kv_str key, uint64_t hash, struct kv_place *out);

/* Adds an entry whose key is not there. false without memory. */
bool kv_dict_insert(struct kv_dict *d, struct kv_entry *e, uint64_t hash);

/* Takes an entry out; the caller owns it again. */
void kv_dict_remove(struct kv_dict *d, struct kv_place at);

/* Moves up to n buckets; false when there is nothing left to move, or no memory to do it. */
bool kv_dict_step(struct kv_dict *d, unsigned n);

/* Calls fn for the entries of one place of the cursor; returns the next, 0 at the end. */
typedef void (*kv_dict_fn)(struct kv_entry *e, void *arg);
uint64_t kv_dict_scan(struct kv_dict *d, uint64_t cursor, kv_dict_fn fn, void *arg);

/*
 * Empties the table by calling free_entry for each entry, about n buckets per call; the table must
 * not be used otherwise any more. Returns whether something is left to do.
 */
bool kv_dict_drain(struct kv_dict *d, unsigned n, void (*free_entry)(struct kv_entry *e));

/* Bytes that the tables take, without the entries. */
uint64_t kv_dict_bytes(const struct kv_dict *d);

#endif /* KV_DICT_H */
