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

static inline void deliver(struct dk_net *net, const struct dk_ip_rx *packet, int64_t now)
{
    const struct dk_transport *transport = dk_transport_find(net, 4, packet->protocol);
    if (dk_likely(transport && transport->input)) {
        transport->input(net, packet, now);
        return;
    }
    dk_net_count(&net->stats.ip4_protocol);
    dk_icmp4_error(net, packet->buf, packet->header,
                   (uint32_t)(packet->data + packet->len - packet->header), DK_ICMP4_UNREACHABLE,
                   DK_ICMP4_PROTOCOL_UNREACHABLE, 0);
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
    deliver(net,
            &(struct dk_ip_rx){
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
            },
            now);
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

/* Where it is noted that packets between two addresses, both as they stand in the header, were
 * neither from a wrong source nor for another host. Forgotten when an address of ours changes. */
static inline uint64_t *pair_at(struct dk_net *net, uint64_t pair)
{
    return &net->ip4_pairs[(pair * 0x9e3779b97f4a7c15u) >> 58];
}

static inline uint64_t pair_of(const uint8_t *header)
{
    uint64_t pair;
    memcpy(&pair, header + 12, sizeof(pair));
    return pair;
}

/* What most packets are: without options, whole, good, and between two addresses as before. */
static inline bool is_plain(struct dk_net *net, const uint8_t *header, uint32_t len)
{
    if (len < DK_IP4_HEADER_LEN || header[0] != 0x45)
        return false;
    const uint64_t pair = pair_of(header);
    const uint32_t total_len = dk_get_be16(header + 2);
    if (total_len < DK_IP4_HEADER_LEN || total_len > len || (dk_get_be16(header + 6) & 0x3fff) != 0)
        return false;
    return *pair_at(net, pair) == pair && pair != 0 &&
           dk_checksum_fold(dk_checksum_add_words(0, header, DK_IP4_HEADER_LEN / 4)) == 0xffff;
}

bool dk_ip4_input_plain(struct dk_net *net, const struct dk_rx_frame *frame, uint8_t *header,
                        int64_t now)
{
    const uint32_t len = frame->len - (uint32_t)(header - frame->data);
    struct dk_ip_rx packet;
    if (dk_unlikely(!is_plain(net, header, len)))
        return false;
    dk_ip4_read(&packet.src, header + 12);
    dk_ip4_read(&packet.dst, header + 16);
    packet.protocol = header[9];
    packet.ttl = header[8];
    packet.tos = header[1];
    packet.checksum = frame->checksum;
    packet.to_host = true;
    packet.buf = frame->buf;
    packet.data = header + DK_IP4_HEADER_LEN;
    packet.len = (uint32_t)dk_get_be16(header + 2) - DK_IP4_HEADER_LEN;
    packet.header = header;
    deliver(net, &packet, now);
    return true;
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
    if (to_host && !rx->looped) /* and not in a frame to all: that was refused */
        *pair_at(net, pair_of(rx->data)) = pair_of(rx->data);
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
            },
            now);
}
