/* SPDX-License-Identifier: MIT */
/*
 * Size classes: multiples of 16 bytes up to 128, then eight to each doubling, up to 256 KiB. So an
 * object wastes at most an eighth of itself, and about a sixteenth on average.
 */
#ifndef DK_MEM_SIZE_CLASS_H
#define DK_MEM_SIZE_CLASS_H

#include <stddef.h>
#include <stdint.h>

#define DK_CLASS_MAX_BYTES ((size_t)256 << 10)
#define DK_NUM_CLASSES     96

/* The smallest class whose objects hold size bytes; 1 <= size <= DK_CLASS_MAX_BYTES. */
static inline uint32_t dk_class_of(size_t size)
{
    size_t last = size - 1;
    if (last < 128)
        return (uint32_t)(last >> 4);
    uint32_t doubling = 63 - (uint32_t)__builtin_clzll(last); /* 7: 129 to 256 */
    return (doubling - 7) * 8 + 8 + ((uint32_t)(last >> (doubling - 3)) & 7);
}

/* Bytes of an object of a class. */
static inline size_t dk_class_bytes(uint32_t size_class)
{
    if (size_class < 8)
        return (size_class + 1) * (size_t)16;
    uint32_t doubling = size_class / 8 + 6;
    return (size_t)(size_class % 8 + 9) << (doubling - 3);
}

#endif /* DK_MEM_SIZE_CLASS_H */
