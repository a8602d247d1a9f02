/* SPDX-License-Identifier: MIT */
/* What a lease of dhcp.c means for addresses, routes and the MTU. Private to src/net. */
#ifndef DK_NET_LEASE_H
#define DK_NET_LEASE_H

#include "net/ifaddr.h"
#include "net/wire/dhcp.h"

/* Whether we can use what a server offers: an address of a host's, a mask, a server, a time. */
bool dk_lease_is_usable(const struct dk_dhcp *lease);

/* Adds the address, which is tentative then, and its network. NULL: it cannot be. */
struct dk_ifaddr *dk_lease_take(struct dk_net *net, const struct dk_dhcp *lease, int64_t now);

/* Makes the routes and the MTU what the lease says. */
void dk_lease_apply(struct dk_net *net, const struct dk_dhcp *lease);

/* Takes away the address, its routes and its MTU. */
void dk_lease_drop(struct dk_net *net, struct dk_ifaddr *own);

#endif /* DK_NET_LEASE_H */
