/* SPDX-License-Identifier: MIT */
/*
 * One key with its value, in one allocation:
 *
 *     struct kv_entry | struct kv_ttl | struct kv_blob | key | value
 *                       if has_ttl      if is_blob             if not is_blob
 *
 * 8 bytes, the key and the value are the whole entry of a small value without expiry. has_ttl says
 * that there is room for an expiry, ttl.slot whether there is one. What an entry has room for never
 * changes: making room means making a new entry, and telling who points to it.
 */
#ifndef KV_ENTRY_H
#define KV_ENTRY_H

#include "blob.h"

#include <stddef.h>

/* Bytes that somebody else owns. */
struct kv_str {
    const char *p;
    uint32_t len;
};

struct kv_ttl {
    int64_t when_ms; /* wall clock */
    uint32_t slot;   /* place in the expiry heap, or KV_NO_SLOT: does not expire */
};
#define KV_NO_SLOT UINT32_MAX

struct kv_entry {
    uint32_t key_len : 30;
    uint32_t has_ttl : 1;
    uint32_t is_blob : 1;
    uint32_t value_len;
    char rest[] __attribute__((aligned(8)));
};

static inline struct kv_ttl *kv_entry_ttl(struct kv_entry *e)
{
    return (struct kv_ttl *)(void *)e->rest;
}

static inline size_t kv_entry_head_bytes(bool has_ttl, bool is_blob)
{
    return (has_ttl ? sizeof(struct kv_ttl) : 0) + (is_blob ? sizeof(struct kv_blob) : 0);
}

static inline struct kv_blob *kv_entry_blob(struct kv_entry *e)
{
    return (struct kv_blob *)(void *)(e->rest + kv_entry_head_bytes(e->has_ttl, false));
}

static inline char *kv_entry_key(const struct kv_entry *e)
{
    return (char *)e->rest + kv_entry_head_bytes(e->has_ttl, e->is_blob);
}

static inline char *kv_entry_value(struct kv_entry *e)
{
    return e->is_blob ? kv_entry_blob(e)->data : kv_entry_key(e) + e->key_len;
}

/* Whether the entry has an expiry now. */
static inline bool kv_entry_expires(struct kv_entry *e)
{
    return e->has_ttl && kv_entry_ttl(e)->slot != KV_NO_SLOT;
}

/* Makes an entry with an inline value of value_len bytes not yet filled in. NULL without memory. */
struct kv_entry *kv_entry_create(struct kv_str key, bool has_ttl, uint32_t value_len);

/* Makes an entry that takes over a blob. NULL without memory: the blob stays the caller's. */
struct kv_entry *kv_entry_create_blob(struct kv_str key, bool has_ttl, const struct kv_blob *blob);

/* Frees an entry and its blob. */
void kv_entry_free(struct kv_entry *e);

/* Frees an entry whose blob was moved elsewhere. */
void kv_entry_free_shell(struct kv_entry *e);

/* Whether an inline value of len bytes fits in place without wasting more than half. */
bool kv_entry_fits(const struct kv_entry *e, uint32_t len);

/* Bytes that the entry costs, its blob included. */
uint64_t kv_entry_cost(struct kv_entry *e);

#endif /* KV_ENTRY_H */
