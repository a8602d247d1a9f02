/* SPDX-License-Identifier: MIT */
/*
 * Opening: first sequence numbers (RFC 6528), and the active open (RFC 9293 section 3.10.1).
 */
#include "net/tcp/open.h"

#include "base/siphash.h"
#include "net/tcp/event.h"
#include "net/tcp/pcb.h"
#include "net/tcp/pmtu.h"
#include "net/tcp/port.h"
#include "net/tcp/rcvq.h"
#include "net/tcp/sendq.h"
#include "net/tcp/time_wait.h"
#include "net/tcp/timer.h"
#include "net/tcp/tune.h"
#include "net/tcp/tx.h"

/* RFC 9293 section 3.4.1: one step in four microseconds. */
#define ISN_TICK_NS 4000

/* How far beyond the last number of a connection that gave way: a window without scale. */
#define BEYOND_FORMER 65537u

/* F(endpoints, secret). `which` tells the uses of the secret apart. */
static uint64_t hash_ends(const struct dk_tcp_conn *c, bool with_ports, uint64_t which)
{
    struct {
        struct dk_ip local, remote;
        uint64_t ports, which;
    } ends = {c->local_ip, c->remote_ip, 0, which};
    if (with_ports)
        ends.ports = (uint64_t)c->local_port << 16 | c->remote_port;
    return dk_siphash(c->tcp->config.secret, &ends, sizeof(ends));
}

void dk_tcp_open_begin(struct dk_tcp_conn *c, enum dk_tcp_state state, uint64_t isn_floor,
                       int64_t now)
{
    uint32_t isn = (uint32_t)(now / ISN_TICK_NS) + (uint32_t)hash_ends(c, true, 2);
    if (isn_floor && (int32_t)(isn - (uint32_t)isn_floor) < (int32_t)BEYOND_FORMER)
        isn = (uint32_t)isn_floor + BEYOND_FORMER;
    c->iss = DK_TCP_SEQ_0 + isn;
    c->snd_una = c->snd_nxt = c->iss;
    c->snd_end = c->iss + 1;
    c->snd_small = c->recover = c->iss;
    c->ecn_reduced = (uint32_t)c->iss;
    c->rcv_wscale_offer = dk_tcp_rcv_scale(
        dk_tcp_tune_most(&c->tcp->config, c->rcv_tuned ? 0 : c->option[DK_TCP_RCV_BUF]));
    /* Of the addresses only: it grows from one connection of two hosts to the next (RFC 6191). */
    c->ts_offset = (uint32_t)hash_ends(c, false, 3);
    c->last_rx = c->last_tx_data = now;
    c->challenge_from = (uint32_t)((now - DK_NS_PER_S) / DK_NS_PER_MS);
    dk_tcp_set_state(c, state, now);
    dk_tcp_board_add(c, c->iss + 1, DK_TCP_SEG_SYN | DK_TCP_SEG_LOST, now);
}

void dk_tcp_open_renumber(struct dk_tcp_conn *c, uint32_t isn)
{
    c->iss = DK_TCP_SEQ_0 + isn;
    c->snd_una = c->snd_small = c->recover = c->board->seq = c->iss;
    c->snd_nxt = c->snd_end = c->board->end = c->iss + 1;
    c->ecn_reduced = isn;
}

bool dk_tcp_open_may_replace(const struct dk_tcp_conn *c, int64_t now)
{
    return c->state == DK_TCP_TIME_WAIT && c->ts_on &&
           (uint32_t)(now / DK_NS_PER_MS) - c->entered_at > 1000;
}

void dk_tcp_open_done(struct dk_tcp_conn *c, int64_t now)
{
    uint64_t window = dk_tcp_min64((uint64_t)c->option[DK_TCP_RCV_BUF], UINT16_MAX);
    c->rcv_adv = c->rcv_nxt + window; /* what our SYN said */
    c->rcv_mss = dk_tcp_min32(536, c->path_mtu - 40);
    dk_tcp_rcvq_sized(c);
    c->last_tx_data = now;
    c->retries = 0;
    c->soft_err = 0;
    dk_tcp_set_state(c, c->fin_queued ? DK_TCP_FIN_WAIT_1 : DK_TCP_ESTABLISHED, now);
    dk_tcp_timer_alive(c, now);
    if (!c->passive) {
        DK_TCP_COUNT(c->tcp, connects);
        dk_tcp_event(c, DK_TCP_EV_CONNECTED);
    }
}

static bool is_one_host(const struct dk_ip *ip)
{
    if (dk_tcp_ip_is_any(ip))
        return false;
    return ip->version == 4 ? ip->bytes[0] < 224 : ip->bytes[0] != 0xff;
}

/* Makes way for a connection of these ends: 0, and the number that its first is to be beyond; or
 * -EADDRINUSE. */
static int replace_former(struct dk_tcp *tcp, const struct dk_endpoint *local,
                          const struct dk_endpoint *remote, uint64_t *floor_out, int64_t now)
{
    const uint32_t ports = dk_tcp_ports(local->port, remote->port);
    struct dk_tcp_conn *former = dk_tcp_find(tcp, &local->ip, &remote->ip, ports);
    struct dk_tcp_time_wait *tw = dk_tcp_time_wait_find(tcp, &local->ip, &remote->ip, ports);
    *floor_out = 0;
    if ((former && !dk_tcp_open_may_replace(former, now)) ||
        (tw && !dk_tcp_time_wait_may_replace(tw, now)))
        return -EADDRINUSE;
    if (former) {
        *floor_out = former->snd_nxt;
        dk_tcp_conn_end(former, 0);
    } else if (tw) {
        *floor_out = dk_tcp_time_wait_floor(tw);
        dk_tcp_time_wait_end(tcp, tw);
    }
    if (*floor_out)
        DK_TCP_COUNT(tcp, time_wait_reused);
    return 0;
}

/* Chooses the port and makes way for it. Returns the first number to be beyond, in floor_out. */
static int choose_local(struct dk_tcp *tcp, struct dk_endpoint *local,
                        const struct dk_endpoint *remote, uint64_t *floor_out, int64_t now)
{
    if (local->port == 0) {
        int err = dk_tcp_port_choose(tcp, local, remote, now);
        if (err)
            return err;
    }
    return replace_former(tcp, local, remote, floor_out, now);
}

int dk_tcp_connect(struct dk_tcp *tcp, struct dk_tcp_conn **conn_out,
                   const struct dk_endpoint *local, const struct dk_endpoint *remote,
                   const int64_t *options, const struct dk_tcp_ops *ops, void *owner, int64_t now)
{
    if (remote->port == 0 || !is_one_host(&remote->ip))
        return -EINVAL;
    struct dk_endpoint from = *local;
    if (dk_tcp_ip_is_any(&from.ip))
        memset(&from.ip, 0, sizeof(from.ip));
    uint32_t mtu;
    int err = dk_ip_route(tcp->net, &remote->ip, &from.ip, &mtu);
    if (err)
        return err;
    uint64_t floor;
    err = choose_local(tcp, &from, remote, &floor, now);
    if (err)
        return err;
    if (dk_tcp_pool_reserve(&tcp->segments, 1) != 0)
        return -ENOBUFS;
    int64_t defaults[DK_TCP_OPTIONS];
    dk_tcp_options_default(tcp, defaults);
    struct dk_tcp_conn *c = dk_tcp_conn_create(tcp, &from, remote, options ? options : defaults);
    if (!c)
        return -ENOBUFS;
    c->path_mtu = (uint16_t)dk_tcp_min32(mtu, UINT16_MAX);
    c->owned = true;
    c->offers = ops->offer != NULL;
    c->ops = ops;
    c->owner = owner;
    dk_tcp_open_begin(c, DK_TCP_SYN_SENT, floor, now);
    dk_tcp_output(c, now);
    *conn_out = c;
    return 0;
}
