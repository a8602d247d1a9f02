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

#define LINE    64u
#define FEW     512u /* connections that caches hold anyway */
#define AT_ONCE 32u

/* A frame that looks as if it had a TCP segment for somebody in it. */
struct look {
    struct dk_tcp_node **bucket;
    const struct dk_tcp_conn *conn;
    uint32_t ports;
};

static inline bool looks_like_tcp(const struct dk_rx_frame *frame, struct dk_ip *src,
                                  struct dk_ip *dst, uint32_t *ports)
{
    const uint8_t *ip = frame->data + DK_ETH_HEADER_LEN;
    if (frame->len < DK_ETH_HEADER_LEN + 40)
        return false;
    src->version = dst->version = ip[0] >> 4;
    if (ip[0] == 0x45 && ip[9] == DK_IP_TCP) {
        memcpy(&src->v4, ip + 12, sizeof(src->v4));
        memcpy(&dst->v4, ip + 16, sizeof(dst->v4));
        memcpy(ports, ip + 20, sizeof(*ports));
        return true;
    }
    if (ip[0] >> 4 != 6 || ip[6] != DK_IP_TCP || frame->len < DK_ETH_HEADER_LEN + 60)
        return false;
    memcpy(src->bytes, ip + 8, sizeof(src->bytes));
    memcpy(dst->bytes, ip + 24, sizeof(dst->bytes));
    memcpy(ports, ip + 40, sizeof(*ports));
    return true;
}

/* gcc leaves out a call of a function that does nothing but this, as without effect: so whoever
 * calls this is inline, too. */
#define EXPECT(at) __builtin_prefetch((at), 1)

__attribute__((always_inline)) static inline uint32_t look_at(const struct dk_tcp *tcp,
                                                              const struct dk_rx_frame frames[],
                                                              uint32_t n, struct look looks[])
{
    struct dk_ip src, dst;
    uint32_t found = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct look *l = &looks[found];
        if (!looks_like_tcp(&frames[i], &src, &dst, &l->ports))
            continue;
        l->bucket = &tcp->table.buckets[dk_tcp_hash(tcp, &dst, &src, l->ports) & tcp->table.mask];
        EXPECT(l->bucket);
        found++;
    }
    return found;
}

__attribute__((always_inline)) static inline void expect_conn(const struct dk_tcp *tcp,
                                                              struct look *l)
{
    while (l->conn && l->conn->ports != l->ports)
        l->conn = dk_tcp_conn_of(dk_tcp_table_next(&tcp->table, &l->conn->node));
    for (size_t at = LINE; l->conn && at < DK_TCP_HOT_BYTES; at += LINE)
        EXPECT((const char *)l->conn + at);
}

/* Each step needs what the one before asked for. */
__attribute__((always_inline)) static inline void
expect_some(const struct dk_tcp *tcp, const struct dk_rx_frame frames[], uint32_t n)
{
    struct look looks[AT_ONCE];
    n = look_at(tcp, frames, n, looks);
    for (uint32_t i = 0; i < n; i++) {
        looks[i].conn = dk_tcp_conn_of(*looks[i].bucket);
        EXPECT(looks[i].conn);
    }
    for (uint32_t i = 0; i < n; i++)
        expect_conn(tcp, &looks[i]);
    for (uint32_t i = 0; i < n; i++) {
        if (!looks[i].conn)
            continue;
        EXPECT(looks[i].conn->board);
        EXPECT(looks[i].conn->pieces);
    }
    for (uint32_t i = 0; i < n; i++)
        if (looks[i].conn && looks[i].conn->pieces)
            EXPECT(looks[i].conn->pieces->buf);
}

__attribute__((noipa)) void dk_tcp_expect(const struct dk_tcp *tcp,
                                          const struct dk_rx_frame frames[], uint32_t n)
{
    if (n < 2 || tcp->table.num < FEW)
        return;
    for (uint32_t i = 0; i < n; i += AT_ONCE)
        expect_some(tcp, frames + i, n - i < AT_ONCE ? n - i : AT_ONCE);
}
