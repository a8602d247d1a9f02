/* SPDX-License-Identifier: MIT */
/*
 * What the files of src/net share: the stack itself, its counters, and the table of transports.
 * Private to src/net (and its unit tests).
 *
 * Each file owns one part of struct dk_net, made by its init and ended by its fini (net.c has the
 * order). A file that wants something of another calls its functions.
 */
#ifndef DK_NET_STACK_H
#define DK_NET_STACK_H

#include "base/random.h"
#include "base/timer_wheel.h"
#include "net/gro.h"
#include "net/ip.h"
#include "net/net.h"
#include "net/wire/reason.h"

#include <errno.h>
#include <stddef.h>

#define DK_NS_PER_MS INT64_C(1000000)
#define DK_NS_PER_S  INT64_C(1000000000)

/*
 * Counters: X(field, "name"). Each reason to drop a packet is one, here or in net/wire/reason.h.
 * Transports have lists of their own, which their stat function reports.
 */
#define DK_NET_STATS(X)                                                                            \
    X(link_rx, "link.rx")                     /* frames */                                         \
    X(link_tx, "link.tx")                     /* frames */                                         \
    X(gro_frames, "gro.frames")               /* taken together with those before them */          \
    X(link_tx_full, "link.tx_full")           /* the device had no room */                         \
    X(link_not_ours, "link.not_ours")         /* dropped: another host's */                        \
    X(link_bad_source, "link.source")         /* dropped: from a group address */                  \
    X(link_vlan, "link.vlan")                 /* dropped: not of our VLAN */                       \
    X(link_type, "link.type")                 /* dropped: neither IP nor ARP */                    \
    X(arp_requests, "arp.requests")           /* sent */                                           \
    X(arp_probes, "arp.probes")               /* sent */                                           \
    X(arp_replies, "arp.replies")             /* sent */                                           \
    X(arp_announcements, "arp.announcements") /* sent */                                           \
    X(arp_own, "arp.own")                     /* dropped: our own frame came back */               \
    X(arp_off_link, "arp.off_link")           /* dropped: of a host on none of our networks */     \
    X(arp_unasked, "arp.unasked")             /* dropped: of a host that nobody asked for */       \
    X(address_conflicts, "address.conflicts") /* another host was seen with an address of ours */  \
    X(address_duplicates, "address.duplicates")   /* addresses that are not used for that */       \
    X(address_formed_anew, "address.formed_anew") /* in the place of such */                       \
    X(address_defences, "address.defences")       /* answers to that */                            \
    X(nd_solicits, "nd.solicits")                 /* sent */                                       \
    X(nd_adverts, "nd.adverts")                   /* sent */                                       \
    X(nd_not_sent, "nd.not_sent")                 /* messages that could not be sent */            \
    X(nd_off_link, "nd.off_link")                 /* dropped: of a host on none of our networks */ \
    X(nd_not_ours, "nd.not_ours")                 /* dropped: asks for another */                  \
    X(nd_unasked, "nd.unasked")                   /* dropped: of a host that nobody asked for */   \
    X(nd_router_adverts, "nd.router_adverts")     /* ignored: routers are configured */            \
    X(nd_solicits_routers, "nd.solicits_routers") /* sent */                                       \
    X(ra_taken, "ra.taken")                       /* advertisements of routers */                  \
    X(ra_addresses, "ra.addresses")               /* formed */                                     \
    X(ra_expired, "ra.expired")                   /* addresses whose time ended */                 \
    X(ra_bad_prefix,                                                                               \
      "ra.bad_prefix") /* ignored: of a link, too short, or lifetimes that cannot be */            \
    X(ra_table_full, "ra.table_full") /* ignored: too many routers, networks or addresses */       \
    X(dhcp_sent, "dhcp.sent")                                                                      \
    X(dhcp_not_sent, "dhcp.not_sent")                                                              \
    X(dhcp_bound, "dhcp.bound")             /* leases, and renewals of them */                     \
    X(dhcp_expired, "dhcp.expired")         /* leases that nobody renewed */                       \
    X(dhcp_naks, "dhcp.naks")               /* leases that a server ended */                       \
    X(dhcp_declined, "dhcp.declined")       /* addresses that another host had */                  \
    X(dhcp_refused, "dhcp.refused")         /* dropped: an offer that we cannot use */             \
    X(dhcp_bad_route, "dhcp.bad_route")     /* routes left out: the gateway is not on the link */  \
    X(dhcp_not_ours, "dhcp.not_ours")       /* dropped: for another client, or of no server */     \
    X(dhcp_unexpected, "dhcp.unexpected")   /* dropped: nothing that is waited for */              \
    X(link_mtu_refused, "link.mtu_refused") /* ignored: an MTU that the link cannot have */        \
    X(nd_router_solicits, "nd.router_solicits") /* ignored: we are no router */                    \
    X(nd_redirects, "nd.redirects")             /* ignored */                                      \
    X(neigh_failed, "neigh.failed")             /* neighbours that did not answer */               \
    X(neigh_changed, "neigh.changed")           /* link addresses that changed */                  \
    X(neigh_evicted, "neigh.evicted")           /* entries that made room for others */            \
    X(neigh_table_full, "neigh.table_full")     /* refused: too many neighbours are asked for */   \
    X(neigh_queue_full, "neigh.queue_full")     /* refused: too many packets wait */               \
    X(neigh_dropped, "neigh.dropped")           /* packets that waited in vain */                  \
    X(neigh_copied_bytes, "neigh.copied_bytes") /* of packets that waited longer than push_hold */ \
    X(ip_no_route, "ip.no_route")               /* refused: no route */                            \
    X(ip4_source, "ip4.source")                 /* dropped: from no host */                        \
    X(ip4_own_source, "ip4.own_source")         /* dropped: from our own address */                \
    X(ip4_link_broadcast, "ip4.link_broadcast") /* dropped: to us, in a frame to all */            \
    X(ip4_group, "ip4.group")                   /* dropped: to a group that we are not in */       \
    X(ip4_not_ours, "ip4.not_ours")             /* dropped: to another host */                     \
    X(ip4_protocol, "ip4.protocol")             /* dropped: of no protocol that we have */         \
    X(ip6_source, "ip6.source")                 /* dropped: from no host */                        \
    X(ip6_own_source, "ip6.own_source")         /* dropped: from our own address */                \
    X(ip6_link_group, "ip6.link_group")         /* dropped: to us, in a frame to a group */        \
    X(ip6_group, "ip6.group")                   /* dropped: to a group that we are not in */       \
    X(ip6_not_ours, "ip6.not_ours")             /* dropped: to another host */                     \
    X(ip6_no_next, "ip6.no_next")               /* dropped: carries nothing */                     \
    X(ip6_protocol, "ip6.protocol")             /* dropped: of no protocol that we have */         \
    X(others_passed, "workers.passed")      /* packets for no socket here, to the next worker */   \
    X(others_taken, "workers.taken")        /* packets that another passed, for a socket here */   \
    X(others_dropped, "workers.dropped")    /* packets that could not be passed: no room */        \
    X(loop_packets, "loop.packets")         /* to ourselves */                                     \
    X(pmtu_lowered, "pmtu.lowered")         /* paths that take less */                             \
    X(pmtu_implausible, "pmtu.implausible") /* ignored: not less than known, or too little */      \
    X(frag_sent, "frag.sent")               /* fragments */                                        \
    X(frag_received, "frag.received")       /* fragments */                                        \
    X(frag_reassembled, "frag.reassembled") /* packets */                                          \
    X(frag_duplicate, "frag.duplicate")     /* dropped: the same again */                          \
    X(frag_overlap, "frag.overlap")         /* packets dropped: fragments overlap */               \
    X(frag_of_overlap, "frag.of_overlap")   /* dropped: fragments of such a packet */              \
    X(frag_timeout, "frag.timeout")         /* packets dropped: not whole in time */               \
    X(frag_evicted, "frag.evicted")         /* packets dropped: made room for others */            \
    X(frag_limit, "frag.limit")         /* packets dropped: too many fragments, or no memory */    \
    X(frag_empty, "frag.empty")         /* dropped: no bytes */                                    \
    X(frag_tiny, "frag.tiny")           /* dropped: hides the header of TCP */                     \
    X(frag_header, "frag.header")       /* dropped: more headers than we keep */                   \
    X(frag_too_long, "frag.too_long")   /* dropped: the packet would be too long */                \
    X(frag_nested, "frag.nested")       /* dropped: a fragment inside of fragments */              \
    X(icmp_errors, "icmp.errors")       /* sent */                                                 \
    X(icmp_limited, "icmp.limited")     /* errors not sent: too many */                            \
    X(icmp_forbidden, "icmp.forbidden") /* errors not sent: by the rules */                        \
    X(icmp_not_sent, "icmp.not_sent")   /* messages that could not be sent */                      \
    X(icmp_echo_replies, "icmp.echo_replies") /* sent */                                           \
    X(icmp_echo_limited, "icmp.echo_limited") /* echo requests dropped: too many */                \
    X(icmp_echo_group, "icmp.echo_group")     /* echo requests dropped: to all */                  \
    X(icmp_unmatched, "icmp.unmatched")       /* dropped: about nothing that we sent */            \
    X(icmp_ignored, "icmp.ignored")           /* dropped: of a type that we have no use for */     \
    X(igmp_bad, "igmp.bad")                   /* dropped: length or checksum */                    \
    X(igmp_queries, "igmp.queries")                                                                \
    X(igmp_ignored, "igmp.ignored") /* dropped: of a type that we have no use for */               \
    X(mld_bad, "mld.bad")           /* dropped: length, hop limit, or source */                    \
    X(mld_queries, "mld.queries")                                                                  \
    X(group_reports, "group.reports") /* sent, of joining and leaving */

struct dk_net_stats {
#define DK_NET_STATS_FIELD(field, name) uint64_t field;
    DK_NET_STATS(DK_NET_STATS_FIELD)
#undef DK_NET_STATS_FIELD
};

#define DK_TRANSPORT_IP4 1
#define DK_TRANSPORT_IP6 2

/*
 * A protocol over IP. The table in net.c lists them all; each may be called from the moment that
 * its init returned until its fini. Every function but init and input may be NULL.
 */
struct dk_transport {
    const char *name;
    uint8_t protocol; /* DK_IP_..., of packets that it takes */
    uint8_t versions; /* DK_TRANSPORT_... */
    /* Makes its state. 0 or -ENOMEM. */
    int (*init)(struct dk_net *net, int64_t now);
    void (*fini)(struct dk_net *net);
    /* Takes a packet for us. It keeps bytes by dk_buf_keep of rx->buf. */
    void (*input)(struct dk_net *net, const struct dk_ip_rx *rx, int64_t now);
    /* A packet of this protocol that we sent has met an error; quoted is not checked. */
    void (*icmp_error)(struct dk_net *net, const struct dk_icmp_error *error, int64_t now);
    /* When dk_net_advance has something to do for it (net.c calls those that put things off). */
    int64_t (*next_due)(const struct dk_net *net);
    void (*tx_room)(struct dk_net *net, int64_t now);
    /* Neighbours became known, or are known not to be there, for which packets of patient senders
     * found no room. */
    void (*resolved)(struct dk_net *net, int64_t now);
    /* An address that was ours is not any more: what was opened from it ends. */
    void (*address_lost)(struct dk_net *net, const struct dk_ip *ip, int64_t now);
    /* Its counters, as many as have names; NULL: it has none. */
    const uint64_t *(*stats)(const struct dk_net *net);
    const char *const *stat_names;
    size_t num_stats;
};

extern const struct dk_transport dk_icmp4_transport;
extern const struct dk_transport dk_icmp6_transport;
extern const struct dk_transport dk_igmp_transport;
extern const struct dk_transport dk_udp_transport;

/* udp.c: tells the events of sockets. */
void dk_udp_advance(struct dk_net *net, int64_t now);

/* udp_flow.c: takes a frame that seems to have a datagram, and at least the headers of Ethernet,
 * IP, without options, and UDP. The time is net->now. */
void dk_udp_input4(struct dk_net *net, struct dk_rx_frame *frame);
void dk_udp_input6(struct dk_net *net, struct dk_rx_frame *frame);

/* udp_flow.c: an address of ours, or a socket, changed. */
void dk_udp_forget_flows(struct dk_net *net);

#define DK_IP_IGMP 2

#define DK_IP_TTL_DEFAULT 64 /* RFC 1700; hop limit likewise */

#define DK_NET_FRAGMENT_COUNTERS 256

#define DK_NET_IP4_PAIRS 64

/* What dk_net_advance has to do, beside timers: dk_net_due.what. */
#define DK_NET_DUE_LOOP     (1u << 0) /* loop.c has packets */
#define DK_NET_DUE_UDP      (1u << 1) /* udp.c has events to tell */
#define DK_NET_DUE_TX_ROOM  (1u << 2) /* loop.c has room again */
#define DK_NET_DUE_RESOLVED (1u << 3) /* patient senders may try again (neigh.c) */
#define DK_NET_DUE_TCP      (1u << 4) /* TCP has events to tell (tcp/event.h) */

struct dk_net {
    int64_t now; /* of the latest call */
    struct dk_net_config config;
    struct dk_random random; /* of jitter, not of secrets */
    struct dk_ifaddrs *addrs;
    struct dk_routes *routes;
    struct dk_pmtu *pmtu;
    struct dk_neigh_table *neigh;
    struct dk_reass *reass;
    struct dk_groups *groups;
    struct dk_icmp *icmp;
    struct dk_loop *loop;
    struct dk_udp *udp;
    struct dk_tcp *tcp;
    struct dk_dhcp_client *dhcp;     /* NULL: not wanted */
    struct dk_ra *ra;                /* NULL: not wanted */
    uint32_t link_mtu;               /* of the configuration */
    uint16_t learnt_mtu[2];          /* of DHCP, of routers; 0: none */
    uint8_t hop_limit;               /* of IPv6 packets whose sender names none */
    uint64_t plain_word, plain_mask; /* of plain.c, as the next */
    uint64_t ip4_pairs[DK_NET_IP4_PAIRS];
    struct dk_net_due due;
    uint16_t origin;          /* the worker that the packet at work came to (others.h) */
    bool is_whole;            /* it is passed as one that was put together of fragments */
    bool is_taken;            /* it was passed here, and for a socket of ours */
    bool patient_wait;        /* of neigh.c: senders were told -EBUSY */
    bool pmtu_known;          /* something was learned of a path */
    uint64_t ways_generation; /* of what is known for sending at once (route.h) */
    struct dk_gro gro;        /* what follows the frame that is worked on */
    const uint8_t *udp_frame; /* that one, where it may be of a flow to be learnt, or NULL */
    uint32_t num_transports;  /* whose init succeeded */
    uint32_t port_counter;    /* of port.c */
    uint32_t fragment_counters[DK_NET_FRAGMENT_COUNTERS];
    const struct dk_transport *by_protocol[2][256]; /* IPv4, IPv6 */
    struct dk_net_stats stats;
    uint64_t wire[DK_WIRE_COUNT]; /* what net/wire found wrong */
    struct dk_wheel wheel;
};

static inline void dk_net_count(uint64_t *counter)
{
    dk_count(counter, 1);
}

static inline void dk_net_drop(struct dk_net *net, enum dk_wire reason)
{
    dk_count(&net->wire[reason], 1);
}

/* The MTU of the link is the least of what is known: it goes to config.mtu. */
void dk_net_mtu_changed(struct dk_net *net);

/* Tells the transports. */
void dk_net_address_lost(struct dk_net *net, const struct dk_ip *ip, int64_t now);

/* What takes packets of a protocol, or NULL. */
static inline const struct dk_transport *dk_transport_find(const struct dk_net *net,
                                                           uint8_t version, uint8_t protocol)
{
    return net->by_protocol[version == 6][protocol];
}

/* port.c: makes a port the stack's: see dk_net_config.claim. */
int dk_port_claim(struct dk_net *net, uint8_t protocol, const struct dk_endpoint *local);

/* Sets the bit of a port. */
static inline void dk_port_mark(uint64_t bits[DK_NET_PORT_WORDS], uint16_t port)
{
    bits[port / 64] |= UINT64_C(1) << port % 64;
}

/* udp.c: as dk_net_ports_in_use. */
void dk_udp_mark_ports(const struct dk_net *net, uint64_t bits[DK_NET_PORT_WORDS]);

/*
 * Chooses a local port that nobody can guess (RFC 6056 section 3.3.3: keyed hash of the endpoints
 * plus a counter; remote NULL: not known yet). taken says whether a port cannot be had. 0 or
 * -EADDRNOTAVAIL.
 */
int dk_port_choose(struct dk_net *net, uint8_t protocol, const struct dk_ip *local,
                   const struct dk_endpoint *remote, bool (*taken)(void *arg, uint16_t port),
                   void *arg, uint16_t *port_out);

#endif /* DK_NET_STACK_H */
