/* SPDX-License-Identifier: MIT */
/*
 * Operations and their tokens.
 *
 * A token is 24 bits of slot and 40 bits of generation; the slot *is* the operation: its arguments
 * while it is outstanding, its result until a wait collects it. Slots stand in one process-wide
 * table that does not move while the library runs; an instance takes them in batches and keeps
 * them, so a token of another instance is recognised at once.
 *
 *        alloc                start               complete               collect
 *   FREE ------> PENDING (posted or in a queue) ----------> DONE (on the ready list) ------> FREE
 *                        \------------- start failed ------------------------------------/
 *                        \------------- cancel ------> CANCELLED (on no list) -----------/
 *
 * Invariants: qr.qr_qt is the token in PENDING and DONE, and the next one in FREE. `next_free` is
 * the free list; `link` is on the posted list or a list of the backend (PENDING), or on the ready
 * list (DONE). An operation that is done at once in a process with one thread need not leave the
 * free list at all, see fast.h. State, token, link (FREE and DONE), waiter and hint are guarded by
 * the instance's `tokens` lock; everything else belongs to who runs the operation. A slot whose
 * generations are used up is retired.
 */
#ifndef DK_CORE_OP_H
#define DK_CORE_OP_H

#include "base/list.h"
#include "mem/sga.h"

#include <demi/types.h>

#define DK_OP_SLOT_BITS      24
#define DK_OP_BATCH          512 /* slots that an instance takes at a time */
#define DK_OP_ONE_GENERATION (UINT64_C(1) << DK_OP_SLOT_BITS)
#define DK_OP_MAX_SLOTS                                                                            \
    ((1u << DK_OP_SLOT_BITS) - 1) /* the last is left out: its last token would be ~0 */

enum dk_op_state { DK_OP_FREE, DK_OP_CANCELLED, DK_OP_PENDING, DK_OP_DONE };

struct dk_instance;
struct dk_op;
struct dk_queue;
struct dk_waiter;

/* Who is told of an internal operation's end: in the thread that completes it, under any lock but
 * `tokens`. It may not start operations from there. The operation is gone afterwards. */
struct dk_sink {
    void (*done)(struct dk_sink *sink, struct dk_op *op, int error);
};

struct dk_op {
    /* First line: what waiting and bookkeeping look at. */
    struct dk_list link; /* see above */
    union {
        struct dk_waiter *waiter; /* who last passed this token to a wait, see wait.c */
        struct dk_sink *sink;     /* internal: who is told that it is done */
    };
    struct dk_instance *inst;
    struct dk_queue *queue;
    union {
        struct dk_op *next_free; /* FREE */
        struct dk_queue *target; /* PENDING: whose it is, `queue` or one that it was passed on to */
    };
    uint32_t hint;    /* its position in that wait's array */
    uint32_t issuer;  /* thread that issued it */
    uint8_t state;    /* enum dk_op_state */
    uint8_t internal; /* the library's own: no token, no result; told to `sink` */
    uint8_t addr_len; /* bytes of addr in use */
    uint8_t held;     /* the library has a hold on buf, and the sga is in qr */
    union {
        uint32_t queue_gen; /* PENDING: generation of `queue` when the operation was posted */
        uint32_t free_gen;  /* FREE: low half of its generation when it was put on the list */
    };

    /* The result as it will be delivered. Until then: the token, the opcode, the sga of a push that
     * is held. */
    demi_qresult_t qr;
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } addr;             /* pushto, connect: destination; accept: peer */
    struct dk_buf *buf; /* of a push: the buffer that owns its memory, or NULL */
    uint64_t progress;  /* of a push: bytes handed on */
};

/* Whether a token of it is outstanding; `tokens` is held. */
static inline bool dk_op_is_outstanding(const struct dk_op *op)
{
    return op->state >= DK_OP_PENDING;
}

/* The token of an operation that is not FREE. */
static inline demi_qtoken_t dk_op_token(const struct dk_op *op)
{
    return op->qr.qr_qt;
}

/* Low half of the generation of a slot. */
static inline uint32_t dk_op_generation(const struct dk_op *op)
{
    return (uint32_t)(op->qr.qr_qt >> DK_OP_SLOT_BITS);
}

/* The element of an operation: popped, or of a held push. */
static inline demi_sgarray_t *dk_op_sga(struct dk_op *op)
{
    return &op->qr.qr_value.sga;
}

/* The calling thread's number, 0 before dk_thread_attach. */
DK_HIDDEN extern _Thread_local uint32_t dk_thread_number;

/* The table; dk_op_mask + 1 slots, a power of two. */
DK_HIDDEN extern struct dk_op *dk_ops;
DK_HIDDEN extern uint32_t dk_op_mask;

/*
 * Returns the slot that a token points to; what stands there may be another operation, or none: the
 * caller compares its state and token under the lock of op->inst (NULL: never used).
 */
static inline struct dk_op *dk_op_at(demi_qtoken_t token)
{
    return &dk_ops[(uint32_t)token & dk_op_mask];
}

/*
 * Issues an operation on q for inst: PENDING, with a fresh token. The caller's hold on q becomes
 * the token's (on failure it ends). 0 or -ENOMEM (the table is full).
 */
int dk_op_alloc(struct dk_op **op_out, struct dk_instance *inst, struct dk_queue *q,
                enum demi_opcode opcode);

/* Issues an internal operation: as dk_op_alloc, and its end is told to sink. */
int dk_op_alloc_internal(struct dk_op **op_out, struct dk_instance *inst, struct dk_queue *q,
                         enum demi_opcode opcode, struct dk_sink *sink);

/*
 * Holds the memory of a push beyond the call that started it: sga is copied into op, its memory
 * referenced (or copied, when it is not ours). 0 or -ENOMEM. Idempotent.
 */
int dk_op_hold(struct dk_op *op, const demi_sgarray_t *sga);

/* Lets go of what dk_op_hold holds. Idempotent. */
void dk_op_drop_hold(struct dk_op *op);

/* Takes back an operation that never started or was cancelled (on no list); releases what it holds.
 */
void dk_op_release(struct dk_op *op);

/*
 * Completes an operation (PENDING, on no list of the backend): 0 or a negative errno; wakes the
 * thread that sleeps on it, if any. The library's hold on a pushed sga ends here. Any thread, any
 * locks held but `tokens`.
 */
void dk_op_complete(struct dk_op *op, int error);

/* Gives the slot of a collected operation back; nothing is fresh, and `tokens` is held. */
void dk_op_collected(struct dk_op *op);

/* Writes zeros over the value of a result: a push has none. */
static inline void dk_op_no_value(demi_qresult_t *qr)
{
    /* gcc makes a string instruction of a memset of this size; stores of sixteen bytes cost a
     * third. */
    typedef long long dk_vec __attribute__((vector_size(16), aligned(4), may_alias));
    dk_vec *at = (dk_vec *)(void *)&qr->qr_value;
    _Static_assert(sizeof(qr->qr_value) == 7 * sizeof(dk_vec) + 12, "seven stores and one more");
    const dk_vec zero = {0, 0};
    at[0] = zero;
    at[1] = zero;
    at[2] = zero;
    at[3] = zero;
    at[4] = zero;
    at[5] = zero;
    at[6] = zero;
    *(dk_vec *)(void *)((char *)at + sizeof(qr->qr_value) - sizeof(dk_vec)) = zero;
}

/* Fills a result from a DONE operation. */
static inline void dk_op_result(const struct dk_op *op, demi_qresult_t *qr)
{
    const demi_sgarray_t *sga = &op->qr.qr_value.sga;
    qr->qr_opcode = op->qr.qr_opcode;
    qr->qr_qd = op->qr.qr_qd;
    qr->qr_qt = op->qr.qr_qt;
    if (op->qr.qr_opcode == DEMI_OPC_POP) {
        qr->qr_ret = 0;
        dk_sga_copy_all(&qr->qr_value.sga, sga);
    } else if (op->qr.qr_opcode == DEMI_OPC_ACCEPT) {
        qr->qr_ret = 0;
        qr->qr_value = op->qr.qr_value;
    } else {
        qr->qr_ret = op->qr.qr_ret;
        dk_op_no_value(qr);
    }
}

/* Makes the table. max_tokens: slots over all instances. 0 or -ENOMEM. */
int dk_op_table_init(uint32_t max_tokens);

/* Frees the table and what uncollected results hold; no instance is left. */
void dk_op_table_fini(void);

/* In the child of a fork: starts with an empty table. */
void dk_op_table_abandon(void);

/* Test hook: the generation that inst's next operation will have. No memory: false. */
bool dk_op_set_next_generation(struct dk_instance *inst, uint64_t generation);

#endif /* DK_CORE_OP_H */
