/* SPDX-License-Identifier: MIT */
/*
 * A TCP relay on loopback: ./qconnect PORT TARGET_PORT
 *
 * Each client is connected to the target, and the two sockets to each other, both ways. After that
 * the library moves the bytes; the program only hears of the ends.
 */
#include <demi/libos.h>
#include <demi/queue.h>
#include <demi/wait.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_QD 4096

/* What is known of a descriptor: the other side of its pair, and what it waits for. */
static struct side {
    int other; /* the socket at the other end */
    int ways;  /* directions of the pair that still move, kept at the client's side */
    int client;
} sides[MAX_QD];

static struct sockaddr_in loopback(int port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int listen_on(int *qd_out, int port)
{
    struct sockaddr_in addr = loopback(port);
    int err = demi_socket(qd_out, AF_INET, SOCK_STREAM, 0);

    if (err == 0)
        err = demi_bind(*qd_out, (struct sockaddr *)&addr, sizeof(addr));
    if (err == 0)
        err = demi_listen(*qd_out, 64);
    return err;
}

static void close_pair(int client)
{
    demi_close(sides[client].other);
    demi_close(client);
}

/* Starts to connect a client to the target. */
static void accepted(int client, int target_port)
{
    struct sockaddr_in addr = loopback(target_port);
    demi_qtoken_t token;
    int target;

    if (client >= MAX_QD || demi_socket(&target, AF_INET, SOCK_STREAM, 0) != 0) {
        demi_close(client);
        return;
    }
    if (target < MAX_QD) {
        sides[client] = (struct side){.other = target, .client = client};
        sides[target] = (struct side){.other = client, .client = client};
    }
    if (target >= MAX_QD ||
        demi_connect(&token, target, (struct sockaddr *)&addr, sizeof(addr)) != 0) {
        demi_close(target);
        demi_close(client);
    }
}

/* The target answers: from here on the library moves the bytes. */
static void connected(int target)
{
    int client = sides[target].client;
    demi_qtoken_t token;

    for (int i = 0; i < 2; i++)
        if (demi_qconnect_watch(&token, i ? target : client, i ? client : target) == 0)
            sides[client].ways++;
    if (sides[client].ways == 0)
        close_pair(client);
}

/* One direction ended; after an error the other has to end too. */
static void ended(int qd, int failed)
{
    struct side *client = &sides[sides[qd].client];

    client->ways--;
    if (failed && client->ways > 0) {
        demi_shutdown(qd, SHUT_RDWR);
        demi_shutdown(sides[qd].other, SHUT_RDWR);
    }
    if (client->ways == 0)
        close_pair(client->client);
}

int main(int argc, char **argv)
{
    int port = argc > 1 ? atoi(argv[1]) : 7001, target_port = argc > 2 ? atoi(argv[2]) : 7000;
    int qd, n, err = demi_init(NULL);
    demi_qresult_t qr;
    demi_qtoken_t token;

    if (err == 0)
        err = listen_on(&qd, port);
    if (err == 0)
        err = demi_accept(&token, qd);
    while (err == 0 && (err = demi_wait_some(&qr, 1, &n, NULL)) == 0) {
        if (qr.qr_opcode == DEMI_OPC_ACCEPT)
            accepted(qr.qr_value.ares.qd, target_port);
        else if (qr.qr_opcode == DEMI_OPC_CONNECT)
            connected(qr.qr_qd);
        else if (qr.qr_opcode == DEMI_OPC_CLOSE)
            ended(qr.qr_qd, 0);
        else if (qr.qr_qd != qd && sides[sides[qr.qr_qd].client].ways > 0)
            ended(qr.qr_qd, 1);
        else if (qr.qr_qd != qd) /* the target does not answer */
            close_pair(sides[qr.qr_qd].client);
        if (qr.qr_qd == qd)
            err = demi_accept(&token, qd);
    }
    fprintf(stderr, "qconnect: %s\n", strerror(err));
    return 1;
}
