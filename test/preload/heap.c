/* SPDX-License-Identifier: MIT */
/* See heap.h. */
#include "heap.h"

#include "mem/heap_fast.h"

#include <dlfcn.h>

bool heap_has(const void *p)
{
    void (*get_window)(struct dk_heap_window *);
    struct dk_heap_window window;
    *(void **)&get_window = dlsym(RTLD_DEFAULT, "dk_heap_get_window");
    if (get_window == NULL)
        return false;
    get_window(&window);
    return (uintptr_t)p - window.base < window.span;
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
