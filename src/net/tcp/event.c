/* SPDX-License-Identifier: MIT */
/*
 * What is left to do at the end of a burst: timers that are due, then telling.
 *
 * One connection is told at a time, in the order of the bits: connected, sent, room, readable, end
 * of stream, failed, closed. What a callback causes is put in the queue again, and told later. An
 * owner that called dk_tcp_close hears of its elements and of the end, of nothing else.
 */
#include "net/tcp/event.h"

#include "net/tcp/pcb.h"
#include "net/tcp/sendq.h"
#include "net/tcp/time_wait.h"
#include "net/tcp/timer.h"

static void tell_sent(struct dk_tcp_conn *c)
{
    while (c->done) {
        struct dk_tcp_element *e = c->done;
        void *cookie = e->cookie;
        int err = e->err;
        c->done = e->next;
        dk_tcp_pool_put(&c->tcp->elements, e);
        c->ops->sent(c, c->owner, cookie, err);
    }
}

/* It is looked at right afterwards. */
static void tell_closed(struct dk_tcp_conn *c)
{
    c->ops->closed(c, c->owner);
    c->owned = c->offers = false;
    dk_tcp_events_forget(c);
}

__attribute__((noinline)) static void tell(struct dk_tcp_conn *c, uint32_t events)
{
    /* It may have been established and have failed since. */
    if (events & DK_TCP_EV_CONNECTED && !c->closing)
        c->ops->connected(c, c->owner, events & DK_TCP_EV_FAILED ? 0 : c->err);
    if (events & DK_TCP_EV_SENT)
        tell_sent(c);
    if (events & DK_TCP_EV_ROOM && !c->closing)
        c->ops->room(c, c->owner);
    if (events & DK_TCP_EV_READABLE && !c->closing)
        c->ops->readable(c, c->owner);
    if (events & DK_TCP_EV_PEER_CLOSED && !c->closing)
        c->ops->peer_closed(c, c->owner);
    if (events & DK_TCP_EV_FAILED && !c->closing)
        c->ops->failed(c, c->owner, c->err);
    /* A callback above may have pushed and aborted: what that made is told first. */
    if (events & DK_TCP_EV_CLOSED) {
        tell_sent(c);
        tell_closed(c);
    }
}

/* Of a connection that nobody owns. */
static void tidy_up(struct dk_tcp_conn *c)
{
    if (c->state == DK_TCP_CLOSED)
        dk_tcp_conn_free(c);
    else if (c->state == DK_TCP_TIME_WAIT)
        dk_tcp_time_wait_keep(c);
}

void dk_tcp_events_leave(struct dk_tcp_conn *c)
{
    struct dk_tcp_conn **at = &c->tcp->events;
    if (c->events == 0)
        return;
    while (*at != c)
        at = &(*at)->event_next;
    *at = c->event_next;
    if (!*at)
        c->tcp->events_end = at;
    c->events = 0;
}

static inline struct dk_tcp_conn *take_first(struct dk_tcp *tcp)
{
    struct dk_tcp_conn *c = tcp->events;
    tcp->events = c->event_next;
    if (!tcp->events)
        tcp->events_end = &tcp->events;
    return c;
}

static inline void tell_one(struct dk_tcp_conn *c, int64_t now)
{
    const uint32_t events = c->events;
    c->events = 0;
    if (dk_likely(events == (DK_TCP_EV_READABLE | DK_TCP_EV_QUEUED) && c->owned && !c->closing))
        c->ops->readable(c, c->owner);
    else if (c->owned)
        tell(c, events);
    dk_tcp_timer_owed_ack(c, now);
    if (dk_unlikely(!c->owned))
        tidy_up(c);
}

__attribute__((noinline)) static void tell_listeners(struct dk_tcp *tcp)
{
    while (!dk_list_empty(&tcp->listener_events)) {
        struct dk_list *first = tcp->listener_events.next;
        struct dk_tcp_listener *l = dk_container_of(first, struct dk_tcp_listener, event_link);
        dk_list_del_init(first);
        l->ops->acceptable(l, l->owner);
    }
}

__attribute__((noinline)) void dk_tcp_tell(struct dk_net *net, int64_t now)
{
    struct dk_tcp *tcp = net->tcp;
    while (tcp->events)
        tell_one(take_first(tcp), now);
    net->due.what &= ~DK_NET_DUE_TCP;
    if (dk_unlikely(!dk_list_empty(&tcp->listener_events)))
        tell_listeners(tcp);
}

__attribute__((noinline)) static void run_due(struct dk_tcp *tcp, int64_t now)
{
    if (dk_wheel_is_due(&tcp->wheel, now))
        dk_wheel_advance(&tcp->wheel, now);
    dk_tcp_sendq_release(tcp, now);
    dk_tcp_tell(tcp->net, now);
}

void dk_tcp_advance(struct dk_net *net, int64_t now)
{
    struct dk_tcp *tcp = net->tcp;
    if (dk_unlikely(dk_wheel_is_due(&tcp->wheel, now) || tcp->hold_due <= now))
        run_due(tcp, now);
    else
        dk_tcp_tell(tcp->net, now);
}
