/* SPDX-License-Identifier: MIT */
/*
 * Memory queue (memq.h). It has a lock of its own and no use for an instance's lead.
 *
 * Invariants, under the lock: pops wait only while the ring is empty and no push waits; pushes wait
 * only while the ring is full. An element in the ring has one hold of the library on its buffer,
 * which a pop turns into the application's.
 */
#include "compose/memq.h"

#include "core/instance.h"
#include "core/taker.h"
#include "core/wait.h"
#include "mem/buf_now.h"
#include "mem/watch.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_RING 16

struct element {
    struct dk_buf *buf;
    uint32_t num_segs;
    demi_sgaseg_t segs[DEMI_SGARRAY_MAXSIZE];
} __attribute__((aligned(64)));

_Static_assert(sizeof(struct element) == 128, "the size of an element is a power of two");

struct memq {
    struct dk_lock lock;
    uint32_t capacity; /* 0: no limit */
    uint32_t room; /* elements that may be put without further thought: 0 when pops wait, or it has
                      ended */
    struct dk_list pops;
    struct dk_list pushes; /* waiting for room */
    uint32_t
        unusual; /* pushes that wait, and elements of several segments: 0 is the shortest path */
    struct element *ring; /* owned; ring_size is a power of two */
    uint32_t ring_size;
    uint32_t mask; /* ring_size - 1 */
    uint32_t head; /* oldest element */
    uint32_t count;
    bool write_ended, read_ended, closed;
    bool hungry;            /* the taker waits for an element; the ring is empty */
    struct dk_taker *taker; /* who claimed the pop side, or NULL */
};

/* Copies the first segment, and a part of the next with it: one load and one store. */
static inline void copy_first(demi_sgaseg_t to[], const demi_sgaseg_t from[])
{
    memcpy(to, from, 16);
}

static inline void copy_segs(demi_sgaseg_t *to, const demi_sgaseg_t *from, uint32_t n)
{
    if (dk_likely(n == 1))
        *to = *from;
    else
        memcpy(to, from, n * sizeof(*to));
}

/* Describes an element for who pops it, but for its handle. */
static inline void fill(demi_sgarray_t *to, const demi_sgaseg_t *segs, uint32_t num_segs)
{
    to->sga_numsegs = num_segs;
    copy_segs(to->sga_segs, segs, num_segs);
    memset(&to->sga_addr, 0, sizeof(to->sga_addr));
}

/* Hands an element over: the library's hold becomes that of who pops it. */
static void hand_over(demi_sgarray_t *to, const demi_sgaseg_t *segs, uint32_t num_segs,
                      struct dk_buf *buf)
{
    if (dk_unlikely(dk_watch_on))
        dk_watch_delivered(buf);
    fill(to, segs, num_segs);
    dk_sga_lend(to, buf);
}

static void deliver(struct dk_op *pop, const demi_sgaseg_t *segs, uint32_t num_segs,
                    struct dk_buf *buf)
{
    hand_over(dk_op_sga(pop), segs, num_segs, buf);
    dk_op_complete(pop, 0);
}

static void deliver_end(struct dk_op *pop)
{
    dk_sga_end(dk_op_sga(pop));
    dk_op_complete(pop, 0);
}

static struct dk_op *first_op(struct dk_list *head)
{
    struct dk_op *op = dk_container_of(head->next, struct dk_op, link);
    dk_list_del(&op->link);
    return op;
}

/* Elements that fit without growing. */
static uint32_t limit(const struct memq *m)
{
    return m->capacity && m->capacity < m->ring_size ? m->capacity : m->ring_size;
}

static void update_room(struct memq *m)
{
    bool plain =
        dk_list_empty(&m->pops) && !m->hungry && !m->write_ended && !m->read_ended && !m->closed;
    m->room = plain ? limit(m) : 0;
}

static int grow(struct memq *m)
{
    uint32_t size = m->ring_size ? m->ring_size * 2 : FIRST_RING;
    struct element *ring = size ? aligned_alloc(64, (size_t)size * sizeof(*ring)) : NULL;
    if (!ring)
        return -ENOMEM;
    for (uint32_t i = 0; i < m->count; i++)
        ring[i] = m->ring[(m->head + i) & m->mask];
    free(m->ring);
    m->ring = ring;
    m->ring_size = size;
    m->mask = size - 1;
    update_room(m);
    m->head = 0;
    return 0;
}

static void put(struct memq *m, const demi_sgarray_t *sga, struct dk_buf *buf)
{
    struct element *e = &m->ring[(m->head + m->count++) & m->mask];
    e->buf = buf;
    e->num_segs = sga->sga_numsegs;
    m->unusual += e->num_segs != 1;
    copy_segs(e->segs, sga->sga_segs, sga->sga_numsegs);
}

/* Puts a held push's element into the ring, which has room; its hold moves there. */
static void enqueue(struct memq *m, struct dk_op *push)
{
    put(m, dk_op_sga(push), push->buf);
    push->held = 0;
    dk_op_complete(push, 0);
}

static struct element *dequeue(struct memq *m)
{
    struct element *e = &m->ring[m->head];
    m->head = (m->head + 1) & m->mask;
    m->count--;
    m->unusual -= e->num_segs != 1;
    return e;
}

/* Whether the ring must and may grow for one more element. */
static bool must_grow(const struct memq *m)
{
    return dk_list_empty(&m->pops) && m->count == m->ring_size &&
           (m->capacity == 0 || m->count < m->capacity);
}

/* The taker asked for what there is now; the lock is held. */
static inline void feed_taker(struct memq *m)
{
    if (dk_likely(!m->hungry))
        return;
    m->hungry = false;
    update_room(m);
    dk_taker_wake(m->taker);
}

/* Accepts an element; the lock is held. */
static int push_locked(struct memq *m, struct dk_op *op, const demi_sgarray_t *sga)
{
    if (m->write_ended || m->read_ended || m->closed)
        return m->closed ? -EBADF : -EPIPE;
    if (must_grow(m) && grow(m) < 0)
        return -ENOMEM;
    int r = dk_op_hold(op, sga);
    if (r < 0)
        return r;
    if (!dk_list_empty(&m->pops)) {
        op->held = 0;
        deliver(first_op(&m->pops), dk_op_sga(op)->sga_segs, dk_op_sga(op)->sga_numsegs, op->buf);
        update_room(m);
        dk_op_complete(op, 0);
    } else if (m->count < limit(m)) {
        enqueue(m, op);
    } else {
        dk_list_add_tail(&m->pushes, &op->link);
        m->unusual++;
    }
    feed_taker(m);
    return 0;
}

static int memq_push(struct dk_queue *q, struct dk_op *op, const demi_sgarray_t *sga)
{
    struct memq *m = q->impl;
    dk_lock(&m->lock);
    int r = push_locked(m, op, sga);
    dk_unlock(&m->lock);
    return r;
}

/* An element left the ring: a push that waits for room has it. */
static void admit_push(struct memq *m)
{
    if (!dk_list_empty(&m->pushes)) {
        m->unusual--;
        enqueue(m, first_op(&m->pushes));
    }
}

static int pop_locked(struct memq *m, struct dk_op *op)
{
    if (m->closed)
        return -EBADF;
    if (dk_unlikely(m->taker != NULL))
        return -EBUSY;
    if (m->count > 0) {
        struct element *e = dequeue(m);
        deliver(op, e->segs, e->num_segs, e->buf);
        admit_push(m);
    } else if (m->write_ended || m->read_ended) {
        deliver_end(op);
    } else {
        dk_list_add_tail(&m->pops, &op->link);
        update_room(m);
    }
    return 0;
}

static int memq_pop(struct dk_queue *q, struct dk_op *op)
{
    struct memq *m = q->impl;
    dk_lock(&m->lock);
    int r = pop_locked(m, op);
    dk_unlock(&m->lock);
    return r;
}

static bool memq_push_now(struct dk_queue *q, const demi_sgarray_t *sga, struct dk_buf *buf)
{
    struct memq *m = q->impl;
    if (dk_unlikely(m->count >= m->room))
        return false;
    struct element *e = &m->ring[(m->head + m->count++) & m->mask];
    buf->refs++;
    e->buf = buf;
    e->num_segs = 1;
    copy_first(e->segs, sga->sga_segs);
    return true;
}

static bool memq_pop_now(struct dk_queue *q, demi_sgarray_t *sga_out)
{
    struct memq *m = q->impl;
    uint32_t head = m->head;
    struct element *e = &m->ring[head];
    if (dk_unlikely(m->count == 0 || m->unusual))
        return false;
    struct dk_buf *buf = e->buf;
    m->head = (head + 1) & m->mask;
    m->count--;
    buf->app_refs++;
    sga_out->sga_buf = dk_buf_handle_now(buf);
    sga_out->sga_numsegs = 1;
    copy_first(sga_out->sga_segs, e->segs);
    memset(&sga_out->sga_addr, 0, sizeof(sga_out->sga_addr));
    return true;
}

static int memq_claim(struct dk_queue *q, struct dk_taker *t)
{
    struct memq *m = q->impl;
    dk_lock(&m->lock);
    int r = t && (m->taker || !dk_list_empty(&m->pops)) ? -EBUSY : 0;
    if (r == 0) {
        m->taker = t;
        m->hungry = false;
        update_room(m);
    }
    dk_unlock(&m->lock);
    return r;
}

static int take_locked(struct memq *m, demi_sgarray_t *sga_out)
{
    if (m->count > 0) {
        struct element *e = dequeue(m);
        hand_over(sga_out, e->segs, e->num_segs, e->buf);
        admit_push(m);
        return DK_TAKE_ELEMENT;
    }
    if (m->closed)
        return DK_TAKE_CLOSED;
    if (m->write_ended || m->read_ended)
        return DK_TAKE_END;
    m->hungry = true;
    update_room(m);
    return DK_TAKE_NONE;
}

static int memq_take(struct dk_queue *q, demi_sgarray_t *sga_out)
{
    struct memq *m = q->impl;
    dk_lock(&m->lock);
    int r = take_locked(m, sga_out);
    dk_unlock(&m->lock);
    return r;
}

static void memq_rest(struct dk_queue *q)
{
    struct memq *m = q->impl;
    dk_lock(&m->lock);
    m->hungry = false;
    update_room(m);
    dk_unlock(&m->lock);
}

static bool memq_idle(struct dk_queue *q)
{
    const struct memq *m = q->impl;
    return m->count == 0 && m->room != 0;
}

static int memq_cancel(struct dk_queue *q, struct dk_op *op, demi_qtoken_t token)
{
    struct memq *m = q->impl;
    dk_lock(&m->lock);
    int r = dk_cancel_mark(q, op, token);
    if (r == 0) {
        dk_list_del(&op->link); /* what was PENDING here stands on pops or pushes */
        m->unusual -= op->qr.qr_opcode == DEMI_OPC_PUSH;
    }
    update_room(m);
    dk_unlock(&m->lock);
    return r;
}

static void drop_elements(struct memq *m)
{
    while (m->count > 0)
        dk_buf_put(dequeue(m)->buf);
}

static void cancel_pops(struct memq *m, int error)
{
    while (!dk_list_empty(&m->pops))
        dk_op_complete(first_op(&m->pops), error);
}

static void cancel_pushes(struct memq *m, int error)
{
    while (!dk_list_empty(&m->pushes)) {
        m->unusual--;
        dk_op_complete(first_op(&m->pushes), error);
    }
}

static int memq_shutdown(struct dk_queue *q, int how)
{
    struct memq *m = q->impl;
    dk_lock(&m->lock);
    if (how != SHUT_WR) {
        m->read_ended = true;
        drop_elements(m);
        cancel_pushes(m, -EPIPE);
    }
    if (how != SHUT_RD)
        m->write_ended = true;
    while (!dk_list_empty(&m->pops)) /* none waits while there are elements */
        deliver_end(first_op(&m->pops));
    update_room(m);
    feed_taker(m);
    dk_unlock(&m->lock);
    return 0;
}

static void memq_close(struct dk_queue *q)
{
    struct memq *m = q->impl;
    dk_lock(&m->lock);
    m->closed = true;
    cancel_pops(m, -ECANCELED);
    cancel_pushes(m, -ECANCELED); /* nobody is left to pop them */
    drop_elements(m);
    m->hungry = false;
    update_room(m);
    if (m->taker)
        dk_taker_wake(m->taker);
    dk_unlock(&m->lock);
    dk_queue_gone(q);
}

/* A thread may still be inside push or pop when another closes the queue: memory goes with the last
 * hold. */
static void memq_release(void *impl)
{
    struct memq *m = impl;
    free(m->ring);
    free(m);
}

static const struct dk_queue_ops memq_ops = {
    .push = memq_push,
    .pop = memq_pop,
    .push_now = memq_push_now,
    .pop_now = memq_pop_now,
    .claim = memq_claim,
    .take = memq_take,
    .rest = memq_rest,
    .idle = memq_idle,
    .cancel = memq_cancel,
    .shutdown = memq_shutdown,
    .close = memq_close,
    .release = memq_release,
};

int dk_memq_create(int *qd_out, struct dk_instance *inst, uint32_t capacity)
{
    struct memq *m = calloc(1, sizeof(*m)); /* owned by the queue */
    struct dk_queue *q;
    if (!m)
        return -ENOMEM;
    m->capacity = capacity;
    dk_list_init(&m->pops);
    dk_list_init(&m->pushes);
    int r = grow(m);
    if (r == 0)
        r = dk_queue_create(&q, inst, &memq_ops, m, true);
    if (r < 0) {
        memq_release(m);
        return r;
    }
    *qd_out = q->qd;
    return 0;
}
