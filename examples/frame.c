/* SPDX-License-Identifier: MIT */
/*
 * Remote procedure calls over TCP: both ends in one process, and one pop per message.
 *
 * A TCP queue yields bytes in pieces of its own choice. demi_frame makes messages of them, so that
 * neither end buffers or counts anything. Here the server reverses what it is sent.
 */
#include <demi/libos.h>
#include <demi/queue.h>
#include <demi/sga.h>
#include <demi/wait.h>
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(int error, const char *what)
{
    if (error == 0)
        return;
    fprintf(stderr, "frame: %s: %s\n", what, strerror(error));
    exit(1);
}

static demi_qresult_t finish(demi_qtoken_t token, const char *what)
{
    demi_qresult_t qr;

    check(demi_wait(&qr, token, NULL), what);
    check((int)qr.qr_ret, what);
    return qr;
}

/* Makes a connection; returns the two ends. */
static void connect_ends(int *client, int *server)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof addr;
    demi_qtoken_t accepting, connecting;
    int listener;

    check(demi_socket(&listener, AF_INET, SOCK_STREAM, 0), "demi_socket");
    check(demi_bind(listener, (struct sockaddr *)&addr, len), "demi_bind");
    check(demi_listen(listener, 1), "demi_listen");
    check(demi_getsockname(listener, (struct sockaddr *)&addr, &len), "demi_getsockname");
    check(demi_accept(&accepting, listener), "demi_accept");
    check(demi_socket(client, AF_INET, SOCK_STREAM, 0), "demi_socket");
    check(demi_connect(&connecting, *client, (struct sockaddr *)&addr, len), "demi_connect");
    finish(connecting, "connect");
    *server = finish(accepting, "accept").qr_value.ares.qd;
    check(demi_close(listener), "demi_close");
}

static void send_text(int qd, const char *text)
{
    demi_sgarray_t sga = demi_sgaalloc(strlen(text));

    if (sga.sga_numsegs == 0)
        check(ENOMEM, "demi_sgaalloc");
    memcpy(sga.sga_segs[0].sgaseg_buf, text, strlen(text));
    check(demi_blocking_push(qd, &sga), "push");
    check(demi_sgafree(&sga), "demi_sgafree");
}

/* Answers one request in place: the reply is the memory that the request was received in. */
static void serve(int qd)
{
    demi_qresult_t qr;

    check(demi_blocking_pop(qd, &qr), "pop of a request");
    char *text = qr.qr_value.sga.sga_segs[0].sgaseg_buf;
    uint32_t len = qr.qr_value.sga.sga_segs[0].sgaseg_len;
    for (uint32_t i = 0; i < len / 2; i++) {
        char c = text[i];
        text[i] = text[len - 1 - i];
        text[len - 1 - i] = c;
    }
    check(demi_blocking_push(qd, &qr.qr_value.sga), "push of a reply");
    check(demi_sgafree(&qr.qr_value.sga), "demi_sgafree");
}

static void print_reply(int qd)
{
    demi_qresult_t qr;

    check(demi_blocking_pop(qd, &qr), "pop of a reply");
    const demi_sgaseg_t seg = qr.qr_value.sga.sga_segs[0];
    printf("%.*s\n", (int)seg.sgaseg_len, (const char *)seg.sgaseg_buf);
    check(demi_sgafree(&qr.qr_value.sga), "demi_sgafree");
}

int main(void)
{
    static const char *const requests[] = {"desserts", "stressed", "drawer"};
    int client_stream, server_stream, client, server;

    check(demi_init(NULL), "demi_init");
    connect_ends(&client_stream, &server_stream);
    check(demi_frame(&client, client_stream, &demi_framer_u32, NULL), "demi_frame");
    check(demi_frame(&server, server_stream, &demi_framer_u32, NULL), "demi_frame");

    for (int i = 0; i < 3; i++) /* all at once: they arrive as one piece, or not */
        send_text(client, requests[i]);
    for (int i = 0; i < 3; i++)
        serve(server);
    for (int i = 0; i < 3; i++)
        print_reply(client);

    check(demi_close(client), "demi_close");
    check(demi_close(server), "demi_close");
    check(demi_close(client_stream), "demi_close");
    check(demi_close(server_stream), "demi_close");
    return demi_fini();
}
