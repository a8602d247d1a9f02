/* SPDX-License-Identifier: MIT */
/*
 * Operations that yield tokens: push, pushto, pop, accept, connect.
 */
#include "api/api.h"
#include "core/fast.h"
#include "core/led.h"
#include "mem/watch.h"

#include <demi/libos.h>

/* Finds an open queue that the calling thread's instance may use, and holds it. 0 or a negative
 * errno. */
static int find_queue(int qd, struct dk_queue **q_out, struct dk_instance **inst_out)
{
    struct dk_instance *inst = dk_api_instance();
    int r = 0;
    if (!inst)
        return dk_api_missing();
    struct dk_queue *q = dk_queue_lookup(qd);
    if (!q || !dk_queue_get(q))
        return -EBADF;
    if (__atomic_load_n(&q->state, __ATOMIC_ACQUIRE) != DK_QUEUE_OPEN)
        r = -EBADF; /* closed since the look-up */
    else if (q->inst != inst && !q->anywhere)
        r = -EXDEV;
    if (r < 0)
        dk_queue_put(q);
    *q_out = q;
    *inst_out = inst;
    return r;
}

/*
 * Issues an operation on a queue that is there: `able` says whether it has it, r is what checking
 * the arguments came to. The hold of find_queue is used up.
 */
static int alloc(struct dk_op **op_out, struct dk_instance *inst, struct dk_queue *q,
                 enum demi_opcode opcode, bool able, int r)
{
    if (r == 0 && !able)
        r = -EOPNOTSUPP;
    if (r == 0)
        return dk_op_alloc(op_out, inst, q, opcode);
    dk_queue_put(q);
    return r;
}

/* Issues and starts an operation; the token is the application's only when that worked. */
static int issue(struct dk_op *op, const demi_sgarray_t *sga, demi_qtoken_t *qt_out)
{
    demi_qtoken_t token = dk_op_token(op);
    int r = dk_op_start(op, sga);
    if (r == 0)
        *qt_out = token;
    return r;
}

static int check_addr(const struct sockaddr *addr, socklen_t size)
{
    if (!addr)
        return -EINVAL;
    if (size < sizeof(sa_family_t) || size > sizeof(struct sockaddr_storage))
        return -EINVAL;
    switch (addr->sa_family) {
    case AF_INET:
        return size >= sizeof(struct sockaddr_in) ? 0 : -EINVAL;
    case AF_INET6:
        return size >= sizeof(struct sockaddr_in6) ? 0 : -EINVAL;
    default:
        return -EAFNOSUPPORT;
    }
}

static void set_addr(struct dk_op *op, const struct sockaddr *addr)
{
    op->addr_len = addr->sa_family == AF_INET ? sizeof(op->addr.in) : sizeof(op->addr.in6);
    memcpy(&op->addr, addr, op->addr_len);
}

/* Pushes what a queue can take at once, where nobody else leads; -EAGAIN: nothing happened. */
static inline __attribute__((always_inline)) int
push_at_once(demi_qtoken_t *qt_out, int qd, const demi_sgarray_t *sga, const struct sockaddr *addr)
{
    struct dk_instance *inst = dk_api_instance();
    struct dk_queue *q = dk_queue_lookup(qd);
    struct dk_buf *buf;
    if (dk_unlikely(!inst || !q || dk_alone_ended() || !q->ops->push_led || dk_watch_on ||
                    sga->sga_numsegs != 1 || dk_sga_check(sga, &buf) < 0 || !buf))
        return -EAGAIN;
    return dk_led_push(inst, q, sga, buf, addr, qt_out);
}

__attribute__((noinline)) static int push(demi_qtoken_t *qt_out, int qd, const demi_sgarray_t *sga,
                                          const struct sockaddr *addr)
{
    struct dk_queue *q;
    struct dk_instance *inst;
    struct dk_op *op;
    struct dk_buf *buf = NULL;
    int r = find_queue(qd, &q, &inst);
    if (r == 0)
        r = alloc(&op, inst, q, DEMI_OPC_PUSH, true, dk_sga_check(sga, &buf));
    if (r < 0)
        return r;
    op->buf = buf;
    if (addr)
        set_addr(op, addr);
    if (dk_unlikely(dk_watch_on))
        dk_watch_begin(dk_op_token(op), qd, sga, buf);
    return issue(op, sga, qt_out);
}

/*
 * The same for the thread that is alone: the queue is its own, and open, and what the long way
 * looks up and checks is a comparison or two each. NULL: take the long way.
 */
static inline __attribute__((always_inline)) struct dk_queue *
enter_alone(int qd, const demi_sgarray_t *sga, struct dk_buf **buf_out)
{
    struct dk_instance *inst = dk_alone_instance;
    if (dk_unlikely(!inst || !dk_alone_enter_again()))
        return NULL;
    if (dk_likely((uint32_t)qd < dk_queues_used)) {
        struct dk_queue *q = &dk_queues[(uint32_t)qd];
        if (dk_likely(q->fast_inst == inst && q->ops->push_led && dk_sga_fast_buf(sga, buf_out) &&
                      dk_fast_slot(inst) && dk_lead_try_now(inst, true)))
            return q;
    }
    dk_alone_leave(true);
    return NULL;
}

/* The push was not done at once, or takers were woken. 0 or -errno; the lead is held until then. */
static __attribute__((noinline)) int leave_alone(demi_qtoken_t *qt_out, struct dk_queue *q, int r)
{
    struct dk_instance *inst = q->inst;
    if (r < 0 && r != -EAGAIN)
        r = dk_led_make_failed(inst, q, r, qt_out);
    dk_run_posted(inst);
    dk_lead_drop_now(inst, true);
    dk_alone_leave(true);
    dk_taker_run_woken();
    return r;
}

static inline __attribute__((always_inline)) int
push_alone(demi_qtoken_t *qt_out, struct dk_queue *q, const demi_sgarray_t *sga, struct dk_buf *buf,
           const struct sockaddr *addr)
{
    const int r = q->ops->push_led(q, sga, buf, addr);
    struct dk_instance *inst = q->inst;
    if (dk_unlikely(r < 0))
        return leave_alone(qt_out, q, r);
    *qt_out = dk_fast_done(inst, q, DEMI_OPC_PUSH);
    if (dk_unlikely(inst->num_posted != 0))
        return leave_alone(qt_out, q, 0);
    dk_lead_drop_now(inst, true);
    dk_alone_leave(true);
    return 0;
}

/* r: what pushing at once came to. */
static __attribute__((noinline)) int profiled_push(demi_qtoken_t *qt_out, int qd,
                                                   const demi_sgarray_t *sga, int r)
{
    DK_PROFILE("demi_push");
    return dk_public(r == -EAGAIN ? push(qt_out, qd, sga, NULL) : r);
}

/* Where nobody else leads. */
static __attribute__((noinline)) int push_led(demi_qtoken_t *qt_out, int qd,
                                              const demi_sgarray_t *sga)
{
    int r = dk_api.callback ? -EAGAIN : push_at_once(qt_out, qd, sga, NULL);
    return dk_likely(r == 0) ? 0 : profiled_push(qt_out, qd, sga, r);
}

/* Where the process has other threads. */
static __attribute__((noinline)) int push_mt(demi_qtoken_t *qt_out, int qd,
                                             const demi_sgarray_t *sga)
{
    struct dk_buf *buf;
    struct dk_queue *q = enter_alone(qd, sga, &buf);
    if (dk_unlikely(!q))
        return push_led(qt_out, qd, sga);
    const int r = push_alone(qt_out, q, sga, buf, NULL);
    if (dk_likely(r == 0))
        return 0;
    return r == -EAGAIN ? push_led(qt_out, q->qd, sga) : dk_public(r);
}

/*
 * In a process with one thread: the shortest path (core/fast.h). It keeps few values over the call
 * of push_now, and recomputes what is cheap: registers to save are a good part of what a push
 * costs.
 */
static __attribute__((noinline)) int push_single(demi_qtoken_t *qt_out, int qd,
                                                 const demi_sgarray_t *sga)
{
    if (dk_unlikely((uint32_t)qd >= dk_queues_used))
        return push_mt(qt_out, qd, sga);
    struct dk_instance *inst = dk_fast_get();
    struct dk_queue *q = &dk_queues[(uint32_t)qd];
    struct dk_buf *buf;
    if (dk_likely(q->fast_inst == inst && dk_fast_slot(inst) && dk_sga_fast_buf(sga, &buf) &&
                  q->push_now(q, sga, buf))) {
        *qt_out = dk_fast_done(q->fast_inst, q, DEMI_OPC_PUSH);
        return 0;
    }
    return push_mt(qt_out, q->qd, sga);
}

/* Both ways are functions of their own: this one would save registers for the first before it knows
 * that it is the other. */
int demi_push(demi_qtoken_t *qt_out, int qd, const demi_sgarray_t *sga)
{
    if (dk_unlikely(!qt_out || !sga))
        return EINVAL;
    return dk_mt() ? push_mt(qt_out, qd, sga) : push_single(qt_out, qd, sga);
}

/* The same, with what checking the address came to. */
static __attribute__((noinline)) int profiled_pushto(demi_qtoken_t *qt_out, int sockqd,
                                                     const demi_sgarray_t *sga,
                                                     const struct sockaddr *dest_addr, int r)
{
    DK_PROFILE("demi_pushto");
    return dk_public(r == -EAGAIN ? push(qt_out, sockqd, sga, dest_addr) : r);
}

static __attribute__((noinline)) int pushto_led(demi_qtoken_t *qt_out, int sockqd,
                                                const demi_sgarray_t *sga,
                                                const struct sockaddr *dest_addr, socklen_t size)
{
    int r = sga ? check_addr(dest_addr, size) : -EINVAL;
    if (dk_likely(r == 0))
        r = dk_api.callback ? -EAGAIN : push_at_once(qt_out, sockqd, sga, dest_addr);
    if (dk_likely(r == 0))
        return 0;
    return profiled_pushto(qt_out, sockqd, sga, dest_addr, r);
}

int demi_pushto(demi_qtoken_t *qt_out, int sockqd, const demi_sgarray_t *sga,
                const struct sockaddr *dest_addr, socklen_t size)
{
    struct dk_buf *buf;
    if (dk_unlikely(!qt_out))
        return EINVAL;
    if (dk_unlikely(size < sizeof(struct sockaddr_in) || !dest_addr || !sga ||
                    dest_addr->sa_family != AF_INET))
        return pushto_led(qt_out, sockqd, sga, dest_addr, size);
    struct dk_queue *q = enter_alone(sockqd, sga, &buf);
    if (dk_unlikely(!q))
        return pushto_led(qt_out, sockqd, sga, dest_addr, size);
    const int r = push_alone(qt_out, q, sga, buf, dest_addr);
    if (dk_likely(r == 0))
        return 0;
    return r == -EAGAIN ? pushto_led(qt_out, q->qd, sga, dest_addr, sizeof(struct sockaddr_in))
                        : dk_public(r);
}

static __attribute__((noinline)) int profiled_pop(demi_qtoken_t *qt_out, int qd)
{
    DK_PROFILE("demi_pop");
    struct dk_queue *q;
    struct dk_instance *inst;
    struct dk_op *op;
    int r = find_queue(qd, &q, &inst);
    if (r == 0)
        r = alloc(&op, inst, q, DEMI_OPC_POP, true, 0);
    if (r == 0)
        r = issue(op, NULL, qt_out);
    return dk_public(r);
}

/* Where nobody else leads. */
static __attribute__((noinline)) int pop_led(demi_qtoken_t *qt_out, int qd)
{
    struct dk_instance *inst = dk_api_instance();
    struct dk_queue *q = dk_queue_lookup(qd);
    int r = -EAGAIN;
    if (dk_likely(inst && q && !dk_alone_ended() && !q->anywhere && !dk_api.callback))
        r = dk_led_pop(inst, q, qt_out);
    if (dk_alone_instance && dk_alone_enter_again()) {
        dk_deferred_refill(dk_alone_instance);
        dk_alone_leave(true);
    }
    return dk_likely(r != -EAGAIN) ? dk_public(r) : profiled_pop(qt_out, qd);
}

/* The queue of a pop by the thread that is alone, or NULL: take the long way. */
static inline struct dk_queue *queue_to_pop(const struct dk_instance *inst, int qd)
{
    if (dk_unlikely((uint32_t)qd >= dk_queues_used))
        return NULL;
    struct dk_queue *q = &dk_queues[(uint32_t)qd];
    return dk_likely(q->fast_inst == inst && q->defers) ? q : NULL;
}

/* Begins a pop that is not worth noting, as dk_led_pop does: by the thread that is alone. 0 and its
 * token; -EAGAIN: nothing happened, take the long way; another negative errno. */
static inline int begin_alone(demi_qtoken_t *qt_out, struct dk_instance *inst, struct dk_queue *q)
{
    if (dk_unlikely(inst->deferred || !dk_fast_slot(inst) || inst->num_posted != 0 ||
                    !dk_lead_try_now(inst, true)))
        return -EAGAIN;
    inst->defer_pause--;
    q->holds++;
    struct dk_op *op = dk_op_take_free(inst, q, DEMI_OPC_POP);
    const demi_qtoken_t token = dk_op_token(op);
    const int r = q->ops->pop(q, op);
    if (dk_likely(r == 0))
        *qt_out = token;
    else
        dk_op_release(op);
    dk_lead_drop_now(inst, true);
    return r;
}

/* Pops by the thread that is alone from here on, while pops are not worth noting. */
static __attribute__((noinline)) int pop_entered(demi_qtoken_t *qt_out, int qd)
{
    struct dk_instance *inst = dk_alone_instance;
    struct dk_queue *q = queue_to_pop(inst, qd);
    const int r = q && inst->defer_pause > 1 ? begin_alone(qt_out, inst, q) : -EAGAIN;
    dk_alone_leave(true);
    if (dk_unlikely(r == -EAGAIN))
        return pop_led(qt_out, qd);
    if (dk_unlikely(inst->num_posted != 0))
        dk_taker_run_woken();
    return dk_public(r);
}

/* Pops by the thread that is alone. Whatever needs registers to be saved is elsewhere. */
static __attribute__((noinline)) int pop_alone(demi_qtoken_t *qt_out, int qd)
{
    struct dk_instance *inst = dk_alone_instance;
    if (dk_unlikely(!inst || !dk_alone_enter_again()))
        return pop_led(qt_out, qd);
    struct dk_queue *q = queue_to_pop(inst, qd);
    struct dk_op *slot = inst->spare_pop;
    if (dk_unlikely(!q || !slot))
        return pop_entered(qt_out, qd);
    *qt_out = dk_deferred_note(inst, q, slot);
    dk_alone_leave(true);
    return 0;
}

/* In a process with one thread: the shortest path. */
static __attribute__((noinline)) int pop_single(demi_qtoken_t *qt_out, int qd)
{
    if (dk_unlikely((uint32_t)qd >= dk_queues_used))
        return pop_alone(qt_out, qd);
    struct dk_instance *inst = dk_fast_get();
    struct dk_queue *q = &dk_queues[(uint32_t)qd];
    struct dk_op *op;
    if (dk_likely(q->fast_inst == inst && (op = dk_fast_slot(inst)) != NULL &&
                  q->pop_now(q, dk_op_sga(op)))) {
        *qt_out = dk_fast_done(q->fast_inst, q, DEMI_OPC_POP);
        return 0;
    }
    return pop_alone(qt_out, q->qd);
}

int demi_pop(demi_qtoken_t *qt_out, int qd)
{
    if (dk_unlikely(!qt_out))
        return EINVAL;
    return dk_mt() ? pop_alone(qt_out, qd) : pop_single(qt_out, qd);
}

int demi_accept(demi_qtoken_t *qt_out, int sockqd)
{
    DK_PROFILE("demi_accept");
    struct dk_queue *q;
    struct dk_instance *inst;
    struct dk_op *op;
    if (!qt_out)
        return EINVAL;
    int r = find_queue(sockqd, &q, &inst);
    if (r == 0)
        r = alloc(&op, inst, q, DEMI_OPC_ACCEPT, q->ops->accept != NULL, 0);
    if (r == 0)
        r = issue(op, NULL, qt_out);
    return dk_public(r);
}

int demi_connect(demi_qtoken_t *qt_out, int sockqd, const struct sockaddr *addr, socklen_t size)
{
    DK_PROFILE("demi_connect");
    struct dk_queue *q;
    struct dk_instance *inst;
    struct dk_op *op;
    if (!qt_out || !addr)
        return EINVAL;
    int r = find_queue(sockqd, &q, &inst);
    if (r == 0)
        r = alloc(&op, inst, q, DEMI_OPC_CONNECT, q->ops->connect != NULL, check_addr(addr, size));
    if (r < 0)
        return dk_public(r);
    set_addr(op, addr);
    return dk_public(issue(op, NULL, qt_out));
}
