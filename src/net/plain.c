/* SPDX-License-Identifier: MIT */
/*
 * Input, and what most of it is: a frame without a tag to our address, with a whole IPv4 packet
 * without options from a host to us. That is told by a few comparisons, in one go; whatever is
 * anything else goes the long way from the beginning (link.c, ip4.c), which has the reasons and
 * their counters.
 *
 * That two addresses are another host's and ours is found out the long way, and remembered by the
 * pair as it stands in the header. It is forgotten when an address of ours changes (route.c).
 */
#include "base/bytes.h"
#include "base/checksum.h"
#include "net/ip_in.h"
#include "net/tcp/tcp.h"
#include "net/wire/ethernet.h"
#include "net/wire/ipv4.h"
#include "net/wire/ipv6.h"
#include "net/wire/udp.h"

/* Where it is noted of a pair. */
static inline uint64_t *pair_at(struct dk_net *net, uint64_t pair)
{
    return &net->ip4_pairs[(pair * 0x9e3779b97f4a7c15u) >> 58];
}

void dk_plain_learn(struct dk_net *net, const uint8_t *ip)
{
    const uint64_t pair = dk_get_u64(ip + 12);
    *pair_at(net, pair) = pair;
}

/* A pair that is noted nowhere finds one that is not it: 1 does not belong in the first place,
 * which is that of 0. */
void dk_plain_forget(struct dk_net *net)
{
    memset(net->ip4_pairs, 0, sizeof(net->ip4_pairs));
    net->ip4_pairs[0] = 1;
    dk_udp_forget_flows(net);
    dk_tcp_forget_pairs(net);
}

void dk_plain_init(struct dk_net *net)
{
    /* The destination, and the source's first byte, whose lowest bit would make it a group's. */
    static const uint8_t mask[8] = {255, 255, 255, 255, 255, 255, 1};
    uint8_t word[8] = {0};
    memcpy(word, net->config.mac.bytes, 6);
    net->plain_word = dk_get_u64(word);
    net->plain_mask = dk_get_u64(mask);
    if (net->config.vlan != 0)
        net->plain_mask = 0; /* no frame is */
    dk_plain_forget(net);
}

/* len: of the frame. */
static inline bool is_plain(struct dk_net *net, const uint8_t *frame, uint32_t len)
{
    const uint8_t *ip = frame + DK_ETH_HEADER_LEN;
    if (len < DK_ETH_HEADER_LEN + DK_IP4_HEADER_LEN || !dk_plain_is_head(net, frame))
        return false;
    const uint32_t total_len = dk_get_be16(ip + 2);
    const uint64_t pair = dk_get_u64(ip + 12);
    return total_len >= DK_IP4_HEADER_LEN && total_len <= len - DK_ETH_HEADER_LEN &&
           *pair_at(net, pair) == pair && dk_checksum_words_good(dk_checksum_words_20(ip));
}

/* Reads a packet that is plain. */
static inline void read_plain(const struct dk_rx_frame *frame, struct dk_ip_rx *packet)
{
    uint8_t *ip = frame->data + DK_ETH_HEADER_LEN;
    dk_ip4_read(&packet->src, ip + 12);
    dk_ip4_read(&packet->dst, ip + 16);
    packet->protocol = ip[9];
    packet->ttl = ip[8];
    packet->tos = ip[1];
    packet->checksum = frame->checksum;
    packet->to_host = true;
    packet->buf = frame->buf;
    packet->data = ip + DK_IP4_HEADER_LEN;
    packet->len = (uint32_t)dk_get_be16(ip + 2) - DK_IP4_HEADER_LEN;
    packet->header = ip;
    packet->is_plain_pair = true;
}

static inline void input_plain(struct dk_net *net, const struct dk_rx_frame *frame, int64_t now)
{
    struct dk_ip_rx packet;
    read_plain(frame, &packet);
    const struct dk_transport *transport = dk_transport_find(net, 4, packet.protocol);
    if (dk_likely(transport != NULL))
        transport->input(net, &packet, now);
    else
        dk_ip4_no_protocol(net, &packet);
}

void dk_net_input_udp(struct dk_net *net, const struct dk_rx_frame *frame, int64_t now)
{
    net->udp_frame = frame->data;
    if (is_plain(net, frame->data, frame->len))
        input_plain(net, frame, now);
    else
        dk_link_input(net, frame, now);
    net->udp_frame = NULL;
}

void dk_net_input_tcp(struct dk_net *net, const struct dk_rx_frame *frame, int64_t now)
{
    struct dk_ip_rx packet;
    if (!is_plain(net, frame->data, frame->len)) {
        dk_link_input(net, frame, now);
        return;
    }
    read_plain(frame, &packet);
    dk_tcp_input_other(net, &packet, now);
}

__attribute__((noinline)) static void input_other(struct dk_net *net, struct dk_rx_frame *frame,
                                                  int64_t now)
{
    if (is_plain(net, frame->data, frame->len))
        input_plain(net, frame, now);
    else if (frame->len >= DK_ETH_HEADER_LEN + DK_IP6_HEADER_LEN + DK_UDP_HEADER_LEN &&
             frame->data[DK_ETH_HEADER_LEN + 6] == DK_IP_UDP)
        dk_udp_input6(net, frame);
    else
        dk_link_input(net, frame, now);
}

void dk_net_input(struct dk_net *net, struct dk_rx_frame *frame, int64_t now)
{
    net->now = now;
    dk_net_count(&net->stats.link_rx);
    const uint8_t protocol = frame->len >= DK_ETH_HEADER_LEN + DK_IP4_HEADER_LEN + DK_UDP_HEADER_LEN
                                 ? frame->data[DK_ETH_HEADER_LEN + 9]
                                 : 0;
    if (protocol == DK_IP_UDP)
        dk_udp_input4(net, frame);
    else if (protocol == DK_IP_TCP)
        dk_tcp_input4(net, frame, now);
    else
        input_other(net, frame, now);
}

bool dk_net_input_crowd(struct dk_net *net, struct dk_rx_frame frames[], uint32_t n, int64_t now)
{
    net->now = now;
    return net->tcp && dk_tcp_input_crowd(net, frames, n, now);
}

void dk_net_input_ip(struct dk_net *net, struct dk_buf *buf, uint8_t *data, uint32_t len,
                     int64_t now)
{
    net->now = now;
    dk_net_count(&net->stats.link_rx);
    dk_ip_input(net, &(struct dk_net_rx){.buf = buf, .data = data, .len = len}, now);
}
