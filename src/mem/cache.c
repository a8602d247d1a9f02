/* SPDX-License-Identifier: MIT */
/*
 * Per-thread caches (cache.h): made at a thread's first need, reused when it ends.
 */
#include "mem/cache.h"

#include "os/pages.h"
#include "os/sync.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#define STACK_BYTES 16384u /* of objects in one stack, unless one is larger */
#define FIRST_BATCH 8u     /* doubles with each filling, to half of the room */
#define CACHED_BYTES                                                                               \
    32768u              /* larger objects are not cached: touching one costs more than a lock      \
                         */
#define SWEEP_EVERY 64u /* slow paths */

struct dk_cache dk_cache_none;
_Thread_local struct dk_cache *dk_cache_self = &dk_cache_none;

static _Thread_local bool ended; /* this thread's cache was given up */

static struct {
    struct dk_lock lock; /* over `unused` */
    struct dk_cache *unused;
    pthread_key_t key;
    bool have_key;
    bool off;
} caches;

static uint32_t slots_of(uint32_t size_class)
{
    size_t bytes = dk_class_bytes(size_class), n = STACK_BYTES / bytes;
    if (bytes > CACHED_BYTES)
        return 0;
    return n ? (uint32_t)n : 1;
}

/* With base[0]. Where a stack has no room, an object still passes through it. */
static uint32_t storage_of(uint32_t size_class)
{
    uint32_t n = slots_of(size_class);
    return (n ? n : 1) + 1;
}

/* Bytes of a cache with all its slots. */
static size_t cache_bytes(void)
{
    size_t slots = 0;
    for (uint32_t i = 0; i < DK_NUM_CLASSES; i++)
        slots += storage_of(i);
    return sizeof(struct dk_cache) + slots * sizeof(struct dk_free_object);
}

static void set_room(struct dk_cache *c, bool off)
{
    for (uint32_t i = 0; i < DK_NUM_CLASSES; i++) {
        struct dk_stack_rest *rest = &c->rest[i];
        rest->room = off ? 0 : slots_of(i);
        rest->batch = FIRST_BATCH;
        c->stacks[i].limit = rest->base + rest->room;
    }
}

static struct dk_cache *make(void)
{
    struct dk_cache *c = dk_pages_reserve(cache_bytes());
    if (!c)
        return NULL;
    struct dk_free_object *at = (struct dk_free_object *)(void *)(c + 1);
    for (uint32_t i = 0; i < DK_NUM_CLASSES; at += storage_of(i++))
        c->stacks[i].top = c->rest[i].base = at;
    return c;
}

static uint32_t height(const struct dk_cache *c, uint32_t size_class)
{
    return (uint32_t)(c->stacks[size_class].top - c->rest[size_class].base);
}

/* The n newest of base[1...] are the stack's. */
static void set_height(struct dk_cache *c, uint32_t size_class, uint32_t n)
{
    c->stacks[size_class].top = c->rest[size_class].base + n;
    c->stacks[size_class].first = *c->stacks[size_class].top;
}

/* Gives the n oldest objects of a stack back to their superblocks. */
static void give_oldest(struct dk_cache *c, uint32_t size_class, uint32_t n)
{
    struct dk_free_object *oldest = c->rest[size_class].base + 1;
    uint32_t left = height(c, size_class) - n;
    *c->stacks[size_class].top = c->stacks[size_class].first;
    for (uint32_t i = 0; i < n; i++)
        dk_superblock_give(dk_superblock_at(oldest[i].p), &oldest[i]);
    memmove(oldest, oldest + n, left * sizeof(*oldest));
    set_height(c, size_class, left);
}

static void empty_class(struct dk_cache *c, uint32_t size_class)
{
    give_oldest(c, size_class, height(c, size_class));
    if (c->attached[size_class])
        dk_superblock_detach(c->attached[size_class]);
    c->attached[size_class] = NULL;
}

static void empty(struct dk_cache *c)
{
    for (uint32_t i = 0; i < DK_NUM_CLASSES; i++)
        empty_class(c, i);
}

static void sweep_class(struct dk_cache *c, uint32_t size_class)
{
    struct dk_stack *stack = &c->stacks[size_class];
    struct dk_stack_rest *rest = &c->rest[size_class];
    if (rest->first == stack->first.p && (rest->first || c->attached[size_class]))
        empty_class(c, size_class);
    else if (rest->half > 0 && rest->half < height(c, size_class) &&
             rest->base[rest->half].p == rest->middle)
        give_oldest(c, size_class, rest->half);
    rest->first = stack->first.p;
    rest->half = height(c, size_class) / 2;
    rest->middle = rest->base[rest->half].p;
}

/* Each object in a stack may keep a whole superblock from being given back: those that nobody
 * needed since the last sweep go. */
static void sweep(struct dk_cache *c)
{
    for (uint32_t i = 0; i < DK_NUM_CLASSES; i++)
        sweep_class(c, i);
}

static void sweep_sometimes(struct dk_cache *c)
{
    if (++c->slow_paths % SWEEP_EVERY == 0)
        sweep(c);
}

/* A thread ends: its cache may serve another. */
static void thread_ended(void *arg)
{
    struct dk_cache *c = arg;
    ended = true;
    dk_cache_self = &dk_cache_none;
    empty(c);
    dk_lock(&caches.lock);
    c->next = caches.unused;
    caches.unused = c;
    dk_unlock(&caches.lock);
}

int dk_cache_init(void)
{
    int r = pthread_key_create(&caches.key, thread_ended);
    caches.have_key = r == 0;
    return -r;
}

/* Gives the calling thread a cache of its own, if it may have one. */
static struct dk_cache *adopt(void)
{
    if (ended)
        return NULL;
    dk_lock(&caches.lock);
    struct dk_cache *c = caches.unused;
    if (c)
        caches.unused = c->next;
    dk_unlock(&caches.lock);
    if (!c && !(c = make()))
        return NULL;
    set_room(c, caches.off);
    dk_cache_self = c; /* before the next call, which may allocate */
    if (caches.have_key)
        pthread_setspecific(caches.key, c);
    return c;
}

/* Fills an empty stack: each time with more, while the class is in use. */
static void fill(struct dk_cache *c, uint32_t size_class, bool debug)
{
    struct dk_stack_rest *rest = &c->rest[size_class];
    uint32_t half = rest->room / 2, n = rest->batch < half ? rest->batch : half;
    sweep_sometimes(c);
    rest->batch = n * 2 > FIRST_BATCH ? n * 2 : FIRST_BATCH;
    set_height(
        c, size_class,
        dk_superblock_take(&c->attached[size_class], size_class, debug, rest->base + 1, n ? n : 1));
}

static bool take(struct dk_cache *c, uint32_t size_class, bool debug, struct dk_free_object *out)
{
    if (!c->stacks[size_class].first.p)
        fill(c, size_class, debug);
    *out = c->stacks[size_class].first;
    if (!out->p)
        return false;
    dk_stack_drop(&c->stacks[size_class]);
    return true;
}

/* For threads that have no cache: the superblock is given up at once. */
static bool take_alone(uint32_t size_class, bool debug, struct dk_free_object *out)
{
    struct dk_superblock *attached = NULL;
    bool taken = dk_superblock_take(&attached, size_class, debug, out, 1) == 1;
    if (attached)
        dk_superblock_detach(attached);
    return taken;
}

bool dk_cache_take(uint32_t size_class, bool debug, struct dk_free_object *out)
{
    struct dk_cache *c = dk_cache_self;
    if (c == &dk_cache_none)
        c = adopt();
    return c ? take(c, size_class, debug, out) : take_alone(size_class, debug, out);
}

void dk_cache_give(struct dk_superblock *sb, const struct dk_free_object *object)
{
    struct dk_cache *c = dk_cache_self;
    if (c == &dk_cache_none)
        c = adopt();
    if (!c || c->rest[sb->size_class].room == 0) {
        dk_superblock_give(sb, object);
        return;
    }
    struct dk_stack *stack = &c->stacks[sb->size_class];
    if (stack->top == stack->limit) {
        give_oldest(c, sb->size_class, (c->rest[sb->size_class].room + 1) / 2);
        sweep_sometimes(c);
    }
    dk_stack_push(stack, object->p, object->ref);
}

void dk_cache_set_off(bool off)
{
    caches.off = off;
    if (dk_cache_self == &dk_cache_none)
        return;
    empty(dk_cache_self);
    set_room(dk_cache_self, off);
}

void dk_cache_leave(void)
{
    ended = true;
    dk_cache_self = &dk_cache_none;
}

void dk_cache_trim(void)
{
    if (dk_cache_self != &dk_cache_none)
        empty(dk_cache_self);
}

void dk_cache_before_fork(void)
{
    dk_lock(&caches.lock);
}

void dk_cache_after_fork(void)
{
    dk_unlock(&caches.lock);
}
