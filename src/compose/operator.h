/* SPDX-License-Identifier: MIT */
/*
 * Operators with one source: what filter, map, sort and frame share.
 *
 * An operator is a queue whose elements come from another queue, its source. It claims the source's
 * pop side (core/taker.h) and takes an element whenever somebody wants one from it: a pop of the
 * application, or the operator that took the operator's own pop side. Pushes, names, options and
 * shutdown go to the source. A push is passed on as the same operation, so it completes, or is
 * cancelled, where it ends up.
 *
 *     application --pop--> operator --take--> operator --take--> memory queue, socket
 *
 * A kind of operator says how the next element is made (`next`), and what a push becomes (`push`).
 * `next` is called only while an element is wanted. Everything here is done under the instance's
 * lead, except for the shortest path (pop_now, push_now).
 */
#ifndef DK_COMPOSE_OPERATOR_H
#define DK_COMPOSE_OPERATOR_H

#include "core/taker.h"

struct dk_operator;

struct dk_operator_kind {
    /*
     * Makes the next element out of dk_operator_take: as dk_taker_take. What has failed fails one
     * pop, DK_TAKE_CLOSED all.
     */
    int (*next)(struct dk_operator *o, demi_sgarray_t *sga_out);
    /* Starts a push, as dk_queue_ops.push. NULL: it is the source's, unchanged. */
    int (*push)(struct dk_operator *o, struct dk_op *op, const demi_sgarray_t *sga);
    /* The operator goes while the source is there: returns what was taken to the source. NULL:
     * nothing is kept. */
    void (*give_back)(struct dk_operator *o);
    /* Whether it keeps something that its next pop may be about. NULL: it keeps nothing. */
    bool (*keeps)(const struct dk_operator *o);
    /* Frees what the kind added. NULL: nothing. */
    void (*free)(struct dk_operator *o);
};

/* The first member of every operator; allocated with it, freed by operator.c. */
struct dk_operator {
    struct dk_taker taker;
    const struct dk_operator_kind *kind;
    struct dk_queue *q;
    struct dk_queue *source; /* held */
    struct dk_list pops;     /* outstanding, oldest first */
    bool hungry;             /* its own taker waits for an element */
};

/* Ops of a kind: the shared ones, with these short paths (NULL: none). */
#define DK_OPERATOR_OPS(now_push, now_pop)                                                         \
    {                                                                                              \
        .push = dk_operator_push, .pop = dk_operator_pop, .push_now = (now_push),                  \
        .pop_now = (now_pop), .claim = dk_operator_claim, .take = dk_operator_serve,               \
        .rest = dk_operator_rest, .idle = dk_operator_idle, .cut = dk_operator_cut,                \
        .sources = dk_operator_sources, .cancel = dk_operator_cancel,                              \
        .shutdown = dk_operator_shutdown, .close = dk_operator_close,                              \
        .setsockopt = dk_operator_setsockopt, .getsockopt = dk_operator_getsockopt,                \
        .name = dk_operator_name, .release = dk_operator_release,                                  \
    }

int dk_operator_push(struct dk_queue *q, struct dk_op *op, const demi_sgarray_t *sga);
int dk_operator_pop(struct dk_queue *q, struct dk_op *op);
int dk_operator_claim(struct dk_queue *q, struct dk_taker *t);
int dk_operator_serve(struct dk_queue *q, demi_sgarray_t *sga_out);
void dk_operator_rest(struct dk_queue *q);
bool dk_operator_idle(struct dk_queue *q);
bool dk_operator_cut(struct dk_queue *q);
int dk_operator_cancel(struct dk_queue *q, struct dk_op *op, demi_qtoken_t token);
uint32_t dk_operator_sources(struct dk_queue *q, struct dk_queue *out[2]);
int dk_operator_shutdown(struct dk_queue *q, int how);
void dk_operator_close(struct dk_queue *q);
int dk_operator_setsockopt(struct dk_queue *q, int level, int name, const void *val, socklen_t len);
int dk_operator_getsockopt(struct dk_queue *q, int level, int name, void *val, socklen_t *len);
int dk_operator_name(struct dk_queue *q, enum dk_queue_name which, struct sockaddr *addr,
                     socklen_t *len);
void dk_operator_release(void *impl);

/*
 * Makes o, of bytes of dk_heap_zalloc with its kind's fields set, a queue over source: claims it.
 * On failure (as dk_taker_claim, -EMFILE) o is freed. The lead of inst is held.
 */
int dk_operator_create(struct dk_operator *o, struct dk_instance *inst,
                       const struct dk_queue_ops *ops, struct dk_queue *source, int *qd_out);

/* The source's next element, as dk_taker_take. */
static inline int dk_operator_take(struct dk_operator *o, demi_sgarray_t *sga_out)
{
    return dk_taker_take(o->source, sga_out);
}

/* Passes a push on to the source: as dk_queue_ops.push. */
static inline int dk_operator_forward(struct dk_operator *o, struct dk_op *op,
                                      const demi_sgarray_t *sga)
{
    return dk_taker_forward(o->q, o->source, op, sga);
}

/* On the shortest path: the source's next element, if it has one at once. */
static inline bool dk_operator_take_now(const struct dk_operator *o, demi_sgarray_t *sga_out)
{
    return dk_likely(o->source->take_now(o->source, sga_out));
}

/* On the shortest path: whether a pop may be served before those that wait. None waits. */
static inline bool dk_operator_may_pop_now(const struct dk_operator *o)
{
    return dk_list_empty(&o->pops);
}

/* On the shortest path: gives an element to the source, if it takes it at once. */
static inline bool dk_operator_push_now(const struct dk_operator *o, const demi_sgarray_t *sga,
                                        struct dk_buf *buf)
{
    return dk_likely(o->source->push_now(o->source, sga, buf));
}

#endif /* DK_COMPOSE_OPERATOR_H */
