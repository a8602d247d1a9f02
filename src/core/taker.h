/* SPDX-License-Identifier: MIT */
/*
 * Takers: what consumes a queue's elements inside the library, an operator or a connection.
 *
 * A taker claims the pop side of a queue: pops of the application are EBUSY from then on. It takes
 * elements one by one, when it has somebody to give them to; where there is none, it is woken once
 * when there may be one. So nothing is taken that nobody asked for, and nothing is allocated or
 * queued between an element's source and its consumer.
 *
 * A wake-up may come from any thread, under any lock but `tokens`: it only puts the taker on a list
 * of its instance. Whoever has the lead runs that list, in the same places as posted operations
 * (instance.h). So a taker's `ready`, and the application's functions that it calls, run one at a
 * time per instance with no lock of the library held but the lead.
 *
 * An element that was taken and cannot be delivered goes back to the head of the queue's pop side:
 * it is served before anything that the backend has.
 */
#ifndef DK_CORE_TAKER_H
#define DK_CORE_TAKER_H

#include "core/queue.h"
#include "core/thread.h"

#include <errno.h>

/*
 * What a take comes to. A negative errno: one element failed, or there was no memory; the source
 * goes on. From DK_TAKE_CLOSED on: the source does not, see dk_take_broken.
 */
#define DK_TAKE_NONE    0
#define DK_TAKE_ELEMENT 1
#define DK_TAKE_END     2
#define DK_TAKE_CLOSED  3 /* a queue below was closed: all that waits ends with -ECANCELED */

/* A take from a source that has failed for good, with a negative errno. */
static inline int dk_take_broken(int error)
{
    return DK_TAKE_CLOSED - error;
}

static inline bool dk_take_is_broken(int r)
{
    return r > DK_TAKE_CLOSED;
}

static inline bool dk_take_has_failed(int r)
{
    return r < 0 || r >= DK_TAKE_CLOSED;
}

/* The negative errno of a take that has failed, for who wanted the element; else 0. */
static inline int dk_take_error(int r)
{
    if (r < DK_TAKE_CLOSED)
        return r < 0 ? r : 0;
    return r == DK_TAKE_CLOSED ? -ECANCELED : DK_TAKE_CLOSED - r;
}

struct dk_taker {
    /* The queue may have something, or it was closed; the lead of inst is held. */
    void (*ready)(struct dk_taker *t);
    /* Lets go of an operation of the opcode DEMI_OPC_CLOSE on the queue, as dk_queue_ops.cancel;
     * NULL: it issues none. The lead of inst is held. */
    int (*cancel)(struct dk_taker *t, struct dk_op *op);
    struct dk_instance *inst;
    struct dk_list link;    /* on inst->woken or inst->yielded while queued */
    struct dk_list feeding; /* on the feeders of the queue that it pushes to */
    uint8_t queued;         /* enum dk_taker_list, guarded by inst->tokens */
};

enum dk_taker_list { DK_TAKER_ON_NONE, DK_TAKER_ON_WOKEN, DK_TAKER_ON_YIELDED };

void dk_taker_init(struct dk_taker *t, struct dk_instance *inst, void (*ready)(struct dk_taker *t));

/* Nothing wakes t any more: takes it off the list. */
void dk_taker_fini(struct dk_taker *t);

/* Has t run soon. Any thread, any lock but `tokens`. */
void dk_taker_wake(struct dk_taker *t);

/* Has t, which runs and could go on, run again after the next poll, so that it keeps nobody
 * waiting. The lead of its instance is held. */
void dk_taker_yield(struct dk_taker *t);

/* Wakes the takers that yielded. The lead is held. */
void dk_taker_resume_slow(struct dk_instance *inst);

static inline void dk_taker_resume(struct dk_instance *inst)
{
    if (dk_unlikely(inst->num_yielded != 0))
        dk_taker_resume_slow(inst);
}

/* Runs takers that the calling thread woke, of each instance whose lead is free (else its holder
 * runs them). No lock is held but leads. */
void dk_taker_run_woken_slow(void);

static inline void dk_taker_run_woken(void)
{
    if (dk_unlikely(dk_thread_self && dk_thread_self->num_woken != 0))
        dk_taker_run_woken_slow();
}

/*
 * Claims the pop side of q for t, and a hold on q. 0, or -EBUSY (claimed already, or pops are
 * outstanding), -EXDEV (of another instance, and not `anywhere`), -EOPNOTSUPP. The lead is held.
 */
int dk_taker_claim(struct dk_taker *t, struct dk_queue *q);

/* Gives the pop side and the hold back. The lead is held. */
void dk_taker_unclaim(struct dk_queue *q);

/*
 * Takes the next element: DK_TAKE_ELEMENT and *sga_out, which the taker holds as the application
 * holds what it popped; DK_TAKE_NONE, and the taker is woken when there may be one; DK_TAKE_END,
 * each time again; or it failed, as above: DK_TAKE_CLOSED when q was closed. The lead is held.
 */
int dk_taker_take(struct dk_queue *q, demi_sgarray_t *sga_out);

/* Passes a push on an operator q on to its source, as dk_queue_ops.push. */
int dk_taker_forward(struct dk_queue *q, struct dk_queue *source, struct dk_op *op,
                     const demi_sgarray_t *sga);

/* Nobody wants an element any more: the wake-up that the last take asked for need not come. */
void dk_taker_rest(struct dk_queue *q);

/* Whether a take would certainly find nothing. While !dk_mt(). */
static inline bool dk_queue_is_idle(struct dk_queue *q)
{
    return dk_likely(dk_queue_is_open(q) && !dk_queue_has_returned(q) && q->ops->idle) &&
           q->ops->idle(q);
}

/* The same just after q's take_now had an element: it is open, and nothing was returned. */
static inline bool dk_queue_is_drained(struct dk_queue *q)
{
    return q->ops->idle(q);
}

/* Whether q or a queue below it was closed, and the next take of q will tell. The lead is held. */
static inline bool dk_queue_is_cut(struct dk_queue *q)
{
    return !dk_queue_is_open(q) || (q->ops->cut && q->ops->cut(q));
}

/* t pushes to q: it is woken when q is closed. And no longer. */
void dk_taker_feed(struct dk_taker *t, struct dk_queue *q);
void dk_taker_unfeed(struct dk_taker *t);

/* q was closed: wakes who takes from it or pushes to it. No lock but the lead is held. */
void dk_taker_queue_closed(struct dk_queue *q);

/* Puts an element at the head of q's pop side. -ENOMEM: it is freed. */
int dk_queue_return(struct dk_queue *q, const demi_sgarray_t *sga);

/* Takes the first returned element: false when there is none. */
bool dk_queue_take_returned(struct dk_queue *q, demi_sgarray_t *sga_out);

/* Moves what was returned to q to the head of its source's pop side; q closes. Where the source is
 * closed it is freed with q. */
void dk_queue_pass_returned(struct dk_queue *q, struct dk_queue *source);

/* Frees what was returned and nobody popped. */
void dk_queue_drop_returned(struct dk_queue *q);

/* Shuts q down: as dk_queue_ops.shutdown, and what was returned goes with what is dropped. */
int dk_queue_shutdown(struct dk_queue *q, int how);

#endif /* DK_CORE_TAKER_H */
