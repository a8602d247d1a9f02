/* SPDX-License-Identifier: MIT */
/*
 * Regions: the heap's memory as devices see it.
 *
 * One range of address space is reserved when the heap starts, so whether a pointer is the heap's
 * is one comparison, and all tables about it are arrays. The range is divided into chunks of 2 MiB.
 * A region is a run of chunks that has memory behind it: huge pages of hugetlbfs while some are
 * free, else transparent huge pages, else plain ones. Its memory is handed out only between its
 * creation and its release.
 *
 *          reserved (no memory) --create--> region --release--> reserved
 *
 * Registrars. A device that must know memory before it may read it (an RDMA key, an offset in a
 * UMEM, the index of a registered buffer, an I/O address) adds a registrar. It is told of every
 * region that there is, of every one that comes before its memory is used, and of every one that
 * goes before its memory goes. Who was added first is told first of one that comes, and last of one
 * that goes: a registrar may build upon an earlier one. The handle it gives is found from any
 * pointer by two loads. While
 * there is a registrar, pages of a region stay where they are: they are locked as far as
 * RLIMIT_MEMLOCK allows, and not purged.
 *
 * Left out: what is inside a region (slice.h).
 */
#ifndef DK_MEM_REGION_H
#define DK_MEM_REGION_H

#include "base/compiler.h"
#include "base/list.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DK_CHUNK_SHIFT    21
#define DK_CHUNK_BYTES    ((size_t)1 << DK_CHUNK_SHIFT)
#define DK_REGISTRARS_MAX 8
#define DK_NO_HANDLE      UINT64_MAX /* the device cannot reach it: copy */

/* What is asked for, and what a region got. */
enum dk_page_kind { DK_PAGES_PLAIN, DK_PAGES_THP, DK_PAGES_HUGETLB };

/* Owned by who adds it; it stays where it is until it is removed. */
struct dk_registrar {
    const char *name;
    /*
     * Makes [base, base + bytes) reachable for the device and gives its handle. 0 or a negative
     * errno: then the region's handle is DK_NO_HANDLE. That may be the handle, too: the device does
     * without this region, and nobody is told. May block, and may allocate from the heap
     * (what it then gets may be unregistered until it returns). One call at a time per process.
     */
    int (*map)(struct dk_registrar *r, void *base, size_t bytes, uint64_t *handle_out);
    /* Undoes map; no I/O uses the memory. Called once for each handle that map gave. */
    void (*unmap)(struct dk_registrar *r, void *base, size_t bytes, uint64_t handle);
    uint32_t index; /* set by dk_registrar_add */
};

struct dk_region {
    uint8_t *base;
    size_t bytes;         /* a multiple of 4 KiB: what is registered; the rest of the last chunk is
                             never touched */
    uint32_t num_chunks;  /* address space */
    uint8_t kind;         /* enum dk_page_kind */
    uint8_t told;         /* registrars that know it, a bit each */
    bool locked;          /* in memory, by mlock2 */
    uint32_t idle_chunks; /* wholly free: slice.c */
    struct dk_list link;  /* all regions */
    uint64_t handles[DK_REGISTRARS_MAX]; /* by registrar index */
};

/* The reserved range: set once, before any memory is handed out. dk_heap_span is 0 before that. */
DK_HIDDEN extern uintptr_t dk_heap_base;
DK_HIDDEN extern uintptr_t dk_heap_span;

/* The region of each chunk, NULL where there is none. */
DK_HIDDEN extern struct dk_region **dk_chunk_region;

/* Whether p lies in the heap's range (there may be no memory). */
static inline bool dk_heap_owns(const void *p)
{
    return (uintptr_t)p - dk_heap_base < dk_heap_span;
}

/* Reserves the range, as large as the process may have it. 0 or -ENOMEM. Idempotent; the caller
 * sees to it that one thread calls it. */
int dk_region_init(void);

/* The best kind of page that further regions may have; the default is hugetlb. */
void dk_region_set_pages(enum dk_page_kind best);

/*
 * Makes a region of bytes (> 0, rounded up to pages) and tells the registrars. Its pages are zero.
 * 0 or -ENOMEM. Blocks as the registrars do.
 */
int dk_region_create(struct dk_region **region_out, size_t bytes);

/*
 * Tells the registrars and gives the memory back. Nothing inside is in use. false, and nothing
 * happened: the calling thread is inside a registrar.
 */
bool dk_region_release(struct dk_region *region);

/*
 * Gives the memory of whole pages inside a region back to the system until it is touched again;
 * false when it must stay (registered, or hugetlb). The pages are zero afterwards.
 */
bool dk_region_purge(struct dk_region *region, void *p, size_t bytes);

/* Moves the pages of one region to the start of another that is at least as large, without a copy;
 * false when they must stay (registered, or hugetlb). */
bool dk_region_move(struct dk_region *to, struct dk_region *from);

/* Adds a registrar and maps every region. 0, or -ENOSPC (DK_REGISTRARS_MAX are there). A region
 * that cannot be mapped is counted and gets DK_NO_HANDLE. */
DK_EXPORT int dk_registrar_add(struct dk_registrar *r);

/* Unmaps every region and forgets r. */
DK_EXPORT void dk_registrar_remove(struct dk_registrar *r);

/* Returns the handle of the memory at p for r's device; p is in memory of the heap. O(1). */
static inline uint64_t dk_region_handle(const void *p, const struct dk_registrar *r)
{
    const struct dk_region *region =
        dk_chunk_region[((uintptr_t)p - dk_heap_base) >> DK_CHUNK_SHIFT];
    return dk_likely(region != NULL) ? __atomic_load_n(&region->handles[r->index], __ATOMIC_ACQUIRE)
                                     : DK_NO_HANDLE;
}

/* The same of any address: DK_NO_HANDLE for what is not in memory of the heap. */
DK_EXPORT uint64_t dk_region_handle_at(const void *p, const struct dk_registrar *r);

/* Around fork: no other thread is inside; the child has no registrars (devices are the parent's).
 */
void dk_region_before_fork(void);
void dk_region_before_fork_last(void); /* after slices: they purge with their lock held */
void dk_region_after_fork(bool child);

#endif /* DK_MEM_REGION_H */
