/* SPDX-License-Identifier: MIT */
/*
 * Instances: creation and end, the lead and its hand-over, posted operations, the event descriptor
 * (instance.h).
 */
#include "core/instance.h"

#include "core/deferred.h"
#include "core/taker.h"
#include "core/wait.h"
#include "os/log.h"
#include "os/statfile.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct dk_instance *dk_fast_instance;

#define NAME(field, name) name,
const char *const dk_instance_stat_names[DK_INSTANCE_STATS_COUNT] = {DK_INSTANCE_STATS(NAME)};

/* Puts the counters where other processes can read them. */
static void place_stats(struct dk_instance *inst)
{
    struct dk_statfile_block *block =
        dk_statfile_add(dk_instance_stat_names, DK_INSTANCE_STATS_COUNT, NULL, NULL);
    inst->stats = block ? (struct dk_instance_stats *)block->counters : &inst->own_stats;
}

int dk_instance_create(struct dk_instance **inst_out, const struct dk_clock *clock,
                       const struct dk_sched_options *sched)
{
    struct dk_instance *inst = calloc(1, sizeof(*inst)); /* owned by the caller */
    if (!inst)
        return -ENOMEM;
    dk_list_init(&inst->ready);
    dk_list_init(&inst->waiters);
    dk_list_init(&inst->posted);
    dk_list_init(&inst->woken);
    dk_list_init(&inst->yielded);
    inst->clock = clock;
    inst->sched = *sched;
    inst->spin_budget_ns = sched->spin_us > UINT32_MAX / 1000 ? UINT32_MAX : sched->spin_us * 1000;
    inst->eventfd = inst->kickfd = -1;
    inst->until_poll = 1; /* the first wait finds out how many there are (wait.c) */
    place_stats(inst);
    *inst_out = inst;
    return 0;
}

void dk_instance_destroy(struct dk_instance *inst)
{
    if (inst->poller)
        inst->poller->ops->destroy(inst->poller);
    if (inst->eventfd >= 0)
        close(inst->eventfd);
    if (inst->kickfd >= 0)
        close(inst->kickfd);
    free(inst);
}

void dk_instance_abandon(struct dk_instance *inst)
{
    if (inst->poller)
        inst->poller->ops->abandon(inst->poller);
    if (inst->eventfd >= 0)
        close(inst->eventfd);
    if (inst->kickfd >= 0)
        close(inst->kickfd);
}

/* Sleeps in the device; where another thread does already (an exit while threads wait), only a
 * moment. */
static void wait_for_device(struct dk_instance *inst, int64_t timeout_ns)
{
    struct dk_poller *p = inst->poller;
    if (inst->sleeper) {
        usleep(100);
    } else {
        p->ops->arm(p);
        p->ops->block(p, timeout_ns);
    }
}

/* How long to sleep in one device while others are looked at, too. */
#define DRAIN_SLEEP_NS 1000000

static void begin_to_drain(struct dk_instance *inst)
{
    struct dk_poller *p = inst->poller;
    if (!p)
        return;
    if (p->ops->end)
        p->ops->end(p);
    dk_run_posted(inst);
}

static bool is_draining(const struct dk_instance *inst)
{
    return inst->poller && (inst->poller->ops->undrained(inst->poller) > 0 || inst->num_yielded);
}

static void poll_to_drain(struct dk_instance *inst)
{
    if (!inst->poller)
        return;
    inst->poller->ops->poll(inst->poller, dk_instance_now(inst), false);
    dk_taker_resume(inst);
    dk_run_posted(inst); /* what was on its way when the end was called goes too */
}

/* The first that has something to send, or NULL. */
static struct dk_instance *next_to_drain(struct dk_instance *const insts[], uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (is_draining(insts[i]))
            return insts[i];
    return NULL;
}

void dk_instances_drain(struct dk_instance *const insts[], uint32_t n, int64_t timeout_ns)
{
    struct dk_instance *inst;
    for (uint32_t i = 0; i < n; i++)
        begin_to_drain(insts[i]);
    int64_t now = n > 0 ? dk_instance_now(insts[0]) : 0;
    const int64_t deadline = now + timeout_ns;
    while ((inst = next_to_drain(insts, n)) != NULL && now < deadline) {
        const int64_t left = deadline - now;
        if (!inst->num_yielded)
            wait_for_device(inst, n > 1 && left > DRAIN_SLEEP_NS ? DRAIN_SLEEP_NS : left);
        for (uint32_t i = 0; i < n; i++)
            poll_to_drain(insts[i]);
        now = dk_instance_now(insts[0]);
    }
    for (uint32_t i = 0; i < n; i++)
        if (insts[i]->poller && insts[i]->poller->ops->undrained(insts[i]->poller) > 0)
            insts[i]->poller->ops->reset_undrained(insts[i]->poller);
}

void dk_lead_take(struct dk_instance *inst)
{
    if (!dk_mt()) {
        inst->lead.word = 1;
        return;
    }
    if (!dk_lead_try(inst)) {
        dk_add_u32(&inst->lead_wanted, 1);
        dk_lock(&inst->lead);
        dk_sub_u32(&inst->lead_wanted, 1);
    }
}

/* Whether somebody leads, sleeps in the device, or is on the way to lead. */
static bool is_manned(const struct dk_instance *inst)
{
    return inst->sleeper || inst->heir || __atomic_load_n(&inst->lead.word, __ATOMIC_RELAXED) != 0;
}

/* Wakes one follower to take the lead, where somebody must. */
static void promote(struct dk_instance *inst)
{
    struct dk_list *l;
    dk_lock(&inst->tokens);
    if (!is_manned(inst)) {
        dk_list_for_each (l, &inst->waiters) {
            struct dk_waiter *w = dk_container_of(l, struct dk_waiter, link);
            if (!dk_waiter_wake(w))
                continue; /* its operation completed: it leaves */
            __atomic_store_n(&inst->heir, w, __ATOMIC_RELAXED);
            dk_count(&inst->stats->handovers, 1);
            break;
        }
    }
    dk_unlock(&inst->tokens);
}

void dk_lead_dropped(struct dk_instance *inst)
{
    while (__atomic_load_n(&inst->num_posted, __ATOMIC_RELAXED) != 0) {
        if (!dk_lead_try(inst))
            return; /* the new holder runs them, and promotes */
        dk_run_posted(inst);
        dk_unlock(&inst->lead);
        dk_fence();
    }
    /* Pairs with the fence in follow(): either we see the follower or it finds the lead free, and
     * the queue that the device has got meanwhile. */
    if (__atomic_load_n(&inst->num_waiters, __ATOMIC_RELAXED) != 0 && dk_instance_needs_lead(inst))
        promote(inst);
}

void dk_lead_drop_slow(struct dk_instance *inst)
{
    dk_unlock(&inst->lead);
    /* Pairs with the fence in post(): either we see the operation or its poster gets the lead. */
    dk_fence();
    dk_lead_dropped(inst);
}

/* A pop of what came back, else of the backend. */
int dk_op_start_pop(struct dk_op *op)
{
    struct dk_queue *q = op->queue;
    if (dk_unlikely(dk_queue_taker(q) != NULL))
        return -EBUSY;
    if (dk_unlikely(dk_queue_has_returned(q)) && dk_queue_take_returned(q, dk_op_sga(op))) {
        dk_op_complete(op, 0);
        return 0;
    }
    return q->ops->pop(q, op);
}

/* Starts op on its queue; the lead is held, or the queue locks itself. */
static int start(struct dk_op *op, const demi_sgarray_t *sga)
{
    struct dk_queue *q = op->queue;
    switch (op->qr.qr_opcode) {
    case DEMI_OPC_PUSH:
        return q->ops->push(q, op, sga);
    case DEMI_OPC_POP:
        return dk_op_start_pop(op);
    case DEMI_OPC_ACCEPT:
        return q->ops->accept(q, op);
    default:
        return q->ops->connect(q, op);
    }
}

static void run_one_posted(struct dk_op *op)
{
    struct dk_queue *q = op->queue;
    int r = -ECANCELED; /* the descriptor was closed between the call and now */
    if (q->state == DK_QUEUE_OPEN && q->gen == op->queue_gen)
        r = start(op, dk_op_sga(op));
    if (r < 0)
        dk_op_complete(op, r);
}

/* Takes the first operation, or else (*taker_out) the first taker, that is to run. */
static struct dk_op *take_posted(struct dk_instance *inst, struct dk_taker **taker_out)
{
    dk_lock(&inst->tokens);
    struct dk_list *op = dk_list_first(&inst->posted);
    struct dk_list *woken = op ? NULL : dk_list_first(&inst->woken);
    if (op || woken) {
        dk_list_del(op ? op : woken);
        __atomic_sub_fetch(&inst->num_posted, 1, __ATOMIC_RELAXED);
    }
    if (op)
        dk_count(&inst->stats->posted, 1);
    *taker_out = woken ? dk_container_of(woken, struct dk_taker, link) : NULL;
    if (woken)
        (*taker_out)->queued = DK_TAKER_ON_NONE;
    dk_unlock(&inst->tokens);
    return op ? dk_container_of(op, struct dk_op, link) : NULL;
}

void dk_run_posted_slow(struct dk_instance *inst)
{
    while (__atomic_load_n(&inst->num_posted, __ATOMIC_ACQUIRE) != 0) {
        struct dk_taker *taker;
        struct dk_op *op = take_posted(inst, &taker);
        if (op)
            run_one_posted(op);
        else if (taker)
            taker->ready(taker);
        dk_taker_run_woken(); /* of other instances, where nobody else may look */
    }
}

/* Leaves op to whoever leads. */
static int post(struct dk_op *op, const demi_sgarray_t *sga)
{
    struct dk_instance *inst = op->inst;
    int r = sga ? dk_op_hold(op, sga) : 0;
    if (r < 0) {
        dk_op_release(op);
        return r;
    }
    op->queue_gen = op->queue->gen;
    dk_lock(&inst->tokens);
    dk_list_add_tail(&inst->posted, &op->link);
    __atomic_add_fetch(&inst->num_posted, 1, __ATOMIC_RELEASE);
    dk_unlock(&inst->tokens);
    /* Pairs with the fence in dk_lead_drop_slow(). */
    dk_fence();
    if (dk_lead_try(inst)) {
        dk_run_posted(inst);
        dk_lead_drop(inst);
    }
    return 0;
}

int dk_op_start(struct dk_op *op, const demi_sgarray_t *sga)
{
    struct dk_instance *inst = op->inst;
    int r;
    if (op->queue->anywhere) {
        r = start(op, sga);
    } else if (dk_lead_try(inst)) {
        dk_run_posted(inst);
        /* It may have been closed since it was looked up; under the lead it cannot be. */
        r = op->queue->state == DK_QUEUE_OPEN ? start(op, sga) : -EBADF;
        dk_lead_drop(inst);
    } else {
        return dk_mt() ? post(op, sga) : (dk_op_release(op), -EDEADLK);
    }
    if (dk_unlikely(r < 0))
        dk_op_release(op);
    dk_taker_run_woken();
    return r;
}

void dk_instance_count(struct dk_instance *inst)
{
    dk_lock(&inst->tokens);
    dk_op_settle(inst);
    dk_op_count_fast(inst);
    dk_unlock(&inst->tokens);
}

int dk_instance_eventfd(struct dk_instance *inst, int *fd_out)
{
    struct epoll_event ev = {.events = EPOLLIN};
    int r;
    if (inst->eventfd >= 0) {
        *fd_out = inst->eventfd;
        return 0;
    }
    int ep = epoll_create1(EPOLL_CLOEXEC);
    if (ep < 0)
        return -errno;
    int kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (kick < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, kick, &ev) < 0) {
        r = -errno;
        goto fail;
    }
    int device = inst->poller ? inst->poller->ops->fd(inst->poller) : kick;
    if (device < 0 || (device != kick && epoll_ctl(ep, EPOLL_CTL_ADD, device, &ev) < 0)) {
        r = device < 0 ? device : -errno;
        goto fail;
    }
    inst->kickfd = kick;
    inst->eventfd = *fd_out = ep;
    dk_short_close();       /* completions must be told */
    eventfd_write(kick, 1); /* what is ready now is worth a first call */
    return 0;
fail:
    if (kick >= 0)
        close(kick);
    close(ep);
    return r;
}

bool dk_instance_rearm(struct dk_instance *inst, uint64_t seen_done)
{
    eventfd_t ignored;
    if (inst->poller) {
        dk_lead_take(inst);
        inst->poller->ops->fd(inst->poller);
        dk_lead_drop(inst);
    }
    dk_lock(&inst->tokens);
    bool quiet = inst->stats->completions == seen_done && inst->num_yielded == 0 &&
                 !(inst->poller && inst->poller->ops->backlog(inst->poller));
    if (quiet && eventfd_read(inst->kickfd, &ignored) < 0)
        ignored = 0; /* it was not readable */
    inst->eventfd_armed = quiet;
    dk_unlock(&inst->tokens);
    return quiet;
}

void dk_instance_tell(struct dk_instance *inst)
{
    if (inst->eventfd_armed) {
        inst->eventfd_armed = 0;
        eventfd_write(inst->kickfd, 1);
    }
}

void dk_instance_tell_backlog(struct dk_instance *inst)
{
    struct dk_poller *p = dk_instance_poller(inst);
    if (!p || !p->ops->backlog(p))
        return;
    dk_lock(&inst->tokens);
    dk_instance_tell(inst);
    dk_unlock(&inst->tokens);
}

void dk_instance_eventfd_add(struct dk_instance *inst, int fd)
{
    struct epoll_event ev = {.events = EPOLLIN};
    inst->poller->ops->kick(inst->poller);
    if (inst->eventfd >= 0 && epoll_ctl(inst->eventfd, EPOLL_CTL_ADD, fd, &ev) < 0 &&
        errno != EEXIST)
        dk_log(DK_LOG_ERROR, "cannot watch a new device for demi_eventfd: %s", strerror(errno));
}
