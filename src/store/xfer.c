/* SPDX-License-Identifier: MIT */
/*
 * Transfers (xfer.h). One is in `ready` while it has something to submit and the device had no
 * room, or is complete and nobody was told yet; else its I/Os bring it on.
 */
#include "store/xfer.h"

#include <errno.h>

void dk_xfers_init(struct dk_xfers *xfers, struct dk_blkdev *dev)
{
    *xfers = (struct dk_xfers){.dev = dev};
    dk_list_init(&xfers->ready);
}

static bool complete(const struct dk_xfer *x)
{
    return x->in_flight == 0 && (x->submitted_all || x->result != 0);
}

static struct dk_xfer_part *idle_part(struct dk_xfer *x)
{
    for (uint32_t i = 0; i < DK_XFER_PARTS; i++)
        if (!x->parts[i].busy)
            return &x->parts[i];
    return NULL;
}

/* Whether the device takes it as it is. */
static bool fits(const struct dk_xfer *x)
{
    const struct dk_blkdev_caps *caps = &x->owner->dev->caps;
    return x->num_segs == 0 || (x->bytes <= caps->max_bytes && x->num_segs <= caps->max_segs);
}

/* Fills io with the next bytes that the device takes at once; segment lengths that no I/O can end
 * in do not occur: all are multiples of the block. */
static void cut(struct dk_xfer *x, struct dk_xfer_part *part)
{
    const struct dk_blkdev_caps *caps = &x->owner->dev->caps;
    uint32_t max_segs = caps->max_segs < DK_XFER_SEGS ? caps->max_segs : DK_XFER_SEGS;
    uint64_t room = caps->max_bytes - caps->max_bytes % caps->block_bytes;
    struct dk_blk_io *io = &part->io;
    io->segs = part->segs;
    for (; x->seg < x->num_segs && io->num_segs < max_segs && room > 0; io->num_segs++) {
        uint64_t left = x->segs[x->seg].len - x->seg_at;
        uint32_t len = (uint32_t)(left < room ? left : room);
        part->segs[io->num_segs] = (struct dk_blk_seg){x->segs[x->seg].data + x->seg_at, len};
        io->bytes += len;
        room -= len;
        x->seg_at += len;
        if (len == left) {
            x->seg++;
            x->seg_at = 0;
        }
    }
}

static void part_done(struct dk_blk_io *io, int result);

static void fill(struct dk_xfer *x, struct dk_xfer_part *part)
{
    part->xfer = x;
    part->io = (struct dk_blk_io){
        .op = x->op,
        .flags = x->flags,
        .offset = x->offset + x->at,
        .done = part_done,
        .arg = part,
    };
    if (!fits(x)) {
        cut(x, part);
        return;
    }
    part->io.segs = x->segs;
    part->io.num_segs = x->num_segs;
    part->io.bytes = x->bytes;
}

/* Submits what the device and the parts have room for. */
static void submit(struct dk_xfer *x)
{
    struct dk_xfer_part *part;
    while (!x->submitted_all && x->result == 0 && (part = idle_part(x))) {
        uint32_t seg = x->seg, seg_at = x->seg_at;
        fill(x, part);
        int ret = x->owner->dev->ops->submit(x->owner->dev, &part->io);
        if (ret == -EAGAIN) {
            x->seg = seg;
            x->seg_at = seg_at;
            dk_list_add_tail(&x->owner->ready, &x->link);
            return;
        }
        if (ret != 0) {
            x->result = ret;
            break;
        }
        x->owner->submitted = true;
        part->busy = true;
        x->in_flight++;
        x->at += part->io.bytes;
        x->submitted_all = x->at >= x->bytes;
    }
    if (complete(x))
        dk_list_add_tail(&x->owner->ready, &x->link);
}

static void finish(struct dk_xfer *x)
{
    x->owner->outstanding--;
    x->done(x, x->result);
}

static bool flushes(const struct dk_blk_io *io)
{
    return io->op == DK_BLK_FLUSH || (io->op == DK_BLK_WRITE && io->flags & DK_BLK_FUA);
}

static void part_done(struct dk_blk_io *io, int result)
{
    struct dk_xfer_part *part = io->arg;
    struct dk_xfer *x = part->xfer;
    if (result != 0 && flushes(io) && x->owner->on_flush_failed)
        x->owner->on_flush_failed(x->owner->arg, result);
    part->busy = false;
    x->in_flight--;
    if (result != 0 && x->result == 0)
        x->result = result;
    if (!dk_list_empty(&x->link))
        return; /* waits for room: pump sees to it */
    if (complete(x))
        finish(x);
    else
        submit(x);
}

void dk_xfer_start(struct dk_xfers *xfers, struct dk_xfer *x)
{
    x->owner = xfers;
    x->at = x->seg = x->seg_at = x->in_flight = 0;
    x->result = 0;
    x->submitted_all = false;
    for (uint32_t i = 0; i < DK_XFER_PARTS; i++)
        x->parts[i].busy = false;
    dk_list_init(&x->link);
    xfers->outstanding++;
    submit(x);
}

uint32_t dk_xfers_pump(struct dk_xfers *xfers)
{
    uint32_t done = 0;
    struct dk_list again;
    dk_list_init(&again);
    /* What finds no room once more is added to ready again: only those that are there now. */
    while (!dk_list_empty(&xfers->ready)) {
        struct dk_list *l = xfers->ready.next;
        dk_list_del_init(l);
        dk_list_add_tail(&again, l);
    }
    while (!dk_list_empty(&again)) {
        struct dk_xfer *x = dk_container_of(again.next, struct dk_xfer, link);
        dk_list_del_init(&x->link);
        if (!complete(x) && x->result == 0) {
            submit(x);
        } else if (complete(x)) {
            finish(x);
            done++;
        }
    }
    return done;
}

bool dk_xfers_ready(const struct dk_xfers *xfers)
{
    struct dk_list *l;
    dk_list_for_each (l, &xfers->ready)
        if (complete(dk_container_of(l, struct dk_xfer, link)))
            return true;
    return false;
}

static void waited(struct dk_xfer *x, int result)
{
    int *out = x->arg;
    *out = result;
}

int dk_xfer_wait(struct dk_xfers *xfers, struct dk_xfer *x)
{
    int result = 1;
    x->done = waited;
    x->arg = &result;
    dk_xfer_start(xfers, x);
    while (result == 1) {
        dk_xfers_pump(xfers);
        if (result == 1)
            xfers->dev->ops->wait(xfers->dev);
    }
    return result;
}

static int move(struct dk_xfers *xfers, uint8_t op, uint8_t flags, uint64_t offset,
                struct dk_blk_seg seg)
{
    struct dk_xfer x = {
        .op = op,
        .flags = flags,
        .offset = offset,
        .bytes = seg.len,
        .segs = &seg,
        .num_segs = seg.len > 0,
    };
    return dk_xfer_wait(xfers, &x);
}

int dk_xfers_read(struct dk_xfers *xfers, uint64_t offset, uint8_t *to, uint32_t len)
{
    return move(xfers, DK_BLK_READ, 0, offset, (struct dk_blk_seg){to, len});
}

int dk_xfers_write(struct dk_xfers *xfers, uint64_t offset, uint8_t *from, uint32_t len,
                   uint8_t flags)
{
    return move(xfers, DK_BLK_WRITE, flags, offset, (struct dk_blk_seg){from, len});
}

int dk_xfers_flush(struct dk_xfers *xfers)
{
    return move(xfers, DK_BLK_FLUSH, 0, 0, (struct dk_blk_seg){0});
}
