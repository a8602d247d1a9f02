/* SPDX-License-Identifier: MIT */
/*
 * What the XDP program and this driver agree on.
 */
#ifndef DK_DRV_XDP_PROGRAM_H
#define DK_DRV_XDP_PROGRAM_H

#include <linux/types.h>

#define DK_XDP_QUEUES_MAX 128
#define DK_XDP_CLAIMS_MAX 131072

/* An address and port of ours. */
struct dk_xdp_key {
    __u8 protocol, version;
    __be16 port;
    __u8 address[16]; /* of IPv4 the first four bytes, the others zero */
};

#endif /* DK_DRV_XDP_PROGRAM_H */
