/* SPDX-License-Identifier: MIT */
/*
 * A worker: one thread with its instance of the library, its listener and its pairs.
 *
 * A pair is a client's socket and a target's, connected both ways by demi_qconnect: the worker
 * hears of its beginning and its end, never of an element in between.
 *
 *     CONNECTING --target answers--> JOINED --both ways ended, an error, idle--> CLOSED --> freed
 *         `---no target, time-out, client gone---------------------------------------^
 *
 * What ends one side in order ends the other in order, once what came before was passed on. A reset
 * or any other error of one side resets the other at once, and what was on its way is dropped: so
 * that nobody takes a part for the whole.
 *
 * A pair is freed when every token of it was collected; until then its descriptors are not
 * reissued.
 */
#ifndef RELAY_WORKER_H
#define RELAY_WORKER_H

#include "target.h"

#include <demi/libos.h>
#include <demi/wait.h>
#include <pthread.h>

/* Counters of a worker: X(field, "what it says"). */
#define RELAY_COUNTERS(X)                                                                          \
    X(clients, "clients")                                                                          \
    X(denied, "denied")           /* not of an allowed prefix */                                   \
    X(refused, "refused")         /* more than max-connections */                                  \
    X(unreachable, "unreachable") /* no target took them */                                        \
    X(client_resets, "reset by clients")                                                           \
    X(target_resets, "reset by targets")                                                           \
    X(failed, "failed")   /* ended by another error */                                             \
    X(idle, "idle")       /* ended because nothing moved */                                        \
    X(moved, "moved")     /* UDP: ended because their target went down */                          \
    X(dropped, "dropped") /* UDP: datagrams that there was no room for */                          \
    X(to_targets, "bytes to targets")                                                              \
    X(to_clients, "bytes to clients")

struct relay_counters {
#define RELAY_COUNTER_FIELD(field, name) atomic_ullong field;
    RELAY_COUNTERS(RELAY_COUNTER_FIELD)
#undef RELAY_COUNTER_FIELD
};

enum relay_pair_state { RELAY_CONNECTING, RELAY_JOINED, RELAY_CLOSED };

struct relay_worker;

struct relay_pair {
    struct relay_worker *worker;
    struct relay_pair *prev, *next;
    struct relay_pair *chain; /* UDP: of the same bucket */
    int client_qd;
    int filter_qd;  /* over client_qd, or -1 */
    int server_qd;  /* -1: none */
    bool timed_out; /* server_qd was closed, and its connect has not failed yet */
    enum relay_pair_state state;
    struct relay_target *target; /* NULL: none, or released */
    struct relay_address client;
    uint32_t downs;              /* of the target, at the beginning */
    uint64_t tried;              /* targets that failed it */
    demi_qtoken_t watches[2];    /* of what comes from the client, and from the target */
    uint32_t ways;               /* that still move */
    uint32_t pending;            /* tokens that were not collected */
    struct demi_traffic seen[2]; /* of the client's socket and the target's, at the last look */
    int64_t active_ms;           /* when something had moved, or its state changed */
};

enum relay_role { RELAY_NOBODY, RELAY_LISTENER, RELAY_INBOX, RELAY_PAIR, RELAY_PROBE };

/* Whose a descriptor is. */
struct relay_owner {
    enum relay_role role;
    void *object;
};

struct relay_probe {
    struct relay_target *target;
    int qd;         /* -1: none is made */
    bool timed_out; /* qd was closed, and its operation has not failed yet */
    int64_t at_ms;
};

#define RELAY_BUCKETS 4096
#define RELAY_STRAYS  256

struct relay_shared {
    const struct relay_config *config;
    struct relay_targets targets;
    struct relay_address listen; /* with the port that it got */
    atomic_uint active;          /* pairs of all workers */
    atomic_bool stop;
    atomic_bool report;
    int inboxes[RELAY_MAX_WORKERS]; /* UDP: queues in memory, when there are several workers */
    struct relay_worker *workers;
};

/* UDP: datagrams that came to the socket of another client, the oldest first. The lock: a thread of
 * the library's (background=yes) may find them. */
struct relay_strays {
    pthread_mutex_t lock;
    uint32_t first, num;
    demi_sgarray_t ring[RELAY_STRAYS]; /* owned */
};

struct relay_worker {
    struct relay_shared *shared;
    const struct relay_config *config;
    uint32_t index;
    int listen_qd;
    int inbox_qd; /* UDP: where datagrams without a pair come from */
    uint32_t accepts;
    bool closing;
    int64_t now_ms;
    int64_t tick_ms, scan_ms, stats_ms;
    struct relay_pair *pairs;
    uint32_t num_pairs; /* that are not freed */
    struct relay_owner *owners;
    uint32_t num_owners;
    struct relay_probe probes[RELAY_MAX_TARGETS];
    struct relay_pair *buckets[RELAY_BUCKETS];
    struct relay_strays strays;
    struct relay_counters counters;
};

static inline void relay_count(atomic_ullong *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* worker.c */

/* Starts the calling thread's instance and listens; worker 0 chooses the port. 0 or an errno, and
 * what failed. */
int relay_worker_open(struct relay_worker *w, struct relay_shared *shared, uint32_t index,
                      const char **what_out);

/* Serves until shared->stop, then drains. 0 or an errno. */
int relay_worker_run(struct relay_worker *w);

/* Remembers whose a descriptor is; false without memory. */
bool relay_worker_own(struct relay_worker *w, int qd, enum relay_role role, void *object);
void relay_worker_disown(struct relay_worker *w, int qd, const void *object);

/* pair.c */

/* Makes a pair of a client's socket, which it owns from here on. NULL without memory: closed. */
struct relay_pair *relay_pair_create(struct relay_worker *w, int client_qd,
                                     const struct sockaddr *client, socklen_t len);

/* Connects the two sockets both ways. */
void relay_pair_join(struct relay_pair *p);

/* Closes a socket; reset: its peer gets a reset instead of an end, and nothing that it was not sent
 * yet. */
void relay_close_socket(int qd, bool reset);

/* Closes both sockets, as relay_close_socket. */
void relay_pair_close(struct relay_pair *p, bool reset);

/* Whether an error says that nothing reaches the peer. */
bool relay_is_unreachable(int error);

/* A result of one of its descriptors. */
void relay_pair_result(struct relay_pair *p, const demi_qresult_t *qr);

/* Looks whether something moved, and at time-outs. */
void relay_pair_scan(struct relay_pair *p);

/* Calls fn for every pair that is not closed. */
void relay_for_each_pair(struct relay_worker *w, void (*fn)(struct relay_pair *p));

/* tcp.c */
int relay_tcp_listen(struct relay_worker *w, const char **what_out);
void relay_tcp_start_accepts(struct relay_worker *w);
void relay_tcp_accept_result(struct relay_worker *w, const demi_qresult_t *qr);
/* The target did not take the connection: another is tried, or the pair is closed. */
void relay_tcp_connect_failed(struct relay_pair *p);

/* probe.c */

/* Starts probes that are due, and ends those that take too long. */
void relay_probe_all(struct relay_worker *w);
void relay_probe_result(struct relay_worker *w, struct relay_probe *probe, demi_qresult_t *qr);
void relay_probe_close_all(struct relay_worker *w);

/* udp.c */
/* Makes a datagram socket, bound (local not NULL) and connected. 0 or an errno. */
int relay_udp_connect(int *qd_out, const struct relay_address *local,
                      const struct relay_address *peer);
int relay_udp_listen(struct relay_worker *w, const char **what_out);
void relay_udp_result(struct relay_worker *w, demi_qresult_t *qr);
void relay_udp_forget(struct relay_pair *p);
/* Treats strays as what the listener got. */
void relay_udp_take_strays(struct relay_worker *w);
/* Frees them. */
void relay_udp_drop_strays(struct relay_worker *w);

/* report.c */
void relay_report(const struct relay_shared *shared);

#endif /* RELAY_WORKER_H */
