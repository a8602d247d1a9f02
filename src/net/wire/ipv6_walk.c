/* SPDX-License-Identifier: MIT */
/*
 * The walk along the extension headers (ipv6.h).
 *
 * Each step reads the header at `at`, whose kind is found.protocol, and moves on. All offsets fit
 * 16 bits but at the very end of a packet of 65575 bytes; such long ones end in EXTENSION_SHORT.
 */
#include "base/bytes.h"
#include "net/wire/ipv6.h"

#define OPTION_PAD1         0
#define OPTION_ROUTER_ALERT 5

#define PROTOCOL_TCP   6
#define PROTOCOL_UDP   17
#define PROTOCOL_ICMP6 58

struct walk {
    const uint8_t *packet;
    size_t len;
    size_t at;   /* of the header that found.protocol names */
    bool end;    /* what is at `at` is no extension header, or part of a fragment */
    bool quoted; /* our own packet, cut: its end says nothing */
    bool passed_fragment;
    struct dk_ip6_extensions found;
};

static enum dk_wire fail(struct walk *walk, enum dk_wire reason, enum dk_ip6_problem problem,
                         size_t at)
{
    walk->found.problem = (uint8_t)problem;
    walk->found.problem_at = (uint16_t)at;
    return reason;
}

static enum dk_wire drop(struct walk *walk, enum dk_wire reason)
{
    return fail(walk, reason, DK_IP6_PROBLEM_NONE, 0);
}

/* The next header is `len` bytes further on. */
static void move_on(struct walk *walk, size_t len)
{
    walk->found.protocol = walk->packet[walk->at];
    walk->found.protocol_at = (uint16_t)walk->at;
    walk->at += len;
}

/* The length of a header that says it itself (RFC 8200, section 4.2), 0: it is not all there. */
static size_t length_here(const struct walk *walk)
{
    size_t room = walk->len - walk->at;
    if (room < 8)
        return 0;
    size_t len = (walk->packet[walk->at + 1] + 1u) * 8;
    return len <= room ? len : 0;
}

/* An option that is not known says in its highest bits what is to be done with the packet (RFC
 * 8200, section 4.2). */
static enum dk_wire check_unknown(struct walk *walk, size_t at)
{
    static const uint8_t problems[4] = {DK_IP6_PROBLEM_NONE, DK_IP6_PROBLEM_NONE,
                                        DK_IP6_PROBLEM_OPTION, DK_IP6_PROBLEM_OPTION_UNICAST};
    unsigned action = walk->packet[at] >> 6;
    if (action == 0)
        return DK_WIRE_OK;
    return fail(walk, DK_WIRE_IP6_OPTION_UNKNOWN, problems[action], at);
}

/* Looks at the option at `at`, all of which is there. PadN is "not known, pass over" by its bits.
 */
static enum dk_wire check_option(struct walk *walk, size_t at, bool hop_by_hop)
{
    const uint8_t *option = walk->packet + at;
    if (option[0] != OPTION_ROUTER_ALERT || !hop_by_hop)
        return check_unknown(walk, at);
    if (option[1] != 2)
        return fail(walk, DK_WIRE_IP6_OPTION, DK_IP6_PROBLEM_FIELD, at + 1);
    walk->found.router_alert = true;
    return DK_WIRE_OK;
}

/* Hop-by-hop and destination options. Padding counts as options do: bytes of it cost time too. */
static enum dk_wire step_options(struct walk *walk)
{
    bool hop_by_hop = walk->found.protocol == DK_IP6_HOP_BY_HOP;
    size_t len = length_here(walk), at = walk->at + 2, end = walk->at + len;
    if (hop_by_hop && walk->at != DK_IP6_HEADER_LEN) /* RFC 8200, section 4.1 */
        return fail(walk, DK_WIRE_IP6_EXTENSION_ORDER, DK_IP6_PROBLEM_NEXT_HEADER,
                    walk->found.protocol_at);
    if (len == 0)
        return drop(walk, DK_WIRE_IP6_EXTENSION_SHORT);
    for (unsigned n = 0; at < end; n++) {
        if (n == DK_IP6_OPTIONS_MAX)
            return drop(walk, DK_WIRE_IP6_EXTENSION_LIMIT);
        if (walk->packet[at] == OPTION_PAD1) {
            at++;
            continue;
        }
        if (end - at < 2 || walk->packet[at + 1] > end - at - 2)
            return fail(walk, DK_WIRE_IP6_OPTION, DK_IP6_PROBLEM_FIELD, at);
        enum dk_wire reason = check_option(walk, at, hop_by_hop);
        if (reason != DK_WIRE_OK)
            return reason;
        at += 2u + walk->packet[at + 1];
    }
    move_on(walk, len);
    return DK_WIRE_OK;
}

/* No type of routing is known: the header is passed over where nothing is left to route, else the
 * packet is refused (RFC 8200, section 4.4); so type 0 is (RFC 5095). */
static enum dk_wire step_routing(struct walk *walk)
{
    size_t len = length_here(walk);
    if (len == 0)
        return drop(walk, DK_WIRE_IP6_EXTENSION_SHORT);
    if (walk->packet[walk->at + 3] != 0 && !walk->quoted)
        return fail(walk, DK_WIRE_IP6_ROUTING, DK_IP6_PROBLEM_FIELD, walk->at + 2);
    move_on(walk, len);
    return DK_WIRE_OK;
}

static enum dk_wire steps(struct walk *walk);

/* Whether the first fragment has all headers up to the transport's (RFC 7112, section 5), and no
 * second fragment header. What else is wrong with them is found when it is put together. */
static enum dk_wire check_chain(const struct walk *at_fragment)
{
    struct walk walk = *at_fragment;
    move_on(&walk, DK_IP6_FRAGMENT_LEN);
    walk.passed_fragment = true;
    size_t least = 0;
    enum dk_wire reason = steps(&walk);
    if (reason == DK_WIRE_IP6_EXTENSION_ORDER)
        return reason;
    if (reason == DK_WIRE_IP6_EXTENSION_SHORT)
        return DK_WIRE_IP6_FRAGMENT_CHAIN;
    if (walk.found.protocol == PROTOCOL_TCP)
        least = 20;
    else if (walk.found.protocol == PROTOCOL_UDP || walk.found.protocol == PROTOCOL_ICMP6)
        least = 8;
    return walk.len - walk.at < least ? DK_WIRE_IP6_FRAGMENT_CHAIN : DK_WIRE_OK;
}

/* RFC 8200, section 4.5: lengths of fragments. */
static enum dk_wire check_fragment(struct walk *walk)
{
    const struct dk_ip6_extensions *found = &walk->found;
    size_t bytes = walk->len - walk->at - DK_IP6_FRAGMENT_LEN;
    size_t before = walk->at - DK_IP6_HEADER_LEN;
    if (bytes == 0)
        return drop(walk, DK_WIRE_IP6_FRAGMENT);
    if (found->more_fragments && bytes % 8 != 0)
        return fail(walk, DK_WIRE_IP6_FRAGMENT, DK_IP6_PROBLEM_FIELD, 4); /* the payload length */
    if (before + found->fragment_offset + bytes > UINT16_MAX)
        return fail(walk, DK_WIRE_IP6_FRAGMENT, DK_IP6_PROBLEM_FIELD, walk->at + 2);
    enum dk_wire reason = found->fragment_offset == 0 ? check_chain(walk) : DK_WIRE_OK;
    if (reason == DK_WIRE_IP6_FRAGMENT_CHAIN)
        return fail(walk, reason, DK_IP6_PROBLEM_FIRST_FRAGMENT, 0);
    return reason == DK_WIRE_OK ? reason : drop(walk, reason);
}

static enum dk_wire step_fragment(struct walk *walk)
{
    const uint8_t *header = walk->packet + walk->at;
    struct dk_ip6_extensions *found = &walk->found;
    if (walk->passed_fragment)
        return drop(walk, DK_WIRE_IP6_EXTENSION_ORDER);
    if (walk->len - walk->at < DK_IP6_FRAGMENT_LEN)
        return drop(walk, DK_WIRE_IP6_EXTENSION_SHORT);
    found->fragment_at = (uint16_t)walk->at;
    found->fragment_offset = dk_get_be16(header + 2) & 0xfff8;
    found->more_fragments = (header[3] & 1) != 0;
    found->fragment_id = dk_get_be32(header + 4);
    found->is_fragment = found->fragment_offset != 0 || found->more_fragments;
    enum dk_wire reason = DK_WIRE_OK;
    if (found->is_fragment && !walk->quoted)
        reason = check_fragment(walk);
    if (reason != DK_WIRE_OK)
        return reason;
    move_on(walk, DK_IP6_FRAGMENT_LEN);
    walk->passed_fragment = true;
    walk->end = found->is_fragment;
    return DK_WIRE_OK;
}

static enum dk_wire step(struct walk *walk)
{
    switch (walk->found.protocol) {
    case DK_IP6_HOP_BY_HOP:
    case DK_IP6_DESTINATION:
        return step_options(walk);
    case DK_IP6_ROUTING:
        return step_routing(walk);
    case DK_IP6_FRAGMENT:
        return step_fragment(walk);
    default:
        walk->end = true;
        return DK_WIRE_OK;
    }
}

static enum dk_wire steps(struct walk *walk)
{
    enum dk_wire reason = DK_WIRE_OK;
    for (unsigned n = 0; reason == DK_WIRE_OK && !walk->end; n++) {
        if (n > DK_IP6_EXTENSIONS_MAX)
            return drop(walk, DK_WIRE_IP6_EXTENSION_LIMIT);
        reason = step(walk);
    }
    return reason;
}

static enum dk_wire walk_from_start(struct walk *walk, struct dk_ip6_extensions *found_out)
{
    walk->at = DK_IP6_HEADER_LEN;
    walk->found.protocol = walk->packet[6];
    walk->found.protocol_at = 6;
    enum dk_wire reason = steps(walk);
    if (reason == DK_WIRE_OK && walk->at > UINT16_MAX)
        reason = drop(walk, DK_WIRE_IP6_EXTENSION_SHORT);
    if (reason != DK_WIRE_OK) {
        found_out->problem = walk->found.problem;
        found_out->problem_at = walk->found.problem_at;
        return reason;
    }
    walk->found.payload_at = (uint16_t)walk->at;
    walk->found.problem = DK_IP6_PROBLEM_NONE;
    *found_out = walk->found;
    return DK_WIRE_OK;
}

enum dk_wire dk_ip6_extensions_walk(const uint8_t *packet, size_t len,
                                    struct dk_ip6_extensions *found_out)
{
    struct walk walk = {.packet = packet, .len = len};
    return walk_from_start(&walk, found_out);
}

enum dk_wire dk_ip6_quote_parse(const uint8_t *bytes, size_t len, struct dk_ip6_header *header_out,
                                struct dk_ip6_extensions *found_out)
{
    struct walk walk = {.packet = bytes, .len = len, .quoted = true};
    struct dk_ip6_extensions found;
    if (len < DK_IP6_HEADER_LEN || bytes[0] >> 4 != 6)
        return DK_WIRE_ICMP6_QUOTE;
    if (walk_from_start(&walk, &found) != DK_WIRE_OK)
        return DK_WIRE_ICMP6_QUOTE;
    if (found.fragment_offset == 0 && len - found.payload_at < 8)
        return DK_WIRE_ICMP6_QUOTE;
    uint32_t word = dk_get_be32(bytes);
    *header_out = (struct dk_ip6_header){
        .src = dk_ip6_at(bytes + 8),
        .dst = dk_ip6_at(bytes + 24),
        .tos = (uint8_t)(word >> 20),
        .next_header = bytes[6],
        .hop_limit = bytes[7],
        .payload_len = dk_get_be16(bytes + 4),
        .flow_label = word & 0xfffff,
    };
    *found_out = found;
    return DK_WIRE_OK;
}
