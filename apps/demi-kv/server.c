/* SPDX-License-Identifier: MIT */
/*
 * The event loop (server.h): take all results that are ready, act on each, do a bounded piece of
 * background work, read the clock once.
 *
 * The loop wakes at least every TICK_MS. That is how it sees the stop flag that a signal handler
 * sets: no wait returns early for a signal, and any helper thread would make every operation of the
 * library pay for atomics.
 */
#include "server.h"

#include "client.h"
#include "command.h"

#include <arpa/inet.h>
#include <demi/libos.h>
#include <demi/wait.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#define TICK_MS 100

/* Results taken per wait; accepts outstanding; entries expired per turn. */
#define MAX_RESULTS 64
#define MAX_ACCEPTS 8
#define MAX_EXPIRED 256

/* How long closing waits for replies that are on their way. */
#define CLOSE_MS 1000

static int64_t wall_clock_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int64_t monotonic_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static struct timespec timespec_of_ms(int64_t ms)
{
    return (struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
}

/* ---- clients ------------------------------------------------------------------------------ */

static bool grow_by_qd(struct kv_server *server, uint32_t qd)
{
    uint32_t size = server->by_qd_size ? server->by_qd_size : 64;
    struct kv_client **by_qd;

    while (size <= qd)
        size *= 2;
    by_qd = realloc(server->by_qd, size * sizeof(struct kv_client *));
    if (!by_qd)
        return false;
    for (uint32_t i = server->by_qd_size; i < size; i++)
        by_qd[i] = NULL;
    server->by_qd = by_qd;
    server->by_qd_size = size;
    return true;
}

bool kv_server_add(struct kv_server *server, struct kv_client *c)
{
    uint32_t most = (uint32_t)(c->qd > c->frame ? c->qd : c->frame);

    if (most >= server->by_qd_size && !grow_by_qd(server, most))
        return false;
    server->by_qd[c->qd] = server->by_qd[c->frame] = c;
    c->next = server->clients;
    if (c->next)
        c->next->prev = c;
    server->clients = c;
    server->num_clients++;
    server->num_structs++;
    return true;
}

void kv_server_forget(struct kv_server *server, const struct kv_client *c, int qd)
{
    if (server->by_qd[qd] == c)
        server->by_qd[qd] = NULL;
}

void kv_server_remove(struct kv_server *server, struct kv_client *c)
{
    kv_server_forget(server, c, c->qd);
    if (c->frame >= 0)
        kv_server_forget(server, c, c->frame);
    if (c->prev)
        c->prev->next = c->next;
    else
        server->clients = c->next;
    if (c->next)
        c->next->prev = c->prev;
    server->num_structs--;
}

/* Calls fn for every client; fn may free the one it is given. */
static void for_each_client(struct kv_server *server,
                            void (*fn)(struct kv_client *c, int64_t now_ms))
{
    struct kv_client *next;

    for (struct kv_client *c = server->clients; c; c = next) {
        next = c->next;
        fn(c, server->db.now_ms);
    }
}

/* ---- accepting ---------------------------------------------------------------------------- */

/* Keeps accepts outstanding. One that cannot be issued, or fails, is tried again at the tick. */
static void start_accepts(struct kv_server *server)
{
    demi_qtoken_t token;

    while (!server->closing && server->accepts < MAX_ACCEPTS &&
           demi_accept(&token, server->listen_qd) == 0)
        server->accepts++;
}

static void reject(struct kv_server *server, struct kv_client *c)
{
    server->stats.rejected++;
    kv_out_begin(&server->out, c);
    kv_reply_literal(&server->out, "-ERR max number of clients reached\r\n");
    kv_out_flush(&server->out);
    kv_client_close(c);
}

static void accepted(struct kv_server *server, int qd)
{
    struct kv_client *c;

    server->accepts--;
    start_accepts(server);
    if (server->closing) {
        demi_close(qd);
        return;
    }
    server->stats.connections++;
    c = kv_client_create(server, qd);
    if (c && server->num_clients > server->config->max_clients)
        reject(server, c);
}

/* A connection that was gone before it was accepted is nobody's fault; no descriptors is ours. */
static void accept_failed(struct kv_server *server, int64_t error)
{
    server->accepts--;
    if (error == ECONNABORTED)
        start_accepts(server);
}

/* The client of a descriptor; NULL: the listening one. */
static struct kv_client *owner_of(const struct kv_server *server, int qd)
{
    return (uint32_t)qd < server->by_qd_size ? server->by_qd[qd] : NULL;
}

/* ---- the log ------------------------------------------------------------------------------ */

static int turn(struct kv_server *server, int64_t timeout_ms);

/* A group was acknowledged: its answers go, but for those that the pace holds back. */
static void acknowledged(struct kv_server *server)
{
    struct kv_answers *answers = &server->answers;
    const uint32_t ready = kv_answers_ready(answers, server->journal.acked);

    server->acked = server->journal.acked;
    kv_pace_acked(&server->pace, monotonic_ns(), ready);
    kv_answers_send(answers, server->acked, answers->num - ready + server->pace.hold);
}

/* Ends a turn. A group goes when it is time; the answers that were held back go a turn later: in
 * the wait of that the library begins to write. */
static void end_turn(struct kv_server *server)
{
    struct kv_journal *j = &server->journal;

    if (server->acked != j->acked) {
        acknowledged(server);
    } else if (kv_journal_offer(j, server->idle)) {
        kv_pace_sent(&server->pace, monotonic_ns());
        server->idle = false;
    } else if (server->idle || !kv_journal_may_send(j)) {
        if (server->idle)
            kv_pace_idle(&server->pace);
        kv_answers_send(&server->answers, j->acked, 0);
    }
}

/* Waits until all that was changed is on the log, and its answers are sent. */
static void finish_log(struct kv_server *server, int64_t deadline_ms)
{
    struct kv_journal *j = &server->journal;

    kv_journal_flush(j);
    while (!kv_journal_is_acked(j, kv_journal_group(j)) && j->error == 0 &&
           wall_clock_ms() < deadline_ms)
        if (turn(server, TICK_MS) != 0)
            break;
    kv_answers_send(&server->answers, j->acked, 0);
}

/* ---- the loop ----------------------------------------------------------------------------- */

/* c: whose descriptor it was when the result was collected. */
static void dispatch(struct kv_server *server, struct kv_client *c, demi_qresult_t *qr)
{
    if (server->journal.qd >= 0 && qr->qr_qd == server->journal.qd) {
        kv_journal_pushed(&server->journal, (int)qr->qr_ret);
        return;
    }
    if (qr->qr_qd == server->listen_qd) {
        if (qr->qr_opcode == DEMI_OPC_ACCEPT)
            accepted(server, qr->qr_value.ares.qd);
        else
            accept_failed(server, qr->qr_ret);
        return;
    }
    if (qr->qr_opcode == DEMI_OPC_POP)
        kv_client_popped(c, &qr->qr_value.sga);
    else if (qr->qr_opcode == DEMI_OPC_PUSH)
        kv_client_pushed(c);
    else
        kv_client_failed(c, qr->qr_qt, (int)qr->qr_ret);
}

/* Takes and acts on what is ready; waits at most timeout_ms for the first. 0 or an errno. With a
 * log it waits only when the turn before found nothing: that is when a group goes. */
static int turn(struct kv_server *server, int64_t timeout_ms)
{
    demi_qresult_t results[MAX_RESULTS];
    struct kv_client *owners[MAX_RESULTS];
    const bool has_log = server->journal.qd >= 0;
    struct timespec timeout = timespec_of_ms(has_log && !server->idle ? 0 : timeout_ms);
    int n = 0;
    int err = demi_wait_some(results, MAX_RESULTS, &n, &timeout);

    if (err != 0 && err != ETIMEDOUT)
        return err;
    server->db.now_ms = wall_clock_ms();
    /* Before any is acted on: a new client may get a descriptor whose last result is among these.
     */
    for (int i = 0; i < n; i++)
        owners[i] = owner_of(server, results[i].qr_qd);
    for (int i = 0; i < n; i++)
        dispatch(server, owners[i], &results[i]);
    server->idle = n == 0;
    if (has_log)
        end_turn(server);
    return server->journal.error;
}

static void tick(struct kv_server *server)
{
    if (server->db.now_ms - server->tick_ms < TICK_MS && server->db.now_ms >= server->tick_ms)
        return;
    server->tick_ms = server->db.now_ms;
    start_accepts(server);
    if (server->num_finishing > 0)
        for_each_client(server, kv_client_check_linger);
}

/* Milliseconds until there is something to do by itself. */
static int64_t idle_ms(const struct kv_server *server)
{
    int64_t next = kv_expiry_next_ms(&server->db.expiry), now = server->db.now_ms;

    if (next <= now)
        return 0;
    return next - now < TICK_MS ? next - now : TICK_MS;
}

int kv_server_run(struct kv_server *server)
{
    bool busy = false;

    while (!*server->stop) {
        int err = turn(server, busy ? 0 : idle_ms(server));
        if (err != 0)
            return err;
        tick(server);
        busy = kv_db_expire(&server->db, MAX_EXPIRED);
        busy |= kv_db_step(&server->db);
        busy |= kv_journal_step(&server->journal, &server->db, server->config->log_min);
    }
    return 0;
}

/* ---- opening and closing ------------------------------------------------------------------ */

static int parse_address(const struct kv_config *config, struct sockaddr_storage *addr,
                         socklen_t *len)
{
    struct sockaddr_in *in = (struct sockaddr_in *)addr;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)addr;

    memset(addr, 0, sizeof(*addr));
    if (inet_pton(AF_INET, config->bind, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = htons(config->port);
        *len = sizeof(*in);
        return 0;
    }
    if (inet_pton(AF_INET6, config->bind, &in6->sin6_addr) == 1) {
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(config->port);
        *len = sizeof(*in6);
        return 0;
    }
    return EINVAL;
}

static uint16_t port_of(const struct sockaddr_storage *addr)
{
    if (addr->ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)addr)->sin6_port);
    return ntohs(((const struct sockaddr_in *)addr)->sin_port);
}

static int listen_on(struct kv_server *server, const char **what_out)
{
    struct kv_config *config = server->config;
    struct sockaddr_storage addr;
    socklen_t len;
    int err;

    *what_out = "bind address";
    if ((err = parse_address(config, &addr, &len)) != 0)
        return err;
    *what_out = "socket";
    if ((err = demi_socket(&server->listen_qd, addr.ss_family, SOCK_STREAM, 0)) != 0)
        return err;
    *what_out = "bind";
    if ((err = demi_bind(server->listen_qd, (struct sockaddr *)&addr, len)) != 0)
        return err;
    *what_out = "listen";
    if ((err = demi_listen(server->listen_qd, (int)config->backlog)) != 0)
        return err;
    len = sizeof(addr);
    *what_out = "getsockname";
    if ((err = demi_getsockname(server->listen_qd, (struct sockaddr *)&addr, &len)) != 0)
        return err;
    config->port = port_of(&addr);
    return 0;
}

int kv_server_open(struct kv_server *server, struct kv_config *config,
                   const volatile sig_atomic_t *stop, const char **what_out)
{
    uint64_t seed[2];
    int err;

    memset(server, 0, sizeof(*server));
    server->config = config;
    server->stop = stop;
    server->journal.qd = -1;
    *what_out = "getrandom";
    if (getrandom(seed, sizeof(seed), 0) != sizeof(seed))
        return EIO;
    kv_db_init(&server->db, seed);
    server->db.now_ms = server->start_ms = server->tick_ms = wall_clock_ms();
    if (config->log &&
        (err = kv_journal_open(&server->journal, config->log, &server->db, what_out)) != 0)
        return err;
    if ((err = listen_on(server, what_out)) != 0)
        return err;
    resp_init(&server->scan, &config->limits);
    kv_commands_init();
    start_accepts(server);
    return 0;
}

static void close_one(struct kv_client *c, int64_t now_ms)
{
    (void)now_ms;
    kv_client_close(c);
}

void kv_server_close(struct kv_server *server)
{
    int64_t deadline = wall_clock_ms() + CLOSE_MS;

    server->closing = true;
    demi_close(server->listen_qd);
    finish_log(server, deadline);
    for_each_client(server, close_one);
    while ((server->num_structs > 0 || server->accepts > 0) && wall_clock_ms() < deadline)
        if (turn(server, TICK_MS) != 0)
            break;
    kv_answers_send(&server->answers, UINT64_MAX, 0); /* of clients that are closed */
    server->db.changed = NULL;
    kv_journal_close(&server->journal);
    kv_out_fini(&server->out);
    resp_fini(&server->scan);
    kv_db_flush(&server->db);
    while (kv_db_step(&server->db)) {
    }
    free(server->by_qd);
}
