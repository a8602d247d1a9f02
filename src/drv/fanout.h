/* SPDX-License-Identifier: MIT */
/*
 * Packet sockets that share what an interface receives (packet(7), PACKET_FANOUT): each is a queue,
 * and a filter says which one a packet is for (steer.h).
 */
#ifndef DK_DRV_FANOUT_H
#define DK_DRV_FANOUT_H

/* Has a socket receive nothing until it joins: it would get what others get, too. 0 or a negative
 * errno. */
int dk_fanout_hold(int fd);

/* Makes a group of a bound socket, or has it join that of another (first_fd, else -1), as its next
 * queue. 0 or a negative errno. */
int dk_fanout_join(int fd, int first_fd);

#endif /* DK_DRV_FANOUT_H */
