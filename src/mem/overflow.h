/* SPDX-License-Identifier: MIT */
/*
 * References beyond what an object's byte counts (superblock.h): a number per object, in a table
 * that a superblock has from the first such object on until it goes.
 *
 * The number counts while the byte says DK_REF_MANY; then it is more than half of DK_REF_MAX.
 */
#ifndef DK_MEM_OVERFLOW_H
#define DK_MEM_OVERFLOW_H

#include "mem/superblock.h"

/* Takes one more reference; false when none can be counted. */
bool dk_overflow_get(struct dk_superblock *sb, uint64_t index);

/* Gives one back; false when the byte counts by now. */
bool dk_overflow_put(struct dk_superblock *sb, uint64_t index);

/* Frees the table of a superblock that goes. */
void dk_overflow_drop(struct dk_superblock *sb);

void dk_overflow_before_fork(void);
void dk_overflow_after_fork(void);

#endif /* DK_MEM_OVERFLOW_H */
