/* SPDX-License-Identifier: MIT */
/*
 * An ICMP error is believed when it quotes a segment that is in flight (RFC 5927 section 4). A hard
 * one ends a connection only while it is being opened (section 5.2). Others are remembered, and
 * told when the connection times out (RFC 9293 section 3.9.2.2, MUST-56).
 *
 * Too big, below what the peer has acknowledged already, may be forged: it waits for a timeout
 * (RFC 5927 section 7.2).
 */
#include "net/tcp/pmtu.h"

#include "base/bytes.h"
#include "net/tcp/pcb.h"
#include "net/tcp/search.h"
#include "net/tcp/sendq.h"
#include "net/tcp/tx.h"

/* No path has less that deserves to be believed: IPv4 as Linux has it, IPv6 by RFC 8201. */
#define MTU_MIN_IP4 552u
#define MTU_MIN_IP6 1280u

uint32_t dk_tcp_pmtu_headers(const struct dk_tcp_conn *c)
{
    return c->local_ip.version == 4 ? 40 : 60;
}

uint32_t dk_tcp_pmtu_packet(const struct dk_tcp_conn *c, uint32_t payload)
{
    return dk_tcp_pmtu_headers(c) + (c->ts_on ? DK_TCP_TS_LEN : 0) + payload;
}

uint32_t dk_tcp_pmtu_least(const struct dk_tcp_conn *c)
{
    return c->local_ip.version == 4 ? MTU_MIN_IP4 : MTU_MIN_IP6;
}

uint32_t dk_tcp_pmtu_peer_mss(const struct dk_tcp_conn *c)
{
    const uint32_t limit = (uint32_t)c->option[DK_TCP_MAX_SEGMENT];
    return limit > 0 ? dk_tcp_min32(c->peer_mss, limit) : c->peer_mss;
}

void dk_tcp_pmtu_set_mss(struct dk_tcp_conn *c)
{
    uint32_t former = c->cc.mss, mss = c->path_mtu - dk_tcp_pmtu_headers(c);
    mss = dk_tcp_min32(mss, dk_tcp_pmtu_peer_mss(c));
    uint32_t options = c->ts_on ? DK_TCP_TS_LEN : 0;
    c->snd_mss = mss - options; /* RFC 6691: the MSS counts options */
    c->cc.mss = c->snd_mss;
    if (c->cc.cwnd && former != c->snd_mss) /* it has begun */
        c->cc.ops->on_mss(&c->cc, former);
}

bool dk_tcp_pmtu_refresh(struct dk_tcp_conn *c)
{
    uint32_t mtu, former = c->snd_mss;
    struct dk_ip src = c->local_ip;
    if (dk_ip_route(c->tcp->net, &c->remote_ip, &src, &mtu) != 0 || mtu >= c->path_mtu)
        return false;
    DK_TCP_COUNT(c->tcp, path_mtu_lowered);
    c->path_mtu = (uint16_t)mtu;
    dk_tcp_pmtu_set_mss(c);
    return c->snd_mss < former;
}

void dk_tcp_pmtu_shorten(struct dk_tcp_conn *c, uint32_t mtu)
{
    c->path_mtu = (uint16_t)mtu;
    c->max_acked = 0;
    dk_tcp_pmtu_set_mss(c);
    for (struct dk_tcp_segment *s = c->board; s; s = s->next)
        if (s->end - s->seq > c->snd_mss)
            dk_tcp_board_lost(c, s, 0);
}

void dk_tcp_pmtu_apply(struct dk_tcp_conn *c, uint32_t mtu, int64_t now)
{
    c->pmtu_waits = false;
    if (mtu >= c->path_mtu)
        return;
    DK_TCP_COUNT(c->tcp, path_mtu_lowered);
    dk_ip_set_path_mtu(c->tcp->net, &c->remote_ip, mtu, now);
    dk_tcp_pmtu_shorten(c, mtu);
    dk_tcp_search_lowered(c, mtu, now);
    /* No congestion (RFC 1191 section 6.5): the first of them goes at once. */
    struct dk_tcp_segment *first = dk_tcp_board_first_lost(c);
    if (first)
        first->flags |= DK_TCP_SEG_FORCED;
}

/* RFC 1191 section 5: a router that tells no MTU. Plateaus of section 7.1. */
static uint32_t next_plateau(uint32_t below)
{
    static const uint16_t plateaus[] = {32000, 17914, 8166, 4352, 2002, 1492, 1006, 552};
    for (size_t i = 0; i < sizeof(plateaus) / sizeof(plateaus[0]); i++)
        if (plateaus[i] < below)
            return plateaus[i];
    return MTU_MIN_IP4;
}

static void too_big(struct dk_tcp_conn *c, uint32_t mtu, int64_t now)
{
    uint32_t least = dk_tcp_pmtu_least(c);
    if (mtu == 0 && c->local_ip.version == 4)
        mtu = next_plateau(c->path_mtu);
    if (mtu < least)
        mtu = least;
    if (mtu >= c->path_mtu) {
        if (!dk_tcp_search_told(c, mtu))
            DK_TCP_COUNT(c->tcp, drop_icmp);
    } else if (c->max_acked && mtu < dk_tcp_pmtu_packet(c, c->max_acked)) {
        c->pmtu_waits = true;
        c->pmtu_claimed = (uint16_t)mtu;
    } else {
        dk_tcp_pmtu_apply(c, mtu, now);
        dk_tcp_output(c, now);
    }
}

static bool is_opening(const struct dk_tcp_conn *c)
{
    return !c->passive && (c->state == DK_TCP_SYN_SENT || c->state == DK_TCP_SYN_RECEIVED);
}

static void believe(struct dk_tcp_conn *c, const struct dk_icmp_error *e, int64_t now)
{
    switch (e->kind) {
    case DK_ICMP_TOO_BIG:
        too_big(c, e->mtu, now);
        break;
    case DK_ICMP_PORT_UNREACHABLE:
    case DK_ICMP_PARAMETER:
        if (is_opening(c))
            dk_tcp_conn_end(c, -ECONNREFUSED);
        else
            c->soft_err = -ECONNREFUSED;
        break;
    case DK_ICMP_UNREACHABLE:
    case DK_ICMP_TIME_EXCEEDED:
        c->soft_err = -EHOSTUNREACH;
        break;
    }
}

void dk_tcp_icmp(struct dk_tcp *tcp, const struct dk_icmp_error *e, int64_t now)
{
    struct dk_tcp_conn *c = NULL;
    if (e->quoted_len >= 8)
        c = dk_tcp_lookup(tcp, &e->local, dk_get_be16(e->quoted), &e->remote,
                          dk_get_be16(e->quoted + 2));
    if (c) {
        uint64_t seq = dk_tcp_extend(c->snd_una, dk_get_be32(e->quoted + 4));
        if (seq >= c->snd_una && seq < c->snd_nxt) {
            believe(c, e, now);
            return;
        }
    }
    DK_TCP_COUNT(tcp, drop_icmp);
}
