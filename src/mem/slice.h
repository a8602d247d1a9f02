/* SPDX-License-Identifier: MIT */
/*
 * Runs of slices: 64 KiB pieces of the regions, from which superblocks and larger objects are made.
 *
 * A run lies within one chunk (2 MiB, 32 slices); what needs more gets a region of its own. Chunks
 * stand in lists by their longest free run, so the tightest one is found at once.
 *
 * Hysteresis. Free slices keep their pages until those amount to an eighth of what is in use (and 4
 * MiB); then they are purged. A region whose chunks are all free is released when the free chunks
 * amount to an eighth of all (and 2).
 */
#ifndef DK_MEM_SLICE_H
#define DK_MEM_SLICE_H

#include "mem/region.h"

#define DK_SLICE_SHIFT  16
#define DK_SLICE_BYTES  ((size_t)1 << DK_SLICE_SHIFT)
#define DK_CHUNK_SLICES 32

/* Makes the tables. 0 or -ENOMEM; it may be called again. */
int dk_slice_init(void);

/* Takes a run of n slices (1 to 32) that starts at a multiple of align slices (a power of two, at
 * most 32); NULL without memory. *zero_out: it is known to hold zeros. */
void *dk_slice_take(uint32_t n, uint32_t align, bool *zero_out);

/* Makes a region of at least so many bytes, of which runs are taken as of any other; its first n
 * slices (1 to 32) are the caller's. 0 or -ENOMEM. */
int dk_slice_reserve(size_t bytes, uint32_t n, struct dk_region **region_out);

/* Gives a run back. */
void dk_slice_give(void *p, uint32_t n);

/* Purges all free slices and releases every region that is wholly free. */
void dk_slice_trim(void);

void dk_slice_before_fork(void);
void dk_slice_after_fork(void);

#endif /* DK_MEM_SLICE_H */
