/* SPDX-License-Identifier: MIT */
/*
 * Both ends of a link in memory (loop.h).
 *
 * A ring belongs to the end that receives from it: `tail` is that end's, `head` is the sender's.
 * Who is about to sleep sets `armed`, then looks once more; who changes something looks at `armed`
 * afterwards, so that one of the two sees the other (full fences in arm and notify). The same holds
 * for STOP_FULL, which a sender sets that found the ring full.
 *
 * A short frame is copied into one of a few spare buffers, when its receivers have let go of what
 * was in it; else into the slab: making and freeing a view of that costs more. The first few are
 * taken in turn, so that a link with one frame on its way stays in the same cache lines; the others
 * when it has more.
 *
 * Invariant: head - tail <= frames of the ring; slots in between hold a buffer. The link is freed
 * by the end that is closed last.
 */
#include "drv/loop.h"

#include "base/bytes.h"
#include "base/checksum.h"
#include "drv/frame.h"
#include "drv/why.h"
#include "mem/buf_now.h"
#include "mem/heap.h"

#include <errno.h>
#include <stdalign.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define DEFAULT_MTU    1500u
#define MIN_MTU        68u
#define MAX_MTU        65535u
#define DEFAULT_FRAMES 1024u
#define MAX_FRAMES     65536u
#define MAX_BURST      64u
#define SPARES         64u
#define SPARES_FIRST   8u    /* those taken in turn */
#define SPARE_BYTES    2048u /* of a frame that finds room in a spare buffer */

struct ring {
    alignas(64) uint32_t head; /* written by the sender */
    uint32_t full_at;          /* the sender's: a head for which there may be no room */
    uint32_t stop;             /* STOP_... */
    alignas(64) uint32_t tail; /* written by the receiver */
    struct dk_rx_frame *slots;
};

/* What a sender has to look at before it sends. */
#define STOP_CLOSED (1u << 0) /* the receiver is gone */
#define STOP_FULL   (1u << 1) /* the sender waits for room */

struct link;

struct end {
    struct dk_netdev dev;
    struct link *link;
    struct end *peer;
    struct ring rx;        /* what it receives; sent by the peer */
    struct dk_rxslab slab; /* where it copies what it sends */
    struct dk_buf *spares[SPARES];
    int event_fd;
    uint32_t armed;
    uint32_t mask; /* of places in both rings; one more of them, a power of two, there are */
    uint32_t frame_max;
    uint32_t whole_max; /* of a frame that is to be cut */
    uint32_t short_max; /* of a frame that finds room in a spare buffer */
};

struct link {
    uint32_t refs; /* ends that are open */
    uint32_t num_ends;
    struct end ends[2];
};

static struct end *end_of(struct dk_netdev *dev)
{
    return dk_container_of(dev, struct end, dev);
}

/* Partner of the fence in the other end's arm, or send. */
static void fence(void)
{
    if (dk_mt())
        dk_fence();
}

static bool is_set(const uint32_t *flag)
{
    return __atomic_load_n(flag, __ATOMIC_RELAXED) != 0;
}

/* Wakes an end that sleeps. Not inline, as all that is rare: it would cost registers of the rest.
 */
__attribute__((noinline)) static void notify(struct end *end)
{
    const uint64_t one = 1;
    if (!is_set(&end->armed) || __atomic_exchange_n(&end->armed, 0, __ATOMIC_ACQ_REL) == 0)
        return;
    ssize_t n;
    do
        n = write(end->event_fd, &one, sizeof(one));
    while (n < 0 && errno == EINTR);
}

static bool is_stopped(const struct ring *ring, uint32_t why)
{
    return (__atomic_load_n(&ring->stop, __ATOMIC_RELAXED) & why) != 0;
}

static void stop(struct ring *ring, uint32_t why)
{
    __atomic_fetch_or(&ring->stop, why, __ATOMIC_RELEASE);
}

static void go_on(struct ring *ring, uint32_t why)
{
    __atomic_fetch_and(&ring->stop, ~why, __ATOMIC_RELAXED);
}

static uint32_t filled(const struct ring *ring)
{
    return __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE) -
           __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE);
}

static bool has_room(const struct end *end)
{
    return filled(&end->peer->rx) <= end->mask;
}

/* Wakes an end at the end of a function that returns n. */
__attribute__((noinline)) static uint32_t tell(struct end *end, uint32_t n)
{
    notify(end);
    return n;
}

static uint32_t rx_burst(struct dk_netdev *dev, struct dk_rx_frame frames_out[], uint32_t max,
                         int64_t now)
{
    (void)now;
    struct end *end = end_of(dev);
    struct ring *ring = &end->rx;
    const uint32_t mask = end->mask, tail = ring->tail;
    uint32_t n = __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE) - tail;
    uint64_t bytes = 0;
    n = n < max ? n : max;
    if (n == 0)
        return 0;
    for (uint32_t i = 0; i < n; i++) {
        frames_out[i] = ring->slots[(tail + i) & mask];
        bytes += frames_out[i].len;
    }
    dk_frame_count_rx(dev, n, bytes);
    __atomic_store_n(&ring->tail, tail + n, __ATOMIC_RELEASE);
    fence();
    return dk_unlikely(is_stopped(ring, STOP_FULL)) ? tell(end->peer, n) : n;
}

/* Writes the checksum that was left to the device. Zero, which UDP has a meaning for, is the same
 * sum as all ones. */
__attribute__((noinline)) static uint8_t finish_checksum(const struct dk_tx_frame *frame,
                                                         uint8_t *copy, uint32_t bytes)
{
    uint8_t *from = copy + frame->checksum_start;
    const uint32_t sum = dk_checksum_add(0, from, bytes - frame->checksum_start);
    const uint16_t checksum = dk_checksum_finish(sum);
    dk_put_be16(from + frame->checksum_offset, checksum ? checksum : 0xffff);
    return DK_RX_CHECKSUM_UNKNOWN;
}

/* What nobody finished a checksum of was never on a wire. Where the receiver is to verify it is
 * finished, in the copy. */
static inline uint8_t checksum_of(const struct end *end, const struct dk_tx_frame *frame,
                                  uint8_t *copy, uint32_t bytes)
{
    if (frame->checksum_start == 0)
        return DK_RX_CHECKSUM_UNKNOWN;
    return end->dev.caps.flags & DK_NETDEV_RX_CHECKSUM ? DK_RX_CHECKSUM_GOOD
                                                       : finish_checksum(frame, copy, bytes);
}

/* Of the spare buffers that are not taken in turn; NULL: somebody has this one too. */
__attribute__((noinline)) static struct dk_buf *take_other_spare(struct end *end, uint32_t head,
                                                                 uint32_t bytes)
{
    struct dk_buf *buf = end->spares[SPARES_FIRST + head % (SPARES - SPARES_FIRST)];
    return dk_buf_give_out(buf, DK_FRAME_PAD, bytes) ? buf : NULL;
}

/* Returns the spare buffer whose turn it is, for what goes to that place in the ring, with a hold
 * for the receiver; NULL: somebody has it still. */
static inline struct dk_buf *take_spare(struct end *end, uint32_t head, uint32_t bytes)
{
    struct dk_buf *buf = end->spares[head % SPARES_FIRST];
    return dk_buf_give_out(buf, DK_FRAME_PAD, bytes) ? buf : NULL;
}

__attribute__((noinline)) static bool copy_to_slab(struct end *end, const struct dk_tx_frame *frame,
                                                   uint32_t bytes, struct dk_rx_frame *out)
{
    uint8_t *room = dk_frame_room(&end->slab, bytes);
    if (dk_unlikely(!room)) {
        dk_frame_drop_tx(&end->dev, tx_no_memory);
        return false;
    }
    dk_frame_gather(frame, room);
    dk_frame_take(&end->slab, bytes, out);
    return true;
}

/* Copies a frame for a place in the ring. */
static inline bool copy(struct end *end, const struct dk_tx_frame *frame, uint32_t head,
                        uint32_t bytes, struct dk_rx_frame *out)
{
    struct dk_buf *buf = NULL;
    if (bytes <= end->short_max) {
        buf = take_spare(end, head, bytes);
        buf = dk_likely(buf) ? buf : take_other_spare(end, head, bytes);
    }
    if (dk_unlikely(!buf))
        return copy_to_slab(end, frame, bytes, out);
    dk_frame_gather(frame, buf->data);
    *out = (struct dk_rx_frame){.buf = buf, .data = buf->data, .len = bytes};
    return true;
}

/* The longest that this one may be: one that is to be cut reaches the other end as a whole, as a
 * NIC that puts segments together again would give it. */
static inline uint32_t longest(const struct end *end, const struct dk_tx_frame *frame)
{
    return dk_unlikely(frame->segment_bytes != 0) ? end->whole_max : end->frame_max;
}

/* Copies a frame to a place in the ring; returns its bytes, 0 when it was dropped. */
static inline uint32_t fill(struct end *end, const struct dk_tx_frame *frame, uint32_t head)
{
    const uint32_t bytes = dk_tx_frame_bytes(frame);
    if (dk_unlikely(bytes < DK_FRAME_HEADER || bytes > longest(end, frame))) {
        dk_frame_misfit(&end->dev, bytes, longest(end, frame));
        return 0;
    }
    struct dk_rx_frame *slot = &end->peer->rx.slots[head & end->mask];
    if (dk_unlikely(!copy(end, frame, head, bytes, slot)))
        return 0;
    slot->checksum = checksum_of(end, frame, slot->data, bytes);
    return bytes;
}

/* Shows the receiver what was sent since its ring's head was written last. */
static inline void publish(struct end *end, uint32_t head, uint32_t sent, uint64_t bytes)
{
    struct end *peer = end->peer;
    __atomic_store_n(&peer->rx.head, head, __ATOMIC_RELEASE);
    fence();
    if (dk_unlikely(is_set(&peer->armed)))
        notify(peer);
    dk_frame_count_tx(&end->dev, sent, bytes);
}

/* Sends or drops what finds room; returns how many it took. */
static uint32_t send_some(struct end *end, const struct dk_tx_frame frames[], uint32_t n)
{
    struct ring *ring = &end->peer->rx;
    uint32_t head = ring->head, i;
    uint64_t bytes = 0;
    ring->full_at = __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE) + end->mask + 1;
    for (i = 0; i < n && head != ring->full_at; i++) {
        uint32_t len = fill(end, &frames[i], head);
        head += len > 0;
        bytes += len;
    }
    if (head != ring->head)
        publish(end, head, head - ring->head, bytes);
    return i;
}

static uint32_t drop_all(struct dk_netdev *dev, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        dk_frame_drop_tx(dev, tx_link_down);
    return n;
}

__attribute__((noinline)) static uint32_t send_any(struct end *end,
                                                   const struct dk_tx_frame frames[], uint32_t n)
{
    struct dk_netdev *dev = &end->dev;
    struct ring *ring = &end->peer->rx;
    if (dk_unlikely(is_stopped(ring, STOP_CLOSED)))
        return drop_all(dev, n);
    if (dk_unlikely(is_stopped(ring, STOP_FULL)))
        go_on(ring, STOP_FULL);
    uint32_t taken = send_some(end, frames, n);
    if (dk_likely(taken == n))
        return n;
    /* The receiver looks at this after it made room: what came before that is seen here. */
    stop(ring, STOP_FULL);
    fence();
    return taken + send_some(end, frames + taken, n - taken);
}

/* Whether a frame is of a head and at most one piece, which are easy to copy, with nothing left to
 * do for the device. */
static inline bool is_easy(const struct end *end, const struct dk_tx_frame *frame, uint32_t payload)
{
    return frame->num_pieces <= 1 && dk_frame_is_easy(frame->head_len) &&
           (dk_frame_is_easy(payload) || payload == 0) &&
           frame->head_len + payload <= end->short_max &&
           (frame->checksum_start == 0 || end->dev.caps.flags & DK_NETDEV_RX_CHECKSUM);
}

/* Sends one frame that is easy where nothing is in the way: as send_any, at a third of its cost.
 * Whoever is called from here is called last, so that no register has to be kept. */
static uint32_t tx_burst(struct dk_netdev *dev, const struct dk_tx_frame frames[], uint32_t n,
                         int64_t now)
{
    (void)now;
    struct end *end = end_of(dev), *peer = end->peer;
    struct ring *ring = &peer->rx;
    if (dk_unlikely(n != 1))
        return send_any(end, frames, n);
    const uint32_t head = ring->head, payload = frames->num_pieces ? frames->pieces[0].len : 0;
    const uint32_t bytes = frames->head_len + payload;
    if (is_stopped(ring, STOP_CLOSED | STOP_FULL) || head == ring->full_at ||
        !is_easy(end, frames, payload))
        return send_any(end, frames, 1);
    struct dk_buf *buf = take_spare(end, head, bytes);
    if (dk_unlikely(!buf))
        return send_any(end, frames, 1);
    uint8_t *data = buf->data;
    ring->slots[head & end->mask] =
        (struct dk_rx_frame){buf, data, bytes, frames->checksum_start != 0};
    dk_frame_count_tx(&end->dev, 1, bytes);
    data = dk_frame_copy_easy(data, frames->head, frames->head_len);
    if (dk_likely(payload != 0))
        dk_frame_copy_easy(data, frames->pieces[0].data, payload);
    __atomic_store_n(&ring->head, head + 1, __ATOMIC_RELEASE);
    fence();
    return dk_unlikely(is_set(&peer->armed)) ? tell(peer, 1) : 1;
}

/* Whether there is something to do right now. Room is reported once, as an event is. */
static bool is_ready(struct end *end)
{
    if (filled(&end->rx) > 0)
        return true;
    struct ring *ring = &end->peer->rx;
    if (!is_stopped(ring, STOP_FULL) || (!has_room(end) && !is_stopped(ring, STOP_CLOSED)))
        return false;
    go_on(ring, STOP_FULL);
    return true;
}

static int arm(struct dk_netdev *dev)
{
    struct end *end = end_of(dev);
    uint64_t count;
    if (read(end->event_fd, &count, sizeof(count)) < 0 && errno != EAGAIN && errno != EINTR)
        return -1;
    __atomic_store_n(&end->armed, 1, __ATOMIC_RELAXED);
    fence();
    return is_ready(end) ? -1 : end->event_fd;
}

static enum dk_link link_state(struct dk_netdev *dev)
{
    return is_stopped(&end_of(dev)->peer->rx, STOP_CLOSED) ? DK_LINK_DOWN : DK_LINK_UP;
}

static void free_end(struct end *end)
{
    struct ring *ring = &end->rx;
    for (uint32_t i = ring->tail; ring->slots && i != ring->head; i++)
        dk_buf_put(ring->slots[i & end->mask].buf);
    if (ring->slots)
        dk_heap_free(ring->slots);
    for (uint32_t i = 0; i < SPARES && end->spares[i]; i++)
        dk_buf_give_up(end->spares[i]);
    dk_frame_slab_close(&end->slab);
    if (end->event_fd >= 0)
        close(end->event_fd);
}

static void free_link(struct link *link)
{
    for (uint32_t i = 0; i < link->num_ends; i++)
        free_end(&link->ends[i]);
    dk_heap_free(link);
}

static void close_end(struct dk_netdev *dev)
{
    struct end *end = end_of(dev);
    stop(&end->rx, STOP_CLOSED);
    fence();
    notify(end->peer); /* the link is down */
    if (dk_sub_u32(&end->link->refs, 1) == 0)
        free_link(end->link);
}

/* Of a link with two ends the other is abandoned by its own owner. */
static void abandon(struct dk_netdev *dev)
{
    close(end_of(dev)->event_fd);
}

static const struct dk_netdev_ops ops = {
    .name = "loop",
    .rx_burst = rx_burst,
    .tx_burst = tx_burst,
    .arm = arm,
    .link = link_state,
    .close = close_end,
    .abandon = abandon,
};

static bool open_spares(struct end *end)
{
    for (uint32_t i = 0; i < SPARES; i++) {
        end->spares[i] = dk_buf_alloc_device(DK_FRAME_PAD + SPARE_BYTES, DK_BUF_PEER_BYTES);
        if (!end->spares[i])
            return false;
    }
    return true;
}

static bool open_end(struct end *end, const struct dk_loop_options *options)
{
    end->slab = (struct dk_rxslab){0};
    end->rx.slots = dk_heap_zalloc((end->mask + (size_t)1) * sizeof(*end->rx.slots));
    end->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return end->rx.slots && end->event_fd >= 0 && open_spares(end) &&
           dk_frame_slab_open(&end->slab, options->rx_pool_bytes, end->whole_max);
}

static uint32_t power_of_two(uint32_t n)
{
    uint32_t power = 1;
    while (power < n)
        power *= 2;
    return power;
}

static void init_end(struct end *end, const struct dk_loop_options *options, uint32_t index)
{
    static const struct dk_mac defaults[2] = {{{2, 0, 0, 0, 0, 1}}, {{2, 0, 0, 0, 0, 2}}};
    static const struct dk_mac none;
    const struct dk_mac *mac = index == 0 ? &options->mac : &options->peer;
    end->mask = power_of_two(options->ring_frames ? options->ring_frames : DEFAULT_FRAMES) - 1;
    end->frame_max = dk_frame_max(options->mtu ? options->mtu : DEFAULT_MTU);
    end->whole_max = options->offloads & DK_NETDEV_TSO ? dk_frame_max(MAX_MTU) : end->frame_max;
    end->dev.caps.flags = options->offloads;
    end->short_max = end->frame_max < SPARE_BYTES ? end->frame_max : SPARE_BYTES;
    end->dev.ops = &ops;
    end->dev.stats = &end->dev.own_stats;
    end->dev.caps.mac = dk_mac_equal(mac, &none) ? defaults[index] : *mac;
    end->dev.caps.mtu = end->frame_max - dk_frame_max(0);
    end->dev.caps.max_burst = MAX_BURST;
    end->event_fd = -1;
    end->rx.stop = 0;
    end->rx.full_at = end->mask + 1;
}

static int check(const struct dk_loop_options *o, const char **why_out)
{
    if (o->mtu && (o->mtu < MIN_MTU || o->mtu > MAX_MTU))
        return dk_why(why_out, -EINVAL, "loop: an MTU of %u: it is %u to %u", o->mtu, MIN_MTU,
                      MAX_MTU);
    if (o->ring_frames > MAX_FRAMES)
        return dk_why(why_out, -EINVAL, "loop: a ring of %u frames: at most %u", o->ring_frames,
                      MAX_FRAMES);
    return 0;
}

/* Opens a link with one or two ends. */
static int open_link(struct link **link_out, const struct dk_loop_options *options, uint32_t ends,
                     const char **why_out)
{
    int r = check(options, why_out);
    if (r < 0)
        return r;
    struct link *link = dk_heap_aligned(64, sizeof(*link)); /* freed by the last end's close */
    if (!link)
        return dk_why(why_out, -ENOMEM, "loop: no memory");
    memset(link, 0, sizeof(*link));
    link->refs = link->num_ends = ends;
    for (uint32_t i = 0; i < ends; i++) {
        link->ends[i].link = link;
        link->ends[i].peer = &link->ends[ends - 1 - i];
        init_end(&link->ends[i], options, i);
    }
    for (uint32_t i = 0; i < ends; i++) {
        errno = ENOMEM;
        if (open_end(&link->ends[i], options))
            continue;
        r = dk_why(why_out, -errno, "loop: no memory or descriptors for a link: %s",
                   strerror(errno));
        free_link(link);
        return r;
    }
    *link_out = link;
    return 0;
}

int dk_loop_open(struct dk_netdev **dev_out, const struct dk_loop_options *options,
                 const char **why_out)
{
    struct link *link;
    int r = open_link(&link, options, 1, why_out);
    if (r == 0)
        *dev_out = &link->ends[0].dev;
    return r;
}

int dk_loop_open_pair(struct dk_netdev *devs_out[2], const struct dk_loop_options *options,
                      const char **why_out)
{
    struct link *link;
    int r = open_link(&link, options, 2, why_out);
    for (uint32_t i = 0; r == 0 && i < 2; i++)
        devs_out[i] = &link->ends[i].dev;
    return r;
}
