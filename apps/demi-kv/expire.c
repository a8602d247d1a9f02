/* SPDX-License-Identifier: MIT */
/*
 * The order in which entries expire (expire.h).
 */
#include "expire.h"

#include <stdlib.h>

#define CHILDREN 4

static void place(struct kv_expiry *x, uint32_t slot, struct kv_expiry_item item)
{
    x->items[slot] = item;
    kv_entry_ttl(item.entry)->slot = slot;
}

/* Puts item where it belongs, at `slot` or above it. */
static void sift_up(struct kv_expiry *x, uint32_t slot, struct kv_expiry_item item)
{
    while (slot > 0) {
        uint32_t parent = (slot - 1) / CHILDREN;
        if (x->items[parent].when_ms <= item.when_ms)
            break;
        place(x, slot, x->items[parent]);
        slot = parent;
    }
    place(x, slot, item);
}

static uint32_t earliest_child(const struct kv_expiry *x, uint32_t first)
{
    uint32_t best = first;

    for (uint32_t i = first + 1; i < first + CHILDREN && i < x->count; i++)
        if (x->items[i].when_ms < x->items[best].when_ms)
            best = i;
    return best;
}

/* Puts item where it belongs, at `slot` or below it. */
static void sift_down(struct kv_expiry *x, uint32_t slot, struct kv_expiry_item item)
{
    for (;;) {
        uint64_t first = (uint64_t)slot * CHILDREN + 1;
        uint32_t child;
        if (first >= x->count)
            break;
        child = earliest_child(x, (uint32_t)first);
        if (x->items[child].when_ms >= item.when_ms)
            break;
        place(x, slot, x->items[child]);
        slot = child;
    }
    place(x, slot, item);
}

static bool grow(struct kv_expiry *x)
{
    uint32_t cap = x->cap ? x->cap + x->cap / 2 : 64;
    struct kv_expiry_item *items;

    if (cap <= x->cap || !(items = realloc(x->items, cap * sizeof(*items))))
        return false;
    x->items = items;
    x->cap = cap;
    return true;
}

bool kv_expiry_set(struct kv_expiry *x, struct kv_entry *e, int64_t when_ms)
{
    struct kv_ttl *ttl = kv_entry_ttl(e);
    struct kv_expiry_item item = {when_ms, e};

    if (ttl->slot == KV_NO_SLOT) {
        if (x->count == x->cap && !grow(x))
            return false;
        ttl->when_ms = when_ms;
        sift_up(x, x->count++, item);
        return true;
    }
    if (when_ms < ttl->when_ms)
        sift_up(x, ttl->slot, item);
    else
        sift_down(x, ttl->slot, item);
    ttl->when_ms = when_ms;
    return true;
}

void kv_expiry_clear(struct kv_expiry *x, struct kv_entry *e)
{
    uint32_t slot;
    struct kv_expiry_item last;

    if (!kv_entry_expires(e))
        return;
    slot = kv_entry_ttl(e)->slot;
    kv_entry_ttl(e)->slot = KV_NO_SLOT;
    last = x->items[--x->count];
    if (last.entry == e)
        return;
    if (slot > 0 && last.when_ms < x->items[(slot - 1) / CHILDREN].when_ms)
        sift_up(x, slot, last);
    else
        sift_down(x, slot, last);
}

void kv_expiry_moved(struct kv_expiry *x, struct kv_entry *to)
{
    if (kv_entry_expires(to))
        x->items[kv_entry_ttl(to)->slot].entry = to;
}

void kv_expiry_fini(struct kv_expiry *x)
{
    free(x->items);
    *x = (struct kv_expiry){NULL, 0, 0};
}
