/* SPDX-License-Identifier: MIT */
/*
 * Faults of block devices on order (blk_fault.h).
 *
 * An I/O has a slot from submit to done. It waits in `held`, sorted by when it is due, then by when
 * it came; one that came since the last poll has no time yet, and gets it there. When due, a write
 * that needs to know what it replaces reads that first (STAGE_OLD), then the I/O itself is done
 * below. What finds no room below waits in `held` again.
 *
 * Invariant: num_below slots are with the device below; the others that are in use are in `held` or
 * `fresh`.
 */
#include "drv/blk_fault.h"

#include "drv/blk_fault_power.h"
#include "drv/blk_io.h"
#include "drv/why.h"
#include "mem/heap.h"
#include "os/log.h"
#include "os/sync.h"

#include <errno.h>
#include <string.h>

#define DEFAULT_REORDER 1000000 /* ns */
#define MAX_TIME_NS     (INT64_C(3600) * 1000000000)

struct fate {
    bool fails, is_lost, is_torn, is_misdirected, is_rotten, is_delayed, is_reordered;
    int64_t late_ns;
    uint64_t bit, place, tear; /* drawn; used modulo what there is */
};

enum stage { STAGE_BEGIN, STAGE_OLD, STAGE_SELF };

struct slot {
    struct fault *owner;
    struct slot *next; /* free, fresh or held */
    enum stage stage;
    int64_t due;
    uint64_t number;
    struct fate fate;
    struct dk_blk_io *outer;
    struct dk_blk_io inner;
    struct dk_blk_seg seg; /* of a copy */
    uint8_t *copy;         /* of what is written, or NULL */
    uint8_t *old;          /* what it replaces, unless the journal has that, or NULL */
    struct dk_blk_undo *undo;
    uint64_t mark; /* of a flush: dk_blk_journal_flushed */
};

struct slots {
    struct slot *first, *last;
};

struct fault {
    struct dk_blkdev dev;
    struct dk_blk_fault_options options;
    struct dk_random random;
    struct dk_blk_journal journal;
    bool is_failing; /* power is: what is below comes back first */
    bool is_dead;
    int64_t last_now;
    uint64_t num_writes, next_number;
    uint32_t num_used, num_below, num_completed;
    struct slots fresh;
    struct slot *held, *free;
    struct slot slots[];
};

static struct fault *fault_of(struct dk_blkdev *dev)
{
    return dk_container_of(dev, struct fault, dev);
}

static bool draw_rate(struct fault *f, uint32_t rate)
{
    return dk_random_below(&f->random, DK_BLK_FAULT_ALWAYS) < rate;
}

static int64_t draw_time(struct fault *f, int64_t most)
{
    return dk_random_between(&f->random, 0, most);
}

static uint32_t error_rate(const struct dk_blk_fault_options *o, uint8_t op)
{
    switch (op) {
    case DK_BLK_READ:
        return o->read_error;
    case DK_BLK_FLUSH:
        return o->flush_error;
    default:
        return o->write_error;
    }
}

/* Always the same number of draws. */
static struct fate draw_fate(struct fault *f, uint8_t op)
{
    const struct dk_blk_fault_options *o = &f->options;
    const bool is_write = op == DK_BLK_WRITE;
    struct fate fate;
    fate.fails = draw_rate(f, error_rate(o, op));
    fate.is_lost = draw_rate(f, o->lost) && is_write;
    fate.is_torn = draw_rate(f, o->torn) && is_write;
    fate.is_misdirected = draw_rate(f, o->misdirect) && is_write;
    fate.is_rotten = draw_rate(f, o->rot) && is_write;
    fate.is_delayed = draw_rate(f, o->delay);
    fate.is_reordered = draw_rate(f, o->reorder);
    fate.late_ns = o->delay_ns + draw_time(f, o->jitter_ns);
    fate.bit = dk_random_u64(&f->random);
    fate.place = dk_random_u64(&f->random);
    fate.tear = dk_random_u64(&f->random);
    if (!fate.is_delayed)
        fate.late_ns = 0;
    if (fate.is_reordered)
        fate.late_ns += o->reorder_ns;
    return fate;
}

static bool watches_power(const struct fault *f)
{
    return f->options.power_at > 0 || f->options.watches_power;
}

static struct slot *take_slot(struct fault *f)
{
    struct slot *slot = f->free;
    f->free = slot->next;
    f->num_used++;
    return slot;
}

static void finish(struct slot *slot, int result)
{
    struct fault *f = slot->owner;
    struct dk_blk_io *outer = slot->outer;
    if (slot->copy)
        dk_heap_free(slot->copy);
    if (slot->old)
        dk_heap_free(slot->old);
    *slot = (struct slot){.owner = f, .next = f->free};
    f->free = slot;
    f->num_used--;
    f->num_completed++;
    outer->done(outer, result);
}

static void hold(struct fault *f, struct slot *slot)
{
    struct slot **at = &f->held;
    while (*at &&
           ((*at)->due < slot->due || ((*at)->due == slot->due && (*at)->number < slot->number)))
        at = &(*at)->next;
    slot->next = *at;
    *at = slot;
}

static void on_done(struct dk_blk_io *io, int result);

/* Hands the inner I/O of a slot down, or holds it until there is room. */
static void descend(struct slot *slot)
{
    struct fault *f = slot->owner;
    slot->inner.done = on_done;
    slot->inner.arg = slot;
    int r = f->dev.inner->ops->submit(f->dev.inner, &slot->inner);
    if (r == 0)
        f->num_below++;
    else if (r == -EAGAIN)
        hold(f, slot);
    else
        finish(slot, r);
}

/* An I/O of the same place in a buffer of its own. false without memory. */
static bool use_buffer(struct slot *slot, uint8_t op, uint8_t **buffer)
{
    const struct dk_blk_io *outer = slot->outer;
    *buffer = dk_heap_aligned(4096, outer->bytes);
    if (!*buffer)
        return false;
    slot->seg = (struct dk_blk_seg){*buffer, (uint32_t)outer->bytes};
    slot->inner = (struct dk_blk_io){.op = op,
                                     .flags = op == DK_BLK_WRITE ? outer->flags : 0,
                                     .num_segs = 1,
                                     .offset = outer->offset,
                                     .bytes = outer->bytes,
                                     .segs = &slot->seg};
    return true;
}

static void gather(const struct dk_blk_io *io, uint8_t *to)
{
    for (uint32_t i = 0; i < io->num_segs; to += io->segs[i].len, i++)
        memcpy(to, io->segs[i].data, io->segs[i].len);
}

/* Puts old units into a copy: at least one, and not all. */
static void tear(const struct fault *f, struct slot *slot)
{
    const uint32_t unit = f->dev.caps.atomic_bytes;
    const uint64_t units = slot->outer->bytes / unit;
    const uint8_t *old = slot->undo ? slot->undo->old : slot->old;
    uint64_t state = slot->fate.tear;
    if (units < 2)
        return;
    const uint64_t kept = state % units, lost = (kept + 1 + state / units % (units - 1)) % units;
    for (uint64_t i = 0; i < units; i++)
        if (i == lost || (i != kept && dk_random_splitmix(&state) & 1))
            memcpy(slot->copy + i * unit, old + i * unit, unit);
    dk_count(&f->dev.stats->fault_torn, 1);
}

static void rot(const struct fault *f, struct slot *slot)
{
    const uint64_t bit = slot->fate.bit % (slot->outer->bytes * 8);
    slot->copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
    dk_count(&f->dev.stats->fault_rotten, 1);
}

static void misdirect(const struct fault *f, struct slot *slot)
{
    const struct dk_blkdev_caps *caps = &f->dev.caps;
    const uint64_t places = (caps->bytes - slot->outer->bytes) / caps->block_bytes + 1;
    slot->inner.offset = slot->fate.place % places * caps->block_bytes;
    dk_count(&f->dev.stats->fault_misdirected, slot->inner.offset != slot->outer->offset);
}

/* The I/O itself, with its faults; what it replaces is known, where it must be. */
static void do_self(struct slot *slot)
{
    struct fault *f = slot->owner;
    const struct fate *fate = &slot->fate;
    slot->stage = STAGE_SELF;
    slot->inner = *slot->outer;
    if (slot->outer->op == DK_BLK_FLUSH)
        slot->mark = f->journal.num_completed;
    if (fate->is_torn || fate->is_rotten) {
        if (!use_buffer(slot, DK_BLK_WRITE, &slot->copy)) {
            finish(slot, -EIO);
            return;
        }
        gather(slot->outer, slot->copy);
    }
    if (fate->is_torn)
        tear(f, slot);
    if (fate->is_rotten)
        rot(f, slot);
    if (fate->is_misdirected)
        misdirect(f, slot);
    descend(slot);
}

/* Reads what a write will replace. A misdirected one is not undone: nobody knows of it. */
static void read_old(struct slot *slot)
{
    slot->stage = STAGE_OLD;
    if (use_buffer(slot, DK_BLK_READ, &slot->old))
        descend(slot);
    else
        finish(slot, -EIO);
}

static bool needs_old(const struct fault *f, const struct slot *slot)
{
    return slot->fate.is_torn || (watches_power(f) && slot->outer->op == DK_BLK_WRITE);
}

static void end_with(struct slot *slot, int result, uint64_t *counter)
{
    dk_count(counter, 1);
    if (result < 0 && slot->outer->op == DK_BLK_FLUSH)
        dk_blk_journal_flush_failed(&slot->owner->journal);
    finish(slot, result);
}

static void begin(struct slot *slot)
{
    struct fault *f = slot->owner;
    struct dk_blkdev_stats *stats = f->dev.stats;
    dk_count(&stats->fault_delayed, slot->fate.is_delayed && slot->fate.late_ns > 0);
    dk_count(&stats->fault_reordered, slot->fate.is_reordered);
    if (slot->outer->op == DK_BLK_WRITE && ++f->num_writes == f->options.power_at)
        f->is_failing = true;
    if (slot->fate.fails)
        end_with(slot, -EIO, &stats->fault_errors);
    else if (slot->fate.is_lost)
        end_with(slot, 0, &stats->fault_lost);
    else if (needs_old(f, slot))
        read_old(slot);
    else
        do_self(slot);
}

static void go_on(struct slot *slot)
{
    if (slot->owner->is_dead)
        finish(slot, -EIO);
    else if (slot->stage == STAGE_BEGIN)
        begin(slot);
    else
        descend(slot);
}

/* What is replaced is known: the write is about to change it. */
static void take_old(struct slot *slot, int result)
{
    struct fault *f = slot->owner;
    if (result < 0) {
        finish(slot, result);
        return;
    }
    if (watches_power(f) && !slot->fate.is_misdirected) {
        slot->undo = dk_blk_journal_begin(&f->journal, slot->outer->offset,
                                          (uint32_t)slot->outer->bytes, slot->old);
        if (!slot->undo) {
            finish(slot, -EIO);
            return;
        }
        slot->old = NULL;
    }
    do_self(slot);
}

static void take_self(struct slot *slot, int result)
{
    struct fault *f = slot->owner;
    if (f->is_failing)
        result = -EIO; /* nobody knows what it did, and it is undone in part */
    else if (result == 0 && slot->undo && slot->outer->flags & DK_BLK_FUA)
        dk_blk_journal_complete_durably(&f->journal, slot->undo, &slot->inner);
    else if (result == 0 && slot->undo)
        dk_blk_journal_complete(&f->journal, slot->undo);
    else if (result == 0 && slot->outer->op == DK_BLK_FLUSH)
        dk_blk_journal_flushed(&f->journal, slot->mark);
    else if (slot->outer->op == DK_BLK_FLUSH)
        dk_blk_journal_flush_failed(&f->journal);
    finish(slot, result);
}

static void on_done(struct dk_blk_io *io, int result)
{
    struct slot *slot = io->arg;
    slot->owner->num_below--;
    if (slot->stage == STAGE_OLD)
        take_old(slot, result);
    else
        take_self(slot, result);
}

/* Power is failing: what is below comes back, then some of what is not durable is undone. */
static void fail(struct fault *f)
{
    struct dk_blkdev *inner = f->dev.inner;
    while (f->num_below > 0)
        inner->ops->wait(inner);
    int r = dk_blk_journal_power_off(&f->journal, inner, &f->random);
    if (r < 0)
        dk_log(DK_LOG_ERROR, "fault: power failed, and not all was undone: %s", strerror(-r));
    f->is_dead = true;
}

/* Begins what is due. */
static void run_due(struct fault *f, int64_t now)
{
    for (struct slot *slot; (slot = f->fresh.first) != NULL;) {
        f->fresh.first = slot->next;
        slot->due = now + slot->fate.late_ns;
        hold(f, slot);
    }
    f->last_now = now;
    uint32_t n = f->num_used; /* what finds no room below comes again */
    for (struct slot *slot; n > 0 && (slot = f->held) != NULL && slot->due <= now; n--) {
        if (f->is_failing && !f->is_dead)
            break;
        f->held = slot->next;
        go_on(slot);
    }
    if (f->is_failing && !f->is_dead)
        fail(f);
}

static int submit(struct dk_blkdev *dev, struct dk_blk_io *io)
{
    struct fault *f = fault_of(dev);
    int r = dk_blk_check(dev, io);
    if (r < 0)
        return r;
    if (!f->free)
        return -EAGAIN;
    struct slot *slot = take_slot(f);
    slot->outer = io;
    slot->next = NULL;
    slot->number = f->next_number++;
    slot->fate = draw_fate(f, io->op);
    if (f->fresh.first)
        f->fresh.last->next = slot;
    else
        f->fresh.first = slot;
    f->fresh.last = slot;
    return 0;
}

static uint32_t poll(struct dk_blkdev *dev, int64_t now)
{
    struct fault *f = fault_of(dev);
    f->num_completed = 0;
    run_due(f, now);
    dev->inner->ops->poll(dev->inner, now);
    return f->num_completed;
}

static uint32_t wait(struct dk_blkdev *dev)
{
    struct fault *f = fault_of(dev);
    f->num_completed = 0;
    while (f->num_completed == 0 && f->num_used > 0) {
        int64_t now = f->last_now;
        if (f->num_below == 0 && !f->fresh.first && f->held->due > now)
            now = f->held->due;
        run_due(f, now);
        if (f->num_completed == 0 && f->num_below > 0)
            dev->inner->ops->wait(dev->inner);
    }
    return f->num_completed;
}

static int arm(struct dk_blkdev *dev)
{
    struct fault *f = fault_of(dev);
    if (f->fresh.first || (f->held && f->held->due <= f->last_now))
        return -1; /* to begin: poll knows what time it is */
    return dev->inner->ops->arm(dev->inner);
}

static int64_t next_due(struct dk_blkdev *dev)
{
    struct fault *f = fault_of(dev);
    struct dk_blkdev *inner = dev->inner;
    int64_t due = inner->ops->next_due ? inner->ops->next_due(inner) : INT64_MAX;
    return f->held && f->held->due < due ? f->held->due : due;
}

static int resize(struct dk_blkdev *dev, uint64_t bytes)
{
    int r = fault_of(dev)->is_dead ? -EIO : dev->inner->ops->resize(dev->inner, bytes);
    dev->caps.bytes = dev->inner->caps.bytes;
    return r;
}

static int extend(struct dk_blkdev *dev, uint64_t bytes)
{
    struct dk_blkdev *inner = dev->inner;
    if (!inner->ops->extend)
        return resize(dev, bytes);
    int r = fault_of(dev)->is_dead ? -EIO : inner->ops->extend(inner, bytes);
    dev->caps.bytes = inner->caps.bytes;
    return r;
}

static void close_fault(struct dk_blkdev *dev)
{
    struct fault *f = fault_of(dev);
    while (wait(dev) > 0)
        continue;
    dk_blk_journal_fini(&f->journal);
    dev->inner->ops->close(dev->inner);
    dk_heap_free(f);
}

static void abandon(struct dk_blkdev *dev)
{
    if (dev->inner->ops->abandon)
        dev->inner->ops->abandon(dev->inner);
}

static const struct dk_blkdev_ops fixed_ops = {
    .name = "fault",
    .submit = submit,
    .poll = poll,
    .wait = wait,
    .arm = arm,
    .next_due = next_due,
    .close = close_fault,
    .abandon = abandon,
};

static const struct dk_blkdev_ops growing_ops = {
    .name = "fault",
    .submit = submit,
    .poll = poll,
    .wait = wait,
    .arm = arm,
    .next_due = next_due,
    .resize = resize,
    .extend = extend,
    .close = close_fault,
    .abandon = abandon,
};

void dk_blk_fault_power_off(struct dk_blkdev *dev)
{
    struct fault *f = fault_of(dev);
    if (f->is_dead)
        return;
    f->is_failing = true;
    fail(f);
}

uint64_t dk_blk_fault_writes(const struct dk_blkdev *dev)
{
    return dk_container_of(dev, const struct fault, dev)->num_writes;
}

static int check(const struct dk_blk_fault_options *o, const char **why_out)
{
    const uint32_t rates[] = {o->read_error, o->write_error, o->flush_error, o->lost,   o->torn,
                              o->misdirect,  o->rot,         o->delay,       o->reorder};
    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++)
        if (rates[i] > DK_BLK_FAULT_ALWAYS)
            return dk_why(why_out, -EINVAL, "fault: a rate is at most 100%%");
    if (o->delay_ns < 0 || o->delay_ns > MAX_TIME_NS || o->jitter_ns < 0 ||
        o->jitter_ns > MAX_TIME_NS || o->reorder_ns < 0 || o->reorder_ns > MAX_TIME_NS)
        return dk_why(why_out, -EINVAL, "fault: a time is at most an hour");
    return 0;
}

static void complete_options(struct dk_blk_fault_options *o)
{
    if (o->delay == 0 && (o->delay_ns > 0 || o->jitter_ns > 0))
        o->delay = DK_BLK_FAULT_ALWAYS;
    if (o->reorder_ns == 0)
        o->reorder_ns = DEFAULT_REORDER;
}

int dk_blk_fault_open(struct dk_blkdev **dev_out, struct dk_blkdev *inner,
                      const struct dk_blk_fault_options *options, const char **why_out)
{
    const uint32_t depth = inner->caps.depth;
    int r = check(options, why_out);
    if (r < 0)
        return r;
    struct fault *f = dk_heap_zalloc(sizeof(*f) + depth * sizeof(struct slot));
    if (!f)
        return dk_why(why_out, -ENOMEM, "fault: no memory");
    f->dev.ops = inner->ops->resize ? &growing_ops : &fixed_ops;
    f->dev.caps = inner->caps;
    f->dev.inner = inner;
    f->dev.stats = inner->stats;
    f->options = *options;
    complete_options(&f->options);
    dk_random_init(&f->random, options->seed);
    dk_blk_journal_init(&f->journal);
    for (uint32_t i = 0; i < depth; i++) {
        f->slots[i] = (struct slot){.owner = f, .next = f->free};
        f->free = &f->slots[i];
    }
    *dev_out = &f->dev;
    return 0;
}
