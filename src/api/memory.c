/* SPDX-License-Identifier: MIT */
/*
 * demi_malloc and its family: the public side of mem/heap.h. These calls need no instance.
 */
#include "mem/heap.h"

#include "mem/heap_fast.h"

#include <demi/memory.h>
#include <errno.h>

/* Not inlined: what is short stays short. */
static __attribute__((noinline)) void *malloc_slow(size_t size)
{
    void *p = dk_heap_malloc(size);
    if (!p)
        errno = ENOMEM;
    return p;
}

static void *or_enomem(void *p)
{
    if (dk_unlikely(!p))
        errno = ENOMEM;
    return p;
}

void *demi_malloc(size_t size)
{
    void *p = dk_heap_take_cached(size, DK_REF_APP);
    return dk_likely(p != NULL) ? p : malloc_slow(size);
}

void *demi_calloc(size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes))
        return or_enomem(NULL);
    return or_enomem(dk_heap_zalloc(bytes));
}

void *demi_realloc(void *p, size_t size)
{
    if (!p)
        return demi_malloc(size);
    if (size == 0) {
        dk_heap_free(p);
        return NULL;
    }
    return or_enomem(dk_heap_realloc(p, size));
}

void *demi_aligned_alloc(size_t align, size_t size)
{
    if (align == 0 || (align & (align - 1)) != 0) {
        errno = EINVAL;
        return NULL;
    }
    return or_enomem(dk_heap_aligned(align, size));
}

void demi_free(void *p)
{
    if (dk_likely(dk_heap_owns(p) && dk_heap_give_cached(p, dk_heap_free_word(p))))
        return;
    if (p)
        dk_heap_free(p);
}

size_t demi_usable_size(const void *p)
{
    return p ? dk_heap_usable(p) : 0;
}
