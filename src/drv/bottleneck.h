/* SPDX-License-Identifier: MIT */
/*
 * What a router does to frames on their way: a link of a rate behind a queue, and congestion
 * experienced. Used by the fault decorator.
 *
 * The link sends one frame after the other; a frame waits until those before it have left. Nothing
 * is kept here: when the link will be free says all.
 */
#ifndef DK_DRV_BOTTLENECK_H
#define DK_DRV_BOTTLENECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DK_BOTTLENECK_QUEUE     (128u << 10) /* bytes, where none are said */
#define DK_BOTTLENECK_QUEUE_MAX (1u << 30)   /* bytes: then all times fit */
#define DK_BOTTLENECK_RATE_MAX  UINT64_C(1000000000000)

struct dk_bottleneck {
    uint64_t rate_bps; /* 0: there is none, frames leave when they come */
    uint64_t queue_bytes;
    int64_t free_at; /* when the last frame has left */
};

/* Lets a frame of that length in: *left_out is when it has left. False: the queue is full. */
bool dk_bottleneck_pass(struct dk_bottleneck *b, uint32_t bytes, int64_t now, int64_t *left_out);

/* Marks an Ethernet frame whose sender can do with it (ECT in IPv4 or IPv6) as one that met
 * congestion (CE, RFC 3168 section 5). False: it is none of those. */
bool dk_mark_congestion(uint8_t *frame, size_t len);

#endif /* DK_DRV_BOTTLENECK_H */
