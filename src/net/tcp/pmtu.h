/* SPDX-License-Identifier: MIT */
/*
 * Path MTU (RFC 1191, 8201) and other ICMP errors, believed only as far as RFC 5927 says.
 */
#ifndef DK_NET_TCP_PMTU_H
#define DK_NET_TCP_PMTU_H

#include "net/tcp/tcb.h"

/* Sets snd_mss from the path MTU, the peer's MSS, the option, and what options take. */
void dk_tcp_pmtu_set_mss(struct dk_tcp_conn *c);

/* Headers of IP and TCP without options; a packet with so much payload; the least that a path may
 * have; the MSS that the peer and the owner allow. */
uint32_t dk_tcp_pmtu_headers(const struct dk_tcp_conn *c);
uint32_t dk_tcp_pmtu_packet(const struct dk_tcp_conn *c, uint32_t payload);
uint32_t dk_tcp_pmtu_least(const struct dk_tcp_conn *c);
uint32_t dk_tcp_pmtu_peer_mss(const struct dk_tcp_conn *c);

/* Segments are shorter from now on, and what is longer is lost. */
void dk_tcp_pmtu_shorten(struct dk_tcp_conn *c, uint32_t mtu);

/* Asks the route again after -EMSGSIZE; true: segments are shorter now. */
bool dk_tcp_pmtu_refresh(struct dk_tcp_conn *c);

/* The path takes no more than mtu: what was longer is lost, and is sent again in shorter pieces. */
void dk_tcp_pmtu_apply(struct dk_tcp_conn *c, uint32_t mtu, int64_t now);

void dk_tcp_icmp(struct dk_tcp *tcp, const struct dk_icmp_error *e, int64_t now);

#endif /* DK_NET_TCP_PMTU_H */
