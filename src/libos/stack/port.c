/* SPDX-License-Identifier: MIT */
/*
 * Local ports of TCP, and listening on them.
 */
#include "libos/stack/sock.h"

#include <errno.h>
#include <stdlib.h>

/* A port that is bound already and may be shared with t, or NULL. */
static struct dk_stack_port *find_shared(const struct dk_stack_tcp *t,
                                         const struct dk_endpoint *local)
{
    struct dk_list *l;
    dk_list_for_each (l, &t->s.st->ports) {
        struct dk_stack_port *p = dk_container_of(l, struct dk_stack_port, link);
        if (p->shared && p->local.port == local->port && dk_ip_equal(&p->local.ip, &local->ip))
            return p;
    }
    return NULL;
}

static int bind_new(struct dk_stack_tcp *t, const struct dk_endpoint *local)
{
    struct dk_stack *st = t->s.st;
    struct dk_stack_port *p = calloc(1, sizeof(*p)); /* freed by its last user */
    if (!p)
        return -ENOMEM;
    p->st = st;
    p->local = *local;
    p->shared = t->s.option[DK_STACK_REUSEPORT] != 0;
    p->users = 1;
    dk_list_init(&p->listening);
    int r =
        dk_tcp_bind(st->tcp, &p->local, t->s.option[DK_STACK_REUSEADDR] ? DK_TCP_BIND_REUSE : 0);
    if (r < 0) {
        free(p);
        return r;
    }
    dk_list_add_tail(&st->ports, &p->link);
    t->port = p;
    return 0;
}

int dk_stack_port_bind(struct dk_stack_tcp *t, const struct dk_endpoint *local)
{
    struct dk_endpoint at = *local;
    struct dk_stack_port *shared = NULL;
    if (t->s.domain == AF_INET6 && !t->s.option[DK_STACK_V6ONLY] &&
        (at.ip.words[0] | at.ip.words[1]) == 0)
        at.ip.version = 0; /* both versions */
    if (t->s.option[DK_STACK_REUSEPORT] && at.port != 0)
        shared = find_shared(t, &at);
    if (!shared)
        return bind_new(t, &at);
    shared->users++;
    t->port = shared;
    return 0;
}

/* Gives connections to those that listen, one each in turn, until nobody takes any. */
static void on_acceptable(struct dk_tcp_listener *listener, void *owner)
{
    struct dk_stack_port *p = owner;
    uint32_t idle = 0;
    (void)listener;
    while (!dk_list_empty(&p->listening) && idle < p->users) {
        struct dk_stack_tcp *t = dk_container_of(p->listening.next, struct dk_stack_tcp, listening);
        dk_list_del(&t->listening);
        dk_list_add_tail(&p->listening, &t->listening);
        idle = dk_stack_tcp_accepts(t) ? 0 : idle + 1;
    }
}

static const struct dk_tcp_listener_ops listener_ops = {.acceptable = on_acceptable};

static int start_listening(struct dk_stack_tcp *t, uint32_t backlog)
{
    struct dk_stack_port *p = t->port;
    int r = dk_tcp_listen(t->s.st->tcp, &p->listener, &p->local, backlog, &listener_ops, p);
    if (r < 0) {
        p->listener = NULL;
        return r;
    }
    for (int i = 0; i < DK_STACK_OPTIONS; i++)
        if (t->s.is_set & 1u << i)
            dk_stack_tcp_apply_to_listener(t, (enum dk_stack_option)i);
    return 0;
}

int dk_stack_port_listen(struct dk_stack_tcp *t, uint32_t backlog)
{
    static const struct dk_endpoint any4 = {.ip = {.version = 4}}, any6 = {.ip = {.version = 6}};
    int r = t->port ? 0 : dk_stack_port_bind(t, t->s.domain == AF_INET ? &any4 : &any6);
    if (r == 0 && !t->port->listener)
        r = start_listening(t, backlog);
    else if (r == 0)
        dk_tcp_listen_set_backlog(t->port->listener, backlog);
    if (r == 0 && dk_list_empty(&t->listening))
        dk_list_add_tail(&t->port->listening, &t->listening);
    return r;
}

void dk_stack_port_leave(struct dk_stack_tcp *t)
{
    struct dk_stack_port *p = t->port;
    if (!p)
        return;
    t->port = NULL;
    dk_list_del_init(&t->listening);
    if (p->listener && dk_list_empty(&p->listening)) {
        dk_tcp_listen_close(p->listener, t->s.st->now);
        p->listener = NULL;
    }
    if (--p->users > 0)
        return;
    dk_tcp_unbind(t->s.st->tcp, &p->local);
    dk_list_del(&p->link);
    free(p);
}
