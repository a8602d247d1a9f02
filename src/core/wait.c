/* SPDX-License-Identifier: MIT */
/*
 * Waiting (wait.h): match completions with tokens; lead, follow, or sleep in the device.
 *
 * A wait looks at the ready list first. A completion is matched by the position that its slot
 * remembers; only when none matches although something is ready, and before sleeping, is the array
 * read whole. Then the thread leads (polls), or follows one that does.
 */
#include "core/wait.h"

#include "core/alone.h"
#include "core/fast.h"
#include "core/poll.h"
#include "core/spin.h"
#include "core/thread.h"

#include <errno.h>
#include <sched.h>

/* Results of the steps below, besides 0 (not yet) and a negative errno. */
#define SATISFIED 1
#define AGAIN     2
#define FOLLOW    3 /* another thread sleeps in the device, or nobody need */
#define LEADS     4 /* not yet, and it has the lead */

static bool claim_counts(const struct dk_op *op, const struct dk_waiter *w)
{
    return w && w->active && w->inst == op->inst && w->kind != DK_WAIT_ISSUED &&
           op->hint < w->num_qts && w->qts[op->hint] == dk_op_token(op);
}

static bool claimed_by_other(const struct dk_op *op, const struct dk_waiter *me)
{
    return op->waiter != me && claim_counts(op, op->waiter);
}

bool dk_waiter_wake(struct dk_waiter *w)
{
    if (w->role == DK_WAITER_AWAKE || w->futex == DK_WAITER_WOKEN)
        return false;
    dk_count(&w->inst->stats->asleep, (uint64_t)-1);
    __atomic_store_n(&w->futex, DK_WAITER_WOKEN, __ATOMIC_RELEASE);
    if (w->role == DK_WAITER_IN_DEVICE)
        w->inst->poller->ops->kick(w->inst->poller);
    else
        dk_futex_wake(&w->futex, 1);
    return true;
}

/* A waiter lacks one completion less. */
static void satisfy(struct dk_waiter *w)
{
    if (w->need && --w->need == 0 && dk_waiter_wake(w))
        dk_count(&w->inst->stats->wakeups, 1);
}

void dk_wait_notify(struct dk_op *op)
{
    struct dk_instance *inst = op->inst;
    struct dk_list *l;
    dk_instance_tell(inst);
    if (claim_counts(op, op->waiter)) {
        satisfy(op->waiter);
        return;
    }
    dk_list_for_each (l, &inst->waiters) {
        struct dk_waiter *w = dk_container_of(l, struct dk_waiter, link);
        if (w->kind == DK_WAIT_ISSUED && w->thread == op->issuer && w->need) {
            satisfy(w);
            return;
        }
    }
}

/* Returns the operation that a token of this instance names, or NULL and the errno. `tokens` is
 * held. */
static struct dk_op *find(const struct dk_instance *inst, demi_qtoken_t token, int *error)
{
    struct dk_op *op = dk_op_at(token);
    if (dk_unlikely(op->inst != inst)) {
        /* Whether it is outstanding there only its instance may say. */
        *error = op->inst ? -EXDEV : -EINVAL;
        return NULL;
    }
    *error = -EINVAL;
    return dk_likely(dk_op_is_outstanding(op) && dk_op_token(op) == token) ? op : NULL;
}

static int collect_any(struct dk_waiter *w, struct dk_op *op, uint32_t position)
{
    dk_op_result(op, w->qrs);
    dk_op_collected(op);
    w->num_out = w->last = position;
    return SATISFIED;
}

/* Claims every token of the array and counts in w->need what is still missing. 0 or a negative
 * errno, w->num_out its place. */
static int read_array(struct dk_waiter *w)
{
    uint32_t done = 0;
    int error;
    dk_count(&w->inst->stats->array_reads, 1);
    for (uint32_t i = 0; i < w->num_qts; i++) {
        struct dk_op *op = find(w->inst, w->qts[i], &error);
        if (!op || claimed_by_other(op, w)) {
            w->num_out = i;
            return op ? -EBUSY : error;
        }
        op->waiter = w;
        op->hint = i;
        done += op->state == DK_OP_DONE;
    }
    w->read_at = w->inst->stats->completions;
    w->need = w->kind == DK_WAIT_ALL ? w->num_qts - done : (done == 0);
    return 0;
}

/* Finds the oldest completion that the array has at the remembered position, or where the last
 * result was. */
static int match_ready(struct dk_waiter *w, bool *unmatched)
{
    struct dk_list *l;
    dk_list_for_each (l, &w->inst->ready) {
        struct dk_op *op = dk_container_of(l, struct dk_op, link);
        if (dk_unlikely(claimed_by_other(op, w)))
            continue;
        if (op->hint < w->num_qts && w->qts[op->hint] == dk_op_token(op))
            return collect_any(w, op, op->hint);
        if (w->last < w->num_qts && w->qts[w->last] == dk_op_token(op))
            return collect_any(w, op, w->last);
        *unmatched = true;
    }
    return 0;
}

/* A short array: each token is looked up; of several that are done the oldest is taken. */
static int scan_short(struct dk_waiter *w)
{
    struct dk_op *done = NULL;
    uint32_t num_done = 0;
    bool unmatched;
    int error;
    for (uint32_t i = 0; i < w->num_qts; i++) {
        struct dk_op *op = find(w->inst, w->qts[i], &error);
        if (!op || claimed_by_other(op, w)) {
            w->num_out = i;
            return op ? -EBUSY : error;
        }
        op->hint = i;
        if (op->state == DK_OP_DONE) {
            done = op;
            num_done++;
        }
    }
    if (num_done > 1)
        return match_ready(w, &unmatched);
    return done ? collect_any(w, done, done->hint) : 0;
}

/* An array of one. */
static int scan_one(struct dk_waiter *w)
{
    int error;
    w->num_out = 0;
    struct dk_op *op = find(w->inst, w->qts[0], &error);
    if (dk_unlikely(!op || claimed_by_other(op, w)))
        return op ? -EBUSY : error;
    op->hint = 0;
    return op->state == DK_OP_DONE ? collect_any(w, op, 0) : 0;
}

static int scan_any(struct dk_waiter *w)
{
    bool unmatched = false;
    int r;
    if (w->num_qts == 1)
        return scan_one(w);
    if (w->num_qts <= DK_WAIT_SHORT_ARRAY)
        return scan_short(w);
    if (dk_list_empty(&w->inst->ready))
        return 0;
    r = match_ready(w, &unmatched);
    if (r != 0 || !unmatched || w->read_at == w->inst->stats->completions)
        return r;
    r = read_array(w);
    return r < 0 || w->need ? r : match_ready(w, &unmatched);
}

/* The same token twice could never be collected twice. */
static int check_distinct(const struct dk_waiter *w)
{
    for (uint32_t i = 0; i < w->num_qts; i++)
        if (dk_op_at(w->qts[i])->hint != i)
            return -EINVAL;
    return 0;
}

static int scan_all(struct dk_waiter *w)
{
    int r = 0;
    if (w->read_at == UINT64_MAX) {
        r = read_array(w);
        if (r == 0)
            r = check_distinct(w);
    }
    if (r < 0 || w->need)
        return r;
    for (uint32_t i = 0; i < w->num_qts; i++) {
        struct dk_op *op = dk_op_at(w->qts[i]);
        dk_op_result(op, &w->qrs[i]);
        dk_op_collected(op);
    }
    return SATISFIED;
}

static int scan_issued(struct dk_waiter *w)
{
    struct dk_list *l, *tmp;
    dk_list_for_each_safe (l, tmp, &w->inst->ready) {
        struct dk_op *op = dk_container_of(l, struct dk_op, link);
        if (w->num_out == w->num_qts)
            break;
        if (op->issuer != w->thread || claimed_by_other(op, w))
            continue;
        dk_op_result(op, &w->qrs[w->num_out++]);
        dk_op_collected(op);
    }
    w->need = w->all_ready ? w->num_qts - w->num_out : 1;
    return w->num_out == w->num_qts || (!w->all_ready && w->num_out > 0) ? SATISFIED : 0;
}

/* Tries to satisfy w from what is ready; `tokens` is held. */
static int scan(struct dk_waiter *w)
{
    if (dk_unlikely(w->cancelled))
        return -ECANCELED;
    if (dk_unlikely(w->inst->fresh != NULL)) {
        if (w->kind == DK_WAIT_ANY && w->num_qts == 1 &&
            dk_fast_collect(w->inst, w->qts[0], w->qrs))
            return SATISFIED;
        dk_op_settle(w->inst);
    }
    switch (w->kind) {
    case DK_WAIT_ANY:
        return scan_any(w);
    case DK_WAIT_ALL:
        return scan_all(w);
    default:
        return scan_issued(w);
    }
}

static int locked_scan(struct dk_waiter *w)
{
    dk_lock(&w->inst->tokens);
    int r = scan(w);
    dk_unlock(&w->inst->tokens);
    return r;
}

/* Before sleeping: a last scan, and every token claimed. `tokens` is held. */
static int prepare_sleep(struct dk_waiter *w)
{
    int r = scan(w);
    if (r != 0 || w->kind != DK_WAIT_ANY)
        return r;
    r = read_array(w);
    return r == 0 && w->need == 0 ? scan(w) : r;
}

static bool is_heir(const struct dk_waiter *w)
{
    return __atomic_load_n(&w->inst->heir, __ATOMIC_RELAXED) == w;
}

/* w will take the lead; `tokens` is held. */
static void become_heir(struct dk_waiter *w)
{
    if (!w->inst->heir)
        __atomic_store_n(&w->inst->heir, w, __ATOMIC_RELAXED);
}

/* w will not, or has it already; `tokens` is held. Returns whether it was the heir. */
static bool resign(struct dk_waiter *w)
{
    if (!is_heir(w))
        return false;
    __atomic_store_n(&w->inst->heir, NULL, __ATOMIC_RELAXED);
    return true;
}

static void enlist(struct dk_waiter *w, uint8_t role)
{
    struct dk_instance *inst = w->inst;
    w->role = role;
    __atomic_store_n(&w->futex, DK_WAITER_SLEEPS, __ATOMIC_RELAXED);
    dk_list_add_tail(&inst->waiters, &w->link);
    __atomic_add_fetch(&inst->num_waiters, 1, __ATOMIC_RELAXED);
    dk_count(&inst->stats->asleep, 1);
    resign(w);
    if (role == DK_WAITER_IN_DEVICE)
        inst->sleeper = w;
}

/* Leaves the waiters. Who slept in the device takes the lead next. */
static void delist(struct dk_waiter *w)
{
    struct dk_instance *inst = w->inst;
    if (inst->sleeper == w) {
        inst->sleeper = NULL;
        become_heir(w);
    }
    w->role = DK_WAITER_AWAKE;
    dk_list_del_init(&w->link);
    __atomic_sub_fetch(&inst->num_waiters, 1, __ATOMIC_RELAXED);
    if (w->futex == DK_WAITER_SLEEPS)
        dk_count(&inst->stats->asleep, (uint64_t)-1);
}

static int64_t remaining(int64_t deadline, int64_t now)
{
    if (deadline == INT64_MAX)
        return -1;
    return deadline > now ? deadline - now : 0;
}

static void block_in_device(struct dk_waiter *w, struct dk_poller *p, int64_t timeout_ns)
{
    bool sleeps = __atomic_load_n(&w->futex, __ATOMIC_ACQUIRE) == DK_WAITER_SLEEPS;
    dk_count(&w->inst->stats->sleeps, 1);
    p->ops->block(p, sleeps ? timeout_ns : 0); /* in any case: it takes back what arm set */
}

/* Shows which thread drives the instance. */
static void set_leader(const struct dk_waiter *w)
{
    __atomic_store_n(&w->inst->leader, w->thread, __ATOMIC_RELAXED);
}

/*
 * The leader sleeps in the device, without the lead. Returns 0 with the lead again; without it
 * FOLLOW, SATISFIED or an errno.
 */
static int lead_sleep(struct dk_waiter *w, int64_t timeout_ns)
{
    struct dk_instance *inst = w->inst;
    struct dk_poller *p = inst->poller; /* a second one may join before it blocks */
    dk_lock(&inst->tokens);
    int r = prepare_sleep(w);
    if (r == 0 && (inst->sleeper || !dk_instance_needs_lead(inst)))
        r = FOLLOW;
    if (r == 0)
        enlist(w, DK_WAITER_IN_DEVICE);
    dk_unlock(&inst->tokens);
    if (r == 0)
        p->ops->arm(p);
    dk_lead_drop(inst);
    if (r != 0)
        return r;

    block_in_device(w, p, timeout_ns);

    dk_lock(&inst->tokens);
    delist(w);
    r = dk_mt() ? scan(w) : 0; /* nobody else can have completed anything */
    dk_unlock(&inst->tokens);
    if (r == 0) {
        dk_lead_take(inst);
        set_leader(w);
    }
    return r;
}

/*
 * Gives way to a thread that waits for the lead, and tries to take it again. It is the heir
 * meanwhile: it need not be replaced for the length of a call.
 */
static bool give_way(struct dk_waiter *w)
{
    struct dk_instance *inst = w->inst;
    dk_lock(&inst->tokens);
    become_heir(w);
    dk_unlock(&inst->tokens);
    dk_unlock(&inst->lead);
    for (int i = 0; i < 1000 && __atomic_load_n(&inst->lead_wanted, __ATOMIC_RELAXED) != 0; i++)
        sched_yield();
    return dk_lead_try(inst);
}

/* Who never sleeps would never notice a token that is not outstanding: the array is read whole once
 * a wait takes long. */
static int report_stale(struct dk_waiter *w)
{
    if (w->read_at != UINT64_MAX)
        return 0;
    dk_lock(&w->inst->tokens);
    int r = prepare_sleep(w);
    dk_unlock(&w->inst->tokens);
    return r;
}

/* Drives the instance until w is satisfied. The lead is held on entry, and never on return. AGAIN:
 * it was lost; FOLLOW. */
static int drive(struct dk_waiter *w, int64_t deadline, int64_t now)
{
    struct dk_instance *inst = w->inst;
    bool always = inst->sched.spin_us == UINT32_MAX, slept = false;
    int64_t spin_until = now + dk_spin_ns(inst, INT64_MAX, always ? 0 : w->spun_ns);
    bool spinning = always || inst->sched.spin_us != 0;
    uint32_t looks = 0;
    for (;;) {
        if (spinning || slept || deadline <= now || inst->num_yielded)
            dk_poll_once(inst, now, spinning);
        int r = locked_scan(w);
        if (r == 0 && slept)
            now = dk_instance_now(inst); /* not before: it would delay what the sleep was for */
        if (r == 0 && now >= deadline)
            r = -ETIMEDOUT;
        if (r != 0) {
            dk_spin_adapt(inst, slept);
            dk_lead_drop(inst);
            return r;
        }
        if (__atomic_load_n(&inst->lead_wanted, __ATOMIC_RELAXED) && !give_way(w))
            return AGAIN;
        if (spinning && !slept && ++looks % DK_LOOKS_PER_CLOCK != 0)
            continue;
        now = dk_instance_now(inst);
        if (always && now >= spin_until && (r = report_stale(w)) != 0) {
            dk_lead_drop(inst);
            return r;
        }
        if (inst->num_yielded)
            continue;
        if (always || (now < spin_until && !slept))
            continue;
        r = lead_sleep(w, remaining(deadline, now));
        if (r != 0)
            return r;
        slept = true;
    }
}

/* Leads: drive(), with the thread's name on the door. */
static int lead(struct dk_waiter *w, int64_t deadline, int64_t now)
{
    struct dk_instance *inst = w->inst;
    set_leader(w);
    int r = drive(w, deadline, now);
    uint32_t self = w->thread;
    __atomic_compare_exchange_n(&inst->leader, &self, 0, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    return r;
}

/* Sleeps on its own futex until somebody wakes it: 0 or -ETIMEDOUT. */
static int sleep_as_follower(struct dk_waiter *w, int64_t deadline)
{
    while (__atomic_load_n(&w->futex, __ATOMIC_ACQUIRE) == DK_WAITER_SLEEPS) {
        int64_t timeout_ns = remaining(deadline, dk_instance_now(w->inst));
        if (timeout_ns == 0)
            return -ETIMEDOUT;
        dk_futex_wait(&w->futex, DK_WAITER_SLEEPS, timeout_ns);
    }
    return 0;
}

/* Sleeps until its operation completed, or it is asked to lead. AGAIN: try to lead; LEADS. */
static int follow(struct dk_waiter *w, int64_t deadline)
{
    struct dk_instance *inst = w->inst;
    dk_lock(&inst->tokens);
    int r = prepare_sleep(w);
    if (r == 0)
        enlist(w, DK_WAITER_FOLLOWS);
    bool led = inst->sleeper != NULL;
    dk_unlock(&inst->tokens);
    if (r != 0)
        return r;
    dk_fence(); /* pairs with the one in dk_lead_drop_slow() */
    /* A leader that left before we were on the list has woken nobody: look whether there is one. */
    if (!led && dk_instance_needs_lead(inst) && dk_lead_try(inst)) {
        dk_lock(&inst->tokens);
        delist(w);
        dk_unlock(&inst->tokens);
        return LEADS;
    }
    int slept = sleep_as_follower(w, deadline);
    dk_lock(&inst->tokens);
    delist(w);
    r = scan(w);
    dk_unlock(&inst->tokens);
    if (r == 0)
        r = slept == 0 ? AGAIN : slept;
    return r;
}

/*
 * Takes the lead if it is free. An heir also waits for a caller that has it for the length of a
 * call: going to sleep would only have it woken once more. It does not push a leader aside.
 */
static bool take_turn(struct dk_waiter *w)
{
    struct dk_instance *inst = w->inst;
    if (dk_lead_try(inst))
        return true;
    if (!is_heir(w) || __atomic_load_n(&inst->leader, __ATOMIC_RELAXED) != 0)
        return false;
    dk_lead_take(inst);
    return true;
}

/* Nothing was ready: lead or follow until something is. */
static int wait_slow(struct dk_waiter *w, int64_t timeout_ns)
{
    struct dk_instance *inst = w->inst;
    int64_t now = dk_instance_now(inst);
    int64_t deadline = timeout_ns < 0 || timeout_ns > INT64_MAX - now - 1
                           ? INT64_MAX
                           : now - w->spun_ns + timeout_ns;
    bool leads = dk_lead_try(inst);
    for (;;) {
        int r;
        if (leads)
            r = lead(w, deadline, now);
        else if (now >= deadline)
            r = -ETIMEDOUT;
        else
            r = dk_mt() ? FOLLOW : -EDEADLK;
        if (r == FOLLOW)
            r = follow(w, deadline);
        if (r != AGAIN && r != LEADS)
            return r;
        now = dk_instance_now(inst);
        leads = r == LEADS || take_turn(w);
    }
}

/* Several threads may count down at once: it need not be exact. */
static void poll_sometimes(struct dk_instance *inst)
{
    uint32_t left = __atomic_load_n(&inst->until_poll, __ATOMIC_RELAXED) - 1;
    bool polls = dk_instance_poller(inst) != NULL;
    uint32_t every = polls ? DK_WAIT_POLL_EVERY : DK_WAIT_NO_POLLER;
    bool due = left == 0 || left > every;
    __atomic_store_n(&inst->until_poll, due ? every : left, __ATOMIC_RELAXED);
    if (dk_likely(!due))
        return;
    if (polls && dk_lead_try(inst)) {
        dk_poll_once(inst, dk_instance_now(inst), false);
        dk_lead_drop(inst);
        dk_instance_tell_backlog(inst);
    }
}

/* Waits for what is not there yet. */
static int wait_long(struct dk_waiter *w, int64_t timeout_ns)
{
    struct dk_instance *inst = w->inst;
    int r = wait_slow(w, timeout_ns);
    dk_lock(&inst->tokens);
    w->active = 0;
    w->cancelled = 0;
    inst->num_waiting--;
    bool was_heir = resign(w);
    dk_unlock(&inst->tokens);
    /* Whoever has the lead now sees the other waiters when it gives it up. */
    if (was_heir && dk_lead_try(inst))
        dk_lead_drop(inst);
    dk_instance_tell_backlog(inst);
    return r;
}

/* Scans; what satisfies w ends its wait. */
static int second_look(struct dk_waiter *w, bool alone)
{
    dk_tokens_lock(w->inst, alone);
    int r = scan(w);
    if (dk_likely(r != 0)) {
        w->active = w->cancelled = 0;
        w->inst->num_waiting--;
    }
    dk_tokens_unlock(w->inst, alone);
    return r;
}

static int first_look(struct dk_waiter *w, bool alone)
{
    w->num_out = 0;
    dk_tokens_lock(w->inst, alone);
    w->active = 1;
    w->need = 0;
    w->read_at = UINT64_MAX;
    dk_op_count_fast(w->inst);
    int r = scan(w);
    if (dk_likely(r != 0))
        w->active = w->cancelled = 0;
    else
        w->inst->num_waiting++;
    dk_tokens_unlock(w->inst, alone);
    return r;
}

static uint64_t completions(const struct dk_instance *inst)
{
    return __atomic_load_n(&inst->stats->completions, __ATOMIC_RELAXED);
}

/*
 * Looks at the device, with the lead: once, or, who is alone, until something completes, for as
 * long as it may spin. Between the device and the application it needs no atomic then: each would
 * wait for what was written to memory that another processor reads, as the driver does last.
 */
static void look(struct dk_instance *inst, struct dk_waiter *w, int64_t most_ns, bool alone)
{
    const uint64_t seen = completions(inst);
    const int64_t begun = dk_instance_now(inst);
    const int64_t spin_ns = dk_spin_ns(inst, most_ns, w->spun_ns);
    int64_t now = begun;
    dk_poll_once(inst, now, true);
    if (!alone || completions(inst) != seen)
        return;
    for (uint32_t looks = 1; completions(inst) == seen; looks++) {
        if (looks % DK_LOOKS_PER_CLOCK == 0)
            now = dk_instance_now(inst);
        if (now - begun >= spin_ns || dk_alone_ended()) /* somebody waits for us to be outside */
            break;
        dk_poll_once(inst, now, true);
    }
    w->spun_ns += now - begun;
    if (completions(inst) != seen)
        dk_spin_adapt(inst, false);
}

/*
 * Polls, as a call does that takes the lead for its own length: what a busy server waits for is
 * there already, and the thread need not be a leader for it. Only where it would poll anyhow.
 */
static int poll_and_look(struct dk_waiter *w, int64_t timeout_ns, bool alone)
{
    struct dk_instance *inst = w->inst;
    if (!dk_polls_before_sleep(inst) || !dk_lead_try_now(inst, alone))
        return 0;
    look(inst, w, timeout_ns < 0 ? INT64_MAX : timeout_ns, alone);
    int r = second_look(w, alone);
    dk_lead_drop_now(inst, alone);
    if (r != 0)
        dk_instance_tell_backlog(inst);
    return r;
}

/* Collects an operation that is done. */
static inline bool collect_now(struct dk_instance *inst, const struct dk_waiter *w,
                               demi_qtoken_t token, demi_qresult_t *qr, bool alone)
{
    struct dk_op *op = dk_op_at(token);
    dk_tokens_lock(inst, alone);
    bool done = dk_fast_collect(inst, token, qr);
    if (!done && op->inst == inst && op->state == DK_OP_DONE && dk_op_token(op) == token &&
        dk_likely(!claimed_by_other(op, w))) {
        dk_op_settle(inst); /* its slot becomes the first */
        dk_op_count_fast(inst);
        dk_op_result(op, qr);
        dk_op_collected(op);
        done = true;
    }
    dk_tokens_unlock(inst, alone);
    return done;
}

int dk_wait_look(struct dk_instance *inst, struct dk_waiter *w, demi_qtoken_t token,
                 demi_qresult_t *qr, int64_t most_ns, bool alone)
{
    const struct dk_op *op = dk_op_at(token);
    const bool pends = alone && op->state == DK_OP_PENDING;
    if (!pends && collect_now(inst, w, token, qr, alone))
        return 0;
    if (most_ns <= 0 || !dk_polls_before_sleep(inst) || !dk_lead_try_now(inst, alone))
        return -EAGAIN;
    look(inst, w, most_ns, pends && op->inst == inst && dk_op_token(op) == token);
    const bool done = collect_now(inst, w, token, qr, alone), is_watched = inst->eventfd >= 0;
    dk_lead_drop_now(inst, alone);
    if (done)
        w->spun_ns = 0;
    if (dk_unlikely(is_watched))
        dk_instance_tell_backlog(inst);
    return done ? 0 : -EAGAIN;
}

int dk_wait(struct dk_waiter *w, int64_t timeout_ns)
{
    poll_sometimes(w->inst);
    const bool alone = dk_alone_enter();
    int r = first_look(w, alone);
    if (r == 0 && timeout_ns != 0)
        r = poll_and_look(w, timeout_ns, alone);
    dk_alone_leave(alone);
    if (r == 0)
        r = wait_long(w, timeout_ns);
    w->spun_ns = 0;
    return r > 0 ? 0 : r;
}

void dk_wait_end(struct dk_waiter *w)
{
    dk_lock(&w->inst->tokens);
    w->cancelled = 1;
    dk_waiter_wake(w);
    dk_unlock(&w->inst->tokens);
}

/* Tells whoever waits on a cancelled operation. */
static void notify_cancelled(struct dk_op *op)
{
    if (claim_counts(op, op->waiter)) {
        op->waiter->cancelled = 1;
        dk_waiter_wake(op->waiter);
    }
}

int dk_cancel_mark(struct dk_queue *q, struct dk_op *op, demi_qtoken_t token)
{
    int r = 0;
    dk_lock(&op->inst->tokens);
    if (!dk_op_is_outstanding(op) || dk_op_token(op) != token || op->target != q)
        r = -EINVAL;
    else if (op->state == DK_OP_DONE)
        r = -EALREADY;
    else
        op->state = DK_OP_CANCELLED;
    if (r == 0 && !op->internal)
        notify_cancelled(op);
    dk_unlock(&op->inst->tokens);
    return r;
}

/* Looks a token up: the operation when it is outstanding, and its queue with a hold (*led_out: it
 * is cancelled under the lead); else NULL and the errno. */
static struct dk_op *find_pending(struct dk_instance *inst, demi_qtoken_t token,
                                  struct dk_queue **q_out, bool *led_out, int *error)
{
    dk_lock(&inst->tokens);
    dk_op_settle(inst);
    struct dk_op *op = find(inst, token, error);
    if (op && op->state == DK_OP_DONE) {
        *error = -EALREADY;
        op = NULL;
    }
    if (op) {
        *q_out = op->target;
        *led_out = !op->target->anywhere || op->qr.qr_opcode == DEMI_OPC_CLOSE;
        dk_add_u32(&op->target->holds, 1);
    }
    dk_unlock(&inst->tokens);
    return op;
}

/* Cancels under the lead: what was posted is with its queue, and nothing completes meanwhile. */
static int cancel_led(struct dk_instance *inst, demi_qtoken_t token)
{
    struct dk_queue *q = NULL; /* it may have been passed on to another one since */
    bool led;
    int r = 0;
    dk_lead_take(inst);
    dk_run_posted(inst);
    struct dk_op *op = find_pending(inst, token, &q, &led, &r);
    if (op) {
        r = op->qr.qr_opcode == DEMI_OPC_CLOSE ? q->taker->cancel(q->taker, op)
                                               : q->ops->cancel(q, op, token);
        if (r == 0 && led)
            r = dk_cancel_mark(q, op, token);
        dk_queue_put(q);
    }
    dk_lead_drop(inst);
    return r;
}

int dk_cancel(struct dk_instance *inst, demi_qtoken_t token)
{
    struct dk_queue *q = NULL;
    bool led = false;
    int r = 0;
    struct dk_op *op = find_pending(inst, token, &q, &led, &r);
    if (!op)
        return r;
    r = led ? cancel_led(inst, token) : q->ops->cancel(q, op, token);
    dk_queue_put(q);
    if (r == 0)
        dk_op_release(op);
    dk_taker_run_woken();
    return r;
}
