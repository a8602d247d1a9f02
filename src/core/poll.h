/* SPDX-License-Identifier: MIT */
/*
 * One look at the device, and at what was left to do.
 */
#ifndef DK_CORE_POLL_H
#define DK_CORE_POLL_H

#include "core/taker.h"

/* The lead is held; spinning: as dk_poller_ops.poll. */
static inline void dk_poll_once(struct dk_instance *inst, int64_t now, bool spinning)
{
    dk_taker_resume(inst);
    dk_run_posted(inst);
    if (inst->poller) {
        dk_count(&inst->stats->polls, 1);
        inst->poller->ops->poll(inst->poller, now, spinning);
        dk_run_posted(inst); /* takers of what arrived */
    }
}

/* The same with the time of now, spinning, where something was left to do. */
void dk_poll_now_other(struct dk_instance *inst);

/* The same of an instance that has a device, where mostly nothing was left. */
static inline __attribute__((always_inline)) void dk_poll_now(struct dk_instance *inst)
{
    if (dk_unlikely((inst->num_yielded | __atomic_load_n(&inst->num_posted, __ATOMIC_ACQUIRE)) !=
                    0)) {
        dk_poll_now_other(inst);
        return;
    }
    dk_count(&inst->stats->polls, 1);
    const int64_t now = dk_instance_now(inst); /* first: nothing else has to outlive that */
    inst->poller->ops->poll(inst->poller, now, true);
    dk_run_posted(inst);
}

/* Whether a wait looks before it sleeps. */
static inline bool dk_polls_before_sleep(const struct dk_instance *inst)
{
    return dk_instance_poller(inst) && inst->sched.spin_us != 0;
}

#endif /* DK_CORE_POLL_H */
