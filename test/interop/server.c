/* SPDX-License-Identifier: MIT */
/* The frame of a server: address, signal, loop (server.h). */
#include "server.h"

#include "../../tools/address.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 64

static volatile sig_atomic_t stop_wanted;
static const char *name = "server";

static void on_signal(int number)
{
    (void)number;
    stop_wanted = 1;
}

void server_check(int err, const char *what)
{
    if (err == 0)
        return;
    fprintf(stderr, "%s: %s: %s\n", name, what, strerror(err));
    exit(2);
}

static int listen_at(const struct address *a, int backlog)
{
    demi_qtoken_t qt;
    int qd;
    server_check(demi_socket(&qd, a->addr.ss_family, SOCK_STREAM, 0), "socket");
    server_check(demi_bind(qd, (const struct sockaddr *)&a->addr, a->len), "bind");
    server_check(demi_listen(qd, backlog), "listen");
    server_check(demi_accept(&qt, qd), "accept");
    puts("ready");
    fflush(stdout);
    return qd;
}

static void serve(const struct server_ops *ops, int listen_qd, void *arg)
{
    const struct timespec nap = {.tv_nsec = 100000000};
    demi_qresult_t results[BATCH];
    while (!stop_wanted) {
        int n = 0;
        const int err = demi_wait_some(results, BATCH, &n, &nap);
        server_check(err == ETIMEDOUT || err == EINTR ? 0 : err, "wait");
        for (int i = 0; err == 0 && i < n; i++)
            ops->on_result(arg, listen_qd, &results[i]);
    }
}

int server_main(int argc, char **argv, const struct server_ops *ops, void *arg)
{
    struct sigaction action = {.sa_handler = on_signal};
    struct address address;
    name = ops->name;
    const char *problem = argc == 2 ? address_parse(argv[1], AF_UNSPEC, &address) : "usage";
    if (problem) {
        fprintf(stderr, "%s: %s\n", name, problem);
        return 2;
    }
    server_check(demi_init(NULL), "demi_init");
    sigaction(SIGTERM, &action, NULL);
    if (ops->begin)
        ops->begin(arg);
    serve(ops, listen_at(&address, ops->backlog), arg);
    if (ops->end)
        ops->end(arg);
    return demi_fini();
}
