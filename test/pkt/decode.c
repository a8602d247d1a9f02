/* SPDX-License-Identifier: MIT */
/*
 * Reads what the stack sends, and checks it as a strict receiver would.
 */
#include "pkt.h"

#include <stdlib.h>

uint32_t sum_bytes(uint32_t sum, const uint8_t *bytes, uint32_t len)
{
    uint64_t wide = sum;
    for (uint32_t i = 0; i + 1 < len; i += 2)
        wide += get16(bytes + i);
    if (len % 2 != 0)
        wide += (uint32_t)bytes[len - 1] << 8;
    while (wide >> 16 != 0)
        wide = (wide & 0xffff) + (wide >> 16);
    return (uint32_t)wide;
}

uint32_t sum_pseudo(const struct dk_ip *src, const struct dk_ip *dst, uint32_t protocol,
                    uint32_t len)
{
    uint32_t bytes = src->version == 4 ? 4 : 16;
    uint8_t tail[8];
    put32(tail, len);
    put32(tail + 4, protocol);
    return sum_bytes(sum_bytes(sum_bytes(0, src->bytes, bytes), dst->bytes, bytes), tail, 8);
}

uint16_t sum_finish(uint32_t sum)
{
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

/* ---- ICMP by meaning ------------------------------------------------------------------------- */

static const struct {
    const char *name;
    int type4, code4, type6, code6; /* -1: has none */
} icmps[ICMP_KINDS] = {
    [ICMP_ECHO] = {"echo", 8, 0, 128, 0},
    [ICMP_ECHO_REPLY] = {"echo-reply", 0, 0, 129, 0},
    [ICMP_UNREACHABLE_NET] = {"unreachable-net", 3, 0, 1, 0},
    [ICMP_UNREACHABLE_HOST] = {"unreachable-host", 3, 1, 1, 3},
    [ICMP_UNREACHABLE_PROTOCOL] = {"unreachable-protocol", 3, 2, 4, 1},
    [ICMP_UNREACHABLE_PORT] = {"unreachable-port", 3, 3, 1, 4},
    [ICMP_PROHIBITED] = {"prohibited", 3, 13, 1, 1},
    [ICMP_TOO_BIG] = {"too-big", 3, 4, 2, 0},
    [ICMP_TIME_EXCEEDED] = {"time-exceeded", 11, 0, 3, 0},
    [ICMP_REASSEMBLY_EXCEEDED] = {"reassembly-exceeded", 11, 1, 3, 1},
    [ICMP_PARAMETER] = {"parameter", 12, 0, 4, 0},
    [ICMP_SOURCE_QUENCH] = {"source-quench", 4, 0, -1, -1},
    [ICMP_ROUTER_SOLICIT] = {"router-solicit", -1, -1, 133, 0},
    [ICMP_MLD_REPORT] = {"mld-report", -1, -1, 143, 0},
};

const char *icmp_name(enum icmp icmp)
{
    return icmp < ICMP_KINDS ? icmps[icmp].name : "another";
}

bool icmp_by_name(const char *name, enum icmp *icmp_out)
{
    for (int i = 0; i < ICMP_KINDS; i++) {
        if (strcmp(icmps[i].name, name) == 0) {
            *icmp_out = (enum icmp)i;
            return true;
        }
    }
    return false;
}

bool icmp_type(int version, enum icmp icmp, uint8_t *type_out, uint8_t *code_out)
{
    int type = version == 4 ? icmps[icmp].type4 : icmps[icmp].type6;
    *type_out = (uint8_t)type;
    *code_out = (uint8_t)(version == 4 ? icmps[icmp].code4 : icmps[icmp].code6);
    return type >= 0;
}

static enum icmp icmp_find(int version, uint8_t type, uint8_t code)
{
    for (int i = 0; i < ICMP_KINDS; i++) {
        uint8_t t, c;
        bool any_code = i == ICMP_PARAMETER;
        if (icmp_type(version, (enum icmp)i, &t, &c) && t == type && (c == code || any_code))
            return (enum icmp)i;
    }
    if (version == 6 && (type == 131 || type == 132)) /* of the first version of MLD */
        return ICMP_MLD_REPORT;
    return ICMP_KINDS;
}

/* ---- Layers ---------------------------------------------------------------------------------- */

static void wrong(struct packet *p, const char *what)
{
    if (p->wrong == NULL)
        p->wrong = what;
}

static void tcp_sacks(struct packet *p, const uint8_t *at, uint32_t len)
{
    if (len < 10 || (len - 2) % 8 != 0)
        wrong(p, "a SACK option of a wrong length");
    for (uint32_t i = 2; i + 8 <= len && p->num_sacks < 4; i += 8, p->num_sacks++) {
        p->sacks[p->num_sacks][0] = get32(at + i);
        p->sacks[p->num_sacks][1] = get32(at + i + 4);
    }
}

static void tcp_option(struct packet *p, const uint8_t *at, uint32_t len)
{
    static const uint8_t lengths[] = {[2] = 4, [3] = 3, [4] = 2, [8] = 10};
    if (at[0] < sizeof(lengths) && lengths[at[0]] != 0 && lengths[at[0]] != len)
        wrong(p, "a TCP option of a wrong length");
    else if (at[0] == 2)
        p->mss = (uint16_t)get16(at + 2);
    else if (at[0] == 3)
        p->wscale = at[2];
    else if (at[0] == 4)
        p->sack_permitted = true;
    else if (at[0] == 5)
        tcp_sacks(p, at, len);
    else if (at[0] == 8) {
        p->has_ts = true;
        p->ts_val = get32(at + 2);
        p->ts_ecr = get32(at + 6);
    }
}

static void tcp_options(struct packet *p, const uint8_t *at, uint32_t len)
{
    while (len > 0 && at[0] != 0) {
        uint32_t size = at[0] == 1 ? 1 : len < 2 ? 0 : at[1];
        if (size == 0 || size > len || (at[0] != 1 && size < 2)) {
            wrong(p, "a TCP option that leaves the header");
            return;
        }
        if (at[0] != 1)
            tcp_option(p, at, size);
        at += size;
        len -= size;
    }
    if ((p->flags & SYN) == 0 && (p->mss != 0 || p->wscale >= 0 || p->sack_permitted))
        wrong(p, "an option of SYNs in another segment");
}

static void decode_tcp(struct packet *p, const uint8_t *at, uint32_t len)
{
    if (len < 20 || (uint32_t)(at[12] >> 4) * 4 < 20 || (uint32_t)(at[12] >> 4) * 4 > len) {
        wrong(p, "a TCP header of a wrong length");
        return;
    }
    p->kind = KIND_TCP;
    p->src_port = (uint16_t)get16(at);
    p->dst_port = (uint16_t)get16(at + 2);
    p->seq = get32(at + 4);
    p->ack = get32(at + 8);
    p->flags = at[13];
    p->window = (uint16_t)get16(at + 14);
    p->urgent = (uint16_t)get16(at + 18);
    if ((at[12] & 0xf) != 0)
        wrong(p, "reserved bits of TCP");
    uint32_t head = (uint32_t)(at[12] >> 4) * 4;
    tcp_options(p, at + 20, head - 20);
    if (sum_finish(sum_bytes(sum_pseudo(&p->src, &p->dst, 6, len), at, len)) != 0)
        wrong(p, "the TCP checksum");
    if ((p->flags & ACK) == 0 && (p->flags & (SYN | RST)) == 0)
        wrong(p, "a segment without ACK");
    if ((p->flags & SYN) != 0 && (p->flags & (FIN | RST)) != 0)
        wrong(p, "SYN with FIN or RST");
    p->payload_at = (uint32_t)(at - p->frame) + head;
    p->payload_len = len - head;
}

static void decode_udp(struct packet *p, const uint8_t *at, uint32_t len)
{
    if (len < 8 || get16(at + 4) != len) {
        wrong(p, "the UDP length");
        return;
    }
    p->kind = KIND_UDP;
    p->src_port = (uint16_t)get16(at);
    p->dst_port = (uint16_t)get16(at + 2);
    p->no_checksum = get16(at + 6) == 0;
    if (p->no_checksum)
        wrong(p, "a UDP datagram without checksum");
    else if (sum_finish(sum_bytes(sum_pseudo(&p->src, &p->dst, 17, len), at, len)) != 0)
        wrong(p, "the UDP checksum");
    p->payload_at = (uint32_t)(at - p->frame) + 8;
    p->payload_len = len - 8;
}

static void nd_option(struct packet *p, const uint8_t *at, uint32_t len, uint8_t wanted)
{
    while (len >= 8 && at[1] != 0 && (uint32_t)at[1] * 8 <= len) {
        if (at[0] == wanted)
            memcpy(&p->target_mac, at + 2, 6);
        len -= (uint32_t)at[1] * 8;
        at += (size_t)at[1] * 8;
    }
    if (len != 0)
        wrong(p, "an ND option of a wrong length");
}

static void decode_nd(struct packet *p, const uint8_t *at, uint32_t len)
{
    if (len < 24) {
        wrong(p, "a short ND message");
        return;
    }
    p->kind = at[0] == 135 ? KIND_WHO_HAS : KIND_IS_AT;
    p->target.version = 6;
    memcpy(p->target.bytes, at + 8, 16);
    p->icmp_rest = get32(at + 4);
    if (p->ttl != 255)
        wrong(p, "an ND message with a hop limit that is not 255");
    nd_option(p, at + 24, len - 24, at[0] == 135 ? 1 : 2);
}

static void decode_icmp(struct packet *p, const uint8_t *at, uint32_t len)
{
    if (len < 8) {
        wrong(p, "a short ICMP message");
        return;
    }
    int version = p->src.version;
    uint32_t sum = version == 4 ? 0 : sum_pseudo(&p->src, &p->dst, 58, len);
    if (sum_finish(sum_bytes(sum, at, len)) != 0)
        wrong(p, "the ICMP checksum");
    p->kind = KIND_ICMP;
    p->icmp = icmp_find(version, at[0], at[1]);
    p->icmp_rest = get32(at + 4);
    p->payload_at = (uint32_t)(at - p->frame) + 8;
    p->payload_len = len - 8;
    if (version == 6 && (at[0] == 135 || at[0] == 136))
        decode_nd(p, at, len);
}

static void decode_transport(struct packet *p, const uint8_t *at, uint32_t len)
{
    p->payload_at = (uint32_t)(at - p->frame);
    p->payload_len = len;
    if (p->kind == KIND_FRAGMENT)
        return;
    if (p->protocol == 6)
        decode_tcp(p, at, len);
    else if (p->protocol == 17)
        decode_udp(p, at, len);
    else if (p->protocol == (p->src.version == 4 ? 1 : 58))
        decode_icmp(p, at, len);
}

static void decode_ip4(struct packet *p, const uint8_t *at, uint32_t len)
{
    uint32_t head = len >= 20 ? (uint32_t)(at[0] & 0xf) * 4 : 0;
    if (head < 20 || head > len || get16(at + 2) != len) {
        wrong(p, "the lengths of the IPv4 header");
        return;
    }
    if (sum_finish(sum_bytes(0, at, head)) != 0)
        wrong(p, "the IPv4 checksum");
    p->src.version = p->dst.version = 4;
    memcpy(p->src.bytes, at + 12, 4);
    memcpy(p->dst.bytes, at + 16, 4);
    p->tos = at[1];
    p->fragment_id = get16(at + 4);
    p->dont_fragment = (at[6] & 0x40) != 0;
    p->more_fragments = (at[6] & 0x20) != 0;
    p->fragment_offset = (get16(at + 6) & 0x1fff) * 8;
    p->ttl = at[8];
    p->protocol = at[9];
    if (p->more_fragments || p->fragment_offset != 0)
        p->kind = KIND_FRAGMENT;
    decode_transport(p, at + head, len - head);
}

static void decode_ip6(struct packet *p, const uint8_t *at, uint32_t len)
{
    if (len < 40 || get16(at + 4) + 40 != len) {
        wrong(p, "the length of the IPv6 header");
        return;
    }
    p->src.version = p->dst.version = 6;
    memcpy(p->src.bytes, at + 8, 16);
    memcpy(p->dst.bytes, at + 24, 16);
    p->tos = (uint8_t)(get16(at) >> 4);
    p->ttl = at[7];
    p->protocol = at[6];
    uint32_t skip = 40;
    if (p->protocol == 0 && len >= 48) { /* hop-by-hop */
        p->protocol = at[40];
        skip = 40 + 8 + (uint32_t)at[41] * 8;
    }
    if (p->protocol == 44 && len >= skip + 8) {
        p->kind = KIND_FRAGMENT;
        p->protocol = at[skip];
        p->fragment_offset = get16(at + skip + 2) & 0xfff8;
        p->more_fragments = (at[skip + 3] & 1) != 0;
        p->fragment_id = get32(at + skip + 4);
        skip += 8;
    }
    if (skip <= len)
        decode_transport(p, at + skip, len - skip);
}

static void decode_arp(struct packet *p, const uint8_t *at, uint32_t len)
{
    static const uint8_t kind[] = {0, 1, 8, 0, 6, 4, 0};
    if (len < 28 || memcmp(at, kind, sizeof(kind)) != 0) {
        wrong(p, "an ARP packet of another kind");
        return;
    }
    p->kind = at[7] == 1 ? KIND_WHO_HAS : KIND_IS_AT;
    p->src.version = p->dst.version = p->target.version = 4;
    memcpy(p->src.bytes, at + 14, 4);
    memcpy(p->dst.bytes, at + 24, 4);
    memcpy(p->target.bytes, p->kind == KIND_WHO_HAS ? at + 24 : at + 14, 4);
    memcpy(&p->target_mac, at + 8, 6);
}

struct packet *decode(const uint8_t *frame, uint32_t len, int64_t at, uint32_t max_frame)
{
    struct packet *p = calloc(1, sizeof(*p) + len);
    memcpy(p->frame, frame, len);
    p->at = at;
    p->frame_len = len;
    p->wscale = -1;
    if (len < 14) {
        wrong(p, "a frame without header");
        return p;
    }
    memcpy(&p->mac_dst, frame, 6);
    memcpy(&p->mac_src, frame + 6, 6);
    uint32_t type = get16(frame + 12);
    p->ip_at = 14;
    if (type == 0x8100 && len >= 18) {
        p->vlan = get16(frame + 14) & 0xfff;
        type = get16(frame + 16);
        p->ip_at = 18;
    }
    if (len > max_frame)
        wrong(p, "longer than the MTU");
    if (type == 0x0800)
        decode_ip4(p, p->frame + p->ip_at, len - p->ip_at);
    else if (type == 0x86dd)
        decode_ip6(p, p->frame + p->ip_at, len - p->ip_at);
    else if (type == 0x0806)
        decode_arp(p, p->frame + p->ip_at, len - p->ip_at);
    else
        wrong(p, "an unknown type of frame");
    return p;
}
