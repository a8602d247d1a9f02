/* SPDX-License-Identifier: MIT */
/*
 * Slabs and their pool (rxpool.h).
 *
 * A slab that nobody has views of is used from its start again, so that a server which frees each
 * element before it pops the next always receives into the same cache lines.
 */
#include "mem/rxpool.h"

#include "mem/heap.h"
#include "mem/stats.h"

#include <string.h>

#define PIECE_ALIGN 16u

#if defined(__SANITIZE_ADDRESS__)
/* Bytes between pieces that nobody may touch. */
#define GAP 16u
#include <sanitizer/asan_interface.h>
#define POISON(p, n)   __asan_poison_memory_region(p, n)
#define UNPOISON(p, n) __asan_unpoison_memory_region(p, n)
#else
#define GAP            0u
#define POISON(p, n)   ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

struct dk_rxpool {
    uint64_t held;  /* bytes of slabs that only views hold */
    uint64_t bytes; /* of the pool */
    uint32_t refs;  /* the creator, and slabs that are counted in held */
};

struct dk_rxpool *dk_rxpool_create(size_t bytes)
{
    struct dk_rxpool *pool = dk_heap_zalloc(sizeof(*pool)); /* freed with the last hold */
    if (!pool)
        return NULL;
    pool->bytes = bytes;
    pool->refs = 1;
    return pool;
}

void dk_rxpool_destroy(struct dk_rxpool *pool)
{
    if (dk_sub_u32(&pool->refs, 1) == 0)
        dk_heap_free(pool);
}

void dk_rxpool_returned(struct dk_rxpool *pool, size_t bytes)
{
    __atomic_sub_fetch(&pool->held, bytes, __ATOMIC_RELAXED);
    dk_rxpool_destroy(pool);
}

static bool half_is_held(const struct dk_rxpool *pool)
{
    return __atomic_load_n(&pool->held, __ATOMIC_RELAXED) >= pool->bytes / 2;
}

static uint32_t left(const struct dk_rxslab *slab)
{
    uint32_t bytes = (uint32_t)dk_buf_bytes(slab->buf);
    return slab->used < bytes ? bytes - slab->used : 0; /* the last piece's alignment */
}

/* From here on only views hold the slab. */
static void retire(struct dk_rxslab *slab)
{
    slab->buf->pool = slab->pool;
    dk_add_u32(&slab->pool->refs, 1);
    __atomic_add_fetch(&slab->pool->held, dk_buf_bytes(slab->buf), __ATOMIC_RELAXED);
    dk_buf_put(slab->buf);
    slab->buf = NULL;
}

void dk_rxslab_drop(struct dk_rxslab *slab)
{
    if (slab->next)
        dk_buf_put(slab->next);
    slab->next = NULL;
    if (slab->buf)
        retire(slab);
}

static bool renew(struct dk_rxslab *slab, uint32_t want)
{
    uint32_t need = want + slab->behind + GAP;
    dk_rxslab_drop(slab);
    slab->buf = dk_buf_alloc(need > slab->bytes ? need : slab->bytes, 0);
    slab->used = 0;
    return slab->buf != NULL;
}

/* No view is left, and nothing is in flight that was pushed out of one. */
static bool is_unshared(const struct dk_rxslab *slab)
{
    uint32_t own = slab->next ? 2 : 1;
    return __atomic_load_n(&slab->buf->refs, __ATOMIC_ACQUIRE) == own &&
           dk_heap_held_once(slab->buf->data);
}

/* Sees to it that the slab has room and a view for what comes. */
static bool prepare(struct dk_rxslab *slab, uint32_t want)
{
    /* Half of what is wanted will do: else a reader of large pieces leaves half-used slabs. */
    uint32_t least = (slab->whole ? want : want / 2) + slab->behind + GAP;
    if (slab->buf && is_unshared(slab))
        slab->used = 0;
    if ((!slab->buf || left(slab) < least) && !renew(slab, want))
        return false;
    if (!slab->next)
        slab->next = dk_buf_view(slab->buf, slab->buf->data, 0);
    return slab->next != NULL;
}

uint8_t *dk_rxslab_room(struct dk_rxslab *slab, uint32_t want, uint32_t *room_out)
{
    uint32_t extra = slab->behind + GAP;
    if (!prepare(slab, want))
        return NULL;
    uint32_t room = left(slab) - extra;
    *room_out = room < want ? room : want;
    UNPOISON(slab->buf->data + slab->used, *room_out + extra);
    return slab->buf->data + slab->used;
}

struct dk_buf *dk_rxpool_copy(const uint8_t *data, uint32_t len, uint32_t behind)
{
    struct dk_buf *buf = dk_buf_alloc(len ? len : 1, behind);
    if (!buf)
        return NULL;
    memcpy(buf->data, data, len);
    dk_mem_count(copies_pool, 1);
    dk_mem_count(copied_bytes_pool, len);
    return buf;
}

static struct dk_buf *take_view(struct dk_rxslab *slab, uint32_t len)
{
    struct dk_buf *view = slab->next;
    uint32_t piece = (len + slab->behind + PIECE_ALIGN - 1) & ~(PIECE_ALIGN - 1);
    if (piece == 0)
        piece = PIECE_ALIGN; /* an empty one has a place of its own too */
    slab->next = NULL;
    view->data = slab->buf->data + slab->used;
    view->end = view->data + len;
    POISON(view->data + piece, GAP);
    slab->used += piece + GAP;
    return view;
}

struct dk_buf *dk_rxslab_take(struct dk_rxslab *slab, uint32_t len)
{
    struct dk_buf *buf = NULL;
    if (dk_unlikely(half_is_held(slab->pool)))
        buf = dk_rxpool_copy(slab->buf->data + slab->used, len, slab->behind);
    return buf ? buf : take_view(slab, len);
}
