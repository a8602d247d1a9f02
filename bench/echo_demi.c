/* SPDX-License-Identifier: MIT */
#include "echo_demi.h"

#include "echo_epoll.h"

#include <demi/libos.h>
#include <demi/sga.h>
#include <demi/wait.h>

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void check(int err, const char *what)
{
    if (err != 0) {
        fprintf(stderr, "echo: demi server: %s: %s\n", what, strerror(err));
        _exit(1);
    }
}

int echo_demi_listen(uint32_t address, uint16_t *port_out)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_addr.s_addr = address ? address : htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    int qd;
    check(demi_init(NULL), "init");
    check(demi_socket(&qd, AF_INET, SOCK_STREAM, 0), "socket");
    check(demi_bind(qd, (struct sockaddr *)&addr, len), "bind");
    check(demi_listen(qd, ECHO_CONNECTIONS_MAX), "listen");
    check(demi_getsockname(qd, (struct sockaddr *)&addr, &len), "getsockname");
    *port_out = ntohs(addr.sin_port);
    return qd;
}

/* One token per connection, at a place of its own in qts: its pop's, then its push's. The first is
 * the accept's. */
void echo_demi_serve(int listen_qd)
{
    static demi_qtoken_t qts[1 + ECHO_CONNECTIONS_MAX];
    int num_qts = 1;
    demi_qresult_t qr;
    int at;
    check(demi_accept(&qts[0], listen_qd), "accept");
    for (;;) {
        check(demi_wait_any(&qr, &at, qts, num_qts, NULL), "wait");
        switch (qr.qr_opcode) {
        case DEMI_OPC_POP:
            if (qr.qr_value.sga.sga_numsegs == 0)
                _exit(0); /* the client is done */
            check(demi_push(&qts[at], qr.qr_qd, &qr.qr_value.sga), "push");
            check(demi_sgafree(&qr.qr_value.sga), "free");
            break;
        case DEMI_OPC_PUSH:
            check(demi_pop(&qts[at], qr.qr_qd), "pop");
            break;
        case DEMI_OPC_ACCEPT:
            check(demi_pop(&qts[num_qts++], qr.qr_value.ares.qd), "pop");
            check(demi_accept(&qts[0], listen_qd), "accept");
            break;
        default:
            _exit(0); /* reset by the client */
        }
    }
}
