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
#include "net/loose.h"
#include "net/route.h"
#include "net/udp_sock.h"
#include "net/wire/udp.h"

/* The source address: as bound, or the best one. */
static int choose_source(struct dk_udp_sock *sock, const struct dk_way *way, struct dk_ip *src)
{
    const struct dk_ip *ip = &sock->local.ip;
    *src = (struct dk_ip){.version = 0};
    if (ip->version == 0)
        return dk_way_source(sock->net, way, src);
    if (ip->version != way->dst.version)
        return -EINVAL;
    if (!dk_ip_is_any(ip) && !dk_ip_is_multicast(ip) && !dk_ifaddr_is_broadcast(sock->net, ip))
        *src = *ip;
    return dk_way_source(sock->net, way, src);
}

static void fill_tx(struct dk_udp_sock *sock, const struct dk_endpoint *to)
{
    struct dk_udp_path *path = &sock->path;
    struct dk_ip_tx *tx = &path->tx;
    tx->dst = to->ip;
    tx->protocol = DK_IP_UDP;
    tx->ttl = (uint8_t)sock->options[path->multicast ? DK_UDP_MULTICAST_TTL : DK_UDP_TTL];
    tx->tos = (uint8_t)sock->options[DK_UDP_TOS];
    tx->dont_fragment = sock->options[DK_UDP_DONT_FRAGMENT] != 0;
    tx->header = path->storage + DK_IP_HEADROOM;
    tx->header_len = DK_UDP_HEADER_LEN;
    tx->partial_checksum = (sock->net->config.device_caps & DK_NETDEV_TX_CHECKSUM) != 0;
    tx->frame.checksum_offset = DK_UDP_CHECKSUM_OFFSET;
    tx->frame.segment_bytes = 0;
    tx->kept = &path->kept;
    path->kept.head = 0;
    dk_put_be32(tx->header, (uint32_t)sock->local.port << 16 | to->port);
}

/* Finds out all that does not differ from one datagram to the next. */
static int fill_path(struct dk_udp_sock *sock, const struct dk_endpoint *to, struct dk_way *way)
{
    struct dk_udp_path *path = &sock->path;
    path->group = way->path.hop == DK_HOP_GROUP;
    path->multicast = path->group && dk_ip_is_multicast(&to->ip);
    if (path->group && !path->multicast && !sock->options[DK_UDP_BROADCAST])
        return -EACCES;
    const int error = choose_source(sock, way, &path->tx.src);
    if (error != 0)
        return error;
    fill_tx(sock, to);
    path->port = to->port;
    path->max_bytes = to->ip.version == 4 ? 65535 - 20 : 65535;
    const uint32_t pseudo = dk_ip_pseudo_sum(&path->tx.src, &to->ip, DK_IP_UDP, 0);
    path->words =
        htobe32(path->tx.partial_checksum ? pseudo : pseudo + to->port + sock->local.port);
    path->number = way->number;
    path->way = way;
    return 0;
}

/* Checks what the caller may not do, and fills the path to there. */
__attribute__((noinline)) static int find_path(struct dk_udp_sock *sock,
                                               const struct dk_endpoint *to, uint32_t num_pieces)
{
    int error = dk_udp_take_error(sock);
    if (error != 0)
        return error;
    if (to->port == 0)
        return -EDESTADDRREQ;
    if (num_pieces > DK_UDP_PIECES_MAX)
        return -EMSGSIZE;
    sock->path.way = NULL;
    if (sock->local.port == 0)
        error = dk_udp_autobind(sock, to);
    if (error != 0)
        return error;
    struct dk_way *way = dk_route_way(sock->net, &to->ip);
    return way ? fill_path(sock, to, way) : -ENETUNREACH;
}

/* Whether a datagram may go there as the one before it did. */
static inline bool is_known(const struct dk_udp_sock *sock, const struct dk_endpoint *to,
                            uint32_t num_pieces)
{
    const struct dk_udp_path *path = &sock->path;
    return path->way && path->way->number == path->number && path->port == to->port &&
           dk_ip_equal(&path->way->dst, &to->ip) && sock->error == 0 &&
           num_pieces <= DK_UDP_PIECES_MAX;
}

/* To a group that we are in, or to all: to us too, as if it came in. */
__attribute__((noinline)) static int send_to_group(struct dk_udp_sock *sock, uint32_t bytes,
                                                   int64_t now)
{
    struct dk_net *net = sock->net;
    struct dk_udp_path *path = &sock->path;
    if (!path->multicast || path->tx.ttl != 0) { /* 0: not beyond this host */
        const int error = dk_ip_send_way(net, path->way, &path->tx, bytes, now);
        if (error != 0)
            return error;
    }
    if (!path->multicast ||
        (sock->options[DK_UDP_MULTICAST_LOOP] && dk_group_is_joined(net, &path->tx.dst)))
        dk_loop_send(net, &path->tx);
    return 0;
}

/* Takes the pieces over, and adds them to the words, but where the device does. Returns the bytes
 * of the datagram; *loose_out: those in no buffer. */
static inline uint64_t take_pieces(struct dk_udp_path *path, const struct dk_tx_piece *pieces,
                                   uint32_t num_pieces, uint64_t *words, uint64_t *loose_out)
{
    struct dk_ip_tx *tx = &path->tx;
    const bool adds = !tx->partial_checksum;
    uint64_t bytes = DK_UDP_HEADER_LEN, loose = 0;
    for (uint32_t i = 0; i < num_pieces; i++) {
        const struct dk_tx_piece piece = pieces[i];
        tx->frame.pieces[i].data = piece.data;
        tx->frame.pieces[i].len = piece.len;
        tx->frame.pieces[i].buf = piece.buf;
        const uint64_t at = bytes;
        bytes += piece.len;
        if (dk_unlikely(!piece.buf))
            loose += piece.len;
        if (adds)
            *words = dk_checksum_words_at(*words, at, piece.data, piece.len);
    }
    tx->frame.num_pieces = num_pieces;
    *loose_out = loose;
    return bytes;
}

/* Writes length and checksum. A device that does the checksum wants the sum of the pseudo header;
 * else the length is in it twice. */
static inline void complete_header(const struct dk_ip_tx *tx, uint32_t bytes, uint64_t words)
{
    dk_put_be16(tx->header + 4, (uint16_t)bytes);
    if (dk_unlikely(tx->partial_checksum))
        dk_put_be16(tx->header + 6, dk_checksum_fold64(words + htobe32(bytes)));
    else
        dk_checksum_put_not_0(tx->header + 6, dk_checksum_add_word(words, htobe32(2 * bytes)));
}

static inline __attribute__((always_inline)) int send_datagram(struct dk_udp_sock *sock,
                                                               uint32_t bytes, int64_t now)
{
    struct dk_net *net = sock->net;
    struct dk_udp_path *path = &sock->path;
    const int error = dk_unlikely(path->group)
                          ? send_to_group(sock, bytes, now)
                          : dk_ip_send_way(net, path->way, &path->tx, bytes, now);
    if (dk_unlikely(error != 0)) {
        if (error == -EAGAIN && dk_list_empty(&sock->no_room))
            dk_list_add_tail(&net->udp->no_room, &sock->no_room);
        return error;
    }
    struct dk_udp_stats *stats = &net->udp->stats;
    dk_net_count(&stats->tx_datagrams);
    dk_count(&stats->tx_bytes, bytes - DK_UDP_HEADER_LEN);
    return 0;
}

/* As dk_udp_send's end, where pieces lie in no buffer. */
__attribute__((noinline)) static int send_copied(struct dk_udp_sock *sock, uint32_t bytes,
                                                 uint32_t loose, int64_t now)
{
    uint32_t pieces;
    struct dk_buf *copy = dk_loose_copy(&sock->path.tx, loose, &pieces);
    if (!copy)
        return -ENOBUFS;
    dk_count(&sock->net->udp->stats.tx_copied, pieces);
    const int error = send_datagram(sock, bytes, now);
    dk_buf_put(copy);
    return error;
}

int dk_udp_send(struct dk_udp_sock *sock, const struct dk_endpoint *remote,
                const struct dk_tx_piece *pieces, uint32_t num_pieces, int64_t now)
{
    const struct dk_endpoint *to = remote ? remote : &sock->remote;
    struct dk_udp_path *path = &sock->path;
    uint64_t loose;
    if (dk_unlikely(!is_known(sock, to, num_pieces))) {
        sock->net->now = now;
        const int error = find_path(sock, to, num_pieces);
        if (error != 0)
            return error;
    }
    uint64_t words = path->words;
    const uint64_t bytes = take_pieces(path, pieces, num_pieces, &words, &loose);
    if (dk_unlikely(bytes > path->max_bytes))
        return -EMSGSIZE;
    complete_header(&path->tx, (uint32_t)bytes, words);
    if (dk_unlikely(loose != 0))
        return send_copied(sock, (uint32_t)bytes, (uint32_t)loose, now);
    return send_datagram(sock, (uint32_t)bytes, now);
}
