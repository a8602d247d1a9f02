/* SPDX-License-Identifier: MIT */
#include "net/wire/ipv4.h"

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/compiler.h"

#define FLAG_DONT   0x4000
#define FLAG_MORE   0x2000
#define OFFSET_MASK 0x1fff

#define OPTION_END                 0
#define OPTION_NOP                 1
#define OPTION_LOOSE_SOURCE_ROUTE  131
#define OPTION_STRICT_SOURCE_ROUTE 137

/* The words of a header, with or without options. */
static inline uint64_t header_words(const uint8_t *bytes, size_t header_len)
{
    return dk_likely(header_len == DK_IP4_HEADER_LEN) ? dk_checksum_words_20(bytes)
                                                      : dk_checksum_words(0, bytes, header_len);
}

static enum dk_wire check_options(const uint8_t *at, size_t len)
{
    const uint8_t *end = at + len;
    while (at < end && *at != OPTION_END) {
        if (*at == OPTION_NOP) {
            at++;
            continue;
        }
        if (end - at < 2 || at[1] < 2 || at[1] > end - at)
            return DK_WIRE_IP4_OPTION;
        if (*at == OPTION_LOOSE_SOURCE_ROUTE || *at == OPTION_STRICT_SOURCE_ROUTE)
            return DK_WIRE_IP4_SOURCE_ROUTE;
        at += at[1];
    }
    return DK_WIRE_OK;
}

static inline enum dk_wire check_header_len(const uint8_t *bytes, size_t len)
{
    if (len < DK_IP4_HEADER_LEN)
        return DK_WIRE_IP4_SHORT;
    if (bytes[0] >> 4 != 4)
        return DK_WIRE_IP4_VERSION;
    size_t header_len = (bytes[0] & 0xfu) * 4;
    if (header_len < DK_IP4_HEADER_LEN || header_len > len)
        return DK_WIRE_IP4_HEADER_LENGTH;
    return DK_WIRE_OK;
}

/* All fragments but the last are of eights (RFC 791); what they add up to has a length that the
 * header can say. */
static enum dk_wire check_fragment(uint16_t place, size_t header_len, size_t total_len)
{
    size_t bytes = total_len - header_len;
    if ((place & FLAG_MORE) != 0 && (bytes == 0 || bytes % 8 != 0))
        return DK_WIRE_IP4_FRAGMENT;
    return (place & OFFSET_MASK) * 8u + total_len > UINT16_MAX ? DK_WIRE_IP4_FRAGMENT : DK_WIRE_OK;
}

/* Reads a header that was checked. */
static inline void read_header(const uint8_t *bytes, struct dk_ip4_header *header)
{
    uint16_t place = dk_get_be16(bytes + 6);
    dk_ip4_read(&header->src, bytes + 12);
    dk_ip4_read(&header->dst, bytes + 16);
    header->header_len = (uint8_t)((bytes[0] & 0xf) * 4);
    header->tos = bytes[1];
    header->ttl = bytes[8];
    header->protocol = bytes[9];
    header->total_len = dk_get_be16(bytes + 2);
    header->id = dk_get_be16(bytes + 4);
    header->fragment_offset = (uint16_t)((place & OFFSET_MASK) * 8);
    header->dont_fragment = (place & FLAG_DONT) != 0;
    header->more_fragments = (place & FLAG_MORE) != 0;
    header->options = bytes + DK_IP4_HEADER_LEN;
}

enum dk_wire dk_ip4_header_parse(const uint8_t *bytes, size_t len, struct dk_ip4_header *header_out)
{
    enum dk_wire reason = check_header_len(bytes, len);
    if (dk_unlikely(reason != DK_WIRE_OK))
        return reason;
    size_t header_len = (bytes[0] & 0xfu) * 4, total_len = dk_get_be16(bytes + 2);
    if (dk_unlikely(total_len < header_len || total_len > len))
        return DK_WIRE_IP4_TOTAL_LENGTH;
    if (dk_unlikely(!dk_checksum_words_good(header_words(bytes, header_len))))
        return DK_WIRE_IP4_CHECKSUM;
    uint16_t place = dk_get_be16(bytes + 6);
    if (dk_unlikely((place & (FLAG_MORE | OFFSET_MASK)) != 0))
        reason = check_fragment(place, header_len, total_len);
    if (dk_unlikely(header_len > DK_IP4_HEADER_LEN) && reason == DK_WIRE_OK)
        reason = check_options(bytes + DK_IP4_HEADER_LEN, header_len - DK_IP4_HEADER_LEN);
    if (dk_likely(reason == DK_WIRE_OK))
        read_header(bytes, header_out);
    return reason;
}

enum dk_wire dk_ip4_quote_parse(const uint8_t *bytes, size_t len, struct dk_ip4_header *header_out)
{
    if (check_header_len(bytes, len) != DK_WIRE_OK)
        return DK_WIRE_ICMP4_QUOTE;
    size_t header_len = (bytes[0] & 0xfu) * 4;
    if (dk_get_be16(bytes + 2) < header_len || len < header_len + 8)
        return DK_WIRE_ICMP4_QUOTE;
    read_header(bytes, header_out);
    return DK_WIRE_OK;
}

size_t dk_ip4_header_emit(const struct dk_ip4_header *header, uint8_t *bytes)
{
    unsigned place = header->fragment_offset / 8u;
    place |= (header->dont_fragment ? FLAG_DONT : 0u) | (header->more_fragments ? FLAG_MORE : 0u);
    bytes[0] = (uint8_t)(4 << 4 | header->header_len / 4);
    bytes[1] = header->tos;
    dk_put_be16(bytes + 2, header->total_len);
    dk_put_be16(bytes + 4, header->id);
    dk_put_be16(bytes + 6, (uint16_t)place);
    bytes[8] = header->ttl;
    bytes[9] = header->protocol;
    dk_put_be16(bytes + 10, 0);
    memcpy(bytes + 12, header->src.bytes, 4);
    memcpy(bytes + 16, header->dst.bytes, 4);
    if (dk_unlikely(header->header_len > DK_IP4_HEADER_LEN))
        memcpy(bytes + 20, header->options, header->header_len - DK_IP4_HEADER_LEN);
    dk_checksum_put(bytes + 10, header_words(bytes, header->header_len));
    return header->header_len;
}

void dk_ip4_header_print(struct dk_text *text, const struct dk_ip4_header *header)
{
    dk_text_add(text, "IP ");
    dk_ip_print(text, &header->src);
    dk_text_add(text, " > ");
    dk_ip_print(text, &header->dst);
    dk_text_add(text, ", ttl %u", header->ttl);
    if (header->tos != 0)
        dk_text_add(text, ", tos 0x%x", header->tos);
    if (dk_ip4_is_fragment(header))
        dk_text_add(text, ", id %u, offset %u%s", header->id, header->fragment_offset,
                    header->more_fragments ? "+" : "");
    if (header->header_len > DK_IP4_HEADER_LEN)
        dk_text_add(text, ", options %u bytes", header->header_len - DK_IP4_HEADER_LEN);
}
