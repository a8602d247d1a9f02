/* SPDX-License-Identifier: MIT */
/*
 * Superblocks: runs of slices that hold objects of one size, and who holds each object (SOSP'21,
 * section 5.3). An object too large for a size class has a superblock of its own.
 *
 * Reference bits. Every object has one byte, its reference byte:
 *
 *     0             free
 *     2 n + 1       held by the application, and n times by the library
 *     2 n           held n times by the library only: 1 <= n <= 125
 *     n == 126      more: the number is in the superblock's overflow table (overflow.h)
 *     254           free, in the cache of a thread
 *
 *     255           no object
 *
 * Where it is follows from the object's address by one shift, so that free need not look at the
 * header nor divide. A granule is the largest power of two that divides the object's size; objects
 * start at multiples of it. The superblock has a byte per granule, the one where an object starts
 * is the object's, those between are of no object. So a pointer is an object's start when it is a
 * multiple of the granule and its byte is not 255.
 *
 *     size 48, granule 16:  bytes   obj --- --- obj --- --- obj ...
 *
 * The bytes stand in the header when they have room there, else at the start of the run, which
 * still leaves objects on their natural alignment. Whoever holds an object, or owns the cache that
 * it is in, may change its byte; taking it from 0x00 is for the thread that the superblock is
 * attached to. Giving an object back is one store of 0x00, whichever thread does it, and a count.
 *
 * Life of a superblock of a class; lists and state are guarded by the lock of its class:
 *
 *     ATTACHED (one thread allocates from it) --nothing left--> FULL --enough given back--> PARTIAL
 *         ^-------- a thread needs one of this class ------------------------------------'  |  ^
 *         '--------------------------------------- COLD <--nobody wanted it for long--------'  |
 *                                                   '------many of its objects given back-------'
 *
 *     PARTIAL or COLD, and empty: its slices are given back (which keep their pages for a while,
 *     slice.h). When a superblock becomes COLD with few objects in use, its pages without objects
 * are given back; threads look there last.
 *
 * The headers stand in a table by slice that never shrinks, so that a late look at a superblock
 * that is gone is harmless: `used`, `state` and `size_class` are read without a lock, and checked
 * again under it.
 */
#ifndef DK_MEM_SUPERBLOCK_H
#define DK_MEM_SUPERBLOCK_H

#include "mem/size_class.h"
#include "mem/slice.h"

#define DK_REF_FREE   0
#define DK_REF_APP    1
#define DK_REF_ONE    2 /* one reference of the library */
#define DK_REF_CACHED 254
#define DK_REF_NONE   255 /* no object starts there */
#define DK_REF_MAX    125 /* references that the byte itself counts */
#define DK_REF_MANY   126 /* its count when there are more */

#define DK_INLINE_REFS 64
#define DK_LARGE       DK_NUM_CLASSES /* size_class of a large object */

struct dk_superblock {
    /* Read by every reference taken or given back. */
    uint8_t *start;      /* the first object */
    uint64_t reciprocal; /* 2^64 / object_bytes, rounded up; 0: one object */
    uint64_t object_bytes;
    uint8_t *refs;       /* the first object's byte */
    uint64_t ref_stride; /* from one object's byte to the next one's: granules of an object */
    uint32_t num_objects;
    uint16_t size_class;
    bool debug;               /* objects have canaries (heap_debug.h) */
    uint8_t state;            /* enum in superblock.c */
    uint32_t *overflow;       /* references beyond DK_REF_MAX, by object; NULL: none had so many */
    struct dk_region *region; /* of a large object that has one of its own, else NULL */
    uint32_t num_slices;
    uint8_t ref_shift; /* log2 of the granule */
    /* Written when objects come and go. */
    uint32_t used __attribute__((aligned(64))); /* objects that are not free; those in caches too */
    uint32_t wake;   /* who gives an object back and finds so many left looks at the state */
    uint32_t since;  /* when it became PARTIAL (superblock.c: scavenger) */
    uint32_t cursor; /* where the last search ended: a number of eight bytes of refs */
    struct dk_list link;
    uint8_t inline_refs[DK_INLINE_REFS];
} __attribute__((aligned(64)));

/* A free object as a cache keeps it. */
struct dk_free_object {
    uint8_t *p;
    uint8_t *ref;
};

/* By slice of the heap's range; NULL where there is no superblock. */
DK_HIDDEN extern struct dk_superblock **dk_superblock_map;

/* The same by the slice of an address: dk_superblock_by_slice[(uintptr_t)p >> DK_SLICE_SHIFT], for
 * p in the range. */
DK_HIDDEN extern struct dk_superblock **dk_superblock_by_slice;

/*
 * What free needs to know of a slice, in a word by the slice of an address, 0 where there is no
 * object. Not in the header, because free writes to a stack of its class, and the next malloc
 * cannot be sure to read another before the address of that write is known.
 *
 *     bits 0 to 5    log2 of the granule; 63: free takes its long way
 *     bits 6 to 53   address of the byte that a granule at address 0 would have
 *     bits 54 to 63  which stack of a cache takes its objects
 */
DK_HIDDEN extern const uint64_t *dk_free_map;

#define DK_FREE_MAP_LONG_WAY 63u

static inline uint32_t dk_free_word_shift(uint64_t word)
{
    return word & 63;
}

static inline uint32_t dk_free_word_stack(uint64_t word)
{
    return (uint32_t)(word >> 54);
}

/* granule: the address of an object shifted right by the word's shift. */
static inline uint8_t *dk_free_word_ref(uint64_t word, uint64_t granule)
{
    return (uint8_t *)(uintptr_t)((word << 10 >> 16) + granule);
}

/* Makes the tables. 0 or -ENOMEM; it may be called again. */
int dk_superblock_init(void);

/* The superblock that p points into, or NULL. */
static inline struct dk_superblock *dk_superblock_at(const void *p)
{
    uintptr_t offset = (uintptr_t)p - dk_heap_base;
    if (dk_unlikely(offset >= dk_heap_span))
        return NULL;
    return __atomic_load_n(&dk_superblock_map[offset >> DK_SLICE_SHIFT], __ATOMIC_RELAXED);
}

/* The number of the object at offset bytes from the superblock's start; beyond num_objects when
 * there is none. */
static inline uint64_t dk_object_index(const struct dk_superblock *sb, uint64_t offset)
{
    __extension__ typedef unsigned __int128 wide;
    return (uint64_t)((wide)offset * sb->reciprocal >> 64);
}

/* The byte of an object. */
static inline uint8_t *dk_object_ref(const struct dk_superblock *sb, uint64_t index)
{
    return sb->refs + index * sb->ref_stride;
}

/* The header of the superblock whose run starts at p. */
struct dk_superblock *dk_superblock_header(const void *p);

/* Says of every slice of [from, from + bytes) whose it is: sb's, which is filled, or (NULL)
 * nobody's. */
void dk_superblock_set_map(const void *from, size_t bytes, struct dk_superblock *sb);

/*
 * Takes up to max free objects of a class for the calling thread, marked DK_REF_CACHED, into out[].
 * *attached: the thread's superblock of that class, or NULL; it may be another one afterwards.
 * Returns how many: 0 without memory.
 */
uint32_t dk_superblock_take(struct dk_superblock **attached, uint32_t size_class, bool debug,
                            struct dk_free_object out[], uint32_t max);

/* Gives back an object that is marked DK_REF_CACHED. */
void dk_superblock_give(struct dk_superblock *sb, const struct dk_free_object *object);

/* Gives pages of all superblocks back that no thread has. */
void dk_superblock_trim(void);

/* The thread allocates from sb no longer. */
void dk_superblock_detach(struct dk_superblock *sb);

void dk_superblock_before_fork(void);
void dk_superblock_after_fork(void);

#endif /* DK_MEM_SUPERBLOCK_H */
