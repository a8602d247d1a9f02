/* SPDX-License-Identifier: MIT */
/*
 * IP as the transports (UDP, TCP, ICMP) see it: where a packet came from, and how one is sent.
 *
 * The IP layer checks a packet before a transport sees it: version, lengths, header checksum,
 * fragments put together, destination one of ours. Transports check their own checksum.
 */
#ifndef DK_NET_IP_H
#define DK_NET_IP_H

#include "base/checksum.h"
#include "net/addr.h"
#include "net/packet.h"

#include <stddef.h>
#include <string.h>

struct dk_net;

#define DK_IP_ICMP   1
#define DK_IP_TCP    6
#define DK_IP_UDP    17
#define DK_IP_ICMPV6 58

/* A packet that is for us. */
struct dk_ip_rx {
    struct dk_ip src, dst;
    uint8_t ttl;
    uint8_t protocol;
    uint8_t tos;           /* DSCP and ECN */
    uint8_t checksum;      /* of the transport: enum dk_rx_checksum */
    bool to_host;          /* dst is known to be one of our addresses, no group or broadcast */
    struct dk_buf *buf;    /* holds data; a transport that keeps bytes makes views of it */
    uint8_t *data;         /* the transport's header */
    uint32_t len;          /* from there on, without the link's padding */
    const uint8_t *header; /* the IP header, for an ICMP error about this packet */
    bool is_plain_pair;    /* IPv4: packets from src to dst are a host's to us (ip_in.h) */
};

/* An ICMP error about a packet that we sent (RFC 792, 4443), matched to a transport by the caller:
 * the addresses are ours as source and the remote as destination. */
enum dk_icmp_error_kind {
    DK_ICMP_UNREACHABLE,      /* network or host */
    DK_ICMP_PORT_UNREACHABLE, /* or protocol, or administratively: hard */
    DK_ICMP_TOO_BIG,
    DK_ICMP_TIME_EXCEEDED,
    DK_ICMP_PARAMETER,
};

struct dk_icmp_error {
    enum dk_icmp_error_kind kind;
    uint32_t mtu; /* TOO_BIG: of the next hop, 0: it was not said */
    struct dk_ip local, remote;
    const uint8_t *quoted; /* of the transport's header: 8 bytes at least */
    uint32_t quoted_len;
};

/*
 * Chooses how to reach dst: the source address (unless *src has a version: then checks that it is
 * ours), and the bytes that an IP packet to there may have (path MTU). 0, -ENETUNREACH,
 * -EADDRNOTAVAIL.
 */
int dk_ip_route(struct dk_net *net, const struct dk_ip *dst, struct dk_ip *src_in_out,
                uint32_t *mtu_out);

/* Lowers the path MTU to a destination (RFC 1191, 8201), for ten minutes. */
void dk_ip_set_path_mtu(struct dk_net *net, const struct dk_ip *dst, uint32_t mtu, int64_t now);

/* A transport saw an acknowledgement from there: the neighbour on the way is reachable (RFC 4861
 * section 7.3.1). Cheap enough for each. */
void dk_ip_confirm(struct dk_net *net, const struct dk_ip *dst, int64_t now);

/* Headroom in front of a transport's header for what lies below. */
#define DK_IP_HEADROOM 80 /* Ethernet, 802.1Q, IPv6 with a fragment header */

/* What a transport sends. */
struct dk_ip_tx {
    struct dk_ip src, dst;
    uint8_t protocol; /* this and the next three: dk_ip_tx_kind */
    uint8_t ttl;      /* 0: the default */
    uint8_t tos;
    bool dont_fragment;
    bool partial_checksum; /* the device has DK_NETDEV_TX_CHECKSUM: checksum_offset is to be done */
    bool patient; /* -EBUSY, not -ENOBUFS: where a neighbour that is being asked for has too many */
    /*
     * The transport's header, in storage of the caller's with DK_IP_HEADROOM bytes before it which
     * the IP layer writes to.
     */
    uint8_t *header;
    uint32_t header_len;
    /* Of a transport that sends from the same storage again, with all above as it was. NULL: it
     * does not. */
    struct dk_ip_kept *kept;
    /*
     * What the device gets. The pieces of payload, checksum_offset and segment_bytes are the
     * transport's to fill, all else is the IP layer's.
     */
    struct dk_tx_frame frame;
};

/* Protocol, time to live, type of service and whether it may be fragmented, to compare. */
static inline uint32_t dk_ip_tx_kind(const struct dk_ip_tx *tx)
{
    uint32_t kind;
    _Static_assert(offsetof(struct dk_ip_tx, dont_fragment) ==
                       offsetof(struct dk_ip_tx, protocol) + 3,
                   "side by side");
    memcpy(&kind, &tx->protocol, sizeof(kind));
    return kind;
}

/*
 * Sends one packet, through the neighbour table: where the link address is not known yet the packet
 * waits there, with holds on its pieces (of pieces without buffer: a copy). 0: it was sent or
 * waits; -EAGAIN: the device has no room (dk_net_tx_room tells when there is), -EMSGSIZE: longer
 * than the path takes and dont_fragment; -ENETUNREACH; -EHOSTUNREACH: the neighbour does not
 * answer; -ENOBUFS: too many wait; -EBUSY, for who is patient: likewise, and dk_transport.resolved
 * will tell when to try again.
 */
int dk_ip_send(struct dk_net *net, struct dk_ip_tx *tx, int64_t now);

typedef bool (*dk_ip_emit_fn)(void *arg, const struct dk_tx_frame *frame);

/* Gives a packet without payload to emit, or nothing to nobody: without a list of the stack's, for
 * a process that ends over it. false: where it would have to go is not known, or no room. */
bool dk_ip_say(struct dk_net *net, const struct dk_ip_tx *tx, dk_ip_emit_fn emit, void *arg);

/* Sum of the pseudo header (RFC 9293 section 3.1, 8200 section 8.1), not folded to the end. */
uint32_t dk_ip_pseudo_sum(const struct dk_ip *src, const struct dk_ip *dst, uint8_t protocol,
                          uint32_t len);

/* The same as words (checksum.h), for IPv4. */
static inline uint64_t dk_ip4_pseudo_words(const struct dk_ip *src, const struct dk_ip *dst,
                                           uint8_t protocol, uint32_t len)
{
    return (uint64_t)src->v4 + dst->v4 + htobe32(protocol) + htobe32(len);
}

#endif /* DK_NET_IP_H */
