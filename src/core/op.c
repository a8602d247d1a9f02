/* SPDX-License-Identifier: MIT */
/*
 * The token table and the life of an operation (op.h).
 */
#include "core/op.h"

#include "core/instance.h"
#include "core/thread.h"
#include "core/wait.h"
#include "mem/watch.h"
#include "os/pages.h"

#include <errno.h>

_Static_assert(sizeof(struct dk_op) == 256, "the size of a slot is a power of two");
_Static_assert(offsetof(struct dk_op, qr) == 64, "what waiting looks at stands in one cache line");

struct dk_op *dk_ops;
uint32_t dk_op_mask;

static struct {
    struct dk_lock lock;
    uint32_t used; /* slots given to instances */
    uint32_t max;
    uint64_t first_generation; /* beyond those of earlier tables: their tokens stay stale */
} table = {.first_generation = DK_OP_ONE_GENERATION};

static size_t table_bytes(void)
{
    return ((size_t)dk_op_mask + 1) * sizeof(struct dk_op);
}

int dk_op_table_init(uint32_t max_tokens)
{
    uint32_t size = DK_OP_BATCH;
    while (size < max_tokens && size < 1u << DK_OP_SLOT_BITS)
        size *= 2;
    dk_op_mask = size - 1;
    dk_ops = dk_pages_reserve(table_bytes());
    table.used = 0;
    table.max = max_tokens < DK_OP_MAX_SLOTS ? max_tokens : DK_OP_MAX_SLOTS;
    return dk_ops ? 0 : -ENOMEM;
}

/* What a push lent is the application's again. */
static inline void end_watch(const struct dk_op *op)
{
    if (dk_unlikely(dk_watch_on))
        dk_watch_end(dk_op_token(op), op->queue->anywhere);
}

/* A result that nobody collected: its element, and its hold on the queue. */
static void drop_result(struct dk_op *op)
{
    if (op->state != DK_OP_DONE)
        return;
    end_watch(op);
    if (op->qr.qr_opcode == DEMI_OPC_POP && dk_op_sga(op)->sga_buf)
        dk_buf_app_put(dk_op_sga(op)->sga_buf);
    dk_queue_put(op->queue);
}

void dk_op_table_fini(void)
{
    for (uint32_t i = 0; i < table.used; i++) {
        uint64_t generation = dk_ops[i].qr.qr_qt & ~(uint64_t)DK_OP_MAX_SLOTS;
        drop_result(&dk_ops[i]);
        if (generation >= table.first_generation && generation + DK_OP_ONE_GENERATION != 0)
            table.first_generation = generation + DK_OP_ONE_GENERATION;
    }
    for (uint32_t i = 0; i < table.used; i += DK_OP_BATCH) {
        uint32_t n = table.used - i < DK_OP_BATCH ? table.used - i : DK_OP_BATCH;
        dk_pages_drop_root(&dk_ops[i], n * sizeof(struct dk_op));
    }
    dk_pages_release(dk_ops, table_bytes());
    dk_op_table_abandon();
}

void dk_op_table_abandon(void)
{
    dk_ops = NULL;
    table.used = 0;
    table.lock.word = 0;
}

/* Puts a slot before the other free ones; nothing is fresh, and `tokens` is held. */
static inline void put_free(struct dk_instance *inst, struct dk_op *op)
{
    op->free_gen = dk_op_generation(op);
    op->next_free = inst->free_ops;
    inst->free_ops = op;
}

void dk_op_count_fast_slow(struct dk_instance *inst)
{
    struct dk_op *first = inst->free_ops;
    uint32_t uses = dk_op_generation(first) - first->free_gen;
    dk_count(&inst->stats->completions, uses);
    first->free_gen += uses;
}

/* Gives inst one batch of slots; `tokens` is held. */
static int grow(struct dk_instance *inst)
{
    dk_lock(&table.lock);
    uint32_t first = table.used;
    uint32_t n = table.max - first < DK_OP_BATCH ? table.max - first : DK_OP_BATCH;
    table.used += n;
    if (n)
        dk_pages_add_root(&dk_ops[first], n * sizeof(struct dk_op));
    dk_unlock(&table.lock);
    for (uint32_t i = n; i-- > 0;) {
        struct dk_op *op = &dk_ops[first + i];
        op->inst = inst;
        op->issuer = dk_thread_id();
        op->qr.qr_qt = table.first_generation | (first + i);
        put_free(inst, op);
    }
    return n ? 0 : -ENOMEM;
}

void dk_op_settle_slow(struct dk_instance *inst)
{
    struct dk_op *op = inst->fresh;
    dk_op_count_fast(inst);
    inst->fresh = NULL;
    inst->free_ops = op->next_free;
    op->qr.qr_ret = 0;
    op->issuer = inst->fast_thread;
    op->state = DK_OP_DONE;
    op->internal = op->addr_len = op->held = 0;
    dk_add_u32(&op->queue->holds, 1);
    dk_list_add_tail(&inst->ready, &op->link);
    dk_count(&inst->stats->completions, 1);
}

/* Takes a free slot; `tokens` is held. */
static struct dk_op *take_slot(struct dk_instance *inst, struct dk_queue *q,
                               enum demi_opcode opcode)
{
    dk_op_settle(inst);
    if (dk_unlikely(!inst->free_ops) && grow(inst) < 0)
        return NULL;
    return dk_op_take_free(inst, q, opcode);
}

bool dk_op_reserve_slow(struct dk_instance *inst)
{
    dk_lock(&inst->tokens);
    dk_op_settle(inst);
    if (inst->free_ops || grow(inst) == 0) {
        dk_op_count_fast(inst);
        inst->reserve = inst->free_ops;
        inst->free_ops = inst->reserve->next_free;
    }
    dk_unlock(&inst->tokens);
    return inst->reserve != NULL;
}

void dk_op_use_reserve(struct dk_instance *inst)
{
    put_free(inst, inst->reserve);
    inst->reserve = NULL;
}

int dk_op_alloc(struct dk_op **op_out, struct dk_instance *inst, struct dk_queue *q,
                enum demi_opcode opcode)
{
    dk_lock(&inst->tokens);
    struct dk_op *op = take_slot(inst, q, opcode);
    dk_unlock(&inst->tokens);
    if (dk_unlikely(!op)) {
        dk_queue_put(q);
        return -ENOMEM;
    }
    *op_out = op;
    return 0;
}

int dk_op_alloc_internal(struct dk_op **op_out, struct dk_instance *inst, struct dk_queue *q,
                         enum demi_opcode opcode, struct dk_sink *sink)
{
    dk_add_u32(&q->holds, 1);
    int r = dk_op_alloc(op_out, inst, q, opcode);
    if (r < 0)
        return r;
    (*op_out)->internal = 1;
    (*op_out)->sink = sink;
    return 0;
}

int dk_op_hold(struct dk_op *op, const demi_sgarray_t *sga)
{
    demi_sgarray_t *own = dk_op_sga(op);
    if (op->held)
        return 0;
    if (own != sga)
        dk_sga_copy(own, sga);
    if (op->buf) {
        dk_buf_get(op->buf);
    } else {
        int r = dk_sga_gather(own, &op->buf);
        if (r < 0)
            return r;
    }
    op->held = 1;
    return 0;
}

/* Puts a slot on the free list, or retires it; nothing is fresh, and `tokens` is held. */
static void free_slot(struct dk_op *op)
{
    op->state = DK_OP_FREE;
    demi_qtoken_t next;
    if (dk_unlikely(__builtin_add_overflow(op->qr.qr_qt, DK_OP_ONE_GENERATION, &next)))
        return;
    op->qr.qr_qt = next;
    put_free(op->inst, op);
}

void dk_op_drop_hold(struct dk_op *op)
{
    if (op->held) {
        op->held = 0;
        dk_buf_put(op->buf);
    }
}

void dk_op_release(struct dk_op *op)
{
    struct dk_queue *q = op->queue;
    end_watch(op);
    dk_op_drop_hold(op);
    dk_lock(&op->inst->tokens);
    dk_op_settle(op->inst);
    dk_op_count_fast(op->inst);
    free_slot(op);
    dk_unlock(&op->inst->tokens);
    dk_queue_put(q);
}

void dk_op_collected(struct dk_op *op)
{
    dk_list_del(&op->link);
    end_watch(op);
    free_slot(op);
    dk_queue_put(op->queue);
}

void dk_op_complete(struct dk_op *op, int error)
{
    struct dk_instance *inst = op->inst;
    const bool alone = dk_alone_is();
    if (dk_unlikely(op->internal)) {
        op->sink->done(op->sink, op, error);
        op->waiter = NULL; /* the slot's next user may look at it */
        dk_op_release(op);
        return;
    }
    dk_op_drop_hold(op);
    dk_tokens_lock(inst, alone);
    op->qr.qr_ret = -error;
    if (dk_unlikely(error))
        op->qr.qr_opcode = DEMI_OPC_FAILED;
    op->state = DK_OP_DONE;
    dk_op_settle(inst);
    dk_list_add_tail(&inst->ready, &op->link);
    dk_count(&inst->stats->completions, 1);
    if (op->waiter || !dk_list_empty(&inst->waiters) || inst->eventfd_armed)
        dk_wait_notify(op);
    if (op->waiter) /* the wait that collects it will look at this place of its array */
        __builtin_prefetch(__atomic_load_n(&op->waiter->qts, __ATOMIC_RELAXED) + op->hint);
    dk_tokens_unlock(inst, alone);
}

bool dk_op_set_next_generation(struct dk_instance *inst, uint64_t generation)
{
    dk_op_settle(inst);
    if (!inst->free_ops && grow(inst) < 0)
        return false;
    struct dk_op *op = inst->free_ops;
    op->qr.qr_qt = generation << DK_OP_SLOT_BITS | (uint32_t)(op - dk_ops);
    op->free_gen = dk_op_generation(op);
    return true;
}
