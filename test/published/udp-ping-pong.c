/* SPDX-License-Identifier: MIT */
/*
 * udp-ping-pong server|client LOCAL-IP LOCAL-PORT REMOTE-IP REMOTE-PORT [ROUNDS]: a datagram goes
 * to and fro; the server answers what it popped, without a copy, to the address given. A datagram
 * that is not answered in time is sent again.
 */
#include "common.h"

static unsigned rounds = 1000;

static void send_to(int qd, const demi_sgarray_t *sga, const struct sockaddr_in *remote)
{
    demi_qtoken_t qt = (demi_qtoken_t)-1;
    CHECK(demi_pushto(&qt, qd, sga, (const struct sockaddr *)remote, sizeof(struct sockaddr_in)) ==
          0);
    finish(qt, DEMI_OPC_PUSH);
}

/* Until the client says so by a datagram of another size. */
static void server(int qd, const struct sockaddr_in *remote)
{
    for (;;) {
        demi_qtoken_t qt = (demi_qtoken_t)-1;
        CHECK(demi_pop(&qt, qd) == 0);
        demi_qresult_t qr = finish(qt, DEMI_OPC_POP);
        demi_sgarray_t sga = qr.qr_value.sga;
        CHECK(sga.sga_numsegs == 1);
        CHECK(sga.sga_addr.sin_port == remote->sin_port);
        CHECK(sga.sga_addr.sin_addr.s_addr == remote->sin_addr.s_addr);
        send_to(qd, &sga, remote);
        const uint32_t n = sga.sga_segs[0].sgaseg_len;
        CHECK(demi_sgafree(&sga) == 0);
        if (n == 1)
            return;
    }
}

static void ping(int qd, const struct sockaddr_in *remote, demi_qtoken_t *pop, size_t size,
                 int value)
{
    for (int attempt = 0; attempt < 500; attempt++) {
        demi_sgarray_t sga = demi_sgaalloc(size);
        CHECK(sga.sga_buf != NULL);
        memset(sga.sga_segs[0].sgaseg_buf, value, size);
        send_to(qd, &sga, remote);
        CHECK(demi_sgafree(&sga) == 0);
        const struct timespec timeout = {0, 20000000};
        demi_qresult_t qr = {0};
        if (demi_wait(&qr, *pop, &timeout) != 0)
            continue;
        CHECK(qr.qr_opcode == DEMI_OPC_POP || qr.qr_opcode == DEMI_OPC_FAILED);
        CHECK(demi_pop(pop, qd) == 0);
        if (qr.qr_opcode == DEMI_OPC_FAILED)
            continue;
        const uint8_t *data = qr.qr_value.sga.sga_segs[0].sgaseg_buf;
        const int same = qr.qr_value.sga.sga_segs[0].sgaseg_len == size && *data == (uint8_t)value;
        CHECK(demi_sgafree(&qr.qr_value.sga) == 0);
        if (same)
            return;
    }
    CHECK(!"answered");
}

int main(int argc, char *const argv[])
{
    if (argc < 6)
        return EXIT_FAILURE;
    const struct sockaddr_in local = address(argv[2], argv[3]);
    const struct sockaddr_in remote = address(argv[4], argv[5]);
    if (argc > 6)
        CHECK(sscanf(argv[6], "%u", &rounds) == 1);
    start(argc, argv);
    int qd = -1;
    CHECK(demi_socket(&qd, AF_INET, SOCK_DGRAM, 0) == 0);
    CHECK(demi_bind(qd, (const struct sockaddr *)&local, sizeof local) == 0);
    if (strcmp(argv[1], "server") == 0) {
        server(qd, &remote);
        return EXIT_SUCCESS;
    }
    demi_qtoken_t pop = (demi_qtoken_t)-1;
    CHECK(demi_pop(&pop, qd) == 0);
    for (unsigned i = 0; i < rounds; i++)
        ping(qd, &remote, &pop, 64, (int)(i % 251));
    ping(qd, &remote, &pop, 1, 0);
    printf("client: %u rounds\n", rounds);
    return EXIT_SUCCESS;
}
