/* SPDX-License-Identifier: MIT */
/*
 * What is remembered of ways out (route.c, ip_out.c) and of pairs of addresses that came in (ip4.c)
 * is not used any more when what it was made of has changed. Each test warms the memory up first,
 * and sees that it is warm: a packet leaves without a look at the neighbour table.
 */
#include "net_kit.h"

#include "net/ifaddr.h"
#include "net/ip.h"
#include "net/neigh.h"
#include "net/route.h"

static struct kit kit;

static const struct dk_mac moved_mac = {{2, 0, 0, 0, 0, 0x77}};

static struct dk_endpoint peer(uint8_t last)
{
    return (struct dk_endpoint){ip4(10, 0, 0, last), 9};
}

static void arp(uint8_t last, struct dk_mac mac, uint16_t operation)
{
    kit_arp(&kit,
            &(struct dk_arp){.operation = operation,
                             .sender_mac = mac,
                             .sender_ip = ip4(10, 0, 0, last),
                             .target_mac = kit_mac,
                             .target_ip = ip4(10, 0, 0, 1)},
            NULL);
}

static void start(struct kit_sock *s)
{
    kit_init(&kit);
    kit_start(&kit);
    kit_pass(&kit, 60 * S);
    kit_sock_open(&kit, s, ip4(10, 0, 0, 1), 7);
    kit_forget(&kit);
}

/* Sends one datagram there, and says to which link address it went. */
static struct dk_mac sent_to(struct kit_sock *s, const struct dk_endpoint *to)
{
    struct kit_sent sent;
    assert_int_equal(kit_send(&kit, s, to, "x", 1), 0);
    kit_expect_ip(&kit, &sent);
    kit_expect_silence(&kit);
    assert_true(dk_ip_equal(&sent.dst, &to->ip));
    return sent.eth.dst;
}

static void expect_to(struct kit_sock *s, const struct dk_endpoint *to, struct dk_mac mac)
{
    const struct dk_mac at = sent_to(s, to);
    assert_memory_equal(&at, &mac, sizeof(mac));
}

/* Resolves a neighbour, and sends until the way there is warm. */
static void warm_up(struct kit_sock *s, uint8_t last, struct dk_mac mac)
{
    const struct dk_endpoint to = peer(last);
    struct dk_arp question;
    struct kit_sent sent;
    assert_int_equal(kit_send(&kit, s, &to, "x", 1), 0);
    kit_expect_arp(&kit, DK_ARP_REQUEST, &question);
    arp(last, mac, DK_ARP_REPLY);
    kit_expect_ip(&kit, &sent);
    expect_to(s, &to, mac);
    const struct dk_way *way = dk_route_way(kit.net, &to.ip);
    assert_true(way->generation == kit.net->ways_generation && kit.now < way->ready_until);
}

static void test_way_neighbour_moved_goes_to_the_new_address(void **state)
{
    struct kit_sock s;
    const struct dk_endpoint to = peer(2);
    (void)state;
    start(&s);
    warm_up(&s, 2, kit_peer_mac);
    arp(2, moved_mac, DK_ARP_REPLY);
    kit_forget(&kit);
    expect_to(&s, &to, moved_mac);
    expect_to(&s, &to, moved_mac);
    kit_close(&kit);
}

static void test_way_neighbour_given_goes_to_the_given_address(void **state)
{
    struct kit_sock s;
    const struct dk_endpoint to = peer(2);
    (void)state;
    start(&s);
    warm_up(&s, 2, kit_peer_mac);
    assert_int_equal(dk_net_add_neighbour(kit.net, &to.ip, &moved_mac), 0);
    expect_to(&s, &to, moved_mac);
    kit_close(&kit);
}

/* Two destinations that have one place in the memory. */
static void test_way_of_another_destination_is_not_taken(void **state)
{
    struct kit_sock s;
    const struct dk_endpoint a = peer(2), b = peer(2 + 64);
    (void)state;
    start(&s);
    warm_up(&s, 2, kit_peer_mac);
    warm_up(&s, 2 + 64, moved_mac);
    for (int i = 0; i < 4; i++) {
        expect_to(&s, &a, kit_peer_mac);
        expect_to(&s, &b, moved_mac);
    }
    kit_close(&kit);
}

/* A warm way does not keep an old entry from being checked (RFC 4861 section 7.3.3). */
static void test_way_to_an_old_neighbour_has_it_asked_again(void **state)
{
    struct kit_sock s;
    const struct dk_endpoint to = peer(2);
    struct dk_arp question;
    uint32_t asked = 0;
    (void)state;
    start(&s);
    warm_up(&s, 2, kit_peer_mac);
    for (int i = 0; i < 600 && asked == 0; i++) {
        kit_pass(&kit, 100 * MS);
        if (kit_stat(&kit, "arp.requests") > 1) {
            kit_expect_arp(&kit, DK_ARP_REQUEST, &question);
            asked++;
        } else {
            expect_to(&s, &to, kit_peer_mac);
        }
    }
    assert_int_equal(asked, 1);
    kit_close(&kit);
}

static void test_way_to_a_neighbour_that_is_gone_is_given_up(void **state)
{
    struct kit_sock s;
    const struct dk_endpoint to = peer(2);
    (void)state;
    start(&s);
    warm_up(&s, 2, kit_peer_mac);
    kit_pass(&kit, 60 * S);
    expect_to(&s, &to, kit_peer_mac); /* which has it asked */
    kit_pass(&kit, 5 * S + 3 * S + 100 * MS);
    kit_forget(&kit);
    assert_int_equal(kit_send(&kit, &s, &to, "x", 1), -EHOSTUNREACH);
    kit_expect_silence(&kit);
    kit_close(&kit);
}

/* The entry of a neighbour that was not used lately stands for another one by now. */
static void test_way_to_an_entry_that_was_evicted_is_not_taken(void **state)
{
    struct kit_sock s;
    const struct dk_endpoint to = peer(2);
    (void)state;
    start(&s);
    warm_up(&s, 2, kit_peer_mac);
    kit_pass(&kit, 5 * S);
    for (uint32_t i = 0; i < DK_NEIGH_MAX; i++) {
        char text[32];
        snprintf(text, sizeof text, "fd00::1:%x", i + 1);
        const struct dk_ip other = ip6(text);
        assert_int_equal(dk_net_add_neighbour(kit.net, &other, &moved_mac), 0);
    }
    kit_forget(&kit);
    /* All entries are of those now, which stay: there is no room for this one. */
    assert_int_equal(kit_send(&kit, &s, &to, "x", 1), -ENOBUFS);
    kit_expect_silence(&kit);
    kit_close(&kit);
}

/* RFC 1191: a path that takes less is not sent more by the way that is warm. */
static void test_way_of_a_path_that_takes_less_is_fragmented(void **state)
{
    static const uint8_t bytes[1200];
    struct kit_sock s;
    struct kit_sent sent;
    const struct dk_endpoint to = peer(2);
    (void)state;
    start(&s);
    warm_up(&s, 2, kit_peer_mac);
    dk_ip_set_path_mtu(kit.net, &to.ip, 600, kit.now);
    assert_int_equal(kit_send(&kit, &s, &to, bytes, sizeof bytes), 0);
    kit_expect_ip(&kit, &sent);
    assert_true(sent.fragment && sent.len <= 580);
    kit_close(&kit);
}

/* ---- Our own addresses ----------------------------------------------------------------------- */

static void start_probing(struct kit_sock *s, bool optimistic)
{
    const struct dk_ip gateway = ip4(10, 0, 0, 254), near = ip4(10, 0, 0, 2);
    kit_init(&kit);
    kit.config.skip_dad = false;
    kit.config.optimistic_dad = optimistic;
    kit_start(&kit);
    assert_int_equal(dk_net_add_neighbour(kit.net, &gateway, &kit_peer_mac), 0);
    assert_int_equal(dk_net_add_neighbour(kit.net, &near, &kit_peer_mac), 0);
    kit_pass(&kit, 1 * S);
    kit_sock_open(&kit, s, (struct dk_ip){.version = 0}, 7);
    kit_forget(&kit);
}

/* Another host has our address. */
static void lose_it(void)
{
    kit_arp(&kit,
            &(struct dk_arp){.operation = DK_ARP_REPLY,
                             .sender_mac = moved_mac,
                             .sender_ip = ip4(10, 0, 0, 1),
                             .target_ip = ip4(10, 0, 0, 1)},
            NULL);
    assert_int_equal(dk_net_address_state(kit.net, 0), DK_NET_ADDRESS_DUPLICATE);
}

static void test_way_from_an_address_that_was_lost_is_not_taken(void **state)
{
    struct kit_sock s;
    const struct dk_endpoint to = peer(2);
    struct dk_ip src = {.version = 0}, ours = ip4(10, 0, 0, 1);
    uint32_t mtu;
    (void)state;
    start_probing(&s, true);
    expect_to(&s, &to, kit_peer_mac);
    expect_to(&s, &to, kit_peer_mac);
    lose_it();
    assert_int_equal(kit_send(&kit, &s, &to, "x", 1), -EADDRNOTAVAIL);
    assert_int_equal(dk_ip_route(kit.net, &to.ip, &src, &mtu), -EADDRNOTAVAIL);
    assert_int_equal(dk_ip_route(kit.net, &to.ip, &ours, &mtu), -EADDRNOTAVAIL);
    kit_expect_silence(&kit);
    kit_close(&kit);
}

/* Where there was no address to send from it is not remembered that there is none. */
static void test_way_without_a_source_is_found_again_when_there_is_one(void **state)
{
    struct kit_sock s;
    const struct dk_endpoint to = peer(2);
    (void)state;
    start_probing(&s, false);
    assert_int_equal(kit_send(&kit, &s, &to, "x", 1), -EADDRNOTAVAIL);
    kit_pass(&kit, 10 * S);
    kit_forget(&kit);
    expect_to(&s, &to, kit_peer_mac);
    kit_close(&kit);
}

/* What is ours leads to ourselves; what was, is another host's. */
static void test_way_to_an_address_that_was_ours_leads_out(void **state)
{
    struct kit_sock s;
    const struct dk_endpoint ours = peer(1);
    struct dk_path path;
    (void)state;
    start_probing(&s, true);
    assert_int_equal(dk_route_find(kit.net, &ours.ip, &path), 0);
    assert_int_equal(path.hop, DK_HOP_SELF);
    lose_it();
    assert_int_equal(dk_route_find(kit.net, &ours.ip, &path), 0);
    assert_int_equal(path.hop, DK_HOP_NEIGHBOUR);
    kit_close(&kit);
}

/* ---- Pairs of addresses that came in --------------------------------------------------------- */

static void receive(const struct dk_endpoint *from, const struct dk_ip *to)
{
    const struct dk_endpoint dst = {*to, 7};
    kit_udp(&kit, from, &dst, "abc", 3);
}

static uint32_t received(struct kit_sock *s)
{
    struct dk_udp_datagram d;
    uint32_t n = 0;
    while (dk_udp_recv(s->sock, &d) == 0) {
        n++;
        dk_buf_put(d.buf);
    }
    return n;
}

static void test_pair_to_an_address_that_was_lost_is_refused(void **state)
{
    struct kit_sock s;
    const struct dk_endpoint from = peer(2);
    const struct dk_ip us = ip4(10, 0, 0, 1);
    (void)state;
    start_probing(&s, true);
    receive(&from, &us);
    receive(&from, &us);
    assert_int_equal(received(&s), 2);
    lose_it();
    receive(&from, &us);
    assert_int_equal(received(&s), 0);
    assert_int_equal(kit_stat(&kit, "ip4.not_ours"), 1);
    kit_close(&kit);
}

static void test_pair_to_an_address_that_is_not_yet_ours_is_refused(void **state)
{
    struct kit_sock s;
    const struct dk_endpoint from = peer(2);
    const struct dk_ip us = ip4(10, 0, 0, 1);
    (void)state;
    start_probing(&s, false);
    receive(&from, &us);
    assert_int_equal(received(&s), 0);
    kit_pass(&kit, 10 * S);
    receive(&from, &us);
    receive(&from, &us);
    assert_int_equal(received(&s), 2);
    kit_close(&kit);
}

/* RFC 1122 section 3.3.6: a good pair is no reason to take a frame that went to all. */
static void test_pair_in_a_frame_to_all_is_refused(void **state)
{
    static const struct dk_mac all = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
    struct kit_sock s;
    uint8_t packet[64], datagram[32];
    const struct dk_endpoint from = peer(2), dst = {ip4(10, 0, 0, 1), 7};
    (void)state;
    start(&s);
    receive(&from, &dst.ip);
    receive(&from, &dst.ip);
    assert_int_equal(received(&s), 2);
    const uint32_t len = kit_put_udp(datagram, &from, &dst, "abc", 3);
    const uint32_t whole =
        kit_put_ip(packet, &(struct kit_ip){.src = from.ip, .dst = dst.ip, .protocol = DK_IP_UDP},
                   datagram, len);
    kit_packet(&kit, packet, whole, &all);
    assert_int_equal(received(&s), 0);
    assert_int_equal(kit_stat(&kit, "ip4.link_broadcast"), 1);
    kit_close(&kit);
}

/* What is refused leaves nothing behind that lets it through the next time. */
static void test_pair_that_was_refused_is_refused_again(void **state)
{
    struct kit_sock s;
    const struct dk_endpoint group = {ip4(224, 0, 0, 9), 9}, ours = {ip4(10, 0, 0, 1), 9},
                             good = peer(2);
    const struct dk_ip us = ip4(10, 0, 0, 1), other = ip4(10, 0, 0, 3);
    (void)state;
    start(&s);
    for (int i = 0; i < 3; i++) {
        receive(&group, &us);
        receive(&ours, &us);
        receive(&good, &other);
    }
    assert_int_equal(received(&s), 0);
    assert_int_equal(kit_stat(&kit, "ip4.source"), 3);
    assert_int_equal(kit_stat(&kit, "ip4.own_source"), 3);
    assert_int_equal(kit_stat(&kit, "ip4.not_ours"), 3);
    kit_close(&kit);
}

/* All places of the memory, several times over. */
static void test_pairs_in_one_place_are_told_apart(void **state)
{
    struct kit_sock s;
    const struct dk_ip us = ip4(10, 0, 0, 1), other = ip4(10, 0, 0, 3);
    (void)state;
    start(&s);
    for (int round = 0; round < 2; round++) {
        for (uint8_t i = 10; i < 250; i++) {
            const struct dk_endpoint from = peer(i);
            receive(&from, &us);
            receive(&from, &other);
        }
        assert_int_equal(received(&s), 240);
    }
    assert_int_equal(kit_stat(&kit, "ip4.not_ours"), 480);
    kit_close(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_way_neighbour_moved_goes_to_the_new_address),
        cmocka_unit_test(test_way_neighbour_given_goes_to_the_given_address),
        cmocka_unit_test(test_way_of_another_destination_is_not_taken),
        cmocka_unit_test(test_way_to_an_old_neighbour_has_it_asked_again),
        cmocka_unit_test(test_way_to_a_neighbour_that_is_gone_is_given_up),
        cmocka_unit_test(test_way_to_an_entry_that_was_evicted_is_not_taken),
        cmocka_unit_test(test_way_of_a_path_that_takes_less_is_fragmented),
        cmocka_unit_test(test_way_from_an_address_that_was_lost_is_not_taken),
        cmocka_unit_test(test_way_without_a_source_is_found_again_when_there_is_one),
        cmocka_unit_test(test_way_to_an_address_that_was_ours_leads_out),
        cmocka_unit_test(test_pair_to_an_address_that_was_lost_is_refused),
        cmocka_unit_test(test_pair_to_an_address_that_is_not_yet_ours_is_refused),
        cmocka_unit_test(test_pair_in_a_frame_to_all_is_refused),
        cmocka_unit_test(test_pair_that_was_refused_is_refused_again),
        cmocka_unit_test(test_pairs_in_one_place_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
