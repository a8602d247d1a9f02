/* SPDX-License-Identifier: MIT */
#include "net/wire/udp.h"

#include "base/bytes.h"

enum dk_wire dk_udp_header_parse(const uint8_t *bytes, size_t len, struct dk_udp_header *header_out)
{
    if (len < DK_UDP_HEADER_LEN)
        return DK_WIRE_UDP_SHORT;
    uint16_t udp_len = dk_get_be16(bytes + 4), dst_port = dk_get_be16(bytes + 2);
    if (udp_len < DK_UDP_HEADER_LEN || udp_len > len)
        return DK_WIRE_UDP_LENGTH;
    if (dst_port == 0)
        return DK_WIRE_UDP_PORT;
    header_out->src_port = dk_get_be16(bytes);
    header_out->dst_port = dst_port;
    header_out->len = udp_len;
    header_out->checksum = dk_get_be16(bytes + DK_UDP_CHECKSUM_OFFSET);
    return DK_WIRE_OK;
}

size_t dk_udp_header_emit(const struct dk_udp_header *header, uint8_t *bytes)
{
    dk_put_be16(bytes, header->src_port);
    dk_put_be16(bytes + 2, header->dst_port);
    dk_put_be16(bytes + 4, header->len);
    dk_put_be16(bytes + DK_UDP_CHECKSUM_OFFSET, header->checksum);
    return DK_UDP_HEADER_LEN;
}

void dk_udp_header_print(struct dk_text *text, const struct dk_udp_header *header)
{
    dk_text_add(text, "UDP %u > %u, length %u", header->src_port, header->dst_port,
                header->len - DK_UDP_HEADER_LEN);
}
