/* SPDX-License-Identifier: MIT */
#include "net/wire/ipv6.h"

#include "base/bytes.h"

enum dk_wire dk_ip6_header_parse(const uint8_t *bytes, size_t len, struct dk_ip6_header *header_out)
{
    if (len < DK_IP6_HEADER_LEN)
        return DK_WIRE_IP6_SHORT;
    uint32_t word = dk_get_be32(bytes);
    if (word >> 28 != 6)
        return DK_WIRE_IP6_VERSION;
    uint16_t payload_len = dk_get_be16(bytes + 4);
    if (payload_len > len - DK_IP6_HEADER_LEN)
        return DK_WIRE_IP6_PAYLOAD_LENGTH;
    /* Zero with hop-by-hop options: the length is in an option there (RFC 2675, section 3). */
    if (payload_len == 0 && bytes[6] == DK_IP6_HOP_BY_HOP)
        return DK_WIRE_IP6_JUMBO;
    header_out->src = dk_ip6_at(bytes + 8);
    header_out->dst = dk_ip6_at(bytes + 24);
    header_out->tos = (uint8_t)(word >> 20);
    header_out->next_header = bytes[6];
    header_out->hop_limit = bytes[7];
    header_out->payload_len = payload_len;
    header_out->flow_label = word & 0xfffff;
    return DK_WIRE_OK;
}

size_t dk_ip6_header_emit(const struct dk_ip6_header *header, uint8_t *bytes)
{
    dk_put_be32(bytes, 6u << 28 | (uint32_t)header->tos << 20 | (header->flow_label & 0xfffff));
    dk_put_be16(bytes + 4, header->payload_len);
    bytes[6] = header->next_header;
    bytes[7] = header->hop_limit;
    memcpy(bytes + 8, header->src.bytes, 16);
    memcpy(bytes + 24, header->dst.bytes, 16);
    return DK_IP6_HEADER_LEN;
}

size_t dk_ip6_fragment_emit(const struct dk_ip6_fragment *fragment, uint8_t *bytes)
{
    unsigned place = (fragment->offset & 0xfff8u) | (fragment->more_fragments ? 1u : 0u);
    bytes[0] = fragment->next_header;
    bytes[1] = 0;
    dk_put_be16(bytes + 2, (uint16_t)place);
    dk_put_be32(bytes + 4, fragment->id);
    return DK_IP6_FRAGMENT_LEN;
}

size_t dk_ip6_router_alert_emit(uint8_t next_header, uint8_t *bytes)
{
    /* Length 8; router alert, 2 bytes: MLD; padding of 2 bytes in all. */
    memcpy(bytes, (const uint8_t[8]){next_header, 0, 5, 2, 0, 0, 1, 0}, 8);
    return 8;
}

void dk_ip6_header_print(struct dk_text *text, const struct dk_ip6_header *header)
{
    dk_text_add(text, "IP6 ");
    dk_ip_print(text, &header->src);
    dk_text_add(text, " > ");
    dk_ip_print(text, &header->dst);
    dk_text_add(text, ", hlim %u", header->hop_limit);
    if (header->tos != 0)
        dk_text_add(text, ", class 0x%x", header->tos);
    if (header->flow_label != 0)
        dk_text_add(text, ", flow 0x%x", header->flow_label);
}
