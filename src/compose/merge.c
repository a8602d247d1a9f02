/* SPDX-License-Identifier: MIT */
/*
 * merge (merge.h).
 *
 * A push becomes two internal ones that meet in a `join`. They may end in any thread, under the
 * lock of a memory queue, so joins have a lock of their own. Joins are kept for the next push.
 */
#include "compose/merge.h"

#include "core/instance.h"
#include "core/taker.h"
#include "mem/heap.h"

#include <errno.h>

struct merge;

/* One push on its way to both sources. */
struct join {
    struct dk_sink sink;
    struct merge *merge;
    struct dk_op *outer;     /* the application's */
    struct dk_op *inner[2];  /* NULL: ended */
    demi_qtoken_t tokens[2]; /* of inner, whose slots may have other users by now */
    uint32_t left;           /* that have not ended */
    int error;               /* the first */
    struct join *next;       /* unused */
};

struct side {
    struct dk_taker taker;
    struct dk_queue *q; /* held */
    bool ended;
};

struct merge {
    struct side sides[2];
    struct dk_queue *q;
    struct dk_list pops;
    bool hungry;             /* its own taker waits */
    uint32_t turn;           /* the side that is asked first */
    const void *half_pushed; /* handle of an element that only the first source has */
    struct dk_lock lock;     /* over joins */
    struct join *unused;
};

/* What a take from a side means for the merge, which goes on without a side that has failed. A side
 * in which one of several queues was closed is still there. */
static int judge(struct side *side, int r)
{
    bool broken = dk_take_is_broken(r);
    side->ended = broken || r == DK_TAKE_END || (r == DK_TAKE_CLOSED && dk_queue_is_cut(side->q));
    return broken ? dk_take_error(r) : r;
}

/* The next element of either side, as dk_taker_take. When there is one, or an error, the other side
 * is not left waiting. */
static int merge_next(struct merge *m, demi_sgarray_t *sga_out)
{
    for (uint32_t k = 0; k < 2; k++) {
        uint32_t i = (m->turn + k) % 2;
        struct side *side = &m->sides[i];
        if (side->ended)
            continue;
        int r = judge(side, dk_taker_take(side->q, sga_out));
        if (r == DK_TAKE_ELEMENT)
            m->turn = 1 - i;
        if (r == DK_TAKE_ELEMENT || dk_take_has_failed(r)) {
            dk_taker_rest(m->sides[1 - i].q);
            return r;
        }
    }
    return m->sides[0].ended && m->sides[1].ended ? DK_TAKE_END : DK_TAKE_NONE;
}

static struct dk_op *take_first(struct merge *m)
{
    struct dk_op *op = dk_container_of(m->pops.next, struct dk_op, link);
    dk_list_del(&op->link);
    return op;
}

static void complete_first(struct merge *m, int r, const demi_sgarray_t *sga)
{
    struct dk_op *op = take_first(m);
    if (r == DK_TAKE_ELEMENT)
        *dk_op_sga(op) = *sga;
    else
        dk_sga_end(dk_op_sga(op));
    dk_op_complete(op, dk_take_error(r));
}

static void serve_pops(struct merge *m)
{
    demi_sgarray_t sga;
    while (!dk_list_empty(&m->pops)) {
        int r = merge_next(m, &sga);
        if (r == DK_TAKE_NONE)
            return;
        do
            complete_first(m, r, &sga);
        while (r == DK_TAKE_CLOSED && !dk_list_empty(&m->pops));
    }
}

static void rest(struct merge *m)
{
    for (uint32_t i = 0; i < 2; i++)
        dk_taker_rest(m->sides[i].q);
}

static void side_ready(struct merge *m)
{
    if (m->q->taker) {
        m->hungry = false;
        m->q->taker->ready(m->q->taker);
        return;
    }
    serve_pops(m);
    if (dk_list_empty(&m->pops))
        rest(m);
}

static void first_ready(struct dk_taker *t)
{
    side_ready(dk_container_of(t, struct merge, sides[0].taker));
}

static void second_ready(struct dk_taker *t)
{
    side_ready(dk_container_of(t, struct merge, sides[1].taker));
}

static int merge_pop(struct dk_queue *q, struct dk_op *op)
{
    struct merge *m = q->impl;
    bool first = dk_list_empty(&m->pops);
    dk_list_add_tail(&m->pops, &op->link);
    if (first)
        serve_pops(m);
    return 0;
}

static void merge_rest(struct dk_queue *q)
{
    struct merge *m = q->impl;
    if (m->hungry)
        rest(m);
    m->hungry = false;
}

static int merge_claim(struct dk_queue *q, struct dk_taker *t)
{
    struct merge *m = q->impl;
    if (t && !dk_list_empty(&m->pops))
        return -EBUSY;
    merge_rest(q);
    return 0;
}

static int merge_take(struct dk_queue *q, demi_sgarray_t *sga_out)
{
    struct merge *m = q->impl;
    int r = merge_next(m, sga_out);
    m->hungry = r == DK_TAKE_NONE;
    return r;
}

static uint32_t merge_sources(struct dk_queue *q, struct dk_queue *out[2])
{
    struct merge *m = q->impl;
    out[0] = m->sides[0].q;
    out[1] = m->sides[1].q;
    return 2;
}

static struct join *take_join(struct merge *m)
{
    dk_lock(&m->lock);
    struct join *j = m->unused;
    if (j)
        m->unused = j->next;
    dk_unlock(&m->lock);
    return j ? j : dk_heap_zalloc(sizeof(*j));
}

static void give_join(struct merge *m, struct join *j)
{
    dk_lock(&m->lock);
    j->next = m->unused;
    m->unused = j;
    dk_unlock(&m->lock);
}

/* One half ended, or (inner NULL) never started. */
static void half_done(struct join *j, const struct dk_op *inner, int error)
{
    struct merge *m = j->merge;
    dk_lock(&m->lock);
    for (uint32_t i = 0; i < 2; i++)
        if (j->inner[i] == inner)
            j->inner[i] = NULL;
    if (!j->error)
        j->error = error;
    bool last = --j->left == 0;
    dk_unlock(&m->lock);
    if (!last)
        return;
    struct dk_op *outer = j->outer;
    int r = j->error;
    struct dk_queue *q = m->q;
    give_join(m, j);
    dk_op_complete(outer, r);
    dk_queue_put(q); /* it may have been closed meanwhile */
}

static void inner_done(struct dk_sink *sink, struct dk_op *op, int error)
{
    half_done(dk_container_of(sink, struct join, sink), op, error);
}

/* Starts the push to one source. */
static void start_half(struct join *j, uint32_t i, const demi_sgarray_t *sga)
{
    struct merge *m = j->merge;
    struct dk_queue *q = m->sides[i].q;
    struct dk_op *inner;
    int r = -EBADF;
    if (dk_queue_is_open(q))
        r = dk_op_alloc_internal(&inner, j->outer->inst, q, DEMI_OPC_PUSH, &j->sink);
    if (r < 0) {
        half_done(j, NULL, r);
        return;
    }
    inner->buf = j->outer->buf;
    j->inner[i] = inner;
    j->tokens[i] = dk_op_token(inner);
    r = q->ops->push(q, inner, sga);
    if (r < 0)
        dk_op_complete(inner, r);
}

static int merge_push(struct dk_queue *q, struct dk_op *op, const demi_sgarray_t *sga)
{
    struct merge *m = q->impl;
    if (op->addr_len)
        return -EOPNOTSUPP;
    struct join *j = take_join(m);
    if (!j)
        return -ENOMEM;
    uint32_t first = m->half_pushed && m->half_pushed == sga->sga_buf ? 1 : 0;
    m->half_pushed = NULL;
    /* One more until both are started, so that the first cannot end the push by itself. */
    *j = (struct join){.sink.done = inner_done, .merge = m, .outer = op, .left = 3 - first};
    op->progress = (uintptr_t)j;
    dk_add_u32(&q->holds, 1);
    for (uint32_t i = first; i < 2; i++)
        start_half(j, i, sga);
    half_done(j, (const struct dk_op *)j, 0);
    return 0;
}

static bool merge_push_now(struct dk_queue *q, const demi_sgarray_t *sga, struct dk_buf *buf)
{
    struct merge *m = q->impl;
    struct dk_queue *one = m->sides[0].q, *two = m->sides[1].q;
    if (dk_unlikely(!m->unused || !one->push_now(one, sga, buf)))
        return false; /* with half of it pushed there must be a join for the rest */
    if (dk_likely(two->push_now(two, sga, buf)))
        return true;
    m->half_pushed = sga->sga_buf;
    return false;
}

static bool pop_side_now(struct merge *m, uint32_t i, demi_sgarray_t *sga_out)
{
    struct dk_queue *q = m->sides[i].q;
    if (dk_unlikely(m->sides[i].ended || !q->take_now(q, sga_out)))
        return false;
    m->turn = 1 - i;
    return true;
}

/* Passes over the side whose turn it is only if that certainly has nothing: an element that cannot
 * be had at once has its turn on the longer path. */
static bool merge_pop_now(struct dk_queue *q, demi_sgarray_t *sga_out)
{
    struct merge *m = q->impl;
    const struct side *first = &m->sides[m->turn];
    if (dk_unlikely(!dk_list_empty(&m->pops)))
        return false;
    return pop_side_now(m, m->turn, sga_out) ||
           ((first->ended || dk_queue_is_idle(first->q)) && pop_side_now(m, 1 - m->turn, sga_out));
}

static bool merge_idle(struct dk_queue *q)
{
    const struct merge *m = q->impl;
    const struct side *one = &m->sides[0], *two = &m->sides[1];
    return !(one->ended && two->ended) && (one->ended || dk_queue_is_idle(one->q)) &&
           (two->ended || dk_queue_is_idle(two->q));
}

static bool merge_cut(struct dk_queue *q)
{
    const struct merge *m = q->impl;
    for (uint32_t i = 0; i < 2; i++)
        if (!m->sides[i].ended && dk_queue_is_cut(m->sides[i].q))
            return true;
    return false;
}

/* Takes one half of a push back; false when its source has it. */
static bool cancel_half(struct join *j, uint32_t i)
{
    dk_lock(&j->merge->lock);
    /* Until it ends the operation is ours, and tells where it went. */
    struct dk_op *inner = j->inner[i];
    struct dk_queue *target = inner ? inner->target : NULL;
    dk_unlock(&j->merge->lock);
    if (!target || target->ops->cancel(target, inner, j->tokens[i]) < 0)
        return false;
    inner->waiter = NULL;
    dk_op_release(inner);
    return true;
}

/* Whether neither source has its half. */
static bool is_whole(struct join *j)
{
    dk_lock(&j->merge->lock);
    bool whole = j->inner[0] && j->inner[1];
    dk_unlock(&j->merge->lock);
    return whole;
}

/*
 * A push that one source has is not taken back: the other half, if it can be, fails with -ECANCELED
 * and so does the whole, when it is done.
 */
static int cancel_push(struct merge *m, struct dk_op *op)
{
    struct join *j = (struct join *)(uintptr_t)op->progress;
    if (!is_whole(j) || !cancel_half(j, 0))
        return -EBUSY;
    if (!cancel_half(j, 1)) {
        half_done(j, j->inner[0], -ECANCELED);
        return -EBUSY;
    }
    give_join(m, j);
    dk_queue_put(m->q);
    return 0;
}

static int merge_cancel(struct dk_queue *q, struct dk_op *op, demi_qtoken_t token)
{
    struct merge *m = q->impl;
    (void)token; /* checked under the lead */
    if (op->qr.qr_opcode == DEMI_OPC_PUSH)
        return cancel_push(m, op);
    dk_list_del(&op->link);
    if (dk_list_empty(&m->pops))
        rest(m);
    return 0;
}

static void unclaim(struct merge *m, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        dk_taker_unclaim(m->sides[i].q);
        dk_taker_fini(&m->sides[i].taker);
    }
}

static void merge_close(struct dk_queue *q)
{
    struct merge *m = q->impl;
    while (!dk_list_empty(&m->pops))
        dk_op_complete(take_first(m), -ECANCELED);
    /* Whose they were is not known any more. */
    dk_queue_pass_returned(q, m->sides[dk_queue_is_open(m->sides[0].q) ? 0 : 1].q);
    unclaim(m, 2);
    dk_queue_gone(q);
}

/* The end of both is the end of what is pushed. */
static int merge_shutdown(struct dk_queue *q, int how)
{
    struct merge *m = q->impl;
    int first = 0;
    for (uint32_t i = 0; i < 2; i++) {
        int r = dk_queue_shutdown(m->sides[i].q, how);
        first = first ? first : r;
    }
    return first;
}

static void merge_release(void *impl)
{
    struct merge *m = impl;
    while (m->unused) {
        struct join *j = m->unused;
        m->unused = j->next;
        dk_heap_free(j);
    }
    dk_heap_free(m);
}

static const struct dk_queue_ops merge_ops = {
    .push = merge_push,
    .pop = merge_pop,
    .push_now = merge_push_now,
    .pop_now = merge_pop_now,
    .cancel = merge_cancel,
    .shutdown = merge_shutdown,
    .close = merge_close,
    .claim = merge_claim,
    .take = merge_take,
    .rest = merge_rest,
    .idle = merge_idle,
    .cut = merge_cut,
    .sources = merge_sources,
    .release = merge_release,
};

static int claim_both(struct merge *m)
{
    int r = dk_taker_claim(&m->sides[0].taker, m->sides[0].q);
    if (r < 0)
        return r;
    r = dk_taker_claim(&m->sides[1].taker, m->sides[1].q);
    if (r < 0)
        unclaim(m, 1);
    return r;
}

int dk_merge_create(int *qd_out, struct dk_instance *inst, struct dk_queue *one,
                    struct dk_queue *two)
{
    if (one == two)
        return -EINVAL;
    struct merge *m = dk_heap_zalloc(sizeof(*m)); /* freed by merge_release */
    if (!m)
        return -ENOMEM;
    m->unused = dk_heap_zalloc(sizeof(*m->unused));
    if (!m->unused) {
        merge_release(m);
        return -ENOMEM;
    }
    dk_list_init(&m->pops);
    dk_taker_init(&m->sides[0].taker, inst, first_ready);
    dk_taker_init(&m->sides[1].taker, inst, second_ready);
    m->sides[0].q = one;
    m->sides[1].q = two;
    int r = dk_queue_create(&m->q, inst, &merge_ops, m, false);
    if (r < 0) {
        merge_release(m);
        return r;
    }
    r = claim_both(m);
    if (r < 0) {
        dk_queue_set_closed(m->q);
        dk_queue_gone(m->q);
        return r;
    }
    *qd_out = m->q->qd;
    return 0;
}
