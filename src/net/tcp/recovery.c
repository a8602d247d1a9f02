/* SPDX-License-Identifier: MIT */
/*
 * The order in which an acknowledgement of a troubled connection is worked on.
 *
 * An episode is in_recovery (after a loss that acknowledgements told of) or in_loss (after a
 * timeout), never both, and lasts until all that was sent before it is acknowledged (`recover`).
 * cwnd is reduced once in an episode, whatever else is found to be lost meanwhile.
 */
#include "net/tcp/recovery.h"

#include "net/tcp/ecn.h"
#include "net/tcp/rack.h"
#include "net/tcp/rto.h"
#include "net/tcp/rx_ack.h"
#include "net/tcp/sack.h"
#include "net/tcp/search.h"
#include "net/tcp/sendq.h"
#include "net/tcp/tlp.h"
#include "net/tcp/tx.h"
#include "net/tcp/undo.h"

void dk_tcp_recovery_enter(struct dk_tcp_conn *c, uint32_t flight, int64_t now)
{
    struct dk_tcp_recovery *r = c->loss;
    DK_TCP_COUNT(c->tcp, fast_retransmits);
    dk_tcp_undo_begin(c);
    c->cc.ops->on_loss(&c->cc, flight, now);
    dk_tcp_ecn_reduced(c);
    c->troubled = c->in_recovery = true;
    c->partial_acks = 0;
    c->recover = c->snd_nxt;
    r->tlp_end = 0;
    r->prr_delivered = r->prr_out = 0;
    r->prr_cwnd = c->flight_bytes;
    r->prr_flight = flight ? flight : 1;
    dk_tcp_rto_restart(c, now);
}

/* RFC 6582 bounds the burst that may follow; RFC 6937 has led the flight to ssthresh by then. */
void dk_tcp_recovery_leave(struct dk_tcp_conn *c, int64_t now)
{
    uint32_t flight = (uint32_t)(c->snd_nxt - c->snd_una);
    if (dk_tcp_uses_sack(c))
        flight = dk_tcp_min32(c->cc.ssthresh, UINT32_MAX / 2);
    c->in_recovery = false;
    c->inflation = 0;
    c->cc.ops->on_recovered(&c->cc, flight, now);
    dk_tcp_rack_recovered(c);
}

/* Much may be acknowledged at once: no burst beyond an initial window, as in undo.c. */
static void leave_loss(struct dk_tcp_conn *c)
{
    uint64_t most = c->snd_nxt - c->snd_una + dk_tcp_cc_initial_window(c->snd_mss);
    c->cc.cwnd = (uint32_t)dk_tcp_min64(c->cc.cwnd, most);
    c->in_loss = false;
    c->loss->frto = DK_TCP_FRTO_OFF;
    dk_tcp_rack_recovered(c);
}

/* What is out by the window. What limited transmit sent does not count (RFC 6675 section 5, (4.2)),
 * nor what recovery without SACK sent beyond the window for duplicates: that had left the network.
 */
static uint32_t window_in_flight(const struct dk_tcp_conn *c)
{
    return (uint32_t)dk_tcp_min64(c->snd_nxt - c->snd_una, c->cc.cwnd);
}

/* The first that is lost goes at once, whatever the window says (RFC 6675 section 5, (4.3)). */
static void enter_by_rack(struct dk_tcp_conn *c, int64_t now)
{
    DK_TCP_COUNT(c->tcp, sack_recoveries);
    dk_tcp_recovery_enter(c, window_in_flight(c), now);
    struct dk_tcp_segment *s = dk_tcp_board_first_lost(c);
    if (s)
        s->flags |= DK_TCP_SEG_FORCED;
}

static bool detect(struct dk_tcp_conn *c, int64_t now)
{
    if (!dk_tcp_rack_detect(c, now))
        return false;
    if (!c->in_recovery && !c->in_loss && !dk_tcp_search_only_probe_lost(c))
        enter_by_rack(c, now);
    return true;
}

/* RFC 6937 section 3: how much may be in flight until the next acknowledgement. In slow start back
 * to ssthresh one more segment goes for each acknowledgement that repaired something and told of no
 * loss (PRR-SSRB), otherwise as much as was delivered (PRR-CRB). */
static void prr(struct dk_tcp_conn *c, uint32_t delivered, bool progress)
{
    struct dk_tcp_recovery *r = c->loss;
    uint64_t ssthresh = c->cc.ssthresh, pipe = c->flight_bytes, quota;
    r->prr_delivered += delivered;
    if (pipe > ssthresh) {
        uint64_t due = ((uint64_t)r->prr_delivered * ssthresh + r->prr_flight - 1) / r->prr_flight;
        quota = due > r->prr_out ? due - r->prr_out : 0;
    } else {
        uint64_t behind = r->prr_delivered > r->prr_out ? r->prr_delivered - r->prr_out : 0;
        uint64_t limit = dk_tcp_max64(behind, delivered) + (progress ? c->snd_mss : 0);
        quota = dk_tcp_min64(ssthresh - pipe, limit);
    }
    r->prr_cwnd = (uint32_t)dk_tcp_min64(pipe + quota, UINT32_MAX);
}

/* What the acknowledgement that ends a recovery delivers lets the window grow like that of the next
 * one: where few acknowledgements come, it is much of a round trip's. An algorithm with a recovery
 * of its own has been told. */
static void end_of_recovery(struct dk_tcp_conn *c, const struct dk_tcp_heard *h, int64_t now)
{
    dk_tcp_recovery_leave(c, now);
    if (!(c->cc.ops->flags & DK_TCP_CC_OWN_RECOVERY))
        dk_tcp_tell_cc(c, h->delivered, (uint32_t)(c->snd_nxt - h->prior_una), -1,
                       (struct dk_tcp_told){false, dk_tcp_rate_total(c)}, now);
}

static void end_of_episode(struct dk_tcp_conn *c, const struct dk_tcp_heard *h, int64_t now)
{
    if (c->snd_una < c->recover)
        return;
    if (c->in_recovery)
        end_of_recovery(c, h, now);
    if (c->in_loss)
        leave_loss(c);
}

static void calm(struct dk_tcp_conn *c)
{
    c->troubled = c->in_recovery || c->in_loss || c->loss->sacked_bytes || c->loss->tlp_end ||
                  c->dup_acks || dk_tcp_board_first_lost(c);
}

/* What is delivered selectively is told to who counts it. */
static void tell_sacked(struct dk_tcp_conn *c, uint64_t before, int64_t now)
{
    if (dk_tcp_rate_total(c) == before)
        return;
    uint32_t flight = (uint32_t)(c->snd_nxt - c->snd_una);
    dk_tcp_tell_cc(c, 0, flight, -1, (struct dk_tcp_told){true, before}, now);
}

static void with_sack(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx, struct dk_tcp_heard *h)
{
    if (h->dsack && h->dsack_end != c->loss->tlp_end)
        dk_tcp_rack_dsack(c);
    dk_tcp_tlp_ack(c, rx, h);
    dk_tcp_undo_ack(c, rx, h);
    end_of_episode(c, h, rx->now);
    bool lost = detect(c, rx->now);
    if (c->in_recovery)
        prr(c, h->delivered, c->snd_una > h->prior_una && !lost);
}

static void without_sack(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx,
                         const struct dk_tcp_heard *h)
{
    dk_tcp_undo_ack(c, rx, h);
    if (h->duplicate)
        dk_tcp_rx_duplicate(c, rx->now);
    if (c->in_loss && c->snd_una >= c->recover)
        leave_loss(c);
}

/*
 * What is acknowledged lets the window grow. Once reordering was seen what is selected counts when
 * it is selected: with some segments always late, acknowledgements of much at once are the rule,
 * and each counts for two segments at most (RFC 3465). Before, it may be the sign of a loss, and
 * RFC 5681 section 3.2 (1) has the window wait.
 */
static void grow(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx, struct dk_tcp_heard *h)
{
    bool counts = c->loss->reordering_seen;
    if (rx->ack > c->snd_una)
        h->rtt_ns = dk_tcp_rx_new(c, rx, counts ? h->delivered : rx->ack - c->snd_una);
    else if (counts && h->sacked)
        dk_tcp_tell_cc(c, h->sacked, (uint32_t)(c->snd_nxt - c->snd_una), -1,
                       (struct dk_tcp_told){false, dk_tcp_rate_total(c)}, rx->now);
}

void dk_tcp_recovery_ack(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx)
{
    dk_tcp_record_need(c);
    struct dk_tcp_heard h = {.prior_una = c->snd_una,
                             .prior_fack = dk_tcp_max64(c->loss->rack_fack, c->snd_una),
                             .walk = DK_TCP_WALK_MAX,
                             .duplicate = dk_tcp_rx_is_duplicate(c, rx),
                             .rtt_ns = -1};
    c->loss->rack_fack = h.prior_fack;
    if (rx->ack > c->snd_una)
        dk_tcp_sack_cumulative(c, rx, &h);
    uint64_t before = dk_tcp_rate_total(c);
    if (dk_tcp_uses_sack(c))
        dk_tcp_sack_blocks(c, rx, &h);
    tell_sacked(c, before, rx->now);
    grow(c, rx, &h);
    if (dk_tcp_uses_sack(c))
        with_sack(c, rx, &h);
    else
        without_sack(c, rx, &h);
    calm(c);
    dk_tcp_record_done(c);
}

/* A timeout within an episode makes no more of the window than there was. Without SACK it is how a
 * recovery ends in which very much was lost, and reduces the window once more (RFC 5681 section
 * 4.3); with SACK, as with Linux, it does not. */
static void tell_timeout(struct dk_tcp_conn *c, bool first, int64_t now)
{
    const uint32_t before = c->in_recovery || c->in_loss ? c->cc.ssthresh : UINT32_MAX;
    const uint32_t flight = (uint32_t)(c->snd_nxt - c->snd_una);
    c->cc.ops->on_rto(&c->cc, dk_tcp_uses_sack(c) ? flight : window_in_flight(c), first, now);
    c->cc.ssthresh = dk_tcp_min32(c->cc.ssthresh, before);
}

void dk_tcp_recovery_timeout(struct dk_tcp_conn *c, bool first, int64_t now)
{
    dk_tcp_record_need(c);
    struct dk_tcp_recovery *r = c->loss;
    bool frto = dk_tcp_uses_sack(c) && !c->in_loss && !c->in_recovery;
    if (c->cc.cwnd && first && !c->in_loss && !c->in_recovery)
        dk_tcp_undo_begin(c);
    else
        r->undo_from = 0; /* twice in a row: no doubt any more */
    if (c->cc.cwnd)
        tell_timeout(c, first, now);
    dk_tcp_ecn_reduced(c);
    if (c->board->flags & DK_TCP_SEG_SACKED) { /* RFC 6675 section 5.1 */
        DK_TCP_COUNT(c->tcp, sack_reneged);
        dk_tcp_sack_forget(c);
    }
    if (dk_tcp_uses_sack(c))
        dk_tcp_rack_timeout(c, now);
    else
        dk_tcp_board_all_lost(c);
    c->in_recovery = false;
    c->troubled = c->in_loss = true;
    c->inflation = 0;
    c->dup_acks = 0;
    c->recover = c->snd_nxt;
    r->tlp_end = 0;
    r->frto = frto ? DK_TCP_FRTO_FIRST : DK_TCP_FRTO_OFF;
    dk_tcp_record_done(c);
}

void dk_tcp_recovery_timer(struct dk_tcp_conn *c, int64_t now)
{
    if (c->snd_una == c->snd_nxt)
        return;
    if (c->loss->sacked_bytes == 0 && !c->in_recovery && !c->in_loss) {
        dk_tcp_tlp_timer(c, now);
    } else if (dk_tcp_uses_sack(c) && detect(c, now)) {
        DK_TCP_COUNT(c->tcp, rack_reorder_timeouts);
        dk_tcp_output(c, now);
    }
}
