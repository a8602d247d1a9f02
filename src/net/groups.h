/* SPDX-License-Identifier: MIT */
/* Multicast groups that the stack is in. Private to src/net. */
#ifndef DK_NET_GROUPS_H
#define DK_NET_GROUPS_H

#include "net/stack.h"

#define DK_GROUPS_MAX 128

int dk_groups_init(struct dk_net *net);
void dk_groups_fini(struct dk_net *net);

/* Counted: as many leaves as joins. 0, -ENOBUFS. */
int dk_group_join(struct dk_net *net, const struct dk_ip *group);
void dk_group_leave(struct dk_net *net, const struct dk_ip *group);

/* All hosts, and all nodes, have us in them always. */
bool dk_group_is_joined(const struct dk_net *net, const struct dk_ip *group);

/* A router asks who is in a group (version 0 of ip: in any of that version), to be told within
 * max_ns. */
void dk_group_queried(struct dk_net *net, const struct dk_ip *group, uint8_t version,
                      int64_t max_ns);

/* Another host reported it: ours is not needed. */
void dk_group_reported(struct dk_net *net, const struct dk_ip *group);

/* igmp.c, mld.c: send a report, or that we left. */
void dk_igmp_send(struct dk_net *net, const struct dk_ip *group, bool leave);
void dk_mld_send(struct dk_net *net, const struct dk_ip *group, bool leave);
void dk_mld_input(struct dk_net *net, const struct dk_ip_rx *rx);

#endif /* DK_NET_GROUPS_H */
