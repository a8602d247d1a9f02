/* SPDX-License-Identifier: MIT */
/*
 * The XDP programs, of which an interface runs one.
 *
 *     whole    all frames of a queue that has a socket go to that socket
 *     shared   of them only what is for addresses and ports that are claimed: TCP, UDP, and ICMP
 * errors that quote a packet sent from there
 *
 * All else goes on to the kernel, and to the program "whole" what comes on other queues; what is
 * claimed and comes on the queue of a worker that is not there is dropped, and counted, as if it
 * had been lost on its way: the kernel would refuse what the worker is to get, when it comes. To
 * the kernel go also frames with a tag, IPv6 packets with other extension headers than that of a
 * fragment, and fragments that overtake their first one, which alone has the ports.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "drv/xdp/program.h"

#define FRAGMENT_OFFSET 0x1fff
#define MORE_FRAGMENTS  0x2000
#define MORE_FRAGMENTS6 0x0001
#define NEXT_FRAGMENT   44

struct {
    __uint(type, BPF_MAP_TYPE_XSKMAP);
    __uint(max_entries, DK_XDP_QUEUES_MAX);
    __type(key, __u32);
    __type(value, __u32);
} sockets SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u64);
} lost SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, DK_XDP_CLAIMS_MAX);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, struct dk_xdp_key);
    __type(value, __u8);
} claims SEC(".maps");

/* Of a datagram whose first fragment was ours. */
struct datagram {
    __u8 source[16], destination[16];
    __u32 id;
    __u8 protocol, version, unused[2];
};

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 1024);
    __type(key, struct datagram);
    __type(value, __u8);
} fragments SEC(".maps");

struct fragment_header {
    __u8 next, reserved;
    __be16 offset;
    __be32 id;
};

/* Where a packet is being read; everything behind end is not there. */
struct cursor {
    const __u8 *at, *end;
};

static __always_inline const void *take(struct cursor *c, __u32 bytes)
{
    const __u8 *here = c->at;
    if (here + bytes > c->end)
        return 0;
    c->at = here + bytes;
    return here;
}

static __always_inline int to_socket(const struct xdp_md *frame)
{
    return bpf_redirect_map(&sockets, frame->rx_queue_index, XDP_PASS);
}

static __always_inline int to_worker(const struct xdp_md *frame)
{
    const __u32 zero = 0, queue = frame->rx_queue_index;
    if (bpf_map_lookup_elem(&sockets, &queue))
        return to_socket(frame);
    __u64 *count = bpf_map_lookup_elem(&lost, &zero);
    if (count)
        __sync_fetch_and_add(count, 1);
    return XDP_DROP;
}

static __always_inline int is_claimed(const struct dk_xdp_key *key)
{
    return bpf_map_lookup_elem(&claims, key) != 0;
}

/* Of ports that stand at the cursor: ours is the one of a sender, or the other. */
static __always_inline int has_port(struct cursor *c, struct dk_xdp_key *key, int sender)
{
    const __be16 *ports = take(c, 4);
    if (!ports || (key->protocol != IPPROTO_TCP && key->protocol != IPPROTO_UDP))
        return 0;
    key->port = ports[sender ? 0 : 1];
    return is_claimed(key);
}

/* An ICMP error is ours when the packet that it quotes is. */
static __always_inline int is_quoted4(struct cursor *c)
{
    struct dk_xdp_key key = {.version = 4};
    const __u8 *icmp = take(c, 8);
    const struct iphdr *ip = take(c, sizeof(*ip));
    if (!icmp || !ip || (icmp[0] != 3 && icmp[0] != 11 && icmp[0] != 12))
        return 0;
    if (ip->ihl != 5 || ip->frag_off & bpf_htons(FRAGMENT_OFFSET))
        return 0;
    key.protocol = ip->protocol;
    __builtin_memcpy(key.address, &ip->saddr, 4);
    return has_port(c, &key, 1);
}

static __always_inline int is_quoted6(struct cursor *c)
{
    struct dk_xdp_key key = {.version = 6};
    const __u8 *icmp = take(c, 8);
    const struct ipv6hdr *ip = take(c, sizeof(*ip));
    if (!icmp || !ip || icmp[0] < 1 || icmp[0] > 4)
        return 0;
    key.protocol = ip->nexthdr;
    __builtin_memcpy(key.address, &ip->saddr, 16);
    return has_port(c, &key, 1);
}

static __always_inline int is_ours4(struct cursor *c)
{
    struct dk_xdp_key key = {.version = 4};
    struct datagram datagram = {.version = 4};
    const __u8 one = 1;
    const struct iphdr *ip = take(c, sizeof(*ip));
    if (!ip || ip->ihl < 5 || !take(c, (ip->ihl - 5) * 4))
        return 0;
    if (ip->protocol == IPPROTO_ICMP)
        return is_quoted4(c);
    key.protocol = datagram.protocol = ip->protocol;
    __builtin_memcpy(key.address, &ip->daddr, 4);
    if (!(ip->frag_off & bpf_htons(MORE_FRAGMENTS | FRAGMENT_OFFSET)))
        return has_port(c, &key, 0);
    __builtin_memcpy(datagram.source, &ip->saddr, 4);
    __builtin_memcpy(datagram.destination, &ip->daddr, 4);
    datagram.id = ip->id;
    if (ip->frag_off & bpf_htons(FRAGMENT_OFFSET))
        return bpf_map_lookup_elem(&fragments, &datagram) != 0;
    if (!has_port(c, &key, 0))
        return 0;
    bpf_map_update_elem(&fragments, &datagram, &one, BPF_ANY);
    return 1;
}

static __always_inline int is_ours6(struct cursor *c)
{
    struct dk_xdp_key key = {.version = 6};
    struct datagram datagram = {.version = 6};
    const __u8 one = 1;
    const struct ipv6hdr *ip = take(c, sizeof(*ip));
    if (!ip)
        return 0;
    if (ip->nexthdr == IPPROTO_ICMPV6)
        return is_quoted6(c);
    key.protocol = ip->nexthdr;
    __builtin_memcpy(key.address, &ip->daddr, 16);
    if (ip->nexthdr != NEXT_FRAGMENT)
        return has_port(c, &key, 0);
    const struct fragment_header *fragment = take(c, sizeof(*fragment));
    if (!fragment)
        return 0;
    key.protocol = datagram.protocol = fragment->next;
    __builtin_memcpy(datagram.source, &ip->saddr, 16);
    __builtin_memcpy(datagram.destination, &ip->daddr, 16);
    datagram.id = fragment->id;
    if (fragment->offset & ~bpf_htons(7))
        return bpf_map_lookup_elem(&fragments, &datagram) != 0;
    if (!has_port(c, &key, 0))
        return 0;
    if (fragment->offset & bpf_htons(MORE_FRAGMENTS6))
        bpf_map_update_elem(&fragments, &datagram, &one, BPF_ANY);
    return 1;
}

SEC("xdp")
int shared(struct xdp_md *frame)
{
    struct cursor c = {(const __u8 *)(long)frame->data, (const __u8 *)(long)frame->data_end};
    const struct ethhdr *ethernet = take(&c, sizeof(*ethernet));
    int ours = 0;
    if (!ethernet)
        return XDP_PASS;
    if (ethernet->h_proto == bpf_htons(ETH_P_IP))
        ours = is_ours4(&c);
    else if (ethernet->h_proto == bpf_htons(ETH_P_IPV6))
        ours = is_ours6(&c);
    return ours ? to_worker(frame) : XDP_PASS;
}

SEC("xdp")
int whole(struct xdp_md *frame)
{
    return to_socket(frame);
}

char license_of_program[] SEC("license") = "Dual MIT/GPL";
