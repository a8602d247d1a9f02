/* SPDX-License-Identifier: MIT */
/*
 * Timers of a connection.
 *
 * Each has a deadline; the wheel knows one timer per connection, which is moved to an earlier time
 * when a deadline is, and never to a later one: setting and clearing a deadline with each segment
 * is a store. A timer that fires early finds nothing due and is set to what is next.
 */
#ifndef DK_NET_TCP_TIMER_H
#define DK_NET_TCP_TIMER_H

#include "net/tcp/tcb.h"

void dk_tcp_timers_init(struct dk_tcp_conn *c);

/* No deadline is left, and the wheel forgets the connection. */
void dk_tcp_timers_stop(struct dk_tcp_conn *c);

static inline void dk_tcp_timer_set(struct dk_tcp_conn *c, enum dk_tcp_timer which, int64_t at)
{
    c->due[which] = at;
    if (at < c->timer.due)
        dk_timer_start(&c->tcp->wheel, &c->timer, at);
}

/* Sets that of a delayed acknowledgement. The owner will be told of what is to be acknowledged, and
 * mostly answers, which acknowledges it: the wheel hears of the deadline only afterwards. */
static inline void dk_tcp_timer_owe_ack(struct dk_tcp_conn *c, int64_t at)
{
    c->due[DK_TCP_TIMER_ACK] = at;
}

/* The owner was told. */
static inline void dk_tcp_timer_owed_ack(struct dk_tcp_conn *c)
{
    if (c->due[DK_TCP_TIMER_ACK] < c->timer.due)
        dk_tcp_timer_set(c, DK_TCP_TIMER_ACK, c->due[DK_TCP_TIMER_ACK]);
}

static inline void dk_tcp_timer_clear(struct dk_tcp_conn *c, enum dk_tcp_timer which)
{
    c->due[which] = DK_TCP_NEVER;
}

static inline bool dk_tcp_timer_is_set(const struct dk_tcp_conn *c, enum dk_tcp_timer which)
{
    return c->due[which] != DK_TCP_NEVER;
}

/* Sets the deadline of keepalive from the options. */
void dk_tcp_timer_alive(struct dk_tcp_conn *c, int64_t now);

#endif /* DK_NET_TCP_TIMER_H */
