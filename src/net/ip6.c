/* SPDX-License-Identifier: MIT */
/*
 * IPv6 input (RFC 8200): is it a good packet, for us, and what its extension headers lead to.
 *
 * An address that is tentative is no destination yet; its solicited-node group is one, so that
 * duplicate address detection hears who else wants it (RFC 4862 section 5.4).
 */
#include "base/bytes.h"
#include "net/groups.h"
#include "net/icmp.h"
#include "net/ifaddr.h"
#include "net/ip_in.h"
#include "net/ip_kind.h"
#include "net/others.h"
#include "net/route.h"
#include "net/wire/icmp6.h"
#include "net/wire/ipv6.h"

/* Another host that has an address of ours says so from there (RFC 4862 section 5.4.4). */
static bool is_advert(const struct dk_net_rx *rx, const struct dk_ip6_header *ip)
{
    return ip->next_header == DK_IP_ICMPV6 && ip->payload_len > 0 &&
           rx->data[DK_IP6_HEADER_LEN] == DK_ICMP6_NEIGHBOR_ADVERT;
}

static uint64_t *refuse_source(struct dk_net *net, const struct dk_net_rx *rx,
                               const struct dk_ip6_header *ip)
{
    const struct dk_ip *src = &ip->src;
    if (rx->looped || dk_ip_is_any(src)) /* the latter detects duplicates, and reports groups */
        return NULL;
    if (!dk_ip_is_host(src))
        return &net->stats.ip6_source;
    const struct dk_ifaddr *own = dk_ifaddr_find(net, src);
    if (own && own->state == DK_IFADDR_GOOD && !is_advert(rx, ip))
        return &net->stats.ip6_own_source;
    return NULL;
}

static uint64_t *refuse_destination(struct dk_net *net, const struct dk_ip *dst,
                                    const struct dk_net_rx *rx)
{
    switch (dk_ifaddr_classify(net, dst)) {
    case DK_DST_OURS:
        return rx->link_group ? &net->stats.ip6_link_group : NULL;
    case DK_DST_GROUP:
        return dk_group_is_joined(net, dst) ? NULL : &net->stats.ip6_group;
    default:
        return rx->looped && dk_ip_is_loopback(dst) ? NULL : &net->stats.ip6_not_ours;
    }
}

static void problem(struct dk_net *net, const struct dk_net_rx *rx, uint32_t len,
                    const struct dk_ip *dst, const struct dk_ip6_extensions *found)
{
    if (found->problem == DK_IP6_PROBLEM_NONE)
        return;
    if (found->problem == DK_IP6_PROBLEM_OPTION_UNICAST && dk_ip_is_multicast(dst))
        return;
    dk_icmp6_error(net, rx->buf, rx->data, len, DK_ICMP6_PARAMETER, found->problem & 0x7f,
                   found->problem_at);
}

static void deliver(struct dk_net *net, const struct dk_ip_rx *packet, uint16_t protocol_at,
                    int64_t now)
{
    const struct dk_transport *transport = dk_transport_find(net, 6, packet->protocol);
    if (dk_likely(transport != NULL)) {
        transport->input(net, packet, now);
        return;
    }
    if (packet->protocol == DK_IP6_NO_NEXT) {
        dk_net_count(&net->stats.ip6_no_next);
        return;
    }
    dk_net_count(&net->stats.ip6_protocol);
    dk_icmp6_error(net, packet->buf, packet->header,
                   (uint32_t)(packet->data + packet->len - packet->header), DK_ICMP6_PARAMETER,
                   DK_IP6_PROBLEM_NEXT_HEADER, protocol_at);
}

/* The byte that announces the fragment header. */
static uint32_t announced_at(const uint8_t *packet, uint32_t fragment_at)
{
    uint32_t at = DK_IP6_HEADER_LEN, announcer = 6;
    while (at < fragment_at) {
        announcer = at;
        at += (packet[at + 1] + 1u) * 8;
    }
    return announcer;
}

static void input_fragment(struct dk_net *net, const struct dk_net_rx *rx,
                           const struct dk_ip6_header *ip, const struct dk_ip6_extensions *found,
                           int64_t now)
{
    struct dk_reassembled whole;
    if (rx->reassembled) { /* a fragment inside of what was put together */
        dk_net_count(&net->stats.frag_nested);
        return;
    }
    const struct dk_fragment fragment = {
        .src = ip->src,
        .dst = ip->dst,
        .protocol = found->protocol,
        .tos = ip->tos,
        .more = found->more_fragments,
        .id = found->fragment_id,
        .offset = found->fragment_offset,
        .len = DK_IP6_HEADER_LEN + ip->payload_len - (uint32_t)found->payload_at,
        .data = rx->data + found->payload_at,
        .header = rx->data,
        .header_len = found->fragment_at,
    };
    if (!dk_reass_add(net, &fragment, now, &whole))
        return;
    whole.header[announced_at(whole.header, whole.header_len)] = whole.protocol;
    dk_put_be16(whole.header + 4, (uint16_t)(whole.len - DK_IP6_HEADER_LEN));
    dk_ip6_input(net,
                 &(struct dk_net_rx){.buf = whole.buf,
                                     .data = whole.header,
                                     .len = whole.len,
                                     .link_group = rx->link_group,
                                     .looped = rx->looped,
                                     .reassembled = true},
                 now);
    dk_buf_put(whole.buf);
}

static void input_payload(struct dk_net *net, const struct dk_net_rx *rx,
                          const struct dk_ip6_header *ip, const struct dk_ip6_extensions *found,
                          int64_t now)
{
    const struct dk_ip_rx packet = {
        .src = ip->src,
        .dst = ip->dst,
        .protocol = found->protocol,
        .ttl = ip->hop_limit,
        .tos = ip->tos,
        .checksum = rx->checksum,
        .to_host = !dk_ip_is_multicast(&ip->dst),
        .buf = rx->buf,
        .data = rx->data + found->payload_at,
        .len = DK_IP6_HEADER_LEN + ip->payload_len - (uint32_t)found->payload_at,
        .header = rx->data,
    };
    if (!rx->reassembled || !dk_others_pass_whole(net, &packet))
        deliver(net, &packet, found->protocol_at, now);
}

void dk_ip6_input(struct dk_net *net, const struct dk_net_rx *rx, int64_t now)
{
    struct dk_ip6_header ip;
    struct dk_ip6_extensions found;
    enum dk_wire reason = dk_ip6_header_parse(rx->data, rx->len, &ip);
    if (dk_unlikely(reason != DK_WIRE_OK)) {
        dk_net_drop(net, reason);
        return;
    }
    uint64_t *refused = NULL;
    if (!dk_route_is_known(net, &ip.src))
        refused = refuse_source(net, rx, &ip);
    if (!refused)
        refused = refuse_destination(net, &ip.dst, rx);
    if (dk_unlikely(refused != NULL)) {
        dk_net_count(refused);
        return;
    }
    const uint32_t len = DK_IP6_HEADER_LEN + (uint32_t)ip.payload_len;
    reason = dk_ip6_extensions_walk(rx->data, len, &found);
    if (dk_unlikely(reason != DK_WIRE_OK)) {
        dk_net_drop(net, reason);
        problem(net, rx, len, &ip.dst, &found);
    } else if (dk_unlikely(found.is_fragment)) {
        input_fragment(net, rx, &ip, &found, now);
    } else {
        input_payload(net, rx, &ip, &found, now);
    }
}
