/* SPDX-License-Identifier: MIT */
/* IPv6, its extension headers, ICMPv6 and neighbour discovery. */
#include "wire_kit.h"

#include "base/bytes.h"
#include "base/checksum.h"
#include "net/wire/icmp6.h"
#include "net/wire/ipv6.h"
#include "net/wire/nd.h"

#define ROUTER_ALERT 5, 2, 0, 0
#define PADN2        1, 0

static const uint8_t LINK_LOCAL[16] = {0xfe, 0x80, [15] = 1};
static const uint8_t GLOBAL[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 7};
static const uint8_t GROUP[16] = {0xff, 2, [11] = 1, [12] = 0xff, [15] = 7}; /* solicited node */
static const uint8_t ALL_NODES[16] = {0xff, 2, [15] = 1};

struct packet {
    uint8_t bytes[400];
    size_t len;
};

/* A packet of this next header with these bytes behind the fixed header. */
static struct packet packet_of(uint8_t next_header, const uint8_t *payload, size_t len)
{
    struct packet packet = {.len = DK_IP6_HEADER_LEN + len};
    struct dk_ip6_header ip = {.src = dk_ip6_at(LINK_LOCAL),
                               .dst = dk_ip6_at(GLOBAL),
                               .next_header = next_header,
                               .hop_limit = 64,
                               .payload_len = (uint16_t)len};
    dk_ip6_header_emit(&ip, packet.bytes);
    memcpy(packet.bytes + DK_IP6_HEADER_LEN, payload, len);
    return packet;
}

static enum dk_wire walk(const struct packet *packet, struct dk_ip6_extensions *found)
{
    uint8_t *bytes = exact(packet->bytes, packet->len);
    enum dk_wire reason = dk_ip6_extensions_walk(bytes, packet->len, found);
    free_exact(bytes);
    return reason;
}

static enum dk_wire walk_bytes(uint8_t next_header, const uint8_t *payload, size_t len,
                               struct dk_ip6_extensions *found)
{
    struct packet packet = packet_of(next_header, payload, len);
    return walk(&packet, found);
}

static void test_ip6_header_is_read_and_written_as_it_was(void **state)
{
    (void)state;
    uint8_t bytes[48] = {0x6a, 0xbc, 0xde, 0xf1, 0, 4, 17, 255, 0xfe, 0x80, [23] = 1}, again[40];
    struct dk_ip6_header ip;
    memcpy(bytes + 24, GLOBAL, 16);
    must_be(dk_ip6_header_parse(bytes, sizeof(bytes), &ip), DK_WIRE_OK);
    assert_int_equal(ip.tos, 0xab);
    assert_int_equal(ip.flow_label, 0xcdef1);
    assert_int_equal(ip.payload_len, 4);
    assert_int_equal(ip.next_header, 17);
    assert_int_equal(ip.hop_limit, 255);
    assert_int_equal(ip.src.version, 6);
    assert_memory_equal(ip.src.bytes, LINK_LOCAL, 16);
    assert_memory_equal(ip.dst.bytes, GLOBAL, 16);
    assert_int_equal(dk_ip6_header_emit(&ip, again), 40);
    assert_memory_equal(again, bytes, 40);
}

static void test_ip6_header_that_cannot_be_is_named(void **state)
{
    (void)state;
    struct dk_ip6_header ip;
    struct packet packet = packet_of(17, GLOBAL, 16);
    for (size_t len = 0; len < packet.len; len++) {
        uint8_t *cut = exact(packet.bytes, len);
        must_be(dk_ip6_header_parse(cut, len, &ip),
                len < 40 ? DK_WIRE_IP6_SHORT : DK_WIRE_IP6_PAYLOAD_LENGTH);
        free_exact(cut);
    }
    packet.bytes[0] = 0x45;
    must_be(dk_ip6_header_parse(packet.bytes, packet.len, &ip), DK_WIRE_IP6_VERSION);
    packet = packet_of(DK_IP6_HOP_BY_HOP, GLOBAL, 16);
    packet.bytes[5] = 0;
    must_be(dk_ip6_header_parse(packet.bytes, packet.len, &ip), DK_WIRE_IP6_JUMBO);
}

static void test_ip6_walk_without_extensions_ends_at_once(void **state)
{
    (void)state;
    struct dk_ip6_extensions found;
    must_be(walk_bytes(17, GLOBAL, 8, &found), DK_WIRE_OK);
    assert_int_equal(found.protocol, 17);
    assert_int_equal(found.protocol_at, 6);
    assert_int_equal(found.payload_at, 40);
    assert_false(found.is_fragment);
    assert_int_equal(found.fragment_at, 0);
    must_be(walk_bytes(DK_IP6_NO_NEXT, GLOBAL, 0, &found), DK_WIRE_OK);
    assert_int_equal(found.protocol, DK_IP6_NO_NEXT);
}

/* RFC 8200, section 4.1: the order in which they should come. */
static void test_ip6_walk_passes_over_all_kinds(void **state)
{
    (void)state;
    static const uint8_t payload[] = {
        DK_IP6_DESTINATION,
        0,
        ROUTER_ALERT,
        PADN2, /* hop-by-hop */
        DK_IP6_ROUTING,
        0,
        1,
        4,
        0,
        0,
        0,
        0, /* destination: PadN */
        DK_IP6_FRAGMENT,
        1,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0, /* routing, none left */
        DK_IP6_DESTINATION,
        0,
        0,
        0,
        1,
        2,
        3,
        4, /* an atomic fragment */
        6,
        0,
        0x1e,
        4,
        9,
        9,
        9,
        9, /* an option that may be passed over */
    };
    struct dk_ip6_extensions found;
    must_be(walk_bytes(DK_IP6_HOP_BY_HOP, payload, sizeof(payload), &found), DK_WIRE_OK);
    assert_int_equal(found.protocol, 6);
    assert_int_equal(found.protocol_at, 40 + 40);
    assert_int_equal(found.payload_at, 40 + 48);
    assert_true(found.router_alert);
    assert_false(found.is_fragment); /* RFC 6946 */
    assert_int_equal(found.fragment_at, 40 + 32);
    for (size_t len = 0; len < sizeof(payload); len++)
        must_be(walk_bytes(DK_IP6_HOP_BY_HOP, payload, len, &found), DK_WIRE_IP6_EXTENSION_SHORT);
}

static void test_ip6_walk_ends_at_a_fragment(void **state)
{
    (void)state;
    struct dk_ip6_fragment fragment = {
        .next_header = 17, .more_fragments = true, .offset = 1448, .id = 0xdeadbeef};
    uint8_t payload[24] = {0};
    struct dk_ip6_extensions found;
    assert_int_equal(dk_ip6_fragment_emit(&fragment, payload), 8);
    must_be(walk_bytes(DK_IP6_FRAGMENT, payload, 24, &found), DK_WIRE_OK);
    assert_true(found.is_fragment);
    assert_true(found.more_fragments);
    assert_int_equal(found.fragment_offset, 1448);
    assert_int_equal(found.fragment_id, 0xdeadbeef);
    assert_int_equal(found.fragment_at, 40);
    assert_int_equal(found.payload_at, 48);
    assert_int_equal(found.protocol, 17);
    assert_int_equal(found.protocol_at, 40);
}

struct refusal {
    uint8_t next_header;
    uint8_t len;
    uint8_t payload[40];
    enum dk_wire reason;
    uint8_t problem;
    uint8_t problem_at;
};

static void must_refuse(const struct refusal cases[], size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct dk_ip6_extensions found = {.payload_at = 7};
        must_be(walk_bytes(cases[i].next_header, cases[i].payload, cases[i].len, &found),
                cases[i].reason);
        assert_int_equal(found.problem, cases[i].problem);
        if (found.problem != DK_IP6_PROBLEM_NONE)
            assert_int_equal(found.problem_at, cases[i].problem_at);
        if (cases[i].reason != DK_WIRE_OK)
            assert_int_equal(found.payload_at, 7);
    }
}

/* RFC 8200, section 4.2: the two highest bits of an option say what is to be done. */
static void test_ip6_options_are_judged_by_their_highest_bits(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        {60, 8, {17, 0, 0x3e, 0, PADN2, PADN2}, DK_WIRE_OK, DK_IP6_PROBLEM_NONE, 0},
        {60, 8, {17, 0, 0x7e, 0, PADN2, PADN2}, DK_WIRE_IP6_OPTION_UNKNOWN, DK_IP6_PROBLEM_NONE, 0},
        {60,
         8,
         {17, 0, PADN2, 0xbe, 0, PADN2},
         DK_WIRE_IP6_OPTION_UNKNOWN,
         DK_IP6_PROBLEM_OPTION,
         44},
        {0,
         8,
         {17, 0, 0xfe, 4, 0, 0, 0, 0},
         DK_WIRE_IP6_OPTION_UNKNOWN,
         DK_IP6_PROBLEM_OPTION_UNICAST,
         42},
        {0,
         8,
         {17, 0, 0xc2, 4, 0, 1, 0, 0},
         DK_WIRE_IP6_OPTION_UNKNOWN, /* a jumbo payload */
         DK_IP6_PROBLEM_OPTION_UNICAST,
         42},
    };
    must_refuse(cases, COUNT(cases));
}

static void test_ip6_options_of_impossible_length_are_malformed(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        {60, 8, {17, 0, 1, 5, 0, 0, 0, 0}, DK_WIRE_IP6_OPTION, DK_IP6_PROBLEM_FIELD, 42},
        {60, 8, {17, 0, 1, 3, 0, 0, 0, 1}, DK_WIRE_IP6_OPTION, DK_IP6_PROBLEM_FIELD, 47},
        {0, 8, {17, 0, 5, 4, 0, 0, 0, 0}, DK_WIRE_IP6_OPTION, DK_IP6_PROBLEM_FIELD, 43},
        {0, 8, {17, 1, 1, 4, 0, 0, 0, 0}, DK_WIRE_IP6_EXTENSION_SHORT, DK_IP6_PROBLEM_NONE, 0},
    };
    must_refuse(cases, COUNT(cases));
}

static void test_ip6_extensions_out_of_order_are_refused(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        /* hop-by-hop options that are not first: code 1, at the byte that names them */
        {60,
         16,
         {0, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0},
         DK_WIRE_IP6_EXTENSION_ORDER,
         DK_IP6_PROBLEM_NEXT_HEADER,
         40},
        /* two atomic fragments; a first fragment that contains another fragment */
        {44,
         24,
         {44, 0, 0, 0, 0, 0, 0, 1, 17},
         DK_WIRE_IP6_EXTENSION_ORDER,
         DK_IP6_PROBLEM_NONE,
         0},
        {44,
         32,
         {44, 0, 0, 1, 0, 0, 0, 1, 17},
         DK_WIRE_IP6_EXTENSION_ORDER,
         DK_IP6_PROBLEM_NONE,
         0},
    };
    must_refuse(cases, COUNT(cases));
}

/* RFC 5095 and 8200, section 4.4. */
static void test_ip6_routing_with_segments_left_is_refused(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        {43, 8, {17, 0, 0, 0, 0, 0, 0, 0}, DK_WIRE_OK, DK_IP6_PROBLEM_NONE, 0},
        {43, 8, {17, 0, 0, 1, 0, 0, 0, 0}, DK_WIRE_IP6_ROUTING, DK_IP6_PROBLEM_FIELD, 42},
        {43, 8, {17, 0, 99, 9, 0, 0, 0, 0}, DK_WIRE_IP6_ROUTING, DK_IP6_PROBLEM_FIELD, 42},
        {43, 8, {17, 1, 0, 0, 0, 0, 0, 0}, DK_WIRE_IP6_EXTENSION_SHORT, DK_IP6_PROBLEM_NONE, 0},
    };
    must_refuse(cases, COUNT(cases));
}

/* RFC 8200, section 4.5; RFC 7112 for the first one. */
static void test_ip6_fragments_that_cannot_be_are_refused(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        {44, 17, {17, 0, 0, 9}, DK_WIRE_IP6_FRAGMENT, DK_IP6_PROBLEM_FIELD, 4},
        {44, 8, {17, 0, 0, 9}, DK_WIRE_IP6_FRAGMENT, DK_IP6_PROBLEM_NONE, 0},
        {44, 17, {17, 0, 0, 8}, DK_WIRE_OK, DK_IP6_PROBLEM_NONE, 0},
        {44, 16, {17, 0, 0xff, 0xf8}, DK_WIRE_IP6_FRAGMENT, DK_IP6_PROBLEM_FIELD, 42},
        {44, 15, {17, 0, 0xff, 0xf8}, DK_WIRE_OK, DK_IP6_PROBLEM_NONE, 0},
        {44, 7, {17, 0, 0, 0}, DK_WIRE_IP6_EXTENSION_SHORT, DK_IP6_PROBLEM_NONE, 0},
        {44, 16, {17, 0, 0, 1}, DK_WIRE_OK, DK_IP6_PROBLEM_NONE, 0},
        {44, 24, {6, 0, 0, 1}, DK_WIRE_IP6_FRAGMENT_CHAIN, DK_IP6_PROBLEM_FIRST_FRAGMENT, 0},
        {44, 32, {6, 0, 0, 1}, DK_WIRE_OK, DK_IP6_PROBLEM_NONE, 0},
        {44,
         16,
         {60, 0, 0, 1, 0, 0, 0, 0, 17, 9},
         DK_WIRE_IP6_FRAGMENT_CHAIN,
         DK_IP6_PROBLEM_FIRST_FRAGMENT,
         0},
    };
    must_refuse(cases, COUNT(cases));
}

/* So that no packet costs more than a few hundred steps. */
static void test_ip6_walk_has_limits(void **state)
{
    (void)state;
    struct dk_ip6_extensions found;
    uint8_t headers[8 * 10] = {0}, pads[40] = {17, 4};
    for (uint8_t n = 1; n <= 10; n++) {
        memset(headers, 0, sizeof(headers));
        for (uint8_t i = 0; i < n; i++) {
            headers[i * 8] = i == n - 1 ? 17 : DK_IP6_DESTINATION;
            memcpy(headers + i * 8 + 2, (const uint8_t[]){1, 4}, 2);
        }
        must_be(walk_bytes(DK_IP6_DESTINATION, headers, n * 8u, &found),
                n <= DK_IP6_EXTENSIONS_MAX ? DK_WIRE_OK : DK_WIRE_IP6_EXTENSION_LIMIT);
    }
    must_be(walk_bytes(DK_IP6_DESTINATION, pads, 40, &found), DK_WIRE_IP6_EXTENSION_LIMIT);
    pads[1] = 0;
    must_be(walk_bytes(DK_IP6_DESTINATION, pads, 8, &found), DK_WIRE_OK);
}

static void test_ip6_router_alert_is_recognised(void **state)
{
    (void)state;
    uint8_t bytes[16];
    struct dk_ip6_extensions found;
    assert_int_equal(dk_ip6_router_alert_emit(58, bytes), 8);
    must_be(walk_bytes(DK_IP6_HOP_BY_HOP, bytes, 8, &found), DK_WIRE_OK);
    assert_true(found.router_alert);
    assert_int_equal(found.protocol, 58);
}

static void test_ip6_quote_may_be_cut_behind_8_bytes(void **state)
{
    (void)state;
    struct dk_ip6_header ip;
    struct dk_ip6_extensions found;
    uint8_t payload[24] = {17, 0, 0, 1, 0, 0, 0, 9, 0, 1, 0, 2};
    struct packet packet = packet_of(DK_IP6_FRAGMENT, payload, sizeof(payload));
    dk_put_be16(packet.bytes + 4, 1240);
    for (size_t len = 0; len <= packet.len; len++) {
        uint8_t *cut = exact(packet.bytes, len);
        must_be(dk_ip6_quote_parse(cut, len, &ip, &found),
                len < 56 ? DK_WIRE_ICMP6_QUOTE : DK_WIRE_OK);
        free_exact(cut);
    }
    assert_int_equal(found.protocol, 17);
    assert_int_equal(found.payload_at, 48);
    assert_memory_equal(ip.dst.bytes, GLOBAL, 16);
    packet.bytes[43] = 8; /* not the first: nothing to find in it */
    must_be(dk_ip6_quote_parse(packet.bytes, 48, &ip, &found), DK_WIRE_OK);
    assert_int_equal(found.fragment_offset, 8);
    packet.bytes[0] = 0x40;
    must_be(dk_ip6_quote_parse(packet.bytes, packet.len, &ip, &found), DK_WIRE_ICMP6_QUOTE);
}

static void test_icmp6_message_is_read_and_written_as_it_was(void **state)
{
    (void)state;
    uint8_t echo[] = {128, 0, 0, 0, 0x12, 0x34, 0, 5, 'a', 'b', 'c'}, again[8];
    struct dk_icmp6 icmp;
    for (size_t len = 0; len < 8; len++) {
        uint8_t *cut = exact(echo, len);
        must_be(dk_icmp6_parse(cut, len, &icmp), DK_WIRE_ICMP6_SHORT);
        free_exact(cut);
    }
    must_be(dk_icmp6_parse(echo, sizeof(echo), &icmp), DK_WIRE_OK);
    assert_int_equal(icmp.type, DK_ICMP6_ECHO_REQUEST);
    assert_int_equal(icmp.rest, 0x12340005);
    assert_int_equal(icmp.data_len, 3);
    uint32_t pseudo = dk_checksum_add(0, LINK_LOCAL, 16);
    pseudo = dk_checksum_add(pseudo, GLOBAL, 16) + 58 + (uint32_t)sizeof(echo);
    assert_int_equal(dk_icmp6_emit(&icmp, pseudo, again), 8);
    assert_memory_equal(again, echo, 2);
    assert_memory_equal(again + 4, echo + 4, 4);
    memcpy(echo, again, 8);
    assert_true(dk_checksum_is_good(pseudo, echo, sizeof(echo)));
    assert_true(dk_icmp6_is_error(DK_ICMP6_TOO_BIG));
    assert_false(dk_icmp6_is_error(DK_ICMP6_ECHO_REPLY));
}

/* A solicitation for GLOBAL from LINK_LOCAL, with its link address. */
static const uint8_t SOLICIT[32] = {135,  0,        0,        0, 0, 0, 0, 0, 0x20, 0x01, 0x0d,
                                    0xb8, [23] = 7, [24] = 1, 1, 2, 0, 0, 0, 0,    1};

static enum dk_wire parse_nd(const uint8_t *bytes, size_t len, const struct dk_nd_ip *ip,
                             struct dk_nd *nd)
{
    uint8_t *block = exact(bytes, len);
    enum dk_wire reason = dk_nd_parse(block, len, ip, nd);
    free_exact(block);
    return reason;
}

static struct dk_nd_ip nd_ip(const uint8_t *src, const uint8_t *dst)
{
    return (struct dk_nd_ip){dk_ip6_at(src), dk_ip6_at(dst), 255};
}

static void test_nd_solicitation_is_read_and_written_as_it_was(void **state)
{
    (void)state;
    struct dk_nd nd;
    uint8_t again[DK_ND_EMIT_MAX];
    struct dk_nd_ip ip = nd_ip(LINK_LOCAL, GROUP);
    must_be(parse_nd(SOLICIT, sizeof(SOLICIT), &ip, &nd), DK_WIRE_OK);
    assert_int_equal(nd.type, DK_ICMP6_NEIGHBOR_SOLICIT);
    assert_memory_equal(nd.target.bytes, GLOBAL, 16);
    assert_true(nd.has_source_mac);
    assert_memory_equal(nd.source_mac.bytes, MAC_1, 6);
    assert_int_equal(dk_nd_emit(&nd, again), sizeof(SOLICIT));
    assert_memory_equal(again, SOLICIT, sizeof(SOLICIT));
    for (size_t len = 0; len < sizeof(SOLICIT); len++)
        must_be(parse_nd(SOLICIT, len, &ip, &nd), len < 8     ? DK_WIRE_ICMP6_SHORT
                                                  : len < 24  ? DK_WIRE_ND_SHORT
                                                  : len == 24 ? DK_WIRE_OK
                                                              : DK_WIRE_ND_OPTION);
}

static void test_nd_message_that_breaks_a_rule_is_named(void **state)
{
    (void)state;
    static const struct {
        uint8_t at, value;
        enum dk_wire reason;
    } cases[] = {
        {0, 128, DK_WIRE_ND_TYPE},     {0, 138, DK_WIRE_ND_TYPE},  {1, 1, DK_WIRE_ND_CODE},
        {8, 0xff, DK_WIRE_ND_ADDRESS}, {25, 0, DK_WIRE_ND_OPTION}, {25, 2, DK_WIRE_ND_OPTION},
        {26, 3, DK_WIRE_ND_OPTION},    {24, 2, DK_WIRE_OK},        {24, 99, DK_WIRE_OK},
        {0, 137, DK_WIRE_ND_SHORT},    {0, 136, DK_WIRE_OK},
    };
    struct dk_nd nd;
    struct dk_nd_ip ip = nd_ip(LINK_LOCAL, GROUP);
    uint8_t bytes[sizeof(SOLICIT)];
    for (size_t i = 0; i < COUNT(cases); i++) {
        memcpy(bytes, SOLICIT, sizeof(bytes));
        bytes[cases[i].at] = cases[i].value;
        must_be(parse_nd(bytes, sizeof(bytes), &ip, &nd), cases[i].reason);
    }
    ip.hop_limit = 254;
    must_be(parse_nd(SOLICIT, sizeof(SOLICIT), &ip, &nd), DK_WIRE_ND_HOP_LIMIT);
}

/* RFC 4861, section 7.1.1: who probes for an address has none yet. */
static void test_nd_solicitation_without_source_is_a_probe(void **state)
{
    (void)state;
    static const uint8_t none[16];
    struct dk_nd nd;
    struct dk_nd_ip ip = nd_ip(none, GROUP);
    uint8_t probe[32], again[DK_ND_EMIT_MAX];
    must_be(parse_nd(SOLICIT, 24, &ip, &nd), DK_WIRE_OK);
    assert_false(nd.has_source_mac);
    must_be(parse_nd(SOLICIT, 32, &ip, &nd), DK_WIRE_ND_OPTION);
    ip.dst = dk_ip6_at(GLOBAL);
    must_be(parse_nd(SOLICIT, 24, &ip, &nd), DK_WIRE_ND_ADDRESS);
    ip.dst = dk_ip6_at(GROUP);
    memcpy(probe, SOLICIT, 24);
    memcpy(probe + 24, (const uint8_t[]){14, 1, 1, 2, 3, 4, 5, 6}, 8); /* RFC 7527 */
    must_be(parse_nd(probe, 32, &ip, &nd), DK_WIRE_OK);
    assert_true(nd.has_nonce);
    assert_memory_equal(nd.nonce, probe + 26, 6);
    assert_int_equal(dk_nd_emit(&nd, again), 32);
    assert_memory_equal(again, probe, 32);
}

static void test_nd_advertisement_to_a_group_is_not_solicited(void **state)
{
    (void)state;
    uint8_t bytes[32];
    struct dk_nd nd;
    struct dk_nd_ip ip = nd_ip(LINK_LOCAL, ALL_NODES);
    memcpy(bytes, SOLICIT, sizeof(bytes));
    bytes[0] = 136;
    bytes[24] = 2;
    bytes[4] = 0xa0;
    must_be(parse_nd(bytes, 32, &ip, &nd), DK_WIRE_OK);
    assert_true(nd.router && nd.override && !nd.solicited && nd.has_target_mac);
    bytes[4] = 0x60;
    must_be(parse_nd(bytes, 32, &ip, &nd), DK_WIRE_ND_ADDRESS);
    ip.dst = dk_ip6_at(GLOBAL);
    must_be(parse_nd(bytes, 32, &ip, &nd), DK_WIRE_OK);
    assert_true(nd.solicited && !nd.router);
}

static void test_nd_router_advertisement_has_all_options(void **state)
{
    (void)state;
    struct dk_nd nd = {.type = DK_ICMP6_ROUTER_ADVERT,
                       .hop_limit = 64,
                       .other_config = true,
                       .lifetime_s = 1800,
                       .reachable_ms = 30000,
                       .retrans_ms = 1000,
                       .mtu = 1480,
                       .has_source_mac = true,
                       .source_mac = {{2, 0, 0, 0, 0, 9}},
                       .num_prefixes = 2};
    struct dk_nd again;
    struct dk_nd_ip ip = nd_ip(LINK_LOCAL, ALL_NODES);
    uint8_t bytes[DK_ND_EMIT_MAX];
    nd.prefixes[0] = (struct dk_nd_prefix){dk_ip6_at(GLOBAL), 64, true, true, 86400, 14400};
    nd.prefixes[1] = (struct dk_nd_prefix){dk_ip6_at(LINK_LOCAL), 10, false, false, 1, 0};
    size_t len = dk_nd_emit(&nd, bytes);
    assert_int_equal(len, 16 + 8 + 8 + 2 * 32);
    must_be(parse_nd(bytes, len, &ip, &again), DK_WIRE_OK);
    assert_int_equal(again.hop_limit, 64);
    assert_true(again.other_config && !again.managed);
    assert_int_equal(again.lifetime_s, 1800);
    assert_int_equal(again.reachable_ms, 30000);
    assert_int_equal(again.retrans_ms, 1000);
    assert_int_equal(again.mtu, 1480);
    assert_int_equal(again.num_prefixes, 2);
    assert_memory_equal(&again.prefixes[0].prefix, &nd.prefixes[0].prefix, sizeof(struct dk_ip));
    assert_true(again.prefixes[0].on_link && again.prefixes[0].autonomous);
    assert_int_equal(again.prefixes[0].valid_s, 86400);
    assert_int_equal(again.prefixes[0].preferred_s, 14400);
    assert_int_equal(again.prefixes[1].len, 10);
    ip.src = dk_ip6_at(GLOBAL); /* section 6.1.2: routers use link-local addresses */
    must_be(parse_nd(bytes, len, &ip, &again), DK_WIRE_ND_ADDRESS);
}

static void test_nd_redirect_names_a_router_or_the_destination(void **state)
{
    (void)state;
    struct dk_nd nd = {.type = DK_ICMP6_REDIRECT}, again;
    struct dk_nd_ip ip = nd_ip(LINK_LOCAL, GLOBAL);
    uint8_t bytes[DK_ND_EMIT_MAX];
    nd.target = dk_ip6_at(LINK_LOCAL);
    nd.destination = dk_ip6_at(GLOBAL);
    assert_int_equal(dk_nd_emit(&nd, bytes), 40);
    must_be(parse_nd(bytes, 40, &ip, &again), DK_WIRE_OK);
    assert_true(dk_ip_equal(&again.destination, &nd.destination));
    assert_true(dk_ip_equal(&again.target, &nd.target));
    memcpy(bytes + 8, GLOBAL, 16);
    must_be(parse_nd(bytes, 40, &ip, &again), DK_WIRE_OK);
    bytes[23] ^= 1; /* neither */
    must_be(parse_nd(bytes, 40, &ip, &again), DK_WIRE_ND_ADDRESS);
    memcpy(bytes + 8, LINK_LOCAL, 16);
    memcpy(bytes + 24, GROUP, 16);
    must_be(parse_nd(bytes, 40, &ip, &again), DK_WIRE_ND_ADDRESS);
}

static void test_ip6_packet_print_says_what_is_in_one_line(void **state)
{
    (void)state;
    char buffer[300];
    struct packet packet = packet_of(58, SOLICIT, sizeof(SOLICIT));
    struct dk_text text = DK_TEXT(buffer);
    packet.bytes[7] = 255;
    dk_packet_print(&text, packet.bytes, packet.len);
    must_print(&text, "IP6 fe80::1 > 2001:db8::7, hlim 255: ICMP6 neighbor solicitation, "
                      "for 2001:db8::7, source 02:00:00:00:00:01");
    packet.bytes[7] = 1;
    text = DK_TEXT(buffer);
    dk_packet_print(&text, packet.bytes, packet.len);
    must_print(&text, "IP6 fe80::1 > 2001:db8::7, hlim 1: [nd.hop_limit]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ip6_header_is_read_and_written_as_it_was),
        cmocka_unit_test(test_ip6_header_that_cannot_be_is_named),
        cmocka_unit_test(test_ip6_walk_without_extensions_ends_at_once),
        cmocka_unit_test(test_ip6_walk_passes_over_all_kinds),
        cmocka_unit_test(test_ip6_walk_ends_at_a_fragment),
        cmocka_unit_test(test_ip6_options_are_judged_by_their_highest_bits),
        cmocka_unit_test(test_ip6_options_of_impossible_length_are_malformed),
        cmocka_unit_test(test_ip6_extensions_out_of_order_are_refused),
        cmocka_unit_test(test_ip6_routing_with_segments_left_is_refused),
        cmocka_unit_test(test_ip6_fragments_that_cannot_be_are_refused),
        cmocka_unit_test(test_ip6_walk_has_limits),
        cmocka_unit_test(test_ip6_router_alert_is_recognised),
        cmocka_unit_test(test_ip6_quote_may_be_cut_behind_8_bytes),
        cmocka_unit_test(test_icmp6_message_is_read_and_written_as_it_was),
        cmocka_unit_test(test_nd_solicitation_is_read_and_written_as_it_was),
        cmocka_unit_test(test_nd_message_that_breaks_a_rule_is_named),
        cmocka_unit_test(test_nd_solicitation_without_source_is_a_probe),
        cmocka_unit_test(test_nd_advertisement_to_a_group_is_not_solicited),
        cmocka_unit_test(test_nd_router_advertisement_has_all_options),
        cmocka_unit_test(test_nd_redirect_names_a_router_or_the_destination),
        cmocka_unit_test(test_ip6_packet_print_says_what_is_in_one_line),
    };
    return cmocka_run_group_tests_name("wire-ip6", tests, NULL, NULL);
}
