/* SPDX-License-Identifier: MIT */
/*
 * Reference-counted buffers: what stands behind the handle of an sga.
 *
 * A buffer has two counts. `app_refs` are the holds that the application has (one per sga that it
 * must free), `refs` are all holds, the library's included. What the buffer stands for is let go
 * when `refs` falls to zero, so an application may free an sga whose push is still outstanding.
 *
 * What a buffer stands for:
 *
 *     OWN        memory of its own: an object of the heap with one reference
 *     VIEW       a part of another buffer's memory, which it holds: a clone, received data
 *     REFERENCE  a part of an object of the application's, on which it has one reference
 *     DEVICE     memory of a device, which gives it out with what it received and takes it again
 *                when the last hold is gone
 *
 * An element made of several objects is a chain of buffers by `more`: the first has the handle and
 * the counts, and the others go with it.
 *
 * A few small buffers whose last hold is gone keep their memory for the next of that size: spares.
 * Their objects are marked as those in the cache of a thread are.
 *
 * Descriptors (struct dk_buf) live in a table that neither moves nor shrinks. The application sees
 * a handle {generation, index}: a handle that was freed, or garbage, is recognised without touching
 * memory that may be gone. Invariant: app_refs <= refs; a descriptor on the free list has refs == 0
 * and a generation that no handle given out so far carries. Thread-safe.
 */
#ifndef DK_MEM_BUF_H
#define DK_MEM_BUF_H

#include "os/sync.h"

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define DK_BUF_MAX (4u << 20) /* descriptors, process-wide */

/* Room for a sender's address behind the bytes of a buffer. */
#define DK_BUF_PEER_BYTES sizeof(struct sockaddr_in6)

enum dk_buf_kind { DK_BUF_OWN, DK_BUF_VIEW, DK_BUF_REFERENCE, DK_BUF_DEVICE };

/* Where a buffer of a device is. Whoever takes it out of a place by an exchange has it. */
enum dk_buf_place {
    DK_BUF_NO_DEVICES,
    DK_BUF_BACK, /* with the device; refs == 0 */
    DK_BUF_OUT,  /* somebody holds it */
    DK_BUF_LEFT, /* somebody holds it, and the device is gone */
};

struct dk_rxpool;

struct dk_buf {
    /* Changed together when several threads may: the last hold of the application ends the
     * generation. */
    union {
        struct {
            uint32_t app_refs; /* low half of life */
            uint32_t gen;
        };
        uint64_t life;
    };
    uint32_t number; /* index + 1: high half of the handle, as gen is the low one */
    uint32_t refs;
    uint8_t *data;
    union {
        uint8_t *end;              /* data and what may be used behind it */
        struct dk_buf *next_spare; /* of a spare */
    };
    struct dk_buf *more; /* of the same element, or NULL */
    union {
        struct dk_buf *next_free; /* refs == 0 */
        struct dk_buf *owner;     /* of a view: held */
        struct dk_rxpool *pool;   /* of memory of its own: counted as held there, or NULL */
        uint8_t *memory;          /* of a device: where it begins */
    };
    uint8_t kind;     /* enum dk_buf_kind */
    uint8_t peer_len; /* bytes of the sender's address kept behind the end, 0: none */
    uint8_t shared;   /* it was cloned once: others may hold the same bytes */
    uint8_t depth;    /* of a spare: how many there are from it on */
    uint8_t place;    /* enum dk_buf_place */
    uint8_t *ref;     /* of a spare, of a device: the byte of its object, see superblock.h */
} __attribute__((aligned(64)));

/* The table; dk_bufs_used entries have been used so far. */
DK_HIDDEN extern struct dk_buf *dk_bufs;
DK_HIDDEN extern uint32_t dk_bufs_used;

#define DK_BUF_SPARE_BYTES ((size_t)320) /* with a spare's object of this size or less */
#define DK_BUF_SPARES      8             /* of one size class */

struct dk_buf_pool {
    struct dk_lock lock;
    uint64_t *in_use; /* descriptors; where other processes read it */
    uint64_t seed;
    struct dk_buf *unused;
};

DK_HIDDEN extern struct dk_buf_pool dk_buf_pool;

/* By size class; the pool holds each once. Guarded by its lock. */
DK_HIDDEN extern struct dk_buf *dk_buf_spares[DK_BUF_SPARE_BYTES / 16 + 1];

/* Allocates a buffer of size bytes (1 to UINT32_MAX) with refs == 1 and app_refs == 0; `behind`
 * bytes more follow its end. NULL without memory. */
struct dk_buf *dk_buf_alloc(size_t size, size_t behind);

/*
 * Makes a view of len bytes at data, in memory of buf, which it holds. refs == 1, app_refs == 0; it
 * has no peer. NULL when the table is full.
 */
struct dk_buf *dk_buf_view(struct dk_buf *buf, uint8_t *data, size_t len);

/* Whether dk_buf_keep would return buf itself; it is kept so. */
static inline bool dk_buf_keeps_itself(const struct dk_buf *buf)
{
    return buf->refs == 1 && buf->kind != DK_BUF_OWN;
}

static inline void dk_buf_keep_itself(struct dk_buf *buf, uint8_t *data, size_t len)
{
    buf->refs = 2;
    buf->data = data;
    buf->end = data + len;
}

/* The same where *gives: with the caller's hold on it, and *gives is false then. */
static inline void dk_buf_keep_itself_given(struct dk_buf *buf, uint8_t *data, size_t len,
                                            bool *gives)
{
    if (*gives)
        *gives = false;
    else
        buf->refs = 2;
    buf->data = data;
    buf->end = data + len;
}

/*
 * Keeps len bytes at data of what was received in buf, where the caller has a hold: a buffer of
 * just these, with a hold more. It is buf itself, which has no other bytes from then on, when
 * nobody else holds it and its memory is no object of its own; else a view. NULL as dk_buf_view.
 */
static inline struct dk_buf *dk_buf_keep(struct dk_buf *buf, uint8_t *data, size_t len)
{
    if (dk_unlikely(!dk_buf_keeps_itself(buf)))
        return dk_buf_view(buf, data, len);
    dk_buf_keep_itself(buf, data, len);
    return buf;
}

/* The same; *gives: when it is buf itself it has the caller's hold, and *gives is false then. */
static inline struct dk_buf *dk_buf_keep_given(struct dk_buf *buf, uint8_t *data, size_t len,
                                               bool *gives)
{
    if (dk_unlikely(!dk_buf_keeps_itself(buf)))
        return dk_buf_view(buf, data, len);
    dk_buf_keep_itself_given(buf, data, len, gives);
    return buf;
}

/* Makes a view of the whole of buf, chain and peer included: a clone. */
struct dk_buf *dk_buf_alias(struct dk_buf *buf);

/*
 * Makes a buffer of len bytes at data, in an object of the heap that somebody holds, and takes a
 * reference on that. refs == 1. NULL when none can be taken or the table is full.
 */
struct dk_buf *dk_buf_reference(uint8_t *data, size_t len);

/* Allocates a buffer of a device, which it has back: see dk_buf_give_out. NULL without memory. */
DK_EXPORT struct dk_buf *dk_buf_alloc_device(size_t size, size_t behind);

/* The device gives it up: it is freed with its last hold. */
DK_EXPORT void dk_buf_give_up(struct dk_buf *buf);

/* Lets go what a buffer whose last hold is gone stands for; called by dk_buf_put. */
DK_EXPORT void dk_buf_free(struct dk_buf *buf);

/* Whether nobody but the one holder of buf can see its bytes. */
bool dk_buf_is_exclusive(const struct dk_buf *buf);

/* Usable bytes at data. */
static inline size_t dk_buf_bytes(const struct dk_buf *buf)
{
    return (size_t)(buf->end - buf->data);
}

/* Takes one hold of the library. */
static inline void dk_buf_get(struct dk_buf *buf)
{
    dk_add_u32(&buf->refs, 1);
}

/* Gives one hold back; the buffer may be gone afterwards. */
static inline void dk_buf_put(struct dk_buf *buf)
{
    if (dk_sub_u32(&buf->refs, 1) == 0)
        dk_buf_free(buf);
}

/* Turns one hold of the library into one of the application; returns its handle. */
static inline void *dk_buf_lend(struct dk_buf *buf)
{
    uint32_t gen;
    if (dk_mt()) {
        gen = (uint32_t)(__atomic_add_fetch(&buf->life, 1, __ATOMIC_ACQ_REL) >> 32);
    } else {
        buf->app_refs++;
        gen = buf->gen;
    }
    return (void *)(uintptr_t)((uint64_t)buf->number << 32 | gen);
}

/* The same of a buffer that the application has no hold on, and that nobody else lends it: without
 * an atomic. Stale handles change nothing, and it is not looked at by others. */
static inline void *dk_buf_lend_first(struct dk_buf *buf)
{
    __atomic_store_n(&buf->app_refs, 1, __ATOMIC_RELEASE);
    return (void *)(uintptr_t)((uint64_t)buf->number << 32 | buf->gen);
}

/* Returns the buffer of a handle that the application holds, or NULL. */
static inline struct dk_buf *dk_buf_from_handle(const void *handle)
{
    uint64_t h = (uintptr_t)handle;
    uint32_t index = (uint32_t)(h >> 32) - 1;
    if (dk_unlikely(index >= __atomic_load_n(&dk_bufs_used, __ATOMIC_ACQUIRE)))
        return NULL;
    struct dk_buf *buf = &dk_bufs[index];
    uint64_t life = __atomic_load_n(&buf->life, __ATOMIC_RELAXED);
    return dk_likely(life >> 32 == (uint32_t)h && (uint32_t)life != 0) ? buf : NULL;
}

/*
 * Ends one hold of the application that a handle names: 0, or -EINVAL for one that is not held. Of
 * two concurrent frees of the last hold exactly one succeeds.
 */
int dk_buf_app_put(const void *handle);

/* Keeps the sender's address (at most DK_BUF_PEER_BYTES) behind the end, where there is room, and
 * returns it. */
static inline void dk_buf_set_peer(struct dk_buf *buf, const struct sockaddr *peer, socklen_t len)
{
    buf->peer_len = (uint8_t)(len > DK_BUF_PEER_BYTES ? DK_BUF_PEER_BYTES : len);
    memcpy(buf->end, peer, buf->peer_len);
}

const struct sockaddr *dk_buf_peer(const struct dk_buf *buf, socklen_t *len_out);

/* Gives the memory of spares back to the heap. */
void dk_buf_trim(void);

/* Buffers in use, process-wide. */
uint32_t dk_buf_in_use(void);

/* Keeps a copy of that number at a place, from here on; NULL: at none. */
void dk_buf_show_in_use(uint64_t *at);

/* In the child of a fork: nobody else holds the lock. */
void dk_buf_after_fork(void);

#endif /* DK_MEM_BUF_H */
