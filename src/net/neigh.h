/* SPDX-License-Identifier: MIT */
/*
 * The neighbour table: link addresses of hosts on the link, for ARP and neighbour discovery alike
 * (RFC 4861 section 5.1 and 7.3; RFC 826 with the same states). Private to src/net.
 *
 *      (none) --send--> INCOMPLETE --answer--> REACHABLE --30 s--> STALE --send--> DELAY
 *                           |                      ^                                 | 5 s
 *                        3 asked                   +--------answer, or hint-------- PROBE
 *                           v                                                        |
 *                        FAILED <------------------3 asked-----------------------------+
 *
 * In all states but INCOMPLETE and FAILED the address is used. Packets wait in INCOMPLETE, in the
 * order in which they were sent; and in any state behind one that the device had no room for.
 */
#ifndef DK_NET_NEIGH_H
#define DK_NET_NEIGH_H

#include "base/list.h"
#include "base/timer_wheel.h"
#include "net/ip_out.h"

#define DK_NEIGH_MAX         1024
#define DK_NEIGH_WAITING_MAX 288        /* packets, of one neighbour */
#define DK_NEIGH_PACKETS_MAX 512        /* packets that wait, of all */
#define DK_NEIGH_BYTES_MAX   (4u << 20) /* that those hold */

enum dk_neigh_state {
    DK_NEIGH_FREE,
    DK_NEIGH_INCOMPLETE,
    DK_NEIGH_REACHABLE,
    DK_NEIGH_STALE,
    DK_NEIGH_DELAY,
    DK_NEIGH_PROBE,
    DK_NEIGH_FAILED,    /* does not answer: asked again when it is sent to after a second */
    DK_NEIGH_PERMANENT, /* given, never asked for */
};

struct dk_neigh {
    struct dk_list hash;    /* free: in the list of those */
    struct dk_list lru;     /* least recently used first */
    struct dk_list blocked; /* has packets for which the device had no room */
    struct dk_list waiting; /* struct dk_waiting */
    struct dk_net *net;
    struct dk_timer timer;
    struct dk_ip ip;
    struct dk_mac mac;
    uint8_t state;  /* enum dk_neigh_state */
    uint8_t asked;  /* times, in this state */
    bool is_router; /* RFC 4861 */
    uint32_t num_waiting;
    int64_t until; /* REACHABLE: when that ends; FAILED: when it may be asked again */
    int64_t used;  /* when it was last moved in lru */
};

#define DK_NEIGH_LRU_NS DK_NS_PER_S /* how exact the order of lru is */

/* Until when packets may go to an entry's link address with no state or order to change, unless the
 * table says before that ways have changed (dk_ways_changed). INT64_MIN: not now. */
int64_t dk_neigh_ready_until(const struct dk_neigh *neigh);

int dk_neigh_init(struct dk_net *net, int64_t now);
void dk_neigh_fini(struct dk_net *net);

/* Sends a packet of that many bytes to a neighbour, or keeps it until the neighbour's address is
 * known: as dk_ip_send. */
int dk_neigh_send(struct dk_net *net, const struct dk_ip *next_hop, struct dk_ip_tx *tx,
                  uint32_t bytes, int64_t now);

/* Sends a packet to a group or to broadcast. */
int dk_neigh_send_group(struct dk_net *net, struct dk_ip_tx *tx, uint32_t bytes);

/* How many packets wait. */
uint32_t dk_neigh_waiting(const struct dk_net *net);

/* Copies what waits and lies in memory that others may see. false: not all, for want of memory. */
bool dk_neigh_own(struct dk_net *net);

/* The device has room again. */
void dk_neigh_tx_room(struct dk_net *net);

struct dk_neigh *dk_neigh_find(struct dk_net *net, const struct dk_ip *ip);

/* The link address of a neighbour, found without a list: false, it is not known. */
bool dk_neigh_look(const struct dk_net *net, const struct dk_ip *ip, struct dk_mac *mac_out);

/* What a message of a neighbour's says about its link address. */
struct dk_neigh_news {
    struct dk_ip ip;
    struct dk_mac mac;
    bool has_mac;
    bool solicited; /* an answer to what we asked */
    bool override;  /* it goes before what is known (RFC 4861 section 7.2.5) */
    bool create;    /* make an entry where there is none */
};

/* Learns of it. The entry, or NULL: there is none. */
struct dk_neigh *dk_neigh_learn(struct dk_net *net, const struct dk_neigh_news *news, int64_t now);

/* Learns of it from another stack on the link (others.h): of what we know, or ask for. */
void dk_neigh_told(struct dk_net *net, const struct dk_net_news *news, int64_t now);

/* What a router says of these times (RFC 4861 section 6.3.4), instead of the defaults. */
void dk_neigh_set_reachable(struct dk_net *net, int64_t base_ns);
void dk_neigh_set_retrans(struct dk_net *net, int64_t ns);

/* arp.c, nd.c: ask for a neighbour; mac NULL: all that may know. false: the device had no room. */
void dk_arp_ask(struct dk_net *net, const struct dk_ip *target, const struct dk_mac *mac);
void dk_nd_ask(struct dk_net *net, const struct dk_ip *target, bool unicast);

#endif /* DK_NET_NEIGH_H */
