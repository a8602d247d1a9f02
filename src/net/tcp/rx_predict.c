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
#include "base/checksum.h"
#include "net/tcp/ecn.h"
#include "net/tcp/header.h"
#include "net/tcp/pcb.h"
#include "net/tcp/rx.h"
#include "net/tcp/rx_ack.h"
#include "net/tcp/rx_text.h"
#include "net/tcp/rto.h"
#include "net/tcp/sendq.h"
#include "net/tcp/tx.h"

/* A header of the usual form. */
static inline bool is_usual(const struct dk_ip_rx *p)
{
    return p->to_host && p->len >= DK_TCP_USUAL_LEN &&
           (dk_get_be16(p->data + 12) & ~DK_TCP_PSH) == (DK_TCP_USUAL_LEN << 10 | DK_TCP_ACK) &&
           dk_get_be32(p->data + 20) == DK_TCP_TS_PREFIX;
}

static inline uint32_t ports_of(const struct dk_ip_rx *p)
{
    uint32_t ports;
    memcpy(&ports, p->data, sizeof(ports));
    return ports;
}

/* The connection of a packet: for IPv4 by both addresses in one word, as they stand in its header.
 */
static inline struct dk_tcp_conn *find(const struct dk_tcp *tcp, const struct dk_ip_rx *p)
{
    const uint32_t ports = ports_of(p);
    uint64_t pair;
    if (dk_unlikely(p->dst.version != 4))
        return dk_tcp_find(tcp, &p->dst, &p->src, ports);
    memcpy(&pair, p->header + 12, sizeof(pair));
    const uint64_t hash = dk_tcp_hash4(tcp, pair, ports);
    struct dk_tcp_conn *c = dk_tcp_conn_of(dk_tcp_table_first(&tcp->table, hash));
    while (c && dk_unlikely(c->ports != ports || c->pair4 != pair))
        c = dk_tcp_conn_of(dk_tcp_table_next(&tcp->table, &c->node));
    return c;
}

/* As dk_tcp_is_quiet, of one that agreed on ECN, where congestion has not to be told of, and is not
 * told of still; or that misses something, which this may be. */
__attribute__((noinline)) static bool is_nearly_quiet(const struct dk_tcp_conn *c,
                                                      const struct dk_ip_rx *p)
{
    if (c->ecn && (c->ece || (p->tos & DK_IP_ECN_MASK) == DK_IP_ECN_CE))
        return false;
    return c->state == DK_TCP_ESTABLISHED && !c->closing && !c->troubled && c->ts_on &&
           c->rcv_fin == DK_TCP_NONE && c->probes == 0;
}

static inline bool is_quiet(const struct dk_tcp_conn *c, const struct dk_ip_rx *p)
{
    return dk_likely(dk_tcp_is_quiet(c)) || is_nearly_quiet(c, p);
}

/* The connection has the sum of the pseudo header, which has no order. */
static inline bool is_whole(const struct dk_tcp_conn *c, const struct dk_ip_rx *p)
{
    if (p->checksum == DK_RX_CHECKSUM_GOOD)
        return true;
    uint64_t words = dk_checksum_words_32(htobe32(c->pseudo_sum + p->len), p->data);
    if (p->len > DK_TCP_USUAL_LEN)
        words = dk_checksum_words(words, p->data + DK_TCP_USUAL_LEN, p->len - DK_TCP_USUAL_LEN);
    return dk_checksum_words_good(words);
}

/* What is read of a segment that is usual. */
struct segment {
    uint64_t ack; /* extended */
    uint64_t wnd; /* scaled */
    uint32_t ts_val, len;
};

static inline struct segment read_segment(const struct dk_tcp_conn *c, const struct dk_ip_rx *p)
{
    const uint8_t *at = p->data;
    return (struct segment){
        .ack = dk_tcp_extend(c->snd_una, dk_get_be32(at + 8)),
        .wnd = (uint64_t)dk_get_be16(at + 14) << c->snd_wscale,
        .ts_val = dk_get_be32(at + 24),
        .len = p->len - DK_TCP_USUAL_LEN,
    };
}

/* The checks of timestamps and sequence number. */
static inline bool is_in_order(const struct dk_tcp_conn *c, const struct dk_ip_rx *p,
                               uint32_t ts_val)
{
    return (int32_t)(ts_val - c->ts_recent) >= 0 &&
           dk_get_be32(p->data + 4) == (uint32_t)c->rcv_nxt &&
           c->rcv_nxt + (p->len - DK_TCP_USUAL_LEN) <= c->rcv_adv;
}

/* As that, and the acknowledgement. */
static inline bool is_expected(const struct dk_tcp_conn *c, const struct dk_ip_rx *p,
                               const struct segment *s)
{
    if (!is_in_order(c, p, s->ts_val))
        return false;
    /* One that acknowledges nothing new is a duplicate, unless it has data or nothing is out. */
    return s->ack <= c->snd_nxt &&
           (s->ack > c->snd_una ||
            (s->ack == c->snd_una && (s->len != 0 || c->snd_una == c->snd_nxt)));
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

/* What is left of the fifth check for a segment that begins at rcv_nxt. */
static inline void take_window(struct dk_tcp_conn *c, const struct dk_ip_rx *p, int64_t now)
{
    const uint32_t wnd = (uint32_t)dk_get_be16(p->data + 14) << c->snd_wscale;
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

/* One that acknowledges more, or less, or what was sent again. */
__attribute__((noinline)) static void ack_other(struct dk_tcp_conn *c, const struct dk_ip_rx *p,
                                                int64_t now)
{
    struct dk_tcp_rx rx; /* of which only what is read is filled in */
    const struct segment s = read_segment(c, p);
    rx.h.options.has = DK_TCP_HAS_TIMESTAMPS;
    rx.h.options.ts_val = s.ts_val;
    rx.h.options.ts_ecr = dk_get_be32(p->data + 28);
    rx.seq = c->rcv_nxt;
    rx.ack = s.ack;
    rx.wnd = s.wnd;
    rx.len = s.len;
    rx.now = now;
    dk_tcp_rx_ack_good(c, &rx);
}

/* Takes the text of a segment whose acknowledgement was taken. */
__attribute__((always_inline)) static inline void take_text(struct dk_tcp_conn *c,
                                                            const struct dk_ip_rx *p, uint32_t len)
{
    dk_tcp_rx_in_order(c, p->buf, p->data + DK_TCP_USUAL_LEN, len);
}

/* Sends what is to be sent, or to be looked at as it waits to be. */
static inline void send_any(struct dk_tcp_conn *c, int64_t now)
{
    if (c->ack_now || c->snd_nxt < c->snd_end)
        dk_tcp_output(c, now);
}

/* RFC 7323 section 4.3. */
static inline void take_timestamp(struct dk_tcp_conn *c, uint32_t ts_val)
{
    if (c->rcv_nxt <= c->last_ack_sent)
        c->ts_recent = ts_val;
}

/* One that differs from the last only in its bytes and timestamp (net/gro.h). Acknowledges nothing
 * new, and has data: the checks left are those of what is its own. */
static inline bool rx_next(struct dk_tcp *tcp, struct dk_tcp_conn *c, const struct dk_ip_rx *p,
                           int64_t now)
{
    const struct segment s = read_segment(c, p);
    if (!is_quiet(c, p) || !is_whole(c, p) || !is_expected(c, p, &s) || s.ack != c->snd_una)
        return false;
    DK_TCP_COUNT(tcp, rx_segments);
    take_timestamp(c, s.ts_val);
    take_window(c, p, now);
    take_text(c, p, s.len);
    send_any(c, now);
    return true;
}

/* Takes what follows a segment that was as expected, while it is so too. */
__attribute__((noinline)) static void rx_group(struct dk_tcp *tcp, struct dk_tcp_conn *c,
                                               const struct dk_ip_rx *first, int64_t now)
{
    struct dk_gro *gro = &tcp->net->gro;
    struct dk_ip_rx p = *first;
    for (; gro->taken < gro->num; gro->taken++) {
        const struct dk_gro_segment *next = &gro->segments[gro->taken];
        p.buf = next->buf;
        p.data = next->data;
        p.len = next->len;
        p.checksum = next->checksum;
        if (!rx_next(tcp, c, &p, now))
            return;
    }
}

/* What is left when the acknowledgement was taken. */
__attribute__((always_inline)) static inline void rx_text(struct dk_tcp *tcp, struct dk_tcp_conn *c,
                                                          const struct dk_ip_rx *p, int64_t now)
{
    const uint32_t len = p->len - DK_TCP_USUAL_LEN;
    if (len != 0)
        take_text(c, p, len);
    send_any(c, now);
    if (len != 0 && dk_unlikely(tcp->net->gro.num != 0))
        rx_group(tcp, c, p, now);
}

/* As rx_predicted, of one that acknowledges more, or less, or what was sent again. */
__attribute__((noinline)) static bool rx_acks_other(struct dk_tcp *tcp, struct dk_tcp_conn *c,
                                                    const struct dk_ip_rx *p, int64_t now)
{
    const struct segment s = read_segment(c, p);
    if (!is_expected(c, p, &s))
        return false;
    take_timestamp(c, s.ts_val);
    ack_other(c, p, now);
    rx_text(tcp, c, p, now);
    return true;
}

/* False: the segment is not what its connection expects next, or not known to be, and nothing
 * happened. */
static inline bool rx_predicted(struct dk_tcp *tcp, const struct dk_ip_rx *p, int64_t now)
{
    if (dk_unlikely(!is_usual(p)))
        return false;
    struct dk_tcp_conn *c = find(tcp, p);
    if (dk_unlikely(!c || !is_quiet(c, p) || !is_whole(c, p)))
        return false;
    const uint32_t ts_val = dk_get_be32(p->data + 24), ack = dk_get_be32(p->data + 8);
    struct dk_tcp_piece *done = NULL;
    if (dk_unlikely(!is_in_order(c, p, ts_val)))
        return false;
    if (ack != (uint32_t)c->snd_una) {
        if (dk_unlikely(!acks_first(c, ack)))
            return rx_acks_other(tcp, c, p, now);
        done = ack_first(tcp, c, now);
    } else if (dk_unlikely(p->len == DK_TCP_USUAL_LEN && c->snd_una != c->snd_nxt)) {
        return false; /* a duplicate */
    }
    take_timestamp(c, ts_val);
    take_window(c, p, now);
    rx_text(tcp, c, p, now);
    if (done)
        dk_tcp_piece_free(tcp, done);
    return true;
}

void dk_tcp_input(struct dk_net *net, const struct dk_ip_rx *p, int64_t now)
{
    struct dk_tcp *tcp = net->tcp;
    DK_TCP_COUNT(tcp, rx_segments);
    if (dk_unlikely(!rx_predicted(tcp, p, now)))
        dk_tcp_rx_other(tcp, p, now);
}
