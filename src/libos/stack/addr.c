/* SPDX-License-Identifier: MIT */
/*
 * Addresses of the application and endpoints of the stack.
 */
#include "libos/stack/sock.h"
#include "net/ip.h"

#include <errno.h>
#include <netinet/in.h>

static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff}; /* RFC 4291 section 2.5.5.2 */

static bool is_any(const struct dk_ip *ip)
{
    return (ip->words[0] | ip->words[1]) == 0;
}

static void read_v4(const void *bytes, struct dk_ip *out)
{
    *out = (struct dk_ip){.version = 4};
    memcpy(out->bytes, bytes, 4);
}

static int read_in6(const struct dk_stack_sock *s, const struct sockaddr_in6 *in6,
                    struct dk_endpoint *out)
{
    out->port = ntohs(in6->sin6_port);
    if (memcmp(&in6->sin6_addr, mapped_prefix, sizeof(mapped_prefix)) == 0) {
        read_v4(in6->sin6_addr.s6_addr + 12, &out->ip);
        return s->option[DK_STACK_V6ONLY] ? -EADDRNOTAVAIL : 0;
    }
    out->ip = (struct dk_ip){.version = 6};
    memcpy(out->ip.bytes, &in6->sin6_addr, 16);
    return 0;
}

int dk_stack_read_addr(const struct dk_stack_sock *s, const struct sockaddr *addr, socklen_t len,
                       struct dk_endpoint *out)
{
    memset(out, 0, sizeof(*out));
    if (addr->sa_family != s->domain)
        return -EAFNOSUPPORT;
    if (len < (s->domain == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6)))
        return -EINVAL;
    if (s->domain == AF_INET6)
        return read_in6(s, (const struct sockaddr_in6 *)(const void *)addr, out);
    const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)addr;
    out->port = ntohs(in->sin_port);
    read_v4(&in->sin_addr, &out->ip);
    return 0;
}

int dk_stack_read_peer(const struct dk_stack_sock *s, const struct sockaddr *addr, socklen_t len,
                       struct dk_endpoint *out)
{
    int r = dk_stack_read_addr(s, addr, len, out);
    if (r < 0 || !is_any(&out->ip))
        return r;
    if (out->ip.version == 4)
        out->ip.v4 = htonl(INADDR_LOOPBACK);
    else
        out->ip.bytes[15] = 1;
    return 0;
}

static void write_in6(const struct dk_endpoint *from, struct sockaddr_in6 *in6)
{
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(from->port);
    if (from->ip.version == 6) {
        memcpy(&in6->sin6_addr, from->ip.bytes, 16);
    } else if (from->ip.version == 4 && !is_any(&from->ip)) {
        memcpy(&in6->sin6_addr, mapped_prefix, sizeof(mapped_prefix));
        memcpy(in6->sin6_addr.s6_addr + 12, from->ip.bytes, 4);
    }
}

socklen_t dk_stack_write_addr(int domain, const struct dk_endpoint *from,
                              struct sockaddr_storage *out)
{
    struct sockaddr_in *in = (struct sockaddr_in *)out;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
    if (domain == AF_INET6) {
        memset(in6, 0, sizeof(*in6));
        write_in6(from, in6);
        return sizeof(*in6);
    }
    memset(in, 0, sizeof(*in));
    in->sin_family = AF_INET;
    in->sin_port = htons(from->port);
    if (from->ip.version == 4)
        in->sin_addr.s_addr = from->ip.v4;
    return sizeof(*in);
}

void dk_stack_give_addr(int domain, const struct dk_endpoint *from, struct sockaddr *addr,
                        socklen_t *len)
{
    struct sockaddr_storage whole;
    socklen_t bytes = dk_stack_write_addr(domain, from, &whole);
    memcpy(addr, &whole, *len < bytes ? *len : bytes);
    *len = bytes;
}

int dk_stack_check_local(struct dk_stack *st, const struct dk_endpoint *local)
{
    struct dk_ip src = {.version = 0};
    uint32_t mtu;
    if (is_any(&local->ip))
        return 0;
    /* What is sent to an address of ours comes from that address, and nothing else does. */
    if (dk_ip_route(st->net, &local->ip, &src, &mtu) < 0 || !dk_ip_equal(&src, &local->ip))
        return -EADDRNOTAVAIL;
    return 0;
}
