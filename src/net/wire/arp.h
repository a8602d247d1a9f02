/* SPDX-License-Identifier: MIT */
/*
 * ARP for IPv4 over Ethernet (RFC 826).
 */
#ifndef DK_NET_WIRE_ARP_H
#define DK_NET_WIRE_ARP_H

#include "net/addr.h"
#include "net/wire/reason.h"
#include "net/wire/text.h"

#define DK_ARP_LEN 28

#define DK_ARP_REQUEST 1
#define DK_ARP_REPLY   2

struct dk_arp {
    uint16_t operation;
    struct dk_mac sender_mac, target_mac;
    struct dk_ip sender_ip, target_ip;
};

/* The sender's hardware address is unicast and not zero; its IP address is no multicast, and 0 only
 * in a probe (RFC 5227). Padding may follow. */
enum dk_wire dk_arp_parse(const uint8_t *bytes, size_t len, struct dk_arp *arp_out);

/* Writes DK_ARP_LEN bytes and returns that. */
size_t dk_arp_emit(const struct dk_arp *arp, uint8_t *bytes);

void dk_arp_print(struct dk_text *text, const struct dk_arp *arp);

#endif /* DK_NET_WIRE_ARP_H */
