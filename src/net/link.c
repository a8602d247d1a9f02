/* SPDX-License-Identifier: MIT */
/*
 * Ethernet II and 802.1Q: which frames are for us, and the header of ours.
 *
 * Where a VLAN is configured all frames carry its tag, and others are dropped. Where none is, a tag
 * that only has a priority (id 0) is passed over. All groups are let in here: IP knows which ones
 * we are in.
 */
#include "base/bytes.h"
#include "net/ip_in.h"
#include "net/ip_out.h"
#include "net/wire/ethernet.h"

uint8_t *dk_link_put_header(const struct dk_net *net, uint8_t *before, const struct dk_mac *dst,
                            uint16_t type)
{
    const bool tagged = net->config.vlan != 0;
    const uint32_t header_len = tagged ? DK_ETH_HEADER_MAX : DK_ETH_HEADER_LEN;
    uint8_t *head = before - header_len;
    memcpy(head, dst->bytes, 6);
    memcpy(head + 6, net->config.mac.bytes, 6);
    if (tagged)
        dk_put_be32(head + 12, (uint32_t)DK_ETHERTYPE_VLAN << 16 | net->config.vlan);
    dk_put_be16(head + header_len - 2, type);
    return head;
}

bool dk_link_send(struct dk_net *net, struct dk_tx_frame *frame, const struct dk_mac *dst,
                  uint16_t type)
{
    uint8_t *packet = (uint8_t *)(uintptr_t)frame->head;
    frame->head = dk_link_put_header(net, packet, dst, type);
    const uint32_t header_len = (uint32_t)(packet - frame->head);
    frame->head_len += header_len;
    if (frame->checksum_start != 0)
        frame->checksum_start = (uint16_t)(frame->checksum_start + header_len);
    return dk_link_emit(net, frame);
}

/* Why a frame is not for us: the counter, or NULL. */
static uint64_t *refusal(struct dk_net *net, const struct dk_eth_header *eth)
{
    if (!dk_mac_is_multicast(&eth->dst) && !dk_mac_equal(&eth->dst, &net->config.mac))
        return &net->stats.link_not_ours;
    if (dk_mac_is_multicast(&eth->src))
        return &net->stats.link_bad_source;
    if (eth->vlan != net->config.vlan)
        return &net->stats.link_vlan;
    return NULL;
}

void dk_link_input(struct dk_net *net, const struct dk_rx_frame *frame, int64_t now)
{
    struct dk_eth_header eth;
    const enum dk_wire reason = dk_eth_header_parse(frame->data, frame->len, &eth);
    if (dk_unlikely(reason != DK_WIRE_OK)) {
        dk_net_drop(net, reason);
        return;
    }
    uint64_t *refused = refusal(net, &eth);
    if (refused) {
        dk_net_count(refused);
        return;
    }
    const struct dk_net_rx rx = {
        .buf = frame->buf,
        .data = frame->data + eth.header_len,
        .len = frame->len - eth.header_len,
        .checksum = frame->checksum,
        .link_group = dk_mac_is_multicast(&eth.dst),
    };
    if (eth.type == DK_ETHERTYPE_IP4)
        dk_ip4_input(net, &rx, now);
    else if (eth.type == DK_ETHERTYPE_IP6)
        dk_ip6_input(net, &rx, now);
    else if (eth.type == DK_ETHERTYPE_ARP)
        dk_arp_input(net, &rx, now);
    else
        dk_net_count(&net->stats.link_type);
}
