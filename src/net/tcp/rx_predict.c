/* SPDX-License-Identifier: MIT */
/*
 * Header prediction: most segments of a connection are the next bytes in order, or acknowledge some
 * that were sent, and are nothing special. For those the checks of RFC 9293 section 3.10.7.4 come
 * down to comparisons, made here in the same order; a segment that passes all of them has the same
 * effect as in rx.c, by the same functions. Whatever does not goes there, untouched.
 *
 * Passed over for a segment that passes: RST, SYN, FIN and URG (it has none of them), trimming (it
 * begins at rcv_nxt and ends within the window), duplicate acknowledgements and recovery (it is
 * none, and nothing is lost), options (timestamps alone, as agreed on).
 */
#include "base/bytes.h"
#include "base/checksum.h"
#include "net/tcp/header.h"
#include "net/tcp/pcb.h"
#include "net/tcp/rx.h"
#include "net/tcp/rx_ack.h"
#include "net/tcp/rx_text.h"
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

/* The connection has the sum of the pseudo header, which has no order. */
static inline bool is_whole(const struct dk_tcp_conn *c, const struct dk_ip_rx *p)
{
    return p->checksum == DK_RX_CHECKSUM_GOOD ||
           dk_checksum_is_good(c->pseudo_sum + p->len, p->data, p->len);
}

/* The checks, in order: timestamps, sequence number, acknowledgement. */
static inline bool is_expected(const struct dk_tcp_conn *c, const struct dk_tcp_rx *rx)
{
    if ((int32_t)(rx->h.options.ts_val - c->ts_recent) < 0)
        return false;
    if (rx->h.seq != (uint32_t)c->rcv_nxt || c->rcv_nxt + rx->len > c->rcv_adv)
        return false;
    /* One that acknowledges nothing new is a duplicate, unless it has data or nothing is out. */
    return rx->ack <= c->snd_nxt &&
           (rx->ack > c->snd_una ||
            (rx->ack == c->snd_una && (rx->len != 0 || c->snd_una == c->snd_nxt)));
}

/* What the checks and dk_tcp_rx_ack_good read of a segment. */
static inline void read_segment(const struct dk_tcp_conn *c, const struct dk_ip_rx *p,
                                struct dk_tcp_rx *rx, int64_t now)
{
    const uint8_t *at = p->data;
    rx->h.seq = dk_get_be32(at + 4);
    rx->h.options.has = DK_TCP_HAS_TIMESTAMPS;
    rx->h.options.ts_val = dk_get_be32(at + 24);
    rx->h.options.ts_ecr = dk_get_be32(at + 28);
    rx->seq = c->rcv_nxt;
    rx->ack = dk_tcp_extend(c->snd_una, dk_get_be32(at + 8));
    rx->wnd = (uint64_t)dk_get_be16(at + 14) << c->snd_wscale;
    rx->len = p->len - DK_TCP_USUAL_LEN;
    rx->now = now;
}

/* Whether anything is to be sent, or what waits to be is to be looked at. */
static inline bool has_output(const struct dk_tcp_conn *c)
{
    return c->ack_now || c->fin_queued || c->snd_nxt < c->snd_end;
}

/* False: the segment is not what its connection expects next, or not known to be, and nothing
 * happened. */
static inline bool rx_predicted(struct dk_tcp *tcp, const struct dk_ip_rx *p, int64_t now)
{
    struct dk_tcp_rx rx; /* of which only what the functions here read is filled in */
    if (dk_unlikely(!is_usual(p)))
        return false;
    struct dk_tcp_conn *c = dk_tcp_find(tcp, &p->dst, &p->src, ports_of(p));
    if (dk_unlikely(!c || !dk_tcp_is_quiet(c) || !is_whole(c, p)))
        return false;
    read_segment(c, p, &rx, now);
    if (dk_unlikely(!is_expected(c, &rx)))
        return false;
    if (c->rcv_nxt <= c->last_ack_sent) { /* RFC 7323 section 4.3 */
        c->ts_recent = rx.h.options.ts_val;
        c->ts_recent_at = now;
    }
    dk_tcp_rx_ack_good(c, &rx);
    if (rx.len != 0)
        dk_tcp_rx_in_order(c, p->buf, p->data + DK_TCP_USUAL_LEN, rx.len, now);
    if (has_output(c))
        dk_tcp_output(c, now);
    return true;
}

void dk_tcp_input(struct dk_net *net, const struct dk_ip_rx *p, int64_t now)
{
    struct dk_tcp *tcp = net->tcp;
    DK_TCP_COUNT(tcp, rx_segments);
    if (dk_unlikely(!rx_predicted(tcp, p, now)))
        dk_tcp_rx_other(tcp, p, now);
}
