/* SPDX-License-Identifier: MIT */
/*
 * The order in which entries expire: a heap with four children per node, the earliest on top.
 *
 * Invariant: items[i].when_ms >= items[(i - 1) / 4].when_ms, and the entry of items[i] has
 * ttl.slot == i and the same when_ms. The times stand in the heap too, so that putting an entry in
 * its place touches no other entries than those that move.
 */
#ifndef KV_EXPIRE_H
#define KV_EXPIRE_H

#include "entry.h"

struct kv_expiry_item {
    int64_t when_ms;
    struct kv_entry *entry;
};

struct kv_expiry {
    struct kv_expiry_item *items;
    uint32_t count;
    uint32_t cap;
};

/* Makes an entry (has_ttl) expire at a time, earlier or later than it did. false without memory. */
bool kv_expiry_set(struct kv_expiry *x, struct kv_entry *e, int64_t when_ms);

/* Makes an entry not expire; does nothing when it does not. */
void kv_expiry_clear(struct kv_expiry *x, struct kv_entry *e);

/* `to` is a copy of an entry that is about to be freed: it takes its place. */
void kv_expiry_moved(struct kv_expiry *x, struct kv_entry *to);

/* The entry that expires first; NULL when none does. */
static inline struct kv_entry *kv_expiry_first(const struct kv_expiry *x)
{
    return x->count > 0 ? x->items[0].entry : NULL;
}

/* When that is; INT64_MAX when none does. */
static inline int64_t kv_expiry_next_ms(const struct kv_expiry *x)
{
    return x->count > 0 ? x->items[0].when_ms : INT64_MAX;
}

/* Frees the heap, not the entries. */
void kv_expiry_fini(struct kv_expiry *x);

#endif /* KV_EXPIRE_H */
