/* SPDX-License-Identifier: MIT */
/*
 *     SYN_SENT --SYN,ACK--> ESTABLISHED            SYN_SENT --SYN--> SYN_RECEIVED
 *     SYN_RECEIVED --ACK, or SYN,ACK of a simultaneous open--> ESTABLISHED
 *
 * Our SYN is the first entry of the scoreboard, so it is retransmitted like anything else; in
 * SYN_RECEIVED it goes as SYN,ACK.
 */
#include "net/tcp/handshake.h"

#include "net/tcp/congestion.h"
#include "net/tcp/ecn.h"
#include "net/tcp/listen.h"
#include "net/tcp/open.h"
#include "net/tcp/pcb.h"
#include "net/tcp/pmtu.h"
#include "net/tcp/rto.h"
#include "net/tcp/rx_ack.h"
#include "net/tcp/search.h"
#include "net/tcp/sendq.h"
#include "net/tcp/tune.h"
#include "net/tcp/tx.h"

/* RFC 9293, MUST-15: what a peer takes that does not say. */
#define MSS_UNSAID_IP4 536u
#define MSS_UNSAID_IP6 1220u
/* Less leaves nothing beside options, and makes of each push a flood of segments. */
#define MSS_LEAST      48u

static void take_mss(struct dk_tcp_conn *c, const struct dk_tcp_options *opt)
{
    c->peer_mss = c->local_ip.version == 4 ? MSS_UNSAID_IP4 : MSS_UNSAID_IP6;
    if (opt->has & DK_TCP_HAS_MSS)
        c->peer_mss = opt->mss > MSS_LEAST ? opt->mss : MSS_LEAST;
}

void dk_tcp_handshake_syn(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx)
{
    const struct dk_tcp_options *opt = &rx->h.options;
    const struct dk_tcp_config *config = &c->tcp->config;
    c->irs = DK_TCP_SEQ_0 + rx->h.seq;
    c->rcv_nxt = c->rcv_adv = c->last_ack_sent = c->irs + 1;
    c->last_rx = rx->now;
    dk_tcp_tune_begin(c, rx->now);
    c->wscale_on = opt->has & DK_TCP_HAS_WINDOW_SCALE && !config->no_window_scale;
    if (c->wscale_on) {
        c->snd_wscale = opt->window_scale;
        c->rcv_wscale = c->rcv_wscale_offer;
    }
    c->ts_on = opt->has & DK_TCP_HAS_TIMESTAMPS && !config->no_timestamps;
    if (c->ts_on)
        c->ts_recent = opt->ts_val;
    c->sack_on = opt->has & DK_TCP_HAS_SACK_PERMITTED && !config->no_sack;
    dk_tcp_ecn_syn(c, rx->h.flags);
    take_mss(c, opt);
    dk_tcp_pmtu_set_mss(c);
}

/* The window of a segment that acknowledges our SYN; in a SYN it is not scaled. */
static void first_window(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx, uint64_t ack)
{
    bool is_syn = rx->h.flags & DK_TCP_SYN;
    c->snd_wnd = (uint32_t)rx->h.window << (is_syn ? 0 : c->snd_wscale);
    c->snd_right = ack + c->snd_wnd;
    c->max_wnd = c->snd_wnd;
    c->snd_wl1 = rx->seq;
}

/* Our SYN is acknowledged. */
static void established(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx, uint64_t ack)
{
    bool again = c->board->transmits > 1;
    dk_tcp_open_done(c, rx->now);
    dk_tcp_rx_ack_syn(c, rx, ack);
    dk_tcp_search_begin(c);
    dk_tcp_congestion_begin(c, rx->now);
    if (c->ecn & DK_TCP_ECN_ON)
        DK_TCP_COUNT(c->tcp, ecn_agreed);
    if (again) {
        dk_tcp_rto_after_syn(c);
        c->cc.cwnd = c->snd_mss; /* RFC 5681 section 3.1 */
    }
    first_window(c, rx, ack);
}

bool dk_tcp_rx_syn_sent(struct dk_tcp_conn *c, struct dk_tcp_rx *rx)
{
    uint8_t flags = rx->h.flags;
    uint64_t ack = dk_tcp_extend(c->snd_una, rx->h.ack);
    if (flags & DK_TCP_ACK && (ack <= c->iss || ack > c->snd_nxt)) { /* first */
        DK_TCP_COUNT(c->tcp, drop_handshake);
        dk_tcp_answer_reset(c->tcp, rx);
        return false;
    }
    if (flags & DK_TCP_RST) { /* second */
        if (flags & DK_TCP_ACK)
            dk_tcp_conn_end(c, -ECONNREFUSED);
        else
            DK_TCP_COUNT(c->tcp, drop_handshake);
        return false;
    }
    if (!(flags & DK_TCP_SYN)) { /* fourth */
        DK_TCP_COUNT(c->tcp, drop_handshake);
        return false;
    }
    dk_tcp_handshake_syn(c, rx);
    rx->seq = c->irs;
    c->ack_now = true;
    if (flags & DK_TCP_ACK) {
        established(c, rx, ack);
        return true;
    }
    /* Both open at once (section 3.5, figure 7): our SYN goes again, with the ACK. */
    dk_tcp_set_state(c, DK_TCP_SYN_RECEIVED, rx->now);
    dk_tcp_board_lost(c, c->board, DK_TCP_SEG_FORCED);
    c->ack_now = false;
    return false;
}

bool dk_tcp_rx_syn_again(struct dk_tcp_conn *c, struct dk_tcp_rx *rx)
{
    if (!(rx->h.flags & DK_TCP_ACK)) {
        dk_tcp_board_lost(c, c->board, DK_TCP_SEG_FORCED); /* it did not get our SYN,ACK */
        return false;
    }
    rx->h.flags &= (uint8_t)~DK_TCP_SYN;
    rx->h.window = (uint16_t)(rx->h.window >> c->snd_wscale); /* that of a SYN is not scaled */
    rx->seq++;
    rx->seq_len--;
    return true;
}

bool dk_tcp_rx_completes(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx)
{
    if (rx->ack <= c->snd_una || rx->ack > c->snd_nxt) {
        DK_TCP_COUNT(c->tcp, drop_handshake);
        dk_tcp_answer_reset(c->tcp, rx);
        return false;
    }
    if (c->listener && !dk_tcp_listen_established(c))
        return false;
    established(c, rx, rx->ack);
    return true;
}
