/* SPDX-License-Identifier: MIT */
/*
 * UDP (RFC 768, 8200 section 8.1): sockets over a stack.
 *
 * A datagram received is a view of the device's buffer and waits in its socket's queue, which is
 * bounded; what finds it full is dropped and counted. A datagram sent goes in pieces from where
 * they lie; one that is longer than the path takes is fragmented.
 *
 * Of the sockets that a datagram could be for, the best match gets it: connected to the sender
 * before bound to the address before bound to any; among equals the one bound last. A multicast or
 * broadcast datagram goes to each (a multicast one to those that joined).
 *
 * An event says that there is something to look at; it comes from inside dk_net_advance or
 * dk_net_tx_room (dk_net_input, when so much waits already that more might be dropped), and its
 * handler may call everything here, close of its own socket included.
 */
#ifndef DK_NET_UDP_H
#define DK_NET_UDP_H

#include "net/addr.h"
#include "net/packet.h"

#include <endian.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>

struct dk_net;
struct dk_udp_sock;

#define DK_UDP_SOCKETS_MAX 65536
#define DK_UDP_PIECES_MAX  8 /* of one datagram sent */
#define DK_UDP_GROUPS_MAX  8 /* that one socket is in */

/* Bits of an event. */
#define DK_UDP_READABLE (1u << 0) /* a datagram came */
#define DK_UDP_WRITABLE (1u << 1) /* there is room again after -EAGAIN */
#define DK_UDP_ERROR    (1u << 2) /* dk_udp_take_error has something */

/* An endpoint of IPv4 in one word: as a struct sockaddr_in begins, with the family, port and
 * address. */
static inline uint64_t dk_udp_word4(uint32_t ip, uint16_t port)
{
    const struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_port = htobe16(port), .sin_addr.s_addr = ip};
    uint64_t word;
    memcpy(&word, &in, sizeof(word));
    return word;
}

#define DK_UDP_NO_WORD4 UINT64_MAX /* what that never is */

typedef void (*dk_udp_event_fn)(void *arg, struct dk_udp_sock *sock, uint32_t events);

struct dk_udp_datagram {
    struct dk_endpoint from;
    uint64_t from4;  /* that, as dk_udp_word4 has it; of IPv6 DK_UDP_NO_WORD4 */
    struct dk_ip to; /* the destination: ours, a group, a broadcast address */
    uint8_t ttl;
    uint8_t tos;
    struct dk_buf *buf; /* a view of exactly the payload; its hold goes to the receiver */
};

/* Gives a datagram to an owner that may have somebody waiting for it: all but d->buf, whose place
 * buf has, with a hold. The owner takes it, or has it wait (dk_udp_keep). Called from inside
 * dk_net_input, which is not to be come back to. */
typedef void (*dk_udp_offer_fn)(void *arg, const struct dk_udp_datagram *d, struct dk_buf *buf);

/* Has datagrams be offered (arg as of dk_udp_open) where none waits, no error is to be told, and
 * the way there is short; the others wait, and an event tells of them. */
void dk_udp_set_offer(struct dk_udp_sock *sock, dk_udp_offer_fn offer);

/* Of what is offered: it waits. */
void dk_udp_keep(struct dk_udp_sock *sock, const struct dk_udp_datagram *d, struct dk_buf *buf);

/* Opens a socket that is not bound. 0, -EMFILE (DK_UDP_SOCKETS_MAX), -ENOMEM. */
int dk_udp_open(struct dk_net *net, dk_udp_event_fn on_event, void *arg,
                struct dk_udp_sock **sock_out);

/* Closes it: what was not received is dropped. Its groups are left. */
void dk_udp_close(struct dk_udp_sock *sock);

/*
 * Binds to an endpoint. ip.version 0: any address of both versions; else an address of ours, all
 * zero (any of this version), a group or a broadcast address. Port 0: one that is free, which
 * nobody can guess (RFC 6056). 0, -EADDRINUSE, -EADDRNOTAVAIL, -EINVAL (bound already).
 */
int dk_udp_bind(struct dk_udp_sock *sock, const struct dk_endpoint *local);

/*
 * Connects: receives from there only and sends there; binds first where it is not bound. NULL: ends
 * that. 0, -ENETUNREACH, -EADDRNOTAVAIL (no port is free), -EACCES (broadcast not allowed), -EINVAL
 * (port 0, another version).
 */
int dk_udp_connect(struct dk_udp_sock *sock, const struct dk_endpoint *remote);

/*
 * Sends one datagram to an endpoint (NULL: as connected) and binds where it is not bound. Pieces
 * lie still until it returns; afterwards they are held by their buf (without one: copied, or read
 * already). 0,
 * -EAGAIN (DK_UDP_WRITABLE tells when), -EMSGSIZE (too long, too many pieces), -EDESTADDRREQ,
 * -EACCES, -ENETUNREACH, -EHOSTUNREACH, -ENOBUFS, -EADDRNOTAVAIL; or what dk_udp_take_error would
 * say.
 */
int dk_udp_send(struct dk_udp_sock *sock, const struct dk_endpoint *remote,
                const struct dk_tx_piece *pieces, uint32_t num_pieces, int64_t now);

/* Takes the oldest datagram. 0 or -EAGAIN. */
int dk_udp_recv(struct dk_udp_sock *sock, struct dk_udp_datagram *out);

/* Whether dk_udp_recv and dk_udp_take_error have nothing. */
bool dk_udp_is_empty(const struct dk_udp_sock *sock);

/* Datagrams and bytes that wait to be received. */
uint32_t dk_udp_pending(const struct dk_udp_sock *sock, uint64_t *bytes_out);

/* Takes the error that an ICMP message, or the neighbour table, caused (a negative errno), 0: none.
 * Only connected sockets have them (RFC 1122 section 4.1.3.3). */
int dk_udp_take_error(struct dk_udp_sock *sock);

/* local.ip.version 0 where it is bound to both versions, port 0 where it is not bound; remote.port
 * 0 where it is not connected. */
const struct dk_endpoint *dk_udp_local(const struct dk_udp_sock *sock);
const struct dk_endpoint *dk_udp_remote(const struct dk_udp_sock *sock);

enum dk_udp_option {
    DK_UDP_REUSEADDR,      /* several sockets on one endpoint, if all of them set it before bind */
    DK_UDP_BROADCAST,      /* may send to broadcast addresses */
    DK_UDP_TTL,            /* 1 to 255, 0: the default (64) */
    DK_UDP_MULTICAST_TTL,  /* 0 to 255, first 1 */
    DK_UDP_MULTICAST_LOOP, /* what it sends to a group that we are in comes to us too; first on */
    DK_UDP_TOS,
    DK_UDP_DONT_FRAGMENT, /* longer than the path takes: -EMSGSIZE */
    DK_UDP_RCVBUF,        /* bytes that may wait, first 256 KiB */
    DK_UDP_OPTIONS,
};

/* 0 or -EINVAL. */
int dk_udp_set(struct dk_udp_sock *sock, enum dk_udp_option option, int value);
int dk_udp_get(const struct dk_udp_sock *sock, enum dk_udp_option option);

/* Joins or leaves a group. 0, -EINVAL (no group), -EADDRINUSE (joined), -EADDRNOTAVAIL (not
 * joined), -ENOBUFS (too many). */
int dk_udp_join(struct dk_udp_sock *sock, const struct dk_ip *group, int64_t now);
int dk_udp_leave(struct dk_udp_sock *sock, const struct dk_ip *group, int64_t now);

#endif /* DK_NET_UDP_H */
