/* SPDX-License-Identifier: MIT */
/*
 * Targets: where connections go to, and whether they can.
 *
 * All workers share them. What is certain takes a target down at once: it refused a client or a
 * probe, or took no connection of a client in time. Silence to a probe may be a lost packet: that
 * takes `fall` probes in a row. `rise` of them in a row that pass bring it up. Where there are no
 * probes it is tried again after some time, and is up when it took or answered a client.
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
    atomic_ullong failures;    /* that clients met */
    atomic_ullong probes;      /* that passed */
    atomic_ullong lost_probes; /* that did not */
    atomic_uint row;           /* probes in a row that say that `up` is wrong */
    atomic_uint downs;         /* how often it went down */
    atomic_llong retry_ms;     /* down, without probes: when it counts as up again */
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

/* It failed a client. */
void relay_target_failed(struct relay_targets *targets, struct relay_target *target,
                         int64_t now_ms);

/* It took or answered a client, which says nothing where there are probes. */
void relay_target_answered(struct relay_targets *targets, struct relay_target *target);

enum relay_verdict { RELAY_PASSED, RELAY_SILENT, RELAY_REFUSED };

void relay_target_probed(struct relay_targets *targets, struct relay_target *target,
                         enum relay_verdict verdict, int64_t now_ms);

#endif /* RELAY_TARGET_H */
