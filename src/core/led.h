/* SPDX-License-Identifier: MIT */
/*
 * Calls that take the lead and do all they have to while they hold it.
 *
 * A queue that is not `anywhere` is used under its instance's lead only. Whoever finds the lead
 * free needs no hold on the queue that he looked up (under the lead an open one stays open), and
 * for what is done at once no operation either: it is fresh (fast.h) from the start. What is fresh
 * is guarded by `tokens` where the caller is not alone (alone.h).
 *
 * The interface comes here while one thread calls the library: it looks at the queue before it has
 * the lead, and several threads may close queues and make others in their place meanwhile.
 */
#ifndef DK_CORE_LED_H
#define DK_CORE_LED_H

#include "core/fast.h"
#include "core/taker.h"
#include "core/thread.h"

/* Takes the lead for a call on q, if it is free and q may be used with it. */
static inline __attribute__((always_inline)) bool dk_led_enter(struct dk_instance *inst,
                                                               const struct dk_queue *q, bool alone)
{
    if (dk_unlikely(!dk_lead_try_now(inst, alone))) {
        dk_alone_leave(alone);
        return false;
    }
    dk_run_posted(inst);
    if (dk_likely(dk_queue_is_open(q) && q->inst == inst && !q->anywhere))
        return true;
    dk_lead_drop_now(inst, alone);
    dk_alone_leave(alone);
    return false;
}

static inline void dk_led_leave(struct dk_instance *inst, bool alone)
{
    dk_lead_drop_now(inst, alone);
    dk_alone_leave(alone);
    dk_taker_run_woken();
}

/* An operation on q was done at once. dk_op_reserve was called under this lead. */
static inline demi_qtoken_t dk_led_make_fresh(struct dk_instance *inst, struct dk_queue *q,
                                              bool alone)
{
    dk_tokens_lock(inst, alone);
    dk_op_settle(inst);
    if (dk_unlikely(!inst->free_ops))
        dk_op_use_reserve(inst);
    inst->fast_thread = dk_thread_id();
    demi_qtoken_t token = dk_fast_done(inst, q, DEMI_OPC_PUSH);
    if (dk_unlikely(inst->eventfd_armed))
        dk_instance_tell(inst);
    dk_tokens_unlock(inst, alone);
    return token;
}

/* A push on q failed at once: its result says so. 0 and its token, or -ENOMEM. */
int dk_led_make_failed(struct dk_instance *inst, struct dk_queue *q, int error,
                       demi_qtoken_t *qt_out);

/*
 * Pushes one segment, in memory that buf owns, on a queue of inst; to: of a pushto, which was
 * checked, else NULL. 0 and its token; -EAGAIN: nothing happened, take the other path (the lead is
 * another's, or it cannot be done at once).
 */
static inline __attribute__((always_inline)) int
dk_led_push(struct dk_instance *inst, struct dk_queue *q, const demi_sgarray_t *sga,
            struct dk_buf *buf, const struct sockaddr *to, demi_qtoken_t *qt_out)
{
    const bool alone = dk_alone_enter();
    if (!dk_led_enter(inst, q, alone))
        return -EAGAIN;
    int r = -EAGAIN;
    if (dk_likely(q->ops->push_led && dk_op_reserve(inst)))
        r = q->ops->push_led(q, sga, buf, to);
    if (dk_likely(r == 0))
        *qt_out = dk_led_make_fresh(inst, q, alone);
    else if (r != -EAGAIN)
        r = dk_led_make_failed(inst, q, r, qt_out);
    dk_led_leave(inst, alone);
    return r;
}

/* Issues and starts a pop. 0 and its token; -EAGAIN: nothing happened, take the other path; another
 * negative errno. */
static inline int dk_led_pop(struct dk_instance *inst, struct dk_queue *q, demi_qtoken_t *qt_out)
{
    struct dk_op *op;
    const bool alone = dk_alone_enter();
    if (!dk_led_enter(inst, q, alone))
        return -EAGAIN;
    dk_add_u32(&q->holds, 1);
    int r = dk_op_alloc_now(&op, inst, q, DEMI_OPC_POP, alone);
    if (dk_likely(r == 0)) {
        const demi_qtoken_t token = dk_op_token(op);
        r = dk_op_start_pop(op);
        if (dk_likely(r == 0))
            *qt_out = token;
        else
            dk_op_release(op);
    }
    dk_led_leave(inst, alone);
    return r;
}

#endif /* DK_CORE_LED_H */
