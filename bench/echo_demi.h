/* SPDX-License-Identifier: MIT */
/*
 * The echo server of the comparisons, on the library: as echo_epoll.h has one on epoll. Where the
 * library takes its configuration from, and what it is, is the caller's.
 */
#ifndef BENCH_ECHO_DEMI_H
#define BENCH_ECHO_DEMI_H

#include <stdint.h>

/* Starts the library and listens on a free port of an IPv4 address (in network order; 0:
 * 127.0.0.1); returns the queue. Ends the process when it cannot. */
int echo_demi_listen(uint32_t address, uint16_t *port_out);

/* Serves until the client is done, then ends the process. One thread; one token per connection. */
_Noreturn void echo_demi_serve(int listen_qd);

#endif /* BENCH_ECHO_DEMI_H */
