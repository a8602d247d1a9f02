/* SPDX-License-Identifier: MIT */
/*
 * netdevice(7). The carrier is asked for by ethtool's request, which knows it at once; IFF_RUNNING,
 * for interfaces that do not answer, follows later.
 */
#include "os/netif.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

bool dk_netif_is_name(const char *name)
{
    size_t len = strnlen(name, IFNAMSIZ);
    if (len == 0 || len == IFNAMSIZ || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return false;
    for (; *name; name++)
        if (*name == '/' || *name == ':' || *name <= ' ' || *name == 0x7f)
            return false;
    return true;
}

int dk_netif_socket(void)
{
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0); /* there is no kernel without */
    return fd < 0 ? -errno : fd;
}

static int ask(int fd, const char *name, unsigned long request, struct ifreq *req)
{
    memset(req->ifr_name, 0, IFNAMSIZ);
    memcpy(req->ifr_name, name, strnlen(name, IFNAMSIZ - 1));
    return ioctl(fd, request, req) < 0 ? -errno : 0;
}

static bool carrier(int fd, const char *name, short flags)
{
    struct ethtool_value value = {.cmd = ETHTOOL_GLINK};
    struct ifreq req = {.ifr_data = (char *)&value};
    if (ask(fd, name, SIOCETHTOOL, &req) == 0)
        return value.data != 0;
    return (flags & IFF_RUNNING) != 0;
}

bool dk_netif_has_carrier(int fd, const char *name)
{
    struct ifreq req = {0};
    if (ask(fd, name, SIOCGIFFLAGS, &req) < 0 || !(req.ifr_flags & IFF_UP))
        return false;
    return carrier(fd, name, req.ifr_flags);
}

int dk_netif_look(int fd, const char *name, struct dk_netif *out)
{
    static const unsigned long requests[] = {SIOCGIFINDEX, SIOCGIFMTU, SIOCGIFFLAGS, SIOCGIFHWADDR};
    struct ifreq reqs[4] = {0};
    for (int i = 0; i < 4; i++) {
        int r = ask(fd, name, requests[i], &reqs[i]);
        if (r < 0)
            return r;
    }
    out->index = reqs[0].ifr_ifindex;
    out->mtu = (uint32_t)reqs[1].ifr_mtu;
    out->up = (reqs[2].ifr_flags & IFF_UP) != 0;
    out->carrier = out->up && carrier(fd, name, reqs[2].ifr_flags);
    out->ethernet = reqs[3].ifr_hwaddr.sa_family == ARPHRD_ETHER;
    memcpy(out->mac, reqs[3].ifr_hwaddr.sa_data, sizeof(out->mac));
    return 0;
}

int dk_netif_set_mtu(int fd, const char *name, uint32_t mtu)
{
    struct ifreq req = {.ifr_mtu = (int)mtu};
    return ask(fd, name, SIOCSIFMTU, &req);
}

int dk_netif_set_up(int fd, const char *name)
{
    struct ifreq req = {0};
    int r = ask(fd, name, SIOCGIFFLAGS, &req);
    if (r < 0)
        return r;
    req.ifr_flags |= IFF_UP;
    return ask(fd, name, SIOCSIFFLAGS, &req);
}
