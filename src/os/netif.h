/* SPDX-License-Identifier: MIT */
/*
 * Network interfaces of the kernel by their names, within the network namespace of a socket.
 */
#ifndef DK_OS_NETIF_H
#define DK_OS_NETIF_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stdint.h>

struct dk_netif {
    int index;
    uint32_t mtu;
    bool up;       /* by its administrator */
    bool carrier;  /* and there is a link */
    bool ethernet; /* frames have Ethernet headers */
    uint8_t mac[6];
};

/* Whether the kernel could have an interface of that name. */
DK_EXPORT bool dk_netif_is_name(const char *name);

/* Opens a socket to ask with: a descriptor, or a negative errno. Any other socket does as well. */
DK_EXPORT int dk_netif_socket(void);

/* 0, -ENODEV, or another negative errno. */
DK_EXPORT int dk_netif_look(int fd, const char *name, struct dk_netif *out);
DK_EXPORT bool dk_netif_has_carrier(int fd, const char *name);
int dk_netif_set_mtu(int fd, const char *name, uint32_t mtu);
int dk_netif_set_up(int fd, const char *name);

#endif /* DK_OS_NETIF_H */
