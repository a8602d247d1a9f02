/* SPDX-License-Identifier: MIT */
/*
 * The header of every segment but SYN, and what having sent it means. Here, because most segments
 * that leave do so by a short way (tx_short.c).
 */
#ifndef DK_NET_TCP_HEADER_H
#define DK_NET_TCP_HEADER_H

#include "base/checksum_here.h"
#include "net/dev.h"
#include "net/tcp/tcb.h"
#include "net/tcp/timer.h"

#include <endian.h>

/* NOP NOP TIMESTAMPS 10: RFC 7323 appendix A. */
#define DK_TCP_TS_PREFIX UINT32_C(0x0101080a)
#define DK_TCP_USUAL_LEN (DK_TCP_HEADER_LEN + DK_TCP_TS_LEN) /* of a header with timestamps */

/* The sum of a header is that of its words as they lie in memory, of 64 bits: what is written is
 * added on its way. */

static inline uint32_t dk_tcp_put_word(uint8_t *at, uint32_t word)
{
    memcpy(at, &word, sizeof(word));
    return word;
}

/* Two words of the header, as numbers. */
static inline uint64_t dk_tcp_put_two(uint8_t *at, uint32_t first, uint32_t second)
{
    const uint64_t words = htobe64((uint64_t)first << 32 | second);
    memcpy(at, &words, sizeof(words));
    return words;
}

/* Writes a header with timestamps, where its checksum is 0 still; returns its sum and `more`, which
 * has 32 bits. */
static inline uint64_t dk_tcp_put_usual(const struct dk_tcp_conn *c, uint64_t seq, uint8_t flags,
                                        uint32_t window, uint8_t *at, int64_t now, uint32_t more)
{
    const uint32_t our_port_first = c->ports << 16 | c->ports >> 16;
    const uint32_t control = DK_TCP_USUAL_LEN << 26 | (uint32_t)flags << 16 | window;
    uint64_t sum = more;
    sum += dk_tcp_put_word(at, our_port_first);
    sum += dk_tcp_put_word(at + 4, htobe32((uint32_t)seq));
    sum += dk_tcp_put_word(at + 20, htobe32(DK_TCP_TS_PREFIX));
    sum = dk_checksum_add_two(sum, dk_tcp_put_two(at + 8, (uint32_t)c->rcv_nxt, control),
                              dk_tcp_put_two(at + 24, dk_tcp_ts_now(c, now), c->ts_recent));
    dk_tcp_put_word(at + 16, 0);
    return sum;
}

/* Adds the text of a segment: blocks in place, and what is left of them by a call. */
__attribute__((always_inline)) static inline uint64_t
dk_tcp_add_text(uint64_t words, const uint8_t *text, uint32_t len)
{
    const uint32_t rest = len % 64;
    text += len - rest;
    words = dk_checksum_add_blocks(words, text, len - rest);
    return dk_likely(rest == 0) ? words : dk_checksum_words(words, text, rest);
}

/* Where the packet goes, and how. The last one's was mostly the same. */
static inline void dk_tcp_address(struct dk_tcp *tcp, const struct dk_tcp_conn *c)
{
    struct dk_ip_tx *tx = &tcp->tx;
    if (tcp->tx_conn == c)
        return;
    tx->src = c->local_ip;
    tx->dst = c->remote_ip;
    tx->ttl = c->ttl;
    tx->tos = c->tos;
    tcp->tx_conn = c;
}

/* The segment told the peer where we are; `edge` is no less than rcv_adv. */
static inline void dk_tcp_ack_sent(struct dk_tcp_conn *c, uint64_t edge)
{
    c->last_ack_sent = c->rcv_nxt;
    c->rcv_adv = edge;
    c->ack_now = c->ack_timed = false;
    c->ack_bytes = 0;
}

#endif /* DK_NET_TCP_HEADER_H */
