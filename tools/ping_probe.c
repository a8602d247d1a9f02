/* SPDX-License-Identifier: MIT */
/*
 * The probing loop.
 *
 * A connection is connecting, idle, busy (a probe is under way) or dead. Idle connections stand in
 * a ring in the order in which they became idle. A connection keeps one pop outstanding while it
 * is busy; results of a dead connection are dropped. Probe numbers count from 0; those below
 * `warmup` are not measured.
 */
#include "ping_probe.h"

#include "command.h"
#include "payload.h"
#include "qd_map.h"
#include "session.h"

#include <demi/libos.h>
#include <demi/sga.h>
#include <demi/wait.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH       64
#define TICK_NS     5000000 /* how exact timeouts are */
#define PROGRESS_NS 500000000
#define CLOSE_NS    1000000000 /* longest collecting of what close cancels */

enum conn_state { CONNECTING, IDLE, BUSY, DEAD };

struct conn {
    int qd;
    enum conn_state state;
    demi_qtoken_t pop_qt; /* 0: none outstanding */
    uint64_t number;      /* of the probe under way */
    uint64_t received;    /* bytes of its reply */
    uint64_t start_ns;    /* its round trip counts from here */
    uint64_t deadline_ns;
    uint64_t idle_ns; /* when it became idle */
    uint32_t losses;  /* in a row */
};

struct pinger {
    const struct ping_options *options;
    struct ping_totals *totals;
    struct conn *conns;
    struct qd_map by_qd;
    struct conn **idle; /* ring of options->connections places */
    uint64_t idle_first;
    uint64_t num_idle;
    uint64_t num_connecting;
    uint64_t num_dead;
    uint64_t num_busy;
    uint64_t next_number; /* of the next probe */
    uint64_t start_ns;    /* the rate counts from here */
    uint64_t measure_ns;  /* the first measured probe was sent; 0: not yet */
    uint64_t tick_ns;     /* when to look at timeouts again */
    uint64_t progress_ns; /* when to show progress again */
    int error;            /* the first errno that broke a connection */
};

static bool is_measured(const struct pinger *pinger, uint64_t number)
{
    return number >= pinger->options->warmup;
}

static uint64_t num_probes(const struct pinger *pinger)
{
    return pinger->options->warmup + pinger->options->count;
}

static void make_idle(struct pinger *pinger, struct conn *conn, uint64_t now)
{
    uint64_t place = (pinger->idle_first + pinger->num_idle) % pinger->options->connections;
    conn->state = IDLE;
    conn->idle_ns = now;
    pinger->idle[place] = conn;
    pinger->num_idle++;
}

static struct conn *take_idle(struct pinger *pinger)
{
    struct conn *conn = pinger->idle[pinger->idle_first];
    pinger->idle_first = (pinger->idle_first + 1) % pinger->options->connections;
    pinger->num_idle--;
    return conn;
}

/* Leaves the ring with the connections that are still idle. */
static void drop_from_idle(struct pinger *pinger, const struct conn *dead)
{
    for (uint64_t left = pinger->num_idle; left > 0; left--) {
        struct conn *conn = take_idle(pinger);
        if (conn != dead)
            make_idle(pinger, conn, conn->idle_ns);
    }
}

/* The probe under way gets no reply any more. */
static void lose_probe(struct pinger *pinger, struct conn *conn)
{
    pinger->num_busy--;
    conn->losses++;
    if (is_measured(pinger, conn->number))
        pinger->totals->lost++;
}

/* Gives a connection up; err 0: for a reason that is counted elsewhere. */
static void break_conn(struct pinger *pinger, struct conn *conn, int err)
{
    if (conn->state == DEAD)
        return;
    if (conn->state == BUSY)
        lose_probe(pinger, conn);
    else if (conn->state == CONNECTING)
        pinger->num_connecting--;
    else
        drop_from_idle(pinger, conn);
    conn->state = DEAD;
    pinger->num_dead++;
    pinger->totals->broken++;
    if (pinger->error == 0)
        pinger->error = err;
    qd_map_set(&pinger->by_qd, conn->qd, NULL);
    demi_close(conn->qd);
}

/* A UDP socket goes on after a lost probe, until too many were lost in a row. */
static void fail_probe(struct pinger *pinger, struct conn *conn, int err, uint64_t now)
{
    if (!pinger->options->udp || conn->losses + 1 >= PING_LOSSES_MAX) {
        break_conn(pinger, conn, err);
    } else if (conn->state == BUSY) {
        lose_probe(pinger, conn);
        make_idle(pinger, conn, now);
    }
}

static int start_pop(struct conn *conn)
{
    demi_qtoken_t qt;
    if (conn->pop_qt != 0)
        return 0;
    int err = demi_pop(&qt, conn->qd);
    if (err == 0)
        conn->pop_qt = qt;
    return err;
}

/* Pushes a new probe; the bytes stay the library's until they are sent. */
static int push_probe(struct pinger *pinger, struct conn *conn, uint64_t due_ns)
{
    demi_qtoken_t qt;
    demi_sgarray_t sga = demi_sgaalloc(pinger->options->size);
    if (sga.sga_numsegs == 0)
        return ENOMEM;
    payload_fill(sga.sga_segs[0].sgaseg_buf, pinger->options->size, conn->number);
    uint64_t now = session_now();
    conn->start_ns = due_ns < conn->idle_ns ? due_ns : now;
    conn->deadline_ns = now + pinger->options->timeout_ns;
    if (is_measured(pinger, conn->number)) {
        pinger->totals->sent++;
        if (pinger->measure_ns == 0)
            pinger->measure_ns = now;
    }
    int err = demi_push(&qt, conn->qd, &sga);
    demi_sgafree(&sga);
    return err;
}

static void send_probe(struct pinger *pinger, struct conn *conn, uint64_t due_ns)
{
    conn->number = pinger->next_number++;
    conn->received = 0;
    conn->state = BUSY;
    pinger->num_busy++;
    int err = push_probe(pinger, conn, due_ns);
    if (err == 0)
        err = start_pop(conn);
    if (err != 0)
        fail_probe(pinger, conn, err, session_now());
}

/* When the next probe is due; UINT64_MAX without a rate: then only replies make probes due. */
static uint64_t next_due(const struct pinger *pinger)
{
    uint64_t rate = pinger->options->rate;
    if (rate == 0)
        return UINT64_MAX;
    return pinger->start_ns + (uint64_t)((double)pinger->next_number * 1e9 / (double)rate);
}

/* Sends what is due, no more than one probe per connection: a broken peer must not keep it here. */
static void send_due(struct pinger *pinger)
{
    uint64_t now = session_now();
    for (uint64_t left = pinger->num_idle; left > 0 && pinger->num_idle > 0; left--) {
        uint64_t due_ns = next_due(pinger);
        if (pinger->next_number >= num_probes(pinger) || (due_ns > now && due_ns != UINT64_MAX))
            return;
        send_probe(pinger, take_idle(pinger), due_ns);
    }
}

static void finish_probe(struct pinger *pinger, struct conn *conn, uint64_t now)
{
    pinger->num_busy--;
    conn->losses = 0;
    if (is_measured(pinger, conn->number)) {
        pinger->totals->answered++;
        hist_add(&pinger->totals->hist, now - conn->start_ns);
    }
    make_idle(pinger, conn, now);
}

static void on_corrupt(struct pinger *pinger, struct conn *conn, uint64_t now)
{
    pinger->totals->corrupt++;
    fail_probe(pinger, conn, EBADMSG, now);
}

/* TCP: a reply comes in pieces of any size. Bytes beyond it, or with no probe under way, are wrong.
 */
static void on_stream(struct pinger *pinger, struct conn *conn, const uint8_t *bytes, size_t len,
                      uint64_t now)
{
    uint64_t missing = pinger->options->size - conn->received;
    if (conn->state != BUSY || len > missing ||
        !payload_matches(bytes, len, conn->number, conn->received)) {
        on_corrupt(pinger, conn, now);
        return;
    }
    conn->received += len;
    if (conn->received == pinger->options->size)
        finish_probe(pinger, conn, now);
}

/* UDP: a datagram that does not carry the number of the probe under way answers an earlier one. */
static void on_datagram(struct pinger *pinger, struct conn *conn, const uint8_t *bytes, size_t len,
                        uint64_t now)
{
    if (conn->state != BUSY || !payload_has_number(bytes, len, conn->number))
        pinger->totals->stray++;
    else if (len != pinger->options->size || !payload_matches(bytes, len, conn->number, 0))
        on_corrupt(pinger, conn, now);
    else
        finish_probe(pinger, conn, now);
}

static void on_segments(struct pinger *pinger, struct conn *conn, const demi_sgarray_t *sga,
                        uint64_t now)
{
    for (uint32_t i = 0; i < sga->sga_numsegs && conn->state != DEAD; i++) {
        const uint8_t *bytes = sga->sga_segs[i].sgaseg_buf;
        size_t len = sga->sga_segs[i].sgaseg_len;
        if (pinger->options->udp)
            on_datagram(pinger, conn, bytes, len, now);
        else
            on_stream(pinger, conn, bytes, len, now);
    }
}

static void on_pop(struct pinger *pinger, struct conn *conn, demi_sgarray_t *sga, uint64_t now)
{
    conn->pop_qt = 0;
    if (sga->sga_numsegs == 0)
        break_conn(pinger, conn, ECONNRESET);
    else
        on_segments(pinger, conn, sga, now);
    demi_sgafree(sga);
    if (conn->state == BUSY && start_pop(conn) != 0)
        break_conn(pinger, conn, ECONNRESET);
}

static void on_failure(struct pinger *pinger, struct conn *conn, const demi_qresult_t *qr,
                       uint64_t now)
{
    if (qr->qr_qt == conn->pop_qt)
        conn->pop_qt = 0;
    if (conn->state == CONNECTING)
        break_conn(pinger, conn, (int)qr->qr_ret);
    else
        fail_probe(pinger, conn, (int)qr->qr_ret, now);
}

static void on_result(struct pinger *pinger, const demi_qresult_t *qr, uint64_t now)
{
    struct conn *conn = qd_map_get(&pinger->by_qd, qr->qr_qd);
    demi_sgarray_t sga;
    memcpy(&sga, &qr->qr_value.sga, sizeof(sga));
    if (conn == NULL) {
        if (qr->qr_opcode == DEMI_OPC_POP)
            demi_sgafree(&sga);
    } else if (qr->qr_opcode == DEMI_OPC_CONNECT) {
        pinger->num_connecting--;
        make_idle(pinger, conn, now);
    } else if (qr->qr_opcode == DEMI_OPC_POP) {
        on_pop(pinger, conn, &sga, now);
    } else if (qr->qr_opcode == DEMI_OPC_FAILED) {
        on_failure(pinger, conn, qr, now);
    }
}

/* Waits until `until_ns`, or a shorter time, and handles what is ready. */
static int wait_results(struct pinger *pinger, uint64_t until_ns)
{
    demi_qresult_t results[BATCH];
    uint64_t now = session_now();
    struct timespec timeout = session_timespec(until_ns > now ? until_ns - now : 0);
    int n = 0;
    int err = demi_wait_some(results, BATCH, &n, &timeout);
    if (err == ETIMEDOUT)
        return 0;
    if (err != 0)
        return err;
    now = session_now();
    for (int i = 0; i < n; i++)
        on_result(pinger, &results[i], now);
    return 0;
}

static void check_timeouts(struct pinger *pinger, uint64_t now)
{
    if (now < pinger->tick_ns)
        return;
    pinger->tick_ns = now + TICK_NS;
    for (uint64_t i = 0; i < pinger->options->connections; i++) {
        struct conn *conn = &pinger->conns[i];
        if ((conn->state == BUSY || conn->state == CONNECTING) && now >= conn->deadline_ns)
            fail_probe(pinger, conn, ETIMEDOUT, now);
    }
}

static void show_progress(struct pinger *pinger, uint64_t now)
{
    if (!pinger->options->progress || now < pinger->progress_ns)
        return;
    pinger->progress_ns = now + PROGRESS_NS;
    fprintf(stderr, "\r\033[K%llu of %llu probes, p50 %.2f us",
            (unsigned long long)pinger->next_number, (unsigned long long)num_probes(pinger),
            (double)hist_quantile(&pinger->totals->hist, 0.5) / 1e3);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* How long to wait at most. Timeouts matter only while something is under way. */
static uint64_t wait_until(const struct pinger *pinger)
{
    uint64_t until_ns = session_now() + SESSION_NAP_NS;
    if (pinger->num_busy > 0 || pinger->num_connecting > 0)
        until_ns = earlier(until_ns, pinger->tick_ns);
    if (pinger->num_idle > 0 && pinger->next_number < num_probes(pinger))
        until_ns = earlier(until_ns, pinger->options->rate == 0 ? 0 : next_due(pinger));
    return until_ns;
}

static bool is_done(const struct pinger *pinger)
{
    return session_stopped() || pinger->num_dead == pinger->options->connections ||
           (pinger->next_number >= num_probes(pinger) && pinger->num_busy == 0);
}

static int send_all(struct pinger *pinger)
{
    int err = 0;
    pinger->start_ns = session_now();
    pinger->progress_ns = pinger->start_ns + PROGRESS_NS;
    while (err == 0 && !is_done(pinger)) {
        send_due(pinger);
        err = wait_results(pinger, wait_until(pinger));
        uint64_t now = session_now();
        check_timeouts(pinger, now);
        show_progress(pinger, now);
    }
    if (pinger->options->progress)
        fputs("\r\033[K", stderr);
    return err;
}

static int open_conn(struct pinger *pinger, struct conn *conn)
{
    const struct address *address = &pinger->options->address;
    demi_qtoken_t qt;
    int err = session_socket(address, pinger->options->udp, &conn->qd);
    if (err != 0)
        return err;
    if (!qd_map_set(&pinger->by_qd, conn->qd, conn))
        err = ENOMEM;
    if (err == 0)
        err = demi_connect(&qt, conn->qd, (const struct sockaddr *)&address->addr, address->len);
    if (err != 0) {
        qd_map_set(&pinger->by_qd, conn->qd, NULL);
        demi_close(conn->qd);
        return err;
    }
    conn->state = CONNECTING;
    conn->deadline_ns = session_now() + pinger->options->timeout_ns;
    pinger->num_connecting++;
    return 0;
}

/* Every connection must come up: measuring with fewer would be another measurement. */
static int connect_all(struct pinger *pinger)
{
    for (uint64_t i = 0; i < pinger->options->connections; i++) {
        int err = open_conn(pinger, &pinger->conns[i]);
        if (err != 0)
            return err;
    }
    while (pinger->num_connecting > 0 && pinger->num_dead == 0 && !session_stopped()) {
        int err = wait_results(pinger, wait_until(pinger));
        if (err != 0)
            return err;
        check_timeouts(pinger, session_now());
    }
    return pinger->error;
}

/* Ends the connections and collects what is still outstanding. Probes that were under way when the
 * user stopped count neither as sent nor as lost. */
static void close_all(struct pinger *pinger)
{
    for (uint64_t i = 0; i < pinger->options->connections; i++) {
        struct conn *conn = &pinger->conns[i];
        if (conn->state == DEAD || conn->qd < 0)
            continue;
        if (conn->state == BUSY && is_measured(pinger, conn->number))
            pinger->totals->sent--;
        qd_map_set(&pinger->by_qd, conn->qd, NULL);
        demi_close(conn->qd);
    }
    uint64_t end_ns = session_now() + CLOSE_NS;
    demi_qresult_t qr;
    int n = 0;
    struct timespec zero = {0};
    while (demi_wait_some(&qr, 1, &n, &zero) == 0 && session_now() < end_ns)
        on_result(pinger, &qr, 0);
}

static bool allocate(struct pinger *pinger)
{
    uint64_t n = pinger->options->connections;
    pinger->conns = calloc(n, sizeof(*pinger->conns));
    pinger->idle = calloc(n, sizeof(*pinger->idle));
    for (uint64_t i = 0; pinger->conns != NULL && i < n; i++) {
        pinger->conns[i].qd = -1;
        pinger->conns[i].state = DEAD;
    }
    return pinger->conns != NULL && pinger->idle != NULL;
}

static int run(struct pinger *pinger)
{
    int err = connect_all(pinger);
    if (err != 0)
        return session_fail("cannot connect", err);
    err = send_all(pinger);
    if (err != 0)
        return session_fail("wait", err);
    if (pinger->error != 0)
        session_fail("a connection was given up", pinger->error);
    return COMMAND_OK;
}

int ping_probe(const struct ping_options *options, struct ping_totals *totals)
{
    struct pinger pinger = {.options = options, .totals = totals};
    int code = COMMAND_FAILED;
    hist_init(&totals->hist);
    if (allocate(&pinger)) {
        code = run(&pinger);
        if (pinger.measure_ns != 0)
            totals->elapsed_ns = session_now() - pinger.measure_ns;
        close_all(&pinger);
    } else {
        session_fail("connections", ENOMEM);
    }
    qd_map_fini(&pinger.by_qd);
    free(pinger.conns);
    free(pinger.idle);
    return code;
}
