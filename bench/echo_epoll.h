/* SPDX-License-Identifier: MIT */
/*
 * The plain side of the echo comparison: a hand-written epoll echo server, and the client that
 * loads either server. Neither uses the library.
 */
#ifndef BENCH_ECHO_EPOLL_H
#define BENCH_ECHO_EPOLL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ECHO_BYTES           64
#define ECHO_CONNECTIONS_MAX 1024

/* Makes a listening TCP socket on a free port of an IPv4 address (in network order; 0: 127.0.0.1),
 * or returns -errno. */
int echo_epoll_listen(uint32_t address, uint16_t *port_out);

/* Serves until killed: one thread, level-triggered epoll. spin: never sleeps. Returns -errno. */
int echo_epoll_serve(int listen_fd, bool spin);

struct echo_load {
    uint32_t address; /* of the server, in network order; 0: 127.0.0.1 */
    uint16_t port;
    pid_t server; /* whose CPU time is measured */
    size_t connections;
    uint64_t warmup_ns;
    uint64_t measure_ns; /* 20 ms to 60 s */
};

struct echo_figures {
    double p50_ns;     /* of a round trip */
    double per_second; /* requests answered, median over slices of 1 ms */
    double cpu_ns;     /* of the server, per request */
    double share;      /* of its CPU that the spinning client had, 0 to 1: less than 1, and other
                          work disturbed the round */
};

/*
 * Loads a server: each connection has one message of ECHO_BYTES under way; the client spins. 0, or
 * -errno (-ETIMEDOUT: a reply did not come within two seconds; -EBADMSG: it was wrong).
 */
int echo_client_run(const struct echo_load *load, struct echo_figures *out);

#endif /* BENCH_ECHO_EPOLL_H */
