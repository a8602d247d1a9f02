/* SPDX-License-Identifier: MIT */
/*
 * Neighbour discovery messages (RFC 4861) and their options.
 *
 * Parsing makes all the checks that section 6.1, 7.1 and 8.1 demand of a receiver before it looks
 * at a message: hop limit, code, addresses, and option lengths. Options that are not known are
 * passed over; of prefixes the first DK_ND_PREFIXES_MAX are kept.
 */
#ifndef DK_NET_WIRE_ND_H
#define DK_NET_WIRE_ND_H

#include "net/addr.h"
#include "net/wire/reason.h"
#include "net/wire/text.h"

#define DK_ND_PREFIXES_MAX 4
#define DK_ND_NONCE_LEN    6
#define DK_ND_EMIT_MAX     256 /* bytes of any message that dk_nd_emit writes */

struct dk_nd_prefix {
    struct dk_ip prefix;
    uint8_t len;
    bool on_link, autonomous;
    uint32_t valid_s, preferred_s;
};

struct dk_nd {
    uint8_t type; /* DK_ICMP6_ROUTER_SOLICIT to DK_ICMP6_REDIRECT */
    /* Neighbour solicitation and advertisement, redirect. */
    struct dk_ip target;
    struct dk_ip destination; /* redirect */
    bool router, solicited, override;
    /* Router advertisement. */
    bool managed, other_config;
    uint8_t hop_limit;
    uint16_t lifetime_s;
    uint32_t reachable_ms, retrans_ms;
    uint8_t num_prefixes;
    struct dk_nd_prefix prefixes[DK_ND_PREFIXES_MAX];
    uint32_t mtu; /* 0: no such option */
    /* Options of several. */
    bool has_source_mac, has_target_mac, has_nonce;
    struct dk_mac source_mac, target_mac;
    uint8_t nonce[DK_ND_NONCE_LEN]; /* RFC 7527 */
};

/* What the IPv6 header of a message says. */
struct dk_nd_ip {
    struct dk_ip src, dst;
    uint8_t hop_limit;
};

/* Parses an ICMPv6 message whose checksum was checked. DK_WIRE_ND_TYPE: it is none of these. */
enum dk_wire dk_nd_parse(const uint8_t *bytes, size_t len, const struct dk_nd_ip *ip,
                         struct dk_nd *nd_out);

/* Writes a message with its options (at most DK_ND_EMIT_MAX bytes), checksum 0; returns its
 * length. */
size_t dk_nd_emit(const struct dk_nd *nd, uint8_t *bytes);

void dk_nd_print(struct dk_text *text, const struct dk_nd *nd);

#endif /* DK_NET_WIRE_ND_H */
