/* SPDX-License-Identifier: MIT */
/*
 * SACK blocks that arrive.
 *
 * A block is believed when it lies in what was sent and is not acknowledged, and does not begin
 * where the acknowledgement of the same segment ends: that would be acknowledged. The first one is
 * a report of a duplicate if it lies before that, or within the second (RFC 2883 section 4). What
 * cannot be is counted, and nothing else happens.
 *
 * An entry is marked when a block covers all of it; one of several segments is cut first, at
 * segments' ends only, so a peer cannot make us keep more entries than segments. Marked neighbours
 * become one entry: so a list to be walked has as many entries as there are holes.
 */
#include "net/tcp/sack.h"

#include "net/tcp/rack.h"
#include "net/tcp/sendq.h"

static void note_delivered(struct dk_tcp_conn *c, const struct dk_tcp_segment *s,
                           const struct dk_tcp_rx *rx, struct dk_tcp_heard *h)
{
    if (s->transmits == 1 && s->end <= c->recover)
        h->original = true;
    dk_tcp_rack_delivered(c, s, rx, h);
}

void dk_tcp_sack_cumulative(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx,
                            struct dk_tcp_heard *h)
{
    for (const struct dk_tcp_segment *s = c->board; s && s->seq < rx->ack; s = s->next) {
        if (s->flags & DK_TCP_SEG_SACKED)
            continue;
        h->delivered += (uint32_t)(dk_tcp_min64(s->end, rx->ack) - s->seq);
        if (s->end <= rx->ack)
            note_delivered(c, s, rx, h);
    }
}

/* Cuts an entry at the last end of a segment within `bytes` of its beginning, or at the first one
 * behind (up). false: nothing is left on that side, or there is no memory. */
static bool cut_at_segment(struct dk_tcp_conn *c, struct dk_tcp_segment *s, uint64_t bytes, bool up)
{
    uint64_t mss = c->snd_mss, at = (up ? bytes + mss - 1 : bytes) / mss * mss;
    if (at == 0 || at >= s->end - s->seq || !dk_tcp_board_reserve(c->tcp))
        return false;
    dk_tcp_board_cut(c, s, (uint32_t)at);
    return true;
}

/* The part of *at that [start, end) covers is an entry now, and *at that; *prev is before it. */
static bool isolate(struct dk_tcp_conn *c, struct dk_tcp_segment **prev, struct dk_tcp_segment **at,
                    uint64_t start, uint64_t end)
{
    struct dk_tcp_segment *s = *at;
    if (s->seq < start) {
        if (!cut_at_segment(c, s, start - s->seq, true))
            return false;
        *prev = s;
        *at = s = s->next;
    }
    return s->end <= end || (s->seq < end && cut_at_segment(c, s, end - s->seq, false));
}

static void mark(struct dk_tcp_conn *c, uint64_t start, uint64_t end, const struct dk_tcp_rx *rx,
                 struct dk_tcp_heard *h)
{
    struct dk_tcp_segment *prev = NULL, *s = c->board;
    for (; s && s->seq < end && h->walk; prev = s, s = s->next, h->walk--) {
        if (s->end <= start || s->flags & DK_TCP_SEG_SACKED || !isolate(c, &prev, &s, start, end))
            continue;
        uint32_t bytes = (uint32_t)(s->end - s->seq);
        h->delivered += bytes;
        h->sacked += bytes;
        note_delivered(c, s, rx, h);
        s = dk_tcp_board_sacked(c, prev, s);
    }
    if (h->walk == 0)
        DK_TCP_COUNT(c->tcp, sack_limited);
}

/* Whether the first block tells of a duplicate. */
static bool is_dsack(const struct dk_tcp_conn *c, const struct dk_tcp_rx *rx, uint64_t start,
                     uint64_t end)
{
    const struct dk_tcp_options *opt = &rx->h.options;
    if (end <= rx->ack)
        return true;
    if (opt->num_sacks < 2)
        return false;
    return start >= dk_tcp_extend(c->snd_una, opt->sacks[1].start) &&
           end <= dk_tcp_extend(c->snd_una, opt->sacks[1].end);
}

static void one_block(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx, uint8_t i,
                      struct dk_tcp_heard *h)
{
    uint64_t start = dk_tcp_extend(c->snd_una, rx->h.options.sacks[i].start);
    uint64_t end = dk_tcp_extend(c->snd_una, rx->h.options.sacks[i].end);
    if (start >= end || start <= c->iss) {
        DK_TCP_COUNT(c->tcp, sack_invalid);
    } else if (end > c->snd_nxt) {
        DK_TCP_COUNT(c->tcp, sack_never_sent);
    } else if (i == 0 && is_dsack(c, rx, start, end)) {
        DK_TCP_COUNT(c->tcp, dsacks);
        h->dsack = true;
        h->dsack_start = start;
        h->dsack_end = end;
    } else if (end <= rx->ack) {
        return; /* it was told before */
    } else if (start <= rx->ack) {
        DK_TCP_COUNT(c->tcp, sack_invalid);
    } else {
        mark(c, start, end, rx, h);
    }
}

/* Whether a block has bytes of one before it, from the first that tells of no duplicate on: RFC
 * 2018 section 3 has them apart. */
static bool overlaps(const struct dk_tcp_options *opt, uint8_t first, uint8_t i)
{
    for (uint8_t k = first; k < i; k++)
        if ((int32_t)(opt->sacks[k].start - opt->sacks[i].end) < 0 &&
            (int32_t)(opt->sacks[i].start - opt->sacks[k].end) < 0)
            return true;
    return false;
}

void dk_tcp_sack_blocks(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx, struct dk_tcp_heard *h)
{
    for (uint8_t i = 0; i < rx->h.options.num_sacks; i++) {
        one_block(c, rx, i, h);
        if (overlaps(&rx->h.options, h->dsack, i))
            DK_TCP_COUNT(c->tcp, sack_overlap);
    }
    if (h->sacked && c->dup_acks < UINT8_MAX)
        c->dup_acks++; /* RFC 6675 section 2: the definition of a duplicate */
}

void dk_tcp_sack_forget(struct dk_tcp_conn *c)
{
    for (struct dk_tcp_segment *s = c->board; s; s = s->next) {
        if (!(s->flags & DK_TCP_SEG_SACKED))
            continue;
        s->flags &= (uint8_t)~DK_TCP_SEG_SACKED;
        c->flight_bytes += (uint32_t)(s->end - s->seq);
        dk_tcp_board_lost(c, s, 0);
    }
    c->loss->sacked_bytes = 0;
}
