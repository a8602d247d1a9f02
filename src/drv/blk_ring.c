/* SPDX-License-Identifier: MIT */
#include "drv/blk_ring.h"

#include "base/list.h"
#include "drv/why.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define BUFFER_MAX_BYTES ((size_t)1 << 30) /* the kernel's limit for one buffer */

static const char *explain(int error)
{
    switch (error) {
    case -ENOSYS:
        return "this kernel has no io_uring";
    case -EPERM:
        return "io_uring is forbidden here (container profile, or sysctl kernel.io_uring_disabled)";
    case -ENOMEM:
        return "io_uring cannot lock memory: raise the limit (ulimit -l)";
    default:
        return "io_uring cannot be set up";
    }
}

static bool knows(struct io_uring *ring, int opcode)
{
    struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
    bool known = probe && io_uring_opcode_supported(probe, opcode);
    if (probe)
        io_uring_free_probe(probe);
    return known;
}

int dk_blk_ring_open(struct dk_blk_ring *r, uint32_t depth, uint32_t flags, const char **why_out)
{
    struct io_uring_params p = {.flags = flags | IORING_SETUP_CQSIZE, .cq_entries = 2 * depth};
    memset(r, 0, sizeof(*r));
    int e = io_uring_queue_init_params(depth, &r->ring, &p);
    if (e < 0)
        return dk_why(why_out, e, "%s", explain(e));
    r->depth = depth;
    r->is_polled = (flags & IORING_SETUP_IOPOLL) != 0;
    r->has_vectors = knows(&r->ring, DK_BLK_WRITEV_FIXED);
    return 0;
}

int dk_blk_ring_probe(uint32_t flags, const char **why_out)
{
    struct io_uring ring;
    int e = io_uring_queue_init(1, &ring, flags);
    *why_out = e < 0 ? explain(e) : "";
    if (e == 0)
        io_uring_queue_exit(&ring);
    return e;
}

void dk_blk_ring_close(struct dk_blk_ring *r)
{
    if (r->is_registered)
        dk_registrar_remove(&r->registrar);
    io_uring_queue_exit(&r->ring);
}

void dk_blk_ring_abandon(struct dk_blk_ring *r)
{
    close(r->ring.ring_fd);
}

static int update(struct dk_blk_ring *r, uint32_t index, void *base, size_t bytes)
{
    struct iovec iov = {base, bytes};
    __u64 tag = 0;
    int n = io_uring_register_buffers_update_tag(&r->ring, index, &iov, &tag, 1);
    return n == 1 ? 0 : n < 0 ? n : -EIO;
}

static int map(struct dk_registrar *registrar, void *base, size_t bytes, uint64_t *handle_out)
{
    struct dk_blk_ring *r = dk_container_of(registrar, struct dk_blk_ring, registrar);
    uint32_t index = 0;
    if (bytes > BUFFER_MAX_BYTES)
        return -E2BIG;
    while (index < DK_BLK_BUFFERS_MAX && r->used[index])
        index++;
    if (index == DK_BLK_BUFFERS_MAX)
        return -ENOSPC;
    int e = update(r, index, base, bytes);
    if (e < 0)
        return e;
    r->used[index] = true;
    *handle_out = index;
    return 0;
}

static void unmap(struct dk_registrar *registrar, void *base, size_t bytes, uint64_t handle)
{
    struct dk_blk_ring *r = dk_container_of(registrar, struct dk_blk_ring, registrar);
    (void)base;
    (void)bytes;
    update(r, (uint32_t)handle, NULL, 0);
    r->used[handle] = false;
}

void dk_blk_ring_register_heap(struct dk_blk_ring *r)
{
    if (io_uring_register_buffers_sparse(&r->ring, DK_BLK_BUFFERS_MAX) < 0)
        return;
    r->registrar = (struct dk_registrar){.name = "io_uring", .map = map, .unmap = unmap};
    r->is_registered = dk_registrar_add(&r->registrar) == 0;
}

int dk_blk_ring_buffer(const struct dk_blk_ring *r, const struct dk_blk_seg segs[], uint32_t n)
{
    uint64_t handle = DK_NO_HANDLE;
    if (!r->is_registered || (n > 1 && !r->has_vectors))
        return -1;
    for (uint32_t i = 0; i < n; i++) {
        if (!dk_heap_owns(segs[i].data))
            return -1;
        uint64_t other = dk_region_handle(segs[i].data, &r->registrar);
        if (other == DK_NO_HANDLE || (i > 0 && other != handle))
            return -1;
        handle = other;
    }
    return (int)handle;
}

struct io_uring_sqe *dk_blk_ring_again(struct dk_blk_ring *r, struct dk_blk_io *io)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&r->ring);
    if (!sqe) {
        io_uring_submit(&r->ring);
        sqe = io_uring_get_sqe(&r->ring);
    }
    r->in_flight++;
    memset(sqe, 0, sizeof(*sqe) << ((r->ring.flags & IORING_SETUP_SQE128) != 0));
    io_uring_sqe_set_data(sqe, io);
    return sqe;
}

struct io_uring_sqe *dk_blk_ring_sqe(struct dk_blk_ring *r, struct dk_blk_io *io)
{
    return r->in_flight < r->depth ? dk_blk_ring_again(r, io) : NULL;
}

/* Starts what rests; asks a polled device for what is done, or waits. */
static void enter(struct dk_blk_ring *r, bool wait)
{
    if (wait)
        io_uring_submit_and_wait(&r->ring, 1);
    else if (r->is_polled)
        io_uring_submit_and_get_events(&r->ring);
    else if (io_uring_sq_ready(&r->ring) > 0)
        io_uring_submit(&r->ring);
}

/* One that was interrupted, or whose submit was refused for the moment, finds nothing. */
static uint32_t look(struct dk_blk_ring *r, bool wait)
{
    uint32_t n = io_uring_cq_ready(&r->ring);
    enter(r, wait && n == 0);
    return io_uring_cq_ready(&r->ring);
}

/* Takes one completion off the ring; false when there is none. */
static bool take_one(struct dk_blk_ring *r, dk_blk_ring_fn take, void *arg)
{
    struct io_uring_cqe *cqe;
    if (io_uring_peek_cqe(&r->ring, &cqe) < 0)
        return false;
    struct dk_blk_io *io = io_uring_cqe_get_data(cqe);
    const int result = cqe->res;
    const uint64_t more = r->ring.flags & IORING_SETUP_CQE32 ? cqe->big_cqe[0] : 0;
    io_uring_cqe_seen(&r->ring, cqe);
    r->in_flight--;
    take(arg, io, result, more);
    return true;
}

uint32_t dk_blk_ring_reap(struct dk_blk_ring *r, bool wait, dk_blk_ring_fn take, void *arg)
{
    uint32_t there, n = 0;
    if (r->in_flight == 0)
        return 0;
    do
        there = look(r, wait);
    while (wait && there == 0);
    while (n < there && take_one(r, take, arg))
        n++;
    return n;
}

int dk_blk_ring_arm(struct dk_blk_ring *r)
{
    if (r->in_flight > 0)
        enter(r, false);
    if (io_uring_cq_ready(&r->ring) > 0 || (r->is_polled && r->in_flight > 0))
        return -1;
    if (io_uring_sq_ready(&r->ring) > 0)
        return -1; /* refused for the moment, and nobody would come back to it */
    return r->ring.ring_fd;
}

void dk_blk_ring_sleep(struct dk_blk_ring *r, int64_t timeout_ns)
{
    struct __kernel_timespec ts = {.tv_sec = timeout_ns / 1000000000,
                                   .tv_nsec = timeout_ns % 1000000000};
    struct io_uring_cqe *cqe;
    if (io_uring_cq_ready(&r->ring) == 0)
        io_uring_submit_and_wait_timeout(&r->ring, &cqe, 1, timeout_ns < 0 ? NULL : &ts, NULL);
}

int dk_blk_rings_add_side(struct dk_blk_rings *rings, uint32_t flags, const char **why_out)
{
    int r = dk_blk_ring_open(&rings->side, rings->main.depth, flags, why_out);
    rings->is_polled = r == 0;
    return r;
}

void dk_blk_rings_close(struct dk_blk_rings *rings)
{
    dk_blk_ring_close(&rings->main);
    if (rings->is_polled)
        dk_blk_ring_close(&rings->side);
    rings->is_polled = false;
}

void dk_blk_rings_abandon(struct dk_blk_rings *rings)
{
    dk_blk_ring_abandon(&rings->main);
    if (rings->is_polled)
        dk_blk_ring_abandon(&rings->side);
}

struct io_uring_sqe *dk_blk_rings_sqe(struct dk_blk_rings *rings, struct dk_blk_io *io,
                                      bool may_poll)
{
    if (dk_blk_rings_in_flight(rings) == rings->main.depth)
        return NULL;
    return dk_blk_ring_sqe(rings->is_polled && !may_poll ? &rings->side : &rings->main, io);
}

struct io_uring_sqe *dk_blk_rings_again(struct dk_blk_rings *rings, struct dk_blk_io *io)
{
    return dk_blk_ring_again(rings->is_polled ? &rings->side : &rings->main, io);
}

void dk_blk_rings_reap(struct dk_blk_rings *rings, bool wait, dk_blk_ring_fn take, void *arg)
{
    if (!rings->is_polled) {
        dk_blk_ring_reap(&rings->main, wait, take, arg);
        return;
    }
    const bool main_alone = rings->side.in_flight == 0, side_alone = rings->main.in_flight == 0;
    dk_blk_ring_reap(&rings->main, wait && main_alone, take, arg);
    dk_blk_ring_reap(&rings->side, wait && side_alone, take, arg);
}

int dk_blk_rings_arm(struct dk_blk_rings *rings)
{
    if (!rings->is_polled)
        return dk_blk_ring_arm(&rings->main);
    int fd = dk_blk_ring_arm(&rings->side);
    return dk_blk_ring_arm(&rings->main) < 0 ? -1 : fd;
}

void dk_blk_rings_sleep(struct dk_blk_rings *rings, int64_t timeout_ns)
{
    if (!rings->is_polled)
        dk_blk_ring_sleep(&rings->main, timeout_ns);
    else if (rings->main.in_flight == 0)
        dk_blk_ring_sleep(&rings->side, timeout_ns);
}
