/* SPDX-License-Identifier: MIT */
/*
 * Pushes: appends to the log, acknowledged in order.
 *
 * The memory is held until the record is on stable storage (dk_op_hold), so the application may
 * free what it pushed, and the store writes it from where it is.
 */
#include "libos/log/logs.h"
#include "mem/heap.h"

struct push {
    struct dk_log_append append;
    struct dk_list link; /* of logs->pushes while it is free */
    struct dk_op *op;
    struct dk_logq *lq;
};

/* Records are made a slab at a time, and kept. */
static struct push *get_push(struct dk_logs *logs)
{
    struct dk_list *l = dk_list_first(&logs->pushes);
    if (dk_unlikely(!l))
        return dk_heap_malloc(sizeof(struct push)); /* freed by dk_logs_free_pushes */
    dk_list_del(l);
    return dk_container_of(l, struct push, link);
}

static void put_push(struct dk_logs *logs, struct push *push)
{
    dk_list_add_head(&logs->pushes, &push->link);
}

void dk_logs_free_pushes(struct dk_logs *logs)
{
    struct dk_list *l, *tmp;
    dk_list_for_each_safe (l, tmp, &logs->pushes)
        dk_heap_free(dk_container_of(l, struct push, link));
}

/* The record is on stable storage, or never will be. */
static void push_done(struct dk_log_append *append, int result)
{
    struct push *push = dk_container_of(append, struct push, append);
    struct dk_logq *lq = push->lq;
    struct dk_op *op = push->op;
    put_push(lq->logs, push);
    lq->pushes--;
    lq->use->appending--;
    dk_op_complete(op, result);
    dk_logs_end_moved(lq->use);
    if (lq->closed)
        dk_logq_note(lq);
}

static void describe(struct push *push, const struct dk_logq *lq, const demi_sgarray_t *sga)
{
    struct dk_log_append *a = &push->append;
    a->num_segs = sga->sga_numsegs;
    for (uint32_t i = 0; i < sga->sga_numsegs; i++)
        a->segs[i] = (struct dk_log_seg){.data = sga->sga_segs[i].sgaseg_buf,
                                         .len = sga->sga_segs[i].sgaseg_len};
    a->is_async = lq->is_async;
    a->done = push_done;
}

/* The operation is held: gives it to the store. */
static int append(struct dk_logq *lq, struct dk_op *op)
{
    struct push *push = get_push(lq->logs);
    if (!push)
        return -ENOMEM;
    push->op = op;
    push->lq = lq;
    describe(push, lq, dk_op_sga(op));
    lq->pushes++; /* it may be done before dk_log_append returns */
    lq->use->appending++;
    int r = dk_log_append(lq->use->log, &push->append);
    if (r < 0) {
        lq->pushes--;
        lq->use->appending--;
        put_push(lq->logs, push);
    }
    return r;
}

int dk_logq_push(struct dk_queue *q, struct dk_op *op, const demi_sgarray_t *sga)
{
    struct dk_logq *lq = q->impl;
    if (op->addr_len)
        return -EOPNOTSUPP; /* pushto, and no addresses here */
    if (!lq->writable || lq->write_ended)
        return lq->writable ? -EPIPE : -EBADF;
    int r = dk_op_hold(op, sga);
    if (r == 0)
        r = append(lq, op);
    if (r == 0)
        dk_logs_wake(lq->logs);
    return r; /* the hold ends with the operation */
}
