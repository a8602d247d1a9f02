/* SPDX-License-Identifier: MIT */
/*
 * Timers of a connection.
 *
 * Each has a deadline; the wheel knows one timer per connection, which is moved to an earlier time
 * when a deadline is, and never to a later one: setting and clearing a deadline with each segment
 * is a store. The wheel asks for the time anew as it comes by; a timer that fires early finds
 * nothing due and is set to what is next.
 */
#ifndef DK_NET_TCP_TIMER_H
#define DK_NET_TCP_TIMER_H

#include "net/tcp/tcb.h"

void dk_tcp_wheel_init(struct dk_tcp *tcp, int64_t now);

void dk_tcp_timers_init(struct dk_tcp_conn *c);

/* No deadline is left, and the wheel forgets the connection. */
void dk_tcp_timers_stop(struct dk_tcp_conn *c);

static inline void dk_tcp_timer_set(struct dk_tcp_conn *c, enum dk_tcp_timer which, int64_t at)
{
    c->due[which] = at;
    if (at < c->timer.due)
        dk_timer_start(&c->tcp->wheel, &c->timer, at);
}

/* The owner was told of what arrived, and has mostly answered, which acknowledged it. If not there
 * is a deadline, from when the first of it came. */
static inline void dk_tcp_timer_owed_ack(struct dk_tcp_conn *c, int64_t now)
{
    if (dk_likely(c->ack_bytes == 0) || c->ack_timed || c->ack_now)
        return;
    c->ack_timed = true;
    dk_tcp_timer_set(c, DK_TCP_TIMER_ACK, now + c->tcp->config.delayed_ack_ns);
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
