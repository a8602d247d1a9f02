/* SPDX-License-Identifier: MIT */
/*
 * The fifth check: what a segment acknowledges.
 */
#ifndef DK_NET_TCP_RX_ACK_H
#define DK_NET_TCP_RX_ACK_H

#include "net/tcp/ecn.h"
#include "net/tcp/search.h"
#include "net/tcp/timer.h"

#define DK_TCP_CONFIRM_NS DK_NS_PER_S /* neighbours are not told more often */

/* True: the segment goes on to its text. */
bool dk_tcp_rx_ack(struct dk_tcp_conn *c, struct dk_tcp_rx *rx);

/* The part of that which is left of a segment that is known to acknowledge something up to snd_nxt,
 * and to be no duplicate, on a connection whose FIN was not sent. rx->ack and wnd are set. */
void dk_tcp_rx_ack_good(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx);

/* Our SYN is acknowledged: lets it go and takes the round trip. */
void dk_tcp_rx_ack_syn(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx, uint64_t ack);

/* The parts of that which recovery.c puts together: data is acknowledged for the first time, which
 * counts as so many bytes for congestion control (returns the round trip that this measured, or
 * -1); whether rx is a duplicate by RFC 5681 section
 * 2; what a duplicate does without SACK. */
int64_t dk_tcp_rx_new(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx, uint64_t bytes);
bool dk_tcp_rx_is_duplicate(const struct dk_tcp_conn *c, const struct dk_tcp_rx *rx);
void dk_tcp_rx_duplicate(struct dk_tcp_conn *c, int64_t now);

/* ---- The parts of an acknowledgement that it has by the short way too (rx_predict.c) --------- */

/* What an acknowledgement delivered, for the sample of a rate (rate.h). */
struct dk_tcp_told {
    bool newest;
    uint64_t before; /* dk_tcp_rate_total */
};

/* As the following, where it makes a difference. */
void dk_tcp_tell_cc_all(struct dk_tcp_conn *c, uint32_t bytes, uint32_t flight, int64_t rtt,
                        struct dk_tcp_told told, int64_t now);

/* Congestion control is told of bytes that are acknowledged; snd_una is behind them already. */
static inline void dk_tcp_tell_cc(struct dk_tcp_conn *c, uint32_t bytes, uint32_t flight,
                                  int64_t rtt, struct dk_tcp_told told, int64_t now)
{
    if (dk_unlikely(!c->cc.skips_unused || 2 * (uint64_t)flight + c->cc.mss >= c->cc.cwnd))
        dk_tcp_tell_cc_all(c, bytes, flight, rtt, told, now);
}

static inline void dk_tcp_note_packet_size(struct dk_tcp_conn *c, uint32_t longest)
{
    if (dk_unlikely(longest > c->max_acked))
        dk_tcp_search_arrived(c, longest);
}

/* The neighbour on the way is reachable (RFC 4861 section 7.3.1). */
static inline void dk_tcp_confirm(struct dk_tcp_conn *c, int64_t now)
{
    if (dk_likely(now < c->confirm_due))
        return;
    c->confirm_due = now + DK_TCP_CONFIRM_NS;
    dk_ip_confirm(c->tcp->net, &c->remote_ip, now);
}

/* The window is larger than it was: the persist timer begins anew, if it is needed still. */
static inline void dk_tcp_window_grows(struct dk_tcp_conn *c, uint32_t wnd)
{
    c->probe_backoff = 0;
    dk_tcp_timer_clear(c, DK_TCP_TIMER_PERSIST);
    if (wnd > c->max_wnd)
        c->max_wnd = wnd;
}

/* Takes the window of a segment that no later one has told already. */
static inline void dk_tcp_set_window(struct dk_tcp_conn *c, uint64_t seq, uint64_t ack,
                                     uint64_t wnd)
{
    if (wnd > c->snd_wnd)
        dk_tcp_window_grows(c, (uint32_t)wnd);
    c->snd_wnd = (uint32_t)wnd;
    c->snd_right = ack + wnd;
    c->snd_wl1 = seq;
}

/* RFC 9293: SND.WL1 and SND.WL2 keep old segments from changing the window. What SND.WL2 is was
 * acknowledged, so what acknowledges no less than snd_una is not before it. */
static inline void dk_tcp_take_window(struct dk_tcp_conn *c, uint64_t seq, uint64_t ack,
                                      uint64_t wnd)
{
    if (ack >= c->snd_una && seq >= c->snd_wl1)
        dk_tcp_set_window(c, seq, ack, wnd);
}

/* A peer that closes its window and answers is alive: nothing is given up (section 3.8.6.1). */
static inline void dk_tcp_note_alive(struct dk_tcp_conn *c, int64_t now)
{
    c->last_rx = now;
    c->probes = 0;
    if (dk_likely(c->snd_wnd != 0))
        return;
    c->retries = 0;
    c->stalled_since = now;
}

#endif /* DK_NET_TCP_RX_ACK_H */
