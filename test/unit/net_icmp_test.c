/* SPDX-License-Identifier: MIT */
/* ICMP of both versions, ping, multicast groups. */
#include "net_kit.h"

#include "base/bytes.h"
#include "base/checksum.h"
#include "net/groups.h"

#include <string.h>

static struct kit kit;
static uint8_t bytes[65536], packet[66000], message[66000];

static const struct dk_ip us4 = {.bytes = {10, 0, 0, 1}, .version = 4};
static const struct dk_ip peer4 = {.bytes = {10, 0, 0, 2}, .version = 4};
static struct dk_ip us6, peer6;

static void start(void)
{
    kit_open(&kit);
    us6 = ip6("fd00::1");
    peer6 = ip6("fd00::2");
    for (uint32_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 3 + i / 256);
}

static void test_icmp_echo_is_answered_with_its_bytes(void **state)
{
    static const uint32_t sizes[] = {0, 1, 56, 1471, 1472};
    struct kit_sent sent;
    (void)state;
    start();
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const uint32_t len = sizes[i] < 1452 ? sizes[i] : 1452;
        kit_icmp(&kit, &peer4, &us4, DK_ICMP4_ECHO_REQUEST, 0, 0x12345678, bytes, sizes[i]);
        kit_expect_icmp(&kit, DK_ICMP4_ECHO_REPLY, 0, &sent);
        assert_int_equal(dk_get_be32(sent.data + 4), 0x12345678);
        assert_int_equal(sent.len, 8 + sizes[i]);
        assert_memory_equal(sent.data + 8, bytes, sizes[i]);
        kit_icmp(&kit, &peer6, &us6, DK_ICMP6_ECHO_REQUEST, 0, 0x12345678, bytes, len);
        kit_expect_icmp(&kit, DK_ICMP6_ECHO_REPLY, 0, &sent);
        assert_int_equal(sent.len, 8 + len);
        assert_memory_equal(sent.data + 8, bytes, len);
    }
    kit_close(&kit);
}

/* The largest ping: it comes in fragments and goes back in fragments. */
static void test_icmp_echo_in_fragments_is_answered_in_fragments(void **state)
{
    (void)state;
    start();
    for (int v = 0; v < 2; v++) {
        const struct dk_ip *us = v ? &us6 : &us4, *peer = v ? &peer6 : &peer4;
        const uint32_t data = 65507;
        const uint8_t type = v ? DK_ICMP6_ECHO_REQUEST : DK_ICMP4_ECHO_REQUEST;
        const uint32_t len = kit_put_icmp(message, peer, us, type, 0, 7, bytes, data);
        struct kit_ip ip = {
            .src = *peer, .dst = *us, .id = 5, .protocol = v ? DK_IP_ICMPV6 : DK_IP_ICMP};
        for (uint32_t at = 0; at < len; at += 1440) {
            const uint32_t part = len - at < 1440 ? len - at : 1440;
            ip.offset = (uint16_t)at;
            ip.more = at + part < len;
            kit_packet(&kit, packet, kit_put_ip(packet, &ip, message + at, part), NULL);
        }
        uint32_t end = 0;
        struct kit_sent sent;
        do {
            kit_expect_ip(&kit, &sent);
            assert_int_equal(sent.offset, end);
            memcpy(packet + end, sent.data, sent.len);
            end += sent.len;
        } while (sent.more);
        assert_int_equal(end, 8 + data);
        assert_memory_equal(packet + 8, bytes, data);
        const uint32_t sum = v ? dk_ip_pseudo_sum(us, peer, DK_IP_ICMPV6, end) : 0;
        assert_true(dk_checksum_is_good(sum, packet, end));
        kit_forget(&kit);
    }
    kit_close(&kit);
}

static void test_icmp_echo_to_all_is_not_answered_by_ip4(void **state)
{
    struct kit_sent sent;
    const struct dk_ip all4 = ip4(10, 0, 0, 255), group4 = ip4(224, 0, 0, 1), all6 = ip6("ff02::1"),
                       near6 = ip6("fe80::2");
    (void)state;
    start();
    kit_icmp(&kit, &peer4, &all4, DK_ICMP4_ECHO_REQUEST, 0, 1, bytes, 8);
    kit_icmp(&kit, &peer4, &group4, DK_ICMP4_ECHO_REQUEST, 0, 1, bytes, 8);
    assert_int_equal(kit_stat(&kit, "icmp.echo_group"), 2);
    kit_expect_silence(&kit);
    kit_icmp(&kit, &near6, &all6, DK_ICMP6_ECHO_REQUEST, 0, 1, bytes, 8);
    kit_expect_icmp(&kit, DK_ICMP6_ECHO_REPLY, 0, &sent);
    const struct dk_ip ours = ip6("fe80::1");
    assert_true(dk_ip_equal(&sent.src, &ours));
    kit_close(&kit);
}

static void test_icmp_checksum_wrong_is_dropped(void **state)
{
    (void)state;
    start();
    for (int v = 0; v < 2; v++) {
        const struct dk_ip *us = v ? &us6 : &us4, *peer = v ? &peer6 : &peer4;
        const uint32_t len = kit_put_icmp(
            message, peer, us, v ? DK_ICMP6_ECHO_REQUEST : DK_ICMP4_ECHO_REQUEST, 0, 7, bytes, 9);
        const struct kit_ip ip = {
            .src = *peer, .dst = *us, .protocol = v ? DK_IP_ICMPV6 : DK_IP_ICMP};
        message[9] ^= 4;
        kit_packet(&kit, packet, kit_put_ip(packet, &ip, message, len), NULL);
    }
    assert_int_equal(kit_stat(&kit, "icmp4.checksum"), 1);
    assert_int_equal(kit_stat(&kit, "icmp6.checksum"), 1);
    kit_expect_silence(&kit);
    kit_close(&kit);
}

static void test_icmp_errors_are_limited(void **state)
{
    const struct dk_endpoint from = {peer4, 9}, to = {us4, 7};
    (void)state;
    start();
    for (int i = 0; i < 500; i++)
        kit_udp(&kit, &from, &to, "x", 1);
    assert_int_equal(kit_stat(&kit, "icmp.errors"), 50);
    assert_int_equal(kit_stat(&kit, "icmp.limited"), 450);
    kit_pass(&kit, 10 * MS); /* ten more */
    for (int i = 0; i < 100; i++)
        kit_udp(&kit, &from, &to, "x", 1);
    assert_int_equal(kit_stat(&kit, "icmp.errors"), 60);
    kit_close(&kit);
}

static void test_icmp_echo_replies_are_limited(void **state)
{
    (void)state;
    start();
    for (int i = 0; i < 1500; i++)
        kit_icmp(&kit, &peer4, &us4, DK_ICMP4_ECHO_REQUEST, 0, 1, bytes, 8);
    assert_int_equal(kit_stat(&kit, "icmp.echo_replies"), 1000);
    assert_int_equal(kit_stat(&kit, "icmp.echo_limited"), 500);
    kit_close(&kit);
}

/* RFC 1122 section 3.2.2, 4443 section 2.4: never about an error, to a group, about a later
 * fragment. */
static void test_icmp_errors_about_errors_are_never_sent(void **state)
{
    struct kit_ip ip = {.src = peer4, .dst = us4, .protocol = 200};
    (void)state;
    start();
    /* An error with a protocol that nobody has inside is no reason for one either. */
    kit_put_ip(packet, &(struct kit_ip){.src = us4, .dst = peer4, .protocol = 200}, bytes, 30);
    kit_icmp(&kit, &peer4, &us4, DK_ICMP4_UNREACHABLE, 2, 0, packet, 50);
    kit_expect_silence(&kit);
    assert_int_equal(kit_stat(&kit, "icmp.unmatched"), 1);
    /* An ICMPv6 error that is refused for what its extension headers say. */
    uint8_t options[8] = {DK_IP_ICMPV6, 0, 0x9e, 4, 0, 0, 0, 0};
    memcpy(message, options, 8);
    kit_put_icmp(message + 8, &peer6, &us6, DK_ICMP6_UNREACHABLE, 0, 0, bytes, 60);
    ip = (struct kit_ip){.src = peer6, .dst = us6, .protocol = DK_IP6_DESTINATION};
    kit_packet(&kit, packet, kit_put_ip(packet, &ip, message, 76), NULL);
    assert_int_equal(kit_stat(&kit, "ip6.option_unknown"), 1);
    assert_int_equal(kit_stat(&kit, "icmp.forbidden"), 1);
    /* An ICMP error with an option that is malformed. */
    static const uint8_t option[4] = {7, 40, 4, 0};
    const struct dk_ip4_header bad = {.src = peer4,
                                      .dst = us4,
                                      .header_len = 24,
                                      .ttl = 64,
                                      .protocol = DK_IP_ICMP,
                                      .total_len = 24 + 36,
                                      .options = option};
    const size_t at = dk_ip4_header_emit(&bad, packet);
    kit_put_icmp(packet + at, &peer4, &us4, DK_ICMP4_UNREACHABLE, 1, 0, bytes, 28);
    kit_packet(&kit, packet, 60, NULL);
    assert_int_equal(kit_stat(&kit, "ip4.option"), 1);
    assert_int_equal(kit_stat(&kit, "icmp.forbidden"), 2);
    /* A group: nobody has the protocol, nobody is told. */
    const struct dk_mac group = {{1, 0, 0x5e, 0, 0, 1}};
    ip = (struct kit_ip){.src = peer4, .dst = ip4(224, 0, 0, 1), .protocol = 200};
    kit_packet(&kit, packet, kit_put_ip(packet, &ip, bytes, 16), &group);
    assert_int_equal(kit_stat(&kit, "icmp.forbidden"), 3);
    kit_expect_silence(&kit);
    kit_close(&kit);
}

static void test_icmp_quote_malformed_is_dropped_at_every_byte(void **state)
{
    struct kit_sock s;
    const struct dk_endpoint to = {peer4, 9};
    uint8_t udp[200];
    (void)state;
    start();
    kit_sock_open(&kit, &s, us4, 7);
    dk_udp_connect(s.sock, &to);
    const struct dk_endpoint from = {us4, 7};
    const struct kit_ip ip = {.src = us4, .dst = peer4, .protocol = DK_IP_UDP};
    const uint32_t len = kit_put_ip(packet, &ip, udp, kit_put_udp(udp, &from, &to, bytes, 20));
    for (uint32_t cut = 0; cut < 28; cut++) {
        const uint64_t before = kit_drops(&kit);
        kit_icmp(&kit, &peer4, &us4, DK_ICMP4_UNREACHABLE, DK_ICMP4_PORT_UNREACHABLE, 0, packet,
                 cut);
        assert_int_equal(kit_drops(&kit), before + 1);
    }
    assert_int_equal(kit_stat(&kit, "icmp4.quote"), 28);
    assert_int_equal(s.errors, 0);
    kit_icmp(&kit, &peer4, &us4, DK_ICMP4_UNREACHABLE, DK_ICMP4_PORT_UNREACHABLE, 0, packet, 28);
    assert_int_equal(s.errors, 1);
    for (uint32_t at = 0; at < len; at++) {
        packet[at] ^= 0xff;
        kit_icmp(&kit, &peer4, &us4, DK_ICMP4_UNREACHABLE, DK_ICMP4_PORT_UNREACHABLE, 0, packet,
                 len);
        packet[at] ^= 0xff;
    }
    kit_expect_silence(&kit);
    kit_close(&kit);
}

/* A quoted packet that we cannot have sent. */
static void test_icmp_error_from_a_strangers_source_is_ignored(void **state)
{
    const struct kit_ip ip = {.src = ip4(10, 0, 0, 9), .dst = peer4, .protocol = DK_IP_UDP};
    (void)state;
    start();
    kit_put_ip(packet, &ip, bytes, 40);
    kit_icmp(&kit, &peer4, &us4, DK_ICMP4_UNREACHABLE, DK_ICMP4_TOO_BIG, 600, packet, 60);
    assert_int_equal(kit_stat(&kit, "icmp.unmatched"), 1);
    assert_int_equal(kit_stat(&kit, "pmtu.lowered"), 0);
    kit_close(&kit);
}

static struct {
    uint32_t replies, errors;
    uint16_t sequence;
    uint32_t len;
    int error;
} heard;

static void on_reply(void *arg, const struct dk_ip *from, uint16_t sequence, uint8_t ttl,
                     const uint8_t *data, uint32_t len)
{
    (void)arg;
    assert_true(from->version != 0 && ttl != 0);
    assert_memory_equal(data, bytes, len);
    heard.replies++;
    heard.sequence = sequence;
    heard.len = len;
}

static void on_error(void *arg, const struct dk_ip *to, uint16_t sequence, int error)
{
    (void)arg;
    (void)to;
    heard.errors++;
    heard.sequence = sequence;
    heard.error = error;
}

static const struct dk_ping_ops ping_ops = {.reply = on_reply, .error = on_error};

static void test_ping_hears_its_replies_and_errors(void **state)
{
    struct dk_ping *ping, *other;
    struct kit_sent sent;
    (void)state;
    start();
    memset(&heard, 0, sizeof heard);
    assert_int_equal(dk_ping_open(kit.net, &ping_ops, NULL, &other), 0);
    assert_int_equal(dk_ping_open(kit.net, &ping_ops, NULL, &ping), 0);
    dk_ping_close(other);
    for (int v = 0; v < 2; v++) {
        const struct dk_ip *us = v ? &us6 : &us4, *peer = v ? &peer6 : &peer4;
        const uint8_t request = v ? DK_ICMP6_ECHO_REQUEST : DK_ICMP4_ECHO_REQUEST;
        assert_int_equal(dk_ping_send(ping, peer, 41, bytes, 56, kit.now), 0);
        kit_expect_icmp(&kit, request, 0, &sent);
        const uint32_t rest = dk_get_be32(sent.data + 4);
        kit_icmp(&kit, peer, us, v ? DK_ICMP6_ECHO_REPLY : DK_ICMP4_ECHO_REPLY, 0, rest, bytes, 56);
        assert_int_equal(heard.replies, v + 1);
        assert_int_equal(heard.sequence, 41);
        assert_int_equal(heard.len, 56);
        kit_icmp(&kit, peer, us, v ? DK_ICMP6_ECHO_REPLY : DK_ICMP4_ECHO_REPLY, 0,
                 rest ^ 0x00400000, bytes, 56); /* somebody else's */
        assert_int_equal(heard.replies, v + 1);
        const struct kit_ip ip = {
            .src = *us, .dst = *peer, .protocol = v ? DK_IP_ICMPV6 : DK_IP_ICMP};
        const uint32_t len = kit_put_ip(
            packet, &ip, message, kit_put_icmp(message, us, peer, request, 0, rest, bytes, 56));
        if (v)
            kit_icmp(&kit, peer, us, DK_ICMP6_UNREACHABLE, DK_ICMP6_NO_ROUTE, 0, packet, len);
        else
            kit_icmp(&kit, peer, us, DK_ICMP4_TIME_EXCEEDED, 0, 0, packet, len);
        assert_int_equal(heard.errors, v + 1);
        assert_int_equal(heard.error, -EHOSTUNREACH);
    }
    dk_ping_close(ping);
    kit_close(&kit);
}

static void test_ping_to_ourselves_is_answered(void **state)
{
    struct dk_ping *ping;
    (void)state;
    start();
    memset(&heard, 0, sizeof heard);
    assert_int_equal(dk_ping_open(kit.net, &ping_ops, NULL, &ping), 0);
    assert_int_equal(dk_ping_send(ping, &us4, 1, bytes, 10000, kit.now), 0);
    assert_int_equal(dk_ping_send(ping, &us6, 2, bytes, 10000, kit.now), 0);
    kit_pass(&kit, 1);
    assert_int_equal(heard.replies, 2);
    kit_expect_silence(&kit);
    dk_ping_close(ping);
    kit_close(&kit);
}

/* Counts reports of a group, and messages that it was left; the rest is passed over. */
static void count_igmp(uint32_t *reports, uint32_t *leaves)
{
    struct kit_sent sent;
    for (const struct kit_frame *f = kit_next(&kit); f; f = kit_next(&kit)) {
        kit_parse(f, &sent);
        assert_int_equal(sent.ttl, 1);
        if (sent.protocol == DK_IP_IGMP) {
            assert_int_equal(f->bytes[14], 0x46); /* router alert */
            assert_int_equal(f->bytes[34], 0x94);
            assert_true(dk_checksum_is_good(0, sent.data, 8));
            *reports += sent.data[0] == 0x16;
            *leaves += sent.data[0] == 0x17;
        } else {
            const uint32_t sum = dk_ip_pseudo_sum(&sent.src, &sent.dst, DK_IP_ICMPV6, 24);
            assert_int_equal(sent.protocol, DK_IP_ICMPV6);
            assert_true(dk_checksum_is_good(sum, sent.data, 24));
            *reports += sent.data[0] == DK_ICMP6_MLD_REPORT;
            *leaves += sent.data[0] == DK_ICMP6_MLD_DONE;
        }
    }
}

static void query(const struct dk_ip *group, uint8_t version)
{
    uint8_t igmp[8] = {0x11, 10};
    if (version == 4) {
        const struct dk_mac mac = {{1, 0, 0x5e, 0, 0, 1}};
        const struct kit_ip ip = {
            .src = peer4, .dst = ip4(224, 0, 0, 1), .protocol = DK_IP_IGMP, .ttl = 1};
        memcpy(igmp + 4, group->bytes, 4);
        dk_put_be16(igmp + 2, dk_checksum_finish(dk_checksum_add(0, igmp, 8)));
        kit_packet(&kit, packet, kit_put_ip(packet, &ip, igmp, 8), &mac);
        return;
    }
    const struct dk_mac mac = {{0x33, 0x33, 0, 0, 0, 1}};
    const struct kit_ip ip = {
        .src = ip6("fe80::2"), .dst = ip6("ff02::1"), .protocol = DK_IP_ICMPV6, .ttl = 1};
    uint8_t data[16];
    memcpy(data, group->bytes, 16);
    const uint32_t len =
        kit_put_icmp(message, &ip.src, &ip.dst, DK_ICMP6_MLD_QUERY, 0, 1000u << 16, data, 16);
    kit_packet(&kit, packet, kit_put_ip(packet, &ip, message, len), &mac);
}

static void join_and_leave(struct dk_ip group)
{
    struct kit_sock s;
    uint32_t reports = 0, leaves = 0;
    const uint8_t version = group.version;
    const struct dk_ip all = {.version = version};
    start();
    kit_sock_open(&kit, &s, (struct dk_ip){.version = 0}, 7);
    assert_int_equal(dk_udp_join(s.sock, &group, kit.now), 0);
    kit_pass(&kit, 11 * S);
    count_igmp(&reports, &leaves);
    assert_int_equal(reports, 2); /* at once, and once more */
    query(&all, version);
    kit_pass(&kit, 1100 * MS);
    count_igmp(&reports, &leaves);
    assert_int_equal(reports, version == 4 ? 3 : 4); /* IPv6: the solicited-node group too */
    query(&group, version);
    kit_pass(&kit, 1100 * MS);
    count_igmp(&reports, &leaves);
    assert_int_equal(reports, version == 4 ? 4 : 5);
    assert_int_equal(dk_udp_leave(s.sock, &group, kit.now), 0);
    count_igmp(&reports, &leaves);
    assert_int_equal(leaves, 1);
    query(&group, version);
    kit_pass(&kit, 1100 * MS);
    count_igmp(&reports, &leaves);
    assert_int_equal(reports, version == 4 ? 4 : 5);
    kit_close(&kit);
}

static void test_igmp_reports_joins_answers_queries_and_leaves(void **state)
{
    (void)state;
    join_and_leave(ip4(239, 1, 2, 3));
}

static void test_mld_reports_joins_answers_queries_and_leaves(void **state)
{
    (void)state;
    join_and_leave(ip6("ff05::1:3"));
}

/* RFC 2236 section 3: another host's report is enough, and then our leaving needs no word. */
static void test_igmp_report_of_another_ends_ours(void **state)
{
    struct kit_sock s;
    uint32_t reports = 0, leaves = 0;
    const struct dk_ip group = ip4(239, 1, 2, 3);
    const struct dk_mac mac = {{1, 0, 0x5e, 1, 2, 3}};
    uint8_t igmp[8] = {0x16};
    (void)state;
    start();
    kit_sock_open(&kit, &s, (struct dk_ip){.version = 0}, 7);
    dk_udp_join(s.sock, &group, kit.now);
    kit_pass(&kit, 11 * S);
    kit_forget(&kit);
    query(&group, 4);
    const struct kit_ip ip = {.src = peer4, .dst = group, .protocol = DK_IP_IGMP, .ttl = 1};
    memcpy(igmp + 4, group.bytes, 4);
    dk_put_be16(igmp + 2, dk_checksum_finish(dk_checksum_add(0, igmp, 8)));
    kit_packet(&kit, packet, kit_put_ip(packet, &ip, igmp, 8), &mac);
    kit_pass(&kit, 2 * S);
    dk_udp_leave(s.sock, &group, kit.now);
    count_igmp(&reports, &leaves);
    assert_int_equal(reports + leaves, 0);
    kit_close(&kit);
}

int main(void)
{
    alarm(120);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_icmp_echo_is_answered_with_its_bytes),
        cmocka_unit_test(test_icmp_echo_in_fragments_is_answered_in_fragments),
        cmocka_unit_test(test_icmp_echo_to_all_is_not_answered_by_ip4),
        cmocka_unit_test(test_icmp_checksum_wrong_is_dropped),
        cmocka_unit_test(test_icmp_errors_are_limited),
        cmocka_unit_test(test_icmp_echo_replies_are_limited),
        cmocka_unit_test(test_icmp_errors_about_errors_are_never_sent),
        cmocka_unit_test(test_icmp_quote_malformed_is_dropped_at_every_byte),
        cmocka_unit_test(test_icmp_error_from_a_strangers_source_is_ignored),
        cmocka_unit_test(test_ping_hears_its_replies_and_errors),
        cmocka_unit_test(test_ping_to_ourselves_is_answered),
        cmocka_unit_test(test_igmp_reports_joins_answers_queries_and_leaves),
        cmocka_unit_test(test_mld_reports_joins_answers_queries_and_leaves),
        cmocka_unit_test(test_igmp_report_of_another_ends_ours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
