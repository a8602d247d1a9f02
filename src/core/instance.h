/* SPDX-License-Identifier: MIT */
/*
 * An instance: pollers, their queues, and the threads that wait on them.
 *
 * Two locks. The *lead* is held by whoever runs the instance: the thread that polls (the leader),
 * or a caller for the length of its call. A leader gives it up while it sleeps in its device, so
 * that other threads then run their calls themselves. `tokens` is a leaf lock, held for a few
 * instructions, over token states, the ready list and the waiters.
 *
 * Who finds the lead taken: a data-path call leaves its operation on the posted list, and whoever
 * gives up the lead runs it (dk_lead_drop looks at the list *after* the release, and the poster
 * tries the lead again *after* posting: one of the two sees it). A control call announces itself in
 * lead_wanted and takes the lead between two polls.
 *
 * One waiter at a time sleeps in the device (`sleeper`); the others are followers and sleep on
 * their own futex. When the sleeper or leader leaves, dk_lead_drop wakes one follower to take over:
 * it becomes the `heir`, and while there is one nobody else is woken for that. An heir that leaves
 * its wait without having led passes the lead on. An instance whose device has no queue needs no
 * leader: there all are followers, and none is ever woken to lead.
 */
#ifndef DK_CORE_INSTANCE_H
#define DK_CORE_INSTANCE_H

#include "base/list.h"
#include "core/alone.h"
#include "core/op.h"
#include "core/queue.h"
#include "os/clock.h"
#include "os/sync.h"

#define DK_MAX_INSTANCES 64

/* A device, or a set of sockets, that must be asked whether something happened. */
struct dk_poller;

struct dk_poller_ops {
    /*
     * Looks once, without blocking, and completes operations. May look at less than everything on
     * one call, never for long. The lead is held. `spinning`: the caller will look again at once.
     */
    void (*poll)(struct dk_poller *p, int64_t now, bool spinning);
    /* The calling thread is about to block: submits what must be submitted for that. The lead is
     * held. */
    void (*arm)(struct dk_poller *p);
    /*
     * Blocks until something may have happened, timeout_ns passed (< 0: for ever), or kick was
     * called since the last block returned. The lead is *not* held, and nothing is completed: the
     * next poll does that.
     */
    void (*block)(struct dk_poller *p, int64_t timeout_ns);
    /* Ends a block, or the next one. Any thread. */
    void (*kick)(struct dk_poller *p);
    /* Returns a descriptor that is readable when poll has something to do; submits what must be
     * submitted for that. The lead is held. */
    int (*fd)(struct dk_poller *p);
    /* Whether events were fetched that no poll has acted on yet. Any thread. */
    bool (*backlog)(struct dk_poller *p);
    /*
     * The process, or the library, ends: from the next poll on connections are closed as soon as
     * what was accepted is sent, and undrained counts them. NULL: the device does so by itself. Any
     * thread; async-signal-safe.
     */
    void (*end)(struct dk_poller *p);
    /* Returns how many accepted pushes are not with the device yet. */
    uint32_t (*undrained)(struct dk_poller *p);
    /* Time is up for what is not sent yet: the peers see a reset, not an end that looks orderly. */
    void (*reset_undrained)(struct dk_poller *p);
    /*
     * The process ends in a signal handler over the thread that works here, which never goes on:
     * tells the peers what can be told without relying on anything that may be in the middle of a
     * change. Async-signal-safe. NULL: the kernel tells them.
     */
    void (*last_words)(struct dk_poller *p);
    /*
     * The process ends, and the device is to leave memory alone. From who leads at once; else
     * whoever leads is asked, who does it in the next poll. Returns whether it is done. Any thread.
     * NULL: the kernel sees to it.
     */
    bool (*quiesce)(struct dk_poller *p, bool leads);
    /* Ends everything at once; undrained connections are reset. */
    void (*destroy)(struct dk_poller *p);
    /* In the child of a fork: lets go of descriptors shared with the parent, without touching what
     * they stand for. */
    void (*abandon)(struct dk_poller *p);
    /* Reports its index-th counter: 0 or -ENOENT. */
    int (*stat)(struct dk_poller *p, size_t index, const char **name, uint64_t *value,
                const char **text);
};

struct dk_poller {
    const struct dk_poller_ops *ops;
    bool is_quiet;          /* nothing happens to it while it serves no queue */
    uint32_t queues;        /* that it serves; changed under the lead, see dk_poller_add_queues */
    struct dk_poller *over; /* which polls it with others (pollers.h), or NULL */
};

struct dk_sched_options {
    uint32_t spin_us; /* longest spin before sleeping; UINT32_MAX: never sleep */
};

/*
 * Counters of an instance: X(field, "name"). Waits compare completions with what they saw, to learn
 * whether they must look again; there is no second count of them, which would cost every operation.
 * The shortest path is counted late (fast.h), which makes such a wait look once more than it must.
 */
#define DK_INSTANCE_STATS(X)                                                                       \
    X(completions, "core.completions")                                                             \
    X(polls, "core.polls")              /* device polls */                                         \
    X(sleeps, "core.sleeps")            /* sleeps in the device */                                 \
    X(wakeups, "core.wakeups")          /* threads woken because their operation completed */      \
    X(handovers, "core.handovers")      /* threads woken to take the lead */                       \
    X(asleep, "core.asleep")            /* gauge: threads asleep in a wait, and not woken yet */   \
    X(posted, "core.posted")            /* operations run by another thread than their issuer */   \
    X(array_reads, "core.array_reads")  /* token arrays read whole */                              \
    X(filtered, "compose.filtered")     /* elements that a filter did not pass, either way */      \
    X(map_copies, "compose.map_copies") /* elements copied for a map: pushed, or shared */         \
    X(partition_stops, "compose.partition_stops")   /* a full output stopped its source */         \
    X(partition_drops, "compose.partition_drops")   /* elements for an output that was closed */   \
    X(connect_elements, "compose.connect_elements") /* moved by qconnect */                        \
    X(frame_gathers, "compose.frame_gathers")       /* segments put together, either way */        \
    X(frame_copied_bytes, "compose.frame_copied_bytes") /* for that */

struct dk_instance_stats {
#define DK_INSTANCE_STATS_FIELD(field, name) uint64_t field;
    DK_INSTANCE_STATS(DK_INSTANCE_STATS_FIELD)
#undef DK_INSTANCE_STATS_FIELD
};

#define DK_INSTANCE_STATS_COUNT (sizeof(struct dk_instance_stats) / sizeof(uint64_t))

/* Names in the order of the fields. */
extern const char *const dk_instance_stat_names[DK_INSTANCE_STATS_COUNT];

struct dk_instance {
    /* Hot: under `tokens`. */
    struct dk_lock tokens;
    struct dk_list ready;   /* DONE operations, oldest first */
    struct dk_op *fresh;    /* done after all of those, and still first on free_ops: see fast.h */
    struct dk_op *free_ops; /* most recently freed first */
    struct dk_op *reserve;  /* a slot for an operation that cannot be refused any more, or NULL */
    struct dk_list waiters; /* threads asleep or about to sleep */
    struct dk_waiter *sleeper;
    struct dk_waiter *heir; /* awake, and about to take the lead; it alone sets this back */
    struct dk_list posted;
    struct dk_list woken;     /* takers that are to run, see taker.h */
    uint32_t num_posted;      /* of both */
    struct dk_list yielded;   /* takers that are to run after the next poll */
    uint32_t num_yielded;     /* read under the lead too */
    uint32_t num_waiting;     /* threads inside dk_wait */
    uint32_t num_waiters;     /* length of waiters, for who does not hold `tokens` */
    uint32_t fast_thread;     /* the one thread that fresh operations are of */
    uint32_t until_poll;      /* waits until one polls although its result is there; 1: this one */
    struct dk_op *deferred;   /* a pop that was only noted, or NULL: see deferred.h */
    struct dk_op *spare_pop;  /* the slot for the next one, or NULL */
    struct dk_queue *awaited; /* its wait polls, and nothing came for it yet; or NULL */
    demi_qresult_t *awaited_qr; /* where that goes: here, it need not be saved over the poll */
    const struct timespec *awaited_timeout; /* of the wait, as it was given */
    uint32_t defer_pause;                   /* pops until one is noted again */

    struct dk_lock lead;
    uint32_t lead_wanted;
    uint32_t leader; /* thread whose wait drives the instance, 0: none */

    struct dk_poller *poller; /* NULL: memory queues only; replaced when one joins (pollers.h) */
    const struct dk_clock *clock;
    struct dk_sched_options sched;
    uint32_t spin_budget_ns; /* adapts between 0 and spin_us */

    int eventfd; /* -1 until demi_eventfd */
    int kickfd;
    uint8_t eventfd_armed;
    uint8_t is_first;
    uint32_t users;                  /* threads that called demi_init on it */
    struct dk_poller *sockets;       /* which sockets come from, or NULL */
    struct dk_poller *logs;          /* likewise logs */
    struct dk_instance_stats *stats; /* in the statistics file, else own_stats */
    struct dk_instance_stats own_stats;
};

/* Creates an instance without a poller. 0 or -ENOMEM. */
int dk_instance_create(struct dk_instance **inst_out, const struct dk_clock *clock,
                       const struct dk_sched_options *sched);

/* Drives instances, in turn, until every accepted push is with the device; after timeout_ns resets
 * the connections of the rest. One may need another: two ends of a connection, a packet that came
 * to the wrong one. All leads are held. */
void dk_instances_drain(struct dk_instance *const insts[], uint32_t n, int64_t timeout_ns);

/* Destroys the poller and the instance. Its slots stay in the table, unusable, until
 * dk_op_table_fini. */
void dk_instance_destroy(struct dk_instance *inst);

/* In the child of a fork: closes what it shares with the parent. Memory stays: its state is not
 * known. */
void dk_instance_abandon(struct dk_instance *inst);

static inline int64_t dk_instance_now(const struct dk_instance *inst)
{
    return inst->clock->now(inst->clock);
}

/* Takes the lead if it is free. Never blocks. */
static inline bool dk_lead_try(struct dk_instance *inst)
{
    return dk_lock_try(&inst->lead);
}

/* The same for the calls of alone.h; alone: what dk_alone_enter said. */
static inline bool dk_lead_try_now(struct dk_instance *inst, bool alone)
{
    if (dk_unlikely(!alone))
        return dk_lock_try(&inst->lead);
    const bool is_free = inst->lead.word == 0;
    inst->lead.word = 1;
    return is_free;
}

/* Takes and releases `tokens` in those calls, and in what they call. */
static inline void dk_tokens_lock(struct dk_instance *inst, bool alone)
{
    if (dk_likely(alone))
        inst->tokens.word = 1;
    else
        dk_lock(&inst->tokens);
}

static inline void dk_tokens_unlock(struct dk_instance *inst, bool alone)
{
    if (dk_likely(alone))
        inst->tokens.word = 0;
    else
        dk_unlock(&inst->tokens);
}

/* Takes the lead; waits for the holder, which gives way between two polls. */
void dk_lead_take(struct dk_instance *inst);

void dk_lead_drop_slow(struct dk_instance *inst);

/* The end of that: the lead was given up, and there was a fence. */
void dk_lead_dropped(struct dk_instance *inst);

/* Gives the lead up: runs what was posted meanwhile, and sees to it that somebody leads while
 * threads wait. */
static inline void dk_lead_drop(struct dk_instance *inst)
{
    if (dk_mt())
        dk_lead_drop_slow(inst);
    else
        inst->lead.word = 0;
}

/* The same in the calls of alone.h. */
static inline void dk_lead_drop_now(struct dk_instance *inst, bool alone)
{
    if (alone || !dk_mt()) {
        inst->lead.word = 0;
        return;
    }
    dk_unlock(&inst->lead);
    dk_fence(); /* as in dk_lead_drop_slow() */
    if (dk_unlikely(__atomic_load_n(&inst->num_posted, __ATOMIC_RELAXED) != 0 ||
                    __atomic_load_n(&inst->num_waiters, __ATOMIC_RELAXED) != 0))
        dk_lead_dropped(inst);
}

/* Its poller, for who does not hold the lead. */
static inline struct dk_poller *dk_instance_poller(const struct dk_instance *inst)
{
    return __atomic_load_n(&inst->poller, __ATOMIC_ACQUIRE);
}

/* Whether there is a device that somebody should look at while threads wait, or a taker that gave
 * way. */
static inline bool dk_instance_needs_lead(const struct dk_instance *inst)
{
    const struct dk_poller *p = dk_instance_poller(inst);
    return (p && __atomic_load_n(&p->queues, __ATOMIC_RELAXED) != 0) ||
           __atomic_load_n(&inst->num_yielded, __ATOMIC_RELAXED) != 0;
}

/* Counts the queues that a device serves. The lead is held: who gives it up then sees to it that
 * somebody leads. Who sleeps may have left out a quiet one. */
static inline void dk_poller_add_queues(struct dk_poller *p, int n)
{
    const bool was_quiet = p->is_quiet && p->queues == 0;
    __atomic_store_n(&p->queues, p->queues + (uint32_t)n, __ATOMIC_RELAXED);
    if (!p->over)
        return;
    dk_poller_add_queues(p->over, n);
    if (was_quiet && dk_mt())
        p->over->ops->kick(p->over);
}

void dk_op_settle_slow(struct dk_instance *inst);

/*
 * Makes inst->fresh an operation like any other: off the free list, DONE, on the ready list. Called
 * before those lists, or the state of a slot, are looked at. `tokens` is held.
 */
static inline void dk_op_settle(struct dk_instance *inst)
{
    if (dk_unlikely(inst->fresh != NULL))
        dk_op_settle_slow(inst);
}

bool dk_op_reserve_slow(struct dk_instance *inst);

/* Sees to it that there is a slot whatever other threads do; false: the table is full. The lead is
 * held, `tokens` is not. */
static inline bool dk_op_reserve(struct dk_instance *inst)
{
    return dk_likely(inst->reserve != NULL) || dk_op_reserve_slow(inst);
}

/* Gives that slot to the free ones. The lead and `tokens` are held. */
void dk_op_use_reserve(struct dk_instance *inst);

void dk_op_count_fast_slow(struct dk_instance *inst);

/* Counts the operations that were collected on the shortest path, see fast.h. `tokens` is held.
 * Called before the first of the free slots changes, and before the counters are looked at. */
static inline void dk_op_count_fast(struct dk_instance *inst)
{
    const struct dk_op *first = inst->free_ops;
    if (first && dk_unlikely(dk_op_generation(first) != first->free_gen))
        dk_op_count_fast_slow(inst);
}

/* Takes the first of the free slots, of which there is one, for an operation on q. Nothing is
 * fresh, and `tokens` is held. */
static inline struct dk_op *dk_op_take_free(struct dk_instance *inst, struct dk_queue *q,
                                            enum demi_opcode opcode)
{
    struct dk_op *op = inst->free_ops;
    dk_op_count_fast(inst);
    inst->free_ops = op->next_free;
    op->state = DK_OP_PENDING;
    op->queue = op->target = q;
    op->issuer = dk_thread_number;
    op->internal = op->addr_len = op->held = 0;
    op->progress = 0;
    op->qr.qr_opcode = opcode;
    op->qr.qr_qd = q->qd;
    return op;
}

/* As dk_op_alloc, in a call of alone.h. */
static inline int dk_op_alloc_now(struct dk_op **op_out, struct dk_instance *inst,
                                  struct dk_queue *q, enum demi_opcode opcode, bool alone)
{
    if (dk_unlikely(!alone || inst->fresh || !inst->free_ops))
        return dk_op_alloc(op_out, inst, q, opcode);
    dk_tokens_lock(inst, alone);
    *op_out = dk_op_take_free(inst, q, opcode);
    dk_tokens_unlock(inst, alone);
    return 0;
}

/* Brings inst->stats up to date. */
void dk_instance_count(struct dk_instance *inst);

/* Starts an operation on its queue (sga: of a push), or posts it; on failure it is released. The
 * caller holds neither lock. */
int dk_op_start(struct dk_op *op, const demi_sgarray_t *sga);

/* Starts a pop of an open queue that is not `anywhere`: 0 or a negative errno. The lead is held. */
int dk_op_start_pop(struct dk_op *op);

void dk_run_posted_slow(struct dk_instance *inst);

/* Runs what was posted; the lead is held. */
static inline void dk_run_posted(struct dk_instance *inst)
{
    if (dk_unlikely(__atomic_load_n(&inst->num_posted, __ATOMIC_ACQUIRE) != 0))
        dk_run_posted_slow(inst);
}

/* Makes the event descriptor: 0 or a negative errno. The lead is held. */
int dk_instance_eventfd(struct dk_instance *inst, int *fd_out);

/*
 * Re-arms the event descriptor. seen_done: stats->completions when the caller last found nothing to
 * collect; false, and not armed, when something completed since, or events are left to act on.
 */
bool dk_instance_rearm(struct dk_instance *inst, uint64_t seen_done);

/* Makes the event descriptor readable, if it is armed. `tokens` is held. */
void dk_instance_tell(struct dk_instance *inst);

/* Does so when a poll left events behind: the device will not report them again. */
void dk_instance_tell_backlog(struct dk_instance *inst);

/* A poller's descriptor changed: the event descriptor watches fd too, and who sleeps over the old
 * one wakes up. The lead is held. */
void dk_instance_eventfd_add(struct dk_instance *inst, int fd);

#endif /* DK_CORE_INSTANCE_H */
