/* SPDX-License-Identifier: MIT */
/*
 * One connection.
 *
 *             pop yields bytes          too much unsent
 *     READING ----------------> runs ------------------> BLOCKED (holds what it has not run)
 *        ^                       |  ^                       |
 *        '------- all run -------'  '---- pushes ended -----'
 *
 *     finish (QUIT, protocol error): what was said is still sent, what comes is thrown away, until
 *     the peer has closed or LINGER_MS have passed; so that the last reply is not lost to a reset.
 *     close: the descriptor is closed; the struct lives until its last token was collected.
 *
 * Commands are popped from a frame over the connection, which ends when the client finishes: what
 * is thrown away need not be commands. At most one pop is outstanding, and none while BLOCKED: a
 * client that does not read its replies is not read from either. What may be unsent is bounded by
 * KV_MAX_PUSHES pushes, or by the configured number of bytes, and by what one command answers more
 * than that.
 */
#ifndef KV_CLIENT_H
#define KV_CLIENT_H

#include <demi/types.h>
#include <stdbool.h>
#include <stdint.h>

struct kv_command;
struct kv_held;
struct kv_server;

#define KV_MAX_PUSHES 8

struct kv_client {
    int qd;         /* the connection */
    int frame;      /* over it, what is popped; -1 when finishing */
    uint8_t resp;   /* 2 or 3 */
    bool broken;    /* to be closed as soon as nobody is at work on it */
    bool finishing; /* runs no more commands */
    bool ended;     /* its peer says no more; it closes when the last answer has gone */
    bool closed;
    bool no_evict;        /* CLIENT NO-EVICT, kept for CLIENT LIST only */
    uint32_t pushes;      /* outstanding, and answers that wait for the log */
    uint32_t kept;        /* the latter */
    uint64_t unsent;      /* bytes pushed since no push was outstanding */
    demi_qtoken_t pop;    /* outstanding pop, or 0 */
    struct kv_held *held; /* received, not run: NULL unless BLOCKED */
    struct kv_server *server;
    struct kv_client *next, *prev; /* all clients */
    const struct kv_command *last; /* command; NULL before the first */
    uint64_t id;
    int64_t born_ms;
    int64_t active_ms;               /* last command; when finishing: since when */
    char *name, *lib_name, *lib_ver; /* or NULL */
};

/* Takes over a connection and begins to read. NULL without memory: it is closed. */
struct kv_client *kv_client_create(struct kv_server *server, int qd);

/* Results of the client's operations. The client may be gone afterwards. */
void kv_client_popped(struct kv_client *c, demi_sgarray_t *sga);
void kv_client_pushed(struct kv_client *c);
void kv_client_failed(struct kv_client *c, demi_qtoken_t token, int error);

/* Pushes bytes that the caller may free afterwards. */
void kv_client_push(struct kv_client *c, const demi_sgarray_t *sga);

/* Pushes an answer that waited for the log. The client may be gone afterwards. */
void kv_client_send_kept(struct kv_client *c, const demi_sgarray_t *sga);

/* Runs no more commands; see above. To be called while one of its commands runs. */
void kv_client_finish(struct kv_client *c);

/* Closes the connection. The client may be gone afterwards, unless one of its commands runs. */
void kv_client_close(struct kv_client *c);

/* Closes a finishing client whose time is up. */
void kv_client_check_linger(struct kv_client *c, int64_t now_ms);

#endif /* KV_CLIENT_H */
