/* SPDX-License-Identifier: MIT */
/*
 * Timers, as a hierarchy of wheels. The storage is the caller's; not locked; no clock.
 *
 * Times are nanoseconds, not negative. A tick is 2^20 of them (about a millisecond), and each level
 * has 64 slots: a slot of level k is 64^k ticks long. A timer is in the level of the highest group
 * of 6 bits in which its tick differs from the current one, in the slot of those 6 bits. Hence:
 *
 *     everything in a level is due before everything in a higher one
 *     in a level, slots behind the current one are empty: the lowest bit set is due first
 *     when the current tick enters a slot of level k > 0, its timers move to lower levels
 *
 * Eight levels hold any time. The wheel only sorts: a timer fires when its own nanosecond has come,
 * never before, and those that one dk_wheel_advance fires do so in order of due, then of start.
 *
 * A slot knows a time that none of its timers is due before. It is exact unless a timer was
 * stopped: then dk_wheel_next_due may be early, once, and dk_wheel_advance puts it right.
 *
 * A slot's timers stand in the order of their start until some of it fire: then they are put in the
 * order of due, and stay so unless one that is started does not fit. So however often the wheel is
 * advanced within a tick, what is not due yet is not looked at.
 *
 * Of very many timers most are in no cache when their slot is spread, and a list is followed no
 * faster than one line of memory after the other arrives. So slots of levels above 0 have their
 * timers in several lists, which are followed side by side. Timers of one time keep the order of
 * their start there while none of their slot is stopped.
 *
 * Where deadlines mostly move on before they come (dk_wheel.revise), a timer whose slot is spread
 * is asked for its time anew. It then mostly goes back to such a level, and never comes to fire.
 */
#ifndef DK_BASE_TIMER_WHEEL_H
#define DK_BASE_TIMER_WHEEL_H

#include "base/list.h"

#include <stdbool.h>
#include <stdint.h>

#define DK_WHEEL_TICK_SHIFT 20
#define DK_WHEEL_SLOT_BITS  6
#define DK_WHEEL_SLOTS      (1 << DK_WHEEL_SLOT_BITS)
#define DK_WHEEL_LEVELS     8
#define DK_WHEEL_LANES      8

struct dk_timer {
    struct dk_list link;
    int64_t due; /* INT64_MAX: it was not started, or stopped; fire may set it so, too */
    /* Called once, when due has come: the timer is stopped then, and may be started again, or its
     * memory freed. Any timer may be started and stopped in here. */
    void (*fire)(struct dk_timer *timer, int64_t now);
};

struct dk_wheel_slot {
    struct dk_list
        lanes[DK_WHEEL_LANES]; /* of timers, which take turns; in level 0 only the first */
    int64_t not_before;        /* no timer in here is due before */
    int64_t last;              /* or after: of level 0 */
    uint32_t turn;             /* whose the next timer is */
    bool in_order;             /* of due, then of start: of level 0 */
};

struct dk_wheel {
    uint64_t tick;                  /* the current one */
    uint64_t used[DK_WHEEL_LEVELS]; /* slots that are not empty */
    uint32_t levels_used;           /* levels with a slot that is not empty */
    bool advancing;                 /* in dk_wheel_advance */
    int64_t now;                    /* of the dk_wheel_advance that runs, or ran last */
    int64_t idle_until;             /* nothing is due before */
    int64_t *none_before;           /* is lowered to that, too; or NULL */
    struct dk_list firing;          /* taken out to be fired, in order */
    struct dk_list waiting;         /* started while advancing, for a time that has come */
    /* When a timer is due after all, not before its due; INT64_MAX: not at all, it is stopped.
     * Looks at no other timer, starts and stops none. What it reads lies within a line of memory of
     * the timer's own, or costs its time. At first it says what they were started for. */
    int64_t (*revise)(struct dk_timer *timer);
    struct dk_wheel_slot slots[DK_WHEEL_LEVELS * DK_WHEEL_SLOTS]; /* level by level */
};

void dk_wheel_init(struct dk_wheel *wheel, int64_t now);

static inline void dk_timer_init(struct dk_timer *timer,
                                 void (*fire)(struct dk_timer *timer, int64_t now))
{
    dk_list_init(&timer->link);
    timer->due = INT64_MAX;
    timer->fire = fire;
}

/* Whether it was started, and has neither fired nor been stopped. */
static inline bool dk_timer_is_running(const struct dk_timer *timer)
{
    return !dk_list_empty(&timer->link);
}

/* Starts a timer, or starts it anew with another time. One that is due already fires in the next
 * dk_wheel_advance, not in one that is running: each timer fires at most once in one call. */
void dk_timer_start(struct dk_wheel *wheel, struct dk_timer *timer, int64_t due);

/* Stops it; of one that does not run: nothing. */
void dk_timer_stop(struct dk_wheel *wheel, struct dk_timer *timer);

/* Fires what is due. Not to be called by a timer's function. A `now` before the last one: the last
 * one. */
void dk_wheel_advance(struct dk_wheel *wheel, int64_t now);

/* Whether dk_wheel_advance may have something to do: cheap enough to be asked with each packet. */
static inline bool dk_wheel_is_due(const struct dk_wheel *wheel, int64_t now)
{
    return now >= wheel->idle_until;
}

/* When dk_wheel_advance is to be called: not after the first timer is due; INT64_MAX: none runs. */
int64_t dk_wheel_next_due(const struct dk_wheel *wheel);

#endif /* DK_BASE_TIMER_WHEEL_H */
