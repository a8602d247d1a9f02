/* SPDX-License-Identifier: MIT */
/*
 * ICMPv6 (RFC 4443). Neighbour discovery is in nd.c, multicast listeners in mld.c.
 */
#include "net/icmp.h"

#include "base/checksum.h"
#include "net/groups.h"
#include "net/ifaddr.h"
#include "net/ip_kind.h"
#include "net/others.h"
#include "net/wire/icmp6.h"
#include "net/wire/ipv6.h"

static enum dk_icmp_error_kind kind_of(const struct dk_icmp6 *icmp)
{
    switch (icmp->type) {
    case DK_ICMP6_TOO_BIG:
        return DK_ICMP_TOO_BIG;
    case DK_ICMP6_TIME_EXCEEDED:
        return DK_ICMP_TIME_EXCEEDED;
    case DK_ICMP6_PARAMETER:
        return icmp->code == DK_IP6_PROBLEM_NEXT_HEADER ? DK_ICMP_PORT_UNREACHABLE
                                                        : DK_ICMP_PARAMETER;
    default: /* RFC 4443 section 3.1: codes 1, 5 and 6 are prohibitions */
        return icmp->code == DK_ICMP6_PORT_UNREACHABLE || icmp->code == DK_ICMP6_PROHIBITED ||
                       icmp->code == 5 || icmp->code == 6
                   ? DK_ICMP_PORT_UNREACHABLE
                   : DK_ICMP_UNREACHABLE;
    }
}

static void input_error(struct dk_net *net, const struct dk_icmp6 *icmp, int64_t now)
{
    struct dk_ip6_header ip;
    struct dk_ip6_extensions found;
    if (dk_ip6_quote_parse(icmp->data, icmp->data_len, &ip, &found) != DK_WIRE_OK) {
        dk_net_drop(net, DK_WIRE_ICMP6_QUOTE);
        return;
    }
    const struct dk_transport *transport = dk_transport_find(net, 6, found.protocol);
    const bool ours = dk_ifaddr_find(net, &ip.src) || dk_ip_is_loopback(&ip.src);
    if (!ours || found.fragment_offset != 0 || !transport || !transport->icmp_error) {
        dk_net_count(&net->stats.icmp_unmatched);
        return;
    }
    const struct dk_icmp_error error = {
        .kind = kind_of(icmp),
        .mtu = icmp->type == DK_ICMP6_TOO_BIG ? icmp->rest : 0,
        .local = ip.src,
        .remote = ip.dst,
        .quoted = icmp->data + found.payload_at,
        .quoted_len = (uint32_t)icmp->data_len - found.payload_at,
    };
    transport->icmp_error(net, &error, now);
}

static void dispatch(struct dk_net *net, const struct dk_ip_rx *rx, const struct dk_icmp6 *icmp,
                     int64_t now)
{
    switch (icmp->type) {
    case DK_ICMP6_ECHO_REQUEST:
        dk_icmp_answer_echo(net, rx, DK_ICMP6_ECHO_REPLY, now);
        break;
    case DK_ICMP6_ECHO_REPLY:
        dk_ping_reply(net, rx, icmp->rest, icmp->data, (uint32_t)icmp->data_len);
        break;
    case DK_ICMP6_UNREACHABLE:
    case DK_ICMP6_TOO_BIG:
    case DK_ICMP6_TIME_EXCEEDED:
    case DK_ICMP6_PARAMETER:
        dk_others_pass(net, rx); /* of whose packets it is, each finds out */
        input_error(net, icmp, now);
        break;
    case DK_ICMP6_ROUTER_SOLICIT:
    case DK_ICMP6_ROUTER_ADVERT:
    case DK_ICMP6_NEIGHBOR_SOLICIT:
    case DK_ICMP6_NEIGHBOR_ADVERT:
    case DK_ICMP6_REDIRECT:
        dk_nd_input(net, rx, now);
        break;
    case DK_ICMP6_MLD_QUERY:
    case DK_ICMP6_MLD_REPORT:
    case DK_ICMP6_MLD_DONE:
        dk_mld_input(net, rx);
        break;
    default:
        dk_net_count(&net->stats.icmp_ignored);
    }
}

static bool takes_unspecified(uint8_t type)
{
    return type == DK_ICMP6_NEIGHBOR_SOLICIT || type == DK_ICMP6_ROUTER_SOLICIT ||
           type == DK_ICMP6_MLD_REPORT;
}

static void input(struct dk_net *net, const struct dk_ip_rx *rx, int64_t now)
{
    struct dk_icmp6 icmp;
    const uint32_t sum = dk_ip_pseudo_sum(&rx->src, &rx->dst, DK_IP_ICMPV6, rx->len);
    if (rx->checksum != DK_RX_CHECKSUM_GOOD && rx->len >= DK_ICMP6_HEADER_LEN &&
        !dk_checksum_is_good(sum, rx->data, rx->len)) {
        dk_net_drop(net, DK_WIRE_ICMP6_CHECKSUM);
        return;
    }
    const enum dk_wire reason = dk_icmp6_parse(rx->data, rx->len, &icmp);
    if (reason != DK_WIRE_OK)
        dk_net_drop(net, reason);
    else if (dk_ip_is_any(&rx->src) && !takes_unspecified(icmp.type))
        dk_net_count(&net->stats.ip6_source);
    else
        dispatch(net, rx, &icmp, now);
}

static void echo_error(struct dk_net *net, const struct dk_icmp_error *error, int64_t now)
{
    (void)now;
    if (error->quoted[0] == DK_ICMP6_ECHO_REQUEST)
        dk_ping_error(net, error);
}

const struct dk_transport dk_icmp6_transport = {
    .name = "icmp6",
    .protocol = DK_IP_ICMPV6,
    .versions = DK_TRANSPORT_IP6,
    .input = input,
    .icmp_error = echo_error,
};

/* Whether a packet carries an ICMPv6 error, or may: its extension headers are passed over by their
 * lengths, whatever is wrong inside, since that is what an error would be about. */
static bool carries_error(const uint8_t *packet, uint32_t len)
{
    uint8_t next = packet[6];
    uint32_t at = DK_IP6_HEADER_LEN;
    while (next == DK_IP6_HOP_BY_HOP || next == DK_IP6_ROUTING || next == DK_IP6_DESTINATION ||
           next == DK_IP6_FRAGMENT) {
        if (at + 8 > len)
            return true;
        const bool fragment = next == DK_IP6_FRAGMENT;
        next = packet[at];
        at += fragment ? DK_IP6_FRAGMENT_LEN : (packet[at + 1] + 1u) * 8;
    }
    if (next != DK_IP_ICMPV6)
        return false;
    return at >= len || dk_icmp6_is_error(packet[at]) || packet[at] == DK_ICMP6_REDIRECT;
}

/* RFC 4443 section 2.4 (e): about errors and redirects never; about packets to a group only too big
 * and unknown options. */
static bool may_answer(const struct dk_ip *src, const struct dk_ip *dst, const uint8_t *packet,
                       uint32_t len, bool about_option)
{
    if (!(dk_ip_is_host(src) || dk_ip_is_loopback(src)) ||
        (dk_ip_is_multicast(dst) && !about_option))
        return false;
    return !carries_error(packet, len);
}

void dk_icmp6_error(struct dk_net *net, struct dk_buf *buf, const uint8_t *packet, uint32_t len,
                    uint8_t type, uint8_t code, uint32_t rest)
{
    uint8_t storage[DK_IP_HEADROOM + DK_ICMP6_HEADER_LEN];
    const struct dk_ip from = dk_ip6_at(packet + 8), to = dk_ip6_at(packet + 24);
    const bool about_option = type == DK_ICMP6_PARAMETER && code == DK_IP6_PROBLEM_OPTION;
    struct dk_ip src = {.version = 0};
    uint32_t mtu;
    if (!may_answer(&from, &to, packet, len, about_option)) {
        dk_net_count(&net->stats.icmp_forbidden);
        return;
    }
    if (!dk_bucket_take(&net->icmp->errors, net->now)) {
        dk_net_count(&net->stats.icmp_limited);
        return;
    }
    if (dk_ifaddr_classify(net, &to) == DK_DST_OURS || dk_ip_is_loopback(&to))
        src = to;
    if (dk_ip_route(net, &from, &src, &mtu) != 0) {
        dk_net_count(&net->stats.icmp_not_sent);
        return;
    }
    const uint32_t most = DK_IP6_MTU_MIN - DK_IP6_HEADER_LEN - DK_ICMP6_HEADER_LEN;
    const struct dk_icmp6 icmp = {.type = type,
                                  .code = code,
                                  .rest = rest,
                                  .data = packet,
                                  .data_len = len < most ? len : most};
    struct dk_ip_tx tx = {
        .src = src,
        .dst = from,
        .protocol = DK_IP_ICMPV6,
        .header = storage + DK_IP_HEADROOM,
        .header_len = DK_ICMP6_HEADER_LEN,
        .frame = {.num_pieces = 1,
                  .pieces = {{.data = packet, .len = (uint32_t)icmp.data_len, .buf = buf}}},
    };
    const uint32_t bytes = DK_ICMP6_HEADER_LEN + (uint32_t)icmp.data_len;
    dk_icmp6_emit(&icmp, dk_ip_pseudo_sum(&src, &from, DK_IP_ICMPV6, bytes), tx.header);
    const bool sent = dk_ip_send(net, &tx, net->now) == 0;
    dk_net_count(sent ? &net->stats.icmp_errors : &net->stats.icmp_not_sent);
}
