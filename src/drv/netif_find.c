/* SPDX-License-Identifier: MIT */
/*
 * What an interface lacks, in words.
 */
#include "drv/netif_find.h"

#include "drv/why.h"

#include <errno.h>
#include <string.h>

static int check(const struct dk_netif *netif, const char *name, uint32_t mtu, const char **why_out)
{
    if (!netif->ethernet)
        return dk_why(why_out, -EINVAL, "interface %s is not Ethernet", name);
    if (!netif->up)
        return dk_why(why_out, -ENETDOWN, "interface %s is down: ip link set %s up", name, name);
    if (!netif->carrier)
        return dk_why(why_out, -ENETDOWN,
                      "interface %s has no carrier: its cable, or the other end of a veth, is not "
                      "up",
                      name);
    if (mtu > netif->mtu)
        return dk_why(why_out, -EINVAL,
                      "an MTU of %u is more than interface %s has (%u): ip link set %s mtu %u", mtu,
                      name, netif->mtu, name, mtu);
    return 0;
}

int dk_netif_find(int fd, const char *name, uint32_t mtu, struct dk_netif *netif_out,
                  const char **why_out)
{
    const int r = fd < 0 ? fd : dk_netif_look(fd, name, netif_out);
    if (r == -ENODEV)
        return dk_why(why_out, r, "interface %s does not exist: ip link shows those that do", name);
    if (r < 0)
        return dk_why(why_out, r, "cannot look at interface %s: %s", name, strerror(-r));
    return check(netif_out, name, mtu, why_out);
}
