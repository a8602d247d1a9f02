/* SPDX-License-Identifier: MIT */
/* Ethernet, ARP, IPv4, ICMP, UDP: what is read from good bytes, and what is said of bad ones. */
#include "wire_kit.h"

#include "base/bytes.h"
#include "base/checksum.h"
#include "net/wire/arp.h"
#include "net/wire/ethernet.h"
#include "net/wire/icmp4.h"
#include "net/wire/ipv4.h"
#include "net/wire/udp.h"

/* A request for 10.0.0.2 with all that Ethernet pads it with. */
static const uint8_t ARP_FRAME[60] = {
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0,  0, 0, 0, 1, 0x08, 0x06, 0, 1, 8, 0,  6, 4, 0,
    1,    2,    0,    0,    0,    0,    1, 10, 0, 0, 1, 0, 0,    0,    0, 0, 0, 10, 0, 0, 2};

/* A datagram of 4 bytes from 192.168.0.1:68 to 192.168.0.199:67, behind a header of no options. */
static const uint8_t UDP_PACKET[] = {0x45, 0,    0,    32, 0x12, 0x34, 0x40, 0,   64,   17, 0xa6,
                                     0x80, 0xc0, 0xa8, 0,  1,    0xc0, 0xa8, 0,   0xc7, 0,  68,
                                     0,    67,   0,    12, 0,    0,    'a',  'b', 'c',  'd'};

static void test_wire_reasons_have_names_of_their_own(void **state)
{
    (void)state;
    assert_string_equal(dk_wire_name(DK_WIRE_OK), "ok");
    assert_string_equal(dk_wire_name(DK_WIRE_TCP_CHECKSUM), "tcp.checksum");
    assert_string_equal(dk_wire_name(DK_WIRE_COUNT), "unknown");
    for (int i = 0; i < DK_WIRE_COUNT; i++) {
        assert_non_null(dk_wire_name((enum dk_wire)i));
        for (int j = 0; j < i; j++)
            assert_string_not_equal(dk_wire_name((enum dk_wire)i), dk_wire_name((enum dk_wire)j));
    }
}

static void test_text_longer_than_its_buffer_is_cut(void **state)
{
    (void)state;
    char buffer[9];
    struct dk_text text = DK_TEXT(buffer);
    dk_text_add(&text, "%s", "12345");
    dk_text_add(&text, "%d", 678901);
    must_print(&text, "12345678");
    dk_text_add(&text, "more");
    must_print(&text, "12345678");
}

static void test_ethernet_frame_cut_anywhere_is_short(void **state)
{
    (void)state;
    struct dk_eth_header eth;
    uint8_t tagged[18] = {[12] = 0x81, [16] = 0x08};
    for (size_t len = 0; len < 18; len++) {
        uint8_t *plain = exact(ARP_FRAME, len), *tag = exact(tagged, len);
        must_be(dk_eth_header_parse(plain, len, &eth), len < 14 ? DK_WIRE_ETH_SHORT : DK_WIRE_OK);
        must_be(dk_eth_header_parse(tag, len, &eth), DK_WIRE_ETH_SHORT);
        free_exact(plain);
        free_exact(tag);
    }
    must_be(dk_eth_header_parse(tagged, 18, &eth), DK_WIRE_OK);
}

static void test_ethernet_header_is_read_with_and_without_tag(void **state)
{
    (void)state;
    struct dk_eth_header eth;
    uint8_t bytes[DK_ETH_HEADER_MAX], tagged[18];
    must_be(dk_eth_header_parse(ARP_FRAME, 60, &eth), DK_WIRE_OK);
    assert_memory_equal(eth.dst.bytes, DK_MAC_BROADCAST.bytes, 6);
    assert_memory_equal(eth.src.bytes, MAC_1, 6);
    assert_int_equal(eth.type, DK_ETHERTYPE_ARP);
    assert_int_equal(eth.header_len, 14);
    assert_int_equal(eth.vlan, 0);
    assert_false(eth.tagged);
    assert_int_equal(dk_eth_header_emit(&eth, bytes), 14);
    assert_memory_equal(bytes, ARP_FRAME, 14);
    memcpy(tagged, ARP_FRAME, 12);
    memcpy(tagged + 12, (const uint8_t[]){0x81, 0, 0xb0, 0x64, 0x86, 0xdd}, 6);
    must_be(dk_eth_header_parse(tagged, 18, &eth), DK_WIRE_OK);
    assert_int_equal(eth.vlan, 100);
    assert_int_equal(eth.priority, 5);
    assert_true(eth.drop_eligible);
    assert_int_equal(eth.type, DK_ETHERTYPE_IP6);
    assert_int_equal(dk_eth_header_emit(&eth, bytes), 18);
    assert_memory_equal(bytes, tagged, 18);
}

static void test_ethernet_length_field_is_no_type(void **state)
{
    (void)state;
    struct dk_eth_header eth;
    uint8_t frame[18] = {[12] = 0x05, [13] = 0xff};
    must_be(dk_eth_header_parse(frame, 18, &eth), DK_WIRE_ETH_LENGTH);
    memcpy(frame + 12, (const uint8_t[]){0x81, 0, 0, 1, 0, 46}, 6);
    must_be(dk_eth_header_parse(frame, 18, &eth), DK_WIRE_ETH_LENGTH);
    memcpy(frame + 12, (const uint8_t[]){0x06, 0}, 2);
    must_be(dk_eth_header_parse(frame, 18, &eth), DK_WIRE_OK);
}

/* A second tag stays the payload's type: whoever does not know it drops the frame. */
static void test_ethernet_second_tag_is_not_looked_into(void **state)
{
    (void)state;
    struct dk_eth_header eth;
    uint8_t frame[22] = {[12] = 0x81, [15] = 1, [16] = 0x81, [19] = 2, [20] = 0x08};
    must_be(dk_eth_header_parse(frame, 22, &eth), DK_WIRE_OK);
    assert_int_equal(eth.type, DK_ETHERTYPE_VLAN);
    assert_int_equal(eth.vlan, 1);
}

static void test_arp_request_is_read_and_written_as_it_was(void **state)
{
    (void)state;
    struct dk_arp arp;
    uint8_t bytes[DK_ARP_LEN];
    must_be(dk_arp_parse(ARP_FRAME + 14, 46, &arp), DK_WIRE_OK);
    assert_int_equal(arp.operation, DK_ARP_REQUEST);
    assert_memory_equal(arp.sender_mac.bytes, MAC_1, 6);
    assert_memory_equal(arp.sender_ip.bytes, ((const uint8_t[]){10, 0, 0, 1}), 4);
    assert_memory_equal(arp.target_ip.bytes, ((const uint8_t[]){10, 0, 0, 2}), 4);
    assert_int_equal(arp.target_ip.version, 4);
    assert_int_equal(dk_arp_emit(&arp, bytes), DK_ARP_LEN);
    assert_memory_equal(bytes, ARP_FRAME + 14, DK_ARP_LEN);
}

static void test_arp_that_is_malformed_is_named(void **state)
{
    (void)state;
    static const struct {
        uint8_t at, value;
        enum dk_wire reason;
    } cases[] = {
        {0, 1, DK_WIRE_ARP_KIND},       {1, 6, DK_WIRE_ARP_KIND},
        {2, 0x86, DK_WIRE_ARP_KIND},    {4, 8, DK_WIRE_ARP_KIND},
        {5, 16, DK_WIRE_ARP_KIND},      {7, 0, DK_WIRE_ARP_OPERATION},
        {7, 3, DK_WIRE_ARP_OPERATION},  {6, 1, DK_WIRE_ARP_OPERATION},
        {8, 3, DK_WIRE_ARP_ADDRESS},    {14, 224, DK_WIRE_ARP_ADDRESS},
        {14, 255, DK_WIRE_ARP_ADDRESS}, {14, 0, DK_WIRE_OK},
    };
    struct dk_arp arp;
    uint8_t bytes[DK_ARP_LEN];
    for (size_t i = 0; i < COUNT(cases); i++) {
        memcpy(bytes, ARP_FRAME + 14, DK_ARP_LEN);
        bytes[cases[i].at] = cases[i].value;
        must_be(dk_arp_parse(bytes, DK_ARP_LEN, &arp), cases[i].reason);
    }
    memcpy(bytes, ARP_FRAME + 14, DK_ARP_LEN);
    memset(bytes + 8, 0, 6);
    must_be(dk_arp_parse(bytes, DK_ARP_LEN, &arp), DK_WIRE_ARP_ADDRESS);
    for (size_t len = 0; len < DK_ARP_LEN; len++) {
        uint8_t *cut = exact(ARP_FRAME + 14, len);
        must_be(dk_arp_parse(cut, len, &arp), DK_WIRE_ARP_SHORT);
        free_exact(cut);
    }
}

/* Sets the checksum of a header right and parses the packet, in a block of its length. */
static enum dk_wire parse_ip4(const uint8_t *packet, size_t len, struct dk_ip4_header *ip)
{
    uint8_t *bytes = exact(packet, len);
    size_t header_len = len > 0 ? (bytes[0] & 0xfu) * 4 : 0;
    if (header_len >= 20 && header_len <= len) {
        dk_put_be16(bytes + 10, 0);
        dk_put_be16(bytes + 10, dk_checksum_finish(dk_checksum_add(0, bytes, header_len)));
    }
    enum dk_wire reason = dk_ip4_header_parse(bytes, len, ip);
    free_exact(bytes);
    return reason;
}

static void test_ip4_header_is_read_and_written_as_it_was(void **state)
{
    (void)state;
    struct dk_ip4_header ip;
    uint8_t bytes[DK_IP4_HEADER_MAX];
    must_be(dk_ip4_header_parse(UDP_PACKET, sizeof(UDP_PACKET), &ip), DK_WIRE_OK);
    assert_int_equal(ip.header_len, 20);
    assert_int_equal(ip.total_len, 32);
    assert_int_equal(ip.id, 0x1234);
    assert_int_equal(ip.ttl, 64);
    assert_int_equal(ip.protocol, 17);
    assert_true(ip.dont_fragment);
    assert_false(dk_ip4_is_fragment(&ip));
    assert_int_equal(ip.src.version, 4);
    assert_memory_equal(ip.src.bytes, ((const uint8_t[16]){192, 168, 0, 1}), 16);
    assert_memory_equal(ip.dst.bytes, ((const uint8_t[16]){192, 168, 0, 199}), 16);
    assert_int_equal(dk_ip4_header_emit(&ip, bytes), 20);
    assert_memory_equal(bytes, UDP_PACKET, 20);
}

static void test_ip4_header_with_a_wrong_bit_fails_its_checksum(void **state)
{
    (void)state;
    struct dk_ip4_header ip;
    uint8_t bytes[sizeof(UDP_PACKET)];
    for (int bit = 32; bit < 160; bit++) { /* lengths come first */
        memcpy(bytes, UDP_PACKET, sizeof(bytes));
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        must_be(dk_ip4_header_parse(bytes, sizeof(bytes), &ip), DK_WIRE_IP4_CHECKSUM);
    }
}

static void test_ip4_lengths_that_cannot_be_are_named(void **state)
{
    (void)state;
    struct dk_ip4_header ip;
    uint8_t bytes[sizeof(UDP_PACKET)];
    for (size_t len = 0; len < sizeof(UDP_PACKET); len++)
        must_be(parse_ip4(UDP_PACKET, len, &ip),
                len < 20 ? DK_WIRE_IP4_SHORT : DK_WIRE_IP4_TOTAL_LENGTH);
    memcpy(bytes, UDP_PACKET, sizeof(bytes));
    for (uint8_t words = 0; words < 16; words++) {
        bytes[0] = 0x40 | words;
        if (words < 5 || words > 8)
            must_be(parse_ip4(bytes, sizeof(bytes), &ip), DK_WIRE_IP4_HEADER_LENGTH);
    }
    bytes[0] = 0x65;
    must_be(parse_ip4(bytes, sizeof(bytes), &ip), DK_WIRE_IP4_VERSION);
    bytes[0] = 0x45;
    bytes[3] = 19;
    must_be(parse_ip4(bytes, sizeof(bytes), &ip), DK_WIRE_IP4_TOTAL_LENGTH);
    bytes[3] = 20; /* no payload, and the rest is padding */
    must_be(parse_ip4(bytes, sizeof(bytes), &ip), DK_WIRE_OK);
}

/* RFC 791: of eights, but the last; RFC 1858 has the ends that wrap. */
static void test_ip4_fragments_that_cannot_be_are_named(void **state)
{
    (void)state;
    static const struct {
        uint16_t place;
        uint8_t total_len;
        enum dk_wire reason;
    } cases[] = {
        {0x2000, 28, DK_WIRE_OK},           {0x2000, 27, DK_WIRE_IP4_FRAGMENT},
        {0x2000, 20, DK_WIRE_IP4_FRAGMENT}, {0x0001, 27, DK_WIRE_OK},
        {0x1fff, 32, DK_WIRE_IP4_FRAGMENT}, {0x3fff, 28, DK_WIRE_IP4_FRAGMENT},
        {0x1ffb, 32, DK_WIRE_OK},           {0x1ffc, 31, DK_WIRE_OK},
        {0x1ffc, 32, DK_WIRE_IP4_FRAGMENT},
    };
    struct dk_ip4_header ip;
    uint8_t bytes[sizeof(UDP_PACKET)];
    for (size_t i = 0; i < COUNT(cases); i++) {
        memcpy(bytes, UDP_PACKET, sizeof(bytes));
        bytes[3] = cases[i].total_len;
        dk_put_be16(bytes + 6, cases[i].place);
        must_be(parse_ip4(bytes, sizeof(bytes), &ip), cases[i].reason);
        if (cases[i].reason == DK_WIRE_OK)
            assert_int_equal(ip.fragment_offset, (cases[i].place & 0x1fff) * 8);
    }
}

static void test_ip4_options_are_passed_over_unless_malformed(void **state)
{
    (void)state;
    static const struct {
        uint8_t options[8];
        enum dk_wire reason;
    } cases[] = {
        {{1, 1, 1, 1, 1, 1, 1, 1}, DK_WIRE_OK},
        {{0, 7, 99, 0, 0, 0, 0, 0}, DK_WIRE_OK},
        {{148, 4, 0, 0, 0}, DK_WIRE_OK}, /* router alert, RFC 2113 */
        {{7, 8, 4, 0, 0, 0, 0, 0}, DK_WIRE_OK},
        {{7, 9, 4, 0, 0, 0, 0, 0}, DK_WIRE_IP4_OPTION},
        {{7, 0}, DK_WIRE_IP4_OPTION},
        {{7, 1}, DK_WIRE_IP4_OPTION},
        {{1, 1, 1, 1, 1, 1, 1, 7}, DK_WIRE_IP4_OPTION},
        {{131, 7, 4, 10, 0, 0, 1}, DK_WIRE_IP4_SOURCE_ROUTE},
        {{1, 137, 7, 4, 10, 0, 0, 1}, DK_WIRE_IP4_SOURCE_ROUTE},
    };
    struct dk_ip4_header ip;
    uint8_t bytes[28] = {0x47, 0, 0, 28, 0, 0, 0, 0, 64, 2, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2};
    uint8_t again[DK_IP4_HEADER_MAX];
    for (size_t i = 0; i < COUNT(cases); i++) {
        memcpy(bytes + 20, cases[i].options, 8);
        must_be(parse_ip4(bytes, sizeof(bytes), &ip), cases[i].reason);
    }
    memcpy(bytes + 20, cases[2].options, 8);
    dk_put_be16(bytes + 10, dk_checksum_finish(dk_checksum_add(0, bytes, 28)));
    must_be(dk_ip4_header_parse(bytes, 28, &ip), DK_WIRE_OK);
    assert_int_equal(dk_ip4_header_emit(&ip, again), 28);
    assert_memory_equal(again, bytes, 28);
}

/* What a router quotes: cut behind 8 bytes, its ttl run out, so its checksum may be anything. */
static void test_ip4_quote_needs_header_and_8_bytes(void **state)
{
    (void)state;
    struct dk_ip4_header ip;
    uint8_t bytes[sizeof(UDP_PACKET)];
    memcpy(bytes, UDP_PACKET, sizeof(bytes));
    dk_put_be16(bytes + 2, 1500);
    dk_put_be16(bytes + 10, 0);
    for (size_t len = 0; len < sizeof(bytes); len++) {
        uint8_t *cut = exact(bytes, len);
        must_be(dk_ip4_quote_parse(cut, len, &ip), len < 28 ? DK_WIRE_ICMP4_QUOTE : DK_WIRE_OK);
        free_exact(cut);
    }
    assert_int_equal(ip.protocol, 17);
    assert_int_equal(ip.total_len, 1500);
    bytes[0] = 0x46;
    must_be(dk_ip4_quote_parse(bytes, 31, &ip), DK_WIRE_ICMP4_QUOTE);
    bytes[0] = 0x55;
    must_be(dk_ip4_quote_parse(bytes, 32, &ip), DK_WIRE_ICMP4_QUOTE);
}

static void test_icmp4_echo_is_read_and_written_as_it_was(void **state)
{
    (void)state;
    /* echo, id 0x1234, sequence 5, 3 bytes */
    static const uint8_t echo[] = {8, 0, 0x21, 0x64, 0x12, 0x34, 0, 5, 'a', 'b', 'c'};
    struct dk_icmp4 icmp;
    uint8_t bytes[8];
    must_be(dk_icmp4_parse(echo, sizeof(echo), &icmp), DK_WIRE_OK);
    assert_int_equal(icmp.type, DK_ICMP4_ECHO_REQUEST);
    assert_int_equal(dk_icmp_id(icmp.rest), 0x1234);
    assert_int_equal(dk_icmp_sequence(icmp.rest), 5);
    assert_int_equal(dk_icmp_echo(0x1234, 5), icmp.rest);
    assert_int_equal(icmp.data_len, 3);
    assert_ptr_equal(icmp.data, echo + 8);
    assert_int_equal(dk_icmp4_emit(&icmp, bytes), 8);
    assert_memory_equal(bytes, echo, 8);
    for (size_t len = 0; len < sizeof(echo); len++) {
        uint8_t *cut = exact(echo, len);
        must_be(dk_icmp4_parse(cut, len, &icmp),
                len < 8 ? DK_WIRE_ICMP4_SHORT : DK_WIRE_ICMP4_CHECKSUM);
        free_exact(cut);
    }
}

static void test_icmp4_errors_have_their_fields(void **state)
{
    (void)state;
    assert_int_equal(dk_icmp4_mtu(0x00000514), 1300);
    assert_int_equal(dk_icmp4_pointer(0x14000000), 20);
    assert_true(dk_icmp4_is_error(DK_ICMP4_UNREACHABLE));
    assert_true(dk_icmp4_is_error(DK_ICMP4_REDIRECT));
    assert_false(dk_icmp4_is_error(DK_ICMP4_ECHO_REQUEST));
    assert_false(dk_icmp4_is_error(DK_ICMP4_ECHO_REPLY));
}

static void test_udp_header_is_read_and_written_as_it_was(void **state)
{
    (void)state;
    struct dk_udp_header udp;
    uint8_t bytes[8];
    must_be(dk_udp_header_parse(UDP_PACKET + 20, 12, &udp), DK_WIRE_OK);
    assert_int_equal(udp.src_port, 68);
    assert_int_equal(udp.dst_port, 67);
    assert_int_equal(udp.len, 12);
    assert_int_equal(udp.checksum, 0);
    assert_int_equal(dk_udp_header_emit(&udp, bytes), 8);
    assert_memory_equal(bytes, UDP_PACKET + 20, 8);
    assert_int_equal(dk_udp_checksum_finish(0), 0xffff);
    assert_int_equal(dk_udp_checksum_finish(0x1234), 0x1234);
}

static void test_udp_lengths_that_cannot_be_are_named(void **state)
{
    (void)state;
    struct dk_udp_header udp;
    uint8_t bytes[12];
    for (size_t len = 0; len < 12; len++) {
        uint8_t *cut = exact(UDP_PACKET + 20, len);
        must_be(dk_udp_header_parse(cut, len, &udp),
                len < 8 ? DK_WIRE_UDP_SHORT : DK_WIRE_UDP_LENGTH);
        free_exact(cut);
    }
    memcpy(bytes, UDP_PACKET + 20, 12);
    bytes[5] = 7;
    must_be(dk_udp_header_parse(bytes, 12, &udp), DK_WIRE_UDP_LENGTH);
    bytes[5] = 8; /* shorter than the packet: the rest is not UDP's */
    must_be(dk_udp_header_parse(bytes, 12, &udp), DK_WIRE_OK);
    bytes[3] = 0;
    must_be(dk_udp_header_parse(bytes, 12, &udp), DK_WIRE_UDP_PORT);
}

static void test_frame_print_says_what_is_in_one_line(void **state)
{
    (void)state;
    char buffer[256];
    uint8_t frame[14 + sizeof(UDP_PACKET)];
    struct dk_text text = DK_TEXT(buffer);
    dk_frame_print(&text, ARP_FRAME, sizeof(ARP_FRAME));
    must_print(&text, "02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff, ARP, request who-has 10.0.0.2 "
                      "tell 10.0.0.1");
    memcpy(frame, MAC_2, 6);
    memcpy(frame + 6, MAC_1, 6);
    memcpy(frame + 12, (const uint8_t[]){0x08, 0x00}, 2);
    memcpy(frame + 14, UDP_PACKET, sizeof(UDP_PACKET));
    text = DK_TEXT(buffer);
    dk_frame_print(&text, frame, sizeof(frame));
    must_print(&text, "02:00:00:00:00:01 > 02:00:00:00:00:02, IP 192.168.0.1 > 192.168.0.199, "
                      "ttl 64: UDP 68 > 67, length 4");
    frame[30] ^= 1;
    text = DK_TEXT(buffer);
    dk_frame_print(&text, frame, sizeof(frame));
    must_print(&text, "02:00:00:00:00:01 > 02:00:00:00:00:02, [ip4.checksum]");
    frame[12] = 0x12;
    text = DK_TEXT(buffer);
    dk_frame_print(&text, frame, sizeof(frame));
    must_print(&text, "02:00:00:00:00:01 > 02:00:00:00:00:02, ethertype 0x1200, length 32");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wire_reasons_have_names_of_their_own),
        cmocka_unit_test(test_text_longer_than_its_buffer_is_cut),
        cmocka_unit_test(test_ethernet_frame_cut_anywhere_is_short),
        cmocka_unit_test(test_ethernet_header_is_read_with_and_without_tag),
        cmocka_unit_test(test_ethernet_length_field_is_no_type),
        cmocka_unit_test(test_ethernet_second_tag_is_not_looked_into),
        cmocka_unit_test(test_arp_request_is_read_and_written_as_it_was),
        cmocka_unit_test(test_arp_that_is_malformed_is_named),
        cmocka_unit_test(test_ip4_header_is_read_and_written_as_it_was),
        cmocka_unit_test(test_ip4_header_with_a_wrong_bit_fails_its_checksum),
        cmocka_unit_test(test_ip4_lengths_that_cannot_be_are_named),
        cmocka_unit_test(test_ip4_fragments_that_cannot_be_are_named),
        cmocka_unit_test(test_ip4_options_are_passed_over_unless_malformed),
        cmocka_unit_test(test_ip4_quote_needs_header_and_8_bytes),
        cmocka_unit_test(test_icmp4_echo_is_read_and_written_as_it_was),
        cmocka_unit_test(test_icmp4_errors_have_their_fields),
        cmocka_unit_test(test_udp_header_is_read_and_written_as_it_was),
        cmocka_unit_test(test_udp_lengths_that_cannot_be_are_named),
        cmocka_unit_test(test_frame_print_says_what_is_in_one_line),
    };
    return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
