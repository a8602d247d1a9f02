/* SPDX-License-Identifier: MIT */
/*
 * partition (partition.h).
 *
 * Invariants, under the lead: an output has pops, or its taker is hungry, only while its ring is
 * empty; `wanted` counts pops and hungry takers of all outputs; `full` counts outputs whose ring is
 * full: only while there is none is an element taken.
 */
#include "compose/partition.h"

#include "core/function.h"
#include "core/instance.h"
#include "core/taker.h"
#include "mem/heap.h"

#include <errno.h>

#define OUTPUT_MAX 1024u
#define FIRST_RING 16u

struct partition;

struct output {
    struct partition *p;
    struct dk_queue *q; /* NULL: closed */
    struct dk_list pops;
    bool hungry, full;
    int failure;          /* not 0: what the next take comes to */
    demi_sgarray_t *ring; /* owned; size is a power of two */
    uint32_t size, head, count;
};

struct partition {
    struct dk_taker taker;
    struct dk_queue *source; /* held; NULL after the last close */
    demi_partition_fn fn;
    void *arg;
    uint32_t n;
    uint32_t open;    /* outputs that are not closed */
    uint32_t holders; /* outputs whose queue is not released yet */
    uint32_t wanted;
    uint32_t full;
    bool ended; /* the source's end was seen */
    struct output outputs[];
};

static struct dk_op *take_pop(struct output *o)
{
    struct dk_op *op = dk_container_of(o->pops.next, struct dk_op, link);
    dk_list_del(&op->link);
    o->p->wanted--;
    return op;
}

static void complete_pop(struct output *o, const demi_sgarray_t *sga, int error)
{
    struct dk_op *op = take_pop(o);
    if (sga)
        *dk_op_sga(op) = *sga;
    else
        dk_sga_end(dk_op_sga(op));
    dk_op_complete(op, error);
}

/* The taker of an output need not wait any more. */
static void wake_taker(struct output *o)
{
    o->hungry = false;
    o->p->wanted--;
    dk_taker_wake(o->q->taker);
}

static bool grow(struct output *o)
{
    uint32_t size = o->size ? o->size * 2 : FIRST_RING;
    demi_sgarray_t *ring = dk_heap_malloc(size * sizeof(*ring));
    if (!ring)
        return false;
    for (uint32_t i = 0; i < o->count; i++)
        ring[i] = o->ring[(o->head + i) & (o->size - 1)];
    if (o->ring)
        dk_heap_free(o->ring);
    o->ring = ring;
    o->size = size;
    o->head = 0;
    return true;
}

/* Puts an element into a ring that is not full. There must be room for the next one, whose output
 * is not known before it is taken: without memory for that the ring is full. */
static void enqueue(struct output *o, const demi_sgarray_t *sga)
{
    o->ring[(o->head + o->count++) & (o->size - 1)] = *sga;
    if (o->count == o->size && (o->size == OUTPUT_MAX || !grow(o))) {
        o->full = true;
        o->p->full++;
        dk_count(&o->p->taker.inst->stats->partition_stops, 1);
    }
}

static void no_longer_full(struct output *o)
{
    o->p->full -= o->full;
    o->full = false;
}

static void dequeue(struct output *o, demi_sgarray_t *sga_out)
{
    *sga_out = o->ring[o->head];
    o->head = (o->head + 1) & (o->size - 1);
    o->count--;
    no_longer_full(o);
}

static struct output *choose(struct partition *p, const demi_sgarray_t *sga)
{
    struct dk_function_scope scope = dk_function_enter();
    uint32_t i = p->fn(sga, p->arg);
    dk_function_leave(scope);
    return &p->outputs[i % p->n];
}

/* Gives an element to an output. */
static void deal(struct output *o, const demi_sgarray_t *sga)
{
    if (!o->q) {
        dk_sga_free(sga);
        dk_count(&o->p->taker.inst->stats->partition_drops, 1);
    } else if (!dk_list_empty(&o->pops)) {
        complete_pop(o, sga, 0);
    } else {
        enqueue(o, sga);
        if (o->hungry)
            wake_taker(o);
    }
}

/* Every pop sees the end or the failure that a take came to; so does every taker that waits. */
static void tell_all(struct partition *p, int r)
{
    for (uint32_t i = 0; i < p->n; i++) {
        struct output *o = &p->outputs[i];
        while (!dk_list_empty(&o->pops))
            complete_pop(o, NULL, dk_take_error(r));
        if (o->hungry) {
            o->failure = dk_take_has_failed(r) ? r : 0;
            wake_taker(o);
        }
    }
}

/* Deals elements out while somebody wants one. Returns what the last take came to. */
static int pump(struct partition *p)
{
    int r = DK_TAKE_NONE;
    while (p->wanted > 0 && p->full == 0) {
        demi_sgarray_t sga;
        r = p->ended ? DK_TAKE_END : dk_taker_take(p->source, &sga);
        if (r != DK_TAKE_ELEMENT)
            break;
        deal(choose(p, &sga), &sga);
    }
    p->ended |= r == DK_TAKE_END;
    if (r == DK_TAKE_END || dk_take_has_failed(r))
        tell_all(p, r);
    return r;
}

static void ready(struct dk_taker *t)
{
    struct partition *p = dk_container_of(t, struct partition, taker);
    if (p->full > 0 && dk_queue_is_cut(p->source))
        tell_all(p, DK_TAKE_CLOSED); /* who waits behind a full output would not be told */
    else
        pump(p);
}

/* Somebody wants less than before. */
static void rest(struct partition *p)
{
    if (p->wanted == 0 && p->source)
        dk_taker_rest(p->source);
}

static int output_pop(struct dk_queue *q, struct dk_op *op)
{
    struct output *o = q->impl;
    struct partition *p = o->p;
    dk_list_add_tail(&o->pops, &op->link);
    p->wanted++;
    if (o->count > 0) {
        demi_sgarray_t sga;
        dequeue(o, &sga);
        complete_pop(o, &sga, 0);
    }
    pump(p);
    rest(p);
    return 0;
}

static int output_take(struct dk_queue *q, demi_sgarray_t *sga_out)
{
    struct output *o = q->impl;
    struct partition *p = o->p;
    int r = o->failure;
    if (r != 0) {
        o->failure = 0;
        return r;
    }
    if (o->count == 0 && !o->hungry) {
        o->hungry = true;
        p->wanted++;
    }
    if (o->hungry)
        r = pump(p); /* it ends o's hunger when there is an element, an end or an error */
    o->failure = 0;
    if (o->count == 0)
        return r == DK_TAKE_ELEMENT ? DK_TAKE_NONE : r;
    dequeue(o, sga_out);
    if (p->wanted > 0)
        dk_taker_wake(&p->taker); /* there may be room again */
    return DK_TAKE_ELEMENT;
}

static void output_rest(struct dk_queue *q)
{
    struct output *o = q->impl;
    if (!o->hungry)
        return;
    o->hungry = false;
    o->p->wanted--;
    rest(o->p);
}

static int output_claim(struct dk_queue *q, struct dk_taker *t)
{
    struct output *o = q->impl;
    if (t && !dk_list_empty(&o->pops))
        return -EBUSY;
    output_rest(q);
    o->failure = 0;
    return 0;
}

static uint32_t output_sources(struct dk_queue *q, struct dk_queue *out[2])
{
    out[0] = ((struct output *)q->impl)->p->source;
    return 1;
}

static int output_push(struct dk_queue *q, struct dk_op *op, const demi_sgarray_t *sga)
{
    struct dk_queue *source = ((struct output *)q->impl)->p->source;
    return dk_taker_forward(q, source, op, sga);
}

static int output_cancel(struct dk_queue *q, struct dk_op *op, demi_qtoken_t token)
{
    struct output *o = q->impl;
    (void)op;
    (void)token; /* checked under the lead */
    dk_list_del(&op->link);
    o->p->wanted--;
    rest(o->p);
    return 0;
}

/* Drops what an output holds, or returns it to the source, the last first. */
static void empty(struct output *o, bool give_back)
{
    struct partition *p = o->p;
    no_longer_full(o);
    while (o->count > 0) {
        demi_sgarray_t *last = &o->ring[(o->head + --o->count) & (o->size - 1)];
        if (give_back) {
            dk_queue_return(p->source, last);
        } else {
            dk_sga_free(last);
            dk_count(&p->taker.inst->stats->partition_drops, 1);
        }
    }
    dk_heap_free(o->ring);
    o->ring = NULL;
}

static void output_close(struct dk_queue *q)
{
    struct output *o = q->impl;
    struct partition *p = o->p;
    while (!dk_list_empty(&o->pops))
        complete_pop(o, NULL, -ECANCELED);
    output_rest(q);
    o->q = NULL;
    bool last = --p->open == 0;
    empty(o, last && dk_queue_is_open(p->source));
    if (last) {
        dk_queue_pass_returned(q, p->source);
        dk_taker_unclaim(p->source);
        dk_taker_fini(&p->taker);
        p->source = NULL;
    } else {
        rest(p);
        dk_taker_wake(&p->taker); /* it may have been full */
    }
    dk_queue_gone(q);
}

static void output_release(void *impl)
{
    struct partition *p = ((struct output *)impl)->p;
    if (dk_sub_u32(&p->holders, 1) == 0)
        dk_heap_free(p);
}

static int output_shutdown(struct dk_queue *q, int how)
{
    return dk_queue_shutdown(((struct output *)q->impl)->p->source, how);
}

static int output_name(struct dk_queue *q, enum dk_queue_name which, struct sockaddr *addr,
                       socklen_t *len)
{
    struct dk_queue *source = ((struct output *)q->impl)->p->source;
    if (!dk_queue_is_open(source))
        return -EBADF;
    return source->ops->name ? source->ops->name(source, which, addr, len) : -EOPNOTSUPP;
}

static int output_setsockopt(struct dk_queue *q, int level, int name, const void *val,
                             socklen_t len)
{
    struct dk_queue *source = ((struct output *)q->impl)->p->source;
    if (!dk_queue_is_open(source))
        return -EBADF;
    return source->ops->setsockopt ? source->ops->setsockopt(source, level, name, val, len)
                                   : -EOPNOTSUPP;
}

static int output_getsockopt(struct dk_queue *q, int level, int name, void *val, socklen_t *len)
{
    struct dk_queue *source = ((struct output *)q->impl)->p->source;
    if (!dk_queue_is_open(source))
        return -EBADF;
    return source->ops->getsockopt ? source->ops->getsockopt(source, level, name, val, len)
                                   : -EOPNOTSUPP;
}

static bool output_push_now(struct dk_queue *q, const demi_sgarray_t *sga, struct dk_buf *buf)
{
    struct dk_queue *source = ((struct output *)q->impl)->p->source;
    return source->push_now(source, sga, buf);
}

/* Deals out until this output's turn comes, as long as the source has elements at once. */
static bool output_pop_now(struct dk_queue *q, demi_sgarray_t *sga_out)
{
    struct output *o = q->impl;
    struct partition *p = o->p;
    struct dk_queue *source = p->source;
    if (dk_unlikely(!dk_list_empty(&o->pops) || o->failure))
        return false;
    if (o->count > 0) {
        bool was_full = p->full > 0;
        if (was_full && p->wanted > 0)
            return false; /* others wait for the room */
        dequeue(o, sga_out);
        return true;
    }
    while (p->full == 0 && !p->ended && source->take_now(source, sga_out)) {
        struct output *to = choose(p, sga_out);
        if (to == o)
            return true;
        deal(to, sga_out);
    }
    return false;
}

static bool output_idle(struct dk_queue *q)
{
    const struct output *o = q->impl;
    return o->count == 0 && !o->failure && o->p->full == 0 && !o->p->ended &&
           dk_queue_is_idle(o->p->source);
}

static bool output_cut(struct dk_queue *q)
{
    return dk_queue_is_cut(((struct output *)q->impl)->p->source);
}

static const struct dk_queue_ops output_ops = {
    .push = output_push,
    .pop = output_pop,
    .push_now = output_push_now,
    .pop_now = output_pop_now,
    .cancel = output_cancel,
    .shutdown = output_shutdown,
    .close = output_close,
    .setsockopt = output_setsockopt,
    .getsockopt = output_getsockopt,
    .name = output_name,
    .claim = output_claim,
    .take = output_take,
    .rest = output_rest,
    .idle = output_idle,
    .cut = output_cut,
    .sources = output_sources,
    .release = output_release,
};

/* Makes the outputs' queues: 0 or a negative errno, p->holders is how many there are. */
static int make_outputs(struct partition *p, struct dk_instance *inst)
{
    for (uint32_t i = 0; i < p->n; i++) {
        struct output *o = &p->outputs[i];
        o->p = p;
        dk_list_init(&o->pops);
        if (!grow(o))
            return -ENOMEM;
        int r = dk_queue_create(&o->q, inst, &output_ops, o, false);
        if (r < 0) {
            dk_heap_free(o->ring);
            return r;
        }
        p->holders++;
    }
    return 0;
}

/* Takes back what make_outputs made; the last queue's release frees p. */
static void undo_outputs(struct partition *p)
{
    uint32_t made = p->holders;
    if (made == 0)
        dk_heap_free(p);
    for (uint32_t i = 0; i < made; i++) {
        struct dk_queue *q = p->outputs[i].q;
        dk_heap_free(p->outputs[i].ring);
        dk_queue_set_closed(q);
        dk_queue_gone(q);
    }
}

int dk_partition_create(int qds_out[], uint32_t n, struct dk_instance *inst,
                        struct dk_queue *source, demi_partition_fn fn, void *arg)
{
    if (n == 0 || n > DK_PARTITION_MAX)
        return -EINVAL;
    struct partition *p = dk_heap_zalloc(sizeof(*p) + n * sizeof(p->outputs[0]));
    if (!p)
        return -ENOMEM;
    dk_taker_init(&p->taker, inst, ready);
    p->source = source;
    p->fn = fn;
    p->arg = arg;
    p->n = p->open = n;
    int r = make_outputs(p, inst);
    if (r == 0)
        r = dk_taker_claim(&p->taker, source);
    if (r < 0) {
        undo_outputs(p);
        return r;
    }
    for (uint32_t i = 0; i < n; i++)
        qds_out[i] = p->outputs[i].q->qd;
    return 0;
}
