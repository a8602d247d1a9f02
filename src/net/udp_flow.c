/* SPDX-License-Identifier: MIT */
/*
 * Datagrams of a flow that is known: of the same two addresses and ports, in frames whose headers
 * are those of one that came before but for lengths, checksums and the identification of IPv4. All
 * that was found out of that one holds for them: that the frame is for us and the source a host's,
 * that there are no options and no fragments, and whose datagram it is. What is left to look at is
 * what is each one's own.
 *
 * A flow is learnt when a datagram of it went the long way (plain.c, link.c, ip4.c, ip6.c,
 * udp_rx.c), which has the reasons to drop one, and their counters. Whatever differs in anything
 * goes that way again. All flows are forgotten when a socket, or an address of ours, changes.
 *
 * A place for flows is found by the bytes in which the peers of a socket mostly differ; who takes
 * a place of another's slows it down, and nothing else.
 */
#include "base/bytes.h"
#include "base/checksum_here.h"
#include "net/ip_in.h"
#include "net/udp_sock.h"
#include "net/wire/ethernet.h"
#include "net/wire/ipv4.h"
#include "net/wire/ipv6.h"

/* In a frame. */
#define IP4_ADDRESSES_AT (DK_ETH_HEADER_LEN + 12)
#define IP4_UDP_AT       (DK_ETH_HEADER_LEN + DK_IP4_HEADER_LEN)
#define IP6_ADDRESSES_AT (DK_ETH_HEADER_LEN + 8)
#define IP6_UDP_AT       (DK_ETH_HEADER_LEN + DK_IP6_HEADER_LEN)

_Static_assert(DK_UDP_FLOWS == UINT8_MAX + 1, "a byte finds their places");

static inline struct dk_udp_words4 read4(const uint8_t *at)
{
    return (struct dk_udp_words4){
        .macs = dk_get_u64(at),
        .mac_type_version_tos = dk_get_u64(at + 8),
        .addresses = dk_get_u64(at + IP4_ADDRESSES_AT),
        .place_ttl_protocol = dk_get_u32(at + 20) & htobe32(0xbfffffff),
        .ports = dk_get_u32(at + IP4_UDP_AT),
    };
}

static inline struct dk_udp_words6 read6(const uint8_t *at)
{
    const uint8_t *addresses = at + IP6_ADDRESSES_AT;
    return (struct dk_udp_words6){
        .macs = dk_get_u64(at),
        .mac_type_version_tos = dk_get_u64(at + 8),
        .addresses = {dk_get_u64(addresses), dk_get_u64(addresses + 8), dk_get_u64(addresses + 16),
                      dk_get_u64(addresses + 24)},
        .protocol_ttl = dk_get_u16(at + 20),
        .ports = dk_get_u32(at + IP6_UDP_AT),
    };
}

static inline bool is_same4(const struct dk_udp_words4 *a, const struct dk_udp_words4 *b)
{
    return ((a->macs ^ b->macs) | (a->mac_type_version_tos ^ b->mac_type_version_tos) |
            (a->addresses ^ b->addresses) | (a->place_ttl_protocol ^ b->place_ttl_protocol) |
            (a->ports ^ b->ports)) == 0;
}

static inline bool is_same6(const struct dk_udp_words6 *a, const struct dk_udp_words6 *b)
{
    uint64_t found = (a->macs ^ b->macs) | (a->mac_type_version_tos ^ b->mac_type_version_tos) |
                     (a->protocol_ttl ^ b->protocol_ttl) | (a->ports ^ b->ports);
    for (int i = 0; i < 4; i++)
        found |= a->addresses[i] ^ b->addresses[i];
    return found == 0;
}

static inline struct dk_udp_flow *place4(struct dk_udp *udp, const uint8_t *at)
{
    const uint8_t index = at[IP4_ADDRESSES_AT + 3] ^ at[IP4_UDP_AT + 1];
    struct dk_udp_flow *flow = &udp->flows[index];
    dk_forget(flow); /* or it is found anew for each of its fields */
    return flow;
}

static inline struct dk_udp_flow *place6(struct dk_udp *udp, const uint8_t *at)
{
    const uint8_t index = at[IP6_ADDRESSES_AT + 15] ^ at[IP6_UDP_AT + 1];
    struct dk_udp_flow *flow = &udp->flows[index];
    dk_forget(flow);
    return flow;
}

void dk_udp_flow_learn(struct dk_net *net, const struct dk_ip_rx *rx, struct dk_udp_sock *sock)
{
    const uint8_t *at = net->udp_frame;
    struct dk_udp_flow *flow;
    if (rx->header != at + DK_ETH_HEADER_LEN)
        return; /* a tag, or it was put together of fragments */
    if (rx->src.version == 4 && rx->data == at + IP4_UDP_AT) {
        flow = place4(net->udp, at);
        flow->words.v4 = read4(at);
    } else if (rx->src.version == 6 && rx->data == at + IP6_UDP_AT) {
        flow = place6(net->udp, at);
        flow->words.v6 = read6(at);
    } else {
        return; /* options */
    }
    flow->like = dk_udp_datagram_of(rx);
    flow->sock = sock;
    net->udp->knows_flows = true;
}

void dk_udp_forget_flows(struct dk_net *net)
{
    struct dk_udp *udp = net->udp;
    if (!udp || !udp->knows_flows)
        return;
    memset(udp->flows, 0, sizeof(udp->flows));
    udp->knows_flows = false;
}

/* Whether a datagram, header and all, fits into its frame, and its checksum is good: of the
 * addresses, which lie before it, of protocol and length, and of itself. */
static inline __attribute__((always_inline)) bool
is_whole(const struct dk_rx_frame *frame, uint32_t addresses_at, uint32_t udp_at, uint32_t payload)
{
    const uint8_t *udp = frame->data + udp_at;
    if (dk_unlikely(udp_at + DK_UDP_HEADER_LEN + payload > frame->len))
        return false;
    if (frame->checksum == DK_RX_CHECKSUM_GOOD)
        return true;
    const uint64_t words = (uint64_t)htobe16(DK_IP_UDP) + dk_get_u16(udp + 4);
    return dk_get_u16(udp + DK_UDP_CHECKSUM_OFFSET) != 0 &&
           dk_checksum_words_good(
               dk_checksum_words_here(words, frame->data + addresses_at,
                                      udp_at - addresses_at + DK_UDP_HEADER_LEN + payload));
}

/* Gives a datagram to the socket of its flow. False, and nothing happened: where that is not all
 * there is to do. */
static inline __attribute__((always_inline)) bool take(struct dk_net *net,
                                                       const struct dk_udp_flow *flow,
                                                       struct dk_rx_frame *frame, uint32_t udp_at,
                                                       uint32_t payload)
{
    struct dk_udp_sock *sock = flow->sock;
    struct dk_buf *buf = frame->buf;
    if (dk_unlikely(!net->udp->free || !dk_buf_keeps_itself(buf) ||
                    dk_udp_held_with(sock, payload) > dk_udp_may_hold(sock) / 2))
        return false;
    dk_buf_keep_itself_given(buf, frame->data + udp_at + DK_UDP_HEADER_LEN, payload, &frame->gives);
    dk_udp_count_received(net->udp, payload);
    if (sock->offer && !sock->oldest && sock->error == 0)
        sock->offer(sock->arg, &flow->like, buf);
    else
        dk_udp_put_behind(net, sock, &flow->like, buf, payload);
    return true;
}

/* Bytes of payload that no datagram in a packet of IPv4 has more than. */
#define PAYLOAD_MAX (65535u - DK_IP4_HEADER_LEN - DK_UDP_HEADER_LEN)

/* Of a header of UDP; with one that is too short, a number that is too high. */
static inline uint32_t payload_of(const uint8_t *udp)
{
    return (uint32_t)dk_get_be16(udp + 4) - DK_UDP_HEADER_LEN;
}

void dk_udp_input4(struct dk_net *net, struct dk_rx_frame *frame)
{
    const uint8_t *at = frame->data;
    const struct dk_udp_flow *flow = place4(net->udp, at);
    const struct dk_udp_words4 words = read4(at);
    const uint32_t payload = payload_of(at + IP4_UDP_AT);
    const uint16_t total = (uint16_t)(DK_IP4_HEADER_LEN + DK_UDP_HEADER_LEN + payload);
    if (dk_unlikely(!is_same4(&words, &flow->words.v4) || payload > PAYLOAD_MAX ||
                    dk_get_u16(at + 16) != htobe16(total) ||
                    !dk_checksum_words_good(dk_checksum_words_20(at + DK_ETH_HEADER_LEN)) ||
                    !is_whole(frame, IP4_ADDRESSES_AT, IP4_UDP_AT, payload) ||
                    !take(net, flow, frame, IP4_UDP_AT, payload)))
        dk_net_input_udp(net, frame, net->now);
}

void dk_udp_input6(struct dk_net *net, struct dk_rx_frame *frame)
{
    const uint8_t *at = frame->data;
    const struct dk_udp_flow *flow = place6(net->udp, at);
    const struct dk_udp_words6 words = read6(at);
    const uint32_t payload = payload_of(at + IP6_UDP_AT);
    if (dk_unlikely(!is_same6(&words, &flow->words.v6) || payload > PAYLOAD_MAX ||
                    dk_get_u16(at + 18) != dk_get_u16(at + IP6_UDP_AT + 4) ||
                    !is_whole(frame, IP6_ADDRESSES_AT, IP6_UDP_AT, payload) ||
                    !take(net, flow, frame, IP6_UDP_AT, payload)))
        dk_net_input_udp(net, frame, net->now);
}
