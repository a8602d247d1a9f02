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

#include "core/taker.h"

#include <errno.h>

#define MAX_RX_BYTES   (256u << 10)
#define DATAGRAM_BYTES (64u << 10)

static struct dk_op *first_pop(struct dk_sock *s)
{
    return dk_container_of(s->pops.next, struct dk_op, link);
}

/* Somebody waits for data of s, from here on or no longer. */
static void set_popping(struct dk_sock *s, bool popping)
{
    if (popping) {
        dk_list_add_tail(&s->k->popping, &s->popping);
        s->k->num_popping++;
    } else {
        dk_list_del_init(&s->popping);
        s->k->num_popping--;
    }
}

void dk_sock_remove_pop(struct dk_sock *s, struct dk_op *op)
{
    dk_list_del(&op->link);
    if (dk_list_empty(&s->pops))
        set_popping(s, false);
}

static void add_pop(struct dk_sock *s, struct dk_op *op)
{
    if (dk_list_empty(&s->pops))
        set_popping(s, true);
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

/* Makes an element of the first len bytes of a slab's room; peer is a datagram's sender or NULL. */
static void make_element(struct dk_sock *s, struct dk_rxslab *slab, size_t len,
                         const struct sockaddr_storage *peer, socklen_t peer_len,
                         demi_sgarray_t *sga)
{
    struct dk_buf *buf = dk_rxslab_take(slab, (uint32_t)len);
    dk_sga_from_buf(sga, buf, (uint32_t)len);
    if (peer) {
        dk_buf_set_peer(buf, (const struct sockaddr *)peer, peer_len);
        if (peer->ss_family == AF_INET)
            memcpy(&sga->sga_addr, peer, sizeof(sga->sga_addr));
    }
    dk_sga_lend(sga, buf);
    dk_count(&s->k->stats->receives, 1);
    dk_count(&s->k->stats->popped_bytes, len);
    s->traffic.popped++;
    s->traffic.popped_bytes += len;
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

static void adapt_rx_bytes(struct dk_sock *s, size_t got, uint32_t room)
{
    if (got == room && s->rx_bytes < MAX_RX_BYTES)
        s->rx_bytes *= 2;
    else if (got < room / 4 && s->rx_bytes > s->k->options.rx_buffer_bytes)
        s->rx_bytes /= 2;
}

/* A receive, begun after so many fills, that yielded nothing: what a take comes to. */
static int receive_failed(struct dk_sock *s, int error, uint64_t fills)
{
    if (error == EAGAIN) {
        set_empty(s, fills);
        return DK_TAKE_NONE;
    }
    s->failed = true;
    if (s->stream) { /* a datagram socket reports an error once and goes on */
        set_empty(s, fills);
        s->rx_error = -error;
    }
    return -error;
}

/*
 * The kernel tells an error of the connection once, and reads like an end afterwards. What a push
 * was told is the end's error too: a transfer that was cut short must not pass for a whole one.
 * After a real end the push is told EPIPE.
 */
static int end_of_stream(struct dk_sock *s)
{
    switch (s->tx_error) {
    case -ECONNRESET:
    case -ETIMEDOUT:
    case -EHOSTUNREACH:
    case -ENETUNREACH:
        s->rx_error = s->tx_error;
        return s->rx_error;
    default:
        s->eof = true;
        return DK_TAKE_END;
    }
}

/* Reads what there is of a stream. */
static int receive_stream(struct dk_sock *s, demi_sgarray_t *sga)
{
    struct dk_rxslab *slab = &s->k->stream_slab;
    uint32_t room;
    ssize_t n;
    uint8_t *to = dk_rxslab_room(slab, s->rx_bytes, &room);
    if (!to)
        return -ENOMEM; /* the data stays in the socket */
    uint64_t fills = fills_now(s);
    do
        n = recv(s->fd, to, room, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return receive_failed(s, errno, fills);
    if (n == 0)
        return end_of_stream(s);
    adapt_rx_bytes(s, (size_t)n, room);
    make_element(s, slab, (size_t)n, NULL, 0, sga);
    /* A short read emptied the socket: what comes later is a new event. */
    if ((uint32_t)n < room && !s->alarmed)
        set_empty(s, fills);
    return DK_TAKE_ELEMENT;
}

static int receive_datagram(struct dk_sock *s, demi_sgarray_t *sga)
{
    struct dk_rxslab *slab = &s->k->datagram_slab;
    struct sockaddr_storage peer;
    socklen_t peer_len;
    uint32_t room;
    ssize_t n;
    uint8_t *to = dk_rxslab_room(slab, DATAGRAM_BYTES, &room);
    if (!to)
        return -ENOMEM;
    uint64_t fills = fills_now(s);
    do {
        peer_len = sizeof(peer);
        n = recvfrom(s->fd, to, room, MSG_DONTWAIT, (struct sockaddr *)&peer, &peer_len);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return receive_failed(s, errno, fills);
    make_element(s, slab, (size_t)n, &peer, peer_len, sga);
    return DK_TAKE_ELEMENT;
}

static int receive(struct dk_sock *s, demi_sgarray_t *sga)
{
    return s->stream ? receive_stream(s, sga) : receive_datagram(s, sga);
}

/* Gives the first pop its element. */
static void complete_with_element(struct dk_sock *s)
{
    struct dk_op *op = first_pop(s);
    dk_sock_remove_pop(s, op);
    dk_op_complete(op, 0);
}

/* Serves the first pop. Returns false when nothing is left to read. */
static bool serve_pop(struct dk_sock *s)
{
    int r = receive(s, dk_op_sga(first_pop(s)));
    if (dk_likely(r == DK_TAKE_ELEMENT)) {
        complete_with_element(s);
        return s->readable || !s->stream;
    }
    if (r == DK_TAKE_NONE)
        return false;
    if (r == DK_TAKE_END || s->rx_error) {
        dk_sock_end_pops(s, s->rx_error);
        return false;
    }
    complete_pop(s, r);
    return true;
}

void dk_sock_receive(struct dk_sock *s)
{
    if (s->hungry) {
        dk_sock_rest(s->q);
        s->readable = true; /* the take that comes tries */
        dk_taker_wake(s->taker);
        return;
    }
    bool more = true;
    while (more && !dk_list_empty(&s->pops))
        more = serve_pop(s);
}

/* Whether data can be asked for at all: 0 or a negative errno. */
static int check_pop(const struct dk_sock *s)
{
    if (s->stream && s->state != DK_SOCK_CONNECTED)
        return s->state == DK_SOCK_LISTENING ? -EINVAL : -ENOTCONN;
    return 0;
}

int dk_sock_pop(struct dk_queue *q, struct dk_op *op)
{
    struct dk_sock *s = q->impl;
    int r = check_pop(s);
    if (r < 0)
        return r;
    if (dk_unlikely(s->rx_error || s->eof)) {
        dk_sga_end(dk_op_sga(op));
        dk_op_complete(op, s->rx_error);
        return 0;
    }
    r = dk_sock_watch(s);
    if (r < 0)
        return r;
    bool first = dk_list_empty(&s->pops);
    add_pop(s, op);
    if (first && s->readable)
        dk_sock_receive(s);
    return 0;
}

int dk_sock_claim(struct dk_queue *q, struct dk_taker *t)
{
    struct dk_sock *s = q->impl;
    if (t && !dk_list_empty(&s->pops))
        return -EBUSY;
    dk_sock_rest(q);
    s->taker = t;
    return 0;
}

int dk_sock_take(struct dk_queue *q, demi_sgarray_t *sga_out)
{
    struct dk_sock *s = q->impl;
    int r = check_pop(s);
    if (r == 0 && (s->rx_error || s->eof))
        r = s->rx_error ? s->rx_error : DK_TAKE_END;
    else if (r == 0)
        r = dk_sock_watch(s);
    if (r == 0 && s->readable)
        r = receive(s, sga_out);
    if (r < 0 && r != -ENOMEM)
        return dk_take_broken(r);
    if (r != DK_TAKE_NONE || s->hungry)
        return r;
    s->hungry = true;
    set_popping(s, true);
    return DK_TAKE_NONE;
}

void dk_sock_rest(struct dk_queue *q)
{
    struct dk_sock *s = q->impl;
    if (s->hungry)
        set_popping(s, false);
    s->hungry = false;
}
