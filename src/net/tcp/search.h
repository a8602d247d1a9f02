/* SPDX-License-Identifier: MIT */
/*
 * Path MTU without ICMP (RFC 4821, 8899): black holes are found by what does not arrive, and larger
 * sizes by segments of the application's data that are longer than others.
 */
#ifndef DK_NET_TCP_SEARCH_H
#define DK_NET_TCP_SEARCH_H

#include "net/tcp/tcb.h"

/* The connection is established: with DK_TCP_MTU_PROBING_ALWAYS it begins with a size that every
 * path takes. */
void dk_tcp_search_begin(struct dk_tcp_conn *c);

/* An entry that was lost is to be sent again: after so many losses of it the path is taken for a
 * black hole, and segments are shorter. */
void dk_tcp_search_suspect(struct dk_tcp_conn *c, const struct dk_tcp_segment *s, int64_t now);

/* The payload of a probe that is due, with what has to be sent behind it in *behind_out; 0: none
 * is. Only where search_high is set. */
uint32_t dk_tcp_search_due(struct dk_tcp_conn *c, uint32_t *behind_out, int64_t now);

/* The probe left as the last of the scoreboard; or it cannot. */
void dk_tcp_search_sent(struct dk_tcp_conn *c, uint32_t payload);
void dk_tcp_search_refused(struct dk_tcp_conn *c);

/* An entry counts as lost, which may be the probe. */
void dk_tcp_search_lost(struct dk_tcp_conn *c, const struct dk_tcp_segment *s);

/* Something is acknowledged that is longer than all before; snd_una is behind it. */
void dk_tcp_search_arrived(struct dk_tcp_conn *c, uint32_t longest);

/* Whether of all that counts as lost there is only the probe, sent once: the loss of it is no
 * congestion (RFC 4821 section 7.4). */
bool dk_tcp_search_only_probe_lost(struct dk_tcp_conn *c);

/* An ICMP error says that the path takes mtu, which is no less than was known: whether it is about
 * the probe. */
bool dk_tcp_search_told(struct dk_tcp_conn *c, uint32_t mtu);

/* The path takes no more than mtu, as an ICMP error says: nothing beyond it is tried for a while.
 */
void dk_tcp_search_lowered(struct dk_tcp_conn *c, uint32_t mtu, int64_t now);

#endif /* DK_NET_TCP_SEARCH_H */
