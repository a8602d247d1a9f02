/* SPDX-License-Identifier: MIT */
/*
 * The library in an epoll loop of the program's own: ./eventfd_epoll [PORT]
 *
 * demi_eventfd() is one more descriptor of the loop, beside a signalfd here: a TCP echo server that
 * ends in order on SIGINT and SIGTERM. The loop sleeps in epoll_wait, never in the library.
 */
#include <demi/libos.h>
#include <demi/sga.h>
#include <demi/wait.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

#define RESULTS 16

static int listener;
static unsigned long echoed; /* elements */

/* Starts what follows from one result. */
static void answer(demi_qresult_t *qr)
{
    int client = qr->qr_opcode == DEMI_OPC_ACCEPT ? qr->qr_value.ares.qd : qr->qr_qd;
    demi_qtoken_t qt;
    int err = ECONNRESET; /* the end of the stream, or a failed operation */

    if (qr->qr_opcode == DEMI_OPC_POP && qr->qr_value.sga.sga_numsegs > 0) {
        err = demi_push(&qt, client, &qr->qr_value.sga);
        demi_sgafree(&qr->qr_value.sga);
    } else if (qr->qr_opcode == DEMI_OPC_ACCEPT || qr->qr_opcode == DEMI_OPC_PUSH) {
        echoed += qr->qr_opcode == DEMI_OPC_PUSH;
        err = demi_pop(&qt, client);
    }
    if (err)
        demi_close(client);
    if (qr->qr_opcode == DEMI_OPC_ACCEPT)
        demi_accept(&qt, listener);
}

/* Collects all there is. ETIMEDOUT says that there is no more, and that the descriptor is armed. */
static int serve(void)
{
    const struct timespec now = {0};
    demi_qresult_t qrs[RESULTS];
    int n, err;

    while ((err = demi_wait_some(qrs, RESULTS, &n, &now)) == 0)
        for (int i = 0; i < n; i++)
            answer(&qrs[i]);
    return err == ETIMEDOUT ? 0 : err;
}

static int listen_on(uint16_t port)
{
    struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    demi_qtoken_t qt;
    int err = demi_socket(&listener, AF_INET, SOCK_STREAM, 0);

    if (!err)
        err = demi_bind(listener, (struct sockaddr *)&addr, sizeof(addr));
    if (!err)
        err = demi_listen(listener, 64);
    return err ? err : demi_accept(&qt, listener);
}

static int watch(int loop, int fd)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};

    return fd < 0 || epoll_ctl(loop, EPOLL_CTL_ADD, fd, &ev) < 0 ? errno : 0;
}

/* Runs until a signal comes. */
static int run(int loop, int library)
{
    struct epoll_event ev = {.data.fd = library}; /* serve() arms the descriptor: once before all */
    int err = 0;

    while (!err && ev.data.fd == library) {
        err = serve();
        while (!err && epoll_wait(loop, &ev, 1, -1) < 0)
            err = errno == EINTR ? 0 : errno;
    }
    return err;
}

int main(int argc, char **argv)
{
    int loop = epoll_create1(EPOLL_CLOEXEC), library = -1, err;
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL); /* they come by the signalfd */

    err = demi_init(NULL);
    if (!err)
        err = listen_on((uint16_t)(argc > 1 ? atoi(argv[1]) : 7000));
    if (!err)
        err = demi_eventfd(&library);
    if (!err)
        err = watch(loop, library);
    if (!err)
        err = watch(loop, signalfd(-1, &signals, SFD_CLOEXEC));
    if (!err)
        err = run(loop, library);
    if (err)
        return fprintf(stderr, "eventfd_epoll: %s\n", strerror(err)), 1;
    printf("%lu elements\n", echoed);
    return demi_fini();
}
