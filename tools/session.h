/* SPDX-License-Identifier: MIT */
/*
 * What the network subcommands share: starting the library, the wish to stop, time, messages.
 */
#ifndef TOOLS_SESSION_H
#define TOOLS_SESSION_H

#include "address.h"

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* Longest sleep without looking at session_stopped: no wait returns for a signal. */
#define SESSION_NAP_NS 100000000

/* Starts the library, and makes SIGINT and SIGTERM a wish to stop; a second one ends the process.
 * Returns COMMAND_OK, or another exit code after a message. */
int session_start(void);

/* Ends the library. */
void session_end(void);

bool session_stopped(void);

/* Monotonic time in nanoseconds. */
uint64_t session_now(void);

struct timespec session_timespec(uint64_t ns);

/* Prints "demi NAME: WHAT: ERROR" for a positive errno, and returns COMMAND_FAILED. */
int session_fail(const char *what, int err);

/* Makes a socket of the address's family: 0 or a positive errno. */
int session_socket(const struct address *address, bool udp, int *qd_out);

/* Reads a decimal number; K and M multiply by 1024 and 1048576. False when it is not one or out of
 * range. */
bool session_number(const char *text, uint64_t min, uint64_t max, uint64_t *out);

#endif /* TOOLS_SESSION_H */
