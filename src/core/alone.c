/* SPDX-License-Identifier: MIT */
/*
 * The beginning and the end of being alone (alone.h).
 */
#include "core/alone.h"

#include "os/sync.h"

#include <unistd.h>

struct dk_alone dk_alone = {.ended = 1};

#define WAIT_US  50
#define WAIT_MAX 20000 /* a call that is alone takes microseconds: after a second it never ends */

void dk_alone_begin(void)
{
    const bool able = dk_barrier_init() == 0;
    __atomic_store_n(&dk_alone.ended, !able, __ATOMIC_RELEASE);
}

/* Nobody becomes alone any more. */
static void end(void)
{
    if (!__atomic_exchange_n(&dk_alone.ended, 1, __ATOMIC_SEQ_CST))
        dk_barrier_all(); /* pairs with the fence in dk_alone_enter() */
}

static bool is_inside(void)
{
    return __atomic_load_n(&dk_alone.inside, __ATOMIC_ACQUIRE) != 0;
}

void dk_alone_end(void)
{
    end();
    while (is_inside())
        usleep(WAIT_US);
}

void dk_alone_end_at_exit(void)
{
    end();
    for (int i = 0; i < WAIT_MAX && is_inside(); i++)
        usleep(WAIT_US);
}

void dk_alone_after_fork(void)
{
    __atomic_store_n(&dk_alone.inside, 0, __ATOMIC_RELAXED);
    if (!dk_alone.ended)
        dk_alone_begin();
}
