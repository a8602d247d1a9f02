/* SPDX-License-Identifier: MIT */
/*
 * Ethernet II frames, with or without one IEEE 802.1Q tag.
 *
 *     dst 6 | src 6 | [0x8100 | priority 3, drop 1, id 12] | type 2 | payload
 */
#ifndef DK_NET_WIRE_ETHERNET_H
#define DK_NET_WIRE_ETHERNET_H

#include "net/addr.h"
#include "net/wire/reason.h"
#include "net/wire/text.h"

#define DK_ETH_HEADER_LEN 14
#define DK_ETH_HEADER_MAX 18 /* with a tag */

#define DK_ETHERTYPE_IP4  0x0800
#define DK_ETHERTYPE_ARP  0x0806
#define DK_ETHERTYPE_VLAN 0x8100
#define DK_ETHERTYPE_IP6  0x86dd

struct dk_eth_header {
    struct dk_mac dst, src;
    uint16_t type; /* of the payload: never DK_ETHERTYPE_VLAN of the one tag that is understood */
    uint16_t vlan; /* 0 to 4095; 0: no tag, or one that only has a priority */
    uint8_t priority;
    bool drop_eligible;
    bool tagged;
    uint8_t header_len;
};

#define DK_MAC_BROADCAST ((struct dk_mac){{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}})

static inline bool dk_mac_is_multicast(const struct dk_mac *mac)
{
    return (mac->bytes[0] & 1) != 0; /* broadcast is one */
}

enum dk_wire dk_eth_header_parse(const uint8_t *bytes, size_t len,
                                 struct dk_eth_header *header_out);

/* Writes the header: a tag when header->tagged. Returns its length; header_len is not read. */
size_t dk_eth_header_emit(const struct dk_eth_header *header, uint8_t *bytes);

void dk_eth_header_print(struct dk_text *text, const struct dk_eth_header *header);

#endif /* DK_NET_WIRE_ETHERNET_H */
