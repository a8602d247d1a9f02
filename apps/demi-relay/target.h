/* SPDX-License-Identifier: MIT */
/*
 * Targets: where connections go to, and whether they can.
 *
 * All workers share them. A target that refuses a connection, of a client or of a probe, is down;
 * one that a probe reaches is up again. Where there are no probes it is tried again after some
 * time.
 */
#ifndef RELAY_TARGET_H
#define RELAY_TARGET_H

#include "config.h"

#include <stdatomic.h>

struct relay_target {
    const struct relay_address *addr;
    const char *name;
    atomic_bool up;
    atomic_uint active; /* connections that were given to it and have not ended */
    atomic_ullong total;
    atomic_ullong failures;
    atomic_llong retry_ms; /* down, without probes: when it counts as up again */
};

struct relay_targets {
    const struct relay_config *config;
    struct relay_target of[RELAY_MAX_TARGETS];
    atomic_uint turn;
};

void relay_targets_init(struct relay_targets *targets, const struct relay_config *config);

/*
 * Chooses a target for a client, and counts it there; `tried` are those (by bit) that have failed
 * this client. NULL when none is up.
 */
struct relay_target *relay_target_choose(struct relay_targets *targets,
                                         const struct sockaddr *client, uint64_t tried,
                                         int64_t now_ms);

/* A connection that was given to it ended. */
void relay_target_release(struct relay_target *target);

void relay_target_failed(struct relay_targets *targets, struct relay_target *target,
                         int64_t now_ms);
void relay_target_answered(struct relay_target *target);

#endif /* RELAY_TARGET_H */
