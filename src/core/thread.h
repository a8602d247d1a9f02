/* SPDX-License-Identifier: MIT */
/*
 * What the library knows of a thread: which instance it uses, its wait record, its number.
 *
 * Records are never freed, only reused: another thread may still look at the wait record of one
 * that has ended (wait.h). A thread gets one with its first call and gives it back when it ends.
 */
#ifndef DK_CORE_THREAD_H
#define DK_CORE_THREAD_H

#include "core/wait.h"

struct dk_thread {
    struct dk_waiter waiter;
    struct dk_instance *inst; /* NULL: never called demi_init; uses the first instance */
    uint32_t id;              /* > 0, unique among living threads */
    struct dk_thread *next_free;
    /* Instances of takers that it woke and has not seen to yet, each once: see taker.h. */
    uint32_t num_woken;
    struct dk_instance *woken[DK_MAX_INSTANCES];
    bool in_function; /* it runs a function of the application, see function.h */
};

DK_HIDDEN extern _Thread_local struct dk_thread *dk_thread_self;

/* Makes this thread's record; NULL without memory. */
struct dk_thread *dk_thread_attach(void);

/* Returns this thread's record, made at need; NULL without memory. */
static inline struct dk_thread *dk_thread_get(void)
{
    return dk_likely(dk_thread_self != NULL) ? dk_thread_self : dk_thread_attach();
}

/* This thread's number. */
static inline uint32_t dk_thread_id(void)
{
    return dk_thread_number;
}

/* Forgets the instance of every thread: the library ends. */
void dk_thread_detach_all(void);

/* In the child of a fork: only the calling thread is left, and it has no instance. */
void dk_thread_after_fork(void);

#endif /* DK_CORE_THREAD_H */
