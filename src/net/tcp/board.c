/* SPDX-License-Identifier: MIT */
/*
 * The scoreboard: one entry for each range that was sent, in the order of the stream.
 *
 * Each entry knows when and how often it was sent and whether it counts as lost or as received
 * (sacked), so whoever detects losses, by duplicate acknowledgements, time, or selective
 * acknowledgements, marks entries; tx.c sends what is marked. lost_hint is not behind the first
 * lost entry; NULL: none is lost.
 */
#include "net/tcp/search.h"
#include "net/tcp/sendq.h"

/* The piece, from p on, that has the byte at seq; NULL: none has. */
static inline struct dk_tcp_piece *piece_at(struct dk_tcp_piece *p, uint64_t seq)
{
    while (p && p->seq + p->len <= seq)
        p = p->next;
    return p;
}

void dk_tcp_board_add(struct dk_tcp_conn *c, uint64_t end, uint32_t flags, int64_t now)
{
    bool has_data = !(flags & DK_TCP_SEG_SYN) && c->snd_nxt != c->snd_end;
    struct dk_tcp_segment *s =
        dk_tcp_board_append(c->tcp, c, has_data ? c->send_piece : NULL, end, now);
    s->flags = (uint8_t)flags;
    if (flags & DK_TCP_SEG_LOST) { /* it never left */
        s->transmits = 0;
        c->flight_bytes -= (uint32_t)(end - s->seq);
        if (!c->lost_hint)
            c->lost_hint = s;
    }
    c->send_piece = piece_at(c->send_piece, end);
}

void dk_tcp_board_add_full(struct dk_tcp_conn *c, uint64_t end, uint32_t full, int64_t now)
{
    dk_tcp_board_add(c, c->snd_nxt + full, 0, now);
    struct dk_tcp_segment *s = c->board_tail;
    while (end - s->end > full) {
        struct dk_tcp_segment *next = dk_tcp_pool_take(&c->tcp->segments);
        *next = *s;
        next->seq = s->end;
        next->end = s->end + full;
        next->piece = piece_at(s->piece, next->seq);
        next->sent.in_flight += full;
        s->next = next;
        s = next;
    }
    c->board_tail = s;
    c->flight_bytes += (uint32_t)(s->end - c->snd_nxt);
    c->snd_nxt = s->end;
    c->send_piece = piece_at(s->piece, s->end);
}

void dk_tcp_board_acked_part(struct dk_tcp_conn *c, uint64_t una)
{
    struct dk_tcp_segment *s = c->board;
    if (!(s->flags & (DK_TCP_SEG_LOST | DK_TCP_SEG_SACKED)))
        c->flight_bytes -= (uint32_t)(una - s->seq);
    else if (s->flags & DK_TCP_SEG_SACKED)
        c->loss->sacked_bytes -= (uint32_t)(una - s->seq);
    s->seq = una;
    s->piece = piece_at(s->piece, una);
}

void dk_tcp_board_cut(struct dk_tcp_conn *c, struct dk_tcp_segment *s, uint32_t bytes)
{
    struct dk_tcp_segment *rest = dk_tcp_pool_get(&c->tcp->segments);
    if (!rest)
        return;
    *rest = *s;
    s->end = rest->seq = s->seq + bytes;
    s->flags &= (uint8_t)~DK_TCP_SEG_FIN;
    rest->flags &= (uint8_t)~DK_TCP_SEG_FORCED;
    rest->piece = piece_at(rest->piece, rest->seq);
    if (rest->seq == c->snd_end)
        rest->piece = NULL;
    s->next = rest;
    if (c->board_tail == s)
        c->board_tail = rest;
}

void dk_tcp_board_resent(struct dk_tcp_conn *c, struct dk_tcp_segment *s, int64_t now)
{
    s->flags &= (uint8_t) ~(DK_TCP_SEG_LOST | DK_TCP_SEG_FORCED);
    s->tx_time = now;
    if (s->transmits < UINT16_MAX)
        s->transmits++;
    dk_tcp_rate_sent(c, s, now);
    c->flight_bytes += (uint32_t)(s->end - s->seq);
    if (c->lost_hint == s)
        c->lost_hint = s->next;
}

void dk_tcp_board_lost(struct dk_tcp_conn *c, struct dk_tcp_segment *s, uint32_t flags)
{
    if (s->flags & DK_TCP_SEG_SACKED)
        return;
    if (!(s->flags & DK_TCP_SEG_LOST)) {
        c->flight_bytes -= (uint32_t)(s->end - s->seq);
        dk_tcp_rate_lost(c, s);
    }
    if (dk_unlikely(c->probe_mtu))
        dk_tcp_search_lost(c, s);
    s->flags |= (uint8_t)(DK_TCP_SEG_LOST | flags);
    c->troubled = true;
    if (!c->lost_hint || s->seq < c->lost_hint->seq)
        c->lost_hint = s;
}

void dk_tcp_board_all_lost(struct dk_tcp_conn *c)
{
    for (struct dk_tcp_segment *s = c->board; s; s = s->next)
        dk_tcp_board_lost(c, s, 0);
}

void dk_tcp_board_none_lost(struct dk_tcp_conn *c)
{
    for (struct dk_tcp_segment *s = c->board; s; s = s->next) {
        if (!(s->flags & DK_TCP_SEG_LOST))
            continue;
        s->flags &= (uint8_t) ~(DK_TCP_SEG_LOST | DK_TCP_SEG_FORCED);
        c->flight_bytes += (uint32_t)(s->end - s->seq);
    }
    c->lost_hint = NULL;
}

/* The entry behind s becomes part of it. */
static void join_next(struct dk_tcp_conn *c, struct dk_tcp_segment *s)
{
    struct dk_tcp_segment *next = s->next;
    s->end = next->end;
    s->next = next->next;
    s->flags |= next->flags & DK_TCP_SEG_FIN;
    if (c->board_tail == next)
        c->board_tail = s;
    if (c->lost_hint == next)
        c->lost_hint = s->next;
    dk_tcp_pool_put(&c->tcp->segments, next);
}

struct dk_tcp_segment *dk_tcp_board_sacked(struct dk_tcp_conn *c, struct dk_tcp_segment *prev,
                                           struct dk_tcp_segment *s)
{
    uint32_t bytes = (uint32_t)(s->end - s->seq);
    dk_tcp_rate_delivered(c, s, bytes);
    if (!(s->flags & DK_TCP_SEG_LOST))
        c->flight_bytes -= bytes;
    s->flags &= (uint8_t) ~(DK_TCP_SEG_LOST | DK_TCP_SEG_FORCED);
    s->flags |= DK_TCP_SEG_SACKED;
    s->tx_time = -1; /* its round trip is over: the acknowledgement of it measures nothing */
    s->transmits = 1;
    c->loss->sacked_bytes += bytes;
    c->troubled = true;
    if (s->next && s->next->flags & DK_TCP_SEG_SACKED)
        join_next(c, s);
    if (!prev || !(prev->flags & DK_TCP_SEG_SACKED))
        return s;
    join_next(c, prev);
    return prev;
}

struct dk_tcp_segment *dk_tcp_board_first_lost(struct dk_tcp_conn *c)
{
    struct dk_tcp_segment *s = c->lost_hint;
    while (s && !(s->flags & DK_TCP_SEG_LOST))
        s = s->next;
    c->lost_hint = s;
    return s;
}
