/* SPDX-License-Identifier: MIT */
/*
 * The IPv4 header (RFC 791).
 *
 * Options are checked and passed over (RFC 1122, section 3.2.1.8); packets with source routes are
 * refused (RFC 7126, section 4.3 and 4.4).
 */
#ifndef DK_NET_WIRE_IPV4_H
#define DK_NET_WIRE_IPV4_H

#include "net/addr.h"
#include "net/wire/reason.h"
#include "net/wire/text.h"

#define DK_IP4_HEADER_LEN 20
#define DK_IP4_HEADER_MAX 60

struct dk_ip4_header {
    struct dk_ip src, dst;
    uint8_t header_len; /* 20 to 60, of fours */
    uint8_t tos;
    uint8_t ttl;
    uint8_t protocol;
    uint16_t total_len; /* what is behind it in the frame is padding */
    uint16_t id;
    uint16_t fragment_offset; /* bytes */
    bool dont_fragment;
    bool more_fragments;
    const uint8_t *options; /* header_len - 20 bytes in the packet */
};

/* Reads an address in place: a copy by value would be stored in parts and loaded whole. */
static inline void dk_ip4_read(struct dk_ip *ip, const uint8_t *bytes)
{
    memset(ip, 0, sizeof(*ip));
    memcpy(ip->bytes, bytes, 4);
    ip->version = 4;
}

static inline struct dk_ip dk_ip4_at(const uint8_t *bytes)
{
    struct dk_ip ip;
    dk_ip4_read(&ip, bytes);
    return ip;
}

static inline bool dk_ip4_is_fragment(const struct dk_ip4_header *header)
{
    return header->more_fragments || header->fragment_offset != 0;
}

/* Checks all of it: lengths, checksum, place of a fragment, options. */
enum dk_wire dk_ip4_header_parse(const uint8_t *bytes, size_t len,
                                 struct dk_ip4_header *header_out);

/* Parses the packet that an ICMP error quotes: it may be cut, 8 bytes behind the header are there
 * (RFC 792), and its checksum is not checked. */
enum dk_wire dk_ip4_quote_parse(const uint8_t *bytes, size_t len, struct dk_ip4_header *header_out);

/* Writes the header with its checksum, options included; returns header_len. */
size_t dk_ip4_header_emit(const struct dk_ip4_header *header, uint8_t *bytes);

void dk_ip4_header_print(struct dk_text *text, const struct dk_ip4_header *header);

#endif /* DK_NET_WIRE_IPV4_H */
