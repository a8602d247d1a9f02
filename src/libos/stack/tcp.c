/* SPDX-License-Identifier: MIT */
/*
 * Streams: how they begin and end.
 *
 *   NEW --connect--> CONNECTING --> CONNECTED          NEW --listen--> LISTENING
 *    ^-------- refused, cancelled ----'
 *
 * The stack tells the end of a connection last of all (`closed`), maybe long after the application
 * closed the socket: the object stays until then.
 */
#include "libos/stack/sock.h"

#include <errno.h>
#include <netinet/in.h>

static struct dk_stack_tcp *tcp_of(struct dk_stack_sock *s)
{
    return dk_container_of(s, struct dk_stack_tcp, s);
}

/* ---- what the stack tells -------------------------------------------------------------------- */

static void read_names(struct dk_stack_tcp *t)
{
    struct dk_tcp_info info;
    dk_tcp_get_info(t->conn, &info);
    t->local = info.local;
    t->remote = info.remote;
}

/* The attempt is over, and the socket may be used again. */
static void dissolve(struct dk_stack_tcp *t)
{
    dk_tcp_abort(t->conn, t->s.st->now);
    t->conn = NULL;
    t->connecting = NULL;
    t->s.state = DK_STACK_NEW;
}

static void on_connected(struct dk_tcp_conn *conn, void *owner, int err)
{
    struct dk_stack_tcp *t = owner;
    struct dk_op *op = t->connecting;
    if (conn != t->conn || !op)
        return;
    if (err < 0) {
        dissolve(t);
    } else {
        t->connecting = NULL;
        t->s.state = DK_STACK_CONNECTED;
        dk_queue_allow_deferral(t->s.q);
    }
    dk_op_complete(op, err);
}

/* Takes what nobody will read off the window. */
static void discard(struct dk_stack_tcp *t)
{
    struct dk_buf *buf;
    while (dk_tcp_recv(t->conn, &buf, 1, SIZE_MAX, t->s.st->now) == 1)
        dk_buf_put(buf);
}

/* Makes an element, which names no sender. */
static inline void make_one(struct dk_stack_sock *s, struct dk_buf *buf, demi_sgarray_t *sga)
{
    dk_stack_make_one(s, buf, sga);
    memset(&sga->sga_addr, 0, sizeof(sga->sga_addr));
}

/* Gives the pop that waits one buffer, where it wants no more. False: nothing happened. */
static inline bool serve_first(struct dk_stack_tcp *t)
{
    struct dk_stack_sock *s = &t->s;
    struct dk_buf *buf;
    if (dk_unlikely(dk_list_empty(&s->pops) || s->option[DK_STACK_MAXSEGS] != 1 ||
                    dk_tcp_recv(t->conn, &buf, 1, SIZE_MAX, s->st->now) != 1))
        return false;
    struct dk_op *op = dk_container_of(s->pops.next, struct dk_op, link);
    make_one(s, buf, dk_op_sga(op));
    dk_list_del(&op->link);
    dk_op_complete(op, 0);
    return true;
}

/* The same with a buffer that the stack has not queued up. */
__attribute__((noinline)) static bool offer_op(struct dk_stack_sock *s, struct dk_buf *buf)
{
    struct dk_op *op = dk_container_of(s->pops.next, struct dk_op, link);
    if (dk_list_empty(&s->pops) || s->eof || op->internal)
        return false;
    make_one(s, buf, dk_op_sga(op));
    dk_list_del(&op->link);
    dk_op_complete(op, 0);
    return true;
}

/* A pop that waits, and wants no more than one buffer, has it now; not one of our own (core/op.h).
 */
static bool on_offer(struct dk_tcp_conn *conn, void *owner, struct dk_buf *buf)
{
    struct dk_stack_tcp *t = owner;
    struct dk_stack_sock *s = &t->s;
    if (dk_unlikely(conn != t->conn || s->option[DK_STACK_MAXSEGS] != 1))
        return false;
    demi_sgarray_t *sga = dk_stack_place(s);
    if (dk_likely(sga != NULL)) {
        make_one(s, buf, sga);
        return true;
    }
    return offer_op(s, buf);
}

static void on_readable(struct dk_tcp_conn *conn, void *owner)
{
    struct dk_stack_tcp *t = owner;
    if (conn != t->conn || t->conn_closed)
        return;
    if (dk_unlikely(t->s.eof))
        discard(t);
    else if (!serve_first(t) || !dk_list_empty(&t->s.pops))
        dk_stack_readable(&t->s);
    else
        t->s.q->has_news = true; /* there may be more */
}

static void on_room(struct dk_tcp_conn *conn, void *owner)
{
    struct dk_stack_tcp *t = owner;
    if (conn == t->conn && !dk_list_empty(&t->s.pushes))
        dk_stack_tcp_resume(t);
}

static void on_failed(struct dk_tcp_conn *conn, void *owner, int err)
{
    struct dk_stack_tcp *t = owner;
    if (conn != t->conn || t->conn_closed)
        return;
    t->conn_error = err;
    dk_stack_set_failed(&t->s, err);
    dk_stack_tcp_fail_pushes(t, err);
    dk_stack_readable(&t->s);
}

static void on_closed(struct dk_tcp_conn *conn, void *owner)
{
    struct dk_stack_tcp *t = owner;
    t->connections--;
    if (conn == t->conn) {
        t->conn = NULL;
        dk_stack_tcp_give_back(t);
    }
    dk_stack_tcp_finish(t);
}

const struct dk_tcp_ops dk_stack_tcp_conn_ops = {
    .connected = on_connected,
    .offer = on_offer,
    .readable = on_readable,
    .sent = dk_stack_tcp_sent,
    .room = on_room,
    .peer_closed = on_readable,
    .failed = on_failed,
    .closed = on_closed,
};

/* ---- popping --------------------------------------------------------------------------------- */

static int check_pop(const struct dk_stack_sock *s)
{
    if (dk_likely(s->state == DK_STACK_CONNECTED))
        return 0;
    return s->state == DK_STACK_LISTENING ? -EINVAL : -ENOTCONN;
}

static bool is_empty(const struct dk_stack_sock *s)
{
    const struct dk_stack_tcp *t = dk_container_of(s, struct dk_stack_tcp, s);
    return t->conn && !t->conn_closed && dk_tcp_is_empty(t->conn);
}

static int tcp_pop(struct dk_queue *q, struct dk_op *op)
{
    struct dk_stack_sock *s = q->impl;
    const int r = check_pop(s);
    return dk_likely(r == 0) ? dk_stack_pop_of(s, op, !s->eof && is_empty(s)) : r;
}

static int receive(struct dk_stack_sock *s, demi_sgarray_t *sga)
{
    struct dk_stack_tcp *t = tcp_of(s);
    struct dk_buf *bufs[DEMI_SGARRAY_MAXSIZE];
    if (dk_unlikely(!t->conn || t->conn_closed))
        return t->conn_error ? t->conn_error : DK_TAKE_END;
    const uint32_t most = (uint32_t)s->option[DK_STACK_MAXSEGS];
    int n = dk_tcp_recv(t->conn, bufs, most, SIZE_MAX, s->st->now);
    if (dk_likely(n == 1)) {
        make_one(s, bufs[0], sga);
        return DK_TAKE_ELEMENT;
    }
    if (n > 0) {
        dk_stack_make_element(s, bufs, (uint32_t)n, sga);
        return DK_TAKE_ELEMENT;
    }
    if (n == -EAGAIN)
        return DK_TAKE_NONE;
    if (n < 0)
        s->failed = true;
    return n == 0 ? DK_TAKE_END : n;
}

static int tcp_pop_led(struct dk_queue *q, demi_sgarray_t *sga, bool polled)
{
    struct dk_stack_sock *s = q->impl;
    if (!dk_stack_is_next(s) || is_empty(s))
        return DK_TAKE_NONE;
    dk_stack_begin_polled(s->st, polled);
    return dk_stack_end_with(s->st, receive(s, sga));
}

/* ---- opening --------------------------------------------------------------------------------- */

static int tcp_bind(struct dk_queue *q, const struct sockaddr *addr, socklen_t len)
{
    struct dk_stack_tcp *t = tcp_of(q->impl);
    struct dk_endpoint local;
    int r = dk_stack_read_addr(&t->s, addr, len, &local);
    if (r == 0 && (t->port || t->s.state != DK_STACK_NEW))
        r = -EINVAL;
    if (r < 0)
        return r;
    dk_stack_begin(t->s.st);
    r = dk_stack_check_local(t->s.st, &local);
    if (r == 0)
        r = dk_stack_port_bind(t, &local);
    return dk_stack_end_with(t->s.st, r);
}

static int tcp_listen(struct dk_queue *q, int backlog)
{
    struct dk_stack_tcp *t = tcp_of(q->impl);
    if (t->s.state != DK_STACK_NEW && t->s.state != DK_STACK_LISTENING)
        return -EINVAL;
    dk_stack_begin(t->s.st);
    int r = dk_stack_port_listen(t, (uint32_t)backlog);
    if (r == 0)
        t->s.state = DK_STACK_LISTENING;
    return dk_stack_end_with(t->s.st, r);
}

/* Makes t the owner of a connection. */
static void own(struct dk_stack_tcp *t, struct dk_tcp_conn *conn)
{
    t->conn = conn;
    t->connections++;
    t->conn_closed = false;
    t->conn_error = 0;
    read_names(t);
}

static int start_connect(struct dk_stack_tcp *t, const struct dk_endpoint *remote)
{
    struct dk_endpoint local = {.port = 0};
    int64_t tcp_options[DK_TCP_OPTIONS];
    struct dk_tcp_conn *conn;
    if (t->port)
        local = t->port->local;
    if ((local.ip.words[0] | local.ip.words[1]) == 0)
        local.ip.version = 0;
    dk_stack_tcp_options(t, tcp_options);
    int r = dk_tcp_connect(t->s.st->tcp, &conn, &local, remote, tcp_options, &dk_stack_tcp_conn_ops,
                           t, t->s.st->now);
    if (r == 0)
        own(t, conn);
    return r;
}

static int tcp_connect(struct dk_queue *q, struct dk_op *op)
{
    struct dk_stack_tcp *t = tcp_of(q->impl);
    struct dk_endpoint remote;
    int r = dk_stack_read_peer(&t->s, &op->addr.sa, op->addr_len, &remote);
    if (r < 0)
        return r;
    if (t->s.state == DK_STACK_CONNECTING)
        return -EALREADY;
    if (t->s.state != DK_STACK_NEW)
        return t->s.state == DK_STACK_LISTENING ? -EINVAL : -EISCONN;
    dk_stack_begin(t->s.st);
    r = start_connect(t, &remote);
    if (r < 0) {
        dk_op_complete(op, r);
    } else {
        t->s.state = DK_STACK_CONNECTING;
        t->connecting = op;
    }
    return dk_stack_end_with(t->s.st, 0);
}

/* Accepts one connection into t, which is new. */
static int accept_into(struct dk_stack_tcp *listener, struct dk_stack_tcp *t, struct dk_op *op)
{
    struct sockaddr_storage peer;
    struct dk_tcp_conn *conn;
    int r = dk_tcp_accept(listener->port->listener, &conn, &dk_stack_tcp_conn_ops, t);
    if (r < 0)
        return r;
    memcpy(t->s.option, listener->s.option, sizeof(t->s.option));
    t->s.is_set = listener->s.is_set;
    t->s.linger = listener->s.linger;
    t->s.state = DK_STACK_CONNECTED;
    dk_queue_allow_deferral(t->s.q);
    own(t, conn);
    memset(&op->qr.qr_value, 0, sizeof(op->qr.qr_value));
    op->qr.qr_value.ares.qd = t->s.q->qd;
    if (dk_stack_write_addr(t->s.domain, &t->remote, &peer) == sizeof(struct sockaddr_in))
        memcpy(&op->qr.qr_value.ares.addr, &peer, sizeof(op->qr.qr_value.ares.addr));
    dk_count(&t->s.st->stats->accepts, 1);
    return 0;
}

/* Everything that may fail is there before the connection is taken, so that none is lost. */
static int accept_one(struct dk_stack_tcp *listener, struct dk_op *op)
{
    struct dk_stack_tcp *t;
    int r = dk_stack_tcp_create(listener->s.st, listener->s.domain, &t);
    if (r < 0)
        return r;
    r = accept_into(listener, t, op);
    if (r < 0) {
        dk_queue_set_closed(t->s.q);
        dk_stack_sock_let_go(&t->s);
        dk_stack_sock_free(&t->s);
    }
    return r;
}

bool dk_stack_tcp_accepts(struct dk_stack_tcp *t)
{
    if (dk_list_empty(&t->accepts))
        return false;
    struct dk_op *op = dk_container_of(t->accepts.next, struct dk_op, link);
    int r = accept_one(t, op);
    if (r == -EAGAIN)
        return false;
    dk_list_del(&op->link);
    dk_op_complete(op, r);
    return true;
}

static int tcp_accept(struct dk_queue *q, struct dk_op *op)
{
    struct dk_stack_tcp *t = tcp_of(q->impl);
    if (t->s.state != DK_STACK_LISTENING)
        return -EINVAL;
    dk_stack_begin(t->s.st);
    bool first = dk_list_empty(&t->accepts);
    dk_list_add_tail(&t->accepts, &op->link);
    if (first)
        dk_stack_tcp_accepts(t);
    return dk_stack_end_with(t->s.st, 0);
}

/* ---- ending ---------------------------------------------------------------------------------- */

static bool is_reset(const struct linger *l)
{
    return l->l_onoff && l->l_linger == 0;
}

static void close_conn(struct dk_stack_tcp *t)
{
    t->conn_closed = true;
    if (is_reset(&t->s.linger))
        dk_tcp_abort(t->conn, t->s.st->now);
    else
        dk_tcp_close(t->conn, t->s.st->now);
}

void dk_stack_tcp_finish(struct dk_stack_tcp *t)
{
    bool waits = !dk_list_empty(&t->s.pushes);
    if (!t->s.closing && !t->conn_closed) {
        dk_stack_set_drains(&t->s, waits);
        return;
    }
    if (!waits && t->conn && !t->conn_closed)
        close_conn(t);
    dk_stack_set_drains(&t->s, waits || t->conn);
    if (t->s.closing && t->s.q && !waits && dk_list_empty(&t->sent))
        dk_stack_sock_let_go(&t->s);
    if (!t->s.q && t->connections == 0)
        dk_stack_sock_free(&t->s);
}

/* Lets go of what is not a connection yet. */
static void close_attempts(struct dk_stack_tcp *t)
{
    struct dk_op *op = t->connecting;
    dk_stack_port_leave(t);
    dk_stack_fail_all(&t->accepts, -ECANCELED);
    if (op) {
        dissolve(t);
        dk_op_complete(op, -ECANCELED);
    }
}

/* As close(2): what was accepted for sending is still sent; the object stays until then. */
static void tcp_close(struct dk_queue *q)
{
    struct dk_stack_tcp *t = tcp_of(q->impl);
    struct dk_stack *st = t->s.st;
    dk_stack_begin(st);
    t->s.closing = true;
    t->s.hungry = false; /* the taker learns of it when it takes next */
    dk_stack_end_pops(&t->s, -ECANCELED);
    close_attempts(t);
    if (is_reset(&t->s.linger))
        dk_stack_tcp_fail_pushes(t, -ECANCELED);
    dk_stack_tcp_finish(t);
    dk_stack_end(st);
}

bool dk_stack_tcp_wind_up(struct dk_stack_tcp *t)
{
    if (t->s.state != DK_STACK_CONNECTED) {
        close_attempts(t);
        return true;
    }
    if (!t->conn || t->conn_closed)
        return true;
    if (!dk_list_empty(&t->s.pushes) || !dk_list_empty(&t->sent))
        return false;
    close_conn(t);
    dk_stack_tcp_finish(t);
    return true;
}

bool dk_stack_tcp_abort(struct dk_stack_tcp *t)
{
    if (!t->s.drains && dk_list_empty(&t->sent))
        return true;
    dk_stack_tcp_fail_pushes(t, -ECANCELED);
    if (t->conn) {
        t->conn_closed = true;
        dk_tcp_abort_unheard(t->conn, t->s.st->now);
    }
    return true;
}

static int tcp_cancel(struct dk_queue *q, struct dk_op *op, demi_qtoken_t token)
{
    struct dk_stack_tcp *t = tcp_of(q->impl);
    (void)token; /* under the lead it is still the operation that the caller looked up */
    if (t->s.closing)
        return -EBUSY; /* a push of a closed queue is being carried out */
    switch (op->qr.qr_opcode) {
    case DEMI_OPC_PUSH:
        return dk_stack_tcp_cancel_push(t, op);
    case DEMI_OPC_CONNECT:
        dk_stack_begin(t->s.st);
        dissolve(t);
        return dk_stack_end_with(t->s.st, 0);
    default:
        dk_list_del(&op->link);
        return 0;
    }
}

static int tcp_name(struct dk_queue *q, enum dk_queue_name which, struct sockaddr *addr,
                    socklen_t *len)
{
    static const struct dk_endpoint none;
    struct dk_stack_tcp *t = tcp_of(q->impl);
    bool connected = t->s.state == DK_STACK_CONNECTED;
    if (which == DK_QUEUE_PEER && !connected)
        return -ENOTCONN;
    const struct dk_endpoint *local = t->port ? &t->port->local : &none;
    if (connected || t->s.state == DK_STACK_CONNECTING)
        local = &t->local;
    dk_stack_give_addr(t->s.domain, which == DK_QUEUE_LOCAL ? local : &t->remote, addr, len);
    return 0;
}

static const struct dk_queue_ops tcp_ops = {
    .push = dk_stack_tcp_push,
    .push_led = dk_stack_tcp_push_led,
    .pop = tcp_pop,
    .pop_led = tcp_pop_led,
    .accept = tcp_accept,
    .connect = tcp_connect,
    .claim = dk_stack_claim,
    .take = dk_stack_take,
    .rest = dk_stack_rest,
    .cancel = tcp_cancel,
    .shutdown = dk_stack_tcp_shutdown,
    .close = tcp_close,
    .bind = tcp_bind,
    .listen = tcp_listen,
    .setsockopt = dk_stack_setsockopt,
    .getsockopt = dk_stack_getsockopt,
    .name = tcp_name,
};

const struct dk_stack_kind dk_stack_tcp_kind = {
    .type = SOCK_STREAM,
    .protocol = IPPROTO_TCP,
    .ops = &tcp_ops,
    .receive = receive,
    .check_pop = check_pop,
    .is_empty = is_empty,
    .apply = dk_stack_tcp_apply,
};

int dk_stack_tcp_create(struct dk_stack *st, int domain, struct dk_stack_tcp **t_out)
{
    struct dk_stack_sock *s;
    int r = dk_stack_sock_create(&s, st, &dk_stack_tcp_kind, domain, sizeof(struct dk_stack_tcp));
    if (r < 0)
        return r;
    struct dk_stack_tcp *t = tcp_of(s);
    dk_list_init(&t->sent);
    dk_list_init(&t->accepts);
    dk_list_init(&t->listening);
    dk_list_init(&t->starved);
    *t_out = t;
    return 0;
}
