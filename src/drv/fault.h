/* SPDX-License-Identifier: MIT */
/*
 * A decorator that makes a link bad, in a way that can be repeated.
 *
 * For each frame, each direction draws the same number of values from a generator of its own: the
 * k-th frame of a direction has the same fate for the same seed, whatever the rates of other faults
 * and whatever happens in the other direction. In this order:
 *
 *     loss        it is gone, and nothing else happens to it
 *     corruption  one bit of it is turned over; its checksum counts as not checked
 *     mark        it says that it met congestion, if its sender is capable of that (RFC 3168)
 *     rate        it waits for its turn on a link of that rate (drv/bottleneck.h), or is dropped
 * and counted where the queue before that link is full; this draws nothing delay       it comes
 * delay_ns plus 0 to jitter_ns late reorder     it comes reorder_ns later than that, so that others
 * overtake it duplication it comes twice; the second copy has a jitter of its own
 *
 * What is late is held as a copy, sorted by when it is due, then by when it came: jitter reorders
 * too. Both directions deliver what is due in any call of rx_burst or tx_burst; next_due says when.
 * A frame that finds hold_frames of its direction held is dropped and counted.
 *
 * Offloads of the device below are hidden: a checksum must be there to be found wrong.
 */
#ifndef DK_DRV_FAULT_H
#define DK_DRV_FAULT_H

#include "net/dev.h"

#define DK_FAULT_ALWAYS 1000000u /* parts per million */

/* Rates are in parts per million of the frames. */
struct dk_fault_rates {
    uint32_t loss;
    uint32_t corrupt;
    uint32_t mark;
    uint32_t delay; /* of frames that are delayed at all; DK_FAULT_ALWAYS: the link is long */
    uint32_t reorder;
    uint32_t duplicate;
    int64_t delay_ns;
    int64_t jitter_ns;
    int64_t reorder_ns;   /* 0: 100 us */
    uint64_t rate_bps;    /* bits per second, 0: no limit; else from 1,000 */
    uint64_t queue_bytes; /* that wait for the link at most, 0: 128 KiB */
};

struct dk_fault_options {
    uint64_t seed;
    struct dk_fault_rates rx, tx;
    uint32_t hold_frames; /* per direction, 0: 4096, at most 65536 */
    size_t hold_bytes;    /* receive memory for copies, 0: 8 MiB */
};

/* Owns inner from success on; after a failure inner is the caller's still. 0, -EINVAL, -ENOMEM;
 * *why_out says what to do, good until the next open of this thread. */
int dk_fault_open(struct dk_netdev **dev_out, struct dk_netdev *inner,
                  const struct dk_fault_options *options, const char **why_out);

#endif /* DK_DRV_FAULT_H */
