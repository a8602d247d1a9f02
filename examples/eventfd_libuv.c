/* SPDX-License-Identifier: MIT */
/*
 * The library in a libuv loop: ./eventfd_libuv [PORT]
 *
 * demi_eventfd() is watched by a uv_poll_t: a TCP echo server that ends in order on SIGINT and
 * SIGTERM. Timers, files and sockets of libuv itself work beside it, in the same thread.
 */
#include <demi/libos.h>
#include <demi/sga.h>
#include <demi/wait.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define RESULTS 16

struct server {
    uv_poll_t library;
    uv_signal_t interrupt, terminate;
    int listener;
    unsigned long echoed; /* elements */
    int err;
};

/* Starts what follows from one result. */
static void answer(struct server *server, demi_qresult_t *qr)
{
    int client = qr->qr_opcode == DEMI_OPC_ACCEPT ? qr->qr_value.ares.qd : qr->qr_qd;
    demi_qtoken_t qt;
    int err = ECONNRESET; /* the end of the stream, or a failed operation */

    if (qr->qr_opcode == DEMI_OPC_POP && qr->qr_value.sga.sga_numsegs > 0) {
        err = demi_push(&qt, client, &qr->qr_value.sga);
        demi_sgafree(&qr->qr_value.sga);
    } else if (qr->qr_opcode == DEMI_OPC_ACCEPT || qr->qr_opcode == DEMI_OPC_PUSH) {
        server->echoed += qr->qr_opcode == DEMI_OPC_PUSH;
        err = demi_pop(&qt, client);
    }
    if (err)
        demi_close(client);
    if (qr->qr_opcode == DEMI_OPC_ACCEPT)
        demi_accept(&qt, server->listener);
}

/* Collects all there is. ETIMEDOUT says that there is no more, and that the descriptor is armed. */
static void serve(uv_poll_t *library, int status, int events)
{
    struct server *server = library->data;
    const struct timespec now = {0};
    demi_qresult_t qrs[RESULTS];
    int n, err;

    (void)status;
    (void)events;
    while ((err = demi_wait_some(qrs, RESULTS, &n, &now)) == 0)
        for (int i = 0; i < n; i++)
            answer(server, &qrs[i]);
    if (err != ETIMEDOUT) {
        server->err = err;
        uv_stop(library->loop);
    }
}

static void stop(uv_signal_t *signal, int number)
{
    (void)number;
    uv_stop(signal->loop);
}

static int listen_on(struct server *server, uint16_t port)
{
    struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    demi_qtoken_t qt;
    int err = demi_socket(&server->listener, AF_INET, SOCK_STREAM, 0);

    if (!err)
        err = demi_bind(server->listener, (struct sockaddr *)&addr, sizeof(addr));
    if (!err)
        err = demi_listen(server->listener, 64);
    return err ? err : demi_accept(&qt, server->listener);
}

/* Puts everything into the loop. A positive errno: libuv's are negative. */
static int attach(struct server *server, uv_loop_t *loop)
{
    int fd, err = demi_eventfd(&fd);

    if (err)
        return err;
    server->library.data = server;
    if ((err = uv_poll_init(loop, &server->library, fd)) ||
        (err = uv_poll_start(&server->library, UV_READABLE, serve)) ||
        (err = uv_signal_init(loop, &server->interrupt)) ||
        (err = uv_signal_start(&server->interrupt, stop, SIGINT)) ||
        (err = uv_signal_init(loop, &server->terminate)) ||
        (err = uv_signal_start(&server->terminate, stop, SIGTERM)))
        return -err;
    serve(&server->library, 0, 0); /* arms the descriptor, the first time */
    return 0;
}

int main(int argc, char **argv)
{
    static struct server server;
    uv_loop_t *loop = uv_default_loop();
    int err = demi_init(NULL);

    if (!err)
        err = listen_on(&server, (uint16_t)(argc > 1 ? atoi(argv[1]) : 7000));
    if (!err)
        err = attach(&server, loop);
    if (!err) {
        uv_run(loop, UV_RUN_DEFAULT);
        err = server.err;
    }
    if (err)
        return fprintf(stderr, "eventfd_libuv: %s\n", strerror(err)), 1;
    printf("%lu elements\n", server.echoed);
    return demi_fini();
}
