/* SPDX-License-Identifier: MIT */
/*
 * Targets (target.h).
 */
#include "target.h"

#include <stdio.h>

/* How long a target stays down when no probe says otherwise. */
#define RETRY_MS 2000

void relay_targets_init(struct relay_targets *targets, const struct relay_config *config)
{
    targets->config = config;
    atomic_init(&targets->turn, 0);
    for (uint32_t i = 0; i < config->num_targets; i++) {
        struct relay_target *target = &targets->of[i];

        target->addr = &config->targets[i];
        target->name = config->target_names[i];
        atomic_init(&target->up, true);
        atomic_init(&target->active, 0);
        atomic_init(&target->total, 0);
        atomic_init(&target->failures, 0);
        atomic_init(&target->probes, 0);
        atomic_init(&target->lost_probes, 0);
        atomic_init(&target->row, 0);
        atomic_init(&target->downs, 0);
        atomic_init(&target->retry_ms, 0);
    }
}

static bool is_usable(const struct relay_targets *targets, const struct relay_target *target,
                      int64_t now_ms)
{
    return atomic_load(&target->up) ||
           (!relay_is_probed(targets->config) && now_ms >= atomic_load(&target->retry_ms));
}

/* Where the search begins. */
static uint32_t first_of(struct relay_targets *targets, const struct sockaddr *client)
{
    if (targets->config->choice == RELAY_HASH)
        return relay_hash(client, false);
    return atomic_fetch_add(&targets->turn, 1);
}

struct relay_target *relay_target_choose(struct relay_targets *targets,
                                         const struct sockaddr *client, uint64_t tried,
                                         int64_t now_ms)
{
    uint32_t n = targets->config->num_targets, first = first_of(targets, client);
    struct relay_target *best = NULL;

    for (uint32_t k = 0; k < n; k++) {
        uint32_t i = (first + k) % n;
        struct relay_target *target = &targets->of[i];

        if (tried >> i & 1 || !is_usable(targets, target, now_ms))
            continue;
        if (!best || atomic_load(&target->active) < atomic_load(&best->active))
            best = target;
        if (targets->config->choice != RELAY_LEAST)
            break;
    }
    if (best) {
        atomic_fetch_add(&best->active, 1);
        atomic_fetch_add(&best->total, 1);
    }
    return best;
}

void relay_target_release(struct relay_target *target)
{
    atomic_fetch_sub(&target->active, 1);
}

static void set_down(struct relay_targets *targets, struct relay_target *target, int64_t now_ms)
{
    atomic_store(&target->row, 0);
    atomic_store(&target->retry_ms, now_ms + RETRY_MS);
    if (!atomic_exchange(&target->up, false))
        return;
    atomic_fetch_add(&target->downs, 1);
    fprintf(stderr, "demi-relay: target %s is down%s\n", target->name,
            relay_is_probed(targets->config) ? ", probing it" : "");
}

static void set_up(struct relay_target *target)
{
    atomic_store(&target->row, 0);
    if (!atomic_exchange(&target->up, true))
        fprintf(stderr, "demi-relay: target %s is up\n", target->name);
}

void relay_target_failed(struct relay_targets *targets, struct relay_target *target, int64_t now_ms)
{
    atomic_fetch_add(&target->failures, 1);
    set_down(targets, target, now_ms);
}

void relay_target_answered(struct relay_targets *targets, struct relay_target *target)
{
    if (!atomic_load(&target->up) && !relay_is_probed(targets->config))
        set_up(target);
}

void relay_target_probed(struct relay_targets *targets, struct relay_target *target,
                         enum relay_verdict verdict, int64_t now_ms)
{
    bool passed = verdict == RELAY_PASSED, up = atomic_load(&target->up);

    atomic_fetch_add(passed ? &target->probes : &target->lost_probes, 1);
    if (verdict == RELAY_REFUSED)
        set_down(targets, target, now_ms);
    else if (passed == up)
        atomic_store(&target->row, 0);
    else if (atomic_fetch_add(&target->row, 1) + 1 <
             (up ? targets->config->fall : targets->config->rise))
        return;
    else if (up)
        set_down(targets, target, now_ms);
    else
        set_up(target);
}
