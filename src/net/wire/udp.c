/* SPDX-License-Identifier: MIT */
#include "net/wire/udp.h"

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
