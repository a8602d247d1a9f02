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

/* Writes a header with timestamps, without checksum; returns its sum. */
static inline uint64_t dk_tcp_put_usual(const struct dk_tcp_conn *c, uint64_t seq, uint8_t flags,
                                        uint16_t window, uint8_t *bytes, int64_t now)
{
    const uint32_t words[8] = {
        c->ports << 16 | c->ports >> 16, /* our port first */
        htobe32((uint32_t)seq),
        htobe32((uint32_t)c->rcv_nxt),
        htobe32(DK_TCP_USUAL_LEN << 26 | (uint32_t)flags << 16 | window),
        0,
        htobe32(DK_TCP_TS_PREFIX),
        htobe32(dk_tcp_ts_now(c, now)),
        htobe32(c->ts_recent),
    };
    memcpy(bytes, words, sizeof(words));
    return (uint64_t)words[0] + words[1] + words[2] + words[3] + words[5] + words[6] + words[7];
}

/* What the parts of the packet that are not the segment's are. */
static inline void dk_tcp_address(const struct dk_tcp_conn *c, struct dk_ip_tx *tx)
{
    tx->src = c->local_ip;
    tx->dst = c->remote_ip;
    tx->ttl = (uint8_t)c->option[DK_TCP_TTL];
    tx->tos = (uint8_t)c->option[DK_TCP_TOS];
    tx->header = c->tcp->head + DK_IP_HEADROOM;
}

/* The segment told the peer where we are. */
static inline void dk_tcp_ack_sent(struct dk_tcp_conn *c, uint64_t edge)
{
    c->last_ack_sent = c->rcv_nxt;
    c->rcv_adv = dk_tcp_max64(c->rcv_adv, edge);
    c->ack_now = false;
    c->ack_bytes = 0;
    dk_tcp_timer_clear(c, DK_TCP_TIMER_ACK);
}

#endif /* DK_NET_TCP_HEADER_H */
