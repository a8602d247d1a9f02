/* SPDX-License-Identifier: MIT */
/*
 * How long a thread looks at the device over and over before it sleeps, and how.
 */
#ifndef DK_CORE_SPIN_H
#define DK_CORE_SPIN_H

#include "core/instance.h"

/* Looks at the device for one at the clock. Reading it takes longer than they do, and so does a
 * pause: either would be how late that is seen which arrives. */
#define DK_LOOKS_PER_CLOCK 8u

/* A thread that never sleeps looks for stale tokens after this time. */
#define DK_STALE_CHECK_NS 50000

/* For how long it spins, at most, when it has for spun_ns; who never sleeps: until it looks for
 * stale tokens. */
static inline int64_t dk_spin_ns(const struct dk_instance *inst, int64_t most_ns, int64_t spun_ns)
{
    const int64_t ns =
        inst->sched.spin_us == UINT32_MAX ? DK_STALE_CHECK_NS : (int64_t)inst->spin_budget_ns;
    return (most_ns < ns ? most_ns : ns) - spun_ns;
}

/* Spins longer when spinning found the result, less when it ended in sleep. */
static inline void dk_spin_adapt(struct dk_instance *inst, bool slept)
{
    uint32_t max = inst->sched.spin_us;
    if (max == UINT32_MAX || max == 0)
        return;
    uint32_t floor = max * 1000 / 16;
    uint32_t budget = slept ? inst->spin_budget_ns / 2 : inst->spin_budget_ns * 2;
    inst->spin_budget_ns = budget < floor ? floor : budget > max * 1000 ? max * 1000 : budget;
}

#endif /* DK_CORE_SPIN_H */
