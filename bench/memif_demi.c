/* SPDX-License-Identifier: MIT */
/* The echo over sockets of the library (memif.h), as a program of anybody's would have it. */
#include "memif.h"

#include <demi/libos.h>
#include <demi/sga.h>
#include <demi/wait.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <time.h>

#define PORT   7
#define SERVER "10.9.0.1"

static demi_qtoken_t qts[1 + MEMIF_CONNECTIONS_MAX];
static int num_qts;

static struct sockaddr_in server_address(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    inet_pton(AF_INET, SERVER, &at.sin_addr);
    return at;
}

static int open_socket(int type)
{
    int qd;
    memif_must(demi_socket(&qd, AF_INET, type, 0) == 0, "no socket");
    return qd;
}

/* Waits for one of the tokens; returns its place. */
static int wait_for(demi_qresult_t *qr)
{
    int at = 0;
    const int r =
        num_qts == 1 ? demi_wait(qr, qts[0], NULL) : demi_wait_any(qr, &at, qts, num_qts, NULL);
    memif_must(r == 0 && qr->qr_opcode != DEMI_OPC_FAILED, "an operation failed");
    return at;
}

/* Sends a message, and gives it up. */
static void send_on(int qd, demi_sgarray_t *sga, bool is_datagram)
{
    demi_qresult_t qr;
    demi_qtoken_t pushed;
    memif_must((is_datagram ? demi_pushto(&pushed, qd, sga, (struct sockaddr *)&sga->sga_addr,
                                          sizeof sga->sga_addr)
                            : demi_push(&pushed, qd, sga)) == 0 &&
                   demi_sgafree(sga) == 0 && demi_wait(&qr, pushed, NULL) == 0 &&
                   qr.qr_opcode == DEMI_OPC_PUSH,
               "a message was not sent");
}

static void receive_on(demi_qtoken_t *waiting, int qd)
{
    memif_must(demi_pop(waiting, qd) == 0, "no more messages are taken");
}

void memif_demi_serve(int type)
{
    struct sockaddr_in at = server_address();
    demi_qresult_t qr;
    memif_must(demi_init(NULL) == 0, "the library does not start");
    const int qd = open_socket(type);
    const bool is_datagram = type == SOCK_DGRAM;
    memif_must(demi_bind(qd, (struct sockaddr *)&at, sizeof at) == 0, "no port");
    memif_must(is_datagram
                   ? demi_pop(&qts[0], qd) == 0
                   : demi_listen(qd, MEMIF_CONNECTIONS_MAX) == 0 && demi_accept(&qts[0], qd) == 0,
               "it does not serve");
    num_qts = 1;
    memif_ready();
    for (;;) {
        const int place = wait_for(&qr);
        if (qr.qr_opcode == DEMI_OPC_POP) {
            send_on(qr.qr_qd, &qr.qr_value.sga, is_datagram);
            receive_on(&qts[place], qr.qr_qd);
            continue;
        }
        memif_must(num_qts <= (int)MEMIF_CONNECTIONS_MAX &&
                       demi_pop(&qts[num_qts++], qr.qr_value.ares.qd) == 0 &&
                       demi_accept(&qts[0], qd) == 0,
                   "no more connections");
    }
}

static void connect_to_server(int qd)
{
    const struct sockaddr_in at = server_address();
    demi_qtoken_t qt;
    demi_qresult_t qr;
    memif_must(demi_connect(&qt, qd, (const struct sockaddr *)&at, sizeof at) == 0 &&
                   demi_wait(&qr, qt, NULL) == 0 && qr.qr_opcode == DEMI_OPC_CONNECT,
               "no connection");
}

static void begin(uint32_t connection, int qd, bool is_datagram)
{
    demi_sgarray_t sga = demi_sgaalloc(MEMIF_BYTES);
    memif_must(sga.sga_numsegs == 1, "no memory");
    memset(sga.sga_segs[0].sgaseg_buf, 2, MEMIF_BYTES);
    sga.sga_addr = server_address();
    memif_number(connection, sga.sga_segs[0].sgaseg_buf);
    send_on(qd, &sga, is_datagram);
}

/* The first datagram is lost if there is no link yet. */
static void open_datagrams(int qd)
{
    static const struct timespec resend = {.tv_sec = 2}, quiet = {.tv_nsec = 50000000};
    demi_qresult_t qr;
    int tries = 0;
    receive_on(&qts[0], qd);
    do {
        memif_must(tries++ < 5, "no answer");
        begin(0, qd, true);
    } while (demi_wait(&qr, qts[0], &resend) != 0);
    do {
        memif_must(qr.qr_opcode == DEMI_OPC_POP && demi_sgafree(&qr.qr_value.sga) == 0, "no pop");
        receive_on(&qts[0], qd);
    } while (demi_wait(&qr, qts[0], &quiet) == 0); /* what was sent several times */
}

void memif_demi_ask(int type, uint32_t connections)
{
    /* The drivers connect in threads that have the core of who would spin there. */
    static const struct timespec connecting = {.tv_nsec = 400000000};
    const bool is_datagram = type == SOCK_DGRAM;
    demi_qresult_t qr;
    memif_must(demi_init(NULL) == 0, "the library does not start");
    nanosleep(&connecting, NULL);
    for (uint32_t i = 0; i < connections; i++) {
        const int qd = open_socket(type);
        if (is_datagram) {
            open_datagrams(qd);
        } else {
            connect_to_server(qd);
            receive_on(&qts[i], qd);
        }
        begin(i, qd, is_datagram);
    }
    num_qts = (int)connections;
    do {
        const uint32_t place = (uint32_t)wait_for(&qr);
        demi_sgarray_t *sga = &qr.qr_value.sga;
        memif_must(sga->sga_numsegs == 1, "the server is gone");
        memif_check(place, sga->sga_segs[0].sgaseg_buf, sga->sga_segs[0].sgaseg_len);
        memif_number(place, sga->sga_segs[0].sgaseg_buf);
        send_on(qr.qr_qd, sga, is_datagram);
        receive_on(&qts[place], qr.qr_qd);
    } while (memif_count());
}
