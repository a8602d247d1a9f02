/* SPDX-License-Identifier: MIT */
/*
 * path_mtu is a size that arrives. search_high is the largest that may still do so, 0: nothing is
 * searched for. Between them lies what is tried: the end of the range first where nothing is known
 * of it, else the middle. A size that was lost PROBES_MAX times does not arrive (RFC 8899 section
 * 5.1.2). What is left of a range and shorter than STEP is not worth a loss: search_high is
 * path_mtu then, and after RAISE_NS the range is open again (PMTU_RAISE_TIMER).
 *
 * A probe is a segment of new data, with so many behind it that its loss is found out without a
 * time-out; so it needs SACK, a window, and data. One is outstanding at a time: the entry of the
 * scoreboard that ends at probe_end.
 *
 * A black hole is a path on which a segment longer than the base size of RFC 8899 is lost LOSSES
 * times, by time-outs in a row at last: segments get that size. Where one of no more than that is
 * lost LOSSES_OF_BASE times they get the smallest of all (RFC 4821 section 7.7, RFC 8899
 * section 5.2). A path that carries nothing at all looks the same at first; when it is there again
 * the search finds the old size.
 */
#include "net/tcp/search.h"

#include "net/tcp/pmtu.h"
#include "net/tcp/sendq.h"
#include "net/tcp/tune.h"

/* A path that only loses much lets something through between time-outs. Without SACK they are more
 * frequent, and no probe finds the old size again. */
#define TIME_OUTS         2
#define TIME_OUTS_NO_SACK 3

#define LOSSES         3
#define LOSSES_OF_BASE 6
#define PROBES_MAX     3
#define STEP           16u
#define BEHIND         3u /* segments: as many as tell of a loss (RFC 6675 section 2) */
#define RAISE_NS       (600 * DK_NS_PER_S)

/* BASE_PLPMTU: RFC 8899 section 5.1.2, RFC 8200 section 5. */
#define BASE_IP4 1200u
#define BASE_IP6 1280u

static uint32_t base_of(const struct dk_tcp_conn *c)
{
    return c->local_ip.version == 4 ? BASE_IP4 : BASE_IP6;
}

/* The largest packet that the link and the peer allow. */
static uint32_t most_of(struct dk_tcp_conn *c)
{
    struct dk_ip src = c->local_ip;
    uint32_t mtu;
    if (dk_ip_route(c->tcp->net, &c->remote_ip, &src, &mtu) != 0)
        return c->path_mtu;
    mtu = dk_tcp_min32(mtu, dk_tcp_pmtu_headers(c) + dk_tcp_pmtu_peer_mss(c));
    return dk_tcp_min32(mtu, UINT16_MAX);
}

static void wait(struct dk_tcp_conn *c, int64_t now)
{
    c->search_high = c->path_mtu;
    c->search_at = dk_tcp_tune_tick(now + RAISE_NS);
    c->probe_fails = 0;
}

void dk_tcp_search_begin(struct dk_tcp_conn *c)
{
    const uint32_t most = most_of(c);
    if (c->tcp->config.mtu_probing != DK_TCP_MTU_PROBING_ALWAYS || !c->sack_on ||
        most < base_of(c) + STEP)
        return;
    c->search_high = (uint16_t)most;
    c->path_mtu = (uint16_t)base_of(c);
    dk_tcp_pmtu_set_mss(c);
}

void dk_tcp_search_suspect(struct dk_tcp_conn *c, const struct dk_tcp_segment *s, int64_t now)
{
    const uint32_t packet = dk_tcp_pmtu_packet(c, (uint32_t)(s->end - s->seq));
    const bool is_long = packet > base_of(c);
    const uint32_t to = is_long ? base_of(c) : dk_tcp_pmtu_least(c);
    if (s->transmits < (is_long ? LOSSES : LOSSES_OF_BASE) ||
        c->retries < (c->sack_on ? TIME_OUTS : TIME_OUTS_NO_SACK) || packet <= to ||
        to >= c->path_mtu || c->tcp->config.mtu_probing == DK_TCP_MTU_PROBING_OFF)
        return;
    DK_TCP_COUNT(c->tcp, path_mtu_black_holes);
    dk_tcp_pmtu_shorten(c, to);
    c->search_high = (uint16_t)(packet - 1);
    c->search_at = dk_tcp_tune_tick(now);
    c->probe_mtu = 0;
    c->probe_fails = 0;
}

/* The size that is tried next, or 0: none for now. */
static uint32_t next_size(struct dk_tcp_conn *c, int64_t now)
{
    const bool waits = c->search_high <= c->path_mtu;
    if (waits && (int32_t)(dk_tcp_tune_tick(now) - c->search_at) < 0)
        return 0;
    const uint32_t most = most_of(c);
    if (waits)
        c->search_high = most > c->path_mtu ? (uint16_t)most : 0;
    if (c->search_high == 0 || c->search_high >= most)
        return dk_tcp_min32(c->search_high, most);
    if (c->search_high - c->path_mtu < (int)STEP) {
        wait(c, now);
        return 0;
    }
    return (c->path_mtu + c->search_high + 1u) / 2;
}

uint32_t dk_tcp_search_due(struct dk_tcp_conn *c, uint32_t *behind_out, int64_t now)
{
    if (c->probe_mtu || c->troubled || !c->sack_on)
        return 0;
    const uint32_t mtu = next_size(c, now), without = dk_tcp_pmtu_packet(c, 0);
    if (mtu <= c->path_mtu)
        return 0;
    *behind_out = BEHIND * c->snd_mss;
    return mtu - without;
}

void dk_tcp_search_sent(struct dk_tcp_conn *c, uint32_t payload)
{
    DK_TCP_COUNT(c->tcp, path_mtu_probes);
    c->probe_mtu = (uint16_t)dk_tcp_pmtu_packet(c, payload);
    c->probe_end = (uint32_t)c->snd_nxt;
}

/* What is longer than a size that arrives does not. */
static void failed(struct dk_tcp_conn *c, uint32_t mtu)
{
    c->probe_mtu = 0;
    c->probe_fails = 0;
    c->search_high = (uint16_t)(mtu - 1 > c->path_mtu ? mtu - 1 : c->path_mtu + 1u);
}

void dk_tcp_search_refused(struct dk_tcp_conn *c)
{
    failed(c, c->path_mtu + 2u);
}

static bool is_probe(const struct dk_tcp_conn *c, const struct dk_tcp_segment *s)
{
    return c->probe_mtu && (uint32_t)s->end == c->probe_end && s->transmits == 1;
}

void dk_tcp_search_lost(struct dk_tcp_conn *c, const struct dk_tcp_segment *s)
{
    if (!is_probe(c, s))
        return;
    if (++c->probe_fails >= PROBES_MAX)
        failed(c, c->probe_mtu);
    c->probe_mtu = 0;
}

void dk_tcp_search_arrived(struct dk_tcp_conn *c, uint32_t longest)
{
    if (longest <= c->snd_mss) {
        c->max_acked = (uint16_t)longest;
        return;
    }
    if (!c->probe_mtu || (int32_t)((uint32_t)c->snd_una - c->probe_end) < 0)
        return;
    DK_TCP_COUNT(c->tcp, path_mtu_raised);
    c->path_mtu = c->probe_mtu;
    c->probe_mtu = 0;
    c->probe_fails = 0;
    dk_tcp_pmtu_set_mss(c);
    c->max_acked = (uint16_t)c->snd_mss;
}

bool dk_tcp_search_only_probe_lost(struct dk_tcp_conn *c)
{
    const struct dk_tcp_segment *s = dk_tcp_board_first_lost(c);
    if (!s || s->transmits > 1 || s->flags & DK_TCP_SEG_FIN || s->end - s->seq <= c->snd_mss)
        return false;
    while ((s = s->next))
        if (s->flags & DK_TCP_SEG_LOST)
            return false;
    return true;
}

bool dk_tcp_search_told(struct dk_tcp_conn *c, uint32_t mtu)
{
    if (!c->probe_mtu || mtu >= c->probe_mtu)
        return false;
    failed(c, mtu + 1);
    return true;
}

void dk_tcp_search_lowered(struct dk_tcp_conn *c, uint32_t mtu, int64_t now)
{
    if (c->search_high > mtu)
        wait(c, now);
    c->probe_mtu = 0;
}
