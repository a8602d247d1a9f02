/* SPDX-License-Identifier: MIT */
/*
 * Segmentation in software, as the lowest thing over a device that does none: what a stack sends in
 * one frame with `segment_bytes` is cut here into frames that the link takes.
 *
 * TCP and IP, and all that is looked up on the way down, are passed through once for many segments;
 * what is left per segment is a copy of the headers, and a checksum. Payload is not copied.
 */
#ifndef DK_DRV_OFFLOAD_H
#define DK_DRV_OFFLOAD_H

#include "net/dev.h"

/* Opens the decorator over inner, which it owns then: it has DK_NETDEV_TSO whether or not inner
 * does. 0 or -ENOMEM. */
int dk_offload_open(struct dk_netdev **dev_out, struct dk_netdev *inner, const char **why_out);

#endif /* DK_DRV_OFFLOAD_H */
