/* SPDX-License-Identifier: MIT */
/*
 * Takers: claims, wake-ups, returned elements (taker.h).
 */
#include "core/taker.h"

#include "core/wait.h"
#include "mem/heap.h"

#include <errno.h>

struct returned {
    struct dk_list link;
    demi_sgarray_t sga;
};

/* Over all lists of returned elements: they are rare. */
static struct dk_lock returned_lock;

/* Over the feeders of all queues. */
static struct dk_lock feeders_lock;

void dk_taker_init(struct dk_taker *t, struct dk_instance *inst, void (*ready)(struct dk_taker *t))
{
    t->ready = ready;
    t->cancel = NULL;
    t->inst = inst;
    t->queued = DK_TAKER_ON_NONE;
    dk_list_init(&t->link);
    dk_list_init(&t->feeding);
}

void dk_taker_fini(struct dk_taker *t)
{
    struct dk_instance *inst = t->inst;
    dk_lock(&inst->tokens);
    if (t->queued)
        dk_list_del(&t->link);
    if (t->queued == DK_TAKER_ON_WOKEN)
        __atomic_sub_fetch(&inst->num_posted, 1, __ATOMIC_RELAXED);
    else if (t->queued == DK_TAKER_ON_YIELDED)
        inst->num_yielded--;
    t->queued = DK_TAKER_ON_NONE;
    dk_unlock(&inst->tokens);
}

/* `tokens` is held. */
static void put_on_woken(struct dk_taker *t)
{
    t->queued = DK_TAKER_ON_WOKEN;
    dk_list_add_tail(&t->inst->woken, &t->link);
    __atomic_add_fetch(&t->inst->num_posted, 1, __ATOMIC_RELEASE);
}

/* The calling thread will see to it that inst's takers run. A thread without a record (in an exit
 * hook) leaves that to who leads. */
static void note_woken(struct dk_instance *inst)
{
    struct dk_thread *self = dk_thread_self;
    if (!self)
        return;
    for (uint32_t i = 0; i < self->num_woken; i++)
        if (self->woken[i] == inst)
            return;
    self->woken[self->num_woken++] = inst;
}

void dk_taker_wake(struct dk_taker *t)
{
    struct dk_instance *inst = t->inst;
    dk_lock(&inst->tokens);
    if (!t->queued)
        put_on_woken(t);
    dk_unlock(&inst->tokens);
    note_woken(inst);
}

void dk_taker_yield(struct dk_taker *t)
{
    struct dk_instance *inst = t->inst;
    dk_lock(&inst->tokens);
    if (!t->queued) {
        t->queued = DK_TAKER_ON_YIELDED;
        dk_list_add_tail(&inst->yielded, &t->link);
        inst->num_yielded++;
    }
    if (inst->sleeper && dk_waiter_wake(inst->sleeper)) /* somebody must poll */
        dk_count(&inst->stats->handovers, 1);
    dk_unlock(&inst->tokens);
}

void dk_taker_resume_slow(struct dk_instance *inst)
{
    struct dk_list *l;
    dk_lock(&inst->tokens);
    while ((l = dk_list_first(&inst->yielded)) != NULL) {
        dk_list_del(l);
        put_on_woken(dk_container_of(l, struct dk_taker, link));
    }
    inst->num_yielded = 0;
    dk_unlock(&inst->tokens);
}

void dk_taker_run_woken_slow(void)
{
    struct dk_thread *self = dk_thread_self;
    while (self->num_woken != 0) {
        struct dk_instance *inst = self->woken[--self->num_woken];
        /* Pairs with the fence in dk_lead_drop_slow(): either the holder sees the taker or we get
         * the lead. If we are the holder, we are running its takers. */
        dk_fence();
        if (dk_lead_try(inst)) {
            dk_run_posted(inst);
            dk_lead_drop(inst);
        }
    }
}

int dk_taker_claim(struct dk_taker *t, struct dk_queue *q)
{
    if (!q->ops->take || !q->ops->claim)
        return -EOPNOTSUPP;
    if (q->inst != t->inst && !q->anywhere)
        return -EXDEV;
    if (dk_queue_taker(q))
        return -EBUSY;
    int r = q->ops->claim(q, t);
    if (r < 0)
        return r;
    dk_add_u32(&q->holds, 1);
    __atomic_store_n(&q->taker, t, __ATOMIC_RELAXED);
    dk_queue_set_pop_now(q);
    return 0;
}

void dk_taker_unclaim(struct dk_queue *q)
{
    if (q->anywhere || dk_queue_is_open(q)) /* who uses it meanwhile must not wake the taker */
        q->ops->claim(q, NULL);
    __atomic_store_n(&q->taker, NULL, __ATOMIC_RELAXED);
    dk_queue_set_pop_now(q);
    dk_queue_put(q);
}

int dk_taker_take(struct dk_queue *q, demi_sgarray_t *sga_out)
{
    if (dk_unlikely(__atomic_load_n(&q->state, __ATOMIC_ACQUIRE) != DK_QUEUE_OPEN))
        return DK_TAKE_CLOSED;
    if (dk_unlikely(dk_queue_has_returned(q)) && dk_queue_take_returned(q, sga_out))
        return DK_TAKE_ELEMENT;
    return q->ops->take(q, sga_out);
}

int dk_taker_forward(struct dk_queue *q, struct dk_queue *source, struct dk_op *op,
                     const demi_sgarray_t *sga)
{
    if (!dk_queue_is_open(source))
        return -EBADF;
    if (op->addr_len && !source->ops->name)
        return -EOPNOTSUPP; /* pushto, and no addresses there */
    op->target = source;
    int r = source->ops->push(source, op, sga);
    if (r < 0)
        op->target = q;
    return r;
}

void dk_taker_rest(struct dk_queue *q)
{
    if (dk_queue_is_open(q))
        q->ops->rest(q);
}

void dk_taker_feed(struct dk_taker *t, struct dk_queue *q)
{
    dk_lock(&feeders_lock);
    dk_list_add_tail(&q->feeders, &t->feeding);
    dk_unlock(&feeders_lock);
}

void dk_taker_unfeed(struct dk_taker *t)
{
    dk_lock(&feeders_lock);
    dk_list_del_init(&t->feeding);
    dk_unlock(&feeders_lock);
}

void dk_taker_queue_closed(struct dk_queue *q)
{
    struct dk_list *l;
    if (!q->anywhere && q->taker) /* the others tell their takers themselves, under their locks */
        dk_taker_wake(q->taker);
    dk_lock(&feeders_lock);
    dk_list_for_each (l, &q->feeders)
        dk_taker_wake(dk_container_of(l, struct dk_taker, feeding));
    dk_unlock(&feeders_lock);
}

int dk_queue_return(struct dk_queue *q, const demi_sgarray_t *sga)
{
    struct returned *r = dk_heap_malloc(sizeof(*r)); /* freed when it is taken */
    if (!r) {
        dk_sga_free(sga);
        return -ENOMEM;
    }
    r->sga = *sga;
    dk_lock(&returned_lock);
    dk_list_add_head(&q->returned, &r->link);
    dk_add_u32(&q->num_returned, 1);
    dk_unlock(&returned_lock);
    dk_queue_set_pop_now(q);
    return 0;
}

bool dk_queue_take_returned(struct dk_queue *q, demi_sgarray_t *sga_out)
{
    dk_lock(&returned_lock);
    struct dk_list *l = q->num_returned ? dk_list_first(&q->returned) : NULL;
    if (l) {
        dk_list_del(l);
        dk_sub_u32(&q->num_returned, 1);
    }
    dk_unlock(&returned_lock);
    if (!l)
        return false;
    struct returned *r = dk_container_of(l, struct returned, link);
    *sga_out = r->sga;
    dk_heap_free(r);
    dk_queue_set_pop_now(q);
    return true;
}

void dk_queue_pass_returned(struct dk_queue *q, struct dk_queue *source)
{
    if (!dk_queue_has_returned(q) || !dk_queue_is_open(source))
        return;
    dk_lock(&returned_lock);
    while (!dk_list_empty(&q->returned)) {
        struct dk_list *last = q->returned.prev;
        dk_list_del(last);
        dk_list_add_head(&source->returned, last);
    }
    dk_add_u32(&source->num_returned, q->num_returned);
    dk_sub_u32(&q->num_returned, q->num_returned);
    dk_unlock(&returned_lock);
    dk_queue_set_pop_now(source);
}

void dk_queue_drop_returned(struct dk_queue *q)
{
    demi_sgarray_t sga;
    while (dk_queue_take_returned(q, &sga))
        dk_sga_free(&sga);
}

int dk_queue_shutdown(struct dk_queue *q, int how)
{
    if (!dk_queue_is_open(q))
        return -EBADF;
    int r = q->ops->shutdown ? q->ops->shutdown(q, how) : -EOPNOTSUPP;
    if (r == 0 && how != SHUT_WR)
        dk_queue_drop_returned(q);
    return r;
}
