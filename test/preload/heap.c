/* SPDX-License-Identifier: MIT */
/* See heap.h. */
#include "heap.h"

#include <dlfcn.h>

bool heap_has(const void *p)
{
    void (*range)(uintptr_t *, size_t *);
    *(void **)&range = dlsym(RTLD_DEFAULT, "dk_heap_range");
    if (range == NULL)
        return false;
    uintptr_t base;
    size_t span;
    range(&base, &span);
    return (uintptr_t)p - base < span;
}

static unsigned char pattern(const unsigned char *p, size_t i)
{
    return (unsigned char)(((uintptr_t)p >> 4) + i * 7);
}

void fill(void *p, size_t size)
{
    unsigned char *bytes = p;
    for (size_t i = 0; i < size; i++)
        bytes[i] = pattern(bytes, i);
}

bool filled(const void *p, size_t size)
{
    const unsigned char *bytes = p;
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != pattern(bytes, i))
            return false;
    return true;
}

uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}
