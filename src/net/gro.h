/* SPDX-License-Identifier: MIT */
/*
 * Generic receive offload: segments of one flow that came in one burst, each the next in order,
 * reach TCP together. Private to src/net.
 *
 * Nothing is put together: a group is an array of segments where they lie. So none of them loses
 * what it says of its own - its checksum, its timestamp, that it is a full segment - and what TCP
 * answers is to the byte what it would have answered one by one (gro.c).
 */
#ifndef DK_NET_GRO_H
#define DK_NET_GRO_H

#include "net/packet.h"

#define DK_GRO_MAX 31 /* that follow the first: with it, a burst */

struct dk_gro_segment {
    struct dk_buf *buf;
    uint8_t *data; /* the header of TCP */
    uint32_t len;  /* from there on */
    uint8_t checksum;
};

/* What follows the segment that is worked on. TCP takes from the front as many as it likes; the
 * others come one by one. */
struct dk_gro {
    const struct dk_gro_segment *segments;
    uint32_t num;
    uint32_t taken;
};

#endif /* DK_NET_GRO_H */
