/* SPDX-License-Identifier: MIT */
/*
 * A web server with one document, for unmodified clients: PUT replaces it, GET returns it.
 *
 *     http ADDRESS       until SIGTERM; prints "ready"
 *
 * Requests are elements of a framed queue; a connection is kept open, and ends with the client's.
 */
#include "../../tools/qd_map.h"
#include "server.h"

#include <demi/framer.h>
#include <demi/libos.h>
#include <demi/queue.h>
#include <demi/sga.h>
#include <demi/wait.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BACKLOG  1024
#define HEAD_MAX 128

struct client {
    int stream_qd, qd; /* the connection, and its requests */
};

struct server {
    struct qd_map clients; /* by qd */
    char *document;
    size_t len;
};

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
    server_check(c ? 0 : ENOMEM, "a client");
    c->stream_qd = stream_qd;
    server_check(demi_frame(&c->qd, stream_qd, &demi_framer_http1, NULL), "demi_frame");
    server_check(qd_map_set(&s->clients, c->qd, c) ? 0 : ENOMEM, "a client");
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
    server_check(text ? 0 : ENOMEM, "a request");
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
    server_check(s->document ? 0 : ENOMEM, "the document");
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

static void on_result(void *arg, int listen_qd, demi_qresult_t *qr)
{
    struct server *s = arg;
    struct client *c = qd_map_get(&s->clients, qr->qr_qd);
    demi_sgarray_t sga;
    demi_qtoken_t qt;
    if (qr->qr_qd == listen_qd) {
        if (qr->qr_opcode == DEMI_OPC_ACCEPT)
            add(s, qr->qr_value.ares.qd);
        server_check(demi_accept(&qt, listen_qd), "accept");
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

int main(int argc, char **argv)
{
    static const struct server_ops ops = {
        .name = "http", .backlog = BACKLOG, .on_result = on_result};
    struct server s = {.len = 0};
    qd_map_init(&s.clients);
    const int result = server_main(argc, argv, &ops, &s);
    free(s.document);
    return result;
}
