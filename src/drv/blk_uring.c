/* SPDX-License-Identifier: MIT */
/*
 * Files and block devices through io_uring (blk_file.h).
 *
 * Reads and writes use registered memory when all segments lie in one registered buffer, and the
 * vectored form else. What the kernel leaves undone of one (a short transfer) is asked for again,
 * so that the reason comes to light. The file is not registered: a ring lets go of what it has some
 * time after its process has ended, and the file would be locked until then.
 *
 * Invariant: an I/O in flight that moves data has a slot, with what is left of its segments.
 */
#include "drv/blk_target.h"

#include "drv/blk_file.h"
#include "drv/blk_io.h"
#include "drv/blk_ring.h"
#include "drv/why.h"
#include "mem/heap.h"
#include "os/sync.h"

#include <errno.h>
#include <linux/falloc.h>
#include <string.h>

#define PAGE 4096u

struct slot {
    uint64_t left;       /* bytes */
    uint32_t first, num; /* of iov: what is left */
    struct slot *next_free;
    struct iovec iov[DK_BLK_SEGS_MAX];
};

struct dk_blk_uring {
    struct dk_blk_file file;
    struct dk_blk_rings rings;
    uint32_t completed; /* in this call of poll or wait */
    struct slot *free_slots;
    struct slot *slots;
};

static struct dk_blk_uring *uring_of(struct dk_blkdev *dev)
{
    return dk_container_of(dk_blk_file_of(dev), struct dk_blk_uring, file);
}

static struct slot *slot_of(const struct dk_blk_io *io)
{
    return (struct slot *)(uintptr_t)io->device[0];
}

static void fill_slot(struct slot *slot, const struct dk_blk_io *io)
{
    slot->left = io->bytes;
    slot->first = 0;
    slot->num = io->num_segs;
    for (uint32_t i = 0; i < io->num_segs; i++)
        slot->iov[i] = (struct iovec){io->segs[i].data, io->segs[i].len};
}

/* Takes bytes that were moved off the front. */
static void advance(struct slot *slot, uint32_t bytes)
{
    slot->left -= bytes;
    while (bytes > 0) {
        struct iovec *iov = &slot->iov[slot->first];
        const size_t n = bytes < iov->iov_len ? bytes : iov->iov_len;
        iov->iov_base = (uint8_t *)iov->iov_base + n;
        iov->iov_len -= n;
        bytes -= (uint32_t)n;
        if (iov->iov_len == 0)
            slot->first++, slot->num--;
    }
}

/* What a slot says is left, into an entry. */
static void prepare_transfer(struct io_uring_sqe *sqe, int fd, struct dk_blk_io *io, int buffer)
{
    const bool is_write = io->op == DK_BLK_WRITE;
    const struct slot *slot = slot_of(io);
    const struct iovec *iov = &slot->iov[slot->first];
    const uint64_t offset = io->offset + (io->bytes - slot->left);
    if (slot->num == 1)
        io_uring_prep_rw(is_write ? IORING_OP_WRITE : IORING_OP_READ, sqe, fd, iov->iov_base,
                         (unsigned)iov->iov_len, offset);
    else
        io_uring_prep_rw(is_write ? IORING_OP_WRITEV : IORING_OP_READV, sqe, fd, iov, slot->num,
                         offset);
    if (buffer >= 0) {
        sqe->buf_index = (uint16_t)buffer;
        if (slot->num == 1)
            sqe->opcode = is_write ? IORING_OP_WRITE_FIXED : IORING_OP_READ_FIXED;
        else
            sqe->opcode = is_write ? DK_BLK_WRITEV_FIXED : DK_BLK_READV_FIXED;
    }
    sqe->rw_flags = io->flags & DK_BLK_FUA ? RWF_DSYNC : 0;
    io_uring_sqe_set_data(sqe, io);
}

static bool moves_data(const struct dk_blk_io *io)
{
    return io->op == DK_BLK_READ || io->op == DK_BLK_WRITE;
}

/* Whether an I/O will not be cut: it is not too long, and its segments meet between pages. */
static bool may_poll(const struct dk_blk_uring *u, const struct dk_blk_io *io)
{
    if (!moves_data(io) || io->bytes > u->file.target.poll_bytes)
        return false;
    for (uint32_t i = 1; i < io->num_segs; i++)
        if ((uintptr_t)io->segs[i].data % PAGE != 0 ||
            (uintptr_t)(io->segs[i - 1].data + io->segs[i - 1].len) % PAGE != 0)
            return false;
    return true;
}

/* The heap is registered with the main ring. */
static bool knows_heap(const struct dk_blk_uring *u, const struct dk_blk_io *io)
{
    return !u->rings.is_polled || may_poll(u, io);
}

static void prepare_data(struct dk_blk_uring *u, struct io_uring_sqe *sqe, struct dk_blk_io *io)
{
    struct slot *slot = u->free_slots;
    const int buffer =
        knows_heap(u, io) ? dk_blk_ring_buffer(&u->rings.main, io->segs, io->num_segs) : -1;
    struct dk_blkdev_stats *stats = u->file.dev.stats;
    u->free_slots = slot->next_free;
    fill_slot(slot, io);
    io->device[0] = (uintptr_t)slot;
    prepare_transfer(sqe, u->file.target.fd, io, buffer);
    dk_count(buffer >= 0 ? &stats->registered : &stats->unregistered, io->num_segs);
}

/* A discard of a file does nothing, and is done when the others are. */
static void prepare_control(const struct dk_blk_uring *u, struct io_uring_sqe *sqe,
                            struct dk_blk_io *io)
{
    const int fd = u->file.target.fd;
    if (io->op == DK_BLK_FLUSH)
        io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
    else if (u->file.target.is_block)
        io_uring_prep_fallocate(sqe, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                (off_t)io->offset, (off_t)io->bytes);
    else
        io_uring_prep_nop(sqe);
    io_uring_sqe_set_data(sqe, io);
}

static int submit(struct dk_blkdev *dev, struct dk_blk_io *io)
{
    struct dk_blk_uring *u = uring_of(dev);
    int r = dk_blk_check(dev, io);
    if (r < 0)
        return r;
    struct io_uring_sqe *sqe = dk_blk_rings_sqe(&u->rings, io, may_poll(u, io));
    if (!sqe)
        return -EAGAIN;
    if (moves_data(io))
        prepare_data(u, sqe, io);
    else
        prepare_control(u, sqe, io);
    return 0;
}

/* Whether a transfer is to go on: it was short, interrupted, or a polled ring has no room for it.
 */
static bool is_unfinished(struct slot *slot, int result)
{
    if (result > 0)
        advance(slot, (uint32_t)result);
    return (result > 0 && slot->left > 0) || result == -EINTR || result == -EAGAIN;
}

static void take_data(struct dk_blk_uring *u, struct dk_blk_io *io, int result)
{
    struct slot *slot = slot_of(io);
    if (dk_unlikely(is_unfinished(slot, result))) {
        struct io_uring_sqe *sqe = dk_blk_rings_again(&u->rings, io);
        prepare_transfer(sqe, u->file.target.fd, io, -1);
        return;
    }
    if (dk_unlikely(result == 0))
        result = -EIO; /* the file was made shorter by somebody else */
    slot->next_free = u->free_slots;
    u->free_slots = slot;
    u->completed++;
    dk_blk_complete(&u->file.dev, io, result < 0 ? dk_blk_error(result) : 0);
}

static void take(void *arg, struct dk_blk_io *io, int result, uint64_t more)
{
    struct dk_blk_uring *u = arg;
    (void)more;
    if (moves_data(io)) {
        take_data(u, io, result);
        return;
    }
    if (io->op == DK_BLK_DISCARD && result == -EOPNOTSUPP)
        result = 0; /* a device without it */
    u->completed++;
    dk_blk_complete(&u->file.dev, io, dk_blk_error(result));
}

static uint32_t poll(struct dk_blkdev *dev, int64_t now)
{
    struct dk_blk_uring *u = uring_of(dev);
    (void)now;
    u->completed = 0;
    dk_blk_rings_reap(&u->rings, false, take, u);
    return u->completed;
}

static uint32_t wait(struct dk_blkdev *dev)
{
    struct dk_blk_uring *u = uring_of(dev);
    u->completed = 0;
    while (u->completed == 0 && dk_blk_rings_in_flight(&u->rings) > 0)
        dk_blk_rings_reap(&u->rings, true, take, u);
    return u->completed;
}

static int arm(struct dk_blkdev *dev)
{
    return dk_blk_rings_arm(&uring_of(dev)->rings);
}

static void sleep_uring(struct dk_blkdev *dev, int64_t timeout_ns)
{
    dk_blk_rings_sleep(&uring_of(dev)->rings, timeout_ns);
}

static void release(struct dk_blk_uring *u)
{
    dk_blk_rings_close(&u->rings);
    if (u->slots)
        dk_heap_free(u->slots);
    dk_heap_free(u);
}

static void close_uring(struct dk_blkdev *dev)
{
    struct dk_blk_uring *u = uring_of(dev);
    while (wait(dev) > 0)
        continue;
    struct dk_blk_target target = u->file.target;
    release(u);
    dk_blk_target_close(&target);
}

static void abandon(struct dk_blkdev *dev)
{
    struct dk_blk_uring *u = uring_of(dev);
    dk_blk_rings_abandon(&u->rings);
    close(u->file.target.fd);
}

static const struct dk_blkdev_ops fixed_ops = {
    .name = "blk_uring",
    .submit = submit,
    .poll = poll,
    .wait = wait,
    .arm = arm,
    .sleep = sleep_uring,
    .close = close_uring,
    .abandon = abandon,
};

static const struct dk_blkdev_ops growing_ops = {
    .name = "blk_uring",
    .submit = submit,
    .poll = poll,
    .wait = wait,
    .arm = arm,
    .sleep = sleep_uring,
    .resize = dk_blk_file_resize,
    .extend = dk_blk_file_extend,
    .close = close_uring,
    .abandon = abandon,
};

static bool make_slots(struct dk_blk_uring *u, uint32_t depth)
{
    u->slots = dk_heap_zalloc(depth * sizeof(*u->slots));
    for (uint32_t i = 0; u->slots && i < depth; i++) {
        u->slots[i].next_free = u->free_slots;
        u->free_slots = &u->slots[i];
    }
    return u->slots != NULL;
}

/* Reads the first block through a polled ring: what says that it polls may not do so. */
static bool polling_works(struct dk_blk_ring *ring, const struct dk_blk_target *t)
{
    struct io_uring_cqe *cqe;
    uint8_t *block = dk_heap_aligned(4096, t->caps.block_bytes);
    int result = -ENOMEM;
    if (block && t->caps.bytes > 0) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->ring);
        io_uring_prep_read(sqe, t->fd, block, t->caps.block_bytes, 0);
        if (io_uring_submit_and_wait(&ring->ring, 1) == 1 &&
            io_uring_peek_cqe(&ring->ring, &cqe) == 0) {
            result = cqe->res;
            io_uring_cqe_seen(&ring->ring, cqe);
        }
    }
    if (block)
        dk_heap_free(block);
    return result == (int)t->caps.block_bytes;
}

/* Opens the rings of a device that is polled; false: not this one. */
static bool open_polled(struct dk_blk_uring *u, const struct dk_blk_target *t)
{
    struct dk_blk_rings *rings = &u->rings;
    const char *why;
    if (t->poll_bytes == 0 ||
        dk_blk_ring_open(&rings->main, t->caps.depth, IORING_SETUP_IOPOLL, &why) < 0)
        return false;
    if (polling_works(&rings->main, t) && dk_blk_rings_add_side(rings, 0, &why) == 0)
        return true;
    dk_blk_ring_close(&rings->main);
    return false;
}

int dk_blk_uring_start(struct dk_blkdev **dev_out, const struct dk_blk_target *target,
                       const struct dk_blk_file_options *options, const char **why_out)
{
    struct dk_blk_uring *u = dk_heap_zalloc(sizeof(*u));
    if (!u)
        return dk_why(why_out, -ENOMEM, "%s: no memory", options->path);
    int r = 0;
    if (options->interrupts || !open_polled(u, target))
        r = dk_blk_ring_open(&u->rings.main, target->caps.depth, 0, why_out);
    if (r < 0) {
        dk_heap_free(u);
        return r;
    }
    if (!make_slots(u, target->caps.depth)) {
        release(u);
        return dk_why(why_out, -ENOMEM, "%s: no memory", options->path);
    }
    dk_blkdev_init(&u->file.dev, target->caps.flags & DK_BLKDEV_GROWS ? &growing_ops : &fixed_ops);
    u->file.dev.caps = target->caps;
    u->file.target = *target;
    if (!options->unregistered)
        dk_blk_ring_register_heap(&u->rings.main);
    *dev_out = &u->file.dev;
    return 0;
}
