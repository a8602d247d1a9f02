/* SPDX-License-Identifier: MIT */
/* What is learnt of router advertisements (RFC 4861 section 6.3, 4862), and how long it lasts. */
#include "net_kit.h"

#include "base/bytes.h"
#include "net/ra.h"
#include "net/route.h"

#include <string.h>

static struct kit kit;

#define ROUTER "fe80::fe"
#define FORMED "2001:db8::ff:fe00:1" /* of 02:00:00:00:00:01 */

static void start(void)
{
    kit_init(&kit);
    kit.config.num_addresses = kit.config.num_routes = 0;
    kit.config.router_adverts = true;
    kit.config.skip_dad = false;
    kit_start(&kit);
}

static struct dk_nd advert(uint32_t valid_s, uint32_t preferred_s)
{
    return (struct dk_nd){
        .type = DK_ICMP6_ROUTER_ADVERT,
        .lifetime_s = 1800,
        .has_source_mac = true,
        .source_mac = kit_peer_mac,
        .num_prefixes = 1,
        .prefixes = {{.prefix = ip6("2001:db8::"),
                      .len = 64,
                      .on_link = true,
                      .autonomous = true,
                      .valid_s = valid_s,
                      .preferred_s = preferred_s}},
    };
}

static void put_from(const char *router, const struct dk_nd *nd)
{
    const struct dk_ip from = ip6(router), all = ip6("ff02::1");
    kit_nd(&kit, &from, &all, 255, nd);
}

static void put(const struct dk_nd *nd)
{
    put_from(ROUTER, nd);
}

/* A stack that has formed its address. */
static void open(void)
{
    const struct dk_nd nd = advert(86400, 14400);
    start();
    kit_pass(&kit, 3 * S);
    put(&nd);
    kit_pass(&kit, 3 * S);
    kit_forget(&kit);
}

static enum dk_net_learning state(void)
{
    struct dk_ip ip;
    return dk_net_router_state(kit.net, &ip);
}

static bool has(const char *address)
{
    struct dk_ip ip = ip6(address), src = ip;
    uint32_t mtu;
    return dk_ip_route(kit.net, &ip, &src, &mtu) == 0;
}

/* How dst is reached: the next hop, version 0: it is not. */
static struct dk_ip hop_to(const char *dst)
{
    const struct dk_ip ip = ip6(dst);
    struct dk_path path = {.next_hop = {.version = 0}};
    return dk_route_find(kit.net, &ip, &path) == 0 ? path.next_hop : (struct dk_ip){.version = 0};
}

static bool goes_by(const char *dst, const char *router)
{
    const struct dk_ip hop = hop_to(dst), by = ip6(router);
    return dk_ip_equal(&hop, &by);
}

static bool next_solicit(struct dk_nd *out, struct kit_sent *sent)
{
    const struct kit_frame *frame;
    while ((frame = kit_next(&kit)) != NULL) {
        kit_parse(frame, sent);
        const struct dk_nd_ip ip = {.src = sent->src, .dst = sent->dst, .hop_limit = sent->ttl};
        if (sent->protocol == DK_IP_ICMPV6 && sent->data[0] == DK_ICMP6_ROUTER_SOLICIT) {
            assert_int_equal(dk_nd_parse(sent->data, sent->len, &ip, out), DK_WIRE_OK);
            return true;
        }
    }
    return false;
}

/* RFC 4861 section 6.3.7, RFC 7559: after a delay, then at intervals that double. */
static void test_routers_are_solicited_until_one_answers(void **state_)
{
    const struct dk_ip routers = ip6("ff02::2"), link_local = ip6("fe80::ff:fe00:1");
    struct dk_nd nd;
    struct kit_sent sent;
    (void)state_;
    start();
    kit_pass(&kit, 1 * S);
    assert_true(next_solicit(&nd, &sent));
    assert_true(dk_ip_equal(&sent.dst, &routers));
    assert_false(nd.has_source_mac); /* the link-local address is tentative */
    kit_pass(&kit, 5 * S);
    assert_true(next_solicit(&nd, &sent));
    assert_true(dk_ip_equal(&sent.src, &link_local));
    assert_true(nd.has_source_mac);
    kit_pass(&kit, 6 * S);
    assert_false(next_solicit(&nd, &sent));
    kit_pass(&kit, 3 * S);
    assert_true(next_solicit(&nd, &sent));
    assert_int_equal(state(), DK_NET_UNANSWERED);
    nd = advert(86400, 14400);
    put(&nd);
    kit_pass(&kit, 600 * S);
    assert_false(next_solicit(&nd, &sent));
    kit_close(&kit);
}

static void test_address_is_formed_after_detection(void **state_)
{
    const struct dk_nd nd = advert(86400, 14400);
    struct dk_nd probe;
    struct kit_sent sent;
    const struct dk_ip formed = ip6(FORMED);
    (void)state_;
    start();
    kit_pass(&kit, 3 * S);
    kit_forget(&kit);
    put(&nd);
    assert_false(has(FORMED));
    assert_int_equal(state(), DK_NET_ANSWERED);
    kit_pass(&kit, 3 * S);
    do {
        kit_expect_ip(&kit, &sent);
    } while (sent.data[0] != DK_ICMP6_NEIGHBOR_SOLICIT);
    const struct dk_nd_ip ip = {.src = sent.src, .dst = sent.dst, .hop_limit = sent.ttl};
    assert_int_equal(dk_nd_parse(sent.data, sent.len, &ip, &probe), DK_WIRE_OK);
    assert_true(dk_ip_equal(&probe.target, &formed));
    assert_true(has(FORMED));
    assert_int_equal(state(), DK_NET_LEARNT);
    kit_close(&kit);
}

static void test_duplicate_of_a_formed_address_is_not_used(void **state_)
{
    const struct dk_nd nd = advert(86400, 14400);
    const struct dk_ip formed = ip6(FORMED), all = ip6("ff02::1");
    (void)state_;
    start();
    kit_pass(&kit, 3 * S);
    put(&nd);
    const struct dk_nd theirs = {.type = DK_ICMP6_NEIGHBOR_ADVERT,
                                 .target = formed,
                                 .override = true,
                                 .has_target_mac = true,
                                 .target_mac = kit_peer_mac};
    kit_nd(&kit, &formed, &all, 255, &theirs);
    kit_pass(&kit, 5 * S);
    assert_false(has(FORMED));
    assert_int_equal(state(), DK_NET_LEARNT_DUPLICATE);
    kit_close(&kit);
}

static void test_router_is_the_way_out_for_its_lifetime(void **state_)
{
    struct dk_nd nd = advert(86400, 14400);
    (void)state_;
    open();
    assert_true(goes_by("2001:db8:ffff::1", ROUTER));
    kit_pass(&kit, 1790 * S);
    assert_true(goes_by("2001:db8:ffff::1", ROUTER));
    kit_pass(&kit, 10 * S);
    assert_int_equal(hop_to("2001:db8:ffff::1").version, 0);
    put(&nd);
    assert_true(goes_by("2001:db8:ffff::1", ROUTER));
    nd.lifetime_s = 0; /* it goes */
    put(&nd);
    assert_int_equal(hop_to("2001:db8:ffff::1").version, 0);
    kit_close(&kit);
}

/* RFC 4861 section 6.3.6: one that does not answer is not chosen while there is another. */
static void test_router_that_does_not_answer_gives_way(void **state_)
{
    const struct dk_nd nd = advert(86400, 14400);
    const struct dk_endpoint far = {ip6("2001:db8:ffff::1"), 9};
    struct kit_sock s;
    (void)state_;
    open();
    put_from("fe80::fd", &nd);
    kit_pass(&kit, 3 * S);
    assert_true(goes_by("2001:db8:ffff::1", ROUTER));
    kit_sock_open(&kit, &s, ip6(FORMED), 7);
    assert_int_equal(kit_send(&kit, &s, &far, "x", 1), 0);
    kit_pass(&kit, 10 * S); /* DELAY, and three probes */
    assert_true(goes_by("2001:db8:ffff::1", "fe80::fd"));
    dk_udp_close(s.sock);
    kit_close(&kit);
}

/* Section 7.2.5: a neighbour that says it is no router is none. */
static void test_router_that_says_it_is_none_is_dropped(void **state_)
{
    const struct dk_ip router = ip6(ROUTER), us = ip6("fe80::ff:fe00:1");
    const struct dk_nd nd = {.type = DK_ICMP6_NEIGHBOR_ADVERT,
                             .target = router,
                             .solicited = true,
                             .has_target_mac = true,
                             .target_mac = kit_peer_mac};
    (void)state_;
    open();
    kit_nd(&kit, &router, &us, 255, &nd);
    assert_int_equal(hop_to("2001:db8:ffff::1").version, 0);
    kit_close(&kit);
}

static void test_network_on_the_link_for_its_lifetime(void **state_)
{
    struct dk_nd nd = advert(100, 50);
    (void)state_;
    start();
    nd.prefixes[0].autonomous = false;
    kit_pass(&kit, 3 * S);
    put(&nd);
    assert_true(goes_by("2001:db8::9", "2001:db8::9"));
    assert_false(has(FORMED));
    kit_pass(&kit, 99 * S);
    assert_true(goes_by("2001:db8::9", "2001:db8::9"));
    kit_pass(&kit, 2 * S);
    assert_true(goes_by("2001:db8::9", ROUTER));
    nd.prefixes[0].on_link = false; /* says nothing of it */
    nd.prefixes[0].valid_s = 1000;
    put(&nd);
    assert_true(goes_by("2001:db8::9", ROUTER));
    kit_close(&kit);
}

/* RFC 4862 section 5.5.4: deprecated, then gone. */
static void test_address_ages(void **state_)
{
    const struct dk_nd nd = advert(200, 100);
    struct dk_nd other = advert(86400, 86400);
    struct dk_ip dst = ip6("2001:db8:ffff::1"), src = {.version = 0};
    const struct dk_ip formed = ip6(FORMED);
    uint32_t mtu;
    (void)state_;
    start();
    kit_pass(&kit, 3 * S);
    put(&nd);
    other.prefixes[0].prefix = ip6("2001:db9::");
    put(&other);
    kit_pass(&kit, 90 * S);
    assert_int_equal(dk_ip_route(kit.net, &dst, &src, &mtu), 0);
    assert_true(dk_ip_equal(&src, &formed)); /* more bits in common */
    kit_pass(&kit, 15 * S);
    src.version = 0;
    assert_int_equal(dk_ip_route(kit.net, &dst, &src, &mtu), 0);
    assert_false(dk_ip_equal(&src, &formed)); /* nothing begins with it any more */
    assert_true(has(FORMED));                 /* but it goes on */
    kit_pass(&kit, 100 * S);
    assert_false(has(FORMED));
    assert_int_equal(kit_stat(&kit, "ra.expired"), 1);
    kit_close(&kit);
}

static bool lasts(int64_t ns)
{
    kit_pass(&kit, ns - 1 * S);
    const bool before = has(FORMED);
    kit_pass(&kit, 2 * S);
    return before && !has(FORMED);
}

/* RFC 4862 section 5.5.3 (e). */
static void test_lifetime_is_not_shortened_below_two_hours(void **state_)
{
    struct dk_nd nd = advert(60, 60);
    (void)state_;
    open();
    put(&nd); /* 2: of more than two hours, two are left */
    assert_true(lasts(7200 * S));
    kit_close(&kit);
    open();
    nd = advert(10000, 60);
    put(&nd); /* 1: of more than two hours, as it says */
    assert_true(lasts(10000 * S));
    kit_close(&kit);
    start();
    kit_pass(&kit, 3 * S);
    nd = advert(3600, 60);
    put(&nd);
    kit_pass(&kit, 3 * S);
    nd = advert(0, 0);
    put(&nd); /* 3: of less, as it is */
    assert_true(lasts(3597 * S));
    kit_close(&kit);
}

static void test_parameters_are_taken(void **state_)
{
    struct dk_nd nd = advert(86400, 14400);
    const struct dk_endpoint far = {ip6("2001:db8:ffff::1"), 9};
    struct dk_ip src = {.version = 0};
    struct kit_sent sent;
    struct kit_sock s;
    uint32_t mtu;
    (void)state_;
    open();
    nd.hop_limit = 17;
    nd.mtu = 1400;
    put(&nd);
    assert_int_equal(dk_ip_route(kit.net, &far.ip, &src, &mtu), 0);
    assert_int_equal(mtu, 1400);
    nd.mtu = 1279;    /* none that IPv6 goes over */
    nd.hop_limit = 0; /* not said */
    put(&nd);
    nd.mtu = 1501; /* more than the link takes */
    put(&nd);
    assert_int_equal(kit_stat(&kit, "link.mtu_refused"), 2);
    assert_int_equal(dk_ip_route(kit.net, &far.ip, &src, &mtu), 0);
    assert_int_equal(mtu, 1400);
    kit_sock_open(&kit, &s, ip6(FORMED), 7);
    for (int i = 0; i < 2; i++) { /* the second by the way's own head */
        kit_forget(&kit);
        assert_int_equal(kit_send(&kit, &s, &far, "x", 1), 0);
        kit_expect_ip(&kit, &sent);
        assert_int_equal(sent.ttl, 17);
    }
    dk_udp_close(s.sock);
    kit_close(&kit);
}

/* Retrans timer: how far apart a neighbour is asked. */
static void test_retrans_timer_is_taken(void **state_)
{
    struct dk_nd nd = advert(86400, 14400);
    const struct dk_endpoint near = {ip6("2001:db8::9"), 9};
    struct kit_sock s;
    (void)state_;
    open();
    nd.retrans_ms = 200;
    put(&nd);
    kit_sock_open(&kit, &s, ip6(FORMED), 7);
    assert_int_equal(kit_send(&kit, &s, &near, "x", 1), 0);
    kit_pass(&kit, 590 * MS);
    assert_int_equal(kit_stat(&kit, "neigh.failed"), 0);
    kit_pass(&kit, 20 * MS);
    assert_int_equal(kit_stat(&kit, "neigh.failed"), 1);
    dk_udp_close(s.sock);
    kit_close(&kit);
}

/* RFC 4862 section 5.5.3 (b), (c), and a length that no identifier fits. */
static void test_prefixes_that_cannot_be_are_passed_over(void **state_)
{
    struct dk_nd nd = advert(100, 200);
    (void)state_;
    start();
    kit_pass(&kit, 3 * S);
    put(&nd);
    nd = advert(200, 100);
    nd.prefixes[0].prefix = ip6("fe80::");
    put(&nd);
    nd.prefixes[0].prefix = ip6("2001:db8::");
    nd.prefixes[0].len = 80;
    put(&nd);
    assert_int_equal(kit_stat(&kit, "ra.bad_prefix"), 3);
    kit_pass(&kit, 5 * S);
    assert_int_equal(state(), DK_NET_ANSWERED);
    kit_close(&kit);
}

/* A flood of routers and prefixes takes the tables, and nothing else. */
static void test_floods_are_bounded(void **state_)
{
    struct dk_nd nd = advert(86400, 14400);
    char text[32];
    (void)state_;
    start();
    kit_pass(&kit, 3 * S);
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof text, "2001:db8:%x::", i);
        nd.prefixes[0].prefix = ip6(text);
        snprintf(text, sizeof text, "fe80::%x", i + 1);
        put_from(text, &nd);
    }
    assert_int_equal(kit_stat(&kit, "ra.taken"), 1000);
    assert_true(kit_stat(&kit, "ra.table_full") > 2900);
    kit_pass(&kit, 5 * S);
    assert_int_equal(state(), DK_NET_LEARNT);
    kit_close(&kit);
}

static void test_advertisements_are_ignored_where_not_wanted(void **state_)
{
    const struct dk_nd nd = advert(86400, 14400);
    (void)state_;
    kit_open(&kit);
    put(&nd);
    kit_pass(&kit, 5 * S);
    assert_int_equal(kit_stat(&kit, "nd.router_adverts"), 1);
    assert_false(has(FORMED));
    assert_int_equal(state(), DK_NET_NOT_LEARNING);
    kit_close(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_routers_are_solicited_until_one_answers),
        cmocka_unit_test(test_address_is_formed_after_detection),
        cmocka_unit_test(test_duplicate_of_a_formed_address_is_not_used),
        cmocka_unit_test(test_router_is_the_way_out_for_its_lifetime),
        cmocka_unit_test(test_router_that_does_not_answer_gives_way),
        cmocka_unit_test(test_router_that_says_it_is_none_is_dropped),
        cmocka_unit_test(test_network_on_the_link_for_its_lifetime),
        cmocka_unit_test(test_address_ages),
        cmocka_unit_test(test_lifetime_is_not_shortened_below_two_hours),
        cmocka_unit_test(test_parameters_are_taken),
        cmocka_unit_test(test_retrans_timer_is_taken),
        cmocka_unit_test(test_prefixes_that_cannot_be_are_passed_over),
        cmocka_unit_test(test_floods_are_bounded),
        cmocka_unit_test(test_advertisements_are_ignored_where_not_wanted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
