/* SPDX-License-Identifier: MIT */
/*
 * What somebody else says of the link, who has the same interface with the same addresses
 * (dk_net_config.resolve): addresses, routes, MTU, link address. What it says of neighbours is in
 * neigh.c.
 *
 * They are as those of the configuration. Each stack of a link is told by itself.
 */
#include "net/ifaddr.h"
#include "net/ip_in.h"
#include "net/route.h"

static struct dk_net_route network_of(const struct dk_net_address *address)
{
    return (struct dk_net_route){.prefix = address->ip, .prefix_len = address->prefix_len};
}

static int add_address(struct dk_net *net, const struct dk_net_address *address, int64_t now)
{
    const struct dk_net_route network = network_of(address);
    const struct dk_ifaddr *known = dk_ifaddr_find(net, &address->ip);
    if (known)
        return known->prefix_len == address->prefix_len ? 0 : -EEXIST;
    if (!dk_ifaddr_add(net, address, DK_IFADDR_GIVEN, now))
        return -ENOBUFS;
    const int error = dk_route_add(net, &network, DK_ROUTE_GIVEN);
    return error == -EEXIST ? 0 : error;
}

static void remove_address(struct dk_net *net, const struct dk_ip *ip, int64_t now)
{
    struct dk_ifaddr *own = dk_ifaddr_find(net, ip);
    if (!own || own->origin != DK_IFADDR_GIVEN)
        return;
    const struct dk_net_address address = {*ip, own->prefix_len};
    const struct dk_net_route network = network_of(&address);
    dk_route_remove(net, &network, DK_ROUTE_GIVEN);
    dk_ifaddr_remove(net, own);
    dk_net_address_lost(net, &address.ip, now);
}

int dk_net_tell_address(struct dk_net *net, const struct dk_net_address *address, bool gone,
                        int64_t now)
{
    net->now = now;
    if (!gone)
        return add_address(net, address, now);
    remove_address(net, &address->ip, now);
    return 0;
}

int dk_net_tell_route(struct dk_net *net, const struct dk_net_route *route, bool gone)
{
    if (gone) {
        dk_route_remove(net, route, DK_ROUTE_GIVEN);
        return 0;
    }
    const int error = dk_route_add(net, route, DK_ROUTE_GIVEN);
    return error == -EEXIST ? 0 : error;
}

void dk_net_tell_mtu(struct dk_net *net, uint32_t mtu)
{
    net->link_mtu = mtu;
    dk_net_mtu_changed(net);
}

void dk_net_tell_mac(struct dk_net *net, const struct dk_mac *mac, int64_t now)
{
    if (dk_mac_equal(&net->config.mac, mac))
        return;
    net->now = now;
    net->config.mac = *mac;
    dk_plain_init(net);    /* frames are told by it */
    dk_route_changed(net); /* heads have it */
    dk_dad_announce(net, now);
}
