/* SPDX-License-Identifier: MIT */
/*
 * What all sockets of the stack have: an object, its queue, its lists.
 */
#include "libos/stack/sock.h"
#include "mem/heap.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>

int dk_stack_sock_create(struct dk_stack_sock **s_out, struct dk_stack *st,
                         const struct dk_stack_kind *kind, int domain, size_t bytes)
{
    struct dk_stack_sock *s = calloc(1, bytes); /* freed by dk_stack_sock_free */
    if (!s)
        return -ENOMEM;
    int r = dk_queue_create(&s->q, st->inst, kind->ops, s, false);
    if (r < 0) {
        free(s);
        return r;
    }
    s->kind = kind;
    s->st = st;
    s->domain = domain;
    dk_list_init(&s->pops);
    dk_list_init(&s->pushes);
    dk_stack_init_options(s);
    dk_list_add_tail(&st->socks, &s->all);
    dk_poller_add_queues(&st->poller, 1);
    dk_count(&st->stats->sockets, 1);
    *s_out = s;
    return 0;
}

void dk_stack_sock_let_go(struct dk_stack_sock *s)
{
    struct dk_queue *q = s->q;
    s->q = NULL;
    q->impl = NULL;
    dk_queue_gone(q);
}

/* As long as there is an object there may be segments to send again: it counts as a queue that the
 * device serves. */
void dk_stack_sock_free(struct dk_stack_sock *s)
{
    dk_stack_set_drains(s, false);
    dk_list_del(&s->all);
    dk_poller_add_queues(&s->st->poller, -1);
    dk_count(&s->st->stats->sockets, (uint64_t)-1);
    free(s);
}

void dk_stack_fail_all(struct dk_list *ops, int error)
{
    while (!dk_list_empty(ops)) {
        struct dk_op *op = dk_container_of(ops->next, struct dk_op, link);
        dk_list_del(&op->link);
        dk_op_complete(op, error);
    }
}

/* Of a buffer by itself: a view has none of the application's holds on what it is of. */
static bool is_given_up(const struct dk_buf *buf)
{
    if ((uint32_t)__atomic_load_n(&buf->life, __ATOMIC_ACQUIRE) != 0)
        return false;
    for (; buf; buf = buf->more)
        if (buf->shared || !dk_heap_held_once(buf->data))
            return false;
    return true;
}

bool dk_stack_is_given_up(const struct dk_buf *buf)
{
    return is_given_up(buf) && (buf->kind != DK_BUF_VIEW || is_given_up(buf->owner));
}

void dk_stack_set_failed(struct dk_stack_sock *s, int error)
{
    s->failed = true;
    s->error = -error;
}

static int check_kind(int domain, int type, int protocol)
{
    if (domain != AF_INET && domain != AF_INET6)
        return -EAFNOSUPPORT;
    if (type != SOCK_STREAM && type != SOCK_DGRAM)
        return -ESOCKTNOSUPPORT;
    if (protocol != 0 && protocol != (type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP))
        return -EPROTONOSUPPORT;
    return 0;
}

int dk_stack_socket(struct dk_instance *inst, int domain, int type, int protocol, int *qd_out)
{
    struct dk_stack *st = (struct dk_stack *)inst->sockets;
    struct dk_stack_sock *s = NULL;
    struct dk_stack_tcp *t = NULL;
    int r = check_kind(domain, type, protocol);
    if (r < 0)
        return r;
    if (type == SOCK_DGRAM) {
        r = dk_stack_udp_create(st, domain, &s);
    } else {
        r = dk_stack_tcp_create(st, domain, &t);
        s = r == 0 ? &t->s : NULL;
    }
    if (r == 0)
        *qd_out = s->q->qd;
    return r;
}
