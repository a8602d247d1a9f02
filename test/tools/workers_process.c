/* SPDX-License-Identifier: MIT */
/*
 * A server of several workers, and its clients, of several too: each a thread with an instance of
 * its own, so with a queue of the device.
 *
 *   workers_process serve WORKERS tcp|udp ADDRESS
 *   workers_process load WORKERS tcp|udp ADDRESS CONNECTIONS ELEMENTS BYTES
 *
 * The server sends back what comes, and ends with SIGINT. Each worker of the clients has as many
 * connections, and sends so many elements by each, one after the other, each of which must come
 * back as it was; with 0 elements, until the process ends. What is lost of datagrams is sent again.
 *
 * Prints "listening on ADDRESS" or "sending to ADDRESS", "worker NUMBER is reached" when the first
 * element came to that of a server, and at the end a line for each: "worker NUMBER connections N
 * elements N bytes N again N".
 */
#include "must.h"
#include "payload.h"
#include "qd_map.h"
#include "session.h"

#include <demi/libos.h>
#include <demi/sga.h>
#include <demi/wait.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORKERS_MAX 8
#define BATCH       64
#define BACKLOG     1024
#define AGAIN_NS    3000000000 /* a datagram that has no answer */

/* One of a client. */
struct conn {
    int qd;
    uint64_t number; /* of the element that is under way */
    uint64_t left;   /* elements, with that */
    uint64_t received;
    uint64_t sent_at;
};

struct worker {
    pthread_t thread;
    uint64_t index;
    uint64_t connections, elements, bytes, again;
    uint64_t active; /* connections that have something left */
    struct conn *conns;
    struct qd_map by_qd;
    int listen_qd;
};

static struct {
    bool serves, udp;
    uint64_t workers, connections, elements, bytes;
    struct address address;
} options;

static atomic_uint num_ready;

static const struct sockaddr *address(void)
{
    return (const struct sockaddr *)&options.address.addr;
}

/* Tells when all workers are so far. */
static void be_ready(const char *what)
{
    char text[ADDRESS_TEXT_MAX];
    if (atomic_fetch_add(&num_ready, 1) + 1 != options.workers)
        return;
    address_format(address(), text, sizeof text);
    printf("%s %s\n", what, text);
    fflush(stdout);
}

static uint64_t bytes_of(const demi_sgarray_t *sga)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < sga->sga_numsegs; i++)
        bytes += sga->sga_segs[i].sgaseg_len;
    return bytes;
}

static void pop(int qd)
{
    demi_qtoken_t qt;
    MUST(demi_pop(&qt, qd));
}

/* ---- the server -------------------------------------------------------------------------------
 */

static void accept_next(const struct worker *w)
{
    demi_qtoken_t qt;
    MUST(demi_accept(&qt, w->listen_qd));
}

static void serve_start(struct worker *w)
{
    MUST(session_socket(&options.address, options.udp, &w->listen_qd));
    MUST(demi_bind(w->listen_qd, address(), options.address.len));
    if (options.udp) {
        pop(w->listen_qd);
    } else {
        MUST(demi_listen(w->listen_qd, BACKLOG));
        accept_next(w);
    }
    be_ready("listening on");
}

/* Results of what is under way may follow. */
static void end_connection(struct worker *w, int qd)
{
    if (!qd_map_get(&w->by_qd, qd))
        return;
    qd_map_set(&w->by_qd, qd, NULL);
    MUST(demi_close(qd));
}

static void send_back(struct worker *w, int qd, demi_sgarray_t *sga)
{
    struct sockaddr_storage from;
    socklen_t len = sizeof from;
    demi_qtoken_t qt;
    if (w->elements++ == 0) {
        printf("worker %llu is reached\n", (unsigned long long)w->index);
        fflush(stdout);
    }
    w->bytes += bytes_of(sga);
    if (options.udp) {
        MUST(demi_sga_peer(sga, (struct sockaddr *)&from, &len));
        MUST(demi_pushto(&qt, qd, sga, (struct sockaddr *)&from, len));
    } else if (demi_push(&qt, qd, sga) != 0) {
        end_connection(w, qd);
    }
    MUST(demi_sgafree(sga));
    if (options.udp || qd_map_get(&w->by_qd, qd))
        pop(qd);
}

static void serve(struct worker *w, demi_qresult_t *qr)
{
    demi_sgarray_t sga;
    switch (qr->qr_opcode) {
    case DEMI_OPC_ACCEPT:
        w->connections++;
        MUST(qd_map_set(&w->by_qd, qr->qr_value.ares.qd, w) ? 0 : ENOMEM);
        pop(qr->qr_value.ares.qd);
        accept_next(w);
        break;
    case DEMI_OPC_POP:
        memcpy(&sga, &qr->qr_value.sga, sizeof sga);
        if (sga.sga_numsegs > 0)
            send_back(w, qr->qr_qd, &sga);
        else
            end_connection(w, qr->qr_qd);
        break;
    case DEMI_OPC_PUSH:
        break;
    default:
        if (options.udp) /* it was told of an error, or has no memory */
            fprintf(stderr, "a datagram: %s\n", strerror((int)qr->qr_ret));
        else
            end_connection(w, qr->qr_qd);
    }
}

/* ---- clients ----------------------------------------------------------------------------------
 */

static void send_element(const struct conn *c)
{
    demi_qtoken_t qt;
    demi_sgarray_t sga = demi_sgaalloc(options.bytes);
    MUST(sga.sga_numsegs == 1 ? 0 : ENOMEM);
    payload_fill(sga.sga_segs[0].sgaseg_buf, options.bytes, c->number);
    MUST(demi_push(&qt, c->qd, &sga));
    MUST(demi_sgafree(&sga));
}

static void send_next(struct worker *w, struct conn *c)
{
    c->number += options.connections * options.workers;
    c->received = 0;
    c->sent_at = session_now();
    if (options.elements > 0 && c->left-- == 0) {
        MUST(demi_close(c->qd));
        w->active--;
        return;
    }
    send_element(c);
    pop(c->qd);
}

/* Datagrams that were sent again may be answered twice. */
static bool is_of_before(const struct conn *c, const demi_sgarray_t *sga)
{
    return options.udp &&
           !payload_has_number(sga->sga_segs[0].sgaseg_buf, sga->sga_segs[0].sgaseg_len, c->number);
}

static void check(struct worker *w, struct conn *c, demi_sgarray_t *sga)
{
    MUST(sga->sga_numsegs > 0 ? 0 : EPIPE);
    if (!is_of_before(c, sga)) {
        for (uint32_t i = 0; i < sga->sga_numsegs; i++) {
            const demi_sgaseg_t *seg = &sga->sga_segs[i];
            MUST(payload_matches(seg->sgaseg_buf, seg->sgaseg_len, c->number, c->received)
                     ? 0
                     : EBADMSG);
            c->received += seg->sgaseg_len;
        }
    }
    MUST(demi_sgafree(sga));
    MUST(c->received <= options.bytes ? 0 : EMSGSIZE);
    if (c->received < options.bytes) {
        pop(c->qd);
        return;
    }
    w->elements++;
    w->bytes += options.bytes;
    send_next(w, c);
}

static void load_start(struct worker *w)
{
    demi_qtoken_t qt;
    w->conns = calloc(options.connections, sizeof *w->conns);
    MUST(w->conns ? 0 : ENOMEM);
    w->active = options.connections;
    for (uint64_t i = 0; i < options.connections; i++) {
        struct conn *c = &w->conns[i];
        c->number = w->index * options.connections + i;
        c->left = options.elements;
        MUST(session_socket(&options.address, options.udp, &c->qd));
        MUST(qd_map_set(&w->by_qd, c->qd, c) ? 0 : ENOMEM);
        MUST(demi_connect(&qt, c->qd, address(), options.address.len));
    }
    be_ready("sending to");
}

static void load(struct worker *w, demi_qresult_t *qr)
{
    struct conn *c = qd_map_get(&w->by_qd, qr->qr_qd);
    demi_sgarray_t sga;
    switch (qr->qr_opcode) {
    case DEMI_OPC_CONNECT:
        w->connections++;
        send_next(w, c);
        break;
    case DEMI_OPC_POP:
        memcpy(&sga, &qr->qr_value.sga, sizeof sga);
        check(w, c, &sga);
        break;
    case DEMI_OPC_PUSH:
        break;
    default:
        MUST((int)qr->qr_ret);
    }
}

static void send_again(struct worker *w)
{
    const uint64_t now = session_now();
    for (uint64_t i = 0; options.udp && i < options.connections; i++) {
        struct conn *c = &w->conns[i];
        if (c->left == UINT64_MAX || c->sent_at == 0 || now - c->sent_at < AGAIN_NS)
            continue;
        c->sent_at = now;
        w->again++;
        send_element(c);
    }
}

/* ---- both -------------------------------------------------------------------------------------
 */

static void work(struct worker *w)
{
    const struct timespec nap = session_timespec(SESSION_NAP_NS);
    demi_qresult_t results[BATCH];
    while (!session_stopped() && (options.serves || w->active > 0)) {
        int n = 0;
        const int r = demi_wait_some(results, BATCH, &n, &nap);
        MUST(r == ETIMEDOUT ? 0 : r);
        for (int i = 0; i < n; i++)
            if (options.serves)
                serve(w, &results[i]);
            else
                load(w, &results[i]);
        if (!options.serves)
            send_again(w);
    }
}

static void start(struct worker *w)
{
    qd_map_init(&w->by_qd);
    if (options.serves)
        serve_start(w);
    else
        load_start(w);
}

static void *run_thread(void *arg)
{
    MUST(demi_init(NULL));
    start(arg);
    work(arg);
    return NULL;
}

static void print(const struct worker *w)
{
    printf("worker %llu connections %llu elements %llu bytes %llu again %llu\n",
           (unsigned long long)w->index, (unsigned long long)w->connections,
           (unsigned long long)w->elements, (unsigned long long)w->bytes,
           (unsigned long long)w->again);
}

static bool read_options(int argc, char **argv)
{
    if (argc < 5 || (strcmp(argv[3], "tcp") != 0 && strcmp(argv[3], "udp") != 0))
        return false;
    options.serves = strcmp(argv[1], "serve") == 0;
    options.udp = strcmp(argv[3], "udp") == 0;
    if (!session_number(argv[2], 1, WORKERS_MAX, &options.workers) ||
        address_parse(argv[4], AF_UNSPEC, &options.address) != NULL)
        return false;
    if (options.serves)
        return argc == 5;
    return argc == 8 && strcmp(argv[1], "load") == 0 &&
           session_number(argv[5], 1, 10000, &options.connections) &&
           session_number(argv[6], 0, UINT32_MAX, &options.elements) &&
           session_number(argv[7], 8, UINT32_MAX, &options.bytes);
}

int main(int argc, char **argv)
{
    static struct worker workers[WORKERS_MAX];
    if (!read_options(argc, argv)) {
        fprintf(stderr, "see the comment in %s\n", __FILE__);
        return 2;
    }
    MUST(setenv("DEMI_WORKERS", argv[2], 1));
    if (session_start() != 0)
        return 1;
    for (uint64_t i = 1; i < options.workers; i++) {
        workers[i].index = i;
        MUST(pthread_create(&workers[i].thread, NULL, run_thread, &workers[i]));
    }
    start(&workers[0]);
    work(&workers[0]);
    for (uint64_t i = 1; i < options.workers; i++)
        MUST(pthread_join(workers[i].thread, NULL));
    session_end();
    for (uint64_t i = 0; i < options.workers; i++) {
        print(&workers[i]);
        qd_map_fini(&workers[i].by_qd);
        free(workers[i].conns);
    }
    return 0;
}
