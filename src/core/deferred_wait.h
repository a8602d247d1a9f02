/* SPDX-License-Identifier: MIT */
/*
 * The wait for a pop that was only noted (deferred.h).
 */
#ifndef DK_CORE_DEFERRED_WAIT_H
#define DK_CORE_DEFERRED_WAIT_H

#include "core/deferred.h"
#include "core/poll.h"
#include "core/wait.h"

/* The noted pop did not come to an element: it has ended otherwise, as r says (dk_queue_ops.take),
 * or begins. The lead is held. */
void dk_deferred_end(struct dk_instance *inst, int r);

/* A poll is due (as in dk_wait), which leaves what is noted as it is. The caller is alone. */
bool dk_deferred_poll(struct dk_instance *inst);

/* Its element is in the result; the slot serves the next one, unless its generations are used up.
 */
static inline void dk_deferred_collect(struct dk_instance *inst, demi_qresult_t *qr)
{
    struct dk_op *op = inst->deferred;
    const demi_qtoken_t token = dk_op_token(op);
    qr->qr_opcode = DEMI_OPC_POP;
    qr->qr_qd = op->qr.qr_qd;
    qr->qr_qt = token;
    qr->qr_ret = 0;
    op->state = DK_OP_FREE;
    inst->deferred = NULL;
    dk_count(&inst->stats->completions, 1);
    inst->spare_pop =
        dk_likely(!__builtin_add_overflow(token, DK_OP_ONE_GENERATION, &op->qr.qr_qt)) ? op : NULL;
}

/* Takes the element out of the backend, where there may be one. The lead is held. */
static inline int dk_deferred_look(struct dk_queue *q, demi_sgarray_t *sga, bool polled)
{
    if (dk_likely(!q->has_news))
        return DK_TAKE_NONE;
    const int r = q->ops->pop_led(q, sga, polled);
    q->has_news = r != DK_TAKE_NONE;
    return r;
}

/* Takes the element, after a look at the device where it is not there. The lead is held. */
static inline int dk_deferred_take(struct dk_instance *inst, demi_sgarray_t *sga,
                                   const struct timespec *timeout)
{
    struct dk_queue *q = inst->deferred->queue;
    const bool due = --inst->until_poll - 1 >= DK_WAIT_POLL_EVERY; /* as in dk_wait */
    int r = dk_unlikely(due) ? DK_TAKE_NONE : dk_deferred_look(q, sga, false);
    if (dk_unlikely(r != DK_TAKE_NONE ||
                    (!due && !(dk_wait_has_time(timeout) && dk_polls_before_sleep(inst)))))
        return r;
    inst->until_poll = DK_WAIT_POLL_EVERY;
    inst->awaited = q;
    inst->awaited_sga = sga;
    dk_poll_once(inst, dk_instance_now(inst), true);
    if (dk_likely(!inst->awaited))
        return DK_TAKE_ELEMENT;
    inst->awaited = NULL;
    return dk_deferred_look(inst->deferred->queue, sga, true);
}

/* Waits for the noted pop as far as that takes no sleep: looks at the device once, unless the
 * time-out is zero. The caller is alone. 0 and the result; -EAGAIN: it goes on as an operation like
 * any other. */
static inline int dk_deferred_wait(struct dk_instance *inst, demi_qresult_t *qr,
                                   const struct timespec *timeout)
{
    if (dk_unlikely(!dk_lead_try_now(inst, true)))
        return -EAGAIN; /* its holder was interrupted by this call, and never goes on */
    const int r = dk_deferred_take(inst, &qr->qr_value.sga, timeout);
    if (dk_likely(r == DK_TAKE_ELEMENT))
        dk_deferred_collect(inst, qr);
    else
        dk_deferred_end(inst, r);
    dk_lead_drop_now(inst, true);
    return dk_likely(r == DK_TAKE_ELEMENT) ? 0 : -EAGAIN;
}

#endif /* DK_CORE_DEFERRED_WAIT_H */
