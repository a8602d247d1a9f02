/* SPDX-License-Identifier: MIT */
/*
 * What the kernel counts itself: frames that never reached us, and descriptors that it refused.
 */
#include "drv/xdp/state.h"

#include <sys/socket.h>

/* What was added to a counter since the last time. */
#define NEWS(x, now, field) ((now)->field - (x)->last.field)

static void count(struct dk_xdp *x, const struct xdp_statistics *now)
{
    const uint64_t full = NEWS(x, now, rx_ring_full), refused = NEWS(x, now, tx_invalid_descs);
    const uint64_t dropped = NEWS(x, now, rx_dropped);
    uint64_t starved = NEWS(x, now, rx_fill_ring_empty_descs);
    starved = starved < dropped ? starved : dropped; /* a look that finds nothing drops nothing */
    if (full > 0)
        dk_frame_drop_rx(&x->dev, rx_ring_full, full);
    if (starved > 0)
        dk_frame_drop_rx(&x->dev, rx_no_memory, starved);
    if (dropped > starved) /* longer than a chunk */
        dk_frame_drop_rx(&x->dev, rx_too_long, dropped - starved);
    if (refused > 0) {
        dk_count(&x->dev.stats->tx_dropped, refused);
        dk_count(&x->dev.stats->tx_refused, refused);
    }
}

void dk_xdp_count(struct dk_xdp *x)
{
    struct xdp_statistics now = x->last;
    socklen_t len = sizeof(now);
    if (getsockopt(x->fd, SOL_XDP, XDP_STATISTICS, &now, &len) < 0)
        return;
    count(x, &now);
    x->last = now;
}
