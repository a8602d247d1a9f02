/* SPDX-License-Identifier: MIT */
/* A TCP echo server for any number of clients, on loopback: ./echo [PORT] */
#include <demi/libos.h>
#include <demi/sga.h>
#include <demi/wait.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)(argc > 1 ? atoi(argv[1]) : 7000)),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    demi_qresult_t qr;
    demi_qtoken_t qt;
    int err, qd, client, n;

    if ((err = demi_init(NULL)) || (err = demi_socket(&qd, AF_INET, SOCK_STREAM, 0)) ||
        (err = demi_bind(qd, (struct sockaddr *)&addr, sizeof(addr))) ||
        (err = demi_listen(qd, 64)) || (err = demi_accept(&qt, qd)))
        return fprintf(stderr, "echo: %s\n", strerror(err)), 1;

    while (demi_wait_some(&qr, 1, &n, NULL) == 0) {
        client = qr.qr_opcode == DEMI_OPC_ACCEPT ? qr.qr_value.ares.qd : qr.qr_qd;
        if (qr.qr_opcode == DEMI_OPC_POP && qr.qr_value.sga.sga_numsegs > 0) {
            err = demi_push(&qt, client, &qr.qr_value.sga);
            demi_sgafree(&qr.qr_value.sga); /* the library keeps the bytes until they are sent */
        } else if (qr.qr_opcode == DEMI_OPC_ACCEPT || qr.qr_opcode == DEMI_OPC_PUSH) {
            err = demi_pop(&qt, client);
        } else { /* the end of the stream, or a failed operation */
            err = ECONNRESET;
        }
        if (err)
            demi_close(client);
        if (qr.qr_qd == qd && demi_accept(&qt, qd) != 0) /* one accept is always outstanding */
            break;
    }
    return 1;
}
