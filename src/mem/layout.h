/* SPDX-License-Identifier: MIT */
/*
 * What is where inside a superblock: objects, their reference bytes (superblock.h), and the pages
 * that no object is on.
 */
#ifndef DK_MEM_LAYOUT_H
#define DK_MEM_LAYOUT_H

#include "mem/superblock.h"

#define DK_LAYOUT_PAGE_BYTES  ((size_t)4096)
#define DK_LAYOUT_SLICE_PAGES ((uint32_t)(DK_SLICE_BYTES / DK_LAYOUT_PAGE_BYTES))

/* Slices of a superblock of such objects: the fewest of which at most an eighth is left over. Few,
 * because each class and thread may have one that is nearly empty. */
uint32_t dk_layout_slices(size_t object_bytes);

/* Lays out a superblock, whose object_bytes and num_slices are set, in a run: all objects are free.
 */
void dk_layout_make(struct dk_superblock *sb, uint8_t *run);

/* Takes up to max free objects, marked DK_REF_CACHED. For the thread that the superblock is
 * attached to. */
uint32_t dk_layout_take(struct dk_superblock *sb, struct dk_free_object out[], uint32_t max);

/* Gives the memory of pages with nothing but free objects back to the system, as far as it may go
 * (dk_region_purge). For the thread that the superblock is attached to. */
void dk_layout_purge(struct dk_superblock *sb);

#endif /* DK_MEM_LAYOUT_H */
