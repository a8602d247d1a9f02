/* SPDX-License-Identifier: MIT */
/*
 * What operators with one source share (operator.h): pops in order, the way through to the source,
 * the end.
 */
#include "compose/operator.h"

#include "core/instance.h"
#include "mem/heap.h"

#include <errno.h>

static struct dk_op *take_first(struct dk_operator *o)
{
    struct dk_op *op = dk_container_of(o->pops.next, struct dk_op, link);
    dk_list_del(&op->link);
    return op;
}

/* Completes the first pop with what `next` came to. */
static void complete_first(struct dk_operator *o, int r, const demi_sgarray_t *sga)
{
    struct dk_op *op = take_first(o);
    if (r == DK_TAKE_ELEMENT)
        *dk_op_sga(op) = *sga;
    else
        dk_sga_end(dk_op_sga(op));
    dk_op_complete(op, dk_take_error(r));
}

/* Serves pops while there are elements. */
static void serve_pops(struct dk_operator *o)
{
    demi_sgarray_t sga;
    while (!dk_list_empty(&o->pops)) {
        int r = o->kind->next(o, &sga);
        if (r == DK_TAKE_NONE)
            return;
        do
            complete_first(o, r, &sga);
        while (r == DK_TAKE_CLOSED && !dk_list_empty(&o->pops));
    }
}

/* The source may have something, or was closed; its taker is told of that even if it waits for
 * nothing. */
static void ready(struct dk_taker *t)
{
    struct dk_operator *o = dk_container_of(t, struct dk_operator, taker);
    if (o->q->taker) {
        o->hungry = false;
        o->q->taker->ready(o->q->taker);
    } else {
        serve_pops(o);
    }
}

int dk_operator_create(struct dk_operator *o, struct dk_instance *inst,
                       const struct dk_queue_ops *ops, struct dk_queue *source, int *qd_out)
{
    dk_taker_init(&o->taker, inst, ready);
    dk_list_init(&o->pops);
    o->source = source;
    int r = dk_queue_create(&o->q, inst, ops, o, false);
    if (r < 0) {
        dk_operator_release(o);
        return r;
    }
    r = dk_taker_claim(&o->taker, source);
    if (r < 0) {
        dk_queue_set_closed(o->q);
        dk_queue_gone(o->q); /* frees o */
        return r;
    }
    *qd_out = o->q->qd;
    return 0;
}

int dk_operator_push(struct dk_queue *q, struct dk_op *op, const demi_sgarray_t *sga)
{
    struct dk_operator *o = q->impl;
    return o->kind->push ? o->kind->push(o, op, sga) : dk_operator_forward(o, op, sga);
}

int dk_operator_pop(struct dk_queue *q, struct dk_op *op)
{
    struct dk_operator *o = q->impl;
    bool first = dk_list_empty(&o->pops);
    dk_list_add_tail(&o->pops, &op->link);
    if (first)
        serve_pops(o);
    return 0;
}

int dk_operator_claim(struct dk_queue *q, struct dk_taker *t)
{
    struct dk_operator *o = q->impl;
    if (t && !dk_list_empty(&o->pops))
        return -EBUSY;
    dk_operator_rest(q);
    return 0;
}

int dk_operator_serve(struct dk_queue *q, demi_sgarray_t *sga_out)
{
    struct dk_operator *o = q->impl;
    int r = o->kind->next(o, sga_out);
    o->hungry = r == DK_TAKE_NONE;
    return r;
}

void dk_operator_rest(struct dk_queue *q)
{
    struct dk_operator *o = q->impl;
    if (o->hungry)
        dk_taker_rest(o->source);
    o->hungry = false;
}

bool dk_operator_idle(struct dk_queue *q)
{
    const struct dk_operator *o = q->impl;
    return !(o->kind->keeps && o->kind->keeps(o)) && dk_queue_is_idle(o->source);
}

bool dk_operator_cut(struct dk_queue *q)
{
    return dk_queue_is_cut(((struct dk_operator *)q->impl)->source);
}

int dk_operator_cancel(struct dk_queue *q, struct dk_op *op, demi_qtoken_t token)
{
    struct dk_operator *o = q->impl;
    (void)token; /* checked under the lead */
    dk_list_del(&op->link);
    if (dk_list_empty(&o->pops))
        dk_taker_rest(o->source);
    return 0;
}

uint32_t dk_operator_sources(struct dk_queue *q, struct dk_queue *out[2])
{
    out[0] = ((struct dk_operator *)q->impl)->source;
    return 1;
}

int dk_operator_shutdown(struct dk_queue *q, int how)
{
    return dk_queue_shutdown(((struct dk_operator *)q->impl)->source, how);
}

int dk_operator_setsockopt(struct dk_queue *q, int level, int name, const void *val, socklen_t len)
{
    struct dk_queue *source = ((struct dk_operator *)q->impl)->source;
    if (!dk_queue_is_open(source))
        return -EBADF;
    return source->ops->setsockopt ? source->ops->setsockopt(source, level, name, val, len)
                                   : -EOPNOTSUPP;
}

int dk_operator_getsockopt(struct dk_queue *q, int level, int name, void *val, socklen_t *len)
{
    struct dk_queue *source = ((struct dk_operator *)q->impl)->source;
    if (!dk_queue_is_open(source))
        return -EBADF;
    return source->ops->getsockopt ? source->ops->getsockopt(source, level, name, val, len)
                                   : -EOPNOTSUPP;
}

int dk_operator_name(struct dk_queue *q, enum dk_queue_name which, struct sockaddr *addr,
                     socklen_t *len)
{
    struct dk_queue *source = ((struct dk_operator *)q->impl)->source;
    if (!dk_queue_is_open(source))
        return -EBADF;
    return source->ops->name ? source->ops->name(source, which, addr, len) : -EOPNOTSUPP;
}

void dk_operator_close(struct dk_queue *q)
{
    struct dk_operator *o = q->impl;
    while (!dk_list_empty(&o->pops))
        dk_op_complete(take_first(o), -ECANCELED);
    if (o->kind->give_back && dk_queue_is_open(o->source))
        o->kind->give_back(o);
    dk_queue_pass_returned(q, o->source);
    dk_taker_unclaim(o->source);
    o->source = NULL;
    dk_taker_fini(&o->taker);
    dk_queue_gone(q);
}

void dk_operator_release(void *impl)
{
    struct dk_operator *o = impl;
    if (o->kind->free)
        o->kind->free(o);
    dk_heap_free(o);
}
