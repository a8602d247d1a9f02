/* SPDX-License-Identifier: MIT */
#include "drv/inner.h"

void dk_inner_init(struct dk_netdev *dev, const struct dk_netdev_ops *ops, struct dk_netdev *inner)
{
    dev->ops = ops;
    dev->caps = inner->caps;
    dev->inner = inner;
    dev->stats = inner->stats;
}

uint32_t dk_inner_reclaim(struct dk_netdev *dev, int64_t now)
{
    return dev->inner->ops->reclaim ? dev->inner->ops->reclaim(dev->inner, now) : 0;
}

int dk_inner_arm(struct dk_netdev *dev)
{
    return dev->inner->ops->arm(dev->inner);
}

int64_t dk_inner_next_due(struct dk_netdev *dev)
{
    return dev->inner->ops->next_due ? dev->inner->ops->next_due(dev->inner) : INT64_MAX;
}

enum dk_link dk_inner_link(struct dk_netdev *dev)
{
    return dev->inner->ops->link ? dev->inner->ops->link(dev->inner) : DK_LINK_UP;
}

void dk_inner_abandon(struct dk_netdev *dev)
{
    if (dev->inner->ops->abandon)
        dev->inner->ops->abandon(dev->inner);
}
