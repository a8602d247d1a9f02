/* SPDX-License-Identifier: MIT */
/*
 * A stack over an interface that the kernel has, too (net/dev.h, dk_netdev_shared_ops): addresses,
 * routes, the MTU and the link address are the kernel's; neighbours are found by the kernel; what
 * becomes of these is followed; ports are claimed when they are bound or chosen, and given back
 * when no socket or connection has them any more, which is looked at once a second, and when there
 * are many more than were in use then.
 *
 * A connection in TIME_WAIT keeps no port, as it keeps no descriptor of the kernel's: what its peer
 * sends again is answered by the kernel, with a reset.
 *
 * Invariant: a claim is in the table as long as the device has it.
 */
#include "libos/stack/sock.h"
#include "net/ip.h"
#include "os/log.h"

#include <errno.h>
#include <stdlib.h>

#define BUCKETS      256u
#define SWEEP_NS     1000000000
#define SPARE_CLAIMS 8u
#define LEARN_NS     50000000 /* for who never sleeps; polls under load take a while each */

struct claim {
    struct dk_list link;
    struct dk_endpoint local;
    uint8_t protocol;
};

struct dk_stack_shared {
    struct dk_netdev *dev; /* behind all decorators */
    struct dk_list buckets[BUCKETS];
    uint32_t num_claims, sweep_above;
    int64_t sweep_at, learn_at;
    bool armed; /* somebody may have slept on it since the last poll */
};

int dk_stack_shared_open(struct dk_stack *st)
{
    struct dk_netdev *dev = st->dev;
    while (dev->inner)
        dev = dev->inner;
    if (!dev->shared)
        return 0;
    st->shared = calloc(1, sizeof(*st->shared)); /* freed by dk_stack_shared_close */
    if (!st->shared)
        return -ENOMEM;
    st->shared->dev = dev;
    for (uint32_t i = 0; i < BUCKETS; i++)
        dk_list_init(&st->shared->buckets[i]);
    return 0;
}

/* The device gives back what it has of claims when it is closed. */
void dk_stack_shared_close(struct dk_stack *st)
{
    if (!st->shared)
        return;
    for (uint32_t i = 0; i < BUCKETS; i++) {
        struct dk_list *first;
        while ((first = dk_list_first(&st->shared->buckets[i])) != NULL) {
            dk_list_del(first);
            free(dk_container_of(first, struct claim, link));
        }
    }
    free(st->shared);
}

/* ---- addresses and routes ---------------------------------------------------------------------
 */

static bool is_known(const struct dk_net_config *config, const struct dk_ip *ip)
{
    for (uint32_t i = 0; i < config->num_addresses; i++)
        if (dk_ip_equal(&config->addresses[i].ip, ip))
            return true;
    return false;
}

static bool add_address(struct dk_net_config *config, const struct dk_netdev_fact *fact)
{
    if (is_known(config, &fact->ip))
        return true;
    if (config->num_addresses == DK_NET_ADDRESSES_MAX)
        return false;
    config->addresses[config->num_addresses++] =
        (struct dk_net_address){.ip = fact->ip, .prefix_len = fact->prefix_len};
    return true;
}

static struct dk_net_route route_of(const struct dk_netdev_fact *fact)
{
    return (struct dk_net_route){.prefix = fact->ip,
                                 .prefix_len = fact->prefix_len,
                                 .gateway = fact->gateway,
                                 .metric = fact->metric};
}

static bool add_route(struct dk_net_config *config, const struct dk_netdev_fact *fact)
{
    if (config->num_routes == DK_NET_ROUTES_MAX)
        return false;
    config->routes[config->num_routes++] = route_of(fact);
    return true;
}

int dk_stack_shared_config(struct dk_stack *st, struct dk_net_config *config, const char **why_out)
{
    struct dk_netdev *dev = st->shared->dev;
    struct dk_netdev_fact fact;
    uint32_t left_out = 0;
    while (dev->shared->learn(dev, &fact)) {
        if (fact.kind == DK_NETDEV_ADDRESS)
            left_out += !add_address(config, &fact);
        else if (fact.kind == DK_NETDEV_ROUTE)
            left_out += !add_route(config, &fact);
        else if (fact.kind == DK_NETDEV_MTU)
            config->mtu = fact.mtu;
        else if (fact.kind == DK_NETDEV_MAC)
            config->mac = fact.mac;
    }
    if (left_out > 0)
        dk_log(DK_LOG_WARN, "%s: the kernel has %u more addresses and routes than the stack can",
               st->driver, left_out);
    config->skip_dad = true; /* it has asked */
    config->resolve = dk_stack_shared_resolve;
    config->claim = dk_stack_shared_claim;
    *why_out = "the interface has no address: ip addr add ADDRESS/LENGTH dev INTERFACE";
    return config->num_addresses > 0 ? 0 : -EADDRNOTAVAIL;
}

/* ---- neighbours -------------------------------------------------------------------------------
 */

void dk_stack_shared_resolve(void *arg, const struct dk_ip *ip, const struct dk_mac *mac)
{
    struct dk_netdev *dev = ((struct dk_stack *)arg)->shared->dev;
    dev->shared->resolve(dev, ip, mac);
}

/* ---- what becomes of all these ----------------------------------------------------------------
 */

static void learn_address(struct dk_stack *st, const struct dk_netdev_fact *fact)
{
    const struct dk_net_address address = {fact->ip, fact->prefix_len};
    int r = dk_net_tell_address(st->net, &address, fact->gone, st->now);
    if (r < 0)
        dk_log(DK_LOG_WARN, "%s: an address that came to the interface cannot be used: %s",
               st->driver, strerror(-r));
}

static void learn_route(struct dk_stack *st, const struct dk_netdev_fact *fact)
{
    const struct dk_net_route route = route_of(fact);
    int r = dk_net_tell_route(st->net, &route, fact->gone);
    if (r < 0)
        dk_log(DK_LOG_WARN, "%s: a route that came to the interface cannot be used: %s", st->driver,
               strerror(-r));
}

static void learn_mtu(struct dk_stack *st, const struct dk_netdev_fact *fact)
{
    dk_net_tell_mtu(st->net, fact->mtu);
}

static void learn_neighbour(struct dk_stack *st, const struct dk_netdev_fact *fact)
{
    dk_net_tell_neighbour(st->net, &fact->ip, fact->gone ? NULL : &fact->mac, st->now);
}

static void learn_mac(struct dk_stack *st, const struct dk_netdev_fact *fact)
{
    dk_net_tell_mac(st->net, &fact->mac, st->now);
}

static void learn(struct dk_stack *st)
{
    static void (*const kinds[])(struct dk_stack * st, const struct dk_netdev_fact *fact) = {
        [DK_NETDEV_ADDRESS] = learn_address,
        [DK_NETDEV_ROUTE] = learn_route,
        [DK_NETDEV_NEIGHBOUR] = learn_neighbour,
        [DK_NETDEV_MTU] = learn_mtu,
        [DK_NETDEV_MAC] = learn_mac,
    };
    struct dk_netdev *dev = st->shared->dev;
    struct dk_netdev_fact fact;
    while (dev->shared->learn(dev, &fact))
        kinds[fact.kind](st, &fact);
}

/* ---- ports ------------------------------------------------------------------------------------
 */

static struct claim *find(struct dk_list *bucket, uint8_t protocol, const struct dk_endpoint *local)
{
    struct dk_list *l;
    dk_list_for_each (l, bucket) {
        struct claim *c = dk_container_of(l, struct claim, link);
        if (c->protocol == protocol && c->local.port == local->port &&
            dk_ip_equal(&c->local.ip, &local->ip))
            return c;
    }
    return NULL;
}

static void sweep(struct dk_stack *st)
{
    struct dk_stack_shared *sh = st->shared;
    uint64_t tcp[DK_NET_PORT_WORDS] = {0}, udp[DK_NET_PORT_WORDS] = {0};
    struct dk_list *l, *tmp;
    dk_net_ports_in_use(st->net, DK_IP_TCP, tcp);
    dk_net_ports_in_use(st->net, DK_IP_UDP, udp);
    for (uint32_t i = 0; i < BUCKETS; i++)
        dk_list_for_each_safe (l, tmp, &sh->buckets[i]) {
            struct claim *c = dk_container_of(l, struct claim, link);
            const uint64_t *used = c->protocol == DK_IP_TCP ? tcp : udp;
            if (used[c->local.port / 64] >> c->local.port % 64 & 1)
                continue;
            sh->dev->shared->release(sh->dev, c->protocol, &c->local);
            dk_list_del(l);
            free(c);
            sh->num_claims--;
        }
    sh->sweep_at = st->now + SWEEP_NS;
    sh->sweep_above = 2 * sh->num_claims + SPARE_CLAIMS;
}

int dk_stack_shared_claim(void *arg, uint8_t protocol, const struct dk_endpoint *local)
{
    struct dk_stack *st = arg;
    struct dk_stack_shared *sh = st->shared;
    struct dk_list *bucket = &sh->buckets[local->port % BUCKETS];
    if (find(bucket, protocol, local))
        return 0;
    if (sh->num_claims >= sh->sweep_above && st->net)
        sweep(st);
    struct claim *c = malloc(sizeof(*c)); /* freed by sweep or dk_stack_shared_close */
    if (!c)
        return -ENOMEM;
    int r = sh->dev->shared->claim(sh->dev, protocol, local);
    if (r < 0) {
        free(c);
        return r;
    }
    *c = (struct claim){.local = *local, .protocol = protocol};
    dk_list_add_tail(bucket, &c->link);
    sh->num_claims++;
    return 0;
}

void dk_stack_shared_arm(struct dk_stack *st)
{
    if (st->shared)
        st->shared->armed = true;
}

void dk_stack_shared_poll(struct dk_stack *st)
{
    struct dk_stack_shared *sh = st->shared;
    if (sh->armed || st->now >= sh->learn_at || dk_net_waiting(st->net) > 0) {
        sh->learn_at = st->now + LEARN_NS;
        learn(st);
    }
    sh->armed = false;
    if (sh->num_claims == 0 || st->now < sh->sweep_at)
        return;
    sweep(st);
}
