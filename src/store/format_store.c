/* SPDX-License-Identifier: MIT */
/*
 * Formatting: metadata first, then the superblocks, so that what is there before the end is no
 * store.
 */
#include "store/log.h"

#include "mem/heap.h"

#include <errno.h>
#include <string.h>

#define SEGMENTS_MIN   4u
#define SEGMENTS_GROWN 16384u      /* that a file may grow to, at most */
#define GROWN_BYTES    (16u << 20) /* of its segments */
#define SEGMENT_COUNT  256u        /* about, where the size is ours to choose */

struct formatter {
    struct dk_xfers xfers;
    struct dk_geometry g;
    uint32_t num_segments;
    bool grows;
    uint8_t *block; /* two of them */
};

static uint64_t segment_bytes_for(uint64_t device_bytes, bool grows)
{
    const uint64_t usual = 64u << 20;
    uint64_t bytes = DK_SEGMENT_BYTES_MIN;
    if (grows)
        return GROWN_BYTES;
    while (bytes < usual && bytes * 2 * SEGMENT_COUNT <= device_bytes)
        bytes *= 2;
    while (bytes < DK_SEGMENT_BYTES_MAX && device_bytes / bytes > DK_STORE_SEGMENTS_MAX)
        bytes *= 2;
    return bytes;
}

static void set_limits(struct dk_geometry *g, uint32_t max_segments)
{
    g->max_segments = max_segments;
    g->max_logs = max_segments < DK_STORE_LOGS_MAX ? max_segments : DK_STORE_LOGS_MAX;
    g->meta_bytes = dk_meta_region_bytes(max_segments, g->max_logs);
    g->data_offset = dk_round_up(DK_META_OFFSET + 4 * g->meta_bytes, 64u << 10);
}

static int choose(struct formatter *f, const struct dk_blkdev *dev,
                  const struct dk_store_format_options *options)
{
    struct dk_geometry *g = &f->g;
    uint64_t bytes = options->segment_bytes;
    f->grows = (dev->caps.flags & DK_BLKDEV_GROWS) && dev->ops->resize;
    if (bytes == 0)
        bytes = segment_bytes_for(dev->caps.bytes, f->grows);
    if (bytes < DK_SEGMENT_BYTES_MIN || bytes > DK_SEGMENT_BYTES_MAX || (bytes & (bytes - 1)) != 0)
        return -EINVAL;
    g->segment_bytes = bytes;
    memcpy(g->uuid, options->uuid, sizeof(g->uuid));
    uint64_t most = dev->caps.bytes / bytes;
    most = most < DK_STORE_SEGMENTS_MAX ? most : DK_STORE_SEGMENTS_MAX;
    if (f->grows && most < SEGMENTS_GROWN)
        most = SEGMENTS_GROWN;
    if (most < SEGMENTS_MIN)
        return -ENOSPC;
    set_limits(g, (uint32_t)most);
    uint64_t room = dev->caps.bytes > g->data_offset ? dev->caps.bytes - g->data_offset : 0;
    uint64_t num = room / bytes < most ? room / bytes : most;
    if (num < SEGMENTS_MIN && !f->grows)
        return -ENOSPC;
    f->num_segments = num < 1 ? 1 : (uint32_t)num; /* a file grows by those that it needs */
    return 0;
}

/* What is there already: 0: nothing but zeros before the metadata. */
static int look(struct formatter *f, uint64_t device_bytes)
{
    struct dk_geometry old;
    bool other = false;
    for (uint64_t at = 0; at < DK_META_OFFSET && at + DK_BLOCK <= device_bytes; at += DK_BLOCK) {
        int ret = dk_xfers_read(&f->xfers, at, f->block, DK_BLOCK);
        if (ret != 0)
            return ret;
        if ((at == 0 || at == DK_SUPER_COPY) && dk_super_parse(f->block, at, &old) != -EMEDIUMTYPE)
            return -EEXIST;
        other = other || f->block[0] != 0 || memcmp(f->block, f->block + 1, DK_BLOCK - 1) != 0;
    }
    return other ? -EUCLEAN : 0;
}

static int write_block(struct formatter *f, uint64_t at)
{
    return dk_xfers_write(&f->xfers, at, f->block, DK_BLOCK, DK_BLK_FUA);
}

/* The first checkpoint: an empty store. */
static int write_checkpoint(struct formatter *f)
{
    struct dk_meta_head *head = (void *)f->block;
    struct dk_entry_store *e = (void *)(head + 1);
    memset(f->block, 0, DK_BLOCK);
    *head = (struct dk_meta_head){
        .bytes = sizeof(*head) + sizeof(*e),
        .kind = DK_META_CHECKPOINT,
        .generation = 1,
        .number = 1,
        .entries = 1,
    };
    *e = (struct dk_entry_store){
        .entry = {.type = DK_ENTRY_STORE, .bytes = sizeof(*e)},
        .next_log = 1,
        .num_segments = f->num_segments,
    };
    dk_meta_seal(head, f->g.uuid);
    int ret = write_block(f, dk_region_offset(&f->g, 0, 0));
    return ret != 0 ? ret : write_block(f, dk_region_offset(&f->g, 0, 1));
}

/* Where metadata is looked for nothing of before may be found. */
static int clear(struct formatter *f)
{
    uint64_t last = f->g.meta_bytes - DK_BLOCK;
    const uint64_t places[] = {0, DK_BLOCK, 2ull * DK_BLOCK, last};
    memset(f->block, 0, DK_BLOCK);
    for (uint32_t i = 0; i < 4; i++)
        for (uint32_t j = 0; j < 4; j++) {
            int ret = write_block(f, dk_region_offset(&f->g, i / 2, i % 2) + places[j]);
            if (ret != 0)
                return ret;
        }
    return 0;
}

static int write_supers(struct formatter *f)
{
    static const uint64_t places[] = {0, DK_SUPER_COPY};
    for (uint32_t i = 0; i < 2; i++) {
        dk_super_emit(&f->g, places[i], f->block);
        int ret = write_block(f, places[i]);
        if (ret != 0)
            return ret;
    }
    return dk_xfers_flush(&f->xfers);
}

static int format(struct formatter *f, struct dk_blkdev *dev, bool force)
{
    uint64_t bytes = dk_segment_offset(&f->g, f->num_segments);
    int ret = look(f, dev->caps.bytes);
    if (ret != 0 && !(force && (ret == -EEXIST || ret == -EUCLEAN)))
        return ret;
    if (dev->caps.bytes < bytes) {
        ret = dev->ops->resize(dev, bytes);
        if (ret != 0)
            return ret;
    }
    ret = clear(f);
    if (ret == 0)
        ret = write_checkpoint(f);
    if (ret == 0)
        ret = dk_xfers_flush(&f->xfers);
    return ret != 0 ? ret : write_supers(f);
}

static const char *why(int error)
{
    switch (error) {
    case -ENOSPC:
        return "the device is too small for a store";
    case -EROFS:
        return "the device is read-only";
    case -EEXIST:
        return "there is a store already (force formats it all the same)";
    case -EUCLEAN:
        return "there is something else, which is not zero (force formats it all the same)";
    case -EINVAL:
        return "segments are a power of two from 64 KiB to 1 GiB, blocks have at most 4096 bytes";
    case -ENOMEM:
        return "no memory";
    default:
        return "the device failed";
    }
}

int dk_store_format(struct dk_blkdev *dev, const struct dk_store_format_options *options,
                    bool force, const char **why_out)
{
    struct formatter f = {0};
    int ret = dev->caps.flags & DK_BLKDEV_READ_ONLY ? -EROFS : 0;
    if (ret == 0)
        ret = dev->caps.block_bytes > DK_BLOCK ? -EINVAL : choose(&f, dev, options);
    if (ret == 0 && !(f.block = dk_heap_aligned(DK_BLOCK, DK_BLOCK)))
        ret = -ENOMEM;
    dk_xfers_init(&f.xfers, dev);
    if (ret == 0)
        ret = format(&f, dev, force);
    if (f.block)
        dk_heap_free(f.block);
    if (ret != 0 && why_out)
        *why_out = why(ret);
    return ret;
}
