/* SPDX-License-Identifier: MIT */
/*
 * The backends that the conformance suite runs against. Each declares what it can do and makes a
 * connected pair of queues in one process and one thread; a test that needs what a backend cannot
 * do is skipped and says what is lacking.
 *
 * A new backend adds one row to the table in backend.c.
 */
#ifndef DEMI_TEST_BACKEND_H
#define DEMI_TEST_BACKEND_H

#include "harness.h"

#include <netinet/in.h>

enum backend_can {
    CAN_STREAM = 1u << 0,      /* bytes: elements are not kept apart */
    CAN_BOUNDARY = 1u << 1,    /* one element pushed is one element popped */
    CAN_DUPLEX = 1u << 2,      /* both ends of a pair push and pop */
    CAN_SOCKET = 1u << 3,      /* made by demi_socket: names, options */
    CAN_LISTEN = 1u << 4,      /* listen, accept, connect */
    CAN_SHUTDOWN = 1u << 5,    /* demi_shutdown(SHUT_WR) ends the stream for the other end */
    CAN_RELIABLE = 1u << 6,    /* loses nothing, whatever the burst */
    CAN_PUSHTO = 1u << 7,      /* one queue reaches many addresses */
    CAN_KERNEL = 1u << 8,      /* the host's own sockets can be the peer */
    CAN_REFERENCE = 1u << 9,   /* hands elements over by reference, segments as they were */
    CAN_INHERENT = 1u << 10,   /* the one backend that also runs what no backend changes */
    CAN_POOL = 1u << 11,       /* a pair receives into a pool of DEMI_RX_POOL_BYTES */
    CAN_FDS = 1u << 12,        /* its sockets are descriptors */
    CAN_SHARE = 1u << 13,      /* several processes at a time */
    CAN_STORAGE = 1u << 14,    /* logs: made by demi_open */
    CAN_LAST = 1u << 15,       /* logs in files: what is stored is there for the next process */
    CAN_LAST_WORDS = 1u << 16, /* an exit amid a call tells the peers of streams */
};

struct backend {
    const char *name;
    const char *net;    /* DEMI_NET */
    const char *engine; /* DEMI_ENGINE, NULL: as it is */
    const char *poll;   /* DEMI_POLL, NULL: as it is */
    int domain;
    int type;
    uint32_t can;
    uint32_t max_element; /* bytes of the largest element */
    uint32_t burst;       /* elements that may be under way with nobody popping */
    bool threaded;     /* a thread has been created before anything else: no single-thread path */
    const char *store; /* DEMI_STORE, NULL: as it is */
};

/* Two connected ends. rx yields what is pushed to tx; on a backend that CAN_DUPLEX the other way
 * too. tx == rx in the memory queue. */
struct pair {
    int tx;
    int rx;
};

bool backend_is_known(const char *name);
/* Chooses the backend named and sets its environment; false for an unknown name. */
bool backend_choose(const char *name);
void backend_list(void);
const struct backend *backend(void);
bool backend_can(uint32_t what);

/* Whether a thread that leads never sleeps. */
bool backend_spins(void);

/* Why the backend cannot run on this machine, or NULL. */
const char *backend_missing(void);

/* Skips the running test, saying why, unless the backend can do all of it. */
void backend_needs(uint32_t what);

/* Skips the running test, saying why, where a child cannot start the library because this process
 * has. */
void backend_needs_fork(void);

/* Group set-up and tear-down of every test: a started library, a deadline. demi_fini must succeed.
 */
int library_setup(void **state);
int library_teardown(void **state);

/* A deadline only: for tests that start the library themselves. */
int deadline_setup(void **state);
int deadline_teardown(void **state);

/* Names a log that no test has used; files are removed when the program ends. */
void backend_log_name(char *out, size_t size);

/* How long a test waits for what was pushed to be there to pop, where it cannot wait for just that:
 * a log has it when it is durable. */
struct timespec delivery_time(void);

struct pair pair_make(void);
void pair_close(struct pair pair);

/* A listening socket of the backend on a port the system chose, its address in *addr. */
int listener_make(struct sockaddr_storage *addr, socklen_t *len, int backlog);

/* Connects a new socket to addr, and returns it; not yet accepted by anybody. */
int connect_to(const struct sockaddr_storage *addr, socklen_t len);
demi_qtoken_t connect_start(int *qd_out, const struct sockaddr_storage *addr, socklen_t len);
int accept_one(int listener);

/* The address of a family that the backend's sockets have, with a port: loopback, or that of its
 * device. */
socklen_t loopback(int domain, uint16_t port, struct sockaddr_storage *addr_out);
/* The same with an address of the link of a stack of our own, where nobody is. */
socklen_t absent_address(int domain, uint16_t port, struct sockaddr_storage *addr_out);
uint16_t port_of(const struct sockaddr_storage *addr);

/* A datagram socket of the backend bound to loopback. */
int datagram_make(struct sockaddr_storage *addr, socklen_t *len);

/* Opens a socket of the host's, a peer from outside: a descriptor, or -1 and errno. */
int host_socket(int domain, int type);

/* The address that plain sockets of the host have for the backend. */
socklen_t host_address(int domain, uint16_t port, struct sockaddr_storage *addr_out);

/* Plain sockets of the host, as a peer whose behaviour the test decides; blocking, with a time-out
 * of PATIENCE_S on send and receive. */
int plain_listener(int domain, struct sockaddr_storage *addr, socklen_t *len);
int plain_datagram(int domain, struct sockaddr_storage *addr, socklen_t *len);
int plain_connect(const struct sockaddr_storage *addr, socklen_t len);
int plain_accept(int fd);
void plain_reset(int fd);
void plain_send(int fd, const void *buf, size_t len);
void plain_receive(int fd, void *buf, size_t len);

/* recv(2) that no signal interrupts: bytes, 0 at the end, or -errno. */
ssize_t plain_take(int fd, void *buf, size_t len, int flags);

/* What the plain end sees next, while the library is driven: 0 the end, EMSGSIZE data, or the
 * errno. No operation may be outstanding. */
int plain_end(int fd);

/* A connection between a queue and a plain socket. */
void plain_pair(int *qd_out, int *fd_out);

#endif /* DEMI_TEST_BACKEND_H */
