/* SPDX-License-Identifier: MIT */
/*
 * The table of buffers, what they stand for, and the two reference counts of buf.h.
 *
 * One lock guards the list of free descriptors; it is held for a few instructions.
 */
#include "mem/buf.h"

#include "mem/buf_now.h"
#include "mem/heap.h"
#include "mem/rxpool.h"
#include "mem/watch.h"
#include "os/entropy.h"
#include "os/pages.h"

#include <errno.h>
#include <string.h>

_Static_assert(sizeof(struct dk_buf) == 64, "the size of a descriptor is a power of two");

_Static_assert(offsetof(struct dk_buf, number) == offsetof(struct dk_buf, gen) + 4,
               "the handle is read from them together");

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "app_refs is the low half of life");

/* Descriptors are shown to a leak detector so many at a time; DK_BUF_MAX is a multiple. */
#define ROOT_BUFS 8192

struct dk_buf *dk_bufs;
uint32_t dk_bufs_used;

static uint64_t unshown;

struct dk_buf_pool dk_buf_pool = {.in_use = &unshown};
struct dk_buf *dk_buf_spares[DK_BUF_SPARE_BYTES / 16 + 1];

/* Takes a descriptor that was never used; the lock is held. */
static struct dk_buf *new_descriptor(void)
{
    if (!dk_bufs) {
        dk_bufs = dk_pages_reserve(DK_BUF_MAX * sizeof(*dk_bufs)); /* for ever */
        dk_buf_pool.seed = dk_entropy_u64();
    }
    if (!dk_bufs || dk_bufs_used == DK_BUF_MAX)
        return NULL;
    struct dk_buf *buf = &dk_bufs[dk_bufs_used];
    if (dk_bufs_used % ROOT_BUFS == 0)
        dk_pages_add_root(buf, ROOT_BUFS * sizeof(*buf));
    /* Weyl sequence: each descriptor starts at a generation of its own. */
    dk_buf_pool.seed += UINT64_C(0x9e3779b97f4a7c15);
    buf->gen = (uint32_t)(dk_buf_pool.seed >> 32);
    buf->number = dk_bufs_used + 1;
    __atomic_store_n(&dk_bufs_used, dk_bufs_used + 1, __ATOMIC_RELEASE);
    return buf;
}

/* The lock is held. */
static void count_in_use(int n)
{
    *dk_buf_pool.in_use += (uint64_t)n;
}

/* Takes a descriptor: for len bytes at data, with one hold of the library. NULL when the table
 * cannot grow. */
static struct dk_buf *take(enum dk_buf_kind kind, uint8_t *data, size_t len)
{
    dk_lock(&dk_buf_pool.lock);
    struct dk_buf *buf = dk_buf_pool.unused;
    if (buf)
        dk_buf_pool.unused = buf->next_free;
    else
        buf = new_descriptor();
    if (buf)
        count_in_use(1);
    dk_unlock(&dk_buf_pool.lock);
    if (dk_unlikely(!buf))
        return NULL;
    buf->refs = 1;
    buf->app_refs = 0;
    buf->data = data;
    buf->end = data + len;
    buf->more = NULL;
    buf->kind = (uint8_t)kind;
    buf->peer_len = 0;
    buf->shared = 0;
    buf->place = DK_BUF_NO_DEVICES;
    return buf;
}

static void give(struct dk_buf *buf)
{
    dk_lock(&dk_buf_pool.lock);
    buf->refs = 0;
    buf->next_free = dk_buf_pool.unused;
    dk_buf_pool.unused = buf;
    count_in_use(-1);
    dk_unlock(&dk_buf_pool.lock);
}

/* Takes a spare for so many bytes, if there is one. */
static struct dk_buf *take_spare(size_t size, size_t behind)
{
    uint32_t size_class = dk_class_of_small(size + behind);
    dk_lock(&dk_buf_pool.lock);
    struct dk_buf *buf = dk_buf_spares[size_class];
    if (buf)
        dk_buf_take_spare(buf, size, size_class);
    dk_unlock(&dk_buf_pool.lock);
    return buf;
}

/* Puts a buffer whose last hold is gone before the other spares; false: there are enough. */
static bool put_spare(struct dk_buf **list, struct dk_buf *buf, uint8_t *ref)
{
    dk_lock(&dk_buf_pool.lock);
    uint8_t depth = *list ? (*list)->depth : 0;
    if (depth < DK_BUF_SPARES) {
        __atomic_store_n(ref, DK_REF_CACHED, __ATOMIC_RELAXED);
        buf->ref = ref;
        buf->refs = 1;
        buf->depth = depth + 1;
        buf->peer_len = buf->shared = 0;
        buf->next_spare = *list;
        *list = buf;
        count_in_use(-1);
    }
    dk_unlock(&dk_buf_pool.lock);
    return depth < DK_BUF_SPARES;
}

/* Keeps a buffer with its memory, where that may be of use. */
static bool keep(struct dk_buf *buf)
{
    if (buf->kind != DK_BUF_OWN || buf->pool || buf->more)
        return false;
    const struct dk_superblock *sb = dk_superblock_at(buf->data);
    uint8_t *ref = dk_object_ref(sb, dk_object_index(sb, (uint64_t)(buf->data - sb->start)));
    return !sb->debug && sb->object_bytes <= DK_BUF_SPARE_BYTES &&
           __atomic_load_n(ref, __ATOMIC_ACQUIRE) == DK_REF_ONE &&
           put_spare(&dk_buf_spares[sb->size_class], buf, ref);
}

struct dk_buf *dk_buf_alloc(size_t size, size_t behind)
{
    struct dk_buf *buf;
    if (size + behind <= DK_BUF_SPARE_BYTES && (buf = take_spare(size, behind)) != NULL)
        return buf;
    uint8_t *data = dk_heap_alloc_ref(size + behind);
    if (!data)
        return NULL;
    buf = take(DK_BUF_OWN, data, size);
    if (!buf)
        dk_heap_put(data);
    else
        buf->pool = NULL;
    return buf;
}

struct dk_buf *dk_buf_alloc_device(size_t size, size_t behind)
{
    uint8_t *data = dk_heap_alloc_ref(size + behind);
    if (!data)
        return NULL;
    struct dk_buf *buf = take(DK_BUF_DEVICE, data, size);
    if (!buf) {
        dk_heap_put(data);
        return NULL;
    }
    const struct dk_superblock *sb = dk_superblock_at(data);
    buf->refs = 0;
    buf->place = DK_BUF_BACK;
    buf->memory = data;
    buf->ref = dk_object_ref(sb, dk_object_index(sb, (uint64_t)(data - sb->start)));
    return buf;
}

void dk_buf_give_up(struct dk_buf *buf)
{
    uint8_t *memory = buf->memory;
    if (__atomic_exchange_n(&buf->place, DK_BUF_LEFT, __ATOMIC_ACQ_REL) != DK_BUF_BACK)
        return;
    give(buf);
    dk_heap_put(memory);
}

void dk_buf_trim(void)
{
    for (uint32_t i = 0; i <= DK_BUF_SPARE_BYTES / 16; i++)
        for (struct dk_buf *buf; (buf = take_spare(i * 16, 0)) != NULL;) {
            dk_heap_put(buf->data);
            give(buf);
        }
}

struct dk_buf *dk_buf_view(struct dk_buf *buf, uint8_t *data, size_t len)
{
    struct dk_buf *view = take(DK_BUF_VIEW, data, len);
    if (!view)
        return NULL;
    /* A view of a view holds what that one holds, so that holds do not form long chains. */
    view->owner = buf->kind == DK_BUF_VIEW && !buf->more ? buf->owner : buf;
    dk_buf_get(view->owner);
    return view;
}

struct dk_buf *dk_buf_alias(struct dk_buf *buf)
{
    struct dk_buf *alias = dk_buf_view(buf, buf->data, dk_buf_bytes(buf));
    if (alias) {
        alias->peer_len = buf->peer_len;
        alias->shared = buf->shared = 1;
    }
    return alias;
}

bool dk_buf_is_exclusive(const struct dk_buf *buf)
{
    if (dk_unlikely(__atomic_load_n(&buf->refs, __ATOMIC_ACQUIRE) != 1))
        return false;
    for (; buf; buf = buf->more)
        if (buf->shared || !dk_heap_held_once(buf->data))
            return false;
    return true;
}

struct dk_buf *dk_buf_reference(uint8_t *data, size_t len)
{
    if (!dk_heap_get(data))
        return NULL;
    struct dk_buf *buf = take(DK_BUF_REFERENCE, data, len);
    if (!buf)
        dk_heap_put(data);
    return buf;
}

/* Frees one buffer of a chain. */
static void let_go(struct dk_buf *buf)
{
    uint8_t *data = buf->kind == DK_BUF_DEVICE ? buf->memory : buf->data;
    struct dk_buf *owner = buf->kind == DK_BUF_VIEW ? buf->owner : NULL;
    if (dk_buf_comes_back(buf))
        return;
    if (buf->kind == DK_BUF_OWN && buf->pool)
        dk_rxpool_returned(buf->pool, dk_buf_bytes(buf));
    give(buf);
    if (owner)
        dk_buf_put(owner);
    else
        dk_heap_put(data);
}

__attribute__((noinline)) static void free_any(struct dk_buf *buf)
{
    if (dk_unlikely(dk_watch_on))
        dk_watch_gone(buf);
    if (keep(buf))
        return;
    while (buf) {
        struct dk_buf *more = buf->more;
        let_go(buf);
        buf = more;
    }
}

void dk_buf_free(struct dk_buf *buf)
{
    /* What most frames are. */
    if (!buf->more && !dk_watch_on && dk_buf_comes_back(buf))
        return;
    free_any(buf);
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
    if (dk_unlikely(dk_watch_on) && buf)
        dk_watch_freed(buf);
    if (!buf || !app_put(buf, (uint32_t)(uintptr_t)handle))
        return -EINVAL;
    dk_buf_put(buf);
    return 0;
}

const struct sockaddr *dk_buf_peer(const struct dk_buf *buf, socklen_t *len_out)
{
    *len_out = buf->peer_len;
    return buf->peer_len ? (const struct sockaddr *)(const void *)buf->end : NULL;
}

uint32_t dk_buf_in_use(void)
{
    dk_lock(&dk_buf_pool.lock); /* it may be shown elsewhere from now on */
    uint32_t n = (uint32_t)*dk_buf_pool.in_use;
    dk_unlock(&dk_buf_pool.lock);
    return n;
}

void dk_buf_show_in_use(uint64_t *at)
{
    dk_lock(&dk_buf_pool.lock);
    uint64_t *to = at ? at : &unshown;
    *to = *dk_buf_pool.in_use;
    dk_buf_pool.in_use = to;
    dk_unlock(&dk_buf_pool.lock);
}

void dk_buf_after_fork(void)
{
    dk_buf_pool.lock.word = 0;
}
