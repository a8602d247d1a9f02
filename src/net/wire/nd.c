/* SPDX-License-Identifier: MIT */
#include "net/wire/nd.h"

#include "base/bytes.h"
#include "net/wire/icmp6.h"
#include "net/wire/ipv6.h"

#define OPTION_SOURCE_MAC 1
#define OPTION_TARGET_MAC 2
#define OPTION_PREFIX     3
#define OPTION_MTU        5
#define OPTION_NONCE      14

#define BIT(type) (1u << ((type)-DK_ICMP6_ROUTER_SOLICIT))
#define RS        BIT(DK_ICMP6_ROUTER_SOLICIT)
#define RA        BIT(DK_ICMP6_ROUTER_ADVERT)
#define NS        BIT(DK_ICMP6_NEIGHBOR_SOLICIT)
#define NA        BIT(DK_ICMP6_NEIGHBOR_ADVERT)
#define REDIRECT  BIT(DK_ICMP6_REDIRECT)

static bool is_multicast(const struct dk_ip *ip)
{
    return ip->bytes[0] == 0xff;
}

static bool is_unspecified(const struct dk_ip *ip)
{
    return (ip->words[0] | ip->words[1]) == 0;
}

static bool is_link_local(const struct dk_ip *ip)
{
    return ip->bytes[0] == 0xfe && (ip->bytes[1] & 0xc0) == 0x80;
}

static bool is_solicited_node(const struct dk_ip *ip)
{
    static const uint8_t prefix[13] = {0xff, 2, [11] = 1, [12] = 0xff};
    return memcmp(ip->bytes, prefix, sizeof(prefix)) == 0;
}

static void read_router_advert(const uint8_t *bytes, struct dk_nd *nd)
{
    nd->hop_limit = bytes[4];
    nd->managed = (bytes[5] & 0x80) != 0;
    nd->other_config = (bytes[5] & 0x40) != 0;
    nd->lifetime_s = dk_get_be16(bytes + 6);
    nd->reachable_ms = dk_get_be32(bytes + 8);
    nd->retrans_ms = dk_get_be32(bytes + 12);
}

static void read_neighbor(const uint8_t *bytes, struct dk_nd *nd)
{
    if (nd->type == DK_ICMP6_NEIGHBOR_ADVERT) {
        nd->router = (bytes[4] & 0x80) != 0;
        nd->solicited = (bytes[4] & 0x40) != 0;
        nd->override = (bytes[4] & 0x20) != 0;
    }
    nd->target = dk_ip6_at(bytes + 8);
}

static void read_redirect(const uint8_t *bytes, struct dk_nd *nd)
{
    nd->target = dk_ip6_at(bytes + 8);
    nd->destination = dk_ip6_at(bytes + 24);
}

static void put_router_advert(const struct dk_nd *nd, uint8_t *bytes)
{
    bytes[4] = nd->hop_limit;
    bytes[5] = (uint8_t)((nd->managed ? 0x80 : 0) | (nd->other_config ? 0x40 : 0));
    dk_put_be16(bytes + 6, nd->lifetime_s);
    dk_put_be32(bytes + 8, nd->reachable_ms);
    dk_put_be32(bytes + 12, nd->retrans_ms);
}

static void put_neighbor(const struct dk_nd *nd, uint8_t *bytes)
{
    if (nd->type == DK_ICMP6_NEIGHBOR_ADVERT)
        bytes[4] = (uint8_t)((nd->router ? 0x80 : 0) | (nd->solicited ? 0x40 : 0) |
                             (nd->override ? 0x20 : 0));
    memcpy(bytes + 8, nd->target.bytes, 16);
}

static void put_redirect(const struct dk_nd *nd, uint8_t *bytes)
{
    memcpy(bytes + 8, nd->target.bytes, 16);
    memcpy(bytes + 24, nd->destination.bytes, 16);
}

/* By type: bytes before the options, and how these are read and written. */
static const struct message {
    size_t len;
    void (*read)(const uint8_t *bytes, struct dk_nd *nd);
    void (*put)(const struct dk_nd *nd, uint8_t *bytes);
    const char *name;
} MESSAGES[] = {
    {8, NULL, NULL, "router solicitation"},
    {16, read_router_advert, put_router_advert, "router advertisement"},
    {24, read_neighbor, put_neighbor, "neighbor solicitation"},
    {24, read_neighbor, put_neighbor, "neighbor advertisement"},
    {40, read_redirect, put_redirect, "redirect"},
};

static void read_source_mac(const uint8_t *option, struct dk_nd *nd)
{
    nd->has_source_mac = true;
    memcpy(nd->source_mac.bytes, option + 2, 6);
}

static void read_target_mac(const uint8_t *option, struct dk_nd *nd)
{
    nd->has_target_mac = true;
    memcpy(nd->target_mac.bytes, option + 2, 6);
}

static void read_prefix(const uint8_t *option, struct dk_nd *nd)
{
    if (nd->num_prefixes == DK_ND_PREFIXES_MAX || option[2] > 128)
        return;
    nd->prefixes[nd->num_prefixes++] = (struct dk_nd_prefix){
        .prefix = dk_ip6_at(option + 16),
        .len = option[2],
        .on_link = (option[3] & 0x80) != 0,
        .autonomous = (option[3] & 0x40) != 0,
        .valid_s = dk_get_be32(option + 4),
        .preferred_s = dk_get_be32(option + 8),
    };
}

static void read_mtu(const uint8_t *option, struct dk_nd *nd)
{
    nd->mtu = dk_get_be32(option + 4);
}

static void read_nonce(const uint8_t *option, struct dk_nd *nd)
{
    nd->has_nonce = true;
    memcpy(nd->nonce, option + 2, DK_ND_NONCE_LEN);
}

/* By option: its length in eights, and the messages that it has a meaning in; in others it is
 * passed over (RFC 4861, section 9). */
static const struct option {
    uint8_t type, eights;
    uint8_t messages;
    void (*read)(const uint8_t *option, struct dk_nd *nd);
} OPTIONS[] = {
    {OPTION_SOURCE_MAC, 1, RS | RA | NS, read_source_mac},
    {OPTION_TARGET_MAC, 1, NA | REDIRECT, read_target_mac},
    {OPTION_PREFIX, 4, RA, read_prefix},
    {OPTION_MTU, 1, RA, read_mtu},
    {OPTION_NONCE, 1, NS, read_nonce},
};

static enum dk_wire read_option(const uint8_t *option, struct dk_nd *nd)
{
    for (size_t i = 0; i < sizeof(OPTIONS) / sizeof(OPTIONS[0]); i++) {
        const struct option *known = &OPTIONS[i];
        if (known->type != option[0] || (known->messages & BIT(nd->type)) == 0)
            continue;
        if (known->eights != option[1]) /* a nonce of another length is not ours, but may be */
            return known->type == OPTION_NONCE ? DK_WIRE_OK : DK_WIRE_ND_OPTION;
        known->read(option, nd);
    }
    return DK_WIRE_OK;
}

static enum dk_wire read_options(const uint8_t *at, size_t len, struct dk_nd *nd)
{
    while (len > 0) {
        if (len < 8 || at[1] == 0 || at[1] * 8u > len)
            return DK_WIRE_ND_OPTION;
        enum dk_wire reason = read_option(at, nd);
        if (reason != DK_WIRE_OK)
            return reason;
        len -= at[1] * 8u;
        at += at[1] * 8u;
    }
    return DK_WIRE_OK;
}

/* RFC 4861, section 6.1.1 and 7.1.1: who has no address yet names no link address, and asks the
 * group of the one it wants. */
static enum dk_wire check_unspecified(const struct dk_nd *nd, const struct dk_ip *dst)
{
    if (nd->type == DK_ICMP6_NEIGHBOR_SOLICIT && !is_solicited_node(dst))
        return DK_WIRE_ND_ADDRESS;
    return nd->has_source_mac ? DK_WIRE_ND_OPTION : DK_WIRE_OK;
}

/* RFC 4861, section 8.1: from a router by its link-local address, to a router or the destination
 * itself, for a destination that is no group. */
static bool redirect_is_valid(const struct dk_nd *nd, const struct dk_ip *src)
{
    return is_link_local(src) && !is_multicast(&nd->destination) &&
           (is_link_local(&nd->target) || dk_ip_equal(&nd->target, &nd->destination));
}

static enum dk_wire check_addresses(const struct dk_nd *nd, const struct dk_nd_ip *ip)
{
    bool good = true;
    switch (nd->type) {
    case DK_ICMP6_ROUTER_SOLICIT:
        break;
    case DK_ICMP6_ROUTER_ADVERT: /* section 6.1.2 */
        good = is_link_local(&ip->src);
        break;
    case DK_ICMP6_NEIGHBOR_SOLICIT: /* section 7.1.1 */
        good = !is_multicast(&nd->target);
        break;
    case DK_ICMP6_NEIGHBOR_ADVERT: /* section 7.1.2 */
        good = !is_multicast(&nd->target) && !(is_multicast(&ip->dst) && nd->solicited);
        break;
    default:
        good = redirect_is_valid(nd, &ip->src);
    }
    if (!good)
        return DK_WIRE_ND_ADDRESS;
    bool solicits = nd->type == DK_ICMP6_ROUTER_SOLICIT || nd->type == DK_ICMP6_NEIGHBOR_SOLICIT;
    return solicits && is_unspecified(&ip->src) ? check_unspecified(nd, &ip->dst) : DK_WIRE_OK;
}

/* Nobody's link address is a group's: to learn it would be to flood (RFC 4861, section 7.2). */
static bool macs_are_valid(const struct dk_nd *nd)
{
    return !(nd->has_source_mac && (nd->source_mac.bytes[0] & 1) != 0) &&
           !(nd->has_target_mac && (nd->target_mac.bytes[0] & 1) != 0);
}

enum dk_wire dk_nd_parse(const uint8_t *bytes, size_t len, const struct dk_nd_ip *ip,
                         struct dk_nd *nd_out)
{
    if (len < DK_ICMP6_HEADER_LEN)
        return DK_WIRE_ICMP6_SHORT;
    if (bytes[0] < DK_ICMP6_ROUTER_SOLICIT || bytes[0] > DK_ICMP6_REDIRECT)
        return DK_WIRE_ND_TYPE;
    const struct message *message = &MESSAGES[bytes[0] - DK_ICMP6_ROUTER_SOLICIT];
    if (ip->hop_limit != 255)
        return DK_WIRE_ND_HOP_LIMIT;
    if (bytes[1] != 0)
        return DK_WIRE_ND_CODE;
    if (len < message->len)
        return DK_WIRE_ND_SHORT;
    struct dk_nd nd = {.type = bytes[0]};
    if (message->read != NULL)
        message->read(bytes, &nd);
    enum dk_wire reason = read_options(bytes + message->len, len - message->len, &nd);
    if (reason == DK_WIRE_OK && !macs_are_valid(&nd))
        reason = DK_WIRE_ND_OPTION;
    if (reason == DK_WIRE_OK)
        reason = check_addresses(&nd, ip);
    if (reason == DK_WIRE_OK)
        *nd_out = nd;
    return reason;
}

static uint8_t *put_bytes(uint8_t *at, uint8_t option, const uint8_t bytes[6])
{
    at[0] = option;
    at[1] = 1;
    memcpy(at + 2, bytes, 6);
    return at + 8;
}

static uint8_t *put_prefix(uint8_t *at, const struct dk_nd_prefix *prefix)
{
    memset(at, 0, 32);
    at[0] = OPTION_PREFIX;
    at[1] = 4;
    at[2] = prefix->len;
    at[3] = (uint8_t)((prefix->on_link ? 0x80 : 0) | (prefix->autonomous ? 0x40 : 0));
    dk_put_be32(at + 4, prefix->valid_s);
    dk_put_be32(at + 8, prefix->preferred_s);
    memcpy(at + 16, prefix->prefix.bytes, 16);
    return at + 32;
}

size_t dk_nd_emit(const struct dk_nd *nd, uint8_t *bytes)
{
    const struct message *message = &MESSAGES[nd->type - DK_ICMP6_ROUTER_SOLICIT];
    memset(bytes, 0, message->len);
    bytes[0] = nd->type;
    uint8_t *at = bytes + message->len;
    if (message->put != NULL)
        message->put(nd, bytes);
    if (nd->has_source_mac)
        at = put_bytes(at, OPTION_SOURCE_MAC, nd->source_mac.bytes);
    if (nd->has_target_mac)
        at = put_bytes(at, OPTION_TARGET_MAC, nd->target_mac.bytes);
    if (nd->has_nonce)
        at = put_bytes(at, OPTION_NONCE, nd->nonce);
    if (nd->mtu != 0) {
        at = put_bytes(at, OPTION_MTU, (const uint8_t[6]){0});
        dk_put_be32(at - 4, nd->mtu);
    }
    for (uint8_t i = 0; i < nd->num_prefixes; i++)
        at = put_prefix(at, &nd->prefixes[i]);
    return (size_t)(at - bytes);
}

static void print_options(struct dk_text *text, const struct dk_nd *nd)
{
    if (nd->has_source_mac) {
        dk_text_add(text, ", source ");
        dk_mac_print(text, &nd->source_mac);
    }
    if (nd->has_target_mac) {
        dk_text_add(text, ", target ");
        dk_mac_print(text, &nd->target_mac);
    }
    if (nd->mtu != 0)
        dk_text_add(text, ", mtu %u", nd->mtu);
    for (uint8_t i = 0; i < nd->num_prefixes; i++) {
        dk_text_add(text, ", prefix ");
        dk_ip_print(text, &nd->prefixes[i].prefix);
        dk_text_add(text, "/%u", nd->prefixes[i].len);
    }
}

void dk_nd_print(struct dk_text *text, const struct dk_nd *nd)
{
    dk_text_add(text, "ICMP6 %s", MESSAGES[nd->type - DK_ICMP6_ROUTER_SOLICIT].name);
    if (nd->target.version != 0) {
        dk_text_add(text, ", for ");
        dk_ip_print(text, &nd->target);
    }
    if (nd->type == DK_ICMP6_REDIRECT) {
        dk_text_add(text, ", to reach ");
        dk_ip_print(text, &nd->destination);
    }
    if (nd->type == DK_ICMP6_NEIGHBOR_ADVERT)
        dk_text_add(text, "%s%s%s", nd->router ? ", router" : "",
                    nd->solicited ? ", solicited" : "", nd->override ? ", override" : "");
    if (nd->type == DK_ICMP6_ROUTER_ADVERT)
        dk_text_add(text, ", lifetime %us", nd->lifetime_s);
    print_options(text, nd);
}
