/* SPDX-License-Identifier: MIT */
/*
 * A port of DPDK as a network device: what the core knows of the module, without DPDK's headers.
 *
 * DPDK's environment (EAL) is started with the first port of the process, and stays: a second start
 * would fail. One that the application has started is used as it is. A port is made with its
 * device, and taken away with it.
 *
 * Zero copy. Frames are received into buffers of the heap, and handed on as they are. What is sent
 * is attached to mbufs where it lies, when the driver lets go of it within the call or whenever it
 * is asked to (rte_eth_tx_done_cleanup); else it is copied, as all is where the driver wants frames
 * in memory of its own (memif with zero-copy=yes, AF_XDP, virtio-user).
 */
#ifndef DK_DRV_DPDK_DPDK_H
#define DK_DRV_DPDK_DPDK_H

#include "net/dev.h"

struct dk_dpdk_options {
    const char *device;   /* "0000:00:04.0", "net_memif0 role=client id=1": devargs, with blanks for
                             commas. NULL, "": the first port that EAL finds */
    const char *eal;      /* more arguments for EAL, separated by blanks, or NULL */
    struct dk_mac mac;    /* 0: the port's */
    uint32_t mtu;         /* 0: the port's */
    uint32_t ring_frames; /* of each ring, 0: 512 */
    size_t rx_pool_bytes; /* 0: 8 MiB */
    uint32_t offloads;    /* DK_NETDEV_TX_CHECKSUM, RX_CHECKSUM, TSO: what it may have, if it can */
    bool promiscuous;
    bool copy; /* both ways */
    struct dk_netdev_queue queue;
};

/* What the module is (dk_module.driver). */
struct dk_dpdk_driver {
    /* 0, or a negative errno and what to do in *why_out. */
    int (*open)(struct dk_netdev **dev_out, const struct dk_dpdk_options *options,
                const char **why_out);
};

extern const struct dk_dpdk_driver dk_dpdk_driver;

#endif /* DK_DRV_DPDK_DPDK_H */
