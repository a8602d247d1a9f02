/* SPDX-License-Identifier: MIT */
/*
 * Waiting for operations.
 *
 * A waiter is one thread's wait call. It *claims* a token by writing itself and the token's array
 * position into the slot. A claim is checked, not undone: it counts while the waiter is active and
 * its array still has that token at that position. So a steady server that replaces one token per
 * call pays for one claim per call, not for the array.
 */
#ifndef DK_CORE_WAIT_H
#define DK_CORE_WAIT_H

#include "core/instance.h"

#include <time.h>

/*
 * A wait that finds its result at once still polls every so many calls, so that a busy queue does
 * not starve the others: of an instance with a device, and of one without (where there is nothing
 * to poll, but the shortest path is counted, see fast.h).
 */
#define DK_WAIT_POLL_EVERY 16
#define DK_WAIT_NO_POLLER  128

/* Arrays up to this length are checked token by token; reading them costs less than being clever.
 */
#define DK_WAIT_SHORT_ARRAY 4

enum dk_wait_kind { DK_WAIT_ANY, DK_WAIT_ALL, DK_WAIT_ISSUED };

enum dk_waiter_role { DK_WAITER_AWAKE, DK_WAITER_FOLLOWS, DK_WAITER_IN_DEVICE };

/* futex values */
enum { DK_WAITER_SLEEPS = 0, DK_WAITER_WOKEN = 1 };

struct dk_waiter {
    struct dk_list link; /* inst->waiters while it sleeps or is about to */
    struct dk_instance *inst;
    const demi_qtoken_t *qts;
    uint32_t num_qts; /* of ISSUED: results wanted */
    uint32_t need;    /* completions still missing before it is woken */
    uint32_t futex;
    uint32_t thread; /* id, as in dk_op.issuer */
    uint32_t last;   /* position of the last result */
    uint8_t kind;
    uint8_t active;
    uint8_t role;      /* enum dk_waiter_role, guarded by `tokens` */
    uint8_t cancelled; /* a token it sleeps on was cancelled elsewhere; false between waits */
    uint8_t all_ready; /* ISSUED: return only with num_qts results */
    demi_qresult_t *qrs;
    uint32_t num_out; /* ISSUED: results delivered; ANY: position */
    int64_t spun_ns;  /* in this call, before it is a waiter; 0 between waits */
    uint64_t read_at; /* inst->stats->completions when the array was last read whole in this call */
};

/* Whether a time-out, NULL: none, lets a wait look at the device. */
static inline bool dk_wait_has_time(const struct timespec *timeout)
{
    return !timeout || timeout->tv_sec > 0 || timeout->tv_nsec > 0;
}

/* As dk_wait_now (wait_now.h), of what is not fresh; alone: see alone.h. */
int dk_wait_look(struct dk_instance *inst, struct dk_waiter *w, demi_qtoken_t token,
                 demi_qresult_t *qr, int64_t most_ns, bool alone);

/*
 * Waits by w->kind. w->inst, qts, num_qts, qrs, thread are set. timeout_ns < 0: for ever. Returns 0
 * with results in w->qrs and w->num_out, or a negative errno (-ETIMEDOUT, -EINVAL, -EBUSY,
 * -ECANCELED, -EXDEV).
 */
int dk_wait(struct dk_waiter *w, int64_t timeout_ns);

/* Cancels an operation of inst: 0, -EINVAL, -EALREADY, -EBUSY. */
int dk_cancel(struct dk_instance *inst, demi_qtoken_t token);

/*
 * Says of an operation on q that it is cancelled: nobody else finds it any more, and who sleeps on
 * it gets -ECANCELED. 0; -EALREADY: it is done; -EINVAL: op is not (any more) the outstanding
 * operation that token names, or not of q. An `anywhere` queue calls it in its `cancel`, under its
 * own lock, before it lets op go: of two threads that cancel, one does. For the others dk_cancel
 * does, under the lead.
 */
int dk_cancel_mark(struct dk_queue *q, struct dk_op *op, demi_qtoken_t token);

/* `tokens` of op->inst is held: accounts a completion, and wakes whom it concerns. */
void dk_wait_notify(struct dk_op *op);

/* `tokens` is held: wakes a waiter. False: it is awake, or was woken and has not run yet. */
bool dk_waiter_wake(struct dk_waiter *w);

/* Ends the wait that w is in, or the next one, with -ECANCELED. Any thread. */
void dk_wait_end(struct dk_waiter *w);

#endif /* DK_CORE_WAIT_H */
