/* SPDX-License-Identifier: MIT */
/* Link, IP input and output, routes, the stack as a whole. */
#include "net_kit.h"

#include "base/bytes.h"
#include "base/random.h"
#include "libos/stack/sock.h"
#include "net/ifaddr.h"
#include "net/route.h"

#include <stdlib.h>
#include <string.h>

static struct kit kit;

static const struct dk_endpoint us4 = {{.bytes = {10, 0, 0, 1}, .version = 4}, 7};
static const struct dk_endpoint peer4 = {{.bytes = {10, 0, 0, 2}, .version = 4}, 9};
static const struct dk_ip any = {.version = 0};

static uint8_t packet[3000], datagram[3000];

static uint32_t build(const struct dk_endpoint *from, const struct dk_endpoint *to)
{
    const struct kit_ip ip = {.src = from->ip, .dst = to->ip, .protocol = DK_IP_UDP};
    return kit_put_ip(packet, &ip, datagram, kit_put_udp(datagram, from, to, "bytes", 5));
}

static void expect_count(const char *name, uint64_t n)
{
    if (kit_stat(&kit, name) != n)
        fail_msg("%s is %llu", name, (unsigned long long)kit_stat(&kit, name));
}

static void refuse(const char *part)
{
    const char *why = NULL;
    struct dk_net *net;
    assert_int_equal(dk_net_create(&net, &kit.config, 0, &why), -EINVAL);
    assert_non_null(why);
    if (!strstr(why, part))
        fail_msg("%s", why);
    kit_init(&kit);
}

static void test_create_refuses_what_cannot_be_and_says_why(void **state)
{
    (void)state;
    kit_init(&kit);
    kit.config.mac.bytes[0] = 1;
    refuse("link address");
    kit.config.mtu = 67;
    refuse("MTU");
    kit.config.mtu = 1279;
    refuse("1280");
    kit.config.vlan = 4095;
    refuse("VLAN");
    kit.config.num_addresses = 0;
    refuse("no address");
    kit.config.addresses[0].prefix_len = 33;
    refuse("prefix length");
    kit.config.addresses[0].prefix_len = 0;
    refuse("prefix length");
    kit.config.addresses[0].ip = ip4(10, 0, 0, 255);
    refuse("broadcast");
    kit.config.addresses[0].ip = ip4(10, 0, 0, 0);
    refuse("network's own");
    kit.config.addresses[0].ip = ip4(224, 0, 0, 1);
    refuse("none that a host");
    kit.config.addresses[0].ip.version = 5;
    refuse("neither");
    kit.config.addresses[1] = kit.config.addresses[2];
    refuse("twice");
    kit.config.routes[0].gateway = ip4(10, 0, 1, 1);
    refuse("no network");
    kit.config.routes[0].gateway = ip4(10, 0, 0, 1);
    refuse("our own");
    kit.config.routes[0].prefix = ip6("2001:db8::");
    refuse("versions");
    kit.config.routes[0].prefix = ip4(192, 0, 2, 0);
    kit.config.routes[0].prefix_len = 33;
    refuse("prefix length");
}

static void test_link_takes_only_frames_for_us(void **state)
{
    struct kit_sock s;
    const struct dk_mac other = {{2, 0, 0, 0, 0, 9}}, group = {{1, 0, 0x5e, 0, 0, 9}};
    uint8_t frame[100];
    (void)state;
    kit_open(&kit);
    kit_sock_open(&kit, &s, any, 7);
    const uint32_t len = build(&peer4, &us4);
    kit_packet(&kit, packet, len, &other);
    expect_count("link.not_ours", 1);
    kit_packet(&kit, packet, len, &group); /* to us, in a frame to many: RFC 1122 */
    expect_count("ip4.link_broadcast", 1);
    const struct dk_eth_header eth = {.dst = kit_mac, .src = group, .type = DK_ETHERTYPE_IP4};
    memcpy(frame + dk_eth_header_emit(&eth, frame), packet, len);
    kit_frame(&kit, frame, 14 + len);
    expect_count("link.source", 1);
    memcpy(frame + 6, kit_peer_mac.bytes, 6);
    dk_put_be16(frame + 12, 0x88cc);
    kit_frame(&kit, frame, 14 + len);
    expect_count("link.type", 1);
    dk_put_be16(frame + 12, 100);
    kit_frame(&kit, frame, 14 + len);
    expect_count("eth.length", 1);
    kit_frame(&kit, frame, 13);
    expect_count("eth.short", 1);
    assert_int_equal(s.readable, 0);
    kit_close(&kit);
}

static void test_link_vlan_is_on_all_frames(void **state)
{
    struct kit_sock s;
    struct kit_sent sent;
    uint8_t frame[100];
    (void)state;
    kit_init(&kit);
    kit.config.vlan = 77;
    kit_start(&kit);
    kit_pass(&kit, 60 * S);
    kit_sock_open(&kit, &s, any, 7);
    dk_net_add_neighbour(kit.net, &peer4.ip, &kit_peer_mac);
    kit_send(&kit, &s, &peer4, "x", 1);
    for (uint32_t i = 0; i < kit.num_frames; i++) {
        struct dk_eth_header eth;
        assert_int_equal(dk_eth_header_parse(kit.frames[i].bytes, kit.frames[i].len, &eth), 0);
        assert_true(eth.tagged && eth.vlan == 77);
    }
    kit.read = kit.num_frames - 1;
    kit_expect_ip(&kit, &sent);
    const uint32_t len = build(&peer4, &us4);
    kit_packet(&kit, packet, len, NULL);
    assert_int_equal(s.readable, 1);
    const uint16_t vlans[] = {0, 78};
    for (int i = 0; i < 3; i++) { /* none, priority only, another */
        const struct dk_eth_header eth = {.dst = kit_mac,
                                          .src = kit_peer_mac,
                                          .type = DK_ETHERTYPE_IP4,
                                          .vlan = i == 0 ? 0 : vlans[i - 1],
                                          .tagged = i > 0};
        const size_t at = dk_eth_header_emit(&eth, frame);
        memcpy(frame + at, packet, len);
        kit_frame(&kit, frame, (uint32_t)at + len);
    }
    expect_count("link.vlan", 3);
    assert_int_equal(s.readable, 1);
    kit_close(&kit);
}

static void test_ip4_padding_of_the_link_is_not_payload(void **state)
{
    struct kit_sock s;
    (void)state;
    kit_open(&kit);
    kit_sock_open(&kit, &s, any, 7);
    const uint32_t len = build(&peer4, &us4);
    memset(packet + len, 0xee, 20);
    kit_packet(&kit, packet, len + 20, NULL);
    kit_expect_recv(&s, "bytes", 5);
    kit_close(&kit);
}

static void try_source(struct dk_ip src, struct dk_ip dst, const char *counter)
{
    const struct dk_endpoint from = {src, 9}, to = {dst, 7};
    const uint64_t before = kit_stat(&kit, counter);
    const uint32_t len = build(&from, &to);
    kit_packet(&kit, packet, len, NULL);
    expect_count(counter, before + 1);
}

static void test_ip_sources_that_cannot_be_are_dropped(void **state)
{
    struct kit_sock s;
    (void)state;
    kit_open(&kit);
    kit_sock_open(&kit, &s, any, 7);
    try_source(ip4(224, 0, 0, 1), us4.ip, "ip4.source");
    try_source(ip4(255, 255, 255, 255), us4.ip, "ip4.source");
    try_source(ip4(10, 0, 0, 255), us4.ip, "ip4.source");
    try_source(ip4(127, 0, 0, 1), us4.ip, "ip4.source");
    try_source(ip4(0, 0, 0, 0), us4.ip, "ip4.source");
    try_source(ip4(10, 0, 0, 1), us4.ip, "ip4.own_source");
    try_source(ip6("ff02::1"), ip6("fd00::1"), "ip6.source");
    try_source(ip6("::1"), ip6("fd00::1"), "ip6.source");
    try_source(ip6("::ffff:10.0.0.2"), ip6("fd00::1"), "ip6.source");
    try_source(ip6("fd00::1"), ip6("fd00::1"), "ip6.own_source");
    assert_int_equal(s.readable, 0);
    kit_expect_silence(&kit);
    kit_close(&kit);
}

static void test_ip_destinations_of_others_are_dropped(void **state)
{
    (void)state;
    kit_open(&kit);
    try_source(peer4.ip, ip4(10, 0, 0, 3), "ip4.not_ours");
    try_source(peer4.ip, ip4(127, 0, 0, 1), "ip4.not_ours");
    try_source(peer4.ip, ip4(239, 0, 0, 1), "ip4.group");
    try_source(ip6("fd00::2"), ip6("fd00::3"), "ip6.not_ours");
    try_source(ip6("fd00::2"), ip6("::1"), "ip6.not_ours");
    try_source(ip6("fd00::2"), ip6("ff05::2"), "ip6.group");
    kit_expect_silence(&kit);
    kit_close(&kit);
}

static void test_ip4_header_with_options_is_passed_source_route_is_not(void **state)
{
    struct kit_sock s;
    static const uint8_t nops[4] = {1, 1, 1, 0}, source_route[4] = {131, 3, 4, 0},
                         bad[4] = {7, 40, 4, 0};
    const uint8_t *options[] = {nops, source_route, bad};
    struct kit_sent sent;
    (void)state;
    kit_open(&kit);
    kit_sock_open(&kit, &s, any, 7);
    const uint32_t len = kit_put_udp(datagram, &peer4, &us4, "bytes", 5);
    for (int i = 0; i < 3; i++) {
        const struct dk_ip4_header ip = {.src = peer4.ip,
                                         .dst = us4.ip,
                                         .header_len = 24,
                                         .ttl = 1,
                                         .protocol = DK_IP_UDP,
                                         .total_len = (uint16_t)(24 + len),
                                         .options = options[i]};
        memcpy(packet + dk_ip4_header_emit(&ip, packet), datagram, len);
        kit_packet(&kit, packet, 24 + len, NULL);
    }
    kit_expect_recv(&s, "bytes", 5);
    assert_int_equal(s.readable, 1);
    expect_count("ip4.source_route", 1);
    expect_count("ip4.option", 1);
    kit_expect_icmp(&kit, DK_ICMP4_PARAMETER, 0, &sent);
    assert_int_equal(sent.data[4], 20);
    kit_expect_silence(&kit);
    kit_close(&kit);
}

static void test_ip_protocol_of_nobody_is_told(void **state)
{
    struct kit_sent sent;
    struct kit_ip ip = {.src = peer4.ip, .dst = us4.ip, .protocol = 200};
    (void)state;
    kit_open(&kit);
    kit_packet(&kit, packet, kit_put_ip(packet, &ip, "payload.", 8), NULL);
    kit_expect_icmp(&kit, DK_ICMP4_UNREACHABLE, DK_ICMP4_PROTOCOL_UNREACHABLE, &sent);
    ip.src = ip6("fd00::2");
    ip.dst = ip6("fd00::1");
    kit_packet(&kit, packet, kit_put_ip(packet, &ip, "payload.", 8), NULL);
    kit_expect_icmp(&kit, DK_ICMP6_PARAMETER, 1, &sent);
    assert_int_equal(dk_get_be32(sent.data + 4), 6);
    ip.protocol = DK_IP6_NO_NEXT;
    kit_packet(&kit, packet, kit_put_ip(packet, &ip, "payload.", 8), NULL);
    expect_count("ip6.no_next", 1);
    kit_expect_silence(&kit);
    kit_close(&kit);
}

/* Puts a packet in with one extension header before the datagram. */
static void with_extension(uint8_t kind, const uint8_t header[8], struct dk_ip to)
{
    const struct dk_endpoint from = {ip6("fd00::2"), 9}, dst = {to, 7};
    const uint32_t len = kit_put_udp(datagram + 8, &from, &dst, "bytes", 5);
    const struct kit_ip ip = {.src = from.ip, .dst = to, .protocol = kind};
    memcpy(datagram, header, 8);
    kit_packet(&kit, packet, kit_put_ip(packet, &ip, datagram, 8 + len), NULL);
}

/* RFC 8200 section 4.2: what the two highest bits of an unknown option say. */
static void test_ip6_extension_headers_are_walked(void **state)
{
    struct kit_sock s;
    struct kit_sent sent;
    const struct dk_ip us = ip6("fd00::1");
    uint8_t options[8] = {DK_IP_UDP, 0, 0x1e, 4, 0, 0, 0, 0};
    const uint8_t routing[8] = {DK_IP_UDP, 0, 0, 1};
    (void)state;
    kit_open(&kit);
    kit_sock_open(&kit, &s, any, 7);
    with_extension(DK_IP6_DESTINATION, options, us);
    with_extension(DK_IP6_HOP_BY_HOP, options, us);
    assert_int_equal(s.readable, 2);
    options[2] = 0x5e; /* 01: dropped */
    with_extension(DK_IP6_DESTINATION, options, us);
    kit_expect_silence(&kit);
    options[2] = 0x9e; /* 10: dropped and told */
    with_extension(DK_IP6_DESTINATION, options, us);
    kit_expect_icmp(&kit, DK_ICMP6_PARAMETER, 2, &sent);
    assert_int_equal(dk_get_be32(sent.data + 4), 42);
    expect_count("ip6.option_unknown", 2);
    with_extension(DK_IP6_ROUTING, routing, us); /* RFC 5095 */
    kit_expect_icmp(&kit, DK_ICMP6_PARAMETER, 0, &sent);
    expect_count("ip6.routing", 1);
    assert_int_equal(s.readable, 2);
    kit_close(&kit);
}

static struct dk_ip next_hop(struct dk_ip dst)
{
    struct dk_path path;
    assert_int_equal(dk_route_find(kit.net, &dst, &path), 0);
    return path.next_hop;
}

static void test_route_longest_prefix_wins(void **state)
{
    const struct dk_ip gateway = ip4(10, 0, 0, 254), narrow = ip4(10, 0, 0, 253),
                       host = ip4(10, 0, 0, 252);
    struct dk_path path;
    (void)state;
    kit_init(&kit);
    kit.config.num_routes = 3;
    kit.config.routes[1] =
        (struct dk_net_route){.prefix = ip4(192, 0, 2, 0), .prefix_len = 24, .gateway = narrow};
    kit.config.routes[2] =
        (struct dk_net_route){.prefix = ip4(192, 0, 2, 7), .prefix_len = 32, .gateway = host};
    kit_start(&kit);
    struct dk_ip hop = next_hop(ip4(8, 8, 8, 8));
    assert_true(dk_ip_equal(&hop, &gateway));
    hop = next_hop(ip4(192, 0, 2, 8));
    assert_true(dk_ip_equal(&hop, &narrow));
    hop = next_hop(ip4(192, 0, 2, 7));
    assert_true(dk_ip_equal(&hop, &host));
    hop = next_hop(peer4.ip);
    assert_true(dk_ip_equal(&hop, &peer4.ip));
    const struct dk_ip far = ip6("2001:db8::1");
    assert_int_equal(dk_route_find(kit.net, &far, &path), -ENETUNREACH);
    kit_close(&kit);
}

static void expect_source(struct dk_ip dst, struct dk_ip expected)
{
    struct dk_ip src = {.version = 0};
    uint32_t mtu;
    assert_int_equal(dk_ip_route(kit.net, &dst, &src, &mtu), 0);
    assert_true(dk_ip_equal(&src, &expected));
}

static void test_route_source_is_of_the_right_network_and_scope(void **state)
{
    struct dk_ip src = ip4(10, 0, 0, 9);
    uint32_t mtu;
    (void)state;
    kit_init(&kit);
    kit.config.num_addresses = 5;
    kit.config.addresses[3] = (struct dk_net_address){ip4(172, 16, 0, 1), 16};
    kit.config.addresses[4] = (struct dk_net_address){ip6("2001:db8::1"), 64};
    kit_start(&kit);
    expect_source(ip4(10, 0, 0, 2), ip4(10, 0, 0, 1));
    expect_source(ip4(172, 16, 9, 9), ip4(172, 16, 0, 1));
    expect_source(ip4(8, 8, 8, 8), ip4(10, 0, 0, 1)); /* of the gateway's network */
    expect_source(ip6("fe80::77"), ip6("fe80::1"));
    expect_source(ip6("fd00::77"), ip6("fd00::1"));
    expect_source(ip6("2001:db8::77"), ip6("2001:db8::1"));
    expect_source(ip6("ff02::5"), ip6("fe80::1"));
    assert_int_equal(dk_ip_route(kit.net, &peer4.ip, &src, &mtu), -EADDRNOTAVAIL);
    src = ip4(172, 16, 0, 1);
    assert_int_equal(dk_ip_route(kit.net, &peer4.ip, &src, &mtu), 0); /* as was asked for */
    kit_close(&kit);
}

static void test_ip6_link_local_address_is_made_of_the_link_address(void **state)
{
    (void)state;
    kit_init(&kit);
    kit.config.num_addresses = 2;
    kit_start(&kit);
    expect_source(ip6("fe80::77"), ip6("fe80::ff:fe00:1"));
    kit_close(&kit);
}

/* Every reason has a counter, each with a name of its own, and there is room to show them all. */
static void test_stats_have_distinct_names(void **state)
{
    const char *names[DK_STACK_NET_STATS_MAX], *name;
    uint64_t value;
    size_t n = 0;
    (void)state;
    kit_open(&kit);
    while (dk_net_stat(kit.net, n, &name, &value) == 0) {
        assert_true(n < DK_STACK_NET_STATS_MAX);
        for (size_t i = 0; i < n; i++)
            assert_string_not_equal(names[i], name);
        names[n++] = name;
    }
    assert_true(n > DK_WIRE_COUNT);
    kit_close(&kit);
}

/* Whatever comes in: nothing is read beyond its end (the sanitizer sees that), no buffer stays. */
static void test_input_of_random_bytes_does_no_harm(void **state)
{
    struct dk_random random;
    struct kit_sock s;
    uint8_t frame[300];
    struct dk_udp_datagram d;
    const uint16_t types[] = {DK_ETHERTYPE_IP4, DK_ETHERTYPE_IP6, DK_ETHERTYPE_ARP, 0x8100};
    (void)state;
    kit_open(&kit);
    kit_sock_open(&kit, &s, any, 7);
    dk_random_init(&random, 99);
    for (uint32_t i = 0; i < 20000; i++) {
        const uint32_t len = dk_random_below(&random, sizeof frame);
        for (uint32_t at = 0; at < len; at++)
            frame[at] = (uint8_t)dk_random_u32(&random);
        memcpy(frame, kit_mac.bytes, 6);
        frame[6] = 2;
        dk_put_be16(frame + 12, types[i % 4]);
        if (i % 3 != 0 && len > 54) { /* further in: versions and addresses that pass */
            frame[14] = i % 4 == 1 ? 0x60 : 0x45;
            memcpy(frame + 30, us4.ip.bytes, 4);
            if (i % 4 == 1)
                memcpy(frame + 38, ip6("fd00::1").bytes, 16);
        }
        kit_frame(&kit, frame, len);
        while (dk_udp_recv(s.sock, &d) == 0)
            dk_buf_put(d.buf);
        kit_forget(&kit);
    }
    kit_close(&kit);
}

/* The same input gives the same output: frames of a session with losses of room and time. */
static uint64_t session(void)
{
    uint64_t hash = 1469598103934665603u;
    struct kit_sock s;
    kit_init(&kit);
    kit.config.skip_dad = false;
    kit_start(&kit);
    kit_sock_open(&kit, &s, any, 0);
    for (int i = 0; i < 20; i++) {
        kit_send(&kit, &s, &peer4, "datagram", 8);
        kit_pass(&kit, 300 * MS);
    }
    for (uint32_t i = 0; i < kit.num_frames; i++) {
        for (uint32_t at = 0; at < kit.frames[i].len; at++)
            hash = (hash ^ kit.frames[i].bytes[at]) * 1099511628211u;
    }
    kit_close(&kit);
    return hash;
}

static void test_stack_is_deterministic(void **state)
{
    (void)state;
    assert_int_equal(session(), session());
}

int main(void)
{
    alarm(120);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create_refuses_what_cannot_be_and_says_why),
        cmocka_unit_test(test_link_takes_only_frames_for_us),
        cmocka_unit_test(test_link_vlan_is_on_all_frames),
        cmocka_unit_test(test_ip4_padding_of_the_link_is_not_payload),
        cmocka_unit_test(test_ip_sources_that_cannot_be_are_dropped),
        cmocka_unit_test(test_ip_destinations_of_others_are_dropped),
        cmocka_unit_test(test_ip4_header_with_options_is_passed_source_route_is_not),
        cmocka_unit_test(test_ip_protocol_of_nobody_is_told),
        cmocka_unit_test(test_ip6_extension_headers_are_walked),
        cmocka_unit_test(test_route_longest_prefix_wins),
        cmocka_unit_test(test_route_source_is_of_the_right_network_and_scope),
        cmocka_unit_test(test_ip6_link_local_address_is_made_of_the_link_address),
        cmocka_unit_test(test_stats_have_distinct_names),
        cmocka_unit_test(test_input_of_random_bytes_does_no_harm),
        cmocka_unit_test(test_stack_is_deterministic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
