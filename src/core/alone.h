/* SPDX-License-Identifier: MIT */
/*
 * One thread that calls the library, in a process that has others.
 *
 * A device may make threads of its own (DPDK does), and most programs have some that never call the
 * library: then the C library says that there are several, and each lock would cost an atomic. As
 * long as only one thread has ever attached (thread.h), the shortest calls of that thread need
 * none: between dk_alone_enter and dk_alone_leave it is *alone*, and takes `lead` and `tokens` by
 * plain stores. Everything else takes them as ever: the words are the same.
 *
 * The next thread that attaches first says so (`ended`), has all processors see that (a barrier by
 * the kernel, so that the one need not pay for its side), and waits until the one is outside. From
 * then on nobody is alone. A call that is alone never sleeps; since a function of the application
 * may, nobody is alone either once there is an operator that has one.
 *
 * Invariant: `inside` is set by the first thread only, and while it is no other one is inside the
 * core. Where the kernel has no such barrier nobody is alone at all.
 */
#ifndef DK_CORE_ALONE_H
#define DK_CORE_ALONE_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stdint.h>

struct dk_alone {
    uint32_t inside; /* the thread is alone, right now */
    uint32_t ended;  /* it may not be */
};

DK_HIDDEN extern struct dk_alone dk_alone;

/* As dk_alone_enter, of the thread that was alone before, and may not be any more. */
static inline bool dk_alone_enter_again(void)
{
    __atomic_store_n(&dk_alone.inside, 1, __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_SEQ_CST); /* pairs with the barrier in dk_alone_end() */
    if (dk_likely(!__atomic_load_n(&dk_alone.ended, __ATOMIC_ACQUIRE)))
        return true;
    __atomic_store_n(&dk_alone.inside, 0, __ATOMIC_RELEASE);
    return false;
}

/* Whether the calling thread, which has attached, is alone from here on. */
static inline bool dk_alone_enter(void)
{
    if (dk_unlikely(__atomic_load_n(&dk_alone.ended, __ATOMIC_RELAXED)))
        return false;
    return dk_alone_enter_again();
}

/* alone: what dk_alone_enter said. */
static inline void dk_alone_leave(bool alone)
{
    if (dk_likely(alone))
        __atomic_store_n(&dk_alone.inside, 0, __ATOMIC_RELEASE);
}

/* Whether several threads call the library: queues may be made and closed beside a look at them. */
static inline bool dk_alone_ended(void)
{
    return __atomic_load_n(&dk_alone.ended, __ATOMIC_RELAXED) != 0;
}

/* Whether the calling thread is alone; once that is about to end, it may say that it is not. (The
 * one may still try to be, for a moment.) */
static inline bool dk_alone_is(void)
{
    return __atomic_load_n(&dk_alone.inside, __ATOMIC_RELAXED) != 0 && !dk_alone_ended();
}

/* The first thread attaches. */
void dk_alone_begin(void);

/* Another thread is about to enter the core: waits until nobody is alone, as long as that takes. */
void dk_alone_end(void);

/* The process ends: the same, for a moment at most, as the one may have been interrupted for good.
 */
void dk_alone_end_at_exit(void);

/* In the child of a fork. */
void dk_alone_after_fork(void);

#endif /* DK_CORE_ALONE_H */
