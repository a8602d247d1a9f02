/* SPDX-License-Identifier: MIT */
/*
 * Socket options. The same as on kernel sockets: a program that works there works here.
 *
 * A number is kept in the socket. Those that the stack knows are handed to it when they are set, or
 * when there is a connection or listener for them.
 */
#include "libos/stack/sock.h"

#include "net/tcp/cc.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#define NS_PER_S     INT64_C(1000000000)
#define NS_PER_MS    INT64_C(1000000)
#define NO_TCP       (-1)
#define NAME_LEN     16   /* of TCP_CONGESTION, as Linux has it */
#define RCVBUF_LEAST 2304 /* as Linux has them */
#define SNDBUF_LEAST 4608
#define SIZE_MOST    (UINT16_MAX << 14) /* a window that can be told */

struct option {
    int level, name;
    enum dk_stack_option option;
    int type;   /* of socket that has it, 0: any */
    int domain; /* likewise */
    int min, max, initial;
    int tcp;       /* enum dk_tcp_option, or NO_TCP */
    int64_t scale; /* what TCP counts in */
};

static const struct option options[] = {
    {SOL_SOCKET, SO_REUSEADDR, DK_STACK_REUSEADDR, 0, 0, 0, 1, 1, NO_TCP, 1},
    {SOL_SOCKET, SO_REUSEPORT, DK_STACK_REUSEPORT, 0, 0, 0, 1, 0, NO_TCP, 1},
    {SOL_SOCKET, SO_KEEPALIVE, DK_STACK_KEEPALIVE, 0, 0, 0, 1, 0, DK_TCP_KEEPALIVE, 1},
    {SOL_SOCKET, SO_RCVBUF, DK_STACK_RCVBUF, 0, 0, RCVBUF_LEAST, SIZE_MOST, 0, DK_TCP_RCV_BUF, 1},
    {SOL_SOCKET, SO_SNDBUF, DK_STACK_SNDBUF, 0, 0, SNDBUF_LEAST, SIZE_MOST, 0, NO_TCP, 1},
    {SOL_SOCKET, SO_BROADCAST, DK_STACK_BROADCAST, 0, 0, 0, 1, 0, NO_TCP, 1},
    {IPPROTO_TCP, TCP_NODELAY, DK_STACK_NODELAY, SOCK_STREAM, 0, 0, 1, 1, DK_TCP_NODELAY, 1},
    {IPPROTO_TCP, TCP_KEEPIDLE, DK_STACK_KEEPIDLE, SOCK_STREAM, 0, 1, 32767, 7200,
     DK_TCP_KEEPALIVE_IDLE, NS_PER_S},
    {IPPROTO_TCP, TCP_KEEPINTVL, DK_STACK_KEEPINTVL, SOCK_STREAM, 0, 1, 32767, 75,
     DK_TCP_KEEPALIVE_INTERVAL, NS_PER_S},
    {IPPROTO_TCP, TCP_KEEPCNT, DK_STACK_KEEPCNT, SOCK_STREAM, 0, 1, 127, 9, DK_TCP_KEEPALIVE_COUNT,
     1},
    {IPPROTO_TCP, TCP_USER_TIMEOUT, DK_STACK_USER_TIMEOUT, SOCK_STREAM, 0, 0, 1000000000, 0,
     DK_TCP_USER_TIMEOUT, NS_PER_MS},
    {IPPROTO_TCP, TCP_CONGESTION, DK_STACK_CONGESTION, SOCK_STREAM, 0, 0, INT_MAX, 0,
     DK_TCP_CONGESTION, 1},
    {IPPROTO_IPV6, IPV6_V6ONLY, DK_STACK_V6ONLY, 0, AF_INET6, 0, 1, 0, NO_TCP, 1},
    {SOL_DEMI, DEMI_MAXSEGS, DK_STACK_MAXSEGS, 0, 0, 1, DEMI_SGARRAY_MAXSIZE, 1, NO_TCP, 1},
};

#define COUNT (sizeof(options) / sizeof(options[0]))

/* A size that is configured is as if the application had set it. */
static void init_size(struct dk_stack_sock *s, enum dk_stack_option option, uint32_t bytes,
                      uint32_t least)
{
    s->option[option] = DK_STACK_BUFFER_BYTES;
    if (bytes == 0)
        return;
    s->option[option] = (int)(bytes < least ? least : bytes);
    s->is_set |= 1u << option;
}

void dk_stack_init_options(struct dk_stack_sock *s)
{
    for (size_t i = 0; i < COUNT; i++)
        s->option[options[i].option] = options[i].initial;
    s->option[DK_STACK_CONGESTION] = dk_tcp_cc_find(s->st->options.congestion);
    /* These differ from what the stack has by itself. */
    s->is_set = 1u << DK_STACK_NODELAY;
    init_size(s, DK_STACK_RCVBUF, s->st->options.rx_buffer_bytes, RCVBUF_LEAST);
    init_size(s, DK_STACK_SNDBUF, s->st->options.tx_buffer_bytes, SNDBUF_LEAST);
}

static const struct option *find(const struct dk_stack_sock *s, int level, int name)
{
    for (size_t i = 0; i < COUNT; i++) {
        const struct option *o = &options[i];
        if (o->level != level || o->name != name)
            continue;
        bool has = (o->type == 0 || o->type == s->kind->type) &&
                   (o->domain == 0 || o->domain == s->domain);
        return has ? o : NULL;
    }
    return NULL;
}

/* What the stack calls an option, and its value there; false: it has none. */
static bool for_tcp(const struct dk_stack_sock *s, enum dk_stack_option option,
                    enum dk_tcp_option *tcp_out, int64_t *value_out)
{
    for (size_t i = 0; i < COUNT; i++) {
        if (options[i].option != option || options[i].tcp == NO_TCP)
            continue;
        *tcp_out = (enum dk_tcp_option)options[i].tcp;
        *value_out = s->option[option] * options[i].scale;
        return true;
    }
    return false;
}

void dk_stack_tcp_options(const struct dk_stack_tcp *t, int64_t out[DK_TCP_OPTIONS])
{
    enum dk_tcp_option name;
    int64_t value;
    dk_tcp_options_default(t->s.st->tcp, out);
    for (int i = 0; i < DK_STACK_OPTIONS; i++)
        if (t->s.is_set & 1u << i && for_tcp(&t->s, (enum dk_stack_option)i, &name, &value))
            out[name] = value;
}

int dk_stack_tcp_apply_to_listener(struct dk_stack_tcp *t, enum dk_stack_option option)
{
    enum dk_tcp_option name;
    int64_t value;
    if (!for_tcp(&t->s, option, &name, &value))
        return 0;
    return dk_tcp_listen_set_option(t->port->listener, name, value);
}

int dk_stack_tcp_apply(struct dk_stack_sock *s, enum dk_stack_option option)
{
    struct dk_stack_tcp *t = dk_container_of(s, struct dk_stack_tcp, s);
    enum dk_tcp_option name;
    int64_t value;
    if (option == DK_STACK_SNDBUF && !dk_list_empty(&s->pushes))
        dk_stack_tcp_resume(t); /* there may be room now */
    if (s->state == DK_STACK_LISTENING && t->port && t->port->listener)
        return dk_stack_tcp_apply_to_listener(t, option);
    if (!t->conn || t->conn_closed || !for_tcp(s, option, &name, &value))
        return 0;
    return dk_tcp_set_option(t->conn, name, value, s->st->now);
}

/* Of the option that is a name: its number. */
static int read_name(const void *val, socklen_t len, int *value_out)
{
    char name[NAME_LEN] = "";
    memcpy(name, val, len < sizeof(name) ? len : sizeof(name) - 1);
    int number = dk_tcp_cc_find(name);
    if (number >= 0)
        *value_out = number;
    return number < 0 ? number : 0;
}

static int read_number(const void *val, socklen_t len, int *value_out)
{
    if (len < sizeof(*value_out))
        return -EINVAL;
    memcpy(value_out, val, sizeof(*value_out));
    return 0;
}

static int set_option(struct dk_stack_sock *s, const struct option *o, const void *val,
                      socklen_t len)
{
    int value, before = s->option[o->option];
    int err = o->option == DK_STACK_CONGESTION ? read_name(val, len, &value)
                                               : read_number(val, len, &value);
    if (err)
        return err;
    if (o->max == 1)
        value = value != 0;
    else if (o->level == SOL_SOCKET) /* sizes: what there can be */
        value = value < o->min ? o->min : value > o->max ? o->max : value;
    else if (value < o->min || value > o->max)
        return -EINVAL;
    s->option[o->option] = value;
    dk_stack_begin(s->st);
    int r = s->kind->apply(s, o->option);
    /* The window of a connection cannot shrink: a smaller size is for the next one. */
    if (r < 0 && o->option != DK_STACK_RCVBUF)
        s->option[o->option] = before;
    else
        r = 0;
    s->is_set |= 1u << o->option;
    return dk_stack_end_with(s->st, r);
}

int dk_stack_setsockopt(struct dk_queue *q, int level, int name, const void *val, socklen_t len)
{
    struct dk_stack_sock *s = q->impl;
    if (level == SOL_SOCKET && name == SO_LINGER) {
        if (len < sizeof(s->linger))
            return -EINVAL;
        memcpy(&s->linger, val, sizeof(s->linger));
        return 0;
    }
    const struct option *o = find(s, level, name);
    return o ? set_option(s, o, val, len) : -ENOPROTOOPT;
}

static int give(const void *from, socklen_t size, void *val, socklen_t *len)
{
    if (*len > size)
        *len = size;
    memcpy(val, from, *len);
    return 0;
}

/* SO_ERROR tells an error once. */
static int take_error(struct dk_stack_sock *s)
{
    int error = s->error;
    if (error == 0 && s->kind == &dk_stack_udp_kind)
        error = -dk_udp_take_error(dk_container_of(s, struct dk_stack_udp, s)->udp);
    s->error = 0;
    return error;
}

/* Those that only describe the socket: 0 or -ENOPROTOOPT. */
static int describe(struct dk_stack_sock *s, int level, int name, int *out)
{
    if (level != SOL_SOCKET)
        return -ENOPROTOOPT;
    switch (name) {
    case SO_ERROR:
        *out = take_error(s);
        return 0;
    case SO_TYPE:
        *out = s->kind->type;
        return 0;
    case SO_DOMAIN:
        *out = s->domain;
        return 0;
    case SO_PROTOCOL:
        *out = s->kind->protocol;
        return 0;
    case SO_ACCEPTCONN:
        *out = s->state == DK_STACK_LISTENING;
        return 0;
    default:
        return -ENOPROTOOPT;
    }
}

/* The receive buffer of a connection may have grown. */
static void read_grown(struct dk_stack_sock *s)
{
    struct dk_stack_tcp *t = dk_container_of(s, struct dk_stack_tcp, s);
    int64_t bytes;
    if (s->kind == &dk_stack_tcp_kind && t->conn && !(s->is_set & 1u << DK_STACK_RCVBUF) &&
        dk_tcp_get_option(t->conn, DK_TCP_RCV_BUF, &bytes) == 0)
        s->option[DK_STACK_RCVBUF] = (int)bytes;
}

int dk_stack_getsockopt(struct dk_queue *q, int level, int name, void *val, socklen_t *len)
{
    struct dk_stack_sock *s = q->impl;
    const int failed = s->failed;
    int value;
    if (level == SOL_DEMI && name == DEMI_TRAFFIC)
        return give(&s->traffic, sizeof(s->traffic), val, len);
    if (level == SOL_DEMI && name == DEMI_FAILED)
        return give(&failed, sizeof(failed), val, len);
    if (level == IPPROTO_TCP && name == TCP_INFO && s->kind == &dk_stack_tcp_kind)
        return dk_stack_tcp_info(dk_container_of(s, struct dk_stack_tcp, s), val, len);
    if (level == SOL_SOCKET && name == SO_LINGER)
        return give(&s->linger, sizeof(s->linger), val, len);
    const struct option *o = find(s, level, name);
    if (o && o->option == DK_STACK_CONGESTION) {
        char text[NAME_LEN] = "";
        strncpy(text, dk_tcp_cc_get((uint32_t)s->option[o->option])->name, sizeof(text) - 1);
        return give(text, sizeof(text), val, len);
    }
    if (o && o->option == DK_STACK_RCVBUF)
        read_grown(s);
    if (o)
        return give(&s->option[o->option], sizeof(int), val, len);
    int r = describe(s, level, name, &value);
    return r < 0 ? r : give(&value, sizeof(value), val, len);
}
