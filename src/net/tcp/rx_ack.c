/* SPDX-License-Identifier: MIT */
/*
 * Acknowledgements: RFC 9293 section 3.10.7.4 (fifth check), RFC 5961 section 5, congestion and
 * recovery by RFC 5681 section 3.2 and RFC 6582 section 3.2, round trips by RFC 6298 and 7323.
 *
 * Without selective acknowledgements each duplicate one means that a segment has left the network:
 * `inflation` counts them, beside cwnd, for as long as recovery lasts.
 */
#include "net/tcp/rx_ack.h"

#include "net/tcp/ecn.h"
#include "net/tcp/event.h"
#include "net/tcp/handshake.h"
#include "net/tcp/pcb.h"
#include "net/tcp/rate.h"
#include "net/tcp/recovery.h"
#include "net/tcp/rto.h"
#include "net/tcp/sendq.h"
#include "net/tcp/timer.h"
#include "net/tcp/tx.h"

#define PARTIAL_ACKS_MAX 9 /* slow start from one segment to 512 takes as many round trips */

/* RFC 5961 section 5.2. */
static bool is_in_range(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx)
{
    if (rx->ack <= c->snd_nxt && rx->ack + c->max_wnd >= c->snd_una)
        return true;
    DK_TCP_COUNT(c->tcp, drop_ack_range);
    dk_tcp_challenge_ack(c, rx->now);
    return false;
}

__attribute__((noinline)) static int64_t round_trip_by_timestamp(const struct dk_tcp_conn *c,
                                                                 const struct dk_tcp_rx *rx)
{
    const struct dk_tcp_options *opt = &rx->h.options;
    if (!c->ts_on || !(opt->has & DK_TCP_HAS_TIMESTAMPS) || opt->ts_ecr == 0)
        return -1;
    uint32_t ms = dk_tcp_ts_now(c, rx->now) - opt->ts_ecr;
    if (ms > UINT32_MAX / 2)
        return -1;
    return (ms ? ms : 1) * DK_NS_PER_MS; /* less than the clock's step is a step */
}

/* The time of one round trip, or -1. What was retransmitted tells nothing (Karn), unless by its
 * timestamp. */
static inline int64_t round_trip(const struct dk_tcp_conn *c, const struct dk_tcp_rx *rx,
                                 const struct dk_tcp_acked *acked)
{
    if (dk_likely(acked->tx_time >= 0 && !acked->retransmitted))
        return rx->now - acked->tx_time;
    return round_trip_by_timestamp(c, rx);
}

static inline int64_t take_round_trip(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx,
                                      const struct dk_tcp_acked *acked)
{
    int64_t rtt = round_trip(c, rx, acked);
    if (rtt >= 0)
        dk_tcp_rto_sample(c, rtt);
    return rtt;
}

void dk_tcp_rx_ack_syn(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx, uint64_t ack)
{
    struct dk_tcp_acked acked = dk_tcp_sendq_acked(c, ack);
    c->troubled = c->in_loss = false;
    dk_tcp_timer_clear(c, DK_TCP_TIMER_LOSS); /* was for a round trip that was not known */
    /* Of a SYN that was sent again nothing is known (Karn): the peer may answer the second and echo
     * the first, and the delay would make a timeout of seconds. */
    if (!acked.retransmitted)
        take_round_trip(c, rx, &acked);
    dk_tcp_rto_restart(c, rx->now);
}

/* RFC 6582 section 3.2 step 3: the next hole is lost too. */
static void partial_ack(struct dk_tcp_conn *c, uint64_t bytes)
{
    c->inflation -= (uint32_t)dk_tcp_min64(c->inflation, bytes);
    if (bytes >= c->snd_mss)
        c->inflation += c->snd_mss;
    if (c->board)
        dk_tcp_board_lost(c, c->board, DK_TCP_SEG_FORCED);
}

__attribute__((noinline)) static void recovery(struct dk_tcp_conn *c, uint64_t bytes, int64_t now)
{
    if (c->snd_una >= c->recover)
        dk_tcp_recovery_leave(c, now);
    else
        partial_ack(c, bytes);
}

void dk_tcp_tell_cc_all(struct dk_tcp_conn *c, uint32_t bytes, uint32_t flight, int64_t rtt,
                        struct dk_tcp_told told, int64_t now)
{
    struct dk_tcp_rate rate;
    struct dk_tcp_cc_ack ack = {.bytes = bytes,
                                .flight = flight,
                                .rtt_ns = rtt,
                                .srtt_ns = c->srtt_ns,
                                .snd_una = c->snd_una,
                                .snd_nxt = c->snd_nxt,
                                .in_recovery = c->in_recovery,
                                .ece = dk_tcp_ecn_is_echoed(c)};
    if (dk_unlikely(c->rate_on)) {
        dk_tcp_rated(c)->delivered_at = now;
        dk_tcp_rate_sample(c, told.newest, told.before, &rate);
        ack.rate = &rate;
    }
    c->cc.ops->on_ack(&c->cc, &ack, now);
}

static inline void congestion(struct dk_tcp_conn *c, uint64_t bytes, uint32_t flight, int64_t rtt,
                              struct dk_tcp_told told, int64_t now)
{
    dk_tcp_tell_cc(c, (uint32_t)bytes, flight, rtt, told, now);
    if (dk_unlikely(c->in_recovery) && !dk_tcp_uses_sack(c))
        recovery(c, bytes, now);
}

/* Restarts the timer for what is in flight still. Without SACK each partial acknowledgement repairs
 * one loss: RFC 6582 section 4 leaves it open whether the timer restarts for the first only, which
 * ends a long recovery by slow start ("impatient"), or for all. It does for as many as slow start
 * takes round trips, about: few losses are repaired sooner so, and many at twice the cost at most.
 */
static void restart_timer(struct dk_tcp_conn *c, int64_t now)
{
    const bool counts = c->in_recovery && !dk_tcp_uses_sack(c);
    const bool restarts = !counts || c->partial_acks < PARTIAL_ACKS_MAX;
    if (restarts || c->snd_una == c->snd_nxt)
        dk_tcp_rto_restart(c, now);
    if (counts && restarts)
        c->partial_acks++;
}

static inline int64_t new_ack(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx, uint64_t bytes)
{
    uint32_t flight = (uint32_t)(c->snd_nxt - c->snd_una);
    uint64_t before = dk_tcp_rate_total(c);
    struct dk_tcp_acked acked = dk_tcp_sendq_acked(c, rx->ack);
    int64_t rtt = take_round_trip(c, rx, &acked);
    dk_tcp_note_packet_size(c, acked.longest);
    congestion(c, bytes, flight, rtt, (struct dk_tcp_told){acked.newest, before}, rx->now);
    memset(c->troubles, 0, sizeof(c->troubles));
    c->stalled_since = rx->now;
    restart_timer(c, rx->now);
    dk_tcp_confirm(c, rx->now);
    return rtt;
}

__attribute__((noinline)) int64_t dk_tcp_rx_new(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx,
                                                uint64_t bytes)
{
    return new_ack(c, rx, bytes);
}

bool dk_tcp_rx_is_duplicate(const struct dk_tcp_conn *c, const struct dk_tcp_rx *rx)
{
    return rx->ack == c->snd_una && c->snd_una != c->snd_nxt && rx->seq_len == 0 &&
           rx->wnd == c->snd_wnd;
}

static void enter_recovery(struct dk_tcp_conn *c, int64_t now)
{
    /* What limited transmit sent does not count (RFC 5681 section 3.2). */
    dk_tcp_recovery_enter(c, c->dup_from - (uint32_t)c->snd_una, now);
    c->inflation = DK_TCP_DUP_THRESH * c->snd_mss;
    dk_tcp_board_lost(c, c->board, DK_TCP_SEG_FORCED);
}

void dk_tcp_rx_duplicate(struct dk_tcp_conn *c, int64_t now)
{
    DK_TCP_COUNT(c->tcp, dup_acks);
    c->troubled = true;
    if (c->dup_acks == 0)
        c->dup_from = (uint32_t)c->snd_nxt;
    if (c->dup_acks < UINT8_MAX)
        c->dup_acks++;
    if (c->in_recovery)
        c->inflation += c->snd_mss;
    else if (c->dup_acks == DK_TCP_DUP_THRESH && c->snd_una > c->recover)
        enter_recovery(c, now);
}

static bool fin_acked(struct dk_tcp_conn *c, int64_t now)
{
    switch (c->state) {
    case DK_TCP_FIN_WAIT_1:
        dk_tcp_set_state(c, DK_TCP_FIN_WAIT_2, now);
        if (c->closing) {
            dk_tcp_timer_set(c, DK_TCP_TIMER_STATE, now + c->tcp->config.fin_wait_2_ns);
            dk_tcp_event(c, DK_TCP_EV_CLOSED);
        }
        return true;
    case DK_TCP_CLOSING:
        dk_tcp_enter_time_wait(c, now);
        return true;
    case DK_TCP_LAST_ACK:
        dk_tcp_conn_end(c, 0);
        return false;
    default:
        return true;
    }
}

void dk_tcp_rx_ack_good(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx)
{
    if (rx->ack > c->snd_una)
        new_ack(c, rx, rx->ack - c->snd_una);
    dk_tcp_take_window(c, rx->seq, rx->ack, rx->wnd);
    dk_tcp_note_alive(c, rx->now);
}

bool dk_tcp_rx_ack(struct dk_tcp_conn *c, struct dk_tcp_rx *rx)
{
    if (!(rx->h.flags & DK_TCP_ACK)) {
        DK_TCP_COUNT(c->tcp, drop_no_ack);
        return false;
    }
    rx->ack = dk_tcp_extend(c->snd_una, rx->h.ack);
    rx->wnd = (uint64_t)rx->h.window << c->snd_wscale;
    if (c->state == DK_TCP_SYN_RECEIVED && !dk_tcp_rx_completes(c, rx))
        return false;
    if (!is_in_range(c, rx))
        return false;
    if (dk_unlikely(c->ecn))
        dk_tcp_ecn_ack(c, rx);
    if (dk_unlikely(rx->h.options.num_sacks && !c->sack_on))
        DK_TCP_COUNT(c->tcp, sack_unagreed);
    if (c->troubled || (rx->h.options.num_sacks && c->sack_on))
        dk_tcp_recovery_ack(c, rx);
    else if (dk_tcp_rx_is_duplicate(c, rx) && !c->sack_on)
        dk_tcp_rx_duplicate(c, rx->now);
    dk_tcp_rx_ack_good(c, rx); /* what recovery took as new is not any more */
    c->ecn &= (uint8_t)~DK_TCP_ECN_ECHOED;
    return !dk_tcp_fin_acked(c) || fin_acked(c, rx->now);
}
