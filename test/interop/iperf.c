/* SPDX-License-Identifier: MIT */
/*
 * As much of an iperf3 server as its client needs for TCP, both directions, several streams: one
 * test at a time.
 *
 *     iperf ADDRESS      until SIGTERM; prints "ready"
 *
 * A connection begins with a cookie; the first that has an unknown one is the control connection of
 * a test, others with it are its streams. On the control connection:
 *
 *     server  PARAMETERS          client  length (4 bytes, big-endian), JSON
 *     server  CREATE_STREAMS      client  opens as many streams as "parallel" says
 *     server  START, RUNNING      the sender sends until the client says so:
 *     client  END                 server  closes the streams: a client that receives reads on until
 *                                         they end
 *     server  RESULTS             client  length, JSON;  server  length, JSON
 *     server  DISPLAY             client  DONE, and closes all
 */
#include "../../tools/qd_map.h"
#include "server.h"

#include <arpa/inet.h>
#include <demi/libos.h>
#include <demi/sga.h>
#include <demi/wait.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BACKLOG     128
#define COOKIE      37
#define STREAMS     16
#define PUSH_BYTES  131072
#define PUSHES      4 /* outstanding of a stream that sends */
#define CONTROL_MAX 65536

enum state {
    START = 1,
    RUNNING = 2,
    END = 4,
    PARAMETERS = 9,
    CREATE = 10,
    RESULTS = 13,
    DISPLAY = 14,
    DONE = 16
};

struct conn {
    int qd;
    bool is_control;
    uint64_t bytes; /* of a stream: received, or accepted for sending */
    size_t len;     /* of in: what was received and not understood yet */
    char in[CONTROL_MAX];
};

struct server {
    struct qd_map conns;
    struct conn *control; /* NULL: no test is under way */
    struct conn *streams[STREAMS];
    int num_streams, wanted;
    bool reverse, sending;
    enum state state; /* that the client was told last */
    char cookie[COOKIE];
    demi_sgarray_t junk; /* what is sent */
};

static void send_bytes(const struct conn *c, const void *bytes, size_t len)
{
    demi_qtoken_t qt;
    demi_sgarray_t sga = demi_sgaalloc(len);
    server_check(sga.sga_numsegs == 0 ? ENOMEM : 0, "a message");
    memcpy(sga.sga_segs[0].sgaseg_buf, bytes, len);
    server_check(demi_push(&qt, c->qd, &sga), "push");
    demi_sgafree(&sga);
}

static void tell(struct server *s, enum state state)
{
    char byte = (char)state;
    s->state = state;
    send_bytes(s->control, &byte, 1);
}

static void send_results(const struct server *s)
{
    char text[STREAMS * 192 + 256];
    size_t at = sizeof(uint32_t);
    at += (size_t)sprintf(text + at, "{\"cpu_util_total\":0,\"cpu_util_user\":0,"
                                     "\"cpu_util_system\":0,\"sender_has_retransmits\":0,"
                                     "\"streams\":[");
    for (int i = 0; i < s->num_streams; i++) /* their numbers are 1, 3, 4, ... */
        at += (size_t)sprintf(text + at,
                              "%s{\"id\":%d,\"bytes\":%llu,\"retransmits\":-1,"
                              "\"jitter\":0,\"errors\":0,\"packets\":0,"
                              "\"start_time\":0,\"end_time\":1}",
                              i > 0 ? "," : "", i == 0 ? 1 : i + 2,
                              (unsigned long long)s->streams[i]->bytes);
    at += (size_t)sprintf(text + at, "]}");
    uint32_t len = htonl((uint32_t)(at - sizeof(len)));
    memcpy(text, &len, sizeof(len));
    send_bytes(s->control, text, at);
}

static void send_junk(struct server *s, struct conn *c)
{
    demi_qtoken_t qt;
    if (s->sending && demi_push(&qt, c->qd, &s->junk) == 0)
        c->bytes += PUSH_BYTES;
}

static void start_test(struct server *s)
{
    tell(s, START);
    tell(s, RUNNING);
    s->sending = s->reverse;
    for (int i = 0; i < s->num_streams; i++)
        for (int n = 0; n < PUSHES; n++)
            send_junk(s, s->streams[i]);
}

static void on_parameters(struct server *s, const char *json)
{
    const char *parallel = strstr(json, "\"parallel\":");
    s->wanted = parallel ? atoi(parallel + strlen("\"parallel\":")) : 1;
    s->reverse = strstr(json, "\"reverse\":true") != NULL;
    server_check(s->wanted > STREAMS ? E2BIG : 0, "streams");
    tell(s, CREATE);
}

/* Streams themselves are kept, for the results. What was pushed is still sent. */
static void close_streams(struct server *s)
{
    s->sending = false;
    for (int i = 0; i < s->num_streams; i++) {
        int qd = s->streams[i]->qd;
        if (qd_map_get(&s->conns, qd) != s->streams[i])
            continue;
        qd_map_set(&s->conns, qd, NULL);
        demi_close(qd);
    }
}

static void on_results(struct server *s)
{
    send_results(s);
    tell(s, DISPLAY);
}

/* Understands what is at the beginning of a control connection's input: bytes used, 0: too few. */
static size_t step(struct server *s, struct conn *c)
{
    uint32_t len;
    if (s->state == PARAMETERS || s->state == RESULTS) {
        memcpy(&len, c->in, sizeof(len));
        size_t whole = sizeof(len) + ntohl(len);
        if (c->len < sizeof(len) || c->len < whole)
            return 0;
        c->in[whole < CONTROL_MAX ? whole : CONTROL_MAX - 1] = '\0'; /* one message at a time */
        if (s->state == PARAMETERS)
            on_parameters(s, c->in + sizeof(len));
        else
            on_results(s);
        return whole;
    }
    if (c->len > 0 && c->in[0] == END) {
        close_streams(s);
        tell(s, RESULTS);
    }
    return c->len > 0 ? 1 : 0;
}

static void add_stream(struct server *s, struct conn *c)
{
    server_check(s->num_streams == STREAMS ? E2BIG : 0, "streams");
    s->streams[s->num_streams++] = c;
    if (s->num_streams == s->wanted)
        start_test(s);
}

/* What is behind the cookie of a stream is data. */
static void on_cookie(struct server *s, struct conn *c)
{
    if (s->control && memcmp(c->in, s->cookie, COOKIE) == 0) {
        c->bytes = c->len - COOKIE;
        add_stream(s, c);
        return;
    }
    c->is_control = true;
    s->control = c;
    s->num_streams = 0;
    memcpy(s->cookie, c->in, COOKIE);
    c->len -= COOKIE;
    memmove(c->in, c->in + COOKIE, c->len);
    tell(s, PARAMETERS);
}

static bool is_stream(const struct server *s, const struct conn *c)
{
    for (int i = 0; i < s->num_streams; i++)
        if (s->streams[i] == c)
            return true;
    return false;
}

static void take(struct server *s, struct conn *c, const char *bytes, size_t len)
{
    if (is_stream(s, c)) {
        c->bytes += len;
        return;
    }
    size_t n = len < CONTROL_MAX - c->len ? len : CONTROL_MAX - c->len;
    memcpy(c->in + c->len, bytes, n);
    c->len += n;
    if (!c->is_control && c->len >= COOKIE) {
        on_cookie(s, c);
        if (!c->is_control)
            c->bytes += len - n;
    }
    for (size_t used = 1; c->is_control && used > 0;) {
        used = step(s, c);
        c->len -= used;
        memmove(c->in, c->in + used, c->len);
    }
}

static void end_test(struct server *s)
{
    close_streams(s);
    for (int i = 0; i < s->num_streams; i++)
        free(s->streams[i]);
    s->num_streams = 0;
    s->control = NULL;
}

static void drop(struct server *s, struct conn *c)
{
    qd_map_set(&s->conns, c->qd, NULL);
    demi_close(c->qd);
    if (c == s->control)
        end_test(s);
    if (!is_stream(s, c))
        free(c);
}

static void pop_next(struct server *s, struct conn *c)
{
    demi_qtoken_t qt;
    if (demi_pop(&qt, c->qd) != 0)
        drop(s, c);
}

static void on_pop(struct server *s, struct conn *c, demi_sgarray_t *sga)
{
    if (sga->sga_numsegs == 0) {
        drop(s, c);
        return;
    }
    for (uint32_t i = 0; i < sga->sga_numsegs; i++)
        take(s, c, sga->sga_segs[i].sgaseg_buf, sga->sga_segs[i].sgaseg_len);
    demi_sgafree(sga);
    pop_next(s, c);
}

static void on_accept(struct server *s, int listen_qd, int qd)
{
    demi_qtoken_t qt;
    struct conn *c = calloc(1, sizeof(*c));
    server_check(c && qd_map_set(&s->conns, qd, c) ? 0 : ENOMEM, "a connection");
    c->qd = qd;
    server_check(demi_accept(&qt, listen_qd), "accept");
    pop_next(s, c);
}

static void on_result(void *arg, int listen_qd, demi_qresult_t *qr)
{
    struct server *s = arg;
    struct conn *c = qd_map_get(&s->conns, qr->qr_qd);
    demi_sgarray_t sga;
    if (qr->qr_opcode == DEMI_OPC_ACCEPT) {
        on_accept(s, listen_qd, qr->qr_value.ares.qd);
    } else if (qr->qr_opcode == DEMI_OPC_POP) {
        memcpy(&sga, &qr->qr_value.sga, sizeof(sga));
        if (c)
            on_pop(s, c, &sga);
        else
            demi_sgafree(&sga);
    } else if (qr->qr_opcode == DEMI_OPC_PUSH && c && is_stream(s, c)) {
        send_junk(s, c);
    } else if (qr->qr_opcode == DEMI_OPC_FAILED && c) {
        drop(s, c);
    }
}

static void make_junk(void *arg)
{
    struct server *s = arg;
    s->junk = demi_sgaalloc(PUSH_BYTES);
    server_check(s->junk.sga_numsegs == 0 ? ENOMEM : 0, "memory");
    memset(s->junk.sga_segs[0].sgaseg_buf, 'x', PUSH_BYTES);
}

static void free_junk(void *arg)
{
    struct server *s = arg;
    demi_sgafree(&s->junk);
}

int main(int argc, char **argv)
{
    static const struct server_ops ops = {.name = "iperf",
                                          .backlog = BACKLOG,
                                          .on_result = on_result,
                                          .begin = make_junk,
                                          .end = free_junk};
    struct server s = {.control = NULL};
    qd_map_init(&s.conns);
    return server_main(argc, argv, &ops, &s);
}
