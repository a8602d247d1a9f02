/* SPDX-License-Identifier: MIT */
/*
 * What the numbers of a SYN,ACK with a cookie are:
 *
 *      sequence number    5 bits: when, in units of 64 s, modulo 32
 *                         3 bits: the peer's MSS, as the largest of a table that is not above it
 *                         24 bits: a keyed hash of all of this and of both ends
 *      TSval              the clock, but its last 6 bits: 1 ECN, 1 SACK permitted, 4 window scale
 * (15: none). It is not ahead of the clock, and so never goes back later.
 *
 * Without timestamps a connection has no window scale and no SACK. The hash covers the options too,
 * and the scale of our own window: it is as we said it, or the ACK is none of ours.
 *
 * A cookie is good for 64 to 128 s, and only where its listener has sent any in that time: without
 * a flood there is nothing to guess. It is good once (cookie_used.h).
 */
#include "net/tcp/cookie.h"

#include "base/siphash.h"
#include "net/tcp/cookie_used.h"
#include "net/tcp/handshake.h"
#include "net/tcp/open.h"
#include "net/tcp/pcb.h"
#include "net/tcp/rcvq.h"
#include "net/tcp/rto.h"
#include "net/tcp/sendq.h"
#include "net/tcp/tune.h"
#include "net/tcp/tx.h"

#define PERIOD_NS    (64 * DK_NS_PER_S)
#define PERIODS      32u
#define GOOD_PERIODS 1u /* beside the one that has begun */
#define USE_COOKIE   5u /* of the secret: open.c, port.c and transport.c have others */

#define HASH_MASK ((1u << DK_TCP_COOKIE_HASH_BITS) - 1)

#define OPTION_BITS   0x3fu
#define OPTION_SCALE  0x0fu /* 15: none */
#define OPTION_SACK   0x10u
#define OPTION_ECN    0x20u
#define NO_TIMESTAMPS 0x40u /* stands for all of them */
#define ECN_SETUP     (DK_TCP_ECE | DK_TCP_CWR)

/* Ethernet and what tunnels leave of it, 1280 and 576 bytes, jumbo frames; for both versions. */
static const uint16_t mss_of[8] = {48, 536, 1220, 1360, 1440, 1460, 8940, 8960};

static uint32_t mss_index(uint32_t mss)
{
    uint32_t i = 7;
    while (i > 0 && mss_of[i] > mss)
        i--;
    return i;
}

static uint32_t period_of(int64_t now)
{
    return (uint32_t)(now / PERIOD_NS) % PERIODS;
}

/* What a cookie is made of, beside the ends. */
struct facts {
    uint32_t peer_isn;
    uint32_t period, mss;
    uint32_t options;    /* of the peer's SYN, as in TSval */
    uint32_t rcv_wscale; /* of our window */
};

static uint64_t hash_of(struct dk_tcp *tcp, const struct dk_tcp_rx *rx, const struct facts *facts)
{
    struct {
        struct dk_ip local, remote;
        uint32_t ports, peer_isn, period, mss, options, rcv_wscale;
        uint64_t use;
    } all = {.local = rx->ip->dst,
             .remote = rx->ip->src,
             .ports = (uint32_t)rx->h.dst_port << 16 | rx->h.src_port,
             .peer_isn = facts->peer_isn,
             .period = facts->period,
             .mss = facts->mss,
             .options = facts->options,
             .rcv_wscale = facts->rcv_wscale,
             .use = USE_COOKIE};
    return dk_siphash(tcp->config.secret, &all, sizeof(all));
}

static uint32_t cookie_of(const struct facts *facts, uint64_t hash)
{
    return facts->period << 27 | facts->mss << 24 | ((uint32_t)hash & HASH_MASK);
}

static uint32_t options_of(const struct dk_tcp_conn *c, const struct dk_tcp_rx *syn)
{
    uint32_t options = c->wscale_on ? c->snd_wscale : OPTION_SCALE;
    if (!c->ts_on)
        return NO_TIMESTAMPS;
    if (syn->h.options.has & DK_TCP_HAS_SACK_PERMITTED)
        options |= OPTION_SACK;
    if ((syn->h.flags & ECN_SETUP) == ECN_SETUP)
        options |= OPTION_ECN;
    return options;
}

/* The SYN without what could not be said again in an ACK: that is not agreed on. */
static struct dk_tcp_rx without_lost_options(const struct dk_tcp *tcp, const struct dk_tcp_rx *rx)
{
    struct dk_tcp_rx syn = *rx;
    if (tcp->config.no_timestamps || !(syn.h.options.has & DK_TCP_HAS_TIMESTAMPS)) {
        syn.h.options.has &= DK_TCP_HAS_MSS;
        syn.h.flags &= (uint8_t)~ECN_SETUP;
    }
    return syn;
}

void dk_tcp_cookie_answer(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx)
{
    const struct dk_tcp_rx syn = without_lost_options(c->tcp, rx);
    dk_tcp_open_begin(c, DK_TCP_SYN_RECEIVED, 0, rx->now);
    dk_tcp_handshake_syn(c, &syn);
    const struct facts facts = {.peer_isn = rx->h.seq,
                                .period = period_of(rx->now),
                                .mss = mss_index(c->peer_mss),
                                .options = options_of(c, &syn),
                                .rcv_wscale = c->rcv_wscale_offer};
    if (c->ts_on)
        c->ts_offset -= (dk_tcp_ts_now(c, rx->now) - facts.options) & OPTION_BITS;
    dk_tcp_open_renumber(c, cookie_of(&facts, hash_of(c->tcp, rx, &facts)));
    dk_tcp_output(c, rx->now);
    DK_TCP_COUNT(c->tcp, syn_cookies_sent);
    dk_tcp_conn_drop(c);
}

bool dk_tcp_cookie_ready(struct dk_tcp *tcp)
{
    if (!tcp->cookies_used)
        tcp->cookies_used = dk_tcp_used_create();
    return tcp->cookies_used;
}

bool dk_tcp_cookie_expected(const struct dk_tcp_listener *l, int64_t now)
{
    return now - l->cookie_at < (int64_t)(GOOD_PERIODS + 1) * PERIOD_NS;
}

static bool is_in_time(uint32_t period, int64_t now)
{
    return (period_of(now) - period) % PERIODS <= GOOD_PERIODS;
}

static void restore_options(uint32_t options, const struct dk_tcp_rx *rx, struct dk_tcp_header *syn)
{
    if (options == NO_TIMESTAMPS)
        return;
    syn->options.has |= DK_TCP_HAS_TIMESTAMPS;
    syn->options.ts_val = rx->h.options.ts_val;
    if ((options & OPTION_SCALE) != OPTION_SCALE) {
        syn->options.has |= DK_TCP_HAS_WINDOW_SCALE;
        syn->options.window_scale = options & OPTION_SCALE;
    }
    if (options & OPTION_SACK)
        syn->options.has |= DK_TCP_HAS_SACK_PERMITTED;
    if (options & OPTION_ECN)
        syn->flags |= ECN_SETUP;
}

bool dk_tcp_cookie_check(struct dk_tcp_listener *l, const struct dk_tcp_rx *rx,
                         struct dk_tcp_cookie *out)
{
    struct dk_tcp *tcp = l->tcp;
    const uint32_t isn = rx->h.ack - 1;
    const bool stamped = rx->h.options.has & DK_TCP_HAS_TIMESTAMPS && !tcp->config.no_timestamps;
    const struct facts facts = {
        .peer_isn = rx->h.seq - 1,
        .period = isn >> 27,
        .mss = isn >> 24 & 7,
        .options = stamped ? rx->h.options.ts_ecr & OPTION_BITS : NO_TIMESTAMPS,
        .rcv_wscale = dk_tcp_rcv_scale(dk_tcp_tune_most(&tcp->config, l->option[DK_TCP_RCV_BUF]))};
    const uint64_t hash = hash_of(tcp, rx, &facts);
    if (!is_in_time(facts.period, rx->now) || cookie_of(&facts, hash) != isn) {
        DK_TCP_COUNT(tcp, syn_cookies_failed);
        return false;
    }
    *out = (struct dk_tcp_cookie){.isn = isn, .hash = hash, .syn = {.ip = rx->ip, .now = rx->now}};
    out->syn.h =
        (struct dk_tcp_header){.seq = facts.peer_isn,
                               .flags = DK_TCP_SYN,
                               .options = {.has = DK_TCP_HAS_MSS, .mss = mss_of[facts.mss]}};
    restore_options(facts.options, rx, &out->syn.h);
    return true;
}

bool dk_tcp_cookie_was_used(struct dk_tcp *tcp, const struct dk_tcp_cookie *cookie)
{
    if (!dk_tcp_used_has(tcp->cookies_used, cookie->hash))
        return false;
    DK_TCP_COUNT(tcp, syn_cookies_again);
    return true;
}

static void use(struct dk_tcp *tcp, const struct dk_tcp_cookie *cookie)
{
    uint32_t period;
    if (dk_tcp_used_add(tcp->cookies_used, cookie->hash, cookie->isn >> 27, &period) &&
        is_in_time(period, cookie->syn.now))
        DK_TCP_COUNT(tcp, syn_cookies_forgotten);
}

void dk_tcp_cookie_restore(struct dk_tcp_conn *c, const struct dk_tcp_cookie *cookie)
{
    const int64_t now = cookie->syn.now;
    use(c->tcp, cookie);
    dk_tcp_open_begin(c, DK_TCP_SYN_RECEIVED, 0, now);
    dk_tcp_handshake_syn(c, &cookie->syn);
    dk_tcp_open_renumber(c, cookie->isn);
    c->rcv_adv = c->rcv_nxt + dk_tcp_min64((uint64_t)c->option[DK_TCP_RCV_BUF], UINT16_MAX);
    dk_tcp_board_resent(c, c->board, now);
    c->board->tx_time = -1; /* when it went is not known: only timestamps tell the round trip */
    c->stalled_since = now;
    dk_tcp_rto_restart(c, now);
    DK_TCP_COUNT(c->tcp, syn_cookies_accepted);
}
