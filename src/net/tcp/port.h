/* SPDX-License-Identifier: MIT */
/*
 * Local ports: who has reserved one, and which is free.
 */
#ifndef DK_NET_TCP_PORT_H
#define DK_NET_TCP_PORT_H

#include "net/tcp/tcb.h"

/* Of version 0, or all zero: of a version. */
bool dk_tcp_ip_is_any(const struct dk_ip *ip);

/* Whether a local address, perhaps any, takes what comes to ip. */
bool dk_tcp_ip_covers(const struct dk_ip *local, const struct dk_ip *ip);

/* Whether something may come to both. */
bool dk_tcp_ip_overlaps(const struct dk_ip *a, const struct dk_ip *b);

/*
 * Chooses a local port for a connection (RFC 6056 section 3.3.4, double hash): one that nobody has
 * bound and that has no connection to remote. local->port is set. 0 or -EADDRNOTAVAIL.
 */
int dk_tcp_port_choose(struct dk_tcp *tcp, struct dk_endpoint *local,
                       const struct dk_endpoint *remote, int64_t now);

/* As dk_net_ports_in_use. */
void dk_tcp_mark_ports(const struct dk_tcp *tcp, uint64_t bits[DK_NET_PORT_WORDS]);

void dk_tcp_port_fini(struct dk_tcp *tcp);

#endif /* DK_NET_TCP_PORT_H */
