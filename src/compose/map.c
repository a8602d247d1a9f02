/* SPDX-License-Identifier: MIT */
/*
 * map (map.h).
 */
#include "compose/map.h"

#include "compose/operator.h"
#include "core/function.h"
#include "core/instance.h"
#include "mem/heap.h"

#include <errno.h>

/* A push that the shortest path began: its element is mapped already. */
struct begun {
    const void *handle; /* of the element as it was pushed; NULL: none */
    int result;         /* 0: copy is what it became; else a negative errno */
    demi_sgarray_t copy;
};

struct map {
    struct dk_operator op;
    demi_map_fn on_push, on_pop;
    void *arg;
    int failed; /* the pop that comes next fails with it: the shortest path cannot */
    struct begun begun;
};

/* An element of the function's own memory gets a handle: who pops it must be able to free it. */
static int adopt(demi_sgarray_t *sga)
{
    struct dk_buf *buf;
    int r = dk_sga_gather(sga, &buf);
    if (r == 0)
        dk_sga_lend(sga, buf);
    return r;
}

/* Takes what fn left when it is not the plain case: as apply. */
static __attribute__((noinline)) int take_result(demi_sgarray_t *sga, const void *handle, int r)
{
    struct dk_buf *buf;
    if (r == 0)
        r = dk_sga_check(sga, &buf);
    bool replaced = sga->sga_buf != handle;
    if (r == 0 && !sga->sga_buf)
        r = adopt(sga);
    if (replaced && dk_buf_app_put(handle) < 0)
        r = -EINVAL; /* it freed what it was given */
    if (r < 0 && sga->sga_buf)
        dk_buf_app_put(sga->sga_buf);
    return r;
}

/*
 * Calls fn on an element that is held once, and takes what it left: 0 and *sga is an element that
 * is held once, or a negative errno and nothing is held.
 */
static inline int apply(const struct map *m, demi_map_fn fn, demi_sgarray_t *sga)
{
    struct dk_buf *buf;
    const void *handle = sga->sga_buf;
    struct dk_function_scope scope = dk_function_enter();
    int r = fn(sga, m->arg);
    dk_function_leave(scope);
    if (dk_likely(r == 0 && !dk_mt() && sga->sga_buf == handle && dk_sga_fast_buf(sga, &buf)))
        return 0;
    return take_result(sga, handle, r < 0 ? -EINVAL : -r); /* 0 or a positive errno */
}

/* Maps an element that was taken: DK_TAKE_ELEMENT, or a negative errno and it is freed. */
static inline int map_taken(struct map *m, demi_sgarray_t *sga)
{
    int r = 0;
    if (!m->on_pop)
        return DK_TAKE_ELEMENT;
    if (dk_unlikely(!dk_sga_is_exclusive(sga))) {
        dk_count(&m->op.taker.inst->stats->map_copies, 1);
        r = dk_sga_replace_by_copy(sga);
    }
    if (r == 0)
        r = apply(m, m->on_pop, sga);
    return r < 0 ? r : DK_TAKE_ELEMENT;
}

static int map_next(struct dk_operator *o, demi_sgarray_t *sga_out)
{
    struct map *m = (struct map *)o;
    int r = m->failed;
    m->failed = 0;
    if (r == 0)
        r = dk_operator_take(o, sga_out);
    return r == DK_TAKE_ELEMENT ? map_taken(m, sga_out) : r;
}

/* What a pushed element becomes: 0 and *copy, -ENOMEM, or (*mapped_out) what fn said. */
static int map_pushed(const struct map *m, const demi_sgarray_t *sga, demi_sgarray_t *copy,
                      int *mapped_out)
{
    int r = dk_sga_copy_deep(copy, sga);
    if (r < 0)
        return r;
    dk_count(&m->op.taker.inst->stats->map_copies, 1);
    *mapped_out = apply(m, m->on_push, copy);
    return 0;
}

static void forget_begun(struct map *m)
{
    if (m->begun.handle && m->begun.result == 0)
        dk_sga_free(&m->begun.copy);
    m->begun.handle = NULL;
}

/* Takes what the shortest path began with this element. */
static bool take_begun(struct map *m, const demi_sgarray_t *sga, demi_sgarray_t *copy,
                       int *mapped_out)
{
    if (!m->begun.handle || m->begun.handle != sga->sga_buf) {
        forget_begun(m);
        return false;
    }
    m->begun.handle = NULL;
    *copy = m->begun.copy;
    *mapped_out = m->begun.result;
    return true;
}

static int map_push(struct dk_operator *o, struct dk_op *op, const demi_sgarray_t *sga)
{
    struct map *m = (struct map *)o;
    demi_sgarray_t copy;
    int mapped;
    if (!m->on_push)
        return dk_operator_forward(o, op, sga);
    int r = take_begun(m, sga, &copy, &mapped) ? 0 : map_pushed(m, sga, &copy, &mapped);
    if (r < 0)
        return r;
    if (mapped < 0) {
        dk_op_complete(op, mapped);
        return 0;
    }
    if (op->held) /* what was kept for the leader is not what is pushed */
        dk_op_drop_hold(op);
    dk_sga_check(&copy, &op->buf);
    r = dk_operator_forward(o, op, &copy);
    dk_sga_free(&copy);
    return r;
}

/* What cannot be pushed at once is kept for map_push, which comes next. */
static bool map_push_now(struct dk_queue *q, const demi_sgarray_t *sga, struct dk_buf *buf)
{
    struct map *m = q->impl;
    struct begun *b = &m->begun;
    if (!m->on_push)
        return dk_operator_push_now(&m->op, sga, buf);
    forget_begun(m);
    if (map_pushed(m, sga, &b->copy, &b->result) < 0)
        return false;
    if (dk_likely(b->result == 0 && dk_sga_fast_buf(&b->copy, &buf) &&
                  dk_operator_push_now(&m->op, &b->copy, buf))) {
        dk_sga_free(&b->copy);
        return true;
    }
    b->handle = sga->sga_buf;
    return false;
}

static bool map_pop_now(struct dk_queue *q, demi_sgarray_t *sga_out)
{
    struct map *m = q->impl;
    if (dk_unlikely(!dk_operator_may_pop_now(&m->op) || m->failed ||
                    !dk_operator_take_now(&m->op, sga_out)))
        return false;
    int r = map_taken(m, sga_out);
    if (dk_likely(r == DK_TAKE_ELEMENT))
        return true;
    m->failed = r;
    return false;
}

static bool map_keeps(const struct dk_operator *o)
{
    return ((const struct map *)o)->failed != 0;
}

static void map_free(struct dk_operator *o)
{
    forget_begun((struct map *)o);
}

static const struct dk_operator_kind map_kind = {
    .next = map_next,
    .push = map_push,
    .keeps = map_keeps,
    .free = map_free,
};

static const struct dk_queue_ops map_ops = DK_OPERATOR_OPS(map_push_now, map_pop_now);

int dk_map_create(int *qd_out, struct dk_instance *inst, struct dk_queue *source,
                  demi_map_fn on_push, demi_map_fn on_pop, void *arg)
{
    struct map *m = dk_heap_zalloc(sizeof(*m)); /* freed by operator.c */
    if (!m)
        return -ENOMEM;
    m->op.kind = &map_kind;
    m->on_push = on_push;
    m->on_pop = on_pop;
    m->arg = arg;
    return dk_operator_create(&m->op, inst, &map_ops, source, qd_out);
}
