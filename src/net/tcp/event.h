/* SPDX-License-Identifier: MIT */
/*
 * Telling the owner: what happens is noted, and told when dk_tcp_advance has nothing else to do. So
 * no callback ever runs in the middle of the work on a segment.
 */
#ifndef DK_NET_TCP_EVENT_H
#define DK_NET_TCP_EVENT_H

#include "net/tcp/tcb.h"

__attribute__((always_inline)) static inline void
dk_tcp_event_of(struct dk_tcp *tcp, struct dk_tcp_conn *c, uint32_t events)
{
    if (dk_unlikely(c->events != 0)) {
        c->events |= (uint8_t)events;
        return;
    }
    c->events = (uint8_t)(events | DK_TCP_EV_QUEUED);
    c->event_next = NULL;
    *tcp->events_end = c;
    tcp->events_end = &c->event_next;
    tcp->net->due.what |= DK_NET_DUE_TCP;
}

static inline void dk_tcp_event(struct dk_tcp_conn *c, uint32_t events)
{
    dk_tcp_event_of(c->tcp, c, events);
}

/* Nothing that was noted is told; it is looked at still. */
static inline void dk_tcp_events_forget(struct dk_tcp_conn *c)
{
    c->events &= DK_TCP_EV_QUEUED;
}

/* It is not looked at either. Costs by how many are queued, if it is. */
void dk_tcp_events_leave(struct dk_tcp_conn *c);

/* Whether dk_tcp_advance has something to tell. */
static inline bool dk_tcp_events_any(const struct dk_tcp *tcp)
{
    return tcp->events || !dk_list_empty(&tcp->listener_events);
}

#endif /* DK_NET_TCP_EVENT_H */
