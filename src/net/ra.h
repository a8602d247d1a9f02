/* SPDX-License-Identifier: MIT */
/*
 * Routers of the link and what they advertise (RFC 4861 section 6.3, 4862). Private to src/net.
 *
 * Learnt of each advertisement: the router itself, as a default route for its lifetime; networks
 * that are on the link; prefixes that addresses are formed of, for their lifetimes; the MTU, the
 * hop limit, and the times of neighbour discovery.
 *
 * Addresses have the identifiers of identifier.h, as the link-local one does, one for each prefix.
 * Left out: DHCPv6, which a router may point to, names of servers
 * (RFC 8106), and preferences of routers (RFC 4191).
 */
#ifndef DK_NET_RA_H
#define DK_NET_RA_H

#include "net/ifaddr.h"
#include "net/wire/nd.h"

#define DK_RA_ROUTERS_MAX  4
#define DK_RA_NETWORKS_MAX 8

/* Times are when it ends, INT64_MAX: never. */
struct dk_ra_router {
    struct dk_ip ip; /* version 0: a free place */
    int64_t end;
};

struct dk_ra_network {
    struct dk_ip prefix; /* version 0: a free place */
    uint8_t prefix_len;
    int64_t end;
};

struct dk_ra_address {
    struct dk_ifaddr *own; /* NULL: a free place */
    struct dk_ip prefix;
    int64_t valid_end, preferred_end;
};

struct dk_ra {
    struct dk_net *net;
    struct dk_timer solicit; /* runs until a router answers */
    struct dk_timer expiry;  /* of whatever ends first */
    int64_t wait;            /* between the latest two solicitations, 0: none was sent */
    uint32_t solicits;
    bool answered;
    uint32_t reachable_ms;
    struct dk_ra_router routers[DK_RA_ROUTERS_MAX];
    struct dk_ra_network networks[DK_RA_NETWORKS_MAX];
    struct dk_ra_address addresses[DK_IFADDRS_LEARNT_MAX];
};

/* Does nothing unless the configuration asks for it. 0, -ENOMEM. */
int dk_ra_init(struct dk_net *net, int64_t now);
void dk_ra_fini(struct dk_net *net);

/* An advertisement, which net/wire/nd.c found valid. */
void dk_ra_input(struct dk_net *net, const struct dk_ip *from, const struct dk_nd *nd, int64_t now);

/* A neighbour says that it is no router any more (RFC 4861 section 7.2.5). */
void dk_ra_no_router(struct dk_net *net, const struct dk_ip *ip);

/* dad.c knows whether an address is ours alone. */
void dk_ra_decided(struct dk_net *net, struct dk_ifaddr *own);

#endif /* DK_NET_RA_H */
