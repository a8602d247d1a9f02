/* SPDX-License-Identifier: MIT */
/*
 * Text and FIN, and when they are acknowledged (RFC 9293 section 3.8.6.3, RFC 5681 section 4.2):
 * at once when bytes are missing before them, fill a gap, or end the stream, and when two full
 * segments were not acknowledged yet; else within delayed_ack_ns.
 */
#include "net/tcp/rx_text.h"

#include "net/tcp/block.h"
#include "net/tcp/event.h"
#include "net/tcp/pcb.h"
#include "net/tcp/rcvq.h"
#include "net/tcp/reasm.h"
#include "net/tcp/timer.h"
#include "net/tcp/tx.h"

void dk_tcp_rx_urgent(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx)
{
    if (rx->h.flags & DK_TCP_URG)
        DK_TCP_COUNT(c->tcp, urgent_ignored);
}

/* Several that came as one count as what they are. */
void dk_tcp_rx_larger(struct dk_tcp_conn *c, uint32_t len)
{
    c->rcv_mss = dk_tcp_min32(len, c->path_mtu - (c->local_ip.version == 4 ? 40 : 60));
    dk_tcp_rcvq_sized(c);
}

static bool takes_text(const struct dk_tcp_conn *c)
{
    return c->state == DK_TCP_ESTABLISHED || c->state == DK_TCP_FIN_WAIT_1 ||
           c->state == DK_TCP_FIN_WAIT_2;
}

/* Nothing comes behind a FIN. */
static void cut_at_fin(const struct dk_tcp_conn *c, struct dk_tcp_rx *rx)
{
    if (dk_likely(rx->seq + rx->len <= c->rcv_fin))
        return;
    rx->len = rx->seq < c->rcv_fin ? (uint32_t)(c->rcv_fin - rx->seq) : 0;
    rx->fin = false;
}

bool dk_tcp_rx_text(struct dk_tcp_conn *c, struct dk_tcp_rx *rx)
{
    cut_at_fin(c, rx);
    if (rx->len == 0 || !takes_text(c))
        return true;
    if (c->closing) { /* RFC 9293 section 3.6.1: the peer is to know that it talks to nobody */
        DK_TCP_COUNT(c->tcp, drop_after_close);
        dk_tcp_send_reset(c, c->snd_nxt, rx->now);
        DK_TCP_COUNT(c->tcp, aborts);
        dk_tcp_conn_end(c, -ECONNRESET);
        return false;
    }
    if (rx->seq == c->rcv_nxt) {
        dk_tcp_rx_in_order(c->tcp, c, rx->ip->buf, rx->data, rx->len, NULL);
    } else {
        dk_tcp_reasm_insert(c, rx);
        c->ack_now = true;
    }
    return true;
}

static void fin_arrived(struct dk_tcp_conn *c, int64_t now)
{
    c->rcv_nxt++;
    if (c->reasm)
        dk_tcp_blocks_advance(c);
    c->ack_now = true;
    dk_tcp_event(c, DK_TCP_EV_READABLE | DK_TCP_EV_PEER_CLOSED);
    switch (c->state) {
    case DK_TCP_ESTABLISHED:
        dk_tcp_set_state(c, DK_TCP_CLOSE_WAIT, now);
        break;
    case DK_TCP_FIN_WAIT_1: /* ours is not acknowledged, or it would be FIN_WAIT_2 */
        dk_tcp_set_state(c, DK_TCP_CLOSING, now);
        break;
    case DK_TCP_FIN_WAIT_2:
        dk_tcp_enter_time_wait(c, now);
        break;
    default:
        break;
    }
}

void dk_tcp_rx_fin(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx)
{
    if (!takes_text(c))
        return;
    if (rx->fin && c->rcv_fin == DK_TCP_NONE && dk_tcp_reasm_end(c) <= rx->seq + rx->len) {
        c->rcv_fin = rx->seq + rx->len;
        c->gap = true;
        if (c->rcv_fin > c->rcv_nxt)
            dk_tcp_blocks_add(c, c->rcv_fin, c->rcv_fin + 1);
        c->ack_now = true;
    }
    if (c->rcv_nxt == c->rcv_fin)
        fin_arrived(c, rx->now);
}
