/* SPDX-License-Identifier: MIT */
#include "net/wire/arp.h"

#include "base/bytes.h"
#include "net/wire/ethernet.h"
#include "net/wire/ipv4.h"

#define HARDWARE_ETHERNET 1

/* Hardware, protocol, and the lengths of their addresses. */
static const uint8_t KIND[6] = {0, HARDWARE_ETHERNET, 0x08, 0x00, 6, 4};

/* Nobody may claim a group's address, or be reached at a hardware address that is none. */
static bool sender_is_valid(const struct dk_arp *arp)
{
    static const struct dk_mac none;
    return !dk_mac_is_multicast(&arp->sender_mac) && !dk_mac_equal(&arp->sender_mac, &none) &&
           arp->sender_ip.bytes[0] < 224;
}

enum dk_wire dk_arp_parse(const uint8_t *bytes, size_t len, struct dk_arp *arp_out)
{
    struct dk_arp arp;
    if (len < DK_ARP_LEN)
        return DK_WIRE_ARP_SHORT;
    if (memcmp(bytes, KIND, sizeof(KIND)) != 0)
        return DK_WIRE_ARP_KIND;
    arp.operation = dk_get_be16(bytes + 6);
    if (arp.operation != DK_ARP_REQUEST && arp.operation != DK_ARP_REPLY)
        return DK_WIRE_ARP_OPERATION;
    memcpy(arp.sender_mac.bytes, bytes + 8, 6);
    arp.sender_ip = dk_ip4_at(bytes + 14);
    memcpy(arp.target_mac.bytes, bytes + 18, 6);
    arp.target_ip = dk_ip4_at(bytes + 24);
    if (!sender_is_valid(&arp))
        return DK_WIRE_ARP_ADDRESS;
    *arp_out = arp;
    return DK_WIRE_OK;
}

size_t dk_arp_emit(const struct dk_arp *arp, uint8_t *bytes)
{
    memcpy(bytes, KIND, sizeof(KIND));
    dk_put_be16(bytes + 6, arp->operation);
    memcpy(bytes + 8, arp->sender_mac.bytes, 6);
    memcpy(bytes + 14, arp->sender_ip.bytes, 4);
    memcpy(bytes + 18, arp->target_mac.bytes, 6);
    memcpy(bytes + 24, arp->target_ip.bytes, 4);
    return DK_ARP_LEN;
}

void dk_arp_print(struct dk_text *text, const struct dk_arp *arp)
{
    bool request = arp->operation == DK_ARP_REQUEST;
    dk_text_add(text, request ? "ARP, request who-has " : "ARP, reply ");
    dk_ip_print(text, request ? &arp->target_ip : &arp->sender_ip);
    dk_text_add(text, request ? " tell " : " is-at ");
    if (request)
        dk_ip_print(text, &arp->sender_ip);
    else
        dk_mac_print(text, &arp->sender_mac);
}
