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
 * that nobody touched since the one before.
 *
 * Before its first slow path a thread has the empty cache, `dk_cache_none`, whose stacks have no
 * room; and again when it ends: each object then comes from a superblock and goes back there.
 */
#ifndef DK_MEM_CACHE_H
#define DK_MEM_CACHE_H

#include "mem/superblock.h"

/* Grows upwards from base. Pointers, not a number: one step less before the object is known. */
struct dk_stack {
    struct dk_free_object *top;   /* behind the object that is popped next */
    struct dk_free_object *base;  /* top: it is empty */
    struct dk_free_object *limit; /* top: it is full. base: every call takes the slow path */
    uint32_t batch;               /* objects that the next filling takes */
    uint32_t room;                /* objects that it may hold */
};

struct dk_cache {
    struct dk_stack stacks[DK_NUM_CLASSES + 1]; /* the last, of large objects, has no room */
    struct dk_superblock *attached[DK_NUM_CLASSES];
    const uint8_t *seen[DK_NUM_CLASSES]; /* what was on top at the last sweep */
    uint32_t slow_paths;
    struct dk_cache *next; /* of those that no thread has */
};

DK_HIDDEN extern struct dk_cache dk_cache_none;
DK_HIDDEN extern _Thread_local struct dk_cache *dk_cache_self;

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
