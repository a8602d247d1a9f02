/* SPDX-License-Identifier: MIT */
/*
 * The ends of the connections of a run. Each looks at its connection at random moments, pushes and
 * pops random sizes, and ends in its manner. Memory is written over as soon as its push completes.
 *
 * The byte at an offset of a stream is a function of connection, direction and offset, so that
 * streams that mix, lose, repeat or overwrite bytes are found at the first wrong byte.
 */
#include "sim.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define ATTEMPTS_MAX 100

static uint8_t stream_byte(const struct end *sender, uint64_t offset)
{
    uint64_t x = offset * 0x9e3779b97f4a7c15u + (uint64_t)sender->conn_index * 77 + sender->client;
    return (uint8_t)(x >> 56) ^ (uint8_t)(offset >> 3);
}

static const char *name_of(const struct end *e)
{
    static const char *const names[CONNS_MAX][2] = {
        {"0 server", "0 client"}, {"1 server", "1 client"}, {"2 server", "2 client"},
        {"3 server", "3 client"}, {"4 server", "4 client"}, {"5 server", "5 client"},
        {"6 server", "6 client"}, {"7 server", "7 client"}};
    return names[e->conn_index][e->client];
}

/* ---- What the seed chooses ------------------------------------------------------------------- */

/* Sizes of all orders of magnitude. */
static uint64_t any_size(struct sim *sim, int most_bits)
{
    uint32_t bits = below(sim, (uint32_t)most_bits + 1);
    return bits == 0 ? 0 : below(sim, 1u << bits);
}

static void choose_options(struct sim *sim, struct end *e)
{
    dk_tcp_options_default(dk_net_tcp(e->host->net), e->option);
    int64_t *o = e->option;
    o[DK_TCP_NODELAY] = below(sim, 2);
    o[DK_TCP_QUICK_ACK] = below(sim, 4) == 0;
    if (below(sim, 2) == 0)
        o[DK_TCP_RCV_BUF] = 2048 + (int64_t)any_size(sim, 20);
    if (below(sim, 4) == 0)
        o[DK_TCP_MAX_SEGMENT] = 100 + below(sim, 1400);
    /* A peer that ended rudely may have sent a reset that was lost: who only waits asks. */
    o[DK_TCP_KEEPALIVE] = 1;
    o[DK_TCP_KEEPALIVE_IDLE] = (5 + below(sim, 60)) * S;
    o[DK_TCP_KEEPALIVE_INTERVAL] = (1 + below(sim, 10)) * S;
    o[DK_TCP_KEEPALIVE_COUNT] = 20;
}

static void choose_end(struct sim *sim, struct end *e)
{
    static const int64_t paces[] = {10000, 100000, MS, 10 * MS, 50 * MS};
    choose_options(sim, e);
    e->to_send = any_size(sim, 18);
    e->push_max = 1 + (uint32_t)any_size(sim, 16);
    e->pop_max = 1 + (uint32_t)any_size(sim, 17);
    if (e->to_send > 500 * (uint64_t)e->push_max)
        e->to_send = 500 * (uint64_t)e->push_max;
    e->pace = paces[below(sim, 5)];
    uint32_t manner = below(sim, 20);
    e->manner = manner == 0 ? ABORT : manner == 1 ? RUDE : POLITE;
    e->rude_at = dk_random_between(&sim->random, 0, 2 * S);
}

void app_choose(struct sim *sim)
{
    sim->num_conns = 1 + (int)below(sim, CONNS_MAX);
    for (int i = 0; i < sim->num_conns; i++) {
        int client = (int)below(sim, 2);
        for (int k = 0; k < 2; k++) {
            struct end *e = &sim->ends[i][k];
            e->sim = sim;
            e->conn_index = i;
            e->client = k == 0;
            e->host = &sim->hosts[k == 0 ? client : 1 - client];
            e->peer = &sim->ends[i][1 - k];
            e->next = e->client ? dk_random_between(&sim->random, 0, 3 * S) : INT64_MAX;
            choose_end(sim, e);
        }
        /* A reader that takes ages proves nothing. */
        for (int k = 0; k < 2; k++) {
            struct end *e = &sim->ends[i][k];
            if (e->pop_max < e->peer->to_send / 1000)
                e->pop_max = (uint32_t)(e->peer->to_send / 1000);
        }
    }
}

/* ---- Callbacks: they come from inside dk_net_advance ----------------------------------------- */

static int64_t soon(struct end *e)
{
    return e->sim->now + dk_random_between(&e->sim->random, 0, 2 * e->pace);
}

static void look_soon(struct end *e)
{
    if (e->next == INT64_MAX)
        e->next = soon(e);
}

static void on_connected(struct dk_tcp_conn *conn, void *owner, int err)
{
    struct end *e = owner;
    (void)conn;
    sim_trace(e->sim, "%s: connected %d", name_of(e), err);
    if (err == 0) {
        e->connected = true;
        e->rude_at += e->sim->now;
    } else {
        e->failed = true; /* tried again when it is closed */
    }
    look_soon(e);
}

static void on_readable(struct dk_tcp_conn *conn, void *owner)
{
    struct end *e = owner;
    (void)conn;
    e->readable = true;
    look_soon(e);
}

static void on_sent(struct dk_tcp_conn *conn, void *owner, void *cookie, int err)
{
    struct end *e = owner;
    uint64_t number = (uintptr_t)cookie;
    (void)conn;
    if (number != e->oldest || e->oldest == e->newest)
        sim_note(e->sim, "%s: push %" PRIu64 " completed, expected %" PRIu64, name_of(e), number,
                 e->oldest);
    struct push *p = &e->pushes[number % PUSHES_MAX];
    if (err == 0)
        memset(p->buf->data, 0xee, dk_buf_bytes(p->buf));
    dk_buf_put(p->buf);
    p->buf = NULL;
    e->oldest++;
    look_soon(e);
}

static void on_peer_closed(struct dk_tcp_conn *conn, void *owner)
{
    struct end *e = owner;
    (void)conn;
    if (e->peer_ended)
        sim_note(e->sim, "%s: peer_closed twice", name_of(e));
    e->peer_ended = true;
    e->readable = true;
    look_soon(e);
}

static bool rude(const struct end *e)
{
    return e->manner != POLITE || e->peer->manner != POLITE;
}

static void on_failed(struct dk_tcp_conn *conn, void *owner, int err)
{
    struct end *e = owner;
    (void)conn;
    sim_trace(e->sim, "%s: failed %s", name_of(e), strerror(-err));
    if (!rude(e))
        sim_note(e->sim, "%s: failed: %s", name_of(e), strerror(-err));
    if (e->failed)
        sim_note(e->sim, "%s: failed twice", name_of(e));
    e->failed = true;
    look_soon(e);
}

static void on_closed(struct dk_tcp_conn *conn, void *owner)
{
    struct end *e = owner;
    if (conn != e->conn) /* another one, of an attempt that was given up */
        return;
    sim_trace(e->sim, "%s: closed", name_of(e));
    if (e->oldest != e->newest)
        sim_note(e->sim, "%s: closed with %" PRIu64 " pushes outstanding", name_of(e),
                 e->newest - e->oldest);
    e->conn = NULL;
    if (e->client && !e->connected && e->failed) {
        e->failed = e->closing = false;
        e->next = soon(e) + 100 * MS;
        return;
    }
    e->ended = true;
    e->next = INT64_MAX;
}

static const struct dk_tcp_ops ops = {
    .connected = on_connected,
    .readable = on_readable,
    .sent = on_sent,
    .peer_closed = on_peer_closed,
    .failed = on_failed,
    .closed = on_closed,
};

/* ---- Accepting: connections are told apart by the server's port ------------------------------ */

static void on_acceptable(struct dk_tcp_listener *listener, void *owner)
{
    struct end *e = owner;
    struct dk_tcp_conn *conn;
    while (dk_tcp_accept(listener, &conn, &ops, e) == 0) {
        if (e->connected) { /* the client had tried before, and given up */
            sim_trace(e->sim, "%s: another connection", name_of(e));
            if (e->peer->attempts == 1)
                sim_note(e->sim, "%s: a connection that nobody opened", name_of(e));
            dk_tcp_abort(conn, e->sim->now);
            continue;
        }
        sim_trace(e->sim, "%s: accepted", name_of(e));
        e->conn = conn;
        e->connected = true;
        e->rude_at += e->sim->now;
        look_soon(e);
    }
}

static const struct dk_tcp_listener_ops listener_ops = {.acceptable = on_acceptable};

void app_listen(struct host *host)
{
    struct sim *sim = host->sim;
    for (int i = 0; i < sim->num_conns; i++) {
        struct end *e = &sim->ends[i][1];
        if (e->host != host)
            continue;
        struct dk_endpoint local = {.ip = host->ip, .port = (uint16_t)(100 + i)};
        struct dk_tcp_listener *listener;
        int err = dk_tcp_listen(dk_net_tcp(host->net), &listener, &local, below(sim, 4),
                                &listener_ops, e);
        if (err != 0)
            sim_fail(sim, "dk_tcp_listen: %s", strerror(-err));
        for (int o = 0; o < DK_TCP_OPTIONS; o++)
            dk_tcp_listen_set_option(listener, (enum dk_tcp_option)o, e->option[o]);
    }
}

/* ---- Acting ---------------------------------------------------------------------------------- */

static void try_connect(struct sim *sim, struct end *e)
{
    struct dk_endpoint local = {0};
    struct dk_endpoint remote = {.ip = e->peer->host->ip, .port = (uint16_t)(100 + e->conn_index)};
    if (++e->attempts > ATTEMPTS_MAX)
        sim_fail(sim, "%s: no connection after %d attempts", name_of(e), ATTEMPTS_MAX);
    int err = dk_tcp_connect(dk_net_tcp(e->host->net), &e->conn, &local, &remote, e->option, &ops,
                             e, sim->now);
    sim_trace(sim, "%s: connect %d", name_of(e), err);
    e->next = INT64_MAX;
    if (err == -ENOBUFS) /* a limit is reached: later */
        e->next = sim->now + 2 * S;
    else if (err != 0)
        sim_fail(sim, "dk_tcp_connect: %s", strerror(-err));
}

static uint32_t cut(struct sim *sim, struct dk_buf *buf, uint32_t len, struct dk_tx_piece pieces[])
{
    uint32_t n = 1 + below(sim, 3), at = 0, i = 0;
    for (; i < n && at < len; i++) {
        uint32_t piece = i + 1 == n ? len - at : 1 + below(sim, len - at);
        pieces[i] = (struct dk_tx_piece){.data = buf->data + at, .len = piece, .buf = buf};
        at += piece;
    }
    pieces[i - 1].len += len - at;
    return i;
}

static bool push_once(struct sim *sim, struct end *e)
{
    struct push *p = &e->pushes[e->newest % PUSHES_MAX];
    uint64_t left = e->to_send - e->sent;
    if (left == 0 || e->newest - e->oldest == PUSHES_MAX)
        return false;
    uint32_t len = 1 + below(sim, e->push_max);
    len = len > left ? (uint32_t)left : len;
    struct dk_buf *buf = dk_buf_alloc(len, 0);
    if (buf == NULL)
        sim_fail(sim, "no memory for a push");
    for (uint32_t i = 0; i < len; i++)
        buf->data[i] = stream_byte(e, e->sent + i);
    struct dk_tx_piece pieces[4];
    uint32_t n = cut(sim, buf, len, pieces);
    uint32_t how = below(sim, 4);
    uint32_t flags = how == 0 ? DK_TCP_SEND_COPY : how == 1 ? DK_TCP_SEND_UNREFERENCED : 0;
    int result = dk_tcp_send(e->conn, pieces, n, flags, (void *)(uintptr_t)e->newest, sim->now);
    if (result == 0) {
        p->buf = buf;
        e->newest++;
    } else {
        if (result == 1 && flags == DK_TCP_SEND_COPY)
            memset(buf->data, 0xee, len);
        dk_buf_put(buf);
    }
    if (result >= 0)
        e->sent += len;
    else if (result != -ENOBUFS && !e->failed && !rude(e))
        sim_fail(sim, "%s: dk_tcp_send: %s", name_of(e), strerror(-result));
    return result >= 0;
}

static void check_bytes(struct sim *sim, struct end *e, const struct dk_buf *buf)
{
    size_t len = dk_buf_bytes(buf);
    for (size_t i = 0; i < len; i++) {
        if (buf->data[i] != stream_byte(e->peer, e->received + i))
            sim_fail(sim, "%s: byte %" PRIu64 " of the stream is wrong", name_of(e),
                     e->received + i);
    }
    e->received += len;
    sim->bytes += len;
}

static void pop(struct sim *sim, struct end *e)
{
    struct dk_buf *bufs[8];
    size_t most = 1 + below(sim, e->pop_max);
    int n = dk_tcp_recv(e->conn, bufs, 1 + below(sim, 8), most, sim->now);
    size_t bytes = 0;
    for (int i = 0; i < n; i++) {
        bytes += dk_buf_bytes(bufs[i]);
        check_bytes(sim, e, bufs[i]);
        dk_buf_put(bufs[i]);
    }
    if (bytes > most)
        sim_fail(sim, "%s: dk_tcp_recv gave %zu bytes, at most %zu were wanted", name_of(e), bytes,
                 most);
    if (n == -EAGAIN)
        e->readable = false;
    else if (n == 0 && !e->peer_ended)
        e->peer_ended = true;
    if (n == 0)
        e->readable = false;
    if (n < 0 && n != -EAGAIN && !e->failed && !rude(e))
        sim_fail(sim, "%s: dk_tcp_recv: %s", name_of(e), strerror(-n));
}

static void leave(struct sim *sim, struct end *e)
{
    e->closing = true;
    if (e->manner == ABORT && !e->failed)
        dk_tcp_abort(e->conn, sim->now);
    else
        dk_tcp_close(e->conn, sim->now);
}

/* Whether an end has nothing more to do but to go. */
static bool wants_to_leave(const struct sim *sim, const struct end *e)
{
    if (e->failed)
        return true;
    if (e->manner != POLITE)
        return sim->now >= e->rude_at;
    return e->shut && e->peer_ended && !e->readable;
}

static void act(struct sim *sim, struct end *e)
{
    if (e->client && e->conn == NULL && !e->connected) {
        try_connect(sim, e);
        return;
    }
    if (e->conn == NULL || e->closing) {
        e->next = INT64_MAX;
        return;
    }
    bool full = false;
    for (uint32_t i = below(sim, 4); i > 0 && !full && !e->failed && e->connected; i--)
        full = !push_once(sim, e);
    if (e->readable && !e->failed)
        pop(sim, e);
    if (e->connected && e->manner == POLITE && e->sent == e->to_send && !e->shut && !e->failed) {
        int err = dk_tcp_shutdown(e->conn, sim->now);
        if (err != 0 && !rude(e))
            sim_fail(sim, "%s: dk_tcp_shutdown: %s", name_of(e), strerror(-err));
        e->shut = true;
    }
    if (e->conn != NULL && wants_to_leave(sim, e))
        leave(sim, e);
    bool waits = e->closing || (e->shut && !e->readable) ||
                 (e->newest - e->oldest == PUSHES_MAX && !e->readable);
    e->next = waits && e->manner == POLITE ? INT64_MAX : soon(e);
    if (e->next != INT64_MAX) /* never twice in one moment; and not soon, if there is no room */
        e->next += full && e->sent < e->to_send ? 5 * MS : 1;
}

int64_t app_next(const struct sim *sim)
{
    int64_t next = INT64_MAX;
    for (int i = 0; i < sim->num_conns; i++) {
        for (int k = 0; k < 2; k++) {
            if (sim->ends[i][k].next < next)
                next = sim->ends[i][k].next;
        }
    }
    return next;
}

void app_run(struct sim *sim)
{
    for (int i = 0; i < sim->num_conns; i++) {
        for (int k = 0; k < 2; k++) {
            if (sim->ends[i][k].next <= sim->now)
                act(sim, &sim->ends[i][k]);
        }
    }
}

/* ---- The end --------------------------------------------------------------------------------- */

bool app_done(const struct sim *sim)
{
    for (int i = 0; i < sim->num_conns; i++) {
        const struct end *client = &sim->ends[i][0], *server = &sim->ends[i][1];
        /* A rude client may be gone before anybody was told of it. */
        bool unseen = !server->connected && client->manner != POLITE;
        if (!client->ended || (!server->ended && !unseen))
            return false;
    }
    return true;
}

static void check_end(struct sim *sim, const struct end *e)
{
    if (e->received > e->peer->sent)
        sim_fail(sim, "%s: received %" PRIu64 " bytes, the peer sent %" PRIu64, name_of(e),
                 e->received, e->peer->sent);
    if (rude(e))
        return;
    if (e->received != e->peer->to_send)
        sim_fail(sim, "%s: received %" PRIu64 " of %" PRIu64 " bytes", name_of(e), e->received,
                 e->peer->to_send);
    if (!e->peer_ended)
        sim_fail(sim, "%s: never saw its peer's end", name_of(e));
}

void app_check(struct sim *sim)
{
    for (int i = 0; i < sim->num_conns; i++) {
        check_end(sim, &sim->ends[i][0]);
        check_end(sim, &sim->ends[i][1]);
    }
}

void app_stop(struct sim *sim)
{
    for (int i = 0; i < sim->num_conns; i++) {
        for (int k = 0; k < 2; k++) {
            struct end *e = &sim->ends[i][k];
            for (; e->oldest != e->newest; e->oldest++)
                dk_buf_put(e->pushes[e->oldest % PUSHES_MAX].buf);
        }
    }
}
