/* SPDX-License-Identifier: MIT */
/*
 * The interface of the kernel's that a device is to be at.
 */
#ifndef DK_DRV_NETIF_FIND_H
#define DK_DRV_NETIF_FIND_H

#include "base/compiler.h"
#include "os/netif.h"

#include <stdint.h>

/* Looks at an interface, by any socket (a negative errno: there is none, which is told likewise),
 * that frames of an MTU of so many bytes are to be sent and received at. 0; or -ENODEV, -EINVAL,
 * -ENETDOWN, or the error of looking: *why_out names the interface, and what mends it. */
DK_EXPORT int dk_netif_find(int fd, const char *name, uint32_t mtu, struct dk_netif *netif_out,
                            const char **why_out);

#endif /* DK_DRV_NETIF_FIND_H */
