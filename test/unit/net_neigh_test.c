/* SPDX-License-Identifier: MIT */
/* Neighbours: ARP, neighbour discovery, duplicate addresses, and the packets that wait. */
#include "net_kit.h"

#include "base/bytes.h"
#include "net/neigh.h"

#include <string.h>

static struct kit kit;

/* A stack that knows nobody. */
static void start(void)
{
    kit_init(&kit);
    kit_start(&kit);
    kit_pass(&kit, 60 * S);
    kit_forget(&kit);
}

static const struct dk_endpoint peer4 = {{.bytes = {10, 0, 0, 2}, .version = 4}, 9};

static void answer_arp(struct dk_ip ip, struct dk_mac mac)
{
    kit_arp(&kit,
            &(struct dk_arp){.operation = DK_ARP_REPLY,
                             .sender_mac = mac,
                             .sender_ip = ip,
                             .target_mac = kit_mac,
                             .target_ip = ip4(10, 0, 0, 1)},
            NULL);
}

static void advertise(struct dk_ip ip, struct dk_mac mac, bool solicited, bool override)
{
    const struct dk_ip us = ip6("fd00::1"), all = ip6("ff02::1");
    kit_nd(&kit, &ip, solicited ? &us : &all, 255,
           &(struct dk_nd){.type = DK_ICMP6_NEIGHBOR_ADVERT,
                           .target = ip,
                           .solicited = solicited,
                           .override = override,
                           .has_target_mac = true,
                           .target_mac = mac});
}

static void send_number(struct kit_sock *s, const struct dk_endpoint *to, uint32_t n, bool plain)
{
    uint8_t bytes[100] = {0};
    dk_put_be32(bytes, n);
    assert_int_equal((plain ? kit_send_plain : kit_send)(&kit, s, to, bytes, sizeof bytes), 0);
}

static void expect_number(const struct dk_endpoint *to, uint32_t n)
{
    uint8_t bytes[100] = {0};
    dk_put_be32(bytes, n);
    kit_expect_udp(&kit, to, bytes, sizeof bytes);
}

static void test_arp_fifty_sends_unresolved_leave_in_order(void **state)
{
    struct kit_sock s;
    struct dk_arp arp;
    (void)state;
    start();
    kit_sock_open(&kit, &s, ip4(10, 0, 0, 1), 7);
    for (uint32_t i = 0; i < 50; i++)
        send_number(&s, &peer4, i, i % 2 == 1);
    kit_expect_arp(&kit, DK_ARP_REQUEST, &arp);
    assert_true(dk_ip_equal(&arp.target_ip, &peer4.ip));
    kit_expect_silence(&kit);
    answer_arp(peer4.ip, kit_peer_mac);
    for (uint32_t i = 0; i < 50; i++)
        expect_number(&peer4, i);
    kit_expect_silence(&kit);
    kit_close(&kit);
}

static void test_nd_fifty_sends_unresolved_leave_in_order(void **state)
{
    struct kit_sock s;
    struct dk_nd nd;
    struct kit_sent sent;
    const struct dk_endpoint to = {ip6("fd00::2"), 9};
    const struct dk_ip group = ip6("ff02::1:ff00:2");
    (void)state;
    start();
    kit_sock_open(&kit, &s, ip6("fd00::1"), 7);
    for (uint32_t i = 0; i < 50; i++)
        send_number(&s, &to, i, i % 2 == 1);
    kit_expect_nd(&kit, DK_ICMP6_NEIGHBOR_SOLICIT, &nd, &sent);
    assert_true(dk_ip_equal(&nd.target, &to.ip));
    assert_true(dk_ip_equal(&sent.dst, &group));
    assert_true(nd.has_source_mac && dk_mac_equal(&nd.source_mac, &kit_mac));
    kit_expect_silence(&kit);
    advertise(to.ip, kit_peer_mac, true, true);
    for (uint32_t i = 0; i < 50; i++)
        expect_number(&to, i);
    kit_expect_silence(&kit);
    kit_close(&kit);
}

/* What lies in no buffer is the sender's again when dk_ip_send returns. */
static void test_neigh_waiting_packet_keeps_a_copy_of_loose_pieces(void **state)
{
    uint8_t storage[DK_IP_HEADROOM + 8], loose[100], expected[100];
    struct dk_ip_tx tx = {.src = ip4(10, 0, 0, 1),
                          .dst = peer4.ip,
                          .protocol = 200,
                          .header = storage + DK_IP_HEADROOM,
                          .header_len = 8,
                          .frame = {.num_pieces = 3}};
    struct kit_sent sent;
    (void)state;
    start();
    struct dk_buf *buf = dk_buf_alloc(50, 0);
    memset(storage, 'h', sizeof storage);
    memset(loose, 'l', sizeof loose);
    memset(buf->data, 'b', 50);
    memset(expected, 'l', sizeof expected);
    memset(expected + 30, 'b', 50);
    tx.frame.pieces[0] = (struct dk_tx_piece){.data = loose, .len = 30};
    tx.frame.pieces[1] = (struct dk_tx_piece){.data = buf->data, .len = 50, .buf = buf};
    tx.frame.pieces[2] = (struct dk_tx_piece){.data = loose + 30, .len = 20};
    assert_int_equal(dk_ip_send(kit.net, &tx, kit.now), 0);
    memset(storage, 'X', sizeof storage);
    memset(loose, 'X', sizeof loose);
    dk_buf_put(buf); /* still held */
    kit_forget(&kit);
    answer_arp(peer4.ip, kit_peer_mac);
    kit_expect_ip(&kit, &sent);
    assert_int_equal(sent.len, 108);
    assert_memory_equal(sent.data, "hhhhhhhh", 8);
    assert_memory_equal(sent.data + 8, expected, 100);
    kit_close(&kit);
}

static void test_neigh_queue_is_bounded(void **state)
{
    struct kit_sock s;
    uint8_t bytes[10] = {0};
    (void)state;
    start();
    kit_sock_open(&kit, &s, ip4(10, 0, 0, 1), 7);
    for (uint32_t i = 0; i < DK_NEIGH_WAITING_MAX; i++)
        assert_int_equal(kit_send(&kit, &s, &peer4, bytes, sizeof bytes), 0);
    assert_int_equal(kit_send(&kit, &s, &peer4, bytes, sizeof bytes), -ENOBUFS);
    assert_int_equal(kit_stat(&kit, "neigh.queue_full"), 1);
    kit_close(&kit);
}

/* Packets of all neighbours together: what is held stays under the limit. */
static void test_neigh_waiting_bytes_are_bounded(void **state)
{
    struct kit_sock s;
    static uint8_t bytes[60000];
    uint32_t taken = 0;
    (void)state;
    start();
    kit_sock_open(&kit, &s, ip4(10, 0, 0, 1), 7);
    for (uint8_t host = 2; host < 12; host++) {
        for (int i = 0; i < 50; i++) {
            const struct dk_endpoint to = {ip4(10, 0, 0, host), 9};
            taken += kit_send(&kit, &s, &to, bytes, sizeof bytes) == 0;
        }
    }
    assert_true(taken > 10);
    assert_true((uint64_t)taken * sizeof bytes <= DK_NEIGH_BYTES_MAX);
    kit_close(&kit);
}

static void test_arp_unanswered_asks_three_times_then_tells_senders(void **state)
{
    struct kit_sock s;
    struct dk_arp arp;
    (void)state;
    start();
    kit_sock_open(&kit, &s, ip4(10, 0, 0, 1), 7);
    assert_int_equal(dk_udp_connect(s.sock, &peer4), 0);
    send_number(&s, NULL, 1, false);
    kit_pass(&kit, 2500 * MS);
    for (int i = 0; i < 3; i++)
        kit_expect_arp(&kit, DK_ARP_REQUEST, &arp);
    assert_int_equal(s.errors, 0);
    kit_pass(&kit, 600 * MS);
    kit_expect_silence(&kit);
    assert_int_equal(s.errors, 1);
    assert_int_equal(dk_udp_take_error(s.sock), -EHOSTUNREACH);
    assert_int_equal(kit_send(&kit, &s, NULL, "x", 1), -EHOSTUNREACH);
    kit_pass(&kit, 1 * S);
    assert_int_equal(kit_send(&kit, &s, NULL, "x", 1), 0); /* and asks again */
    kit_expect_arp(&kit, DK_ARP_REQUEST, &arp);
    kit_close(&kit);
}

/* RFC 4861 section 7.3.3. */
static void test_neigh_stale_entry_is_used_while_it_is_probed(void **state)
{
    struct kit_sock s;
    struct dk_arp arp;
    struct kit_sent sent;
    (void)state;
    start();
    kit_sock_open(&kit, &s, ip4(10, 0, 0, 1), 7);
    send_number(&s, &peer4, 0, false);
    answer_arp(peer4.ip, kit_peer_mac);
    kit_pass(&kit, 46 * S); /* beyond any reachable time */
    kit_forget(&kit);
    send_number(&s, &peer4, 1, false);
    expect_number(&peer4, 1); /* at once: STALE, now DELAY */
    kit_pass(&kit, 4900 * MS);
    kit_expect_silence(&kit);
    kit_pass(&kit, 200 * MS);
    const struct kit_frame *frame = &kit.frames[kit.read];
    kit_expect_arp(&kit, DK_ARP_REQUEST, &arp);
    assert_memory_equal(frame->bytes, kit_peer_mac.bytes, 6); /* to it alone */
    send_number(&s, &peer4, 2, false);
    kit_expect_ip(&kit, &sent);
    answer_arp(peer4.ip, kit_peer_mac);
    kit_pass(&kit, 10 * S);
    kit_expect_silence(&kit); /* REACHABLE: nothing is asked */
    assert_int_equal(kit_stat(&kit, "neigh.failed"), 0);
    kit_close(&kit);
}

static void test_neigh_probe_unanswered_fails(void **state)
{
    struct kit_sock s;
    (void)state;
    start();
    kit_sock_open(&kit, &s, ip4(10, 0, 0, 1), 7);
    send_number(&s, &peer4, 0, false);
    answer_arp(peer4.ip, kit_peer_mac);
    kit_pass(&kit, 46 * S);
    send_number(&s, &peer4, 1, false);
    kit_pass(&kit, 8100 * MS); /* DELAY 5 s, three probes */
    assert_int_equal(kit_stat(&kit, "neigh.failed"), 1);
    assert_int_equal(kit_send(&kit, &s, &peer4, "x", 1), -EHOSTUNREACH);
    kit_close(&kit);
}

static void test_neigh_confirmed_by_transport_is_not_probed(void **state)
{
    struct kit_sock s;
    (void)state;
    start();
    kit_sock_open(&kit, &s, ip4(10, 0, 0, 1), 7);
    send_number(&s, &peer4, 0, false);
    answer_arp(peer4.ip, kit_peer_mac);
    kit_pass(&kit, 46 * S);
    send_number(&s, &peer4, 1, false);
    kit_pass(&kit, 1 * S);
    kit_forget(&kit);
    dk_ip_confirm(kit.net, &peer4.ip, kit.now);
    kit_pass(&kit, 10 * S);
    kit_expect_silence(&kit);
    kit_close(&kit);
}

static void test_arp_request_for_us_is_answered_and_learnt(void **state)
{
    struct kit_sock s;
    struct dk_arp arp;
    const struct dk_mac all = DK_MAC_BROADCAST;
    (void)state;
    start();
    kit_arp(&kit,
            &(struct dk_arp){.operation = DK_ARP_REQUEST,
                             .sender_mac = kit_peer_mac,
                             .sender_ip = peer4.ip,
                             .target_ip = ip4(10, 0, 0, 1)},
            &all);
    kit_expect_arp(&kit, DK_ARP_REPLY, &arp);
    assert_true(dk_mac_equal(&arp.sender_mac, &kit_mac));
    assert_true(dk_ip_equal(&arp.target_ip, &peer4.ip));
    kit_sock_open(&kit, &s, ip4(10, 0, 0, 1), 7);
    send_number(&s, &peer4, 3, false);
    expect_number(&peer4, 3);
    kit_close(&kit);
}

static void test_arp_for_another_or_unasked_makes_no_entry(void **state)
{
    const struct dk_mac all = DK_MAC_BROADCAST;
    (void)state;
    start();
    kit_arp(&kit,
            &(struct dk_arp){.operation = DK_ARP_REQUEST,
                             .sender_mac = kit_peer_mac,
                             .sender_ip = peer4.ip,
                             .target_ip = ip4(10, 0, 0, 77)},
            &all);
    answer_arp(ip4(10, 0, 0, 3), kit_peer_mac);
    answer_arp(ip4(192, 0, 2, 3), kit_peer_mac); /* on none of our networks */
    kit_expect_silence(&kit);
    assert_null(dk_neigh_find(kit.net, &peer4.ip));
    assert_int_equal(kit_stat(&kit, "arp.unasked"), 2);
    assert_int_equal(kit_stat(&kit, "arp.off_link"), 1);
    kit_close(&kit);
}

static void test_arp_flood_is_bounded_and_spares_who_is_sent_to(void **state)
{
    struct kit_sock s;
    struct dk_mac mac = {{2, 9, 0, 0, 0, 0}};
    (void)state;
    kit_init(&kit);
    kit.config.addresses[0].prefix_len = 8;
    kit_start(&kit);
    kit_sock_open(&kit, &s, ip4(10, 0, 0, 1), 7);
    send_number(&s, &peer4, 0, false);
    answer_arp(peer4.ip, kit_peer_mac);
    for (uint32_t i = 0; i < 5 * DK_NEIGH_MAX; i++) {
        kit_forget(&kit);
        kit_arp(&kit,
                &(struct dk_arp){.operation = DK_ARP_REQUEST,
                                 .sender_mac = mac,
                                 .sender_ip = ip4(10, 1, (uint8_t)(i >> 8), (uint8_t)i),
                                 .target_ip = ip4(10, 0, 0, 1)},
                NULL);
    }
    assert_true(kit_stat(&kit, "neigh.evicted") >= 4 * DK_NEIGH_MAX);
    kit_forget(&kit);
    send_number(&s, &peer4, 1, false);
    expect_number(&peer4, 1);
    kit_close(&kit);
}

static void test_neigh_scan_leaves_room_for_those_that_answer(void **state)
{
    struct kit_sock s;
    uint32_t refused = 0;
    (void)state;
    kit_init(&kit);
    kit.config.addresses[0].prefix_len = 8;
    kit_start(&kit);
    kit_sock_open(&kit, &s, ip4(10, 0, 0, 1), 7);
    send_number(&s, &peer4, 0, false);
    answer_arp(peer4.ip, kit_peer_mac);
    for (uint32_t i = 0; i < 2000; i++) {
        const struct dk_endpoint to = {ip4(10, 1, (uint8_t)(i >> 8), (uint8_t)i), 9};
        refused += kit_send(&kit, &s, &to, "x", 1) == -ENOBUFS;
    }
    assert_true(refused >= 2000 - DK_NEIGH_PACKETS_MAX);
    assert_int_equal(kit_stat(&kit, "neigh.evicted"), 0);
    kit_forget(&kit);
    send_number(&s, &peer4, 1, false);
    expect_number(&peer4, 1);
    kit_close(&kit);
}

static void test_arp_reply_that_moves_an_address_is_followed(void **state)
{
    struct kit_sock s;
    struct kit_sent sent;
    const struct dk_mac moved = {{2, 0, 0, 0, 0, 3}}, all = DK_MAC_BROADCAST;
    (void)state;
    start();
    kit_sock_open(&kit, &s, ip4(10, 0, 0, 1), 7);
    send_number(&s, &peer4, 0, false);
    answer_arp(peer4.ip, kit_peer_mac);
    kit_forget(&kit);
    kit_arp(&kit,
            &(struct dk_arp){.operation = DK_ARP_REQUEST,
                             .sender_mac = moved,
                             .sender_ip = peer4.ip,
                             .target_ip = peer4.ip},
            &all); /* gratuitous */
    send_number(&s, &peer4, 1, false);
    kit_expect_ip(&kit, &sent);
    assert_true(dk_mac_equal(&sent.eth.dst, &moved));
    assert_int_equal(kit_stat(&kit, "neigh.changed"), 1);
    kit_close(&kit);
}

/* RFC 4861 section 7.2.5: without the override flag an address that differs is not taken. */
static void test_nd_advert_without_override_does_not_move(void **state)
{
    struct kit_sock s;
    struct kit_sent sent;
    const struct dk_endpoint to = {ip6("fd00::2"), 9};
    const struct dk_mac other = {{2, 0, 0, 0, 0, 3}};
    (void)state;
    start();
    kit_sock_open(&kit, &s, ip6("fd00::1"), 7);
    send_number(&s, &to, 0, false);
    advertise(to.ip, kit_peer_mac, true, true);
    kit_forget(&kit);
    advertise(to.ip, other, false, false);
    send_number(&s, &to, 1, false);
    kit_expect_ip(&kit, &sent);
    assert_true(dk_mac_equal(&sent.eth.dst, &kit_peer_mac));
    advertise(to.ip, other, false, true);
    send_number(&s, &to, 2, false);
    kit_expect_ip(&kit, &sent);
    assert_true(dk_mac_equal(&sent.eth.dst, &other));
    kit_close(&kit);
}

static void test_nd_solicit_for_us_is_answered(void **state)
{
    struct dk_nd nd;
    struct kit_sent sent;
    const struct dk_ip peer = ip6("fd00::2"), us = ip6("fd00::1"), group = ip6("ff02::1:ff00:1");
    const struct dk_nd ask = {.type = DK_ICMP6_NEIGHBOR_SOLICIT,
                              .target = us,
                              .has_source_mac = true,
                              .source_mac = kit_peer_mac};
    (void)state;
    start();
    kit_nd(&kit, &peer, &group, 255, &ask);
    kit_expect_nd(&kit, DK_ICMP6_NEIGHBOR_ADVERT, &nd, &sent);
    assert_true(nd.solicited && nd.override && !nd.router);
    assert_true(dk_ip_equal(&nd.target, &us) && dk_ip_equal(&sent.dst, &peer));
    assert_true(dk_mac_equal(&sent.eth.dst, &kit_peer_mac));
    kit_nd(&kit, &peer, &group, 254, &ask); /* through a router */
    assert_int_equal(kit_stat(&kit, "nd.hop_limit"), 1);
    kit_expect_silence(&kit);
    kit_close(&kit);
}

static void test_nd_router_messages_are_counted_and_ignored(void **state)
{
    const struct dk_ip router = ip6("fe80::fe"), all = ip6("ff02::1"), us = ip6("fd00::1");
    (void)state;
    start();
    kit_nd(&kit, &router, &all, 255,
           &(struct dk_nd){.type = DK_ICMP6_ROUTER_ADVERT, .lifetime_s = 1800, .hop_limit = 64});
    kit_nd(&kit, &router, &us, 255,
           &(struct dk_nd){.type = DK_ICMP6_REDIRECT,
                           .target = ip6("fe80::bad"),
                           .destination = ip6("2001:db8::1")});
    assert_int_equal(kit_stat(&kit, "nd.router_adverts"), 1);
    assert_int_equal(kit_stat(&kit, "nd.redirects"), 1);
    kit_expect_silence(&kit);
    kit_close(&kit);
}

static void test_start_announces_ip4_addresses_twice(void **state)
{
    struct dk_arp arp;
    struct dk_eth_header eth;
    uint32_t seen = 0;
    const struct dk_ip us = ip4(10, 0, 0, 1);
    (void)state;
    kit_init(&kit);
    kit_start(&kit);
    kit_pass(&kit, 60 * S);
    for (const struct kit_frame *f = kit_next(&kit); f; f = kit_next(&kit)) {
        assert_int_equal(dk_eth_header_parse(f->bytes, f->len, &eth), DK_WIRE_OK);
        if (eth.type != DK_ETHERTYPE_ARP)
            continue;
        assert_int_equal(dk_arp_parse(f->bytes + 14, f->len - 14, &arp), DK_WIRE_OK);
        assert_true(dk_ip_equal(&arp.sender_ip, &us) && dk_ip_equal(&arp.target_ip, &us));
        seen++;
    }
    assert_int_equal(seen, 2);
    kit_close(&kit);
}

/* RFC 5227 section 2.4. */
static void test_arp_conflict_is_defended_once_in_ten_seconds(void **state)
{
    struct dk_arp arp;
    const struct dk_arp claim = {.operation = DK_ARP_REQUEST,
                                 .sender_mac = kit_peer_mac,
                                 .sender_ip = ip4(10, 0, 0, 1),
                                 .target_ip = ip4(10, 0, 0, 1)};
    const struct dk_mac all = DK_MAC_BROADCAST;
    (void)state;
    start();
    for (int i = 0; i < 5; i++)
        kit_arp(&kit, &claim, &all);
    kit_expect_arp(&kit, DK_ARP_REQUEST, &arp);
    assert_true(dk_mac_equal(&arp.sender_mac, &kit_mac));
    kit_expect_silence(&kit);
    kit_pass(&kit, 10 * S);
    kit_arp(&kit, &claim, &all);
    kit_expect_arp(&kit, DK_ARP_REQUEST, &arp);
    assert_int_equal(kit_stat(&kit, "address.conflicts"), 6);
    assert_int_equal(kit_stat(&kit, "address.defences"), 2);
    kit_close(&kit);
}

static void test_arp_probe_for_our_address_is_answered(void **state)
{
    struct dk_arp arp;
    const struct dk_mac all = DK_MAC_BROADCAST;
    (void)state;
    start();
    kit_arp(&kit,
            &(struct dk_arp){.operation = DK_ARP_REQUEST,
                             .sender_mac = kit_peer_mac,
                             .sender_ip = ip4(0, 0, 0, 0),
                             .target_ip = ip4(10, 0, 0, 1)},
            &all);
    kit_expect_arp(&kit, DK_ARP_REPLY, &arp);
    kit_close(&kit);
}

/* RFC 4862 section 5.4. */
static void test_dad_unanswered_makes_addresses_good(void **state)
{
    struct dk_ip src = {.version = 0};
    const struct dk_ip peer = ip6("fd00::2");
    uint32_t mtu;
    (void)state;
    kit_init(&kit);
    kit.config.skip_dad = false;
    kit_start(&kit);
    assert_int_equal(dk_net_address_state(kit.net, 0), DK_NET_ADDRESS_TENTATIVE);
    assert_int_equal(dk_net_address_state(kit.net, 1), DK_NET_ADDRESS_TENTATIVE);
    assert_int_equal(dk_ip_route(kit.net, &peer, &src, &mtu), -EADDRNOTAVAIL);
    kit_pass(&kit, 2 * S);
    assert_int_equal(dk_net_address_state(kit.net, 0), DK_NET_ADDRESS_TENTATIVE);
    assert_int_equal(dk_net_address_state(kit.net, 1), DK_NET_ADDRESS_GOOD);
    assert_int_equal(dk_ip_route(kit.net, &peer, &src, &mtu), 0);
    kit_pass(&kit, 5 * S);
    assert_int_equal(dk_net_address_state(kit.net, 0), DK_NET_ADDRESS_GOOD);
    kit_close(&kit);
}

static void dad_meets(bool advert)
{
    const struct dk_ip us = ip6("fd00::1"), none = ip6("::"), all = ip6("ff02::1"),
                       group = ip6("ff02::1:ff00:1");
    kit_init(&kit);
    kit.config.skip_dad = false;
    kit_start(&kit);
    kit_pass(&kit, 1 * S); /* asked, whatever the delay was */
    if (advert)
        kit_nd(&kit, &us, &all, 255,
               &(struct dk_nd){.type = DK_ICMP6_NEIGHBOR_ADVERT,
                               .target = us,
                               .override = true,
                               .has_target_mac = true,
                               .target_mac = kit_peer_mac});
    else
        kit_nd(&kit, &none, &group, 255,
               &(struct dk_nd){.type = DK_ICMP6_NEIGHBOR_SOLICIT, .target = us});
    kit_pass(&kit, 5 * S);
    assert_int_equal(dk_net_address_state(kit.net, 1), DK_NET_ADDRESS_DUPLICATE);
    assert_int_equal(kit_stat(&kit, "address.duplicates"), 1);
    kit_close(&kit);
}

static void test_dad_advert_makes_the_address_duplicate(void **state)
{
    (void)state;
    dad_meets(true);
}

static void test_dad_probe_of_another_makes_the_address_duplicate(void **state)
{
    (void)state;
    dad_meets(false);
}

static struct dk_net_conflict met;
static uint32_t num_met;

static void meet(void *arg, const struct dk_net_conflict *conflict)
{
    assert_ptr_equal(arg, &kit);
    met = *conflict;
    num_met++;
}

/* It is told who has the address, and whether it is still ours. */
static void conflict_is_told(bool optimistic, int64_t after, bool lost)
{
    const struct dk_ip us = ip4(10, 0, 0, 1);
    num_met = 0;
    kit_init(&kit);
    kit.config.skip_dad = false;
    kit.config.optimistic_dad = optimistic;
    kit.config.on_conflict = meet;
    kit_start(&kit);
    kit_pass(&kit, after);
    for (int i = 0; i < 3; i++)
        kit_arp(&kit,
                &(struct dk_arp){.operation = DK_ARP_REPLY,
                                 .sender_mac = kit_peer_mac,
                                 .sender_ip = us,
                                 .target_ip = us},
                NULL);
    assert_int_equal(num_met, 1);
    assert_true(dk_ip_equal(&met.ip, &us) && dk_mac_equal(&met.mac, &kit_peer_mac));
    assert_true(met.has_mac && met.lost == lost);
    assert_int_equal(dk_net_address_state(kit.net, 0),
                     lost ? DK_NET_ADDRESS_DUPLICATE : DK_NET_ADDRESS_GOOD);
    kit_close(&kit);
}

static void test_conflict_while_tentative_is_told_as_lost(void **state)
{
    (void)state;
    conflict_is_told(false, 1 * S, true);
}

static void test_conflict_while_optimistic_is_told_as_lost(void **state)
{
    (void)state;
    conflict_is_told(true, 1 * S, true);
}

static void test_conflict_of_a_good_address_is_told_once(void **state)
{
    (void)state;
    conflict_is_told(false, 8 * S, false);
}

/* The device is full in the middle: the rest goes when it has room, before what is sent later. */
static void test_neigh_flush_without_room_goes_on_in_order(void **state)
{
    struct kit_sock s;
    (void)state;
    start();
    kit_sock_open(&kit, &s, ip4(10, 0, 0, 1), 7);
    for (uint32_t i = 0; i < 10; i++)
        send_number(&s, &peer4, i, false);
    kit_forget(&kit);
    kit.room = 4;
    answer_arp(peer4.ip, kit_peer_mac);
    assert_int_equal(kit_send(&kit, &s, &peer4, "late", 4), -EAGAIN);
    kit.room = UINT32_MAX;
    assert_int_equal(kit_send(&kit, &s, &peer4, "late", 4), -EAGAIN); /* not before the others */
    dk_net_tx_room(kit.net, kit.now);
    assert_int_equal(s.writable, 1);
    send_number(&s, &peer4, 10, false);
    for (uint32_t i = 0; i <= 10; i++)
        expect_number(&peer4, i);
    kit_expect_silence(&kit);
    kit_close(&kit);
}

/* Blocked, then freed by an answer and not by room: it can be blocked again. */
static void test_neigh_blocked_twice_loses_nothing(void **state)
{
    struct kit_sock s;
    struct kit_sent sent;
    static uint8_t bytes[4000];
    uint32_t end;
    (void)state;
    start();
    kit_sock_open(&kit, &s, ip4(10, 0, 0, 1), 7);
    send_number(&s, &peer4, 0, false);
    kit.room = 0;
    answer_arp(peer4.ip, kit_peer_mac);
    kit.room = UINT32_MAX;
    kit_forget(&kit);
    assert_int_equal(dk_net_add_neighbour(kit.net, &peer4.ip, &kit_peer_mac), 0); /* flushes */
    expect_number(&peer4, 0);
    for (int round = 0; round < 3; round++) {
        kit.room = 1;
        assert_int_equal(kit_send(&kit, &s, &peer4, bytes, sizeof bytes), 0);
        kit.room = UINT32_MAX;
        dk_net_tx_room(kit.net, kit.now);
        end = 0;
        do {
            kit_expect_ip(&kit, &sent);
            assert_int_equal(sent.offset, end);
            end += sent.len;
        } while (sent.more);
        assert_int_equal(end, 8 + sizeof bytes);
    }
    kit_expect_silence(&kit);
    kit_close(&kit);
}

/* A device that is full for so long that the neighbour is given up: nothing is left of it. */
static void test_neigh_blocked_and_failed_is_forgotten(void **state)
{
    struct kit_sock s;
    (void)state;
    start();
    kit_sock_open(&kit, &s, ip4(10, 0, 0, 1), 7);
    send_number(&s, &peer4, 0, false);
    send_number(&s, &peer4, 1, false);
    kit.room = 0;
    kit_arp(&kit,
            &(struct dk_arp){.operation = DK_ARP_REQUEST, /* STALE, and DELAY at the flush */
                             .sender_mac = kit_peer_mac,
                             .sender_ip = peer4.ip,
                             .target_ip = ip4(10, 0, 0, 77)},
            NULL);
    kit_pass(&kit, 10 * S);
    assert_int_equal(kit_stat(&kit, "neigh.failed"), 1);
    assert_int_equal(kit_stat(&kit, "neigh.dropped"), 2);
    kit_forget(&kit);
    kit.room = UINT32_MAX;
    dk_net_tx_room(kit.net, kit.now);
    kit_expect_silence(&kit);
    kit_close(&kit);
}

/* ---- memory that is given back while its packet waits ------------------------------------------
 */

#define LENT 4000u /* more than one frame takes */

static struct dk_buf *lend_datagram(struct kit_sock *s, const struct dk_endpoint *to, uint8_t byte)
{
    struct dk_buf *buf = dk_buf_alloc(LENT, 0);
    memset(buf->data, byte, LENT);
    const struct dk_tx_piece pieces[] = {{buf->data, 1000, buf}, {buf->data + 1000, 3000, buf}};
    assert_int_equal(dk_udp_send(s->sock, to, pieces, 2, kit.now), 0);
    return buf;
}

/* Whoever lent it gets it back, and writes to it. */
static void give_back(struct dk_buf *buf)
{
    assert_int_equal(buf->refs, 1);
    memset(buf->data, 'X', LENT);
    dk_buf_put(buf);
}

/* A datagram in fragments, of one byte throughout. */
static void expect_lent(uint8_t byte)
{
    struct kit_sent sent;
    uint8_t got[8 + LENT];
    uint32_t end = 0;
    do {
        kit_expect_ip(&kit, &sent);
        assert_int_equal(sent.offset, end);
        assert_true(end + sent.len <= sizeof got);
        memcpy(got + end, sent.data, sent.len);
        end += sent.len;
    } while (sent.more);
    assert_int_equal(end, sizeof got);
    for (uint32_t i = 0; i < LENT; i++)
        assert_int_equal(got[8 + i], byte);
}

static void lent_and_overwritten(const struct dk_endpoint *to, struct dk_ip own)
{
    struct kit_sock s;
    struct dk_buf *bufs[3];
    start();
    kit_sock_open(&kit, &s, own, 7);
    for (uint8_t i = 0; i < 3; i++)
        bufs[i] = lend_datagram(&s, to, (uint8_t)('a' + i));
    assert_true(bufs[0]->refs > 1);
    assert_true(dk_net_own_lent(kit.net));
    for (int i = 0; i < 3; i++)
        give_back(bufs[i]);
    assert_int_equal(kit_stat(&kit, "neigh.copied_bytes"), 3 * LENT);
    assert_true(dk_net_own_lent(kit.net)); /* each is copied once */
    assert_int_equal(kit_stat(&kit, "neigh.copied_bytes"), 3 * LENT);
    kit_forget(&kit);
    if (to->ip.version == 4)
        answer_arp(to->ip, kit_peer_mac);
    else
        advertise(to->ip, kit_peer_mac, true, true);
    for (uint8_t i = 0; i < 3; i++)
        expect_lent((uint8_t)('a' + i));
    kit_expect_silence(&kit);
    kit_close(&kit);
}

static void test_neigh_memory_overwritten_while_the_packet_waits(void **state)
{
    const struct dk_endpoint peer6 = {ip6("fd00::2"), 9};
    (void)state;
    lent_and_overwritten(&peer4, ip4(10, 0, 0, 1));
    lent_and_overwritten(&peer6, ip6("fd00::1"));
}

/* Some fragments are out: the others are made of the copy. */
static void test_neigh_memory_overwritten_in_the_middle_of_fragments(void **state)
{
    struct kit_sock s;
    (void)state;
    start();
    assert_int_equal(dk_net_add_neighbour(kit.net, &peer4.ip, &kit_peer_mac), 0);
    kit_sock_open(&kit, &s, ip4(10, 0, 0, 1), 7);
    kit.room = 1;
    struct dk_buf *buf = lend_datagram(&s, &peer4, 'a');
    assert_true(dk_net_own_lent(kit.net));
    give_back(buf);
    kit.room = UINT32_MAX;
    dk_net_tx_room(kit.net, kit.now);
    expect_lent('a');
    kit_expect_silence(&kit);
    kit_close(&kit);
}

static bool refuse_to_own(void *arg)
{
    (void)arg;
    return false;
}

static void test_net_memory_that_the_device_reads_stays_lent(void **state)
{
    (void)state;
    kit_init(&kit);
    kit.config.own = refuse_to_own;
    kit_start(&kit);
    assert_false(dk_net_own_lent(kit.net));
    kit_close(&kit);
}

int main(void)
{
    alarm(120);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arp_fifty_sends_unresolved_leave_in_order),
        cmocka_unit_test(test_nd_fifty_sends_unresolved_leave_in_order),
        cmocka_unit_test(test_neigh_waiting_packet_keeps_a_copy_of_loose_pieces),
        cmocka_unit_test(test_neigh_queue_is_bounded),
        cmocka_unit_test(test_neigh_waiting_bytes_are_bounded),
        cmocka_unit_test(test_arp_unanswered_asks_three_times_then_tells_senders),
        cmocka_unit_test(test_neigh_stale_entry_is_used_while_it_is_probed),
        cmocka_unit_test(test_neigh_probe_unanswered_fails),
        cmocka_unit_test(test_neigh_confirmed_by_transport_is_not_probed),
        cmocka_unit_test(test_arp_request_for_us_is_answered_and_learnt),
        cmocka_unit_test(test_arp_for_another_or_unasked_makes_no_entry),
        cmocka_unit_test(test_arp_flood_is_bounded_and_spares_who_is_sent_to),
        cmocka_unit_test(test_neigh_scan_leaves_room_for_those_that_answer),
        cmocka_unit_test(test_arp_reply_that_moves_an_address_is_followed),
        cmocka_unit_test(test_nd_advert_without_override_does_not_move),
        cmocka_unit_test(test_nd_solicit_for_us_is_answered),
        cmocka_unit_test(test_nd_router_messages_are_counted_and_ignored),
        cmocka_unit_test(test_start_announces_ip4_addresses_twice),
        cmocka_unit_test(test_arp_conflict_is_defended_once_in_ten_seconds),
        cmocka_unit_test(test_arp_probe_for_our_address_is_answered),
        cmocka_unit_test(test_dad_unanswered_makes_addresses_good),
        cmocka_unit_test(test_dad_advert_makes_the_address_duplicate),
        cmocka_unit_test(test_dad_probe_of_another_makes_the_address_duplicate),
        cmocka_unit_test(test_conflict_while_tentative_is_told_as_lost),
        cmocka_unit_test(test_conflict_while_optimistic_is_told_as_lost),
        cmocka_unit_test(test_conflict_of_a_good_address_is_told_once),
        cmocka_unit_test(test_neigh_flush_without_room_goes_on_in_order),
        cmocka_unit_test(test_neigh_memory_overwritten_while_the_packet_waits),
        cmocka_unit_test(test_neigh_memory_overwritten_in_the_middle_of_fragments),
        cmocka_unit_test(test_net_memory_that_the_device_reads_stays_lent),
        cmocka_unit_test(test_neigh_blocked_twice_loses_nothing),
        cmocka_unit_test(test_neigh_blocked_and_failed_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
