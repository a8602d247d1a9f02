/* SPDX-License-Identifier: MIT */
/*
 * Segments that arrive.
 */
#ifndef DK_NET_TCP_RX_H
#define DK_NET_TCP_RX_H

#include "net/tcp/tcb.h"

/* Whatever header prediction passes over. */
void dk_tcp_rx_other(struct dk_tcp *tcp, const struct dk_ip_rx *p, int64_t now);

#endif /* DK_NET_TCP_RX_H */
