/* SPDX-License-Identifier: MIT */
/* Several stacks on one link with the same addresses: packets and news between them. */
#include "net_kit.h"

#include "base/bytes.h"
#include "net/neigh.h"
#include "net/tcp/tcp.h"
#include "net/wire/tcp.h"

#include <string.h>

#define STACKS   3u
#define WAIT_MAX 64u

static struct kit kits[STACKS];

/* What is on its way to a stack. */
static struct {
    uint32_t to;
    bool is_news;
    struct dk_net_passed passed;
    struct dk_net_news news;
} waits[WAIT_MAX];
static uint32_t num_waits;
static bool is_full;      /* nobody takes a packet */
static uint32_t owner_is; /* of all flows, as the device says */

static uint32_t index_of(const void *arg)
{
    return (uint32_t)((const struct kit *)arg - kits);
}

static int pass(void *arg, const struct dk_net_passed *passed)
{
    const uint32_t to = (index_of(arg) + 1) % STACKS;
    if (to == passed->origin)
        return -ENOENT;
    if (is_full)
        return -ENOBUFS;
    assert_true(num_waits < WAIT_MAX);
    waits[num_waits].to = to;
    waits[num_waits].is_news = false;
    waits[num_waits++].passed = *passed;
    return 0;
}

static void tell(void *arg, const struct dk_net_news *news)
{
    for (uint32_t i = 0; i < STACKS; i++) {
        if (i == index_of(arg))
            continue;
        assert_true(num_waits < WAIT_MAX);
        waits[num_waits].to = i;
        waits[num_waits].is_news = true;
        waits[num_waits++].news = *news;
    }
}

static bool comes_here(void *arg, const struct dk_flow *flow)
{
    (void)flow;
    return index_of(arg) == owner_is;
}

/* As a device has it that spreads by remote ports, say. */
static bool spreads(void *arg, const struct dk_flow *flow)
{
    return (flow->local_port ^ flow->remote_port) / 4 % STACKS == index_of(arg);
}

/* What is passed meanwhile, too. */
static void carry(void)
{
    for (uint32_t i = 0; i < num_waits; i++) {
        struct kit *kit = &kits[waits[i].to];
        if (waits[i].is_news) {
            dk_net_told(kit->net, &waits[i].news, kit->now);
        } else {
            dk_net_input_passed(kit->net, &waits[i].passed, kit->now);
            dk_buf_put(waits[i].passed.rx.buf);
        }
        kit_pass(kit, 0);
    }
    num_waits = 0;
}

static void open_all(bool (*steers)(void *arg, const struct dk_flow *flow), bool knows_peer)
{
    const struct dk_ip peer = ip4(10, 0, 0, 2);
    num_waits = 0;
    is_full = false;
    for (uint32_t i = 0; i < STACKS; i++) {
        kit_init(&kits[i]);
        kits[i].config.others = (struct dk_net_others){.worker = (uint16_t)i,
                                                       .workers = STACKS,
                                                       .comes_here = steers,
                                                       .pass = pass,
                                                       .tell = tell};
        kits[i].config.secret[0] = (uint8_t)i;
        kit_start(&kits[i]);
        if (knows_peer)
            assert_int_equal(dk_net_add_neighbour(kits[i].net, &peer, &kit_peer_mac), 0);
        kit_pass(&kits[i], 60 * S);
        kit_forget(&kits[i]);
    }
    carry();
}

static void close_all(void)
{
    assert_int_equal(num_waits, 0);
    for (uint32_t i = STACKS; i-- > 0;)
        kit_close(&kits[i]);
}

static const struct dk_endpoint us = {{.bytes = {10, 0, 0, 1}, .version = 4}, 80};
static const struct dk_endpoint peer = {{.bytes = {10, 0, 0, 2}, .version = 4}, 4000};

static void segment(struct kit *kit, uint8_t flags, uint32_t seq, uint32_t ack)
{
    uint8_t packet[100], bytes[40];
    const struct dk_tcp_header h = {.src_port = peer.port,
                                    .dst_port = us.port,
                                    .seq = seq,
                                    .ack = ack,
                                    .flags = flags,
                                    .header_len = 20,
                                    .window = 1000};
    const uint32_t len = (uint32_t)dk_tcp_header_emit(&h, bytes);
    uint32_t sum = dk_ip_pseudo_sum(&peer.ip, &us.ip, DK_IP_TCP, len);
    dk_put_be16(bytes + 16, 0);
    dk_put_be16(bytes + 16, dk_checksum_finish(dk_checksum_add(sum, bytes, len)));
    const struct kit_ip ip = {.src = peer.ip, .dst = us.ip, .protocol = DK_IP_TCP};
    kit_packet(kit, packet, kit_put_ip(packet, &ip, bytes, len), NULL);
    kit_pass(kit, 0);
}

static struct dk_tcp_header expect_segment(struct kit *kit, uint8_t flags)
{
    struct kit_sent sent;
    struct dk_tcp_header h;
    kit_expect_ip(kit, &sent);
    assert_int_equal(sent.protocol, DK_IP_TCP);
    assert_int_equal(dk_tcp_header_parse(sent.data, sent.len, &h), DK_WIRE_OK);
    assert_int_equal(h.flags, flags);
    return h;
}

static void silence(void)
{
    for (uint32_t i = 0; i < STACKS; i++)
        kit_expect_silence(&kits[i]);
}

static void acceptable(struct dk_tcp_listener *listener, void *owner)
{
    (void)listener;
    ++*(uint32_t *)owner;
}

static const struct dk_tcp_listener_ops listener_ops = {.acceptable = acceptable};

static struct dk_tcp_listener *listen_at(struct kit *kit, uint32_t *accepts)
{
    struct dk_tcp_listener *l;
    *accepts = 0;
    assert_int_equal(dk_tcp_listen(dk_net_tcp(kit->net), &l, &us, 8, &listener_ops, accepts), 0);
    return l;
}

/* Of three stacks the third serves a port; its connection's segments come to the first. */
static void test_segment_goes_round_until_a_stack_has_its_connection(void **state)
{
    (void)state;
    uint32_t accepts;
    open_all(NULL, true);
    listen_at(&kits[2], &accepts);
    segment(&kits[0], DK_TCP_SYN, 100, 0);
    silence();
    carry();
    const struct dk_tcp_header answer = expect_segment(&kits[2], DK_TCP_SYN | DK_TCP_ACK);
    segment(&kits[0], DK_TCP_ACK, 101, answer.seq + 1);
    silence();
    carry();
    silence();
    assert_int_equal(accepts, 1);
    assert_int_equal(kit_stat(&kits[0], "workers.passed"), 2);
    assert_int_equal(kit_stat(&kits[1], "workers.taken"), 0);
    assert_int_equal(kit_stat(&kits[2], "workers.taken"), 2);
    close_all();
}

/* A stack that serves the port too does not reset a connection of another's. */
static void test_segment_passes_a_listener_that_has_not_its_connection(void **state)
{
    (void)state;
    uint32_t accepts[2];
    open_all(NULL, true);
    listen_at(&kits[0], &accepts[0]);
    segment(&kits[0], DK_TCP_SYN, 100, 0);
    const struct dk_tcp_header answer = expect_segment(&kits[0], DK_TCP_SYN | DK_TCP_ACK);
    listen_at(&kits[1], &accepts[1]);
    segment(&kits[1], DK_TCP_ACK, 101, answer.seq + 1);
    carry();
    silence();
    assert_int_equal(accepts[0], 1);
    assert_int_equal(accepts[1], 0);
    segment(&kits[1], DK_TCP_RST, 101, 0);
    carry();
    segment(&kits[0], DK_TCP_ACK, 101, answer.seq + 1); /* it ended: there is nobody any more */
    carry();
    expect_segment(&kits[2], DK_TCP_RST);
    silence();
    close_all();
}

static void test_segment_for_nobody_is_reset_once_by_the_last(void **state)
{
    (void)state;
    open_all(NULL, true);
    segment(&kits[1], DK_TCP_SYN, 100, 0);
    carry();
    expect_segment(&kits[0], DK_TCP_RST | DK_TCP_ACK);
    silence();
    close_all();
}

static void test_packet_without_room_to_pass_is_dropped_and_counted(void **state)
{
    (void)state;
    open_all(NULL, true);
    is_full = true;
    segment(&kits[1], DK_TCP_SYN, 100, 0);
    silence(); /* not reset: another may have its connection */
    assert_int_equal(kit_stat(&kits[1], "workers.dropped"), 1);
    assert_int_equal(kit_stat(&kits[1], "workers.passed"), 0);
    close_all();
}

static void test_datagram_goes_round_until_a_stack_has_its_socket(void **state)
{
    (void)state;
    struct kit_sock s = {0};
    open_all(NULL, true);
    kit_sock_open(&kits[2], &s, us.ip, us.port);
    kit_udp(&kits[1], &peer, &us, "hello", 5);
    carry();
    kit_expect_recv(&s, "hello", 5);
    kit_udp(&kits[0], &peer, &us, "again", 5);
    carry();
    kit_expect_recv(&s, "again", 5);
    silence();
    dk_udp_close(s.sock);
    close_all();
}

/* Each stack has a socket for it: the device's word decides whose, when it is whole. */
static void test_datagram_of_fragments_goes_to_the_stack_of_its_flow(void **state)
{
    (void)state;
    struct kit_sock s[STACKS] = {0};
    uint8_t datagram[KIT_PACKET_MAX], packet[2000], payload[1600];
    open_all(comes_here, true);
    owner_is = 2;
    for (uint32_t i = 0; i < STACKS; i++)
        kit_sock_open(&kits[i], &s[i], us.ip, us.port);
    memset(payload, 7, sizeof payload);
    const uint32_t bytes = kit_put_udp(datagram, &peer, &us, payload, sizeof payload);
    struct kit_ip ip = {.src = peer.ip, .dst = us.ip, .protocol = DK_IP_UDP, .id = 9, .more = true};
    kit_packet(&kits[0], packet, kit_put_ip(packet, &ip, datagram, 1200), NULL);
    ip.more = false;
    ip.offset = 1200;
    kit_packet(&kits[0], packet, kit_put_ip(packet, &ip, datagram + 1200, bytes - 1200), NULL);
    carry();
    kit_expect_recv(&s[2], payload, sizeof payload);
    assert_int_equal(s[0].readable + s[1].readable, 0);
    for (uint32_t i = 0; i < STACKS; i++)
        dk_udp_close(s[i].sock);
    close_all();
}

static void test_neighbour_that_answers_another_stack_is_known_to_who_asked(void **state)
{
    (void)state;
    struct kit_sock s = {0};
    struct dk_arp arp;
    open_all(NULL, false);
    kit_sock_open(&kits[1], &s, us.ip, 7);
    assert_int_equal(kit_send(&kits[1], &s, &peer, "x", 1), 0);
    kit_expect_arp(&kits[1], DK_ARP_REQUEST, &arp);
    kit_arp(&kits[0],
            &(struct dk_arp){.operation = DK_ARP_REPLY,
                             .sender_mac = kit_peer_mac,
                             .sender_ip = peer.ip,
                             .target_mac = kit_mac,
                             .target_ip = us.ip},
            NULL);
    kit_expect_silence(&kits[1]);
    carry();
    kit_expect_udp(&kits[1], &peer, "x", 1);
    assert_int_equal(dk_neigh_find(kits[1].net, &peer.ip)->state, DK_NEIGH_REACHABLE);
    assert_null(dk_neigh_find(kits[2].net, &peer.ip)); /* which has no use for it */
    dk_udp_close(s.sock);
    close_all();
}

static void test_neighbour_advertisement_to_another_stack_is_known_to_who_asked(void **state)
{
    (void)state;
    struct kit_sock s = {0};
    struct dk_nd nd;
    struct kit_sent sent;
    const struct dk_endpoint there = {ip6("fd00::2"), 9};
    const struct dk_ip here = ip6("fd00::1");
    open_all(NULL, false);
    kit_sock_open(&kits[1], &s, here, 7);
    assert_int_equal(kit_send(&kits[1], &s, &there, "x", 1), 0);
    kit_expect_nd(&kits[1], DK_ICMP6_NEIGHBOR_SOLICIT, &nd, &sent);
    kit_nd(&kits[2], &there.ip, &here, 255,
           &(struct dk_nd){.type = DK_ICMP6_NEIGHBOR_ADVERT,
                           .target = there.ip,
                           .solicited = true,
                           .override = true,
                           .has_target_mac = true,
                           .target_mac = kit_peer_mac});
    carry();
    kit_expect_udp(&kits[1], &there, "x", 1);
    dk_udp_close(s.sock);
    close_all();
}

static void test_address_that_another_host_has_is_lost_to_all(void **state)
{
    (void)state;
    num_waits = 0;
    for (uint32_t i = 0; i < STACKS; i++) {
        kit_init(&kits[i]);
        kits[i].config.skip_dad = false;
        kits[i].config.others = (struct dk_net_others){
            .worker = (uint16_t)i, .workers = STACKS, .pass = pass, .tell = tell};
        kit_start(&kits[i]);
    }
    kit_arp(&kits[1],
            &(struct dk_arp){.operation = DK_ARP_REPLY,
                             .sender_mac = kit_peer_mac,
                             .sender_ip = us.ip,
                             .target_mac = kit_mac},
            NULL);
    for (uint32_t i = 0; i < STACKS; i++)
        assert_int_equal(dk_net_address_state(kits[i].net, 0),
                         i == 1 ? DK_NET_ADDRESS_DUPLICATE : DK_NET_ADDRESS_TENTATIVE);
    carry();
    for (uint32_t i = 0; i < STACKS; i++)
        assert_int_equal(dk_net_address_state(kits[i].net, 0), DK_NET_ADDRESS_DUPLICATE);
    close_all();
}

/* Ports that are chosen without a remote: no two stacks have one in common. */
static void test_ports_that_stacks_choose_are_their_own(void **state)
{
    (void)state;
    open_all(spreads, true);
    for (uint32_t i = 0; i < STACKS; i++) {
        for (uint32_t n = 0; n < 100; n++) {
            struct dk_endpoint local = {us.ip, 0};
            assert_int_equal(dk_tcp_bind(dk_net_tcp(kits[i].net), &local, 0), 0);
            assert_int_equal(local.port % STACKS, i);
        }
    }
    close_all();
}

/* With a remote: their packets come to the stack that chose. */
static void test_ports_of_connections_come_to_the_stack_that_opens_them(void **state)
{
    (void)state;
    open_all(spreads, true);
    for (uint32_t i = 0; i < STACKS; i++) {
        for (uint32_t n = 0; n < 20; n++) {
            struct dk_tcp_conn *conn;
            struct kit_sock s = {0};
            static const struct dk_tcp_ops ops = {0};
            struct kit_sent sent;
            kit_sock_open(&kits[i], &s, (struct dk_ip){.version = 0}, 0);
            assert_int_equal(dk_udp_connect(s.sock, &peer), 0);
            assert_int_equal(kit_send(&kits[i], &s, NULL, "x", 1), 0);
            assert_int_equal(dk_tcp_connect(dk_net_tcp(kits[i].net), &conn,
                                            &(struct dk_endpoint){us.ip, 0}, &peer, NULL, &ops,
                                            NULL, kits[i].now),
                             0);
            kit_pass(&kits[i], 0);
            for (uint32_t k = 0; k < 2; k++) {
                kit_expect_ip(&kits[i], &sent);
                const struct dk_flow flow = {.local_port = dk_get_be16(sent.data),
                                             .remote_port = peer.port};
                if (sent.protocol == DK_IP_TCP)
                    assert_true(spreads(&kits[i], &flow));
                else
                    assert_int_equal(flow.local_port % STACKS, i); /* bound before */
            }
            dk_udp_close(s.sock);
            kit_forget(&kits[i]);
        }
    }
    close_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_segment_goes_round_until_a_stack_has_its_connection),
        cmocka_unit_test(test_segment_passes_a_listener_that_has_not_its_connection),
        cmocka_unit_test(test_segment_for_nobody_is_reset_once_by_the_last),
        cmocka_unit_test(test_packet_without_room_to_pass_is_dropped_and_counted),
        cmocka_unit_test(test_datagram_goes_round_until_a_stack_has_its_socket),
        cmocka_unit_test(test_datagram_of_fragments_goes_to_the_stack_of_its_flow),
        cmocka_unit_test(test_neighbour_that_answers_another_stack_is_known_to_who_asked),
        cmocka_unit_test(test_neighbour_advertisement_to_another_stack_is_known_to_who_asked),
        cmocka_unit_test(test_address_that_another_host_has_is_lost_to_all),
        cmocka_unit_test(test_ports_that_stacks_choose_are_their_own),
        cmocka_unit_test(test_ports_of_connections_come_to_the_stack_that_opens_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
