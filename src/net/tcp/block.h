/* SPDX-License-Identifier: MIT */
/*
 * SACK blocks that we tell the peer (RFC 2018 section 4, RFC 2883).
 *
 * `blocks` are runs of bytes that lie beyond rcv_nxt, the one that grew last first, none touching
 * another. Where there are more runs than places the eldest are not told again. `dsack` is what
 * came twice; it goes before the others, once. Without memory for them nothing is told.
 */
#ifndef DK_NET_TCP_BLOCK_H
#define DK_NET_TCP_BLOCK_H

#include "net/tcp/tcb.h"

static inline bool dk_tcp_blocks_any(const struct dk_tcp_conn *c)
{
    return c->reasm && (c->reasm->num_blocks | c->reasm->has_dsack);
}

/* [start, end) is there now, out of order; the FIN has a number as well. */
void dk_tcp_blocks_add(struct dk_tcp_conn *c, uint64_t start, uint64_t end);

/* [start, end) came again. */
void dk_tcp_blocks_twice(struct dk_tcp_conn *c, uint64_t start, uint64_t end);

/* rcv_nxt has moved; something was out of order. */
void dk_tcp_blocks_advance(struct dk_tcp_conn *c);

/* Payload that a new segment leaves for the option: 0 where segments are too small for it. */
uint32_t dk_tcp_blocks_reserve(const struct dk_tcp_conn *c);

/* Puts the option behind a header of header_len bytes, and the length of all into it; payload is
 * that of the segment. Returns the option's length; 0: there is no room. */
uint32_t dk_tcp_blocks_put(const struct dk_tcp_conn *c, uint32_t payload, uint8_t *header,
                           uint32_t header_len);

/* They were sent. */
void dk_tcp_blocks_told(struct dk_tcp_conn *c);

#endif /* DK_NET_TCP_BLOCK_H */
