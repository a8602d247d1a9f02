/* SPDX-License-Identifier: MIT */
/*
 * Operations of a decorator that it leaves to the device below, and the beginning of one.
 */
#ifndef DK_DRV_INNER_H
#define DK_DRV_INNER_H

#include "net/dev.h"

/* Puts dev over inner: its caps and counters are inner's. */
void dk_inner_init(struct dk_netdev *dev, const struct dk_netdev_ops *ops, struct dk_netdev *inner);

uint32_t dk_inner_reclaim(struct dk_netdev *dev, int64_t now);
int dk_inner_arm(struct dk_netdev *dev);
int64_t dk_inner_next_due(struct dk_netdev *dev);
enum dk_link dk_inner_link(struct dk_netdev *dev);
void dk_inner_abandon(struct dk_netdev *dev);

#endif /* DK_DRV_INNER_H */
