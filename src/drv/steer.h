/* SPDX-License-Identifier: MIT */
/*
 * Which queue of a device a packet comes to, where we may say it: by the Toeplitz hash of its
 * addresses and ports with the symmetric key (base/toeplitz.h), which NICs can form, and the kernel
 * by a packet filter.
 */
#ifndef DK_DRV_STEER_H
#define DK_DRV_STEER_H

#include "net/dev.h"

/* The hash of what comes of a flow, without its upper half, which is the same: tun takes no more.
 */
uint16_t dk_steer_hash(const struct dk_flow *flow);

struct sock_fprog;

/*
 * The same as a classic packet filter, which the kernel runs from the network header on. 0 for what
 * is no whole packet of TCP or UDP behind the IP header: such packets come to the first queue.
 */
struct sock_fprog dk_steer_filter(void);

/* Loads it as a program of eBPF, which needs CAP_BPF where the system does not let everybody:
 * returns a descriptor or a negative errno. */
int dk_steer_load(void);

#endif /* DK_DRV_STEER_H */
