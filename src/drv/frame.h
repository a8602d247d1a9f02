/* SPDX-License-Identifier: MIT */
/*
 * What drivers have in common: how long a frame is, where it is received, and how it is counted.
 *
 * A received frame begins DK_FRAME_PAD bytes behind a multiple of 16, so that its IP header is
 * aligned, and is a view of a slab (mem/rxpool.h) that has room for the sender's address behind.
 */
#ifndef DK_DRV_FRAME_H
#define DK_DRV_FRAME_H

#include "mem/rxpool.h"
#include "net/dev.h"

#include <sys/uio.h>

#define DK_FRAME_PAD        2u
#define DK_FRAME_HEADER     14u /* Ethernet */
#define DK_FRAME_TAG        4u  /* 802.1Q */
#define DK_FRAME_POOL_BYTES ((size_t)8 << 20)
#define DK_FRAME_IOVS       (DK_TX_PIECES_MAX + 1)

/* Bytes of the longest frame of a link. */
static inline uint32_t dk_frame_max(uint32_t mtu)
{
    return mtu + DK_FRAME_HEADER + DK_FRAME_TAG;
}

/* Makes memory to receive frames of at most max bytes into, pool_bytes (0: the default) of it; slab
 * is filled with zeros. false without memory. */
DK_EXPORT bool dk_frame_slab_open(struct dk_rxslab *slab, size_t pool_bytes, uint32_t max);

/* Lets it go; frames that were received stay. A slab of zeros is allowed. */
DK_EXPORT void dk_frame_slab_close(struct dk_rxslab *slab);

/* Returns room for a frame of len bytes; NULL without memory. Until dk_frame_take the next call may
 * return the same. */
static inline uint8_t *dk_frame_room(struct dk_rxslab *slab, uint32_t len)
{
    uint32_t room;
    uint8_t *at = dk_rxslab_room(slab, len + DK_FRAME_PAD, &room);
    return at ? at + DK_FRAME_PAD : NULL;
}

/* Makes the first len bytes of the room a frame. */
static inline void dk_frame_take(struct dk_rxslab *slab, uint32_t len, struct dk_rx_frame *out)
{
    out->buf = dk_rxslab_take(slab, len + DK_FRAME_PAD);
    out->data = out->buf->data + DK_FRAME_PAD;
    out->len = len;
    out->checksum = DK_RX_CHECKSUM_UNKNOWN;
}

/* Copies the bytes of a frame one after the other. */
static inline void dk_frame_gather(const struct dk_tx_frame *frame, uint8_t *to)
{
    to = dk_frame_copy(to, frame->head, frame->head_len);
    for (uint32_t i = 0; i < frame->num_pieces; i++)
        to = dk_frame_copy(to, frame->pieces[i].data, frame->pieces[i].len);
}

/* Describes the bytes of a frame; returns how many parts there are. */
uint32_t dk_frame_iovs(const struct dk_tx_frame *frame, struct iovec iovs_out[DK_FRAME_IOVS]);

/* Counts n frames as dropped for a reason, a field of the counters. */
#define dk_frame_drop_rx(dev, reason, n)                                                           \
    (dk_count(&(dev)->stats->rx_dropped, (n)), dk_count(&(dev)->stats->reason, (n)))
#define dk_frame_drop_tx(dev, reason)                                                              \
    (dk_count(&(dev)->stats->tx_dropped, 1), dk_count(&(dev)->stats->reason, 1))

static inline void dk_frame_count_rx(struct dk_netdev *dev, uint64_t frames, uint64_t bytes)
{
    struct dk_netdev_stats *stats = dev->stats;
    dk_count(&stats->rx_frames, frames);
    dk_count(&stats->rx_bytes, bytes);
}

static inline void dk_frame_count_tx(struct dk_netdev *dev, uint64_t frames, uint64_t bytes)
{
    struct dk_netdev_stats *stats = dev->stats;
    dk_count(&stats->tx_frames, frames);
    dk_count(&stats->tx_bytes, bytes);
}

/* Counts a frame of a length that no link, or not one whose longest has max bytes, can carry. */
DK_EXPORT void dk_frame_misfit(struct dk_netdev *dev, uint32_t bytes, uint32_t max);

/* Whether a frame of so many bytes can be sent on a link whose longest has max; counts it as
 * dropped when not. */
static inline bool dk_frame_fits(struct dk_netdev *dev, uint32_t bytes, uint32_t max)
{
    if (dk_likely(bytes >= DK_FRAME_HEADER && bytes <= max))
        return true;
    dk_frame_misfit(dev, bytes, max);
    return false;
}

#endif /* DK_DRV_FRAME_H */
