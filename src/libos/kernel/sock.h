/* SPDX-License-Identifier: MIT */
/*
 * State of the kernel libOS and of its sockets, shared by the files of this folder.
 *
 *   NEW --connect--> CONNECTING --> CONNECTED          NEW --listen--> LISTENING
 *    ^-------- refused, cancelled ----'
 *
 * A datagram socket stays NEW or becomes CONNECTED. Everything here is guarded by the instance's
 * lead, except what `block` uses (mailbox). `readable` and `writable` are cleared only by an EAGAIN
 * or a short read, and set by an event: so edge-triggered readiness is not lost. Lists hold
 * operations that the socket owns, oldest first.
 */
#ifndef DK_LIBOS_KERNEL_SOCK_H
#define DK_LIBOS_KERNEL_SOCK_H

#include "libos/kernel/engine.h"
#include "libos/kernel/kernel.h"
#include "mem/rxpool.h"
#include "os/statfile.h"

#include <demi/libos.h>

#define DK_KERNEL_EVENTS 256

enum dk_sock_state { DK_SOCK_NEW, DK_SOCK_CONNECTING, DK_SOCK_CONNECTED, DK_SOCK_LISTENING };

/* Counters of a poller: X(field, "name"). */
#define DK_KERNEL_STATS(X)                                                                         \
    X(sockets, "kernel.sockets") /* gauge */                                                       \
    X(pushed_bytes, "kernel.pushed_bytes")                                                         \
    X(popped_bytes, "kernel.popped_bytes")                                                         \
    X(sends, "kernel.sends")                                                                       \
    X(blocked_sends, "kernel.blocked_sends") /* the socket took less than it was given */          \
    X(receives, "kernel.receives")                                                                 \
    X(accepts, "kernel.accepts")                                                                   \
    X(direct_polls, "kernel.direct_polls")     /* looks at sockets without asking the engine */    \
    X(engine_changes, "kernel.engine_changes") /* io_uring given up: a second thread drives */

struct dk_kernel_stats {
#define DK_KERNEL_STATS_FIELD(field, name) uint64_t field;
    DK_KERNEL_STATS(DK_KERNEL_STATS_FIELD)
#undef DK_KERNEL_STATS_FIELD
};

#define DK_KERNEL_STATS_COUNT (sizeof(struct dk_kernel_stats) / sizeof(uint64_t))

/* Events that are dispatched a few at a time: see kernel.c. */
struct dk_inbox {
    int num;         /* 0: empty */
    int next;        /* the first that was not dispatched */
    uint64_t serial; /* which of all fills of the inboxes this is */
    struct dk_event events[DK_KERNEL_EVENTS];
};

struct dk_kernel {
    struct dk_poller poller;
    struct dk_instance *inst;
    struct dk_engine *engine;
    struct dk_engine *spare;   /* epoll, kept ready while the engine is bound to a thread */
    struct dk_engine *retired; /* its thread may still be inside poll */
    struct dk_engine *armed;   /* who blocks will block in this */
    int kickfd;                /* ends a block, and is read by who blocked */
    uint32_t kicked;           /* kickfd was written */
    uint32_t owner;            /* thread that a bound engine belongs to */
    uint32_t num_popping;
    uint32_t undrained; /* sockets with pushes on their list */
    uint32_t poll_count;
    struct dk_sock **by_fd; /* watched sockets; owned, fds_size entries */
    uint32_t fds_size;
    uint32_t generation;          /* of the last key */
    struct dk_list sockets;       /* all */
    struct dk_list popping;       /* those with pops outstanding */
    struct dk_rxslab stream_slab; /* what sockets receive into */
    struct dk_rxslab datagram_slab;
    struct dk_kernel_options options;
    const char *shown_engine;        /* name of the engine, for who does not lead */
    struct dk_statfile_block *block; /* in the statistics file, or NULL */
    struct dk_kernel_stats *stats;   /* in block, else own_stats */
    struct dk_kernel_stats own_stats;
    /* What a block found: owned by who blocks while num is 0, and by who polls otherwise. */
    struct dk_inbox mail;
    /* What a poll found: the leader's. */
    struct dk_inbox polled;
    uint64_t fills; /* of both, so far */
};

/* A thread that ends the process reads the number while another one leads. */
static inline void dk_kernel_count_undrained(struct dk_kernel *k, int more)
{
    __atomic_store_n(&k->undrained, k->undrained + (uint32_t)more, __ATOMIC_RELAXED);
}

struct dk_sock {
    struct dk_queue *q;
    struct dk_kernel *k;
    struct dk_list all;     /* in k->sockets */
    struct dk_list popping; /* in k->popping while it has pops */
    struct dk_list pops, pushes, accepts;
    struct dk_op *connecting;
    uint64_t key; /* generation << 32 | fd, while watched: events of an earlier socket with that fd
                     do not match */
    int fd;
    uint32_t rx_bytes; /* offered to the next receive */
    uint64_t emptied;  /* k->fills before it was last read empty: what those report is old news */
    int32_t rx_error;  /* every further pop fails with it */
    int32_t tx_error;
    uint8_t state; /* enum dk_sock_state */
    uint8_t domain;
    bool stream;
    bool watched;
    bool readable, writable;
    bool alarmed; /* hang-up, error or urgent data was seen: a short read proves nothing */
    bool eof;
    bool failed;            /* an operation met an error, or one on this stream would */
    bool has_port;          /* a datagram socket is bound, by whomever */
    bool write_shut;        /* the application shut the write side down */
    bool closing;           /* the application closed it */
    bool linger_reset;      /* SO_LINGER {1, 0} */
    bool hungry;            /* its taker waits for data: in k->popping without pops */
    struct dk_taker *taker; /* who claimed the pop side, or NULL */
    struct demi_traffic traffic;
    int max_segs; /* DEMI_MAXSEGS: kept, and without effect: a pop has one buffer here */
};

extern const struct dk_queue_ops dk_sock_ops;

/* sock.c: life of a socket */

/* Makes a socket object and its queue around no fd yet. 0 or a negative errno. */
int dk_sock_create(struct dk_sock **s_out, struct dk_kernel *k, int domain, bool stream);

/* Starts watching the fd. 0 or a negative errno. Idempotent. */
int dk_sock_watch(struct dk_sock *s);

/* Closes the fd, frees the socket, lets the queue go. No operation is left. */
void dk_sock_destroy(struct dk_sock *s);

/* Acts on an event of the fill with that serial: receives, sends, accepts, ends a connect. */
void dk_sock_event(struct dk_sock *s, uint32_t events, uint64_t serial);

/* engine in use by this thread: changes to epoll when a bound engine is not this thread's. */
struct dk_engine *dk_kernel_engine(struct dk_kernel *k);

/* sock_rx.c */
int dk_sock_pop(struct dk_queue *q, struct dk_op *op);
/* Receives for outstanding pops until they are served or nothing is left. */
void dk_sock_receive(struct dk_sock *s);
/* Completes every outstanding pop with an error, or (0) with the end of the stream. */
void dk_sock_end_pops(struct dk_sock *s, int error);
/* For operators, see core/queue.h. */
int dk_sock_claim(struct dk_queue *q, struct dk_taker *t);
int dk_sock_take(struct dk_queue *q, demi_sgarray_t *sga_out);
void dk_sock_rest(struct dk_queue *q);
/* Takes an operation off s->pops. */
void dk_sock_remove_pop(struct dk_sock *s, struct dk_op *op);

/* sock_tx.c */
int dk_sock_push(struct dk_queue *q, struct dk_op *op, const demi_sgarray_t *sga);
/* Sends what is on s->pushes as far as the socket takes it. s may be destroyed (a closing socket
 * that is drained). */
void dk_sock_flush(struct dk_sock *s);
/* Completes every outstanding push with an error. */
void dk_sock_fail_pushes(struct dk_sock *s, int error);
int dk_sock_shutdown(struct dk_queue *q, int how);

/* sock_conn.c */
int dk_sock_accept(struct dk_queue *q, struct dk_op *op);
int dk_sock_connect(struct dk_queue *q, struct dk_op *op);
int dk_sock_cancel(struct dk_queue *q, struct dk_op *op, demi_qtoken_t token);
int dk_sock_bind(struct dk_queue *q, const struct sockaddr *addr, socklen_t len);
int dk_sock_listen(struct dk_queue *q, int backlog);

/* Binds a datagram socket, which has no port, to one that no other socket has: 0 or -errno. */
int dk_sock_choose_port(struct dk_sock *s);
void dk_sock_do_accepts(struct dk_sock *s);
void dk_sock_connected(struct dk_sock *s);

/* sock_opt.c */
int dk_sock_setsockopt(struct dk_queue *q, int level, int name, const void *val, socklen_t len);
int dk_sock_getsockopt(struct dk_queue *q, int level, int name, void *val, socklen_t *len);
int dk_sock_name(struct dk_queue *q, enum dk_queue_name which, struct sockaddr *addr,
                 socklen_t *len);

#endif /* DK_LIBOS_KERNEL_SOCK_H */
