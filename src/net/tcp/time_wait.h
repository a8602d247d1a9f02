/* SPDX-License-Identifier: MIT */
/*
 * TIME_WAIT (RFC 9293 section 3.6.1): what is left of a connection that nobody owns any more, in a
 * record of its own, a sixth of a connection's. A connection in TIME_WAIT that its owner has not
 * closed yet is a whole one still.
 */
#ifndef DK_NET_TCP_TIME_WAIT_H
#define DK_NET_TCP_TIME_WAIT_H

#include "net/tcp/tcb.h"

/* In dk_tcp.time_waits, and in dk_tcp.time_wait, which `until` grows along. */
struct dk_tcp_time_wait {
    struct dk_tcp_node node; /* first */
    struct dk_list link;
    struct dk_ip local_ip, remote_ip;
    uint16_t local_port, remote_port;
    uint32_t ports; /* both, as dk_tcp_find is given them */
    uint32_t snd_nxt, rcv_nxt;
    uint32_t ts_recent, ts_offset;
    uint16_t window; /* what the peer was told last */
    uint16_t window_field;
    bool ts_on;
    int64_t until;
    uint32_t entered_at; /* milliseconds */
    int64_t challenged_at;
};

int dk_tcp_time_wait_init(struct dk_tcp *tcp);
void dk_tcp_time_wait_fini(struct dk_tcp *tcp);

/* Makes a record of a connection in TIME_WAIT without owner, which is freed. When there are as many
 * as may be the oldest makes room. */
void dk_tcp_time_wait_keep(struct dk_tcp_conn *c);

/* The record of both ends; NULL: there is none. */
struct dk_tcp_time_wait *dk_tcp_time_wait_find(const struct dk_tcp *tcp, const struct dk_ip *local,
                                               const struct dk_ip *remote, uint32_t ports);

void dk_tcp_time_wait_end(struct dk_tcp *tcp, struct dk_tcp_time_wait *tw);

/* A segment for it that begins no new connection (RFC 9293 section 3.10.7.4). */
void dk_tcp_time_wait_input(struct dk_tcp *tcp, struct dk_tcp_time_wait *tw,
                            const struct dk_tcp_rx *rx);

/* What a segment that arrives in TIME_WAIT is compared with. */
struct dk_tcp_former {
    uint32_t rcv_nxt, ts_recent;
    bool ts_on;
};

/* RFC 6191 section 2: whether a SYN to a connection in TIME_WAIT begins a new one. */
bool dk_tcp_is_new_incarnation(const struct dk_tcp_former *former, const struct dk_tcp_rx *rx);

/* Whether it may give way to a connection that we open: as dk_tcp_open_may_replace. */
bool dk_tcp_time_wait_may_replace(const struct dk_tcp_time_wait *tw, int64_t now);

/* A first number of a new connection is beyond this. */
static inline uint64_t dk_tcp_time_wait_floor(const struct dk_tcp_time_wait *tw)
{
    return DK_TCP_SEQ_0 + tw->snd_nxt;
}

#endif /* DK_NET_TCP_TIME_WAIT_H */
