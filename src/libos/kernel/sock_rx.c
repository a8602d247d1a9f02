/* SPDX-License-Identifier: MIT */
/*
 * Receiving: outstanding pops are served in order, in the poll or in the pop's own call.
 *
 * Data is read only for a pop that gets it, so a pop that is cancelled has taken nothing. It is
 * received into a slab that the sockets of an instance share, one piece behind the other, and
 * popped as a view of that (mem/rxpool.h). A stream that fills what it was offered is offered more
 * next time.
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

/* Completes the first pop with the first len bytes of a slab's room; peer is a datagram's sender or
 * NULL. */
static void deliver(struct dk_sock *s, struct dk_rxslab *slab, size_t len,
                    const struct sockaddr_storage *peer, socklen_t peer_len)
{
    struct dk_op *op = first_pop(s);
    demi_sgarray_t *sga = dk_op_sga(op);
    struct dk_buf *buf = dk_rxslab_take(slab, (uint32_t)len);
    dk_sock_remove_pop(s, op);
    dk_sga_from_buf(sga, buf, (uint32_t)len);
    if (peer) {
        dk_buf_set_peer(buf, (const struct sockaddr *)peer, peer_len);
        if (peer->ss_family == AF_INET)
            memcpy(&sga->sga_addr, peer, sizeof(sga->sga_addr));
    }
    dk_sga_lend(sga, buf);
    dk_count(&s->k->stats->receives, 1);
    dk_count(&s->k->stats->popped_bytes, len);
    dk_op_complete(op, 0);
}

/*
 * How many fills there were: read before a receive that may empty the socket. Another thread may
 * fetch the event of what arrives right after the receive.
 */
static uint64_t fills_now(const struct dk_sock *s)
{
    return __atomic_load_n(&s->k->fills, __ATOMIC_ACQUIRE);
}

/* What the events of those fills report has been read. */
static void set_empty(struct dk_sock *s, uint64_t fills)
{
    s->readable = false;
    s->emptied = fills;
}

/* A receive, begun after so many fills, that yielded nothing. Returns true when another try is
 * worth it. */
static bool receive_failed(struct dk_sock *s, int error, uint64_t fills)
{
    if (error == EINTR)
        return true;
    set_empty(s, fills);
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

static void adapt_rx_bytes(struct dk_sock *s, size_t got, uint32_t room)
{
    if (got == room && s->rx_bytes < MAX_RX_BYTES)
        s->rx_bytes *= 2;
    else if (got < room / 4 && s->rx_bytes > s->k->options.rx_buffer_bytes)
        s->rx_bytes /= 2;
}

/* Serves the first pop of a stream. Returns false when nothing is left to read. */
static bool receive_stream(struct dk_sock *s)
{
    struct dk_rxslab *slab = &s->k->stream_slab;
    uint32_t room;
    uint8_t *to = dk_rxslab_room(slab, s->rx_bytes, &room);
    if (!to) {
        complete_pop(s, -ENOMEM); /* the data stays in the socket */
        return true;
    }
    uint64_t fills = fills_now(s);
    ssize_t n = recv(s->fd, to, room, MSG_DONTWAIT);
    if (n < 0)
        return receive_failed(s, errno, fills);
    if (n == 0) {
        s->eof = true;
        dk_sock_end_pops(s, 0);
        return false;
    }
    adapt_rx_bytes(s, (size_t)n, room);
    deliver(s, slab, (size_t)n, NULL, 0);
    /* A short read emptied the socket: what comes later is a new event. */
    if ((uint32_t)n < room && !s->alarmed)
        set_empty(s, fills);
    return s->readable;
}

static bool receive_datagram(struct dk_sock *s)
{
    struct dk_rxslab *slab = &s->k->datagram_slab;
    struct sockaddr_storage peer;
    socklen_t peer_len = sizeof(peer);
    uint32_t room;
    uint8_t *to = dk_rxslab_room(slab, DATAGRAM_BYTES, &room);
    if (!to) {
        complete_pop(s, -ENOMEM);
        return true;
    }
    uint64_t fills = fills_now(s);
    ssize_t n = recvfrom(s->fd, to, room, MSG_DONTWAIT, (struct sockaddr *)&peer, &peer_len);
    if (n < 0)
        return receive_failed(s, errno, fills);
    deliver(s, slab, (size_t)n, &peer, peer_len);
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
