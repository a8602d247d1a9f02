/* SPDX-License-Identifier: MIT */
/*
 * Traces: the text itself, addresses, and a frame header by header.
 */
#include "net/wire/text.h"

#include "net/wire/arp.h"
#include "net/wire/ethernet.h"
#include "net/wire/icmp4.h"
#include "net/wire/icmp6.h"
#include "net/wire/ipv4.h"
#include "net/wire/ipv6.h"
#include "net/wire/nd.h"
#include "net/wire/tcp.h"
#include "net/wire/udp.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>

#define PROTOCOL_ICMP4 1
#define PROTOCOL_TCP   6
#define PROTOCOL_UDP   17
#define PROTOCOL_ICMP6 58

/* One packet's way through the printers. */
struct packet {
    const uint8_t *bytes; /* of the transport */
    size_t len;
    struct dk_nd_ip ip;
};

void dk_text_add(struct dk_text *text, const char *format, ...)
{
    size_t room = text->size - text->len;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text->at + text->len, room, format, args);
    va_end(args);
    if (n > 0)
        text->len += (size_t)n < room ? (size_t)n : room - 1;
}

void dk_mac_print(struct dk_text *text, const struct dk_mac *mac)
{
    const uint8_t *b = mac->bytes;
    dk_text_add(text, "%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5]);
}

void dk_ip_print(struct dk_text *text, const struct dk_ip *ip)
{
    char buffer[INET6_ADDRSTRLEN] = "-";
    if (ip->version != 0)
        inet_ntop(ip->version == 6 ? AF_INET6 : AF_INET, ip->bytes, buffer, sizeof(buffer));
    dk_text_add(text, "%s", buffer);
}

static void print_reason(struct dk_text *text, enum dk_wire reason)
{
    dk_text_add(text, "[%s]", dk_wire_name(reason));
}

static void print_tcp(struct dk_text *text, const struct packet *packet)
{
    struct dk_tcp_header tcp;
    enum dk_wire reason = dk_tcp_header_parse(packet->bytes, packet->len, &tcp);
    if (reason != DK_WIRE_OK)
        print_reason(text, reason);
    else
        dk_tcp_header_print(text, &tcp, packet->len - tcp.header_len);
}

static void print_udp(struct dk_text *text, const struct packet *packet)
{
    struct dk_udp_header udp;
    enum dk_wire reason = dk_udp_header_parse(packet->bytes, packet->len, &udp);
    if (reason != DK_WIRE_OK)
        print_reason(text, reason);
    else
        dk_udp_header_print(text, &udp);
}

static void print_icmp4(struct dk_text *text, const struct packet *packet)
{
    struct dk_icmp4 icmp;
    enum dk_wire reason = dk_icmp4_parse(packet->bytes, packet->len, &icmp);
    if (reason != DK_WIRE_OK)
        print_reason(text, reason);
    else
        dk_icmp4_print(text, &icmp);
}

static void print_icmp6(struct dk_text *text, const struct packet *packet)
{
    struct dk_icmp6 icmp;
    struct dk_nd nd;
    enum dk_wire reason = dk_nd_parse(packet->bytes, packet->len, &packet->ip, &nd);
    if (reason == DK_WIRE_OK) {
        dk_nd_print(text, &nd);
        return;
    }
    if (reason == DK_WIRE_ND_TYPE)
        reason = dk_icmp6_parse(packet->bytes, packet->len, &icmp);
    if (reason != DK_WIRE_OK)
        print_reason(text, reason);
    else
        dk_icmp6_print(text, &icmp);
}

static void print_transport(struct dk_text *text, uint8_t protocol, const struct packet *packet)
{
    static const struct {
        uint8_t protocol;
        void (*print)(struct dk_text *text, const struct packet *packet);
    } printers[] = {{PROTOCOL_TCP, print_tcp},
                    {PROTOCOL_UDP, print_udp},
                    {PROTOCOL_ICMP4, print_icmp4},
                    {PROTOCOL_ICMP6, print_icmp6}};
    for (size_t i = 0; i < sizeof(printers) / sizeof(printers[0]); i++) {
        if (printers[i].protocol == protocol) {
            printers[i].print(text, packet);
            return;
        }
    }
    dk_text_add(text, "protocol %u, length %zu", protocol, packet->len);
}

static void print_ip4(struct dk_text *text, const uint8_t *bytes, size_t len)
{
    struct dk_ip4_header ip;
    enum dk_wire reason = dk_ip4_header_parse(bytes, len, &ip);
    if (reason != DK_WIRE_OK) {
        print_reason(text, reason);
        return;
    }
    dk_ip4_header_print(text, &ip);
    dk_text_add(text, ": ");
    struct packet packet = {
        bytes + ip.header_len, (size_t)ip.total_len - ip.header_len, {ip.src, ip.dst, ip.ttl}};
    if (dk_ip4_is_fragment(&ip))
        dk_text_add(text, "fragment of protocol %u, length %zu", ip.protocol, packet.len);
    else
        print_transport(text, ip.protocol, &packet);
}

static void print_ip6(struct dk_text *text, const uint8_t *bytes, size_t len)
{
    struct dk_ip6_header ip;
    struct dk_ip6_extensions found;
    enum dk_wire reason = dk_ip6_header_parse(bytes, len, &ip);
    if (reason != DK_WIRE_OK) {
        print_reason(text, reason);
        return;
    }
    dk_ip6_header_print(text, &ip);
    dk_text_add(text, ": ");
    size_t end = DK_IP6_HEADER_LEN + (size_t)ip.payload_len;
    reason = dk_ip6_extensions_walk(bytes, end, &found);
    if (reason != DK_WIRE_OK) {
        print_reason(text, reason);
        return;
    }
    struct packet packet = {
        bytes + found.payload_at, end - found.payload_at, {ip.src, ip.dst, ip.hop_limit}};
    if (found.is_fragment)
        dk_text_add(text, "fragment 0x%08x of protocol %u at %u%s, length %zu", found.fragment_id,
                    found.protocol, found.fragment_offset, found.more_fragments ? "+" : "",
                    packet.len);
    else
        print_transport(text, found.protocol, &packet);
}

void dk_packet_print(struct dk_text *text, const uint8_t *packet, size_t len)
{
    if (len > 0 && packet[0] >> 4 == 6)
        print_ip6(text, packet, len);
    else
        print_ip4(text, packet, len);
}

static void print_arp(struct dk_text *text, const uint8_t *bytes, size_t len)
{
    struct dk_arp arp;
    enum dk_wire reason = dk_arp_parse(bytes, len, &arp);
    if (reason != DK_WIRE_OK)
        print_reason(text, reason);
    else
        dk_arp_print(text, &arp);
}

void dk_frame_print(struct dk_text *text, const uint8_t *frame, size_t len)
{
    struct dk_eth_header eth;
    enum dk_wire reason = dk_eth_header_parse(frame, len, &eth);
    if (reason != DK_WIRE_OK) {
        print_reason(text, reason);
        return;
    }
    dk_eth_header_print(text, &eth);
    dk_text_add(text, ", ");
    const uint8_t *payload = frame + eth.header_len;
    len -= eth.header_len;
    switch (eth.type) {
    case DK_ETHERTYPE_ARP:
        print_arp(text, payload, len);
        break;
    case DK_ETHERTYPE_IP4:
        print_ip4(text, payload, len);
        break;
    case DK_ETHERTYPE_IP6:
        print_ip6(text, payload, len);
        break;
    default:
        dk_text_add(text, "ethertype 0x%04x, length %zu", eth.type, len);
    }
}
