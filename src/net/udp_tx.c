/* SPDX-License-Identifier: MIT */
/*
 * Datagrams that go out: from where, checksum, and how they come to ourselves too.
 *
 * What was found out for a datagram, and the headers that it went with, are kept for the next one
 * to the same endpoint: lengths and checksums are written anew, and it goes (struct dk_udp_path).
 */
#include "base/bytes.h"
#include "base/checksum_here.h"
#include "net/dev.h"
#include "net/groups.h"
#include "net/ifaddr.h"
#include "net/ip_kind.h"
#include "net/ip_out.h"
#include "net/loose.h"
#include "net/route.h"
#include "net/udp_write.h"
#include "net/wire/udp.h"

void dk_udp_tx_init(struct dk_net *net)
{
    struct dk_udp *udp = net->udp;
    udp->partial_checksum = (net->config.device_caps & DK_NETDEV_TX_CHECKSUM) != 0;
    udp->asks_device = udp->partial_checksum || net->config.rooms;
    udp->rooms = udp->partial_checksum ? NULL : net->config.rooms;
    udp->tx.protocol = DK_IP_UDP;
    udp->tx.header_len = DK_UDP_HEADER_LEN;
    udp->tx.partial_checksum = udp->partial_checksum;
    udp->tx.frame.checksum_offset = DK_UDP_CHECKSUM_OFFSET;
}

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

/* Finds out all that does not differ from one datagram to the next. */
static int fill_path(struct dk_udp_sock *sock, struct dk_udp_path *path,
                     const struct dk_endpoint *to)
{
    struct dk_net *net = sock->net;
    const struct dk_way *way = dk_route_way(net, &to->ip);
    if (!way)
        return -ENETUNREACH;
    path->group = way->path.hop == DK_HOP_GROUP;
    path->multicast = path->group && dk_ip_is_multicast(&to->ip);
    if (path->group && !path->multicast && !sock->options[DK_UDP_BROADCAST])
        return -EACCES;
    const int error = choose_source(sock, way, &path->src);
    if (error != 0)
        return error;
    const uint32_t pseudo = dk_ip_pseudo_sum(&path->src, &to->ip, DK_IP_UDP, 0);
    path->words =
        htobe32(net->udp->partial_checksum ? pseudo : pseudo + to->port + sock->local.port);
    dk_put_be32(dk_udp_path_header(path), (uint32_t)sock->local.port << 16 | to->port);
    path->kept = (struct dk_ip_kept){.generation = net->ways_generation, .until = INT64_MIN};
    path->key4 = DK_UDP_NO_WORD4;
    path->to = *to;
    path->sock = sock;
    sock->has_paths = true;
    return 0;
}

void dk_udp_forget_paths(struct dk_udp_sock *sock)
{
    struct dk_udp_path *paths = sock->net->udp->paths;
    for (uint32_t i = 0; sock->has_paths && i < DK_UDP_PATHS; i++) {
        if (paths[i].sock == sock)
            paths[i].sock = NULL;
    }
    sock->has_paths = false;
}

static inline struct dk_udp_path *place_of(struct dk_udp *udp, const struct dk_endpoint *to)
{
    const uint8_t *ip = to->ip.bytes;
    struct dk_udp_path *path = &udp->paths[(ip[3] ^ ip[15] ^ to->port) % DK_UDP_PATHS];
    dk_forget(path); /* or it is found anew for each of its fields */
    return path;
}

/* Whether a datagram may go there as the one before it did. */
static inline bool is_known(const struct dk_udp_path *path, const struct dk_udp_sock *sock,
                            const struct dk_endpoint *to)
{
    return path->sock == sock && path->to.port == to->port && dk_ip_equal(&path->to.ip, &to->ip) &&
           path->kept.generation == sock->net->ways_generation;
}

/* Checks what the caller may not do, and fills the path to there. */
static int find_path(struct dk_udp_sock *sock, struct dk_udp_path *path,
                     const struct dk_endpoint *to, uint32_t num_pieces)
{
    int error = dk_udp_take_error(sock);
    if (error != 0)
        return error;
    if (to->port == 0)
        return -EDESTADDRREQ;
    if (num_pieces > DK_UDP_PIECES_MAX)
        return -EMSGSIZE;
    if (is_known(path, sock, to))
        return 0;
    path->sock = NULL;
    if (sock->local.port == 0)
        error = dk_udp_autobind(sock, to);
    return error ? error : fill_path(sock, path, to);
}

/* Takes the pieces over, and adds them to the words, but where the device does. Returns the bytes
 * of the datagram; *loose_out: those in no buffer. */
static uint64_t take_pieces(struct dk_udp *udp, const struct dk_tx_piece *pieces,
                            uint32_t num_pieces, uint64_t *words, uint64_t *loose_out)
{
    struct dk_tx_frame *frame = &udp->tx.frame;
    uint64_t bytes = DK_UDP_HEADER_LEN;
    *loose_out = 0;
    for (uint32_t i = 0; i < num_pieces; i++) {
        const struct dk_tx_piece *piece = &pieces[i];
        frame->pieces[i] = *piece;
        if (!piece->buf)
            *loose_out += piece->len;
        if (!udp->partial_checksum)
            *words = dk_checksum_words_at(*words, bytes, piece->data, piece->len);
        bytes += piece->len;
    }
    frame->num_pieces = num_pieces;
    return bytes;
}

/* Writes length and checksum: of a sum of all, or, where the device does it, of the pseudo header.
 */
static inline void complete_header(struct dk_udp_path *path, bool partial, uint32_t bytes,
                                   uint64_t sum)
{
    uint8_t *header = dk_udp_path_header(path);
    const uint16_t len = htobe16((uint16_t)bytes);
    memcpy(header + 4, &len, sizeof(len));
    if (dk_unlikely(partial))
        dk_put_be16(header + DK_UDP_CHECKSUM_OFFSET, dk_checksum_fold64(path->words + len));
    else
        dk_checksum_put_not_0(header + DK_UDP_CHECKSUM_OFFSET, sum);
}

static int no_room(struct dk_udp_sock *sock)
{
    if (dk_list_empty(&sock->no_room))
        dk_list_add_tail(&sock->net->udp->no_room, &sock->no_room);
    return -EAGAIN;
}

/* The frame is sent with the headers of a path from here on. */
static inline void point_to(struct dk_udp *udp, struct dk_udp_path *path)
{
    struct dk_tx_frame *frame = &udp->tx.frame;
    frame->head = path->kept.head;
    frame->head_len = path->kept.head_len;
    frame->checksum_start =
        udp->partial_checksum ? (uint16_t)(dk_udp_path_header(path) - path->kept.head) : 0;
}

/* Sends a datagram, whose pieces the frame has, with the headers that are kept, and complete. */
static inline __attribute__((always_inline)) int emit_kept(struct dk_udp_sock *sock,
                                                           struct dk_udp_path *path, uint32_t bytes)
{
    struct dk_net *net = sock->net;
    struct dk_udp *udp = net->udp;
    if (dk_unlikely(udp->tx.frame.head != path->kept.head))
        point_to(udp, path);
    if (dk_unlikely(!dk_link_emit(net, &udp->tx.frame)))
        return no_room(sock);
    dk_udp_count_sent(udp, bytes);
    return 0;
}

static int send_kept(struct dk_udp_sock *sock, struct dk_udp_path *path, uint32_t bytes)
{
    dk_ip_put_length(&path->kept, path->to.ip.version, dk_udp_path_header(path), bytes);
    path->bytes = bytes;
    return emit_kept(sock, path, bytes);
}

/* To a group that we are in, or to all: to us too, as if it came in. */
static int send_to_group(struct dk_udp_sock *sock, const struct dk_udp_path *path,
                         struct dk_way *way, uint32_t bytes, int64_t now)
{
    struct dk_net *net = sock->net;
    struct dk_ip_tx *tx = &net->udp->tx;
    if (!path->multicast || tx->ttl != 0) { /* 0: not beyond this host */
        const int error = dk_ip_send_way(net, way, tx, bytes, now);
        if (error != 0)
            return error;
    }
    if (!path->multicast ||
        (sock->options[DK_UDP_MULTICAST_LOOP] && dk_group_is_joined(net, &tx->dst)))
        dk_loop_send(net, tx);
    return 0;
}

/* As that, where no headers are kept that will do. */
/* The bytes at most that are copied by what is easy (net/packet.h). */
#define EASY_MAX 96u

/* Keeps the headers of what was sent for the next one. Whether all that are short can be written to
 * rooms is found out here once. */
static void keep(struct dk_net *net, struct dk_udp_path *path, const struct dk_way *way,
                 const struct dk_ip_tx *tx)
{
    const struct dk_tx_rooms *rooms = net->udp->rooms;
    dk_ip_keep(way, tx, &path->kept);
    const bool fits = rooms && path->kept.head_len + EASY_MAX <= rooms->bytes_max &&
                      path->kept.max_bytes >= DK_UDP_HEADER_LEN + EASY_MAX;
    path->key4 = path->to.ip.version == 4 && fits ? dk_udp_word4(path->to.ip.v4, path->to.port)
                                                  : DK_UDP_NO_WORD4;
}

static int send_anew(struct dk_udp_sock *sock, struct dk_udp_path *path, uint32_t bytes,
                     int64_t now)
{
    struct dk_net *net = sock->net;
    struct dk_ip_tx *tx = &net->udp->tx;
    struct dk_way *way = dk_route_way(net, &path->to.ip);
    if (!way)
        return -ENETUNREACH;
    tx->src = path->src;
    tx->dst = path->to.ip;
    tx->ttl = (uint8_t)sock->options[path->multicast ? DK_UDP_MULTICAST_TTL : DK_UDP_TTL];
    tx->tos = (uint8_t)sock->options[DK_UDP_TOS];
    tx->dont_fragment = sock->options[DK_UDP_DONT_FRAGMENT] != 0;
    tx->header = dk_udp_path_header(path);
    path->kept.until = INT64_MIN; /* others are put in their place */
    path->key4 = DK_UDP_NO_WORD4;
    const bool at_once = dk_way_is_ready(net, way, bytes, now);
    const int error = path->group ? send_to_group(sock, path, way, bytes, now)
                                  : dk_ip_send_way(net, way, tx, bytes, now);
    if (error == 0)
        dk_udp_count_sent(net->udp, bytes);
    if (error == 0 && at_once)
        keep(sock->net, path, way, tx);
    return error == -EAGAIN ? no_room(sock) : error;
}

static int send_either(struct dk_udp_sock *sock, struct dk_udp_path *path, uint32_t bytes,
                       int64_t now)
{
    return dk_ip_is_kept(sock->net, &path->kept, now) && bytes <= path->kept.max_bytes
               ? send_kept(sock, path, bytes)
               : send_anew(sock, path, bytes, now);
}

/* As that, where pieces lie in no buffer. */
static int send_copied(struct dk_udp_sock *sock, struct dk_udp_path *path, uint32_t bytes,
                       uint32_t loose, int64_t now)
{
    struct dk_udp *udp = sock->net->udp;
    uint32_t pieces;
    struct dk_buf *copy = dk_loose_copy(&udp->tx, loose, &pieces);
    if (!copy)
        return -ENOBUFS;
    dk_count(&udp->stats.tx_copied, pieces);
    const int error = send_either(sock, path, bytes, now);
    dk_buf_put(copy);
    return error;
}

/* Whatever is not one piece in a buffer that goes where one went before. */
__attribute__((noinline)) static int send_other(struct dk_udp_sock *sock,
                                                const struct dk_endpoint *to,
                                                const struct dk_tx_piece *pieces,
                                                uint32_t num_pieces, int64_t now)
{
    struct dk_udp *udp = sock->net->udp;
    struct dk_udp_path *path = place_of(udp, to);
    uint64_t sum = 0, loose;
    sock->net->now = now;
    const int error = find_path(sock, path, to, num_pieces);
    if (error != 0)
        return error;
    const uint64_t bytes = take_pieces(udp, pieces, num_pieces, &sum, &loose);
    if (bytes > (to->ip.version == 4 ? 65535 - DK_IP4_HEADER_LEN : 65535))
        return -EMSGSIZE;
    sum = dk_checksum_add_word(sum, dk_udp_path_words(path, (uint32_t)bytes));
    path->bytes = 0;
    complete_header(path, udp->partial_checksum, (uint32_t)bytes, sum);
    return loose ? send_copied(sock, path, (uint32_t)bytes, (uint32_t)loose, now)
                 : send_either(sock, path, (uint32_t)bytes, now);
}

/* One piece that goes where one went before, by emit, its headers complete. */
static inline __attribute__((always_inline)) int
emit_next(struct dk_udp_sock *sock, struct dk_udp_path *path, const struct dk_tx_piece *piece)
{
    struct dk_udp *udp = sock->net->udp;
    udp->tx.frame.pieces[0] = *piece;
    udp->tx.frame.num_pieces = 1;
    if (!piece->buf && piece->len > 0) /* it is read before emit returns */
        dk_net_count(&udp->stats.tx_copied);
    return emit_kept(sock, path, DK_UDP_HEADER_LEN + piece->len);
}

__attribute__((noinline)) static int send_next(struct dk_udp_sock *sock, struct dk_udp_path *path,
                                               const struct dk_tx_piece *piece)
{
    dk_udp_path_put(path, piece);
    return emit_next(sock, path, piece);
}

/* The device does the checksum. */
__attribute__((noinline)) static int
send_partial(struct dk_udp_sock *sock, struct dk_udp_path *path, const struct dk_tx_piece *piece)
{
    const uint32_t bytes = DK_UDP_HEADER_LEN + piece->len;
    dk_udp_path_put_lengths(path, bytes);
    dk_put_be16(dk_udp_path_header(path) + DK_UDP_CHECKSUM_OFFSET,
                dk_checksum_fold64(path->words + htobe16((uint16_t)bytes)));
    return emit_next(sock, path, piece);
}

/* Whether a datagram of so many bytes can be written to the memory of the device, by copies that
 * are easy. */
static inline bool has_room(const struct dk_tx_rooms *rooms, const struct dk_udp_path *path,
                            uint32_t payload)
{
    return rooms->next < rooms->limit && dk_frame_is_easy(payload) &&
           path->kept.head_len + payload <= rooms->bytes_max;
}

/* The same, or the other way. */
__attribute__((noinline)) static int write_next(struct dk_udp_sock *sock, struct dk_udp_path *path,
                                                const struct dk_tx_piece *piece)
{
    if (sock->net->udp->partial_checksum)
        return send_partial(sock, path, piece);
    if (!has_room(sock->net->config.rooms, path, piece->len))
        return send_next(sock, path, piece);
    dk_udp_write_room(sock, path, piece);
    return 0;
}

int dk_udp_send(struct dk_udp_sock *sock, const struct dk_endpoint *remote,
                const struct dk_tx_piece *pieces, uint32_t num_pieces, int64_t now)
{
    const struct dk_endpoint *to = remote ? remote : &sock->remote;
    struct dk_udp *udp = sock->net->udp;
    struct dk_udp_path *path = place_of(udp, to);
    if (dk_unlikely(num_pieces != 1 || sock->error != 0 || !is_known(path, sock, to) ||
                    now >= path->kept.until ||
                    pieces->len > path->kept.max_bytes - DK_UDP_HEADER_LEN))
        return send_other(sock, to, pieces, num_pieces, now);
    return udp->asks_device ? write_next(sock, path, pieces) : send_next(sock, path, pieces);
}
