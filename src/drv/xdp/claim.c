/* SPDX-License-Identifier: MIT */
/*
 * Ports of ours at an interface that the kernel has, too.
 *
 * A claim is two things: keys in the program's map, one for each address that it covers, so that
 * packets come to us; and a socket of the kernel's that is bound there and never used, so that the
 * kernel gives the port to nobody else, and does not get one that it has given to somebody. What
 * comes for it after our program is gone is answered by the kernel, as of a port where nobody is.
 *
 * A claim is the port's, and has a bit for each worker that made it: the first one makes it, the
 * last one undoes it. All under the port's lock.
 */
#include "drv/xdp/program.h"
#include "drv/xdp/state.h"
#include "mem/heap.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

struct claim {
    struct dk_list link;
    uint8_t protocol;
    struct dk_endpoint local;
    uint32_t users; /* workers */
    int fds[2];     /* of IPv4, of IPv6; -1: none */
};

static bool is_any(const struct dk_ip *ip)
{
    return (ip->words[0] | ip->words[1]) == 0;
}

/* Whether what comes to an address is for a claim. */
static bool covers(const struct claim *c, const struct dk_ip *ip)
{
    if (c->local.ip.version == 0)
        return true;
    return c->local.ip.version == ip->version &&
           (is_any(&c->local.ip) || dk_ip_equal(&c->local.ip, ip));
}

static struct dk_xdp_key key_of(const struct claim *c, const struct dk_ip *ip)
{
    struct dk_xdp_key key = {
        .protocol = c->protocol, .version = ip->version, .port = htons(c->local.port)};
    memcpy(key.address, ip->bytes, ip->version == 4 ? 4 : 16);
    return key;
}

static bool is_claimed_by_another(const struct dk_xdp_port *p, const struct claim *c,
                                  const struct dk_ip *ip)
{
    struct dk_list *l;
    dk_list_for_each (l, &p->claims) {
        const struct claim *other = dk_container_of(l, struct claim, link);
        if (other != c && other->protocol == c->protocol && other->local.port == c->local.port &&
            covers(other, ip))
            return true;
    }
    return false;
}

/* Calls for each address that a claim covers. 0, or the first error. */
static int for_each_address(struct dk_xdp_port *p, const struct claim *c,
                            int (*fn)(struct dk_xdp_port *p, const struct claim *c,
                                      const struct dk_ip *ip))
{
    int r = 0;
    if (c->local.ip.version != 0 && !is_any(&c->local.ip))
        return fn(p, c, &c->local.ip);
    for (uint32_t i = 0; i < p->num_own && r == 0; i++)
        if (covers(c, &p->own[i]))
            r = fn(p, c, &p->own[i]);
    return r;
}

static int add_key(struct dk_xdp_port *p, const struct claim *c, const struct dk_ip *ip)
{
    const struct dk_xdp_key key = key_of(c, ip);
    const uint8_t one = 1;
    return bpf_map_update_elem(p->claims_fd, &key, &one, BPF_ANY);
}

static int remove_key(struct dk_xdp_port *p, const struct claim *c, const struct dk_ip *ip)
{
    const struct dk_xdp_key key = key_of(c, ip);
    if (!is_claimed_by_another(p, c, ip))
        bpf_map_delete_elem(p->claims_fd, &key);
    return 0;
}

static socklen_t address_of(const struct claim *c, int family, struct sockaddr_in6 *out)
{
    struct sockaddr_in *in = (struct sockaddr_in *)(void *)out;
    memset(out, 0, sizeof(*out));
    if (family == AF_INET6) {
        out->sin6_family = AF_INET6;
        out->sin6_port = htons(c->local.port);
        memcpy(&out->sin6_addr, c->local.ip.bytes, 16);
        return sizeof(*out);
    }
    in->sin_family = AF_INET;
    in->sin_port = htons(c->local.port);
    if (c->local.ip.version == 4)
        in->sin_addr.s_addr = c->local.ip.v4;
    return sizeof(*in);
}

static int reserve(const struct dk_xdp_port *p, const struct claim *c, int family)
{
    struct sockaddr_in6 at;
    const int one = 1, type = c->protocol == IPPROTO_TCP ? SOCK_STREAM : SOCK_DGRAM;
    int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &one, sizeof(one));
    setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, p->name, (socklen_t)strlen(p->name));
    const socklen_t len = address_of(c, family, &at);
    if (bind(fd, (const struct sockaddr *)&at, len) < 0) {
        int r = -errno;
        close(fd);
        return r;
    }
    return fd;
}

static void close_fds(const struct claim *c)
{
    for (int i = 0; i < 2; i++)
        if (c->fds[i] >= 0)
            close(c->fds[i]);
}

static int reserve_both(const struct dk_xdp_port *p, struct claim *c)
{
    static const int families[] = {AF_INET, AF_INET6};
    for (int i = 0; i < 2; i++) {
        const uint8_t version = i == 0 ? 4 : 6;
        if (c->local.ip.version != 0 && c->local.ip.version != version)
            continue;
        int fd = reserve(p, c, families[i]);
        if (fd < 0 && !(fd == -EAFNOSUPPORT && c->local.ip.version == 0)) {
            close_fds(c);
            return fd;
        }
        c->fds[i] = fd < 0 ? -1 : fd;
    }
    return 0;
}

static struct claim *find(const struct dk_xdp_port *p, uint8_t protocol,
                          const struct dk_endpoint *local)
{
    struct dk_list *l;
    dk_list_for_each (l, &p->claims) {
        struct claim *c = dk_container_of(l, struct claim, link);
        if (c->protocol == protocol && c->local.port == local->port &&
            dk_ip_equal(&c->local.ip, &local->ip))
            return c;
    }
    return NULL;
}

static int make(struct dk_xdp_port *p, struct claim *c)
{
    int r = reserve_both(p, c);
    if (r == 0 && (r = for_each_address(p, c, add_key)) < 0) {
        for_each_address(p, c, remove_key);
        close_fds(c);
    }
    if (r == 0)
        dk_list_add_tail(&p->claims, &c->link);
    return r;
}

static int claim(struct dk_xdp *x, uint8_t protocol, const struct dk_endpoint *local)
{
    struct claim *c = find(x->port, protocol, local);
    int r = 0;
    if (!c) {
        c = dk_heap_malloc(sizeof(*c)); /* freed by let_go */
        if (!c)
            return -ENOMEM;
        *c = (struct claim){.protocol = protocol, .local = *local, .fds = {-1, -1}};
        r = make(x->port, c);
    }
    if (r < 0)
        dk_heap_free(c);
    else
        c->users |= 1u << x->worker;
    return r;
}

int dk_xdp_claim(struct dk_netdev *dev, uint8_t protocol, const struct dk_endpoint *local)
{
    struct dk_xdp *x = dk_xdp_of(dev);
    dk_lock(&x->port->lock);
    int r = claim(x, protocol, local);
    dk_unlock(&x->port->lock);
    return r;
}

static void let_go(struct dk_xdp *x, struct claim *c)
{
    c->users &= ~(1u << x->worker);
    if (c->users != 0)
        return;
    for_each_address(x->port, c, remove_key);
    close_fds(c);
    dk_list_del(&c->link);
    dk_heap_free(c);
}

void dk_xdp_release(struct dk_netdev *dev, uint8_t protocol, const struct dk_endpoint *local)
{
    struct dk_xdp *x = dk_xdp_of(dev);
    dk_lock(&x->port->lock);
    struct claim *c = find(x->port, protocol, local);
    if (c)
        let_go(x, c);
    dk_unlock(&x->port->lock);
}

void dk_xdp_claims_close(struct dk_xdp *x)
{
    struct dk_list *l, *tmp;
    dk_lock(&x->port->lock);
    dk_list_for_each_safe (l, tmp, &x->port->claims)
        let_go(x, dk_container_of(l, struct claim, link));
    dk_unlock(&x->port->lock);
}

void dk_xdp_claims_abandon(const struct dk_xdp_port *p)
{
    struct dk_list *l;
    dk_list_for_each (l, &p->claims)
        close_fds(dk_container_of(l, struct claim, link));
}

/* ---- the interface's addresses ----------------------------------------------------------------
 */

static uint32_t find_own(const struct dk_xdp_port *p, const struct dk_ip *ip)
{
    uint32_t i = 0;
    while (i < p->num_own && !dk_ip_equal(&p->own[i], ip))
        i++;
    return i;
}

void dk_xdp_own_add(struct dk_xdp_port *p, const struct dk_ip *ip)
{
    struct dk_list *l;
    dk_lock(&p->lock);
    if (find_own(p, ip) == p->num_own && p->num_own < DK_XDP_OWN_MAX) {
        p->own[p->num_own++] = *ip;
        dk_list_for_each (l, &p->claims) {
            const struct claim *c = dk_container_of(l, struct claim, link);
            if (covers(c, ip))
                add_key(p, c, ip);
        }
    }
    dk_unlock(&p->lock);
}

/* Whether a claim is of that address, and no other, and of the port of c. */
static bool is_claimed_alone(const struct dk_xdp_port *p, const struct claim *c,
                             const struct dk_ip *ip)
{
    const struct dk_endpoint at = {*ip, c->local.port};
    return find(p, c->protocol, &at) != NULL;
}

void dk_xdp_own_remove(struct dk_xdp_port *p, const struct dk_ip *ip)
{
    struct dk_list *l;
    dk_lock(&p->lock);
    const uint32_t at = find_own(p, ip);
    if (at < p->num_own) {
        p->own[at] = p->own[--p->num_own];
        dk_list_for_each (l, &p->claims) {
            const struct claim *c = dk_container_of(l, struct claim, link);
            const struct dk_xdp_key key = key_of(c, ip);
            if (covers(c, ip) && !is_claimed_alone(p, c, ip))
                bpf_map_delete_elem(p->claims_fd, &key);
        }
    }
    dk_unlock(&p->lock);
}
