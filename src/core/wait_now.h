/* SPDX-License-Identifier: MIT */
/*
 * The wait for one operation that is done, or comes with a look at the device, or while it is
 * looked at again and again by a thread that is alone: what a busy server, or one that spins, waits
 * for. It takes no sleep, and no array.
 */
#ifndef DK_CORE_WAIT_NOW_H
#define DK_CORE_WAIT_NOW_H

#include "core/alone.h"
#include "core/fast.h"
#include "core/wait.h"

/*
 * Waits for an operation of inst as far as that takes no sleep; most_ns: how long it
 * may look at the device, 0: not at all. w is the calling thread's. 0 and the result; -EAGAIN:
 * nothing happened, dk_wait goes on.
 */
static inline int dk_wait_now(struct dk_instance *inst, struct dk_waiter *w, demi_qtoken_t token,
                              demi_qresult_t *qr, int64_t most_ns)
{
    const uint32_t left = __atomic_load_n(&inst->until_poll, __ATOMIC_RELAXED) - 1;
    if (dk_unlikely(w->cancelled || left - 1 >= DK_WAIT_NO_POLLER))
        return -EAGAIN; /* dk_wait polls: it is due */
    __atomic_store_n(&inst->until_poll, left, __ATOMIC_RELAXED);
    const bool alone = dk_alone_enter();
    int r = 0;
    if (dk_unlikely(!alone) || !dk_fast_collect(inst, token, qr))
        r = dk_wait_look(inst, w, token, qr, most_ns, alone);
    dk_alone_leave(alone);
    return r;
}

#endif /* DK_CORE_WAIT_NOW_H */
