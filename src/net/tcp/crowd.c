/* SPDX-License-Identifier: MIT */
/*
 * A burst of frames where connections are many. Most of these are in no cache when a segment for
 * them arrives, and a segment that waits for one line of memory after the other takes several times
 * as long as it works. So what each will need is asked for while those before it are worked on: the
 * buckets of the table for all of a burst, a few frames ahead what these point to, and then the
 * queues of that.
 *
 * What is read of a frame ahead is not checked, and need not be what it seems; a connection that
 * was found ahead may have ended when its frame's turn comes. Objects of connections stay objects
 * of connections (pool.h), and one is taken for a frame's only when it says so itself, and is
 * established: then it is the one that the table has.
 *
 * Frames of one connection that come one behind the other may be a group (net/gro.h). These, and
 * frames of nobody known, go the way of all.
 */
#include "base/bytes.h"
#include "net/stack.h"
#include "net/tcp/pcb.h"
#include "net/wire/ethernet.h"

#define FEW     512u /* connections that caches hold anyway */
#define AT_ONCE 64u  /* frames */

/* So many frames ahead a connection is asked for, and its queues. A line of memory takes as long as
 * one or two frames. */
#define AHEAD_CONN   14
#define AHEAD_QUEUES 7

/* gcc leaves out a call of a function that does nothing but this, as without effect: so whoever
 * calls this is inline, too. */
#define EXPECT(at) __builtin_prefetch((at), 1)

/* What a frame seems to be for. The table may change, and move, until its turn. */
struct look {
    uint64_t hash;
    struct dk_tcp_conn *conn; /* once it was asked for; NULL: nobody known */
    uint32_t ports;           /* 0: no connection has these */
};

/* Of IPv4 without options, which is most. */
static inline bool looks_plain(const struct dk_rx_frame *frame, const uint8_t *ip)
{
    return frame->len >= DK_ETH_HEADER_LEN + 40 && ip[0] == 0x45 && ip[9] == DK_IP_TCP;
}

/* Any other: IPv6 without extension headers, or it is for nobody. */
__attribute__((noinline)) static struct look look_at_other(const struct dk_tcp *tcp,
                                                           const struct dk_rx_frame *frame)
{
    const uint8_t *ip = frame->data + DK_ETH_HEADER_LEN;
    struct dk_ip src = {.version = 6}, dst = {.version = 6};
    if (frame->len < DK_ETH_HEADER_LEN + 60 || ip[0] >> 4 != 6 || ip[6] != DK_IP_TCP)
        return (struct look){.hash = 0};
    memcpy(src.bytes, ip + 8, sizeof(src.bytes));
    memcpy(dst.bytes, ip + 24, sizeof(dst.bytes));
    const uint32_t ports = dk_get_u32(ip + 40);
    return (struct look){.hash = dk_tcp_hash(tcp, &dst, &src, ports), .ports = ports};
}

__attribute__((always_inline)) static inline void look_at(const struct dk_tcp *tcp,
                                                          const struct dk_rx_frame frames[],
                                                          uint32_t n, struct look looks[])
{
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *ip = frames[i].data + DK_ETH_HEADER_LEN;
        if (dk_likely(looks_plain(&frames[i], ip))) {
            looks[i].ports = dk_get_u32(ip + 20);
            looks[i].hash = dk_tcp_hash4(tcp, dk_get_u64(ip + 12), looks[i].ports);
        } else {
            looks[i] = look_at_other(tcp, &frames[i]);
        }
        EXPECT(&tcp->table.buckets[looks[i].hash & tcp->table.mask]);
    }
}

__attribute__((always_inline)) static inline void expect_conn(const struct dk_tcp_conn *c)
{
#pragma GCC unroll 16
    for (uint32_t i = 0; i < DK_TCP_HOT_LINES; i++)
        EXPECT((const char *)c + i * DK_TCP_LINE);
    EXPECT((const char *)c + DK_TCP_HOT_LAST * DK_TCP_LINE);
}

/* One that is not the first in its bucket, or was not when it was asked for. */
__attribute__((noinline)) static struct dk_tcp_conn *expect_further(const struct dk_tcp *tcp,
                                                                    const struct look *look)
{
    struct dk_tcp_conn *c = dk_tcp_conn_of(dk_tcp_table_first(&tcp->table, look->hash));
    while (c && c->ports != look->ports)
        c = dk_tcp_conn_of(dk_tcp_table_next(&tcp->table, &c->node));
    if (c)
        expect_conn(c);
    return c;
}

__attribute__((always_inline)) static inline void ask_conn(const struct dk_tcp *tcp,
                                                           struct look *look)
{
    look->conn = dk_tcp_conn_of(dk_tcp_table_first(&tcp->table, look->hash));
    expect_conn(look->conn);
}

__attribute__((always_inline)) static inline void ask_queues(const struct dk_tcp *tcp,
                                                             struct look *look)
{
    struct dk_tcp_conn *c = look->conn;
    if (dk_unlikely(!c || c->ports != look->ports) && !(look->conn = c = expect_further(tcp, look)))
        return;
    EXPECT(c->board);
    EXPECT(c->pieces);
}

/* A frame has had its turn: those so far behind it have theirs to be asked for. */
__attribute__((always_inline)) static inline void
ask_ahead(const struct dk_tcp *tcp, struct look *look, const struct look *end)
{
    if (end - look > AHEAD_CONN)
        ask_conn(tcp, look + AHEAD_CONN);
    if (end - look > AHEAD_QUEUES)
        ask_queues(tcp, look + AHEAD_QUEUES);
}

/* Takes the first of n frames, whose connection is not known, or may have more of them. */
__attribute__((noinline)) static uint32_t input_other(struct dk_net *net, struct look *look,
                                                      struct dk_rx_frame frames[], uint32_t n,
                                                      int64_t now)
{
    const uint32_t taken = dk_net_input_some(net, frames, n, now);
    for (uint32_t i = 0; i < taken; i++) {
        dk_buf_put(frames[i].buf);
        ask_ahead(net->tcp, look + i, look + n);
    }
    return taken;
}

static void input_at_once(struct dk_net *net, struct dk_rx_frame frames[], uint32_t n, int64_t now)
{
    struct dk_tcp *tcp = net->tcp;
    struct look looks[AT_ONCE + 1];
    struct look *const end = looks + n, *look = looks;
    look_at(tcp, frames, n, looks);
    end->conn = NULL;
    for (int i = 0; i < AHEAD_CONN && looks + i < end; i++)
        ask_conn(tcp, &looks[i]);
    for (int i = 0; i < AHEAD_QUEUES && looks + i < end; i++)
        ask_queues(tcp, &looks[i]);
    while (look < end) {
        if (dk_likely(look[0].conn && look[1].conn != look[0].conn &&
                      dk_tcp_input4_of(tcp, look[0].conn, frames, now))) {
            dk_net_count(&net->stats.link_rx);
            dk_buf_put(frames->buf);
            ask_ahead(tcp, look, end);
            look++;
            frames++;
        } else {
            const uint32_t taken = input_other(net, look, frames, (uint32_t)(end - look), now);
            look += taken;
            frames += taken;
        }
    }
}

bool dk_tcp_input_crowd(struct dk_net *net, struct dk_rx_frame frames[], uint32_t n, int64_t now)
{
    if (dk_likely(net->tcp->table.num < FEW))
        return false;
    for (uint32_t i = 0; i < n; i += AT_ONCE)
        input_at_once(net, frames + i, n - i < AT_ONCE ? n - i : AT_ONCE, now);
    return true;
}
