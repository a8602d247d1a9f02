/* SPDX-License-Identifier: MIT */
/*
 * Connections: bind, listen, accept, connect, cancel.
 */
#include "libos/kernel/sock.h"

#include <errno.h>
#include <unistd.h>

static int get_flag(const struct dk_sock *s, int name)
{
    int on = 0;
    socklen_t len = sizeof(on);
    return getsockopt(s->fd, SOL_SOCKET, name, &on, &len) == 0 && on;
}

static void set_flag(const struct dk_sock *s, int name, int on)
{
    setsockopt(s->fd, SOL_SOCKET, name, &on, sizeof(on));
}

/*
 * Binds a datagram socket to a port of the kernel's choice. While addresses may be reused the
 * kernel chooses among the ports of other sockets that allow it too, and then datagrams for one
 * come to the other: nobody who leaves the choice to it means that.
 */
static int bind_to_any_port(struct dk_sock *s, const struct sockaddr *addr, socklen_t len)
{
    int reuse_addr = get_flag(s, SO_REUSEADDR), reuse_port = get_flag(s, SO_REUSEPORT);
    set_flag(s, SO_REUSEADDR, 0);
    set_flag(s, SO_REUSEPORT, 0);
    int r = bind(s->fd, addr, len) < 0 ? -errno : 0;
    set_flag(s, SO_REUSEADDR, reuse_addr);
    set_flag(s, SO_REUSEPORT, reuse_port);
    return r;
}

int dk_sock_choose_port(struct dk_sock *s)
{
    const struct sockaddr_in any4 = {.sin_family = AF_INET};
    const struct sockaddr_in6 any6 = {.sin6_family = AF_INET6};
    const void *any = s->domain == AF_INET ? (const void *)&any4 : &any6;
    int r = bind_to_any_port(s, any, s->domain == AF_INET ? sizeof(any4) : sizeof(any6));
    s->has_port = r == 0;
    return r;
}

/* The port of an address of the socket's family, in network order; 0 also where it is too short. */
static in_port_t port_of(const struct sockaddr *addr, socklen_t len)
{
    if (addr->sa_family == AF_INET && len >= sizeof(struct sockaddr_in))
        return ((const struct sockaddr_in *)(const void *)addr)->sin_port;
    if (addr->sa_family == AF_INET6 && len >= sizeof(struct sockaddr_in6))
        return ((const struct sockaddr_in6 *)(const void *)addr)->sin6_port;
    return 0;
}

int dk_sock_bind(struct dk_queue *q, const struct sockaddr *addr, socklen_t len)
{
    struct dk_sock *s = q->impl;
    int r;
    if (addr->sa_family != s->domain)
        return -EAFNOSUPPORT;
    if (!s->stream && port_of(addr, len) == 0)
        r = bind_to_any_port(s, addr, len);
    else
        r = bind(s->fd, addr, len) < 0 ? -errno : 0;
    s->has_port |= r == 0;
    return r;
}

int dk_sock_listen(struct dk_queue *q, int backlog)
{
    struct dk_sock *s = q->impl;
    if (!s->stream)
        return -EOPNOTSUPP;
    if (s->state != DK_SOCK_NEW && s->state != DK_SOCK_LISTENING)
        return -EINVAL;
    if (listen(s->fd, backlog) < 0)
        return -errno;
    int r = dk_sock_watch(s);
    if (r == 0)
        s->state = DK_SOCK_LISTENING;
    return r;
}

/* An error of accept4 that concerns one connection that is gone already, see accept(2). */
static bool passing(int error)
{
    switch (error) {
    case EINTR:
    case ECONNABORTED:
    case ENETDOWN:
    case EPROTO:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case ENETUNREACH:
        return true;
    default:
        return false;
    }
}

/* Accepts one connection into s, which is new. 0, -EAGAIN or a negative errno. */
static int accept_into(struct dk_sock *listener, struct dk_sock *s, struct dk_op *op)
{
    socklen_t len = sizeof(op->addr);
    memset(&op->qr.qr_value, 0, sizeof(op->qr.qr_value));
    do {
        s->fd = accept4(listener->fd, &op->addr.sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    } while (s->fd < 0 && passing(errno));
    if (s->fd < 0)
        return -errno;
    s->state = DK_SOCK_CONNECTED;
    s->linger_reset = listener->linger_reset; /* inherited, as the kernel's options are */
    s->max_segs = listener->max_segs;
    op->qr.qr_value.ares.qd = s->q->qd;
    if (op->addr.sa.sa_family == AF_INET)
        op->qr.qr_value.ares.addr = op->addr.in;
    dk_count(&s->k->stats->accepts, 1);
    dk_sock_watch(s); /* if it fails, the first pop tries again and tells */
    return 0;
}

/* Everything that may fail is there before the connection is taken, so that none is lost. */
static int accept_one(struct dk_sock *listener, struct dk_op *op)
{
    struct dk_sock *s;
    int r = dk_sock_create(&s, listener->k, listener->domain, true);
    if (r < 0)
        return r;
    r = accept_into(listener, s, op);
    if (r < 0) {
        dk_queue_set_closed(s->q);
        dk_sock_destroy(s);
    }
    return r;
}

void dk_sock_do_accepts(struct dk_sock *s)
{
    while (!dk_list_empty(&s->accepts)) {
        struct dk_op *op = dk_container_of(s->accepts.next, struct dk_op, link);
        int r = accept_one(s, op);
        if (r == -EAGAIN) {
            s->readable = false;
            return;
        }
        /* EMFILE and the like: the connection stays in the backlog for the next accept. */
        dk_list_del(&op->link);
        dk_op_complete(op, r);
    }
}

int dk_sock_accept(struct dk_queue *q, struct dk_op *op)
{
    struct dk_sock *s = q->impl;
    if (!s->stream)
        return -EOPNOTSUPP;
    if (s->state != DK_SOCK_LISTENING)
        return -EINVAL;
    dk_list_add_tail(&s->accepts, &op->link);
    if (s->readable)
        dk_sock_do_accepts(s);
    return 0;
}

/* Dissolves an attempt to connect; the socket keeps its address and options, connect(2). */
static void dissolve(struct dk_sock *s)
{
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    connect(s->fd, &none,
            sizeof(none)); /* says what the attempt came to, which is known or unwanted */
    s->connecting = NULL;
    s->state = DK_SOCK_NEW;
    s->alarmed = false;
}

/* Ends a connect with an error; the socket may be used again at once. */
static void connect_failed(struct dk_sock *s, int error)
{
    struct dk_op *op = s->connecting;
    dissolve(s);
    dk_op_complete(op, error);
}

void dk_sock_connected(struct dk_sock *s)
{
    struct dk_op *op = s->connecting;
    int error = 0;
    socklen_t len = sizeof(error);
    getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error) {
        connect_failed(s, -error);
        return;
    }
    struct sockaddr_storage peer;
    len = sizeof(peer);
    if (getpeername(s->fd, (struct sockaddr *)&peer, &len) < 0)
        return; /* an early event: still connecting */
    s->connecting = NULL;
    s->state = DK_SOCK_CONNECTED;
    s->alarmed = false;
    s->readable = true; /* data or an end may have come with the same event */
    dk_op_complete(op, 0);
}

static int start_connect(struct dk_sock *s, struct dk_op *op)
{
    if (connect(s->fd, &op->addr.sa, op->addr_len) == 0) {
        s->state = DK_SOCK_CONNECTED;
        dk_op_complete(op, 0);
        return 0;
    }
    if (errno != EINPROGRESS) {
        dk_op_complete(op, -errno);
        return 0;
    }
    s->state = DK_SOCK_CONNECTING;
    s->writable = false;
    s->connecting = op;
    return 0;
}

int dk_sock_connect(struct dk_queue *q, struct dk_op *op)
{
    struct dk_sock *s = q->impl;
    if (op->addr.sa.sa_family != s->domain)
        return -EAFNOSUPPORT;
    if (s->state == DK_SOCK_CONNECTING)
        return -EALREADY;
    if (s->stream && s->state != DK_SOCK_NEW)
        return s->state == DK_SOCK_LISTENING ? -EINVAL : -EISCONN;
    int r = s->stream || s->has_port ? 0 : dk_sock_choose_port(s);
    if (r < 0)
        return r;
    r = start_connect(s, op);
    if (s->state != DK_SOCK_CONNECTING)
        return r;
    /* Watched only now: an unconnected stream would report a hang-up at once. */
    r = s->watched ? 0 : dk_sock_watch(s);
    if (r < 0) {
        s->connecting = NULL;
        s->state = DK_SOCK_NEW;
    }
    return r;
}

static int cancel_push(struct dk_sock *s, struct dk_op *op)
{
    if (op->progress > 0)
        return -EBUSY;
    dk_list_del(&op->link);
    if (dk_list_empty(&s->pushes)) {
        dk_kernel_count_undrained(s->k, -1);
        if (s->write_shut)
            shutdown(s->fd, SHUT_WR);
    }
    return 0;
}

int dk_sock_cancel(struct dk_queue *q, struct dk_op *op, demi_qtoken_t token)
{
    struct dk_sock *s = q->impl;
    (void)token; /* under the lead it is still the operation that the caller looked up */
    if (s->closing)
        return -EBUSY; /* a push of a closed queue is being carried out */
    switch (op->qr.qr_opcode) {
    case DEMI_OPC_POP:
        dk_sock_remove_pop(s, op);
        return 0;
    case DEMI_OPC_PUSH:
        return cancel_push(s, op);
    case DEMI_OPC_ACCEPT:
        dk_list_del(&op->link);
        return 0;
    default:
        dissolve(s);
        return 0;
    }
}
