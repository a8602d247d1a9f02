/* SPDX-License-Identifier: MIT */
/*
 * Per-thread caches of free objects.
 *
 * For each size class a thread has a stack of free objects, marked DK_REF_CACHED, and the
 * superblock that it allocates from. The stack is filled from there, half of its room at a time,
 * and emptied by half when it is full; objects in it may be of any thread's superblocks. So a pair
 * of malloc and free touches no lock and no line that other threads write, and an object freed by
 * another thread than allocated it finds its way back by itself.
 *
 * What is not used any more is given back: a sweep, once in some slow paths, empties the stacks
 * that nobody touched since the one before, and gives back the lower half of those where nobody
 * came down to its middle.
 *
 * Before its first slow path a thread has the empty cache, `dk_cache_none`, whose stacks have no
 * room; and again when it ends: each object then comes from a superblock and goes back there.
 */
#ifndef DK_MEM_CACHE_H
#define DK_MEM_CACHE_H

#include "mem/superblock.h"

/*
 * The object that malloc takes next stands in the stack itself, not behind a pointer: where pairs
 * of malloc and free of one class follow each other, that load is on the path from each to the
 * next. The others are behind it, newest last: base[1], ... top[-1]; base[0] has no object, so that
 * taking the last one leaves none.
 */
struct dk_stack {
    struct dk_free_object first;  /* p NULL: the stack is empty */
    struct dk_free_object *top;   /* where `first` goes when another comes; base: it is empty */
    struct dk_free_object *limit; /* top: it is full, or has no room: free takes the slow path */
};

/* The rest of a stack, which only slow paths look at. */
struct dk_stack_rest {
    struct dk_free_object *base;
    uint32_t batch; /* objects that the next filling takes */
    uint32_t room;  /* objects that it may hold */
    /* At the last sweep: */
    const uint8_t *first;
    const uint8_t *middle; /* base[half] */
    uint32_t half;         /* of its height, rounded down */
};

struct dk_cache {
    struct dk_stack stacks[DK_NUM_CLASSES + 1]; /* the last, of large objects, has no room */
    struct dk_stack_rest rest[DK_NUM_CLASSES];
    struct dk_superblock *attached[DK_NUM_CLASSES];
    uint32_t slow_paths;
    struct dk_cache *next; /* of those that no thread has */
};

/* Word by word: a load of both cannot be served from two stores of one that are on their way. */
static inline void dk_copy_free_object(struct dk_free_object *to, const struct dk_free_object *from)
{
    uint8_t *p = __atomic_load_n(&from->p, __ATOMIC_RELAXED);
    uint8_t *ref = __atomic_load_n(&from->ref, __ATOMIC_RELAXED);
    __atomic_store_n(&to->p, p, __ATOMIC_RELAXED);
    __atomic_store_n(&to->ref, ref, __ATOMIC_RELAXED);
}

/* Takes the object that came last away from a stack that is not empty. */
static inline void dk_stack_drop(struct dk_stack *stack)
{
    dk_copy_free_object(&stack->first, --stack->top);
}

/* Adds an object to a stack that is not full. */
static inline void dk_stack_push(struct dk_stack *stack, uint8_t *p, uint8_t *ref)
{
    dk_copy_free_object(stack->top++, &stack->first);
    stack->first.p = p;
    stack->first.ref = ref;
}

DK_HIDDEN extern struct dk_cache dk_cache_none;
DK_EXPORT extern _Thread_local struct dk_cache *dk_cache_self;

/* Called once, before any other. 0 or a negative errno: then threads that end keep their caches. */
int dk_cache_init(void);

/* Whether caches keep nothing: each object then passes through its superblock. Affects caches that
 * are made later, and the calling thread's. */
void dk_cache_set_off(bool off);

/* Takes one free object of a class: false without memory. */
bool dk_cache_take(uint32_t size_class, bool debug, struct dk_free_object *out);

/* Gives one object back, marked DK_REF_CACHED by the caller; the class's stack may be full. */
void dk_cache_give(struct dk_superblock *sb, const struct dk_free_object *object);

/* The calling thread has no cache any more; what was in it stays there. */
void dk_cache_leave(void);

/* Empties the calling thread's cache. */
void dk_cache_trim(void);

void dk_cache_before_fork(void);
void dk_cache_after_fork(void);

#endif /* DK_MEM_CACHE_H */
