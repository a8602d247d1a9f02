/* SPDX-License-Identifier: MIT */
/*
 * Reservations are private anonymous mappings that the kernel does not account for before they are
 * used.
 */
#include "os/pages.h"

#include <sys/mman.h>

void __lsan_register_root_region(const void *p, size_t bytes) __attribute__((weak));
void __lsan_unregister_root_region(const void *p, size_t bytes) __attribute__((weak));

void dk_pages_add_root(const void *p, size_t bytes)
{
    if (__lsan_register_root_region)
        __lsan_register_root_region(p, bytes);
}

void dk_pages_drop_root(const void *p, size_t bytes)
{
    if (__lsan_unregister_root_region)
        __lsan_unregister_root_region(p, bytes);
}

void *dk_pages_reserve(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

void dk_pages_release(void *base, size_t bytes)
{
    if (base)
        munmap(base, bytes);
}
