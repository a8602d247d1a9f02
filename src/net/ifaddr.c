/* SPDX-License-Identifier: MIT */
/*
 * The stack's own addresses: which are valid, what an address is to us, and which to send from.
 *
 * Where an IPv6 address is configured there is a link-local one too (RFC 4291 section 2.8), formed
 * when none is given: neighbour discovery and group membership speak from it.
 */
#include "net/ifaddr.h"

#include "mem/heap.h"
#include "net/identifier.h"
#include "net/ip_kind.h"
#include "net/route.h"

static struct dk_ip broadcast_of(const struct dk_net_address *address)
{
    struct dk_ip none = {.version = 0};
    if (address->ip.version != 4 || address->prefix_len > 30)
        return none;
    return dk_ip_from_v4(ntohl(address->ip.v4) | UINT32_MAX >> address->prefix_len);
}

static const char *why_bad(const struct dk_net_address *address)
{
    const struct dk_ip *ip = &address->ip;
    if (ip->version != 4 && ip->version != 6)
        return "an address is neither IPv4 nor IPv6";
    if (!dk_ip_is_host(ip))
        return "an address is none that a host may have: it is a group, broadcast, loopback or "
               "zero";
    if (address->prefix_len == 0 || address->prefix_len > dk_ip_bits(ip))
        return "the prefix length of an address is not 1 to 32 (IPv6: 128)";
    if (ip->version == 4 && address->prefix_len <= 30) {
        const uint32_t host = ntohl(ip->v4) & UINT32_MAX >> address->prefix_len;
        if (host == 0)
            return "an address is its network's own: give the host part too";
        if (host == UINT32_MAX >> address->prefix_len)
            return "an address is its network's broadcast address";
    }
    return NULL;
}

static enum dk_ifaddr_state first_state(const struct dk_net_config *config)
{
    return config->skip_dad || config->optimistic_dad ? DK_IFADDR_GOOD : DK_IFADDR_TENTATIVE;
}

static void fill(struct dk_net *net, struct dk_ifaddr *own, const struct dk_net_address *address)
{
    *own = (struct dk_ifaddr){
        .ip = address->ip,
        .broadcast = broadcast_of(address),
        .prefix_len = address->prefix_len,
        .state = (uint8_t)first_state(&net->config),
        .probing = !net->config.skip_dad,
        .defended = INT64_MIN,
        .net = net,
    };
}

static struct dk_ifaddr *add(struct dk_net *net, const struct dk_net_address *address)
{
    struct dk_ifaddr *own = &net->addrs->list[net->addrs->num++];
    fill(net, own, address);
    return own;
}

static void add_link_local(struct dk_net *net)
{
    struct dk_net_address address = {.ip = {.bytes = {0xfe, 0x80}, .version = 6}, .prefix_len = 64};
    uint8_t counter = 0;
    dk_identifier_put(&net->config, &address.ip, &counter);
    struct dk_ifaddr *own = add(net, &address);
    own->is_formed = true;
    own->conflicts = counter;
}

int dk_ifaddr_init(struct dk_net *net, const char **why_out)
{
    const struct dk_net_config *config = &net->config;
    bool any_v6 = config->router_adverts, any_link_local = false;
    struct dk_ifaddrs *addrs = dk_heap_zalloc(sizeof *addrs);
    if (!addrs)
        return -ENOMEM;
    net->addrs = addrs;
    for (uint32_t i = 0; i < config->num_addresses; i++) {
        const struct dk_net_address *address = &config->addresses[i];
        const char *why = why_bad(address);
        if (!why && dk_ifaddr_find(net, &address->ip))
            why = "an address is given twice";
        if (why) {
            *why_out = why;
            return -EINVAL;
        }
        const bool v6 = address->ip.version == 6;
        any_v6 |= v6;
        any_link_local |= v6 && dk_ip_is_link_local(&address->ip);
        add(net, address);
    }
    if (any_v6 && !any_link_local)
        add_link_local(net);
    return 0;
}

void dk_ifaddr_fini(struct dk_net *net)
{
    if (net->addrs)
        dk_heap_free(net->addrs);
}

static struct dk_ifaddr *free_place(struct dk_ifaddrs *addrs)
{
    for (uint32_t i = 0; i < addrs->num; i++) {
        if (addrs->list[i].ip.version == 0)
            return &addrs->list[i];
    }
    return addrs->num < DK_IFADDRS_MAX ? &addrs->list[addrs->num++] : NULL;
}

struct dk_ifaddr *dk_ifaddr_add(struct dk_net *net, const struct dk_net_address *address,
                                enum dk_ifaddr_origin origin, int64_t now)
{
    if (why_bad(address) || dk_ifaddr_find(net, &address->ip))
        return NULL;
    struct dk_ifaddr *own = free_place(net->addrs);
    if (!own)
        return NULL;
    fill(net, own, address);
    own->origin = (uint8_t)origin;
    dk_route_changed(net);
    dk_dad_begin(own, now);
    return own;
}

bool dk_ifaddr_may_reform(const struct dk_ifaddr *own)
{
    return own->is_formed && own->net->config.stable_identifiers &&
           own->conflicts < DK_IDENTIFIER_RETRIES;
}

void dk_ifaddr_reform(struct dk_ifaddr *own, int64_t now)
{
    struct dk_net *net = own->net;
    dk_dad_end(own);
    own->conflicts++;
    dk_identifier_put(&net->config, &own->ip, &own->conflicts);
    own->state = (uint8_t)first_state(&net->config);
    own->probing = true;
    own->probes = 0;
    dk_route_changed(net);
    dk_net_count(&net->stats.address_formed_anew);
    dk_dad_begin(own, now);
}

void dk_ifaddr_remove(struct dk_net *net, struct dk_ifaddr *own)
{
    dk_dad_end(own);
    own->ip = own->broadcast = (struct dk_ip){.version = 0};
    dk_route_changed(net);
}

struct dk_ifaddr *dk_ifaddr_find(struct dk_net *net, const struct dk_ip *ip)
{
    struct dk_ifaddrs *addrs = net->addrs;
    for (uint32_t i = 0; i < addrs->num; i++) {
        if (dk_ip_equal(&addrs->list[i].ip, ip))
            return &addrs->list[i];
    }
    return NULL;
}

bool dk_ifaddr_is_broadcast(const struct dk_net *net, const struct dk_ip *ip)
{
    if (ip->version != 4)
        return false;
    if (dk_ip_is_limited_broadcast(ip))
        return true;
    for (uint32_t i = 0; i < net->addrs->num; i++) {
        if (dk_ip_equal(&net->addrs->list[i].broadcast, ip))
            return true;
    }
    return false;
}

enum dk_dst dk_ifaddr_classify(struct dk_net *net, const struct dk_ip *ip)
{
    const struct dk_ifaddr *own = dk_ifaddr_find(net, ip);
    if (dk_likely(own != NULL))
        return own->state == DK_IFADDR_GOOD ? DK_DST_OURS : DK_DST_OTHER;
    if (dk_ip_is_multicast(ip))
        return DK_DST_GROUP;
    return dk_ifaddr_is_broadcast(net, ip) ? DK_DST_BROADCAST : DK_DST_OTHER;
}

bool dk_ifaddr_on_link(const struct dk_net *net, const struct dk_ip *ip)
{
    return dk_route_is_on_link(net, ip) || (ip->version == 6 && dk_ip_is_link_local(ip));
}

/* RFC 6724 section 3.1; IPv4 addresses that are not link-local are global. */
static uint32_t scope_of(const struct dk_ip *ip)
{
    if (ip->version == 6 && dk_ip_is_multicast(ip))
        return ip->bytes[1] & 15;
    if (ip->version == 4 && dk_ip_is_multicast(ip))
        return ip->bytes[1] == 0 && ip->bytes[0] == 224 ? 2 : 14;
    return dk_ip_is_link_local(ip) ? 2 : 14;
}

/* Whether a is better than b to send to dst from. */
static bool is_better(const struct dk_ifaddr *a, const struct dk_ifaddr *b, const struct dk_ip *dst,
                      const struct dk_ip *next_hop)
{
    const uint32_t scope_a = scope_of(&a->ip), scope_b = scope_of(&b->ip), want = scope_of(dst);
    if (scope_a != scope_b) /* rule 2 */
        return scope_a < scope_b ? scope_a >= want : scope_b < want;
    if (a->deprecated != b->deprecated) /* rule 3 */
        return b->deprecated;
    const bool near_a = dk_ip_in_prefix(next_hop, &a->ip, a->prefix_len);
    const bool near_b = dk_ip_in_prefix(next_hop, &b->ip, b->prefix_len);
    if (near_a != near_b) /* rule 5.5, and RFC 1122: of the network that the next hop is in */
        return near_a;
    const uint32_t common_a = dk_ip_common_bits(&a->ip, dst);
    const uint32_t common_b = dk_ip_common_bits(&b->ip, dst);
    const uint32_t most_a = common_a < a->prefix_len ? common_a : a->prefix_len;
    const uint32_t most_b = common_b < b->prefix_len ? common_b : b->prefix_len;
    return most_a > most_b; /* rule 8 */
}

const struct dk_ip *dk_ifaddr_source(const struct dk_net *net, const struct dk_ip *dst,
                                     const struct dk_ip *next_hop)
{
    const struct dk_ifaddr *best = NULL;
    for (uint32_t i = 0; i < net->addrs->num; i++) {
        const struct dk_ifaddr *own = &net->addrs->list[i];
        if (own->ip.version != dst->version || own->state != DK_IFADDR_GOOD)
            continue;
        if (!best || is_better(own, best, dst, next_hop))
            best = own;
    }
    return best ? &best->ip : NULL;
}
