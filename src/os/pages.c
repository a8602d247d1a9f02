/* SPDX-License-Identifier: MIT */
/*
 * Reservations are private anonymous mappings that the kernel does not account for before they are
 * used; claims are the same without access, which cost nothing even where it accounts strictly.
 */
#include "os/pages.h"

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CLAIMED (MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)

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

/* mmap that leaves errno as it was. */
static void *map(void *p, size_t bytes, int prot, int flags)
{
    int saved = errno;
    void *got = mmap(p, bytes, prot, flags, -1, 0);
    errno = saved;
    return got == MAP_FAILED ? NULL : got;
}

void *dk_pages_reserve(size_t bytes)
{
    return map(NULL, bytes, PROT_READ | PROT_WRITE, CLAIMED);
}

void dk_pages_release(void *base, size_t bytes)
{
    if (base)
        munmap(base, bytes);
}

size_t dk_pages_address_limit(void)
{
    struct rlimit limit;
    bool limited = getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
    return limited ? (size_t)limit.rlim_cur : SIZE_MAX;
}

void *dk_pages_claim(size_t bytes, size_t align)
{
    uint8_t *p = map(NULL, bytes + align, PROT_NONE, CLAIMED);
    if (!p)
        return NULL;
    size_t before = (align - (uintptr_t)p % align) % align;
    if (before)
        munmap(p, before);
    munmap(p + before + bytes, align - before);
    return p + before;
}

bool dk_pages_back(void *p, size_t bytes)
{
    /* Not by a new mapping in place of the claim: where that fails, it may leave a hole for others.
     */
    int saved = errno;
    bool done = mprotect(p, bytes, PROT_READ | PROT_WRITE) == 0;
    errno = saved;
    return done;
}

int dk_pages_back_huge(void *p, size_t bytes)
{
    int saved = errno, r = 0;
    /* Made elsewhere and moved, for the same reason. Not MAP_NORESERVE: pages that are not there
     * must be missed now, not by a signal later. */
    void *huge =
        map(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB);
    if (!huge)
        return -ENOMEM;
    if (mremap(huge, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, p) == MAP_FAILED) {
        munmap(huge, bytes);
        r = -ENOMEM;
        /* The claim is whole, or was taken away by the attempt. */
        if (mprotect(p, bytes, PROT_NONE) < 0 &&
            mmap(p, bytes, PROT_NONE, CLAIMED | MAP_FIXED_NOREPLACE, -1, 0) != p)
            r = -EFAULT;
    }
    errno = saved;
    return r;
}

bool dk_pages_prefer_huge(void *p, size_t bytes)
{
    int saved = errno;
    bool done = madvise(p, bytes, MADV_HUGEPAGE) == 0;
    errno = saved;
    return done;
}

bool dk_pages_unback(void *p, size_t bytes)
{
    /* With too many mappings it stays accessible, but empty. */
    return map(p, bytes, PROT_NONE, CLAIMED | MAP_FIXED) || dk_pages_purge(p, bytes);
}

bool dk_pages_purge(void *p, size_t bytes)
{
    int saved = errno;
    bool done = madvise(p, bytes, MADV_DONTNEED) == 0;
    errno = saved;
    return done;
}

bool dk_pages_move(void *to, void *from, size_t bytes)
{
    int saved = errno;
    /* DONTUNMAP: a hole in the claim could be taken by another thread's mmap. */
    void *moved = mremap(from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to);
    errno = saved;
    return moved != MAP_FAILED;
}

bool dk_pages_lock(void *p, size_t bytes)
{
    int saved = errno;
    bool done = syscall(SYS_mlock2, p, bytes, MLOCK_ONFAULT) == 0; /* sanitizers drop munlock */
    errno = saved;
    return done;
}

void dk_pages_unlock(void *p, size_t bytes)
{
    int saved = errno;
    syscall(SYS_munlock, p, bytes);
    errno = saved;
}
