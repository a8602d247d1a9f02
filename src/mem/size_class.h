/* SPDX-License-Identifier: MIT */
/*
 * Size classes: multiples of 16 bytes up to 1 KiB, then eight to each doubling, up to 256 KiB. So
 * an object wastes at most an eighth of itself, and a small one at most 15 bytes.
 */
#ifndef DK_MEM_SIZE_CLASS_H
#define DK_MEM_SIZE_CLASS_H

#include <stddef.h>
#include <stdint.h>

#define DK_CLASS_SMALL_BYTES ((size_t)1024) /* up to here a class is a shift, without a branch */
#define DK_CLASS_MAX_BYTES   ((size_t)256 << 10)
#define DK_NUM_CLASSES       129 /* the first, of no bytes, is not used but by a size of 0 */

/* The smallest class whose objects hold size bytes, at most DK_CLASS_SMALL_BYTES. */
static inline uint32_t dk_class_of_small(size_t size)
{
    return (uint32_t)((size + 15) >> 4);
}

/* The smallest class whose objects hold size bytes; 1 <= size <= DK_CLASS_MAX_BYTES. */
static inline uint32_t dk_class_of(size_t size)
{
    if (size <= DK_CLASS_SMALL_BYTES)
        return dk_class_of_small(size);
    size_t last = size - 1;
    uint32_t doubling = 63 - (uint32_t)__builtin_clzll(last); /* 10: 1025 to 2048 */
    return (doubling - 10) * 8 + 65 + ((uint32_t)(last >> (doubling - 3)) & 7);
}

/* Bytes of an object of a class. */
static inline size_t dk_class_bytes(uint32_t size_class)
{
    if (size_class <= 64)
        return (size_class ? size_class : 1) * (size_t)16;
    uint32_t doubling = (size_class - 65) / 8 + 10;
    return (size_t)((size_class - 65) % 8 + 9) << (doubling - 3);
}

#endif /* DK_MEM_SIZE_CLASS_H */
