/* SPDX-License-Identifier: MIT */
/*
 * The IPv6 header and its extension headers (RFC 8200).
 *
 * The extension headers that a host must understand are walked: hop-by-hop options, destination
 * options, routing and fragment; everything else is what the packet carries. Limits, so that no
 * packet costs much (RFC 8504, section 5.3): DK_IP6_EXTENSIONS_MAX headers, and
 * DK_IP6_OPTIONS_MAX options in each. Jumbograms (RFC 2675) are refused.
 */
#ifndef DK_NET_WIRE_IPV6_H
#define DK_NET_WIRE_IPV6_H

#include "net/addr.h"
#include "net/wire/reason.h"
#include "net/wire/text.h"

#define DK_IP6_HEADER_LEN     40
#define DK_IP6_FRAGMENT_LEN   8
#define DK_IP6_MTU_MIN        1280
#define DK_IP6_EXTENSIONS_MAX 8
#define DK_IP6_OPTIONS_MAX    16

#define DK_IP6_HOP_BY_HOP  0
#define DK_IP6_ROUTING     43
#define DK_IP6_FRAGMENT    44
#define DK_IP6_NO_NEXT     59
#define DK_IP6_DESTINATION 60

struct dk_ip6_header {
    struct dk_ip src, dst;
    uint8_t tos; /* traffic class */
    uint8_t next_header;
    uint8_t hop_limit;
    uint16_t payload_len; /* what is behind that in the frame is padding */
    uint32_t flow_label;
};

static inline struct dk_ip dk_ip6_at(const uint8_t *bytes)
{
    struct dk_ip ip = {.version = 6};
    memcpy(ip.bytes, bytes, 16);
    return ip;
}

/* Parses the fixed header. */
enum dk_wire dk_ip6_header_parse(const uint8_t *bytes, size_t len,
                                 struct dk_ip6_header *header_out);

/* Writes DK_IP6_HEADER_LEN bytes and returns that. */
size_t dk_ip6_header_emit(const struct dk_ip6_header *header, uint8_t *bytes);

void dk_ip6_header_print(struct dk_text *text, const struct dk_ip6_header *header);

/* What is to be told the sender of a packet that is refused: codes of an ICMPv6 parameter problem
 * (RFC 4443, section 3.4). */
enum dk_ip6_problem {
    DK_IP6_PROBLEM_FIELD = 0,
    DK_IP6_PROBLEM_NEXT_HEADER = 1,
    DK_IP6_PROBLEM_OPTION = 2,
    DK_IP6_PROBLEM_FIRST_FRAGMENT = 3,        /* RFC 7112 */
    DK_IP6_PROBLEM_OPTION_UNICAST = 2 | 0x80, /* code 2, unless the destination is multicast */
    DK_IP6_PROBLEM_NONE = 0xff,               /* nothing: dropped silently */
};

/* What the walk finds. Offsets are from the first byte of the IPv6 header. */
struct dk_ip6_extensions {
    uint8_t protocol;     /* of what the packet carries, DK_IP6_NO_NEXT: nothing */
    uint16_t protocol_at; /* where the byte is that says so */
    uint16_t payload_at;  /* what it carries; of a fragment: the bytes of the fragment */
    bool router_alert;    /* in hop-by-hop options (RFC 2711) */
    bool is_fragment;     /* of more than one: the walk ends here */
    bool more_fragments;
    uint16_t fragment_at;     /* the fragment header; also 0: there was none */
    uint16_t fragment_offset; /* bytes */
    uint32_t fragment_id;
    uint8_t problem;     /* on failure: enum dk_ip6_problem */
    uint16_t problem_at; /* on failure: offset of what is wrong */
};

/*
 * Walks the extension headers of a packet of len bytes (40 + payload_len), whose fixed header was
 * parsed. The walk ends at the first header that is none, or behind a fragment header. A packet
 * that is all of its one fragment is none (RFC 6946). On failure only the problem is set.
 */
enum dk_wire dk_ip6_extensions_walk(const uint8_t *packet, size_t len,
                                    struct dk_ip6_extensions *found_out);

/* Parses the packet that an ICMPv6 error quotes, fixed header and extension headers: it may be cut,
 * and 8 bytes of what it carries are there, unless it is a fragment but the first. */
enum dk_wire dk_ip6_quote_parse(const uint8_t *bytes, size_t len, struct dk_ip6_header *header_out,
                                struct dk_ip6_extensions *found_out);

struct dk_ip6_fragment {
    uint8_t next_header;
    bool more_fragments;
    uint16_t offset; /* bytes, of eights */
    uint32_t id;
};

/* Writes DK_IP6_FRAGMENT_LEN bytes and returns that. */
size_t dk_ip6_fragment_emit(const struct dk_ip6_fragment *fragment, uint8_t *bytes);

/* Writes a hop-by-hop header of 8 bytes with a router alert for MLD (RFC 2711), returns 8. */
size_t dk_ip6_router_alert_emit(uint8_t next_header, uint8_t *bytes);

#endif /* DK_NET_WIRE_IPV6_H */
