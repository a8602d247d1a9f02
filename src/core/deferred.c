/* SPDX-License-Identifier: MIT */
/*
 * The noted pop becomes an operation like any other (deferred.h).
 */
#include "core/deferred.h"

#include "core/deferred_wait.h"
#include "core/taker.h"

#include <errno.h>

_Thread_local struct dk_instance *dk_alone_instance;

/* The noted pop is an operation like any other from here on; it has not begun. The lead is held. */
static struct dk_op *take_out(struct dk_instance *inst)
{
    struct dk_op *op = inst->deferred;
    dk_add_u32(&op->queue->holds, 1);
    __atomic_store_n(&inst->deferred, NULL, __ATOMIC_RELEASE);
    return op;
}

static void begin(struct dk_instance *inst)
{
    struct dk_op *op = take_out(inst);
    const int r = dk_op_start_pop(op);
    if (r < 0)
        dk_op_complete(op, r);
}

/* It has ended otherwise, as r says (dk_queue_ops.take), or begins. */
static void end(struct dk_instance *inst, int r)
{
    if (r == DK_TAKE_NONE) {
        begin(inst);
        return;
    }
    struct dk_op *op = take_out(inst);
    if (r == DK_TAKE_END)
        dk_sga_end(dk_op_sga(op));
    dk_op_complete(op, r < 0 ? r : 0);
}

/* Takes the element out of the backend, where there may be one. */
static int take(struct dk_instance *inst, demi_sgarray_t *sga, bool polled)
{
    struct dk_queue *q = inst->deferred->queue;
    if (!q->has_news)
        return DK_TAKE_NONE;
    const int r = q->ops->pop_led(q, sga, polled);
    q->has_news = r != DK_TAKE_NONE;
    return r;
}

bool dk_deferred_other(struct dk_instance *inst, demi_qresult_t *qr, const struct timespec *timeout,
                       bool polled)
{
    demi_sgarray_t *sga = &qr->qr_value.sga;
    int r = take(inst, sga, polled);
    if (r == DK_TAKE_NONE && !polled && dk_deferred_looks(inst, timeout)) {
        if (dk_deferred_look(inst, inst->deferred->queue, qr))
            return true;
        r = take(inst, sga, true);
    }
    if (r != DK_TAKE_ELEMENT)
        end(inst, r);
    return r == DK_TAKE_ELEMENT;
}

bool dk_deferred_poll(struct dk_instance *inst)
{
    if (!inst->poller || !dk_lead_try_now(inst, true))
        return false;
    inst->until_poll = DK_WAIT_POLL_EVERY;
    dk_poll_once(inst, dk_instance_now(inst), false);
    dk_lead_drop_now(inst, true);
    return true;
}

void dk_poll_now_other(struct dk_instance *inst)
{
    dk_poll_once(inst, dk_instance_now(inst), true);
}

void dk_deferred_begin_slow(struct dk_instance *inst)
{
    dk_lead_take(inst);
    dk_run_posted(inst);
    if (inst->deferred) { /* else another thread was faster */
        begin(inst);
        inst->defer_pause = DK_DEFERRED_PAUSE;
    }
    dk_lead_drop(inst);
}

void dk_deferred_refill(struct dk_instance *inst)
{
    if (inst->spare_pop || inst->deferred || (inst->defer_pause && --inst->defer_pause))
        return;
    dk_tokens_lock(inst, true);
    dk_op_settle(inst);
    struct dk_op *op = inst->free_ops;
    if (op) {
        dk_op_count_fast(inst);
        inst->free_ops = op->next_free;
        op->issuer = dk_thread_id();
        op->internal = op->addr_len = op->held = 0;
        op->progress = 0;
        op->qr.qr_opcode = DEMI_OPC_POP;
        inst->spare_pop = op;
    }
    dk_tokens_unlock(inst, true);
}
