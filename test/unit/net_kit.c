/* SPDX-License-Identifier: MIT */
#include "net_kit.h"

#include "../lib/received.h"
#include "base/bytes.h"
#include "base/checksum.h"
#include "mem/buf.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

const struct dk_mac kit_mac = {{2, 0, 0, 0, 0, 1}};
const struct dk_mac kit_peer_mac = {{2, 0, 0, 0, 0, 2}};

struct dk_ip ip4(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
    return (struct dk_ip){.bytes = {a, b, c, d}, .version = 4};
}

struct dk_ip ip6(const char *text)
{
    struct dk_ip ip = {.version = 6};
    assert_int_equal(inet_pton(AF_INET6, text, ip.bytes), 1);
    return ip;
}

static bool take_frame(void *arg, const struct dk_tx_frame *frame)
{
    struct kit *kit = arg;
    if (kit->room == 0)
        return false;
    kit->room--;
    assert_true(kit->num_frames < KIT_FRAMES_MAX);
    assert_true(frame->head_len <= DK_TX_HEAD_MAX);
    struct kit_frame *f = &kit->frames[kit->num_frames++];
    f->len = dk_tx_frame_bytes(frame);
    f->bytes = malloc(f->len);
    f->tx = *frame;
    memcpy(f->bytes, frame->head, frame->head_len);
    uint32_t at = frame->head_len;
    for (uint32_t i = 0; i < frame->num_pieces; i++) {
        memcpy(f->bytes + at, frame->pieces[i].data, frame->pieces[i].len);
        at += frame->pieces[i].len;
    }
    return true;
}

void kit_init(struct kit *kit)
{
    memset(kit, 0, sizeof *kit);
    kit->config = (struct dk_net_config){
        .mac = kit_mac,
        .mtu = 1500,
        .num_addresses = 3,
        .num_routes = 2,
        .addresses = {{ip4(10, 0, 0, 1), 24}, {ip6("fd00::1"), 64}, {ip6("fe80::1"), 64}},
        .routes = {{{.version = 0}, 0, ip4(10, 0, 0, 254)}, {{.version = 0}, 0, ip6("fd00::fe")}},
        .secret = "not known to all",
        .seed = 1,
        .skip_dad = true,
        .emit = take_frame,
        .emit_arg = kit,
    };
    kit->now = 1000 * S;
    kit->room = UINT32_MAX;
}

void kit_start(struct kit *kit)
{
    const char *why = NULL;
    kit->bufs = dk_buf_in_use();
    const int error = dk_net_create(&kit->net, &kit->config, kit->now, &why);
    if (error != 0)
        fail_msg("%s", why ? why : "no reason");
}

void kit_open(struct kit *kit)
{
    const struct dk_ip peers[] = {ip4(10, 0, 0, 2), ip4(10, 0, 0, 254), ip6("fd00::2"),
                                  ip6("fd00::fe"), ip6("fe80::2")};
    kit_init(kit);
    kit_start(kit);
    for (size_t i = 0; i < sizeof peers / sizeof peers[0]; i++)
        assert_int_equal(dk_net_add_neighbour(kit->net, &peers[i], &kit_peer_mac), 0);
    kit_pass(kit, 60 * S); /* announcements and reports are over */
    kit_forget(kit);
}

void kit_forget(struct kit *kit)
{
    for (uint32_t i = 0; i < kit->num_frames; i++)
        free(kit->frames[i].bytes);
    kit->num_frames = kit->read = 0;
}

void kit_close(struct kit *kit)
{
    dk_net_destroy(kit->net);
    kit_forget(kit);
    assert_int_equal(dk_buf_in_use(), kit->bufs);
}

void kit_pass(struct kit *kit, int64_t ns)
{
    const int64_t end = kit->now + ns;
    for (int64_t due = dk_net_next_due(kit->net); due <= end; due = dk_net_next_due(kit->net)) {
        if (due > kit->now)
            kit->now = due;
        dk_net_advance(kit->net, kit->now);
    }
    kit->now = end;
    dk_net_advance(kit->net, end);
}

const struct kit_frame *kit_next(struct kit *kit)
{
    return kit->read == kit->num_frames ? NULL : &kit->frames[kit->read++];
}

uint64_t kit_stat(struct kit *kit, const char *name)
{
    const char *n;
    uint64_t value;
    for (size_t i = 0; dk_net_stat(kit->net, i, &n, &value) == 0; i++) {
        if (strcmp(n, name) == 0)
            return value;
    }
    fail_msg("no counter %s", name);
    return 0;
}

/* What is counted but no drop of a frame that came in. */
static bool is_drop(const char *name)
{
    static const char *const others[] = {
        "link.rx",       "link.tx",           "link.tx_full",       "arp.requests",
        "arp.replies",   "arp.announcements", "address.duplicates", "address.defences",
        "nd.solicits",   "nd.adverts",        "nd.not_sent",        "neigh.failed",
        "neigh.changed", "neigh.evicted",     "neigh.table_full",   "neigh.queue_full",
        "neigh.dropped", "ip.no_route",       "loop.packets",       "pmtu.lowered",
        "frag.sent",     "frag.received",     "frag.reassembled",   "frag.timeout",
        "frag.evicted",  "icmp.errors",       "icmp.limited",       "icmp.forbidden",
        "icmp.not_sent", "icmp.echo_replies", "igmp.queries",       "mld.queries",
        "group.reports", "udp.rx_datagrams",  "udp.rx_bytes",       "udp.tx_datagrams",
        "udp.tx_bytes",  "udp.tx_copied",     "udp.icmp_errors",
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (strcmp(others[i], name) == 0)
            return false;
    }
    return true;
}

uint64_t kit_drops(struct kit *kit)
{
    const char *name;
    uint64_t value, sum = 0;
    for (size_t i = 0; dk_net_stat(kit->net, i, &name, &value) == 0; i++)
        sum += is_drop(name) ? value : 0;
    return sum;
}

void kit_frame(struct kit *kit, const uint8_t *bytes, uint32_t len)
{
    struct dk_buf *buf = received(bytes, len);
    assert_non_null(buf);
    dk_net_input(kit->net, &(struct dk_rx_frame){.buf = buf, .data = buf->data, .len = len},
                 kit->now);
    dk_buf_put(buf);
    dk_net_advance(kit->net, kit->now);
}

static void frame_of(struct kit *kit, const uint8_t *payload, uint32_t len,
                     const struct dk_mac *mac, uint16_t type)
{
    static uint8_t bytes[KIT_PACKET_MAX + 18];
    const struct dk_eth_header eth = {.dst = mac ? *mac : kit_mac,
                                      .src = kit_peer_mac,
                                      .type = type,
                                      .vlan = kit->config.vlan,
                                      .tagged = kit->config.vlan != 0};
    const size_t at = dk_eth_header_emit(&eth, bytes);
    memcpy(bytes + at, payload, len);
    kit_frame(kit, bytes, (uint32_t)at + len);
}

void kit_packet(struct kit *kit, const uint8_t *packet, uint32_t len, const struct dk_mac *mac)
{
    frame_of(kit, packet, len, mac, packet[0] >> 4 == 6 ? DK_ETHERTYPE_IP6 : DK_ETHERTYPE_IP4);
}

void kit_arp(struct kit *kit, const struct dk_arp *arp, const struct dk_mac *mac)
{
    uint8_t bytes[DK_ARP_LEN];
    dk_arp_emit(arp, bytes);
    frame_of(kit, bytes, sizeof bytes, mac, DK_ETHERTYPE_ARP);
}

static uint32_t put_ip4(uint8_t *out, const struct kit_ip *ip, const void *payload, uint32_t len)
{
    const struct dk_ip4_header header = {.src = ip->src,
                                         .dst = ip->dst,
                                         .header_len = 20,
                                         .ttl = ip->ttl ? ip->ttl : 64,
                                         .protocol = ip->protocol,
                                         .total_len = (uint16_t)(20 + len),
                                         .id = ip->id,
                                         .fragment_offset = ip->offset,
                                         .more_fragments = ip->more};
    const size_t at = dk_ip4_header_emit(&header, out);
    memcpy(out + at, payload, len);
    return (uint32_t)at + len;
}

uint32_t kit_put_ip(uint8_t *out, const struct kit_ip *ip, const void *payload, uint32_t len)
{
    if (ip->dst.version == 4)
        return put_ip4(out, ip, payload, len);
    const bool fragment = ip->more || ip->offset != 0 || ip->atomic;
    const struct dk_ip6_header header = {.src = ip->src,
                                         .dst = ip->dst,
                                         .next_header = fragment ? DK_IP6_FRAGMENT : ip->protocol,
                                         .hop_limit = ip->ttl ? ip->ttl : 64,
                                         .payload_len = (uint16_t)(len + (fragment ? 8 : 0))};
    size_t at = dk_ip6_header_emit(&header, out);
    if (fragment)
        at += dk_ip6_fragment_emit(&(struct dk_ip6_fragment){.next_header = ip->protocol,
                                                             .more_fragments = ip->more,
                                                             .offset = ip->offset,
                                                             .id = ip->id},
                                   out + at);
    memcpy(out + at, payload, len);
    return (uint32_t)at + len;
}

uint32_t kit_put_udp(uint8_t *out, const struct dk_endpoint *src, const struct dk_endpoint *dst,
                     const void *payload, uint32_t len)
{
    const struct dk_udp_header header = {
        .src_port = src->port, .dst_port = dst->port, .len = (uint16_t)(8 + len)};
    dk_udp_header_emit(&header, out);
    memcpy(out + 8, payload, len);
    const uint32_t sum = dk_ip_pseudo_sum(&src->ip, &dst->ip, DK_IP_UDP, 8 + len);
    dk_put_be16(out + 6,
                dk_udp_checksum_finish(dk_checksum_finish(dk_checksum_add(sum, out, 8 + len))));
    return 8 + len;
}

uint32_t kit_put_icmp(uint8_t *out, const struct dk_ip *src, const struct dk_ip *dst, uint8_t type,
                      uint8_t code, uint32_t rest, const void *data, uint32_t len)
{
    memset(out, 0, 8);
    out[0] = type;
    out[1] = code;
    dk_put_be32(out + 4, rest);
    memcpy(out + 8, data, len);
    const uint32_t sum = dst->version == 4 ? 0 : dk_ip_pseudo_sum(src, dst, DK_IP_ICMPV6, 8 + len);
    dk_put_be16(out + 2, dk_checksum_finish(dk_checksum_add(sum, out, 8 + len)));
    return 8 + len;
}

/* The link address that a packet to dst comes with. */
static struct dk_mac mac_for(const struct kit *kit, const struct dk_ip *dst)
{
    if (dst->version == 6 && dst->bytes[0] == 0xff)
        return (struct dk_mac){
            {0x33, 0x33, dst->bytes[12], dst->bytes[13], dst->bytes[14], dst->bytes[15]}};
    if (dst->version == 4 && (dst->bytes[0] & 0xf0) == 0xe0)
        return (struct dk_mac){{1, 0, 0x5e, dst->bytes[1] & 0x7f, dst->bytes[2], dst->bytes[3]}};
    if (dst->version == 4 && dst->bytes[3] == 255)
        return DK_MAC_BROADCAST;
    return kit->config.mac;
}

void kit_udp(struct kit *kit, const struct dk_endpoint *src, const struct dk_endpoint *dst,
             const void *payload, uint32_t len)
{
    static uint8_t datagram[KIT_PACKET_MAX], packet[KIT_PACKET_MAX];
    const struct dk_mac mac = mac_for(kit, &dst->ip);
    const uint32_t bytes = kit_put_udp(datagram, src, dst, payload, len);
    const struct kit_ip ip = {.src = src->ip, .dst = dst->ip, .protocol = DK_IP_UDP};
    kit_packet(kit, packet, kit_put_ip(packet, &ip, datagram, bytes), &mac);
}

void kit_icmp(struct kit *kit, const struct dk_ip *src, const struct dk_ip *dst, uint8_t type,
              uint8_t code, uint32_t rest, const void *data, uint32_t len)
{
    static uint8_t message[KIT_PACKET_MAX], packet[KIT_PACKET_MAX];
    const struct dk_mac mac = mac_for(kit, dst);
    const uint32_t bytes = kit_put_icmp(message, src, dst, type, code, rest, data, len);
    const struct kit_ip ip = {
        .src = *src, .dst = *dst, .protocol = dst->version == 4 ? DK_IP_ICMP : DK_IP_ICMPV6};
    kit_packet(kit, packet, kit_put_ip(packet, &ip, message, bytes), &mac);
}

void kit_nd(struct kit *kit, const struct dk_ip *src, const struct dk_ip *dst, uint8_t hop_limit,
            const struct dk_nd *nd)
{
    uint8_t message[DK_ND_EMIT_MAX], packet[40 + DK_ND_EMIT_MAX];
    const struct dk_mac mac = mac_for(kit, dst);
    const uint32_t bytes = (uint32_t)dk_nd_emit(nd, message);
    const uint32_t sum = dk_ip_pseudo_sum(src, dst, DK_IP_ICMPV6, bytes);
    dk_put_be16(message + 2, dk_checksum_finish(dk_checksum_add(sum, message, bytes)));
    const struct kit_ip ip = {.src = *src, .dst = *dst, .protocol = DK_IP_ICMPV6, .ttl = hop_limit};
    kit_packet(kit, packet, kit_put_ip(packet, &ip, message, bytes), &mac);
}

void kit_parse(const struct kit_frame *frame, struct kit_sent *out)
{
    assert_int_equal(dk_eth_header_parse(frame->bytes, frame->len, &out->eth), DK_WIRE_OK);
    const uint8_t *packet = frame->bytes + out->eth.header_len;
    const uint32_t len = frame->len - out->eth.header_len;
    if (out->eth.type == DK_ETHERTYPE_IP4) {
        struct dk_ip4_header ip;
        assert_int_equal(dk_ip4_header_parse(packet, len, &ip), DK_WIRE_OK);
        assert_int_equal(ip.total_len, len);
        *out = (struct kit_sent){out->eth,
                                 ip.src,
                                 ip.dst,
                                 ip.protocol,
                                 ip.ttl,
                                 dk_ip4_is_fragment(&ip),
                                 ip.more_fragments,
                                 ip.dont_fragment,
                                 ip.fragment_offset,
                                 ip.id,
                                 packet + ip.header_len,
                                 len - ip.header_len};
        return;
    }
    struct dk_ip6_header ip;
    struct dk_ip6_extensions found;
    assert_int_equal(out->eth.type, DK_ETHERTYPE_IP6);
    assert_int_equal(dk_ip6_header_parse(packet, len, &ip), DK_WIRE_OK);
    assert_int_equal(ip.payload_len + 40, len);
    assert_int_equal(dk_ip6_extensions_walk(packet, len, &found), DK_WIRE_OK);
    *out = (struct kit_sent){out->eth,
                             ip.src,
                             ip.dst,
                             found.protocol,
                             ip.hop_limit,
                             found.is_fragment,
                             found.more_fragments,
                             true,
                             found.fragment_offset,
                             found.fragment_id,
                             packet + found.payload_at,
                             len - found.payload_at};
}

void kit_expect_ip(struct kit *kit, struct kit_sent *out)
{
    const struct kit_frame *frame = kit_next(kit);
    assert_non_null(frame);
    kit_parse(frame, out);
}

void kit_expect_arp(struct kit *kit, uint16_t operation, struct dk_arp *out)
{
    struct dk_eth_header eth;
    const struct kit_frame *frame = kit_next(kit);
    assert_non_null(frame);
    assert_int_equal(dk_eth_header_parse(frame->bytes, frame->len, &eth), DK_WIRE_OK);
    assert_int_equal(eth.type, DK_ETHERTYPE_ARP);
    assert_int_equal(dk_arp_parse(frame->bytes + eth.header_len, frame->len - eth.header_len, out),
                     DK_WIRE_OK);
    assert_int_equal(out->operation, operation);
}

void kit_expect_nd(struct kit *kit, uint8_t type, struct dk_nd *out, struct kit_sent *sent_out)
{
    kit_expect_icmp(kit, type, 0, sent_out);
    const struct dk_nd_ip ip = {
        .src = sent_out->src, .dst = sent_out->dst, .hop_limit = sent_out->ttl};
    assert_int_equal(dk_nd_parse(sent_out->data, sent_out->len, &ip, out), DK_WIRE_OK);
}

static void check_sum(const struct kit_sent *sent, uint8_t protocol)
{
    const uint32_t sum =
        protocol == DK_IP_ICMP ? 0 : dk_ip_pseudo_sum(&sent->src, &sent->dst, protocol, sent->len);
    assert_true(dk_checksum_is_good(sum, sent->data, sent->len));
}

void kit_expect_udp(struct kit *kit, const struct dk_endpoint *dst, const void *payload,
                    uint32_t len)
{
    struct kit_sent sent;
    kit_expect_ip(kit, &sent);
    assert_int_equal(sent.protocol, DK_IP_UDP);
    assert_true(dk_ip_equal(&sent.dst, &dst->ip));
    assert_int_equal(dk_get_be16(sent.data + 2), dst->port);
    assert_int_equal(sent.len, len + 8);
    assert_memory_equal(sent.data + 8, payload, len);
    check_sum(&sent, DK_IP_UDP);
}

void kit_expect_icmp(struct kit *kit, uint8_t type, uint8_t code, struct kit_sent *out)
{
    kit_expect_ip(kit, out);
    assert_int_equal(out->protocol, out->src.version == 4 ? DK_IP_ICMP : DK_IP_ICMPV6);
    assert_int_equal(out->data[0], type);
    assert_int_equal(out->data[1], code);
    check_sum(out, out->protocol);
}

void kit_expect_silence(struct kit *kit)
{
    assert_null(kit_next(kit));
}

static void on_event(void *arg, struct dk_udp_sock *sock, uint32_t events)
{
    struct kit_sock *s = arg;
    assert_ptr_equal(sock, s->sock);
    s->readable += (events & DK_UDP_READABLE) != 0;
    s->writable += (events & DK_UDP_WRITABLE) != 0;
    s->errors += (events & DK_UDP_ERROR) != 0;
}

void kit_sock_open(struct kit *kit, struct kit_sock *s, struct dk_ip ip, uint16_t port)
{
    memset(s, 0, sizeof *s);
    assert_int_equal(dk_udp_open(kit->net, on_event, s, &s->sock), 0);
    assert_int_equal(dk_udp_bind(s->sock, &(struct dk_endpoint){ip, port}), 0);
}

int kit_send(struct kit *kit, struct kit_sock *s, const struct dk_endpoint *to, const void *bytes,
             uint32_t len)
{
    struct dk_buf *buf = dk_buf_alloc(len ? len : 1, 0);
    memcpy(buf->data, bytes, len);
    const struct dk_tx_piece piece = {.data = buf->data, .len = len, .buf = buf};
    const int error = dk_udp_send(s->sock, to, &piece, 1, kit->now);
    dk_buf_put(buf);
    return error;
}

int kit_send_plain(struct kit *kit, struct kit_sock *s, const struct dk_endpoint *to,
                   const void *bytes, uint32_t len)
{
    uint8_t *copy = malloc(len ? len : 1);
    memcpy(copy, bytes, len);
    const struct dk_tx_piece piece = {.data = copy, .len = len};
    const int error = dk_udp_send(s->sock, to, &piece, 1, kit->now);
    memset(copy, 0xdd, len);
    free(copy);
    return error;
}

void kit_expect_recv(struct kit_sock *s, const void *bytes, uint32_t len)
{
    struct dk_udp_datagram datagram;
    assert_int_equal(dk_udp_recv(s->sock, &datagram), 0);
    assert_int_equal(dk_buf_bytes(datagram.buf), len);
    assert_memory_equal(datagram.buf->data, bytes, len);
    dk_buf_put(datagram.buf);
}
