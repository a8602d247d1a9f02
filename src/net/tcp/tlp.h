/* SPDX-License-Identifier: MIT */
/*
 * Tail loss probe (RFC 8985 section 7): the last of a flight is sent once more, or what is new, so
 * that an acknowledgement tells what is lost before the retransmission timer does.
 */
#ifndef DK_NET_TCP_TLP_H
#define DK_NET_TCP_TLP_H

#include "net/tcp/recovery.h"

/* The timer fired and nothing is selectively acknowledged: it is time for a probe, or will be. */
void dk_tcp_tlp_timer(struct dk_tcp_conn *c, int64_t now);

/* When the timer, which is set, has something to do; DK_TCP_NEVER: nothing is in flight. */
int64_t dk_tcp_tlp_due(const struct dk_tcp_conn *c);

/* What an acknowledgement says of the probe that is outstanding (section 7.4.2). */
void dk_tcp_tlp_ack(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx,
                    const struct dk_tcp_heard *h);

#endif /* DK_NET_TCP_TLP_H */
