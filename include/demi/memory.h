/* SPDX-License-Identifier: MIT */
/*
 * The heap that devices can reach.
 *
 * Memory from here may be pushed from any place inside an object: the library takes a reference and
 * the device reads it where it lies. Freeing or reallocating it while it is in flight is allowed:
 * the memory is reclaimed when the I/O ends (free-protection, SOSP'21 section 5.3). Writing to it
 * in flight is not.
 *
 * None of these needs demi_init or blocks; all are thread-safe. Memory is aligned to 16 bytes.
 * Freeing what is free already, what is not the start of an object, or what another allocator made
 * ends the process with a message that names the pointer and the reason.
 */
#ifndef DEMI_MEMORY_H
#define DEMI_MEMORY_H

#include <demi/cc.h>
#include <stddef.h>

DEMI_BEGIN_DECLS

/* Allocates size bytes, uninitialised; of 0 a pointer of its own. NULL and errno ENOMEM without
 * memory. */
DEMI_PUBLIC void *demi_malloc(_In_ size_t size);

/* Allocates n * size bytes of zeros. NULL and errno ENOMEM without memory or when the product
 * overflows. */
DEMI_PUBLIC void *demi_calloc(_In_ size_t n, _In_ size_t size);

/*
 * Changes the size of an object and returns where it is now; contents are kept up to the smaller
 * size. An object in flight always moves. NULL for p: demi_malloc. Size 0: frees p, returns NULL.
 * On failure NULL, errno ENOMEM, and p is as it was.
 */
DEMI_PUBLIC void *demi_realloc(_In_opt_ void *p, _In_ size_t size);

/* Allocates size bytes at a multiple of align, a power of two. NULL and errno EINVAL (align), or
 * ENOMEM. */
DEMI_PUBLIC void *demi_aligned_alloc(_In_ size_t align, _In_ size_t size);

/* Frees an object; what is in flight is reclaimed when the I/O ends. NULL is ignored. */
DEMI_PUBLIC void demi_free(_In_opt_ void *p);

/* Returns the bytes that may be used at p, the start of an object: at least what was asked for. 0
 * for NULL. */
DEMI_PUBLIC size_t demi_usable_size(_In_opt_ const void *p);

DEMI_END_DECLS

#endif /* DEMI_MEMORY_H */
