/* SPDX-License-Identifier: MIT */
/*
 * Superblocks of the size classes (superblock.h).
 *
 * One lock per class guards its list and the states; it is taken when a superblock is attached,
 * runs out, or gets room again, never for one object. Who gives an object back counts it and then
 * looks at the state; who detaches sets the state and then looks at the count: one of the two sees
 * that there is room.
 */
#include "mem/superblock.h"

#include "mem/heap_debug.h"
#include "mem/heap_report.h"
#include "mem/stats.h"
#include "os/pages.h"
#include "os/sync.h"

#include <errno.h>
#include <string.h>

#define MAX_SLICES    16u  /* of a superblock of a class */
#define IN_BAND_BYTES 1024 /* objects under this size have their bytes at the start of the run */
#define NO_OBJECT     0xff /* a byte behind the last object's: looks held */

enum { GONE, ATTACHED, FULL, PARTIAL };

struct dk_superblock **dk_superblock_map;
struct dk_superblock **dk_superblock_by_slice;

uint8_t *dk_superblock_stack;

static struct dk_superblock *headers; /* by slice */
static uint8_t *stacks;               /* by slice */

static struct {
    struct dk_lock lock;
    struct dk_list partial;
} __attribute__((aligned(64))) classes[DK_NUM_CLASSES];

static struct dk_lock overflow_lock; /* over all overflow tables */

int dk_superblock_init(void)
{
    size_t n = dk_heap_span >> DK_SLICE_SHIFT;
    if (!dk_superblock_map)
        dk_superblock_map = dk_pages_reserve(n * sizeof(struct dk_superblock *));
    if (!headers)
        headers = dk_pages_reserve(n * sizeof(*headers));
    for (uint32_t i = 0; i < DK_NUM_CLASSES; i++)
        dk_list_init(&classes[i].partial);
    if (!stacks)
        stacks = dk_pages_reserve(n);
    if (!dk_superblock_map || !headers || !stacks)
        return -ENOMEM;
    dk_superblock_stack = stacks - (dk_heap_base >> DK_SLICE_SHIFT);
    dk_superblock_by_slice = dk_superblock_map - (dk_heap_base >> DK_SLICE_SHIFT);
    return 0;
}

struct dk_superblock *dk_superblock_header(const void *p)
{
    return &headers[((uintptr_t)p - dk_heap_base) >> DK_SLICE_SHIFT];
}

void dk_superblock_set_map(const void *from, size_t bytes, struct dk_superblock *sb, uint32_t stack)
{
    size_t first = ((uintptr_t)from - dk_heap_base) >> DK_SLICE_SHIFT;
    size_t last = ((uintptr_t)from + bytes - 1 - dk_heap_base) >> DK_SLICE_SHIFT;
    memset(stacks + first, (int)stack, last - first + 1);
    for (size_t i = first; i <= last; i++)
        __atomic_store_n(&dk_superblock_map[i], sb, __ATOMIC_RELEASE);
}

/* The first slice of a superblock of a class. */
static uint8_t *run_of(const struct dk_superblock *sb)
{
    return (uint8_t *)dk_heap_base + ((size_t)(sb - headers) << DK_SLICE_SHIFT);
}

static size_t round_up(size_t n, size_t unit)
{
    return (n + unit - 1) & ~(unit - 1);
}

/* Fewest slices of which at most an eighth is left over: few, because each class and thread may
 * have one that is nearly empty. */
static uint32_t slices_for(size_t object_bytes)
{
    uint32_t n = 1;
    for (; n < MAX_SLICES; n++) {
        size_t run = n * DK_SLICE_BYTES;
        if (run >= object_bytes && run % object_bytes <= run / 8)
            break;
    }
    return n;
}

/* Lays out a superblock in a run of its slices: where its bytes are, and its objects. */
static void lay_out(struct dk_superblock *sb, uint8_t *run)
{
    size_t bytes = sb->object_bytes, room = sb->num_slices * DK_SLICE_BYTES, before = 0;
    sb->refs = sb->inline_refs;
    sb->num_objects = (uint32_t)(room / bytes);
    if (bytes < IN_BAND_BYTES) {
        size_t natural = bytes & -bytes;
        sb->refs = run;
        sb->num_objects = (uint32_t)(room / (bytes + 1));
        before = round_up(round_up(sb->num_objects, 8), natural);
        while (before + sb->num_objects * bytes > room)
            sb->num_objects--;
    }
    sb->start = run + before;
    memset(sb->refs, NO_OBJECT, bytes < IN_BAND_BYTES ? before : DK_INLINE_REFS);
    memset(sb->refs, DK_REF_FREE, sb->num_objects);
}

static struct dk_superblock *create(uint32_t size_class, bool debug)
{
    size_t bytes = dk_class_bytes(size_class);
    uint32_t n = slices_for(bytes);
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
    lay_out(sb, run);
    if (debug)
        dk_debug_fresh(sb->start, sb->num_objects * bytes);
    __atomic_store_n(&sb->state, ATTACHED, __ATOMIC_RELAXED);
    dk_superblock_set_map(run, n * DK_SLICE_BYTES, sb, debug ? DK_LARGE : size_class);
    dk_mem_count(superblocks, 1);
    return sb;
}

/* Gives the slices of a superblock that is empty and on no list back. */
static void retire(struct dk_superblock *sb)
{
    uint8_t *run = run_of(sb);
    uint32_t n = sb->num_slices;
    dk_superblock_set_map(run, n * DK_SLICE_BYTES, NULL, DK_LARGE);
    dk_superblock_drop_overflow(sb);
    if (sb->debug)
        dk_debug_gone(run, n * DK_SLICE_BYTES);
    dk_mem_count(superblocks, -1);
    dk_slice_give(run, n);
}

static uint32_t used(const struct dk_superblock *sb)
{
    return __atomic_load_n(&sb->used, __ATOMIC_SEQ_CST);
}

static uint8_t state(const struct dk_superblock *sb)
{
    return __atomic_load_n(&sb->state, __ATOMIC_SEQ_CST);
}

static void set_state(struct dk_superblock *sb, uint8_t to)
{
    __atomic_store_n(&sb->state, to, __ATOMIC_SEQ_CST);
}

/* Whether a full superblock has room enough again to be worth a thread's while. */
static bool has_room(const struct dk_superblock *sb, uint32_t in_use)
{
    uint32_t sixteenth = sb->num_objects / 16;
    return in_use + (sixteenth ? sixteenth : 1) <= sb->num_objects;
}

/*
 * Puts a superblock that no thread has where it belongs by what it has in use; the lock of its
 * class is held. true: it is empty, on no list, and the caller's to retire.
 */
static bool settle(struct dk_superblock *sb, uint32_t size_class)
{
    if (state(sb) == FULL && has_room(sb, used(sb))) {
        set_state(sb, PARTIAL);
        dk_list_add_tail(&classes[size_class].partial, &sb->link);
    }
    if (state(sb) != PARTIAL || used(sb) != 0)
        return false;
    dk_list_del(&sb->link);
    set_state(sb, GONE);
    return true;
}

/* Objects were given back to a superblock: looks whether that changes its state. It may be gone, or
 * another one by now. */
static void changed(struct dk_superblock *sb)
{
    uint16_t size_class = __atomic_load_n(&sb->size_class, __ATOMIC_RELAXED);
    if (size_class >= DK_NUM_CLASSES)
        return;
    dk_lock(&classes[size_class].lock);
    bool gone = __atomic_load_n(&sb->size_class, __ATOMIC_RELAXED) == size_class &&
                (state(sb) == FULL || state(sb) == PARTIAL) && settle(sb, size_class);
    dk_unlock(&classes[size_class].lock);
    if (gone)
        retire(sb);
}

void dk_superblock_detach(struct dk_superblock *sb)
{
    uint16_t size_class = sb->size_class;
    dk_lock(&classes[size_class].lock);
    set_state(sb, FULL);
    bool gone = settle(sb, size_class);
    dk_unlock(&classes[size_class].lock);
    if (gone)
        retire(sb);
}

static struct dk_superblock *attach(uint32_t size_class, bool debug)
{
    struct dk_superblock *sb = NULL;
    struct dk_list *l, *head = &classes[size_class].partial;
    dk_lock(&classes[size_class].lock);
    dk_list_for_each (l, head)
        if (dk_container_of(l, struct dk_superblock, link)->debug == debug)
            break; /* the first, unless DEMI_DEBUG came late */
    if (l != head) {
        sb = dk_container_of(l, struct dk_superblock, link);
        dk_list_del(l);
        set_state(sb, ATTACHED);
    }
    dk_unlock(&classes[size_class].lock);
    return sb ? sb : create(size_class, debug);
}

/* Sets the high bit of every byte that is zero. */
static uint64_t zero_bytes(uint64_t word)
{
    const uint64_t low = UINT64_C(0x7f7f7f7f7f7f7f7f);
    return ~(((word & low) + low) | word | low);
}

/* Takes the free objects among eight, at most max. */
static uint32_t take_eight(struct dk_superblock *sb, uint32_t eight, struct dk_free_object out[],
                           uint32_t max)
{
    uint64_t *word = (uint64_t *)(void *)sb->refs + eight;
    /* Pairs with the release of who gave the object back. */
    uint64_t free = zero_bytes(__atomic_load_n(word, __ATOMIC_ACQUIRE));
    uint32_t n = 0;
    for (; free && n < max; free &= free - 1) {
        uint32_t index = eight * 8 + (uint32_t)__builtin_ctzll(free) / 8;
        out[n].p = sb->start + index * sb->object_bytes;
        out[n].ref = &sb->refs[index];
        __atomic_store_n(out[n].ref, DK_REF_CACHED, __ATOMIC_RELAXED);
        n++;
    }
    return n;
}

static uint32_t search(struct dk_superblock *sb, struct dk_free_object out[], uint32_t max)
{
    uint32_t words = (sb->num_objects + 7) / 8, n = 0;
    if (used(sb) == sb->num_objects)
        return 0;
    for (uint32_t looked = 0; looked < words && n < max; looked++) {
        if (sb->cursor >= words)
            sb->cursor = 0;
        n += take_eight(sb, sb->cursor, out + n, max - n);
        sb->cursor += n < max;
    }
    if (n)
        dk_add_u32(&sb->used, n);
    return n;
}

uint32_t dk_superblock_take(struct dk_superblock **attached, uint32_t size_class, bool debug,
                            struct dk_free_object out[], uint32_t max)
{
    for (;;) {
        uint32_t n = *attached ? search(*attached, out, max) : 0;
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
    if (dk_unlikely(left == 0 || (state(sb) == FULL && has_room(sb, left))))
        changed(sb);
}

/* Makes the overflow table: a page or more, each number zero. */
static bool make_overflow(struct dk_superblock *sb)
{
    if (!sb->overflow)
        sb->overflow = dk_pages_reserve(sb->num_objects * sizeof(uint32_t));
    return sb->overflow != NULL;
}

void dk_superblock_drop_overflow(struct dk_superblock *sb)
{
    dk_pages_release(sb->overflow, sb->num_objects * sizeof(uint32_t));
    sb->overflow = NULL;
}

static uint8_t count_of(const uint8_t *ref)
{
    return __atomic_load_n(ref, __ATOMIC_RELAXED) >> 1;
}

/* Changes how many references a byte counts, and not whether the application holds the object. */
static bool change_count(uint8_t *ref, uint8_t from, uint8_t to)
{
    uint8_t old = __atomic_load_n(ref, __ATOMIC_RELAXED);
    while (old >> 1 == from)
        if (__atomic_compare_exchange_n(ref, &old, (uint8_t)((old & DK_REF_APP) | to << 1), false,
                                        __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            return true;
    return false;
}

/* Counts one more reference; `overflow_lock` is held. 1, 0 (none can be counted), or -1: the byte
 * changed meanwhile. */
static int count_one_more(struct dk_superblock *sb, uint64_t index)
{
    uint8_t *ref = &sb->refs[index];
    uint8_t n = count_of(ref);
    if (n < DK_REF_MAX) /* some were given back */
        return change_count(ref, n, (uint8_t)(n + 1)) ? 1 : -1;
    if (n == DK_REF_MAX) {
        if (!make_overflow(sb))
            return 0;
        sb->overflow[index] = DK_REF_MAX + 1;
        return change_count(ref, DK_REF_MAX, DK_REF_MANY) ? 1 : -1;
    }
    if (n != DK_REF_MANY || sb->overflow[index] == UINT32_MAX)
        return 0;
    sb->overflow[index]++;
    return 1;
}

bool dk_ref_get_many(struct dk_superblock *sb, uint64_t index)
{
    int counted;
    dk_lock(&overflow_lock);
    while ((counted = count_one_more(sb, index)) < 0)
        ;
    dk_unlock(&overflow_lock);
    return counted == 1;
}

bool dk_ref_put_many(struct dk_superblock *sb, uint64_t index)
{
    uint8_t *ref = &sb->refs[index];
    dk_lock(&overflow_lock);
    bool many = count_of(ref) == DK_REF_MANY;
    /* Half-way down, so that one reference more and one less is not a way through here each time.
     */
    if (many && --sb->overflow[index] == DK_REF_MAX / 2)
        change_count(ref, DK_REF_MANY, DK_REF_MAX / 2);
    dk_unlock(&overflow_lock);
    return many;
}

void dk_superblock_before_fork(void)
{
    for (uint32_t i = 0; i < DK_NUM_CLASSES; i++)
        dk_lock(&classes[i].lock);
    dk_lock(&overflow_lock);
}

void dk_superblock_after_fork(void)
{
    dk_unlock(&overflow_lock);
    for (uint32_t i = 0; i < DK_NUM_CLASSES; i++)
        dk_unlock(&classes[i].lock);
}
