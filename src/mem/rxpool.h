/* SPDX-License-Identifier: MIT */
/*
 * A receive pool: the memory that a device or a set of sockets receives into.
 *
 * Data is received into slabs, one piece behind the other, and popped as views of them: no byte is
 * copied, and a slab lives as long as any of its views. An application that keeps small elements
 * keeps whole slabs. So once slabs of half the pool are held that way, what is received is copied
 * to memory of its own size (and counted) until the application has given enough back: a pool never
 * runs dry because elements are kept.
 *
 * A slab (struct dk_rxslab) is used by one thread at a time; the pool's count is atomic, because
 * views are freed anywhere. The pool lives until its last slab is gone.
 */
#ifndef DK_MEM_RXPOOL_H
#define DK_MEM_RXPOOL_H

#include "mem/buf.h"

struct dk_rxpool;

/* Where the next piece is received. Filled with zeros but for what the user sets. */
struct dk_rxslab {
    struct dk_rxpool *pool; /* the user's */
    uint32_t bytes;         /* the user's: of a slab, at least */
    uint32_t behind;        /* the user's: bytes kept free behind each piece */
    bool whole;             /* the user's: room is always all that is wanted */
    uint32_t used;          /* bytes that pieces take */
    struct dk_buf *buf;     /* NULL: none yet */
    struct dk_buf *next;    /* a view, ready for the next piece */
};

/* Creates a pool of so many bytes; the caller has a hold. NULL without memory. */
struct dk_rxpool *dk_rxpool_create(size_t bytes);

/* Ends the creator's hold. */
void dk_rxpool_destroy(struct dk_rxpool *pool);

/* A slab of so many bytes, held as a whole, was let go by its last view; called by buf.c. */
void dk_rxpool_returned(struct dk_rxpool *pool, size_t bytes);

/*
 * Returns room to receive at most want bytes into, and how much it is: half of what is wanted at
 * least. NULL without memory. Until dk_rxslab_take the next call may return the same room.
 */
DK_EXPORT uint8_t *dk_rxslab_room(struct dk_rxslab *slab, uint32_t want, uint32_t *room_out);

/* Makes the first len bytes of the room a buffer with one hold of the library: a view of the slab,
 * or a copy while half of the pool is held. Never fails. */
DK_EXPORT struct dk_buf *dk_rxslab_take(struct dk_rxslab *slab, uint32_t len);

/* Copies what was received to a buffer of its own size, for which half of a pool is held, and
 * counts that. One hold of the library; NULL without memory. */
DK_EXPORT struct dk_buf *dk_rxpool_copy(const uint8_t *data, uint32_t len, uint32_t behind);

/* Lets the slab's memory go; views of it stay. */
void dk_rxslab_drop(struct dk_rxslab *slab);

#endif /* DK_MEM_RXPOOL_H */
