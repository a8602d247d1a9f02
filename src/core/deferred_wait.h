/* SPDX-License-Identifier: MIT */
/*
 * The wait for a pop that was only noted (deferred.h).
 */
#ifndef DK_CORE_DEFERRED_WAIT_H
#define DK_CORE_DEFERRED_WAIT_H

#include "core/deferred.h"
#include "core/poll.h"
#include "core/wait.h"

/*
 * What is left of the wait for the noted pop when its element was not put in its place, or before a
 * poll: takes the element out of the backend, else polls (polled: that was done, under this lead)
 * and takes it then. Without one the pop has ended otherwise, or begins. Whether the element is in
 * qr. The lead is held.
 */
bool dk_deferred_other(struct dk_instance *inst, demi_qresult_t *qr, const struct timespec *timeout,
                       bool polled);

/* A poll is due (as in dk_wait), which leaves what is noted as it is. The caller is alone. */
bool dk_deferred_poll(struct dk_instance *inst);

/* Whether the wait looks at the device; every so often it does that in any case. */
static inline bool dk_deferred_looks(const struct dk_instance *inst, const struct timespec *timeout)
{
    return dk_likely(dk_wait_has_time(timeout) && inst->sched.spin_us != 0);
}

/* Looks at the device once for the noted pop, of q, whose element goes to qr: awaited_qr, still
 * after the look. The lead is held. */
static inline __attribute__((always_inline)) void
dk_deferred_look_for(struct dk_instance *inst, struct dk_queue *q, demi_qresult_t *qr)
{
    inst->until_poll = DK_WAIT_POLL_EVERY;
    inst->awaited = q;
    inst->awaited_qr = qr;
    dk_poll_now(inst);
}

/* Whether it was put there in that look. */
static inline bool dk_deferred_came(struct dk_instance *inst)
{
    if (dk_likely(!inst->awaited))
        return true;
    inst->awaited = NULL;
    return false;
}

/* Both. */
static inline bool dk_deferred_look(struct dk_instance *inst, struct dk_queue *q,
                                    demi_qresult_t *qr)
{
    dk_deferred_look_for(inst, q, qr);
    return dk_deferred_came(inst);
}

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

/*
 * The most that most waits for the noted pop take: one look at the device, in which its element
 * comes. Whether there may be one: else, or where nothing came, dk_deferred_wait_other.
 */
static inline bool dk_deferred_may_look(const struct dk_instance *inst,
                                        const struct timespec *timeout)
{
    return dk_likely(!inst->deferred->queue->has_news && dk_deferred_looks(inst, timeout));
}

/* The rest of it, as far as that takes no sleep; polled: after that look. true: there is the
 * result; else it goes on as an operation like any other. The lead is held. */
static inline bool dk_deferred_wait_other(struct dk_instance *inst, demi_qresult_t *qr,
                                          const struct timespec *timeout, bool polled)
{
    bool there = false;
    if (!polled && --inst->until_poll - 1 >= DK_WAIT_POLL_EVERY) { /* as in dk_wait */
        there = dk_deferred_look(inst, inst->deferred->queue, qr);
        polled = true;
    }
    if (!there && !dk_deferred_other(inst, qr, timeout, polled))
        return false;
    dk_deferred_collect(inst, qr);
    return true;
}

#endif /* DK_CORE_DEFERRED_WAIT_H */
