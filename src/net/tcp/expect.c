/* SPDX-License-Identifier: MIT */
/*
 * Memory that a burst of frames will need. Of many connections most are in no cache when a segment
 * for them arrives, and a segment that waits for one line after the other takes several times as
 * long as it works. When several have arrived, what all of them need is asked for first: the
 * buckets of the table, then what these point to. Nothing is decided by it: what is read of a frame
 * is not checked, and need not be what it seems.
 */
#include "base/bytes.h"
#include "net/stack.h"
#include "net/tcp/pcb.h"
#include "net/wire/ethernet.h"

#define FEW     512u /* connections that caches hold anyway */
#define AT_ONCE 32u

/* gcc leaves out a call of a function that does nothing but this, as without effect: so whoever
 * calls this is inline, too. */
#define EXPECT(at) __builtin_prefetch((at), 1)

/* A frame that looks as if it had a TCP segment for somebody in it. */
struct look {
    union {
        struct dk_tcp_node **bucket;
        struct dk_tcp_conn *conn;
    };
    uint32_t ports;
};

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

/* Of IPv6 without extension headers. */
__attribute__((noinline)) static bool
looks_like_ip6(const struct dk_tcp *tcp, const struct dk_rx_frame *frame, uint64_t *hash_out)
{
    const uint8_t *ip = frame->data + DK_ETH_HEADER_LEN;
    struct dk_ip src = {.version = 6}, dst = {.version = 6};
    if (frame->len < DK_ETH_HEADER_LEN + 60 || ip[0] >> 4 != 6 || ip[6] != DK_IP_TCP)
        return false;
    memcpy(src.bytes, ip + 8, sizeof(src.bytes));
    memcpy(dst.bytes, ip + 24, sizeof(dst.bytes));
    *hash_out = dk_tcp_hash(tcp, &dst, &src, word_at(ip + 40));
    return true;
}

__attribute__((always_inline)) static inline uint32_t look_at(const struct dk_tcp *tcp,
                                                              const struct dk_rx_frame frames[],
                                                              uint32_t n, struct look looks[])
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *ip = frames[i].data + DK_ETH_HEADER_LEN;
        uint64_t hash;
        if (dk_likely(looks_plain(&frames[i], ip))) {
            looks[found].ports = word_at(ip + 20);
            hash = dk_tcp_hash4(tcp, pair_at(ip + 12), looks[found].ports);
        } else if (looks_like_ip6(tcp, &frames[i], &hash)) {
            looks[found].ports = word_at(ip + 40);
        } else {
            continue;
        }
        looks[found].bucket = &tcp->table.buckets[hash & tcp->table.mask];
        EXPECT(looks[found].bucket);
        found++;
    }
    return found;
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

/* Each step needs what the one before asked for. */
__attribute__((always_inline)) static inline void
expect_some(const struct dk_tcp *tcp, const struct dk_rx_frame frames[], uint32_t n)
{
    struct look looks[AT_ONCE];
    n = look_at(tcp, frames, n, looks);
    for (uint32_t i = 0; i < n; i++) {
        looks[i].conn = dk_tcp_conn_of(*looks[i].bucket);
        expect_conn(looks[i].conn);
    }
    for (uint32_t i = 0; i < n; i++) {
        struct dk_tcp_conn *c = looks[i].conn;
        if (dk_unlikely(!c || c->ports != looks[i].ports) &&
            !(c = expect_further(tcp, c, looks[i].ports)))
            continue;
        EXPECT(c->board);
        EXPECT(c->pieces);
    }
}

__attribute__((noipa)) void dk_tcp_expect(const struct dk_tcp *tcp,
                                          const struct dk_rx_frame frames[], uint32_t n)
{
    if (n < 2 || tcp->table.num < FEW)
        return;
    for (uint32_t i = 0; i < n; i += AT_ONCE)
        expect_some(tcp, frames + i, n - i < AT_ONCE ? n - i : AT_ONCE);
}
