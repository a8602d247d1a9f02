/* SPDX-License-Identifier: MIT */
/* UDP sockets. */
#include "net_kit.h"

#include "base/bytes.h"
#include "net/dev.h"
#include "net/udp_sock.h"

#include <stdlib.h>
#include <string.h>

static struct kit kit;

static const struct dk_endpoint us4 = {{.bytes = {10, 0, 0, 1}, .version = 4}, 7};
static const struct dk_endpoint peer4 = {{.bytes = {10, 0, 0, 2}, .version = 4}, 9};
static struct dk_endpoint us6, peer6;
static const struct dk_ip any = {.version = 0};

static void start(void)
{
    kit_open(&kit);
    us6 = (struct dk_endpoint){ip6("fd00::1"), 7};
    peer6 = (struct dk_endpoint){ip6("fd00::2"), 9};
}

static void test_udp_receives_what_is_sent_to_it(void **state)
{
    struct kit_sock s;
    struct dk_udp_datagram d;
    (void)state;
    start();
    kit_sock_open(&kit, &s, any, 7);
    kit_udp(&kit, &peer4, &us4, "four", 4);
    kit_udp(&kit, &peer6, &us6, "sixes", 5);
    kit_udp(&kit, &peer6, &us6, "", 0);
    assert_int_equal(s.readable, 3);
    assert_int_equal(dk_udp_recv(s.sock, &d), 0);
    assert_true(dk_ip_equal(&d.from.ip, &peer4.ip) && d.from.port == 9);
    assert_true(dk_ip_equal(&d.to, &us4.ip) && d.ttl == 64);
    assert_int_equal(dk_buf_bytes(d.buf), 4);
    dk_buf_put(d.buf);
    kit_expect_recv(&s, "sixes", 5);
    kit_expect_recv(&s, "", 0);
    assert_int_equal(dk_udp_recv(s.sock, &d), -EAGAIN);
    kit_close(&kit);
}

/* No byte is copied: the view lies in the device's buffer. */
static void test_udp_receives_a_view_of_the_frame(void **state)
{
    struct kit_sock s;
    struct dk_udp_datagram d;
    uint8_t packet[100], datagram[60];
    (void)state;
    start();
    kit_sock_open(&kit, &s, any, 7);
    const struct kit_ip ip = {.src = peer4.ip, .dst = us4.ip, .protocol = DK_IP_UDP};
    const uint32_t len =
        kit_put_ip(packet, &ip, datagram, kit_put_udp(datagram, &peer4, &us4, "view", 4));
    struct dk_buf *buf = dk_buf_alloc(2048, 0);
    memcpy(buf->data + 100, packet, len);
    dk_net_input_ip(kit.net, buf, buf->data + 100, len, kit.now);
    assert_int_equal(dk_udp_recv(s.sock, &d), 0);
    assert_ptr_equal(d.buf->data, buf->data + 100 + 28);
    assert_false(dk_buf_is_exclusive(buf));
    dk_buf_put(d.buf);
    assert_true(dk_buf_is_exclusive(buf));
    dk_buf_put(buf);
    kit_close(&kit);
}

static void test_udp_sends_pieces_where_they_lie(void **state)
{
    struct kit_sock s;
    struct dk_tx_piece pieces[DK_UDP_PIECES_MAX + 1];
    uint8_t expected[8 * 7];
    (void)state;
    start();
    kit_sock_open(&kit, &s, any, 7);
    struct dk_buf *buf = dk_buf_alloc(100, 0);
    memset(buf->data, 'a', 100);
    for (uint32_t i = 0; i <= DK_UDP_PIECES_MAX; i++) {
        buf->data[i * 8] = (uint8_t)i; /* odd lengths: the sum must know the place of each */
        pieces[i] = (struct dk_tx_piece){.data = buf->data + i * 8, .len = 7, .buf = buf};
    }
    for (uint32_t i = 0; i < 8; i++)
        memcpy(expected + i * 7, buf->data + i * 8, 7);
    assert_int_equal(dk_udp_send(s.sock, &peer4, pieces, 8, kit.now), 0);
    assert_ptr_equal(kit.frames[0].tx.pieces[7].data, buf->data + 56);
    kit_expect_udp(&kit, &peer4, expected, sizeof expected);
    assert_int_equal(dk_udp_send(s.sock, &peer6, pieces, 8, kit.now), 0);
    kit_expect_udp(&kit, &peer6, expected, sizeof expected);
    assert_int_equal(dk_udp_send(s.sock, &peer4, pieces, 9, kit.now), -EMSGSIZE);
    dk_buf_put(buf);
    kit_close(&kit);
}

static void test_udp_pieces_without_buffer_are_copied(void **state)
{
    struct kit_sock s;
    (void)state;
    start();
    kit_sock_open(&kit, &s, any, 7);
    assert_int_equal(kit_send_plain(&kit, &s, &peer4, "plain", 5), 0);
    assert_non_null(kit.frames[0].tx.pieces[0].buf);
    kit_expect_udp(&kit, &peer4, "plain", 5);
    kit_close(&kit);
}

static struct dk_buf *taken; /* what was offered, and taken */
static bool takes;

static void on_offer(void *arg, const struct dk_udp_datagram *d, struct dk_buf *buf)
{
    struct kit_sock *s = arg;
    assert_true(dk_ip_equal(&d->from.ip, &peer4.ip) && d->from.port == peer4.port);
    assert_true(dk_udp_is_empty(s->sock));
    assert_null(taken);
    if (takes)
        taken = buf;
    else
        dk_udp_keep(s->sock, d, buf);
}

static void expect_taken(const char *text)
{
    assert_non_null(taken);
    assert_int_equal(dk_buf_bytes(taken), strlen(text));
    assert_memory_equal(taken->data, text, strlen(text));
    dk_buf_put(taken);
    taken = NULL;
}

/* What the owner does not take waits, and so does what comes behind it, in order; of what is taken
 * no event tells. */
static void test_udp_offered_datagram_is_taken_or_waits(void **state)
{
    struct kit_sock s;
    (void)state;
    start();
    kit_sock_open(&kit, &s, us4.ip, 7);
    dk_udp_set_offer(s.sock, on_offer);
    takes = true;
    kit_udp(&kit, &peer4, &us4, "the way is learnt", 17);
    kit_expect_recv(&s, "the way is learnt", 17);
    kit_udp(&kit, &peer4, &us4, "one", 3);
    assert_int_equal(s.readable, 1);
    expect_taken("one");
    takes = false;
    kit_udp(&kit, &peer4, &us4, "two", 3);
    takes = true;
    kit_udp(&kit, &peer4, &us4, "three", 5);
    assert_null(taken);
    assert_int_equal(s.readable, 3);
    kit_expect_recv(&s, "two", 3);
    kit_expect_recv(&s, "three", 5);
    kit_udp(&kit, &peer4, &us4, "four", 4);
    expect_taken("four");
    assert_true(kit_stat(&kit, "udp.rx_datagrams") == 5 && kit_stat(&kit, "udp.rx_bytes") == 32);
    kit_close(&kit);
}

static void test_udp_checksums_are_checked(void **state)
{
    struct kit_sock s;
    uint8_t packet[100], datagram[60];
    (void)state;
    start();
    kit_sock_open(&kit, &s, any, 7);
    for (int v = 0; v < 2; v++) {
        const struct dk_endpoint *from = v ? &peer6 : &peer4, *to = v ? &us6 : &us4;
        const struct kit_ip ip = {.src = from->ip, .dst = to->ip, .protocol = DK_IP_UDP};
        const uint32_t len = kit_put_udp(datagram, from, to, "bytes", 5);
        datagram[10] ^= 1;
        kit_packet(&kit, packet, kit_put_ip(packet, &ip, datagram, len), NULL);
        datagram[10] ^= 1;
        dk_put_be16(datagram + 6, 0); /* none: optional for IPv4, an error for IPv6 */
        kit_packet(&kit, packet, kit_put_ip(packet, &ip, datagram, len), NULL);
    }
    assert_int_equal(kit_stat(&kit, "udp.checksum"), 2);
    assert_int_equal(kit_stat(&kit, "udp.no_checksum"), 1);
    kit_expect_recv(&s, "bytes", 5);
    assert_int_equal(s.readable, 1);
    kit_close(&kit);
}

/* A sum of zero is sent as all ones: zero would say that there is none. */
static void test_udp_checksum_zero_is_sent_as_ones(void **state)
{
    struct kit_sock s;
    struct kit_sent sent;
    uint8_t bytes[2] = {0};
    (void)state;
    start();
    kit_sock_open(&kit, &s, any, 7);
    kit_send(&kit, &s, &peer4, bytes, 2);
    kit_expect_ip(&kit, &sent);
    dk_put_be16(bytes, dk_get_be16(sent.data + 6)); /* the sum is then all ones */
    kit_send(&kit, &s, &peer4, bytes, 2);
    kit_expect_ip(&kit, &sent);
    assert_int_equal(dk_get_be16(sent.data + 6), 0xffff);
    kit_close(&kit);
}

static void test_udp_offloaded_checksum_has_the_pseudo_sum(void **state)
{
    struct kit_sock s;
    (void)state;
    start();
    kit.net->config.device_caps = DK_NETDEV_TX_CHECKSUM;
    dk_udp_tx_init(kit.net);
    kit_sock_open(&kit, &s, any, 7);
    kit_send(&kit, &s, &peer4, "abc", 3);
    const struct kit_frame *f = kit_next(&kit);
    assert_int_equal(f->tx.checksum_start, 34);
    assert_int_equal(f->tx.checksum_offset, 6);
    const uint32_t sum = dk_ip_pseudo_sum(&us4.ip, &peer4.ip, DK_IP_UDP, 11);
    assert_int_equal(dk_get_be16(f->bytes + 40), (sum & 0xffff) + (sum >> 16));
    kit_close(&kit);
}

static void test_udp_to_no_port_is_told(void **state)
{
    struct kit_sent sent;
    const struct dk_endpoint all = {ip4(10, 0, 0, 255), 7};
    (void)state;
    start();
    kit_udp(&kit, &peer4, &us4, "lost", 4);
    kit_expect_icmp(&kit, DK_ICMP4_UNREACHABLE, DK_ICMP4_PORT_UNREACHABLE, &sent);
    assert_true(dk_ip_equal(&sent.src, &us4.ip) && dk_ip_equal(&sent.dst, &peer4.ip));
    assert_int_equal(sent.len, 8 + 20 + 8 + 4);
    kit_udp(&kit, &peer6, &us6, "lost", 4);
    kit_expect_icmp(&kit, DK_ICMP6_UNREACHABLE, DK_ICMP6_PORT_UNREACHABLE, &sent);
    kit_udp(&kit, &peer4, &all, "lost", 4); /* to all: nobody answers */
    kit_expect_silence(&kit);
    assert_int_equal(kit_stat(&kit, "udp.no_port"), 2);
    assert_int_equal(kit_stat(&kit, "udp.nobody"), 1);
    kit_close(&kit);
}

/* Bound with REUSEADDR: several sockets on one port. */
static void open_shared(struct kit_sock *s, struct dk_ip ip, uint16_t port)
{
    struct kit_sock opened;
    kit_sock_open(&kit, &opened, any, 0); /* borrows its event function and is closed again */
    dk_udp_event_fn on_event = opened.sock->on_event;
    dk_udp_close(opened.sock);
    memset(s, 0, sizeof *s);
    assert_int_equal(dk_udp_open(kit.net, on_event, s, &s->sock), 0);
    assert_int_equal(dk_udp_set(s->sock, DK_UDP_REUSEADDR, 1), 0);
    assert_int_equal(dk_udp_bind(s->sock, &(struct dk_endpoint){ip, port}), 0);
}

static void test_udp_best_match_gets_the_datagram(void **state)
{
    struct kit_sock connected, ours, four, all;
    const struct dk_endpoint other = {ip4(10, 0, 0, 2), 10};
    (void)state;
    start();
    open_shared(&connected, us4.ip, 7);
    assert_int_equal(dk_udp_connect(connected.sock, &peer4), 0);
    open_shared(&ours, us4.ip, 7);
    open_shared(&four, ip4(0, 0, 0, 0), 7);
    open_shared(&all, any, 7); /* the last one, and the worst */
    kit_udp(&kit, &peer4, &us4, "a", 1);
    assert_int_equal(connected.readable, 1);
    kit_udp(&kit, &other, &us4, "b", 1);
    assert_int_equal(ours.readable, 1);
    dk_udp_close(ours.sock);
    kit_udp(&kit, &other, &us4, "c", 1);
    assert_int_equal(four.readable, 1);
    kit_udp(&kit, &peer6, &us6, "d", 1);
    assert_int_equal(all.readable, 1);
    kit_close(&kit);
}

/* What was found for the datagram before is not good for ever. */
static void test_udp_found_socket_is_looked_up_again_after_changes(void **state)
{
    struct kit_sock all, ours;
    const struct dk_endpoint other = {ip4(10, 0, 0, 2), 10};
    (void)state;
    start();
    open_shared(&all, any, 7);
    kit_udp(&kit, &peer4, &us4, "a", 1);
    kit_udp(&kit, &peer4, &us4, "b", 1);
    assert_int_equal(all.readable, 2);
    open_shared(&ours, us4.ip, 7);
    kit_udp(&kit, &peer4, &us4, "c", 1);
    assert_int_equal(ours.readable, 1);
    assert_int_equal(dk_udp_connect(ours.sock, &other), 0);
    kit_udp(&kit, &peer4, &us4, "d", 1);
    assert_int_equal(all.readable, 3);
    assert_int_equal(dk_udp_connect(ours.sock, NULL), 0);
    kit_udp(&kit, &peer4, &us4, "e", 1);
    assert_int_equal(ours.readable, 2);
    dk_udp_close(ours.sock);
    kit_udp(&kit, &peer4, &us4, "f", 1);
    assert_int_equal(all.readable, 4);
    kit_udp(&kit, &peer6, &us6, "g", 1);
    assert_int_equal(all.readable, 5);
    kit_close(&kit);
}

static void expect_sent(struct kit *k, uint16_t from, uint16_t to, uint8_t ttl)
{
    struct kit_sent sent;
    kit_expect_ip(k, &sent);
    assert_int_equal(dk_get_be16(sent.data), from);
    assert_int_equal(dk_get_be16(sent.data + 2), to);
    assert_int_equal(sent.ttl, ttl);
}

/* Nor is what is known of the one sent before. */
static void test_udp_sends_by_what_is_set_now(void **state)
{
    struct kit_sock s;
    struct kit_sent sent;
    const struct dk_endpoint other_port = {ip4(10, 0, 0, 2), 10};
    (void)state;
    start();
    kit_sock_open(&kit, &s, any, 7);
    assert_int_equal(kit_send(&kit, &s, &peer4, "one", 3), 0);
    expect_sent(&kit, 7, 9, 64);
    assert_int_equal(kit_send(&kit, &s, &other_port, "two", 3), 0);
    expect_sent(&kit, 7, 10, 64);
    assert_int_equal(dk_udp_set(s.sock, DK_UDP_TTL, 5), 0);
    assert_int_equal(kit_send(&kit, &s, &other_port, "three", 5), 0);
    expect_sent(&kit, 7, 10, 5);
    assert_int_equal(kit_send(&kit, &s, &peer6, "four", 4), 0);
    kit_expect_ip(&kit, &sent);
    assert_true(dk_ip_equal(&sent.dst, &peer6.ip) && dk_ip_equal(&sent.src, &us6.ip));
    assert_int_equal(kit_send(&kit, &s, &peer4, "five", 4), 0);
    kit_expect_ip(&kit, &sent);
    assert_true(dk_ip_equal(&sent.dst, &peer4.ip) && dk_ip_equal(&sent.src, &us4.ip));
    kit_close(&kit);
}

static void test_udp_among_equals_the_last_one_gets_it(void **state)
{
    struct kit_sock first, second;
    (void)state;
    start();
    open_shared(&first, us4.ip, 7);
    open_shared(&second, us4.ip, 7);
    kit_udp(&kit, &peer4, &us4, "a", 1);
    assert_int_equal(first.readable, 0);
    assert_int_equal(second.readable, 1);
    kit_close(&kit);
}

static void test_udp_bind_refuses_what_is_taken_or_not_ours(void **state)
{
    struct kit_sock s;
    struct dk_udp_sock *t;
    (void)state;
    start();
    kit_sock_open(&kit, &s, us4.ip, 7);
    assert_int_equal(dk_udp_open(kit.net, NULL, NULL, &t), 0);
    assert_int_equal(dk_udp_bind(t, &us4), -EADDRINUSE);
    assert_int_equal(dk_udp_bind(t, &(struct dk_endpoint){any, 7}), -EADDRINUSE);
    assert_int_equal(dk_udp_bind(t, &(struct dk_endpoint){ip4(0, 0, 0, 0), 7}), -EADDRINUSE);
    assert_int_equal(dk_udp_set(t, DK_UDP_REUSEADDR, 1), 0);
    assert_int_equal(dk_udp_bind(t, &us4), -EADDRINUSE); /* both must want it */
    assert_int_equal(dk_udp_bind(t, &(struct dk_endpoint){ip4(10, 0, 0, 3), 7}), -EADDRNOTAVAIL);
    assert_int_equal(dk_udp_bind(t, &us6), 0); /* another version is no conflict */
    assert_int_equal(dk_udp_bind(t, &us6), -EINVAL);
    dk_udp_close(t);
    dk_udp_close(s.sock);
    open_shared(&s, us4.ip, 7); /* free at once */
    assert_int_equal(dk_udp_open(kit.net, NULL, NULL, &t), 0);
    assert_int_equal(dk_udp_bind(t, &us4), -EADDRINUSE);
    kit_close(&kit);
}

/* RFC 6056: no two alike, in the range, and not one after the other. */
static void test_udp_ephemeral_ports_are_distinct_and_not_in_order(void **state)
{
    enum { PORTS = 200 };
    struct kit_sock s[PORTS];
    static bool seen[65536];
    uint32_t next = 0;
    (void)state;
    start();
    for (int i = 0; i < PORTS; i++) {
        kit_sock_open(&kit, &s[i], any, 0);
        const uint16_t port = dk_udp_local(s[i].sock)->port;
        assert_true(port >= 32768 && !seen[port]);
        seen[port] = true;
        next += i > 0 && port == dk_udp_local(s[i - 1].sock)->port + 1;
    }
    assert_true(next < 5);
    kit_close(&kit);
}

static void test_udp_connected_takes_only_from_its_peer(void **state)
{
    struct kit_sock s;
    const struct dk_endpoint other = {ip4(10, 0, 0, 3), 9};
    (void)state;
    start();
    kit_sock_open(&kit, &s, any, 7);
    assert_int_equal(dk_udp_connect(s.sock, &peer4), 0);
    assert_true(dk_ip_equal(&dk_udp_local(s.sock)->ip, &us4.ip));
    kit_udp(&kit, &other, &us4, "no", 2);
    assert_int_equal(s.readable, 0);
    kit_udp(&kit, &peer4, &us4, "yes", 3);
    kit_expect_recv(&s, "yes", 3);
    assert_int_equal(kit_send(&kit, &s, NULL, "to it", 5), 0);
    kit_forget(&kit);
    assert_int_equal(dk_udp_connect(s.sock, NULL), 0);
    assert_int_equal(kit_send(&kit, &s, NULL, "to it", 5), -EDESTADDRREQ);
    kit_udp(&kit, &other, &us4, "now", 3);
    kit_expect_recv(&s, "now", 3);
    kit_close(&kit);
}

static void test_udp_closed_while_connected_is_gone(void **state)
{
    struct kit_sock s, other;
    struct kit_sent sent;
    (void)state;
    start();
    kit_sock_open(&kit, &other, any, 8);
    assert_int_equal(dk_udp_connect(other.sock, &peer6), 0); /* there still are connected ones */
    kit_sock_open(&kit, &s, any, 7);
    assert_int_equal(dk_udp_connect(s.sock, &peer4), 0);
    dk_udp_close(s.sock);
    kit_udp(&kit, &peer4, &us4, "late", 4);
    assert_int_equal(s.readable, 0);
    kit_expect_icmp(&kit, DK_ICMP4_UNREACHABLE, DK_ICMP4_PORT_UNREACHABLE, &sent);
    kit_close(&kit);
}

static void icmp_about(struct kit_sock *s, const struct dk_endpoint *to, uint8_t type, uint8_t code,
                       uint32_t rest, uint32_t len)
{
    static uint8_t packet[3000], datagram[3000], bytes[2900];
    const struct dk_endpoint from = {to->ip.version == 4 ? us4.ip : us6.ip,
                                     dk_udp_local(s->sock)->port};
    const struct kit_ip ip = {.src = from.ip, .dst = to->ip, .protocol = DK_IP_UDP};
    kit_put_ip(packet, &ip, datagram, kit_put_udp(datagram, &from, to, bytes, len));
    kit_icmp(&kit, &to->ip, &from.ip, type, code, rest, packet, 48 + 8);
}

static void test_udp_icmp_error_reaches_the_connected_socket(void **state)
{
    struct kit_sock s, other;
    (void)state;
    start();
    kit_sock_open(&kit, &s, any, 7);
    kit_sock_open(&kit, &other, any, 8);
    assert_int_equal(dk_udp_connect(s.sock, &peer4), 0);
    icmp_about(&s, &peer4, DK_ICMP4_UNREACHABLE, DK_ICMP4_PORT_UNREACHABLE, 0, 100);
    assert_int_equal(s.errors, 1);
    assert_int_equal(other.errors, 0);
    assert_int_equal(kit_send(&kit, &s, NULL, "x", 1), -ECONNREFUSED);
    assert_int_equal(kit_send(&kit, &s, NULL, "x", 1), 0);
    assert_int_equal(kit_send(&kit, &s, NULL, "x", 1), 0); /* goes where one went before */
    icmp_about(&s, &peer4, DK_ICMP4_UNREACHABLE, DK_ICMP4_PORT_UNREACHABLE, 0, 100);
    assert_int_equal(kit_send(&kit, &s, NULL, "x", 1), -ECONNREFUSED);
    icmp_about(&s, &peer4, DK_ICMP4_UNREACHABLE, DK_ICMP4_HOST_UNREACHABLE, 0, 100);
    assert_int_equal(dk_udp_take_error(s.sock), -EHOSTUNREACH);
    icmp_about(&other, &peer4, DK_ICMP4_UNREACHABLE, DK_ICMP4_PORT_UNREACHABLE, 0, 100);
    assert_int_equal(other.errors, 0); /* not connected: nobody to tell */
    assert_int_equal(dk_udp_connect(s.sock, &peer6), 0);
    icmp_about(&s, &peer6, DK_ICMP6_UNREACHABLE, DK_ICMP6_PORT_UNREACHABLE, 0, 100);
    assert_int_equal(dk_udp_take_error(s.sock), -ECONNREFUSED);
    kit_close(&kit);
}

static uint32_t path_mtu(struct dk_ip to)
{
    struct dk_ip src = {.version = 0};
    uint32_t mtu;
    assert_int_equal(dk_ip_route(kit.net, &to, &src, &mtu), 0);
    return mtu;
}

static void test_udp_too_big_lowers_the_path_mtu_for_ten_minutes(void **state)
{
    struct kit_sock s;
    struct kit_sent sent;
    static uint8_t bytes[1400];
    (void)state;
    start();
    kit_sock_open(&kit, &s, any, 7);
    icmp_about(&s, &peer4, DK_ICMP4_UNREACHABLE, DK_ICMP4_TOO_BIG, 1000, 1400);
    assert_int_equal(path_mtu(peer4.ip), 1000);
    assert_int_equal(path_mtu(ip4(10, 0, 0, 3)), 1500);
    kit_send(&kit, &s, &peer4, bytes, sizeof bytes);
    kit_expect_ip(&kit, &sent);
    assert_true(sent.fragment && sent.more && sent.len <= 980);
    kit_expect_ip(&kit, &sent);
    icmp_about(&s, &peer6, DK_ICMP6_TOO_BIG, 0, 1300, 1400);
    assert_int_equal(path_mtu(peer6.ip), 1300);
    kit_pass(&kit, 601 * S);
    assert_int_equal(path_mtu(peer4.ip), 1500);
    assert_int_equal(path_mtu(peer6.ip), 1500);
    kit_close(&kit);
}

static void test_udp_too_big_that_is_forged_is_ignored(void **state)
{
    struct kit_sock s, closed;
    (void)state;
    start();
    kit_sock_open(&kit, &s, any, 7);
    kit_sock_open(&kit, &closed, any, 8);
    icmp_about(&s, &peer4, DK_ICMP4_UNREACHABLE, DK_ICMP4_TOO_BIG, 1000, 100); /* it did fit */
    icmp_about(&s, &peer4, DK_ICMP4_UNREACHABLE, DK_ICMP4_TOO_BIG, 67, 1400);
    icmp_about(&s, &peer4, DK_ICMP4_UNREACHABLE, DK_ICMP4_TOO_BIG, 1500, 1480);
    icmp_about(&s, &peer6, DK_ICMP6_TOO_BIG, 0, 1279, 1400);
    assert_int_equal(kit_stat(&kit, "pmtu.implausible"), 4);
    dk_udp_connect(closed.sock, &peer6);
    icmp_about(&closed, &peer4, DK_ICMP4_UNREACHABLE, DK_ICMP4_TOO_BIG, 1000, 1400);
    assert_int_equal(kit_stat(&kit, "udp.icmp_unmatched"), 1); /* it never sent there */
    assert_int_equal(path_mtu(peer4.ip), 1500);
    assert_int_equal(path_mtu(peer6.ip), 1500);
    kit_close(&kit);
}

/* A path that is said to take very little: packets of 552 bytes, which routers may fragment. */
static void test_udp_too_big_far_too_low_stops_at_the_floor(void **state)
{
    struct kit_sock s;
    struct kit_sent sent;
    static uint8_t bytes[500];
    (void)state;
    start();
    kit_sock_open(&kit, &s, any, 7);
    icmp_about(&s, &peer4, DK_ICMP4_UNREACHABLE, DK_ICMP4_TOO_BIG, 68, 1400);
    assert_int_equal(path_mtu(peer4.ip), 552);
    kit_send(&kit, &s, &peer4, bytes, sizeof bytes);
    kit_expect_ip(&kit, &sent);
    assert_true(!sent.fragment && !sent.dont_fragment);
    kit_close(&kit);
}

static void test_udp_too_big_without_a_number_takes_the_next_plateau(void **state)
{
    struct kit_sock s;
    (void)state;
    start();
    kit_sock_open(&kit, &s, any, 7);
    icmp_about(&s, &peer4, DK_ICMP4_UNREACHABLE, DK_ICMP4_TOO_BIG, 0, 1400); /* 1428 bytes */
    assert_int_equal(path_mtu(peer4.ip), 1006);
    kit_close(&kit);
}

static void test_udp_queue_is_bounded(void **state)
{
    struct kit_sock s;
    uint64_t bytes;
    uint8_t datagram[1000] = {0};
    (void)state;
    start();
    kit_sock_open(&kit, &s, any, 7);
    assert_int_equal(dk_udp_set(s.sock, DK_UDP_RCVBUF, 10 * 1256), 0);
    for (int i = 0; i < 30; i++)
        kit_udp(&kit, &peer4, &us4, datagram, sizeof datagram);
    assert_int_equal(dk_udp_pending(s.sock, &bytes), 10);
    assert_int_equal(bytes, 10000);
    assert_int_equal(kit_stat(&kit, "udp.queue_full"), 20);
    kit_expect_recv(&s, datagram, sizeof datagram);
    kit_udp(&kit, &peer4, &us4, datagram, sizeof datagram);
    assert_int_equal(dk_udp_pending(s.sock, &bytes), 10);
    kit_close(&kit);
}

/* As many wait as there are places for, of all sockets. */
static void test_udp_all_queues_together_are_bounded(void **state)
{
    struct kit_sock s[2];
    struct dk_udp_datagram d;
    (void)state;
    start();
    for (uint16_t i = 0; i < 2; i++) {
        kit_sock_open(&kit, &s[i], any, 7 + i);
        assert_int_equal(dk_udp_set(s[i].sock, DK_UDP_RCVBUF, 64 << 20), 0);
    }
    const struct dk_endpoint to[2] = {us4, {us4.ip, 8}};
    for (uint32_t i = 0; i < DK_UDP_WAITING_MAX + 10; i++)
        kit_udp(&kit, &peer4, &to[i < 10], "x", 1);
    assert_int_equal(kit_stat(&kit, "udp.queue_full"), 10);
    assert_int_equal(kit_stat(&kit, "udp.rx_datagrams"), DK_UDP_WAITING_MAX);
    assert_int_equal(dk_udp_recv(s[1].sock, &d), 0);
    dk_buf_put(d.buf);
    kit_udp(&kit, &peer4, &to[0], "y", 1);
    assert_int_equal(kit_stat(&kit, "udp.queue_full"), 10);
    kit_close(&kit);
}

static void test_udp_full_device_is_told_and_tells_when_it_has_room(void **state)
{
    struct kit_sock s;
    (void)state;
    start();
    kit_sock_open(&kit, &s, any, 7);
    kit.room = 0;
    assert_int_equal(kit_send(&kit, &s, &peer4, "x", 1), -EAGAIN);
    assert_int_equal(kit_send(&kit, &s, &peer4, "x", 1), -EAGAIN);
    kit.room = UINT32_MAX;
    assert_int_equal(s.writable, 0);
    dk_net_tx_room(kit.net, kit.now);
    assert_int_equal(s.writable, 1);
    assert_int_equal(kit_send(&kit, &s, &peer4, "x", 1), 0);
    kit_close(&kit);
}

static void test_udp_broadcast_needs_permission_and_reaches_all(void **state)
{
    struct kit_sock one, two, bound;
    struct kit_sent sent;
    uint64_t bytes;
    const struct dk_endpoint all = {ip4(10, 0, 0, 255), 7}, every = {ip4(255, 255, 255, 255), 7};
    (void)state;
    start();
    open_shared(&one, any, 7);
    open_shared(&two, ip4(0, 0, 0, 0), 7);
    open_shared(&bound, us4.ip, 7);
    assert_int_equal(kit_send(&kit, &one, &all, "x", 1), -EACCES);
    assert_int_equal(dk_udp_set(one.sock, DK_UDP_BROADCAST, 1), 0);
    assert_int_equal(kit_send(&kit, &one, &all, "x", 1), 0);
    kit_expect_ip(&kit, &sent);
    assert_int_equal(sent.eth.dst.bytes[0], 0xff);
    assert_int_equal(kit_send(&kit, &one, &every, "x", 1), 0);
    kit_expect_ip(&kit, &sent);
    kit_pass(&kit, 0);                 /* both came to ourselves too */
    assert_int_equal(two.readable, 1); /* one event tells of both */
    assert_int_equal(dk_udp_pending(two.sock, &bytes), 2);
    one.readable = two.readable = 0;
    kit_udp(&kit, &peer4, &all, "y", 1);
    assert_int_equal(one.readable, 1);
    assert_int_equal(two.readable, 1);
    assert_int_equal(bound.readable, 0);
    kit_close(&kit);
}

/* What is received is the reader's: to write to, and with the sender's address behind it. */
static void test_udp_broadcast_reaches_each_in_memory_of_its_own(void **state)
{
    struct kit_sock socks[3];
    struct dk_udp_datagram got[3];
    const struct dk_endpoint all = {ip4(10, 0, 0, 255), 7};
    (void)state;
    start();
    for (int i = 0; i < 3; i++)
        open_shared(&socks[i], any, 7);
    kit_udp(&kit, &peer4, &all, "datagram", 8);
    for (int i = 0; i < 3; i++)
        assert_int_equal(dk_udp_recv(socks[i].sock, &got[i]), 0);
    for (int i = 0; i < 3; i++) {
        assert_memory_equal(got[i].buf->data, "datagram", 8);
        memset(got[i].buf->data, 'x', 8);
        dk_buf_put(got[i].buf);
    }
    assert_int_equal(kit_stat(&kit, "udp.rx_copied"), 2);
    kit_close(&kit);
}

static void test_udp_group_reaches_those_that_joined(void **state)
{
    struct kit_sock in, out;
    const struct dk_endpoint g4 = {ip4(239, 1, 2, 3), 7}, g6 = {ip6("ff05::1:3"), 7};
    (void)state;
    start();
    open_shared(&in, any, 7);
    open_shared(&out, any, 7);
    kit_udp(&kit, &peer4, &g4, "early", 5);
    assert_int_equal(kit_stat(&kit, "ip4.group"), 1);
    assert_int_equal(dk_udp_join(in.sock, &us4.ip, kit.now), -EINVAL);
    assert_int_equal(dk_udp_join(in.sock, &g4.ip, kit.now), 0);
    assert_int_equal(dk_udp_join(in.sock, &g4.ip, kit.now), -EADDRINUSE);
    assert_int_equal(dk_udp_join(in.sock, &g6.ip, kit.now), 0);
    kit_udp(&kit, &peer4, &g4, "four", 4);
    kit_udp(&kit, &peer6, &g6, "six", 3);
    kit_expect_recv(&in, "four", 4);
    kit_expect_recv(&in, "six", 3);
    assert_int_equal(out.readable, 0);
    assert_int_equal(dk_udp_leave(in.sock, &g4.ip, kit.now), 0);
    assert_int_equal(dk_udp_leave(in.sock, &g4.ip, kit.now), -EADDRNOTAVAIL);
    kit_udp(&kit, &peer4, &g4, "late", 4);
    assert_int_equal(in.readable, 2);
    kit_close(&kit);
}

static void test_udp_group_sent_to_comes_back_if_wanted(void **state)
{
    struct kit_sock s;
    struct kit_sent sent;
    const struct dk_endpoint group = {ip4(239, 1, 2, 3), 7};
    (void)state;
    start();
    kit_sock_open(&kit, &s, any, 7);
    dk_udp_join(s.sock, &group.ip, kit.now);
    kit_forget(&kit);
    assert_int_equal(kit_send(&kit, &s, &group, "x", 1), 0);
    kit_expect_ip(&kit, &sent);
    assert_int_equal(sent.ttl, 1);
    assert_memory_equal(sent.eth.dst.bytes, ((uint8_t[]){1, 0, 0x5e, 1, 2, 3}), 6);
    kit_pass(&kit, 0);
    kit_expect_recv(&s, "x", 1);
    dk_udp_set(s.sock, DK_UDP_MULTICAST_LOOP, 0);
    kit_send(&kit, &s, &group, "x", 1);
    kit_pass(&kit, 0);
    assert_int_equal(s.readable, 1);
    kit_close(&kit);
}

static void test_udp_to_ourselves_never_leaves(void **state)
{
    struct kit_sock a, b;
    static uint8_t big[60000];
    const struct dk_endpoint lo4 = {ip4(127, 0, 0, 1), 8}, lo6 = {ip6("::1"), 8},
                             self = {us4.ip, 8};
    (void)state;
    start();
    kit_sock_open(&kit, &a, any, 7);
    kit_sock_open(&kit, &b, any, 8);
    assert_int_equal(kit_send(&kit, &a, &self, big, sizeof big), 0);
    assert_int_equal(b.readable, 0); /* not inside of send */
    assert_int_equal(dk_net_next_due(kit.net), kit.now);
    kit_pass(&kit, 0);
    kit_expect_recv(&b, big, sizeof big);
    assert_int_equal(kit_send(&kit, &a, &lo4, "4", 1), 0);
    assert_int_equal(kit_send(&kit, &a, &lo6, "6", 1), 0);
    kit_pass(&kit, 0);
    kit_expect_recv(&b, "4", 1);
    kit_expect_recv(&b, "6", 1);
    kit_expect_silence(&kit);
    kit_close(&kit);
}

static void test_udp_to_no_port_of_ourselves_is_told(void **state)
{
    const struct dk_endpoint nobody[] = {
        {us4.ip, 8}, {ip4(127, 0, 0, 1), 8}, {ip6("fd00::1"), 8}, {ip6("::1"), 8}};
    struct kit_sock s;
    (void)state;
    start();
    kit_sock_open(&kit, &s, any, 7);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(dk_udp_connect(s.sock, &nobody[i]), 0);
        assert_int_equal(kit_send(&kit, &s, NULL, "x", 1), 0);
        kit_pass(&kit, 1);
        assert_int_equal(dk_udp_take_error(s.sock), -ECONNREFUSED);
    }
    kit_expect_silence(&kit);
    kit_close(&kit);
}

static void test_udp_to_ourselves_without_room_is_told(void **state)
{
    struct kit_sock a, b;
    const struct dk_endpoint self = {us4.ip, 8};
    int error = 0;
    uint32_t sent = 0;
    uint64_t bytes;
    (void)state;
    start();
    kit_sock_open(&kit, &a, any, 7);
    kit_sock_open(&kit, &b, any, 8);
    while ((error = kit_send(&kit, &a, &self, "x", 1)) == 0)
        sent++;
    assert_int_equal(error, -EAGAIN);
    assert_true(sent >= 64 && sent <= 1024);
    kit_pass(&kit, 0);
    assert_int_equal(a.writable, 1);
    assert_true(b.readable > 0);
    assert_int_equal(dk_udp_pending(b.sock, &bytes), sent);
    kit_close(&kit);
}

static void close_both(void *arg, struct dk_udp_sock *sock, uint32_t events)
{
    struct dk_udp_sock **both = arg;
    (void)sock;
    (void)events;
    dk_udp_close(both[0]);
    dk_udp_close(both[1]);
}

static void test_udp_handler_may_close_any_socket(void **state)
{
    struct dk_udp_sock *both[2];
    const struct dk_endpoint all = {ip4(10, 0, 0, 255), 7};
    (void)state;
    start();
    for (int i = 0; i < 2; i++) {
        assert_int_equal(dk_udp_open(kit.net, close_both, both, &both[i]), 0);
        dk_udp_set(both[i], DK_UDP_REUSEADDR, 1);
        assert_int_equal(dk_udp_bind(both[i], &(struct dk_endpoint){any, 7}), 0);
    }
    kit_udp(&kit, &peer4, &all, "x", 1); /* for both; the first that is told closes both */
    kit_close(&kit);
}

static void test_udp_longer_than_any_packet_is_refused(void **state)
{
    struct kit_sock s;
    static uint8_t bytes[65536];
    (void)state;
    start();
    kit_sock_open(&kit, &s, any, 7);
    assert_int_equal(kit_send(&kit, &s, &peer4, bytes, 65508), -EMSGSIZE);
    assert_int_equal(kit_send(&kit, &s, &peer6, bytes, 65528), -EMSGSIZE);
    kit_expect_silence(&kit);
    kit_close(&kit);
}

/* Cut anywhere, a datagram is dropped and counted once; with any byte wrong it does no harm. */
static void test_udp_malformed_at_every_byte_is_counted(void **state)
{
    struct kit_sock s;
    uint8_t packet[100], datagram[60], bad[100];
    struct dk_udp_datagram d;
    (void)state;
    start();
    kit_sock_open(&kit, &s, any, 7);
    for (int v = 0; v < 2; v++) {
        const struct dk_endpoint *from = v ? &peer6 : &peer4, *to = v ? &us6 : &us4;
        const struct kit_ip ip = {.src = from->ip, .dst = to->ip, .protocol = DK_IP_UDP};
        const uint32_t len =
            kit_put_ip(packet, &ip, datagram, kit_put_udp(datagram, from, to, "some bytes", 10));
        for (uint32_t cut = 1; cut < len; cut++) {
            const uint64_t before = kit_drops(&kit);
            kit_packet(&kit, packet, cut, NULL);
            assert_int_equal(kit_drops(&kit), before + 1);
        }
        for (uint32_t at = 0; at < len; at++) {
            for (int bit = 0; bit < 8; bit++) {
                memcpy(bad, packet, len);
                bad[at] ^= (uint8_t)(1 << bit);
                kit_packet(&kit, bad, len, NULL);
                while (dk_udp_recv(s.sock, &d) == 0)
                    dk_buf_put(d.buf);
            }
        }
    }
    kit_close(&kit);
}

int main(void)
{
    alarm(120);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_udp_receives_what_is_sent_to_it),
        cmocka_unit_test(test_udp_receives_a_view_of_the_frame),
        cmocka_unit_test(test_udp_sends_pieces_where_they_lie),
        cmocka_unit_test(test_udp_pieces_without_buffer_are_copied),
        cmocka_unit_test(test_udp_offered_datagram_is_taken_or_waits),
        cmocka_unit_test(test_udp_checksums_are_checked),
        cmocka_unit_test(test_udp_checksum_zero_is_sent_as_ones),
        cmocka_unit_test(test_udp_offloaded_checksum_has_the_pseudo_sum),
        cmocka_unit_test(test_udp_to_no_port_is_told),
        cmocka_unit_test(test_udp_best_match_gets_the_datagram),
        cmocka_unit_test(test_udp_found_socket_is_looked_up_again_after_changes),
        cmocka_unit_test(test_udp_sends_by_what_is_set_now),
        cmocka_unit_test(test_udp_among_equals_the_last_one_gets_it),
        cmocka_unit_test(test_udp_bind_refuses_what_is_taken_or_not_ours),
        cmocka_unit_test(test_udp_ephemeral_ports_are_distinct_and_not_in_order),
        cmocka_unit_test(test_udp_connected_takes_only_from_its_peer),
        cmocka_unit_test(test_udp_closed_while_connected_is_gone),
        cmocka_unit_test(test_udp_icmp_error_reaches_the_connected_socket),
        cmocka_unit_test(test_udp_too_big_lowers_the_path_mtu_for_ten_minutes),
        cmocka_unit_test(test_udp_too_big_that_is_forged_is_ignored),
        cmocka_unit_test(test_udp_too_big_far_too_low_stops_at_the_floor),
        cmocka_unit_test(test_udp_too_big_without_a_number_takes_the_next_plateau),
        cmocka_unit_test(test_udp_queue_is_bounded),
        cmocka_unit_test(test_udp_all_queues_together_are_bounded),
        cmocka_unit_test(test_udp_full_device_is_told_and_tells_when_it_has_room),
        cmocka_unit_test(test_udp_broadcast_needs_permission_and_reaches_all),
        cmocka_unit_test(test_udp_broadcast_reaches_each_in_memory_of_its_own),
        cmocka_unit_test(test_udp_group_reaches_those_that_joined),
        cmocka_unit_test(test_udp_group_sent_to_comes_back_if_wanted),
        cmocka_unit_test(test_udp_to_ourselves_never_leaves),
        cmocka_unit_test(test_udp_to_no_port_of_ourselves_is_told),
        cmocka_unit_test(test_udp_to_ourselves_without_room_is_told),
        cmocka_unit_test(test_udp_handler_may_close_any_socket),
        cmocka_unit_test(test_udp_longer_than_any_packet_is_refused),
        cmocka_unit_test(test_udp_malformed_at_every_byte_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
