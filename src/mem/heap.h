/* SPDX-License-Identifier: MIT */
/*
 * The heap: what demi_malloc, buffers and a preloaded malloc allocate from.
 *
 * An object is held by the application (between malloc and free) and by references of the library
 * (between get and put: I/O in flight, a buffer). It is reclaimed when neither is left, so free of
 * memory in flight is deferred by itself. One byte per object says who holds it (superblock.h).
 *
 * Layers: region.h (memory from the system) < slice.h (runs of 64 KiB) < superblock.h (objects of
 * one size, and who holds them) < heap.c (per-thread caches, sizes) < heap_debug.h (canaries,
 * junk).
 *
 * Misuse (freed twice, not an object's start, not ours) ends the process with one line on standard
 * error that names the pointer and the reason. All functions are thread-safe; none blocks but to
 * get memory from the system. Nothing here calls malloc.
 */
#ifndef DK_MEM_HEAP_H
#define DK_MEM_HEAP_H

#include "mem/region.h"

#define DK_HEAP_ALIGN     16
#define DK_HEAP_MAX_BYTES ((size_t)1 << 36) /* largest object */

/* An object, found from a pointer into it. */
struct dk_heap_object {
    uint8_t *start;
    size_t usable; /* bytes from start */
};

/* For the application. NULL without memory; errno is not set. size 0 is as 1. */
DK_EXPORT void *dk_heap_malloc(size_t size);
DK_EXPORT void *dk_heap_zalloc(size_t size);

/* align: a power of two. */
DK_EXPORT void *dk_heap_aligned(size_t align, size_t size);

/* p is an object's start that the application holds, size > 0. NULL: no memory, p as it was. An
 * object that the library holds too always moves. */
DK_EXPORT void *dk_heap_realloc(void *p, size_t size);

/* Ends the application's hold. p: the start of an object, not NULL. */
DK_EXPORT void dk_heap_free(void *p);

/* Bytes that the holder may use from p, an object's start. */
DK_EXPORT size_t dk_heap_usable(const void *p);

/* Allocates with one reference of the library and no hold of the application. NULL without memory.
 */
void *dk_heap_alloc_ref(size_t size);

/* Finds the object that p points into; false when that is no memory that somebody holds. */
bool dk_heap_find(const void *p, struct dk_heap_object *out);

/*
 * Takes one reference on the object that p points into; somebody holds it. 0: it has as many as can
 * be counted, or there is no memory to count more: copy instead.
 */
uint8_t dk_heap_get(const void *p);

/* Gives one reference back; p points into the object. It may be gone afterwards. */
void dk_heap_put(const void *p);

/* Whether the object that p points into has one reference of the library, and no other holder. */
bool dk_heap_held_once(const void *p);

/* Checks on every free and reuse: junk fill, canaries (heap_debug.h). Objects that exist are not
 * affected. Set before threads allocate. */
void dk_heap_set_debug(bool on);

/* The kind of pages of further regions by its word in the configuration ("auto", "hugetlb",
 * "transparent", "none"): 0 or -EINVAL. */
int dk_heap_set_pages(const char *word);

/*
 * For a device that can reach one range of memory only: makes a range of bytes (rounded up), of
 * which the first `own` (1 to 2 MiB) are the caller's, and from the rest of which whatever is
 * allocated is allocated like from other memory. It stays until dk_heap_unreserve, and as long as
 * there are objects in it. 0 or -ENOMEM.
 */
DK_EXPORT int dk_heap_reserve(size_t bytes, size_t own, uint8_t **base_out, size_t *bytes_out);
DK_EXPORT void dk_heap_unreserve(uint8_t *base, size_t own);

/* Gives empty superblocks and regions, and this thread's cache, back to the system. */
void dk_heap_trim(void);

/* This thread is ending the process, perhaps from inside the heap: its frees do nothing from here
 * on. */
void dk_heap_exiting(void);

#endif /* DK_MEM_HEAP_H */
