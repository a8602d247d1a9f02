/* SPDX-License-Identifier: MIT */
/*
 * An echo server over the public interface: TCP connections in any number, or UDP.
 *
 * Every popped element is pushed back by reference and freed at once: the library keeps the memory
 * until it is sent. A peer that sends and does not read is popped no further while ECHO_PUSHES_MAX
 * pushes to it are outstanding.
 */
#ifndef TOOLS_ECHO_SERVER_H
#define TOOLS_ECHO_SERVER_H

#include "address.h"

#include <stdbool.h>
#include <stdint.h>

#define ECHO_PUSHES_MAX 64

struct echo_options {
    struct address address;
    bool udp;
    uint64_t count; /* connections (TCP) or datagrams (UDP) to serve; 0: no limit */
};

struct echo_totals {
    uint64_t connections;
    uint64_t elements;
    uint64_t bytes;
    uint64_t failures; /* connections that broke, datagrams that could not be sent back */
};

/* Serves until the count is reached or session_stopped. Prints "listening on ADDRESS" when it can
 * be reached. Returns an exit code. */
int echo_serve(const struct echo_options *options, struct echo_totals *totals);

#endif /* TOOLS_ECHO_SERVER_H */
