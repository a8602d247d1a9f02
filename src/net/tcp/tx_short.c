/* SPDX-License-Identifier: MIT */
/*
 * The short way out: what was pushed leaves as one segment at once, and nothing else is to be sent.
 *
 * A connection on which nothing unusual is going on sends its answer so. The conditions are those
 * of tx.c, where they come down to comparisons; what fits leaves with the same effect as there, and
 * what does not goes there, untouched.
 */
#include "base/bytes.h"
#include "net/ip_out.h"
#include "net/route.h"
#include "net/tcp/header.h"
#include "net/tcp/rcvq.h"
#include "net/tcp/rto.h"
#include "net/tcp/sendq.h"
#include "net/tcp/tx.h"

/* No retransmission, probe, or duplicate acknowledgement is being dealt with; FIN is not due. */
static inline bool is_untroubled(const struct dk_tcp_conn *c)
{
    static const uint8_t none[sizeof(c->troubles)];
    return dk_tcp_is_quiet(c) && memcmp(c->troubles, none, sizeof(none)) == 0 && !c->fin_queued;
}

/* Windows of the peer and of congestion; a connection that was idle starts anew in tx.c. */
static inline bool is_let(const struct dk_tcp_conn *c, uint32_t len, int64_t now)
{
    return c->snd_end <= c->snd_right && (uint64_t)c->flight_bytes + len <= c->cc.cwnd &&
           (c->board || now - c->last_tx_data <= c->rto_ns);
}

/* Nagle's rule. */
static inline bool may_be_small(const struct dk_tcp_conn *c, uint32_t len)
{
    return c->option[DK_TCP_NODELAY] || c->snd_small <= c->snd_una || len == c->snd_mss;
}

/* The way to the peer; the connection remembers where it was found. */
static inline struct dk_way *way_of(struct dk_tcp_conn *c)
{
    if (dk_unlikely(!c->way || !dk_ip_equal(&c->way->dst, &c->remote_ip)))
        c->way = dk_route_way(c->tcp->net, &c->remote_ip);
    return c->way;
}

/* Makes the packet, with the first len bytes at snd_nxt, of one piece. */
static inline void make(struct dk_tcp_conn *c, struct dk_ip_tx *tx, uint32_t len, uint64_t edge,
                        int64_t now)
{
    const struct dk_tcp_piece *p = c->send_piece;
    const uint8_t *data = p->data + (c->snd_nxt - p->seq);
    uint16_t window = (uint16_t)((edge - c->rcv_nxt) >> c->rcv_wscale);
    dk_tcp_address(c, tx);
    tx->header_len = DK_TCP_USUAL_LEN;
    tx->partial_checksum = false;
    tx->frame.num_pieces = 1;
    tx->frame.pieces[0].data = data;
    tx->frame.pieces[0].len = len;
    tx->frame.pieces[0].buf = p->buf;
    uint64_t words =
        dk_tcp_put_usual(c, c->snd_nxt, DK_TCP_ACK | DK_TCP_PSH, window, tx->header, now);
    uint32_t sum = c->pseudo_sum + DK_TCP_USUAL_LEN + len + dk_checksum_fold64(words);
    dk_put_be16(tx->header + DK_TCP_CHECKSUM_OFFSET,
                dk_checksum_finish(dk_checksum_add(sum, data, len)));
}

static inline void sent(struct dk_tcp_conn *c, uint32_t len, uint64_t edge, int64_t now)
{
    c->ip_err = 0;
    DK_TCP_COUNT(c->tcp, tx_segments);
    dk_count(&c->tcp->stats.tx_bytes, len);
    dk_tcp_ack_sent(c, edge);
    dk_tcp_board_append(c, c->snd_end, now);
    c->send_piece = NULL;
    if (len < c->snd_mss)
        c->snd_small = c->snd_nxt;
    c->last_tx_data = now;
    dk_tcp_sent_something(c, now);
}

bool dk_tcp_output_short(struct dk_tcp_conn *c, int64_t now)
{
    struct dk_tcp *tcp = c->tcp;
    const uint64_t unsent = c->snd_end - c->snd_nxt;
    const uint32_t len = (uint32_t)unsent;
    if (!is_untroubled(c) || unsent > c->snd_mss || !c->send_piece || c->send_piece->next ||
        !is_let(c, len, now) || !may_be_small(c, len))
        return false;
    struct dk_way *way = way_of(c);
    if (dk_unlikely(!way || !dk_tcp_board_reserve(c) ||
                    tcp->config.device_caps & DK_NETDEV_TX_CHECKSUM))
        return false;
    tcp->net->now = now;
    const uint64_t edge = dk_tcp_window_edge(c);
    make(c, &tcp->tx, len, edge, now);
    if (dk_unlikely(dk_ip_send_way(tcp->net, way, &tcp->tx, DK_TCP_USUAL_LEN + len, now) != 0))
        return false;
    sent(c, len, edge, now);
    return true;
}
