/* SPDX-License-Identifier: MIT */
/*
 * The shortest path: operations that are done at once, in a process with one thread.
 *
 * Such an operation needs no list and no lock. It borrows the first slot of the free list without
 * taking it: the slot gives it a token, and inst->fresh says that it is there. Most often the next
 * call is the wait that collects it; then nothing but the slot's generation has changed. Everything
 * else that looks at slots settles it first (dk_op_settle). Only one operation is fresh at a time.
 *
 * Nothing is counted here. How many operations took this path shows in the generation of the first
 * free slot, which only they raise while it is the first; it is counted before another slot becomes
 * the first, in every other wait, and when the counters are asked for (dk_op_count_fast).
 *
 * Everything here may be used only while !dk_mt(), or (led.h) with `tokens` held. The exit hook may
 * interrupt it anywhere: it never continues the interrupted call, and finds either no fresh
 * operation or a whole one.
 */
#ifndef DK_CORE_FAST_H
#define DK_CORE_FAST_H

#include "core/instance.h"

/*
 * The instance of a process with one thread, for calls that may take this path; NULL when they may
 * not (not started, the application profiles, or waits for the event descriptor). No open queue
 * has NULL for its fast_inst.
 */
DK_HIDDEN extern struct dk_instance *dk_fast_instance;

static inline struct dk_instance *dk_fast_get(void)
{
    return __atomic_load_n(&dk_fast_instance, __ATOMIC_RELAXED);
}

static inline void dk_fast_set(struct dk_instance *inst)
{
    __atomic_store_n(&dk_fast_instance, inst, __ATOMIC_RELAXED);
}

/* Returns the slot that a fresh operation would have, or NULL when there can be none now. */
static inline struct dk_op *dk_fast_slot(const struct dk_instance *inst)
{
    return dk_likely(inst->fresh == NULL) ? inst->free_ops : NULL;
}

/* The operation on q, of inst, is done: it is fresh from here on. There was a slot for it. Returns
 * its token. */
static inline demi_qtoken_t dk_fast_done(struct dk_instance *inst, struct dk_queue *q,
                                         enum demi_opcode opcode)
{
    struct dk_op *op = inst->free_ops;
    op->qr.qr_opcode = opcode;
    op->qr.qr_qd = q->qd;
    op->queue = q;
    inst->fresh = op;
    return op->qr.qr_qt;
}

/* Collects the fresh operation but for its value, if that is what token names and its opcode is
 * wanted (0: any); returns it, or NULL. */
static inline struct dk_op *dk_fast_collect_head(struct dk_instance *inst, demi_qtoken_t token,
                                                 enum demi_opcode wanted, demi_qresult_t *qr)
{
    struct dk_op *op = inst->fresh;
    demi_qtoken_t next;
    if (dk_unlikely(!op || token != op->qr.qr_qt || (wanted && op->qr.qr_opcode != wanted) ||
                    __builtin_add_overflow(token, DK_OP_ONE_GENERATION, &next)))
        return NULL;
    inst->fresh = NULL;
    op->qr.qr_qt = next;
    qr->qr_opcode = wanted ? wanted : op->qr.qr_opcode;
    qr->qr_qd = op->qr.qr_qd;
    qr->qr_qt = token;
    qr->qr_ret = 0;
    return op;
}

/* Collects the fresh operation, if that is what token names. */
static inline bool dk_fast_collect(struct dk_instance *inst, demi_qtoken_t token,
                                   demi_qresult_t *qr)
{
    struct dk_op *op = dk_fast_collect_head(inst, token, DEMI_OPC_INVALID, qr);
    if (dk_unlikely(!op))
        return false;
    if (op->qr.qr_opcode == DEMI_OPC_POP)
        dk_sga_copy_all(&qr->qr_value.sga, dk_op_sga(op));
    else
        dk_op_no_value(qr);
    return true;
}

/* The same of a push; false also for another. */
static inline bool dk_fast_collect_push(struct dk_instance *inst, demi_qtoken_t token,
                                        demi_qresult_t *qr)
{
    if (dk_unlikely(!dk_fast_collect_head(inst, token, DEMI_OPC_PUSH, qr)))
        return false;
    dk_op_no_value(qr);
    return true;
}

#endif /* DK_CORE_FAST_H */
