/* SPDX-License-Identifier: MIT */
/*
 * The timer is set when something is sent and it does not run (rto.h), and never moved on: when it
 * fires, or the wheel asks for it, it is seen how long ago the last segment or acknowledgement was,
 * and set again for the rest. So neither sending nor acknowledgements pay for it.
 */
#include "net/tcp/tlp.h"

#include "net/tcp/sendq.h"
#include "net/tcp/tx.h"

/* TLP_send_probe; the timer goes on when there is no room, and the RTO does in any case. */
static void probe(struct dk_tcp_conn *c, int64_t now)
{
    uint64_t snd_nxt = c->snd_nxt;
    dk_tcp_record_need(c);
    if (!dk_tcp_uses_sack(c))
        return;
    int err = dk_tcp_output_tail(c, now);
    if (err == -EAGAIN)
        dk_tcp_timer_set(c, DK_TCP_TIMER_LOSS, now + DK_TCP_PROBE_MIN_NS);
    if (err)
        return;
    DK_TCP_COUNT(c->tcp, tlp_probes);
    c->loss->tlp_is_retrans = c->snd_nxt == snd_nxt;
    c->loss->tlp_end = c->snd_nxt;
    c->troubled = true;
    dk_tcp_rto_restart(c, now);
}

void dk_tcp_tlp_timer(struct dk_tcp_conn *c, int64_t now)
{
    if (c->loss->tlp_end || c->state < DK_TCP_ESTABLISHED)
        return;
    int64_t due = dk_tcp_tlp_probe_due(c);
    if (due > now)
        dk_tcp_timer_set(c, DK_TCP_TIMER_LOSS, due);
    else
        probe(c, now);
}

/* What the probe repaired was a loss like any other. */
static void repaired(struct dk_tcp_conn *c, int64_t now)
{
    DK_TCP_COUNT(c->tcp, tlp_recoveries);
    if (c->in_recovery || c->in_loss)
        return;
    uint32_t flight = (uint32_t)(c->snd_nxt - c->snd_una);
    c->loss->undo_from = 0;
    c->cc.ops->on_loss(&c->cc, flight > c->cc.cwnd ? flight : c->cc.cwnd, now);
    dk_tcp_recovery_leave(c, now);
}

void dk_tcp_tlp_ack(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx, const struct dk_tcp_heard *h)
{
    uint64_t end = c->loss->tlp_end;
    if (end == 0 || rx->ack < end)
        return;
    bool was_dsacked = h->dsack && h->dsack_end == end;
    bool was_received_twice = h->duplicate && rx->h.options.num_sacks == 0;
    if (c->loss->tlp_is_retrans && !was_dsacked && !was_received_twice) {
        if (rx->ack == end)
            return; /* a report of the duplicate may follow */
        repaired(c, rx->now);
    }
    c->loss->tlp_end = 0;
}
