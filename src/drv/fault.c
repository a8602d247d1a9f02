/* SPDX-License-Identifier: MIT */
/*
 * Faults on order (fault.h).
 *
 * Each direction (`struct lane`) has a generator, and a heap of held frames. The fate of a frame is
 * drawn once: a sender's frame that finds no room below keeps it until it is offered again
 * (`has_fate`), because the caller offers the same frame then.
 *
 * Invariant: the heap is ordered by (due, number), and numbers grow, so frames that are due
 * together come in the order in which they were held. Each held frame has one hold on a buffer, a
 * copy.
 */
#include "drv/fault.h"

#include "drv/bottleneck.h"
#include "drv/frame.h"
#include "drv/inner.h"
#include "drv/why.h"
#include "mem/heap.h"

#include <errno.h>

#define DEFAULT_HOLD    4096u
#define MAX_HOLD        65536u
#define MAX_BURST       64u
#define DEFAULT_REORDER 100000 /* ns */
#define MAX_TIME_NS     (INT64_C(3600) * 1000000000)
#define MIN_RATE        1000u

struct fate {
    bool lost, corrupted, marked, refused, delayed, reordered, duplicated;
    uint64_t bit;         /* to turn over, modulo those of the frame */
    int64_t late_ns;      /* of the frame, with what it waits for the link */
    int64_t copy_late_ns; /* of the duplicate */
};

struct held {
    int64_t due;
    uint64_t number;
    struct dk_rx_frame frame;
};

struct lane {
    struct dk_fault_rates rates;
    struct dk_bottleneck bottleneck;
    uint64_t state; /* of the generator */
    struct fate fate;
    bool has_fate; /* of the frame that is offered next */
    bool no_room;  /* below, for what is due: waits until there is */
    uint32_t num_held;
    uint64_t next_number;
    struct held *heap;
};

struct fault {
    struct dk_netdev dev;
    struct dk_rxslab slab;
    uint32_t max_held;
    int64_t last_now;
    uint32_t num_came, came_next; /* frames of `came` from came_next on have no fate yet */
    struct dk_rx_frame came[MAX_BURST];
    struct lane rx, tx;
};

static struct fault *fault_of(struct dk_netdev *dev)
{
    return dk_container_of(dev, struct fault, dev);
}

/* splitmix64 */
static uint64_t draw(struct lane *lane)
{
    uint64_t x = lane->state += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static uint64_t draw_below(struct lane *lane, uint64_t bound)
{
    return draw(lane) % bound; /* bound is far below 2^64: the bias does not matter */
}

static bool draw_rate(struct lane *lane, uint32_t rate)
{
    return draw_below(lane, DK_FAULT_ALWAYS) < rate;
}

/* Always the same number of draws. */
static struct fate draw_fate(struct lane *lane)
{
    const struct dk_fault_rates *rates = &lane->rates;
    struct fate fate = {.lost = draw_rate(lane, rates->loss),
                        .corrupted = draw_rate(lane, rates->corrupt)};
    fate.bit = draw(lane);
    fate.delayed = draw_rate(lane, rates->delay);
    fate.late_ns = rates->delay_ns + (int64_t)draw_below(lane, (uint64_t)rates->jitter_ns + 1);
    fate.copy_late_ns = rates->delay_ns + (int64_t)draw_below(lane, (uint64_t)rates->jitter_ns + 1);
    fate.reordered = draw_rate(lane, rates->reorder);
    fate.duplicated = draw_rate(lane, rates->duplicate);
    fate.marked = draw_rate(lane, rates->mark);
    if (!fate.delayed)
        fate.late_ns = fate.copy_late_ns = 0;
    if (fate.reordered)
        fate.late_ns += rates->reorder_ns;
    return fate;
}

/* The fate of a frame that comes now. What is lost takes no time of the link. */
static struct fate decide(struct lane *lane, uint32_t bytes, int64_t now)
{
    struct fate fate = draw_fate(lane);
    int64_t left;
    if (fate.lost)
        return fate;
    fate.refused = !dk_bottleneck_pass(&lane->bottleneck, bytes, now, &left);
    fate.late_ns += left - now;
    fate.copy_late_ns += left - now;
    return fate;
}

/* One that is offered a second time has its fate, and was not to wait: it found no room below. */
static const struct fate *fate_of_next(struct lane *lane, uint32_t bytes, int64_t now)
{
    if (!lane->has_fate)
        lane->fate = decide(lane, bytes, now);
    lane->has_fate = true;
    return &lane->fate;
}

static void count_fate(struct fault *f, const struct fate *fate)
{
    struct dk_netdev_stats *stats = f->dev.stats;
    if (fate->lost) {
        dk_count(&stats->fault_lost, 1);
        return;
    }
    if (fate->refused) {
        dk_count(&stats->fault_queue_full, 1);
        return;
    }
    dk_count(&stats->fault_corrupted, fate->corrupted);
    dk_count(&stats->fault_delayed, fate->delayed);
    dk_count(&stats->fault_reordered, fate->reordered);
    dk_count(&stats->fault_duplicated, fate->duplicated);
}

static bool is_before(const struct held *a, const struct held *b)
{
    return a->due != b->due ? a->due < b->due : a->number < b->number;
}

static void heap_add(struct lane *lane, struct held held)
{
    uint32_t i = lane->num_held++;
    for (uint32_t up; i > 0; i = up) {
        up = (i - 1) / 2;
        if (!is_before(&held, &lane->heap[up]))
            break;
        lane->heap[i] = lane->heap[up];
    }
    lane->heap[i] = held;
}

static void heap_remove_first(struct lane *lane)
{
    struct held last = lane->heap[--lane->num_held];
    uint32_t i = 0;
    for (uint32_t down; (down = 2 * i + 1) < lane->num_held; i = down) {
        if (down + 1 < lane->num_held && is_before(&lane->heap[down + 1], &lane->heap[down]))
            down++;
        if (!is_before(&lane->heap[down], &last))
            break;
        lane->heap[i] = lane->heap[down];
    }
    lane->heap[i] = last;
}

static bool has_due(const struct lane *lane, int64_t now)
{
    return lane->num_held > 0 && lane->heap[0].due <= now;
}

/* Copies a frame, marked and with its bit turned over: false without memory. */
static bool copy(struct fault *f, const struct dk_tx_frame *frame, const struct fate *fate,
                 struct dk_rx_frame *out)
{
    uint32_t bytes = dk_tx_frame_bytes(frame);
    uint8_t *room = dk_frame_room(&f->slab, bytes);
    if (!room)
        return false;
    dk_frame_gather(frame, room);
    dk_frame_take(&f->slab, bytes, out);
    if (fate->marked)
        dk_count(&f->dev.stats->fault_marked, dk_mark_congestion(out->data, bytes));
    if (fate->corrupted && bytes > 0) {
        uint64_t bit = fate->bit % ((uint64_t)bytes * 8);
        out->data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    return true;
}

/* Holds a copy of a frame until `due`, or drops it and counts that. */
static void hold(struct fault *f, struct lane *lane, const struct dk_tx_frame *frame,
                 const struct fate *fate, uint8_t checksum, int64_t due)
{
    struct held held = {.due = due, .number = lane->next_number++};
    if (lane->num_held == f->max_held || !copy(f, frame, fate, &held.frame)) {
        dk_count(&f->dev.stats->fault_overflow, 1);
        return;
    }
    held.frame.checksum = fate->corrupted ? DK_RX_CHECKSUM_UNKNOWN : checksum;
    heap_add(lane, held);
}

/* Whether a frame with this fate goes on as it is, at once. */
static bool is_untouched(const struct fate *fate)
{
    return !fate->lost && !fate->refused && !fate->corrupted && !fate->marked && fate->late_ns == 0;
}

/* What a fate does to a frame: true when the frame itself goes on at once; a duplicate is held then
 * too, and comes behind it. */
static bool suffer(struct fault *f, struct lane *lane, const struct dk_tx_frame *frame,
                   const struct fate *fate, uint8_t checksum, int64_t now)
{
    bool goes_on = is_untouched(fate);
    count_fate(f, fate);
    if (fate->lost || fate->refused)
        return false;
    if (!goes_on)
        hold(f, lane, frame, fate, checksum, now + fate->late_ns);
    if (fate->duplicated)
        hold(f, lane, frame, fate, checksum, now + fate->copy_late_ns);
    return goes_on;
}

/* Bytes of a frame that travel as its head; the rest is a piece with a buffer. */
#define HEAD_BYTES 64u

static bool send_held(struct fault *f, const struct held *held, int64_t now)
{
    struct dk_netdev *inner = f->dev.inner;
    struct dk_tx_frame frame = {.head = held->frame.data, .head_len = held->frame.len};
    if (held->frame.len > HEAD_BYTES) {
        frame.head_len = HEAD_BYTES;
        frame.num_pieces = 1;
        frame.pieces[0] = (struct dk_tx_piece){held->frame.data + HEAD_BYTES,
                                               held->frame.len - HEAD_BYTES, held->frame.buf};
    }
    return inner->ops->tx_burst(inner, &frame, 1, now) == 1;
}

/* Sends what is due: false when there was no room for all of it. */
static bool send_due(struct fault *f, int64_t now)
{
    struct lane *lane = &f->tx;
    f->last_now = now;
    lane->no_room = false;
    while (has_due(lane, now)) {
        if (!send_held(f, &lane->heap[0], now)) {
            lane->no_room = true;
            return false;
        }
        dk_buf_put(lane->heap[0].frame.buf);
        heap_remove_first(lane);
    }
    return true;
}

/* Sends, holds or drops one frame: false when there was no room. */
static bool send_one(struct fault *f, const struct dk_tx_frame *frame, int64_t now)
{
    struct dk_netdev *inner = f->dev.inner;
    const struct fate *fate = fate_of_next(&f->tx, dk_tx_frame_bytes(frame), now);
    if (is_untouched(fate) && inner->ops->tx_burst(inner, frame, 1, now) == 0)
        return false;
    suffer(f, &f->tx, frame, fate, DK_RX_CHECKSUM_UNKNOWN, now);
    f->tx.has_fate = false;
    /* What is due already (a duplicate, one that was corrupted) is not overtaken by the next. */
    send_due(f, now);
    return true;
}

static uint32_t tx_burst(struct dk_netdev *dev, const struct dk_tx_frame frames[], uint32_t n,
                         int64_t now)
{
    struct fault *f = fault_of(dev);
    if (!send_due(f, now))
        return 0;
    uint32_t i = 0;
    while (i < n && !f->tx.no_room && send_one(f, &frames[i], now))
        i++;
    return i;
}

/* Gives out what is due; returns how many. */
static uint32_t receive_due(struct lane *lane, struct dk_rx_frame frames_out[], uint32_t max,
                            int64_t now)
{
    uint32_t n = 0;
    while (n < max && has_due(lane, now)) {
        frames_out[n++] = lane->heap[0].frame;
        heap_remove_first(lane);
    }
    return n;
}

/* Whether a frame that came goes on at once; if not, it is let go. */
static bool receive_one(struct fault *f, const struct dk_rx_frame *frame, int64_t now)
{
    const struct dk_tx_frame bytes = {.head = frame->data, .head_len = frame->len};
    const struct fate fate = decide(&f->rx, frame->len, now);
    if (suffer(f, &f->rx, &bytes, &fate, frame->checksum, now))
        return true;
    dk_buf_put(frame->buf);
    return false;
}

/* Sees to it that there is a frame that came and has no fate yet. */
static bool refill(struct fault *f, int64_t now)
{
    if (f->came_next < f->num_came)
        return true;
    f->came_next = 0;
    f->num_came = f->dev.inner->ops->rx_burst(f->dev.inner, f->came, MAX_BURST, now);
    return f->num_came > 0;
}

static uint32_t rx_burst(struct dk_netdev *dev, struct dk_rx_frame frames_out[], uint32_t max,
                         int64_t now)
{
    struct fault *f = fault_of(dev);
    send_due(f, now);
    uint32_t n = receive_due(&f->rx, frames_out, max, now);
    /* What is lost counts: a flood ends too. */
    for (uint32_t looked = 0; looked < max && n < max && refill(f, now); looked++) {
        const struct dk_rx_frame *frame = &f->came[f->came_next++];
        if (receive_one(f, frame, now))
            frames_out[n++] = *frame;
        n += receive_due(&f->rx, &frames_out[n], max - n, now); /* its copy, right behind it */
    }
    return n;
}

static uint32_t reclaim(struct dk_netdev *dev, int64_t now)
{
    send_due(fault_of(dev), now);
    return dk_inner_reclaim(dev, now);
}

static int arm(struct dk_netdev *dev)
{
    struct fault *f = fault_of(dev);
    if (f->came_next < f->num_came || has_due(&f->rx, f->last_now) ||
        (!f->tx.no_room && has_due(&f->tx, f->last_now)))
        return -1;
    return dk_inner_arm(dev);
}

static int64_t next_due(struct dk_netdev *dev)
{
    struct fault *f = fault_of(dev);
    int64_t due = dk_inner_next_due(dev);
    if (f->rx.num_held > 0 && f->rx.heap[0].due < due)
        due = f->rx.heap[0].due;
    if (f->tx.num_held > 0 && !f->tx.no_room && f->tx.heap[0].due < due)
        due = f->tx.heap[0].due; /* without room, the device below wakes us */
    return due;
}

static void free_lane(struct lane *lane)
{
    for (uint32_t i = 0; i < lane->num_held; i++)
        dk_buf_put(lane->heap[i].frame.buf);
    if (lane->heap)
        dk_heap_free(lane->heap);
}

/* Frees the decorator, but not what it is over. */
static void free_fault(struct fault *f)
{
    while (f->came_next < f->num_came)
        dk_buf_put(f->came[f->came_next++].buf);
    free_lane(&f->rx);
    free_lane(&f->tx);
    dk_frame_slab_close(&f->slab);
    dk_heap_free(f);
}

static void close_fault(struct dk_netdev *dev)
{
    dev->inner->ops->close(dev->inner); /* it may count in what is ours */
    free_fault(fault_of(dev));
}

static const struct dk_netdev_ops ops = {
    .name = "fault",
    .rx_burst = rx_burst,
    .tx_burst = tx_burst,
    .reclaim = reclaim,
    .arm = arm,
    .next_due = next_due,
    .link = dk_inner_link,
    .close = close_fault,
    .abandon = dk_inner_abandon,
};

static int check_link(const struct dk_fault_rates *r, const char **why_out)
{
    if (r->rate_bps != 0 && (r->rate_bps < MIN_RATE || r->rate_bps > DK_BOTTLENECK_RATE_MAX))
        return dk_why(why_out, -EINVAL, "fault: %llu bits per second: from 1kbit to 1000Gbit",
                      (unsigned long long)r->rate_bps);
    if (r->queue_bytes > DK_BOTTLENECK_QUEUE_MAX)
        return dk_why(why_out, -EINVAL, "fault: a queue of %llu bytes: at most 1G",
                      (unsigned long long)r->queue_bytes);
    return 0;
}

static int check_rates(const struct dk_fault_rates *r, const char **why_out)
{
    const uint32_t rates[] = {r->loss, r->corrupt, r->mark, r->delay, r->reorder, r->duplicate};
    const int64_t times[] = {r->delay_ns, r->jitter_ns, r->reorder_ns};
    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++)
        if (rates[i] > DK_FAULT_ALWAYS)
            return dk_why(why_out, -EINVAL, "fault: a rate of %u parts per million", rates[i]);
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++)
        if (times[i] < 0 || times[i] > MAX_TIME_NS)
            return dk_why(why_out, -EINVAL, "fault: a delay of %lld ns: 0 to an hour",
                          (long long)times[i]);
    return check_link(r, why_out);
}

static int check(const struct dk_fault_options *o, const char **why_out)
{
    int r = check_rates(&o->rx, why_out);
    if (r == 0)
        r = check_rates(&o->tx, why_out);
    if (r == 0 && o->hold_frames > MAX_HOLD)
        r = dk_why(why_out, -EINVAL, "fault: %u frames to hold: at most %u", o->hold_frames,
                   MAX_HOLD);
    return r;
}

/* Generators of both directions start far from each other. */
static bool set_up_lane(struct fault *f, struct lane *lane, const struct dk_fault_rates *rates,
                        uint64_t seed)
{
    lane->rates = *rates;
    if (lane->rates.reorder_ns == 0)
        lane->rates.reorder_ns = DEFAULT_REORDER;
    lane->bottleneck = (struct dk_bottleneck){
        .rate_bps = rates->rate_bps,
        .queue_bytes = rates->queue_bytes ? rates->queue_bytes : DK_BOTTLENECK_QUEUE,
        .free_at = INT64_MIN};
    lane->state = seed;
    lane->state = draw(lane);
    lane->heap = dk_heap_malloc(f->max_held * sizeof(*lane->heap)); /* freed by free_lane */
    return lane->heap != NULL;
}

int dk_fault_open(struct dk_netdev **dev_out, struct dk_netdev *inner,
                  const struct dk_fault_options *options, const char **why_out)
{
    int r = check(options, why_out);
    if (r < 0)
        return r;
    struct fault *f = dk_heap_zalloc(sizeof(*f)); /* freed by close */
    if (!f)
        return dk_why(why_out, -ENOMEM, "fault: no memory");
    dk_inner_init(&f->dev, &ops, inner);
    f->dev.caps.flags &= ~(DK_NETDEV_TX_CHECKSUM | DK_NETDEV_TSO);
    f->max_held = options->hold_frames ? options->hold_frames : DEFAULT_HOLD;
    if (!set_up_lane(f, &f->rx, &options->rx, options->seed) ||
        !set_up_lane(f, &f->tx, &options->tx, ~options->seed) ||
        !dk_frame_slab_open(&f->slab, options->hold_bytes, dk_frame_max(inner->caps.mtu))) {
        free_fault(f);
        return dk_why(why_out, -ENOMEM, "fault: no memory to hold frames in");
    }
    *dev_out = &f->dev;
    return 0;
}
