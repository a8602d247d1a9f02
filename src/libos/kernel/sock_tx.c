/* SPDX-License-Identifier: MIT */
/*
 * Sending: a push is tried in its own call; what the socket does not take waits on s->pushes, held
 * by reference.
 *
 * A push completes when the kernel has all of it: the kernel keeps its own copy, so nothing is read
 * from the application's memory afterwards.
 */
#include "libos/kernel/sock.h"

#include <errno.h>

/* Points iov at what is left of a push; returns the number of entries. */
static int fill_iov(const struct dk_op *op, const demi_sgarray_t *sga, struct iovec iov[])
{
    uint64_t skip = op->progress;
    int n = 0;
    for (uint32_t i = 0; i < sga->sga_numsegs; i++) {
        demi_sgaseg_t seg = sga->sga_segs[i];
        if (skip >= seg.sgaseg_len) {
            skip -= seg.sgaseg_len;
            continue;
        }
        iov[n].iov_base = (uint8_t *)seg.sgaseg_buf + skip;
        iov[n++].iov_len = seg.sgaseg_len - skip;
        skip = 0;
    }
    return n;
}

static ssize_t send_rest(struct dk_sock *s, struct dk_op *op, const demi_sgarray_t *sga)
{
    struct iovec iov[DEMI_SGARRAY_MAXSIZE];
    int n = fill_iov(op, sga, iov);
    if (n == 1 && op->addr_len == 0)
        return send(s->fd, iov[0].iov_base, iov[0].iov_len, MSG_DONTWAIT | MSG_NOSIGNAL);
    struct msghdr msg = {.msg_name = op->addr_len ? &op->addr : NULL,
                         .msg_namelen = op->addr_len,
                         .msg_iov = iov,
                         .msg_iovlen = (size_t)n};
    return sendmsg(s->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Sends as much as the socket takes: 0 all of it, -EAGAIN, or the errno that ends the push. */
static int try_send(struct dk_sock *s, struct dk_op *op, const demi_sgarray_t *sga)
{
    uint64_t total = dk_sga_bytes(sga);
    if (s->stream && total == 0)
        return 0;
    for (;;) {
        ssize_t n = send_rest(s, op, sga);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            if (errno != EAGAIN) {
                s->failed = true;
                return -errno;
            }
            s->writable = false;
            dk_count(&s->k->stats->blocked_sends, 1);
            return -EAGAIN;
        }
        dk_count(&s->k->stats->sends, 1);
        dk_count(&s->k->stats->pushed_bytes, (uint64_t)n);
        s->traffic.pushed_bytes += (uint64_t)n;
        op->progress += (uint64_t)n;
        if (!s->stream || op->progress == total) {
            s->traffic.pushed++;
            return 0;
        }
    }
}

/* The stream cannot go on: part of an element is lost. */
static void break_stream(struct dk_sock *s, int error)
{
    s->tx_error = error;
    shutdown(s->fd, SHUT_RDWR);
}

/* Puts a push that the socket did not take whole on the list. */
static int queue_push(struct dk_sock *s, struct dk_op *op, const demi_sgarray_t *sga)
{
    int r = dk_sock_watch(s);
    if (r == 0)
        r = dk_op_hold(op, sga);
    if (r < 0) {
        if (op->progress == 0)
            return r;
        break_stream(s, -EPIPE);
        dk_op_complete(op, r);
        return 0;
    }
    if (dk_list_empty(&s->pushes))
        dk_kernel_count_undrained(s->k, 1);
    dk_list_add_tail(&s->pushes, &op->link);
    return 0;
}

static int check_push(struct dk_sock *s, struct dk_op *op)
{
    if (s->stream) {
        op->addr_len = 0; /* as sendto(2) on a connected stream */
        if (s->write_shut)
            return -EPIPE;
        return s->state == DK_SOCK_CONNECTED ? 0 : -ENOTCONN;
    }
    if (s->write_shut)
        return -EPIPE;
    if (op->addr_len && op->addr.sa.sa_family != s->domain)
        return -EAFNOSUPPORT;
    if (!op->addr_len && s->state != DK_SOCK_CONNECTED)
        return -EDESTADDRREQ;
    return dk_likely(s->has_port) ? 0 : dk_sock_choose_port(s);
}

int dk_sock_push(struct dk_queue *q, struct dk_op *op, const demi_sgarray_t *sga)
{
    struct dk_sock *s = q->impl;
    int r = check_push(s, op);
    if (dk_unlikely(r < 0))
        return r;
    if (dk_unlikely(s->tx_error)) {
        dk_op_complete(op, s->tx_error);
        return 0;
    }
    op->progress = 0;
    if (!dk_list_empty(&s->pushes))
        return queue_push(s, op, sga);
    r = try_send(s, op, sga);
    if (r == -EAGAIN)
        return queue_push(s, op, sga);
    if (r < 0 && s->stream)
        s->tx_error = r;
    dk_op_complete(op, r);
    return 0;
}

static void pushes_drained(struct dk_sock *s)
{
    dk_kernel_count_undrained(s->k, -1);
    if (s->closing)
        dk_sock_destroy(s);
    else if (s->write_shut)
        shutdown(s->fd, SHUT_WR);
}

static struct dk_op *take_first(struct dk_sock *s)
{
    struct dk_op *op = dk_container_of(s->pushes.next, struct dk_op, link);
    dk_list_del(&op->link);
    return op;
}

void dk_sock_fail_pushes(struct dk_sock *s, int error)
{
    if (dk_list_empty(&s->pushes))
        return;
    while (!dk_list_empty(&s->pushes))
        dk_op_complete(take_first(s), error);
    dk_kernel_count_undrained(s->k, -1);
}

void dk_sock_flush(struct dk_sock *s)
{
    while (!dk_list_empty(&s->pushes)) {
        struct dk_op *op = dk_container_of(s->pushes.next, struct dk_op, link);
        int r = try_send(s, op, dk_op_sga(op));
        if (r == -EAGAIN)
            return;
        dk_list_del(&op->link);
        dk_op_complete(op, r);
        if (r < 0 && s->stream) {
            s->tx_error = r;
            while (!dk_list_empty(&s->pushes))
                dk_op_complete(take_first(s), r);
        }
    }
    pushes_drained(s);
}

int dk_sock_shutdown(struct dk_queue *q, int how)
{
    struct dk_sock *s = q->impl;
    if (s->state != DK_SOCK_CONNECTED)
        return -ENOTCONN;
    if (how != SHUT_WR) {
        s->eof = true;
        dk_sock_end_pops(s, 0);
        if (s->hungry)
            dk_sock_receive(s); /* its taker sees the end */
        if (shutdown(s->fd, SHUT_RD) < 0 && errno != ENOTCONN)
            return -errno;
    }
    if (how != SHUT_RD && !s->write_shut) {
        s->write_shut = true;
        if (dk_list_empty(&s->pushes) && shutdown(s->fd, SHUT_WR) < 0 && errno != ENOTCONN)
            return -errno;
    }
    return 0;
}
