/* SPDX-License-Identifier: MIT */
/*
 * IP output: which way, how long, the header, and on to the neighbour table. Most packets find the
 * head of the one before them, which went to the same destination, and what is different is written
 * into a copy of it; or into itself, where a transport keeps it (ip_out.h).
 *
 * An IPv4 packet that fits its path goes with DF: path MTU discovery sees it, and it needs no
 * identification (RFC 6864 section 4.1). The exception is a path that takes less than we believe
 * in (pmtu.c). One that does not fit is fragmented here, unless it may not be.
 */
#include "net/ip_out.h"

#include "base/bytes.h"
#include "base/checksum.h"
#include "net/ip_kind.h"
#include "net/neigh.h"
#include "net/route.h"
#include "net/wire/ethernet.h"
#include "net/wire/ipv4.h"
#include "net/wire/ipv6.h"

/* Two words of an address at a time: they are added as big-endian numbers. */
static uint32_t add_be32(uint32_t sum, const uint8_t *at)
{
    const uint32_t word = dk_get_be32(at);
    return sum + (word >> 16) + (word & 0xffff);
}

uint32_t dk_ip_pseudo_sum(const struct dk_ip *src, const struct dk_ip *dst, uint8_t protocol,
                          uint32_t len)
{
    uint32_t sum = protocol + (len >> 16) + (len & 0xffff);
    sum = add_be32(add_be32(sum, src->bytes), dst->bytes);
    if (src->version == 4)
        return sum;
    for (size_t i = 4; i < 16; i += 4)
        sum = add_be32(add_be32(sum, src->bytes + i), dst->bytes + i);
    return sum;
}

static uint8_t *put_header4(const struct dk_ip_tx *tx, uint8_t *before, uint32_t bytes, uint32_t id,
                            bool dont_fragment, const struct dk_ip_fragment *fragment)
{
    uint8_t *at = before - DK_IP4_HEADER_LEN;
    uint32_t place = dont_fragment ? 0x4000 : 0;
    if (fragment)
        place |= fragment->offset / 8 | (fragment->more ? 0x2000u : 0);
    const uint32_t first = 0x45000000u | (uint32_t)tx->tos << 16 | (DK_IP4_HEADER_LEN + bytes);
    const uint32_t second = (id & 0xffff) << 16 | place;
    const uint32_t third =
        (uint32_t)(tx->ttl ? tx->ttl : DK_IP_TTL_DEFAULT) << 24 | (uint32_t)tx->protocol << 16;
    uint32_t sum = add_be32(add_be32(third >> 16, tx->src.bytes), tx->dst.bytes);
    sum += (first >> 16) + (first & 0xffff) + (second >> 16) + (second & 0xffff);
    dk_put_be32(at, first);
    dk_put_be32(at + 4, second);
    dk_put_be32(at + 8, third | dk_checksum_finish(sum));
    memcpy(at + 12, tx->src.bytes, 4);
    memcpy(at + 16, tx->dst.bytes, 4);
    return at;
}

static uint8_t *put_header6(const struct dk_net *net, const struct dk_ip_tx *tx, uint8_t *before,
                            uint32_t bytes, const struct dk_ip_fragment *fragment)
{
    uint8_t *at = before;
    if (fragment) {
        at -= DK_IP6_FRAGMENT_LEN;
        bytes += DK_IP6_FRAGMENT_LEN;
        dk_ip6_fragment_emit(&(struct dk_ip6_fragment){.next_header = tx->protocol,
                                                       .more_fragments = fragment->more,
                                                       .offset = (uint16_t)fragment->offset,
                                                       .id = fragment->id},
                             at);
    }
    at -= DK_IP6_HEADER_LEN;
    dk_put_be32(at, 0x60000000u | (uint32_t)tx->tos << 20);
    dk_put_be16(at + 4, (uint16_t)bytes);
    at[6] = fragment ? DK_IP6_FRAGMENT : tx->protocol;
    at[7] = tx->ttl ? tx->ttl : net->hop_limit;
    memcpy(at + 8, tx->src.bytes, 16);
    memcpy(at + 24, tx->dst.bytes, 16);
    return at;
}

uint8_t *dk_ip_put_header(const struct dk_net *net, const struct dk_ip_tx *tx, uint8_t *before,
                          uint32_t bytes, uint32_t id, bool dont_fragment,
                          const struct dk_ip_fragment *fragment)
{
    if (tx->dst.version == 4)
        return put_header4(tx, before, bytes, id, dont_fragment, fragment);
    return put_header6(net, tx, before, bytes, fragment);
}

/* Points the frame to the whole head, which begins at `head`. */
static inline void set_head(struct dk_ip_tx *tx, uint8_t *head)
{
    const uint32_t before = (uint32_t)(tx->header - head);
    tx->frame.head = head;
    tx->frame.head_len = before + tx->header_len;
    tx->frame.checksum_start = tx->partial_checksum ? (uint16_t)before : 0;
}

static uint16_t ethertype(const struct dk_ip_tx *tx)
{
    return tx->dst.version == 4 ? DK_ETHERTYPE_IP4 : DK_ETHERTYPE_IP6;
}

/* The whole packet in one frame, or one that the device cuts into segments. */
static int emit_whole(struct dk_net *net, struct dk_ip_tx *tx, uint32_t bytes,
                      const struct dk_mac *mac, bool may_fragment)
{
    const uint32_t id = may_fragment ? dk_frag_next_id(net, tx) : 0;
    set_head(tx, dk_ip_put_header(net, tx, tx->header, bytes, id, !may_fragment, NULL));
    return dk_link_send(net, &tx->frame, mac, ethertype(tx)) ? 0 : -EAGAIN;
}

int dk_ip_emit(struct dk_net *net, struct dk_ip_tx *tx, uint32_t bytes, const struct dk_mac *mac,
               struct dk_ip_progress *progress)
{
    bool may_fragment;
    const uint32_t mtu = dk_pmtu_get(net, &tx->dst, &may_fragment);
    if (tx->dst.version == 6)
        may_fragment = false;
    if (progress->sent == 0 &&
        (bytes + dk_ip_header_bytes(tx->dst.version) <= mtu || tx->frame.segment_bytes != 0))
        return emit_whole(net, tx, bytes, mac, may_fragment);
    if (tx->dont_fragment && !may_fragment)
        return -EMSGSIZE;
    return dk_frag_emit(net, tx, bytes, mtu, mac, progress);
}

/* Whether a packet can be sent at all. */
static int check_size(struct dk_net *net, const struct dk_ip_tx *tx, uint32_t bytes)
{
    bool may_fragment;
    const uint32_t header = dk_ip_header_bytes(tx->dst.version);
    if (bytes > (tx->dst.version == 4 ? 65535 - header : 65535) ||
        tx->header_len > DK_IP_TX_HEADER_MAX)
        return -EMSGSIZE;
    if (!tx->dont_fragment)
        return 0;
    if (tx->frame.segment_bytes != 0) /* one of those that the device makes of it */
        bytes = tx->header_len + tx->frame.segment_bytes;
    const uint32_t mtu = dk_pmtu_get(net, &tx->dst, &may_fragment);
    return bytes + header > mtu && !may_fragment ? -EMSGSIZE : 0;
}

/* Makes the head of what goes that way from here on, where the neighbour lets it go at once and no
 * path is known to take less than the link. */
static void prepare_way(struct dk_net *net, struct dk_way *way)
{
    const struct dk_ip_tx tx = {.dst = way->dst};
    if (way->dst.version == 0 || way->path.hop != DK_HOP_NEIGHBOUR || net->pmtu_known)
        return;
    const struct dk_neigh *neigh = dk_neigh_find(net, &way->path.next_hop);
    if (!neigh)
        return;
    uint8_t *end = way->head + DK_WAY_HEAD_ROOM;
    uint8_t *ip = dk_ip_put_header(net, &tx, end, 0, 0, true, NULL);
    uint8_t *head = dk_link_put_header(net, ip, &neigh->mac, ethertype(&tx));
    if (way->dst.version == 4)
        way->sum = (uint64_t)dk_get_u32(ip + 4) + dk_get_u32(ip + 16);
    way->bytes = 0;
    way->hop_limit = net->hop_limit;
    way->head_len = (uint32_t)(end - head);
    way->max_bytes = net->config.mtu - dk_ip_header_bytes(way->dst.version);
    way->ready_until = dk_neigh_ready_until(neigh);
    way->generation = net->ways_generation;
}

static int send_to_neighbour(struct dk_net *net, struct dk_way *way, struct dk_ip_tx *tx,
                             uint32_t bytes, int64_t now)
{
    const int error = dk_neigh_send(net, &way->path.next_hop, tx, bytes, now);
    if (error == 0)
        prepare_way(net, way);
    return error;
}

/* Whatever cannot go at once. */
__attribute__((noinline)) static int send_other(struct dk_net *net, struct dk_way *way,
                                                struct dk_ip_tx *tx, uint32_t bytes, int64_t now)
{
    net->now = now;
    if (way->path.hop == DK_HOP_SELF)
        return dk_loop_send(net, tx);
    const int error = check_size(net, tx, bytes);
    if (dk_unlikely(error != 0))
        return error;
    if (way->path.hop == DK_HOP_GROUP)
        return dk_neigh_send_group(net, tx, bytes);
    return send_to_neighbour(net, way, tx, bytes, now);
}

/* Puts a copy of the way's head before the packet, complete. */
static inline void put_head(struct dk_way *way, struct dk_ip_tx *tx, uint32_t bytes)
{
    dk_way_complete(way, tx, bytes);
    memcpy(tx->header - DK_WAY_HEAD_ROOM, way->head, DK_WAY_HEAD_ROOM);
    set_head(tx, tx->header - way->head_len);
}

static inline int emit_ready(struct dk_net *net, struct dk_way *way, struct dk_ip_tx *tx,
                             uint32_t bytes)
{
    put_head(way, tx, bytes);
    return dk_link_emit(net, &tx->frame) ? 0 : -EAGAIN;
}

void dk_ip_keep(const struct dk_way *way, const struct dk_ip_tx *tx, struct dk_ip_kept *kept_out)
{
    *kept_out = (struct dk_ip_kept){
        .head = tx->frame.head,
        .head_len = tx->frame.head_len,
        .max_bytes = way->max_bytes,
        .generation = way->generation,
        .until = way->ready_until,
        .words = way->sum + dk_ip4_first_word(tx, 0) + dk_ip4_third_word(tx) + tx->src.v4,
    };
}

int dk_ip_send_way(struct dk_net *net, struct dk_way *way, struct dk_ip_tx *tx, uint32_t bytes,
                   int64_t now)
{
    if (dk_likely(dk_way_is_ready(net, way, bytes, now)))
        return emit_ready(net, way, tx, bytes);
    return send_other(net, way, tx, bytes, now);
}

int dk_ip_send(struct dk_net *net, struct dk_ip_tx *tx, int64_t now)
{
    struct dk_way *way = dk_route_way(net, &tx->dst);
    if (dk_unlikely(!way)) {
        dk_net_count(&net->stats.ip_no_route);
        return -ENETUNREACH;
    }
    return dk_ip_send_way(net, way, tx, dk_ip_tx_bytes(tx), now);
}

bool dk_ip_say(struct dk_net *net, const struct dk_ip_tx *tx, dk_ip_emit_fn emit, void *arg)
{
    struct dk_path path;
    struct dk_mac mac;
    if (dk_route_find(net, &tx->dst, &path) != 0 || path.hop != DK_HOP_NEIGHBOUR ||
        !dk_neigh_look(net, &path.next_hop, &mac))
        return false;
    const uint16_t type = tx->dst.version == 4 ? DK_ETHERTYPE_IP4 : DK_ETHERTYPE_IP6;
    uint8_t *packet = dk_ip_put_header(net, tx, tx->header, tx->header_len, 0, true, NULL);
    uint8_t *head = dk_link_put_header(net, packet, &mac, type);
    const struct dk_tx_frame frame = {.head = head,
                                      .head_len = (uint32_t)(tx->header - head) + tx->header_len};
    return emit(arg, &frame);
}
