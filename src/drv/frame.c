/* SPDX-License-Identifier: MIT */
#include "drv/frame.h"

/* Slabs lose at most the length of a frame at their end. */
#define SLAB_BYTES      (64u << 10)
#define SLAB_BYTES_LONG (256u << 10)
#define LONG_FRAME      4096u

bool dk_frame_slab_open(struct dk_rxslab *slab, size_t pool_bytes, uint32_t max)
{
    slab->pool = dk_rxpool_create(pool_bytes ? pool_bytes : DK_FRAME_POOL_BYTES);
    slab->bytes = max > LONG_FRAME ? SLAB_BYTES_LONG : SLAB_BYTES;
    slab->behind = DK_BUF_PEER_BYTES;
    slab->whole = true;
    return slab->pool != NULL;
}

void dk_frame_slab_close(struct dk_rxslab *slab)
{
    if (!slab->pool)
        return;
    dk_rxslab_drop(slab);
    dk_rxpool_destroy(slab->pool);
    slab->pool = NULL;
}

uint32_t dk_frame_iovs(const struct dk_tx_frame *frame, struct iovec iovs_out[DK_FRAME_IOVS])
{
    iovs_out[0] = (struct iovec){(void *)(uintptr_t)frame->head, frame->head_len};
    for (uint32_t i = 0; i < frame->num_pieces; i++)
        iovs_out[i + 1] =
            (struct iovec){(void *)(uintptr_t)frame->pieces[i].data, frame->pieces[i].len};
    return frame->num_pieces + 1;
}

void dk_frame_misfit(struct dk_netdev *dev, uint32_t bytes, uint32_t max)
{
    if (bytes > max)
        dk_frame_drop_tx(dev, tx_too_long);
    else
        dk_frame_drop_tx(dev, tx_too_short);
}
