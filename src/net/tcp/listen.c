/* SPDX-License-Identifier: MIT */
/*
 * A flood of SYNs is bounded: when a listener, or all of them, have as many half-open connections
 * as they may, further SYNs are answered with cookies (cookie.h), of which nothing is kept. Where
 * there are to be none, and for a SYN that replaces a connection in TIME_WAIT and so may not have
 * any first number, the oldest half-open connection gives way to the newest; a peer that is real
 * sends its SYN again.
 *
 * The accept queue holds backlog + 1 connections. While it is full SYNs are dropped, and a
 * handshake that completes stays half-open: the peer's next segment, or ours, tries again.
 */
#include "net/tcp/listen.h"

#include "mem/heap.h"
#include "net/others.h"
#include "net/tcp/cookie.h"
#include "net/tcp/event.h"
#include "net/tcp/handshake.h"
#include "net/tcp/open.h"
#include "net/tcp/pcb.h"
#include "net/tcp/port.h"
#include "net/tcp/sendq.h"
#include "net/tcp/tx.h"

#define HALF_OPEN_LEAST 128

struct dk_tcp_listener *dk_tcp_listener_find(struct dk_tcp *tcp, const struct dk_ip *ip,
                                             uint16_t port)
{
    struct dk_list *at;
    dk_list_for_each (at, &tcp->listeners) {
        struct dk_tcp_listener *l = dk_container_of(at, struct dk_tcp_listener, link);
        if (l->local.port == port && dk_tcp_ip_covers(&l->local.ip, ip))
            return l;
    }
    return NULL;
}

static bool is_in_use(struct dk_tcp *tcp, const struct dk_endpoint *local)
{
    struct dk_list *at;
    dk_list_for_each (at, &tcp->listeners) {
        struct dk_tcp_listener *l = dk_container_of(at, struct dk_tcp_listener, link);
        if (l->local.port == local->port && dk_tcp_ip_overlaps(&l->local.ip, &local->ip))
            return true;
    }
    return false;
}

int dk_tcp_listen(struct dk_tcp *tcp, struct dk_tcp_listener **listener_out,
                  const struct dk_endpoint *local, uint32_t backlog,
                  const struct dk_tcp_listener_ops *ops, void *owner)
{
    if (local->port == 0)
        return -EINVAL;
    if (is_in_use(tcp, local))
        return -EADDRINUSE;
    if (tcp->num_listeners >= tcp->config.listeners_max)
        return -ENOBUFS;
    struct dk_tcp_listener *l = dk_heap_zalloc(sizeof(*l));
    if (!l)
        return -ENOBUFS;
    l->tcp = tcp;
    l->local = *local;
    l->backlog = backlog;
    l->cookie_at = INT64_MIN / 2;
    l->ops = ops;
    l->owner = owner;
    dk_list_init(&l->waiting);
    dk_list_init(&l->half_open);
    dk_list_init(&l->event_link);
    dk_tcp_options_default(tcp, l->option);
    if (dk_tcp_ip_is_any(&local->ip))
        dk_list_add_tail(&tcp->listeners, &l->link);
    else
        dk_list_add_head(&tcp->listeners, &l->link);
    tcp->num_listeners++;
    *listener_out = l;
    return 0;
}

void dk_tcp_listen_set_backlog(struct dk_tcp_listener *l, uint32_t backlog)
{
    l->backlog = backlog;
}

static struct dk_tcp_conn *first_of(struct dk_list *queue)
{
    struct dk_list *first = dk_list_first(queue);
    return first ? dk_container_of(first, struct dk_tcp_conn, queue_link) : NULL;
}

static void reset_all(struct dk_list *queue, int64_t now)
{
    struct dk_tcp_conn *c;
    while ((c = first_of(queue))) {
        dk_tcp_send_reset(c, c->snd_nxt, now);
        DK_TCP_COUNT(c->tcp, aborts);
        dk_tcp_conn_drop(c);
    }
}

static void listener_free(struct dk_tcp_listener *l)
{
    dk_list_del(&l->link);
    dk_list_del(&l->event_link);
    l->tcp->num_listeners--;
    dk_heap_free(l);
}

void dk_tcp_listen_close(struct dk_tcp_listener *l, int64_t now)
{
    reset_all(&l->waiting, now);
    reset_all(&l->half_open, now);
    listener_free(l);
}

void dk_tcp_listen_fini(struct dk_tcp *tcp)
{
    struct dk_list *first;
    while ((first = dk_list_first(&tcp->listeners)))
        listener_free(dk_container_of(first, struct dk_tcp_listener, link));
}

void dk_tcp_listen_forget(struct dk_tcp_conn *c)
{
    struct dk_tcp_listener *l = c->listener;
    if (!l)
        return;
    if (c->state == DK_TCP_SYN_RECEIVED) {
        l->num_half_open--;
        c->tcp->num_half_open--;
    } else {
        l->num_waiting--;
    }
    dk_list_del_init(&c->queue_link);
    c->listener = NULL;
}

static bool is_accept_queue_full(const struct dk_tcp_listener *l)
{
    if (l->num_waiting <= l->backlog)
        return false;
    DK_TCP_COUNT(l->tcp, drop_accept_queue_full);
    return true;
}

static bool has_half_open_room(const struct dk_tcp_listener *l)
{
    uint64_t most = 2 * ((uint64_t)l->backlog + 1);
    if (most < HALF_OPEN_LEAST)
        most = HALF_OPEN_LEAST;
    return l->num_half_open < most && l->tcp->num_half_open < l->tcp->config.half_open_max;
}

static void half_open_replace(struct dk_tcp_listener *l)
{
    struct dk_tcp_conn *oldest = first_of(&l->half_open);
    if (!oldest)
        return;
    DK_TCP_COUNT(l->tcp, half_open_replaced);
    dk_tcp_conn_drop(oldest);
}

/* A connection of a listener that is in none of its queues yet. NULL: no memory, or no way back. */
static struct dk_tcp_conn *passive_create(struct dk_tcp_listener *l, const struct dk_tcp_rx *rx)
{
    struct dk_tcp *tcp = l->tcp;
    struct dk_endpoint local = {rx->ip->dst, rx->h.dst_port};
    struct dk_endpoint remote = {rx->ip->src, rx->h.src_port};
    uint32_t mtu;
    struct dk_tcp_conn *c = NULL;
    if (dk_tcp_pool_reserve(&tcp->segments, 1) == 0 &&
        dk_ip_route(tcp->net, &remote.ip, &local.ip, &mtu) == 0)
        c = dk_tcp_conn_create(tcp, &local, &remote, l->option);
    if (!c) {
        DK_TCP_COUNT(tcp, drop_no_memory);
        return NULL;
    }
    c->path_mtu = (uint16_t)dk_tcp_min32(mtu, UINT16_MAX);
    c->passive = true;
    return c;
}

static void half_open_add(struct dk_tcp_listener *l, struct dk_tcp_conn *c)
{
    c->listener = l;
    c->state = DK_TCP_SYN_RECEIVED;
    dk_list_add_tail(&l->half_open, &c->queue_link);
    l->num_half_open++;
    l->tcp->num_half_open++;
}

static bool wants_cookie(const struct dk_tcp_listener *l, uint64_t isn_floor)
{
    switch (l->tcp->config.syn_cookies) {
    case DK_TCP_SYN_COOKIES_NEVER:
        return false;
    case DK_TCP_SYN_COOKIES_ALWAYS:
        return !isn_floor;
    default:
        return !isn_floor && !has_half_open_room(l);
    }
}

/* Whether there is memory for an answer to a SYN: of a half-open connection, or of cookies. */
static bool is_ready(struct dk_tcp_listener *l, bool cookie)
{
    if (!cookie && !has_half_open_room(l))
        half_open_replace(l);
    if (cookie ? dk_tcp_cookie_ready(l->tcp) : l->tcp->num_half_open < l->tcp->config.half_open_max)
        return true;
    DK_TCP_COUNT(l->tcp, drop_no_memory); /* or they are all of other listeners */
    return false;
}

static void syn(struct dk_tcp_listener *l, const struct dk_tcp_rx *rx, uint64_t isn_floor)
{
    const bool cookie = wants_cookie(l, isn_floor);
    if (!is_ready(l, cookie))
        return;
    struct dk_tcp_conn *c = passive_create(l, rx);
    if (!c)
        return;
    if (cookie) {
        l->cookie_at = rx->now;
        dk_tcp_cookie_answer(c, rx);
        return;
    }
    half_open_add(l, c);
    dk_tcp_open_begin(c, DK_TCP_SYN_RECEIVED, isn_floor, rx->now);
    dk_tcp_handshake_syn(c, rx);
    dk_tcp_output(c, rx->now);
}

/* It may be of a connection that another stack on the link has. */
static void drop(struct dk_tcp_listener *l, const struct dk_tcp_rx *rx)
{
    if (!dk_others_pass(l->tcp->net, rx->ip))
        DK_TCP_COUNT(l->tcp, drop_listen_flags);
}

static struct dk_tcp_conn *reset(struct dk_tcp_listener *l, const struct dk_tcp_rx *rx)
{
    if (dk_others_pass(l->tcp->net, rx->ip))
        return NULL;
    DK_TCP_COUNT(l->tcp, drop_listen_flags);
    dk_tcp_answer_reset(l->tcp, rx);
    return NULL;
}

/* Of a connection that another stack has, or of none. */
static struct dk_tcp_conn *drop_text(struct dk_tcp_listener *l, const struct dk_tcp_rx *rx)
{
    dk_others_pass(l->tcp->net, rx->ip);
    return NULL;
}

/*
 * An ACK for no connection: of a cookie, or it is reset. One with text that is of no cookie may be
 * the second segment of a peer whose first was lost, and is dropped: the peer begins again with the
 * first, which opens the connection. While the accept queue is full a good one is dropped likewise.
 * One of a cookie whose connection is over comes late, and is reset.
 */
static struct dk_tcp_conn *ack(struct dk_tcp_listener *l, const struct dk_tcp_rx *rx)
{
    struct dk_tcp_cookie cookie;
    if (rx->h.flags & DK_TCP_SYN || !dk_tcp_cookie_expected(l, rx->now))
        return reset(l, rx);
    if (!dk_tcp_cookie_check(l, rx, &cookie))
        return rx->seq_len ? drop_text(l, rx) : reset(l, rx);
    if (dk_tcp_cookie_was_used(l->tcp, &cookie))
        return reset(l, rx);
    if (is_accept_queue_full(l))
        return NULL;
    struct dk_tcp_conn *c = passive_create(l, rx);
    if (!c)
        return NULL;
    half_open_add(l, c);
    dk_tcp_cookie_restore(c, &cookie);
    return c;
}

struct dk_tcp_conn *dk_tcp_listen_input(struct dk_tcp_listener *l, const struct dk_tcp_rx *rx,
                                        uint64_t isn_floor)
{
    uint8_t flags = rx->h.flags;
    if (flags & DK_TCP_RST) {
        drop(l, rx);
    } else if (flags & DK_TCP_ACK) {
        return ack(l, rx);
    } else if (!(flags & DK_TCP_SYN) || flags & DK_TCP_FIN) {
        drop(l, rx);
    } else if (!is_accept_queue_full(l)) {
        syn(l, rx, isn_floor);
    }
    return NULL;
}

bool dk_tcp_listen_established(struct dk_tcp_conn *c)
{
    struct dk_tcp_listener *l = c->listener;
    if (is_accept_queue_full(l))
        return false;
    l->num_half_open--;
    c->tcp->num_half_open--;
    l->num_waiting++;
    dk_list_del(&c->queue_link);
    dk_list_add_tail(&l->waiting, &c->queue_link);
    c->tcp->net->due.what |= DK_NET_DUE_TCP;
    if (dk_list_empty(&l->event_link))
        dk_list_add_tail(&c->tcp->listener_events, &l->event_link);
    return true;
}

int dk_tcp_accept(struct dk_tcp_listener *l, struct dk_tcp_conn **conn_out,
                  const struct dk_tcp_ops *ops, void *owner)
{
    struct dk_tcp_conn *c = first_of(&l->waiting);
    if (!c)
        return -EAGAIN;
    dk_tcp_listen_forget(c);
    c->owned = true;
    c->offers = ops->offer != NULL;
    c->ops = ops;
    c->owner = owner;
    DK_TCP_COUNT(c->tcp, accepts);
    dk_tcp_events_forget(c);
    if (dk_tcp_fin_received(c))
        dk_tcp_event(c, DK_TCP_EV_READABLE | DK_TCP_EV_PEER_CLOSED);
    else if (c->rx_bytes)
        dk_tcp_event(c, DK_TCP_EV_READABLE);
    *conn_out = c;
    return 0;
}
