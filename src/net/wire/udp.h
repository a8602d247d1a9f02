/* SPDX-License-Identifier: MIT */
/*
 * The UDP header (RFC 768).
 */
#ifndef DK_NET_WIRE_UDP_H
#define DK_NET_WIRE_UDP_H

#include "base/bytes.h"
#include "net/addr.h"
#include "net/wire/reason.h"
#include "net/wire/text.h"

#define DK_UDP_HEADER_LEN      8
#define DK_UDP_CHECKSUM_OFFSET 6

struct dk_udp_header {
    uint16_t src_port, dst_port;
    uint16_t len;      /* header and payload: 8 at least; what is behind it is not UDP's */
    uint16_t checksum; /* 0: none */
};

/* Checks lengths and that the destination port is not 0; the checksum is the caller's to check,
 * over `len` of the header. */
static inline enum dk_wire dk_udp_header_parse(const uint8_t *bytes, size_t len,
                                               struct dk_udp_header *header_out)
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

/* Writes 8 bytes, the checksum as the header has it; returns 8. */
size_t dk_udp_header_emit(const struct dk_udp_header *header, uint8_t *bytes);

/* The checksum of a sum over everything: 0 is sent as 0xffff, since 0 means none. */
static inline uint16_t dk_udp_checksum_finish(uint16_t checksum)
{
    return checksum == 0 ? 0xffff : checksum;
}

void dk_udp_header_print(struct dk_text *text, const struct dk_udp_header *header);

#endif /* DK_NET_WIRE_UDP_H */
