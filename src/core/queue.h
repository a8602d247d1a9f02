/* SPDX-License-Identifier: MIT */
/*
 * Queues, descriptors, and the contract that a backend of queues implements.
 *
 * Descriptors index a process-wide table that does not move or shrink: an entry may be read by any
 * thread at any time. A descriptor is reissued when the application closed it, the backend let go
 * of it, and every token issued on it was collected.
 */
#ifndef DK_CORE_QUEUE_H
#define DK_CORE_QUEUE_H

#include "core/op.h"

#include <sys/socket.h>

struct dk_queue;
struct dk_taker;

/* What a socket can be asked about itself, for dk_queue_ops.name. */
enum dk_queue_name { DK_QUEUE_LOCAL, DK_QUEUE_PEER };

/*
 * One kind of queue. None of these blocks. push and pop are never NULL. Unless the queue is
 * `anywhere`, the instance's lead is held; an `anywhere` queue locks itself. A member may be NULL:
 * -EOPNOTSUPP.
 *
 * push, pop, accept, connect: start `op`. On 0 the backend owns it until it calls dk_op_complete,
 * which it may do before returning; on a negative errno it was not taken and nothing is held. The
 * memory of the sga is the application's: a backend that needs it after returning calls dk_op_hold,
 * which copies the sga into op; sga may be that copy already. Operations of one kind take effect in
 * the order in which they are started.
 */
struct dk_queue_ops {
    int (*push)(struct dk_queue *q, struct dk_op *op, const demi_sgarray_t *sga);
    int (*pop)(struct dk_queue *q, struct dk_op *op);
    /*
     * As push and pop, for what can be done at once and without an operation; called only while
     * !dk_mt(). false: nothing happened, take the other path. push_now: one segment, in memory that
     * buf owns. pop_now: on true the element is the application's. NULL: never at once.
     */
    bool (*push_now)(struct dk_queue *q, const demi_sgarray_t *sga, struct dk_buf *buf);
    bool (*pop_now)(struct dk_queue *q, demi_sgarray_t *sga_out);
    /*
     * As push, for what can be done at once and without an operation; the lead is held. One
     * segment, in memory that buf owns; to: of a pushto, else NULL. 0: done; -EAGAIN: nothing
     * happened, take the other path; another negative errno: the push fails. NULL: never at once.
     */
    int (*push_led)(struct dk_queue *q, const demi_sgarray_t *sga, struct dk_buf *buf,
                    const struct sockaddr *to);
    /*
     * As take, for a pop of the application, and right into its result; the lead is held. Called
     * only where has_news is set, which the backend does when something came that no pop got.
     * DK_TAKE_NONE: nothing happened, also because other pops are before it. polled: the device was
     * polled under this lead, and the time read for that. NULL: pops are never deferred
     * (deferred.h).
     */
    int (*pop_led)(struct dk_queue *q, demi_sgarray_t *sga_out, bool polled);
    int (*accept)(struct dk_queue *q, struct dk_op *op);
    int (*connect)(struct dk_queue *q, struct dk_op *op);
    /*
     * Lets go of an operation: 0, and op is the caller's; -EBUSY: bytes were handed on already. An
     * `anywhere` queue calls dk_cancel_mark under its own lock, and returns its error.
     */
    int (*cancel)(struct dk_queue *q, struct dk_op *op, demi_qtoken_t token);
    int (*shutdown)(struct dk_queue *q, int how);
    /*
     * The application closed q: completes pops, accepts, connects with -ECANCELED; calls
     * dk_queue_gone, now or when the last push is out.
     */
    void (*close)(struct dk_queue *q);
    int (*bind)(struct dk_queue *q, const struct sockaddr *addr, socklen_t len);
    int (*listen)(struct dk_queue *q, int backlog);
    int (*setsockopt)(struct dk_queue *q, int level, int name, const void *val, socklen_t len);
    int (*getsockopt)(struct dk_queue *q, int level, int name, void *val, socklen_t *len);
    int (*name)(struct dk_queue *q, enum dk_queue_name which, struct sockaddr *addr,
                socklen_t *len);
    /*
     * For an operator (taker.h); NULL where a queue cannot be a source. claim: t takes from q from
     * now on, NULL: nobody; -EBUSY while pops are outstanding. take: as dk_taker_take, but for what
     * was returned. rest: the wake-up that take promised is not wanted. The lead of the taker's
     * instance is held.
     */
    int (*claim)(struct dk_queue *q, struct dk_taker *t);
    int (*take)(struct dk_queue *q, demi_sgarray_t *sga_out);
    void (*rest)(struct dk_queue *q);
    /* Whether a take would certainly find nothing; called only while !dk_mt(). NULL: not known; not
     * where there is a pop_now. */
    bool (*idle)(struct dk_queue *q);
    /* Of an operator: whether a queue below was closed, and the next take will tell. NULL: it
     * stands over none. The lead is held. */
    bool (*cut)(struct dk_queue *q);
    /* Of an operator: the queues that it stands over, at most two; returns how many. NULL: it
     * stands over none. */
    uint32_t (*sources)(struct dk_queue *q, struct dk_queue *out[2]);
    /* The last hold on a queue that is gone ended: frees impl. NULL where close freed it. */
    void (*release)(void *impl);
};

enum dk_queue_state { DK_QUEUE_FREE, DK_QUEUE_OPEN, DK_QUEUE_CLOSED };

/* Nobody's instance, and not NULL. */
#define DK_NO_INSTANCE ((struct dk_instance *)-1)

struct dk_queue {
    const struct dk_queue_ops *ops;
    struct dk_instance *inst;
    union {
        void *impl;                 /* the backend's */
        struct dk_queue *next_free; /* FREE */
    };
    uint32_t gen;
    int32_t qd;
    uint32_t holds;    /* uncollected tokens, and one while the backend is there */
    uint8_t state;     /* enum dk_queue_state */
    uint8_t anywhere;  /* locks itself: any instance may push and pop */
    uint8_t may_defer; /* the backend says that a pop would not be refused */
    uint8_t defers;    /* and the pop side is the backend's: a pop may be deferred */
    uint8_t has_news;  /* something may have come since pop_led had nothing; see deferred.h */
    struct dk_instance
        *fast_inst; /* inst while OPEN, else DK_NO_INSTANCE: one comparison on the shortest path */
    /* Of ops, or functions that say no. */
    bool (*push_now)(struct dk_queue *q, const demi_sgarray_t *sga, struct dk_buf *buf);
    bool (*pop_now)(struct dk_queue *q, demi_sgarray_t *sga_out);
    /* Second line: the pop side, when it is an operator's or has elements that came back. */
    struct dk_taker *taker; /* who claimed it, or NULL */
    /* The taker's pop_now: of ops, or (it has returned elements, or was closed) a function that
     * says no. */
    bool (*take_now)(struct dk_queue *q, demi_sgarray_t *sga_out);
    struct dk_list returned; /* elements, the next one first */
    struct dk_list feeders;  /* takers that push to it, see taker.h */
    uint32_t num_returned;
} __attribute__((aligned(64)));

/* The table: dk_queues_used entries have been used so far. */
DK_HIDDEN extern struct dk_queue *dk_queues;
DK_HIDDEN extern uint32_t dk_queues_used;

/* Makes the table for max_queues descriptors: 0 or -ENOMEM. Frees it. */
int dk_queue_table_init(uint32_t max_queues);
void dk_queue_table_fini(void);

/* In the child of a fork: starts with an empty table; what was in it stays where it is. */
void dk_queue_table_abandon(void);

/* Takes a descriptor for a queue of inst, OPEN. 0, -EMFILE or -ENOMEM. */
int dk_queue_create(struct dk_queue **q_out, struct dk_instance *inst,
                    const struct dk_queue_ops *ops, void *impl, bool anywhere);

/* Chooses pop_now and take_now: the backend's, unless the queue was closed or has returned
 * elements; pop_now: unless the pop side is claimed. Likewise whether pops may be deferred. */
void dk_queue_set_pop_now(struct dk_queue *q);

/* The backend of q, which has a pop_led, refuses no pop any more. The lead is held. */
void dk_queue_allow_deferral(struct dk_queue *q);

/* Takes one hold: false when the queue is not open (any more). */
static inline bool dk_queue_get(struct dk_queue *q);

/* No call finds q any more; the backend is told next. Of several threads that close it one gets
 * true. */
bool dk_queue_set_closed(struct dk_queue *q);

/* The backend let go of q: ends the hold of dk_queue_create. */
void dk_queue_gone(struct dk_queue *q);

/* Ends one hold; the last gives the descriptor back. */
void dk_queue_put(struct dk_queue *q);

/* Returns the entry of a descriptor, open or not; NULL for one that never was. */
static inline struct dk_queue *dk_queue_at(int qd)
{
    uint32_t index = (uint32_t)qd;
    return dk_likely(index < __atomic_load_n(&dk_queues_used, __ATOMIC_ACQUIRE)) ? &dk_queues[index]
                                                                                 : NULL;
}

static inline bool dk_queue_is_open(const struct dk_queue *q)
{
    return __atomic_load_n(&q->state, __ATOMIC_ACQUIRE) == DK_QUEUE_OPEN;
}

/* Returns an open queue, or NULL. */
static inline struct dk_queue *dk_queue_lookup(int qd)
{
    struct dk_queue *q = dk_queue_at(qd);
    return q && dk_queue_is_open(q) ? q : NULL;
}

/* Who claimed the pop side, or NULL. A queue that locks itself has the last word on that. */
static inline struct dk_taker *dk_queue_taker(const struct dk_queue *q)
{
    return __atomic_load_n(&q->taker, __ATOMIC_RELAXED);
}

static inline bool dk_queue_has_returned(const struct dk_queue *q)
{
    return __atomic_load_n(&q->num_returned, __ATOMIC_RELAXED) != 0;
}

static inline bool dk_queue_get(struct dk_queue *q)
{
    if (!dk_mt()) {
        q->holds++;
        return true;
    }
    uint32_t n = __atomic_load_n(&q->holds, __ATOMIC_RELAXED);
    do {
        if (n == 0)
            return false;
    } while (!__atomic_compare_exchange_n(&q->holds, &n, n + 1, true, __ATOMIC_ACQ_REL,
                                          __ATOMIC_RELAXED));
    return true;
}

/* Calls fn for every open queue of inst (any when NULL). */
void dk_queue_for_each(struct dk_instance *inst, void (*fn)(struct dk_queue *q, void *arg),
                       void *arg);

#endif /* DK_CORE_QUEUE_H */
