/* SPDX-License-Identifier: MIT */
/*
 * MLDv1 (RFC 2710):
 *
 *     type 1 | code 1 | checksum 2 | max response delay 2, milliseconds | 0 2 | group 16
 *
 * Behind a hop-by-hop header with a router alert, with hop limit 1, from a link-local address; from
 * the unspecified one while that is tentative (RFC 3590).
 */
#include "base/bytes.h"
#include "base/checksum.h"
#include "net/groups.h"
#include "net/ifaddr.h"
#include "net/ip_kind.h"
#include "net/ip_out.h"
#include "net/wire/icmp6.h"
#include "net/wire/ipv6.h"

#define MLD_LEN    24
#define MLD2_QUERY 28
#define HOP_BY_HOP 8

/* RFC 3810 section 5.1.3: from 32768 on, a number with an exponent. */
static int64_t ms_of(uint16_t code, uint32_t len)
{
    if (len < MLD2_QUERY || code < 32768)
        return code;
    return (int64_t)((code & 0xfff) | 0x1000) << ((code >> 12 & 7) + 3);
}

void dk_mld_input(struct dk_net *net, const struct dk_ip_rx *rx)
{
    const bool from_router = dk_ip_is_link_local(&rx->src);
    const bool report = rx->data[0] == DK_ICMP6_MLD_REPORT;
    if (rx->len < MLD_LEN || rx->ttl != 1 || !(from_router || (report && dk_ip_is_any(&rx->src)))) {
        dk_net_count(&net->stats.mld_bad);
        return;
    }
    struct dk_ip group = dk_ip6_at(rx->data + 8);
    if (rx->data[0] == DK_ICMP6_MLD_QUERY) {
        if (dk_ip_is_any(&group))
            group.version = 0;
        dk_net_count(&net->stats.mld_queries);
        dk_group_queried(net, &group, 6, ms_of(dk_get_be16(rx->data + 4), rx->len) * DK_NS_PER_MS);
    } else if (report && dk_ip_equal(&group, &rx->dst)) {
        dk_group_reported(net, &group);
    }
}

/* The link-local address, if it is good. */
static struct dk_ip source(const struct dk_net *net)
{
    for (uint32_t i = 0; i < net->addrs->num; i++) {
        const struct dk_ifaddr *own = &net->addrs->list[i];
        if (own->ip.version == 6 && own->state == DK_IFADDR_GOOD && dk_ip_is_link_local(&own->ip))
            return own->ip;
    }
    return (struct dk_ip){.version = 6};
}

void dk_mld_send(struct dk_net *net, const struct dk_ip *group, bool leave)
{
    uint8_t storage[DK_IP_HEADROOM + HOP_BY_HOP + MLD_LEN];
    const struct dk_ip all_routers = {.bytes = {0xff, 2, [15] = 2}, .version = 6};
    struct dk_ip_tx tx = {
        .src = source(net),
        .dst = leave ? all_routers : *group,
        .protocol = DK_IP6_HOP_BY_HOP,
        .ttl = 1,
        .header = storage + DK_IP_HEADROOM,
        .header_len = HOP_BY_HOP + MLD_LEN,
    };
    uint8_t *mld = tx.header + dk_ip6_router_alert_emit(DK_IP_ICMPV6, tx.header);
    memset(mld, 0, MLD_LEN);
    mld[0] = leave ? DK_ICMP6_MLD_DONE : DK_ICMP6_MLD_REPORT;
    memcpy(mld + 8, group->bytes, 16);
    const uint32_t sum = dk_ip_pseudo_sum(&tx.src, &tx.dst, DK_IP_ICMPV6, MLD_LEN);
    dk_put_be16(mld + 2, dk_checksum_finish(dk_checksum_add(sum, mld, MLD_LEN)));
    if (dk_ip_send(net, &tx, net->now) == 0)
        dk_net_count(&net->stats.group_reports);
}
