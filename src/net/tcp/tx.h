/* SPDX-License-Identifier: MIT */
/*
 * Sending: what, how much, and when (RFC 9293 section 3.8).
 */
#ifndef DK_NET_TCP_TX_H
#define DK_NET_TCP_TX_H

#include "net/tcp/tcb.h"

/*
 * Sends everything that may be sent now: what is marked lost, new data, FIN, and an acknowledgement
 * if one is due and nothing carried it. When the device has no room the connection waits for
 * dk_tcp_tx_pending, and nothing has happened to what was not sent.
 */
void dk_tcp_output(struct dk_tcp_conn *c, int64_t now);

/* tx_short.c: sends what was pushed, where that is all there is to do and one segment. false: there
 * is more to it, or it found no room, and nothing happened. */
bool dk_tcp_output_short(struct dk_tcp_conn *c, int64_t now);

/* tx_short.c: sends an acknowledgement, where that is all there is to do; likewise. */
bool dk_tcp_ack_short(struct dk_tcp_conn *c, int64_t now);

/* user.c: dk_tcp_send of what does not leave by the short way as it comes. */
int dk_tcp_send_any(struct dk_tcp_conn *c, const struct dk_tx_piece pieces[], uint32_t n,
                    uint32_t flags, void *cookie, int64_t now);

/* As that, for where there mostly is nothing to send. */
static inline void dk_tcp_output_if_any(struct dk_tcp_conn *c, int64_t now)
{
    if (c->ack_now || c->lost_hint || c->snd_nxt < c->snd_end + c->fin_queued)
        dk_tcp_output(c, now);
}

/* The persist timer fired: sends what fits in the window, however little, or probes it. Either
 * counts as a probe: one that found no room in the device has no answer for certain. */
void dk_tcp_output_probe(struct dk_tcp_conn *c, int64_t now);

/* Probes since the last answer, or that left since the window last grew, whichever are more. */
static inline uint32_t dk_tcp_useless_probes(const struct dk_tcp_conn *c)
{
    return c->probe_backoff > c->probes ? c->probe_backoff : c->probes;
}

/* Sends one segment of new data, or the last one again, whatever cwnd says (RFC 8985 section 7.3).
 * 0, -EAGAIN: no room, or another error. */
int dk_tcp_output_tail(struct dk_tcp_conn *c, int64_t now);

/* Sends a segment without data that the peer must answer: number snd_una - 1 (RFC 9293 section
 * 3.8.4). false: it could not, and will be tried again. */
bool dk_tcp_send_probe(struct dk_tcp_conn *c, int64_t now);

/* Acknowledges, with the right to do so used up at a limited rate (RFC 5961 section 7). */
void dk_tcp_challenge_ack(struct dk_tcp_conn *c, int64_t now);

/* Sends RST for a connection, at seq, or lets it be where there is no room. */
void dk_tcp_send_reset(struct dk_tcp_conn *c, uint64_t seq, int64_t now);

/* Answers a segment of no connection with RST (RFC 9293 section 3.5.2, group 1); one with RST is
 * not answered. */
void dk_tcp_answer_reset(struct dk_tcp *tcp, const struct dk_tcp_rx *rx);

/* Everyone that found no room is tried again. */
void dk_tcp_tx_pending(struct dk_tcp *tcp, int64_t now);

/* Likewise, and everyone that waits for a neighbour. */
void dk_tcp_tx_resolved(struct dk_tcp *tcp, int64_t now);

#endif /* DK_NET_TCP_TX_H */
