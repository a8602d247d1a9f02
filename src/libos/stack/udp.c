/* SPDX-License-Identifier: MIT */
/*
 * Datagrams: sockets, and what they receive. Pushing is in udp_tx.c.
 */
#include "libos/stack/sock.h"

#include <errno.h>
#include <netinet/in.h>

static struct dk_stack_udp *udp_of(struct dk_stack_sock *s)
{
    return dk_container_of(s, struct dk_stack_udp, s);
}

static int check_pop(const struct dk_stack_sock *s)
{
    (void)s;
    return 0;
}

static bool is_empty(const struct dk_stack_sock *s)
{
    return dk_udp_is_empty(dk_container_of(s, struct dk_stack_udp, s)->udp);
}

static int udp_pop(struct dk_queue *q, struct dk_op *op)
{
    struct dk_stack_sock *s = q->impl;
    return dk_stack_pop_of(s, op, !s->eof && is_empty(s));
}

/* The error that an ICMP message caused, told once. */
static int take_error(struct dk_stack_udp *u)
{
    int error = dk_udp_take_error(u->udp);
    if (error < 0)
        dk_stack_set_failed(&u->s, error);
    return error;
}

/* Tells who sent an element, where it has no room for that: behind its bytes. */
__attribute__((noinline)) static void set_other_sender(const struct dk_stack_sock *s,
                                                       const struct dk_udp_datagram *d,
                                                       struct dk_buf *buf, demi_sgarray_t *sga)
{
    struct sockaddr_storage from;
    memset(&sga->sga_addr, 0, sizeof(sga->sga_addr));
    const socklen_t len = dk_stack_write_addr(s->domain, &d->from, &from);
    dk_buf_set_peer(buf, (struct sockaddr *)&from, len);
}

/* Tells who sent an element: in it, where there is room, and behind its bytes. */
static inline void set_sender(const struct dk_stack_sock *s, const struct dk_udp_datagram *d,
                              struct dk_buf *buf, demi_sgarray_t *sga)
{
    struct sockaddr_in in = {0};
    if (dk_unlikely(s->domain != AF_INET || d->from4 == DK_UDP_NO_WORD4)) {
        set_other_sender(s, d, buf, sga);
        return;
    }
    memcpy(&in, &d->from4, sizeof(d->from4));
    memcpy(&sga->sga_addr, &in, sizeof(in));
    dk_buf_set_peer(buf, (const struct sockaddr *)&in, sizeof(in));
}

static int receive(struct dk_stack_sock *s, demi_sgarray_t *sga)
{
    struct dk_stack_udp *u = udp_of(s);
    struct dk_udp_datagram d;
    int r = take_error(u);
    if (r < 0) {
        s->error = 0;
        return r;
    }
    if (dk_udp_recv(u->udp, &d) < 0)
        return DK_TAKE_NONE;
    dk_stack_make_one(s, d.buf, sga);
    set_sender(s, &d, d.buf, sga);
    return DK_TAKE_ELEMENT;
}

/* Gives a datagram to the pop that is an operation, or has it wait. One of our own (core/op.h) does
 * not have it now: its end may come back to the stack. */
__attribute__((noinline)) static void offer_op(struct dk_stack_udp *u,
                                               const struct dk_udp_datagram *d, struct dk_buf *buf)
{
    struct dk_op *op = dk_container_of(u->s.pops.next, struct dk_op, link);
    if (dk_unlikely(dk_list_empty(&u->s.pops) || op->internal)) {
        dk_udp_keep(u->udp, d, buf);
        return;
    }
    dk_stack_make_one(&u->s, buf, dk_op_sga(op));
    set_sender(&u->s, d, buf, dk_op_sga(op));
    dk_list_del(&op->link);
    dk_op_complete(op, 0);
}

/* A pop that waits has the datagram now. */
static void on_offer(void *arg, const struct dk_udp_datagram *d, struct dk_buf *buf)
{
    struct dk_stack_udp *u = arg;
    demi_sgarray_t *sga = dk_stack_place(&u->s);
    if (dk_unlikely(!sga)) {
        offer_op(u, d, buf);
        return;
    }
    dk_stack_make_one(&u->s, buf, sga);
    set_sender(&u->s, d, buf, sga);
}

/* Neither sends anything nor asks for the time. */
static int udp_pop_led(struct dk_queue *q, demi_sgarray_t *sga, bool polled)
{
    struct dk_stack_udp *u = udp_of(q->impl);
    (void)polled;
    return dk_stack_is_next(&u->s) && !dk_udp_is_empty(u->udp) ? receive(&u->s, sga) : DK_TAKE_NONE;
}

static int bind_to(struct dk_stack_udp *u, const struct dk_endpoint *local)
{
    const int *o = u->s.option;
    int reuse = o[DK_STACK_REUSEADDR] || o[DK_STACK_REUSEPORT];
    /* Who leaves the choice to us does not mean to share somebody else's port. */
    dk_udp_set(u->udp, DK_UDP_REUSEADDR, local->port != 0 && reuse);
    int r = dk_udp_bind(u->udp, local);
    dk_udp_set(u->udp, DK_UDP_REUSEADDR, reuse);
    return r;
}

/* Any address that the socket's family has, both versions where it has both. */
static struct dk_ip any_ip(const struct dk_stack_udp *u)
{
    bool both = u->s.domain == AF_INET6 && !u->s.option[DK_STACK_V6ONLY];
    return (struct dk_ip){.version = both ? 0 : u->s.domain == AF_INET ? 4 : 6};
}

int dk_stack_udp_bind_to_send(struct dk_stack_udp *u)
{
    const struct dk_endpoint any = {.ip = any_ip(u)};
    const int r = dk_udp_local(u->udp)->port != 0 ? 0 : bind_to(u, &any);
    u->is_bound = r == 0;
    return r;
}

void dk_stack_udp_finish(struct dk_stack_udp *u)
{
    bool waits = !dk_list_empty(&u->s.pushes) || u->num_lent > 0;
    dk_stack_set_drains(&u->s, waits);
    if (waits || !u->s.closing)
        return;
    dk_udp_close(u->udp);
    dk_stack_sock_let_go(&u->s);
    dk_stack_sock_free(&u->s);
}

static void on_event(void *arg, struct dk_udp_sock *sock, uint32_t events)
{
    struct dk_stack_udp *u = arg;
    (void)sock;
    if (events & DK_UDP_ERROR)
        u->s.failed = true;
    if (events & (DK_UDP_READABLE | DK_UDP_ERROR) && !u->s.closing)
        dk_stack_readable(&u->s);
    if (events & DK_UDP_WRITABLE)
        dk_stack_udp_flush(u);
}

static int udp_bind(struct dk_queue *q, const struct sockaddr *addr, socklen_t len)
{
    struct dk_stack_udp *u = udp_of(q->impl);
    struct dk_endpoint local;
    int r = dk_stack_read_addr(&u->s, addr, len, &local);
    if (r < 0)
        return r;
    if ((local.ip.words[0] | local.ip.words[1]) == 0)
        local.ip = any_ip(u);
    dk_stack_begin(u->s.st);
    return dk_stack_end_with(u->s.st, bind_to(u, &local));
}

static int udp_connect(struct dk_queue *q, struct dk_op *op)
{
    struct dk_stack_udp *u = udp_of(q->impl);
    struct dk_endpoint remote;
    int r = dk_stack_read_peer(&u->s, &op->addr.sa, op->addr_len, &remote);
    if (r < 0)
        return r;
    dk_stack_begin(u->s.st);
    r = dk_udp_connect(u->udp, &remote);
    if (r == 0)
        u->s.state = DK_STACK_CONNECTED;
    dk_op_complete(op, r);
    return dk_stack_end_with(u->s.st, 0);
}

static int udp_cancel(struct dk_queue *q, struct dk_op *op, demi_qtoken_t token)
{
    struct dk_stack_udp *u = udp_of(q->impl);
    (void)token; /* under the lead it is still the operation that the caller looked up */
    if (u->s.closing || dk_stack_udp_is_lent(op))
        return -EBUSY;
    dk_list_del(&op->link);
    dk_stack_udp_finish(u);
    return 0;
}

static int udp_shutdown(struct dk_queue *q, int how)
{
    struct dk_stack_udp *u = udp_of(q->impl);
    if (u->s.state != DK_STACK_CONNECTED)
        return -ENOTCONN;
    if (how != SHUT_WR) {
        u->s.eof = true;
        dk_stack_readable(&u->s);
    }
    if (how != SHUT_RD)
        u->s.write_shut = true;
    return 0;
}

static void udp_close(struct dk_queue *q)
{
    struct dk_stack_udp *u = udp_of(q->impl);
    u->s.closing = true;
    u->s.hungry = false;
    dk_stack_end_pops(&u->s, -ECANCELED);
    dk_stack_udp_finish(u);
}

static int udp_name(struct dk_queue *q, enum dk_queue_name which, struct sockaddr *addr,
                    socklen_t *len)
{
    struct dk_stack_udp *u = udp_of(q->impl);
    if (which == DK_QUEUE_PEER && u->s.state != DK_STACK_CONNECTED)
        return -ENOTCONN;
    dk_stack_give_addr(u->s.domain,
                       which == DK_QUEUE_LOCAL ? dk_udp_local(u->udp) : dk_udp_remote(u->udp), addr,
                       len);
    return 0;
}

static const struct dk_queue_ops udp_ops = {
    .push = dk_stack_udp_push,
    .push_led = dk_stack_udp_push_led,
    .pop = udp_pop,
    .pop_led = udp_pop_led,
    .connect = udp_connect,
    .claim = dk_stack_claim,
    .take = dk_stack_take,
    .rest = dk_stack_rest,
    .cancel = udp_cancel,
    .shutdown = udp_shutdown,
    .close = udp_close,
    .bind = udp_bind,
    .setsockopt = dk_stack_setsockopt,
    .getsockopt = dk_stack_getsockopt,
    .name = udp_name,
};

static int apply(struct dk_stack_sock *s, enum dk_stack_option option)
{
    struct dk_stack_udp *u = udp_of(s);
    switch (option) {
    case DK_STACK_BROADCAST:
        return dk_udp_set(u->udp, DK_UDP_BROADCAST, s->option[option]);
    case DK_STACK_RCVBUF:
        return dk_udp_set(u->udp, DK_UDP_RCVBUF, s->option[option]);
    default:
        return 0;
    }
}

const struct dk_stack_kind dk_stack_udp_kind = {
    .type = SOCK_DGRAM,
    .protocol = IPPROTO_UDP,
    .ops = &udp_ops,
    .receive = receive,
    .check_pop = check_pop,
    .is_empty = is_empty,
    .apply = apply,
};

int dk_stack_udp_create(struct dk_stack *st, int domain, struct dk_stack_sock **s_out)
{
    struct dk_stack_sock *s;
    int r = dk_stack_sock_create(&s, st, &dk_stack_udp_kind, domain, sizeof(struct dk_stack_udp));
    if (r < 0)
        return r;
    struct dk_stack_udp *u = udp_of(s);
    r = dk_udp_open(st->net, on_event, u, &u->udp);
    if (r < 0) {
        dk_queue_set_closed(s->q);
        dk_stack_sock_let_go(s);
        dk_stack_sock_free(s);
        return r;
    }
    dk_udp_set_offer(u->udp, on_offer);
    dk_queue_allow_deferral(s->q);
    *s_out = s;
    return 0;
}
