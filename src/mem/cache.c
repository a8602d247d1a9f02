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

#define STACK_BYTES 32768u /* of objects in one stack */
#define MAX_SLOTS   64u
#define MIN_SLOTS   4u

struct dk_cache dk_cache_none;
_Thread_local struct dk_cache *dk_cache_self = &dk_cache_none;

static _Thread_local bool ended; /* this thread's cache was given up */

static struct {
    struct dk_lock lock; /* over `unused` */
    struct dk_cache *unused;
    struct dk_lock turn;     /* over `shared` */
    struct dk_cache *shared; /* of threads without one of their own */
    pthread_key_t key;
    bool have_key;
    bool off;
} caches;

static uint32_t slots_of(uint32_t size_class)
{
    size_t n = STACK_BYTES / dk_class_bytes(size_class);
    return (uint32_t)(n > MAX_SLOTS ? MAX_SLOTS : n < MIN_SLOTS ? MIN_SLOTS : n);
}

/* Bytes of a cache with all its slots. */
static size_t cache_bytes(void)
{
    size_t slots = 0;
    for (uint32_t i = 0; i < DK_NUM_CLASSES; i++)
        slots += slots_of(i);
    return sizeof(struct dk_cache) + slots * sizeof(struct dk_free_object);
}

static void set_room(struct dk_cache *c, bool off)
{
    for (uint32_t i = 0; i < DK_NUM_CLASSES; i++)
        c->stacks[i].cap = off ? 0 : slots_of(i);
}

static struct dk_cache *make(void)
{
    struct dk_cache *c = dk_pages_reserve(cache_bytes());
    if (!c)
        return NULL;
    struct dk_free_object *at = (struct dk_free_object *)(void *)(c + 1);
    for (uint32_t i = 0; i < DK_NUM_CLASSES; at += slots_of(i++))
        c->stacks[i].slots = at;
    return c;
}

/* Gives the n oldest objects of a stack back to their superblocks. */
static void give_oldest(struct dk_stack *stack, uint32_t n)
{
    struct dk_free_object *slots = stack->slots;
    for (uint32_t i = 0; i < n; i++)
        dk_superblock_give(dk_superblock_at(slots[i].p), &slots[i]);
    memmove(slots, slots + n, (stack->n - n) * sizeof(*slots));
    stack->n -= n;
}

static void empty(struct dk_cache *c)
{
    for (uint32_t i = 0; i < DK_NUM_CLASSES; i++) {
        give_oldest(&c->stacks[i], c->stacks[i].n);
        if (c->attached[i])
            dk_superblock_detach(c->attached[i]);
        c->attached[i] = NULL;
    }
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

static bool take(struct dk_cache *c, uint32_t size_class, bool debug, struct dk_free_object *out)
{
    struct dk_stack *stack = &c->stacks[size_class];
    if (stack->n == 0)
        stack->n = dk_superblock_take(&c->attached[size_class], size_class, debug, stack->slots,
                                      stack->cap > 1 ? stack->cap / 2 : 1);
    if (stack->n == 0)
        return false;
    *out = stack->slots[--stack->n];
    return true;
}

/* For threads that have no cache. */
static bool take_shared(uint32_t size_class, bool debug, struct dk_free_object *out)
{
    dk_lock(&caches.turn);
    if (!caches.shared)
        caches.shared = make(); /* no room in its stacks: nothing stays there */
    bool taken = caches.shared && take(caches.shared, size_class, debug, out);
    dk_unlock(&caches.turn);
    return taken;
}

bool dk_cache_take(uint32_t size_class, bool debug, struct dk_free_object *out)
{
    struct dk_cache *c = dk_cache_self;
    if (c == &dk_cache_none)
        c = adopt();
    return c ? take(c, size_class, debug, out) : take_shared(size_class, debug, out);
}

void dk_cache_give(struct dk_superblock *sb, const struct dk_free_object *object)
{
    struct dk_cache *c = dk_cache_self;
    if (c == &dk_cache_none)
        c = adopt();
    if (!c || c->stacks[sb->size_class].cap == 0) {
        dk_superblock_give(sb, object);
        return;
    }
    struct dk_stack *stack = &c->stacks[sb->size_class];
    if (stack->n >= stack->cap)
        give_oldest(stack, (stack->n + 1) / 2);
    stack->slots[stack->n++] = *object;
}

void dk_cache_set_off(bool off)
{
    caches.off = off;
    if (dk_cache_self == &dk_cache_none)
        return;
    empty(dk_cache_self);
    set_room(dk_cache_self, off);
}

void dk_cache_trim(void)
{
    if (dk_cache_self != &dk_cache_none)
        empty(dk_cache_self);
}

void dk_cache_before_fork(void)
{
    dk_lock(&caches.lock);
    dk_lock(&caches.turn);
}

void dk_cache_after_fork(void)
{
    dk_unlock(&caches.turn);
    dk_unlock(&caches.lock);
}
