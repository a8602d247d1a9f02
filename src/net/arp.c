/* SPDX-License-Identifier: MIT */
/*
 * ARP (RFC 826), and conflicts of IPv4 addresses (RFC 5227).
 *
 * A message of a host that is on none of our networks is dropped. One that shows another host with
 * an address of ours is a conflict, and teaches us nothing. An answer is taken for one only where
 * we asked; otherwise it can change an entry that exists (an address moved), not make one.
 */
#include "net/icmp.h"
#include "net/ifaddr.h"
#include "net/ip_in.h"
#include "net/ip_kind.h"
#include "net/neigh.h"
#include "net/others.h"
#include "net/wire/arp.h"
#include "net/wire/ethernet.h"

static bool send_arp(struct dk_net *net, const struct dk_arp *arp, const struct dk_mac *dst)
{
    uint8_t storage[DK_ETH_HEADER_MAX + DK_ARP_LEN];
    struct dk_tx_frame frame = {.head = storage + DK_ETH_HEADER_MAX, .head_len = DK_ARP_LEN};
    dk_arp_emit(arp, storage + DK_ETH_HEADER_MAX);
    return dk_link_send(net, &frame, dst, DK_ETHERTYPE_ARP);
}

void dk_arp_ask(struct dk_net *net, const struct dk_ip *target, const struct dk_mac *mac)
{
    const struct dk_mac broadcast = DK_MAC_BROADCAST;
    const struct dk_ip *src = dk_ifaddr_source(net, target, target);
    if (!src)
        return;
    const struct dk_arp arp = {
        .operation = DK_ARP_REQUEST,
        .sender_mac = net->config.mac,
        .sender_ip = *src,
        .target_ip = *target,
    };
    dk_net_count(&net->stats.arp_requests);
    send_arp(net, &arp, mac ? mac : &broadcast);
}

/* Asks all for ip, from src. */
static void ask_all(struct dk_net *net, const struct dk_ip *src, const struct dk_ip *ip)
{
    const struct dk_mac broadcast = DK_MAC_BROADCAST;
    const struct dk_arp arp = {
        .operation = DK_ARP_REQUEST,
        .sender_mac = net->config.mac,
        .sender_ip = *src,
        .target_ip = *ip,
    };
    send_arp(net, &arp, &broadcast);
}

void dk_arp_probe(struct dk_net *net, const struct dk_ip *ip)
{
    const struct dk_ip nobody = {.version = 4};
    dk_net_count(&net->stats.arp_probes);
    ask_all(net, &nobody, ip);
}

void dk_arp_announce(struct dk_net *net, const struct dk_ip *ip)
{
    dk_net_count(&net->stats.arp_announcements);
    ask_all(net, ip, ip);
}

static void reply(struct dk_net *net, const struct dk_arp *request)
{
    const struct dk_arp arp = {
        .operation = DK_ARP_REPLY,
        .sender_mac = net->config.mac,
        .sender_ip = request->target_ip,
        .target_mac = request->sender_mac,
        .target_ip = request->sender_ip,
    };
    dk_net_count(&net->stats.arp_replies);
    send_arp(net, &arp, &request->sender_mac);
}

/* Whether we asked, and the answer came to us alone. */
static bool is_answer(struct dk_net *net, const struct dk_arp *arp, bool link_group)
{
    const struct dk_neigh *neigh = dk_neigh_find(net, &arp->sender_ip);
    return arp->operation == DK_ARP_REPLY && !link_group && neigh &&
           (neigh->state == DK_NEIGH_INCOMPLETE || neigh->state == DK_NEIGH_PROBE);
}

static void learn(struct dk_net *net, const struct dk_arp *arp, bool link_group, int64_t now)
{
    const bool asks_us =
        arp->operation == DK_ARP_REQUEST && dk_ifaddr_classify(net, &arp->target_ip) == DK_DST_OURS;
    const struct dk_neigh_news news = {
        .ip = arp->sender_ip,
        .mac = arp->sender_mac,
        .has_mac = true,
        .override = true,
        .solicited = is_answer(net, arp, link_group),
        .create = asks_us,
    };
    const struct dk_net_news told = {
        .kind = DK_NET_NEWS_NEIGHBOUR,
        .ip = arp->sender_ip,
        .mac = arp->sender_mac,
        .has_mac = true,
        .override = true,
        .reply = arp->operation == DK_ARP_REPLY && !link_group,
    };
    dk_others_tell(net, &told);
    if (!dk_neigh_learn(net, &news, now))
        dk_net_count(&net->stats.arp_unasked);
    if (asks_us)
        reply(net, arp);
}

/* RFC 5227 section 2.1.1: two that ask for the same address both have none. */
static void input_probe(struct dk_net *net, const struct dk_arp *arp, int64_t now)
{
    struct dk_ifaddr *own = dk_ifaddr_find(net, &arp->target_ip);
    if (arp->operation != DK_ARP_REQUEST || !own)
        return;
    if (own->state == DK_IFADDR_TENTATIVE)
        dk_dad_conflict(net, own, &arp->sender_mac, now);
    else if (own->state == DK_IFADDR_GOOD)
        reply(net, arp);
}

void dk_arp_input(struct dk_net *net, const struct dk_net_rx *rx, int64_t now)
{
    struct dk_arp arp;
    const enum dk_wire reason = dk_arp_parse(rx->data, rx->len, &arp);
    if (reason != DK_WIRE_OK) {
        dk_net_drop(net, reason);
        return;
    }
    const bool own_mac = dk_mac_equal(&arp.sender_mac, &net->config.mac);
    struct dk_ifaddr *own = dk_ifaddr_find(net, &arp.sender_ip);
    if (own_mac)
        dk_net_count(&net->stats.arp_own); /* our own frame came back */
    else if (own && own->state != DK_IFADDR_DUPLICATE)
        dk_dad_conflict(net, own, &arp.sender_mac, now);
    else if (dk_ip_is_any(&arp.sender_ip))
        input_probe(net, &arp, now);
    else if (!dk_ip_is_host(&arp.sender_ip) || !dk_ifaddr_on_link(net, &arp.sender_ip) ||
             dk_ifaddr_is_broadcast(net, &arp.sender_ip))
        dk_net_count(&net->stats.arp_off_link);
    else
        learn(net, &arp, rx->link_group, now);
}
