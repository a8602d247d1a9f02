/* SPDX-License-Identifier: MIT */
/*
 * Pairs (worker.h).
 */
#include "worker.h"

#include <demi/queue.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct relay_pair *relay_pair_create(struct relay_worker *w, int client_qd,
                                     const struct sockaddr *client, socklen_t len)
{
    struct relay_pair *p = calloc(1, sizeof(*p)); /* freed by free_if_done */

    if (!p || !relay_worker_own(w, client_qd, RELAY_PAIR, p)) {
        free(p);
        demi_close(client_qd);
        return NULL;
    }
    p->worker = w;
    p->client_qd = client_qd;
    p->filter_qd = p->server_qd = -1;
    memcpy(&p->client.storage, client, len);
    p->client.len = len;
    p->active_ms = w->now_ms;
    p->next = w->pairs;
    if (p->next)
        p->next->prev = p;
    w->pairs = p;
    w->num_pairs++;
    atomic_fetch_add(&w->shared->active, 1);
    return p;
}

static void free_if_done(struct relay_pair *p)
{
    struct relay_worker *w = p->worker;

    if (p->state != RELAY_CLOSED || p->pending > 0)
        return;
    relay_worker_disown(w, p->client_qd, p);
    relay_worker_disown(w, p->filter_qd, p);
    relay_worker_disown(w, p->server_qd, p);
    if (p->prev)
        p->prev->next = p->next;
    else
        w->pairs = p->next;
    if (p->next)
        p->next->prev = p->prev;
    w->num_pairs--;
    free(p);
}

/* What passed through a socket since the last look; nothing where there is none. */
static struct demi_traffic news_of(int qd, struct demi_traffic *seen)
{
    struct demi_traffic now, news = {0};
    socklen_t len = sizeof(now);

    if (qd < 0 || demi_getsockopt(qd, SOL_DEMI, DEMI_TRAFFIC, &now, &len) != 0)
        return news;
    news.popped = now.popped - seen->popped;
    news.pushed = now.pushed - seen->pushed;
    news.pushed_bytes = now.pushed_bytes - seen->pushed_bytes;
    *seen = now;
    return news;
}

/* Counts what moved since the last look: true when something did. */
static bool count_traffic(struct relay_pair *p)
{
    struct relay_counters *counters = &p->worker->counters;
    struct demi_traffic client = news_of(p->client_qd, &p->seen[0]);
    struct demi_traffic target = {0};

    if (p->state == RELAY_JOINED)
        target = news_of(p->server_qd, &p->seen[1]);
    relay_count(&counters->to_targets, target.pushed_bytes);
    relay_count(&counters->to_clients, client.pushed_bytes);
    if (p->worker->config->udp && p->target && client.pushed > 0)
        relay_target_answered(&p->worker->shared->targets, p->target);
    return client.popped > 0 || client.pushed_bytes > 0 || client.pushed > 0 ||
           target.pushed_bytes > 0 || target.pushed > 0;
}

/* Once only: a descriptor that is closed may be somebody else's soon. */
void relay_close_socket(int qd, bool reset)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};

    if (reset)
        demi_setsockopt(qd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    demi_close(qd);
}

void relay_pair_close(struct relay_pair *p, bool reset)
{
    if (p->state == RELAY_CLOSED)
        return;
    count_traffic(p);
    p->state = RELAY_CLOSED;
    if (p->worker->config->udp)
        relay_udp_forget(p);
    if (p->filter_qd >= 0)
        demi_close(p->filter_qd);
    relay_close_socket(p->client_qd, reset);
    if (p->server_qd >= 0 && !p->timed_out)
        relay_close_socket(p->server_qd, reset);
    if (p->target)
        relay_target_release(p->target);
    p->target = NULL;
    atomic_fetch_sub(&p->worker->shared->active, 1);
    free_if_done(p);
}

/* ---- the end ------------------------------------------------------------------------------ */

/* Whether the socket met an error, or of a connection, whether one waits to be met. */
static bool has_failed(int qd)
{
    int failed = 0;
    socklen_t len = sizeof(failed);

    return demi_getsockopt(qd, SOL_DEMI, DEMI_FAILED, &failed, &len) == 0 && failed != 0;
}

/* EPIPE: a reset after the end. ECONNREFUSED: nobody takes the datagrams. */
static bool is_reset(int error)
{
    return error == ECONNRESET || error == EPIPE || error == ECONNREFUSED;
}

bool relay_is_unreachable(int error)
{
    return error == ECONNREFUSED || error == EHOSTUNREACH || error == ENETUNREACH;
}

/* An error of one side: the other cannot go on either. */
static void fail(struct relay_pair *p, int error, bool by_client, bool by_target)
{
    struct relay_worker *w = p->worker;

    if (w->config->udp && by_target && relay_is_unreachable(error))
        relay_target_failed(&w->shared->targets, p->target, w->now_ms);
    if (is_reset(error) && by_client)
        relay_count(&w->counters.client_resets, 1);
    else if (is_reset(error) && by_target)
        relay_count(&w->counters.target_resets, 1);
    else
        relay_count(&w->counters.failed, 1);
    relay_pair_close(p, true);
}

/* Has everything move from one to the other. 0 or an errno: ENOTCONN when `to` was reset. */
static int start_way(struct relay_pair *p, demi_qtoken_t *watch, int from, int to)
{
    int err = demi_qconnect_watch(watch, from, to);

    if (err == 0) {
        p->ways++;
        p->pending++;
    }
    return err;
}

void relay_pair_join(struct relay_pair *p)
{
    int from_client = p->filter_qd >= 0 ? p->filter_qd : p->client_qd;
    int to_target = start_way(p, &p->watches[0], from_client, p->server_qd);
    int to_client = start_way(p, &p->watches[1], p->server_qd, p->client_qd);

    p->state = RELAY_JOINED;
    p->active_ms = p->worker->now_ms;
    if (to_client != 0)
        fail(p, to_client == ENOTCONN ? ECONNRESET : to_client, true, false);
    else if (to_target != 0)
        fail(p, to_target == ENOTCONN ? ECONNRESET : to_target, false, true);
}

/* A way ended: the other may go on, for as long as it likes. */
static void way_ended(struct relay_pair *p, const demi_qresult_t *qr)
{
    p->ways--;
    p->active_ms = p->worker->now_ms;
    if (qr->qr_opcode == DEMI_OPC_FAILED)
        fail(p, (int)qr->qr_ret, has_failed(p->client_qd), has_failed(p->server_qd));
    else if (p->ways == 0)
        relay_pair_close(p, false);
}

static void connected(struct relay_pair *p)
{
    relay_target_answered(&p->worker->shared->targets, p->target);
    relay_pair_join(p);
}

void relay_pair_result(struct relay_pair *p, const demi_qresult_t *qr)
{
    bool watch = qr->qr_qt == p->watches[0] || qr->qr_qt == p->watches[1];

    p->pending--;
    if (p->state == RELAY_CLOSED)
        free_if_done(p);
    else if (p->state == RELAY_CONNECTING && qr->qr_opcode == DEMI_OPC_CONNECT && !p->timed_out)
        connected(p);
    else if (p->state == RELAY_CONNECTING)
        relay_tcp_connect_failed(p);
    else if (watch)
        way_ended(p, qr);
}

/* The client's next datagram gets a target that is up: of one that is silent no error tells. */
static void leave_target_that_went_down(struct relay_pair *p)
{
    if (atomic_load(&p->target->downs) == p->downs)
        return;
    relay_count(&p->worker->counters.moved, 1);
    relay_pair_close(p, false);
}

/* A reset of a side that is held back by the other, or has ended and is not sent to, meets nothing
 * that would tell of it. */
static void look_for_resets(struct relay_pair *p)
{
    bool by_client = has_failed(p->client_qd), by_target = has_failed(p->server_qd);

    if (by_client || by_target)
        fail(p, ECONNRESET, by_client, by_target);
}

void relay_pair_scan(struct relay_pair *p)
{
    struct relay_worker *w = p->worker;
    int64_t quiet;

    if (count_traffic(p))
        p->active_ms = w->now_ms;
    quiet = w->now_ms - p->active_ms;
    if (p->state == RELAY_CONNECTING && quiet >= w->config->connect_ms && !p->timed_out) {
        p->timed_out = true;
        demi_close(p->server_qd); /* the connect fails with ECANCELED */
    } else if (p->state == RELAY_JOINED && w->config->idle_ms > 0 && quiet >= w->config->idle_ms) {
        relay_count(&w->counters.idle, 1);
        relay_pair_close(p, true);
    } else if (p->state == RELAY_JOINED && w->config->udp) {
        leave_target_that_went_down(p);
    } else if (p->state == RELAY_JOINED) {
        look_for_resets(p);
    }
}

void relay_for_each_pair(struct relay_worker *w, void (*fn)(struct relay_pair *p))
{
    struct relay_pair *next;

    for (struct relay_pair *p = w->pairs; p; p = next) {
        next = p->next;
        if (p->state != RELAY_CLOSED)
            fn(p);
    }
}
