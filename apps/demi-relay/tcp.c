/* SPDX-License-Identifier: MIT */
/*
 * TCP: clients that come, connections to targets.
 */
#include "worker.h"

#include <errno.h>
#include <string.h>

/* Accepts outstanding. */
#define MAX_ACCEPTS 4

int relay_tcp_listen(struct relay_worker *w, const char **what_out)
{
    struct relay_address addr = w->shared->listen;
    int err;

    *what_out = "socket";
    if ((err = demi_socket(&w->listen_qd, addr.sa.sa_family, SOCK_STREAM, 0)) != 0)
        return err;
    *what_out = "bind";
    if ((err = demi_bind(w->listen_qd, &addr.sa, addr.len)) != 0)
        return err;
    *what_out = "listen";
    if ((err = demi_listen(w->listen_qd, (int)w->config->backlog)) != 0)
        return err;
    *what_out = "getsockname";
    if ((err = demi_getsockname(w->listen_qd, &addr.sa, &addr.len)) != 0)
        return err;
    if (w->index == 0) /* the others are not there yet */
        w->shared->listen = addr;
    if (!relay_worker_own(w, w->listen_qd, RELAY_LISTENER, w))
        return ENOMEM;
    relay_tcp_start_accepts(w);
    return 0;
}

/* One that cannot be issued, or fails, is tried again at the next tick. */
void relay_tcp_start_accepts(struct relay_worker *w)
{
    demi_qtoken_t token;

    while (!w->closing && w->accepts < MAX_ACCEPTS && demi_accept(&token, w->listen_qd) == 0)
        w->accepts++;
}

/* Starts to connect to a target; 0 or an errno. */
static int start_connect(struct relay_pair *p)
{
    const struct relay_address *addr = p->target->addr;
    demi_qtoken_t token;
    int err = demi_socket(&p->server_qd, addr->sa.sa_family, SOCK_STREAM, 0);

    if (err != 0) {
        p->server_qd = -1;
        return err;
    }
    if (!relay_worker_own(p->worker, p->server_qd, RELAY_PAIR, p))
        err = ENOMEM;
    if (err == 0)
        err = demi_connect(&token, p->server_qd, &addr->sa, addr->len);
    if (err != 0) {
        relay_worker_disown(p->worker, p->server_qd, p);
        demi_close(p->server_qd);
        p->server_qd = -1;
        return err;
    }
    p->pending++;
    return 0;
}

/* Finds a target for the client; without one it is reset: an end would be an empty answer. */
static void find_target(struct relay_pair *p)
{
    struct relay_worker *w = p->worker;
    struct relay_targets *targets = &w->shared->targets;

    p->active_ms = w->now_ms;
    p->target = relay_target_choose(targets, &p->client.sa, p->tried, w->now_ms);
    if (p->target && start_connect(p) == 0)
        return;
    relay_count(&w->counters.unreachable, 1);
    relay_pair_close(p, true);
}

void relay_tcp_connect_failed(struct relay_pair *p)
{
    struct relay_worker *w = p->worker;
    struct relay_targets *targets = &w->shared->targets;

    relay_worker_disown(w, p->server_qd, p);
    if (!p->timed_out)
        demi_close(p->server_qd);
    p->timed_out = false;
    p->server_qd = -1;
    p->tried |= UINT64_C(1) << (p->target - targets->of);
    relay_target_failed(targets, p->target, w->now_ms);
    relay_target_release(p->target);
    p->target = NULL;
    find_target(p);
}

/* Whether a client is served; if not, its connection is reset. */
static bool is_welcome(struct relay_worker *w, int qd, const struct relay_address *client)
{
    bool allowed = relay_is_allowed(w->config, &client->sa);
    bool room = atomic_load(&w->shared->active) < w->config->max_connections;

    if (allowed && room && !w->closing)
        return true;
    relay_count(allowed ? &w->counters.refused : &w->counters.denied, 1);
    relay_close_socket(qd, true);
    return false;
}

static void accepted(struct relay_worker *w, int qd)
{
    struct relay_address client = {.len = sizeof(client.storage)};
    struct relay_pair *p;

    relay_count(&w->counters.clients, 1);
    if (demi_getpeername(qd, &client.sa, &client.len) != 0) { /* it is gone already */
        demi_close(qd);
        return;
    }
    if (!is_welcome(w, qd, &client))
        return;
    p = relay_pair_create(w, qd, &client.sa, client.len);
    if (p)
        find_target(p);
}

void relay_tcp_accept_result(struct relay_worker *w, const demi_qresult_t *qr)
{
    w->accepts--;
    if (qr->qr_opcode == DEMI_OPC_ACCEPT) {
        accepted(w, qr->qr_value.ares.qd);
        relay_tcp_start_accepts(w);
    }
}
