/* SPDX-License-Identifier: MIT */
/* What the programs here share: checks that stay in release builds, addresses, signals. */
#ifndef PUBLISHED_COMMON_H
#define PUBLISHED_COMMON_H

#include <arpa/inet.h>
#include <demi/libos.h>
#include <demi/sga.h>
#include <demi/wait.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            exit(EXIT_FAILURE);                                                                    \
        }                                                                                          \
    } while (0)

static inline void leave(int signum)
{
    (void)signum;
    exit(EXIT_SUCCESS);
}

static inline struct sockaddr_in address(const char *ip, const char *port)
{
    struct sockaddr_in addr = {0};
    int number = -1;
    CHECK(sscanf(port, "%d", &number) == 1);
    addr.sin_family = AF_INET;
    addr.sin_port = htons((uint16_t)number);
    CHECK(inet_pton(AF_INET, ip, &addr.sin_addr) == 1);
    return addr;
}

static inline void start(int argc, char *const argv[])
{
    const struct demi_args args = {.argc = argc, .argv = argv, .callback = NULL};
    signal(SIGINT, leave);
    signal(SIGTERM, leave);
    CHECK(demi_init(&args) == 0);
}

static inline demi_qresult_t finish(demi_qtoken_t qt, demi_opcode_t opcode)
{
    demi_qresult_t qr = {0};
    CHECK(demi_wait(&qr, qt, NULL) == 0);
    CHECK(qr.qr_opcode == opcode);
    CHECK(qr.qr_ret == 0);
    return qr;
}

static inline int serve_one(const struct sockaddr_in *addr)
{
    int sockqd = -1;
    demi_qtoken_t qt = (demi_qtoken_t)-1;
    CHECK(demi_socket(&sockqd, AF_INET, SOCK_STREAM, 0) == 0);
    CHECK(demi_bind(sockqd, (const struct sockaddr *)addr, sizeof(struct sockaddr_in)) == 0);
    CHECK(demi_listen(sockqd, 16) == 0);
    CHECK(demi_accept(&qt, sockqd) == 0);
    demi_qresult_t qr = finish(qt, DEMI_OPC_ACCEPT);
    CHECK(qr.qr_value.ares.addr.sin_family == AF_INET);
    return qr.qr_value.ares.qd;
}

/* The server may not listen yet: it is another process, started at the same time. */
static inline int connect_to(const struct sockaddr_in *addr)
{
    for (int attempt = 0; attempt < 2000; attempt++) {
        int sockqd = -1;
        demi_qtoken_t qt = (demi_qtoken_t)-1;
        demi_qresult_t qr = {0};
        CHECK(demi_socket(&sockqd, AF_INET, SOCK_STREAM, 0) == 0);
        CHECK(demi_connect(&qt, sockqd, (const struct sockaddr *)addr,
                           sizeof(struct sockaddr_in)) == 0);
        CHECK(demi_wait(&qr, qt, NULL) == 0);
        if (qr.qr_opcode == DEMI_OPC_CONNECT)
            return sockqd;
        CHECK(qr.qr_opcode == DEMI_OPC_FAILED);
        CHECK(demi_close(sockqd) == 0);
        const struct timespec pause = {0, 5000000};
        nanosleep(&pause, NULL);
    }
    CHECK(!"connected");
    return -1;
}

#endif /* PUBLISHED_COMMON_H */
