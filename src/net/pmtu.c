/* SPDX-License-Identifier: MIT */
/*
 * What was learned of path MTUs (RFC 1191, 8201): a cache of destinations.
 *
 * Transports report only what an ICMP error about a packet of theirs said. All the same a number is
 * believed only if it is lower than what is known and no lower than a path may take: 1280 bytes for
 * IPv6 (RFC 8201 section 4 ignores less), 552 for IPv4. An IPv4 path that says it takes less gets
 * packets of 552 bytes that routers may fragment, so that a forged message cannot make us send
 * thousands of tiny ones. Entries are forgotten after ten minutes, and when the cache is full the
 * oldest of a set makes room.
 */
#include "base/siphash.h"
#include "mem/heap.h"
#include "net/ip_kind.h"
#include "net/route.h"

#define SETS   128
#define WAYS   4
#define AGE_NS (600 * DK_NS_PER_S)

#define IP4_MTU_FLOOR 552
#define IP4_MTU_MIN   68 /* RFC 791 */
#define IP6_MTU_MIN   1280

struct entry {
    struct dk_ip dst; /* version 0: free */
    int64_t until;
    uint32_t mtu;
    bool fragment;
};

struct dk_pmtu {
    struct entry sets[SETS][WAYS];
};

int dk_pmtu_init(struct dk_net *net)
{
    net->pmtu = dk_heap_zalloc(sizeof *net->pmtu);
    return net->pmtu ? 0 : -ENOMEM;
}

void dk_pmtu_fini(struct dk_net *net)
{
    if (net->pmtu)
        dk_heap_free(net->pmtu);
}

static struct entry *set_of(struct dk_net *net, const struct dk_ip *dst)
{
    return net->pmtu->sets[dk_siphash(net->config.secret, dst->bytes, 16) % SETS];
}

static struct entry *find(struct dk_net *net, const struct dk_ip *dst)
{
    struct entry *set = set_of(net, dst);
    for (uint32_t i = 0; i < WAYS; i++) {
        if (dk_ip_equal(&set[i].dst, dst))
            return set[i].until > net->now ? &set[i] : NULL;
    }
    return NULL;
}

uint32_t dk_pmtu_look_up(struct dk_net *net, const struct dk_ip *dst, bool *fragment_out)
{
    const struct entry *entry = find(net, dst);
    if (!entry)
        return net->config.mtu;
    *fragment_out = entry->fragment;
    return entry->mtu;
}

/* The entry of dst, else a free one, else the one that ends first. */
static struct entry *slot_for(struct dk_net *net, const struct dk_ip *dst)
{
    struct entry *set = set_of(net, dst), *best = &set[0];
    for (uint32_t i = 0; i < WAYS; i++) {
        if (dk_ip_equal(&set[i].dst, dst))
            return &set[i];
        if (set[i].until < best->until)
            best = &set[i];
    }
    return best;
}

void dk_ip_set_path_mtu(struct dk_net *net, const struct dk_ip *dst, uint32_t mtu, int64_t now)
{
    bool fragment;
    net->now = now;
    const uint32_t known = dk_pmtu_get(net, dst, &fragment);
    const uint32_t least = dst->version == 4 ? IP4_MTU_MIN : IP6_MTU_MIN;
    if (mtu < least || mtu >= known || fragment) {
        dk_net_count(&net->stats.pmtu_implausible);
        return;
    }
    const bool too_low = dst->version == 4 && mtu < IP4_MTU_FLOOR;
    if (too_low)
        mtu = known < IP4_MTU_FLOOR ? known : IP4_MTU_FLOOR;
    struct entry *entry = slot_for(net, dst);
    *entry = (struct entry){.dst = *dst, .until = now + AGE_NS, .mtu = mtu, .fragment = too_low};
    net->pmtu_known = true;
    dk_ways_changed(net);
    dk_net_count(&net->stats.pmtu_lowered);
}
