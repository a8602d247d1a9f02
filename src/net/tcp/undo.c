/* SPDX-License-Identifier: MIT */
/*
 * The congestion control takes its own decision back (on_spurious); here the burst that a wide open
 * window would allow is bounded, and what was marked lost counts as in flight again.
 */
#include "net/tcp/undo.h"

#include "net/tcp/rto.h"
#include "net/tcp/sendq.h"

void dk_tcp_undo_begin(struct dk_tcp_conn *c)
{
    struct dk_tcp_recovery *r = c->loss;
    r->undo_from = c->snd_una;
    r->undo_retrans = 0;
    r->undo_first = 0;
}

void dk_tcp_undo_retransmitted(struct dk_tcp_conn *c, uint64_t end, int64_t now)
{
    struct dk_tcp_recovery *r = c->loss;
    if (r->undo_from == 0)
        return;
    if (r->undo_first == 0) {
        r->undo_first = end;
        r->undo_ts = dk_tcp_ts_now(c, now);
    }
    r->undo_retrans++;
}

/* RFC 3522 section 3.2, step 5: of the first acknowledgement that covers what was retransmitted. */
static bool is_by_timestamp(const struct dk_tcp_conn *c, const struct dk_tcp_rx *rx,
                            const struct dk_tcp_heard *h)
{
    const struct dk_tcp_options *opt = &rx->h.options;
    const uint64_t first = c->loss->undo_first;
    return first > h->prior_una && first <= c->snd_una && (c->in_recovery || c->in_loss) &&
           c->ts_on && opt->has & DK_TCP_HAS_TIMESTAMPS && opt->ts_ecr != 0 &&
           (int32_t)(opt->ts_ecr - c->loss->undo_ts) < 0;
}

/* RFC 3708 section 2. */
static bool is_by_dsack(struct dk_tcp_conn *c, const struct dk_tcp_heard *h)
{
    struct dk_tcp_recovery *r = c->loss;
    if (!h->dsack || h->dsack_end <= r->undo_from || h->dsack_start < r->undo_from)
        return false;
    return r->undo_retrans > 0 && --r->undo_retrans == 0;
}

/* New data may go, of at least one segment. */
static bool has_new_data(const struct dk_tcp_conn *c)
{
    return c->snd_nxt < c->snd_end && c->snd_nxt < c->snd_right &&
           c->flight_bytes + c->snd_mss <= c->cc.cwnd;
}

/* RFC 5682 section 3.1. */
static bool is_by_frto(struct dk_tcp_conn *c, const struct dk_tcp_heard *h)
{
    uint8_t step = c->loss->frto;
    c->loss->frto = DK_TCP_FRTO_OFF;
    switch (step) {
    case DK_TCP_FRTO_FIRST: /* (2) */
        if (c->snd_una > h->prior_una && c->snd_una < c->recover && has_new_data(c))
            c->loss->frto = DK_TCP_FRTO_SECOND;
        return false;
    case DK_TCP_FRTO_SECOND: /* (3) */
        return h->original;
    default:
        return false;
    }
}

/* RFC 4015 section 3.3, step 8: the next delay of that kind is to find a longer timeout. */
static void adapt_timeout(struct dk_tcp_conn *c, int64_t rtt)
{
    if (rtt < 0)
        return;
    if (rtt > c->srtt_ns)
        c->srtt_ns = rtt;
    if (rtt / 2 > c->rttvar_ns)
        c->rttvar_ns = rtt / 2;
    c->rto_ns = dk_tcp_rto_bounded(c, c->srtt_ns + 4 * c->rttvar_ns);
    dk_tcp_rto_restart(c, c->stalled_since);
}

static void undo(struct dk_tcp_conn *c, int64_t now)
{
    struct dk_tcp_recovery *r = c->loss;
    dk_tcp_board_none_lost(c);
    c->cc.ops->on_spurious(&c->cc, now);
    /* RFC 4015 section 3.2, (DONE): no burst beyond an initial window. */
    uint64_t most = c->snd_nxt - c->snd_una + dk_tcp_cc_initial_window(c->snd_mss);
    if (c->cc.cwnd > most)
        c->cc.cwnd = (uint32_t)most;
    c->inflation = 0;
    c->dup_acks = 0;
    c->in_recovery = c->in_loss = false;
    r->frto = DK_TCP_FRTO_OFF;
    r->undo_from = 0;
}

static bool is_spurious(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx,
                        const struct dk_tcp_heard *h)
{
    if (is_by_timestamp(c, rx, h))
        DK_TCP_COUNT(c->tcp, undo_timestamp);
    else if (is_by_dsack(c, h))
        DK_TCP_COUNT(c->tcp, undo_dsack);
    else if (is_by_frto(c, h))
        DK_TCP_COUNT(c->tcp, undo_frto);
    else
        return false;
    return true;
}

void dk_tcp_undo_ack(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx,
                     const struct dk_tcp_heard *h)
{
    if (c->loss->undo_from == 0 || !is_spurious(c, rx, h))
        return;
    if (c->in_loss)
        adapt_timeout(c, h->rtt_ns);
    else
        c->loss->reordering_seen = true; /* what seemed lost came late */
    undo(c, rx->now);
}
