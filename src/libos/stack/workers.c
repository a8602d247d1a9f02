/* SPDX-License-Identifier: MIT */
/*
 * Several workers: each has a stack of its own, with the same addresses, over a queue of the
 * device.
 *
 * Nothing is shared while the device brings each packet to the worker that wants it. What passes
 * between workers are notes: packets for which one had no socket, and what it learnt of neighbours
 * (net/others.h has why). A note goes into the inbox of a worker, which reads it with its next
 * poll; who writes the first one wakes it. An inbox has an end: a packet that finds no room is as
 * one that the network lost.
 *
 * `lock` of the group guards its members and all inboxes, and is held for the length of a copy.
 * `num` of an inbox is read without it.
 */
#include "libos/stack/sock.h"
#include "mem/heap.h"
#include "os/sync.h"

#include <errno.h>

#define INBOX_NOTES 1024u /* as a device's ring: it is read as often */
#define TAKEN_MAX   64u   /* notes, in one poll */

struct note {
    bool is_news;
    union {
        struct dk_net_passed passed;
        struct dk_net_news news;
    };
};

struct dk_stack_inbox {
    uint32_t num, first;
    struct note notes[INBOX_NOTES];
};

struct dk_stack_group {
    struct dk_lock lock;
    uint32_t num; /* stacks that have it */
    struct dk_stack *members[DK_MAX_INSTANCES];
};

/* Puts a note into an inbox; the lock is held. false: it is full. */
static bool put(struct dk_stack *to, const struct note *note)
{
    struct dk_stack_inbox *inbox = to->inbox;
    if (inbox->num == INBOX_NOTES)
        return false;
    inbox->notes[(inbox->first + inbox->num) % INBOX_NOTES] = *note;
    __atomic_store_n(&inbox->num, inbox->num + 1, __ATOMIC_RELEASE);
    if (inbox->num == 1)
        dk_stack_kick(&to->poller);
    return true;
}

/* dk_net_others.pass. */
static int pass(void *arg, const struct dk_net_passed *passed)
{
    struct dk_stack *st = arg;
    const struct note note = {.passed = *passed};
    const uint32_t workers = st->options.workers;
    int r = -ENOENT;
    dk_lock(&st->group->lock);
    for (uint32_t i = 1; i < workers && r == -ENOENT; i++) {
        const uint32_t next = (st->options.worker + i) % workers;
        if (next == passed->origin)
            break;
        if (st->group->members[next])
            r = put(st->group->members[next], &note) ? 0 : -ENOBUFS;
    }
    dk_unlock(&st->group->lock);
    return r;
}

/* dk_net_others.tell. What finds no room is learnt anew: who asks for a neighbour asks again. */
static void tell(void *arg, const struct dk_net_news *news)
{
    struct dk_stack *st = arg;
    const struct note note = {.is_news = true, .news = *news};
    dk_lock(&st->group->lock);
    for (uint32_t i = 0; i < st->options.workers; i++) {
        struct dk_stack *other = st->group->members[i];
        if (other && other != st && !put(other, &note))
            dk_count(&st->stats->untold, 1);
    }
    dk_unlock(&st->group->lock);
}

static bool comes_here(void *arg, const struct dk_flow *flow)
{
    struct dk_netdev *dev = dk_netdev_end(((struct dk_stack *)arg)->dev);
    return dev->ops->steers_here(dev, flow);
}

void dk_stack_know_others(const struct dk_stack *st, struct dk_net_config *config)
{
    if (!st->group)
        return;
    config->others = (struct dk_net_others){
        .worker = (uint16_t)st->options.worker,
        .workers = (uint16_t)st->options.workers,
        .comes_here = dk_netdev_end(st->dev)->ops->steers_here ? comes_here : NULL,
        .pass = pass,
        .tell = tell,
    };
}

/* Takes the oldest note: false, there is none. */
static bool take(struct dk_stack *st, struct note *note_out)
{
    struct dk_stack_inbox *inbox = st->inbox;
    dk_lock(&st->group->lock);
    const bool any = inbox->num != 0;
    if (any) {
        *note_out = inbox->notes[inbox->first % INBOX_NOTES];
        inbox->first++;
        __atomic_store_n(&inbox->num, inbox->num - 1, __ATOMIC_RELAXED);
    }
    dk_unlock(&st->group->lock);
    return any;
}

bool dk_stack_has_notes(const struct dk_stack *st)
{
    return st->inbox && __atomic_load_n(&st->inbox->num, __ATOMIC_ACQUIRE) != 0;
}

uint32_t dk_stack_read_notes(struct dk_stack *st)
{
    struct note note;
    uint32_t n = 0;
    while (n < TAKEN_MAX && dk_stack_has_notes(st) && take(st, &note)) {
        n++;
        if (note.is_news) {
            dk_net_told(st->net, &note.news, st->now);
            continue;
        }
        dk_net_input_passed(st->net, &note.passed, st->now);
        dk_buf_put(note.passed.rx.buf);
    }
    return n;
}

/* The first makes the group, which the last frees. */
static struct dk_stack_group *group_of(const struct dk_stack_options *o)
{
    return o->first ? ((const struct dk_stack *)o->first)->group
                    : dk_heap_zalloc(sizeof(struct dk_stack_group));
}

int dk_stack_join(struct dk_stack *st)
{
    if (st->options.workers <= 1)
        return 0;
    struct dk_stack_group *group = group_of(&st->options);
    if (!group)
        return -ENOMEM;
    dk_lock(&group->lock);
    st->group = group;
    group->num++;
    st->inbox = dk_heap_zalloc(sizeof(*st->inbox)); /* freed by dk_stack_leave, as the group */
    if (st->inbox)
        group->members[st->options.worker] = st;
    dk_unlock(&group->lock);
    dk_stack_left_is(st, DK_STACK_LEFT_INBOX, st->inbox != NULL);
    return st->inbox ? 0 : -ENOMEM;
}

void dk_stack_leave(struct dk_stack *st)
{
    struct dk_stack_group *group = st->group;
    struct note note;
    if (!group)
        return;
    dk_lock(&group->lock);
    if (st->inbox)
        group->members[st->options.worker] = NULL;
    const bool last = --group->num == 0;
    dk_unlock(&group->lock);
    while (st->inbox && take(st, &note))
        if (!note.is_news)
            dk_buf_put(note.passed.rx.buf);
    if (st->inbox)
        dk_heap_free(st->inbox);
    if (last)
        dk_heap_free(group);
    st->inbox = NULL;
    dk_stack_left_is(st, DK_STACK_LEFT_INBOX, false);
    st->group = NULL;
}
