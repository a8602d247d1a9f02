/* SPDX-License-Identifier: MIT */
/*
 * Any Ethernet interface of Linux, through a packet socket (packet(7)). Needs CAP_NET_RAW.
 *
 * The kernel's stack sees the same frames: give ours addresses that the kernel does not have on
 * that interface, and do not let it forward (net.ipv4.conf.IF.forwarding=0).
 *
 * Receive: a ring of TPACKET_V2 that the kernel fills and we copy from. Not V3: it hands over whole
 * blocks, a millisecond late. Send: sendmmsg(2), from where the pieces lie. Not the transmit ring:
 * a frame to a veth is marked as sent as soon as the peer has it queued, while it still points into
 * the ring, and would be overwritten there.
 *
 * With offloads each frame that is sent has the header of virtio-net before it (PACKET_VNET_HDR):
 * checksums are finished and segments cut by the interface, or by the kernel for it.
 *
 * Several queues are sockets that share what comes (fanout.h).
 *
 * The interface must not hand up frames longer than its MTU, which offloads put together (GRO), or
 * which a sender on the same host left whole (TSO on a veth). They are dropped, counted as
 * dev.rx_too_long, and the log says once what to turn off.
 */
#ifndef DK_DRV_PACKET_H
#define DK_DRV_PACKET_H

#include "net/dev.h"

/* Zero: the default. */
struct dk_packet_options {
    const char *name;     /* of the interface */
    uint32_t mtu;         /* default: the interface's, and at most that */
    uint32_t ring_frames; /* default 1024, at most 65536 */
    size_t rx_pool_bytes; /* receive memory; default 8 MiB */
    uint32_t offloads;    /* DK_NETDEV_TX_CHECKSUM, TSO: what it may have; default none */
    struct dk_mac mac;    /* default: the interface's; another one needs promiscuous mode */
    bool promiscuous;     /* all frames of the link */
    struct dk_netdev_queue queue;
};

/* 0; -EPERM, -ENODEV, -ENETDOWN (down, or no carrier), -EINVAL, -ENOMEM, ...: *why_out says what to
 * do, good until the next open of this thread. */
int dk_packet_open(struct dk_netdev **dev_out, const struct dk_packet_options *options,
                   const char **why_out);

#endif /* DK_DRV_PACKET_H */
