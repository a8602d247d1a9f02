/* SPDX-License-Identifier: MIT */
/* ICMP of both versions, as the rest of the stack uses it. Private to src/net but for ping.h. */
#ifndef DK_NET_ICMP_H
#define DK_NET_ICMP_H

#include "net/stack.h"

/* A bucket of tokens: at most `burst` at once, one more each `interval`. */
struct dk_bucket {
    uint32_t tokens, burst;
    int64_t interval;
    int64_t filled; /* when a token was last added */
};

struct dk_ping;

#define DK_PINGS_MAX 64

struct dk_icmp {
    struct dk_bucket errors, replies;
    struct dk_ping *pings[DK_PINGS_MAX];
};

int dk_icmp_init(struct dk_net *net, int64_t now);
void dk_icmp_fini(struct dk_net *net);

/* Whether one more of a kind may be sent now. */
bool dk_bucket_take(struct dk_bucket *bucket, int64_t now);

/*
 * Sends an error about a packet in buf, of len bytes from its IP header on, unless the rules forbid
 * it (RFC 1122 section 3.2.2, 4443 section 2.4) or too many were sent. type, code, rest: of the
 * version of the packet.
 */
void dk_icmp4_error(struct dk_net *net, struct dk_buf *buf, const uint8_t *packet, uint32_t len,
                    uint8_t type, uint8_t code, uint32_t rest);
void dk_icmp6_error(struct dk_net *net, struct dk_buf *buf, const uint8_t *packet, uint32_t len,
                    uint8_t type, uint8_t code, uint32_t rest);

/* Nobody has the port that a packet is for. */
void dk_icmp_port_unreachable(struct dk_net *net, const struct dk_ip_rx *rx);

/* An answer to an echo request of ours, and an error about one. */
void dk_ping_reply(struct dk_net *net, const struct dk_ip_rx *rx, uint32_t rest,
                   const uint8_t *data, uint32_t len);
void dk_ping_error(struct dk_net *net, const struct dk_icmp_error *error);

/* Answers an echo request; type: of the reply. rx->data is the request. */
void dk_icmp_answer_echo(struct dk_net *net, const struct dk_ip_rx *rx, uint8_t type, int64_t now);

/* nd.c: a message of neighbour discovery whose checksum is good. */
void dk_nd_input(struct dk_net *net, const struct dk_ip_rx *rx, int64_t now);
/* Asks routers to advertise themselves. */
void dk_nd_solicit_routers(struct dk_net *net);
/* Asks whether anybody has an address of ours that is tentative; tells all that it is ours. */
void dk_nd_probe(struct dk_net *net, const struct dk_ip *target);
void dk_nd_announce(struct dk_net *net, const struct dk_ip *target);

/* arp.c: asks whether anybody has an address; tells all that it is ours (RFC 5227 sections 2.1.1
 * and 2.3). */
void dk_arp_probe(struct dk_net *net, const struct dk_ip *ip);
void dk_arp_announce(struct dk_net *net, const struct dk_ip *ip);

#endif /* DK_NET_ICMP_H */
