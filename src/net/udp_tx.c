/* SPDX-License-Identifier: MIT */
/*
 * Datagrams that go out: from where, checksum, and how they come to ourselves too.
 */
#include "base/bytes.h"
#include "base/checksum.h"
#include "net/dev.h"
#include "net/groups.h"
#include "net/ifaddr.h"
#include "net/ip_kind.h"
#include "net/ip_out.h"
#include "net/route.h"
#include "net/udp_sock.h"
#include "net/wire/udp.h"

static inline uint32_t sum_of_pieces(const struct dk_ip_tx *tx, uint32_t sum)
{
    size_t offset = DK_UDP_HEADER_LEN;
    for (uint32_t i = 0; i < tx->frame.num_pieces; i++) {
        sum = dk_checksum_add_at(sum, offset, tx->frame.pieces[i].data, tx->frame.pieces[i].len);
        offset += tx->frame.pieces[i].len;
    }
    return sum;
}

static void put_header(const struct dk_udp_sock *sock, uint16_t port, uint32_t bytes,
                       struct dk_ip_tx *tx)
{
    uint8_t *at = tx->header;
    uint32_t sum = dk_likely(tx->dst.version == 4)
                       ? dk_ip4_pseudo_sum(&tx->src, &tx->dst, DK_IP_UDP, bytes)
                       : dk_ip_pseudo_sum(&tx->src, &tx->dst, DK_IP_UDP, bytes);
    dk_put_be32(at, (uint32_t)sock->local.port << 16 | port);
    if (tx->partial_checksum) {
        dk_put_be32(at + 4, bytes << 16 | dk_checksum_fold(sum));
        return;
    }
    sum = sum_of_pieces(tx, sum + sock->local.port + port + bytes); /* and of the header */
    dk_put_be32(at + 4, bytes << 16 | dk_udp_checksum_finish(dk_checksum_finish(sum)));
}

/* The source address: as bound, or the best one. */
static int choose_source(struct dk_udp_sock *sock, const struct dk_way *way, struct dk_ip_tx *tx)
{
    const struct dk_ip *ip = &sock->local.ip;
    if (dk_likely(ip->version != 0 && dk_ip_equal(ip, &way->src))) {
        tx->src = *ip;
        return 0;
    }
    tx->src.version = 0;
    if (ip->version == 0)
        return dk_way_source(sock->net, way, &tx->src);
    if (ip->version != tx->dst.version)
        return -EINVAL;
    if (!dk_ip_is_any(ip) && !dk_ip_is_multicast(ip) && !dk_ifaddr_is_broadcast(sock->net, ip))
        tx->src = *ip;
    return dk_way_source(sock->net, way, &tx->src);
}

/* Puts pieces that lie in no buffer into one, so that they may be read later. Returns it, with one
 * hold, or NULL without memory. */
__attribute__((noinline)) static struct dk_buf *copy_loose(struct dk_net *net, struct dk_ip_tx *tx,
                                                           uint32_t loose)
{
    uint32_t at = 0;
    struct dk_buf *copy = dk_buf_alloc(loose, 0);
    if (!copy)
        return NULL;
    for (uint32_t i = 0; i < tx->frame.num_pieces; i++) {
        struct dk_tx_piece *piece = &tx->frame.pieces[i];
        if (piece->buf)
            continue;
        memcpy(copy->data + at, piece->data, piece->len);
        piece->data = copy->data + at;
        piece->buf = copy;
        at += piece->len;
        dk_net_count(&net->udp->stats.tx_copied);
    }
    return copy;
}

/* To a group that we are in, or to all: to us too, as if it came in. */
__attribute__((noinline)) static void loop_back(struct dk_udp_sock *sock, const struct dk_ip_tx *tx,
                                                bool broadcast)
{
    const bool group = dk_ip_is_multicast(&tx->dst) && sock->options[DK_UDP_MULTICAST_LOOP] &&
                       dk_group_is_joined(sock->net, &tx->dst);
    if (group || broadcast)
        dk_loop_send(sock->net, tx);
}

static int send_datagram(struct dk_udp_sock *sock, struct dk_way *way, struct dk_ip_tx *tx,
                         uint32_t bytes, int64_t now)
{
    struct dk_net *net = sock->net;
    const bool group = way->path.hop == DK_HOP_GROUP;
    const bool multicast = group && dk_ip_is_multicast(&tx->dst);
    int error = 0;
    if (!multicast || sock->options[DK_UDP_MULTICAST_TTL] != 0) /* 0: not beyond this host */
        error = dk_ip_send_way(net, way, tx, bytes, now);
    if (error == -EAGAIN && dk_list_empty(&sock->no_room))
        dk_list_add_tail(&net->udp->no_room, &sock->no_room);
    if (error != 0)
        return error;
    if (dk_unlikely(group))
        loop_back(sock, tx, !multicast);
    dk_net_count(&net->udp->stats.tx_datagrams);
    dk_count(&net->udp->stats.tx_bytes, bytes - DK_UDP_HEADER_LEN);
    return 0;
}

/* What the caller may not do, before anything is done. */
static int check(struct dk_udp_sock *sock, const struct dk_endpoint *to, uint32_t num_pieces)
{
    const int error = dk_udp_take_error(sock);
    if (error != 0)
        return error;
    if (to->port == 0)
        return -EDESTADDRREQ;
    if (num_pieces > DK_UDP_PIECES_MAX)
        return -EMSGSIZE;
    return sock->local.port != 0 ? 0 : dk_udp_autobind(sock, to);
}

/* Everything but source and pieces; 0 or -EACCES. */
static int fill(const struct dk_udp_sock *sock, const struct dk_endpoint *to,
                const struct dk_way *way, struct dk_ip_tx *tx)
{
    const bool group = way->path.hop == DK_HOP_GROUP;
    const bool multicast = group && dk_ip_is_multicast(&to->ip);
    if (group && !multicast && !sock->options[DK_UDP_BROADCAST])
        return -EACCES;
    tx->dst = to->ip;
    tx->protocol = DK_IP_UDP;
    tx->ttl = (uint8_t)sock->options[multicast ? DK_UDP_MULTICAST_TTL : DK_UDP_TTL];
    tx->tos = (uint8_t)sock->options[DK_UDP_TOS];
    tx->dont_fragment = sock->options[DK_UDP_DONT_FRAGMENT] != 0;
    tx->header_len = DK_UDP_HEADER_LEN;
    tx->partial_checksum = (sock->net->config.device_caps & DK_NETDEV_TX_CHECKSUM) != 0;
    tx->frame.checksum_offset = DK_UDP_CHECKSUM_OFFSET;
    tx->frame.segment_bytes = 0;
    return 0;
}

/* Takes the pieces over; returns the bytes of the datagram, 0: too many. *loose_out: bytes in no
 * buffer. */
static uint32_t take_pieces(struct dk_ip_tx *tx, const struct dk_tx_piece *pieces,
                            uint32_t num_pieces, uint32_t *loose_out)
{
    uint64_t bytes = DK_UDP_HEADER_LEN, loose = 0;
    tx->frame.num_pieces = num_pieces;
    for (uint32_t i = 0; i < num_pieces; i++) {
        tx->frame.pieces[i].data = pieces[i].data;
        tx->frame.pieces[i].len = pieces[i].len;
        tx->frame.pieces[i].buf = pieces[i].buf;
        bytes += pieces[i].len;
        loose += pieces[i].buf ? 0 : pieces[i].len;
    }
    *loose_out = (uint32_t)loose;
    return bytes > (tx->dst.version == 4 ? 65535u - 20 : 65535u) ? 0 : (uint32_t)bytes;
}

int dk_udp_send(struct dk_udp_sock *sock, const struct dk_endpoint *remote,
                const struct dk_tx_piece *pieces, uint32_t num_pieces, int64_t now)
{
    uint8_t storage[DK_IP_HEADROOM + DK_UDP_HEADER_LEN];
    struct dk_net *net = sock->net;
    const struct dk_endpoint *to = remote ? remote : &sock->remote;
    struct dk_ip_tx tx;
    struct dk_buf *copy = NULL;
    uint32_t loose;
    int error = check(sock, to, num_pieces);
    if (dk_unlikely(error != 0))
        return error;
    net->now = now;
    struct dk_way *way = dk_route_way(net, &to->ip);
    error = way ? fill(sock, to, way, &tx) : -ENETUNREACH;
    error = error ? error : choose_source(sock, way, &tx);
    if (dk_unlikely(error != 0))
        return error;
    tx.header = storage + DK_IP_HEADROOM;
    const uint32_t bytes = take_pieces(&tx, pieces, num_pieces, &loose);
    if (bytes == 0)
        return -EMSGSIZE;
    if (dk_unlikely(loose != 0)) {
        copy = copy_loose(net, &tx, loose);
        if (!copy)
            return -ENOBUFS;
    }
    put_header(sock, to->port, bytes, &tx);
    error = send_datagram(sock, way, &tx, bytes, now);
    if (copy)
        dk_buf_put(copy);
    return error;
}
