/* SPDX-License-Identifier: MIT */
/*
 * Pushed memory: elements and their pieces. The scoreboard is in board.c.
 *
 * A push is all or nothing: its pieces are made aside, and joined when nothing can fail any more.
 */
#include "net/tcp/sendq.h"

#include "net/tcp/event.h"

/* Small pushes share buffers, one behind the other; larger ones have their own. */
#define SLAB_SHARE (DK_TCP_SLAB_BYTES / 4)

struct chain {
    struct dk_tcp_piece *head, *tail;
    uint64_t end; /* number behind its last byte */
    bool lent;    /* a piece is not our own */
};

void dk_tcp_sendq_let_go_slab(struct dk_tcp *tcp)
{
    struct dk_buf *slab = tcp->slab;
    tcp->slab = NULL;
    if (slab && dk_sub_u32(&slab->refs, tcp->slab_holds + 1) == 0)
        dk_buf_free(slab);
}

/* As many holds are taken at once as pieces can lie in it: each of them takes one of these, and
 * gives it back, without an atomic. */
__attribute__((noinline)) static bool renew_slab(struct dk_tcp *tcp)
{
    struct dk_buf *slab = dk_buf_alloc(DK_TCP_SLAB_BYTES, 0);
    if (!slab)
        return false;
    dk_tcp_sendq_let_go_slab(tcp);
    dk_add_u32(&slab->refs, DK_TCP_SLAB_BYTES);
    tcp->slab = slab;
    tcp->slab_holds = DK_TCP_SLAB_BYTES;
    tcp->slab_used = 0;
    return true;
}

__attribute__((noinline)) static struct dk_buf *own_buffer(uint32_t len, uint8_t **data_out)
{
    struct dk_buf *buf = dk_buf_alloc(len, 0);
    if (buf)
        *data_out = buf->data;
    return buf;
}

/* Returns a buffer with one hold, and room for len bytes in it. */
static inline struct dk_buf *own_room(struct dk_tcp *tcp, uint32_t len, uint8_t **data_out)
{
    if (dk_unlikely(len > SLAB_SHARE))
        return own_buffer(len, data_out);
    if (dk_unlikely(!tcp->slab || tcp->slab_used + len > DK_TCP_SLAB_BYTES) && !renew_slab(tcp))
        return NULL;
    *data_out = tcp->slab->data + tcp->slab_used;
    tcp->slab_used += len;
    tcp->slab_holds--;
    return tcp->slab;
}

bool dk_tcp_sendq_copy(struct dk_tcp *tcp, struct dk_tx_piece *piece)
{
    uint8_t *room;
    struct dk_buf *buf = own_room(tcp, piece->len, &room);
    if (dk_unlikely(!buf))
        return false;
    dk_frame_copy(room, piece->data, piece->len);
    piece->data = room;
    piece->buf = buf;
    dk_count(&tcp->stats.push_copied_bytes, piece->len);
    return true;
}

static void chain_free(struct dk_tcp *tcp, struct dk_tcp_piece *p)
{
    while (p) {
        struct dk_tcp_piece *next = p->next;
        dk_tcp_piece_free(tcp, p);
        p = next;
    }
}

/* Adds the bytes of `from` to a chain, copied or by a hold. 0 or -ENOBUFS. */
static int chain_add(struct dk_tcp *tcp, struct chain *chain, const struct dk_tx_piece *from,
                     bool copy, bool unreferenced)
{
    struct dk_tcp_piece *p = dk_tcp_pool_get(&tcp->pieces);
    if (!p)
        return -ENOBUFS;
    struct dk_tx_piece piece = *from;
    const bool own = copy || !from->buf;
    if (!own)
        dk_buf_get(piece.buf);
    else if (!dk_tcp_sendq_copy(tcp, &piece)) {
        dk_tcp_pool_put(&tcp->pieces, p);
        return -ENOBUFS;
    }
    *p = (struct dk_tcp_piece){.seq = chain->end,
                               .data = piece.data,
                               .len = piece.len,
                               .own = own || unreferenced,
                               .buf = piece.buf};
    chain->lent |= !p->own;
    *(chain->head ? &chain->tail->next : &chain->head) = p;
    chain->tail = p;
    chain->end += p->len;
    return 0;
}

/* Bytes that were copied behind those of the last piece become part of it: true, p is gone. */
static bool join_tail(struct dk_tcp_conn *c, struct dk_tcp_piece *p)
{
    struct dk_tcp_piece *tail = c->pieces_tail;
    if (!c->pieces || tail->buf != p->buf || p->buf != c->tcp->slab ||
        tail->data + tail->len != p->data || tail->len > DK_TCP_SLAB_BYTES)
        return false;
    tail->len += p->len;
    if (!c->send_piece)
        c->send_piece = tail;
    dk_tcp_piece_free(c->tcp, p);
    return true;
}

static void hold_from(struct dk_tcp_conn *c, struct dk_tcp_piece *first)
{
    c->hold_piece = first;
    dk_tcp_concern(c, DK_TCP_CONCERN_LENT, first != NULL);
}

static void join(struct dk_tcp_conn *c, struct chain *chain)
{
    struct dk_tcp_piece *first = chain->head;
    c->snd_end = chain->end;
    if (!first)
        return;
    struct dk_tcp_piece *rest = first->next;
    if (join_tail(c, first)) {
        if (!rest)
            return;
        first = rest;
    }
    *(c->pieces ? &c->pieces_tail->next : &c->pieces) = first;
    c->pieces_tail = chain->tail;
    if (!c->send_piece)
        c->send_piece = first;
    if (chain->lent && !c->hold_piece)
        hold_from(c, first);
}

/* Another element is the first that is held now, or none is. */
static void holds_changed(struct dk_tcp *tcp)
{
    const struct dk_tcp_element *first = dk_tcp_sendq_first_hold(tcp);
    tcp->hold_due = first ? first->hold_due : DK_TCP_NEVER;
    if (tcp->hold_due < tcp->net->due.at)
        tcp->net->due.at = tcp->hold_due;
}

static void element_add(struct dk_tcp_conn *c, struct dk_tcp_element *e, void *cookie, int64_t now)
{
    int64_t due = now + c->tcp->config.push_hold_ns;
    *e = (struct dk_tcp_element){
        .end = c->snd_end, .una = c->snd_una, .hold_due = due, .conn = c, .cookie = cookie};
    *(c->elements ? &c->elements_tail->next : &c->elements) = e;
    c->elements_tail = e;
    dk_list_add_tail(&c->tcp->holds, &e->hold_link);
    holds_changed(c->tcp);
}

int dk_tcp_sendq_push(struct dk_tcp_conn *c, const struct dk_tx_piece pieces[], uint32_t n,
                      uint32_t flags, void *cookie, int64_t now)
{
    struct dk_tcp *tcp = c->tcp;
    struct dk_tcp_element *e = NULL;
    struct chain chain = {.end = c->snd_end};
    bool copy = flags & DK_TCP_SEND_COPY;
    for (uint32_t i = 0; i < n; i++)
        if (pieces[i].len != 0 &&
            chain_add(tcp, &chain, &pieces[i], copy, flags & DK_TCP_SEND_UNREFERENCED) != 0)
            goto fail;
    if (chain.lent && !(flags & DK_TCP_SEND_MORE)) {
        e = dk_tcp_pool_get(&tcp->elements);
        if (!e)
            goto fail;
    }
    join(c, &chain);
    if (e)
        element_add(c, e, cookie, now);
    return e || flags & DK_TCP_SEND_MORE ? 0 : 1;
fail:
    chain_free(tcp, chain.head);
    return -ENOBUFS;
}

/* The first element is done; its pieces need not be held for it. */
static void element_done(struct dk_tcp_conn *c, int err)
{
    struct dk_tcp_element *e = c->elements;
    c->elements = e->next;
    dk_list_del(&e->hold_link);
    holds_changed(c->tcp);
    struct dk_tcp_piece *p = c->hold_piece;
    while (p && (p->seq < e->end || p->own))
        p = p->next;
    hold_from(c, p);
    e->err = err;
    e->next = NULL;
    *(c->done ? &c->done_tail->next : &c->done) = e;
    c->done_tail = e;
    dk_tcp_event(c, DK_TCP_EV_SENT);
}

/* Moves what is unacknowledged of a piece to memory of our own. */
static bool piece_copy(struct dk_tcp_conn *c, struct dk_tcp_piece *p)
{
    uint64_t from = dk_tcp_max64(p->seq, c->snd_una);
    uint32_t skip = (uint32_t)(from - p->seq);
    uint8_t *room;
    struct dk_buf *buf = own_room(c->tcp, p->len - skip, &room);
    if (!buf)
        return false;
    memcpy(room, p->data + skip, p->len - skip);
    dk_buf_put(p->buf);
    p->buf = buf;
    p->data = room;
    p->len -= skip;
    p->seq = from;
    p->own = true;
    dk_count(&c->tcp->stats.push_hold_copied_bytes, p->len);
    return true;
}

/* An element, and what is before it. */
static bool elements_copy(struct dk_tcp_conn *c, const struct dk_tcp_element *e)
{
    for (struct dk_tcp_piece *p = c->hold_piece; p && p->seq < e->end; p = p->next)
        if (!p->own && !piece_copy(c, p))
            return false;
    return true;
}

void dk_tcp_sendq_elements_acked(struct dk_tcp_conn *c, uint64_t una)
{
    while (c->elements && c->elements->end <= una)
        element_done(c, 0);
    struct dk_tcp_piece *p = c->hold_piece;
    while (p && p->seq + p->len <= una)
        p = p->next;
    hold_from(c, p);
}

static void hold_on(struct dk_tcp *tcp, struct dk_tcp_element *e, int64_t now)
{
    e->una = e->conn->snd_una;
    e->hold_due = now + tcp->config.push_hold_ns;
    dk_list_del(&e->hold_link);
    dk_list_add_tail(&tcp->holds, &e->hold_link);
    holds_changed(tcp);
}

/* While acknowledgements come, an element is held: in a stream that is never without them nothing
 * is copied, however many elements are under way. */
void dk_tcp_sendq_release(struct dk_tcp *tcp, int64_t now)
{
    struct dk_tcp_element *e;
    while ((e = dk_tcp_sendq_first_hold(tcp)) && e->hold_due <= now) {
        struct dk_tcp_conn *c = e->conn;
        uint64_t end = e->end;
        if (e->una != c->snd_una) {
            hold_on(tcp, e, now);
            continue;
        }
        /* Without memory it stays lent, and completes later. Segments may wait below too. */
        if (!elements_copy(c, e) || !dk_net_own_lent(tcp->net)) {
            hold_on(tcp, e, now);
            return;
        }
        while (c->elements && c->elements->end <= end) {
            DK_TCP_COUNT(tcp, push_hold_copies);
            element_done(c, 0);
        }
    }
}

void dk_tcp_sendq_fail(struct dk_tcp_conn *c, int err)
{
    while (c->elements)
        element_done(c, err);
    chain_free(c->tcp, c->pieces);
    c->pieces = c->pieces_tail = c->send_piece = NULL;
    hold_from(c, NULL);
    while (c->board) {
        struct dk_tcp_segment *s = c->board;
        c->board = s->next;
        dk_tcp_pool_put(&c->tcp->segments, s);
    }
    c->board_tail = c->lost_hint = NULL;
    c->flight_bytes = c->loss->sacked_bytes = 0;
}

uint32_t dk_tcp_sendq_gather(const struct dk_tcp_piece *p, uint64_t seq, uint32_t len,
                             struct dk_ip_tx *tx)
{
    uint32_t left = len, n = 0;
    for (; left && n < DK_TX_PIECES_MAX; p = p->next, n++) {
        uint32_t skip = (uint32_t)(seq - p->seq);
        uint32_t bytes = dk_tcp_min32(p->len - skip, left);
        tx->frame.pieces[n] = (struct dk_tx_piece){p->data + skip, bytes, p->buf};
        seq += bytes;
        left -= bytes;
    }
    tx->frame.num_pieces = n;
    return len - left;
}
