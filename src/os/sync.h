/* SPDX-License-Identifier: MIT */
/*
 * Locks and counters that cost nothing while the process has one thread.
 *
 * glibc's __libc_single_threaded says whether another thread can exist. While it holds, a lock is a
 * plain store: enough for an exit hook that runs in a signal handler to see that it interrupted a
 * critical section (dk_lock_try fails), and no atomic is paid. A thread is never created inside a
 * critical section of this library, so a lock taken in one mode is released in a mode that agrees
 * with it.
 */
#ifndef DK_OS_SYNC_H
#define DK_OS_SYNC_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/single_threaded.h>

/* True when another thread may exist. */
static inline bool dk_mt(void)
{
    return !__libc_single_threaded;
}

static inline void dk_cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#else
    __asm__ volatile("" ::: "memory");
#endif
}

/* 0 free, 1 held, 2 held and somebody sleeps on it. Spins briefly, then sleeps in the kernel. */
struct dk_lock {
    uint32_t word;
};

DK_EXPORT void dk_lock_slow(struct dk_lock *lock);
DK_EXPORT void dk_lock_wake(struct dk_lock *lock);

static inline bool dk_lock_try(struct dk_lock *lock)
{
    if (dk_mt()) {
        uint32_t expected = 0;
        return __atomic_compare_exchange_n(&lock->word, &expected, 1, false, __ATOMIC_ACQUIRE,
                                           __ATOMIC_RELAXED);
    }
    if (lock->word != 0)
        return false;
    lock->word = 1;
    return true;
}

static inline void dk_lock(struct dk_lock *lock)
{
    if (!dk_mt())
        lock->word = 1;
    else if (dk_unlikely(!dk_lock_try(lock)))
        dk_lock_slow(lock);
}

static inline void dk_unlock(struct dk_lock *lock)
{
    if (!dk_mt())
        lock->word = 0;
    else if (__atomic_exchange_n(&lock->word, 0, __ATOMIC_RELEASE) == 2)
        dk_lock_wake(lock);
}

/* Orders everything before it against everything after it, for all threads. */
static inline void dk_fence(void)
{
#if defined(__SANITIZE_THREAD__)
    static uint32_t word; /* the sanitizer knows no fences, but it knows this */
    __atomic_fetch_add(&word, 0, __ATOMIC_SEQ_CST);
#else
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/* Adds to a counter that several threads change; returns the new value. */
static inline uint32_t dk_add_u32(uint32_t *counter, uint32_t n)
{
    return dk_mt() ? __atomic_add_fetch(counter, n, __ATOMIC_ACQ_REL) : (*counter += n);
}

static inline uint32_t dk_sub_u32(uint32_t *counter, uint32_t n)
{
    return dk_mt() ? __atomic_sub_fetch(counter, n, __ATOMIC_ACQ_REL) : (*counter -= n);
}

/* A statistic: one writer at a time (its owner's lock), any reader. */
static inline void dk_count(uint64_t *counter, uint64_t n)
{
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
    /* The same in one instruction, which the compiler does not make of it. */
    __asm__("addq %1, %0" : "+m"(*counter) : "er"(n) : "cc");
#else
    __atomic_store_n(counter, __atomic_load_n(counter, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
#endif
}

/*
 * A barrier on all processors that run threads of the process, so that one side of a pair needs
 * none: init once before; 0 or a negative errno where the kernel has none.
 */
int dk_barrier_init(void);
void dk_barrier_all(void);

/* Sleeps while *word == value, at most timeout_ns (< 0: for ever). Returns 0, -EAGAIN (value
 * differs), -ETIMEDOUT or -EINTR. */
int dk_futex_wait(uint32_t *word, uint32_t value, int64_t timeout_ns);

/* Wakes at most n sleepers. */
void dk_futex_wake(uint32_t *word, int n);

#endif /* DK_OS_SYNC_H */
