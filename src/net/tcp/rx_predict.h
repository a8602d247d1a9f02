/* SPDX-License-Identifier: MIT */
#ifndef DK_NET_TCP_RX_PREDICT_H
#define DK_NET_TCP_RX_PREDICT_H

#include "net/tcp/tcb.h"

/* Takes a segment that is what its connection expects next. false: it is not, or not known to be,
 * and nothing happened. */
bool dk_tcp_rx_predicted(struct dk_tcp *tcp, const struct dk_ip_rx *p, int64_t now);

#endif /* DK_NET_TCP_RX_PREDICT_H */
