/* SPDX-License-Identifier: MIT */
/*
 * Wait calls: they check arguments, fill the thread's wait record, and hand it to core/wait.c.
 */
#include "api/api.h"
#include "core/deferred_wait.h"
#include "core/fast.h"
#include "core/wait_now.h"

#include <demi/libos.h>
#include <demi/wait.h>

/* Turns a relative time-out into nanoseconds, -1 for ever. 0 or -EINVAL. */
static inline int timeout_of(const struct timespec *timeout, int64_t *ns_out)
{
    *ns_out = -1;
    if (!timeout)
        return 0;
    if (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec >= 1000000000)
        return -EINVAL;
    *ns_out = timeout->tv_sec > INT64_MAX / 1000000000 - 1
                  ? INT64_MAX
                  : (int64_t)timeout->tv_sec * 1000000000 + timeout->tv_nsec;
    return 0;
}

/* Fills the calling thread's wait record. 0 or a negative errno. */
static inline int begin(struct dk_waiter **w_out, enum dk_wait_kind kind, demi_qresult_t *qrs,
                        const demi_qtoken_t *qts, int n)
{
    struct dk_instance *inst = dk_api_instance();
    if (dk_unlikely(!inst))
        return dk_api_missing();
    struct dk_waiter *w = &dk_thread_self->waiter;
    w->inst = inst;
    w->kind = (uint8_t)kind;
    w->qrs = qrs;
    __atomic_store_n(&w->qts, qts, __ATOMIC_RELAXED); /* dk_op_complete prefetches from it */
    w->num_qts = (uint32_t)n;
    *w_out = w;
    return 0;
}

/* There is no wait: what was spun before (wait_now) is of no other one's time. */
static __attribute__((noinline)) int refuse(int error)
{
    if (dk_thread_self)
        dk_thread_self->waiter.spun_ns = 0;
    return dk_public(error);
}

static inline int wait_tokens(enum dk_wait_kind kind, demi_qresult_t *qrs, int *offset,
                              const demi_qtoken_t *qts, int n, const struct timespec *timeout)
{
    struct dk_waiter *w;
    int64_t ns;
    int r = timeout_of(timeout, &ns);
    if (dk_likely(r == 0))
        r = begin(&w, kind, qrs, qts, n);
    if (dk_unlikely(r < 0))
        return refuse(r);
    r = dk_wait(w, ns);
    if (offset && (r == 0 || r == -EINVAL || r == -EBUSY || r == -EXDEV))
        *offset = (int)w->num_out;
    return dk_public(r);
}

static __attribute__((noinline)) int profiled_wait(demi_qresult_t *qr_out, demi_qtoken_t qt,
                                                   const struct timespec *timeout)
{
    DK_PROFILE("demi_wait");
    return wait_tokens(DK_WAIT_ANY, qr_out, NULL, &qt, 1, timeout);
}

/* For how long it may look at the device without a sleep: up to a second. */
static inline int64_t looks_for_ns(const struct timespec *timeout)
{
    return !timeout || timeout->tv_sec > 0 ? 1000000000 : timeout->tv_nsec;
}

/* Where it is done, or comes with looks at the device. */
static __attribute__((noinline)) int wait_now(demi_qresult_t *qr_out, demi_qtoken_t qt,
                                              const struct timespec *timeout)
{
    struct dk_instance *inst = dk_api_instance();
    if (dk_likely(inst && !dk_api.callback &&
                  dk_wait_now(inst, &dk_thread_self->waiter, qt, qr_out, looks_for_ns(timeout)) ==
                      0))
        return 0;
    return profiled_wait(qr_out, qt, timeout);
}

/* For the pop that was only noted, when its element did not come with the first look at the device
 * (polled), or nobody looked. The lead is held. */
static __attribute__((noinline)) int wait_deferred_other(struct dk_instance *inst,
                                                         demi_qresult_t *qr_out,
                                                         const struct timespec *timeout,
                                                         bool polled)
{
    const demi_qtoken_t qt = dk_op_token(inst->deferred);
    const bool there = dk_deferred_wait_other(inst, qr_out, timeout, polled);
    dk_lead_drop_now(inst, true);
    dk_alone_leave(true);
    if (dk_unlikely(inst->num_posted != 0))
        dk_taker_run_woken();
    return dk_likely(there) ? 0 : wait_now(qr_out, qt, timeout);
}

/* The lead's holder was interrupted by this call, and never goes on. */
static __attribute__((noinline)) int wait_interrupting(const struct dk_instance *inst,
                                                       demi_qresult_t *qr_out,
                                                       const struct timespec *timeout)
{
    const demi_qtoken_t qt = dk_op_token(inst->deferred);
    dk_alone_leave(true);
    return wait_now(qr_out, qt, timeout);
}

/* The result is there. */
static inline void end_deferred(struct dk_instance *inst)
{
    dk_deferred_collect(inst, inst->awaited_qr);
    dk_lead_drop_now(inst, true);
    dk_alone_leave(true);
}

/* After a look at the device, which leaves in the instance what it was for: the element did not
 * come, or takers were woken. */
static __attribute__((noinline)) int wait_deferred_longer(struct dk_instance *inst)
{
    if (!dk_deferred_came(inst))
        return wait_deferred_other(inst, inst->awaited_qr, inst->awaited_timeout, true);
    end_deferred(inst);
    dk_taker_run_woken();
    return 0;
}

/* For the pop that was only noted, by the thread that is alone. What is read again need not be
 * saved over the look at the device. */
static __attribute__((noinline)) int wait_deferred(struct dk_instance *inst, demi_qresult_t *qr_out,
                                                   const struct timespec *timeout)
{
    if (dk_unlikely(!dk_lead_try_now(inst, true)))
        return wait_interrupting(inst, qr_out, timeout);
    if (dk_unlikely(!dk_deferred_may_look(inst, timeout)))
        return wait_deferred_other(inst, qr_out, timeout, false);
    struct dk_queue *q = inst->deferred->queue;
    inst->awaited_timeout = timeout;
    dk_deferred_look_for(inst, q, qr_out);
    if (dk_unlikely(((uintptr_t)inst->awaited | inst->num_posted) != 0))
        return wait_deferred_longer(inst);
    end_deferred(inst);
    return 0;
}

/* By the thread that is alone from here on: what is rare. */
static __attribute__((noinline)) int wait_entered(demi_qresult_t *qr_out, demi_qtoken_t qt,
                                                  const struct timespec *timeout)
{
    struct dk_instance *inst = dk_alone_instance;
    bool due = inst->until_poll == 0;
    if (due) {
        inst->until_poll = 1; /* for whoever waits next */
        due = !inst->deferred || !dk_deferred_poll(inst);
    }
    const bool done = !due && dk_fast_collect(inst, qt, qr_out);
    dk_alone_leave(true);
    return dk_likely(done) ? 0 : wait_now(qr_out, qt, timeout);
}

/* By the thread that is alone: for a push that was done at once, and for what is noted. Whatever
 * needs registers to be saved is elsewhere. */
static inline int wait_alone(demi_qresult_t *qr_out, demi_qtoken_t qt,
                             const struct timespec *timeout)
{
    struct dk_instance *inst = dk_alone_instance;
    if (dk_unlikely(!inst || !dk_alone_enter_again()))
        return wait_now(qr_out, qt, timeout);
    if (dk_deferred_is(inst, qt))
        return wait_deferred(inst, qr_out, timeout);
    if (dk_unlikely(--inst->until_poll == 0 || !dk_fast_collect_push(inst, qt, qr_out)))
        return wait_entered(qr_out, qt, timeout);
    dk_alone_leave(true);
    return 0;
}

int demi_wait(demi_qresult_t *qr_out, demi_qtoken_t qt, const struct timespec *timeout)
{
    if (dk_unlikely(!qr_out))
        return EINVAL;
    if (!dk_mt()) {
        /* Every so often a wait polls even though its result is there: see dk_wait. */
        struct dk_instance *inst = dk_fast_get();
        if (dk_likely(inst && --inst->until_poll != 0 && dk_fast_collect(inst, qt, qr_out)))
            return 0;
        if (inst && inst->until_poll == 0)
            inst->until_poll = 1; /* for the rest of this wait */
    }
    return wait_alone(qr_out, qt, timeout);
}

static __attribute__((noinline)) int profiled_any(demi_qresult_t *qr_out, int *ready_offset,
                                                  const demi_qtoken_t qts[], int num_qts,
                                                  const struct timespec *timeout)
{
    DK_PROFILE("demi_wait_any");
    return wait_tokens(DK_WAIT_ANY, qr_out, ready_offset, qts, num_qts, timeout);
}

/* Arrays up to this length are searched for what is not where it was last. */
#define SEARCHED 32

/* Returns the place of op in an array, mostly the one that it remembers; n: look elsewhere. */
static inline uint32_t place_of(const struct dk_op *op, const demi_qtoken_t qts[], uint32_t n)
{
    const demi_qtoken_t token = dk_op_token(op);
    uint32_t i = 0;
    if (dk_likely(op->hint < n && qts[op->hint] == token))
        return op->hint;
    if (n > SEARCHED)
        return n;
    while (i < n && qts[i] != token)
        i++;
    return i;
}

/*
 * Collects the oldest of what is ready, where the array has it: by the thread that is alone, as
 * nobody else waits then. -1: it takes more than that.
 */
static inline int collect_alone(struct dk_instance *inst, demi_qresult_t *qr,
                                const demi_qtoken_t qts[], uint32_t n)
{
    const struct dk_list *first = dk_list_first(&inst->ready);
    const uint32_t left = inst->until_poll - 1;
    if (dk_unlikely(!first || inst->fresh || left - 1 >= DK_WAIT_NO_POLLER))
        return -1;
    struct dk_op *op = dk_container_of(first, struct dk_op, link);
    const uint32_t place = place_of(op, qts, n);
    if (dk_unlikely(place == n))
        return -1;
    op->hint = place;
    inst->until_poll = left;
    dk_op_count_fast(inst);
    dk_op_result(op, qr);
    dk_op_collected(op);
    dk_thread_self->waiter.last = place;
    return (int)place;
}

int demi_wait_any(demi_qresult_t *qr_out, int *ready_offset, const demi_qtoken_t qts[], int num_qts,
                  const struct timespec *timeout)
{
    if (dk_unlikely(!qr_out || !ready_offset || !qts || num_qts < 1))
        return EINVAL;
    struct dk_instance *inst = dk_alone_instance;
    if (dk_likely(inst && !timeout && num_qts > DK_WAIT_SHORT_ARRAY && dk_alone_enter_again())) {
        const int at = collect_alone(inst, qr_out, qts, (uint32_t)num_qts);
        dk_alone_leave(true);
        if (dk_likely(at >= 0)) {
            *ready_offset = at;
            return 0;
        }
    }
    return profiled_any(qr_out, ready_offset, qts, num_qts, timeout);
}

int demi_wait_all(demi_qresult_t qrs_out[], const demi_qtoken_t qts[], int num_qts,
                  const struct timespec *timeout)
{
    DK_PROFILE("demi_wait_all");
    if (!qrs_out || !qts || num_qts < 1)
        return EINVAL;
    return wait_tokens(DK_WAIT_ALL, qrs_out, NULL, qts, num_qts, timeout);
}

/* Collects operations of this thread; re-arms the event descriptor when a poll found nothing. */
static int wait_issued(demi_qresult_t *qrs, int n, int *n_out, bool all,
                       const struct timespec *timeout)
{
    struct dk_waiter *w;
    int64_t ns;
    int r = timeout_of(timeout, &ns);
    if (r == 0)
        r = begin(&w, DK_WAIT_ISSUED, qrs, NULL, n);
    if (r < 0)
        return dk_public(r);
    w->all_ready = all;
    uint64_t seen;
    do {
        seen = __atomic_load_n(&w->inst->stats->completions, __ATOMIC_RELAXED);
        r = dk_wait(w, ns);
    } while (r == -ETIMEDOUT && !all && w->inst->eventfd >= 0 && !dk_instance_rearm(w->inst, seen));
    if (r == 0 || r == -ETIMEDOUT)
        *n_out = (int)w->num_out;
    return dk_public(r);
}

int demi_wait_next_n(demi_qresult_t *qrs_out, int n, int *n_out, const struct timespec *timeout)
{
    DK_PROFILE("demi_wait_next_n");
    if (!qrs_out || !n_out || n < 1)
        return EINVAL;
    return wait_issued(qrs_out, n, n_out, true, timeout);
}

int demi_wait_some(demi_qresult_t qrs_out[], int n, int *n_out, const struct timespec *timeout)
{
    DK_PROFILE("demi_wait_some");
    if (!qrs_out || !n_out || n < 1)
        return EINVAL;
    return wait_issued(qrs_out, n, n_out, false, timeout);
}

int demi_cancel(demi_qtoken_t qt)
{
    DK_PROFILE("demi_cancel");
    struct dk_instance *inst = dk_api_instance();
    return inst ? dk_public(dk_cancel(inst, qt)) : dk_public(dk_api_missing());
}

int demi_eventfd(int *fd_out)
{
    struct dk_instance *inst = dk_api_instance();
    if (!fd_out)
        return EINVAL;
    if (!inst)
        return dk_public(dk_api_missing());
    dk_lead_take(inst);
    int r = dk_instance_eventfd(inst, fd_out);
    dk_lead_drop(inst);
    return dk_public(r);
}

int demi_blocking_push(int qd, const demi_sgarray_t *sga)
{
    demi_qtoken_t qt;
    demi_qresult_t qr;
    int r = demi_push(&qt, qd, sga);
    if (r == 0)
        r = demi_wait(&qr, qt, NULL);
    return r ? r : (int)qr.qr_ret;
}

int demi_blocking_pop(int qd, demi_qresult_t *qr_out)
{
    demi_qtoken_t qt;
    demi_qresult_t qr;
    if (!qr_out)
        return EINVAL;
    int r = demi_pop(&qt, qd);
    if (r == 0)
        r = demi_wait(&qr, qt, NULL);
    if (r == 0 && qr.qr_opcode != DEMI_OPC_FAILED)
        *qr_out = qr;
    return r ? r : (int)qr.qr_ret;
}
