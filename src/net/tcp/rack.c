/* SPDX-License-Identifier: MIT */
/*
 * The names are those of RFC 8985: rack_time is RACK.xmit_ts, rack_end RACK.end_seq.
 *
 * The RFC has a list in the order of transmission. The scoreboard is in the order of the stream,
 * which is the same but for what was retransmitted: an entry that was sent once, and later than
 * rack_time, ends the walk, since whatever lies behind it was sent (and sent again) later still.
 */
#include "net/tcp/rack.h"

#include "net/tcp/sendq.h"
#include "net/tcp/timer.h"

#define PERSIST_EPISODES 16

/* RACK_sent_after. */
static bool is_sent_after(int64_t t1, uint64_t end1, int64_t t2, uint64_t end2)
{
    return t1 > t2 || (t1 == t2 && end1 > end2);
}

/* Whether the acknowledgement may be one of the transmission before the last. */
static bool is_ambiguous(const struct dk_tcp_conn *c, const struct dk_tcp_segment *s,
                         const struct dk_tcp_rx *rx)
{
    const struct dk_tcp_options *opt = &rx->h.options;
    if (s->transmits <= 1)
        return false;
    if (c->ts_on && opt->has & DK_TCP_HAS_TIMESTAMPS &&
        (int32_t)(opt->ts_ecr - dk_tcp_ts_now(c, s->tx_time)) < 0)
        return true;
    return rx->now - s->tx_time < c->min_rtt_ns;
}

void dk_tcp_rack_delivered(struct dk_tcp_conn *c, const struct dk_tcp_segment *s,
                           const struct dk_tcp_rx *rx, const struct dk_tcp_heard *h)
{
    struct dk_tcp_recovery *r = c->loss;
    if (s->end > r->rack_fack)
        r->rack_fack = s->end;
    else if (s->end < h->prior_fack && s->transmits == 1)
        r->reordering_seen = true;
    if (is_ambiguous(c, s, rx))
        return;
    r->rack_rtt = rx->now - s->tx_time;
    if (is_sent_after(s->tx_time, s->end, r->rack_time, r->rack_end)) {
        r->rack_time = s->tx_time;
        r->rack_end = s->end;
    }
}

void dk_tcp_rack_dsack(struct dk_tcp_conn *c)
{
    struct dk_tcp_recovery *r = c->loss;
    if (c->snd_una < r->rack_dsack_round)
        return;
    r->rack_dsack_round = c->snd_nxt;
    r->reo_wnd_persist = PERSIST_EPISODES;
    if (r->reo_wnd_steps < UINT8_MAX)
        r->reo_wnd_steps++;
}

void dk_tcp_rack_recovered(struct dk_tcp_conn *c)
{
    struct dk_tcp_recovery *r = c->loss;
    if (r->reo_wnd_persist > 0 && --r->reo_wnd_persist == 0)
        r->reo_wnd_steps = 0;
}

/* RFC 6675 section 2 and 4: DupThresh duplicates, or more bytes than so many segments less one. */
static bool are_many_sacked(const struct dk_tcp_conn *c)
{
    return c->dup_acks >= DK_TCP_DUP_THRESH ||
           c->loss->sacked_bytes > (uint64_t)(DK_TCP_DUP_THRESH - 1) * c->snd_mss;
}

/* RACK.reo_wnd. */
static int64_t reordering_window(const struct dk_tcp_conn *c)
{
    const struct dk_tcp_recovery *r = c->loss;
    if (!r->reordering_seen && (c->in_recovery || c->in_loss || are_many_sacked(c)))
        return 0;
    int64_t window = (1 + (int64_t)r->reo_wnd_steps) * (c->min_rtt_ns / 4);
    if (window > c->srtt_ns)
        window = c->srtt_ns;
    return window > 0 ? window : 0;
}

bool dk_tcp_rack_detect(struct dk_tcp_conn *c, int64_t now)
{
    struct dk_tcp_recovery *r = c->loss;
    int64_t wait = r->rack_rtt + reordering_window(c) - now, timeout = 0;
    uint32_t walk = DK_TCP_WALK_MAX;
    bool found = false;
    for (struct dk_tcp_segment *s = c->board; s && --walk > 0; s = s->next) {
        if (s->flags & (DK_TCP_SEG_LOST | DK_TCP_SEG_SACKED))
            continue;
        if (!is_sent_after(r->rack_time, r->rack_end, s->tx_time, s->end)) {
            if (s->transmits <= 1)
                break;
            continue;
        }
        int64_t remaining = s->tx_time + wait;
        if (remaining > timeout) {
            timeout = remaining;
        } else if (remaining <= 0) {
            if (s->transmits > 1)
                DK_TCP_COUNT(c->tcp, lost_retransmits);
            dk_tcp_board_lost(c, s, 0);
            found = true;
        }
    }
    if (walk == 0)
        DK_TCP_COUNT(c->tcp, sack_limited);
    if (timeout > 0)
        dk_tcp_timer_set(c, DK_TCP_TIMER_LOSS, now + timeout);
    return found;
}

void dk_tcp_rack_timeout(struct dk_tcp_conn *c, int64_t now)
{
    /* RACK.rtt is not kept while all goes well; SRTT is. */
    int64_t wait = c->srtt_ns + reordering_window(c);
    for (struct dk_tcp_segment *s = c->board; s; s = s->next)
        if (c->srtt_ns < 0 || s->tx_time + wait <= now)
            dk_tcp_board_lost(c, s, 0);
    dk_tcp_board_lost(c, c->board, DK_TCP_SEG_FORCED);
}
