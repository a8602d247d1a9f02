/* SPDX-License-Identifier: MIT */
/*
 * filter (filter.h).
 *
 * fn is asked once per element. The shortest path asks it before it knows whether the source takes
 * the element at once; where it does not, the longer path that follows has the answer.
 */
#include "compose/filter.h"

#include "compose/operator.h"
#include "core/function.h"
#include "core/instance.h"
#include "mem/heap.h"

#include <errno.h>

struct filter {
    struct dk_operator op;
    demi_filter_fn fn;
    void *arg;
    const void *asked; /* handle of an element that passed, whose push comes next */
};

static bool ask(const struct filter *f, const demi_sgarray_t *sga)
{
    struct dk_function_scope scope = dk_function_enter();
    bool pass = f->fn(sga, f->arg);
    dk_function_leave(scope);
    return pass;
}

static void drop(const struct filter *f, const demi_sgarray_t *sga)
{
    dk_sga_free(sga);
    dk_count(&f->op.taker.inst->stats->filtered, 1);
}

static int filter_next(struct dk_operator *o, demi_sgarray_t *sga_out)
{
    struct filter *f = (struct filter *)o;
    for (;;) {
        int r = dk_operator_take(o, sga_out);
        if (r != DK_TAKE_ELEMENT || ask(f, sga_out))
            return r;
        drop(f, sga_out);
    }
}

static int filter_push(struct dk_operator *o, struct dk_op *op, const demi_sgarray_t *sga)
{
    struct filter *f = (struct filter *)o;
    bool pass = (f->asked && f->asked == sga->sga_buf) || ask(f, sga);
    f->asked = NULL;
    if (pass)
        return dk_operator_forward(o, op, sga);
    dk_count(&o->taker.inst->stats->filtered, 1);
    dk_op_complete(op, 0);
    return 0;
}

static bool filter_pop_now(struct dk_queue *q, demi_sgarray_t *sga_out)
{
    struct filter *f = q->impl;
    if (dk_unlikely(!dk_operator_may_pop_now(&f->op)))
        return false;
    while (dk_likely(dk_operator_take_now(&f->op, sga_out))) {
        if (ask(f, sga_out))
            return true;
        drop(f, sga_out);
    }
    return false;
}

static bool filter_push_now(struct dk_queue *q, const demi_sgarray_t *sga, struct dk_buf *buf)
{
    struct filter *f = q->impl;
    if (!ask(f, sga)) {
        dk_count(&f->op.taker.inst->stats->filtered, 1);
        return true;
    }
    if (dk_likely(dk_operator_push_now(&f->op, sga, buf)))
        return true;
    f->asked = sga->sga_buf;
    return false;
}

static const struct dk_operator_kind filter_kind = {.next = filter_next, .push = filter_push};

static const struct dk_queue_ops filter_ops = DK_OPERATOR_OPS(filter_push_now, filter_pop_now);

int dk_filter_create(int *qd_out, struct dk_instance *inst, struct dk_queue *source,
                     demi_filter_fn fn, void *arg)
{
    struct filter *f = dk_heap_zalloc(sizeof(*f)); /* freed by operator.c */
    if (!f)
        return -ENOMEM;
    f->op.kind = &filter_kind;
    f->fn = fn;
    f->arg = arg;
    return dk_operator_create(&f->op, inst, &filter_ops, source, qd_out);
}
