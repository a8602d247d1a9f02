/* SPDX-License-Identifier: MIT */
/*
 * The header of virtio-net, by which Linux is told what it is to do with a frame that we give it:
 * finish a checksum, cut segments.
 */
#ifndef DK_DRV_VIRTIO_H
#define DK_DRV_VIRTIO_H

#include "drv/frame.h"

#include <linux/virtio_net.h>

#define DK_VIRTIO_FRAME_MAX dk_frame_max(65535) /* of a frame that is to be cut */

/* Of a frame without a tag. */
static inline struct virtio_net_hdr dk_virtio_header(const struct dk_tx_frame *frame)
{
    struct virtio_net_hdr header = {.gso_type = VIRTIO_NET_HDR_GSO_NONE};
    if (frame->checksum_start == 0)
        return header;
    header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    header.csum_start = frame->checksum_start;
    header.csum_offset = frame->checksum_offset;
    if (frame->segment_bytes == 0)
        return header;
    const bool v4 = frame->head[DK_FRAME_HEADER] >> 4 == 4;
    header.gso_type = v4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
    header.hdr_len = (uint16_t)frame->head_len;
    header.gso_size = frame->segment_bytes;
    return header;
}

#endif /* DK_DRV_VIRTIO_H */
