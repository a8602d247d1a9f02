/* SPDX-License-Identifier: MIT */
/*
 * HyStart++ (RFC 9406): leaves slow start when round trips become longer, before packets are lost.
 *
 * A round lasts from a number sent (window_end) to its acknowledgement. When the least round trip
 * of a round is well above that of the round before, growth goes on at a quarter of the speed
 * (conservative slow start, CSS): if the least round trip falls again it was jitter, and slow start
 * is resumed; after five rounds slow start is over.
 */
#ifndef DK_NET_TCP_HYSTART_H
#define DK_NET_TCP_HYSTART_H

#include "net/tcp/cc.h"

enum dk_hystart_phase {
    DK_HYSTART_SLOW_START,
    DK_HYSTART_CSS,
    DK_HYSTART_DONE,
};

/* Times in microseconds; UINT32_MAX: none. */
struct dk_hystart {
    uint32_t window_end; /* low half */
    uint32_t last_min, current_min, baseline;
    uint8_t samples; /* in this round */
    uint8_t rounds;  /* of CSS */
    uint8_t phase;   /* enum dk_hystart_phase */
    bool begun;      /* window_end is known */
};

void dk_hystart_init(struct dk_hystart *h);

/* Takes an acknowledgement in slow start; returns by how many bytes the window grows. When phase is
 * DONE afterwards, slow start has ended: the caller sets ssthresh to cwnd. */
uint32_t dk_hystart_ack(struct dk_hystart *h, uint32_t mss, const struct dk_tcp_cc_ack *ack);

#endif /* DK_NET_TCP_HYSTART_H */
