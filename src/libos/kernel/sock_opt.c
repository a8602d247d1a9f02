/* SPDX-License-Identifier: MIT */
/*
 * Socket options and names. Only options that mean the same on the other library OSes are let
 * through: a program that works here works there.
 */
#include "libos/kernel/sock.h"

#include <errno.h>
#include <netinet/tcp.h>

struct option {
    int level, name;
    bool settable;
};

static const struct option options[] = {
    {SOL_SOCKET, SO_REUSEADDR, true},      {SOL_SOCKET, SO_REUSEPORT, true},
    {SOL_SOCKET, SO_LINGER, true},         {SOL_SOCKET, SO_KEEPALIVE, true},
    {SOL_SOCKET, SO_RCVBUF, true},         {SOL_SOCKET, SO_SNDBUF, true},
    {SOL_SOCKET, SO_BROADCAST, true},      {SOL_SOCKET, SO_ERROR, false},
    {SOL_SOCKET, SO_TYPE, false},          {SOL_SOCKET, SO_DOMAIN, false},
    {SOL_SOCKET, SO_PROTOCOL, false},      {SOL_SOCKET, SO_ACCEPTCONN, false},
    {IPPROTO_TCP, TCP_NODELAY, true},      {IPPROTO_TCP, TCP_KEEPIDLE, true},
    {IPPROTO_TCP, TCP_KEEPINTVL, true},    {IPPROTO_TCP, TCP_KEEPCNT, true},
    {IPPROTO_TCP, TCP_USER_TIMEOUT, true}, {IPPROTO_TCP, TCP_CONGESTION, true},
    {IPPROTO_TCP, TCP_INFO, false},        {IPPROTO_IPV6, IPV6_V6ONLY, true},
};

static const struct option *find_option(int level, int name)
{
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
        if (options[i].level == level && options[i].name == name)
            return &options[i];
    return NULL;
}

/* The library's own. */
static int set_own_option(struct dk_sock *s, int name, const void *val, socklen_t len)
{
    int value;
    if (name != DEMI_MAXSEGS)
        return -ENOPROTOOPT;
    if (len < sizeof(value))
        return -EINVAL;
    memcpy(&value, val, sizeof(value));
    if (value < 1 || value > DEMI_SGARRAY_MAXSIZE)
        return -EINVAL;
    s->max_segs = value;
    return 0;
}

int dk_sock_setsockopt(struct dk_queue *q, int level, int name, const void *val, socklen_t len)
{
    struct dk_sock *s = q->impl;
    if (level == SOL_DEMI)
        return set_own_option(s, name, val, len);
    const struct option *o = find_option(level, name);
    if (!o || !o->settable)
        return -ENOPROTOOPT;
    if (setsockopt(s->fd, level, name, val, len) < 0)
        return -errno;
    if (level == SOL_SOCKET && name == SO_LINGER) {
        struct linger linger;
        memcpy(&linger, val, sizeof(linger)); /* the kernel has checked len */
        s->linger_reset = linger.l_onoff && linger.l_linger == 0;
    }
    return 0;
}

static int get_own_option(const struct dk_sock *s, int name, void *val, socklen_t *len)
{
    const int failed = s->failed;
    const void *from = &s->traffic;
    socklen_t size = sizeof(s->traffic);

    if (name == DEMI_FAILED) {
        from = &failed;
        size = sizeof(failed);
    } else if (name == DEMI_MAXSEGS) {
        from = &s->max_segs;
        size = sizeof(s->max_segs);
    } else if (name != DEMI_TRAFFIC) {
        return -ENOPROTOOPT;
    }
    if (*len > size)
        *len = size;
    memcpy(val, from, *len);
    return 0;
}

int dk_sock_getsockopt(struct dk_queue *q, int level, int name, void *val, socklen_t *len)
{
    struct dk_sock *s = q->impl;
    if (level == SOL_DEMI)
        return get_own_option(s, name, val, len);
    if (!find_option(level, name))
        return -ENOPROTOOPT;
    return getsockopt(s->fd, level, name, val, len) < 0 ? -errno : 0;
}

int dk_sock_name(struct dk_queue *q, enum dk_queue_name which, struct sockaddr *addr,
                 socklen_t *len)
{
    struct dk_sock *s = q->impl;
    int r = which == DK_QUEUE_LOCAL ? getsockname(s->fd, addr, len) : getpeername(s->fd, addr, len);
    return r < 0 ? -errno : 0;
}
