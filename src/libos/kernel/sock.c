/* SPDX-License-Identifier: MIT */
/*
 * Life of a socket: creation, watching, events, close (sock.h).
 */
#include "libos/kernel/sock.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

int dk_sock_create(struct dk_sock **s_out, struct dk_kernel *k, int domain, bool stream)
{
    struct dk_sock *s = calloc(1, sizeof(*s)); /* owned by its queue */
    if (!s)
        return -ENOMEM;
    int r = dk_queue_create(&s->q, k->inst, &dk_sock_ops, s, false);
    if (r < 0) {
        free(s);
        return r;
    }
    s->k = k;
    s->fd = -1;
    s->domain = (uint8_t)domain;
    s->stream = stream;
    s->writable = true;
    s->readable = !stream; /* nothing told yet of datagrams that came before it is watched */
    s->rx_bytes = k->options.rx_buffer_bytes;
    s->max_segs = 1;
    dk_list_init(&s->popping);
    dk_list_init(&s->pops);
    dk_list_init(&s->pushes);
    dk_list_init(&s->accepts);
    dk_list_add_tail(&k->sockets, &s->all);
    dk_poller_add_queues(&k->poller, 1);
    dk_count(&k->stats->sockets, 1);
    *s_out = s;
    return 0;
}

/* Makes room for fd in the table of watched sockets. */
static int grow_by_fd(struct dk_kernel *k, uint32_t fd)
{
    uint32_t size = k->fds_size ? k->fds_size : 64;
    while (size <= fd)
        size *= 2;
    struct dk_sock **by_fd = realloc(k->by_fd, size * sizeof(struct dk_sock *));
    if (!by_fd)
        return -ENOMEM;
    memset(by_fd + k->fds_size, 0, (size - k->fds_size) * sizeof(struct dk_sock *));
    k->by_fd = by_fd;
    k->fds_size = size;
    return 0;
}

int dk_sock_watch(struct dk_sock *s)
{
    struct dk_kernel *k = s->k;
    if (s->watched)
        return 0;
    if ((uint32_t)s->fd >= k->fds_size && grow_by_fd(k, (uint32_t)s->fd) < 0)
        return -ENOMEM;
    k->generation = (k->generation & 0x3fffffff) + 1;
    s->key = (uint64_t)k->generation << 32 | (uint32_t)s->fd;
    struct dk_engine *e = dk_kernel_engine(k);
    int r = e->ops->add(e, s->fd, s->key);
    s->watched = r == 0;
    k->by_fd[s->fd] = r == 0 ? s : NULL;
    return r;
}

void dk_sock_destroy(struct dk_sock *s)
{
    struct dk_queue *q = s->q;
    if (s->watched) {
        struct dk_engine *e = dk_kernel_engine(s->k);
        e->ops->del(e, s->fd, s->key);
        s->k->by_fd[s->fd] = NULL;
    }
    if (s->fd >= 0)
        close(s->fd);
    dk_list_del(&s->all);
    dk_poller_add_queues(&s->k->poller, -1);
    dk_count(&s->k->stats->sockets, (uint64_t)-1);
    free(s);
    q->impl = NULL;
    dk_queue_gone(q);
}

void dk_sock_event(struct dk_sock *s, uint32_t events, uint64_t serial)
{
    if (events & EPOLLONESHOT) {
        s->watched = false;
        if (dk_sock_watch(s) < 0)
            s->alarmed = true;
    }
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI))
        s->alarmed = true;
    if (s->alarmed || (events & EPOLLIN && serial > s->emptied))
        s->readable = true;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        s->writable = true;
    if (s->state == DK_SOCK_CONNECTING && s->writable)
        dk_sock_connected(s);
    if (events & EPOLLERR && s->stream && s->state == DK_SOCK_CONNECTED)
        s->failed = true; /* which error stays in the socket, for the operation that meets it */
    if (s->readable && !dk_list_empty(&s->accepts))
        dk_sock_do_accepts(s);
    if (s->readable && (s->hungry || !dk_list_empty(&s->pops)))
        dk_sock_receive(s);
    if (s->writable && !dk_list_empty(&s->pushes))
        dk_sock_flush(s);
}

static void cancel_accepts(struct dk_sock *s)
{
    while (!dk_list_empty(&s->accepts)) {
        struct dk_op *op = dk_container_of(s->accepts.next, struct dk_op, link);
        dk_list_del(&op->link);
        dk_op_complete(op, -ECANCELED);
    }
}

/* As close(2): what was accepted for sending is still sent; the object stays until then. */
static void sock_close(struct dk_queue *q)
{
    struct dk_sock *s = q->impl;
    s->closing = true;
    dk_sock_rest(q); /* the taker learns of it when it takes next */
    dk_sock_end_pops(s, -ECANCELED);
    cancel_accepts(s);
    if (s->connecting) {
        dk_op_complete(s->connecting, -ECANCELED);
        s->connecting = NULL;
    }
    if (s->linger_reset)
        dk_sock_fail_pushes(s, -ECANCELED);
    if (dk_list_empty(&s->pushes))
        dk_sock_destroy(s);
}

const struct dk_queue_ops dk_sock_ops = {
    .push = dk_sock_push,
    .pop = dk_sock_pop,
    .accept = dk_sock_accept,
    .connect = dk_sock_connect,
    .claim = dk_sock_claim,
    .take = dk_sock_take,
    .rest = dk_sock_rest,
    .cancel = dk_sock_cancel,
    .shutdown = dk_sock_shutdown,
    .close = sock_close,
    .bind = dk_sock_bind,
    .listen = dk_sock_listen,
    .setsockopt = dk_sock_setsockopt,
    .getsockopt = dk_sock_getsockopt,
    .name = dk_sock_name,
};

/* The defaults of the reference implementation: address reuse, and no Nagle on streams. */
static int set_defaults(struct dk_sock *s)
{
    int on = 1;
    if (setsockopt(s->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
        return -errno;
    if (s->stream && setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0)
        return -errno;
    if (s->k->options.reuseport && setsockopt(s->fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0)
        return -errno;
    return 0;
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

int dk_kernel_socket(struct dk_instance *inst, int domain, int type, int protocol, int *qd_out)
{
    struct dk_kernel *k = (struct dk_kernel *)inst->sockets;
    struct dk_sock *s;
    int r = check_kind(domain, type, protocol);
    if (r == 0)
        r = dk_sock_create(&s, k, domain, type == SOCK_STREAM);
    if (r < 0)
        return r;
    s->fd = socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
    r = s->fd < 0 ? -errno : set_defaults(s);
    if (r < 0) {
        dk_queue_set_closed(s->q);
        dk_sock_destroy(s);
        return r;
    }
    *qd_out = s->q->qd;
    return 0;
}
