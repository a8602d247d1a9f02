/* SPDX-License-Identifier: MIT */
/*
 * A file grows by a segment while appends go on: it is made longer, the new blocks are written with
 * zeros a piece at a time, so that appends overwrite (which needs no allocation of a file system),
 * and flushed; all again when another flush failed meanwhile (commit.c). Only then the segment
 * counts. A crash before that leaves a file that is longer than the metadata says, which the next
 * growth makes use of.
 */
#include "mem/heap.h"
#include "store/log.h"

#include <errno.h>
#include <string.h>

#define ZEROS_BYTES (64u << 10)

static void start_piece(struct dk_store *store);

static void finish(struct dk_store *store, int result)
{
    struct dk_growth *g = &store->growth;
    if (g->zeros)
        dk_heap_free(g->zeros);
    g->zeros = NULL;
    g->runs = false;
    g->error = result;
    store->kicked = true;
}

static void add_segment(struct dk_store *store)
{
    store->num_segments++;
    store->num_free++;
    store->stats->segments_free = store->num_free;
    dk_meta_mark_store(store);
}

static void flushed(struct dk_xfer *x, int result)
{
    struct dk_store *store = x->arg;
    struct dk_growth *g = &store->growth;
    if (result == 0 && g->is_doubtful && !store->closing) {
        g->is_doubtful = false;
        g->at = dk_segment_offset(&store->geometry, store->num_segments);
        start_piece(store);
        return;
    }
    if (result == 0 && !g->is_doubtful)
        add_segment(store);
    finish(store, result);
}

static void start_flush(struct dk_store *store)
{
    struct dk_xfer *x = &store->growth.xfer;
    x->op = DK_BLK_FLUSH;
    x->offset = x->bytes = 0;
    x->num_segs = 0;
    x->done = flushed;
    dk_xfer_start(&store->xfers, x);
}

static void written(struct dk_xfer *x, int result)
{
    struct dk_store *store = x->arg;
    struct dk_growth *g = &store->growth;
    g->at += x->bytes;
    if (result != 0 || store->closing)
        finish(store, result);
    else if (g->at < g->end)
        start_piece(store);
    else
        start_flush(store);
}

static void start_piece(struct dk_store *store)
{
    struct dk_growth *g = &store->growth;
    struct dk_xfer *x = &g->xfer;
    x->op = DK_BLK_WRITE;
    x->offset = g->at;
    x->bytes = 0;
    x->num_segs = 0;
    x->segs = g->segs;
    while (x->num_segs < DK_GROWTH_SEGS && g->at + x->bytes < g->end) {
        const uint64_t left = g->end - g->at - x->bytes;
        const uint32_t len = left < ZEROS_BYTES ? (uint32_t)left : ZEROS_BYTES;
        g->segs[x->num_segs++] = (struct dk_blk_seg){g->zeros, len};
        x->bytes += len;
    }
    x->done = written;
    dk_xfer_start(&store->xfers, x);
}

static int start(struct dk_store *store)
{
    struct dk_growth *g = &store->growth;
    struct dk_blkdev *dev = store->dev;
    g->at = dk_segment_offset(&store->geometry, store->num_segments);
    g->end = dk_segment_offset(&store->geometry, store->num_segments + 1);
    g->zeros = dk_heap_aligned(DK_BLOCK, ZEROS_BYTES); /* until finish */
    if (!g->zeros)
        return -ENOMEM;
    memset(g->zeros, 0, ZEROS_BYTES);
    int ret = g->end > dev->caps.bytes ? dev->ops->extend(dev, g->end) : 0;
    if (ret < 0) {
        dk_heap_free(g->zeros);
        g->zeros = NULL;
        return ret;
    }
    g->runs = true;
    g->is_doubtful = false;
    g->xfer.flags = 0;
    g->xfer.arg = store;
    if (ret == DK_BLKDEV_WRITTEN)
        start_flush(store);
    else
        start_piece(store);
    return -EAGAIN;
}

int dk_store_grow(struct dk_store *store)
{
    struct dk_growth *g = &store->growth;
    struct dk_blkdev *dev = store->dev;
    const int error = g->error;
    if (g->runs)
        return -EAGAIN;
    g->error = 0; /* the next attempt begins again */
    if (error != 0)
        return error;
    if (!(dev->caps.flags & DK_BLKDEV_GROWS) || store->num_segments >= store->geometry.max_segments)
        return -ENOSPC;
    if (dev->ops->extend)
        return start(store);
    int ret = dev->ops->resize(dev, dk_segment_offset(&store->geometry, store->num_segments + 1));
    if (ret == 0)
        add_segment(store);
    return ret;
}
