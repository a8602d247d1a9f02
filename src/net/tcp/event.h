/* SPDX-License-Identifier: MIT */
/*
 * Telling the owner: what happens is noted, and told when dk_tcp_advance has nothing else to do. So
 * no callback ever runs in the middle of the work on a segment.
 */
#ifndef DK_NET_TCP_EVENT_H
#define DK_NET_TCP_EVENT_H

#include "net/tcp/tcb.h"

static inline void dk_tcp_event(struct dk_tcp_conn *c, uint32_t events)
{
    c->events |= (uint8_t)events;
    if (dk_list_empty(&c->event_link))
        dk_list_add_tail(&c->tcp->events, &c->event_link);
}

/* Calls back all that was noted, and frees connections that have ended and have no owner. */
void dk_tcp_events_tell(struct dk_tcp *tcp);

#endif /* DK_NET_TCP_EVENT_H */
