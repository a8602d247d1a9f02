/* SPDX-License-Identifier: MIT */
/*
 * A web server with one document, for unmodified clients: PUT replaces it, GET returns it.
 *
 *     http ADDRESS       until SIGTERM; prints "ready"
 *
 * Requests are elements of a framed queue; a connection is kept open, and ends with the client's.
 */
#include "../../tools/address.h"
#include "../../tools/qd_map.h"

#include <demi/framer.h>
#include <demi/libos.h>
#include <demi/queue.h>
#include <demi/sga.h>
#include <demi/wait.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH    64
#define BACKLOG  1024
#define HEAD_MAX 128

struct client {
    int stream_qd, qd; /* the connection, and its requests */
};

struct server {
    int listen_qd;
    struct qd_map clients; /* by qd */
    char *document;
    size_t len;
};

static volatile sig_atomic_t stop_wanted;

static void on_signal(int number)
{
    (void)number;
    stop_wanted = 1;
}

static void check(int err, const char *what)
{
    if (err == 0)
        return;
    fprintf(stderr, "http: %s: %s\n", what, strerror(err));
    exit(2);
}

static void drop(struct server *s, struct client *c)
{
    qd_map_set(&s->clients, c->qd, NULL);
    demi_close(c->qd);
    demi_close(c->stream_qd);
    free(c);
}

static void add(struct server *s, int stream_qd)
{
    struct client *c = calloc(1, sizeof(*c));
    demi_qtoken_t qt;
    check(c ? 0 : ENOMEM, "a client");
    c->stream_qd = stream_qd;
    check(demi_frame(&c->qd, stream_qd, &demi_framer_http1, NULL), "demi_frame");
    check(qd_map_set(&s->clients, c->qd, c) ? 0 : ENOMEM, "a client");
    if (demi_pop(&qt, c->qd) != 0)
        drop(s, c);
}

static int reply(int qd, const char *status, const char *body, size_t len)
{
    demi_qtoken_t qt;
    char head[HEAD_MAX];
    int n = snprintf(head, sizeof(head), "HTTP/1.1 %s\r\nContent-Length: %zu\r\n\r\n", status, len);
    demi_sgarray_t sga = demi_sgaalloc((size_t)n + len);
    if (sga.sga_numsegs == 0)
        return ENOMEM;
    memcpy(sga.sga_segs[0].sgaseg_buf, head, (size_t)n);
    if (len > 0)
        memcpy((char *)sga.sga_segs[0].sgaseg_buf + n, body, len);
    int err = demi_push(&qt, qd, &sga);
    demi_sgafree(&sga);
    return err;
}

/* The whole request in one piece, NUL-terminated. */
static char *flatten(const demi_sgarray_t *sga, size_t *len_out)
{
    size_t len = 0;
    for (uint32_t i = 0; i < sga->sga_numsegs; i++)
        len += sga->sga_segs[i].sgaseg_len;
    char *text = malloc(len + 1), *to = text;
    check(text ? 0 : ENOMEM, "a request");
    for (uint32_t i = 0; i < sga->sga_numsegs; i++) {
        memcpy(to, sga->sga_segs[i].sgaseg_buf, sga->sga_segs[i].sgaseg_len);
        to += sga->sga_segs[i].sgaseg_len;
    }
    *to = '\0';
    *len_out = len;
    return text;
}

static void keep(struct server *s, const char *body, size_t len)
{
    free(s->document);
    s->document = malloc(len + 1);
    check(s->document ? 0 : ENOMEM, "the document");
    memcpy(s->document, body, len);
    s->len = len;
}

static int answer(struct server *s, int qd, const demi_sgarray_t *sga)
{
    size_t len;
    char *text = flatten(sga, &len), *body = strstr(text, "\r\n\r\n");
    int err;
    if (strncmp(text, "GET ", 4) == 0) {
        err = reply(qd, "200 OK", s->document, s->len);
    } else if (strncmp(text, "PUT ", 4) == 0 && body) {
        keep(s, body + 4, len - (size_t)(body + 4 - text));
        err = reply(qd, "201 Created", NULL, 0);
    } else {
        err = reply(qd, "501 Not Implemented", NULL, 0);
    }
    free(text);
    return err;
}

static void on_pop(struct server *s, struct client *c, demi_sgarray_t *sga)
{
    demi_qtoken_t qt;
    int err = sga->sga_numsegs == 0 ? ECONNRESET : answer(s, c->qd, sga);
    demi_sgafree(sga);
    if (err != 0 || demi_pop(&qt, c->qd) != 0)
        drop(s, c);
}

static void on_result(struct server *s, demi_qresult_t *qr)
{
    struct client *c = qd_map_get(&s->clients, qr->qr_qd);
    demi_sgarray_t sga;
    demi_qtoken_t qt;
    if (qr->qr_qd == s->listen_qd) {
        if (qr->qr_opcode == DEMI_OPC_ACCEPT)
            add(s, qr->qr_value.ares.qd);
        check(demi_accept(&qt, s->listen_qd), "accept");
    } else if (qr->qr_opcode == DEMI_OPC_POP) {
        memcpy(&sga, &qr->qr_value.sga, sizeof(sga));
        if (c)
            on_pop(s, c, &sga);
        else
            demi_sgafree(&sga);
    } else if (qr->qr_opcode == DEMI_OPC_FAILED && c) {
        drop(s, c);
    }
}

static void listen_at(struct server *s, const struct address *a)
{
    demi_qtoken_t qt;
    check(demi_socket(&s->listen_qd, a->addr.ss_family, SOCK_STREAM, 0), "socket");
    check(demi_bind(s->listen_qd, (const struct sockaddr *)&a->addr, a->len), "bind");
    check(demi_listen(s->listen_qd, BACKLOG), "listen");
    check(demi_accept(&qt, s->listen_qd), "accept");
    puts("ready");
    fflush(stdout);
}

static void serve(struct server *s)
{
    const struct timespec nap = {.tv_nsec = 100000000};
    demi_qresult_t results[BATCH];
    while (!stop_wanted) {
        int n = 0;
        int err = demi_wait_some(results, BATCH, &n, &nap);
        check(err == ETIMEDOUT || err == EINTR ? 0 : err, "wait");
        for (int i = 0; err == 0 && i < n; i++)
            on_result(s, &results[i]);
    }
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_signal};
    struct server s = {.listen_qd = -1};
    struct address address;
    const char *problem = argc == 2 ? address_parse(argv[1], AF_UNSPEC, &address) : "usage";
    if (problem) {
        fprintf(stderr, "http: %s\n", problem);
        return 2;
    }
    qd_map_init(&s.clients);
    check(demi_init(NULL), "demi_init");
    sigaction(SIGTERM, &action, NULL);
    listen_at(&s, &address);
    serve(&s);
    free(s.document);
    return demi_fini();
}
