/* SPDX-License-Identifier: MIT */
/*
 * ICMP (RFC 792, 1122 section 3.2.2).
 *
 * Errors about what we sent go to the transport that sent it, which alone can tell whether it did.
 * Source quench (RFC 6633) and redirects are ignored. An echo request to a group or to broadcast is
 * not answered (RFC 1122 section 3.2.2.6 lets it): it is how one packet becomes many.
 */
#include "net/icmp.h"
#include "net/ifaddr.h"
#include "net/ip_kind.h"
#include "net/others.h"
#include "net/wire/icmp4.h"
#include "net/wire/ipv4.h"

#define ERROR_PACKET_MAX 576u /* RFC 1812 section 4.3.2.3 */

/* RFC 1191 section 7.1: the next lower size that paths have, for a router that says none. */
static uint32_t next_plateau(uint32_t bytes)
{
    static const uint16_t plateaus[] = {65535, 32000, 17914, 8166, 4352, 2002,
                                        1492,  1006,  508,   296,  68};
    for (size_t i = 0; i < sizeof plateaus / sizeof plateaus[0]; i++) {
        if (plateaus[i] < bytes)
            return plateaus[i];
    }
    return 68;
}

static enum dk_icmp_error_kind unreachable_kind(uint8_t code)
{
    switch (code) {
    case DK_ICMP4_PROTOCOL_UNREACHABLE:
    case DK_ICMP4_PORT_UNREACHABLE:
    case 9: /* administratively prohibited: network, host, communication */
    case 10:
    case 13:
        return DK_ICMP_PORT_UNREACHABLE;
    case DK_ICMP4_TOO_BIG:
        return DK_ICMP_TOO_BIG;
    default:
        return DK_ICMP_UNREACHABLE;
    }
}

static enum dk_icmp_error_kind kind_of(const struct dk_icmp4 *icmp)
{
    if (icmp->type == DK_ICMP4_TIME_EXCEEDED)
        return DK_ICMP_TIME_EXCEEDED;
    return icmp->type == DK_ICMP4_PARAMETER ? DK_ICMP_PARAMETER : unreachable_kind(icmp->code);
}

static void input_error(struct dk_net *net, const struct dk_icmp4 *icmp, int64_t now)
{
    struct dk_ip4_header ip;
    const enum dk_wire reason = dk_ip4_quote_parse(icmp->data, icmp->data_len, &ip);
    if (reason != DK_WIRE_OK) {
        dk_net_drop(net, DK_WIRE_ICMP4_QUOTE);
        return;
    }
    const struct dk_transport *transport = dk_transport_find(net, 4, ip.protocol);
    const bool ours = dk_ifaddr_find(net, &ip.src) || dk_ip_is_loopback(&ip.src);
    if (!ours || ip.fragment_offset != 0 || !transport || !transport->icmp_error) {
        dk_net_count(&net->stats.icmp_unmatched);
        return;
    }
    struct dk_icmp_error error = {
        .kind = kind_of(icmp),
        .local = ip.src,
        .remote = ip.dst,
        .quoted = icmp->data + ip.header_len,
        .quoted_len = (uint32_t)icmp->data_len - ip.header_len,
    };
    if (error.kind == DK_ICMP_TOO_BIG) {
        error.mtu = dk_icmp4_mtu(icmp->rest);
        if (error.mtu == 0)
            error.mtu = next_plateau(ip.total_len);
    }
    transport->icmp_error(net, &error, now);
}

static void input(struct dk_net *net, const struct dk_ip_rx *rx, int64_t now)
{
    struct dk_icmp4 icmp;
    const enum dk_wire reason = dk_icmp4_parse(rx->data, rx->len, &icmp);
    if (reason != DK_WIRE_OK) {
        dk_net_drop(net, reason);
        return;
    }
    switch (icmp.type) {
    case DK_ICMP4_ECHO_REQUEST:
        if (dk_ip_is_multicast(&rx->dst) || dk_ifaddr_is_broadcast(net, &rx->dst))
            dk_net_count(&net->stats.icmp_echo_group);
        else
            dk_icmp_answer_echo(net, rx, DK_ICMP4_ECHO_REPLY, now);
        break;
    case DK_ICMP4_ECHO_REPLY:
        dk_ping_reply(net, rx, icmp.rest, icmp.data, (uint32_t)icmp.data_len);
        break;
    case DK_ICMP4_UNREACHABLE:
    case DK_ICMP4_TIME_EXCEEDED:
    case DK_ICMP4_PARAMETER:
        dk_others_pass(net, rx); /* of whose packets it is, each finds out */
        input_error(net, &icmp, now);
        break;
    default:
        dk_net_count(&net->stats.icmp_ignored);
    }
}

static void echo_error(struct dk_net *net, const struct dk_icmp_error *error, int64_t now)
{
    (void)now;
    if (error->quoted[0] == DK_ICMP4_ECHO_REQUEST)
        dk_ping_error(net, error);
}

const struct dk_transport dk_icmp4_transport = {
    .name = "icmp",
    .protocol = DK_IP_ICMP,
    .versions = DK_TRANSPORT_IP4,
    .input = input,
    .icmp_error = echo_error,
};

/* Whether an error about this packet may be sent at all. */
static bool may_answer(struct dk_net *net, const struct dk_ip4_header *ip, const uint8_t *packet,
                       uint32_t len)
{
    /* Loopback addresses only come from ourselves. */
    const bool from_host = dk_ip_is_loopback(&ip->src) ||
                           (dk_ip_is_host(&ip->src) && !dk_ifaddr_is_broadcast(net, &ip->src));
    const bool to_us =
        dk_ip_is_loopback(&ip->dst) || dk_ifaddr_classify(net, &ip->dst) == DK_DST_OURS;
    if (!from_host || !to_us || ip->fragment_offset != 0)
        return false;
    return ip->protocol != DK_IP_ICMP ||
           (len > ip->header_len && !dk_icmp4_is_error(packet[ip->header_len]));
}

void dk_icmp4_error(struct dk_net *net, struct dk_buf *buf, const uint8_t *packet, uint32_t len,
                    uint8_t type, uint8_t code, uint32_t rest)
{
    uint8_t storage[DK_IP_HEADROOM + DK_ICMP4_HEADER_LEN];
    struct dk_ip4_header ip = {
        .src = dk_ip4_at(packet + 12),
        .dst = dk_ip4_at(packet + 16),
        .header_len = (uint8_t)((packet[0] & 15) * 4),
        .protocol = packet[9],
        .fragment_offset = (uint16_t)(((packet[6] & 0x1f) << 8 | packet[7]) * 8),
    };
    if (!may_answer(net, &ip, packet, len)) {
        dk_net_count(&net->stats.icmp_forbidden);
        return;
    }
    if (!dk_bucket_take(&net->icmp->errors, net->now)) {
        dk_net_count(&net->stats.icmp_limited);
        return;
    }
    const uint32_t most = ERROR_PACKET_MAX - DK_IP4_HEADER_LEN - DK_ICMP4_HEADER_LEN;
    const struct dk_icmp4 icmp = {.type = type,
                                  .code = code,
                                  .rest = rest,
                                  .data = packet,
                                  .data_len = len < most ? len : most};
    struct dk_ip_tx tx = {
        .src = ip.dst,
        .dst = ip.src,
        .protocol = DK_IP_ICMP,
        .header = storage + DK_IP_HEADROOM,
        .header_len = DK_ICMP4_HEADER_LEN,
        .frame = {.num_pieces = 1,
                  .pieces = {{.data = packet, .len = (uint32_t)icmp.data_len, .buf = buf}}},
    };
    dk_icmp4_emit(&icmp, tx.header);
    const bool sent = dk_ip_send(net, &tx, net->now) == 0;
    dk_net_count(sent ? &net->stats.icmp_errors : &net->stats.icmp_not_sent);
}
