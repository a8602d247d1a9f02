/* SPDX-License-Identifier: MIT */
/*
 * What messages of the kernel's say of the interface. Private to src/drv/xdp.
 */
#ifndef DK_DRV_XDP_FACTS_H
#define DK_DRV_XDP_FACTS_H

#include "drv/xdp/state.h"

#include <linux/netlink.h>

/* Reads a message: whether it is news, *out. What it says of other interfaces is none; what may
 * have taken more with it than it says has all be read again (dk_xdp_kernel_look_again). */
bool dk_xdp_fact_read(struct dk_xdp *x, const struct nlmsghdr *message, struct dk_netdev_fact *out);

/* What became of the interface itself, if that was not told yet. */
bool dk_xdp_fact_of_link(struct dk_xdp *x, struct dk_netdev_fact *out);

#endif /* DK_DRV_XDP_FACTS_H */
