/* SPDX-License-Identifier: MIT */
/*
 * Acknowledgements on the scoreboard, entry by entry (RFC 6675 section 4, Update).
 */
#ifndef DK_NET_TCP_SACK_H
#define DK_NET_TCP_SACK_H

#include "net/tcp/recovery.h"

/* What lies before rx->ack is about to be taken off: notes what that tells. */
void dk_tcp_sack_cumulative(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx,
                            struct dk_tcp_heard *h);

/* Marks what the blocks cover. */
void dk_tcp_sack_blocks(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx, struct dk_tcp_heard *h);

/* Forgets all marks: the peer has dropped what it had selected (RFC 2018 section 8). */
void dk_tcp_sack_forget(struct dk_tcp_conn *c);

#endif /* DK_NET_TCP_SACK_H */
