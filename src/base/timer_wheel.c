/* SPDX-License-Identifier: MIT */
/*
 * See timer_wheel.h for where a timer lies and why the lowest slot is the first that is due.
 */
#include "base/timer_wheel.h"

#include "base/compiler.h"

#include <assert.h>
#include <stddef.h>

#define LINE      64
#define SORT_BINS 48 /* 2^48 timers */

static inline uint64_t tick_of(int64_t time)
{
    return time < 0 ? 0 : (uint64_t)time >> DK_WHEEL_TICK_SHIFT;
}

static inline struct dk_timer *timer_of(struct dk_list *link)
{
    return dk_container_of(link, struct dk_timer, link);
}

/* Of a wheel whose timers are due when they were started for. */
static int64_t as_started(struct dk_timer *timer)
{
    return timer->due;
}

void dk_wheel_init(struct dk_wheel *wheel, int64_t now)
{
    *wheel = (struct dk_wheel){
        .tick = tick_of(now), .now = now, .idle_until = INT64_MAX, .revise = as_started};
    dk_list_init(&wheel->firing);
    dk_list_init(&wheel->waiting);
    for (int slot = 0; slot < DK_WHEEL_LEVELS * DK_WHEEL_SLOTS; slot++)
        for (int lane = 0; lane < DK_WHEEL_LANES; lane++)
            dk_list_init(&wheel->slots[slot].lanes[lane]);
}

/* A slot that was empty has its first timer. */
static inline void begin_slot(struct dk_wheel *wheel, unsigned level, uint64_t bit,
                              struct dk_wheel_slot *slot, int64_t due)
{
    wheel->used[level] |= bit;
    wheel->levels_used |= 1u << level;
    slot->not_before = slot->last = due;
    slot->in_order = true;
    slot->turn = 0;
}

/* Where the next timer of a slot goes. */
static inline struct dk_list *next_lane(struct dk_wheel_slot *slot, unsigned level, int64_t due)
{
    if (dk_likely(level > 0))
        return &slot->lanes[slot->turn++ % DK_WHEEL_LANES];
    slot->in_order &= due >= slot->last;
    if (due > slot->last)
        slot->last = due;
    return &slot->lanes[0];
}

/* Something is due earlier than all before. */
static void idle_less(struct dk_wheel *wheel, int64_t due)
{
    wheel->idle_until = due;
    if (wheel->none_before && due < *wheel->none_before)
        *wheel->none_before = due;
}

/* Puts a timer into the slot of its time; one that is overdue into the current one. Written for few
 * instructions: of very many timers each comes by here some times in a second. */
static void put(struct dk_wheel *wheel, struct dk_timer *timer)
{
    const int64_t due = timer->due;
    const uint64_t now = wheel->tick, at = tick_of(due), tick = at < now ? now : at;
    const uint64_t differs = (tick ^ now) | 1; /* level 0 where they do not */
    const unsigned level = (63u - (unsigned)__builtin_clzll(differs)) / DK_WHEEL_SLOT_BITS;
    const unsigned index = (tick >> level * DK_WHEEL_SLOT_BITS) % DK_WHEEL_SLOTS;
    struct dk_wheel_slot *slot = &wheel->slots[level * DK_WHEEL_SLOTS + index];
    dk_forget(slot); /* computed once */
    const uint64_t bit = (uint64_t)1 << index;
    if (dk_unlikely(!(wheel->used[level] & bit)))
        begin_slot(wheel, level, bit, slot, due);
    else if (dk_unlikely(due < slot->not_before))
        slot->not_before = due;
    if (dk_unlikely(due < wheel->idle_until))
        idle_less(wheel, due);
    dk_list_add_tail(next_lane(slot, level, due), &timer->link);
}

static void mark_empty(struct dk_wheel *wheel, size_t number)
{
    size_t level = number / DK_WHEEL_SLOTS;
    wheel->used[level] &= ~((uint64_t)1 << number % DK_WHEEL_SLOTS);
    if (wheel->used[level] == 0)
        wheel->levels_used &= ~(1u << level);
}

void dk_timer_start(struct dk_wheel *wheel, struct dk_timer *timer, int64_t due)
{
    dk_timer_stop(wheel, timer);
    timer->due = due;
    if (wheel->advancing && due <= wheel->now)
        dk_list_add_tail(&wheel->waiting, &timer->link);
    else
        put(wheel, timer);
}

static bool is_empty(const struct dk_wheel_slot *slot)
{
    for (int lane = 0; lane < DK_WHEEL_LANES; lane++)
        if (!dk_list_empty(&slot->lanes[lane]))
            return false;
    return true;
}

void dk_timer_stop(struct dk_wheel *wheel, struct dk_timer *timer)
{
    if (!dk_timer_is_running(timer))
        return;
    struct dk_list *next = timer->link.next;
    bool alone = next == timer->link.prev; /* then it is the head of a lane, or of another list */
    dk_list_del_init(&timer->link);
    timer->due = INT64_MAX;
    uintptr_t offset = (uintptr_t)next - (uintptr_t)wheel->slots;
    size_t number = offset / sizeof(struct dk_wheel_slot);
    if (alone && offset < sizeof(wheel->slots) && is_empty(&wheel->slots[number]))
        mark_empty(wheel, number);
}

/* Finds the first slot that is not empty, and its first tick. false: all are. */
static bool first_slot(const struct dk_wheel *wheel, size_t *number_out, uint64_t *tick_out)
{
    if (wheel->levels_used == 0)
        return false;
    unsigned level = (unsigned)__builtin_ctz(wheel->levels_used);
    unsigned index = (unsigned)__builtin_ctzll(wheel->used[level]);
    unsigned shift = level * DK_WHEEL_SLOT_BITS;
    uint64_t above = wheel->tick >> shift >> DK_WHEEL_SLOT_BITS;
    *tick_out = (above << DK_WHEEL_SLOT_BITS | index) << shift;
    *number_out = level * DK_WHEEL_SLOTS + index;
    return true;
}

/* Takes all timers out of a list: a chain that ends with NULL. */
static struct dk_list *detach(struct dk_list *head)
{
    struct dk_list *first = dk_list_first(head);
    head->prev->next = NULL;
    dk_list_init(head);
    return first;
}

/* Puts a timer of a detached chain where it belongs now; returns the next. */
static struct dk_list *put_first(struct dk_wheel *wheel, struct dk_list *link)
{
    struct dk_list *next = link->next;
    struct dk_timer *timer = timer_of(link);
    __builtin_prefetch(next, 1);
    __builtin_prefetch((const void *)((uintptr_t)next - LINE)); /* next may be NULL */
    __builtin_prefetch((const void *)((uintptr_t)next + LINE));
    timer->due = wheel->revise(timer);
    if (dk_unlikely(timer->due == INT64_MAX))
        dk_list_init(link);
    else
        put(wheel, timer);
    return next;
}

/* Distributes the timers of a slot that the current tick has entered to lower levels, or others.
 * The lower ones are empty, so timers of one time stay in the order of their start. */
static void spread(struct dk_wheel *wheel, size_t number)
{
    struct dk_wheel_slot *slot = &wheel->slots[number];
    struct dk_list *chains[DK_WHEEL_LANES];
    for (int i = 0; i < DK_WHEEL_LANES; i++)
        chains[i] = detach(&slot->lanes[i]);
    mark_empty(wheel, number);
    for (bool more = true; more;) {
        more = false;
        for (int i = 0; i < DK_WHEEL_LANES; i++) {
            if (!chains[i])
                continue;
            chains[i] = put_first(wheel, chains[i]);
            more = true;
        }
    }
}

/* Merges two chains that are in order and end with NULL; of equal times a's come first. */
static struct dk_list *merge(struct dk_list *a, struct dk_list *b)
{
    struct dk_list *first = NULL, **at = &first;
    while (a != NULL && b != NULL) {
        struct dk_list **least = timer_of(b)->due < timer_of(a)->due ? &b : &a;
        *at = *least;
        at = &(*least)->next;
        *least = *at;
    }
    *at = a != NULL ? a : b;
    return first;
}

/* Puts a list in order of due: merge sort, which keeps the order of equals. bins[i] holds 2^i. */
static void sort(struct dk_list *head)
{
    struct dk_list *bins[SORT_BINS] = {NULL}, *sorted = NULL;
    head->prev->next = NULL;
    for (struct dk_list *link = head->next, *next; link != NULL; link = next) {
        int i = 0;
        next = link->next;
        link->next = NULL;
        for (; bins[i] != NULL; bins[i++] = NULL)
            link = merge(bins[i], link);
        bins[i] = link;
    }
    for (int i = 0; i < SORT_BINS; i++)
        sorted = merge(bins[i], sorted);
    dk_list_init(head);
    for (struct dk_list *next; sorted != NULL; sorted = next) {
        next = sorted->next;
        dk_list_add_tail(head, sorted);
    }
}

/* Takes what is due out of a slot, in order; what remains decides how early the slot is due. The
 * timers are in memory that nobody has touched for a while: what stands before each, and is
 * probably what its function looks at first, is asked for early. */
static void take_due(struct dk_wheel *wheel, size_t number)
{
    struct dk_wheel_slot *slot = &wheel->slots[number];
    struct dk_list *link;
    if (!slot->in_order)
        sort(&slot->lanes[0]);
    slot->in_order = true;
    while ((link = dk_list_first(&slot->lanes[0])) != NULL && timer_of(link)->due <= wheel->now) {
        __builtin_prefetch((const char *)link - LINE);
        dk_list_del(link);
        dk_list_add_tail(&wheel->firing, link);
    }
    if (link != NULL)
        slot->not_before = timer_of(link)->due;
    else
        mark_empty(wheel, number);
}

static void fire_taken(struct dk_wheel *wheel)
{
    struct dk_list *link;
    while ((link = dk_list_first(&wheel->firing)) != NULL) {
        struct dk_timer *timer = timer_of(link);
        dk_list_del_init(link);
        timer->fire(timer, wheel->now); /* it may be gone afterwards */
    }
}

void dk_wheel_advance(struct dk_wheel *wheel, int64_t now)
{
    assert(!wheel->advancing);
    wheel->now = now > wheel->now ? now : wheel->now;
    wheel->advancing = true;
    size_t number;
    uint64_t tick, last = tick_of(wheel->now);
    while (first_slot(wheel, &number, &tick) && tick <= last) {
        wheel->tick = tick;
        if (number >= DK_WHEEL_SLOTS) {
            spread(wheel, number);
            continue;
        }
        if (wheel->slots[number].not_before > wheel->now)
            break; /* the current one, and nothing in it is due yet */
        take_due(wheel, number);
        fire_taken(wheel);
    }
    wheel->tick = last;
    wheel->advancing = false;
    wheel->idle_until = dk_wheel_next_due(wheel);
    struct dk_list *link;
    while ((link = dk_list_first(&wheel->waiting)) != NULL) {
        dk_list_del(link);
        put(wheel, timer_of(link));
    }
}

int64_t dk_wheel_next_due(const struct dk_wheel *wheel)
{
    size_t number;
    uint64_t tick;
    if (!first_slot(wheel, &number, &tick))
        return INT64_MAX;
    return wheel->slots[number].not_before;
}
