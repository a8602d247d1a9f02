/* SPDX-License-Identifier: MIT */
/*
 * Neighbour discovery (RFC 4861): solicitations and advertisements. Their validity is checked in
 * net/wire/nd.c; here is what they mean.
 *
 * Advertisements of routers go to ra.c, where the configuration wants it. Else routers are
 * configured; then those, and redirects always, are counted and ignored, so that nobody on the link
 * can take our traffic by sending one.
 */
#include "base/bytes.h"
#include "base/checksum.h"
#include "net/groups.h"
#include "net/icmp.h"
#include "net/ifaddr.h"
#include "net/ip_kind.h"
#include "net/neigh.h"
#include "net/others.h"
#include "net/ra.h"
#include "net/wire/icmp6.h"
#include "net/wire/nd.h"

#define HOP_LIMIT 255

/* src NULL: unspecified. */
static void send_nd(struct dk_net *net, const struct dk_nd *nd, const struct dk_ip *src,
                    const struct dk_ip *dst)
{
    uint8_t storage[DK_IP_HEADROOM + DK_ND_EMIT_MAX];
    struct dk_ip_tx tx = {
        .src = {.version = 6},
        .dst = *dst,
        .protocol = DK_IP_ICMPV6,
        .ttl = HOP_LIMIT,
        .header = storage + DK_IP_HEADROOM,
    };
    if (src)
        tx.src = *src;
    tx.header_len = (uint32_t)dk_nd_emit(nd, tx.header);
    const uint32_t sum = dk_ip_pseudo_sum(&tx.src, dst, DK_IP_ICMPV6, tx.header_len);
    dk_put_be16(tx.header + 2, dk_checksum_finish(dk_checksum_add(sum, tx.header, tx.header_len)));
    if (dk_ip_send(net, &tx, net->now) != 0)
        dk_net_count(&net->stats.nd_not_sent);
}

void dk_nd_ask(struct dk_net *net, const struct dk_ip *target, bool unicast)
{
    const struct dk_ip *src = dk_ifaddr_source(net, target, target);
    const struct dk_ip group = dk_ip_solicited_node(target);
    if (!src)
        return;
    const struct dk_nd nd = {
        .type = DK_ICMP6_NEIGHBOR_SOLICIT,
        .target = *target,
        .has_source_mac = !dk_ifaddr_find(net, src)->probing, /* RFC 4429 section 3.3 */
        .source_mac = net->config.mac,
    };
    dk_net_count(&net->stats.nd_solicits);
    send_nd(net, &nd, src, unicast ? target : &group);
}

void dk_nd_probe(struct dk_net *net, const struct dk_ip *target)
{
    const struct dk_ip group = dk_ip_solicited_node(target);
    const struct dk_nd nd = {.type = DK_ICMP6_NEIGHBOR_SOLICIT, .target = *target};
    dk_net_count(&net->stats.nd_solicits);
    send_nd(net, &nd, NULL, &group);
}

/* The link-local address once it is good, NULL before (RFC 4861 section 6.3.7). */
static const struct dk_ip *link_local(struct dk_net *net)
{
    const struct dk_ip all = dk_ip_all_nodes();
    const struct dk_ip *src = dk_ifaddr_source(net, &all, &all);
    return src && dk_ip_is_link_local(src) ? src : NULL;
}

void dk_nd_solicit_routers(struct dk_net *net)
{
    const struct dk_ip routers = {.bytes = {0xff, 2, [15] = 2}, .version = 6};
    const struct dk_ip *src = link_local(net);
    const struct dk_nd nd = {
        .type = DK_ICMP6_ROUTER_SOLICIT,
        .has_source_mac = src && !dk_ifaddr_find(net, src)->probing,
        .source_mac = net->config.mac,
    };
    dk_net_count(&net->stats.nd_solicits_routers);
    send_nd(net, &nd, src, &routers);
}

/* RFC 4429 section 3.3: while it is not known to be ours, no other host's entry is overridden. */
static void advertise(struct dk_net *net, const struct dk_ip *target, const struct dk_ip *dst,
                      bool solicited)
{
    const struct dk_nd nd = {
        .type = DK_ICMP6_NEIGHBOR_ADVERT,
        .target = *target,
        .solicited = solicited,
        .override = !dk_ifaddr_find(net, target)->probing,
        .has_target_mac = true,
        .target_mac = net->config.mac,
    };
    dk_net_count(&net->stats.nd_adverts);
    send_nd(net, &nd, target, dst);
}

void dk_nd_announce(struct dk_net *net, const struct dk_ip *target)
{
    const struct dk_ip all = dk_ip_all_nodes();
    advertise(net, target, &all, false);
}

/* RFC 4861 section 7.2.3, 4862 section 5.4.3. */
static void input_solicit(struct dk_net *net, const struct dk_ip_rx *rx, const struct dk_nd *nd,
                          int64_t now)
{
    struct dk_ifaddr *own = dk_ifaddr_find(net, &nd->target);
    const bool probe = dk_ip_is_any(&rx->src);
    if (!own || own->state == DK_IFADDR_DUPLICATE) {
        dk_net_count(&net->stats.nd_not_ours);
    } else if (own->state == DK_IFADDR_TENTATIVE) {
        if (probe) /* another one wants it too; one that has it would not ask so */
            dk_dad_conflict(net, own, NULL, now);
    } else if (probe) {
        dk_nd_announce(net, &own->ip);
    } else {
        const struct dk_neigh_news news = {
            .ip = rx->src,
            .mac = nd->source_mac,
            .has_mac = nd->has_source_mac,
            .override = true,
            .create = true,
        };
        const struct dk_net_news told = {
            .kind = DK_NET_NEWS_NEIGHBOUR,
            .ip = rx->src,
            .mac = nd->source_mac,
            .has_mac = nd->has_source_mac,
            .override = true,
        };
        dk_others_tell(net, &told);
        dk_neigh_learn(net, &news, now);
        advertise(net, &own->ip, &rx->src, true);
    }
}

/* RFC 4861 section 7.2.5, 4862 section 5.4.4. */
static void input_advert(struct dk_net *net, const struct dk_ip_rx *rx, const struct dk_nd *nd,
                         int64_t now)
{
    struct dk_ifaddr *own = dk_ifaddr_find(net, &nd->target);
    if (own && own->state != DK_IFADDR_DUPLICATE) {
        if (!nd->has_target_mac || !dk_mac_equal(&nd->target_mac, &net->config.mac))
            dk_dad_conflict(net, own, nd->has_target_mac ? &nd->target_mac : NULL, now);
        return;
    }
    const struct dk_net_news told = {
        .kind = DK_NET_NEWS_NEIGHBOUR,
        .ip = nd->target,
        .mac = nd->target_mac,
        .has_mac = nd->has_target_mac,
        .override = nd->override,
        .solicited = nd->solicited && !dk_ip_is_multicast(&rx->dst),
        .advert = true,
        .is_router = nd->router,
    };
    dk_others_tell(net, &told);
    struct dk_neigh *neigh = dk_neigh_find(net, &nd->target);
    if (!neigh) {
        dk_net_count(&net->stats.nd_unasked);
        return;
    }
    const struct dk_neigh_news news = {
        .ip = nd->target,
        .mac = nd->target_mac,
        .has_mac = nd->has_target_mac,
        .override = nd->override,
        .solicited = nd->solicited && !dk_ip_is_multicast(&rx->dst),
    };
    if (neigh->is_router && !nd->router)
        dk_ra_no_router(net, &nd->target);
    neigh->is_router = nd->router;
    dk_neigh_learn(net, &news, now);
}

void dk_nd_input(struct dk_net *net, const struct dk_ip_rx *rx, int64_t now)
{
    struct dk_nd nd;
    const struct dk_nd_ip ip = {.src = rx->src, .dst = rx->dst, .hop_limit = rx->ttl};
    const enum dk_wire reason = dk_nd_parse(rx->data, rx->len, &ip, &nd);
    if (reason != DK_WIRE_OK) {
        dk_net_drop(net, reason);
        return;
    }
    const bool off_link = !dk_ip_is_any(&rx->src) && !dk_ifaddr_on_link(net, &rx->src);
    if (off_link)
        dk_net_count(&net->stats.nd_off_link);
    else if (nd.type == DK_ICMP6_NEIGHBOR_SOLICIT)
        input_solicit(net, rx, &nd, now);
    else if (nd.type == DK_ICMP6_NEIGHBOR_ADVERT)
        input_advert(net, rx, &nd, now);
    else if (nd.type == DK_ICMP6_ROUTER_ADVERT)
        dk_ra_input(net, &rx->src, &nd, now);
    else if (nd.type == DK_ICMP6_REDIRECT)
        dk_net_count(&net->stats.nd_redirects);
    else
        dk_net_count(&net->stats.nd_router_solicits);
}
