/* SPDX-License-Identifier: MIT */
/*
 * The descriptor table (queue.h): reserved address space, and a free list, most recently freed
 * first.
 */
#include "core/queue.h"

#include "core/instance.h"
#include "core/taker.h"
#include "os/pages.h"

#include <errno.h>

_Static_assert(sizeof(struct dk_queue) == 128, "the size of an entry is a power of two");

struct dk_queue *dk_queues;
uint32_t dk_queues_used;

static struct {
    struct dk_lock lock;
    uint32_t max_queues;
    struct dk_queue *free_queues;
} table;

/* Entries are shown to a leak detector so many at a time. */
#define ROOT_QUEUES 1024

static size_t root_bytes(uint32_t first)
{
    uint32_t left = table.max_queues - first;
    return (left < ROOT_QUEUES ? left : ROOT_QUEUES) * sizeof(struct dk_queue);
}

int dk_queue_table_init(uint32_t max_queues)
{
    table.max_queues = max_queues;
    dk_queues = dk_pages_reserve(max_queues * sizeof(*dk_queues));
    return dk_queues ? 0 : -ENOMEM;
}

void dk_queue_table_fini(void)
{
    for (uint32_t i = 0; i < dk_queues_used; i += ROOT_QUEUES)
        dk_pages_drop_root(&dk_queues[i], root_bytes(i));
    dk_pages_release(dk_queues, table.max_queues * sizeof(*dk_queues));
    dk_queue_table_abandon();
}

void dk_queue_table_abandon(void)
{
    dk_queues = NULL;
    dk_queues_used = 0;
    memset(&table, 0, sizeof(table));
}

static int take(struct dk_queue **q_out)
{
    struct dk_queue *q;
    dk_lock(&table.lock);
    q = table.free_queues;
    if (q) {
        table.free_queues = q->next_free;
    } else if (dk_queues_used < table.max_queues) {
        q = &dk_queues[dk_queues_used];
        q->qd = (int32_t)dk_queues_used;
        if (dk_queues_used % ROOT_QUEUES == 0)
            dk_pages_add_root(q, root_bytes(dk_queues_used));
        __atomic_store_n(&dk_queues_used, dk_queues_used + 1, __ATOMIC_RELEASE);
    }
    dk_unlock(&table.lock);
    *q_out = q;
    return q ? 0 : -EMFILE;
}

static bool never_push_now(struct dk_queue *q, const demi_sgarray_t *sga, struct dk_buf *buf)
{
    (void)q;
    (void)sga;
    (void)buf;
    return false;
}

static bool never_pop_now(struct dk_queue *q, demi_sgarray_t *sga_out)
{
    (void)q;
    (void)sga_out;
    return false;
}

static bool is_closing(const struct dk_queue *q)
{
    return __atomic_load_n(&q->fast_inst, __ATOMIC_RELAXED) == DK_NO_INSTANCE;
}

void dk_queue_set_pop_now(struct dk_queue *q)
{
    bool plain = q->ops->pop_now && !dk_queue_has_returned(q) && !is_closing(q);
    bool claimed = dk_queue_taker(q) != NULL;
    const bool is_backends = !claimed && !dk_queue_has_returned(q) && !is_closing(q);
    __atomic_store_n(&q->defers, q->may_defer && is_backends, __ATOMIC_RELAXED);
    __atomic_store_n(&q->take_now, plain ? q->ops->pop_now : never_pop_now, __ATOMIC_RELAXED);
    __atomic_store_n(&q->pop_now, plain && !claimed ? q->ops->pop_now : never_pop_now,
                     __ATOMIC_RELAXED);
}

void dk_queue_allow_deferral(struct dk_queue *q)
{
    q->may_defer = 1;
    dk_queue_set_pop_now(q);
}

int dk_queue_create(struct dk_queue **q_out, struct dk_instance *inst,
                    const struct dk_queue_ops *ops, void *impl, bool anywhere)
{
    struct dk_queue *q = NULL;
    int r = take(&q);
    if (r < 0)
        return r;
    q->ops = ops;
    q->inst = inst;
    q->impl = impl;
    q->gen++;
    q->anywhere = anywhere;
    q->may_defer = 0;
    q->has_news = 1;
    __atomic_store_n(&q->fast_inst, inst, __ATOMIC_RELAXED);
    __atomic_store_n(&q->push_now, ops->push_now ? ops->push_now : never_push_now,
                     __ATOMIC_RELAXED);
    q->taker = NULL;
    q->num_returned = 0;
    dk_list_init(&q->returned);
    dk_list_init(&q->feeders);
    dk_queue_set_pop_now(q);
    /* Who found the descriptor's last queue may try to hold this one; it then looks at the state.
     */
    __atomic_store_n(&q->holds, 1, __ATOMIC_RELEASE);
    __atomic_store_n(&q->state, DK_QUEUE_OPEN, __ATOMIC_RELEASE);
    /* Last: with a descriptor of before a thread may be in dk_queue_get, and what it gets a hold on
     * must be whole. */
    __atomic_store_n(&q->holds, 1, __ATOMIC_RELEASE);
    *q_out = q;
    return 0;
}

void dk_queue_put(struct dk_queue *q)
{
    if (dk_likely(dk_sub_u32(&q->holds, 1) != 0))
        return;
    dk_queue_drop_returned(q);
    if (q->ops->release)
        q->ops->release(q->impl);
    dk_lock(&table.lock);
    __atomic_store_n(&q->state, DK_QUEUE_FREE, __ATOMIC_RELEASE);
    q->next_free = table.free_queues;
    table.free_queues = q;
    dk_unlock(&table.lock);
}

void dk_queue_gone(struct dk_queue *q)
{
    dk_queue_put(q);
}

bool dk_queue_set_closed(struct dk_queue *q)
{
    uint8_t open = DK_QUEUE_OPEN;
    if (!__atomic_compare_exchange_n(&q->state, &open, DK_QUEUE_CLOSED, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_RELAXED))
        return false;
    __atomic_store_n(&q->fast_inst, DK_NO_INSTANCE, __ATOMIC_RELAXED);
    __atomic_store_n(&q->push_now, never_push_now, __ATOMIC_RELAXED);
    dk_queue_set_pop_now(q);
    return true;
}

void dk_queue_for_each(struct dk_instance *inst, void (*fn)(struct dk_queue *q, void *arg),
                       void *arg)
{
    for (uint32_t i = 0; i < dk_queues_used; i++) {
        struct dk_queue *q = &dk_queues[i];
        if (q->state == DK_QUEUE_OPEN && (!inst || q->inst == inst))
            fn(q, arg);
    }
}
