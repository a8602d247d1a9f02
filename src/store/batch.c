/* SPDX-License-Identifier: MIT */
/*
 * Making a batch of waiting appends. In memory it is
 *
 *     [header, descriptors, what is gathered, zeros] [segment of the application] [last block] ...
 *
 * and so it is on the device, by one vectored write. A segment is placed, that is, written from
 * where the application has it, when it has whole blocks; of a large one that does not end with a
 * block the last is copied, so that it is in one piece to be read. Everything else is gathered
 * behind the descriptors. What is copied lies in the batch's buffer, last blocks from its end
 * backwards; one record that needs more has memory of its own.
 */
#include "store/log.h"

#include "base/crc32c.h"
#include "mem/heap.h"

#include <errno.h>
#include <string.h>

#define PLACED_WITH_TAIL (32u << 10) /* bytes from which a copied last block pays */

/* How an append is written: dk_log_append.store. */
struct plan {
    uint64_t gathered; /* bytes, each segment rounded up */
    uint64_t placed;   /* bytes on the device of placed segments */
    uint32_t mask;     /* of segments that are placed */
    uint32_t tails;    /* blocks that are copied */
    uint32_t iov;
};

_Static_assert(sizeof(struct plan) <= sizeof(((struct dk_log_append *)0)->store), "has room");

static struct plan *plan_of(struct dk_log_append *append)
{
    return (struct plan *)(void *)append->store;
}

static bool can_be_placed(const struct dk_store *store, const struct dk_log_seg *seg)
{
    struct dk_heap_object object;
    if (seg->len < DK_BLOCK || (seg->len % DK_BLOCK != 0 && seg->len < PLACED_WITH_TAIL))
        return false;
    return (uintptr_t)seg->data % store->dev->caps.mem_align == 0 &&
           dk_heap_find(seg->data, &object);
}

static uint64_t head_bytes(uint32_t records, uint32_t segs, uint64_t gathered)
{
    return dk_round_up(dk_batch_head_bytes(records, segs) + gathered, DK_BLOCK);
}

uint64_t dk_append_plan(const struct dk_store *store, struct dk_log_append *append)
{
    struct plan plan = {0};
    for (uint32_t i = 0; i < append->num_segs; i++) {
        const struct dk_log_seg *seg = &append->segs[i];
        if (!can_be_placed(store, seg)) {
            plan.gathered += dk_round_up(seg->len, DK_BATCH_PLACE_UNIT);
            continue;
        }
        bool tail = seg->len % DK_BLOCK != 0;
        plan.mask |= 1u << i;
        plan.placed += dk_round_up(seg->len, DK_BLOCK);
        plan.tails += tail;
        plan.iov += 1 + tail;
    }
    *plan_of(append) = plan;
    return head_bytes(1, append->num_segs, plan.gathered) + plan.placed;
}

/* What a batch is going to have. */
struct sum {
    uint32_t records, segs, iov, tails;
    uint64_t gathered, placed;
    bool is_async;
};

static uint64_t sum_bytes(const struct sum *s)
{
    return head_bytes(s->records, s->segs, s->gathered) + s->placed;
}

static uint64_t sum_copied(const struct sum *s)
{
    return head_bytes(s->records, s->segs, s->gathered) + (uint64_t)s->tails * DK_BLOCK;
}

static bool sum_fits(const struct sum *s)
{
    return s->records <= DK_BATCH_RECORDS_MAX && s->segs <= DK_BATCH_SEGS_MAX &&
           s->iov < DK_BATCH_IOV && sum_copied(s) <= DK_BATCH_BUFFER &&
           sum_bytes(s) <= DK_BATCH_BYTES;
}

/* Counts the waiting appends that go into one batch of at most `room` bytes. */
static struct sum choose(struct dk_log *log, uint64_t room)
{
    struct sum sum = {.is_async = true};
    struct dk_list *l;
    dk_list_for_each (l, &log->waiting) {
        struct dk_log_append *a = dk_container_of(l, struct dk_log_append, link);
        const struct plan *plan = plan_of(a);
        struct sum more = {
            .records = sum.records + 1,
            .segs = sum.segs + a->num_segs,
            .iov = sum.iov + plan->iov,
            .tails = sum.tails + plan->tails,
            .gathered = sum.gathered + plan->gathered,
            .placed = sum.placed + plan->placed,
            .is_async = sum.is_async && a->is_async,
        };
        if (sum_bytes(&more) > room || (sum.records > 0 && !sum_fits(&more)))
            break;
        sum = more;
    }
    return sum;
}

/* The batch in the making. */
struct maker {
    struct dk_batch *batch;
    struct dk_batch_head *head;
    struct dk_batch_record *record;
    struct dk_batch_seg *seg;
    uint8_t *memory;
    uint64_t gathered_at; /* in memory, and in the batch */
    uint64_t placed_at;   /* in the batch */
    uint64_t tail_at;     /* in memory: the last block that is taken */
    struct dk_store_stats *stats;
};

static uint64_t gather(struct maker *m, const struct dk_log_seg *seg)
{
    uint64_t at = m->gathered_at;
    uint64_t padded = dk_round_up(seg->len, DK_BATCH_PLACE_UNIT);
    if (seg->len > 0)
        memcpy(m->memory + at, seg->data, seg->len);
    memset(m->memory + at + seg->len, 0, padded - seg->len);
    m->gathered_at += padded;
    m->stats->copied_bytes += seg->len;
    return at;
}

static uint64_t place(struct maker *m, const struct dk_log_seg *seg)
{
    uint64_t at = m->placed_at;
    uint32_t tail = seg->len % DK_BLOCK, whole = seg->len - tail;
    struct dk_batch *b = m->batch;
    b->iov[b->num_iov++] = (struct dk_blk_seg){seg->data, whole};
    m->placed_at += whole;
    m->stats->placed_bytes += whole;
    if (tail == 0)
        return at;
    m->tail_at -= DK_BLOCK;
    uint8_t *block = m->memory + m->tail_at;
    memcpy(block, seg->data + whole, tail);
    memset(block + tail, 0, DK_BLOCK - tail);
    b->iov[b->num_iov++] = (struct dk_blk_seg){block, DK_BLOCK};
    m->placed_at += DK_BLOCK;
    m->stats->copied_bytes += tail;
    return at;
}

static void add(struct maker *m, struct dk_log_append *append)
{
    uint32_t mask = plan_of(append)->mask;
    uint32_t sum = 0;
    for (uint32_t i = 0; i < append->num_segs; i++) {
        const struct dk_log_seg *seg = &append->segs[i];
        uint64_t at = mask >> i & 1 ? place(m, seg) : gather(m, seg);
        *m->seg++ = (struct dk_batch_seg){
            .len = seg->len,
            .place = (uint32_t)(at / DK_BATCH_PLACE_UNIT),
        };
        sum = dk_crc32c(sum, seg->data, seg->len);
        m->stats->payload_bytes += seg->len;
    }
    *m->record++ = (struct dk_batch_record){.crc = sum, .segs = append->num_segs};
}

static void make_head(struct dk_batch_head *h, const struct dk_log *log, const struct sum *sum)
{
    const struct dk_segment *s = dk_log_segment(log, log->last);
    const struct dk_geometry *g = &log->store->geometry;
    *h = (struct dk_batch_head){
        .bytes = dk_batch_head_bytes(sum->records, sum->segs),
        .log = log->id,
        .ordinal = s->ordinal,
        .offset = dk_segment_offset(g, log->segs[log->last]) + log->offset,
        .epoch = log->store->epoch,
        .number = log->number + 1,
        .first = log->next,
        .committed = log->durable,
        .records = sum->records,
        .segs = sum->segs,
        .blocks = (uint32_t)(sum_bytes(sum) / DK_BLOCK),
        .chain = log->chain,
    };
    memcpy(h->uuid, g->uuid, sizeof(h->uuid));
}

/* Memory for what is copied: the batch's buffer, which it has from its first use on; or, for a
 * record that needs more, its own. */
static uint8_t *memory_for(struct dk_batch *batch, uint64_t bytes)
{
    if (bytes <= DK_BATCH_BUFFER) {
        if (!batch->buffer)
            batch->buffer = dk_heap_aligned(DK_BLOCK, DK_BATCH_BUFFER);
        return batch->buffer;
    }
    batch->large = dk_heap_aligned(DK_BLOCK, bytes);
    return batch->large;
}

static void fill(struct maker *m, struct dk_log *log, const struct sum *sum)
{
    struct dk_batch *b = m->batch;
    uint64_t head = head_bytes(sum->records, sum->segs, sum->gathered);
    uint64_t payload = m->stats->payload_bytes;
    b->num_iov = 1;
    b->iov[0] = (struct dk_blk_seg){m->memory, (uint32_t)head};
    make_head(m->head, log, sum);
    m->record = dk_batch_records(m->head);
    m->seg = dk_batch_segs(m->head);
    m->gathered_at = m->head->bytes;
    m->placed_at = head;
    for (uint32_t i = 0; i < sum->records; i++) {
        struct dk_list *l = log->waiting.next;
        struct dk_log_append *a = dk_container_of(l, struct dk_log_append, link);
        add(m, a);
        a->record = log->next + i;
        dk_list_del(l);
        dk_list_add_tail(&b->appends, l);
    }
    memset(m->memory + m->gathered_at, 0, head - m->gathered_at);
    m->stats->padding_bytes +=
        sum_bytes(sum) - m->head->bytes - (m->stats->payload_bytes - payload);
    log->chain = dk_batch_seal(m->head);
}

/* Whether a write of this batch alone is enough to make it durable. */
static bool goes_durable(const struct dk_log *log, bool is_async)
{
    if (is_async || !log->store->fua || log->undurable)
        return false;
    const struct dk_list *l = log->in_flight.prev;
    return l == &log->in_flight || dk_container_of(l, struct dk_batch, link)->fua;
}

static void start(struct dk_log *log, struct dk_batch *b, uint64_t at)
{
    b->xfer.op = DK_BLK_WRITE;
    b->xfer.flags = b->fua ? DK_BLK_FUA : 0;
    b->xfer.offset = at;
    b->xfer.bytes = b->bytes;
    b->xfer.segs = b->iov;
    b->xfer.num_segs = b->num_iov;
    b->xfer.done = dk_batch_written;
    b->xfer.arg = b;
    dk_list_del(&b->link);
    dk_list_add_tail(&log->in_flight, &b->link);
    log->num_in_flight++;
    dk_xfer_start(&log->store->xfers, &b->xfer);
}

/* The log, and its segments, as they are behind the batch. */
static void advance(struct dk_log *log, struct dk_batch *b)
{
    struct dk_segment *s = dk_log_segment(log, log->last);
    if (s->first == DK_UNKNOWN) {
        s->first = log->next;
        if (log->last > 0 && dk_log_segment(log, log->last - 1)->end == DK_UNKNOWN)
            dk_log_segment(log, log->last - 1)->end = log->next;
    }
    log->next += b->num_appends;
    log->offset += b->bytes;
    log->number++;
    log->epoch = log->store->epoch;
    b->end = log->next;
    b->limit = log->offset;
}

int dk_batch_send(struct dk_log *log, struct dk_batch *b)
{
    struct dk_store *store = log->store;
    struct sum sum = choose(log, store->geometry.segment_bytes - log->offset);
    if (sum.records == 0)
        return -EFBIG;
    uint64_t copied = sum_copied(&sum);
    uint8_t *memory = memory_for(b, copied);
    if (!memory)
        return -ENOMEM;
    struct maker m = {
        .batch = b,
        .memory = memory,
        .head = (void *)memory,
        .tail_at = copied,
        .stats = store->stats,
    };
    b->log = log;
    b->num_appends = sum.records;
    b->bytes = sum_bytes(&sum);
    b->segment = log->segs[log->last];
    b->written = false;
    b->result = 0;
    b->flush = 0;
    b->is_async = sum.is_async;
    b->fua = goes_durable(log, sum.is_async);
    fill(&m, log, &sum);
    store->stats->appends += sum.records;
    store->stats->batches++;
    uint64_t at = dk_segment_offset(&store->geometry, b->segment) + log->offset;
    advance(log, b);
    start(log, b, at);
    return 0;
}
