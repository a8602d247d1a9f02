/* SPDX-License-Identifier: MIT */
/* See fake.h. */
#include "fake.h"

#include "mem/heap.h"

#include <errno.h>
#include <string.h>

static struct fake *of_clock(const struct dk_clock *clock)
{
    return (struct fake *)(void *)((char *)(uintptr_t)clock - offsetof(struct fake, clock));
}

static struct fake *of_poller(struct dk_poller *poller)
{
    return (struct fake *)(void *)((char *)poller - offsetof(struct fake, poller));
}

static int64_t clock_now(const struct dk_clock *clock)
{
    struct fake *fake = of_clock(clock);
    return fake->now += fake->tick_ns;
}

static void poller_poll(struct dk_poller *poller, int64_t now, bool spinning)
{
    struct fake *fake = of_poller(poller);
    fake->polls++;
    fake->spinning_polls += spinning;
    if (fake->event_op == NULL || now < fake->event_at)
        return;
    dk_op_complete(fake->event_op, 0);
    fake->event_op = NULL;
}

static void poller_arm(struct dk_poller *poller)
{
    (void)poller;
}

/* Time passes: until the event, or the time-out. Without either the test would hang. */
static void poller_block(struct dk_poller *poller, int64_t timeout_ns)
{
    struct fake *fake = of_poller(poller);
    fake->blocks++;
    fake->last_block_ns = timeout_ns;
    int64_t until = timeout_ns < 0 ? INT64_MAX : fake->now + timeout_ns;
    if (fake->event_op != NULL && fake->event_at < until)
        until = fake->event_at;
    assert_true(until != INT64_MAX);
    fake->now = until > fake->now ? until : fake->now;
}

static void poller_kick(struct dk_poller *poller)
{
    (void)poller;
}

static int poller_fd(struct dk_poller *poller)
{
    (void)poller;
    return -1;
}

static bool poller_backlog(struct dk_poller *poller)
{
    (void)poller;
    return false;
}

static uint32_t poller_undrained(struct dk_poller *poller)
{
    (void)poller;
    return 0;
}

static void poller_destroy(struct dk_poller *poller)
{
    (void)poller;
}

static int poller_stat(struct dk_poller *poller, size_t index, const char **name, uint64_t *value,
                       const char **text)
{
    (void)poller, (void)index, (void)name, (void)value, (void)text;
    return -ENOENT;
}

static const struct dk_poller_ops poller_ops = {
    .poll = poller_poll,
    .arm = poller_arm,
    .block = poller_block,
    .kick = poller_kick,
    .fd = poller_fd,
    .backlog = poller_backlog,
    .undrained = poller_undrained,
    .reset_undrained = poller_destroy,
    .destroy = poller_destroy,
    .abandon = poller_destroy,
    .stat = poller_stat,
};

static int queue_push(struct dk_queue *q, struct dk_op *op, const demi_sgarray_t *sga)
{
    struct fake *fake = q->impl;
    fake->started++;
    return dk_op_hold(op, sga);
}

static int queue_pop(struct dk_queue *q, struct dk_op *op)
{
    struct fake *fake = q->impl;
    fake->started++;
    memset(&op->qr.qr_value, 0, sizeof op->qr.qr_value);
    return 0;
}

static int queue_cancel(struct dk_queue *q, struct dk_op *op, demi_qtoken_t token)
{
    struct fake *fake = q->impl;
    fake->cancelled++;
    return dk_op_token(op) == token ? 0 : -EINVAL;
}

static void queue_close(struct dk_queue *q)
{
    struct fake *fake = q->impl;
    fake->closed++;
    dk_queue_gone(q);
}

static const struct dk_queue_ops queue_ops = {
    .push = queue_push,
    .pop = queue_pop,
    .cancel = queue_cancel,
    .close = queue_close,
};

void fake_start(struct fake *fake, uint32_t max_tokens, uint32_t max_queues, uint32_t spin_us)
{
    memset(fake, 0, sizeof *fake);
    fake->clock.now = clock_now;
    fake->poller.ops = &poller_ops;
    fake->now = 1000000000;
    fake->tick_ns = 100;
    fake->event_at = INT64_MAX;
    fake->last_block_ns = INT64_MIN;
    assert_non_null(dk_thread_get());
    assert_int_equal(dk_op_table_init(max_tokens), 0);
    assert_int_equal(dk_queue_table_init(max_queues), 0);
    const struct dk_sched_options sched = {.spin_us = spin_us};
    assert_int_equal(dk_instance_create(&fake->inst, &fake->clock, &sched), 0);
    fake->inst->poller = &fake->poller;
    dk_poller_add_queues(&fake->poller, 1);
    fake->queue = fake_queue(fake);
}

void fake_end(struct fake *fake)
{
    fake_queue_close(fake->queue);
    dk_op_table_fini();
    dk_instance_destroy(fake->inst);
    dk_queue_table_fini();
    dk_heap_trim();
}

struct dk_queue *fake_queue(struct fake *fake)
{
    struct dk_queue *q = NULL;
    assert_int_equal(dk_queue_create(&q, fake->inst, &queue_ops, fake, false), 0);
    return q;
}

void fake_queue_close(struct dk_queue *q)
{
    dk_queue_set_closed(q);
    q->ops->close(q);
}

struct dk_op *fake_pop(struct dk_queue *q)
{
    struct dk_op *op = NULL;
    assert_true(dk_queue_get(q));
    assert_int_equal(dk_op_alloc(&op, q->inst, q, DEMI_OPC_POP), 0);
    assert_int_equal(dk_op_start(op, NULL), 0);
    return op;
}

static struct dk_waiter *waiter(struct fake *fake, enum dk_wait_kind kind, demi_qresult_t *qrs,
                                const demi_qtoken_t *qts, uint32_t n)
{
    struct dk_waiter *w = &dk_thread_get()->waiter;
    w->inst = fake->inst;
    w->kind = (uint8_t)kind;
    w->qrs = qrs;
    w->qts = qts;
    w->num_qts = n;
    w->thread = dk_thread_id();
    return w;
}

int fake_wait_any(struct fake *fake, demi_qresult_t *qr, uint32_t *at, const demi_qtoken_t *qts,
                  uint32_t n, int64_t timeout_ns)
{
    struct dk_waiter *w = waiter(fake, DK_WAIT_ANY, qr, qts, n);
    const int r = dk_wait(w, timeout_ns);
    *at = w->num_out;
    return r;
}

int fake_wait_all(struct fake *fake, demi_qresult_t *qrs, const demi_qtoken_t *qts, uint32_t n,
                  int64_t timeout_ns)
{
    return dk_wait(waiter(fake, DK_WAIT_ALL, qrs, qts, n), timeout_ns);
}
