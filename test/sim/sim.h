/* SPDX-License-Identifier: MIT */
/*
 * Two stacks over a bad network, all of it by one seed and a virtual clock.
 *
 *      main.c    a run: what the seed chooses, the loop of events, what has to be true at the end
 *      wire.c    frames in flight: lost, late, out of order, twice, damaged, too big for the path
 *      app.c     the two ends of each connection: random pushes, pops, and ways to end
 *
 * The network is bad for HEAL_NS, then perfect: so every connection has to end well, whatever was
 * lost. What is checked: each stream is whole and in order (or, where an end was rude, a prefix of
 * it), every connection ends, in bounded time, no buffer is left, TCP's invariants hold.
 */
#ifndef DK_TEST_SIM_H
#define DK_TEST_SIM_H

#include "base/random.h"
#include "net/dev.h"
#include "net/net.h"
#include "net/tcp/tcp.h"

#include <setjmp.h>
#include <stdio.h>

#define MS INT64_C(1000000)
#define S  INT64_C(1000000000)

#define HEAL_NS    (40 * S)
#define END_NS     (2 * 3600 * S)
#define CONNS_MAX  8
#define PUSHES_MAX 24
#define LISTENERS  8

struct sim;

/* What a seed chose of one way of the wire. Chances are of 10,000. */
struct way {
    uint32_t loss, twice, damage, late;
    int64_t latency, jitter; /* jitter makes frames overtake each other */
    uint32_t path_mtu;       /* of a narrow part of the way, which begins at path_at */
    int64_t path_at;
    bool silent; /* it says nothing of what is too big */
};

struct frame {
    int64_t due;
    uint64_t number; /* order among equals */
    int to;
    uint32_t len;
    uint8_t bytes[];
};

struct host {
    struct dk_netdev card; /* first */
    struct dk_netdev *dev; /* card, or what cuts segments over it */
    struct sim *sim;
    int index;
    struct dk_net *net;
    struct dk_mac mac;
    struct dk_ip ip;
    uint32_t mtu;
    uint32_t busy; /* chance that the device has no room */
    bool no_room;
    int64_t room_at;
    struct dk_tcp_listener *listener;
};

/* How an end goes. */
enum manner {
    POLITE, /* all is sent, shutdown, all is read, close */
    RUDE,   /* close at some moment, whatever is unread */
    ABORT,  /* abort at some moment */
};

struct push {
    struct dk_buf *buf;
    bool busy;
};

/* One end of a connection. */
struct end {
    struct sim *sim;
    struct host *host;
    struct end *peer;
    int conn_index;
    bool client;
    struct dk_tcp_conn *conn;
    uint64_t to_send, sent, received;
    uint32_t push_max, pop_max;
    int64_t pace; /* between looks at the connection, on average */
    enum manner manner;
    int64_t rude_at; /* when, after the connection was there */
    int64_t next;    /* the next look */
    int64_t option[DK_TCP_OPTIONS];
    uint32_t attempts; /* to connect */
    uint32_t outstanding;
    uint64_t oldest, newest; /* cookies, in order */
    struct push pushes[PUSHES_MAX];
    bool connected, readable, shut, closing, ended, peer_ended, failed;
    bool expected; /* its client exists */
};

struct sim {
    uint64_t seed;
    bool trace;
    jmp_buf wrong;
    char message[512];
    struct dk_random random;
    int version;
    int64_t now;
    struct host hosts[2];
    struct way ways[2];
    struct frame **frames; /* a heap */
    uint32_t num_frames, room_frames;
    uint64_t frame_number;
    uint64_t events;
    int num_conns;
    struct end ends[CONNS_MAX][2]; /* client, server */
    uint32_t buffers_before;
    uint64_t bytes; /* received by all */
};

/* Ends the run. Not to be called from inside a stack: there, sim_note. */
void sim_fail(struct sim *sim, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));
void sim_note(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
void sim_trace(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));

static inline uint32_t below(struct sim *sim, uint32_t bound)
{
    return dk_random_below(&sim->random, bound);
}

static inline bool chance(struct sim *sim, uint32_t of_10000)
{
    return below(sim, 10000) < of_10000;
}

/* ---- wire.c ---------------------------------------------------------------------------------- */

void wire_choose(struct sim *sim);
/* Makes a host's device; cuts: it takes what is to be cut into segments. */
void wire_plug(struct host *host, bool cuts);
void wire_unplug(struct host *host);
bool wire_emit(void *host, const struct dk_tx_frame *frame);
int64_t wire_next(const struct sim *sim);
/* Gives the frames that are due to their hosts. */
void wire_deliver(struct sim *sim);
void wire_drop_all(struct sim *sim);

/* ---- app.c ----------------------------------------------------------------------------------- */

void app_choose(struct sim *sim);
void app_listen(struct host *host);
int64_t app_next(const struct sim *sim);
void app_run(struct sim *sim);
bool app_done(const struct sim *sim);
/* What has to be true of the streams when all has ended. */
void app_check(struct sim *sim);
void app_stop(struct sim *sim);

#endif /* DK_TEST_SIM_H */
