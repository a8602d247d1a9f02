/* SPDX-License-Identifier: MIT */
/*
 * What the application reads in a round trip is what the path carried, and what the window has to
 * be at least. It is made twice that, so that a sender is not stopped by the loss of a segment; and
 * where the bytes of a round are more than those of the one before, as in slow start, as much more
 * as the next one may have. A reader that does not keep up makes no buffer grow.
 *
 * A buffer never shrinks: a window that was offered is not taken back. Where all connections
 * together hold more than they may (dk_tcp_is_pressed) none grows, and windows open by no more than
 * some segments beyond what is unread (rcvq.c).
 */
#include "net/tcp/tune.h"

#include "net/tcp/rcvq.h"

/* Segments beyond what was read: what may be on its way when nothing is known yet. */
#define BEYOND_SEGMENTS 16

void dk_tcp_tune_init(struct dk_tcp_conn *c)
{
    const struct dk_tcp_config *config = &c->tcp->config;
    if (c->option[DK_TCP_RCV_BUF] != 0)
        return;
    c->option[DK_TCP_RCV_BUF] = (int32_t)config->rcv_buf_bytes;
    c->rcv_tuned = config->rcv_buf_max > config->rcv_buf_bytes;
}

static uint32_t read_so_far(const struct dk_tcp_conn *c)
{
    return (uint32_t)(c->rcv_nxt - c->rx_bytes);
}

void dk_tcp_tune_begin(struct dk_tcp_conn *c, int64_t now)
{
    c->tune_at = dk_tcp_tune_tick(now);
    c->tune_from = read_so_far(c);
    c->tune_bytes = 0;
}

static void grow(struct dk_tcp_conn *c, uint64_t bytes)
{
    const uint64_t most = (uint64_t)DK_TCP_WINDOW_MAX << c->rcv_wscale;
    bytes = dk_tcp_min64(dk_tcp_min64(bytes, c->tcp->config.rcv_buf_max), most);
    if (bytes <= (uint64_t)c->option[DK_TCP_RCV_BUF])
        return;
    if (dk_tcp_is_pressed(c->tcp)) {
        DK_TCP_COUNT(c->tcp, rcv_buf_pressed);
        return;
    }
    DK_TCP_COUNT(c->tcp, rcv_buf_grown);
    c->option[DK_TCP_RCV_BUF] = (int32_t)bytes;
    dk_tcp_rcvq_sized(c);
}

void dk_tcp_tune_round(struct dk_tcp_conn *c, int64_t now)
{
    const uint64_t read = read_so_far(c) - c->tune_from, before = c->tune_bytes;
    dk_tcp_tune_begin(c, now);
    c->tune_bytes = (uint32_t)read;
    uint64_t more = read > before ? read - before : 0;
    grow(c, 2 * (read + 2 * more) + BEYOND_SEGMENTS * (uint64_t)c->rcv_mss);
}
