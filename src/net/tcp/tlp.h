/* SPDX-License-Identifier: MIT */
/*
 * Tail loss probe (RFC 8985 section 7): the last of a flight is sent once more, or what is new, so
 * that an acknowledgement tells what is lost before the retransmission timer does.
 */
#ifndef DK_NET_TCP_TLP_H
#define DK_NET_TCP_TLP_H

#include "net/tcp/recovery.h"
#include "net/tcp/rto.h"

/* The timer fired and nothing is selectively acknowledged: it is time for a probe, or will be. */
void dk_tcp_tlp_timer(struct dk_tcp_conn *c, int64_t now);

/* TLP.max_ack_delay: how long a peer may wait with an acknowledgement of one segment. */
#define DK_TCP_MAX_ACK_DELAY_NS (200 * DK_NS_PER_MS)

/* TLP_calc_PTO. An acknowledgement is owed at once for two full segments, not for less (RFC 5681
 * section 4.2); the RFC says so of one segment. */
static inline int64_t dk_tcp_tlp_timeout(const struct dk_tcp_conn *c)
{
    int64_t pto = dk_tcp_probe_timeout(c);
    bool may_be_delayed = c->flight_bytes < 2 * (uint64_t)c->snd_mss;
    return c->srtt_ns >= 0 && may_be_delayed ? pto + DK_TCP_MAX_ACK_DELAY_NS : pto;
}

/* Only the time since which nothing was sent or acknowledged counts. */
static inline int64_t dk_tcp_tlp_probe_due(const struct dk_tcp_conn *c)
{
    int64_t from = c->stalled_since, rto = c->due[DK_TCP_TIMER_RTO];
    if (c->last_tx_data > from)
        from = c->last_tx_data;
    int64_t due = from + dk_tcp_tlp_timeout(c);
    return due < rto ? due : rto;
}

/* When the timer, which is set, has something to do; DK_TCP_NEVER: nothing is in flight. */
static inline int64_t dk_tcp_tlp_due(const struct dk_tcp_conn *c)
{
    if (c->troubled || c->state < DK_TCP_ESTABLISHED)
        return c->due[DK_TCP_TIMER_LOSS];
    return c->flight_bytes ? dk_tcp_tlp_probe_due(c) : DK_TCP_NEVER;
}

/* What an acknowledgement says of the probe that is outstanding (section 7.4.2). */
void dk_tcp_tlp_ack(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx,
                    const struct dk_tcp_heard *h);

#endif /* DK_NET_TCP_TLP_H */
