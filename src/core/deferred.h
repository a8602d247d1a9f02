/* SPDX-License-Identifier: MIT */
/*
 * Pops that begin with their wait.
 *
 * Most pops of a busy server come before their element does. As an operation such a pop goes to its
 * socket's list, the poll of its wait takes it off again and puts it on the ready list, and the
 * wait takes it off that. All this is for others who may look at it; while one thread calls the
 * library (alone.h) there are none until its next call. So a pop of a queue that can be popped
 * under the lead (dk_queue_ops.pop_led) is only *noted*: it has a token, and inst->deferred is its
 * slot. The wait for just this token takes the element, and polls once where there is none: the
 * backend puts what comes then right into the caller's result (dk_deferred_place), or says that
 * there is something to take (dk_queue.has_news).
 *
 * Every other call of the application begins the noted pop first (dk_deferred_begin): it becomes
 * an operation like any other before a second pop, a close, a cancel, an operator or another
 * thread can come across it. So does its wait when it has to sleep.
 *
 * Invariants: one pop is noted at a time, of an instance that has a device. It is PENDING, on no
 * list, and has no hold on its queue, which nobody can close meanwhile. The slot, noted or spare,
 * is off the free list. Both pointers change only while the thread is alone, or under the lead.
 */
#ifndef DK_CORE_DEFERRED_H
#define DK_CORE_DEFERRED_H

#include "core/fast.h"

/* After a noted pop that was of no use so many are not noted: who has several pops outstanding, or
 * waits for any of them, should not pay for it. */
#define DK_DEFERRED_PAUSE 32

/* The instance of the calling thread, when it may be alone and its calls may be short (see
 * dk_fast_get for why not); NULL: not known. */
DK_HIDDEN extern _Thread_local struct dk_instance *dk_alone_instance;

/* The shortest calls of this thread find no instance, until a longer one says otherwise. */
static inline void dk_short_close(void)
{
    dk_fast_set(NULL);
    dk_alone_instance = NULL;
}

/* Notes a pop of q in the slot that is spare; the caller is alone, q->defers. Returns its token. */
static inline demi_qtoken_t dk_deferred_note(struct dk_instance *inst, struct dk_queue *q,
                                             struct dk_op *op)
{
    op->queue = op->target = q;
    op->state = DK_OP_PENDING;
    op->qr.qr_qd = q->qd;
    inst->spare_pop = NULL;
    inst->deferred = op;
    return dk_op_token(op);
}

/* Whether token names the noted pop; the caller is alone. */
static inline bool dk_deferred_is(const struct dk_instance *inst, demi_qtoken_t token)
{
    return inst->deferred && dk_op_token(inst->deferred) == token;
}

/* Returns where an element goes that came for q, not NULL, and that no pop is before: once it is
 * there the wait has it. NULL: nobody waits for one just now. Called within a poll. */
static inline demi_sgarray_t *dk_deferred_place(struct dk_instance *inst, const struct dk_queue *q)
{
    if (inst->awaited != q)
        return NULL;
    inst->awaited = NULL;
    return &inst->awaited_qr->qr_value.sga; /* it was set with `awaited` */
}

/* Has a slot ready for the next pop to note, unless it is not worth it. The caller is alone. */
void dk_deferred_refill(struct dk_instance *inst);

/* Begins the noted pop. No lock is held. */
void dk_deferred_begin_slow(struct dk_instance *inst);

static inline void dk_deferred_begin(struct dk_instance *inst)
{
    if (dk_unlikely(__atomic_load_n(&inst->deferred, __ATOMIC_ACQUIRE) != NULL))
        dk_deferred_begin_slow(inst);
}

#endif /* DK_CORE_DEFERRED_H */
