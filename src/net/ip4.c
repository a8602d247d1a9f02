/* SPDX-License-Identifier: MIT */
/*
 * IPv4 input (RFC 791, 1122 section 3.2.1): is it a good packet, from a host, for us.
 *
 * We do not forward: what is for another is dropped. A packet to one of our addresses that came in
 * a broadcast frame is dropped too (RFC 1122 section 3.3.6), so that nobody makes all hosts of a
 * link answer at once.
 */
#include "base/bytes.h"
#include "base/checksum.h"
#include "net/groups.h"
#include "net/icmp.h"
#include "net/ifaddr.h"
#include "net/ip_in.h"
#include "net/ip_kind.h"
#include "net/others.h"
#include "net/route.h"
#include "net/wire/icmp4.h"
#include "net/wire/ipv4.h"

void dk_ip_input(struct dk_net *net, const struct dk_net_rx *rx, int64_t now)
{
    const uint8_t version = rx->len == 0 ? 0 : rx->data[0] >> 4;
    if (version == 6)
        dk_ip6_input(net, rx, now);
    else
        dk_ip4_input(net, rx, now); /* which says what is wrong with another */
}

/* Why a packet from src is not taken: the counter, or NULL. */
static uint64_t *refuse_source(struct dk_net *net, const struct dk_ip *src, bool looped)
{
    if (looped)
        return NULL;
    if (!dk_ip_is_host(src) || dk_ifaddr_is_broadcast(net, src))
        return &net->stats.ip4_source;
    if (dk_ifaddr_classify(net, src) == DK_DST_OURS)
        return &net->stats.ip4_own_source; /* forged, or our own frame come back */
    return NULL;
}

static uint64_t *refuse_destination(struct dk_net *net, const struct dk_ip *dst,
                                    const struct dk_net_rx *rx)
{
    switch (dk_ifaddr_classify(net, dst)) {
    case DK_DST_OURS:
        return rx->link_group ? &net->stats.ip4_link_broadcast : NULL;
    case DK_DST_GROUP:
        return dk_group_is_joined(net, dst) ? NULL : &net->stats.ip4_group;
    case DK_DST_BROADCAST:
        return NULL;
    case DK_DST_OTHER:
        break;
    }
    return rx->looped && dk_ip_is_loopback(dst) ? NULL : &net->stats.ip4_not_ours;
}

void dk_ip4_no_protocol(struct dk_net *net, const struct dk_ip_rx *packet)
{
    dk_net_count(&net->stats.ip4_protocol);
    dk_icmp4_error(net, packet->buf, packet->header,
                   (uint32_t)(packet->data + packet->len - packet->header), DK_ICMP4_UNREACHABLE,
                   DK_ICMP4_PROTOCOL_UNREACHABLE, 0);
}

static void deliver(struct dk_net *net, const struct dk_ip_rx *packet, int64_t now)
{
    const struct dk_transport *transport = dk_transport_find(net, 4, packet->protocol);
    if (dk_likely(transport != NULL))
        transport->input(net, packet, now);
    else
        dk_ip4_no_protocol(net, packet);
}

static void input_fragment(struct dk_net *net, const struct dk_net_rx *rx,
                           const struct dk_ip4_header *ip, int64_t now)
{
    struct dk_reassembled whole;
    const struct dk_fragment fragment = {
        .src = ip->src,
        .dst = ip->dst,
        .protocol = ip->protocol,
        .tos = ip->tos,
        .more = ip->more_fragments,
        .id = ip->id,
        .offset = ip->fragment_offset,
        .len = (uint32_t)ip->total_len - ip->header_len,
        .data = rx->data + ip->header_len,
        .header = rx->data,
        .header_len = ip->header_len,
    };
    if (!dk_reass_add(net, &fragment, now, &whole))
        return;
    dk_put_be16(whole.header + 2, (uint16_t)whole.len);
    dk_put_be16(whole.header + 6, 0);
    const struct dk_ip_rx packet = {
        .src = ip->src,
        .dst = ip->dst,
        .protocol = ip->protocol,
        .ttl = whole.header[8],
        .tos = whole.header[1],
        .checksum = DK_RX_CHECKSUM_UNKNOWN,
        .buf = whole.buf,
        .data = whole.header + whole.header_len,
        .len = whole.len - whole.header_len,
        .header = whole.header,
    };
    if (!dk_others_pass_whole(net, &packet))
        deliver(net, &packet, now);
    dk_buf_put(whole.buf);
}

/* RFC 1122 section 3.2.2.5: the sender is told of an option that is malformed. */
static void refuse(struct dk_net *net, const struct dk_net_rx *rx, enum dk_wire reason)
{
    dk_net_drop(net, reason);
    if (reason == DK_WIRE_IP4_OPTION && !rx->link_group)
        dk_icmp4_error(net, rx->buf, rx->data, rx->len, DK_ICMP4_PARAMETER, 0,
                       (uint32_t)DK_IP4_HEADER_LEN << 24);
}

void dk_ip4_input(struct dk_net *net, const struct dk_net_rx *rx, int64_t now)
{
    struct dk_ip4_header ip;
    const enum dk_wire reason = dk_ip4_header_parse(rx->data, rx->len, &ip);
    if (dk_unlikely(reason != DK_WIRE_OK)) {
        refuse(net, rx, reason);
        return;
    }
    uint64_t *refused = NULL;
    if (!dk_route_is_known(net, &ip.src))
        refused = refuse_source(net, &ip.src, rx->looped);
    if (!refused)
        refused = refuse_destination(net, &ip.dst, rx);
    if (dk_unlikely(refused != NULL)) {
        dk_net_count(refused);
        return;
    }
    const bool to_host = dk_ifaddr_classify(net, &ip.dst) == DK_DST_OURS;
    const bool is_plain_pair = to_host && !rx->looped; /* a frame to all was refused */
    if (is_plain_pair)
        dk_plain_learn(net, rx->data);
    if (dk_unlikely(dk_ip4_is_fragment(&ip))) {
        input_fragment(net, rx, &ip, now);
        return;
    }
    deliver(net,
            &(struct dk_ip_rx){
                .src = ip.src,
                .dst = ip.dst,
                .protocol = ip.protocol,
                .ttl = ip.ttl,
                .tos = ip.tos,
                .checksum = rx->checksum,
                .to_host = to_host,
                .buf = rx->buf,
                .data = rx->data + ip.header_len,
                .len = (uint32_t)ip.total_len - ip.header_len,
                .header = rx->data,
                .is_plain_pair = is_plain_pair,
            },
            now);
}
