/* SPDX-License-Identifier: MIT */
/*
 * Objects of one size, from slabs that are never given back: taking one allocates nothing but when
 * a slab is used up, and never beyond the limit.
 */
#ifndef DK_NET_TCP_POOL_H
#define DK_NET_TCP_POOL_H

#include "base/compiler.h"

#include <stdint.h>

/* The first word of an object that is not used. */
struct dk_tcp_unused {
    struct dk_tcp_unused *next;
};

struct dk_tcp_pool {
    struct dk_tcp_unused *unused;
    struct dk_tcp_unused *slabs;
    uint32_t object_bytes;
    uint32_t used, made, max; /* objects: used <= made <= max */
};

void dk_tcp_pool_init(struct dk_tcp_pool *pool, uint32_t object_bytes, uint32_t max);

/* Frees all slabs, whatever is used. */
void dk_tcp_pool_fini(struct dk_tcp_pool *pool);

/* Makes objects until so many are free: 0 or -ENOMEM (without memory, or beyond the limit). */
int dk_tcp_pool_reserve(struct dk_tcp_pool *pool, uint32_t n);

/* Takes an object, of any content, where one is free. */
static inline void *dk_tcp_pool_take(struct dk_tcp_pool *pool)
{
    struct dk_tcp_unused *object = pool->unused;
    pool->unused = object->next;
    pool->used++;
    return object;
}

/* Calls fn for the place of every object, used or not and of any content, without following a list
 * of theirs. */
void dk_tcp_pool_walk(const struct dk_tcp_pool *pool, void (*fn)(void *object, void *arg),
                      void *arg);

/* Takes an object, of any content; NULL: limit or memory. */
static inline void *dk_tcp_pool_get(struct dk_tcp_pool *pool)
{
    if (dk_unlikely(!pool->unused) && dk_tcp_pool_reserve(pool, 1) != 0)
        return 0;
    return dk_tcp_pool_take(pool);
}

static inline void dk_tcp_pool_put(struct dk_tcp_pool *pool, void *p)
{
    struct dk_tcp_unused *object = p;
    object->next = pool->unused;
    pool->unused = object;
    pool->used--;
}

/* Puts n objects back, from first to last, each of which has the next in its first word. */
static inline void dk_tcp_pool_put_chain(struct dk_tcp_pool *pool, void *first, void *last,
                                         uint32_t n)
{
    struct dk_tcp_unused *end = last;
    end->next = pool->unused;
    pool->unused = first;
    pool->used -= n;
}

#endif /* DK_NET_TCP_POOL_H */
