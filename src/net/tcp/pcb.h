/* SPDX-License-Identifier: MIT */
/*
 * Connections: the table that finds them by their two ends, how they begin and end.
 */
#ifndef DK_NET_TCP_PCB_H
#define DK_NET_TCP_PCB_H

#include "net/tcp/tcb.h"

#include <endian.h>

__extension__ typedef unsigned __int128 dk_tcp_wide;

static inline uint64_t dk_tcp_mix(uint64_t a, uint64_t b)
{
    dk_tcp_wide product = (dk_tcp_wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Both ports as they stand in a segment that arrives, in one word. */
static inline uint32_t dk_tcp_ports(uint16_t local_port, uint16_t remote_port)
{
    const uint16_t in_order[2] = {htobe16(remote_port), htobe16(local_port)};
    uint32_t ports;
    memcpy(&ports, in_order, sizeof(ports));
    return ports;
}

/* Both addresses as they stand in the header of an IPv4 packet that arrives, in one word. */
static inline uint64_t dk_tcp_pair4(const struct dk_ip *local, const struct dk_ip *remote)
{
    const uint32_t in_order[2] = {remote->v4, local->v4};
    uint64_t pair;
    memcpy(&pair, in_order, sizeof(pair));
    return pair;
}

/* Keyed, so that a peer cannot fill one bucket; a 64 by 64 bit multiplication, twice for IPv6,
 * because each segment pays it. */
static inline uint64_t dk_tcp_hash4(const struct dk_tcp *tcp, uint64_t pair, uint32_t ports)
{
    return dk_tcp_mix(pair ^ tcp->hash_key[0], ports ^ tcp->hash_key[1]);
}

static inline uint64_t dk_tcp_hash(const struct dk_tcp *tcp, const struct dk_ip *local,
                                   const struct dk_ip *remote, uint32_t ports)
{
    const uint64_t *key = tcp->hash_key;
    if (dk_likely(local->version == 4))
        return dk_tcp_hash4(tcp, dk_tcp_pair4(local, remote), ports);
    const uint64_t h = dk_tcp_mix(local->words[0] ^ key[0], remote->words[0] ^ key[1]) ^ ports;
    return dk_tcp_mix(h ^ local->words[1] ^ key[1], remote->words[1] ^ key[0]);
}

/* The connection of a node, which is its first member; NULL of NULL. */
static inline struct dk_tcp_conn *dk_tcp_conn_of(struct dk_tcp_node *node)
{
    return (struct dk_tcp_conn *)(void *)node;
}

static inline bool dk_tcp_is_between(const struct dk_tcp_conn *c, const struct dk_ip *local,
                                     const struct dk_ip *remote, uint32_t ports)
{
    return c->ports == ports && c->remote_ip.words[0] == remote->words[0] &&
           c->local_ip.words[0] == local->words[0] && c->remote_ip.version == remote->version &&
           (local->version == 4 ||
            (c->remote_ip.words[1] == remote->words[1] && c->local_ip.words[1] == local->words[1]));
}

/* A packet came to a connection: whether frames with its addresses are known to be good now. */
static inline void dk_tcp_learn_pair(struct dk_tcp_conn *c, const struct dk_ip_rx *p)
{
    if (p->is_plain_pair)
        c->pair4 = dk_tcp_pair4(&p->dst, &p->src);
}

/* The connection of both addresses, which are of one version, and both ports; NULL: there is none.
 */
static inline struct dk_tcp_conn *dk_tcp_find(const struct dk_tcp *tcp, const struct dk_ip *local,
                                              const struct dk_ip *remote, uint32_t ports)
{
    uint64_t hash = dk_tcp_hash(tcp, local, remote, ports);
    struct dk_tcp_conn *c = dk_tcp_conn_of(dk_tcp_table_first(&tcp->table, hash));
    while (c && dk_unlikely(!dk_tcp_is_between(c, local, remote, ports)))
        c = dk_tcp_conn_of(dk_tcp_table_next(&tcp->table, &c->node));
    return c;
}

static inline struct dk_tcp_conn *dk_tcp_lookup(struct dk_tcp *tcp, const struct dk_ip *local,
                                                uint16_t local_port, const struct dk_ip *remote,
                                                uint16_t remote_port)
{
    return dk_tcp_find(tcp, local, remote, dk_tcp_ports(local_port, remote_port));
}

/* Makes a connection in CLOSED, with the options given, and puts it in the table. NULL: limit or
 * memory. */
struct dk_tcp_conn *dk_tcp_conn_create(struct dk_tcp *tcp, const struct dk_endpoint *local,
                                       const struct dk_endpoint *remote,
                                       const int64_t option[DK_TCP_OPTIONS]);

void dk_tcp_set_state(struct dk_tcp_conn *c, enum dk_tcp_state state, int64_t now);

/* Enters TIME_WAIT: only acknowledging a FIN that comes again is left to do. */
void dk_tcp_enter_time_wait(struct dk_tcp_conn *c, int64_t now);

/*
 * Ends a connection: CLOSED, with an error to tell, or 0. Elements complete with the error (0:
 * -ECANCELED). Bytes that were received stay for an owner that may read them. Twice is once. A
 * connection without owner is freed by the next dk_tcp_advance.
 */
void dk_tcp_conn_end(struct dk_tcp_conn *c, int err);

/* Frees one that has ended and has no owner. */
void dk_tcp_conn_free(struct dk_tcp_conn *c);

/* Ends and frees one without owner at once. */
void dk_tcp_conn_drop(struct dk_tcp_conn *c);

#endif /* DK_NET_TCP_PCB_H */
