/* SPDX-License-Identifier: MIT */
/*
 * The loop of a worker (worker.h): take what is ready, act on each, look at the clock.
 *
 * It wakes at least every TICK_MS, which is how it sees that it shall stop: no wait returns early
 * for a signal.
 */
#include "worker.h"

#include <demi/sga.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TICK_MS     100
#define MAX_RESULTS 64

/* Pairs are looked at so many times in the time that they may idle, and so often at most. */
#define SCANS_PER_IDLE 8
#define MAX_SCAN_MS    1000

/* How long the end waits for tokens of sockets that were closed. */
#define CLOSE_MS 1000

static int64_t clock_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- descriptors -------------------------------------------------------------------------- */

bool relay_worker_own(struct relay_worker *w, int qd, enum relay_role role, void *object)
{
    uint32_t size = w->num_owners ? w->num_owners : 64;
    struct relay_owner *owners;

    while (size <= (uint32_t)qd)
        size *= 2;
    if (size > w->num_owners) {
        owners = realloc(w->owners, size * sizeof(*owners));
        if (!owners)
            return false;
        memset(owners + w->num_owners, 0, (size - w->num_owners) * sizeof(*owners));
        w->owners = owners;
        w->num_owners = size;
    }
    w->owners[qd] = (struct relay_owner){role, object};
    return true;
}

void relay_worker_disown(struct relay_worker *w, int qd, const void *object)
{
    if (qd >= 0 && (uint32_t)qd < w->num_owners && w->owners[qd].object == object)
        w->owners[qd] = (struct relay_owner){RELAY_NOBODY, NULL};
}

/* ---- the loop ----------------------------------------------------------------------------- */

static struct relay_owner owner_of(const struct relay_worker *w, const demi_qresult_t *qr)
{
    if ((uint32_t)qr->qr_qd < w->num_owners)
        return w->owners[qr->qr_qd];
    return (struct relay_owner){RELAY_NOBODY, NULL};
}

static void dispatch(struct relay_worker *w, struct relay_owner owner, demi_qresult_t *qr)
{
    if (owner.role == RELAY_LISTENER)
        relay_tcp_accept_result(w, qr);
    else if (owner.role == RELAY_INBOX)
        relay_udp_result(w, qr);
    else if (owner.role == RELAY_PAIR)
        relay_pair_result(owner.object, qr);
    else if (owner.role == RELAY_PROBE)
        relay_probe_result(w, owner.object, qr);
    else if (qr->qr_opcode == DEMI_OPC_POP)
        demi_sgafree(&qr->qr_value.sga); /* of a probe that was ended */
}

/*
 * Waits at most timeout_ms for the first result, and acts on all that are there. Whose they are is
 * looked up before: a descriptor whose last token is among them is free, and acting on one result
 * may give it to somebody else.
 */
static int turn(struct relay_worker *w, int64_t timeout_ms)
{
    demi_qresult_t results[MAX_RESULTS];
    struct relay_owner owners[MAX_RESULTS];
    struct timespec timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000000};
    int n = 0, err = demi_wait_some(results, MAX_RESULTS, &n, &timeout);

    w->now_ms = clock_ms();
    if (err != 0 && err != ETIMEDOUT)
        return err;
    for (int i = 0; i < n; i++)
        owners[i] = owner_of(w, &results[i]);
    for (int i = 0; i < n; i++)
        dispatch(w, owners[i], &results[i]);
    if (w->config->udp)
        relay_udp_take_strays(w);
    return 0;
}

static int64_t scan_interval(const struct relay_config *config)
{
    int64_t least = config->connect_ms;

    if (config->idle_ms > 0 && config->idle_ms < least)
        least = config->idle_ms;
    return least / SCANS_PER_IDLE < MAX_SCAN_MS ? least / SCANS_PER_IDLE : MAX_SCAN_MS;
}

static void scan(struct relay_worker *w)
{
    w->scan_ms = w->now_ms;
    relay_for_each_pair(w, relay_pair_scan);
}

/* Worker 0 reports for all. */
static void report_if_due(struct relay_worker *w)
{
    int64_t every = w->config->stats_ms;
    bool asked = atomic_exchange(&w->shared->report, false);

    if (!asked && (every == 0 || w->now_ms - w->stats_ms < every))
        return;
    if (!asked)
        w->stats_ms = w->now_ms;
    scan(w);
    relay_report(w->shared);
}

static void tick(struct relay_worker *w)
{
    if (w->now_ms - w->tick_ms < TICK_MS)
        return;
    w->tick_ms = w->now_ms;
    if (!w->config->udp)
        relay_tcp_start_accepts(w);
    if (w->now_ms - w->scan_ms >= scan_interval(w->config))
        scan(w);
    if (w->index != 0)
        return;
    if (!w->closing)
        relay_probe_all(w);
    report_if_due(w);
}

static int run_until(struct relay_worker *w, bool (*done)(const struct relay_worker *w),
                     int64_t deadline_ms)
{
    while (!done(w) && w->now_ms < deadline_ms) {
        int err = turn(w, TICK_MS);

        if (err != 0)
            return err;
        tick(w);
    }
    return 0;
}

static bool is_stopped(const struct relay_worker *w)
{
    return atomic_load(&w->shared->stop);
}

static bool is_empty(const struct relay_worker *w)
{
    return w->num_pairs == 0 && w->accepts == 0;
}

static void give_up(struct relay_pair *p)
{
    relay_pair_close(p, true);
}

/* Takes no more clients; those of TCP have some time to end. */
static int drain(struct relay_worker *w)
{
    int err = 0;

    w->closing = true;
    if (w->listen_qd >= 0)
        demi_close(w->listen_qd);
    relay_probe_close_all(w);
    if (!w->config->udp)
        err = run_until(w, is_empty, w->now_ms + w->config->drain_ms);
    relay_for_each_pair(w, give_up);
    return err != 0 ? err : run_until(w, is_empty, w->now_ms + CLOSE_MS);
}

int relay_worker_run(struct relay_worker *w)
{
    int err = run_until(w, is_stopped, INT64_MAX);

    if (err == 0)
        err = drain(w);
    relay_udp_drop_strays(w);
    free(w->owners);
    w->owners = NULL;
    w->num_owners = 0;
    return err;
}

int relay_worker_open(struct relay_worker *w, struct relay_shared *shared, uint32_t index,
                      const char **what_out)
{
    int err;

    memset(w, 0, sizeof(*w));
    w->shared = shared;
    w->config = shared->config;
    w->index = index;
    w->listen_qd = w->inbox_qd = -1;
    pthread_mutex_init(&w->strays.lock, NULL);
    for (uint32_t i = 0; i < w->config->num_targets; i++)
        w->probes[i] = (struct relay_probe){.target = &shared->targets.of[i], .qd = -1};
    *what_out = "demi_init";
    err = demi_init(NULL);
    if (err == 0)
        err = w->config->udp ? relay_udp_listen(w, what_out) : relay_tcp_listen(w, what_out);
    w->now_ms = w->tick_ms = w->scan_ms = w->stats_ms = clock_ms();
    return err;
}
