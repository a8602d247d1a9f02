/* SPDX-License-Identifier: MIT */
/* What an IP address is by its bits alone (RFC 6890, 4291). */
#ifndef DK_NET_IP_KIND_H
#define DK_NET_IP_KIND_H

#include "net/addr.h"

#include <arpa/inet.h>
#include <endian.h>

static inline struct dk_ip dk_ip_from_v4(uint32_t host_order)
{
    return (struct dk_ip){.v4 = htonl(host_order), .version = 4};
}

static inline uint32_t dk_ip_bits(const struct dk_ip *ip)
{
    return ip->version == 4 ? 32 : 128;
}

/* 0.0.0.0, ::, or none. */
static inline bool dk_ip_is_any(const struct dk_ip *ip)
{
    return (ip->words[0] | ip->words[1]) == 0;
}

static inline bool dk_ip_is_multicast(const struct dk_ip *ip)
{
    return ip->version == 4 ? (ip->bytes[0] & 0xf0) == 0xe0 : ip->bytes[0] == 0xff;
}

/* 255.255.255.255 */
static inline bool dk_ip_is_limited_broadcast(const struct dk_ip *ip)
{
    return ip->version == 4 && ip->v4 == UINT32_MAX;
}

static inline bool dk_ip_is_loopback(const struct dk_ip *ip)
{
    if (ip->version == 4)
        return ip->bytes[0] == 127;
    return ip->words[0] == 0 && ip->words[1] == htobe64(1);
}

static inline bool dk_ip_is_link_local(const struct dk_ip *ip)
{
    return ip->version == 4 ? ip->bytes[0] == 169 && ip->bytes[1] == 254
                            : ip->bytes[0] == 0xfe && (ip->bytes[1] & 0xc0) == 0x80;
}

/* ::ffff:0:0/96 and the like, which are never on a wire (RFC 4038 section 4.2). */
static inline bool dk_ip_is_v4_mapped(const struct dk_ip *ip)
{
    return ip->version == 6 && ip->words[0] == 0 && ip->bytes[8] == 0 && ip->bytes[9] == 0 &&
           ip->bytes[10] == 0xff && ip->bytes[11] == 0xff;
}

/* Whether a host may have it: what may be a source on the wire. */
static inline bool dk_ip_is_host(const struct dk_ip *ip)
{
    if (dk_ip_is_multicast(ip) || dk_ip_is_any(ip) || dk_ip_is_loopback(ip))
        return false;
    return ip->version == 4 ? ip->bytes[0] != 0 && ip->bytes[0] < 240 : !dk_ip_is_v4_mapped(ip);
}

/* Leading bits that both have. */
static inline uint32_t dk_ip_common_bits(const struct dk_ip *a, const struct dk_ip *b)
{
    const uint32_t bits = dk_ip_bits(a);
    uint32_t i = 0;
    while (i < bits / 8 && a->bytes[i] == b->bytes[i])
        i++;
    if (i == bits / 8)
        return bits;
    return i * 8 + (uint32_t)__builtin_clz((uint32_t)(a->bytes[i] ^ b->bytes[i])) - 24;
}

static inline bool dk_ip_in_prefix(const struct dk_ip *ip, const struct dk_ip *prefix,
                                   uint8_t prefix_len)
{
    if (ip->version != prefix->version)
        return false;
    if (ip->version == 4)
        return prefix_len == 0 || ntohl(ip->v4 ^ prefix->v4) >> (32 - prefix_len) == 0;
    const uint64_t high = be64toh(ip->words[0] ^ prefix->words[0]);
    if (prefix_len <= 64)
        return prefix_len == 0 || high >> (64 - prefix_len) == 0;
    return high == 0 && be64toh(ip->words[1] ^ prefix->words[1]) >> (128 - prefix_len) == 0;
}

/* The group that a neighbour is asked for in (RFC 4291 section 2.7.1). */
static inline struct dk_ip dk_ip_solicited_node(const struct dk_ip *ip)
{
    struct dk_ip group = {.bytes = {0xff, 2, [11] = 1, [12] = 0xff}, .version = 6};
    memcpy(group.bytes + 13, ip->bytes + 13, 3);
    return group;
}

static inline struct dk_ip dk_ip_all_nodes(void)
{
    return (struct dk_ip){.bytes = {0xff, 2, [15] = 1}, .version = 6};
}

/* The link address of a group (RFC 1112 section 6.4, 2464 section 7), or of broadcast. */
static inline struct dk_mac dk_mac_of_group(const struct dk_ip *ip)
{
    if (ip->version == 6)
        return (struct dk_mac){
            {0x33, 0x33, ip->bytes[12], ip->bytes[13], ip->bytes[14], ip->bytes[15]}};
    if (dk_ip_is_multicast(ip))
        return (struct dk_mac){{1, 0, 0x5e, ip->bytes[1] & 0x7f, ip->bytes[2], ip->bytes[3]}};
    return (struct dk_mac){{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
}

#endif /* DK_NET_IP_KIND_H */
