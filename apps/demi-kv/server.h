/* SPDX-License-Identifier: MIT */
/*
 * The server: one event loop over one library instance, one keyspace, all clients.
 *
 * Nothing is global: whoever needs it is handed the server, or finds it through the client.
 */
#ifndef KV_SERVER_H
#define KV_SERVER_H

#include "answers.h"
#include "db.h"
#include "journal.h"
#include "pace.h"
#include "reply.h"
#include "resp.h"

#include <signal.h>
#include <sys/socket.h>

/* What the Redis protocol and its clients are told. */
#define KV_REDIS_VERSION "7.0.15"

struct kv_client;

struct kv_config {
    const char *bind; /* a numeric address */
    uint16_t port;    /* 0: any; the server puts the real one here */
    uint32_t max_clients;
    uint32_t backlog;
    uint64_t max_memory;  /* bytes of keys and values, 0: no limit */
    uint64_t max_unsent;  /* bytes of replies per client, beyond which it is not read */
    uint64_t max_request; /* bytes of one command */
    const char *log;      /* of changes, NULL: none is kept */
    uint64_t log_min;     /* bytes of it below which it is not rewritten by itself */
    struct resp_limits limits;
};

struct kv_stats {
    uint64_t commands;
    uint64_t connections;
    uint64_t rejected;
    uint64_t bytes_in;
    uint64_t blocked; /* times that a client was not read because it did not read */
};

struct kv_server {
    struct kv_config *config;
    const volatile sig_atomic_t *stop; /* becomes non-zero: end in order */
    struct kv_db db;
    struct resp_scan scan; /* of commands that have arrived whole */
    struct kv_out out;
    struct kv_stats stats;
    struct kv_journal journal;
    struct kv_answers answers; /* that wait for it */
    uint64_t acked;            /* the last group that the pace was told of */
    struct kv_pace pace;
    bool idle;        /* the last turn found nothing to do */
    bool is_changing; /* a command runs that may change something, and there is a log */

    int listen_qd;
    uint32_t accepts; /* outstanding */
    bool closing;     /* accepts and reads no more */

    struct kv_client **by_qd; /* qd of a connection or a frame -> client or NULL */
    uint32_t by_qd_size;
    struct kv_client *clients; /* all of them, the newest first */
    uint32_t num_clients;      /* not closed */
    uint32_t num_finishing;
    uint32_t num_structs; /* in the list: closed ones too, until their tokens are collected */
    uint64_t last_client_id;

    int64_t start_ms;
    int64_t tick_ms; /* when the last tick was */
};

/*
 * Binds and listens; the library has been started. Returns 0 or a positive errno; *what_out says
 * what failed.
 */
int kv_server_open(struct kv_server *server, struct kv_config *config,
                   const volatile sig_atomic_t *stop, const char **what_out);

/* Serves until *stop, or until the library fails: 0 or that errno. */
int kv_server_run(struct kv_server *server);

/* Closes everything, and waits briefly for replies that are on their way. */
void kv_server_close(struct kv_server *server);

/* Puts a client into, and takes it from, the table. false without memory. */
bool kv_server_add(struct kv_server *server, struct kv_client *c);
void kv_server_remove(struct kv_server *server, struct kv_client *c);

/* Forgets that a descriptor is this client's; it may have been issued again since it was closed. */
void kv_server_forget(struct kv_server *server, const struct kv_client *c, int qd);

#endif /* KV_SERVER_H */
