/* SPDX-License-Identifier: MIT */
/*
 * What the shortest paths do with buffers, for each element and each frame. A function whose name
 * ends in _now may be called only while !dk_mt().
 */
#ifndef DK_MEM_BUF_NOW_H
#define DK_MEM_BUF_NOW_H

#include "mem/buf.h"
#include "mem/superblock.h"

#include <string.h>

/* As dk_buf_is_exclusive. false: ask that. */
static inline bool dk_buf_is_exclusive_now(const struct dk_buf *buf)
{
    const uint8_t *p = buf->data;
    if (dk_unlikely(buf->refs != 1 || buf->shared || buf->more))
        return false;
    const struct dk_superblock *sb = dk_superblock_by_slice[(uintptr_t)p >> DK_SLICE_SHIFT];
    uint64_t index = dk_object_index(sb, (uint64_t)(p - sb->start));
    return dk_likely(*dk_object_ref(sb, index) == DK_REF_ONE);
}

/* Takes buf, the first spare of a class, for size bytes; the pool is locked. Its hold on it becomes
 * the caller's. */
static inline void dk_buf_take_spare(struct dk_buf *buf, size_t size, size_t size_class)
{
    dk_buf_spares[size_class] = buf->next_spare;
    ++*dk_buf_pool.in_use;
    __atomic_store_n(buf->ref, DK_REF_ONE, __ATOMIC_RELAXED);
    buf->end = buf->data + size;
}

/* As dk_buf_alloc, of a spare; NULL where there is none. */
static inline struct dk_buf *dk_buf_alloc_now(uint32_t size, uint32_t behind)
{
    if (dk_unlikely(size > DK_BUF_SPARE_BYTES - behind))
        return NULL;
    uint32_t size_class = dk_class_of_small(size + behind);
    struct dk_buf *buf = dk_buf_spares[size_class];
    if (dk_likely(buf != NULL))
        dk_buf_take_spare(buf, size, size_class);
    return buf;
}

/* Whether a device can give a buffer out: it is back, and nothing is in flight that was pushed out
 * of its memory. */
static inline bool dk_buf_is_back(const struct dk_buf *buf)
{
    return __atomic_load_n(&buf->place, __ATOMIC_ACQUIRE) == DK_BUF_BACK &&
           __atomic_load_n(buf->ref, __ATOMIC_ACQUIRE) == DK_REF_ONE;
}

/* Gives a buffer of a device out, which is back, for bytes in its memory, and with one hold. */
static inline void dk_buf_put_out(struct dk_buf *buf, uint8_t *data, size_t bytes)
{
    buf->refs = 1;
    buf->data = data;
    buf->end = data + bytes;
    buf->more = NULL;
    buf->peer_len = buf->shared = buf->depth = 0; /* with place, one word */
    buf->place = DK_BUF_OUT;
}

/* Gives a buffer of a device out, for that many bytes, pad bytes behind its start, and with one
 * hold. false: it is not back. */
static inline bool dk_buf_give_out(struct dk_buf *buf, size_t pad, size_t bytes)
{
    if (dk_unlikely(!dk_buf_is_back(buf)))
        return false;
    dk_buf_put_out(buf, buf->memory + pad, bytes);
    return true;
}

/* The last hold on a buffer is gone, which a device gave out: whether the device has it back, and
 * nobody else may look at it. */
static inline bool dk_buf_comes_back(struct dk_buf *buf)
{
    if (__atomic_load_n(&buf->place, __ATOMIC_RELAXED) != DK_BUF_OUT)
        return false;
    if (dk_mt()) /* the device may go away just now */
        return __atomic_exchange_n(&buf->place, DK_BUF_BACK, __ATOMIC_ACQ_REL) == DK_BUF_OUT;
    buf->place = DK_BUF_BACK;
    return true;
}

/*
 * As dk_buf_app_put, of what most popped elements are: received in memory of a device, one buffer,
 * and nobody else has it. false: nothing happened.
 */
static inline bool dk_buf_app_return(const void *handle)
{
    const uint64_t h = (uintptr_t)handle;
    const uint32_t index = (uint32_t)(h >> 32) - 1; /* of NULL: past the end */
    if (dk_unlikely(index >= __atomic_load_n(&dk_bufs_used, __ATOMIC_ACQUIRE)))
        return false;
    struct dk_buf *buf = &dk_bufs[index];
    /* With a place it has memory of a device. One hold, and the application's: it is that one. */
    if (buf->place != DK_BUF_OUT || buf->more || __atomic_load_n(&buf->refs, __ATOMIC_ACQUIRE) != 1)
        return false;
    if (!dk_mt()) {
        if (dk_unlikely(buf->life != ((uint64_t)(uint32_t)h << 32 | 1)))
            return false;
        buf->life = (uint64_t)((uint32_t)h + 1) << 32;
        buf->refs = 0;
        buf->place = DK_BUF_BACK;
        return true;
    }
    uint64_t life = (uint64_t)(uint32_t)h << 32 | 1;
    if (dk_unlikely(!__atomic_compare_exchange_n(&buf->life, &life,
                                                 (uint64_t)((uint32_t)h + 1) << 32, false,
                                                 __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)))
        return false;
    buf->refs = 0;
    if (dk_unlikely(__atomic_exchange_n(&buf->place, DK_BUF_BACK, __ATOMIC_ACQ_REL) != DK_BUF_OUT))
        dk_buf_free(buf); /* the device has gone away */
    return true;
}

/* The handle of a buffer that the application holds. */
static inline void *dk_buf_handle_now(const struct dk_buf *buf)
{
    void *handle;
    memcpy(&handle, &buf->gen, sizeof(handle));
    return handle;
}

/* Ends the only hold that the application has on a buffer. true: it was the last of all, and the
 * caller frees it. */
static inline bool dk_buf_app_end_now(struct dk_buf *buf)
{
    buf->app_refs = 0;
    buf->gen++;
    return --buf->refs == 0;
}

#endif /* DK_MEM_BUF_NOW_H */
