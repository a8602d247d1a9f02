/* SPDX-License-Identifier: MIT */
/*
 * Buffer table, size-class caches and the two reference counts of buf.h.
 *
 * One lock guards the free lists; it is held for a few instructions. Under AddressSanitizer nothing
 * is cached and every buffer is a malloc of its exact size, so that overruns and uses after free
 * are seen.
 */
#include "mem/buf.h"

#include "os/entropy.h"
#include "os/pages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MIN_CLASS_BITS 6  /* 64 bytes */
#define MAX_CLASS_BITS 16 /* 64 KiB */
#define NUM_CLASSES    (MAX_CLASS_BITS - MIN_CLASS_BITS + 1)
#define NO_CLASS       0xff
#define ALIAS          0xfe
#define CACHE_BYTES    (1u << 20) /* per class; beyond it, memory goes back to malloc */
#define PEER_BYTES     sizeof(struct sockaddr_in6)

#if defined(__SANITIZE_ADDRESS__)
#define CACHING 0
#else
#define CACHING 1
#endif

_Static_assert(sizeof(struct dk_buf) == 64, "the size of a descriptor is a power of two");

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "app_refs is the low half of life");

/* Descriptors are shown to a leak detector so many at a time; DK_BUF_MAX is a multiple. */
#define ROOT_BUFS 64

struct dk_buf *dk_bufs;
uint32_t dk_bufs_used;

static struct {
    struct dk_lock lock;
    uint32_t in_use;
    uint64_t seed;
    struct dk_buf *free_descs; /* without memory */
    struct dk_buf *cached[NUM_CLASSES];
    uint32_t cached_count[NUM_CLASSES];
} pool;

static uint8_t class_of(size_t size)
{
    if (size > 1u << MAX_CLASS_BITS || !CACHING)
        return NO_CLASS;
    if (size <= 1u << MIN_CLASS_BITS)
        return 0;
    return (uint8_t)(64 - __builtin_clzll(size - 1) - MIN_CLASS_BITS);
}

static size_t class_bytes(uint8_t size_class)
{
    return (size_t)1 << (size_class + MIN_CLASS_BITS);
}

/* Takes a descriptor that was never used; the lock is held. */
static struct dk_buf *new_descriptor(void)
{
    if (!dk_bufs) {
        dk_bufs = dk_pages_reserve(DK_BUF_MAX * sizeof(*dk_bufs)); /* for ever */
        pool.seed = dk_entropy_u64();
    }
    if (!dk_bufs || dk_bufs_used == DK_BUF_MAX)
        return NULL;
    struct dk_buf *buf = &dk_bufs[dk_bufs_used];
    if (dk_bufs_used % ROOT_BUFS == 0)
        dk_pages_add_root(buf, ROOT_BUFS * sizeof(*buf));
    /* Weyl sequence: each descriptor starts at a generation of its own. */
    pool.seed += UINT64_C(0x9e3779b97f4a7c15);
    buf->gen = (uint32_t)(pool.seed >> 32);
    buf->number = dk_bufs_used + 1;
    __atomic_store_n(&dk_bufs_used, dk_bufs_used + 1, __ATOMIC_RELEASE);
    return buf;
}

/* Counters are written under the lock and read without it. */
static void count_cached(uint8_t size_class, int n)
{
    uint32_t *count = &pool.cached_count[size_class];
    __atomic_store_n(count, *count + (uint32_t)n, __ATOMIC_RELAXED);
}

static void count_in_use(int n)
{
    __atomic_store_n(&pool.in_use, pool.in_use + (uint32_t)n, __ATOMIC_RELAXED);
}

/* Takes a descriptor with memory from the cache, or one without; NULL when the table cannot grow.
 */
static struct dk_buf *take(uint8_t size_class)
{
    struct dk_buf *buf = NULL;
    dk_lock(&pool.lock);
    if (size_class != NO_CLASS && pool.cached[size_class]) {
        buf = pool.cached[size_class];
        pool.cached[size_class] = buf->next_free;
        count_cached(size_class, -1);
    } else if (pool.free_descs) {
        buf = pool.free_descs;
        pool.free_descs = buf->next_free;
    } else {
        buf = new_descriptor();
    }
    if (buf)
        count_in_use(1);
    dk_unlock(&pool.lock);
    return buf;
}

/* Returns a descriptor: to its class's cache while it has memory, else to the bare ones. */
static void give(struct dk_buf *buf)
{
    dk_lock(&pool.lock);
    struct dk_buf **list = buf->data ? &pool.cached[buf->size_class] : &pool.free_descs;
    if (buf->data)
        count_cached(buf->size_class, 1);
    buf->next_free = *list;
    *list = buf;
    count_in_use(-1);
    dk_unlock(&pool.lock);
}

struct dk_buf *dk_buf_alloc(size_t size)
{
    uint8_t size_class = class_of(size);
    struct dk_buf *buf = take(size_class);
    if (dk_unlikely(!buf))
        return NULL;
    if (!buf->data) {
        size_t cap = size_class == NO_CLASS ? size : class_bytes(size_class);
        buf->data = malloc(cap + PEER_BYTES);
        if (!buf->data) {
            give(buf);
            return NULL;
        }
        buf->cap = (uint32_t)cap;
        buf->size_class = size_class;
    }
    buf->refs = 1;
    buf->app_refs = 0;
    buf->peer_len = 0;
    return buf;
}

struct dk_buf *dk_buf_alias(struct dk_buf *buf)
{
    struct dk_buf *alias = take(NO_CLASS);
    if (!alias)
        return NULL;
    struct dk_buf *owner = buf->size_class == ALIAS ? buf->owner : buf;
    dk_buf_get(owner);
    alias->size_class = ALIAS;
    alias->owner = owner;
    alias->data = owner->data;
    alias->cap = owner->cap;
    alias->peer_len = owner->peer_len;
    alias->refs = 1;
    alias->app_refs = 0;
    return alias;
}

static void free_alias(struct dk_buf *alias)
{
    struct dk_buf *owner = alias->owner;
    alias->data = NULL;
    give(alias);
    dk_buf_put(owner);
}

void dk_buf_free(struct dk_buf *buf)
{
    if (buf->size_class == ALIAS) {
        free_alias(buf);
        return;
    }
    bool keep = buf->size_class != NO_CLASS &&
                __atomic_load_n(&pool.cached_count[buf->size_class], __ATOMIC_RELAXED) <
                    CACHE_BYTES / class_bytes(buf->size_class);
    if (!keep) {
        free(buf->data);
        buf->data = NULL;
    }
    give(buf);
}

/*
 * The last hold of the application ends the generation: from here on its handle is stale, although
 * the library may hold the memory longer.
 */
static bool app_put(struct dk_buf *buf, uint32_t gen)
{
    if (!dk_mt()) {
        if (buf->app_refs == 0)
            return false;
        if (--buf->app_refs == 0)
            buf->gen++;
        return true;
    }
    uint64_t next, life = __atomic_load_n(&buf->life, __ATOMIC_RELAXED);
    do {
        if ((uint32_t)life == 0 || life >> 32 != gen)
            return false;
        next = life - 1;
        if ((uint32_t)next == 0)
            next += UINT64_C(1) << 32;
    } while (!__atomic_compare_exchange_n(&buf->life, &life, next, true, __ATOMIC_ACQ_REL,
                                          __ATOMIC_RELAXED));
    return true;
}

int dk_buf_app_put(const void *handle)
{
    struct dk_buf *buf = dk_buf_from_handle(handle);
    if (!buf || !app_put(buf, (uint32_t)((uintptr_t)handle >> 32)))
        return -EINVAL;
    dk_buf_put(buf);
    return 0;
}

void dk_buf_set_peer(struct dk_buf *buf, const struct sockaddr *peer, socklen_t len)
{
    buf->peer_len = (uint8_t)(len > PEER_BYTES ? PEER_BYTES : len);
    memcpy(buf->data + buf->cap, peer, buf->peer_len);
}

const struct sockaddr *dk_buf_peer(const struct dk_buf *buf, socklen_t *len_out)
{
    *len_out = buf->peer_len;
    return buf->peer_len ? (const struct sockaddr *)(const void *)(buf->data + buf->cap) : NULL;
}

uint32_t dk_buf_in_use(void)
{
    return __atomic_load_n(&pool.in_use, __ATOMIC_RELAXED);
}

void dk_buf_after_fork(void)
{
    pool.lock.word = 0;
}

void dk_buf_trim(void)
{
    dk_lock(&pool.lock);
    for (int c = 0; c < NUM_CLASSES; c++) {
        while (pool.cached[c]) {
            struct dk_buf *buf = pool.cached[c];
            pool.cached[c] = buf->next_free;
            free(buf->data);
            buf->data = NULL;
            buf->next_free = pool.free_descs;
            pool.free_descs = buf;
        }
        pool.cached_count[c] = 0;
    }
    dk_unlock(&pool.lock);
}
