/* SPDX-License-Identifier: MIT */
/*
 * A queue on a log: pops, takers, cancel, shutdown, close.
 */
#include "libos/log/logs.h"
#include "mem/heap.h"

static struct dk_op *first_pop(struct dk_logq *lq)
{
    struct dk_op *op = dk_container_of(lq->pops.next, struct dk_op, link);
    dk_list_del(&op->link);
    lq->num_pops--;
    return op;
}

static void finish_pops(struct dk_logq *lq, int error)
{
    while (lq->num_pops) {
        struct dk_op *op = first_pop(lq);
        dk_sga_end(dk_op_sga(op));
        dk_op_complete(op, error);
    }
}

/* What the first pop gets, if that is known: DK_TAKE_NONE when it waits. */
static int next(struct dk_logq *lq, demi_sgarray_t *sga_out)
{
    uint32_t wanted = lq->num_pops ? lq->num_pops : 1;
    return lq->read_ended ? DK_TAKE_END : dk_logq_next(lq, wanted, sga_out);
}

static void serve_pops(struct dk_logq *lq)
{
    demi_sgarray_t sga;
    int r;
    while (lq->num_pops && (r = next(lq, &sga)) != DK_TAKE_NONE) {
        struct dk_op *op = first_pop(lq);
        if (r == DK_TAKE_ELEMENT)
            dk_sga_copy_all(dk_op_sga(op), &sga);
        else
            dk_sga_end(dk_op_sga(op));
        dk_op_complete(op, r < 0 ? r : 0);
    }
}

/* Closed, and the last push is out. */
static void finish(struct dk_logq *lq)
{
    struct dk_queue *q = lq->q;
    dk_list_del_init(&lq->waiting);
    dk_list_del_init(&lq->ready);
    dk_list_del(&lq->link);
    dk_poller_add_queues(&lq->logs->poller, -1);
    dk_logs_use_put(lq->use);
    dk_queue_gone(q);
}

void dk_logq_serve(struct dk_logq *lq)
{
    if (lq->closed) {
        if (lq->pushes == 0)
            finish(lq);
        return;
    }
    serve_pops(lq);
    if (lq->hungry) {
        lq->hungry = false;
        dk_taker_wake(lq->taker);
    }
}

void dk_logs_end_moved(struct dk_logs_use *use)
{
    struct dk_list *l;
    while ((l = dk_list_first(&use->waiting)) != NULL) {
        dk_list_del_init(l);
        dk_logq_note(dk_container_of(l, struct dk_logq, waiting));
    }
}

static int logq_pop(struct dk_queue *q, struct dk_op *op)
{
    struct dk_logq *lq = q->impl;
    if (!lq->readable)
        return -EBADF;
    dk_list_add_tail(&lq->pops, &op->link);
    lq->num_pops++;
    serve_pops(lq);
    if (lq->num_pops)
        dk_logs_wake(lq->logs);
    return 0;
}

static int logq_claim(struct dk_queue *q, struct dk_taker *t)
{
    struct dk_logq *lq = q->impl;
    if (t && !lq->readable)
        return -EBADF;
    if (t && lq->num_pops)
        return -EBUSY;
    lq->taker = t;
    lq->hungry = false;
    return 0;
}

static int logq_take(struct dk_queue *q, demi_sgarray_t *sga_out)
{
    struct dk_logq *lq = q->impl;
    int r = next(lq, sga_out);
    if (r == DK_TAKE_NONE) {
        lq->hungry = true;
        dk_logs_wake(lq->logs);
    }
    return r;
}

static void logq_rest(struct dk_queue *q)
{
    ((struct dk_logq *)q->impl)->hungry = false;
}

/* A push is with the store as soon as it is issued. */
static int logq_cancel(struct dk_queue *q, struct dk_op *op, demi_qtoken_t token)
{
    struct dk_logq *lq = q->impl;
    (void)token;
    if (op->qr.qr_opcode != DEMI_OPC_POP)
        return -EBUSY;
    dk_list_del(&op->link);
    lq->num_pops--;
    return 0;
}

static int logq_shutdown(struct dk_queue *q, int how)
{
    struct dk_logq *lq = q->impl;
    lq->read_ended |= how != SHUT_WR;
    lq->write_ended |= how != SHUT_RD;
    if (lq->read_ended) {
        dk_logq_drop_reads(lq);
        dk_logq_note(lq);
    }
    dk_logs_settle(lq->logs);
    return 0;
}

static void logq_close(struct dk_queue *q)
{
    struct dk_logq *lq = q->impl;
    struct dk_logs *logs = lq->logs;
    lq->closed = true;
    lq->hungry = false;
    finish_pops(lq, -ECANCELED);
    dk_logq_drop_reads(lq);
    dk_logq_note(lq);
    dk_logs_settle(logs); /* lq may be gone now */
    dk_logs_wake(logs);   /* pushes that are outstanding go on */
}

static void logq_release(void *impl)
{
    dk_heap_free(impl);
}

const struct dk_queue_ops dk_logq_ops = {
    .push = dk_logq_push,
    .pop = logq_pop,
    .claim = logq_claim,
    .take = logq_take,
    .rest = logq_rest,
    .cancel = logq_cancel,
    .shutdown = logq_shutdown,
    .close = logq_close,
    .release = logq_release,
};

int dk_logq_create(struct dk_logs_use *use, int flags, int *qd_out)
{
    struct dk_logq *lq = dk_heap_zalloc(sizeof(*lq)); /* owned by the queue: logq_release */
    struct dk_log_info info;
    if (!lq)
        return -ENOMEM;
    lq->logs = use->disk->logs;
    lq->use = use;
    dk_list_init(&lq->ready);
    dk_list_init(&lq->waiting);
    dk_list_init(&lq->pops);
    dk_list_init(&lq->reads);
    lq->readable = (flags & O_ACCMODE) != O_WRONLY;
    lq->writable = (flags & O_ACCMODE) != O_RDONLY;
    lq->is_async = flags & DEMI_O_ASYNC;
    lq->follows = flags & DEMI_O_FOLLOW;
    dk_log_info(use->log, &info);
    lq->cursor = info.first;
    dk_list_add_tail(&use->queues, &lq->link);
    int r = dk_queue_create(&lq->q, lq->logs->inst, &dk_logq_ops, lq, false);
    if (r < 0) {
        dk_list_del(&lq->link);
        dk_heap_free(lq);
        return r;
    }
    dk_poller_add_queues(&lq->logs->poller, 1);
    *qd_out = lq->q->qd;
    return 0;
}
