/* SPDX-License-Identifier: MIT */
/*
 * The stack as a whole: its making and end, the clock, the counters, the table of transports.
 */
#include "net/net.h"

#include "mem/heap.h"
#include "net/dev.h"
#include "net/dhcp.h"
#include "net/groups.h"
#include "net/icmp.h"
#include "net/ifaddr.h"
#include "net/ip_in.h"
#include "net/ip_kind.h"
#include "net/neigh.h"
#include "net/ra.h"
#include "net/route.h"
#include "net/tcp/tcp.h"
#include "net/wire/ethernet.h"

/* All that is carried over IP. */
static const struct dk_transport *const transports[] = {
    &dk_icmp4_transport, &dk_icmp6_transport, &dk_igmp_transport,
    &dk_udp_transport,   &dk_tcp_transport,
};

#define TRANSPORTS (sizeof transports / sizeof transports[0])

static const char *const stat_names[] = {
#define STAT_NAME(field, name) name,
    DK_NET_STATS(STAT_NAME)
#undef STAT_NAME
};

#define STATS (sizeof stat_names / sizeof stat_names[0])

static const char *why_bad(const struct dk_net_config *config)
{
    const struct dk_mac zero = {{0}};
    if (dk_mac_is_multicast(&config->mac) || dk_mac_equal(&config->mac, &zero))
        return "the link address is zero or a group's";
    if (config->mtu < 68 || config->mtu > 65535)
        return "the MTU is not 68 to 65535";
    if (config->vlan > 4094)
        return "the VLAN is not 1 to 4094 (0: none)";
    if (config->num_addresses == 0 && !config->dhcp && !config->router_adverts)
        return "there is no address: give one, with the length of its prefix";
    if (config->num_addresses > DK_NET_ADDRESSES_MAX)
        return "there are more than 8 addresses";
    if (config->num_routes > DK_NET_ROUTES_MAX)
        return "there are more than 16 routes";
    for (uint32_t i = 0; i < config->num_addresses; i++) {
        if (config->addresses[i].ip.version == 6 && config->mtu < 1280)
            return "the MTU is below 1280, which IPv6 needs";
    }
    if (config->router_adverts && config->mtu < 1280)
        return "the MTU is below 1280, which IPv6 needs";
    return NULL;
}

static int init_parts(struct dk_net *net, int64_t now, const char **why_out)
{
    int error = dk_ifaddr_init(net, why_out);
    error = error ? error : dk_route_init(net, why_out);
    error = error ? error : dk_pmtu_init(net);
    error = error ? error : dk_neigh_init(net, now);
    error = error ? error : dk_reass_init(net);
    error = error ? error : dk_groups_init(net);
    error = error ? error : dk_icmp_init(net, now);
    return error ? error : dk_loop_init(net);
}

/* What stands on transports. */
static int init_learning(struct dk_net *net, int64_t now)
{
    const int error = dk_dhcp_init(net, now);
    return error ? error : dk_ra_init(net, now);
}

static void fini_parts(struct dk_net *net)
{
    dk_loop_fini(net);
    dk_icmp_fini(net);
    dk_groups_fini(net);
    dk_reass_fini(net);
    dk_neigh_fini(net);
    dk_pmtu_fini(net);
    dk_route_fini(net);
    dk_ifaddr_fini(net);
}

static void add_transport(struct dk_net *net, const struct dk_transport *transport)
{
    if (transport->versions & DK_TRANSPORT_IP4)
        net->by_protocol[0][transport->protocol] = transport;
    if (transport->versions & DK_TRANSPORT_IP6)
        net->by_protocol[1][transport->protocol] = transport;
}

static int init_transports(struct dk_net *net, int64_t now)
{
    for (size_t i = 0; i < TRANSPORTS; i++) {
        const int error = transports[i]->init ? transports[i]->init(net, now) : 0;
        if (error != 0)
            return error;
        add_transport(net, transports[i]);
        net->num_transports++;
    }
    return 0;
}

int dk_net_create(struct dk_net **net_out, const struct dk_net_config *config, int64_t now,
                  const char **why_out)
{
    const char *why = why_bad(config);
    if (why) {
        *why_out = why;
        return -EINVAL;
    }
    struct dk_net *net = dk_heap_zalloc(sizeof *net);
    if (!net)
        return -ENOMEM;
    net->config = *config;
    net->now = now;
    net->origin = config->others.worker;
    net->link_mtu = config->mtu;
    net->hop_limit = DK_IP_TTL_DEFAULT;
    dk_random_init(&net->random, config->seed);
    dk_wheel_init(&net->wheel, now);
    net->due.at = INT64_MAX;
    net->wheel.none_before = &net->due.at;
    dk_plain_init(net);
    int error = init_parts(net, now, why_out);
    error = error ? error : init_transports(net, now);
    error = error ? error : init_learning(net, now);
    if (error != 0) {
        dk_net_destroy(net);
        return error;
    }
    dk_dad_start(net, now);
    *net_out = net;
    return 0;
}

void dk_net_destroy(struct dk_net *net)
{
    dk_ra_fini(net);
    dk_dhcp_fini(net);
    while (net->num_transports > 0) {
        const struct dk_transport *transport = transports[--net->num_transports];
        if (transport->fini)
            transport->fini(net);
    }
    fini_parts(net);
    dk_heap_free(net);
}

static void tx_room(struct dk_net *net, int64_t now)
{
    dk_neigh_tx_room(net);
    for (size_t i = 0; i < TRANSPORTS; i++) {
        if (transports[i]->tx_room)
            transports[i]->tx_room(net, now);
    }
}

void dk_net_mtu_changed(struct dk_net *net)
{
    uint32_t mtu = net->link_mtu;
    for (int i = 0; i < 2; i++) {
        if (net->learnt_mtu[i] != 0 && net->learnt_mtu[i] < mtu)
            mtu = net->learnt_mtu[i];
    }
    /* A DHCP server does not know that IPv6 needs more. */
    if (net->ra && mtu < 1280)
        mtu = 1280;
    net->config.mtu = mtu;
    dk_route_changed(net);
}

void dk_net_address_lost(struct dk_net *net, const struct dk_ip *ip, int64_t now)
{
    for (size_t i = 0; i < TRANSPORTS; i++) {
        if (transports[i]->address_lost)
            transports[i]->address_lost(net, ip, now);
    }
}

void dk_net_told(struct dk_net *net, const struct dk_net_news *news, int64_t now)
{
    net->now = now;
    if (news->kind == DK_NET_NEWS_NEIGHBOUR)
        dk_neigh_told(net, news, now);
    else
        dk_dad_told(net, news, now);
}

uint32_t dk_net_waiting(const struct dk_net *net)
{
    return dk_neigh_waiting(net);
}

bool dk_net_own_lent(struct dk_net *net)
{
    const bool ours = dk_neigh_own(net);
    return (!net->config.own || net->config.own(net->config.emit_arg)) && ours;
}

void dk_net_tx_room(struct dk_net *net, int64_t now)
{
    net->now = now;
    tx_room(net, now);
}

static void resolved(struct dk_net *net, int64_t now)
{
    net->due.what &= ~DK_NET_DUE_RESOLVED;
    net->patient_wait = false;
    for (size_t i = 0; i < TRANSPORTS; i++) {
        if (transports[i]->resolved)
            transports[i]->resolved(net, now);
    }
}

/* Whatever else is due than what most bursts cause. */
__attribute__((noinline)) static void advance_all(struct dk_net *net, int64_t now)
{
    if (dk_wheel_is_due(&net->wheel, now))
        dk_wheel_advance(&net->wheel, now);
    if (net->due.what & DK_NET_DUE_LOOP)
        dk_loop_advance(net, now);
    if (net->due.what & DK_NET_DUE_UDP)
        dk_udp_advance(net, now);
    dk_tcp_advance(net, now);
    if (net->due.what & DK_NET_DUE_TX_ROOM) {
        net->due.what &= ~DK_NET_DUE_TX_ROOM;
        tx_room(net, now);
    }
    if (net->due.what & DK_NET_DUE_RESOLVED)
        resolved(net, now);
    const int64_t tcp_at = dk_tcp_due_at(net);
    net->due.at = net->wheel.idle_until < tcp_at ? net->wheel.idle_until : tcp_at;
}

/* Whatever is due but events of TCP alone. */
__attribute__((noinline)) static void advance_more(struct dk_net *net, int64_t now)
{
    if (dk_unlikely(now >= net->due.at || net->due.what & ~(DK_NET_DUE_UDP | DK_NET_DUE_TCP))) {
        advance_all(net, now);
        return;
    }
    dk_udp_advance(net, now);
    if (net->due.what & DK_NET_DUE_TCP)
        dk_tcp_tell(net, now);
}

void dk_net_advance(struct dk_net *net, int64_t now)
{
    net->now = now;
    if (now >= net->due.at || net->due.what & ~DK_NET_DUE_TCP)
        advance_more(net, now);
    else if (net->due.what)
        dk_tcp_tell(net, now);
}

struct dk_net_due *dk_net_due(struct dk_net *net)
{
    return &net->due;
}

int64_t dk_net_next_due(const struct dk_net *net)
{
    if (net->due.what)
        return net->now;
    int64_t due = dk_wheel_next_due(&net->wheel);
    for (size_t i = 0; i < TRANSPORTS; i++) {
        const int64_t at = transports[i]->next_due ? transports[i]->next_due(net) : INT64_MAX;
        if (at < due)
            due = at;
    }
    return due;
}

int dk_net_stat(const struct dk_net *net, size_t index, const char **name_out, uint64_t *value_out)
{
    if (index < STATS) {
        *name_out = stat_names[index];
        memcpy(value_out, (const uint8_t *)&net->stats + index * sizeof(uint64_t),
               sizeof(uint64_t));
        return 0;
    }
    index -= STATS;
    if (index < DK_WIRE_COUNT - 1) {
        *name_out = dk_wire_name((enum dk_wire)(index + 1));
        *value_out = net->wire[index + 1];
        return 0;
    }
    index -= DK_WIRE_COUNT - 1;
    for (size_t i = 0; i < TRANSPORTS; i++) {
        if (index < transports[i]->num_stats) {
            *name_out = transports[i]->stat_names[index];
            *value_out = transports[i]->stats(net)[index];
            return 0;
        }
        index -= transports[i]->num_stats;
    }
    return -ENOENT;
}

enum dk_net_address_state dk_net_address_state(const struct dk_net *net, uint32_t index)
{
    switch (net->addrs->list[index].state) {
    case DK_IFADDR_TENTATIVE:
        return DK_NET_ADDRESS_TENTATIVE;
    case DK_IFADDR_DUPLICATE:
        return DK_NET_ADDRESS_DUPLICATE;
    default:
        return DK_NET_ADDRESS_GOOD;
    }
}
