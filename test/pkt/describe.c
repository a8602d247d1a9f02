/* SPDX-License-Identifier: MIT */
/*
 * A packet in the words of a script.
 */
#include "pkt.h"

#include <arpa/inet.h>
#include <stdarg.h>

struct words {
    char *at;
    size_t size, len;
};

__attribute__((format(printf, 2, 3))) static void add(struct words *w, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(w->at + w->len, w->size - w->len, format, args);
    va_end(args);
    w->len += (size_t)n;
    if (w->len >= w->size)
        w->len = w->size - 1;
}

static void add_ip(struct test *t, struct words *w, const struct dk_ip *ip)
{
    char text[INET6_ADDRSTRLEN] = "?";
    struct dk_ip near = host_ip(t->version, 0), far = host_ip(t->version, 256);
    size_t last = ip->version == 4 ? 3 : 15;
    if (memcmp(ip->bytes, near.bytes, last) == 0 && ip->version == t->version)
        add(w, ".%d", ip->bytes[last]);
    else if (memcmp(ip->bytes, far.bytes, last) == 0 && ip->version == t->version)
        add(w, "~%d", ip->bytes[last]);
    else
        add(w, "%s",
            ip->version == 0
                ? "?"
                : inet_ntop(ip->version == 4 ? AF_INET : AF_INET6, ip->bytes, text, sizeof(text)));
}

static void add_flags(struct words *w, uint8_t flags)
{
    static const char *const names[] = {"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"};
    const char *between = "";
    for (int i = 0; i < 8; i++) {
        if ((flags >> i & 1) != 0) {
            add(w, "%s%s", between, names[i]);
            between = "|";
        }
    }
    if (flags == 0)
        add(w, "none");
}

static void describe_tcp(struct test *t, struct words *w, const struct packet *p)
{
    struct flow *f = flow_of(t, p);
    bool ours = f != NULL && dk_ip_equal(&p->src, &f->local) && p->src_port == f->local_port;
    uint32_t seq = p->seq, ack = p->ack;
    if (f != NULL) {
        seq -= ours ? f->iss : f->irs;
        ack -= ours ? f->irs : f->iss;
        add(w, "%s: ", f->name);
    }
    add_flags(w, p->flags);
    add(w, " seq=%d", (int32_t)seq);
    if (p->payload_len > 0)
        add(w, ":%d", (int32_t)(seq + p->payload_len));
    if ((p->flags & ACK) != 0)
        add(w, " ack=%d", (int32_t)ack);
    add(w, " win=%u", p->window);
    if (p->mss != 0)
        add(w, " mss=%u", p->mss);
    if (p->wscale >= 0)
        add(w, " ws=%d", p->wscale);
    if (p->sack_permitted)
        add(w, " sackok");
    if (p->has_ts)
        add(w, " ts=%u,%u", p->ts_val, p->ts_ecr);
    for (uint32_t i = 0; i < p->num_sacks; i++)
        add(w, " sack=%u:%u", p->sacks[i][0], p->sacks[i][1]);
}

static void describe_ports(struct test *t, struct words *w, const struct packet *p)
{
    add(w, " from=");
    add_ip(t, w, &p->src);
    if (p->kind == KIND_UDP)
        add(w, ",%u", p->src_port);
    add(w, " to=");
    add_ip(t, w, &p->dst);
    if (p->kind == KIND_UDP)
        add(w, ",%u", p->dst_port);
}

void describe(struct test *t, const struct packet *p, char *text, size_t size)
{
    struct words w = {text, size, 0};
    text[0] = '\0';
    if (p->kind == KIND_TCP) {
        describe_tcp(t, &w, p);
    } else if (p->kind == KIND_WHO_HAS || p->kind == KIND_IS_AT) {
        add(&w, "%s ", p->kind == KIND_WHO_HAS ? "who-has" : "is-at");
        add_ip(t, &w, &p->target);
        describe_ports(t, &w, p);
    } else {
        if (p->kind == KIND_UDP)
            add(&w, "udp");
        else if (p->kind == KIND_ICMP)
            add(&w, "icmp %s rest=0x%x", icmp_name(p->icmp), p->icmp_rest);
        else if (p->kind == KIND_FRAGMENT)
            add(&w, "fragment at=%u%s id=%u", p->fragment_offset, p->more_fragments ? " more" : "",
                p->fragment_id);
        else
            add(&w, "packet of protocol %u", p->protocol);
        add(&w, " len=%u", p->payload_len);
        describe_ports(t, &w, p);
    }
    if (p->wrong != NULL)
        add(&w, " [wrong: %s]", p->wrong);
}
