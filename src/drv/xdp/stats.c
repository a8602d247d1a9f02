/* SPDX-License-Identifier: MIT */
/*
 * What the kernel counts itself: frames that never reached us, and descriptors that it refused.
 */
#include "drv/xdp/state.h"

#include <bpf/bpf.h>
#include <sys/socket.h>

/* What was added to a counter since the last time. */
#define NEWS(q, now, field) ((now)->field - (q)->last.field)

static void count(struct dk_xdp *x, const struct dk_xdp_queue *q, const struct xdp_statistics *now)
{
    const uint64_t full = NEWS(q, now, rx_ring_full), refused = NEWS(q, now, tx_invalid_descs);
    const uint64_t dropped = NEWS(q, now, rx_dropped);
    uint64_t starved = NEWS(q, now, rx_fill_ring_empty_descs);
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

/* What came on queues whose worker is not there: counted by the first one. */
static void count_lost(struct dk_xdp *x)
{
    struct dk_xdp_port *p = x->port;
    const uint32_t key = 0;
    uint64_t lost = 0;
    if (x->worker != 0 || p->workers == 1 || bpf_map_lookup_elem(p->lost_fd, &key, &lost) < 0)
        return;
    if (lost > p->lost)
        dk_frame_drop_rx(&x->dev, rx_no_worker, lost - p->lost);
    p->lost = lost;
}

void dk_xdp_count(struct dk_xdp *x)
{
    for (uint32_t i = 0; i < x->num_queues; i++) {
        struct dk_xdp_queue *q = &x->queues[i];
        struct xdp_statistics now = q->last;
        socklen_t len = sizeof(now);
        if (getsockopt(q->fd, SOL_XDP, XDP_STATISTICS, &now, &len) < 0)
            continue;
        count(x, q, &now);
        q->last = now;
    }
    count_lost(x);
}
