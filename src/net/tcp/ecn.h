/* SPDX-License-Identifier: MIT */
/*
 * Explicit congestion notification (RFC 3168), and the exact echo of DCTCP (RFC 8257).
 *
 *      SYN ECE|CWR ->         agreed on when both sides want it; a SYN that has to be sent again
 *      <- SYN,ACK ECE         does not ask (section 6.1.1.1)
 *      data with ECT(0) ->    new data only: no pure ACK, no retransmission, no probe
 *      <- ACK ECE             from a mark on until CWR; for DCTCP while packets come marked
 *      new data with CWR ->   the window was reduced, for whatever reason
 *
 * An echo reduces the window once for each window of data.
 */
#ifndef DK_NET_TCP_ECN_H
#define DK_NET_TCP_ECN_H

#include "net/tcp/tcb.h"

#define DK_IP_ECN_MASK 3u
#define DK_IP_ECT_0    2u
#define DK_IP_ECN_CE   3u

/* Bits of dk_tcp_conn.ecn. */
#define DK_TCP_ECN_ASKED  (1u << 0) /* our SYN did, or the peer's */
#define DK_TCP_ECN_ON     (1u << 1) /* agreed on */
#define DK_TCP_ECN_CWR    (1u << 2) /* the next new data carries it */
#define DK_TCP_ECN_ECHOED (1u << 3) /* by the acknowledgement that is being worked on */

/* ECE and CWR of our SYN, or SYN,ACK, that is sent now. */
uint8_t dk_tcp_ecn_syn_flags(struct dk_tcp_conn *c);

/* The peer's SYN, or SYN,ACK. */
void dk_tcp_ecn_syn(struct dk_tcp_conn *c, uint8_t flags);

/* A segment that is acceptable, before its acknowledgement is looked at: what it tells of its way.
 * May acknowledge what came before it. */
void dk_tcp_ecn_segment(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx);

/* An acknowledgement, before it moves snd_una. */
void dk_tcp_ecn_ack(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx);

/* The window was reduced after a loss. */
void dk_tcp_ecn_reduced(struct dk_tcp_conn *c);

/* Whether that acknowledgement echoed congestion. */
static inline bool dk_tcp_ecn_is_echoed(const struct dk_tcp_conn *c)
{
    return c->ecn & DK_TCP_ECN_ECHOED;
}

/* The ECN bits of the IP header of new data. */
static inline uint8_t dk_tcp_ecn_data(const struct dk_tcp_conn *c)
{
    return c->ecn & DK_TCP_ECN_ON && !(c->cc.ops->flags & DK_TCP_CC_NO_ECN) ? DK_IP_ECT_0 : 0;
}

#endif /* DK_NET_TCP_ECN_H */
