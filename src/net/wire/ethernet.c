/* SPDX-License-Identifier: MIT */
#include "net/wire/ethernet.h"

#include "base/bytes.h"

#define TYPE_MIN 0x600 /* below: a length, or nothing (IEEE 802.3, section 3.2.6) */

enum dk_wire dk_eth_header_parse(const uint8_t *bytes, size_t len, struct dk_eth_header *header_out)
{
    if (len < DK_ETH_HEADER_LEN)
        return DK_WIRE_ETH_SHORT;
    uint16_t type = dk_get_be16(bytes + 12), tag = 0;
    bool tagged = type == DK_ETHERTYPE_VLAN;
    if (tagged) {
        if (len < DK_ETH_HEADER_MAX)
            return DK_WIRE_ETH_SHORT;
        tag = dk_get_be16(bytes + 14);
        type = dk_get_be16(bytes + 16);
    }
    if (type < TYPE_MIN)
        return DK_WIRE_ETH_LENGTH;
    memcpy(header_out->dst.bytes, bytes, 6);
    memcpy(header_out->src.bytes, bytes + 6, 6);
    header_out->type = type;
    header_out->vlan = tag & 0xfff;
    header_out->priority = (uint8_t)(tag >> 13);
    header_out->drop_eligible = (tag & 0x1000) != 0;
    header_out->tagged = tagged;
    header_out->header_len = tagged ? DK_ETH_HEADER_MAX : DK_ETH_HEADER_LEN;
    return DK_WIRE_OK;
}

size_t dk_eth_header_emit(const struct dk_eth_header *header, uint8_t *bytes)
{
    memcpy(bytes, header->dst.bytes, 6);
    memcpy(bytes + 6, header->src.bytes, 6);
    if (!header->tagged) {
        dk_put_be16(bytes + 12, header->type);
        return DK_ETH_HEADER_LEN;
    }
    unsigned tag = (unsigned)header->priority << 13 | (header->drop_eligible ? 0x1000u : 0u) |
                   (header->vlan & 0xfffu);
    dk_put_be16(bytes + 12, DK_ETHERTYPE_VLAN);
    dk_put_be16(bytes + 14, (uint16_t)tag);
    dk_put_be16(bytes + 16, header->type);
    return DK_ETH_HEADER_MAX;
}

void dk_eth_header_print(struct dk_text *text, const struct dk_eth_header *header)
{
    dk_mac_print(text, &header->src);
    dk_text_add(text, " > ");
    dk_mac_print(text, &header->dst);
    if (header->tagged)
        dk_text_add(text, ", vlan %u, p %u%s", header->vlan, header->priority,
                    header->drop_eligible ? ", DEI" : "");
}
