/* SPDX-License-Identifier: MIT */
/*
 * One key with its value in one allocation (entry.h).
 */
#include "entry.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

/* What the allocator adds to each block. */
#define MALLOC_HEADER sizeof(size_t)

static struct kv_entry *create(struct kv_str key, bool has_ttl, bool is_blob, uint32_t value_len)
{
    size_t head = sizeof(struct kv_entry) + kv_entry_head_bytes(has_ttl, is_blob);
    struct kv_entry *e = malloc(head + key.len + (is_blob ? 0 : value_len));

    if (!e)
        return NULL;
    e->key_len = key.len & ((1u << 30) - 1);
    e->has_ttl = has_ttl;
    e->is_blob = is_blob;
    e->value_len = value_len;
    if (has_ttl)
        kv_entry_ttl(e)->slot = KV_NO_SLOT;
    memcpy(kv_entry_key(e), key.p, key.len);
    return e;
}

struct kv_entry *kv_entry_create(struct kv_str key, bool has_ttl, uint32_t value_len)
{
    return create(key, has_ttl, false, value_len);
}

struct kv_entry *kv_entry_create_blob(struct kv_str key, bool has_ttl, const struct kv_blob *blob)
{
    struct kv_entry *e = create(key, has_ttl, true, blob->len);

    if (e)
        *kv_entry_blob(e) = *blob;
    return e;
}

void kv_entry_free(struct kv_entry *e)
{
    if (e->is_blob)
        kv_blob_free(kv_entry_blob(e));
    free(e);
}

void kv_entry_free_shell(struct kv_entry *e)
{
    free(e);
}

bool kv_entry_fits(const struct kv_entry *e, uint32_t len)
{
    size_t need = (size_t)(kv_entry_key(e) + e->key_len - (const char *)e) + len;
    size_t have = malloc_usable_size((void *)(uintptr_t)e);

    return !e->is_blob && need <= have && (have <= 64 || need >= have / 2);
}

uint64_t kv_entry_cost(struct kv_entry *e)
{
    return malloc_usable_size(e) + MALLOC_HEADER +
           (e->is_blob ? kv_blob_cost(kv_entry_blob(e)) : 0);
}
