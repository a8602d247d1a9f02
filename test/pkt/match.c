/* SPDX-License-Identifier: MIT */
/*
 * What a script expects of the packets that come, and what any packet has to obey.
 */
#include "pkt.h"

#include <inttypes.h>
#include <stdlib.h>

struct flow *flow_of(struct test *t, const struct packet *p)
{
    for (uint32_t i = 0; i < t->num_flows; i++) {
        struct flow *f = &t->flows[i];
        bool out = dk_ip_equal(&p->src, &f->local) && dk_ip_equal(&p->dst, &f->remote) &&
                   p->src_port == f->local_port && p->dst_port == f->remote_port;
        bool in = dk_ip_equal(&p->dst, &f->local) && dk_ip_equal(&p->src, &f->remote) &&
                  p->dst_port == f->local_port && p->src_port == f->remote_port;
        if (out || in)
            return f;
    }
    return NULL;
}

/* A connection whose local port the stack chose: the first SYN to the peer tells. */
static void learn_port(struct test *t, const struct packet *p)
{
    for (uint32_t i = 0; i < t->num_flows; i++) {
        struct flow *f = &t->flows[i];
        if (f->local_port == 0 && dk_ip_equal(&p->dst, &f->remote) &&
            p->dst_port == f->remote_port && (p->flags & (SYN | ACK)) == SYN) {
            f->local_port = p->src_port;
            f->local = p->src;
            return;
        }
    }
}

static void watch_syn(struct flow *f, const struct packet *p)
{
    if (!f->has_iss) {
        f->iss = p->seq;
        f->has_iss = true;
    }
    f->wscale = p->wscale < 0 ? 0 : p->wscale;
    f->stack_ts = p->has_ts;
    f->has_ts = f->peer_ts && f->stack_ts;
}

/* Every byte is the one that the application sent, whatever was written over its buffers. */
static bool payload_is_right(const struct flow *f, const struct packet *p)
{
    uint32_t offset = p->seq - f->iss - 1;
    if (offset + p->payload_len > f->sent)
        return false;
    for (uint32_t i = 0; i < p->payload_len; i++) {
        if (p->frame[p->payload_at + i] != pattern_out(offset + i))
            return false;
    }
    return true;
}

static int scale_of(const struct flow *f, const struct packet *p)
{
    return (p->flags & SYN) != 0 || !f->peer_ws ? 0 : f->wscale;
}

/* What was offered is not taken back (RFC 9293 section 3.8.6, SHLD-14), but for the rounding that
 * a scaled window makes (RFC 7323 section 2.4). */
static void watch_window(struct test *t, struct flow *f, const struct packet *p)
{
    if ((p->flags & ACK) == 0 || (p->flags & RST) != 0)
        return;
    int scale = scale_of(f, p);
    uint32_t edge = p->ack + ((uint32_t)p->window << scale);
    int32_t back = (int32_t)(f->edge - edge);
    if (f->has_edge && back >= 1 << scale && t->overflow[0] == '\0')
        snprintf(t->overflow, sizeof(t->overflow), "sent: the window's right edge moved left by %d",
                 back);
    if (!f->has_edge || back < 0)
        f->edge = edge;
    f->has_edge = true;
}

void watch_output(struct test *t, const struct packet *p)
{
    if (p->wrong != NULL && t->overflow[0] == '\0') {
        char text[200];
        describe(t, p, text, sizeof(text));
        snprintf(t->overflow, sizeof(t->overflow), "sent: %s", p->wrong);
        fprintf(stderr, "# %s\n", text);
    }
    if (p->kind != KIND_TCP)
        return;
    learn_port(t, p);
    struct flow *f = flow_of(t, p);
    if (f == NULL)
        return;
    if ((p->flags & SYN) != 0)
        watch_syn(f, p);
    watch_window(t, f, p);
    if (p->has_ts) {
        if (f->ts_base == 0)
            f->ts_base = p->ts_val;
        f->ts_last = p->ts_val;
    }
    if (p->payload_len > 0 && t->overflow[0] == '\0' && !payload_is_right(f, p))
        snprintf(t->overflow, sizeof(t->overflow),
                 "sent: payload at seq=%u that is not what the application sent", p->seq - f->iss);
}

/* ---- One line -------------------------------------------------------------------------------- */

__attribute__((noreturn)) static void differ(struct test *t, const struct packet *p,
                                             const char *what)
{
    char text[400];
    describe(t, p, text, sizeof(text));
    test_fail(t, "%s differs; it came at %+.3f ms:\n#     %s", what,
              (double)(p->at - t->start) / 1e6, text);
}

static void check(struct test *t, const struct packet *p, const char *key, int64_t is)
{
    const char *value = line_arg(t->line, key);
    if (value == NULL)
        return;
    int64_t least, most;
    eval_range(t, value, &least, &most);
    if (is < least || is > most)
        differ(t, p, key);
}

static void check_flag(struct test *t, const struct packet *p, const char *key, bool is)
{
    if (line_flag(t->line, key) && !is)
        differ(t, p, key);
}

static void check_address(struct test *t, const struct packet *p, const char *key,
                          const struct dk_ip *ip, uint16_t port)
{
    const char *value = line_arg(t->line, key);
    if (value == NULL)
        return;
    char host[64];
    snprintf(host, sizeof(host), "%s", value);
    char *comma = strchr(host, ',');
    if (comma != NULL)
        *comma = '\0';
    struct dk_ip wanted = {0};
    if (host[0] != '\0')
        wanted = parse_ip(t, host);
    if (host[0] != '\0' && !dk_ip_equal(&wanted, ip))
        differ(t, p, key);
    if (comma != NULL && eval(t, comma + 1) != port)
        differ(t, p, key);
}

static void check_ip(struct test *t, const struct packet *p)
{
    check_address(t, p, "from", &p->src, p->src_port);
    check_address(t, p, "to", &p->dst, p->dst_port);
    check(t, p, "ttl", p->ttl);
    check(t, p, "tos", p->tos);
    check(t, p, "iplen", p->frame_len - p->ip_at);
    check(t, p, "vlan", p->vlan);
    check_flag(t, p, "df", p->dont_fragment);
    const char *mac = line_arg(t->line, "dmac");
    if (mac != NULL) {
        struct dk_mac wanted = parse_mac(t, mac);
        if (!dk_mac_equal(&wanted, &p->mac_dst))
            differ(t, p, "dmac");
    }
}

static uint8_t flags_of(struct test *t, const char *word)
{
    static const char *const names[] = {"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"};
    uint8_t flags = 0;
    char text[64];
    snprintf(text, sizeof(text), "%s", word);
    char *save = NULL;
    for (char *w = strtok_r(text, "|", &save); w; w = strtok_r(NULL, "|", &save)) {
        int i = 0;
        while (i < 8 && strcmp(names[i], w) != 0)
            i++;
        if (i == 8)
            test_fail(t, "no packet is called \"%s\"", word);
        flags |= (uint8_t)(1 << i);
    }
    return flags;
}

static void check_tcp_sequence(struct test *t, const struct packet *p, struct flow *f)
{
    const char *range = line_arg(t->line, "seq");
    if (range != NULL) {
        int64_t from, to;
        eval_range(t, range, &from, &to);
        if (p->seq != f->iss + (uint32_t)from)
            differ(t, p, "seq");
        if (p->payload_len != (uint32_t)(to - from))
            differ(t, p, "the number of bytes");
    } else if (line_arg(t->line, "len") == NULL && p->payload_len != 0) {
        differ(t, p, "the number of bytes");
    }
    check(t, p, "len", p->payload_len);
    const char *ack = line_arg(t->line, "ack");
    if (ack != NULL && p->ack != f->irs + (uint32_t)eval(t, ack))
        differ(t, p, "ack");
}

static void check_timestamps(struct test *t, const struct packet *p, struct flow *f)
{
    bool none = line_flag(t->line, "no-ts"), some = line_flag(t->line, "ts");
    bool wanted = some || (f->has_ts && (p->flags & RST) == 0 && !none);
    if (wanted && !p->has_ts)
        differ(t, p, "ts (RFC 7323 section 3.2: in every segment, once agreed upon)");
    if (none && p->has_ts)
        differ(t, p, "no-ts");
    check(t, p, "ecr", p->ts_ecr);
    check(t, p, "tsval", (int64_t)(uint32_t)(p->ts_val - f->ts_base));
}

static void check_sack(struct test *t, const struct packet *p, struct flow *f)
{
    check(t, p, "sacks", p->num_sacks);
    const char *sack = line_arg(t->line, "sack");
    if (sack == NULL)
        return;
    int64_t from[4], to[4];
    uint32_t n = eval_ranges(t, sack, from, to);
    for (uint32_t i = 0; i < n; i++)
        if (i >= p->num_sacks || p->sacks[i][0] - f->irs != (uint32_t)from[i] ||
            p->sacks[i][1] - f->irs != (uint32_t)to[i])
            differ(t, p, "sack");
    if (p->num_sacks != n)
        differ(t, p, "the number of SACK blocks");
}

static void check_tcp(struct test *t, const struct packet *p, const char *what)
{
    bool reset = strcmp(what, "reset") == 0; /* with ACK or without */
    uint8_t flags = reset ? RST | (p->flags & ACK) : flags_of(t, what);
    struct flow *f = flow_of(t, p);
    if (p->kind != KIND_TCP || f != t->flow)
        differ(t, p, "the kind of packet, or the connection");
    if ((p->flags & ~PSH) != (flags & ~PSH) || ((flags & PSH) != 0 && (p->flags & PSH) == 0))
        differ(t, p, "flags");
    check_flag(t, p, "no-psh", !(p->flags & PSH));
    check_tcp_sequence(t, p, f);
    int scale = scale_of(f, p);
    check(t, p, "win", p->window);
    check(t, p, "wnd", (int64_t)p->window << scale);
    check(t, p, "mss", p->mss);
    check(t, p, "ws", p->wscale);
    check(t, p, "urg", p->urgent);
    check_flag(t, p, "sackok", p->sack_permitted);
    check_flag(t, p, "no-sackok", !p->sack_permitted);
    check_timestamps(t, p, f);
    check_sack(t, p, f);
}

static void check_quote(struct test *t, const struct packet *p)
{
    const char *protocol = line_arg(t->line, "about");
    if (protocol == NULL)
        return;
    const uint8_t *q = p->frame + p->payload_at;
    uint32_t head = t->version == 4 ? 20 : 40;
    if (p->payload_len < head + 8)
        differ(t, p, "the quoted packet is too short, and");
    if (q[t->version == 4 ? 9 : 6] != eval(t, protocol))
        differ(t, p, "about");
    if (t->version == 6 && p->frame_len - p->ip_at > 1280)
        differ(t, p, "the size of an error (RFC 4443 section 2.4 (c): 1280 at most)");
    if (t->version == 4 && p->frame_len - p->ip_at > 576)
        differ(t, p, "the size of an error (RFC 1812 section 4.3.2.3: 576 at most)");
}

static void check_icmp(struct test *t, const struct packet *p)
{
    enum icmp icmp;
    if (t->line->num_words < 3 || !icmp_by_name(t->line->word[2], &icmp))
        test_fail(t, "which ICMP message?");
    t->line->used[2] = true;
    if (p->kind != KIND_ICMP || p->icmp != icmp)
        differ(t, p, "the kind of packet");
    check(t, p, "id", p->icmp_rest >> 16);
    check(t, p, "seq", p->icmp_rest & 0xffff);
    check(t, p, "mtu", p->icmp_rest);
    check(t, p, "len", p->payload_len);
    check_quote(t, p);
    for (uint32_t i = 0; icmp == ICMP_ECHO_REPLY && i < p->payload_len; i++) {
        if (p->frame[p->payload_at + i] != pattern_in(i))
            differ(t, p, "the echoed bytes");
    }
}

static void check_udp(struct test *t, const struct packet *p)
{
    if (p->kind != KIND_UDP)
        differ(t, p, "the kind of packet");
    check(t, p, "len", p->payload_len);
    for (uint32_t i = 0; i < p->payload_len; i++) {
        if (p->frame[p->payload_at + i] != pattern_out(i))
            differ(t, p, "the payload");
    }
}

static void check_neighbour(struct test *t, const struct packet *p, enum kind kind)
{
    if (p->kind != kind)
        differ(t, p, "the kind of packet");
    if (t->line->num_words < 3)
        test_fail(t, "which address?");
    struct dk_ip target = parse_ip(t, t->line->word[2]);
    t->line->used[2] = true;
    if (!dk_ip_equal(&target, &p->target))
        differ(t, p, "the address");
    bool group = (p->mac_dst.bytes[0] & 1) != 0;
    check_flag(t, p, "unicast", !group);
    check_flag(t, p, "to-all", group);
    check_flag(t, p, "solicited", t->version == 4 || (p->icmp_rest >> 24 & 0x40) != 0);
    check_flag(t, p, "override", t->version == 4 || (p->icmp_rest >> 24 & 0x20) != 0);
    check_flag(t, p, "no-override", t->version == 6 && (p->icmp_rest >> 24 & 0x20) == 0);
    const char *mac = line_arg(t->line, "mac");
    if (mac != NULL) {
        struct dk_mac wanted = parse_mac(t, mac);
        if (!dk_mac_equal(&wanted, &p->target_mac))
            differ(t, p, "mac");
    }
}

/* udpsum=BYTES: the checksum is that of a datagram of so many bytes of the application. */
static void check_first_fragment(struct test *t, const struct packet *p)
{
    int64_t bytes = line_number(t, "udpsum", -1);
    if (bytes < 0 || p->payload_len < 8)
        return;
    uint32_t len = (uint32_t)bytes + 8;
    uint8_t *whole = malloc(len);
    memcpy(whole, p->frame + p->payload_at, 8);
    for (uint32_t i = 0; i + 8 < len; i++)
        whole[8 + i] = pattern_out(i);
    uint16_t sum = sum_finish(sum_bytes(sum_pseudo(&p->src, &p->dst, 17, len), whole, len));
    free(whole);
    if (sum != 0)
        differ(t, p, "the UDP checksum");
}

static void check_fragment(struct test *t, const struct packet *p)
{
    if (p->kind != KIND_FRAGMENT)
        differ(t, p, "the kind of packet");
    check(t, p, "at", p->fragment_offset);
    check_first_fragment(t, p);
    check(t, p, "len", p->payload_len);
    check_flag(t, p, "more", p->more_fragments);
    if (line_flag(t->line, "last") && p->more_fragments)
        differ(t, p, "last");
    if (line_flag(t->line, "same-id") && (!t->last || t->last->fragment_id != p->fragment_id))
        differ(t, p, "the identification");
}

static void check_packet(struct test *t, const struct packet *p)
{
    const char *what = t->line->word[1];
    t->line->used[1] = true;
    check_ip(t, p);
    if (strcmp(what, "udp") == 0)
        check_udp(t, p);
    else if (strcmp(what, "icmp") == 0)
        check_icmp(t, p);
    else if (strcmp(what, "who-has") == 0)
        check_neighbour(t, p, KIND_WHO_HAS);
    else if (strcmp(what, "is-at") == 0)
        check_neighbour(t, p, KIND_IS_AT);
    else if (strcmp(what, "fragment") == 0)
        check_fragment(t, p);
    else
        check_tcp(t, p, what);
}

/* ---- Series ---------------------------------------------------------------------------------- */

static struct packet *take(struct test *t)
{
    free(t->last);
    t->last = t->queue[t->head++ % QUEUE_MAX];
    return t->last;
}

static void need_packet(struct test *t, int64_t patience)
{
    if (t->head == t->tail)
        host_advance(t, t->now + patience, true);
    if (t->head == t->tail)
        test_fail(t, "no packet came (the time is %+.3f ms)", (double)(t->now - t->start) / 1e6);
}

/* `> data seq=A:B [max=N]`: segments, of what sizes soever, that are these bytes in order. */
static void match_data(struct test *t, int64_t patience)
{
    int64_t from, to, most = line_number(t, "max", 65535);
    const char *range = line_arg(t->line, "seq");
    if (range == NULL)
        test_fail(t, "seq= is missing");
    eval_range(t, range, &from, &to);
    t->line->used[1] = true;
    line_done(t);
    while (from < to) {
        need_packet(t, patience);
        struct packet *p = take(t);
        if (p->kind != KIND_TCP || flow_of(t, p) != t->flow)
            differ(t, p, "the kind of packet");
        if (p->seq != t->flow->iss + (uint32_t)from)
            differ(t, p, "seq");
        if (p->payload_len == 0 || p->payload_len > most || from + p->payload_len > to)
            differ(t, p, "the number of bytes");
        from += p->payload_len;
    }
}

void match_output(struct test *t, int64_t patience)
{
    if (t->line->num_words < 2)
        test_fail(t, "which packet?");
    if (strcmp(t->line->word[1], "data") == 0) {
        match_data(t, patience);
        return;
    }
    need_packet(t, patience);
    struct packet *p = t->queue[t->head % QUEUE_MAX];
    check_packet(t, p);
    line_done(t);
    take(t);
}

void match_none(struct test *t, const char *when)
{
    if (t->head != t->tail) {
        char what[64];
        snprintf(what, sizeof(what), "silence %s", when);
        differ(t, t->queue[t->head % QUEUE_MAX], what);
    }
}
