/* SPDX-License-Identifier: MIT */
/* The stack's own addresses; duplicate address detection is in dad.c. Private to src/net. */
#ifndef DK_NET_IFADDR_H
#define DK_NET_IFADDR_H

#include "net/stack.h"

enum dk_ifaddr_state {
    DK_IFADDR_TENTATIVE, /* not known yet to be ours alone: neither source nor destination */
    DK_IFADDR_GOOD,
    DK_IFADDR_DUPLICATE, /* another host has it */
};

struct dk_ifaddr {
    struct dk_ip ip;
    struct dk_ip broadcast; /* of its network; version 0: none */
    uint8_t prefix_len;
    uint8_t state;     /* enum dk_ifaddr_state */
    bool probing;      /* whether anybody has it is being asked; TENTATIVE always is */
    uint8_t probes;    /* asked, times */
    uint8_t announced; /* IPv4: times */
    int64_t defended;  /* when it was last, or INT64_MIN */
    struct dk_net *net;
    struct dk_timer timer; /* of dad.c */
};

#define DK_IFADDRS_MAX (DK_NET_ADDRESSES_MAX + 1) /* and a link-local address */

struct dk_ifaddrs {
    uint32_t num;
    struct dk_ifaddr list[DK_IFADDRS_MAX];
};

/* What a destination is to us. */
enum dk_dst { DK_DST_OTHER, DK_DST_OURS, DK_DST_GROUP, DK_DST_BROADCAST };

int dk_ifaddr_init(struct dk_net *net, const char **why_out);
void dk_ifaddr_fini(struct dk_net *net);

/* The entry of an address, in any state, or NULL. */
struct dk_ifaddr *dk_ifaddr_find(struct dk_net *net, const struct dk_ip *ip);

/* What ip is: OURS only when good; GROUP whether or not we are in it. Loopback addresses are OTHER.
 */
enum dk_dst dk_ifaddr_classify(struct dk_net *net, const struct dk_ip *ip);

/* Whether ip is the broadcast address of one of our networks, or of all. */
bool dk_ifaddr_is_broadcast(const struct dk_net *net, const struct dk_ip *ip);

/* Whether ip is in the network of one of our addresses. */
bool dk_ifaddr_on_link(const struct dk_net *net, const struct dk_ip *ip);

/* The address to send to dst from, by way of next_hop (RFC 1122 section 3.3.4.3, 6724 section 5);
 * NULL: none is good. */
const struct dk_ip *dk_ifaddr_source(const struct dk_net *net, const struct dk_ip *dst,
                                     const struct dk_ip *next_hop);

/* dad.c: begins with the detection and the announcements of all addresses. */
void dk_dad_start(struct dk_net *net, int64_t now);

/* Another host, of mac (NULL: not known), was seen to have an address of ours, or is about to take
 * one that we are asking for (RFC 5227 sections 2.1.1 and 2.4, 4862 section 5.4). */
void dk_dad_conflict(struct dk_net *net, struct dk_ifaddr *address, const struct dk_mac *mac,
                     int64_t now);

#endif /* DK_NET_IFADDR_H */
