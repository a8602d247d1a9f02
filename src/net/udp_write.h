/* SPDX-License-Identifier: MIT */
/*
 * A short datagram to where one went before: written to the memory of the device (rooms, net/dev.h)
 * with the headers of that one. Inline, for the push of a socket: a call would save registers for
 * what is straight on.
 */
#ifndef DK_NET_UDP_WRITE_H
#define DK_NET_UDP_WRITE_H

#include "base/checksum_here.h"
#include "net/dev.h"
#include "net/udp_sock.h"

/* Where a path's header is. */
static inline uint8_t *dk_udp_path_header(struct dk_udp_path *path)
{
    return path->storage + DK_IP_HEADROOM;
}

/* Where a path to an address of IPv4 is: found by the bytes in which peers mostly differ. */
static inline struct dk_udp_path *dk_udp_path_place4(struct dk_udp *udp, uint64_t to)
{
    struct dk_udp_path *path = &udp->paths[(uint8_t)(to >> 56 ^ to >> 24)];
    dk_forget(path); /* or it is found anew for each of its fields */
    return path;
}

/* The sum of the header and the pseudo header, in both of which the length is. */
static inline uint64_t dk_udp_path_words(const struct dk_udp_path *path, uint32_t bytes)
{
    return path->words + 2 * (uint64_t)htobe16((uint16_t)bytes);
}

static inline void dk_udp_count_sent(struct dk_udp *udp, uint32_t bytes)
{
    dk_net_count(&udp->stats.tx_datagrams);
    dk_count(&udp->stats.tx_bytes, bytes - DK_UDP_HEADER_LEN);
}

/* Has the kept headers say how long the packet is. */
static inline void dk_udp_path_put_lengths(struct dk_udp_path *path, uint32_t bytes)
{
    if (dk_likely(path->bytes == bytes))
        return;
    dk_put_be16(dk_udp_path_header(path) + 4, (uint16_t)bytes);
    dk_ip_put_length(&path->kept, path->to.ip.version, dk_udp_path_header(path), bytes);
    path->bytes = bytes;
}

/* Has the kept headers be those of that piece. */
static inline __attribute__((always_inline)) void dk_udp_path_put(struct dk_udp_path *path,
                                                                  const struct dk_tx_piece *piece)
{
    const uint32_t bytes = DK_UDP_HEADER_LEN + piece->len;
    dk_udp_path_put_lengths(path, bytes);
    dk_checksum_put_not_0(
        dk_udp_path_header(path) + DK_UDP_CHECKSUM_OFFSET,
        dk_checksum_words_here(dk_udp_path_words(path, bytes), piece->data, piece->len));
}

/* Writes one piece to a room, of which there is one. */
static inline __attribute__((always_inline)) void dk_udp_write_room(struct dk_udp_sock *sock,
                                                                    struct dk_udp_path *path,
                                                                    const struct dk_tx_piece *piece)
{
    struct dk_net *net = sock->net;
    struct dk_udp *udp = net->udp;
    struct dk_tx_rooms *rooms = net->config.rooms;
    const uint32_t at = rooms->next++;
    dk_udp_path_put(path, piece);
    rooms->frames[at].len = path->kept.head_len + piece->len;
    uint8_t *to = dk_frame_copy_easy(rooms->frames[at].at, path->kept.head, path->kept.head_len);
    dk_frame_copy_easy(to, piece->data, piece->len);
    dk_net_count(&net->stats.link_tx);
    if (!piece->buf)
        dk_net_count(&udp->stats.tx_copied);
    dk_udp_count_sent(udp, DK_UDP_HEADER_LEN + piece->len);
}

/*
 * As dk_udp_send to an address of IPv4 (dk_udp_word4), of bytes in no buffer, where a datagram went
 * there before, and this one goes to a room of the device (net/dev.h). Looks at no timer: now may
 * be the time of the last call of the stack's. False: nothing happened, and dk_udp_send is to be
 * asked.
 */
static inline __attribute__((always_inline)) bool
dk_udp_write4(struct dk_udp_sock *sock, uint64_t to, const uint8_t *data, uint32_t len, int64_t now)
{
    const struct dk_tx_piece piece = {.data = data, .len = len};
    struct dk_net *net = sock->net;
    struct dk_udp *udp = net->udp;
    const struct dk_tx_rooms *rooms = net->config.rooms; /* of a path with a key there are */
    struct dk_udp_path *path = dk_udp_path_place4(udp, to);
    if (dk_unlikely(sock->error != 0 || path->sock != sock || path->key4 != to ||
                    path->kept.generation != net->ways_generation || now >= path->kept.until ||
                    rooms->next >= rooms->limit || !dk_frame_is_easy(len)))
        return false;
    dk_udp_write_room(sock, path, &piece);
    return true;
}

#endif /* DK_NET_UDP_WRITE_H */
