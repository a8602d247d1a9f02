/* SPDX-License-Identifier: MIT */
/*
 * Receiving: outstanding pops are served in order, in the poll or in the pop's own call.
 *
 * Data is read only into a buffer that a pop gets, so a pop that is cancelled has taken nothing. A
 * stream is read into a spare buffer that is handed over when the data fills at least a quarter of
 * it, and copied to a smaller one else: so an application that keeps small elements does not keep
 * large buffers. A stream that fills its buffer gets a larger one next time.
 */
#include "libos/kernel/sock.h"

#include <errno.h>

#define MAX_RX_BYTES   (256u << 10)
#define DATAGRAM_BYTES (64u << 10)

static struct dk_op *first_pop(struct dk_sock *s)
{
    return dk_container_of(s->pops.next, struct dk_op, link);
}

void dk_sock_remove_pop(struct dk_sock *s, struct dk_op *op)
{
    dk_list_del(&op->link);
    if (dk_list_empty(&s->pops)) {
        dk_list_del_init(&s->popping);
        s->k->num_popping--;
    }
}

static void add_pop(struct dk_sock *s, struct dk_op *op)
{
    if (dk_list_empty(&s->pops)) {
        dk_list_add_tail(&s->k->popping, &s->popping);
        s->k->num_popping++;
    }
    dk_list_add_tail(&s->pops, &op->link);
}

static void complete_pop(struct dk_sock *s, int error)
{
    struct dk_op *op = first_pop(s);
    dk_sock_remove_pop(s, op);
    if (error == 0)
        dk_sga_end(dk_op_sga(op));
    dk_op_complete(op, error);
}

void dk_sock_end_pops(struct dk_sock *s, int error)
{
    while (!dk_list_empty(&s->pops))
        complete_pop(s, error);
}

/* Takes the buffer to receive into out of *spare, or makes one. */
static struct dk_buf *take_spare(struct dk_buf **spare, uint32_t bytes)
{
    struct dk_buf *buf = *spare;
    if (buf && buf->cap >= bytes) {
        *spare = NULL;
        return buf;
    }
    return dk_buf_alloc(bytes);
}

static void give_spare(struct dk_buf **spare, struct dk_buf *buf)
{
    if (*spare)
        dk_buf_put(buf);
    else
        *spare = buf;
}

/* Chooses what the application gets: buf itself, or a copy that fits, and buf is spare again. */
static struct dk_buf *fit(struct dk_sock *s, struct dk_buf *buf, size_t len, struct dk_buf **spare)
{
    struct dk_buf *small = NULL;
    if (len < buf->cap / 4)
        small = dk_buf_alloc(len ? len : 1);
    if (!small)
        return buf;
    memcpy(small->data, buf->data, len);
    dk_count(&s->k->stats.copied_small, 1);
    give_spare(spare, buf);
    return small;
}

/* Completes the first pop with len bytes that were received into buf; peer is a datagram's sender
 * or NULL. */
static void deliver(struct dk_sock *s, struct dk_buf *buf, size_t len, struct dk_buf **spare,
                    const struct sockaddr_storage *peer, socklen_t peer_len)
{
    struct dk_op *op = first_pop(s);
    buf = fit(s, buf, len, spare);
    dk_sock_remove_pop(s, op);
    demi_sgarray_t *sga = dk_op_sga(op);
    dk_sga_from_buf(sga, buf, (uint32_t)len);
    if (peer) {
        dk_buf_set_peer(buf, (const struct sockaddr *)peer, peer_len);
        if (peer->ss_family == AF_INET)
            memcpy(&sga->sga_addr, peer, sizeof(sga->sga_addr));
    }
    dk_sga_lend(sga, buf);
    dk_count(&s->k->stats.receives, 1);
    dk_count(&s->k->stats.popped_bytes, len);
    dk_op_complete(op, 0);
}

/* What is reported by events that were fetched before now has been read. */
static void set_empty(struct dk_sock *s)
{
    s->readable = false;
    s->emptied = __atomic_load_n(&s->k->fills, __ATOMIC_RELAXED);
}

/* A receive that yielded nothing. Returns true when another try is worth it. */
static bool receive_failed(struct dk_sock *s, int error)
{
    if (error == EINTR)
        return true;
    set_empty(s);
    if (error == EAGAIN)
        return false;
    if (s->stream) {
        s->rx_error = -error;
        dk_sock_end_pops(s, -error);
        return false;
    }
    s->readable = true; /* a datagram socket reports an error once and goes on */
    complete_pop(s, -error);
    return true;
}

static void adapt_rx_bytes(struct dk_sock *s, size_t got, uint32_t cap)
{
    if (got == cap && s->rx_bytes < MAX_RX_BYTES)
        s->rx_bytes *= 2;
    else if (got < cap / 4 && s->rx_bytes > s->k->options.rx_buffer_bytes)
        s->rx_bytes /= 2;
}

/* Serves the first pop of a stream. Returns false when nothing is left to read. */
static bool receive_stream(struct dk_sock *s)
{
    struct dk_buf **spare = &s->k->rx_spare;
    struct dk_buf *buf = take_spare(spare, s->rx_bytes);
    if (!buf) {
        complete_pop(s, -ENOMEM); /* the data stays in the socket */
        return true;
    }
    uint32_t cap = buf->cap;
    ssize_t n = recv(s->fd, buf->data, cap, MSG_DONTWAIT);
    if (n > 0) {
        deliver(s, buf, (size_t)n, spare, NULL, 0);
        adapt_rx_bytes(s, (size_t)n, cap);
        /* A short read emptied the socket: what comes later is a new event. */
        if ((uint32_t)n < cap && !s->alarmed)
            set_empty(s);
        return s->readable;
    }
    int error = errno;
    give_spare(spare, buf);
    if (n < 0)
        return receive_failed(s, error);
    s->eof = true;
    dk_sock_end_pops(s, 0);
    return false;
}

static bool receive_datagram(struct dk_sock *s)
{
    struct dk_buf **spare = &s->k->datagram_spare;
    struct dk_buf *buf = take_spare(spare, DATAGRAM_BYTES);
    struct sockaddr_storage peer;
    socklen_t peer_len = sizeof(peer);
    if (!buf) {
        complete_pop(s, -ENOMEM);
        return true;
    }
    ssize_t n =
        recvfrom(s->fd, buf->data, buf->cap, MSG_DONTWAIT, (struct sockaddr *)&peer, &peer_len);
    if (n < 0) {
        int error = errno;
        give_spare(spare, buf);
        return receive_failed(s, error);
    }
    deliver(s, buf, (size_t)n, spare, &peer, peer_len);
    return true;
}

void dk_sock_receive(struct dk_sock *s)
{
    bool more = true;
    while (more && !dk_list_empty(&s->pops))
        more = s->stream ? receive_stream(s) : receive_datagram(s);
}

int dk_sock_pop(struct dk_queue *q, struct dk_op *op)
{
    struct dk_sock *s = q->impl;
    if (s->stream && s->state != DK_SOCK_CONNECTED)
        return s->state == DK_SOCK_LISTENING ? -EINVAL : -ENOTCONN;
    if (dk_unlikely(s->rx_error || s->eof)) {
        dk_sga_end(dk_op_sga(op));
        dk_op_complete(op, s->rx_error);
        return 0;
    }
    int r = dk_sock_watch(s);
    if (r < 0)
        return r;
    bool first = dk_list_empty(&s->pops);
    add_pop(s, op);
    if (first && s->readable)
        dk_sock_receive(s);
    return 0;
}
