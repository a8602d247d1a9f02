/* SPDX-License-Identifier: MIT */
/*
 * A link inside the process: what one end sends, the other receives.
 *
 * A frame is copied once, by the sender, into receive memory of the link; the receiver gets views
 * of it. Each direction is a ring of frames with one sender and one receiver, so the two ends may
 * belong to different instances and threads. Or there is one end only, which receives what it sends
 * itself.
 *
 * A link is up while both ends are open. Frames on their way to an end that is closed are lost.
 */
#ifndef DK_DRV_LOOP_H
#define DK_DRV_LOOP_H

#include "net/dev.h"

/* Zero: the default. */
struct dk_loop_options {
    uint32_t mtu;         /* 68 to 65535; default 1500 */
    uint32_t ring_frames; /* per direction, made a power of two; default 1024, at most 65536 */
    size_t rx_pool_bytes; /* receive memory per direction; default 8 MiB */
    uint32_t offloads;    /* DK_NETDEV_TX_CHECKSUM, RX_CHECKSUM, TSO: that it has; default none */
    struct dk_mac mac;    /* of the (first) end; default 02:00:00:00:00:01 */
    struct dk_mac peer;   /* of the second; default 02:00:00:00:00:02 */
};

/* Opens a link that ends where it begins. 0, -EINVAL, -ENOMEM, -EMFILE...; *why_out says what to
 * do, good until the next open of this thread. */
int dk_loop_open(struct dk_netdev **dev_out, const struct dk_loop_options *options,
                 const char **why_out);

/* Opens both ends of a link; each is closed by itself. */
int dk_loop_open_pair(struct dk_netdev *devs_out[2], const struct dk_loop_options *options,
                      const char **why_out);

#endif /* DK_DRV_LOOP_H */
