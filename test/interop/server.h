/* SPDX-License-Identifier: MIT */
/*
 * The frame of a server for unmodified clients: its address is the only argument; it says "ready",
 * and serves until SIGTERM.
 */
#ifndef TEST_INTEROP_SERVER_H
#define TEST_INTEROP_SERVER_H

#include <demi/libos.h>
#include <demi/wait.h>

struct server_ops {
    const char *name; /* in messages */
    int backlog;
    /* What came of any operation. An accept is outstanding when it is called first; the next is its
     * business. listen_qd: that connections come to. */
    void (*on_result)(void *arg, int listen_qd, demi_qresult_t *qr);
    /* After demi_init, and at the end; NULL: nothing. */
    void (*begin)(void *arg);
    void (*end)(void *arg);
};

/* Returns what main does. */
int server_main(int argc, char **argv, const struct server_ops *ops, void *arg);

/* Ends the program, with a message, unless err is 0. */
void server_check(int err, const char *what);

#endif /* TEST_INTEROP_SERVER_H */
