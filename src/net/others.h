/* SPDX-License-Identifier: MIT */
/*
 * The other stacks on the link: one for each queue of the device, all with the same addresses
 * (dk_net_config.others). Private to src/net.
 *
 * They share nothing. Each has connections, sockets and neighbours of its own, and the device
 * brings the packets of a flow to one of them. What brings a packet elsewhere is rare: a flow that
 * was opened before a queue was, a port that not every stack serves, a fragment, an error. So
 * nobody looks for that in a packet; who finds no socket for one passes it to the next stack before
 * he answers that there is none, and it goes round until one takes it or it is back. What a
 * neighbour says of itself, or that another host has an address of ours, all are told.
 *
 * Ports that a stack chooses are of its own. Where the remote is known and the device can tell,
 * they are those whose packets come to its queue; else those whose number says so.
 */
#ifndef DK_NET_OTHERS_H
#define DK_NET_OTHERS_H

#include "net/stack.h"

bool dk_others_pass_on(struct dk_net *net, const struct dk_ip_rx *rx);

/* Passes a packet that is for none of our sockets, or for others too, to the next stack. false:
 * there is none that has not seen it. The caller keeps his hold. */
static inline bool dk_others_pass(struct dk_net *net, const struct dk_ip_rx *rx)
{
    return dk_unlikely(net->config.others.pass != NULL) && dk_others_pass_on(net, rx);
}

/* The same for a packet that was put together of fragments, which come to any queue: passes it
 * unless its flow comes to ours. */
bool dk_others_pass_whole(struct dk_net *net, const struct dk_ip_rx *rx);

/* Tells the others. */
void dk_others_tell(struct dk_net *net, const struct dk_net_news *news);

/* Whether a local port is one that we may choose; remote NULL: not known yet. */
bool dk_others_leave(struct dk_net *net, uint8_t protocol, const struct dk_ip *local, uint16_t port,
                     const struct dk_endpoint *remote);

#endif /* DK_NET_OTHERS_H */
