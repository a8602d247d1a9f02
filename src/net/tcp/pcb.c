/* SPDX-License-Identifier: MIT */
/*
 * Connections: how they begin and end (pcb.h has the hash of the table).
 *
 * Invariant: a connection is in the table (hashed) from its creation until it is CLOSED.
 */
#include "net/tcp/pcb.h"

#include "mem/heap.h"
#include "net/tcp/congestion.h"
#include "net/tcp/event.h"
#include "net/tcp/listen.h"
#include "net/tcp/reasm.h"
#include "net/tcp/record.h"
#include "net/tcp/rto.h"
#include "net/tcp/rcvq.h"
#include "net/tcp/sendq.h"
#include "net/tcp/timer.h"

static void insert(struct dk_tcp_conn *c)
{
    c->node.hash = dk_tcp_hash(c->tcp, &c->local_ip, &c->remote_ip, c->ports);
    dk_tcp_table_add(&c->tcp->table, &c->node);
    c->hashed = true;
}

static void take_out(struct dk_tcp_conn *c)
{
    dk_tcp_table_del(&c->tcp->table, &c->node);
    c->hashed = false;
}

struct dk_tcp_conn *dk_tcp_conn_create(struct dk_tcp *tcp, const struct dk_endpoint *local,
                                       const struct dk_endpoint *remote,
                                       const int64_t option[DK_TCP_OPTIONS])
{
    struct dk_tcp_conn *c = dk_tcp_pool_get(&tcp->conns);
    if (!c)
        return NULL;
    memset(c, 0, sizeof(*c));
    c->tcp = tcp;
    if (dk_tcp_congestion_choose(c, (uint32_t)option[DK_TCP_CONGESTION], 0) != 0) {
        dk_tcp_pool_put(&tcp->conns, c);
        return NULL;
    }
    c->local_ip = local->ip;
    c->local_port = local->port;
    c->remote_ip = remote->ip;
    c->remote_port = remote->port;
    c->ports = dk_tcp_ports(local->port, remote->port);
    c->pseudo_sum = dk_ip_pseudo_sum(&c->local_ip, &c->remote_ip, DK_IP_TCP, 0);
    c->rcv_fin = c->room_una = DK_TCP_NONE;
    c->loss = &tcp->no_recovery;
    dk_tcp_options_take(c, option);
    dk_list_init(&c->pending_link);
    dk_list_add_tail(&tcp->all, &c->all_link);
    dk_tcp_timers_init(c);
    dk_tcp_rto_init(c);
    insert(c);
    return c;
}

void dk_tcp_set_state(struct dk_tcp_conn *c, enum dk_tcp_state state, int64_t now)
{
    c->state = (uint8_t)state;
    c->entered_at = (uint32_t)(now / DK_NS_PER_MS);
}

void dk_tcp_enter_time_wait(struct dk_tcp_conn *c, int64_t now)
{
    dk_tcp_set_state(c, DK_TCP_TIME_WAIT, now);
    dk_tcp_timers_stop(c);
    dk_tcp_timer_set(c, DK_TCP_TIMER_STATE, now + c->tcp->config.time_wait_ns);
    if (!c->owned)
        dk_tcp_event(c, 0); /* to become a record */
    else if (c->closing)
        dk_tcp_event(c, DK_TCP_EV_CLOSED);
}

void dk_tcp_conn_end(struct dk_tcp_conn *c, int err)
{
    if (!c->hashed)
        return;
    bool opening = !c->passive && (c->state == DK_TCP_SYN_SENT || c->state == DK_TCP_SYN_RECEIVED);
    take_out(c);
    dk_tcp_timers_stop(c);
    dk_tcp_listen_forget(c);
    dk_list_del_init(&c->pending_link);
    dk_tcp_sendq_fail(c, err ? err : -ECANCELED);
    dk_tcp_reasm_clear(c);
    dk_tcp_record_put(c);
    c->state = DK_TCP_CLOSED;
    c->err = (int16_t)err;
    c->ack_now = false;
    if (!c->owned || c->closing)
        dk_tcp_rcvq_clear(c);
    if (opening && err)
        DK_TCP_COUNT(c->tcp, connect_failures);
    if (err)
        dk_tcp_event(c, opening ? DK_TCP_EV_CONNECTED : DK_TCP_EV_FAILED);
    dk_tcp_event(c, c->closing ? DK_TCP_EV_CLOSED : 0);
}

void dk_tcp_conn_free(struct dk_tcp_conn *c)
{
    dk_tcp_rcvq_clear(c);
    if (c->tcp->tx_conn == c)
        c->tcp->tx_conn = NULL;
    dk_tcp_events_leave(c);
    dk_list_del(&c->all_link);
    dk_tcp_congestion_end(c);
    dk_tcp_pool_put(&c->tcp->conns, c);
}

void dk_tcp_conn_drop(struct dk_tcp_conn *c)
{
    const bool is_queued = c->events != 0;
    c->events |= DK_TCP_EV_QUEUED; /* not put there, only to be looked for */
    dk_tcp_conn_end(c, 0);
    if (!is_queued)
        c->events = 0;
    dk_tcp_conn_free(c);
}
