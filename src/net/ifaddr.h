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

/* Who takes an address away again, and is told what duplicate address detection finds. */
enum dk_ifaddr_origin {
    DK_IFADDR_GIVEN, /* by the configuration: it stays */
    DK_IFADDR_DHCP,
    DK_IFADDR_ROUTER, /* formed of a prefix that a router advertised */
};

struct dk_ifaddr {
    struct dk_ip ip;        /* version 0: a free place */
    struct dk_ip broadcast; /* of its network; version 0: none */
    uint8_t prefix_len;
    uint8_t state;     /* enum dk_ifaddr_state */
    bool probing;      /* whether anybody has it is being asked; TENTATIVE always is */
    uint8_t probes;    /* asked, times */
    uint8_t origin;    /* enum dk_ifaddr_origin */
    bool is_formed;    /* its lower half was (identifier.h), so there is another one */
    uint8_t conflicts; /* DAD_Counter of RFC 7217 */
    bool deprecated;   /* RFC 4862 section 5.5.4: not to begin anything with */
    uint8_t announced; /* IPv4: times */
    int64_t defended;  /* when it was last, or INT64_MIN */
    struct dk_net *net;
    struct dk_timer timer; /* of dad.c */
};

#define DK_IFADDRS_LEARNT_MAX 8
/* And a link-local address, and those that were learnt. */
#define DK_IFADDRS_MAX        (DK_NET_ADDRESSES_MAX + 1 + DK_IFADDRS_LEARNT_MAX)

struct dk_ifaddrs {
    uint32_t num; /* places that were ever used: those of the configuration first, in its order */
    struct dk_ifaddr list[DK_IFADDRS_MAX];
};

/* What a destination is to us. */
enum dk_dst { DK_DST_OTHER, DK_DST_OURS, DK_DST_GROUP, DK_DST_BROADCAST };

int dk_ifaddr_init(struct dk_net *net, const char **why_out);
void dk_ifaddr_fini(struct dk_net *net);

/*
 * Adds an address that was learnt: tentative, asked for on the link, and good when nobody has it;
 * its origin is told of either. Routes are the caller's. NULL: it cannot be an address, it is there
 * already, or there are too many.
 */
struct dk_ifaddr *dk_ifaddr_add(struct dk_net *net, const struct dk_net_address *address,
                                enum dk_ifaddr_origin origin, int64_t now);

/* Whether another address may take the place of a formed one that another host has; and takes it:
 * tentative again (RFC 7217 section 6). */
bool dk_ifaddr_may_reform(const struct dk_ifaddr *own);
void dk_ifaddr_reform(struct dk_ifaddr *own, int64_t now);

/* Takes it away: nothing is received for it, or sent from it, any more. */
void dk_ifaddr_remove(struct dk_net *net, struct dk_ifaddr *own);

/* The entry of an address, in any state, or NULL. */
struct dk_ifaddr *dk_ifaddr_find(struct dk_net *net, const struct dk_ip *ip);

/* What ip is: OURS only when good; GROUP whether or not we are in it. Loopback addresses are OTHER.
 */
enum dk_dst dk_ifaddr_classify(struct dk_net *net, const struct dk_ip *ip);

/* Whether ip is the broadcast address of one of our networks, or of all. */
bool dk_ifaddr_is_broadcast(const struct dk_net *net, const struct dk_ip *ip);

/* Whether ip is in the network of one of our addresses, or in another that is on the link. */
bool dk_ifaddr_on_link(const struct dk_net *net, const struct dk_ip *ip);

/* The address to send to dst from, by way of next_hop (RFC 1122 section 3.3.4.3, 6724 section 5);
 * NULL: none is good. */
const struct dk_ip *dk_ifaddr_source(const struct dk_net *net, const struct dk_ip *dst,
                                     const struct dk_ip *next_hop);

/* dad.c: begins with the detection and the announcements of all addresses. */
void dk_dad_start(struct dk_net *net, int64_t now);

/* The same of one, and the end of it. */
void dk_dad_begin(struct dk_ifaddr *own, int64_t now);
void dk_dad_end(struct dk_ifaddr *own);

/* Tells all neighbours of our addresses once more, whose link address is another (RFC 5227 section
 * 3, 4861 section 7.2.6). */
void dk_dad_announce(struct dk_net *net, int64_t now);

/* Another host, of mac (NULL: not known), was seen to have an address of ours, or is about to take
 * one that we are asking for (RFC 5227 sections 2.1.1 and 2.4, 4862 section 5.4). */
void dk_dad_conflict(struct dk_net *net, struct dk_ifaddr *address, const struct dk_mac *mac,
                     int64_t now);

/* Another stack on the link saw that, or has lost the address for it (others.h). */
void dk_dad_told(struct dk_net *net, const struct dk_net_news *news, int64_t now);

#endif /* DK_NET_IFADDR_H */
