/* SPDX-License-Identifier: MIT */
/* What the files of UDP share: udp.c (sockets), udp_rx.c, udp_tx.c. Private to them. */
#ifndef DK_NET_UDP_SOCK_H
#define DK_NET_UDP_SOCK_H

#include "base/bytes.h"
#include "base/list.h"
#include "net/ip_out.h"
#include "net/route.h"
#include "net/udp.h"
#include "net/udp_flow.h"
#include "net/wire/udp.h"

#define DK_UDP_WAITING_MAX 4096u /* datagrams to be received, of all sockets */
#define DK_UDP_OVERHEAD    256u  /* what one counts beside its bytes against DK_UDP_RCVBUF */
#define DK_UDP_BUCKETS     1024u
#define DK_UDP_PATHS       256u

#define DK_UDP_STATS(X)                                                                            \
    X(rx_datagrams, "udp.rx_datagrams")                                                            \
    X(rx_bytes, "udp.rx_bytes")                                                                    \
    X(rx_copied, "udp.rx_copied") /* for further sockets of a group */                             \
    X(tx_datagrams, "udp.tx_datagrams")                                                            \
    X(tx_bytes, "udp.tx_bytes")                                                                    \
    X(tx_copied, "udp.tx_copied")           /* pieces without a buffer */                          \
    X(no_port, "udp.no_port")               /* dropped: nobody has the port */                     \
    X(nobody, "udp.nobody")                 /* dropped: to a group or all, nobody wants it */      \
    X(queue_full, "udp.queue_full")         /* dropped: the socket has enough to receive */        \
    X(no_memory, "udp.no_memory")           /* dropped */                                          \
    X(icmp_errors, "udp.icmp_errors")       /* told to sockets */                                  \
    X(icmp_unmatched, "udp.icmp_unmatched") /* dropped: about nothing that we sent */

struct dk_udp_stats {
#define DK_UDP_STATS_FIELD(field, name) uint64_t field;
    DK_UDP_STATS(DK_UDP_STATS_FIELD)
#undef DK_UDP_STATS_FIELD
};

struct dk_udp_waiting {
    struct dk_udp_waiting *next;
    struct dk_udp_datagram datagram;
};

/*
 * What is known of sending from a socket to an endpoint: a place of dk_udp.paths, found by the
 * bytes in which peers mostly differ. Good while the generation of `kept` is that of ways; what a
 * socket is bound to and its options, on which it depends too, end it.
 */
struct dk_udp_path {
    struct dk_udp_sock *sock; /* NULL: nothing is known */
    struct dk_endpoint to;
    uint64_t key4; /* as dk_udp_write4 is given it, where there are rooms, and short ones may go
                      that way; or DK_UDP_NO_WORD4 */
    struct dk_ip_kept kept;
    uint64_t words; /* of the pseudo header and the header, without lengths (checksum.h) */
    uint32_t bytes; /* the length that the kept headers have; 0: theirs differ */
    struct dk_ip src;
    bool group; /* the destination is: a multicast one, or broadcast */
    bool multicast;
    uint8_t storage[DK_IP_HEADROOM + DK_UDP_HEADER_LEN]; /* of the headers */
};

struct dk_udp_sock {
    struct dk_list sockets;   /* all of the stack */
    struct dk_list bound;     /* by port; latest first */
    struct dk_list connected; /* by both ends; latest first */
    struct dk_list no_room;   /* a send found none */
    struct dk_net *net;
    dk_udp_event_fn on_event;
    dk_udp_offer_fn offer; /* or NULL */
    void *arg;
    struct dk_udp_waiting *oldest, *latest; /* of what waits; NULL: nothing does */
    struct dk_udp_sock *next_eventful;
    uint32_t events; /* to be told; not 0: it is in the list of those */
    int error;
    bool has_paths;                   /* there are places of dk_udp.paths that are its */
    struct dk_endpoint local, remote; /* port 0: not bound, not connected */
    struct dk_ip bound_ip;            /* local.ip as it was before connect chose one */
    int options[DK_UDP_OPTIONS];
    uint32_t num_waiting;
    uint64_t held; /* bytes of payload that wait, and DK_UDP_OVERHEAD for each datagram */
    uint32_t num_groups;
    struct dk_ip groups[DK_UDP_GROUPS_MAX];
};

struct dk_udp {
    struct dk_udp_stats stats;
    struct dk_list sockets, no_room;
    struct dk_udp_sock *eventful, **eventful_end; /* oldest first; where the next one goes */
    struct dk_udp_waiting *free;
    struct dk_udp_sock *last; /* that find_bound found, NULL: something is different since */
    struct dk_ip last_dst;    /* for this address, and the socket's port */
    uint32_t num_sockets;
    uint32_t num_connected;
    bool telling;
    bool tell_now;             /* not only when the burst is over */
    bool partial_checksum;     /* the device does them */
    bool asks_device;          /* that, or it has rooms for what is sent */
    struct dk_tx_rooms *rooms; /* those, where it does not do them; or NULL */
    bool knows_flows;          /* or all of `flows` are zero */
    struct dk_ip_tx tx;        /* of what is sent: of a path, where frame.head is its kept head */
    struct dk_udp_flow flows[DK_UDP_FLOWS];
    struct dk_udp_path paths[DK_UDP_PATHS];
    struct dk_list bound[DK_UDP_BUCKETS];
    struct dk_list connected[DK_UDP_BUCKETS];
    struct dk_udp_waiting waiting[DK_UDP_WAITING_MAX];
};

struct dk_list *dk_udp_bucket(struct dk_net *net, const struct dk_ip *local_ip, uint16_t local_port,
                              const struct dk_endpoint *remote);

/* Binds a socket that is not: to a port that is free. remote: of a socket that is to be connected,
 * or NULL. */
int dk_udp_autobind(struct dk_udp_sock *sock, const struct dk_endpoint *remote);

/* udp_tx.c: makes what all that is sent has in common. */
void dk_udp_tx_init(struct dk_net *net);

/* udp_tx.c: what is known of sending from a socket is not good any more. */
void dk_udp_forget_paths(struct dk_udp_sock *sock);

/* Notes events; they are told by dk_udp_advance, when the tables are not in use. */
static inline void dk_udp_note(struct dk_net *net, struct dk_udp_sock *sock, uint32_t events)
{
    struct dk_udp *udp = net->udp;
    const uint32_t before = sock->events;
    sock->events = before | events;
    if (before != 0)
        return;
    sock->next_eventful = NULL;
    *udp->eventful_end = sock;
    udp->eventful_end = &sock->next_eventful;
    net->due.what |= DK_NET_DUE_UDP;
}

/* All of a datagram but its bytes. */
static inline struct dk_udp_datagram dk_udp_datagram_of(const struct dk_ip_rx *rx)
{
    return (struct dk_udp_datagram){
        .from = {.ip = rx->src, .port = dk_get_be16(rx->data)},
        .from4 = rx->src.version == 4 ? dk_udp_word4(rx->src.v4, dk_get_be16(rx->data))
                                      : DK_UDP_NO_WORD4,
        .to = rx->dst,
        .ttl = rx->ttl,
        .tos = rx->tos,
    };
}

/* What a socket would hold with another datagram. */
static inline uint64_t dk_udp_held_with(const struct dk_udp_sock *sock, uint32_t payload)
{
    return sock->held + payload + DK_UDP_OVERHEAD;
}

static inline uint32_t dk_udp_may_hold(const struct dk_udp_sock *sock)
{
    return (uint32_t)sock->options[DK_UDP_RCVBUF];
}

static inline void dk_udp_count_received(struct dk_udp *udp, uint32_t payload)
{
    dk_count(&udp->stats.rx_bytes, payload);
    dk_net_count(&udp->stats.rx_datagrams);
}

/* Adds a datagram to those that wait for a socket: like another, but for what is in its buffer.
 * There is room, and udp->free is one. */
static inline void dk_udp_put_behind(struct dk_net *net, struct dk_udp_sock *sock, const void *like,
                                     struct dk_buf *buf, uint32_t payload)
{
    struct dk_udp *udp = net->udp;
    struct dk_udp_waiting *waiting = udp->free;
    memcpy(&waiting->datagram, like, DK_UDP_LIKE_BYTES);
    waiting->datagram.buf = buf;
    udp->free = waiting->next;
    waiting->next = NULL;
    *(sock->oldest ? &sock->latest->next : &sock->oldest) = waiting;
    sock->latest = waiting;
    sock->num_waiting++;
    sock->held += payload + DK_UDP_OVERHEAD;
    dk_udp_note(net, sock, DK_UDP_READABLE);
}

static inline bool dk_udp_is_in(const struct dk_udp_sock *sock, const struct dk_ip *group)
{
    for (uint32_t i = 0; i < sock->num_groups; i++) {
        if (dk_ip_equal(&sock->groups[i], group))
            return true;
    }
    return false;
}

void dk_udp_input(struct dk_net *net, const struct dk_ip_rx *rx, int64_t now);
void dk_udp_icmp_error(struct dk_net *net, const struct dk_icmp_error *error, int64_t now);

#endif /* DK_NET_UDP_SOCK_H */
