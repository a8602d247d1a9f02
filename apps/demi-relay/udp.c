/* SPDX-License-Identifier: MIT */
/*
 * UDP: a client's first datagram makes its pair.
 *
 * The pair's socket for the client is bound to the address that the listener has, and connected to
 * the client. From then on the kernel gives it the client's datagrams, and the listener sees none
 * of them. Between its bind and its connect it is a second listener: what it got from others
 * meanwhile is a stray, which is treated as if the listener had got it. What the kernel was giving
 * it just then comes later still: a filter over the socket finds it, so that no client's datagram
 * goes to the target of another.
 *
 * With several workers, a partition deals the listener's datagrams out by the client's address, and
 * connections carry them to a queue in memory for each worker.
 */
#include "worker.h"

#include <demi/queue.h>
#include <demi/sga.h>
#include <errno.h>

/* Datagrams of new clients that wait for a worker. */
#define INBOX_CAPACITY 256

static bool peer_of(const demi_sgarray_t *sga, struct relay_address *addr_out)
{
    addr_out->len = sizeof(addr_out->storage);
    return demi_sga_peer(sga, &addr_out->sa, &addr_out->len) == 0;
}

/* What the functions below get: they only read it. */
static void *config_arg(const struct relay_worker *w)
{
    return (void *)(uintptr_t)w->config;
}

/* ---- what the library calls --------------------------------------------------------------- */

static bool is_from_allowed(const demi_sgarray_t *sga, void *arg)
{
    struct relay_address client;

    return peer_of(sga, &client) && relay_is_allowed(arg, &client.sa);
}

static bool is_small_enough(const demi_sgarray_t *sga, void *arg)
{
    const struct relay_config *config = arg;

    return config->max_datagram == 0 || sga->sga_segs[0].sgaseg_len <= config->max_datagram;
}

/* Keeps a reference to a datagram for relay_udp_take_strays. */
static void keep_stray(struct relay_worker *w, const demi_sgarray_t *sga)
{
    struct relay_strays *strays = &w->strays;
    demi_sgarray_t *to;

    pthread_mutex_lock(&strays->lock);
    to = &strays->ring[(strays->first + strays->num) % RELAY_STRAYS];
    if (strays->num < RELAY_STRAYS && demi_sgaclone(to, sga) == 0)
        strays->num++;
    else
        relay_count(&w->counters.dropped, 1);
    pthread_mutex_unlock(&strays->lock);
}

/* Over a client's socket. */
static bool is_from_client(const demi_sgarray_t *sga, void *arg)
{
    struct relay_pair *p = arg;
    struct relay_address from;

    if (peer_of(sga, &from) && relay_same_address(&from.sa, &p->client.sa))
        return is_small_enough(sga, config_arg(p->worker));
    keep_stray(p->worker, sga);
    return false;
}

static uint32_t worker_of(const demi_sgarray_t *sga, void *arg)
{
    struct relay_address client;

    (void)arg;
    return peer_of(sga, &client) ? relay_hash(&client.sa, true) : 0;
}

/* ---- pairs by client ---------------------------------------------------------------------- */

static struct relay_pair **bucket_of(struct relay_worker *w, const struct relay_address *client)
{
    return &w->buckets[relay_hash(&client->sa, true) / w->config->workers % RELAY_BUCKETS];
}

static struct relay_pair *find(struct relay_worker *w, const struct relay_address *client)
{
    struct relay_pair *p = *bucket_of(w, client);

    while (p && !relay_same_address(&p->client.sa, &client->sa))
        p = p->chain;
    return p;
}

static void remember(struct relay_pair *p)
{
    struct relay_pair **bucket = bucket_of(p->worker, &p->client);

    p->chain = *bucket;
    *bucket = p;
}

void relay_udp_forget(struct relay_pair *p)
{
    struct relay_pair **at = bucket_of(p->worker, &p->client);

    while (*at && *at != p)
        at = &(*at)->chain;
    if (*at)
        *at = p->chain;
}

/* ---- making a pair ------------------------------------------------------------------------ */

int relay_udp_connect(int *qd_out, const struct relay_address *local,
                      const struct relay_address *peer)
{
    demi_qtoken_t token;
    demi_qresult_t qr;
    int qd, err = demi_socket(&qd, peer->sa.sa_family, SOCK_DGRAM, 0);

    if (err != 0)
        return err;
    if (local)
        err = demi_bind(qd, &local->sa, local->len);
    if (err == 0)
        err = demi_connect(&token, qd, &peer->sa, peer->len);
    if (err == 0)
        err = demi_wait(&qr, token, NULL); /* of a datagram socket it is done at once */
    if (err == 0)
        err = (int)qr.qr_ret;
    if (err != 0)
        demi_close(qd);
    else
        *qd_out = qd;
    return err;
}

static void push_to_target(struct relay_pair *p, const demi_sgarray_t *sga)
{
    demi_qtoken_t token;

    if (!is_small_enough(sga, config_arg(p->worker)))
        return;
    p->active_ms = p->worker->now_ms;
    if (demi_push(&token, p->server_qd, sga) == 0)
        p->pending++;
}

/* Pops what is there already; false: nothing. */
static bool pop_now(int qd, demi_sgarray_t *sga_out)
{
    static const struct timespec zero;
    demi_qtoken_t token;
    demi_qresult_t qr;

    if (demi_pop(&token, qd) != 0)
        return false;
    if (demi_wait(&qr, token, &zero) != 0 && demi_cancel(token) == 0)
        return false;
    if (qr.qr_opcode != DEMI_OPC_POP)
        return false;
    *sga_out = qr.qr_value.sga;
    return true;
}

/* What came before the client's socket was connected to the client. */
static void take_early(struct relay_pair *p)
{
    struct relay_address from;
    demi_sgarray_t sga;

    while (pop_now(p->client_qd, &sga)) {
        if (peer_of(&sga, &from) && relay_same_address(&from.sa, &p->client.sa))
            push_to_target(p, &sga);
        else
            keep_stray(p->worker, &sga);
        demi_sgafree(&sga);
    }
}

/* Opens the two sockets of a client that has a target. */
static int open_pair(struct relay_worker *w, const struct relay_address *client,
                     struct relay_target *target, struct relay_pair **p_out)
{
    struct relay_pair *p;
    int client_qd, server_qd;
    int err = relay_udp_connect(&server_qd, NULL, target->addr);

    if (err != 0)
        return err;
    err = relay_udp_connect(&client_qd, &w->shared->listen, client);
    if (err != 0) {
        demi_close(server_qd);
        return err;
    }
    p = relay_pair_create(w, client_qd, &client->sa, client->len);
    if (!p || !relay_worker_own(w, server_qd, RELAY_PAIR, p)) {
        demi_close(server_qd);
        if (p)
            relay_pair_close(p, false);
        return ENOMEM;
    }
    p->server_qd = server_qd;
    p->target = target;
    p->downs = atomic_load(&target->downs);
    remember(p);
    *p_out = p;
    return 0;
}

/* Puts a filter over the client's socket. */
static bool add_filter(struct relay_pair *p)
{
    return demi_filter(&p->filter_qd, p->client_qd, is_from_client, p) == 0 &&
           relay_worker_own(p->worker, p->filter_qd, RELAY_PAIR, p);
}

static void new_client(struct relay_worker *w, const struct relay_address *client,
                       const demi_sgarray_t *sga)
{
    struct relay_target *target = NULL;
    struct relay_pair *p;

    if (atomic_load(&w->shared->active) >= w->config->max_connections) {
        relay_count(&w->counters.refused, 1);
        return;
    }
    relay_count(&w->counters.clients, 1);
    target = relay_target_choose(&w->shared->targets, &client->sa, 0, w->now_ms);
    if (!target || open_pair(w, client, target, &p) != 0) {
        if (target)
            relay_target_release(target);
        relay_count(&w->counters.unreachable, 1);
        return;
    }
    push_to_target(p, sga);
    take_early(p);
    if (add_filter(p))
        relay_pair_join(p);
    else
        relay_pair_close(p, false);
}

/* A datagram that came to the listener; it stays the caller's. */
static void take_datagram(struct relay_worker *w, const demi_sgarray_t *sga)
{
    struct relay_address client;
    struct relay_pair *p;

    if (!peer_of(sga, &client))
        return;
    if (!relay_is_allowed(w->config, &client.sa)) {
        relay_count(&w->counters.denied, 1);
        return;
    }
    p = find(w, &client);
    if (p)
        push_to_target(p, sga);
    else
        new_client(w, &client, sga);
}

static bool take_stray(struct relay_strays *strays, demi_sgarray_t *sga_out)
{
    bool found;

    pthread_mutex_lock(&strays->lock);
    found = strays->num > 0;
    if (found) {
        *sga_out = strays->ring[strays->first];
        strays->first = (strays->first + 1) % RELAY_STRAYS;
        strays->num--;
    }
    pthread_mutex_unlock(&strays->lock);
    return found;
}

/* Not where they are found: each may make a client, whose socket gets more of them. */
void relay_udp_take_strays(struct relay_worker *w)
{
    demi_sgarray_t sga;

    while (!w->closing && take_stray(&w->strays, &sga)) {
        take_datagram(w, &sga);
        demi_sgafree(&sga);
    }
}

void relay_udp_drop_strays(struct relay_worker *w)
{
    demi_sgarray_t sga;

    while (take_stray(&w->strays, &sga))
        demi_sgafree(&sga);
}

static void start_pop(struct relay_worker *w)
{
    demi_qtoken_t token;

    if (!w->closing)
        demi_pop(&token, w->inbox_qd);
}

void relay_udp_result(struct relay_worker *w, demi_qresult_t *qr)
{
    if (qr->qr_opcode == DEMI_OPC_POP && qr->qr_value.sga.sga_numsegs > 0) {
        if (!w->closing)
            take_datagram(w, &qr->qr_value.sga);
        demi_sgafree(&qr->qr_value.sga);
    }
    start_pop(w);
}

/* ---- listening ---------------------------------------------------------------------------- */

/* Deals datagrams out to a queue in memory for each worker. 0 or an errno. */
static int share_out(struct relay_worker *w, int qd)
{
    struct relay_shared *shared = w->shared;
    uint32_t n = w->config->workers;
    int outputs[RELAY_MAX_WORKERS];
    int err = demi_partition(outputs, n, qd, worker_of, NULL);

    for (uint32_t i = 0; i < n && err == 0; i++) {
        err = demi_queue(&shared->inboxes[i], INBOX_CAPACITY);
        if (err == 0)
            err = demi_qconnect(outputs[i], shared->inboxes[i]);
    }
    w->inbox_qd = shared->inboxes[0];
    return err;
}

/* Worker 0 has the listener. */
static int open_listener(struct relay_worker *w, const char **what_out)
{
    struct relay_address *addr = &w->shared->listen;
    int err;

    *what_out = "socket";
    if ((err = demi_socket(&w->listen_qd, addr->sa.sa_family, SOCK_DGRAM, 0)) != 0)
        return err;
    *what_out = "bind";
    if ((err = demi_bind(w->listen_qd, &addr->sa, addr->len)) != 0)
        return err;
    *what_out = "getsockname";
    if ((err = demi_getsockname(w->listen_qd, &addr->sa, &addr->len)) != 0)
        return err;
    w->inbox_qd = w->listen_qd;
    *what_out = "filter";
    if (w->config->num_allow > 0)
        err = demi_filter(&w->inbox_qd, w->listen_qd, is_from_allowed, config_arg(w));
    *what_out = "partition";
    if (err == 0 && w->config->workers > 1)
        err = share_out(w, w->inbox_qd);
    return err;
}

int relay_udp_listen(struct relay_worker *w, const char **what_out)
{
    int err = 0;

    if (w->index == 0)
        err = open_listener(w, what_out);
    else
        w->inbox_qd = w->shared->inboxes[w->index];
    if (err != 0)
        return err;
    *what_out = "pop";
    if (!relay_worker_own(w, w->inbox_qd, RELAY_INBOX, w))
        return ENOMEM;
    start_pop(w);
    return 0;
}
