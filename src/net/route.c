/* SPDX-License-Identifier: MIT */
/*
 * Routes: the networks of our addresses, and what the configuration adds.
 *
 * The table is sorted by length of prefix, and then by metric: the first entry that matches is the
 * longest, and of these the one of the least metric. Of equal ones a network of ours stands before
 * a route, what was given before what was learnt (of a DHCP server, of routers), and else what came
 * first. Loopback addresses and our own lead back to us, groups and broadcast onto
 * the link.
 *
 * What was found lately is kept, with the source address that goes with it: `recent`,
 * direct-mapped, forgotten when an address of ours or a route changes.
 */
#include "net/route.h"

#include "mem/heap.h"
#include "net/ifaddr.h"
#include "net/ip_in.h"
#include "net/ip_kind.h"

#include <stdlib.h>

#define LEARNT_MAX 32
#define ROUTES_MAX (DK_NET_ROUTES_MAX + DK_IFADDRS_MAX + LEARNT_MAX)

struct route {
    struct dk_ip prefix;
    struct dk_ip gateway; /* version 0: on the link */
    uint32_t metric;
    uint8_t prefix_len;
    uint8_t origin; /* enum dk_route_origin */
};

#define RECENT 64

struct dk_routes {
    struct dk_way recent[RECENT];
    uint32_t num;
    struct route list[ROUTES_MAX];
};

/* Who asks somebody else for neighbours takes his word for gateways: he has some on the link that
 * are in no network of his addresses ("onlink"), as hosts have whose addresses are /32. */
static const char *why_bad(struct dk_net *net, const struct dk_net_route *route)
{
    const struct dk_ip *prefix = &route->prefix, *gateway = &route->gateway;
    if (gateway->version == 0 && prefix->version != 0)
        return route->prefix_len > dk_ip_bits(prefix) ? "a prefix is longer than an address" : NULL;
    if (gateway->version != 4 && gateway->version != 6)
        return "the gateway of a route is neither IPv4 nor IPv6";
    if (prefix->version != gateway->version && !(prefix->version == 0 && route->prefix_len == 0))
        return "a route and its gateway are of different versions of IP";
    if (route->prefix_len > dk_ip_bits(gateway))
        return "the prefix length of a route is over 32 (IPv6: 128)";
    if (!dk_ip_is_host(gateway))
        return "a gateway has an address that no host may have";
    if (dk_ifaddr_find(net, gateway))
        return "a gateway is one of our own addresses";
    if (!net->config.resolve && !dk_ifaddr_on_link(net, gateway))
        return "a gateway is in no network of our addresses: check its address and their prefixes";
    return NULL;
}

static bool goes_before(const struct route *a, const struct route *b)
{
    return a->prefix_len != b->prefix_len ? a->prefix_len > b->prefix_len : a->metric < b->metric;
}

/* Inserts behind all that are as good or better. */
static void insert(struct dk_routes *routes, const struct route *route)
{
    uint32_t at = routes->num++;
    while (at > 0 && goes_before(route, &routes->list[at - 1])) {
        routes->list[at] = routes->list[at - 1];
        at--;
    }
    routes->list[at] = *route;
}

int dk_route_init(struct dk_net *net, const char **why_out)
{
    const struct dk_net_config *config = &net->config;
    struct dk_routes *routes = dk_heap_zalloc(sizeof *routes);
    if (!routes)
        return -ENOMEM;
    net->routes = routes;
    for (uint32_t i = 0; i < net->addrs->num; i++) {
        const struct dk_ifaddr *own = &net->addrs->list[i];
        insert(routes, &(struct route){.prefix = own->ip, .prefix_len = own->prefix_len});
    }
    for (uint32_t i = 0; i < config->num_routes; i++) {
        const struct dk_net_route *given = &config->routes[i];
        const char *why = why_bad(net, given);
        if (why) {
            *why_out = why;
            return -EINVAL;
        }
        struct route route = {.prefix = given->prefix,
                              .gateway = given->gateway,
                              .metric = given->metric,
                              .prefix_len = given->prefix_len};
        if (given->gateway.version != 0)
            route.prefix.version = given->gateway.version;
        insert(routes, &route);
    }
    return 0;
}

static bool is_same(const struct route *a, const struct dk_net_route *b,
                    enum dk_route_origin origin)
{
    return a->origin == origin && a->prefix_len == b->prefix_len && a->metric == b->metric &&
           dk_ip_equal(&a->prefix, &b->prefix) && dk_ip_equal(&a->gateway, &b->gateway);
}

static struct route *find(struct dk_net *net, const struct dk_net_route *route,
                          enum dk_route_origin origin)
{
    struct dk_routes *routes = net->routes;
    for (uint32_t i = 0; i < routes->num; i++) {
        if (is_same(&routes->list[i], route, origin))
            return &routes->list[i];
    }
    return NULL;
}

int dk_route_add(struct dk_net *net, const struct dk_net_route *route, enum dk_route_origin origin)
{
    struct dk_routes *routes = net->routes;
    if (find(net, route, origin))
        return -EEXIST;
    if (route->gateway.version != 0 && why_bad(net, route))
        return -EINVAL;
    if (routes->num == ROUTES_MAX)
        return -ENOBUFS;
    insert(routes, &(struct route){.prefix = route->prefix,
                                   .gateway = route->gateway,
                                   .metric = route->metric,
                                   .prefix_len = route->prefix_len,
                                   .origin = (uint8_t)origin});
    dk_route_changed(net);
    return 0;
}

static void drop(struct dk_net *net, struct route *route)
{
    struct dk_routes *routes = net->routes;
    const uint32_t at = (uint32_t)(route - routes->list);
    memmove(route, route + 1, (routes->num - at - 1) * sizeof(*route));
    routes->num--;
    dk_route_changed(net);
}

void dk_route_remove(struct dk_net *net, const struct dk_net_route *route,
                     enum dk_route_origin origin)
{
    struct route *found = find(net, route, origin);
    if (found)
        drop(net, found);
}

void dk_route_remove_all(struct dk_net *net, enum dk_route_origin origin)
{
    for (uint32_t i = net->routes->num; i-- > 0;) {
        if (net->routes->list[i].origin == origin)
            drop(net, &net->routes->list[i]);
    }
}

void dk_route_avoid(struct dk_net *net, const struct dk_ip *gateway)
{
    struct dk_routes *routes = net->routes;
    for (uint32_t i = routes->num; i-- > 0;) {
        const struct route route = routes->list[i];
        if (route.origin != DK_ROUTE_ROUTER || !dk_ip_equal(&route.gateway, gateway))
            continue;
        drop(net, &routes->list[i]);
        insert(routes, &route);
    }
}

bool dk_route_is_on_link(const struct dk_net *net, const struct dk_ip *ip)
{
    const struct dk_routes *routes = net->routes;
    for (uint32_t i = 0; i < routes->num; i++) {
        const struct route *route = &routes->list[i];
        if (route->gateway.version == 0 && dk_ip_in_prefix(ip, &route->prefix, route->prefix_len))
            return true;
    }
    return false;
}

void dk_route_fini(struct dk_net *net)
{
    if (net->routes)
        dk_heap_free(net->routes);
}

void dk_route_changed(struct dk_net *net)
{
    memset(net->routes->recent, 0, sizeof net->routes->recent);
    dk_ways_changed(net);
    dk_plain_forget(net);
}

static struct dk_way *slot_of(struct dk_routes *routes, const struct dk_ip *dst)
{
    return &routes->recent[(dst->bytes[3] ^ dst->bytes[2] ^ dst->bytes[15]) % RECENT];
}

bool dk_route_is_known(const struct dk_net *net, const struct dk_ip *ip)
{
    const struct dk_way *recent = slot_of(net->routes, ip);
    return dk_ip_equal(&recent->dst, ip) && recent->path.hop == DK_HOP_NEIGHBOUR;
}

static int look_up(struct dk_net *net, const struct dk_ip *dst, struct dk_path *path_out)
{
    const struct dk_routes *routes = net->routes;
    const enum dk_dst kind = dk_ifaddr_classify(net, dst);
    path_out->next_hop = *dst;
    path_out->hop = DK_HOP_NEIGHBOUR;
    if (kind == DK_DST_OURS || dk_ip_is_loopback(dst)) {
        path_out->hop = DK_HOP_SELF;
        return 0;
    }
    if (kind == DK_DST_GROUP || kind == DK_DST_BROADCAST) {
        path_out->hop = DK_HOP_GROUP;
        return 0;
    }
    if (!dk_ip_is_host(dst))
        return -ENETUNREACH;
    for (uint32_t i = 0; i < routes->num; i++) {
        const struct route *route = &routes->list[i];
        if (!dk_ip_in_prefix(dst, &route->prefix, route->prefix_len))
            continue;
        if (route->gateway.version != 0)
            path_out->next_hop = route->gateway;
        return 0;
    }
    if (dst->version == 6 && dk_ip_is_link_local(dst))
        return 0;
    return -ENETUNREACH;
}

__attribute__((noinline)) static struct dk_way *find_way(struct dk_net *net, struct dk_way *way,
                                                         const struct dk_ip *dst)
{
    way->dst.version = 0;
    if (look_up(net, dst, &way->path) != 0)
        return NULL;
    way->dst = *dst;
    way->src = (struct dk_ip){.version = 0};
    way->ready_until = INT64_MIN;
    const struct dk_ip *src =
        way->path.hop == DK_HOP_SELF ? dst : dk_ifaddr_source(net, dst, &way->path.next_hop);
    if (src)
        way->src = *src;
    return way;
}

struct dk_way *dk_route_way(struct dk_net *net, const struct dk_ip *dst)
{
    struct dk_way *way = slot_of(net->routes, dst);
    if (dk_likely(dk_ip_equal(&way->dst, dst) && dst->version != 0))
        return way;
    return find_way(net, way, dst);
}

int dk_route_find(struct dk_net *net, const struct dk_ip *dst, struct dk_path *path_out)
{
    const struct dk_way *way = dk_route_way(net, dst);
    if (!way)
        return -ENETUNREACH;
    *path_out = way->path;
    return 0;
}

int dk_way_source(struct dk_net *net, const struct dk_way *way, struct dk_ip *src_in_out)
{
    if (src_in_out->version == 0) {
        if (way->src.version == 0)
            return -EADDRNOTAVAIL;
        *src_in_out = way->src;
        return 0;
    }
    if (dk_likely(dk_ip_equal(src_in_out, &way->src)))
        return 0;
    const bool ours = dk_ifaddr_classify(net, src_in_out) == DK_DST_OURS ||
                      (way->path.hop == DK_HOP_SELF && dk_ip_is_loopback(src_in_out));
    return ours && src_in_out->version == way->dst.version ? 0 : -EADDRNOTAVAIL;
}

int dk_ip_route(struct dk_net *net, const struct dk_ip *dst, struct dk_ip *src_in_out,
                uint32_t *mtu_out)
{
    bool fragment;
    const struct dk_way *way = dk_route_way(net, dst);
    const int error = way ? dk_way_source(net, way, src_in_out) : -ENETUNREACH;
    if (error != 0)
        return error;
    *mtu_out = way->path.hop == DK_HOP_SELF ? net->config.mtu : dk_pmtu_get(net, dst, &fragment);
    return 0;
}
