/* SPDX-License-Identifier: MIT */
/*
 * Pushes and pops under the lead (led.h).
 */
#include "core/led.h"

#include "core/fast.h"
#include "core/taker.h"
#include "core/thread.h"

#include <errno.h>

/* Takes the lead for a call on q, if it is free and q may be used with it. */
static inline __attribute__((always_inline)) bool enter(struct dk_instance *inst,
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

static inline void leave(struct dk_instance *inst, bool alone)
{
    dk_lead_drop_now(inst, alone);
    dk_alone_leave(alone);
    dk_taker_run_woken();
}

/* An operation on q was done at once. dk_op_reserve was called under this lead. */
static inline demi_qtoken_t make_fresh(struct dk_instance *inst, struct dk_queue *q, bool alone)
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

/* A push on q failed at once: its result says so. */
__attribute__((noinline)) static int make_failed(struct dk_instance *inst, struct dk_queue *q,
                                                 int error, demi_qtoken_t *qt_out)
{
    struct dk_op *op;
    dk_add_u32(&q->holds, 1);
    int r = dk_op_alloc(&op, inst, q, DEMI_OPC_PUSH);
    if (r < 0)
        return r;
    *qt_out = dk_op_token(op);
    dk_op_complete(op, error);
    return 0;
}

int dk_led_push(struct dk_instance *inst, struct dk_queue *q, const demi_sgarray_t *sga,
                struct dk_buf *buf, const struct sockaddr *to, demi_qtoken_t *qt_out)
{
    const bool alone = dk_alone_enter();
    if (!enter(inst, q, alone))
        return -EAGAIN;
    int r = -EAGAIN;
    if (dk_likely(q->ops->push_led && dk_op_reserve(inst)))
        r = q->ops->push_led(q, sga, buf, to);
    if (dk_likely(r == 0))
        *qt_out = make_fresh(inst, q, alone);
    else if (r != -EAGAIN)
        r = make_failed(inst, q, r, qt_out);
    leave(inst, alone);
    return r;
}

int dk_led_pop(struct dk_instance *inst, struct dk_queue *q, demi_qtoken_t *qt_out)
{
    struct dk_op *op;
    const bool alone = dk_alone_enter();
    if (!enter(inst, q, alone))
        return -EAGAIN;
    dk_add_u32(&q->holds, 1);
    int r = dk_op_alloc(&op, inst, q, DEMI_OPC_POP);
    if (dk_likely(r == 0)) {
        const demi_qtoken_t token = dk_op_token(op);
        r = dk_op_start_pop(op);
        if (dk_likely(r == 0))
            *qt_out = token;
        else
            dk_op_release(op);
    }
    leave(inst, alone);
    return r;
}
