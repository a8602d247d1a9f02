/* SPDX-License-Identifier: MIT */
/*
 * Canaries, junk, and poison (heap_debug.h).
 */
#include "mem/heap_debug.h"

#include "mem/heap_report.h"

#include <stdint.h>
#include <string.h>

#define CANARY     0xc5
#define JUNK       0xdb
#define NEW        0xa7 /* what nobody wrote yet */
#define SIZE_BYTES sizeof(uint64_t)
#define SIZE_MASK                                                                                  \
    UINT64_C(0x9e3779b97f4a7c15) /* a size that was overwritten rarely looks like one */

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define POISON(p, n)   __asan_poison_memory_region(p, n)
#define UNPOISON(p, n) __asan_unpoison_memory_region(p, n)
#else
#define POISON(p, n)   ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

static uint8_t *size_field(const void *p, size_t object_bytes)
{
    return (uint8_t *)(uintptr_t)p + object_bytes - SIZE_BYTES;
}

/* Returns the first byte of n that is not what it must be; n when all are. */
static size_t first_other(const uint8_t *p, size_t n, uint8_t value)
{
    if (n > 0 && p[0] == value && memcmp(p, p + 1, n - 1) == 0) /* all like the one before */
        return n;
    size_t i = 0;
    while (i < n && p[i] == value)
        i++;
    return i;
}

static void set_canary(uint8_t *p, size_t object_bytes, size_t requested)
{
    uint64_t masked = requested ^ SIZE_MASK;
    memset(p + requested, CANARY, object_bytes - SIZE_BYTES - requested);
    memcpy(size_field(p, object_bytes), &masked, SIZE_BYTES);
    POISON(p + requested, object_bytes - requested);
}

void dk_debug_fresh(void *start, size_t bytes)
{
    UNPOISON(start, bytes);
    memset(start, JUNK, bytes);
    POISON(start, bytes);
}

void dk_debug_alloc(void *p, size_t object_bytes, size_t requested, bool used_before)
{
    UNPOISON(p, object_bytes);
    if (used_before) {
        size_t at = first_other(p, object_bytes, JUNK);
        if (at < object_bytes)
            dk_heap_report_at("malloc", p, "this memory was written after free", at);
        memset(p, NEW, requested);
    }
    set_canary(p, object_bytes, requested);
}

void dk_debug_resize(void *p, size_t object_bytes, size_t requested)
{
    UNPOISON(p, object_bytes);
    set_canary(p, object_bytes, requested);
}

size_t dk_debug_requested(const void *p, size_t object_bytes)
{
    uint64_t masked;
    UNPOISON(size_field(p, object_bytes), SIZE_BYTES);
    memcpy(&masked, size_field(p, object_bytes), SIZE_BYTES);
    POISON(size_field(p, object_bytes), SIZE_BYTES);
    return masked ^ SIZE_MASK;
}

void dk_debug_check(const char *call, const void *p, size_t object_bytes)
{
    const uint8_t *bytes = p;
    size_t requested = dk_debug_requested(p, object_bytes);
    if (requested > object_bytes - DK_DEBUG_EXTRA)
        dk_heap_report(call, p, "overrun: memory was written far behind its end");
    size_t n = object_bytes - SIZE_BYTES - requested;
    UNPOISON(bytes + requested, n);
    size_t at = first_other(bytes + requested, n, CANARY);
    if (at < n)
        dk_heap_report_at(call, p, "overrun: memory was written behind its end", requested + at);
    POISON(bytes + requested, n);
}

void dk_debug_free(void *p, size_t object_bytes)
{
    dk_debug_fresh(p, object_bytes);
}

void dk_debug_gone(void *p, size_t bytes)
{
    UNPOISON(p, bytes);
}
