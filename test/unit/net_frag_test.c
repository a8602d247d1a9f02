/* SPDX-License-Identifier: MIT */
/* Fragments, in and out. */
#include "net_kit.h"

#include "base/bytes.h"
#include "base/random.h"

#include <stdlib.h>
#include <string.h>

static struct kit kit;
static struct kit_sock sock;
static uint8_t payload[65536], datagram[65544];

struct family {
    struct dk_endpoint us, peer;
};

static struct family families[2];

static void start(void)
{
    kit_open(&kit);
    families[0] = (struct family){{ip4(10, 0, 0, 1), 7}, {ip4(10, 0, 0, 2), 9}};
    families[1] = (struct family){{ip6("fd00::1"), 7}, {ip6("fd00::2"), 9}};
    kit_sock_open(&kit, &sock, (struct dk_ip){.version = 0}, 7);
    for (uint32_t i = 0; i < sizeof payload; i++)
        payload[i] = (uint8_t)(i * 7 + i / 251);
}

/* Builds the datagram that the fragments are of; returns its length. */
static uint32_t build(const struct family *f, uint32_t len)
{
    return kit_put_udp(datagram, &f->peer, &f->us, payload, len);
}

static void put(const struct family *f, uint16_t id, uint32_t from, uint32_t to, bool more)
{
    static uint8_t packet[66000];
    const struct kit_ip ip = {.src = f->peer.ip,
                              .dst = f->us.ip,
                              .protocol = DK_IP_UDP,
                              .id = id,
                              .offset = (uint16_t)from,
                              .more = more,
                              .atomic = true};
    kit_packet(&kit, packet, kit_put_ip(packet, &ip, datagram + from, to - from), NULL);
}

static void test_reass_any_order_makes_the_packet_whole(void **state)
{
    static const uint8_t orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                         {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    (void)state;
    start();
    for (int v = 0; v < 2; v++) {
        const struct family *f = &families[v];
        const uint32_t len = build(f, 2500);
        const uint32_t from[4] = {0, 1000, 2000, len};
        for (uint16_t o = 0; o < 6; o++) {
            for (int i = 0; i < 3; i++) {
                const uint8_t part = orders[o][i];
                put(f, o, from[part], from[part + 1], part != 2);
            }
            kit_expect_recv(&sock, payload, 2500);
        }
    }
    assert_int_equal(kit_stat(&kit, "frag.reassembled"), 12);
    kit_expect_silence(&kit);
    kit_close(&kit);
}

static void test_reass_largest_packet_is_whole(void **state)
{
    (void)state;
    start();
    for (int v = 0; v < 2; v++) {
        const struct family *f = &families[v];
        const uint32_t bytes = v == 0 ? 65507 : 65527, len = build(f, bytes);
        for (uint32_t at = 0; at < len; at += 1480)
            put(f, 1, at, at + 1480 < len ? at + 1480 : len, at + 1480 < len);
        kit_expect_recv(&sock, payload, bytes);
    }
    kit_close(&kit);
}

/* RFC 5722: all of it is dropped, and what still comes. */
static void test_reass_overlap_drops_the_packet(void **state)
{
    (void)state;
    start();
    for (int v = 0; v < 2; v++) {
        const struct family *f = &families[v];
        const uint32_t len = build(f, 2500);
        put(f, 1, 0, 1000, true);
        put(f, 1, 992, 2000, true); /* 8 bytes twice */
        put(f, 1, 1000, 2000, true);
        put(f, 1, 2000, len, false);
        assert_int_equal(kit_stat(&kit, "frag.overlap"), v + 1);
        assert_int_equal(kit_stat(&kit, "frag.of_overlap"), 2 * (v + 1));
    }
    assert_int_equal(sock.readable, 0);
    kit_pass(&kit, 100 * S);
    kit_expect_silence(&kit); /* nobody is told */
    kit_close(&kit);
}

static void test_reass_duplicate_is_no_overlap_but_other_bytes_are(void **state)
{
    (void)state;
    start();
    for (int v = 0; v < 2; v++) {
        const struct family *f = &families[v];
        const uint32_t len = build(f, 2500);
        put(f, 1, 0, 1000, true);
        put(f, 1, 0, 1000, true);
        put(f, 1, 1000, len, false);
        kit_expect_recv(&sock, payload, 2500);
        put(f, 2, 0, 1000, true);
        datagram[500] ^= 1;
        put(f, 2, 0, 1000, true);
        put(f, 2, 1000, len, false);
        assert_int_equal(dk_udp_recv(sock.sock, &(struct dk_udp_datagram){0}), -EAGAIN);
    }
    assert_int_equal(kit_stat(&kit, "frag.duplicate"), 2);
    assert_int_equal(kit_stat(&kit, "frag.overlap"), 2);
    kit_close(&kit);
}

static void test_reass_two_ends_drop_the_packet(void **state)
{
    (void)state;
    start();
    for (int v = 0; v < 2; v++) {
        const struct family *f = &families[v];
        build(f, 2500);
        put(f, 1, 1000, 2000, false);
        put(f, 1, 2000, 2400, false); /* ends again */
        put(f, 2, 1000, 2000, false);
        put(f, 2, 2000, 2400, true); /* goes beyond the end */
        put(f, 3, 1000, 2000, true);
        put(f, 3, 8, 800, false); /* ends before what is there */
    }
    assert_int_equal(kit_stat(&kit, "frag.overlap"), 6);
    kit_close(&kit);
}

/* RFC 792, 8200 section 4.5: told only where the first fragment came. */
/* RFC 3168 section 5.3. */
static void test_reass_congestion_of_any_fragment_is_kept(void **state)
{
    struct dk_udp_datagram d;
    static uint8_t packet[3000];
    (void)state;
    start();
    for (int ect = 0; ect < 2; ect++) {
        const struct family *f = &families[0];
        const uint32_t len = build(f, 2500);
        for (uint32_t at = 0; at < len; at += 1000) {
            const uint32_t part = len - at < 1000 ? len - at : 1000;
            const struct dk_ip4_header ip = {.src = f->peer.ip,
                                             .dst = f->us.ip,
                                             .header_len = 20,
                                             .tos = at == 1000 ? 3
                                                    : ect      ? 2
                                                               : 0,
                                             .ttl = 64,
                                             .protocol = DK_IP_UDP,
                                             .total_len = (uint16_t)(20 + part),
                                             .id = (uint16_t)(77 + ect),
                                             .fragment_offset = (uint16_t)at,
                                             .more_fragments = at + part < len};
            memcpy(packet + dk_ip4_header_emit(&ip, packet), datagram + at, part);
            kit_packet(&kit, packet, 20 + part, NULL);
        }
        assert_int_equal(dk_udp_recv(sock.sock, &d), 0);
        assert_int_equal(d.tos, ect ? 3 : 0);
        dk_buf_put(d.buf);
    }
    kit_close(&kit);
}

static void test_reass_timeout_is_told_where_the_first_came(void **state)
{
    struct kit_sent sent;
    (void)state;
    start();
    for (int v = 0; v < 2; v++) {
        const struct family *f = &families[v];
        build(f, 2500);
        put(f, 1, 0, 1000, true);
        put(f, 2, 1000, 2000, true);
        kit_pass(&kit, (v == 0 ? 29 : 59) * S);
        kit_expect_silence(&kit);
        kit_pass(&kit, 2 * S);
        kit_expect_icmp(&kit, v == 0 ? DK_ICMP4_TIME_EXCEEDED : DK_ICMP6_TIME_EXCEEDED, 1, &sent);
        assert_true(dk_ip_equal(&sent.dst, &f->peer.ip));
        kit_expect_silence(&kit);
    }
    assert_int_equal(kit_stat(&kit, "frag.timeout"), 4);
    kit_close(&kit);
}

static void test_reass_flood_is_bounded(void **state)
{
    const uint32_t before = dk_buf_in_use();
    (void)state;
    start();
    const struct family *f = &families[0];
    const uint32_t len = build(f, 65000);
    for (uint32_t i = 0; i < 3000; i++) {
        struct family from = *f;
        from.peer.ip.bytes[3] = (uint8_t)(2 + i % 200);
        put(&from, (uint16_t)i, 64000, len, false); /* each wants all of the buffer */
    }
    assert_true(dk_buf_in_use() - before <= 64);
    assert_true(kit_stat(&kit, "frag.evicted") >= 2900);
    put(f, 1, 0, 32000, true); /* who comes after is served */
    put(f, 1, 32000, len, false);
    kit_expect_recv(&sock, payload, 65000);
    kit_close(&kit);
}

/* One source cannot push out what others have. */
static void test_reass_flood_of_one_source_spares_others(void **state)
{
    (void)state;
    start();
    const struct family *f = &families[0];
    struct family other = *f;
    other.peer.ip.bytes[3] = 99;
    uint32_t len = build(f, 2500);
    put(f, 1, 0, 1000, true);
    for (uint32_t i = 0; i < 500; i++)
        put(&other, (uint16_t)i, 0, 1000, true);
    assert_int_equal(kit_stat(&kit, "frag.evicted"), 484); /* its own, beyond 16 */
    for (uint8_t host = 100; host < 140; host++) {
        other.peer.ip.bytes[3] = host;
        put(&other, 1, 0, 1000, true);
    }
    assert_int_equal(kit_stat(&kit, "frag.evicted"), 484);
    len = build(f, 2500);
    put(f, 1, 1000, len, false);
    kit_expect_recv(&sock, payload, 2500);
    kit_close(&kit);
}

static void test_reass_number_of_fragments_is_bounded(void **state)
{
    (void)state;
    start();
    const struct family *f = &families[0];
    build(f, 60000);
    for (uint32_t at = 0; at < 1025 * 16; at += 16)
        put(f, 1, at, at + 8, true);
    assert_int_equal(kit_stat(&kit, "frag.limit"), 1);
    kit_close(&kit);
}

static void test_reass_tiny_and_empty_fragments_are_dropped(void **state)
{
    static uint8_t packet[200];
    (void)state;
    start();
    struct kit_ip ip = {
        .src = families[0].peer.ip, .dst = families[0].us.ip, .protocol = DK_IP_TCP, .more = true};
    kit_packet(&kit, packet, kit_put_ip(packet, &ip, payload, 16), NULL);
    ip.offset = 8;
    kit_packet(&kit, packet, kit_put_ip(packet, &ip, payload, 24), NULL);
    assert_int_equal(kit_stat(&kit, "frag.tiny"), 2);
    ip.protocol = DK_IP_UDP;
    ip.more = false;
    kit_packet(&kit, packet, kit_put_ip(packet, &ip, payload, 0), NULL);
    assert_int_equal(kit_stat(&kit, "frag.empty"), 1);
    ip.more = true; /* not of eights */
    kit_packet(&kit, packet, kit_put_ip(packet, &ip, payload, 12), NULL);
    assert_int_equal(kit_stat(&kit, "ip4.fragment"), 1);
    ip.offset = 65528;
    kit_packet(&kit, packet, kit_put_ip(packet, &ip, payload, 16), NULL); /* ping of death */
    assert_int_equal(kit_stat(&kit, "ip4.fragment") + kit_stat(&kit, "frag.too_long"), 2);
    kit_close(&kit);
}

/* RFC 6946: a packet in one fragment has nothing to do with others of its number. */
static void test_reass_atomic_fragment_is_a_packet_by_itself(void **state)
{
    (void)state;
    start();
    const struct family *f = &families[1];
    uint32_t len = build(f, 2500);
    put(f, 1, 0, 1000, true);
    len = build(f, 200);
    put(f, 1, 0, len, false);
    kit_expect_recv(&sock, payload, 200);
    len = build(f, 2500);
    put(f, 1, 1000, len, false);
    kit_expect_recv(&sock, payload, 2500);
    kit_close(&kit);
}

static void test_reass_random_cuts_and_orders_are_whole(void **state)
{
    struct dk_random random;
    const uint64_t seed = 20240611;
    (void)state;
    dk_random_init(&random, seed);
    print_message("seed %llu\n", (unsigned long long)seed);
    start();
    for (uint16_t round = 0; round < 300; round++) {
        const struct family *f = &families[round % 2];
        const uint32_t bytes = 100 + dk_random_below(&random, 20000), len = build(f, bytes);
        uint32_t cuts[40], n = 0;
        for (uint32_t at = 0; at < len && n < 39; n++) {
            cuts[n] = at;
            at += 8 * (1 + dk_random_below(&random, 200));
            if (n == 38)
                at = len;
        }
        cuts[n] = len;
        uint32_t left[40];
        for (uint32_t i = 0; i < n; i++)
            left[i] = i;
        if (n == 1)
            continue;
        for (uint32_t i = n; i > 0; i--) {
            const uint32_t pick = dk_random_below(&random, i), part = left[pick];
            left[pick] = left[i - 1];
            put(f, round, cuts[part], cuts[part + 1], part != n - 1);
        }
        kit_expect_recv(&sock, payload, bytes);
    }
    kit_close(&kit);
}

/* What we fragment comes together again, and each fragment fits. */
static void test_frag_out_fits_the_mtu_and_is_whole(void **state)
{
    static const uint32_t sizes[] = {1473, 1481, 2952, 3000, 20000, 65507};
    static uint8_t whole[66000];
    (void)state;
    start();
    for (int v = 0; v < 2; v++) {
        const struct family *f = &families[v];
        uint32_t last_id = 0;
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            uint32_t end = 0, id = 0;
            bool more = true;
            assert_int_equal(kit_send(&kit, &sock, &f->peer, payload, sizes[i]), 0);
            while (more) {
                struct kit_sent sent;
                kit_expect_ip(&kit, &sent);
                assert_true(sent.fragment && kit.frames[kit.read - 1].len <= 1514);
                assert_int_equal(sent.offset, end);
                assert_true(end == 0 || sent.id == id);
                assert_true(v == 1 || !sent.dont_fragment);
                memcpy(whole + end, sent.data, sent.len);
                id = sent.id;
                end += sent.len;
                more = sent.more;
            }
            kit_expect_silence(&kit);
            assert_int_equal(end, sizes[i] + 8);
            assert_memory_equal(whole + 8, payload, sizes[i]);
            assert_true(id != last_id);
            last_id = id;
            kit_forget(&kit);
        }
    }
    kit_close(&kit);
}

/* Cuts fall inside of pieces, and pieces inside of fragments. */
static void test_frag_out_of_many_pieces_is_whole(void **state)
{
    static const uint32_t lens[] = {1, 1471, 3, 2000, 700, 0, 1, 500};
    static uint8_t whole[6000];
    struct dk_tx_piece pieces[8];
    struct kit_sent sent;
    uint32_t bytes = 0, end = 0;
    (void)state;
    start();
    struct dk_buf *buf = dk_buf_alloc(sizeof whole, 0);
    memcpy(buf->data, payload, sizeof whole);
    for (int i = 0; i < 8; i++) {
        pieces[i] = (struct dk_tx_piece){.data = buf->data + bytes, .len = lens[i], .buf = buf};
        bytes += lens[i];
    }
    assert_int_equal(dk_udp_send(sock.sock, &families[0].peer, pieces, 8, kit.now), 0);
    do {
        kit_expect_ip(&kit, &sent);
        memcpy(whole + end, sent.data, sent.len);
        end += sent.len;
    } while (sent.more);
    assert_int_equal(end, 8 + bytes);
    assert_memory_equal(whole + 8, payload, bytes);
    dk_buf_put(buf);
    kit_close(&kit);
}

static void test_frag_out_that_fits_is_whole_and_has_df(void **state)
{
    struct kit_sent sent;
    (void)state;
    start();
    assert_int_equal(kit_send(&kit, &sock, &families[0].peer, payload, 1472), 0);
    kit_expect_ip(&kit, &sent);
    assert_true(!sent.fragment && sent.dont_fragment && sent.id == 0);
    assert_int_equal(dk_udp_set(sock.sock, DK_UDP_DONT_FRAGMENT, 1), 0);
    assert_int_equal(kit_send(&kit, &sock, &families[0].peer, payload, 1473), -EMSGSIZE);
    kit_expect_silence(&kit);
    kit_close(&kit);
}

static void test_frag_out_without_room_goes_on_where_it_was(void **state)
{
    struct kit_sent sent;
    (void)state;
    start();
    const struct dk_endpoint *to = &families[0].peer;
    kit.room = 3;
    assert_int_equal(kit_send(&kit, &sock, to, payload, 10000), 0);
    assert_int_equal(kit_send(&kit, &sock, to, "late", 4), -EAGAIN);
    kit.room = UINT32_MAX;
    dk_net_tx_room(kit.net, kit.now);
    assert_int_equal(kit_send(&kit, &sock, to, "late", 4), 0);
    uint32_t end = 0;
    do {
        kit_expect_ip(&kit, &sent);
        assert_int_equal(sent.offset, end);
        end += sent.len;
    } while (sent.more);
    assert_int_equal(end, 10008);
    kit_expect_udp(&kit, to, "late", 4);
    kit_close(&kit);
}

/* RFC 7739: neither a counter that all see, nor the same for two destinations. */
static void test_frag_ids_of_two_destinations_differ(void **state)
{
    struct kit_sent a, b;
    (void)state;
    start();
    const struct dk_endpoint other = {ip6("fd00::fe"), 9};
    kit_send(&kit, &sock, &families[1].peer, payload, 2000);
    kit_expect_ip(&kit, &a);
    kit_next(&kit);
    kit_send(&kit, &sock, &other, payload, 2000);
    kit_expect_ip(&kit, &b);
    kit_next(&kit);
    assert_true((b.id > a.id ? b.id - a.id : a.id - b.id) > 16);
    kit_close(&kit);
}

static void test_frag_out_finishes_an_offloaded_checksum(void **state)
{
    static uint8_t whole[4000];
    struct kit_sent sent;
    (void)state;
    kit_init(&kit);
    kit.config.device_caps = 1; /* DK_NETDEV_TX_CHECKSUM */
    kit_start(&kit);
    const struct dk_endpoint to = {ip4(10, 0, 0, 2), 9};
    dk_net_add_neighbour(kit.net, &to.ip, &kit_peer_mac);
    kit_pass(&kit, 60 * S);
    kit_forget(&kit);
    kit_sock_open(&kit, &sock, ip4(10, 0, 0, 1), 7);
    kit_send(&kit, &sock, &to, payload, 3001);
    uint32_t end = 0;
    do {
        assert_int_equal(kit.frames[kit.read].tx.checksum_start, 0);
        kit_expect_ip(&kit, &sent);
        memcpy(whole + end, sent.data, sent.len);
        end += sent.len;
    } while (sent.more);
    const struct dk_endpoint us = {ip4(10, 0, 0, 1), 7};
    static uint8_t expected[4000];
    assert_int_equal(kit_put_udp(expected, &us, &to, payload, 3001), end);
    assert_memory_equal(whole, expected, end);
    kit_close(&kit);
}

int main(void)
{
    alarm(120);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reass_any_order_makes_the_packet_whole),
        cmocka_unit_test(test_reass_largest_packet_is_whole),
        cmocka_unit_test(test_reass_overlap_drops_the_packet),
        cmocka_unit_test(test_reass_duplicate_is_no_overlap_but_other_bytes_are),
        cmocka_unit_test(test_reass_two_ends_drop_the_packet),
        cmocka_unit_test(test_reass_congestion_of_any_fragment_is_kept),
        cmocka_unit_test(test_reass_timeout_is_told_where_the_first_came),
        cmocka_unit_test(test_reass_flood_is_bounded),
        cmocka_unit_test(test_reass_flood_of_one_source_spares_others),
        cmocka_unit_test(test_reass_number_of_fragments_is_bounded),
        cmocka_unit_test(test_reass_tiny_and_empty_fragments_are_dropped),
        cmocka_unit_test(test_reass_atomic_fragment_is_a_packet_by_itself),
        cmocka_unit_test(test_reass_random_cuts_and_orders_are_whole),
        cmocka_unit_test(test_frag_out_fits_the_mtu_and_is_whole),
        cmocka_unit_test(test_frag_out_of_many_pieces_is_whole),
        cmocka_unit_test(test_frag_out_that_fits_is_whole_and_has_df),
        cmocka_unit_test(test_frag_out_without_room_goes_on_where_it_was),
        cmocka_unit_test(test_frag_ids_of_two_destinations_differ),
        cmocka_unit_test(test_frag_out_finishes_an_offloaded_checksum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
