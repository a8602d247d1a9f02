/* SPDX-License-Identifier: MIT */
/*
 * What each timer of a connection does.
 */
#include "net/tcp/timer.h"

#include "net/tcp/pace.h"
#include "net/tcp/pcb.h"
#include "net/tcp/pmtu.h"
#include "net/tcp/recovery.h"
#include "net/tcp/rto.h"
#include "net/tcp/sendq.h"
#include "net/tcp/tlp.h"
#include "net/tcp/tx.h"

static void give_up(struct dk_tcp_conn *c)
{
    DK_TCP_COUNT(c->tcp, timeouts);
    dk_tcp_conn_end(c, c->soft_err ? c->soft_err : -ETIMEDOUT);
}

/* RFC 6298 section 5.4 to 5.7, RFC 5681 section 3.1, RFC 6582 section 3.2 step 4. */
static void rto_fired(struct dk_tcp_conn *c, int64_t now)
{
    if (c->snd_una == c->snd_nxt)
        return;
    if (dk_tcp_rto_gives_up(c, c->retries, now)) {
        give_up(c);
        return;
    }
    bool first = c->retries == 0; /* RFC 5681 section 3.1 */
    c->retries++;
    DK_TCP_COUNT(c->tcp, rto_fired);
    if (c->pmtu_waits)
        dk_tcp_pmtu_apply(c, c->pmtu_claimed, now);
    dk_tcp_recovery_timeout(c, first, now);
    dk_tcp_rto_backoff(c);
    dk_tcp_rto_restart(c, now);
    dk_tcp_output(c, now);
    /* IP says that the host does not answer: nobody need wait for a connection to it. */
    if (c->state == DK_TCP_SYN_SENT && c->ip_err && c->ip_err != -ENOBUFS)
        dk_tcp_conn_end(c, c->ip_err);
}

/* RFC 9293 section 3.8.6.1: for as long as probes are answered, the connection stays. Unless its
 * owner has gone: then so many probes are enough. */
static void persist_fired(struct dk_tcp_conn *c, int64_t now)
{
    if (dk_tcp_pace_waits(c)) {
        dk_tcp_rated(c)->pace_waits = false;
        dk_tcp_output(c, now);
        return;
    }
    if (c->probes == 0)
        c->stalled_since = now;
    if (dk_tcp_rto_gives_up(c, c->closing ? dk_tcp_useless_probes(c) : c->probes, now)) {
        give_up(c);
        return;
    }
    dk_tcp_output_probe(c, now);
}

static void ack_fired(struct dk_tcp_conn *c, int64_t now)
{
    c->ack_timed = false;
    DK_TCP_COUNT(c->tcp, delayed_acks);
    c->ack_now = true;
    dk_tcp_output(c, now);
}

/* Also one that nobody has accepted yet; not one that its owner has left, which has timers. */
static bool is_alive_checked(const struct dk_tcp_conn *c)
{
    return c->option[DK_TCP_KEEPALIVE] && !c->closing && c->state >= DK_TCP_ESTABLISHED &&
           c->state < DK_TCP_TIME_WAIT;
}

void dk_tcp_timer_alive(struct dk_tcp_conn *c, int64_t now)
{
    (void)now;
    if (is_alive_checked(c))
        dk_tcp_timer_set(c, DK_TCP_TIMER_ALIVE,
                         c->last_rx + dk_tcp_option_ns(c, DK_TCP_KEEPALIVE_IDLE));
    else
        dk_tcp_timer_clear(c, DK_TCP_TIMER_ALIVE);
}

static bool is_peer_gone(const struct dk_tcp_conn *c, int64_t now)
{
    int64_t timeout = dk_tcp_option_ns(c, DK_TCP_USER_TIMEOUT);
    if (timeout > 0 && c->probes > 0)
        return now - c->last_rx >= timeout;
    return c->probes >= c->option[DK_TCP_KEEPALIVE_COUNT];
}

/* RFC 9293 section 3.8.4. What is in flight or unsent has timers of its own. */
static void alive_fired(struct dk_tcp_conn *c, int64_t now)
{
    int64_t idle_at = c->last_rx + dk_tcp_option_ns(c, DK_TCP_KEEPALIVE_IDLE);
    if (!is_alive_checked(c))
        return;
    if (c->snd_una != c->snd_nxt || c->snd_nxt != c->snd_end + dk_tcp_fin_sent(c)) {
        dk_tcp_timer_set(c, DK_TCP_TIMER_ALIVE, now + dk_tcp_option_ns(c, DK_TCP_KEEPALIVE_IDLE));
    } else if (now < idle_at) {
        dk_tcp_timer_set(c, DK_TCP_TIMER_ALIVE, idle_at);
    } else if (is_peer_gone(c, now)) {
        dk_tcp_send_reset(c, c->snd_nxt, now);
        give_up(c);
    } else {
        c->probes++;
        DK_TCP_COUNT(c->tcp, keepalive_probes);
        dk_tcp_send_probe(c, now);
        dk_tcp_timer_set(c, DK_TCP_TIMER_ALIVE,
                         now + dk_tcp_option_ns(c, DK_TCP_KEEPALIVE_INTERVAL));
    }
}

/* TIME_WAIT is over, or the peer of an abandoned connection sent no FIN in time. */
static void state_fired(struct dk_tcp_conn *c, int64_t now)
{
    (void)now;
    dk_tcp_conn_end(c, 0);
}

static void (*const fired[DK_TCP_TIMERS])(struct dk_tcp_conn *c, int64_t now) = {
    [DK_TCP_TIMER_LOSS] = dk_tcp_recovery_timer, [DK_TCP_TIMER_RTO] = rto_fired,
    [DK_TCP_TIMER_PERSIST] = persist_fired,      [DK_TCP_TIMER_ACK] = ack_fired,
    [DK_TCP_TIMER_ALIVE] = alive_fired,          [DK_TCP_TIMER_STATE] = state_fired,
};

/* The first deadline but that of a loss. */
static inline int64_t first_other_due(const struct dk_tcp_conn *c)
{
    int64_t first = DK_TCP_NEVER;
#pragma GCC unroll 8
    for (int i = DK_TCP_TIMER_LOSS + 1; i < DK_TCP_TIMERS; i++)
        first = c->due[i] < first ? c->due[i] : first;
    return first;
}

static inline int64_t first_due(const struct dk_tcp_conn *c)
{
    const int64_t first = first_other_due(c), loss = c->due[DK_TCP_TIMER_LOSS];
    return loss < first ? loss : first;
}

static void rearm(struct dk_tcp_conn *c)
{
    const int64_t first = first_due(c);
    if (first < c->timer.due)
        dk_timer_start(&c->tcp->wheel, &c->timer, first);
}

static void fire(struct dk_timer *timer, int64_t now)
{
    struct dk_tcp_conn *c = dk_container_of(timer, struct dk_tcp_conn, timer);
    timer->due = DK_TCP_NEVER;
    if (!c->ack_timed) /* that was for what is acknowledged since */
        dk_tcp_timer_clear(c, DK_TCP_TIMER_ACK);
    for (int i = 0; i < DK_TCP_TIMERS; i++) {
        if (c->due[i] > now)
            continue;
        c->due[i] = DK_TCP_NEVER;
        fired[i](c, now);
    }
    rearm(c);
}

/* Deadlines of connections that are in use have mostly moved on when the wheel comes by. */
static int64_t revise(struct dk_timer *timer)
{
    if (timer->fire != fire)
        return timer->due;
    struct dk_tcp_conn *c = dk_container_of(timer, struct dk_tcp_conn, timer);
    const int64_t first = first_other_due(c);
    if (c->due[DK_TCP_TIMER_LOSS] >= first)
        return first;
    const int64_t loss = c->due[DK_TCP_TIMER_LOSS] = dk_tcp_tlp_due(c);
    return loss < first ? loss : first;
}

void dk_tcp_wheel_init(struct dk_tcp *tcp, int64_t now)
{
    dk_wheel_init(&tcp->wheel, now);
    tcp->wheel.revise = revise;
    tcp->wheel.none_before = &tcp->net->due.at;
}

void dk_tcp_timers_init(struct dk_tcp_conn *c)
{
    for (int i = 0; i < DK_TCP_TIMERS; i++)
        c->due[i] = DK_TCP_NEVER;
    dk_timer_init(&c->timer, fire);
}

void dk_tcp_timers_stop(struct dk_tcp_conn *c)
{
    for (int i = 0; i < DK_TCP_TIMERS; i++)
        c->due[i] = DK_TCP_NEVER;
    c->ack_timed = false;
    c->ack_bytes = 0; /* nothing is owed either */
    dk_timer_stop(&c->tcp->wheel, &c->timer);
}
