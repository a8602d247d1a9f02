/* SPDX-License-Identifier: MIT */
/*
 * What the port counts itself: frames that never reached us.
 */
#include "drv/dpdk/port.h"

void dk_dpdk_count(struct dk_dpdk_port *p)
{
    struct rte_eth_stats now;
    dk_dpdk_revive(p);
    if (p->queue != 0)
        return;
    if (rte_eth_stats_get(p->port, &now) != 0)
        return;
    const uint64_t missed = now.imissed - p->last.imissed;
    const uint64_t starved = now.rx_nombuf - p->last.rx_nombuf;
    const uint64_t damaged = now.ierrors - p->last.ierrors;
    if (missed > 0)
        dk_frame_drop_rx(&p->dev, rx_ring_full, missed);
    if (starved > 0)
        dk_frame_drop_rx(&p->dev, rx_no_memory, starved);
    if (damaged > 0)
        dk_frame_drop_rx(&p->dev, rx_damaged, damaged);
    p->last = now;
}
