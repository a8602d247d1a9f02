/* SPDX-License-Identifier: MIT */
/*
 * The slow paths of sync.h: spin, then sleep in futex(2).
 */
#include "os/sync.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* About a microsecond: longer than any critical section that this lock guards. */
#define DK_LOCK_SPINS 100

int dk_futex_wait(uint32_t *word, uint32_t value, int64_t timeout_ns)
{
    struct timespec ts = {.tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};
    long r =
        syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, timeout_ns < 0 ? NULL : &ts, NULL, 0);
    return r == 0 ? 0 : -errno;
}

void dk_futex_wake(uint32_t *word, int n)
{
    int saved = errno;
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
    errno = saved;
}

void dk_lock_slow(struct dk_lock *lock)
{
    int saved = errno;
    for (int i = 0; i < DK_LOCK_SPINS; i++) {
        dk_cpu_relax();
        if (__atomic_load_n(&lock->word, __ATOMIC_RELAXED) == 0 && dk_lock_try(lock))
            return;
    }
    while (__atomic_exchange_n(&lock->word, 2, __ATOMIC_ACQUIRE) != 0)
        dk_futex_wait(&lock->word, 2, -1);
    errno = saved;
}

void dk_lock_wake(struct dk_lock *lock)
{
    dk_futex_wake(&lock->word, 1);
}

int dk_barrier_init(void)
{
    return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) < 0 ? -errno
                                                                                        : 0;
}

void dk_barrier_all(void)
{
    syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
}
