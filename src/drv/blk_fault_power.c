/* SPDX-License-Identifier: MIT */
#include "drv/blk_fault_power.h"

#include "mem/heap.h"

#include <errno.h>
#include <string.h>

void dk_blk_journal_init(struct dk_blk_journal *j)
{
    dk_list_init(&j->undos);
    j->num_completed = 0;
}

static void forget(struct dk_blk_undo *undo)
{
    dk_list_del(&undo->link);
    dk_heap_free(undo->old);
    dk_heap_free(undo);
}

void dk_blk_journal_fini(struct dk_blk_journal *j)
{
    while (!dk_list_empty(&j->undos))
        forget(dk_container_of(j->undos.next, struct dk_blk_undo, link));
}

struct dk_blk_undo *dk_blk_journal_begin(struct dk_blk_journal *j, uint64_t offset, uint32_t bytes,
                                         uint8_t *old)
{
    struct dk_blk_undo *undo = dk_heap_zalloc(sizeof(*undo));
    if (!undo)
        return NULL;
    undo->offset = offset;
    undo->bytes = bytes;
    undo->old = old;
    dk_list_add_tail(&j->undos, &undo->link);
    return undo;
}

void dk_blk_journal_complete(struct dk_blk_journal *j, struct dk_blk_undo *undo)
{
    undo->completed = ++j->num_completed;
}

/* Makes what an entry would put back what lies at `data`, of bytes from offset on, where both are.
 */
static void overwrite(struct dk_blk_undo *undo, uint64_t offset, const uint8_t *data,
                      uint64_t bytes)
{
    const uint64_t end = offset + bytes, undo_end = undo->offset + undo->bytes;
    const uint64_t from = offset > undo->offset ? offset : undo->offset;
    const uint64_t to = end < undo_end ? end : undo_end;
    if (from < to)
        memcpy(undo->old + (from - undo->offset), data + (from - offset), to - from);
}

void dk_blk_journal_complete_durably(struct dk_blk_journal *j, struct dk_blk_undo *undo,
                                     const struct dk_blk_io *io)
{
    for (struct dk_list *at = undo->link.prev; at != &j->undos; at = at->prev) {
        struct dk_blk_undo *older = dk_container_of(at, struct dk_blk_undo, link);
        uint64_t offset = io->offset;
        for (uint32_t i = 0; i < io->num_segs; offset += io->segs[i].len, i++)
            overwrite(older, offset, io->segs[i].data, io->segs[i].len);
    }
    j->num_completed++;
    forget(undo);
}

static bool overlap(const struct dk_blk_undo *a, const struct dk_blk_undo *b)
{
    return a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
}

/* An entry whose write is durable: those older ones that no flush reaches would take it back. */
static void forget_missed_before(struct dk_blk_journal *j, const struct dk_blk_undo *undo)
{
    struct dk_list *at, *tmp;
    dk_list_for_each_safe (at, tmp, &j->undos) {
        struct dk_blk_undo *older = dk_container_of(at, struct dk_blk_undo, link);
        if (older == undo)
            return;
        if (older->missed && overlap(older, undo))
            forget(older);
    }
}

void dk_blk_journal_flushed(struct dk_blk_journal *j, uint64_t mark)
{
    struct dk_list *at = j->undos.next;
    while (at != &j->undos) {
        struct dk_blk_undo *undo = dk_container_of(at, struct dk_blk_undo, link);
        bool is_durable = undo->completed > 0 && undo->completed <= mark && !undo->missed;
        if (is_durable)
            forget_missed_before(j, undo);
        at = at->next;
        if (is_durable)
            forget(undo);
    }
}

void dk_blk_journal_flush_failed(struct dk_blk_journal *j)
{
    struct dk_list *at;
    dk_list_for_each (at, &j->undos)
        dk_container_of(at, struct dk_blk_undo, link)->missed = true;
}

struct now {
    bool is_done;
    int result;
};

static void on_done(struct dk_blk_io *io, int result)
{
    struct now *now = io->arg;
    now->is_done = true;
    now->result = result;
}

/* Nothing else is in flight. */
static int transfer(struct dk_blkdev *dev, uint8_t op, uint64_t offset, uint8_t *data,
                    uint32_t bytes)
{
    struct now now = {.is_done = false};
    const struct dk_blk_seg seg = {data, bytes};
    struct dk_blk_io io = {.op = op,
                           .flags = op == DK_BLK_WRITE ? DK_BLK_FUA : 0,
                           .num_segs = 1,
                           .offset = offset,
                           .bytes = bytes,
                           .segs = &seg,
                           .done = on_done,
                           .arg = &now};
    int r = dev->ops->submit(dev, &io);
    while (r == 0 && !now.is_done)
        dev->ops->wait(dev);
    return r < 0 ? r : now.result;
}

/* Puts some units back. Those of a write that is not undone, but an older one of the same place is,
 * are what was there before both: lost too, as they may be. */
static int undo_some(const struct dk_blk_undo *undo, struct dk_blkdev *dev,
                     struct dk_random *random)
{
    const uint32_t unit = dev->caps.atomic_bytes;
    uint8_t *now = dk_heap_aligned(4096, undo->bytes);
    if (!now)
        return -ENOMEM;
    int r = transfer(dev, DK_BLK_READ, undo->offset, now, undo->bytes);
    const uint32_t share = dk_random_below(random, 5); /* quarters that are put back */
    for (uint32_t at = 0; at < undo->bytes; at += unit)
        if (dk_random_below(random, 4) < share)
            memcpy(now + at, undo->old + at, unit < undo->bytes - at ? unit : undo->bytes - at);
    if (r == 0)
        r = transfer(dev, DK_BLK_WRITE, undo->offset, now, undo->bytes);
    dk_heap_free(now);
    return r;
}

int dk_blk_journal_power_off(struct dk_blk_journal *j, struct dk_blkdev *dev,
                             struct dk_random *random)
{
    int result = 0;
    while (!dk_list_empty(&j->undos)) {
        struct dk_blk_undo *undo = dk_container_of(j->undos.prev, struct dk_blk_undo, link);
        int r = undo_some(undo, dev, random);
        result = result < 0 ? result : r;
        forget(undo);
    }
    return result;
}
