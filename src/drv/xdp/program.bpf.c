/* SPDX-License-Identifier: MIT */
/*
 * The XDP program: all frames of a queue that has a socket go to that socket.
 *
 * What comes on other queues goes on to the kernel.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#define QUEUES_MAX 128

struct {
    __uint(type, BPF_MAP_TYPE_XSKMAP);
    __uint(max_entries, QUEUES_MAX);
    __type(key, __u32);
    __type(value, __u32);
} sockets SEC(".maps");

SEC("xdp")
int demikernel(struct xdp_md *frame)
{
    return bpf_redirect_map(&sockets, frame->rx_queue_index, XDP_PASS);
}

char license_of_program[] SEC("license") = "Dual MIT/GPL";
