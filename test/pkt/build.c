/* SPDX-License-Identifier: MIT */
/*
 * Packets that go in: made from a `<` line, byte by byte.
 */
#include "pkt.h"

#include <stdlib.h>

#define L4_MAX 65600

/* A packet being made: transport first, then what goes around it. */
struct draft {
    struct dk_ip src, dst;
    uint8_t protocol;
    uint8_t ttl;
    uint32_t len; /* of l4 */
    uint32_t ip_len;
    uint8_t l4[L4_MAX];
    uint8_t ip[FRAME_MAX + 128]; /* the Ethernet header's place first */
};

#define LINK 18 /* place for Ethernet and a tag */

static uint32_t parse_hex(struct test *t, const char *text, uint8_t *to, uint32_t max)
{
    uint32_t len = 0;
    for (; text[0] != '\0' && text[1] != '\0'; text += 2) {
        char byte[3] = {text[0], text[1], '\0'};
        char *end;
        if (len == max)
            test_fail(t, "too many bytes");
        to[len++] = (uint8_t)strtoul(byte, &end, 16);
        if (*end != '\0')
            test_fail(t, "\"%s\" is not hexadecimal", byte);
    }
    return len;
}

/* from=HOST[,PORT], to=HOST[,PORT] */
static void address_arg(struct test *t, const char *key, struct dk_ip *ip, uint16_t *port)
{
    const char *value = line_arg(t->line, key);
    if (value == NULL)
        return;
    char host[64];
    snprintf(host, sizeof(host), "%s", value);
    char *comma = strchr(host, ',');
    if (comma != NULL) {
        *comma = '\0';
        *port = (uint16_t)eval(t, comma + 1);
    }
    if (host[0] != '\0')
        *ip = parse_ip(t, host);
}

/* ---- TCP ------------------------------------------------------------------------------------- */

static bool parse_flags(const char *word, uint8_t *flags_out)
{
    static const char *const names[] = {"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"};
    char text[64];
    snprintf(text, sizeof(text), "%s", word);
    char *save = NULL;
    *flags_out = 0;
    if (strcmp(word, "none") == 0)
        return true;
    for (char *w = strtok_r(text, "|", &save); w; w = strtok_r(NULL, "|", &save)) {
        int i = 0;
        while (i < 8 && strcmp(names[i], w) != 0)
            i++;
        if (i == 8)
            return false;
        *flags_out |= (uint8_t)(1 << i);
    }
    return *flags_out != 0;
}

/* ts=VALUE[,ECHO]; by itself once both ends have the option. */
static uint32_t add_timestamps(struct test *t, struct flow *f, uint8_t flags, uint8_t *at)
{
    const char *value = line_arg(t->line, "ts");
    bool plain = line_flag(t->line, "ts");
    bool none = line_flag(t->line, "no-ts");
    if (none || (!value && !plain && !f->has_ts) || ((flags & RST) != 0 && !value))
        return 0;
    uint32_t val = f->ts_offset + (uint32_t)((t->now - t->start) / 1000000);
    uint32_t ecr = (flags & ACK) != 0 ? f->ts_last : 0;
    if (value != NULL) {
        val = (uint32_t)eval_part(t, &value);
        if (*value == ',')
            ecr = f->ts_base + (uint32_t)eval(t, value + 1);
    }
    at[0] = at[1] = 1;
    at[2] = 8;
    at[3] = 10;
    put32(at + 4, val);
    put32(at + 8, ecr);
    return 12;
}

/* sack=FROM:TO[,FROM:TO]...: numbers of the stack's side. */
static uint32_t add_sacks(struct test *t, struct flow *f, uint8_t *at)
{
    const char *sack = line_arg(t->line, "sack");
    int64_t from[4], to[4];
    if (sack == NULL)
        return 0;
    uint32_t n = eval_ranges(t, sack, from, to);
    at[0] = at[1] = 1;
    at[2] = 5;
    at[3] = (uint8_t)(2 + 8 * n);
    for (uint32_t i = 0; i < n; i++) {
        put32(at + 4 + 8 * i, f->iss + (uint32_t)from[i]);
        put32(at + 8 + 8 * i, f->iss + (uint32_t)to[i]);
    }
    return 4 + 8 * n;
}

static uint32_t add_options(struct test *t, struct flow *f, uint8_t flags, uint8_t *at)
{
    uint32_t len = 0;
    int64_t mss = line_number(t, "mss", 0), ws = line_number(t, "ws", -1);
    if (mss != 0) {
        at[0] = 2;
        at[1] = 4;
        put16(at + 2, (uint32_t)mss);
        len += 4;
    }
    if (ws >= 0) {
        memcpy(at + len, (uint8_t[]){1, 3, 3, (uint8_t)ws}, 4);
        len += 4;
    }
    if (line_flag(t->line, "sackok")) {
        memcpy(at + len, (uint8_t[]){1, 1, 4, 2}, 4);
        len += 4;
    }
    uint32_t ts = add_timestamps(t, f, flags, at + len);
    len += ts;
    if ((flags & SYN) != 0) {
        f->peer_ts = ts != 0;
        f->peer_ws = ws >= 0;
        f->has_ts = f->peer_ts && f->stack_ts;
    }
    len += add_sacks(t, f, at + len);
    const char *hex = line_arg(t->line, "opt");
    if (hex != NULL)
        len += parse_hex(t, hex, at + len, 40 - len);
    while (len % 4 != 0)
        at[len++] = 0;
    return len;
}

static void tcp_payload(struct test *t, struct draft *d, int64_t seq, int64_t end, uint32_t head)
{
    bool evil = line_flag(t->line, "evil");
    if (end < seq || end - seq > 65000)
        test_fail(t, "a payload of %lld bytes", (long long)(end - seq));
    for (int64_t i = seq; i < end; i++)
        d->l4[head + (uint32_t)(i - seq)] = evil ? 0xbb : pattern_in((uint64_t)(i - 1));
    d->len = head + (uint32_t)(end - seq);
}

static void build_tcp(struct test *t, struct draft *d, uint8_t flags)
{
    struct flow *f = t->flow;
    uint16_t sport = f->remote_port, dport = f->local_port;
    d->src = f->remote;
    d->dst = f->local;
    address_arg(t, "from", &d->src, &sport);
    address_arg(t, "to", &d->dst, &dport);
    const char *range = line_arg(t->line, "seq");
    if (range == NULL)
        test_fail(t, "seq= is missing");
    int64_t seq, end;
    eval_range(t, range, &seq, &end);
    int64_t ack = line_number(t, "ack", 0);
    d->protocol = 6;
    put16(d->l4, sport);
    put16(d->l4 + 2, dport);
    put32(d->l4 + 4, f->irs + (uint32_t)seq);
    put32(d->l4 + 8, (flags & ACK) != 0 || ack != 0 ? f->iss + (uint32_t)ack : 0);
    uint32_t head = 20 + add_options(t, f, flags, d->l4 + 20);
    d->l4[12] = (uint8_t)(line_number(t, "offset", head / 4) << 4);
    d->l4[13] = flags;
    put16(d->l4 + 14, (uint32_t)line_number(t, "win", 65535));
    put32(d->l4 + 16, 0);
    put16(d->l4 + 18, (uint32_t)line_number(t, "urg", 0));
    tcp_payload(t, d, seq, end, head);
}

/* ---- UDP, ICMP ------------------------------------------------------------------------------- */

static void build_udp(struct test *t, struct draft *d)
{
    uint16_t sport = 5000, dport = 7000;
    d->src = host_ip(t->version, 2);
    d->dst = host_ip(t->version, 1);
    address_arg(t, "from", &d->src, &sport);
    address_arg(t, "to", &d->dst, &dport);
    uint32_t bytes = (uint32_t)line_number(t, "len", 0);
    if (bytes + 8 > L4_MAX)
        test_fail(t, "a datagram of %u bytes", bytes);
    d->protocol = 17;
    d->len = 8 + bytes;
    put16(d->l4, sport);
    put16(d->l4 + 2, dport);
    put16(d->l4 + 4, (uint32_t)line_number(t, "udplen", d->len));
    bool evil = line_flag(t->line, "evil");
    for (uint32_t i = 0; i < bytes; i++)
        d->l4[8 + i] = evil ? 0xbb : pattern_in(i);
}

/* The packet that an error is about: the last that a line matched, or one of the flow. */
static uint32_t quote(struct test *t, struct draft *d, uint8_t *to, const char *what)
{
    if (strcmp(what, "last") == 0) {
        if (t->last == NULL)
            test_fail(t, "no packet came that could be quoted");
        uint32_t head = t->version == 4 ? 20 : 40;
        uint32_t have = t->last->frame_len - t->last->ip_at;
        uint32_t most = (uint32_t)line_number(t, "quotelen", t->version == 4 ? head + 8 : 1232);
        d->dst = t->last->src;
        memcpy(to, t->last->frame + t->last->ip_at, have < most ? have : most);
        return have < most ? have : most;
    }
    struct flow *f = t->flow;
    uint32_t head = t->version == 4 ? 20 : 40;
    memset(to, 0, head + 20);
    if (t->version == 4) {
        to[0] = 0x45;
        put16(to + 2, 1500);
        to[8] = 64;
        to[9] = 6;
        memcpy(to + 12, f->local.bytes, 4);
        memcpy(to + 16, f->remote.bytes, 4);
        put16(to + 10, sum_finish(sum_bytes(0, to, 20)));
    } else {
        to[0] = 0x60;
        put16(to + 4, 1460);
        to[6] = 6;
        to[7] = 64;
        memcpy(to + 8, f->local.bytes, 16);
        memcpy(to + 24, f->remote.bytes, 16);
    }
    put16(to + head, f->local_port);
    put16(to + head + 2, f->remote_port);
    put32(to + head + 4, f->iss + (uint32_t)eval(t, what));
    put32(to + head + 8, f->irs + 1);
    to[head + 12] = 0x50;
    to[head + 13] = ACK;
    d->dst = f->local;
    return head + (t->version == 4 ? 8 : 20);
}

static uint32_t icmp_rest(struct test *t, enum icmp icmp)
{
    if (icmp == ICMP_ECHO || icmp == ICMP_ECHO_REPLY) {
        uint32_t id = (uint32_t)line_number(t, "id", 1);
        return id << 16 | (uint32_t)line_number(t, "seq", 1);
    }
    return (uint32_t)line_number(t, "mtu", 0);
}

static void build_icmp(struct test *t, struct draft *d)
{
    enum icmp icmp;
    if (t->line->num_words < 3 || !icmp_by_name(t->line->word[2], &icmp))
        test_fail(t, "which ICMP message?");
    t->line->used[2] = true;
    d->protocol = t->version == 4 ? 1 : 58;
    d->src = host_ip(t->version, 2);
    d->dst = host_ip(t->version, 1);
    if (!icmp_type(t->version, icmp, d->l4, d->l4 + 1))
        test_fail(t, "no such message in IPv%d", t->version);
    put32(d->l4 + 4, icmp_rest(t, icmp));
    d->len = 8;
    const char *what = line_arg(t->line, "quote");
    if (what != NULL)
        d->len += quote(t, d, d->l4 + 8, what);
    uint16_t ignored;
    address_arg(t, "from", &d->src, &ignored);
    address_arg(t, "to", &d->dst, &ignored);
    uint32_t bytes = (uint32_t)line_number(t, "len", 0);
    if (d->len + bytes > L4_MAX)
        test_fail(t, "a message of %u bytes", bytes);
    for (uint32_t i = 0; i < bytes; i++)
        d->l4[d->len++] = pattern_in(i);
}

static void build_other(struct test *t, struct draft *d)
{
    d->protocol = (uint8_t)line_number(t, "proto", 253);
    d->src = host_ip(t->version, 2);
    d->dst = host_ip(t->version, 1);
    uint16_t ignored;
    address_arg(t, "from", &d->src, &ignored);
    address_arg(t, "to", &d->dst, &ignored);
    d->len = (uint32_t)line_number(t, "len", 0);
    memset(d->l4, 0x5a, d->len < L4_MAX ? d->len : L4_MAX);
}

static void checksum(struct test *t, struct draft *d)
{
    static const uint8_t places[256] = {[1] = 2, [6] = 16, [17] = 6, [58] = 2};
    uint32_t at = places[d->protocol];
    if (at == 0 || d->len < at + 2)
        return;
    put16(d->l4 + at, 0);
    if (line_flag(t->line, "nosum"))
        return;
    uint32_t sum = d->protocol == 1 ? 0 : sum_pseudo(&d->src, &d->dst, d->protocol, d->len);
    uint16_t value = sum_finish(sum_bytes(sum, d->l4, d->len));
    if (d->protocol == 17 && value == 0)
        value = 0xffff;
    put16(d->l4 + at, line_flag(t->line, "badsum") ? value ^ 0x5555u : value);
}

/* ---- IP -------------------------------------------------------------------------------------- */

/* frag=FROM+BYTES of the transport's bytes; all of them otherwise. */
static bool slice(struct test *t, struct draft *d, uint32_t *from, uint32_t *len, bool *more)
{
    const char *value = line_arg(t->line, "frag");
    *from = 0;
    *len = d->len;
    *more = line_flag(t->line, "more");
    if (value == NULL)
        return *more;
    char text[64];
    snprintf(text, sizeof(text), "%s", value);
    char *plus = strchr(text, '+');
    if (plus == NULL)
        test_fail(t, "frag=FROM+BYTES");
    *plus = '\0';
    *from = (uint32_t)eval(t, text);
    *len = (uint32_t)eval(t, plus + 1);
    bool last = line_flag(t->line, "last");
    *more = *more || (*from + *len < d->len && !last);
    return true;
}

static void wrap_ip4(struct test *t, struct draft *d)
{
    uint32_t from, len;
    bool more;
    slice(t, d, &from, &len, &more);
    uint8_t *ip = d->ip + LINK;
    const char *options = line_arg(t->line, "ipopt");
    uint32_t head = 20;
    if (options != NULL)
        head += parse_hex(t, options, ip + 20, 40);
    ip[0] = (uint8_t)(0x40 | head / 4);
    ip[1] = (uint8_t)line_number(t, "tos", 0);
    put16(ip + 2, head + len);
    put16(ip + 4, (uint32_t)line_number(t, "ipid", 77));
    bool df = line_flag(t->line, "df");
    put16(ip + 6,
          (df ? 0x4000u : 0) | (more ? 0x2000u : 0) | (uint32_t)line_number(t, "fragat", from) / 8);
    ip[8] = (uint8_t)line_number(t, "ttl", d->ttl);
    ip[9] = d->protocol;
    put16(ip + 10, 0);
    memcpy(ip + 12, d->src.bytes, 4);
    memcpy(ip + 16, d->dst.bytes, 4);
    put16(ip + 10, sum_finish(sum_bytes(0, ip, head)));
    memcpy(ip + head, d->l4 + from, len);
    d->ip_len = head + len;
}

/* ext=TYPE:HEX puts an extension header in, its first byte filled in. */
static uint32_t extension(struct test *t, struct draft *d, uint8_t *ip)
{
    const char *value = line_arg(t->line, "ext");
    if (value == NULL)
        return 0;
    int64_t type = eval_part(t, &value);
    if (*value != ':')
        test_fail(t, "ext=TYPE:HEX");
    uint32_t len = parse_hex(t, value + 1, ip + 40, 512);
    ip[6] = (uint8_t)type;
    ip[40] = d->protocol;
    return len;
}

static void wrap_ip6(struct test *t, struct draft *d)
{
    uint32_t from, len;
    bool more, fragment = slice(t, d, &from, &len, &more);
    uint8_t *ip = d->ip + LINK;
    uint32_t tos = (uint32_t)line_number(t, "tos", 0);
    put32(ip, 0x60000000u | tos << 20);
    ip[6] = d->protocol;
    uint32_t skip = extension(t, d, ip);
    if (fragment) {
        uint8_t *at = ip + 40 + skip;
        at[0] = d->protocol;
        at[1] = 0;
        put16(at + 2, ((uint32_t)line_number(t, "fragat", from) & 0xfff8) | (more ? 1u : 0));
        put32(at + 4, (uint32_t)line_number(t, "ipid", 77));
        ip[skip != 0 ? 40 : 6] = 44;
        skip += 8;
    }
    put16(ip + 4, skip + len);
    ip[7] = (uint8_t)line_number(t, "ttl", d->ttl);
    memcpy(ip + 8, d->src.bytes, 16);
    memcpy(ip + 24, d->dst.bytes, 16);
    memcpy(ip + 40 + skip, d->l4 + from, len);
    d->ip_len = 40 + skip + len;
}

/* poke=AT:VALUE changes a byte of the IP packet afterwards, poke2= another; cut= and pad= change
 * its length. */
static void damage(struct test *t, struct draft *d)
{
    static const char *const keys[] = {"poke", "poke2"};
    for (int i = 0; i < 2; i++) {
        const char *value = line_arg(t->line, keys[i]);
        int64_t at, byte;
        if (value == NULL)
            continue;
        eval_range(t, value, &at, &byte);
        if (at < 0 || at >= d->ip_len)
            test_fail(t, "poke= outside of the packet");
        d->ip[LINK + at] = (uint8_t)byte;
    }
    if (line_flag(t->line, "ipsum")) {
        put16(d->ip + LINK + 10, 0);
        uint32_t head = (uint32_t)(d->ip[LINK] & 0xf) * 4;
        put16(d->ip + LINK + 10, sum_finish(sum_bytes(0, d->ip + LINK, head)));
    }
    int64_t cut = line_number(t, "cut", 0);
    int64_t pad = line_number(t, "pad", 0);
    if (cut > d->ip_len || pad > 64)
        test_fail(t, "cut= or pad= is too large");
    memset(d->ip + LINK + d->ip_len, 0xee, (size_t)pad);
    d->ip_len += (uint32_t)(pad - cut);
}

/* ---- Ethernet -------------------------------------------------------------------------------- */

static struct dk_mac mac_arg(struct test *t, const char *key, struct dk_mac otherwise)
{
    const char *value = line_arg(t->line, key);
    return value ? parse_mac(t, value) : otherwise;
}

/* Returns where the frame begins: ip is LINK bytes further than the frame can begin. */
static uint8_t *wrap_link(uint8_t *ip, uint32_t type, uint32_t vlan, struct dk_mac src,
                          struct dk_mac dst)
{
    uint8_t *at = ip - (vlan != 0 ? 18 : 14);
    memcpy(at, &dst, 6);
    memcpy(at + 6, &src, 6);
    if (vlan != 0) {
        put16(at + 12, 0x8100);
        put16(at + 14, vlan);
    }
    put16(ip - 2, type);
    return at;
}

static void send_frame(struct test *t, uint8_t *ip, uint32_t len, uint32_t type, struct dk_mac src,
                       struct dk_mac dst)
{
    bool as_frame = line_arg(t->line, "dmac") || line_arg(t->line, "smac") ||
                    line_arg(t->line, "vlan") || line_flag(t->line, "frame") ||
                    line_arg(t->line, "type") || type == 0x0806;
    uint32_t vlan = (uint32_t)line_number(t, "vlan", t->config.vlan);
    src = mac_arg(t, "smac", src);
    dst = mac_arg(t, "dmac", dst);
    type = (uint32_t)line_number(t, "type", type);
    uint8_t *frame = wrap_link(ip, type, vlan, src, dst);
    line_done(t);
    host_input(t, frame, len + (uint32_t)(ip - frame), as_frame);
    host_settle(t);
}

static void send_packet(struct test *t, struct draft *d)
{
    checksum(t, d);
    if (t->version == 4)
        wrap_ip4(t, d);
    else
        wrap_ip6(t, d);
    damage(t, d);
    bool routed = d->src.bytes[0] != host_ip(t->version, 0).bytes[0];
    struct dk_ip from = routed ? host_ip(t->version, 254) : d->src;
    send_frame(t, d->ip + LINK, d->ip_len, t->version == 4 ? 0x0800 : 0x86dd, host_mac(&from),
               t->config.mac);
}

/* ---- Neighbours ------------------------------------------------------------------------------ */

static const struct dk_mac broadcast = {{255, 255, 255, 255, 255, 255}};

/* Of the body of an ARP packet: operation, sender, target. */
static uint32_t arp_body(uint8_t *at, uint32_t op, struct dk_mac smac, struct dk_ip sip,
                         struct dk_mac tmac, struct dk_ip tip)
{
    memcpy(at, (uint8_t[]){0, 1, 8, 0, 6, 4, 0, (uint8_t)op}, 8);
    memcpy(at + 8, &smac, 6);
    memcpy(at + 14, sip.bytes, 4);
    memcpy(at + 18, &tmac, 6);
    memcpy(at + 24, tip.bytes, 4);
    return 28;
}

/* Of an ND message with one option. */
static uint32_t nd_body(uint8_t *at, uint8_t type, uint8_t flags, const struct dk_ip *target,
                        uint8_t option, const struct dk_mac *mac)
{
    memset(at, 0, 24);
    at[0] = type;
    at[4] = flags;
    memcpy(at + 8, target->bytes, 16);
    if (option == 0)
        return 24;
    at[24] = option;
    at[25] = 1;
    memcpy(at + 26, mac, 6);
    return 32;
}

static struct dk_ip solicited_node(const struct dk_ip *ip)
{
    struct dk_ip group = {.version = 6};
    memcpy(group.bytes, (uint8_t[]){0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff}, 13);
    memcpy(group.bytes + 13, ip->bytes + 13, 3);
    return group;
}

static struct dk_ip all_nodes(void)
{
    struct dk_ip group = {.version = 6};
    group.bytes[0] = 0xff;
    group.bytes[1] = 2;
    group.bytes[15] = 1;
    return group;
}

static struct dk_mac group_mac(const struct dk_ip *group)
{
    struct dk_mac mac = {{0x33, 0x33}};
    memcpy(mac.bytes + 2, group->bytes + 12, 4);
    return mac;
}

/* `< who-has X from=Y [mac=]`, probe: from nobody; `< is-at X [mac=] [to=] [gratuitous]`. */
static void build_arp(struct test *t, struct draft *d, bool question)
{
    struct dk_ip target = parse_ip(t, t->line->word[2]);
    struct dk_ip from = host_ip(4, 2), to = host_ip(4, 1);
    uint16_t ignored;
    t->line->used[2] = true;
    address_arg(t, "from", &from, &ignored);
    address_arg(t, "to", &to, &ignored);
    struct dk_mac mac = mac_arg(t, "mac", host_mac(question ? &from : &target));
    bool gratuitous = line_flag(t->line, "gratuitous");
    if (line_flag(t->line, "probe"))
        from = (struct dk_ip){.version = 4};
    struct dk_mac none = {{0}};
    uint32_t op = (uint32_t)line_number(t, "op", question ? 1 : 2);
    uint32_t len =
        question ? arp_body(d->ip + LINK, op, mac, from, none, target)
                 : arp_body(d->ip + LINK, op, mac, target, t->config.mac, gratuitous ? target : to);
    send_frame(t, d->ip + LINK, len - (uint32_t)line_number(t, "cut", 0), 0x0806, mac,
               question || gratuitous ? broadcast : t->config.mac);
}

static void build_nd(struct test *t, struct draft *d, bool question)
{
    struct dk_ip target = parse_ip(t, t->line->word[2]);
    t->line->used[2] = true;
    bool probe = line_flag(t->line, "probe"), gratuitous = line_flag(t->line, "gratuitous");
    d->src = question ? host_ip(6, 2) : target;
    d->dst = question ? solicited_node(&target) : gratuitous ? all_nodes() : host_ip(6, 1);
    uint16_t ignored;
    address_arg(t, "from", &d->src, &ignored);
    address_arg(t, "to", &d->dst, &ignored);
    struct dk_mac mac = mac_arg(t, "mac", host_mac(question ? &d->src : &target));
    bool no_mac = probe || line_flag(t->line, "no-mac");
    if (probe)
        d->src = (struct dk_ip){.version = 6};
    uint8_t flags =
        (uint8_t)((gratuitous ? 0 : 0x40) | (line_flag(t->line, "no-override") ? 0 : 0x20));
    d->protocol = 58;
    d->ttl = 255;
    d->len = nd_body(d->l4, question ? 135 : 136, question ? 0 : flags, &target,
                     no_mac     ? 0
                     : question ? 1
                                : 2,
                     &mac);
    checksum(t, d);
    wrap_ip6(t, d);
    damage(t, d);
    bool group = d->dst.bytes[0] == 0xff;
    send_frame(t, d->ip + LINK, d->ip_len, 0x86dd, mac, group ? group_mac(&d->dst) : t->config.mac);
}

struct packet *build_is_at(const struct packet *question, int version)
{
    uint8_t bytes[LINK + 128];
    uint8_t *ip = bytes + LINK;
    struct dk_mac mac = host_mac(&question->target);
    uint32_t len;
    if (version == 4) {
        len = arp_body(ip, 2, mac, question->target, question->mac_src, question->src);
    } else {
        memset(ip, 0, 40);
        len = nd_body(ip + 40, 136, 0x60, &question->target, 2, &mac);
        ip[0] = 0x60;
        put16(ip + 4, len);
        ip[6] = 58;
        ip[7] = 255;
        memcpy(ip + 8, question->target.bytes, 16);
        memcpy(ip + 24, question->src.bytes, 16);
        uint32_t sum = sum_pseudo(&question->target, &question->src, 58, len);
        put16(ip + 42, sum_finish(sum_bytes(sum, ip + 40, len)));
        len += 40;
    }
    uint8_t *frame =
        wrap_link(ip, version == 4 ? 0x0806 : 0x86dd, question->vlan, mac, question->mac_src);
    len += (uint32_t)(ip - frame);
    struct packet *p = calloc(1, sizeof(*p) + len);
    memcpy(p->frame, frame, len);
    p->frame_len = len;
    return p;
}

void build_input(struct test *t)
{
    static struct draft draft; /* too large for a stack; one script at a time */
    struct draft *d = &draft;
    if (t->line->num_words < 2)
        test_fail(t, "which packet?");
    const char *what = t->line->word[1];
    t->line->used[1] = true;
    uint8_t flags;
    d->ttl = 64;
    bool question = strcmp(what, "who-has") == 0;
    if (question || strcmp(what, "is-at") == 0) {
        if (t->line->num_words < 3)
            test_fail(t, "which address?");
        (t->version == 4 ? build_arp : build_nd)(t, d, question);
        return;
    }
    if (parse_flags(what, &flags))
        build_tcp(t, d, flags);
    else if (strcmp(what, "udp") == 0)
        build_udp(t, d);
    else if (strcmp(what, "icmp") == 0)
        build_icmp(t, d);
    else if (strcmp(what, "ip") == 0)
        build_other(t, d);
    else
        test_fail(t, "no packet is called \"%s\"", what);
    send_packet(t, d);
}
