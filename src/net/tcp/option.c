/* SPDX-License-Identifier: MIT */
/*
 * A table says what each option may be. All are numbers, of 32 bits in a connection, of which there
 * are many: times are kept in milliseconds there.
 */
#include "net/tcp/congestion.h"
#include "net/tcp/rcvq.h"
#include "net/tcp/rto.h"
#include "net/tcp/timer.h"
#include "net/tcp/tune.h"
#include "net/tcp/tx.h"

/* The largest window that a scale of 14 can tell. */
#define RCV_BUF_MAX ((int64_t)UINT16_MAX << DK_TCP_WINDOW_SCALE_MAX)

static const struct {
    int64_t min, max, initial;
} table[DK_TCP_OPTIONS] = {
    [DK_TCP_NODELAY] = {0, 1, 0},
    [DK_TCP_KEEPALIVE] = {0, 1, 0},
    [DK_TCP_KEEPALIVE_IDLE] = {DK_NS_PER_MS, 32767 * DK_NS_PER_S, 7200 * DK_NS_PER_S},
    [DK_TCP_KEEPALIVE_INTERVAL] = {DK_NS_PER_MS, 32767 * DK_NS_PER_S, 75 * DK_NS_PER_S},
    [DK_TCP_KEEPALIVE_COUNT] = {1, 127, 9},
    [DK_TCP_USER_TIMEOUT] = {0, 1000000 * DK_NS_PER_S, 0},
    [DK_TCP_RCV_BUF] = {0, RCV_BUF_MAX, 0},
    [DK_TCP_MAX_SEGMENT] = {0, 65495, 0},
    [DK_TCP_TTL] = {1, 255, 64},
    [DK_TCP_TOS] = {0, 255, 0},
    [DK_TCP_QUICK_ACK] = {0, 1, 0},
    [DK_TCP_CONGESTION] = {0, UINT8_MAX, 0}, /* by the configuration */
};

static bool is_time(enum dk_tcp_option option)
{
    return option == DK_TCP_KEEPALIVE_IDLE || option == DK_TCP_KEEPALIVE_INTERVAL ||
           option == DK_TCP_USER_TIMEOUT;
}

/* As a connection keeps it: a time is rounded up. */
static int32_t pack(enum dk_tcp_option option, int64_t value)
{
    return (int32_t)(is_time(option) ? (value + DK_NS_PER_MS - 1) / DK_NS_PER_MS : value);
}

/* What is kept beside the options. */
static void follow(struct dk_tcp_conn *c)
{
    c->ttl = (uint8_t)c->option[DK_TCP_TTL];
    c->tos = (uint8_t)c->option[DK_TCP_TOS];
    dk_tcp_concern(c, DK_TCP_CONCERN_TIMEOUT, c->option[DK_TCP_USER_TIMEOUT] > 0);
    dk_tcp_rcvq_sized(c);
}

void dk_tcp_options_take(struct dk_tcp_conn *c, const int64_t option[DK_TCP_OPTIONS])
{
    for (int i = 0; i < DK_TCP_OPTIONS; i++)
        c->option[i] = pack((enum dk_tcp_option)i, option[i]);
    dk_tcp_tune_init(c);
    follow(c);
}

#define MAX_SEGMENT_MIN 48 /* timestamps leave 36 */

void dk_tcp_options_default(const struct dk_tcp *tcp, int64_t option[DK_TCP_OPTIONS])
{
    for (int i = 0; i < DK_TCP_OPTIONS; i++)
        option[i] = table[i].initial;
    option[DK_TCP_CONGESTION] = tcp->config.congestion;
}

int dk_tcp_option_check(enum dk_tcp_option option, int64_t value)
{
    if ((uint32_t)option >= DK_TCP_OPTIONS)
        return -EINVAL;
    if (option == DK_TCP_MAX_SEGMENT && value > 0 && value < MAX_SEGMENT_MIN)
        return -EINVAL;
    if (option == DK_TCP_CONGESTION && !dk_tcp_cc_get((uint32_t)value))
        return -EINVAL;
    return value >= table[option].min && value <= table[option].max ? 0 : -EINVAL;
}

/* What an option that was set means for a connection that exists. */
static void apply(struct dk_tcp_conn *c, enum dk_tcp_option option, int64_t now)
{
    switch (option) {
    case DK_TCP_KEEPALIVE:
    case DK_TCP_KEEPALIVE_IDLE:
    case DK_TCP_KEEPALIVE_INTERVAL:
        dk_tcp_timer_alive(c, now);
        break;
    case DK_TCP_TTL:
    case DK_TCP_TOS:
        c->tcp->tx_conn = NULL;
        break;
    case DK_TCP_NODELAY:
    case DK_TCP_CONGESTION:
        dk_tcp_output(c, now);
        break;
    case DK_TCP_USER_TIMEOUT:
        dk_tcp_rto_bound(c);
        break;
    case DK_TCP_QUICK_ACK:
        if (c->ack_bytes)
            c->ack_now = true;
        dk_tcp_output(c, now);
        break;
    default:
        break;
    }
}

int dk_tcp_set_option(struct dk_tcp_conn *c, enum dk_tcp_option option, int64_t value, int64_t now)
{
    if (dk_tcp_option_check(option, value) != 0)
        return -EINVAL;
    if (option == DK_TCP_RCV_BUF)
        c->rcv_tuned = false; /* who says a size, even one that cannot be, wants no other */
    /* A window that was offered is not taken back; the MSS is told once. */
    if ((option == DK_TCP_RCV_BUF && value < c->option[option]) || option == DK_TCP_MAX_SEGMENT)
        return -EINVAL;
    if (option == DK_TCP_CONGESTION && c->state != DK_TCP_CLOSED &&
        dk_tcp_congestion_choose(c, (uint32_t)value, now) != 0)
        return -ENOBUFS;
    c->option[option] = pack(option, value);
    follow(c);
    if (c->state != DK_TCP_CLOSED)
        apply(c, option, now);
    return 0;
}

int dk_tcp_get_option(const struct dk_tcp_conn *c, enum dk_tcp_option option, int64_t *value_out)
{
    if ((uint32_t)option >= DK_TCP_OPTIONS)
        return -EINVAL;
    *value_out = is_time(option) ? dk_tcp_option_ns(c, option) : c->option[option];
    return 0;
}

int dk_tcp_listen_set_option(struct dk_tcp_listener *l, enum dk_tcp_option option, int64_t value)
{
    if (dk_tcp_option_check(option, value) != 0)
        return -EINVAL;
    l->option[option] = value;
    return 0;
}

int dk_tcp_listen_get_option(const struct dk_tcp_listener *l, enum dk_tcp_option option,
                             int64_t *value_out)
{
    if ((uint32_t)option >= DK_TCP_OPTIONS)
        return -EINVAL;
    *value_out = l->option[option];
    return 0;
}
