/* SPDX-License-Identifier: MIT */
/*
 * Reservations are a list: there are as many as sockets that were bound, and only binding,
 * connecting and listening look at them.
 */
#include "net/tcp/port.h"

#include "base/siphash.h"
#include "mem/heap.h"
#include "net/others.h"
#include "net/tcp/open.h"
#include "net/tcp/pcb.h"
#include "net/tcp/time_wait.h"

bool dk_tcp_ip_is_any(const struct dk_ip *ip)
{
    return ip->version == 0 || (ip->words[0] | ip->words[1]) == 0;
}

bool dk_tcp_ip_covers(const struct dk_ip *local, const struct dk_ip *ip)
{
    if (local->version == 0)
        return true;
    if (local->version != ip->version)
        return false;
    return dk_tcp_ip_is_any(local) || dk_ip_equal(local, ip);
}

bool dk_tcp_ip_overlaps(const struct dk_ip *a, const struct dk_ip *b)
{
    return dk_tcp_ip_covers(a, b) || dk_tcp_ip_covers(b, a);
}

static struct dk_tcp_binding *binding_of(struct dk_list *at)
{
    return dk_container_of(at, struct dk_tcp_binding, link);
}

static bool is_bound(const struct dk_tcp *tcp, const struct dk_endpoint *local)
{
    struct dk_list *at;
    dk_list_for_each (at, &tcp->bindings) {
        const struct dk_endpoint *other = &binding_of(at)->local;
        if (other->port == local->port && dk_tcp_ip_overlaps(&other->ip, &local->ip))
            return true;
    }
    dk_list_for_each (at, &tcp->listeners) {
        const struct dk_endpoint *other = &dk_container_of(at, struct dk_tcp_listener, link)->local;
        if (other->port == local->port && dk_tcp_ip_overlaps(&other->ip, &local->ip))
            return true;
    }
    return false;
}

static bool is_connected(const struct dk_tcp *tcp, const struct dk_endpoint *local)
{
    struct dk_list *at;
    dk_list_for_each (at, &tcp->all) {
        const struct dk_tcp_conn *c = dk_container_of(at, struct dk_tcp_conn, all_link);
        if (c->hashed && c->local_port == local->port && dk_tcp_ip_covers(&local->ip, &c->local_ip))
            return true;
    }
    dk_list_for_each (at, &tcp->time_wait) {
        const struct dk_tcp_time_wait *tw = dk_container_of(at, struct dk_tcp_time_wait, link);
        if (tw->local_port == local->port && dk_tcp_ip_covers(&local->ip, &tw->local_ip))
            return true;
    }
    return false;
}

/* A number that nobody else can guess, of some bytes. */
static uint64_t keyed(const struct dk_tcp *tcp, const void *bytes, size_t len)
{
    return dk_siphash(tcp->config.secret, bytes, len);
}

static uint32_t num_ports(const struct dk_tcp *tcp)
{
    return (uint32_t)tcp->config.port_last - tcp->config.port_first + 1;
}

static bool is_marked(const uint64_t bits[DK_NET_PORT_WORDS], uint16_t port)
{
    return bits[port / 64] >> port % 64 & 1;
}

/* In one walk, whatever the address: a caller who chooses a port is free to. */
void dk_tcp_mark_ports(const struct dk_tcp *tcp, uint64_t bits[DK_NET_PORT_WORDS])
{
    struct dk_list *at;
    dk_list_for_each (at, &tcp->bindings)
        dk_port_mark(bits, binding_of(at)->local.port);
    dk_list_for_each (at, &tcp->listeners)
        dk_port_mark(bits, dk_container_of(at, struct dk_tcp_listener, link)->local.port);
    dk_list_for_each (at, &tcp->all)
        dk_port_mark(bits, dk_container_of(at, struct dk_tcp_conn, all_link)->local_port);
}

static void mark_time_waits(const struct dk_tcp *tcp, uint64_t bits[DK_NET_PORT_WORDS])
{
    struct dk_list *at;
    dk_list_for_each (at, &tcp->time_wait)
        dk_port_mark(bits, dk_container_of(at, struct dk_tcp_time_wait, link)->local_port);
}

static int claim(struct dk_tcp *tcp, const struct dk_endpoint *local)
{
    return dk_port_claim(tcp->net, DK_IP_TCP, local);
}

static int bind_any(struct dk_tcp *tcp, struct dk_endpoint *local)
{
    uint64_t used[DK_NET_PORT_WORDS] = {0};
    int err = -EADDRINUSE;
    uint32_t n = num_ports(tcp);
    uint64_t seed[2] = {tcp->port_counters[0]++, tcp->stats.rx_segments};
    uint64_t from = keyed(tcp, seed, sizeof(seed));
    dk_tcp_mark_ports(tcp, used);
    mark_time_waits(tcp, used);
    for (uint32_t i = 0; i < n && err == -EADDRINUSE; i++) {
        local->port = (uint16_t)(tcp->config.port_first + (from + i) % n);
        if (!is_marked(used, local->port) &&
            dk_others_leave(tcp->net, DK_IP_TCP, &local->ip, local->port, NULL))
            err = claim(tcp, local);
    }
    return err == -EADDRINUSE ? -EADDRNOTAVAIL : err;
}

int dk_tcp_bind(struct dk_tcp *tcp, struct dk_endpoint *local_in_out, uint32_t flags)
{
    struct dk_endpoint local = *local_in_out;
    int err = -EADDRINUSE;
    if (local.port == 0)
        err = bind_any(tcp, &local);
    else if (!is_bound(tcp, &local) && (flags & DK_TCP_BIND_REUSE || !is_connected(tcp, &local)))
        err = claim(tcp, &local);
    if (err)
        return err;
    struct dk_tcp_binding *binding = dk_heap_malloc(sizeof(*binding));
    if (!binding)
        return -ENOBUFS;
    binding->local = *local_in_out = local;
    dk_list_add_tail(&tcp->bindings, &binding->link);
    return 0;
}

void dk_tcp_unbind(struct dk_tcp *tcp, const struct dk_endpoint *local)
{
    struct dk_list *at;
    dk_list_for_each (at, &tcp->bindings) {
        struct dk_tcp_binding *binding = binding_of(at);
        if (binding->local.port == local->port && dk_ip_equal(&binding->local.ip, &local->ip)) {
            dk_list_del(at);
            dk_heap_free(binding);
            return;
        }
    }
}

void dk_tcp_port_fini(struct dk_tcp *tcp)
{
    struct dk_list *first;
    while ((first = dk_list_first(&tcp->bindings))) {
        dk_list_del(first);
        dk_heap_free(binding_of(first));
    }
}

/* Whether a port will do; in the second pass also one whose connection may be replaced. */
static bool is_usable(struct dk_tcp *tcp, const struct dk_endpoint *local,
                      const struct dk_endpoint *remote, bool replace, int64_t now)
{
    const uint32_t ports = dk_tcp_ports(local->port, remote->port);
    const struct dk_tcp_conn *c = dk_tcp_find(tcp, &local->ip, &remote->ip, ports);
    const struct dk_tcp_time_wait *tw =
        c ? NULL : dk_tcp_time_wait_find(tcp, &local->ip, &remote->ip, ports);
    if (local->port == remote->port && dk_ip_equal(&local->ip, &remote->ip))
        return false; /* a connection with itself: nobody meant that */
    if (c && !(replace && dk_tcp_open_may_replace(c, now)))
        return false;
    if (tw && !(replace && dk_tcp_time_wait_may_replace(tw, now)))
        return false;
    return !is_bound(tcp, local);
}

int dk_tcp_port_choose(struct dk_tcp *tcp, struct dk_endpoint *local,
                       const struct dk_endpoint *remote, int64_t now)
{
    struct {
        struct dk_ip local, remote;
        uint64_t port, which;
    } ends = {local->ip, remote->ip, remote->port, 0};
    uint64_t offset = keyed(tcp, &ends, sizeof(ends));
    ends.which = 1;
    uint32_t *counter = &tcp->port_counters[keyed(tcp, &ends, sizeof(ends)) % DK_TCP_PORT_COUNTERS];
    uint32_t n = num_ports(tcp);
    int err = -EADDRINUSE;
    for (uint32_t i = 0; i < 2 * n && err == -EADDRINUSE; i++) {
        local->port = (uint16_t)(tcp->config.port_first + (offset + (*counter)++) % n);
        if (dk_others_leave(tcp->net, DK_IP_TCP, &local->ip, local->port, remote) &&
            is_usable(tcp, local, remote, i >= n, now))
            err = claim(tcp, local);
    }
    return err == -EADDRINUSE ? -EADDRNOTAVAIL : err;
}
