/* SPDX-License-Identifier: MIT */
/*
 * What is to be sent: pieces of the application's memory in the order of the stream, the elements
 * that they were pushed as, and the scoreboard of what was sent and is not acknowledged.
 *
 * Piece and scoreboard are apart: a segment sent may span pieces, and a piece many segments. When
 * an element's memory has to be given back, its pieces are moved to memory of our own in place; the
 * scoreboard does not notice (tcb.h has the invariants).
 */
#ifndef DK_NET_TCP_SENDQ_H
#define DK_NET_TCP_SENDQ_H

#include "net/tcp/event.h"
#include "net/tcp/rate.h"

/* Appends an element: as dk_tcp_send, of which this is the part that concerns memory. */
int dk_tcp_sendq_push(struct dk_tcp_conn *c, const struct dk_tx_piece pieces[], uint32_t n,
                      uint32_t flags, void *cookie, int64_t now);

#define DK_TCP_SLAB_BYTES (16u << 10) /* of dk_tcp.slab */

/* Copies the bytes of a piece to memory of ours, on which there is one hold then. False, without
 * memory. */
bool dk_tcp_sendq_copy(struct dk_tcp *tcp, struct dk_tx_piece *piece);

/* What small pushes are copied to is not wanted any more. */
void dk_tcp_sendq_let_go_slab(struct dk_tcp *tcp);

/* Whether so many bytes are short, and find room where those before them are. */
static inline bool dk_tcp_sendq_copies_short(const struct dk_tcp *tcp, uint32_t len)
{
    return dk_likely(dk_frame_is_easy(len) && tcp->slab &&
                     tcp->slab_used + len <= DK_TCP_SLAB_BYTES);
}

/* Copies them there, in tcp->slab, on which there is one hold more then. */
static inline uint8_t *dk_tcp_sendq_copy_short(struct dk_tcp *tcp, const uint8_t *data,
                                               uint32_t len)
{
    uint8_t *room = tcp->slab->data + tcp->slab_used;
    tcp->slab_used += len;
    tcp->slab_holds--;
    dk_frame_copy_easy(room, data, len);
    dk_count(&tcp->stats.push_copied_bytes, len);
    return room;
}

/* As dk_tcp_queued_bytes. */
static inline uint64_t dk_tcp_sendq_bytes(const struct dk_tcp_conn *c)
{
    return c->snd_end - dk_tcp_min64(c->snd_una, c->snd_end);
}

/* The element whose hold ends first, or NULL. */
static inline struct dk_tcp_element *dk_tcp_sendq_first_hold(const struct dk_tcp *tcp)
{
    struct dk_list *first = dk_list_first(&tcp->holds);
    return first ? dk_container_of(first, struct dk_tcp_element, hold_link) : NULL;
}

/* Elements whose hold has lasted long enough: what is unacknowledged is copied. */
void dk_tcp_sendq_release(struct dk_tcp *tcp, int64_t now);

/* The connection ended: every element completes with err; nothing is left to send. */
void dk_tcp_sendq_fail(struct dk_tcp_conn *c, int err);

/*
 * Makes pieces for transmission of len bytes, beginning with number seq, which lies in piece.
 * Returns how many bytes they have: fewer than len when DK_TX_PIECES_MAX are not enough.
 */
uint32_t dk_tcp_sendq_gather(const struct dk_tcp_piece *piece, uint64_t seq, uint32_t len,
                             struct dk_ip_tx *tx);

/* Makes an entry of a range that is sent now. dk_tcp_board_reserve has succeeded before. */
static inline struct dk_tcp_segment *dk_tcp_board_make(struct dk_tcp *tcp,
                                                       struct dk_tcp_piece *piece, uint64_t seq,
                                                       uint64_t end, int64_t now)
{
    struct dk_tcp_segment *s = dk_tcp_pool_take(&tcp->segments);
    s->next = NULL;
    s->seq = seq;
    s->end = end;
    s->piece = piece;
    s->tx_time = now;
    s->transmits = 1;
    s->flags = 0;
    s->limited = false;
    return s;
}

/* Appends the entry [snd_nxt, end), which begins in a piece and is in flight, and moves snd_nxt. */
static inline struct dk_tcp_segment *dk_tcp_board_append(struct dk_tcp *tcp, struct dk_tcp_conn *c,
                                                         struct dk_tcp_piece *piece, uint64_t end,
                                                         int64_t now)
{
    struct dk_tcp_segment *s = dk_tcp_board_make(tcp, piece, c->snd_nxt, end, now);
    *(c->board ? &c->board_tail->next : &c->board) = s;
    c->board_tail = s;
    dk_tcp_rate_sent(c, s, now);
    c->flight_bytes += (uint32_t)(end - s->seq);
    c->snd_nxt = end;
    return s;
}

/* [snd_nxt, end) was sent for the first time: notes it, and moves snd_nxt. dk_tcp_board_reserve
 * has succeeded before. */
void dk_tcp_board_add(struct dk_tcp_conn *c, uint64_t end, uint32_t flags, int64_t now);

/* As that for each of several that were sent at once, of `full` bytes of data each, while more than
 * that is left before end; at least one. There is memory for all. */
void dk_tcp_board_add_full(struct dk_tcp_conn *c, uint64_t end, uint32_t full, int64_t now);

/* Whether dk_tcp_board_add finds memory. */
static inline bool dk_tcp_board_reserve(struct dk_tcp *tcp)
{
    struct dk_tcp_pool *pool = &tcp->segments;
    return dk_likely(pool->unused) || dk_tcp_pool_reserve(pool, 1) == 0;
}

/* An entry is to be sent again, cut to `bytes` first when it has more. */
void dk_tcp_board_cut(struct dk_tcp_conn *c, struct dk_tcp_segment *s, uint32_t bytes);

/* An entry that was lost is sent again. */
void dk_tcp_board_resent(struct dk_tcp_conn *c, struct dk_tcp_segment *s, int64_t now);

/* Marks an entry as lost; flags: DK_TCP_SEG_FORCED or 0. */
void dk_tcp_board_lost(struct dk_tcp_conn *c, struct dk_tcp_segment *s, uint32_t flags);
void dk_tcp_board_all_lost(struct dk_tcp_conn *c);

/* None is lost: all are in flight still. */
void dk_tcp_board_none_lost(struct dk_tcp_conn *c);

/* An entry was received, whatever is acknowledged before it; prev is before it in the list, or
 * NULL. It becomes one with neighbours of which that is true as well: returns what it is part of.
 */
struct dk_tcp_segment *dk_tcp_board_sacked(struct dk_tcp_conn *c, struct dk_tcp_segment *prev,
                                           struct dk_tcp_segment *s);

/* The first entry that is lost, or NULL. */
struct dk_tcp_segment *dk_tcp_board_first_lost(struct dk_tcp_conn *c);

/* What an acknowledgement told about the entries that it covers. */
struct dk_tcp_acked {
    int64_t tx_time;    /* of the latest that was sent once and not sacked before, or -1: none */
    uint32_t longest;   /* bytes */
    bool retransmitted; /* one was sent more than once */
    bool newest;        /* c->newest is of one of them */
};

/* The elements that end before una are complete; no piece before it is held for another. */
void dk_tcp_sendq_elements_acked(struct dk_tcp_conn *c, uint64_t una);

/* The first entry, of which more than the beginning may be left, is acknowledged up to una. */
void dk_tcp_board_acked_part(struct dk_tcp_conn *c, uint64_t una);

static inline void dk_tcp_piece_free(struct dk_tcp *tcp, struct dk_tcp_piece *p)
{
    if (dk_likely(p->buf == tcp->slab))
        tcp->slab_holds++;
    else
        dk_buf_put(p->buf);
    dk_tcp_pool_put(&tcp->pieces, p);
}

/* The first entry is acknowledged whole. */
static inline void dk_tcp_board_acked_first(struct dk_tcp_conn *c, struct dk_tcp_acked *acked)
{
    struct dk_tcp_segment *s = c->board;
    uint32_t bytes = (uint32_t)(s->end - s->seq);
    if (dk_likely(!(s->flags & (DK_TCP_SEG_LOST | DK_TCP_SEG_SACKED))))
        c->flight_bytes -= bytes;
    else if (s->flags & DK_TCP_SEG_SACKED)
        c->loss->sacked_bytes -= bytes;
    if (dk_likely(!(s->flags & DK_TCP_SEG_SACKED)))
        acked->newest |= dk_tcp_rate_delivered(c, s, bytes);
    if (dk_unlikely(s->transmits > 1))
        acked->retransmitted = true;
    else
        acked->tx_time = s->tx_time;
    if (bytes > acked->longest)
        acked->longest = bytes;
    c->board = s->next;
    if (dk_unlikely(c->lost_hint == s))
        c->lost_hint = s->next;
    dk_tcp_pool_put(&c->tcp->segments, s);
}

/* The first entries are acknowledged, as far as they were sent once, in their order, and are in
 * flight: what they tell is told by the last of them, and they are let go together. */
static inline void dk_tcp_board_acked_plain(struct dk_tcp_conn *c, uint64_t una,
                                            struct dk_tcp_acked *acked)
{
    struct dk_tcp_segment *first = c->board, *s = first, *last = NULL;
    uint32_t n = 0;
    for (; s && s->end <= una && s->flags == 0 && s->transmits == 1 && s != c->lost_hint; n++) {
        const uint32_t bytes = (uint32_t)(s->end - s->seq);
        if (bytes > acked->longest)
            acked->longest = bytes;
        last = s;
        s = s->next;
    }
    if (!last)
        return;
    const uint32_t bytes = (uint32_t)(last->end - first->seq);
    c->flight_bytes -= bytes;
    acked->newest |= dk_tcp_rate_delivered(c, last, bytes);
    acked->tx_time = last->tx_time;
    c->board = s;
    dk_tcp_pool_put_chain(&c->tcp->segments, first, last, n);
}

/* Frees the pieces that lie before una, which were all sent. */
static inline void dk_tcp_sendq_pieces_acked(struct dk_tcp *tcp, struct dk_tcp_conn *c,
                                             uint64_t una)
{
    struct dk_tcp_piece *p;
    if (dk_unlikely(c->hold_piece != NULL)) /* or there are no elements */
        dk_tcp_sendq_elements_acked(c, una);
    while ((p = c->pieces) && p->seq + p->len <= una) {
        c->pieces = p->next;
        dk_tcp_piece_free(tcp, p);
    }
}

/* Everything before una is acknowledged: lets it go, completes elements. Sets snd_una. Here,
 * because most segments that arrive acknowledge one entry and one piece. */
__attribute__((always_inline)) static inline struct dk_tcp_acked
dk_tcp_sendq_acked(struct dk_tcp_conn *c, uint64_t una)
{
    struct dk_tcp_acked acked = {.tx_time = -1};
    c->snd_una = una;
    if (dk_unlikely(una >= c->room_una)) {
        c->room_una = DK_TCP_NONE;
        dk_tcp_concern(c, DK_TCP_CONCERN_ROOM, false);
        dk_tcp_event(c, DK_TCP_EV_ROOM);
    }
    dk_tcp_board_acked_plain(c, una, &acked);
    while (dk_unlikely(c->board && c->board->end <= una))
        dk_tcp_board_acked_first(c, &acked);
    if (dk_unlikely(c->board && c->board->seq < una)) {
        acked.retransmitted |= c->board->transmits > 1;
        if (!(c->board->flags & DK_TCP_SEG_SACKED))
            dk_tcp_rate_delivered(c, c->board, (uint32_t)(una - c->board->seq));
        dk_tcp_board_acked_part(c, una);
    }
    dk_tcp_sendq_pieces_acked(c->tcp, c, una);
    return acked;
}

#endif /* DK_NET_TCP_SENDQ_H */
