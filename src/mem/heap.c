/* SPDX-License-Identifier: MIT */
/*
 * The heap (heap.h): sizes, who holds an object, and when it is free.
 *
 * The two short paths are heap_fast.h; everything else is here.
 */
#include "mem/heap.h"

#include "mem/heap_fast.h"
#include "mem/heap_debug.h"
#include "mem/heap_report.h"
#include "mem/large.h"
#include "mem/overflow.h"
#include "mem/stats.h"
#include "os/sync.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { NOT_READY, READY };

static struct {
    struct dk_lock lock;
    uint32_t state;
    bool debug;
} heap;

static _Thread_local bool exiting;

/* Defined by libdemikernel-malloc.so, when that is loaded. */
extern const char dk_malloc_is_preloaded __attribute__((weak));

static void before_fork(void)
{
    dk_lock(&heap.lock);
    dk_region_before_fork(); /* a registrar that is being told may need all others */
    dk_cache_before_fork();
    dk_superblock_before_fork();
    dk_slice_before_fork();
    dk_region_before_fork_last();
}

static void after_fork(bool child)
{
    dk_slice_after_fork();
    dk_superblock_after_fork();
    dk_cache_after_fork();
    dk_region_after_fork(child);
    dk_unlock(&heap.lock);
}

static void in_parent(void)
{
    after_fork(false);
}

static void in_child(void)
{
    after_fork(true);
}

/* The environment, because the heap is used before anybody could configure it. demi_init adds what
 * the configuration file says. */
static void read_environment(void)
{
    const char *debug = secure_getenv("DEMI_DEBUG"), *pages = secure_getenv("DEMI_HUGE_PAGES");
    bool on = debug && (strcmp(debug, "heap") == 0 || strcmp(debug, "inflight") == 0);
    heap.debug = on || DK_DEBUG_ALWAYS;
    dk_cache_set_off(heap.debug);
    /* A private mapping of hugetlbfs may fail a child of fork by a signal, and any program may be
     * preloaded. */
    if (&dk_malloc_is_preloaded)
        dk_region_set_pages(DK_PAGES_THP);
    if (pages)
        dk_heap_set_pages(pages);
}

int dk_heap_set_pages(const char *word)
{
    static const struct {
        const char *word;
        enum dk_page_kind best;
    } words[] = {{"auto", DK_PAGES_HUGETLB},
                 {"hugetlb", DK_PAGES_HUGETLB},
                 {"transparent", DK_PAGES_THP},
                 {"none", DK_PAGES_PLAIN}};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strcmp(word, words[i].word) == 0) {
            if (i > 0)
                dk_region_set_pages(words[i].best);
            return 0;
        }
    return -EINVAL;
}

static bool make_ready(void)
{
    dk_lock(&heap.lock);
    bool first = heap.state == NOT_READY;
    if (first) {
        first = dk_region_init() == 0 && dk_slice_init() == 0 && dk_superblock_init() == 0;
        if (first) {
            read_environment();
            dk_cache_init();
            __atomic_store_n(&heap.state, READY, __ATOMIC_RELEASE);
        }
    }
    bool done = heap.state == READY;
    dk_unlock(&heap.lock);
    if (first) /* it may allocate */
        pthread_atfork(before_fork, in_parent, in_child);
    return done;
}

static bool ready(void)
{
    return dk_likely(__atomic_load_n(&heap.state, __ATOMIC_ACQUIRE) == READY) || make_ready();
}

static uint32_t slices_of(size_t bytes)
{
    return (uint32_t)((bytes + DK_SLICE_BYTES - 1) >> DK_SLICE_SHIFT);
}

int dk_heap_reserve(size_t bytes, size_t own, uint8_t **base_out, size_t *bytes_out)
{
    struct dk_region *region;
    int r = ready() ? dk_slice_reserve(bytes, slices_of(own), &region) : -ENOMEM;
    if (r < 0)
        return r;
    *base_out = region->base;
    *bytes_out = region->bytes;
    return 0;
}

void dk_heap_unreserve(uint8_t *base, size_t own)
{
    dk_slice_give(base, slices_of(own));
}

static void *alloc_large(size_t size, size_t align, uint8_t ref, bool zero)
{
    bool is_zero;
    size_t bytes = size + (heap.debug ? DK_DEBUG_EXTRA : 0);
    void *p = dk_large_alloc(bytes, align, ref, heap.debug, &is_zero);
    if (!p)
        return NULL;
    if (heap.debug)
        dk_debug_alloc(p, dk_superblock_at(p)->object_bytes, size, false);
    if (zero && !is_zero)
        memset(p, 0, size);
    return p;
}

/* The smallest class that holds size bytes at multiples of align, or DK_LARGE. */
static uint32_t class_for(size_t size, size_t align)
{
    if (size > DK_CLASS_MAX_BYTES || align > DK_SLICE_BYTES)
        return DK_LARGE;
    uint32_t size_class = dk_class_of(size);
    while (size_class < DK_NUM_CLASSES && dk_class_bytes(size_class) % align != 0)
        size_class++;
    return size_class;
}

/* The long way to an object of any size. */
static __attribute__((noinline)) void *alloc_slow(size_t size, size_t align, uint8_t ref, bool zero)
{
    struct dk_free_object object;
    if (size == 0)
        size = 1;
    if (size > DK_HEAP_MAX_BYTES || align > DK_HEAP_MAX_BYTES || !ready())
        return NULL;
    uint32_t size_class = class_for(size + (heap.debug ? DK_DEBUG_EXTRA : 0), align);
    if (size_class == DK_LARGE)
        return alloc_large(size, align, ref, zero);
    if (!dk_cache_take(size_class, heap.debug, &object))
        return NULL;
    if (dk_unlikely(__atomic_load_n(object.ref, __ATOMIC_RELAXED) != DK_REF_CACHED))
        dk_heap_report("free", object.p, "freed twice, by two threads at a time");
    if (dk_superblock_at(object.p)->debug)
        dk_debug_alloc(object.p, dk_class_bytes(size_class), size, true);
    __atomic_store_n(object.ref, ref, __ATOMIC_RELAXED);
    if (zero)
        memset(object.p, 0, size);
    return object.p;
}

static inline void *alloc(size_t size, uint8_t ref)
{
    void *p = dk_heap_take_cached(size, ref);
    return dk_likely(p != NULL) ? p : alloc_slow(size, DK_HEAP_ALIGN, ref, false);
}

void *dk_heap_malloc(size_t size)
{
    return alloc(size, DK_REF_APP);
}

void *dk_heap_alloc_ref(size_t size)
{
    return alloc(size, DK_REF_ONE);
}

void *dk_heap_zalloc(size_t size)
{
    if (size > DK_CLASS_MAX_BYTES / 4)
        return alloc_slow(size, DK_HEAP_ALIGN, DK_REF_APP, true);
    void *p = alloc(size, DK_REF_APP);
    return p ? memset(p, 0, size) : NULL;
}

void *dk_heap_aligned(size_t align, size_t size)
{
    return align <= DK_HEAP_ALIGN ? alloc(size, DK_REF_APP)
                                  : alloc_slow(size, align, DK_REF_APP, false);
}

/* Nobody holds the object any more; its byte is the caller's. */
static void reclaim(struct dk_superblock *sb, uint8_t *p, uint8_t *ref)
{
    const struct dk_free_object object = {p, ref};
    if (sb->debug) {
        dk_debug_check("free", p, sb->object_bytes);
        dk_debug_free(p, sb->object_bytes);
    }
    if (sb->size_class == DK_LARGE) {
        if (sb->debug)
            dk_debug_gone(p, sb->object_bytes);
        dk_large_free(sb);
        return;
    }
    __atomic_store_n(ref, DK_REF_CACHED, __ATOMIC_RELAXED);
    if (sb->debug)
        dk_superblock_give(sb, &object); /* the long way round: reused late */
    else
        dk_cache_give(sb, &object);
}

static __attribute__((noreturn, cold)) void report_unheld(const char *call, const void *p,
                                                          uint8_t b)
{
    bool is_free = b == DK_REF_FREE || b == DK_REF_CACHED;
    dk_heap_report(call, p,
                   is_free ? "freed twice: it is free already"
                           : "freed twice, or memory of an sga: only the library holds it");
}

/* Ends the application's hold where that is not the short path. */
static __attribute__((noinline)) void free_slow(struct dk_superblock *sb, uint8_t *p, uint8_t *ref)
{
    uint8_t b = __atomic_load_n(ref, __ATOMIC_ACQUIRE), left;
    if (exiting)
        return;
    if (!(b & DK_REF_APP))
        report_unheld("free", p, b);
    do { /* of two threads that free it, one gets here first */
        if (!(b & DK_REF_APP))
            report_unheld("free", p, b);
        left = b == DK_REF_APP ? DK_REF_CACHED : (uint8_t)(b & ~DK_REF_APP);
    } while (
        !__atomic_compare_exchange_n(ref, &b, left, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
    if (left == DK_REF_CACHED)
        reclaim(sb, p, ref);
    else
        dk_mem_count(deferred_frees, 1);
}

/* The object that starts at p; ends the process where there is none. */
static inline struct dk_superblock *find_start(const char *call, const void *p, uint8_t **ref_out)
{
    struct dk_superblock *sb = dk_superblock_at(p);
    if (dk_unlikely(!sb))
        dk_heap_report(call, p,
                       dk_heap_owns(p) ? "nothing is allocated there" : "not memory of this heap");
    uint64_t offset = (uint64_t)((const uint8_t *)p - sb->start);
    uint64_t index = dk_object_index(sb, offset);
    if (dk_unlikely(index * sb->object_bytes != offset || index >= sb->num_objects))
        dk_heap_report(call, p, "not the start of an object");
    *ref_out = dk_object_ref(sb, index);
    return sb;
}

void dk_heap_free(void *p)
{
    if (dk_likely(dk_heap_owns(p) && dk_heap_give_cached(p, dk_heap_free_word(p))))
        return;
    uint8_t *ref;
    struct dk_superblock *sb = find_start("free", p, &ref);
    free_slow(sb, p, ref);
}

static size_t usable_of(const struct dk_superblock *sb, const void *p)
{
    return sb->debug ? dk_debug_requested(p, sb->object_bytes) : sb->object_bytes;
}

size_t dk_heap_usable(const void *p)
{
    uint8_t *ref;
    const struct dk_superblock *sb = find_start("usable_size", p, &ref);
    uint8_t b = __atomic_load_n(ref, __ATOMIC_RELAXED);
    if (!(b & DK_REF_APP))
        report_unheld("usable_size", p, b);
    return usable_of(sb, p);
}

/* Whether an object that only the application holds becomes size bytes where it is. */
static bool resize_in_place(struct dk_superblock *sb, void *p, size_t size)
{
    size_t extra = sb->debug ? DK_DEBUG_EXTRA : 0;
    bool same_class =
        size + extra <= DK_CLASS_MAX_BYTES && dk_class_of(size + extra) == sb->size_class;
    if (!same_class && (size + extra > sb->object_bytes || size + extra <= sb->object_bytes / 2))
        return false;
    if (sb->debug)
        dk_debug_resize(p, sb->object_bytes, size);
    return true;
}

void *dk_heap_realloc(void *p, size_t size)
{
    uint8_t *ref;
    struct dk_superblock *sb = find_start("realloc", p, &ref);
    uint8_t b = __atomic_load_n(ref, __ATOMIC_ACQUIRE);
    if (!(b & DK_REF_APP))
        report_unheld("realloc", p, b);
    if (sb->debug)
        dk_debug_check("realloc", p, sb->object_bytes);
    size_t old = usable_of(sb, p);
    if (b == DK_REF_APP && size <= DK_HEAP_MAX_BYTES && resize_in_place(sb, p, size))
        return p;
    if (b == DK_REF_APP && sb->region && size > sb->object_bytes && size <= DK_HEAP_MAX_BYTES &&
        !sb->debug && !heap.debug)
        return dk_large_grow(sb, size);
    void *moved = alloc(size, DK_REF_APP);
    if (!moved)
        return NULL;
    memcpy(moved, p, old < size ? old : size);
    dk_heap_free(p);
    return moved;
}

bool dk_heap_find(const void *p, struct dk_heap_object *out)
{
    struct dk_superblock *sb = dk_superblock_at(p);
    if (!sb)
        return false;
    uint64_t offset = (uint64_t)((const uint8_t *)p - sb->start);
    uint64_t index = dk_object_index(sb, offset);
    if (index >= sb->num_objects || offset >= sb->num_objects * sb->object_bytes)
        return false;
    uint8_t b = __atomic_load_n(dk_object_ref(sb, index), __ATOMIC_RELAXED);
    if (b == DK_REF_FREE || b == DK_REF_CACHED)
        return false;
    out->start = sb->start + index * sb->object_bytes;
    out->usable = usable_of(sb, out->start);
    return (size_t)((const uint8_t *)p - out->start) < out->usable;
}

/* The superblock and number of the object that p points into, which somebody holds. */
static inline struct dk_superblock *find_held(const void *p, uint64_t *index_out)
{
    struct dk_superblock *sb = dk_superblock_by_slice[(uintptr_t)p >> DK_SLICE_SHIFT];
    *index_out = dk_object_index(sb, (uint64_t)((const uint8_t *)p - sb->start));
    return sb;
}

static inline uint8_t *find_ref(const void *p)
{
    uint64_t index;
    struct dk_superblock *sb = find_held(p, &index);
    return dk_object_ref(sb, index);
}

bool dk_heap_held_once(const void *p)
{
    return __atomic_load_n(find_ref(p), __ATOMIC_ACQUIRE) == DK_REF_ONE;
}

/* Adds n, 2 or -2, to a byte that is *b; false when it was not, then it is now. */
static inline bool add_to_ref(uint8_t *ref, uint8_t *b, int n)
{
    uint8_t sum = (uint8_t)(*b + n);
    if (dk_mt())
        return __atomic_compare_exchange_n(ref, b, sum, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
    *ref = sum;
    return true;
}

static __attribute__((noinline)) bool get_slow(const void *p)
{
    uint64_t index;
    struct dk_superblock *sb = find_held(p, &index);
    uint8_t *ref = dk_object_ref(sb, index);
    for (;;) {
        uint8_t b = __atomic_load_n(ref, __ATOMIC_RELAXED);
        if (b >> 1 >= DK_REF_MAX)
            return b != DK_REF_CACHED && dk_overflow_get(sb, index);
        if (add_to_ref(ref, &b, DK_REF_ONE))
            return true;
    }
}

/* Up to 63 references are counted here: the byte's sign says that there are more. */
uint8_t dk_heap_get(const void *p)
{
    uint8_t *ref = find_ref(p);
    uint8_t b = __atomic_load_n(ref, __ATOMIC_RELAXED);
    if (dk_unlikely((int8_t)b < 0 || !add_to_ref(ref, &b, DK_REF_ONE)))
        return get_slow(p);
    return b; /* not 0: somebody holds it */
}

static __attribute__((noinline)) void put_slow(const void *p)
{
    uint64_t index;
    struct dk_superblock *sb = find_held(p, &index);
    uint8_t *ref = dk_object_ref(sb, index);
    for (;;) {
        uint8_t b = __atomic_load_n(ref, __ATOMIC_ACQUIRE); /* what other holders did is done */
        if (exiting)
            return;
        if (b < DK_REF_ONE || b == DK_REF_CACHED)
            dk_heap_report("put", p, "the library has no reference");
        if (b == DK_REF_ONE) {
            reclaim(sb, sb->start + index * sb->object_bytes, ref);
            return;
        }
        bool many = b >> 1 == DK_REF_MANY;
        if (many ? dk_overflow_put(sb, index) : add_to_ref(ref, &b, -DK_REF_ONE))
            return;
    }
}

void dk_heap_put(const void *p)
{
    uint8_t *ref = find_ref(p);
    uint8_t b = __atomic_load_n(ref, __ATOMIC_RELAXED);
    /* Neither the last one, nor more than the byte's positive half. */
    if (dk_unlikely((int8_t)(b - DK_REF_ONE) <= 0 || !add_to_ref(ref, &b, -DK_REF_ONE)))
        put_slow(p);
}

void dk_heap_set_debug(bool on)
{
    if (!ready())
        return;
    heap.debug = on || DK_DEBUG_ALWAYS;
    dk_cache_set_off(heap.debug);
}

void dk_heap_trim(void)
{
    if (!ready())
        return;
    dk_cache_trim();
    dk_superblock_trim();
    dk_large_trim();
    dk_slice_trim();
}

void dk_heap_get_window(struct dk_heap_window *out)
{
    const bool there = __atomic_load_n(&heap.state, __ATOMIC_ACQUIRE) == READY;
    *out = there ? (struct dk_heap_window){dk_heap_base, dk_heap_span, dk_free_map}
                 : (struct dk_heap_window){0};
}

void dk_heap_exiting(void)
{
    exiting = true;
    dk_cache_leave();
}
