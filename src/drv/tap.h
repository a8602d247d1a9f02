/* SPDX-License-Identifier: MIT */
/*
 * A TAP interface of Linux: the kernel's stack, or a bridge, is at the other end of the link.
 *
 * An interface that exists is used as it is, by whoever it was given to (`ip tuntap add mode tap
 * user NAME name IF`). One that does not exist is made, which needs CAP_NET_ADMIN, brought up, and
 * is gone with the device.
 *
 * Several queues (IFF_MULTI_QUEUE): a program says which one a flow comes to (steer.h), where we
 * may load one (CAP_BPF). Elsewhere the kernel keeps in mind by which queue a flow was sent last,
 * for three seconds, and brings it there, but for answers that are there at once; others it spreads
 * by a hash that nobody else can form.
 *
 * One system call per frame: read into receive memory, writev from where the pieces lie.
 */
#ifndef DK_DRV_TAP_H
#define DK_DRV_TAP_H

#include "net/dev.h"

/* Zero: the default. */
struct dk_tap_options {
    const char *name;     /* of the interface, as the kernel has it */
    uint32_t mtu;         /* default: the interface's; one that is made gets it */
    size_t rx_pool_bytes; /* receive memory; default 8 MiB */
    uint32_t offloads; /* DK_NETDEV_TX_CHECKSUM, RX_CHECKSUM, TSO: what it may have; default none */
    struct dk_mac mac; /* of our end; default: made from the interface's, which it differs from */
    struct dk_netdev_queue queue;
};

/*
 * 0; -EPERM, -ENOENT (no /dev/net/tun), -EBUSY (another process has it), -EINVAL (no TAP, or MTU),
 * -ENETDOWN, ...: *why_out says what to do, good until the next open of this thread.
 */
int dk_tap_open(struct dk_netdev **dev_out, const struct dk_tap_options *options,
                const char **why_out);

#endif /* DK_DRV_TAP_H */
