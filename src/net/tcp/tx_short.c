/* SPDX-License-Identifier: MIT */
/*
 * The short way out: what was pushed leaves as one segment at once, and nothing else is to be sent;
 * or nothing is, and an acknowledgement is owed.
 *
 * A connection on which nothing unusual is going on sends its answer so. The conditions are those
 * of tx.c, where they come down to comparisons; what fits leaves with the same effect as there, and
 * what does not goes there, untouched.
 */
#include "base/bytes.h"
#include "base/checksum_here.h"
#include "net/ip_out.h"
#include "net/route.h"
#include "net/tcp/header.h"
#include "net/tcp/rcvq.h"
#include "net/tcp/rto.h"
#include "net/tcp/sendq.h"
#include "net/tcp/tx.h"

/* The windows of the peer and of congestion, where no idle time has closed it (tx.c). */
static inline bool is_let(const struct dk_tcp_conn *c, uint32_t len, int64_t now)
{
    return c->snd_nxt + len <= c->snd_right && (uint64_t)c->flight_bytes + len <= c->cc.cwnd &&
           (c->board || now - c->last_tx_data <= c->rto_ns);
}

/* Nagle's rule. */
static inline bool may_be_small(const struct dk_tcp_conn *c, uint32_t len)
{
    return c->option[DK_TCP_NODELAY] || c->snd_small <= c->snd_una || len == c->snd_mss;
}

/* Whether a segment says nothing but what each of them says, and there is no other to be sent. */
static inline bool is_plain(const struct dk_tcp_conn *c)
{
    return dk_tcp_is_quiet(c) && dk_tcp_is_calm(c);
}

static inline bool may_leave(struct dk_tcp *tcp, struct dk_tcp_conn *c, uint32_t len, int64_t now)
{
    return is_plain(c) && len <= c->snd_mss && is_let(c, len, now) && may_be_small(c, len) &&
           dk_tcp_board_reserve(tcp);
}

/* The way to the peer; the connection remembers where it was found. */
static inline struct dk_way *way_of(struct dk_tcp *tcp, struct dk_tcp_conn *c)
{
    if (dk_unlikely(!c->way || !dk_ip_equal(&c->way->dst, &c->remote_ip)))
        c->way = dk_route_way(tcp->net, &c->remote_ip);
    return c->way;
}

/* What is sent: a piece that begins at snd_nxt, or (NULL) an acknowledgement alone. */
struct leaving {
    const struct dk_tx_piece *piece;
    uint32_t len;
    uint32_t window;
    int64_t now;
};

static inline uint64_t put_header(const struct dk_tcp_conn *c, const struct leaving *l,
                                  uint8_t *header)
{
    const uint32_t pseudo = c->pseudo_sum + DK_TCP_USUAL_LEN + l->len;
    return dk_tcp_put_usual(c, c->snd_nxt, l->piece ? DK_TCP_ACK | DK_TCP_PSH : DK_TCP_ACK,
                            l->window, header, l->now, htobe32(pseudo));
}

/* Writes the packet to the memory of the device. False: there is none. */
__attribute__((always_inline)) static inline bool write_room(struct dk_tcp *tcp,
                                                             const struct dk_tcp_conn *c,
                                                             struct dk_way *way,
                                                             const struct leaving *l)
{
    if (!tcp->net->config.rooms)
        return false;
    uint8_t *header = dk_ip_room(tcp->net, way, &tcp->tx, DK_TCP_USUAL_LEN + l->len, l->now);
    if (dk_unlikely(!header))
        return false;
    uint64_t words = put_header(c, l, header);
    if (l->piece) {
        words = dk_tcp_add_text(words, l->piece->data, l->len);
        dk_frame_copy(header + DK_TCP_USUAL_LEN, l->piece->data, l->len);
    }
    dk_checksum_put(header + DK_TCP_CHECKSUM_OFFSET, words);
    dk_ip_room_sent(tcp->net);
    return true;
}

/* Makes the packet, and sends it. */
__attribute__((always_inline)) static inline bool make_and_send(struct dk_tcp *tcp,
                                                                const struct dk_tcp_conn *c,
                                                                struct dk_way *way,
                                                                const struct leaving *l)
{
    struct dk_ip_tx *tx = &tcp->tx;
    tx->header_len = DK_TCP_USUAL_LEN;
    tx->frame.num_pieces = l->piece ? 1 : 0;
    if (l->piece)
        tx->frame.pieces[0] = *l->piece;
    uint64_t words = put_header(c, l, tx->header);
    if (dk_unlikely(tx->partial_checksum)) {
        const uint32_t pseudo = c->pseudo_sum + DK_TCP_USUAL_LEN + l->len;
        dk_put_be16(tx->header + DK_TCP_CHECKSUM_OFFSET, dk_checksum_fold(pseudo));
    } else {
        if (l->piece)
            words = dk_tcp_add_text(words, l->piece->data, l->len);
        dk_checksum_put(tx->header + DK_TCP_CHECKSUM_OFFSET, words);
    }
    return dk_likely(dk_ip_send_way(tcp->net, way, tx, DK_TCP_USUAL_LEN + l->len, l->now) == 0);
}

/* Sends a piece, which begins at snd_nxt and ends what was pushed, or an acknowledgement. False:
 * nothing happened. */
__attribute__((always_inline)) static inline bool
leave(struct dk_tcp *tcp, struct dk_tcp_conn *c, const struct dk_tx_piece *piece, int64_t now)
{
    struct dk_way *way = way_of(tcp, c);
    if (dk_unlikely(!way))
        return false;
    const struct dk_tcp_window window = dk_tcp_window_tell(c, now);
    const struct leaving l = {
        .piece = piece, .len = piece ? piece->len : 0, .window = window.field, .now = now};
    dk_tcp_address(tcp, c);
    if (!write_room(tcp, c, way, &l) && dk_unlikely(!make_and_send(tcp, c, way, &l)))
        return false;
    DK_TCP_COUNT(tcp, tx_segments);
    dk_tcp_ack_sent(c, window.edge);
    return true;
}

bool dk_tcp_ack_short(struct dk_tcp_conn *c, int64_t now)
{
    if (c->snd_nxt != c->snd_end || !is_plain(c) || !leave(c->tcp, c, NULL, now))
        return false;
    dk_tcp_timer_clear(c, DK_TCP_TIMER_PERSIST);
    return true;
}

/* What is left to note of a segment that left, and is on the scoreboard. */
static inline void left(struct dk_tcp *tcp, struct dk_tcp_conn *c, uint32_t len, int64_t now)
{
    c->last_tx_data = now;
    dk_count(&tcp->stats.tx_bytes, len);
    if (len < c->snd_mss)
        c->snd_small = c->snd_nxt;
    dk_tcp_sent_something(c, now);
}

bool dk_tcp_output_short(struct dk_tcp_conn *c, int64_t now)
{
    struct dk_tcp_piece *p = c->send_piece;
    const uint64_t unsent = c->snd_end - c->snd_nxt;
    if (!p || p->next || unsent > UINT32_MAX || !may_leave(c->tcp, c, (uint32_t)unsent, now))
        return false;
    const struct dk_tx_piece piece = {
        .data = p->data + (c->snd_nxt - p->seq), .len = (uint32_t)unsent, .buf = p->buf};
    if (!leave(c->tcp, c, &piece, now))
        return false;
    dk_tcp_board_append(c->tcp, c, p, c->snd_end, now);
    c->send_piece = NULL;
    left(c->tcp, c, piece.len, now);
    return true;
}

/* Whether one piece may leave before it is queued. */
static inline bool may_send(struct dk_tcp *tcp, struct dk_tcp_conn *c, uint32_t len, int64_t now)
{
    return c->snd_nxt == c->snd_end && may_leave(tcp, c, len, now) && tcp->pieces.unused;
}

/* Puts what left as one segment into the queue, and on the scoreboard. There was nothing unsent, so
 * both are empty or neither is. */
__attribute__((always_inline)) static inline void
queue_sent(struct dk_tcp *tcp, struct dk_tcp_conn *c, const struct dk_tx_piece *from, int64_t now)
{
    struct dk_tcp_piece *p = dk_tcp_pool_take(&tcp->pieces);
    const uint64_t seq = c->snd_end, end = seq + from->len;
    struct dk_tcp_segment *s = dk_tcp_board_make(tcp, p, seq, end, now);
    *p = (struct dk_tcp_piece){
        .seq = seq, .data = from->data, .len = from->len, .own = true, .buf = from->buf};
    if (c->board) {
        c->board_tail->next = s;
        c->pieces_tail->next = p;
    } else {
        c->board = s;
        c->pieces = p;
    }
    c->board_tail = s;
    c->pieces_tail = p;
    c->flight_bytes += from->len;
    c->snd_nxt = c->snd_end = end;
}

/* Sends a piece that nobody else has. The queue gets it afterwards, with a hold. */
__attribute__((always_inline)) static inline bool
send_own(struct dk_tcp *tcp, struct dk_tcp_conn *c, const struct dk_tx_piece *from, int64_t now)
{
    if (!leave(tcp, c, from, now))
        return false;
    const struct dk_tx_piece piece = *from;
    queue_sent(tcp, c, &piece, now);
    left(tcp, c, piece.len, now);
    return true;
}

static inline int send_given(struct dk_tcp_conn *c, const struct dk_tx_piece *from, int64_t now)
{
    struct dk_tcp *tcp = c->tcp;
    if (dk_likely(may_send(tcp, c, from->len, now))) {
        dk_buf_get(from->buf);
        if (dk_likely(send_own(tcp, c, from, now)))
            return 1;
        dk_buf_put(from->buf);
    }
    return dk_tcp_send_any(c, from, 1, DK_TCP_SEND_UNREFERENCED, NULL, now);
}

/* It is copied, and sent. The copy is given back where it did not leave. */
static inline __attribute__((always_inline)) int
send_copy(struct dk_tcp *tcp, struct dk_tcp_conn *c, const struct dk_tx_piece *copy, int64_t now)
{
    if (dk_likely(send_own(tcp, c, copy, now)))
        return 1;
    int done = dk_tcp_send_any(c, copy, 1, DK_TCP_SEND_UNREFERENCED, NULL, now);
    dk_buf_put(copy->buf);
    return done;
}

/* The same of a piece of any length, or when it cannot leave. */
__attribute__((noinline)) static int send_copied_other(struct dk_tcp_conn *c, const uint8_t *data,
                                                       uint32_t len, int64_t now)
{
    struct dk_tcp *tcp = c->tcp;
    struct dk_tx_piece piece = {.data = data, .len = len};
    if (!may_send(tcp, c, len, now) || !dk_tcp_sendq_copy(tcp, &piece))
        return dk_tcp_send_any(c, &piece, 1, DK_TCP_SEND_COPY, NULL, now);
    return send_copy(tcp, c, &piece, now);
}

/* The piece is copied first: from then on nobody else has it. */
int dk_tcp_send_copied(struct dk_tcp_conn *c, const uint8_t *data, uint32_t len, uint64_t most,
                       int64_t now)
{
    struct dk_tcp *tcp = c->tcp;
    if (dk_unlikely(dk_tcp_sendq_bytes(c) + len > most))
        return -EAGAIN;
    if (dk_unlikely(!may_send(tcp, c, len, now) || !dk_tcp_sendq_copies_short(tcp, len)))
        return send_copied_other(c, data, len, now);
    const struct dk_tx_piece copy = {
        .data = dk_tcp_sendq_copy_short(tcp, data, len), .len = len, .buf = tcp->slab};
    return send_copy(tcp, c, &copy, now);
}

int dk_tcp_send(struct dk_tcp_conn *c, const struct dk_tx_piece pieces[], uint32_t n,
                uint32_t flags, void *cookie, int64_t now)
{
    if (n == 1 && pieces->len != 0) {
        if (flags == DK_TCP_SEND_UNREFERENCED && pieces->buf)
            return send_given(c, pieces, now);
        if (flags == DK_TCP_SEND_COPY)
            return dk_tcp_send_copied(c, pieces->data, pieces->len, UINT64_MAX, now);
    }
    return dk_tcp_send_any(c, pieces, n, flags, cookie, now);
}
