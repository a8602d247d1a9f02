/* SPDX-License-Identifier: MIT */
/*
 * Objects too large for a size class: each has a run of slices, or a region of its own, and a
 * superblock header whose inline byte says who holds it.
 */
#ifndef DK_MEM_LARGE_H
#define DK_MEM_LARGE_H

#include "mem/superblock.h"

/* Makes a large object, its byte `ref`. align: a power of two. NULL without memory. *zero_out: it
 * is known to hold zeros. */
void *dk_large_alloc(size_t bytes, size_t align, uint8_t ref, bool debug, bool *zero_out);

/* Makes an object of more bytes with the contents of sb's, which only the application holds and
 * which is freed then. NULL without memory: it is as it was. */
void *dk_large_grow(struct dk_superblock *sb, size_t bytes);

/* Releases regions of freed objects that could not be released at the time. */
void dk_large_trim(void);

/* Frees a large object that nobody holds. */
void dk_large_free(struct dk_superblock *sb);

#endif /* DK_MEM_LARGE_H */
