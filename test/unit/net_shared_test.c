/* SPDX-License-Identifier: MIT */
/* A stack beside another one, as the kernel's, with the same addresses: neighbours that somebody
 * else asks for, and ports that somebody else has. */
#include "net_kit.h"

#include "net/route.h"
#include "net/tcp/tcp.h"

#include <errno.h>
#include <string.h>

static struct kit kit;

static const struct dk_endpoint peer4 = {{.bytes = {10, 0, 0, 2}, .version = 4}, 9};

/* What the stack asked for. */
static struct {
    uint32_t resolved, confirmed, claims;
    struct dk_ip ip;
    struct dk_mac mac;
    uint16_t taken_below; /* ports that somebody else has */
    uint16_t taken;       /* and this one */
    int error;            /* what claim fails with */
    struct dk_endpoint local;
    uint8_t protocol;
} asked;

static void resolve(void *arg, const struct dk_ip *ip, const struct dk_mac *mac)
{
    assert_ptr_equal(arg, kit.config.emit_arg);
    asked.ip = *ip;
    asked.resolved += mac == NULL;
    asked.confirmed += mac != NULL;
    if (mac)
        asked.mac = *mac;
}

static int claim(void *arg, uint8_t protocol, const struct dk_endpoint *local)
{
    assert_ptr_equal(arg, kit.config.emit_arg);
    asked.claims++;
    asked.local = *local;
    asked.protocol = protocol;
    if (asked.error)
        return asked.error;
    return local->port < asked.taken_below || local->port == asked.taken ? -EADDRINUSE : 0;
}

static void share(void)
{
    kit.config.skip_dad = true;
    kit.config.resolve = resolve;
    kit.config.claim = claim;
    kit_start(&kit);
    kit_pass(&kit, 60 * S);
    kit_forget(&kit);
}

static void start(void)
{
    memset(&asked, 0, sizeof asked);
    kit_init(&kit);
    share();
}

static void send_to(struct kit_sock *s, const struct dk_endpoint *to, int error)
{
    assert_int_equal(kit_send(&kit, s, to, "hello", 5), error);
}

static void test_shared_neighbour_is_resolved_by_somebody_else(void **state)
{
    const struct dk_endpoint peers[] = {peer4, {ip6("fd00::2"), 9}};
    const struct dk_ip ours[] = {ip4(10, 0, 0, 1), ip6("fd00::1")};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct kit_sock s;
        start();
        kit_sock_open(&kit, &s, ours[i], 7);
        send_to(&s, &peers[i], 0);
        send_to(&s, &peers[i], 0);
        kit_expect_silence(&kit); /* no ARP, no solicitation */
        assert_true(asked.resolved == 1 && dk_ip_equal(&asked.ip, &peers[i].ip));
        dk_net_tell_neighbour(kit.net, &peers[i].ip, &kit_peer_mac, kit.now);
        kit_expect_udp(&kit, &peers[i], "hello", 5);
        kit_expect_udp(&kit, &peers[i], "hello", 5);
        send_to(&s, &peers[i], 0);
        kit_expect_udp(&kit, &peers[i], "hello", 5);
        assert_int_equal(asked.resolved, 1);
        kit_close(&kit);
    }
}

static void test_shared_neighbour_that_nobody_finds_fails(void **state)
{
    struct kit_sock s;
    (void)state;
    start();
    kit_sock_open(&kit, &s, ip4(10, 0, 0, 1), 7);
    send_to(&s, &peer4, 0);
    kit_pass(&kit, 3500 * MS);
    assert_int_equal(asked.resolved, 3);
    send_to(&s, &peer4, -EHOSTUNREACH);
    kit_expect_silence(&kit);
    kit_close(&kit);
}

static void test_shared_neighbour_is_confirmed_changed_and_lost(void **state)
{
    const struct dk_mac other = {{2, 0, 0, 0, 0, 99}};
    struct kit_sent sent;
    struct kit_sock s;
    (void)state;
    start();
    kit_sock_open(&kit, &s, ip4(10, 0, 0, 1), 7);
    dk_net_tell_neighbour(kit.net, &peer4.ip, &kit_peer_mac, kit.now); /* before it is needed */
    send_to(&s, &peer4, 0);
    kit_expect_udp(&kit, &peer4, "hello", 5);
    assert_true(asked.resolved == 0 && asked.confirmed == 0);
    kit_pass(&kit, 6 * S); /* told of by nobody who asked: it is made sure of */
    assert_true(asked.confirmed >= 1 && dk_mac_equal(&asked.mac, &kit_peer_mac));
    dk_net_tell_neighbour(kit.net, &peer4.ip, &other, kit.now);
    const uint32_t before = asked.confirmed;
    send_to(&s, &peer4, 0);
    kit_expect_ip(&kit, &sent);
    assert_true(dk_mac_equal(&sent.eth.dst, &other));
    kit_pass(&kit, 2 * S);
    assert_int_equal(asked.confirmed, before);
    dk_net_tell_neighbour(kit.net, &peer4.ip, NULL, kit.now);
    send_to(&s, &peer4, 0);
    kit_expect_silence(&kit);
    assert_int_equal(asked.resolved, 1);
    dk_net_tell_neighbour(kit.net, &peer4.ip, NULL, kit.now); /* not yet: it waits on */
    dk_net_tell_neighbour(kit.net, &peer4.ip, &other, kit.now);
    kit_expect_udp(&kit, &peer4, "hello", 5);
    kit_close(&kit);
}

static void open_udp(struct kit_sock *s, uint16_t port, int error)
{
    const struct dk_endpoint local = {ip4(10, 0, 0, 1), port};
    memset(s, 0, sizeof *s);
    assert_int_equal(dk_udp_open(kit.net, NULL, s, &s->sock), 0);
    assert_int_equal(dk_udp_bind(s->sock, &local), error);
}

static void test_shared_udp_port_of_somebody_else_is_in_use(void **state)
{
    struct kit_sock s;
    uint64_t used[DK_NET_PORT_WORDS] = {0};
    (void)state;
    start();
    asked.taken = 53;
    open_udp(&s, 53, -EADDRINUSE);
    assert_true(asked.protocol == DK_IP_UDP && asked.local.port == 53);
    dk_udp_close(s.sock);
    asked.error = -EMFILE;
    open_udp(&s, 54, -EMFILE);
    dk_udp_close(s.sock);
    open_udp(&s, 0, -EMFILE);
    dk_udp_close(s.sock);
    asked.error = 0;
    open_udp(&s, 54, 0);
    dk_net_ports_in_use(kit.net, DK_IP_UDP, used);
    assert_true(used[0] == UINT64_C(1) << 54);
    dk_udp_close(s.sock);
    memset(used, 0, sizeof used);
    dk_net_ports_in_use(kit.net, DK_IP_UDP, used);
    assert_true(used[0] == 0);
    kit_close(&kit);
}

static void test_shared_udp_port_chosen_is_one_that_nobody_has(void **state)
{
    struct kit_sock s;
    (void)state;
    start();
    asked.taken_below = 60000; /* of 32768 to 65535 */
    for (int i = 0; i < 20; i++) {
        open_udp(&s, 0, 0);
        assert_true(asked.local.port >= 60000);
        dk_udp_close(s.sock);
    }
    assert_true(asked.claims > 20);
    kit_close(&kit);
}

static void test_shared_tcp_ports(void **state)
{
    struct dk_tcp *tcp;
    struct dk_tcp_conn *conn;
    struct dk_endpoint local = {ip4(10, 0, 0, 1), 80};
    const struct dk_endpoint to = {ip4(10, 0, 0, 2), 80}, from = {ip4(10, 0, 0, 1), 0};
    uint64_t used[DK_NET_PORT_WORDS] = {0};
    static const struct dk_tcp_ops no_ops;
    (void)state;
    start();
    tcp = dk_net_tcp(kit.net);
    asked.taken = 80;
    assert_int_equal(dk_tcp_bind(tcp, &local, 0), -EADDRINUSE);
    assert_true(asked.protocol == DK_IP_TCP && dk_ip_equal(&asked.local.ip, &local.ip));
    local.port = 81;
    assert_int_equal(dk_tcp_bind(tcp, &local, 0), 0);
    asked.taken_below = 60000;
    struct dk_endpoint any = {ip4(10, 0, 0, 1), 0};
    assert_int_equal(dk_tcp_bind(tcp, &any, 0), 0);
    assert_true(any.port >= 60000);
    assert_int_equal(dk_tcp_connect(tcp, &conn, &from, &to, NULL, &no_ops, NULL, kit.now), 0);
    assert_true(asked.local.port >= 60000 && asked.local.port != any.port);
    dk_net_ports_in_use(kit.net, DK_IP_TCP, used);
    assert_true(used[1] == UINT64_C(1) << (81 - 64));
    assert_true(used[any.port / 64] >> any.port % 64 & 1);
    assert_true(used[asked.local.port / 64] >> asked.local.port % 64 & 1);
    asked.error = -EMFILE;
    assert_int_equal(dk_tcp_connect(tcp, &conn, &from, &to, NULL, &no_ops, NULL, kit.now), -EMFILE);
    dk_tcp_unbind(tcp, &local);
    dk_tcp_unbind(tcp, &any);
    kit_close(&kit);
}

static const struct dk_net_address another = {{.bytes = {10, 1, 0, 1}, .version = 4}, 24};
static const struct dk_endpoint another_peer = {{.bytes = {10, 1, 0, 2}, .version = 4}, 9};

static void test_shared_address_that_came_and_went(void **state)
{
    struct kit_sent sent;
    struct kit_sock s;
    (void)state;
    start();
    kit_sock_open(&kit, &s, (struct dk_ip){.version = 4}, 7);
    assert_int_equal(dk_net_tell_address(kit.net, &another, false, kit.now), 0);
    assert_int_equal(dk_net_tell_address(kit.net, &another, false, kit.now), 0);
    kit_forget(&kit);
    send_to(&s, &another_peer, 0);
    assert_true(asked.resolved == 1 && dk_ip_equal(&asked.ip, &another_peer.ip)); /* no gateway */
    dk_net_tell_neighbour(kit.net, &another_peer.ip, &kit_peer_mac, kit.now);
    kit_expect_ip(&kit, &sent);
    assert_true(dk_ip_equal(&sent.src, &another.ip));
    const struct dk_endpoint here = {another.ip, 7};
    kit_udp(&kit, &another_peer, &here, "in", 2);
    kit_expect_recv(&s, "in", 2);
    assert_int_equal(dk_net_tell_address(kit.net, &another, true, kit.now), 0);
    assert_int_equal(dk_net_tell_address(kit.net, &another, true, kit.now), 0);
    const uint64_t not_ours = kit_stat(&kit, "ip4.not_ours");
    kit_udp(&kit, &another_peer, &here, "in", 2);
    assert_int_equal(kit_stat(&kit, "ip4.not_ours"), not_ours + 1);
    send_to(&s, &another_peer, 0); /* by the gateway, from the address that is left */
    dk_net_tell_neighbour(kit.net, &asked.ip, &kit_peer_mac, kit.now);
    kit_expect_ip(&kit, &sent);
    assert_true(dk_ip_equal(&sent.src, &(struct dk_ip){.bytes = {10, 0, 0, 1}, .version = 4}));
    dk_udp_close(s.sock);
    kit_close(&kit);
}

static int ended_with;

static void on_connected(struct dk_tcp_conn *conn, void *owner, int err)
{
    (void)conn, (void)owner;
    ended_with = err;
}

static void test_shared_connection_ends_with_its_address(void **state)
{
    static const struct dk_tcp_ops conn_ops = {.connected = on_connected};
    const struct dk_endpoint from[] = {{another.ip, 0}, {ip4(10, 0, 0, 1), 0}};
    struct dk_tcp_conn *conns[2];
    (void)state;
    start();
    assert_int_equal(dk_net_tell_address(kit.net, &another, false, kit.now), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(dk_tcp_connect(dk_net_tcp(kit.net), &conns[i], &from[i], &another_peer,
                                        NULL, &conn_ops, NULL, kit.now),
                         0);
    assert_int_equal(dk_net_tell_address(kit.net, &another, true, kit.now), 0);
    ended_with = 0;
    dk_net_advance(kit.net, kit.now);
    assert_int_equal(ended_with, -EADDRNOTAVAIL);
    ended_with = 0;
    kit_pass(&kit, 1 * S); /* the other goes on */
    assert_int_equal(ended_with, 0);
    kit_close(&kit);
}

/* A route to 10.7.0.0/16. */
static struct dk_net_route to_net7(uint8_t gateway, uint32_t metric)
{
    return (struct dk_net_route){.prefix = {.bytes = {10, 7}, .version = 4},
                                 .prefix_len = 16,
                                 .gateway = ip4(10, 0, 0, gateway),
                                 .metric = metric};
}

static void test_shared_route_that_came_and_went(void **state)
{
    const struct dk_net_route route = to_net7(9, 0);
    struct dk_net_route bad = route;
    bad.gateway = ip4(10, 0, 0, 1); /* ours */
    const struct dk_endpoint to = {ip4(10, 7, 1, 1), 9};
    struct kit_sock s;
    (void)state;
    start();
    kit_sock_open(&kit, &s, ip4(10, 0, 0, 1), 7);
    send_to(&s, &to, 0);
    assert_true(dk_ip_equal(&asked.ip, &(struct dk_ip){.bytes = {10, 0, 0, 254}, .version = 4}));
    assert_int_equal(dk_net_tell_route(kit.net, &route, false), 0);
    assert_int_equal(dk_net_tell_route(kit.net, &route, false), 0);
    assert_int_equal(dk_net_tell_route(kit.net, &bad, false), -EINVAL);
    send_to(&s, &to, 0);
    assert_true(dk_ip_equal(&asked.ip, &route.gateway));
    dk_net_tell_neighbour(kit.net, &route.gateway, &kit_peer_mac, kit.now);
    kit_expect_udp(&kit, &to, "hello", 5);
    assert_int_equal(dk_net_tell_route(kit.net, &route, true), 0);
    send_to(&s, &to, 0); /* by the gateway of before, which is not found yet */
    kit_expect_silence(&kit);
    dk_udp_close(s.sock);
    kit_close(&kit);
}

/* As on a host with an address of /32: its gateways are in no network of its addresses. */
static void test_shared_gateway_beside_all_networks(void **state)
{
    static const struct dk_ip prefix = {.version = 4};
    const struct dk_net_route given = {prefix, 0, .gateway = ip4(172, 31, 1, 1)};
    const struct dk_endpoint to = {ip4(192, 0, 2, 1), 9};
    struct dk_net_route told = to_net7(0, 0);
    struct kit_sock s;
    (void)state;
    memset(&asked, 0, sizeof asked);
    kit_init(&kit);
    kit.config.addresses[0].prefix_len = 32;
    kit.config.routes[0] = given;
    kit.config.num_routes = 1;
    share();
    kit_sock_open(&kit, &s, ip4(10, 0, 0, 1), 7);
    send_to(&s, &to, 0);
    assert_true(dk_ip_equal(&asked.ip, &given.gateway));
    dk_net_tell_neighbour(kit.net, &given.gateway, &kit_peer_mac, kit.now);
    kit_expect_udp(&kit, &to, "hello", 5);
    told.gateway = ip4(172, 31, 2, 2);
    assert_int_equal(dk_net_tell_route(kit.net, &told, false), 0);
    send_to(&s, &(struct dk_endpoint){ip4(10, 7, 1, 1), 9}, 0);
    assert_true(dk_ip_equal(&asked.ip, &told.gateway));
    dk_udp_close(s.sock);
    kit_close(&kit);
}

static void expect_way(uint8_t gateway)
{
    const struct dk_ip to = ip4(10, 7, 1, 1), by = ip4(10, 0, 0, gateway);
    struct dk_path path;
    assert_int_equal(dk_route_find(kit.net, &to, &path), 0);
    assert_true(dk_ip_equal(&path.next_hop, &by));
}

/* Of routes of a length the least metric; of those the first. */
static void test_shared_route_of_the_least_metric(void **state)
{
    const struct dk_net_route far = to_net7(9, 20), near = to_net7(8, 10), late = to_net7(6, 10);
    const struct dk_net_route nearer = to_net7(9, 5); /* a gateway once more */
    (void)state;
    start();
    assert_int_equal(dk_net_tell_route(kit.net, &far, false), 0);
    expect_way(9);
    assert_int_equal(dk_net_tell_route(kit.net, &near, false), 0);
    expect_way(8);
    assert_int_equal(dk_net_tell_route(kit.net, &late, false), 0);
    expect_way(8);
    assert_int_equal(dk_net_tell_route(kit.net, &nearer, false), 0);
    expect_way(9);
    assert_int_equal(dk_net_tell_route(kit.net, &nearer, true), 0);
    expect_way(8);
    assert_int_equal(dk_net_tell_route(kit.net, &near, true), 0);
    expect_way(6);
    assert_int_equal(dk_net_tell_route(kit.net, &late, true), 0);
    expect_way(9);
    kit_close(&kit);
}

static void test_shared_mtu_that_changed(void **state)
{
    static const uint8_t bytes[1200];
    struct kit_sent sent;
    struct kit_sock s;
    (void)state;
    start();
    kit_sock_open(&kit, &s, ip4(10, 0, 0, 1), 7);
    dk_net_tell_neighbour(kit.net, &peer4.ip, &kit_peer_mac, kit.now);
    assert_int_equal(kit_send(&kit, &s, &peer4, bytes, sizeof bytes), 0);
    kit_expect_udp(&kit, &peer4, bytes, sizeof bytes);
    dk_net_tell_mtu(kit.net, 700);
    assert_int_equal(kit_send(&kit, &s, &peer4, bytes, sizeof bytes), 0);
    kit_expect_ip(&kit, &sent);
    assert_true(sent.more && sent.len <= 680);
    kit_forget(&kit);
    dk_net_tell_mtu(kit.net, 1500);
    assert_int_equal(kit_send(&kit, &s, &peer4, bytes, sizeof bytes), 0);
    kit_expect_udp(&kit, &peer4, bytes, sizeof bytes);
    dk_udp_close(s.sock);
    kit_close(&kit);
}

static void expect_sent_by(struct kit_sock *s, const struct dk_mac *mac)
{
    struct kit_sent sent;
    send_to(s, &peer4, 0);
    kit_expect_ip(&kit, &sent);
    assert_true(dk_mac_equal(&sent.eth.src, mac) && dk_mac_equal(&sent.eth.dst, &kit_peer_mac));
}

static void expect_announced(const struct dk_mac *mac)
{
    struct dk_arp arp;
    struct dk_nd nd;
    struct kit_sent sent;
    kit_expect_arp(&kit, DK_ARP_REQUEST, &arp);
    assert_true(dk_ip_equal(&arp.sender_ip, &arp.target_ip) && dk_mac_equal(&arp.sender_mac, mac));
    for (uint32_t i = 1; i < kit.config.num_addresses; i++) {
        kit_expect_nd(&kit, DK_ICMP6_NEIGHBOR_ADVERT, &nd, &sent);
        assert_true(dk_ip_equal(&nd.target, &kit.config.addresses[i].ip) && nd.override);
        assert_true(dk_mac_equal(&nd.target_mac, mac) && !nd.solicited);
    }
    kit_expect_silence(&kit);
}

static void test_shared_link_address_that_changed(void **state)
{
    const struct dk_mac other = {{2, 0, 0, 0, 9, 9}};
    const struct dk_endpoint here = {ip4(10, 0, 0, 1), 7};
    struct dk_arp arp;
    struct kit_sock s;
    (void)state;
    start();
    kit_sock_open(&kit, &s, here.ip, here.port);
    dk_net_tell_neighbour(kit.net, &peer4.ip, &kit_peer_mac, kit.now);
    for (int i = 0; i < 2; i++) /* the second one by what is kept of the first */
        expect_sent_by(&s, &kit_mac);
    kit_udp(&kit, &peer4, &here, "in", 2);
    kit_expect_recv(&s, "in", 2);
    dk_net_tell_mac(kit.net, &kit_mac, kit.now); /* it is none */
    kit_expect_silence(&kit);
    dk_net_tell_mac(kit.net, &other, kit.now);
    expect_announced(&other);
    for (int i = 0; i < 2; i++)
        expect_sent_by(&s, &other);
    kit_pass(&kit, 2 * S); /* RFC 5227 section 3: twice */
    kit_expect_arp(&kit, DK_ARP_REQUEST, &arp);
    assert_true(dk_mac_equal(&arp.sender_mac, &other));
    kit.config.mac = other; /* frames are sent to */
    for (int i = 0; i < 2; i++) {
        kit_udp(&kit, &peer4, &here, "in", 2);
        kit_expect_recv(&s, "in", 2);
    }
    kit.config.mac = kit_mac;
    const uint64_t not_ours = kit_stat(&kit, "link.not_ours");
    kit_udp(&kit, &peer4, &here, "in", 2);
    assert_int_equal(kit_stat(&kit, "link.not_ours"), not_ours + 1);
    dk_udp_close(s.sock);
    kit_close(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared_neighbour_is_resolved_by_somebody_else),
        cmocka_unit_test(test_shared_neighbour_that_nobody_finds_fails),
        cmocka_unit_test(test_shared_neighbour_is_confirmed_changed_and_lost),
        cmocka_unit_test(test_shared_udp_port_of_somebody_else_is_in_use),
        cmocka_unit_test(test_shared_udp_port_chosen_is_one_that_nobody_has),
        cmocka_unit_test(test_shared_tcp_ports),
        cmocka_unit_test(test_shared_address_that_came_and_went),
        cmocka_unit_test(test_shared_connection_ends_with_its_address),
        cmocka_unit_test(test_shared_route_that_came_and_went),
        cmocka_unit_test(test_shared_gateway_beside_all_networks),
        cmocka_unit_test(test_shared_route_of_the_least_metric),
        cmocka_unit_test(test_shared_mtu_that_changed),
        cmocka_unit_test(test_shared_link_address_that_changed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
