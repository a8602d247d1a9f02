/* SPDX-License-Identifier: MIT */
/* Where a packet goes next, and what the path there takes. Private to src/net. */
#ifndef DK_NET_ROUTE_H
#define DK_NET_ROUTE_H

#include "net/stack.h"

enum dk_hop {
    DK_HOP_NEIGHBOUR, /* next_hop is on the link */
    DK_HOP_GROUP,     /* a group or broadcast: the link address follows from the destination */
    DK_HOP_SELF,      /* never leaves */
};

struct dk_path {
    enum dk_hop hop;
    struct dk_ip next_hop;
};

/* The headers of link and IP that a way keeps, and what they are kept in: copied as a whole. */
#define DK_WAY_HEAD_MAX  58u /* Ethernet with a tag, IPv6 */
#define DK_WAY_HEAD_ROOM 64u
_Static_assert(DK_WAY_HEAD_MAX <= DK_WAY_HEAD_ROOM && DK_WAY_HEAD_ROOM <= DK_IP_HEADROOM,
               "they are copied into that");

/*
 * A way to a destination. While `generation` is that of the stack and ready_until has not come, a
 * packet of at most max_bytes may go at once: to the link address that is in the head, with no
 * state or order of the neighbour's to change (ip_out.c).
 */
struct dk_way {
    struct dk_ip dst; /* version 0: none */
    struct dk_path path;
    struct dk_ip src; /* the best one for it; version 0: none is good */
    uint64_t generation;
    int64_t ready_until;
    uint32_t max_bytes; /* of what IP carries */
    uint32_t head_len;
    uint8_t hop_limit;          /* IPv6: of a packet that has none of its own */
    uint64_t sum;               /* IPv4: of the words of the header that do not differ */
    uint32_t kind, bytes, src4; /* IPv4: of what the head is (dk_ip_tx_kind); bytes 0: nothing */
    uint8_t head[DK_WAY_HEAD_ROOM]; /* its last head_len bytes */
};

/* Whether a packet of so many bytes may go that way at once. */
static inline bool dk_way_is_ready(const struct dk_net *net, const struct dk_way *way,
                                   uint32_t bytes, int64_t now)
{
    return way->generation == net->ways_generation && now < way->ready_until &&
           bytes <= way->max_bytes;
}

/* The way to dst, or NULL: there is none. Good until the next call of any function here. */
struct dk_way *dk_route_way(struct dk_net *net, const struct dk_ip *dst);

/* As dk_ip_route, where the way is known. */
int dk_way_source(struct dk_net *net, const struct dk_way *way, struct dk_ip *src_in_out);

/* Checks the routes of the configuration and makes the table. After dk_ifaddr_init. */
int dk_route_init(struct dk_net *net, const char **why_out);
void dk_route_fini(struct dk_net *net);

/* Routes that were learnt, by whom they are of; what the configuration gave, and the networks of
 * its addresses, stay. */
enum dk_route_origin { DK_ROUTE_GIVEN, DK_ROUTE_DHCP, DK_ROUTE_ROUTER };

/* Adds a route; gateway.version 0: the network is on the link. It stands behind those of the same
 * length and metric. 0; -EEXIST; -EINVAL: the gateway can be none, or is not on the link as far as
 * nobody else knows better; -ENOBUFS: too many. */
int dk_route_add(struct dk_net *net, const struct dk_net_route *route, enum dk_route_origin origin);
void dk_route_remove(struct dk_net *net, const struct dk_net_route *route,
                     enum dk_route_origin origin);
void dk_route_remove_all(struct dk_net *net, enum dk_route_origin origin);

/* A gateway does not answer: routes by others of the same length go first (RFC 4861 section
 * 6.3.6). */
void dk_route_avoid(struct dk_net *net, const struct dk_ip *gateway);

/* Whether packets to ip go onto the link: it is in a network that is there. */
bool dk_route_is_on_link(const struct dk_net *net, const struct dk_ip *ip);

/* A neighbour's link address or state, or the length that a path takes, is another: nothing goes at
 * once before it was looked at. */
static inline void dk_ways_changed(struct dk_net *net)
{
    net->ways_generation++;
}

/* Forgets what was found: an address became good, or bad. */
void dk_route_changed(struct dk_net *net);

/* Whether packets go to ip on the link or by a gateway, as far as that is known without looking: so
 * it is another host's. */
bool dk_route_is_known(const struct dk_net *net, const struct dk_ip *ip);

/* 0 or -ENETUNREACH. */
int dk_route_find(struct dk_net *net, const struct dk_ip *dst, struct dk_path *path_out);

/* pmtu.c: what was learned of paths. */
int dk_pmtu_init(struct dk_net *net);
void dk_pmtu_fini(struct dk_net *net);

uint32_t dk_pmtu_look_up(struct dk_net *net, const struct dk_ip *dst, bool *fragment_out);

/* Bytes that the path to dst takes; *fragment_out: routers must be let to fragment, the path takes
 * less than we believe in. */
static inline uint32_t dk_pmtu_get(struct dk_net *net, const struct dk_ip *dst, bool *fragment_out)
{
    *fragment_out = false;
    return dk_likely(!net->pmtu_known) ? net->config.mtu : dk_pmtu_look_up(net, dst, fragment_out);
}

#endif /* DK_NET_ROUTE_H */
