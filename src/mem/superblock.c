/* SPDX-License-Identifier: MIT */
/*
 * Superblocks of the size classes (superblock.h).
 *
 * One lock per class guards its lists and the states; it is taken when a superblock is attached,
 * runs out, or gets room again, never for one object. Who gives an object back counts it and then
 * looks at the mark (`wake`); who changes the state sets the mark and then looks at the count: one
 * of the two sees that there is room.
 *
 * The scavenger is whoever changes states: now and then it takes the superblocks of one class that
 * lie unused for longest, as if to allocate from them, and purges their pages without objects.
 */
#include "mem/superblock.h"

#include "mem/heap_debug.h"
#include "mem/heap_report.h"
#include "mem/layout.h"
#include "mem/overflow.h"
#include "mem/stats.h"
#include "os/pages.h"
#include "os/sync.h"

#include <errno.h>
#include <string.h>

#define STEP_CLASSES 8u   /* a step of the scavenger looks at so many at most */
#define STEP_PURGES  4u   /* superblocks that it purges at most */
#define COLD_AFTER   256u /* changes, and one for every second superblock */

enum { GONE, ATTACHED, FULL, PARTIAL, COLD };

struct dk_superblock **dk_superblock_map;
struct dk_superblock **dk_superblock_by_slice;
const uint64_t *dk_free_map;

static struct dk_superblock *headers; /* by slice */
static uint64_t *free_words;          /* by slice */

static struct {
    struct dk_lock lock;
    struct dk_list partial; /* which came last first */
    struct dk_list cold;    /* those with pages purged last */
} __attribute__((aligned(64))) classes[DK_NUM_CLASSES];

/* Changes of states in the process are what the scavenger calls time. */
static struct {
    uint32_t clock;
    uint32_t num_superblocks;
    uint32_t next_class;
} scavenger;

int dk_superblock_init(void)
{
    size_t n = dk_heap_span >> DK_SLICE_SHIFT;
    if (!dk_superblock_map)
        dk_superblock_map = dk_pages_reserve(n * sizeof(struct dk_superblock *));
    if (!headers)
        headers = dk_pages_reserve(n * sizeof(*headers));
    for (uint32_t i = 0; i < DK_NUM_CLASSES; i++)
        dk_list_init(&classes[i].partial), dk_list_init(&classes[i].cold);
    if (!free_words)
        free_words = dk_pages_reserve(n * sizeof(*free_words));
    if (!dk_superblock_map || !headers || !free_words)
        return -ENOMEM;
    dk_free_map = free_words - (dk_heap_base >> DK_SLICE_SHIFT);
    dk_superblock_by_slice = dk_superblock_map - (dk_heap_base >> DK_SLICE_SHIFT);
    return 0;
}

struct dk_superblock *dk_superblock_header(const void *p)
{
    return &headers[((uintptr_t)p - dk_heap_base) >> DK_SLICE_SHIFT];
}

static uint64_t free_word(const struct dk_superblock *sb)
{
    if (!sb)
        return 0;
    if (sb->debug || sb->size_class == DK_LARGE)
        return (uint64_t)DK_LARGE << 54 | DK_FREE_MAP_LONG_WAY;
    uint64_t ref_of_0 = (uintptr_t)sb->refs - ((uintptr_t)sb->start >> sb->ref_shift);
    return (uint64_t)sb->size_class << 54 | ref_of_0 << 16 >> 10 | sb->ref_shift;
}

void dk_superblock_set_map(const void *from, size_t bytes, struct dk_superblock *sb)
{
    size_t first = ((uintptr_t)from - dk_heap_base) >> DK_SLICE_SHIFT;
    size_t last = ((uintptr_t)from + bytes - 1 - dk_heap_base) >> DK_SLICE_SHIFT;
    const uint64_t word = free_word(sb);
    for (size_t i = first; i <= last; i++) {
        __atomic_store_n(&free_words[i], word, __ATOMIC_RELAXED);
        __atomic_store_n(&dk_superblock_map[i], sb, __ATOMIC_RELEASE);
    }
}

/* The first slice of a superblock of a class. */
static uint8_t *run_of(const struct dk_superblock *sb)
{
    return (uint8_t *)dk_heap_base + ((size_t)(sb - headers) << DK_SLICE_SHIFT);
}

static uint32_t used(const struct dk_superblock *sb)
{
    return __atomic_load_n(&sb->used, __ATOMIC_SEQ_CST);
}

static uint32_t wake(const struct dk_superblock *sb)
{
    return __atomic_load_n(&sb->wake, __ATOMIC_SEQ_CST);
}

static uint8_t state(const struct dk_superblock *sb)
{
    return __atomic_load_n(&sb->state, __ATOMIC_SEQ_CST);
}

/* mark: dk_superblock.wake. */
static void set_state(struct dk_superblock *sb, uint8_t to, uint32_t mark)
{
    __atomic_store_n(&sb->state, to, __ATOMIC_SEQ_CST);
    __atomic_store_n(&sb->wake, mark, __ATOMIC_SEQ_CST);
}

static struct dk_superblock *create(uint32_t size_class, bool debug)
{
    size_t bytes = dk_class_bytes(size_class);
    uint32_t n = dk_layout_slices(bytes);
    bool zero;
    uint8_t *run = dk_slice_take(n, 1, &zero);
    if (!run)
        return NULL;
    struct dk_superblock *sb = dk_superblock_header(run);
    sb->object_bytes = bytes;
    sb->reciprocal = UINT64_MAX / bytes + 1;
    __atomic_store_n(&sb->size_class, (uint16_t)size_class, __ATOMIC_RELAXED);
    sb->debug = debug;
    sb->overflow = NULL;
    sb->region = NULL;
    sb->num_slices = n;
    sb->cursor = 0;
    __atomic_store_n(&sb->used, 0, __ATOMIC_RELAXED);
    dk_layout_make(sb, run);
    if (debug)
        dk_debug_fresh(sb->start, sb->num_objects * bytes);
    set_state(sb, ATTACHED, 0);
    dk_superblock_set_map(run, n * DK_SLICE_BYTES, sb);
    dk_mem_count(superblocks, 1);
    dk_add_u32(&scavenger.num_superblocks, 1);
    return sb;
}

/* Gives the slices of a superblock that is empty and on no list back. */
static void retire(struct dk_superblock *sb)
{
    uint8_t *run = run_of(sb);
    uint32_t n = sb->num_slices;
    dk_superblock_set_map(run, n * DK_SLICE_BYTES, NULL);
    dk_overflow_drop(sb);
    if (sb->debug)
        dk_debug_gone(run, n * DK_SLICE_BYTES);
    dk_mem_count(superblocks, -1);
    dk_sub_u32(&scavenger.num_superblocks, 1);
    dk_slice_give(run, n);
}

/* A full superblock has room enough again to be worth a thread's while. */
static uint32_t room_mark(const struct dk_superblock *sb)
{
    uint32_t part = sb->num_objects / 32;
    return sb->num_objects - (part ? part : 1);
}

/*
 * Puts a superblock that no thread has where it belongs by what it has in use; the lock of its
 * class is held. true: it is empty, on no list, and the caller's to retire.
 */
static bool settle(struct dk_superblock *sb, uint32_t size_class)
{
    struct dk_list *partial = &classes[size_class].partial;
    if (state(sb) == FULL && used(sb) <= wake(sb)) {
        set_state(sb, PARTIAL, 0);
        sb->since = dk_add_u32(&scavenger.clock, 1);
        dk_list_add_head(partial, &sb->link);
    } else if (state(sb) == COLD && used(sb) <= wake(sb)) {
        set_state(sb, PARTIAL, 0); /* and still cold */
        dk_list_del(&sb->link);
        dk_list_add_tail(partial, &sb->link);
    }
    if ((state(sb) != PARTIAL && state(sb) != COLD) || used(sb) != 0)
        return false;
    dk_list_del(&sb->link);
    set_state(sb, GONE, 0);
    return true;
}

/* Whether nobody wanted a superblock for long. */
static bool is_cold(const struct dk_superblock *sb)
{
    uint32_t now = __atomic_load_n(&scavenger.clock, __ATOMIC_RELAXED);
    uint32_t count = __atomic_load_n(&scavenger.num_superblocks, __ATOMIC_RELAXED);
    return now - sb->since > COLD_AFTER + count / 2;
}

/* Takes the superblock of a class that nobody wanted for longest, if it is cold or `any` will do.
 */
static struct dk_superblock *take_coldest(uint32_t size_class, bool any)
{
    struct dk_superblock *sb = NULL;
    struct dk_list *head = &classes[size_class].partial;
    dk_lock(&classes[size_class].lock);
    if (!dk_list_empty(head)) {
        sb = dk_container_of(head->prev, struct dk_superblock, link);
        if ((any || is_cold(sb)) && !sb->debug) {
            dk_list_del(&sb->link);
            set_state(sb, ATTACHED, 0);
        } else {
            sb = NULL;
        }
    }
    dk_unlock(&classes[size_class].lock);
    return sb;
}

/* Makes a superblock cold until no more than `mark` of its objects are in use. */
static void put_cold(struct dk_superblock *sb, uint32_t size_class, bool purged, uint32_t mark)
{
    struct dk_list *cold = &classes[size_class].cold;
    dk_lock(&classes[size_class].lock);
    if (purged)
        dk_list_add_tail(cold, &sb->link);
    else
        dk_list_add_head(cold, &sb->link);
    set_state(sb, COLD, mark);
    bool gone = settle(sb, size_class);
    dk_unlock(&classes[size_class].lock);
    if (gone)
        retire(sb);
}

/*
 * Makes a superblock cold that the caller took. Its pages are purged once there are no more objects
 * than pages, when a third of the pages has none, and again when half of those are gone.
 * false: there are more.
 */
static bool cool(struct dk_superblock *sb, uint32_t size_class)
{
    uint32_t in_use = used(sb), pages = sb->num_slices * DK_LAYOUT_SLICE_PAGES;
    bool sparse = in_use <= pages;
    if (sparse)
        dk_layout_purge(sb);
    put_cold(sb, size_class, sparse, sparse ? in_use / 2 : pages);
    return sparse;
}

/* A step with each change: purges a few superblocks of one class. No lock is held. */
static void scavenge(void)
{
    uint32_t purged = 0;
    for (uint32_t i = 0; i < STEP_CLASSES && purged == 0; i++) {
        uint32_t size_class = dk_add_u32(&scavenger.next_class, 1) % DK_NUM_CLASSES;
        struct dk_superblock *sb;
        while (purged < STEP_PURGES && (sb = take_coldest(size_class, false)) != NULL)
            purged += cool(sb, size_class);
    }
}

void dk_superblock_trim(void)
{
    struct dk_superblock *sb;
    for (uint32_t i = 0; i < DK_NUM_CLASSES; i++)
        while ((sb = take_coldest(i, true)) != NULL)
            cool(sb, i);
}

/* Objects were given back to a superblock: looks whether that changes its state. It may be gone, or
 * another one by now. */
static void changed(struct dk_superblock *sb)
{
    uint16_t size_class = __atomic_load_n(&sb->size_class, __ATOMIC_RELAXED);
    if (size_class >= DK_NUM_CLASSES)
        return;
    dk_lock(&classes[size_class].lock);
    bool gone =
        __atomic_load_n(&sb->size_class, __ATOMIC_RELAXED) == size_class && settle(sb, size_class);
    dk_unlock(&classes[size_class].lock);
    if (gone)
        retire(sb);
    scavenge();
}

void dk_superblock_detach(struct dk_superblock *sb)
{
    uint16_t size_class = sb->size_class;
    dk_lock(&classes[size_class].lock);
    set_state(sb, FULL, room_mark(sb));
    bool gone = settle(sb, size_class);
    dk_unlock(&classes[size_class].lock);
    if (gone)
        retire(sb);
}

/* The first of a list whose objects are checked or not, as wanted: the first of all, unless
 * DEMI_DEBUG came late. */
static struct dk_superblock *find(const struct dk_list *head, bool debug)
{
    struct dk_list *l;
    dk_list_for_each (l, head) {
        struct dk_superblock *sb = dk_container_of(l, struct dk_superblock, link);
        if (sb->debug == debug)
            return sb;
    }
    return NULL;
}

static struct dk_superblock *attach(uint32_t size_class, bool debug)
{
    dk_lock(&classes[size_class].lock);
    struct dk_superblock *sb = find(&classes[size_class].partial, debug);
    if (!sb)
        sb = find(&classes[size_class].cold, debug);
    if (sb) {
        dk_list_del(&sb->link);
        set_state(sb, ATTACHED, 0);
    }
    dk_unlock(&classes[size_class].lock);
    return sb ? sb : create(size_class, debug);
}

/* Takes free objects of a superblock that is attached to the caller. */
static uint32_t take_from(struct dk_superblock *sb, struct dk_free_object out[], uint32_t max)
{
    uint32_t n = used(sb) < sb->num_objects ? dk_layout_take(sb, out, max) : 0;
    if (n)
        dk_add_u32(&sb->used, n);
    return n;
}

uint32_t dk_superblock_take(struct dk_superblock **attached, uint32_t size_class, bool debug,
                            struct dk_free_object out[], uint32_t max)
{
    for (;;) {
        uint32_t n = *attached ? take_from(*attached, out, max) : 0;
        if (n)
            return n;
        if (*attached)
            dk_superblock_detach(*attached);
        *attached = attach(size_class, debug);
        if (!*attached)
            return 0;
    }
}

void dk_superblock_give(struct dk_superblock *sb, const struct dk_free_object *object)
{
    if (dk_unlikely(__atomic_load_n(object->ref, __ATOMIC_RELAXED) != DK_REF_CACHED))
        dk_heap_report("free", object->p, "freed twice, by two threads at a time");
    __atomic_store_n(object->ref, DK_REF_FREE, __ATOMIC_RELEASE);
    uint32_t left = dk_mt() ? __atomic_sub_fetch(&sb->used, 1, __ATOMIC_SEQ_CST) : --sb->used;
    if (dk_unlikely(left <= wake(sb)))
        changed(sb);
}

void dk_superblock_before_fork(void)
{
    for (uint32_t i = 0; i < DK_NUM_CLASSES; i++)
        dk_lock(&classes[i].lock);
    dk_overflow_before_fork();
}

void dk_superblock_after_fork(void)
{
    dk_overflow_after_fork();
    for (uint32_t i = 0; i < DK_NUM_CLASSES; i++)
        dk_unlock(&classes[i].lock);
}
