/* SPDX-License-Identifier: MIT */
/*
 * The receive buffer grows with what the path carries: dynamic right-sizing (Fisk and Feng,
 * "Dynamic Right-Sizing: A Simulation Study", ICCCN 2001), as far as memory allows.
 */
#ifndef DK_NET_TCP_TUNE_H
#define DK_NET_TCP_TUNE_H

#include "net/tcp/tcb.h"

/* Rounds are not shorter, however near the peer is: a burst may last so long. */
#define DK_TCP_TUNE_ROUND_MIN_NS DK_NS_PER_MS

/* Of a peer whose round trip was never measured (RFC 6298 section 2.1). */
#define DK_TCP_TUNE_ROUND_UNKNOWN_NS DK_NS_PER_S

/* A unit of tune_at: 65 microseconds. */
#define DK_TCP_TUNE_TICK_SHIFT 16

/* The most that a buffer of so many bytes, by DK_TCP_RCV_BUF, ever has. */
static inline int64_t dk_tcp_tune_most(const struct dk_tcp_config *config, int64_t rcv_buf)
{
    if (rcv_buf > 0)
        return rcv_buf;
    return config->rcv_buf_max > config->rcv_buf_bytes ? config->rcv_buf_max
                                                       : config->rcv_buf_bytes;
}

/* The option is as it was given: takes it, and begins to measure if it left the size to us. */
void dk_tcp_tune_init(struct dk_tcp_conn *c);

/* A round begins: the first when the first number of the peer is known. */
void dk_tcp_tune_begin(struct dk_tcp_conn *c, int64_t now);

/* A round is over: how much was read in it says how large the buffer has to be. */
void dk_tcp_tune_round(struct dk_tcp_conn *c, int64_t now);

static inline uint32_t dk_tcp_tune_tick(int64_t now)
{
    return (uint32_t)(now >> DK_TCP_TUNE_TICK_SHIFT);
}

/* Whether a round is over. */
static inline bool dk_tcp_tune_is_due(const struct dk_tcp_conn *c, int64_t now)
{
    int64_t round = c->srtt_ns >= 0 ? c->srtt_ns : DK_TCP_TUNE_ROUND_UNKNOWN_NS;
    if (round < DK_TCP_TUNE_ROUND_MIN_NS)
        round = DK_TCP_TUNE_ROUND_MIN_NS;
    return dk_tcp_tune_tick(now) - c->tune_at > dk_tcp_tune_tick(round);
}

/* Bytes that the buffer has beyond what it began with. */
static inline uint32_t dk_tcp_tune_grown(const struct dk_tcp_conn *c)
{
    return c->rcv_tuned ? (uint32_t)c->option[DK_TCP_RCV_BUF] - c->tcp->config.rcv_buf_bytes : 0;
}

/* Bytes that all connections together hold for their readers. */
static inline uint64_t dk_tcp_unread_bytes(const struct dk_tcp *tcp)
{
    return tcp->stats.rx_bytes - tcp->read_bytes;
}

static inline bool dk_tcp_is_pressed(const struct dk_tcp *tcp)
{
    return dk_tcp_unread_bytes(tcp) > tcp->config.rcv_pressure_bytes;
}

#endif /* DK_NET_TCP_TUNE_H */
