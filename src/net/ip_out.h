/* SPDX-License-Identifier: MIT */
/* Packets on their way out, below dk_ip_send. Private to src/net. */
#ifndef DK_NET_IP_OUT_H
#define DK_NET_IP_OUT_H

#include "base/bytes.h"
#include "base/checksum.h"
#include "net/dev.h"
#include "net/route.h"
#include "net/stack.h"
#include "net/wire/ipv4.h"
#include "net/wire/ipv6.h"

/* A transport's header is at most so long: a packet that waits is kept with it. */
#define DK_IP_TX_HEADER_MAX (DK_TX_HEAD_MAX - DK_IP_HEADROOM)

/* How far a packet is that is longer than one frame. Zero: not begun. */
struct dk_ip_progress {
    uint32_t sent; /* bytes of what IP carries */
    uint32_t id;   /* of its fragments */
};

/* Bytes that IP carries: the transport's header and its payload. */
static inline uint32_t dk_ip_tx_bytes(const struct dk_ip_tx *tx)
{
    uint32_t bytes = tx->header_len;
    for (uint32_t i = 0; i < tx->frame.num_pieces; i++)
        bytes += tx->frame.pieces[i].len;
    return bytes;
}

static inline uint32_t dk_ip_header_bytes(uint8_t version)
{
    return version == 4 ? 20 : 40;
}

/* dk_ip_send, where the way and the number of bytes are known. */
int dk_ip_send_way(struct dk_net *net, struct dk_way *way, struct dk_ip_tx *tx, uint32_t bytes,
                   int64_t now);

/* The headers of link and IP which a packet was sent with, and stand before its transport's still:
 * the next one of at most max_bytes may go with them, if its dk_ip_tx would be the same but for the
 * pieces. */
struct dk_ip_kept {
    const uint8_t *head; /* where they begin */
    uint32_t head_len;   /* with the transport's */
    uint32_t max_bytes;  /* of what IP carries */
    uint64_t generation; /* as those of a way (route.h) */
    int64_t until;       /* INT64_MIN: there are none */
    uint64_t words;      /* IPv4: of the header, without the length (checksum.h) */
};

/* ip_out.c: keeps the headers of a packet that dk_ip_send_way sent, when the way was ready. */
void dk_ip_keep(const struct dk_way *way, const struct dk_ip_tx *tx, struct dk_ip_kept *kept_out);

/* Whether the next packet may go with the headers of the one before. */
static inline bool dk_ip_is_kept(const struct dk_net *net, const struct dk_ip_kept *kept,
                                 int64_t now)
{
    return kept->generation == net->ways_generation && now < kept->until;
}

/* Writes all that differs in kept headers, before the transport's of a packet of that many bytes
 * (kept->max_bytes at most). */
static inline void dk_ip_put_length(const struct dk_ip_kept *kept, uint8_t version, uint8_t *header,
                                    uint32_t bytes)
{
    if (dk_unlikely(version != 4)) {
        dk_put_be16(header - DK_IP6_HEADER_LEN + 4, (uint16_t)bytes);
        return;
    }
    uint8_t *at = header - DK_IP4_HEADER_LEN;
    const uint16_t total = htobe16((uint16_t)(DK_IP4_HEADER_LEN + bytes));
    memcpy(at + 2, &total, 2);
    dk_checksum_put(at + 10, kept->words + total);
}

/* The words of an IPv4 header's start, and of what is behind its fragment's place. */
static inline uint32_t dk_ip4_first_word(const struct dk_ip_tx *tx, uint32_t bytes)
{
    return htobe32(0x45000000u | (uint32_t)tx->tos << 16 | bytes);
}

static inline uint32_t dk_ip4_third_word(const struct dk_ip_tx *tx)
{
    const uint32_t ttl = tx->ttl ? tx->ttl : DK_IP_TTL_DEFAULT;
    return htobe32(ttl << 24 | (uint32_t)tx->protocol << 16);
}

/* As put_header4 (ip_out.c), of what differs in the way's head; mostly nothing does from the packet
 * before. */
static inline void dk_way_complete4(struct dk_way *way, const struct dk_ip_tx *tx, uint32_t bytes)
{
    const uint32_t kind = dk_ip_tx_kind(tx);
    if (dk_likely(((kind ^ way->kind) | (bytes ^ way->bytes) | (tx->src.v4 ^ way->src4)) == 0))
        return;
    uint8_t *at = way->head + DK_WAY_HEAD_ROOM - DK_IP4_HEADER_LEN;
    const uint32_t first = dk_ip4_first_word(tx, DK_IP4_HEADER_LEN + bytes);
    const uint32_t third = dk_ip4_third_word(tx);
    way->kind = kind;
    way->bytes = bytes;
    way->src4 = tx->src.v4;
    memcpy(at, &first, 4);
    memcpy(at + 8, &third, 4);
    dk_checksum_put(at + 10, way->sum + first + third + tx->src.v4);
    memcpy(at + 12, &tx->src.v4, 4);
}

/* As put_header6, likewise. */
static inline void dk_way_complete6(struct dk_way *way, const struct dk_ip_tx *tx, uint32_t bytes)
{
    uint8_t *at = way->head + DK_WAY_HEAD_ROOM - DK_IP6_HEADER_LEN;
    dk_put_be32(at, 0x60000000u | (uint32_t)tx->tos << 20);
    dk_put_be16(at + 4, (uint16_t)bytes);
    at[6] = tx->protocol;
    at[7] = tx->ttl != 0 ? tx->ttl : way->hop_limit;
    memcpy(at + 8, tx->src.bytes, 16);
}

/* Has the head of a way that is ready be that of a packet. */
static inline void dk_way_complete(struct dk_way *way, const struct dk_ip_tx *tx, uint32_t bytes)
{
    if (dk_likely(tx->dst.version == 4))
        dk_way_complete4(way, tx, bytes);
    else
        dk_way_complete6(way, tx, bytes);
}

/*
 * Begins a packet, of which nothing before the transport's header need stay (dk_ip_keep), in the
 * memory of the device: returns where that header is to be written, and behind it what IP carries;
 * then dk_ip_room_sent sends it. NULL: it cannot be, and nothing happened. The device has rooms.
 */
__attribute__((always_inline)) static inline uint8_t *dk_ip_room(struct dk_net *net,
                                                                 struct dk_way *way,
                                                                 const struct dk_ip_tx *tx,
                                                                 uint32_t bytes, int64_t now)
{
    struct dk_tx_rooms *rooms = net->config.rooms;
    if (dk_unlikely(rooms->next >= rooms->limit || tx->partial_checksum ||
                    !dk_way_is_ready(net, way, bytes, now) ||
                    way->head_len + bytes > rooms->bytes_max))
        return NULL;
    rooms->frames[rooms->next].len = way->head_len + bytes;
    dk_way_complete(way, tx, bytes);
    return dk_frame_copy_easy(rooms->frames[rooms->next].at,
                              way->head + DK_WAY_HEAD_ROOM - way->head_len, way->head_len);
}

static inline void dk_ip_room_sent(struct dk_net *net)
{
    net->config.rooms->next++;
    dk_net_count(&net->stats.link_tx);
}

/*
 * Sends a packet of that many bytes to a link address, in fragments where the path takes no more.
 * 0; -EAGAIN: no room, progress says what was sent; -EMSGSIZE: it may not be fragmented.
 */
int dk_ip_emit(struct dk_net *net, struct dk_ip_tx *tx, uint32_t bytes, const struct dk_mac *mac,
               struct dk_ip_progress *progress);

/* frag.c: as that, for one that is longer than mtu. */
int dk_frag_emit(struct dk_net *net, const struct dk_ip_tx *tx, uint32_t bytes, uint32_t mtu,
                 const struct dk_mac *mac, struct dk_ip_progress *progress);

/* The number of a packet that is fragmented (RFC 7739 section 5.3): keyed hash and counter. */
uint32_t dk_frag_next_id(struct dk_net *net, const struct dk_ip_tx *tx);

/* What an IP header says of a fragment; NULL: it is none. */
struct dk_ip_fragment {
    uint32_t id;
    uint32_t offset;
    bool more;
};

/* Writes the IP header before what carries `bytes` bytes; returns where it begins. */
uint8_t *dk_ip_put_header(const struct dk_net *net, const struct dk_ip_tx *tx, uint8_t *before,
                          uint32_t bytes, uint32_t id, bool dont_fragment,
                          const struct dk_ip_fragment *fragment);

/* link.c: puts the Ethernet header before a packet; returns where it begins. */
uint8_t *dk_link_put_header(const struct dk_net *net, uint8_t *before, const struct dk_mac *dst,
                            uint16_t type);

/* link.c: puts the Ethernet header before frame->head, in whose storage there is room for it, and
 * gives the frame to the device. false: no room. */
bool dk_link_send(struct dk_net *net, struct dk_tx_frame *frame, const struct dk_mac *dst,
                  uint16_t type);

/* Gives a whole frame to the device. false: no room. */
static inline bool dk_link_emit(struct dk_net *net, const struct dk_tx_frame *frame)
{
    const bool taken = net->config.emit(net->config.emit_arg, frame);
    dk_net_count(dk_likely(taken) ? &net->stats.link_tx : &net->stats.link_tx_full);
    return taken;
}

/* loop.c: takes a packet that is for ourselves; it comes in with the next dk_net_advance. 0,
 * -EAGAIN (dk_transport.tx_room tells), -ENOBUFS. */
int dk_loop_send(struct dk_net *net, const struct dk_ip_tx *tx);
int dk_loop_init(struct dk_net *net);
void dk_loop_fini(struct dk_net *net);
void dk_loop_advance(struct dk_net *net, int64_t now);

#endif /* DK_NET_IP_OUT_H */
