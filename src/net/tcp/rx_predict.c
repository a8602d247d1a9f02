/* SPDX-License-Identifier: MIT */
/*
 * Header prediction: most segments of a connection are the next bytes in order, or acknowledge some
 * that were sent, and are nothing special. For those the checks of RFC 9293 section 3.10.7.4 come
 * down to comparisons, made here in the same order; a segment that passes all of them has the same
 * effect as in rx.c, by the same functions. Whatever does not goes there, untouched.
 *
 * Passed over for a segment that passes: RST, SYN, FIN and URG (it has none of them), trimming (it
 * begins at rcv_nxt and ends within the window), duplicate acknowledgements and recovery (it is
 * none, and nothing is lost), options (timestamps alone, as agreed on), congestion (none is told).
 */
#include "base/bytes.h"
#include "base/checksum_here.h"
#include "net/ip_in.h"
#include "net/tcp/ecn.h"
#include "net/tcp/header.h"
#include "net/tcp/pcb.h"
#include "net/tcp/rx.h"
#include "net/tcp/rx_ack.h"
#include "net/tcp/rx_text.h"
#include "net/tcp/rto.h"
#include "net/tcp/sendq.h"
#include "net/tcp/timer.h"
#include "net/tcp/tx.h"
#include "net/wire/ethernet.h"
#include "net/wire/ipv4.h"

/* A segment with a header of the usual form. Of `frame` only buf, checksum and gives are read, when
 * they are needed. */
struct arrived {
    struct dk_rx_frame *frame;
    const uint8_t *tos; /* of IP */
    uint8_t *header;
    uint32_t text_len;
};

/* A header of the usual form, which has its length. */
static inline bool is_usual(const uint8_t *header)
{
    const uint16_t usual = htobe16(DK_TCP_USUAL_LEN << 10 | DK_TCP_ACK);
    const uint16_t mask = htobe16((uint16_t)~DK_TCP_PSH);
    uint16_t place_and_flags;
    memcpy(&place_and_flags, header + 12, sizeof(place_and_flags));
    return (place_and_flags & mask) == usual && dk_get_be32(header + 20) == DK_TCP_TS_PREFIX;
}

static inline uint32_t ports_of(const uint8_t *header)
{
    uint32_t ports;
    memcpy(&ports, header, sizeof(ports));
    return ports;
}

static inline uint64_t pair_of(const uint8_t *ip)
{
    uint64_t pair;
    memcpy(&pair, ip + 12, sizeof(pair));
    return pair;
}

/*
 * The connection of an IPv4 packet, by both addresses in one word, as they stand in its header.
 * That a host sends from the one to us at the other was found out with a packet before
 * (dk_ip_rx.is_plain_pair).
 */
static inline struct dk_tcp_conn *find4(const struct dk_tcp *tcp, const uint8_t *ip,
                                        const uint8_t *header)
{
    const uint32_t ports = ports_of(header);
    const uint64_t pair = pair_of(ip), hash = dk_tcp_hash4(tcp, pair, ports);
    struct dk_tcp_conn *c = dk_tcp_conn_of(dk_tcp_table_first(&tcp->table, hash));
    while (c && dk_unlikely(c->ports != ports || c->pair4 != pair))
        c = dk_tcp_conn_of(dk_tcp_table_next(&tcp->table, &c->node));
    return dk_likely(pair != 0) ? c : NULL;
}

/* The same of one that was found before. NULL: it is not it, or may be one of before that is not in
 * the table any more; but who is established is there. */
static inline struct dk_tcp_conn *check4(struct dk_tcp_conn *c, const uint8_t *ip,
                                         const uint8_t *header)
{
    const uint64_t pair = pair_of(ip);
    return c->ports == ports_of(header) && c->pair4 == pair && pair != 0 ? c : NULL;
}

/* As dk_tcp_is_quiet, of one that agreed on ECN, where congestion has not to be told of, and is not
 * told of still; or that misses something, which this may be. */
__attribute__((noinline)) static bool is_nearly_quiet(const struct dk_tcp_conn *c, uint8_t tos)
{
    if (c->ecn && (c->ece || (tos & DK_IP_ECN_MASK) == DK_IP_ECN_CE))
        return false;
    return c->state == DK_TCP_ESTABLISHED && !c->closing && !c->troubled && c->ts_on &&
           c->rcv_fin == DK_TCP_NONE && c->probes == 0;
}

static inline bool is_quiet(const struct dk_tcp_conn *c, uint8_t tos)
{
    return dk_likely(dk_tcp_is_quiet(c)) || is_nearly_quiet(c, tos);
}

/* The connection has the sum of the pseudo header, which has no order. */
__attribute__((always_inline)) static inline bool is_whole(const struct dk_tcp_conn *c,
                                                           const struct arrived *a)
{
    if (a->frame->checksum == DK_RX_CHECKSUM_GOOD)
        return true;
    const uint32_t pseudo = c->pseudo_sum + DK_TCP_USUAL_LEN + a->text_len;
    uint64_t words = dk_checksum_words_32(htobe32(pseudo), a->header);
    if (a->text_len != 0)
        words = dk_tcp_add_text(words, a->header + DK_TCP_USUAL_LEN, a->text_len);
    return dk_checksum_words_good(words);
}

/* The checks of timestamps and sequence number. */
static inline bool is_in_order(const struct dk_tcp_conn *c, const struct arrived *a)
{
    return (int32_t)(dk_get_be32(a->header + 24) - c->ts_recent) >= 0 &&
           dk_get_be32(a->header + 4) == (uint32_t)c->rcv_nxt &&
           c->rcv_nxt + a->text_len <= c->rcv_adv;
}

/* Whether exactly the first entry of the scoreboard is acknowledged, which was sent once, and that
 * is all there is to it. */
static inline bool acks_first(const struct dk_tcp_conn *c, uint32_t ack)
{
    const struct dk_tcp_segment *first = c->board;
    return first && (uint32_t)first->end == ack && dk_tcp_segment_is_plain(first) &&
           dk_tcp_is_calm(c);
}

/* The pieces up to there are let go: mostly one, which is returned and is not free yet. */
static inline struct dk_tcp_piece *pieces_acked(struct dk_tcp *tcp, struct dk_tcp_conn *c,
                                                uint64_t ack)
{
    struct dk_tcp_piece *p = c->pieces;
    if (dk_unlikely(p->seq + p->len != ack)) {
        dk_tcp_sendq_pieces_acked(tcp, c, ack);
        return NULL;
    }
    c->pieces = p->next;
    return p;
}

/* As dk_tcp_rx_ack_good does of that; returns what is to be freed. */
__attribute__((always_inline)) static inline struct dk_tcp_piece *
ack_first(struct dk_tcp *tcp, struct dk_tcp_conn *c, int64_t now)
{
    static const struct dk_tcp_told unrated;
    struct dk_tcp_segment *first = c->board;
    const uint64_t ack = first->end;
    const uint32_t bytes = (uint32_t)(ack - c->snd_una);
    const uint32_t flight = (uint32_t)(c->snd_nxt - c->snd_una);
    const int64_t rtt = now - first->tx_time;
    c->snd_una = ack;
    c->flight_bytes = flight - bytes;
    c->board = first->next;
    dk_tcp_pool_put(&tcp->segments, first);
    struct dk_tcp_piece *done = pieces_acked(tcp, c, ack);
    dk_tcp_rto_sample(c, rtt);
    dk_tcp_note_packet_size(c, bytes);
    dk_tcp_tell_cc(c, bytes, flight, rtt, unrated, now);
    c->stalled_since = now;
    if (flight == bytes)
        dk_tcp_timer_clear(c, DK_TCP_TIMER_RTO);
    else
        dk_tcp_rto_start(c, now);
    dk_tcp_confirm(c, now);
    return done;
}

/* RFC 7323 section 4.3. */
static inline void take_timestamp(struct dk_tcp_conn *c, const uint8_t *header)
{
    if (c->rcv_nxt <= c->last_ack_sent)
        c->ts_recent = dk_get_be32(header + 24);
}

/* What is left of the fifth check for a segment that begins at rcv_nxt. */
static inline void take_window(struct dk_tcp_conn *c, const uint8_t *header, int64_t now)
{
    const uint32_t wnd = (uint32_t)dk_get_be16(header + 14) << c->snd_wscale;
    c->last_rx = now;
    if (dk_unlikely(c->rcv_nxt < c->snd_wl1))
        return;
    if (dk_unlikely(wnd - 1 >= c->snd_wnd)) { /* larger, or 0 */
        dk_tcp_set_window(c, c->rcv_nxt, c->snd_una, wnd);
        dk_tcp_note_alive(c, now);
    }
    c->snd_wnd = wnd;
    c->snd_right = c->snd_una + wnd;
    c->snd_wl1 = c->rcv_nxt;
}

/* Takes the text; then sends what is to be sent, or to be looked at as it waits to be. */
__attribute__((always_inline)) static inline void
take_text(struct dk_tcp *tcp, struct dk_tcp_conn *c, const struct arrived *a, int64_t now)
{
    const bool taken =
        a->text_len != 0 && dk_tcp_rx_in_order(tcp, c, a->frame->buf, a->header + DK_TCP_USUAL_LEN,
                                               a->text_len, &a->frame->gives);
    if (c->ack_now || c->snd_nxt < c->snd_end)
        dk_tcp_output(c, now);
    if (taken)
        dk_tcp_timer_owed_ack(c, now);
}

/* As is_whole, of one of a group: most of them are long, and a call is nothing beside that. */
static bool is_next_whole(const struct dk_tcp_conn *c, const struct dk_gro_segment *next)
{
    const uint32_t pseudo = c->pseudo_sum + next->len;
    return next->checksum == DK_RX_CHECKSUM_GOOD ||
           dk_checksum_words_good(dk_checksum_words(htobe32(pseudo), next->data, next->len));
}

/* One that differs from the last only in its bytes and timestamp (net/gro.h). Acknowledges nothing
 * new, and has data: the checks left are those of what is its own. */
static inline bool rx_next(struct dk_tcp *tcp, struct dk_tcp_conn *c, const struct arrived *a,
                           int64_t now)
{
    if (!is_quiet(c, *a->tos) || !is_in_order(c, a) ||
        dk_get_be32(a->header + 8) != (uint32_t)c->snd_una)
        return false;
    DK_TCP_COUNT(tcp, rx_segments);
    take_timestamp(c, a->header);
    take_window(c, a->header, now);
    take_text(tcp, c, a, now);
    return true;
}

/* Takes what follows a segment that was as expected, while it is so too. */
__attribute__((noinline)) static void rx_group(struct dk_tcp *tcp, struct dk_tcp_conn *c,
                                               const uint8_t *tos, int64_t now)
{
    struct dk_gro *gro = &tcp->net->gro;
    for (; gro->taken < gro->num; gro->taken++) {
        const struct dk_gro_segment *next = &gro->segments[gro->taken];
        struct dk_rx_frame frame = {.buf = next->buf};
        const struct arrived a = {.frame = &frame,
                                  .tos = tos,
                                  .header = next->data,
                                  .text_len = next->len - DK_TCP_USUAL_LEN};
        if (!is_next_whole(c, next) || !rx_next(tcp, c, &a, now))
            return;
    }
}

__attribute__((always_inline)) static inline void rx_text(struct dk_tcp *tcp, struct dk_tcp_conn *c,
                                                          const struct arrived *a, int64_t now)
{
    take_text(tcp, c, a, now);
    if (a->text_len != 0 && dk_unlikely(tcp->net->gro.num != 0))
        rx_group(tcp, c, a->tos, now);
}

/* As rx_predicted, of one that acknowledges more, or less, or what was sent again. */
__attribute__((noinline)) static bool rx_acks_other(struct dk_tcp *tcp, struct dk_tcp_conn *c,
                                                    struct arrived a, int64_t now)
{
    struct dk_tcp_rx rx; /* of which only what is read is filled in */
    rx.ack = dk_tcp_extend(c->snd_una, dk_get_be32(a.header + 8));
    if (rx.ack < c->snd_una || rx.ack > c->snd_nxt)
        return false;
    take_timestamp(c, a.header);
    rx.h.options.has = DK_TCP_HAS_TIMESTAMPS;
    rx.h.options.ts_val = dk_get_be32(a.header + 24);
    rx.h.options.ts_ecr = dk_get_be32(a.header + 28);
    rx.seq = c->rcv_nxt;
    rx.wnd = (uint64_t)dk_get_be16(a.header + 14) << c->snd_wscale;
    rx.len = a.text_len;
    rx.now = now;
    dk_tcp_rx_ack_good(c, &rx);
    rx_text(tcp, c, &a, now);
    return true;
}

/* False: the segment is not what its connection expects next, or not known to be, and nothing
 * happened. Its header is of the usual form. */
__attribute__((always_inline)) static inline bool
rx_predicted(struct dk_tcp *tcp, struct dk_tcp_conn *c, const struct arrived a, int64_t now)
{
    if (dk_unlikely(!c || !is_quiet(c, *a.tos) || !is_whole(c, &a) || !is_in_order(c, &a)))
        return false;
    const uint32_t ack = dk_get_be32(a.header + 8);
    struct dk_tcp_piece *done = NULL;
    if (ack != (uint32_t)c->snd_una) {
        if (dk_unlikely(!acks_first(c, ack)))
            return rx_acks_other(tcp, c, a, now);
        done = ack_first(tcp, c, now);
    } else if (dk_unlikely(a.text_len == 0 && c->snd_una != c->snd_nxt)) {
        return false; /* a duplicate */
    }
    take_timestamp(c, a.header);
    take_window(c, a.header, now);
    rx_text(tcp, c, &a, now);
    if (done)
        dk_tcp_piece_free(tcp, done);
    return true;
}

/* Bytes of the headers of what dk_tcp_input4 predicts. */
#define USUAL_FRAME (DK_ETH_HEADER_LEN + DK_IP4_HEADER_LEN + DK_TCP_USUAL_LEN)

/* The whole frame is looked at: its addresses are checked by finding the connection. found: what
 * was found before, or NULL. */
__attribute__((always_inline)) static inline bool
is_predicted4(struct dk_tcp *tcp, struct dk_tcp_conn *found, struct dk_rx_frame *frame, int64_t now)
{
    const uint8_t *ip = frame->data + DK_ETH_HEADER_LEN;
    uint8_t *header = frame->data + DK_ETH_HEADER_LEN + DK_IP4_HEADER_LEN;
    if (frame->len < USUAL_FRAME || !dk_plain_is_head(tcp->net, frame->data))
        return false;
    const uint32_t text_len =
        dk_get_be16(ip + 2) - (uint32_t)(DK_IP4_HEADER_LEN + DK_TCP_USUAL_LEN);
    if (text_len > frame->len - USUAL_FRAME || !is_usual(header) ||
        !dk_checksum_words_good(dk_checksum_words_20(ip)))
        return false;
    const struct arrived a = {
        .frame = frame, .tos = ip + 1, .header = header, .text_len = text_len};
    return rx_predicted(tcp, found ? check4(found, ip, header) : find4(tcp, ip, header), a, now);
}

void dk_tcp_input4(struct dk_net *net, struct dk_rx_frame *frame, int64_t now)
{
    struct dk_tcp *tcp = net->tcp;
    if (dk_likely(is_predicted4(tcp, NULL, frame, now)))
        DK_TCP_COUNT(tcp, rx_segments);
    else
        dk_net_input_tcp(tcp->net, frame, now);
}

bool dk_tcp_input4_of(struct dk_tcp *tcp, struct dk_tcp_conn *c, struct dk_rx_frame *frame,
                      int64_t now)
{
    if (dk_unlikely(!is_predicted4(tcp, c, frame, now)))
        return false;
    DK_TCP_COUNT(tcp, rx_segments);
    return true;
}

void dk_tcp_input(struct dk_net *net, const struct dk_ip_rx *p, int64_t now)
{
    struct dk_tcp *tcp = net->tcp;
    DK_TCP_COUNT(tcp, rx_segments);
    if (p->to_host && p->len >= DK_TCP_USUAL_LEN && is_usual(p->data)) {
        struct dk_rx_frame frame = {.buf = p->buf, .checksum = p->checksum};
        const struct arrived a = {.frame = &frame,
                                  .tos = &p->tos,
                                  .header = p->data,
                                  .text_len = p->len - DK_TCP_USUAL_LEN};
        struct dk_tcp_conn *c = dk_tcp_find(tcp, &p->dst, &p->src, ports_of(p->data));
        if (c)
            dk_tcp_learn_pair(c, p);
        if (dk_likely(rx_predicted(tcp, c, a, now)))
            return;
    }
    dk_tcp_rx_other(tcp, p, now);
}

void dk_tcp_input_other(struct dk_net *net, const struct dk_ip_rx *p, int64_t now)
{
    DK_TCP_COUNT(net->tcp, rx_segments);
    dk_tcp_rx_other(net->tcp, p, now);
}
