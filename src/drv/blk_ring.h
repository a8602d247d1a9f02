/* SPDX-License-Identifier: MIT */
/*
 * An io_uring of I/Os, and the heap as its registered buffers: what drivers over io_uring have in
 * common.
 *
 * It may be driven by any thread, one at a time; so it has neither SINGLE_ISSUER nor DEFER_TASKRUN,
 * which bind a ring to one thread. Each I/O has one entry on its way, and the ring has room for
 * `depth` of them: an entry is always found. user_data is the I/O.
 */
#ifndef DK_DRV_BLK_RING_H
#define DK_DRV_BLK_RING_H

#include "mem/region.h"
#include "store/blk.h"

#include <liburing.h>

#define DK_BLK_BUFFERS_MAX 1024u

/* Linux 6.15; of several segments in one registered buffer. */
#define DK_BLK_READV_FIXED  60
#define DK_BLK_WRITEV_FIXED 61

/* Entries with room for the command of a device, and completions with its result; Linux 5.19. */
#define DK_BLK_RING_LARGE (IORING_SETUP_SQE128 | IORING_SETUP_CQE32)

struct dk_blk_ring {
    struct io_uring ring;
    uint32_t depth;
    uint32_t in_flight; /* entries without completion, those that rest included */
    bool is_polled;
    bool has_vectors; /* READV_FIXED and WRITEV_FIXED */
    bool is_registered;
    struct dk_registrar registrar;
    bool used[DK_BLK_BUFFERS_MAX];
};

/* flags: IORING_SETUP_... . 0 or a negative errno; *why_out says what to do. */
int dk_blk_ring_open(struct dk_blk_ring *r, uint32_t depth, uint32_t flags, const char **why_out);
void dk_blk_ring_close(struct dk_blk_ring *r);

/* In the child of a fork. */
void dk_blk_ring_abandon(struct dk_blk_ring *r);

/* Whether one can be opened here: nothing is kept open. 0 or a negative errno, and what to do, a
 * constant. */
int dk_blk_ring_probe(uint32_t flags, const char **why_out);

/* Makes the heap known to the kernel, as far as limits allow. The ring stays where it is. */
void dk_blk_ring_register_heap(struct dk_blk_ring *r);

/* The index of the registered buffer that has all segments, or -1. */
int dk_blk_ring_buffer(const struct dk_blk_ring *r, const struct dk_blk_seg segs[], uint32_t n);

/* An entry for an I/O, all zero but for its user_data; NULL: depth are in flight. */
struct io_uring_sqe *dk_blk_ring_sqe(struct dk_blk_ring *r, struct dk_blk_io *io);

/* Another entry for an I/O that is being completed: always there. */
struct io_uring_sqe *dk_blk_ring_again(struct dk_blk_ring *r, struct dk_blk_io *io);

/* Takes a completion: its result, and of a ring with large ones (CQE32) what came with it. May ask
 * for entries. */
typedef void (*dk_blk_ring_fn)(void *arg, struct dk_blk_io *io, int result, uint64_t more);

/* Starts what rests, and hands over the completions that are there. Returns how many; with wait at
 * least one, when any is in flight. */
uint32_t dk_blk_ring_reap(struct dk_blk_ring *r, bool wait, dk_blk_ring_fn take, void *arg);

/* Starts what rests: a descriptor that is readable while completions are there; -1: there are some,
 * or some I/O could not be started now, or there is nothing to sleep on. */
int dk_blk_ring_arm(struct dk_blk_ring *r);

/* Starts what rests, and blocks until there is a completion, a signal, or timeout_ns passed (< 0:
 * never). */
void dk_blk_ring_sleep(struct dk_blk_ring *r, int64_t timeout_ns);

/*
 * The rings of a device: one, or two of a device that is polled. A polled ring
 * (IORING_SETUP_IOPOLL) takes reads and writes only, and none that the block layer has to cut,
 * which it would try for ever (Linux 6.1). The others go to `side` then.
 */
struct dk_blk_rings {
    struct dk_blk_ring main, side;
    bool is_polled;
};

/* Opens the side of a main that is polled and open. 0 or a negative errno. */
int dk_blk_rings_add_side(struct dk_blk_rings *rings, uint32_t flags, const char **why_out);
void dk_blk_rings_close(struct dk_blk_rings *rings);
void dk_blk_rings_abandon(struct dk_blk_rings *rings);

static inline uint32_t dk_blk_rings_in_flight(const struct dk_blk_rings *rings)
{
    return rings->main.in_flight + rings->side.in_flight;
}

/* As dk_blk_ring_sqe, dk_blk_ring_again: on the ring that may have it. */
struct io_uring_sqe *dk_blk_rings_sqe(struct dk_blk_rings *rings, struct dk_blk_io *io,
                                      bool may_poll);
struct io_uring_sqe *dk_blk_rings_again(struct dk_blk_rings *rings, struct dk_blk_io *io);

/* As dk_blk_ring_reap, of both; with wait it may return without any, to be called again. */
void dk_blk_rings_reap(struct dk_blk_rings *rings, bool wait, dk_blk_ring_fn take, void *arg);
int dk_blk_rings_arm(struct dk_blk_rings *rings);
/* As dk_blk_ring_sleep; it does not block while something is polled for. */
void dk_blk_rings_sleep(struct dk_blk_rings *rings, int64_t timeout_ns);

#endif /* DK_DRV_BLK_RING_H */
