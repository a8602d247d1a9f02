/* SPDX-License-Identifier: MIT */
/* The DHCP client, state by state (RFC 2131, figure 5), and the options of its messages. */
#include "net_kit.h"

#include "base/bytes.h"
#include "net/dhcp.h"
#include "net/ip.h"
#include "net/tcp/tcp.h"

#include <string.h>

static struct kit kit;

static const struct dk_endpoint server = {{.bytes = {10, 0, 0, 254}, .version = 4}, 67};
static const struct dk_endpoint to_all = {{.bytes = {255, 255, 255, 255}, .version = 4}, 68};
static const struct dk_endpoint to_us = {{.bytes = {10, 0, 0, 5}, .version = 4}, 68};

static const struct dk_dhcp offered = {
    .reply = true,
    .type = DK_DHCP_OFFER,
    .ciaddr = {.version = 4},
    .yiaddr = {.bytes = {10, 0, 0, 5}, .version = 4},
    .chaddr = {{2, 0, 0, 0, 0, 1}},
    .server = {.bytes = {10, 0, 0, 254}, .version = 4},
    .router = {.bytes = {10, 0, 0, 253}, .version = 4},
    .prefix_len = 24,
    .lease_s = 3600,
};

/* What is to be remembered. */
static struct dk_net_lease told;
static uint32_t num_told;

static void on_lease(void *arg, const struct dk_net_lease *lease)
{
    (void)arg;
    told = *lease;
    num_told++;
}

static void prepare(void)
{
    num_told = 0;
    kit_init(&kit);
    kit.config.num_addresses = kit.config.num_routes = 0;
    kit.config.dhcp = true;
    kit.config.skip_dad = false;
    kit.config.on_lease = on_lease;
    strcpy(kit.config.host_name, "kit");
}

static void start(void)
{
    prepare();
    kit_start(&kit);
}

static void start_again(void)
{
    prepare();
    kit.config.dhcp_address = to_us.ip;
    kit_start(&kit);
}

/* The next message to a server, whatever else was sent before. */
static bool next_message(struct dk_dhcp *out, struct kit_sent *sent_out)
{
    const struct kit_frame *frame;
    while ((frame = kit_next(&kit)) != NULL) {
        if (dk_get_be16(frame->bytes + 12) != DK_ETHERTYPE_IP4)
            continue;
        kit_parse(frame, sent_out);
        if (sent_out->protocol != DK_IP_UDP || dk_get_be16(sent_out->data + 2) != 67)
            continue;
        const uint32_t sum =
            dk_ip_pseudo_sum(&sent_out->src, &sent_out->dst, DK_IP_UDP, sent_out->len);
        assert_true(dk_checksum_is_good(sum, sent_out->data, sent_out->len));
        assert_int_equal(dk_get_be16(sent_out->data), 68);
        assert_int_equal(dk_dhcp_parse(sent_out->data + 8, sent_out->len - 8, out), DK_WIRE_OK);
        assert_false(out->reply);
        assert_true(dk_mac_equal(&out->chaddr, &kit_mac));
        return true;
    }
    return false;
}

static struct dk_dhcp expect(enum dk_dhcp_type type, struct kit_sent *sent_out)
{
    struct dk_dhcp message;
    struct kit_sent sent;
    assert_true(next_message(&message, sent_out ? sent_out : &sent));
    assert_int_equal(message.type, type);
    return message;
}

static void expect_none(void)
{
    struct dk_dhcp message;
    struct kit_sent sent;
    assert_false(next_message(&message, &sent));
}

static void reply(struct dk_dhcp message, const struct dk_dhcp *to, enum dk_dhcp_type type)
{
    uint8_t bytes[DK_DHCP_EMIT_MAX];
    message.type = (uint8_t)type;
    message.xid = to->xid;
    const size_t len = dk_dhcp_emit(&message, bytes);
    const bool direct = dk_ip_equal(&to->ciaddr, &to_us.ip);
    kit_udp(&kit, &server, direct ? &to_us : &to_all, bytes, (uint32_t)len);
}

static enum dk_net_learning state(void)
{
    struct dk_ip ip;
    return dk_net_dhcp_state(kit.net, &ip);
}

/* Up to REQUESTING; returns the request. */
static struct dk_dhcp ask(const struct dk_dhcp *offer)
{
    kit_pass(&kit, 1 * S);
    const struct dk_dhcp discover = expect(DK_DHCP_DISCOVER, NULL);
    reply(*offer, &discover, DK_DHCP_OFFER);
    return expect(DK_DHCP_REQUEST, NULL);
}

/* Up to BOUND, with the whole detection of conflicts. */
static void lease(const struct dk_dhcp *terms)
{
    const struct dk_dhcp request = ask(terms);
    reply(*terms, &request, DK_DHCP_ACK);
    kit_pass(&kit, 10 * S);
    assert_int_equal(state(), DK_NET_LEARNT);
    kit_forget(&kit);
}

static bool has_address(void)
{
    struct dk_ip src = to_us.ip;
    uint32_t mtu;
    return dk_ip_route(kit.net, &to_us.ip, &src, &mtu) == 0;
}

static void test_discover_goes_to_all_from_nobody(void **state_)
{
    struct kit_sent sent;
    (void)state_;
    start();
    kit_pass(&kit, 1 * S);
    const struct dk_dhcp discover = expect(DK_DHCP_DISCOVER, &sent);
    assert_true(dk_ip_equal(&sent.dst, &to_all.ip));
    assert_int_equal(sent.src.v4, 0);
    assert_true(discover.broadcast);
    assert_string_equal(discover.name, "kit");
    assert_int_equal(sent.eth.dst.bytes[0], 0xff);
    assert_int_equal(state(), DK_NET_UNANSWERED);
    kit_close(&kit);
}

/* RFC 2131 section 4.1: 4, 8, 16, 32, 64, 64 s, each 1 s more or less. */
static void test_discover_unanswered_is_sent_again_at_doubled_intervals(void **state_)
{
    static const int waits[] = {4, 8, 16, 32, 64, 64};
    (void)state_;
    start();
    kit_pass(&kit, 1 * S);
    struct dk_dhcp first = expect(DK_DHCP_DISCOVER, NULL);
    int64_t sent_at = 0;
    for (size_t i = 0; i < sizeof waits / sizeof waits[0]; i++) {
        int64_t waited = 0;
        struct dk_dhcp again;
        struct kit_sent sent;
        for (; !next_message(&again, &sent); waited += 100 * MS)
            kit_pass(&kit, 100 * MS);
        if (i > 0) /* when the first went is not known that exactly */
            assert_in_range(waited, (waits[i] - 1) * S - 200 * MS, (waits[i] + 1) * S + 200 * MS);
        assert_int_equal(again.xid, first.xid);
        sent_at += waited;
        assert_in_range(again.secs, sent_at / S - 1, sent_at / S + 2);
    }
    kit_close(&kit);
}

static void test_request_names_server_and_address(void **state_)
{
    (void)state_;
    start();
    const struct dk_dhcp request = ask(&offered);
    assert_true(dk_ip_equal(&request.server, &offered.server));
    assert_true(dk_ip_equal(&request.requested, &offered.yiaddr));
    assert_int_equal(request.ciaddr.v4, 0);
    assert_int_equal(state(), DK_NET_ANSWERED);
    kit_close(&kit);
}

static void test_request_unanswered_begins_anew(void **state_)
{
    (void)state_;
    start();
    const struct dk_dhcp request = ask(&offered);
    kit_pass(&kit, 70 * S);
    for (int i = 0; i < 3; i++)
        assert_int_equal(expect(DK_DHCP_REQUEST, NULL).xid, request.xid);
    assert_int_not_equal(expect(DK_DHCP_DISCOVER, NULL).xid, request.xid);
    kit_close(&kit);
}

static void test_ack_is_probed_announced_and_used(void **state_)
{
    struct dk_ip gateway = ip4(8, 8, 8, 8), src = {.version = 0};
    uint32_t mtu;
    (void)state_;
    start();
    const struct dk_dhcp request = ask(&offered);
    reply(offered, &request, DK_DHCP_ACK);
    assert_false(has_address());
    kit_pass(&kit, 10 * S);
    assert_true(has_address());
    assert_int_equal(kit_stat(&kit, "arp.probes"), 3);
    assert_int_equal(dk_ip_route(kit.net, &gateway, &src, &mtu), 0);
    assert_true(dk_ip_equal(&src, &to_us.ip));
    assert_int_equal(mtu, 1500);
    assert_int_equal(kit_stat(&kit, "dhcp.bound"), 1);
    kit_close(&kit);
}

static void test_address_of_another_host_is_declined(void **state_)
{
    (void)state_;
    start();
    const struct dk_dhcp request = ask(&offered);
    reply(offered, &request, DK_DHCP_ACK);
    kit_pass(&kit, 2 * S);
    kit_arp(&kit,
            &(struct dk_arp){.operation = DK_ARP_REPLY,
                             .sender_mac = kit_peer_mac,
                             .sender_ip = offered.yiaddr,
                             .target_mac = kit_mac,
                             .target_ip = {.version = 4}},
            NULL);
    const struct dk_dhcp decline = expect(DK_DHCP_DECLINE, NULL);
    assert_true(dk_ip_equal(&decline.requested, &offered.yiaddr));
    assert_true(dk_ip_equal(&decline.server, &offered.server));
    assert_false(has_address());
    assert_int_equal(state(), DK_NET_LEARNT_DUPLICATE);
    kit_pass(&kit, 9 * S);
    expect_none();
    kit_pass(&kit, 2 * S);
    expect(DK_DHCP_DISCOVER, NULL);
    kit_close(&kit);
}

/* While the address is in use already, a late answer ends that. */
static void test_optimistic_address_of_another_host_is_declined(void **state_)
{
    (void)state_;
    kit_init(&kit);
    kit.config.num_addresses = kit.config.num_routes = 0;
    kit.config.dhcp = kit.config.optimistic_dad = true;
    kit.config.skip_dad = false;
    kit_start(&kit);
    const struct dk_dhcp request = ask(&offered);
    reply(offered, &request, DK_DHCP_ACK);
    assert_true(has_address());
    kit_pass(&kit, 2 * S);
    kit_arp(&kit,
            &(struct dk_arp){.operation = DK_ARP_REPLY,
                             .sender_mac = kit_peer_mac,
                             .sender_ip = offered.yiaddr,
                             .target_ip = {.version = 4}},
            NULL);
    expect(DK_DHCP_DECLINE, NULL);
    assert_false(has_address());
    kit_close(&kit);
}

static void test_nak_of_a_request_begins_anew(void **state_)
{
    (void)state_;
    start();
    const struct dk_dhcp request = ask(&offered);
    reply(offered, &request, DK_DHCP_NAK);
    kit_pass(&kit, 1 * S);
    const struct dk_dhcp discover = expect(DK_DHCP_DISCOVER, NULL);
    assert_int_not_equal(discover.xid, request.xid);
    kit_close(&kit);
}

/* RFC 2131 section 4.4.5: from T1 (half of the lease) on its server is asked, alone. */
static void test_lease_is_renewed_at_t1(void **state_)
{
    struct kit_sent sent;
    (void)state_;
    start();
    lease(&offered);
    assert_int_equal(dk_net_add_neighbour(kit.net, &server.ip, &kit_peer_mac), 0);
    kit_pass(&kit, 1700 * S);
    expect_none();
    kit_pass(&kit, 100 * S);
    const struct dk_dhcp request = expect(DK_DHCP_REQUEST, &sent);
    assert_true(dk_ip_equal(&sent.dst, &server.ip));
    assert_true(dk_ip_equal(&sent.src, &to_us.ip));
    assert_true(dk_ip_equal(&request.ciaddr, &to_us.ip));
    assert_int_equal(request.requested.version, 0);
    assert_int_equal(request.server.version, 0);
    assert_false(request.broadcast);
    reply(offered, &request, DK_DHCP_ACK);
    assert_int_equal(kit_stat(&kit, "dhcp.bound"), 2);
    kit_pass(&kit, 1700 * S);
    expect_none(); /* of a whole new lease */
    assert_true(has_address());
    kit_close(&kit);
}

/* From T2 (7/8) on any server is asked. */
static void test_lease_is_rebound_at_t2(void **state_)
{
    struct dk_dhcp request;
    struct kit_sent sent;
    (void)state_;
    start();
    lease(&offered);
    assert_int_equal(dk_net_add_neighbour(kit.net, &server.ip, &kit_peer_mac), 0);
    kit_pass(&kit,
             3060 * S); /* between T1 and T2: after half of what is left each, 1 min at least */
    uint32_t requests = 0;
    for (; next_message(&request, &sent); requests++)
        assert_true(dk_ip_equal(&sent.dst, &server.ip));
    assert_in_range(requests, 3, 6);
    kit_pass(&kit, 100 * S);
    do {
        assert_true(next_message(&request, &sent));
    } while (dk_ip_equal(&sent.dst, &server.ip));
    assert_true(dk_ip_equal(&sent.dst, &to_all.ip));
    assert_true(dk_ip_equal(&request.ciaddr, &to_us.ip));
    reply(offered, &request, DK_DHCP_ACK);
    assert_int_equal(kit_stat(&kit, "dhcp.bound"), 2);
    kit_close(&kit);
}

static void failed(struct dk_tcp_conn *conn, void *owner, int err)
{
    (void)conn;
    *(int *)owner = err;
}

static void ignore(struct dk_tcp_conn *conn, void *owner)
{
    (void)conn;
    (void)owner;
}

static void ignore_sent(struct dk_tcp_conn *conn, void *owner, void *cookie, int err)
{
    (void)conn;
    (void)owner;
    (void)cookie;
    (void)err;
}

/* The lease ends: so does the address, and what was opened from it. */
static void test_lease_that_ends_takes_the_address_away(void **state_)
{
    static const struct dk_tcp_ops ops = {.connected = failed,
                                          .readable = ignore,
                                          .sent = ignore_sent,
                                          .peer_closed = ignore,
                                          .failed = failed,
                                          .closed = ignore};
    const struct dk_endpoint remote = {ip4(10, 0, 0, 2), 80};
    struct dk_endpoint local = {.ip = {.version = 0}};
    struct dk_tcp_conn *conn;
    int err = 0;
    (void)state_;
    start();
    lease(&offered);
    kit_pass(&kit, 3580 * S);
    assert_true(has_address());
    assert_int_equal(
        dk_tcp_connect(dk_net_tcp(kit.net), &conn, &local, &remote, NULL, &ops, &err, kit.now), 0);
    kit_pass(&kit, 30 * S);
    assert_false(has_address());
    assert_int_not_equal(err, 0);
    assert_int_equal(kit_stat(&kit, "dhcp.expired"), 1);
    struct dk_ip far = ip4(8, 8, 8, 8), src = {.version = 0};
    uint32_t mtu;
    assert_int_equal(dk_ip_route(kit.net, &far, &src, &mtu), -ENETUNREACH);
    dk_tcp_close(conn, kit.now);
    kit_close(&kit);
}

static void test_nak_of_a_renewal_takes_the_address_away(void **state_)
{
    (void)state_;
    start();
    lease(&offered);
    assert_int_equal(dk_net_add_neighbour(kit.net, &server.ip, &kit_peer_mac), 0);
    kit_pass(&kit, 1800 * S);
    const struct dk_dhcp request = expect(DK_DHCP_REQUEST, NULL);
    reply(offered, &request, DK_DHCP_NAK);
    assert_false(has_address());
    kit_pass(&kit, 1 * S);
    expect(DK_DHCP_DISCOVER, NULL);
    kit_close(&kit);
}

static void test_lease_without_end_is_never_renewed(void **state_)
{
    struct dk_dhcp terms = offered;
    (void)state_;
    terms.lease_s = DK_DHCP_FOREVER;
    start();
    lease(&terms);
    kit_pass(&kit, 1000000 * S);
    expect_none();
    assert_true(has_address());
    kit_close(&kit);
}

static void test_times_of_the_server_go_first(void **state_)
{
    struct dk_dhcp terms = offered;
    (void)state_;
    terms.t1_s = 100;
    terms.t2_s = 3000;
    start();
    lease(&terms);
    assert_int_equal(dk_net_add_neighbour(kit.net, &server.ip, &kit_peer_mac), 0);
    kit_pass(&kit, 95 * S);
    expect(DK_DHCP_REQUEST, NULL);
    kit_close(&kit);
}

static void test_release_goes_to_the_server(void **state_)
{
    struct kit_sent sent;
    (void)state_;
    start();
    assert_false(dk_net_release(kit.net, kit.now));
    lease(&offered);
    assert_int_equal(dk_net_add_neighbour(kit.net, &server.ip, &kit_peer_mac), 0);
    assert_true(dk_net_release(kit.net, kit.now));
    const struct dk_dhcp release = expect(DK_DHCP_RELEASE, &sent);
    assert_true(dk_ip_equal(&sent.dst, &server.ip));
    assert_true(dk_ip_equal(&release.ciaddr, &to_us.ip));
    assert_true(dk_ip_equal(&release.server, &server.ip));
    assert_false(dk_net_release(kit.net, kit.now));
    kit_close(&kit);
}

static bool reaches(struct dk_ip dst)
{
    struct dk_ip src = {.version = 0};
    uint32_t mtu;
    return dk_ip_route(kit.net, &dst, &src, &mtu) == 0;
}

/* RFC 3442: classless routes go before the router option, on the link too. */
/* ---- a lease of before ----------------------------------------------------------------------- */

/* RFC 2131 section 4.3.2: of any server, with the address as an option, from nobody. */
static void test_former_lease_is_asked_for_again(void **state_)
{
    struct kit_sent sent;
    const struct dk_ip none = {.version = 4};
    (void)state_;
    start_again();
    kit_pass(&kit, 1 * S);
    const struct dk_dhcp request = expect(DK_DHCP_REQUEST, &sent);
    assert_true(dk_ip_equal(&sent.src, &none) && dk_ip_equal(&sent.dst, &to_all.ip));
    assert_true(dk_ip_equal(&request.requested, &to_us.ip));
    assert_int_equal(request.server.version, 0);
    assert_true(dk_ip_equal(&request.ciaddr, &none));
    assert_true(request.broadcast);
    assert_string_equal(request.name, "kit");
    assert_false(has_address()); /* not before a server says so */
    reply(offered, &request, DK_DHCP_ACK);
    kit_pass(&kit, 10 * S);
    assert_int_equal(kit_stat(&kit, "arp.probes"), 3);
    assert_true(has_address());
    assert_int_equal(state(), DK_NET_LEARNT);
    expect_none();
    kit_close(&kit);
}

static void test_former_lease_that_is_refused_is_forgotten(void **state_)
{
    (void)state_;
    start_again();
    kit_pass(&kit, 1 * S);
    const struct dk_dhcp request = expect(DK_DHCP_REQUEST, NULL);
    assert_int_equal(num_told, 0);
    reply(offered, &request, DK_DHCP_NAK);
    assert_int_equal(num_told, 1);
    assert_int_equal(told.address.version, 0);
    kit_pass(&kit, 1 * S);
    const struct dk_dhcp discover = expect(DK_DHCP_DISCOVER, NULL);
    assert_true(discover.xid != request.xid);
    assert_int_equal(kit_stat(&kit, "dhcp.naks"), 1);
    kit_close(&kit);
}

/* RFC 2131 section 3.2 (3): who is silent may know nothing of it. It is asked twice. */
static void test_former_lease_unanswered_begins_anew(void **state_)
{
    (void)state_;
    start_again();
    kit_pass(&kit, 1 * S);
    const struct dk_dhcp request = expect(DK_DHCP_REQUEST, NULL);
    kit_pass(&kit, 2 * S);
    expect_none();
    kit_pass(&kit, 3 * S);
    const struct dk_dhcp again = expect(DK_DHCP_REQUEST, NULL);
    assert_int_equal(again.xid, request.xid);
    kit_pass(&kit, 5 * S);
    const struct dk_dhcp discover = expect(DK_DHCP_DISCOVER, NULL);
    assert_true(discover.xid != request.xid);
    assert_false(has_address());
    reply(offered, &request, DK_DHCP_ACK); /* too late */
    assert_int_equal(kit_stat(&kit, "dhcp.not_ours"), 1);
    reply(offered, &discover, DK_DHCP_OFFER);
    expect(DK_DHCP_REQUEST, NULL);
    kit_close(&kit);
}

static void test_former_lease_that_another_host_has_is_declined(void **state_)
{
    (void)state_;
    start_again();
    kit_pass(&kit, 1 * S);
    const struct dk_dhcp request = expect(DK_DHCP_REQUEST, NULL);
    reply(offered, &request, DK_DHCP_ACK);
    kit_pass(&kit, 2 * S);
    kit_arp(&kit,
            &(struct dk_arp){.operation = DK_ARP_REPLY,
                             .sender_mac = kit_peer_mac,
                             .sender_ip = offered.yiaddr,
                             .target_mac = kit_mac,
                             .target_ip = {.version = 4}},
            NULL);
    expect(DK_DHCP_DECLINE, NULL);
    assert_int_equal(told.address.version, 0);
    kit_pass(&kit, 12 * S);
    expect(DK_DHCP_DISCOVER, NULL);
    kit_close(&kit);
}

/* An address that no host may have is nothing to ask for. */
static void test_former_lease_that_cannot_be_is_not_asked_for(void **state_)
{
    (void)state_;
    prepare();
    kit.config.dhcp_address = ip4(224, 0, 0, 1);
    kit_start(&kit);
    kit_pass(&kit, 1 * S);
    expect(DK_DHCP_DISCOVER, NULL);
    kit_close(&kit);
}

/* From when it is bound, with the time that is left, until it is given back. */
static void test_lease_is_told_to_be_remembered(void **state_)
{
    (void)state_;
    start();
    lease(&offered);
    assert_int_equal(num_told, 1);
    assert_true(dk_ip_equal(&told.address, &offered.yiaddr));
    assert_in_range(told.seconds, 3590, 3599); /* it began with the request, before the detection */
    assert_int_equal(dk_net_add_neighbour(kit.net, &server.ip, &kit_peer_mac), 0);
    kit_pass(&kit, 1800 * S);
    const struct dk_dhcp request = expect(DK_DHCP_REQUEST, NULL);
    reply(offered, &request, DK_DHCP_ACK);
    assert_int_equal(num_told, 2);
    assert_int_equal(told.address.version, 4);
    assert_true(dk_net_release(kit.net, kit.now));
    assert_int_equal(num_told, 3);
    assert_int_equal(told.address.version, 0);
    kit_close(&kit);
}

static void test_lease_that_ends_is_not_remembered(void **state_)
{
    struct dk_dhcp terms = offered;
    (void)state_;
    terms.lease_s = DK_DHCP_FOREVER;
    start();
    lease(&terms);
    assert_int_equal(told.seconds, UINT32_MAX);
    kit_close(&kit);
    start();
    lease(&offered);
    kit_pass(&kit, 3700 * S);
    assert_int_equal(kit_stat(&kit, "dhcp.expired"), 1);
    assert_int_equal(told.address.version, 0);
    kit_close(&kit);
}

static void test_classless_routes_replace_the_router(void **state_)
{
    struct dk_dhcp terms = offered;
    (void)state_;
    terms.has_routes = true;
    terms.num_routes = 3;
    terms.routes[0] =
        (struct dk_dhcp_route){ip4(192, 0, 2, 0), ip4(172, 16, 0, 1), 24}; /* by the next one */
    terms.routes[1] = (struct dk_dhcp_route){ip4(172, 16, 0, 1), ip4(0, 0, 0, 0), 32};
    terms.routes[2] = (struct dk_dhcp_route){ip4(198, 51, 100, 0), ip4(9, 9, 9, 9), 24};
    start();
    lease(&terms);
    assert_true(reaches(ip4(192, 0, 2, 7)));
    assert_true(reaches(ip4(172, 16, 0, 1)));
    assert_false(reaches(ip4(198, 51, 100, 7)));
    assert_false(reaches(ip4(8, 8, 8, 8)));
    assert_int_equal(kit_stat(&kit, "dhcp.bad_route"), 1);
    kit_close(&kit);
}

static void test_renewal_changes_routes_and_mtu(void **state_)
{
    struct dk_ip dst = ip4(10, 0, 0, 2), src = {.version = 0};
    struct dk_dhcp terms = offered;
    uint32_t mtu;
    (void)state_;
    terms.mtu = 1400;
    start();
    lease(&terms);
    assert_int_equal(dk_ip_route(kit.net, &dst, &src, &mtu), 0);
    assert_int_equal(mtu, 1400);
    assert_true(reaches(ip4(8, 8, 8, 8)));
    assert_int_equal(dk_net_add_neighbour(kit.net, &server.ip, &kit_peer_mac), 0);
    kit_pass(&kit, 1800 * S);
    const struct dk_dhcp request = expect(DK_DHCP_REQUEST, NULL);
    terms.router.version = 0;
    terms.mtu = 200; /* no link is so: ignored */
    reply(terms, &request, DK_DHCP_ACK);
    assert_false(reaches(ip4(8, 8, 8, 8)));
    assert_int_equal(dk_ip_route(kit.net, &dst, &src, &mtu), 0);
    assert_int_equal(mtu, 1500);
    assert_int_equal(kit_stat(&kit, "link.mtu_refused"), 1);
    kit_close(&kit);
}

static void test_answers_of_others_are_dropped(void **state_)
{
    struct dk_dhcp other = offered;
    (void)state_;
    start();
    kit_pass(&kit, 1 * S);
    struct dk_dhcp discover = expect(DK_DHCP_DISCOVER, NULL);
    reply(offered, &discover, DK_DHCP_ACK); /* nothing was requested */
    assert_int_equal(kit_stat(&kit, "dhcp.unexpected"), 1);
    other.chaddr = kit_peer_mac;
    reply(other, &discover, DK_DHCP_OFFER);
    discover.xid ^= 1;
    reply(offered, &discover, DK_DHCP_OFFER);
    assert_int_equal(kit_stat(&kit, "dhcp.not_ours"), 2);
    discover.xid ^= 1;
    other = offered;
    other.yiaddr = ip4(127, 0, 0, 1);
    reply(other, &discover, DK_DHCP_OFFER);
    other = offered;
    other.lease_s = 0;
    reply(other, &discover, DK_DHCP_OFFER);
    assert_int_equal(kit_stat(&kit, "dhcp.refused"), 2);
    expect_none();
    other = offered;
    reply(other, &discover, DK_DHCP_OFFER);
    const struct dk_dhcp request = expect(DK_DHCP_REQUEST, NULL);
    other.server = ip4(10, 0, 0, 252);
    reply(other, &request, DK_DHCP_NAK); /* of a server that was not chosen */
    assert_int_equal(kit_stat(&kit, "dhcp.unexpected"), 2);
    kit_close(&kit);
}

/* ---- the format ------------------------------------------------------------------------------ */

static uint8_t message[600];

/* A valid message of a server with these options. */
static size_t put_message(const void *options, size_t len)
{
    memset(message, 0, sizeof message);
    message[0] = 2;
    message[1] = 1;
    message[2] = 6;
    memcpy(message + 236, "\x63\x82\x53\x63", 4);
    memcpy(message + 240, options, len);
    return 240 + len;
}

static enum dk_wire parse(const char *options, size_t len, struct dk_dhcp *out)
{
    return dk_dhcp_parse(message, put_message(options, len), out);
}

#define PARSE(options, out) parse(options, sizeof(options) - 1, out)

static void test_options_with_wrong_lengths_are_refused(void **state_)
{
    struct dk_dhcp out;
    (void)state_;
    assert_int_equal(PARSE("\x35\x01\x02\xff", &out), DK_WIRE_OK);
    assert_int_equal(PARSE("\x35\x01\x02", &out), DK_WIRE_OK); /* without an end */
    assert_int_equal(PARSE("\x35\x02\x02\x00\xff", &out), DK_WIRE_DHCP_OPTION);
    assert_int_equal(PARSE("\x35\x01\x02\x33\x04\x00\xff", &out), DK_WIRE_DHCP_OPTION);
    assert_int_equal(PARSE("\x35\x01\x02\x33", &out), DK_WIRE_DHCP_OPTION);
    assert_int_equal(PARSE("\x35\x01\x02\x33\x02\x00\x01", &out), DK_WIRE_DHCP_OPTION);
    assert_int_equal(PARSE("\x35\x01\x02\x01\x04\xff\x00\xff\x00\xff", &out), DK_WIRE_DHCP_OPTION);
    assert_int_equal(PARSE("\x35\x01\x02\x03\x06\x0a\x00\x00\x01\x0a\x00\xff", &out),
                     DK_WIRE_DHCP_OPTION);
    assert_int_equal(PARSE("\x35\x01\x02\x79\x05\x21\x0a\x0a\x0a\x0a\xff", &out),
                     DK_WIRE_DHCP_OPTION); /* a width of 33 */
    assert_int_equal(PARSE("\x35\x01\x02\x79\x06\x18\x0a\x0a\x0a\x0a\x0a\xff", &out),
                     DK_WIRE_DHCP_OPTION);
    assert_int_equal(PARSE("\x35\x01\x09\xff", &out), DK_WIRE_DHCP_TYPE);
    assert_int_equal(PARSE("\xff\x35\x01\x02", &out), DK_WIRE_DHCP_TYPE);
    assert_int_equal(dk_dhcp_parse(message, 239, &out), DK_WIRE_DHCP_SHORT);
    put_message("\x35\x01\x02\xff", 4);
    message[236] ^= 1;
    assert_int_equal(dk_dhcp_parse(message, 244, &out), DK_WIRE_DHCP_KIND);
}

/* RFC 2132 section 9.3 and 3396: the rest of an option in file, and then in sname. */
static void test_option_in_parts_is_put_together(void **state_)
{
    struct dk_dhcp out;
    (void)state_;
    const size_t len = put_message("\x35\x01\x05\x34\x01\x03\x33\x02\x00\x01\xff", 11);
    memcpy(message + 108, "\x33\x01\x02\xff", 4);
    memcpy(message + 44, "\x00\x33\x01\x03\xff", 5);
    assert_int_equal(dk_dhcp_parse(message, len, &out), DK_WIRE_OK);
    assert_int_equal(out.lease_s, 0x00010203);
    memcpy(message + 44, "\x33\xff", 2); /* beyond its end */
    assert_int_equal(dk_dhcp_parse(message, len, &out), DK_WIRE_DHCP_OPTION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_discover_goes_to_all_from_nobody),
        cmocka_unit_test(test_discover_unanswered_is_sent_again_at_doubled_intervals),
        cmocka_unit_test(test_request_names_server_and_address),
        cmocka_unit_test(test_request_unanswered_begins_anew),
        cmocka_unit_test(test_ack_is_probed_announced_and_used),
        cmocka_unit_test(test_address_of_another_host_is_declined),
        cmocka_unit_test(test_optimistic_address_of_another_host_is_declined),
        cmocka_unit_test(test_nak_of_a_request_begins_anew),
        cmocka_unit_test(test_lease_is_renewed_at_t1),
        cmocka_unit_test(test_lease_is_rebound_at_t2),
        cmocka_unit_test(test_lease_that_ends_takes_the_address_away),
        cmocka_unit_test(test_nak_of_a_renewal_takes_the_address_away),
        cmocka_unit_test(test_lease_without_end_is_never_renewed),
        cmocka_unit_test(test_times_of_the_server_go_first),
        cmocka_unit_test(test_release_goes_to_the_server),
        cmocka_unit_test(test_former_lease_is_asked_for_again),
        cmocka_unit_test(test_former_lease_that_is_refused_is_forgotten),
        cmocka_unit_test(test_former_lease_unanswered_begins_anew),
        cmocka_unit_test(test_former_lease_that_another_host_has_is_declined),
        cmocka_unit_test(test_former_lease_that_cannot_be_is_not_asked_for),
        cmocka_unit_test(test_lease_is_told_to_be_remembered),
        cmocka_unit_test(test_lease_that_ends_is_not_remembered),
        cmocka_unit_test(test_classless_routes_replace_the_router),
        cmocka_unit_test(test_renewal_changes_routes_and_mtu),
        cmocka_unit_test(test_answers_of_others_are_dropped),
        cmocka_unit_test(test_options_with_wrong_lengths_are_refused),
        cmocka_unit_test(test_option_in_parts_is_put_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
