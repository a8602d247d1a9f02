/* SPDX-License-Identifier: MIT */
/* Flows of datagrams that come in (udp_flow.c). Private to UDP. */
#ifndef DK_NET_UDP_FLOW_H
#define DK_NET_UDP_FLOW_H

#include "net/stack.h"
#include "net/udp.h"

#define DK_UDP_FLOWS 256

#define DK_UDP_LIKE_BYTES offsetof(struct dk_udp_datagram, buf) /* of a datagram */

/* What the frames of a flow have in common, as it lies there. Whether a packet may be fragmented is
 * not looked at. */
struct dk_udp_words4 {
    uint64_t macs;
    uint64_t mac_type_version_tos; /* 8 bytes of the frame, from the 8th on */
    uint64_t addresses;
    uint32_t place_ttl_protocol; /* place: of a fragment */
    uint32_t ports;
};

/* Of the label of a flow, which is no part of it, the lower half is not looked at. */
struct dk_udp_words6 {
    uint64_t macs;
    uint64_t mac_type_version_tos;
    uint64_t addresses[4];
    uint32_t protocol_ttl;
    uint32_t ports;
};

struct dk_udp_flow {
    union {
        struct dk_udp_words4 v4;
        struct dk_udp_words6 v6;
    } words; /* all zero, which no frame has: none */
    struct dk_udp_sock *sock;
    struct dk_udp_datagram like; /* what its datagrams have in common; no buf */
};

/* A datagram in the frame that is worked on (dk_net.udp_frame) goes to a socket: those like it will
 * too. */
void dk_udp_flow_learn(struct dk_net *net, const struct dk_ip_rx *rx, struct dk_udp_sock *sock);

#endif /* DK_NET_UDP_FLOW_H */
