/* SPDX-License-Identifier: MIT */
/*
 * The header of every segment but SYN, and what having sent it means. Here, because most segments
 * that leave do so by a short way (tx_short.c).
 */
#ifndef DK_NET_TCP_HEADER_H
#define DK_NET_TCP_HEADER_H

#include "net/dev.h"
#include "net/tcp/tcb.h"
#include "net/tcp/timer.h"

#include <endian.h>

/* NOP NOP TIMESTAMPS 10: RFC 7323 appendix A. */
#define DK_TCP_TS_PREFIX UINT32_C(0x0101080a)
#define DK_TCP_USUAL_LEN (DK_TCP_HEADER_LEN + DK_TCP_TS_LEN) /* of a header with timestamps */

/* The sum of a header is that of its words as they lie in memory (dk_checksum_fold64). */

static inline uint32_t dk_tcp_put_word(uint8_t *at, uint32_t word)
{
    memcpy(at, &word, sizeof(word));
    return word;
}

/* Writes a header with timestamps, without checksum; returns its sum. */
static inline uint64_t dk_tcp_put_usual(const struct dk_tcp_conn *c, uint64_t seq, uint8_t flags,
                                        uint16_t window, uint8_t *at, int64_t now)
{
    const uint32_t our_port_first = c->ports << 16 | c->ports >> 16;
    const uint32_t control = DK_TCP_USUAL_LEN << 26 | (uint32_t)flags << 16 | window;
    uint64_t sum = dk_tcp_put_word(at, our_port_first);
    sum += dk_tcp_put_word(at + 4, htobe32((uint32_t)seq));
    sum += dk_tcp_put_word(at + 8, htobe32((uint32_t)c->rcv_nxt));
    sum += dk_tcp_put_word(at + 12, htobe32(control));
    sum += dk_tcp_put_word(at + 16, 0);
    sum += dk_tcp_put_word(at + 20, htobe32(DK_TCP_TS_PREFIX));
    sum += dk_tcp_put_word(at + 24, htobe32(dk_tcp_ts_now(c, now)));
    sum += dk_tcp_put_word(at + 28, htobe32(c->ts_recent));
    return sum;
}

/* Where the packet goes, and how. The last one's was mostly the same. */
static inline void dk_tcp_address(struct dk_tcp *tcp, const struct dk_tcp_conn *c)
{
    struct dk_ip_tx *tx = &tcp->tx;
    if (tcp->tx_conn == c)
        return;
    tx->src = c->local_ip;
    tx->dst = c->remote_ip;
    tx->ttl = (uint8_t)c->option[DK_TCP_TTL];
    tx->tos = (uint8_t)c->option[DK_TCP_TOS];
    tcp->tx_conn = c;
}

/* The segment told the peer where we are. */
static inline void dk_tcp_ack_sent(struct dk_tcp_conn *c, uint64_t edge)
{
    c->last_ack_sent = c->rcv_nxt;
    c->rcv_adv = dk_tcp_max64(c->rcv_adv, edge);
    c->ack_now = c->ack_timed = false;
    c->ack_bytes = 0;
}

#endif /* DK_NET_TCP_HEADER_H */
