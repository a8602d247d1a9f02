/* SPDX-License-Identifier: MIT */
/*
 * Slabs: the first 64 bytes link them, objects follow.
 */
#include "net/tcp/pool.h"

#include "mem/heap.h"

#include <errno.h>
#include <stddef.h>

#define SLAB_BYTES  (64u << 10) /* a slice of the heap, with nothing left over */
#define SLAB_HEADER 64u

void dk_tcp_pool_init(struct dk_tcp_pool *pool, uint32_t object_bytes, uint32_t max)
{
    *pool = (struct dk_tcp_pool){.object_bytes = (object_bytes + 15) & ~15u, .max = max};
}

void dk_tcp_pool_fini(struct dk_tcp_pool *pool)
{
    while (pool->slabs) {
        struct dk_tcp_unused *slab = pool->slabs;
        pool->slabs = slab->next;
        dk_heap_free(slab);
    }
    *pool = (struct dk_tcp_pool){.object_bytes = pool->object_bytes};
}

static int grow(struct dk_tcp_pool *pool)
{
    uint32_t n = (SLAB_BYTES - SLAB_HEADER) / pool->object_bytes;
    if (n > pool->max - pool->made)
        n = pool->max - pool->made;
    uint8_t *slab = n ? dk_heap_aligned(64, SLAB_HEADER + (size_t)n * pool->object_bytes) : NULL;
    if (!slab)
        return -ENOMEM;
    struct dk_tcp_unused *head = (void *)slab;
    head->next = pool->slabs;
    for (uint32_t i = n; i-- > 0;) {
        struct dk_tcp_unused *object = (void *)(slab + SLAB_HEADER + i * pool->object_bytes);
        object->next = pool->unused;
        pool->unused = object;
    }
    pool->made += n;
    pool->slabs = head;
    return 0;
}

void dk_tcp_pool_walk(const struct dk_tcp_pool *pool, void (*fn)(void *object, void *arg),
                      void *arg)
{
    const uint32_t each = (SLAB_BYTES - SLAB_HEADER) / pool->object_bytes;
    uint32_t n = pool->made % each ? pool->made % each : each; /* only the newest has fewer */
    for (struct dk_tcp_unused *slab = pool->slabs; slab; slab = slab->next, n = each)
        for (uint32_t i = 0; i < n; i++)
            fn((uint8_t *)slab + SLAB_HEADER + i * pool->object_bytes, arg);
}

int dk_tcp_pool_reserve(struct dk_tcp_pool *pool, uint32_t n)
{
    while (pool->made - pool->used < n) {
        int err = grow(pool);
        if (err)
            return err;
    }
    return 0;
}
