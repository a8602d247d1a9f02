/* SPDX-License-Identifier: MIT */
/* The arithmetic of a link's rate, and the bits of RFC 3168 (bottleneck.h). */
#include "drv/bottleneck.h"

#include "base/bytes.h"
#include "base/checksum.h"

#define NS_PER_S 1000000000u
#define BITS     8u

#define ETHER_TYPE_AT 12u
#define IP_AT         14u
#define IP4_TYPE      0x0800u
#define IP4_LEAST     20u
#define IP4_SUM_AT    10u
#define IP6_TYPE      0x86ddu
#define IP6_LEAST     40u
#define IP6_ECN_SHIFT 4 /* in the second byte: the traffic class begins in the first */
#define ECN_CE        3u

/* By how much the queue is full. Fits: no frame waits longer than a full queue lasts. */
static uint64_t queued(const struct dk_bottleneck *b, int64_t now)
{
    if (b->free_at <= now)
        return 0;
    return (uint64_t)(b->free_at - now) * (b->rate_bps / BITS) / NS_PER_S;
}

bool dk_bottleneck_pass(struct dk_bottleneck *b, uint32_t bytes, int64_t now, int64_t *left_out)
{
    *left_out = now;
    if (b->rate_bps == 0)
        return true;
    if (queued(b, now) + bytes > b->queue_bytes)
        return false;
    int64_t start = b->free_at > now ? b->free_at : now;
    b->free_at = start + (int64_t)((uint64_t)bytes * BITS * NS_PER_S / b->rate_bps);
    *left_out = b->free_at;
    return true;
}

static bool mark_ip4(uint8_t *header)
{
    uint8_t ecn = header[1] & ECN_CE;
    if (ecn == 0 || ecn == ECN_CE)
        return ecn != 0;
    uint16_t before = dk_get_be16(header);
    header[1] |= ECN_CE;
    uint16_t sum = dk_get_be16(header + IP4_SUM_AT);
    dk_put_be16(header + IP4_SUM_AT, dk_checksum_update16(sum, before, dk_get_be16(header)));
    return true;
}

static bool mark_ip6(uint8_t *header)
{
    if (!(header[1] & ECN_CE << IP6_ECN_SHIFT))
        return false;
    header[1] |= ECN_CE << IP6_ECN_SHIFT;
    return true;
}

bool dk_mark_congestion(uint8_t *frame, size_t len)
{
    if (len < IP_AT + IP4_LEAST)
        return false;
    switch (dk_get_be16(frame + ETHER_TYPE_AT)) {
    case IP4_TYPE:
        return mark_ip4(frame + IP_AT);
    case IP6_TYPE:
        return len >= IP_AT + IP6_LEAST && mark_ip6(frame + IP_AT);
    default:
        return false;
    }
}
