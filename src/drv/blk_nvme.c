/* SPDX-License-Identifier: MIT */
/*
 * NVMe commands by io_uring (blk_nvme.h).
 *
 * A command is written into the second half of a large entry (SQE128). Of one segment it has the
 * address, which may lie in a registered buffer; of several a list of them, which the kernel makes
 * pages of.
 *
 * Invariant: an I/O in flight has a slot, with what its command points to.
 */
#include "drv/blk_nvme.h"

#include "base/list.h"
#include "drv/blk_io.h"
#include "drv/blk_nvme_identify.h"
#include "drv/blk_ring.h"
#include "drv/why.h"
#include "mem/heap.h"
#include "os/sync.h"

#include <errno.h>
#include <linux/nvme_ioctl.h>
#include <string.h>

/* NVM command set specification, figure 18. */
#define OPCODE_FLUSH              0x00
#define OPCODE_WRITE              0x01
#define OPCODE_READ               0x02
#define OPCODE_DATASET_MANAGEMENT 0x09

#define CDW12_FUA        (1u << 30) /* figure 70 */
#define CDW11_DEALLOCATE (1u << 2)  /* figure 41 */

/* Status: type << 8 | code (base specification, figures 93 to 97). */
#define STATUS_MASK            0x7ff
#define STATUS_WRITE_PROTECTED 0x020
#define STATUS_CAPACITY        0x081
#define STATUS_READ_ONLY_RANGE 0x182

#define MAX_SEGS 64u

/* What one range of Dataset Management is: figure 43. */
struct range {
    uint32_t attributes;
    uint32_t num_blocks;
    uint64_t first;
};

struct slot {
    struct slot *next_free;
    struct range range;
    struct iovec iov[MAX_SEGS];
};

struct nvme {
    struct dk_blkdev dev;
    struct dk_nvme_namespace ns;
    struct dk_blk_rings rings;
    uint32_t completed; /* in this call of poll or wait */
    struct slot *free_slots;
    struct slot *slots;
};

static struct nvme *nvme_of(struct dk_blkdev *dev)
{
    return dk_container_of(dev, struct nvme, dev);
}

/* An entry as a command for the namespace. */
static struct nvme_uring_cmd *prepare(const struct nvme *n, struct io_uring_sqe *sqe,
                                      uint8_t opcode)
{
    struct nvme_uring_cmd *cmd = (struct nvme_uring_cmd *)(void *)sqe->cmd;
    sqe->opcode = IORING_OP_URING_CMD;
    sqe->fd = n->ns.fd;
    sqe->cmd_op = NVME_URING_CMD_IO;
    cmd->opcode = opcode;
    cmd->nsid = n->ns.nsid;
    return cmd;
}

static void point_at_one(struct nvme *n, struct io_uring_sqe *sqe, struct nvme_uring_cmd *cmd,
                         const struct dk_blk_seg *seg)
{
    const int buffer = dk_blk_ring_buffer(&n->rings.main, seg, 1);
    cmd->addr = (uintptr_t)seg->data;
    cmd->data_len = seg->len;
    if (buffer >= 0) {
        sqe->uring_cmd_flags = IORING_URING_CMD_FIXED;
        sqe->buf_index = (uint16_t)buffer;
    }
    dk_count(buffer >= 0 ? &n->dev.stats->registered : &n->dev.stats->unregistered, 1);
}

static void point_at_several(struct nvme *n, struct io_uring_sqe *sqe, struct nvme_uring_cmd *cmd,
                             struct slot *slot, const struct dk_blk_io *io)
{
    for (uint32_t i = 0; i < io->num_segs; i++)
        slot->iov[i] = (struct iovec){io->segs[i].data, io->segs[i].len};
    sqe->cmd_op = NVME_URING_CMD_IO_VEC;
    cmd->addr = (uintptr_t)slot->iov;
    cmd->data_len = io->num_segs;
    dk_count(&n->dev.stats->unregistered, io->num_segs);
}

/* Read, Write: figures 50, 69. The number of blocks is zero-based. */
static void prepare_transfer(struct nvme *n, struct io_uring_sqe *sqe, struct slot *slot,
                             const struct dk_blk_io *io)
{
    struct nvme_uring_cmd *cmd =
        prepare(n, sqe, io->op == DK_BLK_WRITE ? OPCODE_WRITE : OPCODE_READ);
    const uint64_t first = io->offset >> n->ns.lba_shift;
    cmd->cdw10 = (uint32_t)first;
    cmd->cdw11 = (uint32_t)(first >> 32);
    cmd->cdw12 = (uint32_t)(io->bytes >> n->ns.lba_shift) - 1;
    if (io->flags & DK_BLK_FUA)
        cmd->cdw12 |= CDW12_FUA;
    if (io->num_segs == 1)
        point_at_one(n, sqe, cmd, &io->segs[0]);
    else
        point_at_several(n, sqe, cmd, slot, io);
}

/* Of what does not fit one range, the rest is kept: a discard promises nothing. */
static void prepare_deallocate(const struct nvme *n, struct io_uring_sqe *sqe, struct slot *slot,
                               const struct dk_blk_io *io)
{
    const uint64_t blocks = io->bytes >> n->ns.lba_shift;
    struct nvme_uring_cmd *cmd = prepare(n, sqe, OPCODE_DATASET_MANAGEMENT);
    slot->range = (struct range){.num_blocks = blocks < UINT32_MAX ? (uint32_t)blocks : UINT32_MAX,
                                 .first = io->offset >> n->ns.lba_shift};
    cmd->addr = (uintptr_t)&slot->range;
    cmd->data_len = sizeof(slot->range);
    cmd->cdw10 = 0; /* one range: zero-based */
    cmd->cdw11 = CDW11_DEALLOCATE;
}

static void prepare_any(struct nvme *n, struct io_uring_sqe *sqe, struct slot *slot,
                        const struct dk_blk_io *io)
{
    if (io->op == DK_BLK_FLUSH)
        prepare(n, sqe, OPCODE_FLUSH);
    else if (io->op != DK_BLK_DISCARD)
        prepare_transfer(n, sqe, slot, io);
    else if (n->ns.has_deallocate)
        prepare_deallocate(n, sqe, slot, io);
    else
        sqe->opcode = IORING_OP_NOP;
}

static int submit(struct dk_blkdev *dev, struct dk_blk_io *io)
{
    struct nvme *n = nvme_of(dev);
    int r = dk_blk_check(dev, io);
    if (r < 0)
        return r;
    /* Linux 6.1 looks for what a command without data moves, when it is polled for. */
    const bool may_poll = io->num_segs == 1;
    struct io_uring_sqe *sqe = dk_blk_rings_sqe(&n->rings, io, may_poll);
    if (!sqe)
        return -EAGAIN;
    struct slot *slot = n->free_slots;
    n->free_slots = slot->next_free;
    io->device[0] = (uintptr_t)slot;
    prepare_any(n, sqe, slot, io);
    return 0;
}

/* A completion is a negative errno, or the status of the device. */
static int error_of(int result)
{
    if (result <= 0)
        return dk_blk_error(result);
    switch (result & STATUS_MASK) {
    case STATUS_WRITE_PROTECTED:
    case STATUS_READ_ONLY_RANGE:
        return -EROFS;
    case STATUS_CAPACITY:
        return -ENOSPC;
    default:
        return -EIO;
    }
}

static void take(void *arg, struct dk_blk_io *io, int result, uint64_t more)
{
    struct nvme *n = arg;
    struct slot *slot = (struct slot *)(uintptr_t)io->device[0];
    (void)more;
    slot->next_free = n->free_slots;
    n->free_slots = slot;
    n->completed++;
    dk_blk_complete(&n->dev, io, error_of(result));
}

static uint32_t poll(struct dk_blkdev *dev, int64_t now)
{
    struct nvme *n = nvme_of(dev);
    (void)now;
    n->completed = 0;
    dk_blk_rings_reap(&n->rings, false, take, n);
    return n->completed;
}

static uint32_t wait(struct dk_blkdev *dev)
{
    struct nvme *n = nvme_of(dev);
    n->completed = 0;
    while (n->completed == 0 && dk_blk_rings_in_flight(&n->rings) > 0)
        dk_blk_rings_reap(&n->rings, true, take, n);
    return n->completed;
}

static int arm(struct dk_blkdev *dev)
{
    return dk_blk_rings_arm(&nvme_of(dev)->rings);
}

static void sleep_nvme(struct dk_blkdev *dev, int64_t timeout_ns)
{
    dk_blk_rings_sleep(&nvme_of(dev)->rings, timeout_ns);
}

static void release(struct nvme *n)
{
    if (n->slots)
        dk_heap_free(n->slots);
    dk_heap_free(n);
}

static void close_nvme(struct dk_blkdev *dev)
{
    struct nvme *n = nvme_of(dev);
    while (wait(dev) > 0)
        continue;
    dk_blk_rings_close(&n->rings);
    dk_nvme_close(&n->ns);
    release(n);
}

static void abandon(struct dk_blkdev *dev)
{
    struct nvme *n = nvme_of(dev);
    dk_blk_rings_abandon(&n->rings);
    dk_nvme_close(&n->ns);
}

static const struct dk_blkdev_ops ops = {
    .name = "blk_nvme",
    .submit = submit,
    .poll = poll,
    .wait = wait,
    .arm = arm,
    .sleep = sleep_nvme,
    .close = close_nvme,
    .abandon = abandon,
};

static bool make_slots(struct nvme *n, uint32_t depth)
{
    n->slots = dk_heap_zalloc(depth * sizeof(*n->slots));
    for (uint32_t i = 0; n->slots && i < depth; i++) {
        n->slots[i].next_free = n->free_slots;
        n->free_slots = &n->slots[i];
    }
    return n->slots != NULL;
}

static void note(struct dk_blk_io *io, int result)
{
    *(int *)io->arg = result;
}

/* Reads the first block: what the kernel or the device cannot do comes to light here. */
static int try_read(struct nvme *n)
{
    int result = -ENOMEM;
    const struct dk_blk_seg seg = {dk_heap_aligned(4096, n->dev.caps.block_bytes),
                                   n->dev.caps.block_bytes};
    struct dk_blk_io io = {.op = DK_BLK_READ,
                           .num_segs = 1,
                           .bytes = seg.len,
                           .segs = &seg,
                           .done = note,
                           .arg = &result};
    if (seg.data && (result = submit(&n->dev, &io)) == 0)
        wait(&n->dev);
    if (seg.data)
        dk_heap_free(seg.data);
    n->dev.own_stats = (struct dk_blkdev_stats){0};
    return result;
}

/* Opens rings of that kind, and tries them; -EIO, too, where the first block cannot be read: then
 * it cannot be told which kind works. */
static int open_rings(struct nvme *n, bool polled, bool registered, const char **why_out)
{
    struct dk_blk_rings *rings = &n->rings;
    int r = dk_blk_ring_open(&rings->main, n->dev.caps.depth,
                             DK_BLK_RING_LARGE | (polled ? IORING_SETUP_IOPOLL : 0), why_out);
    if (r < 0)
        return r;
    rings->main.has_vectors = false; /* those are of another kind of entry */
    if (registered)
        dk_blk_ring_register_heap(&rings->main);
    if (polled)
        r = dk_blk_rings_add_side(rings, DK_BLK_RING_LARGE, why_out);
    if (r == 0 && (r = try_read(n)) == 0)
        return 0;
    dk_blk_rings_close(rings);
    return dk_why(why_out, r, "commands cannot be passed through, or the first block not read: %s",
                  strerror(-r));
}

/* The best that works: polled rather than not, with registered memory rather than without. */
static int open_best_rings(struct nvme *n, const struct dk_blk_nvme_options *o,
                           const char **why_out)
{
    const bool polled[] = {true, true, false, false}, registered[] = {true, false, true, false};
    int r = -EIO;
    for (int i = 0; r < 0 && i < 4; i++) {
        if ((polled[i] && (o->interrupts || !n->ns.can_poll)) || (registered[i] && o->unregistered))
            continue;
        r = open_rings(n, polled[i], registered[i], why_out);
    }
    return r;
}

int dk_blk_nvme_open(struct dk_blkdev **dev_out, const struct dk_blk_nvme_options *options,
                     const char **why_out)
{
    struct nvme *n = dk_heap_zalloc(sizeof(*n));
    if (!n)
        return dk_why(why_out, -ENOMEM, "nvme: no memory");
    int r = dk_nvme_open(&n->ns, options, why_out);
    if (r < 0) {
        dk_heap_free(n);
        return r;
    }
    dk_blkdev_init(&n->dev, &ops);
    n->dev.caps = n->ns.caps;
    r = make_slots(n, n->dev.caps.depth) ? open_best_rings(n, options, why_out)
                                         : dk_why(why_out, -ENOMEM, "nvme: no memory");
    if (r < 0) {
        dk_nvme_close(&n->ns);
        release(n);
        return r;
    }
    *dev_out = &n->dev;
    return 0;
}
