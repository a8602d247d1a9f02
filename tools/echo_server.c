/* SPDX-License-Identifier: MIT */
/*
 * The echo server's loop. Results are matched to peers by descriptor; a result for a descriptor
 * that is not in the map belongs to a peer that was closed, and is dropped.
 *
 * A peer has at most one pop outstanding, so a failed result is the pop's when its token says so,
 * else a push's. A UDP socket is a peer that never ends.
 */
#include "echo_server.h"

#include "command.h"
#include "qd_map.h"
#include "session.h"

#include <demi/libos.h>
#include <demi/sga.h>
#include <demi/wait.h>

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH   64
#define BACKLOG 1024

struct peer {
    struct peer *next; /* all peers that are open */
    struct peer *prev;
    int qd;
    uint32_t num_pushes;  /* outstanding */
    demi_qtoken_t pop_qt; /* 0: none outstanding */
};

struct server {
    const struct echo_options *options;
    struct echo_totals *totals;
    struct qd_map peers;
    struct peer head;      /* of the list of peers */
    int listen_qd;         /* TCP */
    bool accepting;        /* an accept is outstanding */
    uint64_t num_accepted; /* connections taken */
    uint64_t num_ended;    /* connections over, or datagrams sent back */
    int exit_code;
};

static struct peer *add_peer(struct server *server, int qd)
{
    struct peer *peer = calloc(1, sizeof(*peer));
    if (peer == NULL || !qd_map_set(&server->peers, qd, peer)) {
        free(peer);
        return NULL;
    }
    peer->qd = qd;
    peer->next = server->head.next;
    peer->prev = &server->head;
    peer->next->prev = peer;
    server->head.next = peer;
    return peer;
}

static void start_accept(struct server *server)
{
    demi_qtoken_t qt;
    uint64_t count = server->options->count;
    if (server->options->udp || server->accepting || (count > 0 && server->num_accepted >= count))
        return;
    int err = demi_accept(&qt, server->listen_qd);
    if (err == 0)
        server->accepting = true;
    else
        server->exit_code = session_fail("accept", err);
}

/* Closes a peer; what is outstanding on it comes to nobody. A place is free for another now. */
static void close_peer(struct server *server, struct peer *peer)
{
    demi_close(peer->qd);
    qd_map_set(&server->peers, peer->qd, NULL);
    peer->prev->next = peer->next;
    peer->next->prev = peer->prev;
    free(peer);
    server->num_ended++;
    start_accept(server);
}

static void break_peer(struct server *server, struct peer *peer, const char *what, int err)
{
    server->totals->failures++;
    if (server->options->udp)
        server->exit_code = session_fail(what, err);
    else if (err != ECONNRESET && err != EPIPE)
        session_fail(what, err); /* not the peer's doing */
    close_peer(server, peer);
}

static void start_pop(struct server *server, struct peer *peer)
{
    demi_qtoken_t qt;
    if (peer->pop_qt != 0 || peer->num_pushes >= ECHO_PUSHES_MAX)
        return;
    int err = demi_pop(&qt, peer->qd);
    if (err == 0)
        peer->pop_qt = qt;
    else
        break_peer(server, peer, "pop", err);
}

static void on_accept(struct server *server, int qd)
{
    server->accepting = false;
    server->num_accepted++;
    server->totals->connections++;
    struct peer *peer = add_peer(server, qd);
    if (peer == NULL) {
        server->totals->failures++;
        server->num_ended++;
        demi_close(qd);
    } else {
        start_pop(server, peer);
    }
    start_accept(server);
}

static uint64_t count_bytes(const demi_sgarray_t *sga)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < sga->sga_numsegs; i++)
        bytes += sga->sga_segs[i].sgaseg_len;
    return bytes;
}

static int push_back(const struct server *server, const struct peer *peer,
                     const demi_sgarray_t *sga)
{
    struct sockaddr_storage from;
    socklen_t len = sizeof(from);
    demi_qtoken_t qt;
    if (!server->options->udp)
        return demi_push(&qt, peer->qd, sga);
    int err = demi_sga_peer(sga, (struct sockaddr *)&from, &len);
    return err != 0 ? err : demi_pushto(&qt, peer->qd, sga, (struct sockaddr *)&from, len);
}

static void on_pop(struct server *server, struct peer *peer, demi_sgarray_t *sga)
{
    peer->pop_qt = 0;
    if (sga->sga_numsegs == 0) {
        close_peer(server, peer);
        return;
    }
    uint64_t bytes = count_bytes(sga);
    int err = push_back(server, peer, sga);
    demi_sgafree(sga);
    if (err != 0) {
        break_peer(server, peer, "push", err);
        return;
    }
    peer->num_pushes++;
    server->totals->elements++;
    server->totals->bytes += bytes;
    start_pop(server, peer);
}

static void on_push(struct server *server, struct peer *peer)
{
    peer->num_pushes--;
    if (server->options->udp)
        server->num_ended++;
    start_pop(server, peer);
}

/* A datagram that cannot be sent, or an ICMP error that a pop reports, does not end the socket. */
static void on_udp_failure(struct server *server, struct peer *peer, bool is_pop)
{
    server->totals->failures++;
    if (is_pop)
        peer->pop_qt = 0;
    else
        peer->num_pushes--;
    start_pop(server, peer);
}

/* Out of descriptors or memory: goes on accepting when a connection has ended. A connection that
 * was reset before it was accepted is nothing to stop for. */
static void on_accept_failure(struct server *server, int err)
{
    server->accepting = false;
    server->totals->failures++;
    session_fail("accept", err);
    if (err == ECONNABORTED)
        start_accept(server);
    else if (server->head.next == &server->head)
        server->exit_code = COMMAND_FAILED;
}

static void on_failure(struct server *server, struct peer *peer, const demi_qresult_t *qr)
{
    bool is_pop = qr->qr_qt == peer->pop_qt;
    if (server->options->udp)
        on_udp_failure(server, peer, is_pop);
    else
        break_peer(server, peer, is_pop ? "pop" : "push", (int)qr->qr_ret);
}

static void on_result(struct server *server, demi_qresult_t *qr)
{
    struct peer *peer = qd_map_get(&server->peers, qr->qr_qd);
    demi_sgarray_t sga;
    switch (qr->qr_opcode) {
    case DEMI_OPC_ACCEPT:
        on_accept(server, qr->qr_value.ares.qd);
        break;
    case DEMI_OPC_POP:
        memcpy(&sga, &qr->qr_value.sga, sizeof(sga));
        if (peer == NULL)
            demi_sgafree(&sga);
        else
            on_pop(server, peer, &sga);
        break;
    case DEMI_OPC_PUSH:
        if (peer != NULL)
            on_push(server, peer);
        break;
    default:
        if (peer != NULL)
            on_failure(server, peer, qr);
        else if (!server->options->udp && qr->qr_qd == server->listen_qd)
            on_accept_failure(server, (int)qr->qr_ret);
        break;
    }
}

static bool is_done(const struct server *server)
{
    uint64_t count = server->options->count;
    return server->exit_code != COMMAND_OK || session_stopped() ||
           (count > 0 && server->num_ended >= count);
}

static int loop(struct server *server)
{
    struct timespec nap = session_timespec(SESSION_NAP_NS);
    demi_qresult_t results[BATCH];
    while (!is_done(server)) {
        int n = 0;
        int err = demi_wait_some(results, BATCH, &n, &nap);
        if (err != 0 && err != ETIMEDOUT)
            return session_fail("wait", err);
        for (int i = 0; err == 0 && i < n; i++)
            on_result(server, &results[i]);
    }
    return server->exit_code;
}

/* Tells the address that was bound: the port was chosen if 0 was asked for. */
static int announce(int qd)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof(addr);
    char text[ADDRESS_TEXT_MAX];
    int err = demi_getsockname(qd, (struct sockaddr *)&addr, &len);
    if (err != 0)
        return session_fail("cannot read the bound address", err);
    address_format((const struct sockaddr *)&addr, text, sizeof(text));
    printf("listening on %s\n", text);
    fflush(stdout);
    return COMMAND_OK;
}

static int open_socket(const struct echo_options *options, int *qd_out)
{
    int qd;
    int err = session_socket(&options->address, options->udp, &qd);
    if (err != 0)
        return session_fail("socket", err);
    err = demi_bind(qd, (const struct sockaddr *)&options->address.addr, options->address.len);
    if (err == 0 && !options->udp)
        err = demi_listen(qd, BACKLOG);
    if (err != 0) {
        demi_close(qd);
        return session_fail("cannot listen", err);
    }
    *qd_out = qd;
    return COMMAND_OK;
}

static int start_udp(struct server *server, int qd)
{
    struct peer *peer = add_peer(server, qd);
    if (peer == NULL) {
        demi_close(qd);
        return session_fail("socket", ENOMEM);
    }
    start_pop(server, peer);
    return server->exit_code;
}

static int start(struct server *server)
{
    int qd = -1;
    int code = open_socket(server->options, &qd);
    if (code != COMMAND_OK)
        return code;
    server->listen_qd = qd;
    if (server->options->udp)
        code = start_udp(server, qd);
    else
        start_accept(server);
    if (code == COMMAND_OK && server->exit_code == COMMAND_OK)
        code = announce(qd);
    return code == COMMAND_OK ? server->exit_code : code;
}

static void close_all(struct server *server)
{
    server->accepting = true; /* no more accepts */
    while (server->head.next != &server->head)
        close_peer(server, server->head.next);
    if (!server->options->udp && server->listen_qd >= 0)
        demi_close(server->listen_qd);
    qd_map_fini(&server->peers);
}

int echo_serve(const struct echo_options *options, struct echo_totals *totals)
{
    struct server server = {.options = options, .totals = totals, .listen_qd = -1};
    server.head.next = server.head.prev = &server.head;
    qd_map_init(&server.peers);
    int code = start(&server);
    if (code == COMMAND_OK)
        code = loop(&server);
    close_all(&server);
    return code;
}
