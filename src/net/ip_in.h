/* SPDX-License-Identifier: MIT */
/* Packets on their way in, below the transports. Private to src/net. */
#ifndef DK_NET_IP_IN_H
#define DK_NET_IP_IN_H

#include "base/bytes.h"
#include "net/stack.h"
#include "net/wire/ethernet.h"

#include <endian.h>
#include <string.h>

/* One packet as IP gets it. */
struct dk_net_rx {
    struct dk_buf *buf;
    uint8_t *data; /* the IP (ARP) header */
    uint32_t len;  /* with the link's padding */
    uint8_t checksum;
    bool link_group;  /* it came to a multicast or broadcast link address */
    bool looped;      /* it never was on a wire */
    bool reassembled; /* it was put together of fragments */
};

/* plain.c: makes what frames are compared with. */
void dk_plain_init(struct dk_net *net);

/* plain.c: an address of ours changed. */
void dk_plain_forget(struct dk_net *net);

/* plain.c: notes that a packet between the two addresses in this IPv4 header, to us and no group,
 * is neither from a wrong source nor for another host. */
void dk_plain_learn(struct dk_net *net, const uint8_t *ip);

/* plain.c: a frame that seems to have a datagram, of no flow that is known. */
void dk_net_input_udp(struct dk_net *net, const struct dk_rx_frame *frame, int64_t now);

/* Whether a frame, which has that length, is to our address, without a tag, from a host, and has
 * IPv4 without options or fragments. */
static inline bool dk_plain_is_head(const struct dk_net *net, const uint8_t *frame)
{
    const uint16_t place =
        dk_get_u16(frame + DK_ETH_HEADER_LEN + 6); /* flags, offset of a fragment */
    return (dk_get_u64(frame) & net->plain_mask) == net->plain_word &&
           dk_get_be16(frame + 12) == DK_ETHERTYPE_IP4 && frame[DK_ETH_HEADER_LEN] == 0x45 &&
           !(place & htobe16(0x3fff));
}

/* plain.c: a frame that seems to have a segment of TCP, which is not what a connection expects. */
void dk_net_input_tcp(struct dk_net *net, const struct dk_rx_frame *frame, int64_t now);

/* Any frame. */
void dk_link_input(struct dk_net *net, const struct dk_rx_frame *frame, int64_t now);

/* By the version in its first byte. */
void dk_ip_input(struct dk_net *net, const struct dk_net_rx *rx, int64_t now);

void dk_ip4_input(struct dk_net *net, const struct dk_net_rx *rx, int64_t now);
/* Drops a packet that nobody takes, and tells its sender. */
void dk_ip4_no_protocol(struct dk_net *net, const struct dk_ip_rx *packet);
void dk_ip6_input(struct dk_net *net, const struct dk_net_rx *rx, int64_t now);
void dk_arp_input(struct dk_net *net, const struct dk_net_rx *rx, int64_t now);

/* reass.c: a fragment. */
struct dk_fragment {
    struct dk_ip src, dst;
    uint8_t protocol; /* IPv6: of the fragment header */
    uint8_t tos;
    bool more;
    uint32_t id;
    uint32_t offset;
    uint32_t len;
    const uint8_t *data;
    const uint8_t *header; /* what goes before the whole packet's payload */
    uint32_t header_len;
};

int dk_reass_init(struct dk_net *net);
void dk_reass_fini(struct dk_net *net);

struct dk_reassembled {
    struct dk_buf *buf; /* the caller's hold */
    uint8_t *header;    /* of the first fragment, as it came, right before the payload */
    uint32_t header_len;
    uint32_t len; /* from there on */
    uint8_t protocol;
};

/* Adds a fragment. true: the packet is whole. false: not yet, or the fragment was dropped, which
 * was counted. */
bool dk_reass_add(struct dk_net *net, const struct dk_fragment *fragment, int64_t now,
                  struct dk_reassembled *whole_out);

#endif /* DK_NET_IP_IN_H */
