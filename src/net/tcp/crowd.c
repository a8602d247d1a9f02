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
#define AHEAD_CONN   14u
#define AHEAD_QUEUES 7u

/* gcc leaves out a call of a function that does nothing but this, as without effect: so whoever
 * calls this is inline, too. */
#define EXPECT(at) __builtin_prefetch((at), 1)

/* What a frame seems to be for. */
struct look {
    union {
        struct dk_tcp_node *const *bucket;
        struct dk_tcp_conn *conn; /* once it was asked for; NULL: nobody known */
    };
    uint32_t ports;
};

static struct dk_tcp_node *const nobody;

static inline uint32_t word_at(const uint8_t *at)
{
    uint32_t word;
    memcpy(&word, at, sizeof(word));
    return word;
}

static inline uint64_t pair_at(const uint8_t *at)
{
    uint64_t pair;
    memcpy(&pair, at, sizeof(pair));
    return pair;
}

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
        return (struct look){.bucket = &nobody};
    memcpy(src.bytes, ip + 8, sizeof(src.bytes));
    memcpy(dst.bytes, ip + 24, sizeof(dst.bytes));
    const uint32_t ports = word_at(ip + 40);
    const uint64_t hash = dk_tcp_hash(tcp, &dst, &src, ports);
    return (struct look){.bucket = &tcp->table.buckets[hash & tcp->table.mask], .ports = ports};
}

__attribute__((always_inline)) static inline void look_at(const struct dk_tcp *tcp,
                                                          const struct dk_rx_frame frames[],
                                                          uint32_t n, struct look looks[])
{
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *ip = frames[i].data + DK_ETH_HEADER_LEN;
        if (dk_likely(looks_plain(&frames[i], ip))) {
            const uint32_t ports = word_at(ip + 20);
            const uint64_t hash = dk_tcp_hash4(tcp, pair_at(ip + 12), ports);
            looks[i].bucket = &tcp->table.buckets[hash & tcp->table.mask];
            looks[i].ports = ports;
        } else {
            looks[i] = look_at_other(tcp, &frames[i]);
        }
        EXPECT(looks[i].bucket);
    }
}

__attribute__((always_inline)) static inline void expect_conn(const struct dk_tcp_conn *c)
{
#pragma GCC unroll 16
    for (uint32_t i = 0; i < DK_TCP_HOT_LINES; i++)
        EXPECT((const char *)c + i * DK_TCP_LINE);
    EXPECT((const char *)c + DK_TCP_HOT_LAST * DK_TCP_LINE);
}

/* One that is not the first in its bucket. */
__attribute__((noinline)) static struct dk_tcp_conn *
expect_further(const struct dk_tcp *tcp, struct dk_tcp_conn *c, uint32_t ports)
{
    while (c && c->ports != ports)
        c = dk_tcp_conn_of(dk_tcp_table_next(&tcp->table, &c->node));
    if (c)
        expect_conn(c);
    return c;
}

__attribute__((always_inline)) static inline void ask_conn(struct look *look)
{
    look->conn = dk_tcp_conn_of(*look->bucket);
    expect_conn(look->conn);
}

__attribute__((always_inline)) static inline void ask_queues(const struct dk_tcp *tcp,
                                                             struct look *look)
{
    struct dk_tcp_conn *c = look->conn;
    if (dk_unlikely(!c || c->ports != look->ports) &&
        !(look->conn = c = expect_further(tcp, c, look->ports)))
        return;
    EXPECT(c->board);
    EXPECT(c->pieces);
}

/* The first of n frames, with its look, has its turn; returns how many were taken. */
static inline uint32_t input_first(struct dk_net *net, const struct look *look,
                                   const struct dk_rx_frame frames[], uint32_t n, int64_t now)
{
    if (dk_unlikely(!look->conn || (n > 1 && look[1].conn == look->conn)))
        return dk_net_input_some(net, frames, n, now);
    if (dk_likely(dk_tcp_input4_of(net->tcp, look->conn, frames, now)))
        dk_net_count(&net->stats.link_rx);
    else
        dk_net_input(net, frames, now);
    return 1;
}

static void input_at_once(struct dk_net *net, const struct dk_rx_frame frames[], uint32_t n,
                          int64_t now)
{
    const struct dk_tcp *tcp = net->tcp;
    struct look looks[AT_ONCE];
    look_at(tcp, frames, n, looks);
    for (uint32_t i = 0; i < AHEAD_CONN && i < n; i++)
        ask_conn(&looks[i]);
    for (uint32_t i = 0; i < AHEAD_QUEUES && i < n; i++)
        ask_queues(tcp, &looks[i]);
    for (uint32_t i = 0; i < n;) {
        const uint32_t taken = input_first(net, &looks[i], &frames[i], n - i, now);
        for (const uint32_t end = i + taken; i < end; i++) {
            dk_buf_put(frames[i].buf);
            if (i + AHEAD_CONN < n)
                ask_conn(&looks[i + AHEAD_CONN]);
            if (i + AHEAD_QUEUES < n)
                ask_queues(tcp, &looks[i + AHEAD_QUEUES]);
        }
    }
}

bool dk_tcp_input_crowd(struct dk_net *net, const struct dk_rx_frame frames[], uint32_t n,
                        int64_t now)
{
    if (dk_likely(net->tcp->table.num < FEW))
        return false;
    for (uint32_t i = 0; i < n; i += AT_ONCE)
        input_at_once(net, frames + i, n - i < AT_ONCE ? n - i : AT_ONCE, now);
    return true;
}
