/* SPDX-License-Identifier: MIT */
/*
 * The calls of the owner (RFC 9293 section 3.10.2 to 3.10.6) on a connection that exists.
 */
#include "net/tcp/ecn.h"
#include "net/tcp/event.h"
#include "net/tcp/pcb.h"
#include "net/tcp/rcvq.h"
#include "net/tcp/sendq.h"
#include "net/tcp/timer.h"
#include "net/tcp/tx.h"

int dk_tcp_send_any(struct dk_tcp_conn *c, const struct dk_tx_piece pieces[], uint32_t n,
                    uint32_t flags, void *cookie, int64_t now)
{
    if (c->err)
        return c->err;
    if (c->fin_queued)
        return -EPIPE;
    if (c->state == DK_TCP_CLOSED)
        return -ENOTCONN;
    int done = dk_tcp_sendq_push(c, pieces, n, flags, cookie, now);
    if (done >= 0 && dk_unlikely(!dk_tcp_output_short(c, now)))
        dk_tcp_output(c, now);
    return done;
}

uint64_t dk_tcp_queued_bytes(const struct dk_tcp_conn *c)
{
    return dk_tcp_sendq_bytes(c);
}

uint64_t dk_tcp_send_goal(const struct dk_tcp_conn *c)
{
    return 2 * (uint64_t)dk_tcp_min32(c->cc.cwnd, c->max_wnd);
}

void dk_tcp_want_room(struct dk_tcp_conn *c, uint64_t queued_bytes)
{
    c->room_una = c->snd_end - dk_tcp_min64(queued_bytes, c->snd_end);
    dk_tcp_concern(c, DK_TCP_CONCERN_ROOM, true);
}

static bool may_still_receive(const struct dk_tcp_conn *c)
{
    return c->state == DK_TCP_ESTABLISHED || c->state == DK_TCP_FIN_WAIT_1 ||
           c->state == DK_TCP_FIN_WAIT_2;
}

/* As dk_tcp_recv, in general. */
__attribute__((noinline)) static int recv_any(struct dk_tcp_conn *c, struct dk_buf *bufs_out[],
                                              uint32_t max_bufs, size_t max_bytes, int64_t now)
{
    uint32_t n = dk_tcp_rcvq_take(c, bufs_out, max_bufs, max_bytes);
    if (n) {
        if (may_still_receive(c) && dk_tcp_window_update_due(c, now)) {
            c->ack_now = true;
            dk_tcp_output(c, now);
        }
        return (int)n;
    }
    if (c->rx_head)
        return -EAGAIN; /* nothing was asked for */
    if (dk_tcp_fin_received(c))
        return 0;
    if (c->state == DK_TCP_CLOSED)
        return c->err;
    return -EAGAIN;
}

int dk_tcp_recv(struct dk_tcp_conn *c, struct dk_buf *bufs_out[], uint32_t max_bufs,
                size_t max_bytes, int64_t now)
{
    if (dk_unlikely(max_bufs == 0 || dk_tcp_window_is_low(c) ||
                    !dk_tcp_rcvq_take_only(c, &bufs_out[0], max_bytes)))
        return recv_any(c, bufs_out, max_bufs, max_bytes, now);
    return 1;
}

bool dk_tcp_is_empty(const struct dk_tcp_conn *c)
{
    return !c->rx_head && c->state != DK_TCP_CLOSED && !dk_tcp_fin_received(c);
}

/* FIN is to follow what was pushed; SYN_RECEIVED goes on to FIN_WAIT_1 when it is established. */
static void queue_fin(struct dk_tcp_conn *c, int64_t now)
{
    c->fin_queued = true;
    if (c->state == DK_TCP_ESTABLISHED)
        dk_tcp_set_state(c, DK_TCP_FIN_WAIT_1, now);
    else if (c->state == DK_TCP_CLOSE_WAIT)
        dk_tcp_set_state(c, DK_TCP_LAST_ACK, now);
    dk_tcp_output(c, now);
}

int dk_tcp_shutdown(struct dk_tcp_conn *c, int64_t now)
{
    if (c->state == DK_TCP_CLOSED || c->state == DK_TCP_SYN_SENT)
        return -ENOTCONN;
    if (!c->fin_queued)
        queue_fin(c, now);
    return 0;
}

static bool peer_knows(const struct dk_tcp_conn *c)
{
    switch (c->state) {
    case DK_TCP_SYN_RECEIVED:
    case DK_TCP_ESTABLISHED:
    case DK_TCP_FIN_WAIT_1:
    case DK_TCP_FIN_WAIT_2:
    case DK_TCP_CLOSE_WAIT:
        return true;
    default:
        return false;
    }
}

/* Section 3.10.5. */
static void reset(struct dk_tcp_conn *c, int64_t now)
{
    if (peer_knows(c)) {
        dk_tcp_send_reset(c, c->snd_nxt, now);
        DK_TCP_COUNT(c->tcp, aborts);
    }
    dk_tcp_conn_end(c, 0);
}

void dk_tcp_close(struct dk_tcp_conn *c, int64_t now)
{
    if (c->closing)
        return;
    bool unread = c->rx_bytes > 0;
    c->closing = true;
    dk_tcp_rcvq_clear(c);
    if (c->state == DK_TCP_CLOSED) {
        dk_tcp_event(c, DK_TCP_EV_CLOSED);
    } else if (c->state == DK_TCP_SYN_SENT || (unread && peer_knows(c))) {
        reset(c, now); /* RFC 9293 section 3.6.1: unread bytes were not delivered */
    } else if (c->state == DK_TCP_FIN_WAIT_2) {
        dk_tcp_timer_set(c, DK_TCP_TIMER_STATE, now + c->tcp->config.fin_wait_2_ns);
        dk_tcp_event(c, DK_TCP_EV_CLOSED);
    } else if (c->state == DK_TCP_TIME_WAIT) {
        dk_tcp_event(c, DK_TCP_EV_CLOSED);
    } else if (!c->fin_queued) {
        queue_fin(c, now);
    }
}

void dk_tcp_abort(struct dk_tcp_conn *c, int64_t now)
{
    bool told = c->closing && (c->state == DK_TCP_CLOSED || c->events & DK_TCP_EV_CLOSED);
    c->closing = true;
    if (c->state != DK_TCP_CLOSED)
        reset(c, now);
    else if (!told)
        dk_tcp_event(c, DK_TCP_EV_CLOSED);
    dk_tcp_rcvq_clear(c);
}

void dk_tcp_abort_unheard(struct dk_tcp_conn *c, int64_t now)
{
    bool synchronized = c->state >= DK_TCP_ESTABLISHED && c->state < DK_TCP_TIME_WAIT;
    if (synchronized && c->snd_una != c->snd_nxt)
        dk_tcp_send_reset(c, c->snd_una, now);
    dk_tcp_abort(c, now);
}

/* What numbers of the stream say, without SYN and FIN. */
static uint64_t acked_bytes(const struct dk_tcp_conn *c)
{
    uint64_t end = dk_tcp_min64(c->snd_una, c->snd_end);
    return end > c->iss ? end - c->iss - 1 : 0;
}

static uint64_t received_bytes(const struct dk_tcp_conn *c)
{
    uint64_t end = dk_tcp_min64(c->rcv_nxt, c->rcv_fin);
    return end > c->irs && c->irs ? end - c->irs - 1 : 0;
}

static void get_more(const struct dk_tcp_conn *c, struct dk_tcp_info *info)
{
    info->sacked_bytes = c->loss->sacked_bytes;
    info->lost_bytes = c->snd_nxt - c->snd_una - c->flight_bytes - c->loss->sacked_bytes;
    info->acked_bytes = acked_bytes(c);
    info->received_bytes = received_bytes(c);
    info->min_rtt_ns = c->min_rtt_ns;
    info->last_sent = c->last_tx_data;
    info->last_received = c->last_rx;
    info->delivery_rate = dk_tcp_rate_latest(c, &info->delivery_limited);
    info->pacing_rate = c->rate_on ? c->cc.pacing_rate : 0;
    info->in_recovery = c->in_recovery;
    info->in_loss = c->in_loss;
    info->window_scale = c->wscale_on;
    info->ecn = c->ecn & DK_TCP_ECN_ON;
    info->retries = c->retries;
    info->rcv_mss = c->rcv_mss;
    info->path_mtu = c->path_mtu;
    info->rcv_buf = (uint32_t)c->option[DK_TCP_RCV_BUF];
    info->congestion = c->cc.ops->name;
}

void dk_tcp_get_info(const struct dk_tcp_conn *c, struct dk_tcp_info *info)
{
    *info = (struct dk_tcp_info){
        .state = c->state,
        .err = c->err,
        .local = {c->local_ip, c->local_port},
        .remote = {c->remote_ip, c->remote_port},
        .snd_una = (uint32_t)c->snd_una,
        .snd_nxt = (uint32_t)c->snd_nxt,
        .snd_wnd = c->snd_wnd,
        .rcv_nxt = (uint32_t)c->rcv_nxt,
        .rcv_wnd = (uint32_t)(c->rcv_adv > c->rcv_nxt ? c->rcv_adv - c->rcv_nxt : 0),
        .snd_wscale = c->snd_wscale,
        .rcv_wscale = c->rcv_wscale,
        .timestamps = c->ts_on,
        .sack = c->sack_on,
        .mss = c->snd_mss,
        .cwnd = c->cc.cwnd,
        .ssthresh = c->cc.ssthresh,
        .srtt_ns = c->srtt_ns,
        .rttvar_ns = c->rttvar_ns,
        .rto_ns = c->rto_ns,
        .unsent_bytes = c->snd_end - dk_tcp_min64(c->snd_nxt, c->snd_end),
        .unacked_bytes = c->snd_nxt - c->snd_una,
        .readable_bytes = c->rx_bytes,
        .retransmits = c->retransmits,
    };
    get_more(c, info);
}
