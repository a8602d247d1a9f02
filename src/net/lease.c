/* SPDX-License-Identifier: MIT */
/*
 * What a lease means: the address with the network that it is in, routes, and the MTU.
 *
 * RFC 3442: where there are classless routes the router option is ignored. A route whose gateway is
 * not on the link is left out and counted; so is an MTU that no link may have.
 */
#include "net/lease.h"

#include "net/ip_kind.h"
#include "net/route.h"

#define MTU_MIN 576 /* RFC 791: what every host takes; less would only be harm */

bool dk_lease_is_usable(const struct dk_dhcp *lease)
{
    return dk_ip_is_host(&lease->yiaddr) && lease->prefix_len != 0 && lease->lease_s != 0 &&
           lease->server.version == 4 && dk_ip_is_host(&lease->server);
}

/* The network of a prefix: the bits behind it are zero. */
static struct dk_ip network_of(const struct dk_ip *ip, uint8_t prefix_len)
{
    const uint32_t mask = prefix_len == 0 ? 0 : UINT32_MAX << (32 - prefix_len);
    return dk_ip_from_v4(ntohl(ip->v4) & mask);
}

struct dk_ifaddr *dk_lease_take(struct dk_net *net, const struct dk_dhcp *lease, int64_t now)
{
    const struct dk_net_address address = {lease->yiaddr, lease->prefix_len};
    const struct dk_net_route network = {
        .prefix = network_of(&lease->yiaddr, lease->prefix_len),
        .prefix_len = lease->prefix_len,
    };
    struct dk_ifaddr *own = dk_ifaddr_add(net, &address, DK_IFADDR_DHCP, now);
    if (own)
        dk_route_add(net, &network, DK_ROUTE_DHCP);
    return own;
}

static void add_route(struct dk_net *net, const struct dk_ip *prefix, uint8_t prefix_len,
                      const struct dk_ip *gateway)
{
    struct dk_net_route route = {
        .prefix = network_of(prefix, prefix_len), .prefix_len = prefix_len, .gateway = *gateway};
    if (dk_ip_is_any(gateway)) /* RFC 3442: on the link */
        route.gateway.version = 0;
    const int error = dk_route_add(net, &route, DK_ROUTE_DHCP);
    if (error != 0 && error != -EEXIST)
        dk_net_count(&net->stats.dhcp_bad_route);
}

/* First those on the link, by which gateways may be reached. */
static void add_routes(struct dk_net *net, const struct dk_dhcp *lease)
{
    for (int on_link = 1; on_link >= 0; on_link--) {
        for (uint8_t i = 0; i < lease->num_routes; i++) {
            const struct dk_dhcp_route *route = &lease->routes[i];
            if (dk_ip_is_any(&route->gateway) == (on_link != 0))
                add_route(net, &route->prefix, route->prefix_len, &route->gateway);
        }
    }
}

static void set_mtu(struct dk_net *net, uint16_t mtu)
{
    if (mtu != 0 && mtu < MTU_MIN) {
        dk_net_count(&net->stats.link_mtu_refused);
        mtu = 0;
    }
    net->learnt_mtu[0] = mtu;
    dk_net_mtu_changed(net);
}

void dk_lease_apply(struct dk_net *net, const struct dk_dhcp *lease)
{
    const struct dk_ip any = {.version = 4};
    dk_route_remove_all(net, DK_ROUTE_DHCP);
    add_route(net, &lease->yiaddr, lease->prefix_len, &any);
    if (lease->has_routes)
        add_routes(net, lease);
    else if (lease->router.version != 0)
        add_route(net, &any, 0, &lease->router);
    set_mtu(net, lease->mtu);
}

void dk_lease_drop(struct dk_net *net, struct dk_ifaddr *own)
{
    const struct dk_ip ip = own->ip;
    dk_route_remove_all(net, DK_ROUTE_DHCP);
    dk_ifaddr_remove(net, own);
    set_mtu(net, 0);
    dk_net_address_lost(net, &ip, net->now);
}
