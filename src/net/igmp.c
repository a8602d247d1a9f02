/* SPDX-License-Identifier: MIT */
/*
 * IGMPv2 (RFC 2236):
 *
 *     type 1 | max response time 1, tenths of a second | checksum 2 | group 4
 *
 * Queries of version 3 are longer (RFC 3376 section 4.1); what they ask of a host of version 2 is
 * the same. Everything goes with TTL 1 and a router alert option (RFC 2113), in an IP header that
 * is written here: no other packet of ours has options.
 */
#include "base/bytes.h"
#include "base/checksum.h"
#include "net/groups.h"
#include "net/ifaddr.h"
#include "net/ip_kind.h"
#include "net/ip_out.h"
#include "net/wire/ethernet.h"
#include "net/wire/ipv4.h"

#define IGMP_LEN 8

#define IGMP_QUERY     0x11
#define IGMP_REPORT_V1 0x12
#define IGMP_REPORT_V2 0x16
#define IGMP_LEAVE     0x17
#define IGMP_REPORT_V3 0x22

#define DEFAULT_TENTHS 100 /* of a query of version 1, which names no time */

/* RFC 3376 section 4.1.1: from 128 on, a number with an exponent. */
static int64_t tenths_of(uint8_t code, uint32_t len)
{
    if (code == 0)
        return DEFAULT_TENTHS;
    if (len == IGMP_LEN || code < 128)
        return code;
    return (int64_t)((code & 15) | 16) << ((code >> 4 & 7) + 3);
}

static void input(struct dk_net *net, const struct dk_ip_rx *rx, int64_t now)
{
    (void)now;
    if (rx->len < IGMP_LEN || !dk_checksum_is_good(0, rx->data, rx->len)) {
        dk_net_count(&net->stats.igmp_bad);
        return;
    }
    struct dk_ip group = dk_ip4_at(rx->data + 4);
    switch (rx->data[0]) {
    case IGMP_QUERY:
        if (dk_ip_is_any(&group))
            group.version = 0;
        dk_net_count(&net->stats.igmp_queries);
        dk_group_queried(net, &group, 4, tenths_of(rx->data[1], rx->len) * (DK_NS_PER_S / 10));
        break;
    case IGMP_REPORT_V1:
    case IGMP_REPORT_V2:
        if (dk_ip_equal(&group, &rx->dst)) /* it is sent to the group that it reports */
            dk_group_reported(net, &group);
        break;
    default:
        dk_net_count(&net->stats.igmp_ignored);
    }
}

const struct dk_transport dk_igmp_transport = {
    .name = "igmp",
    .protocol = DK_IP_IGMP,
    .versions = DK_TRANSPORT_IP4,
    .input = input,
};

void dk_igmp_send(struct dk_net *net, const struct dk_ip *group, bool leave)
{
    static const uint8_t router_alert[4] = {0x94, 4, 0, 0};
    uint8_t storage[DK_ETH_HEADER_MAX + DK_IP4_HEADER_LEN + sizeof router_alert + IGMP_LEN];
    const struct dk_ip all_routers = dk_ip_from_v4(0xe0000002);
    const struct dk_ip *dst = leave ? &all_routers : group;
    const struct dk_ip *src = dk_ifaddr_source(net, dst, dst);
    if (!src)
        return;
    const struct dk_ip4_header ip = {
        .src = *src,
        .dst = *dst,
        .header_len = DK_IP4_HEADER_LEN + sizeof router_alert,
        .tos = 0xc0, /* RFC 2236: internetwork control, as routers expect */
        .ttl = 1,
        .protocol = DK_IP_IGMP,
        .total_len = DK_IP4_HEADER_LEN + sizeof router_alert + IGMP_LEN,
        .options = router_alert,
    };
    uint8_t *head = storage + DK_ETH_HEADER_MAX;
    uint8_t *igmp = head + dk_ip4_header_emit(&ip, head);
    memset(igmp, 0, IGMP_LEN);
    igmp[0] = leave ? IGMP_LEAVE : IGMP_REPORT_V2;
    memcpy(igmp + 4, group->bytes, 4);
    dk_put_be16(igmp + 2, dk_checksum_finish(dk_checksum_add(0, igmp, IGMP_LEN)));
    struct dk_tx_frame frame = {.head = head, .head_len = ip.total_len};
    const struct dk_mac mac = dk_mac_of_group(dst);
    if (dk_link_send(net, &frame, &mac, DK_ETHERTYPE_IP4))
        dk_net_count(&net->stats.group_reports);
}
