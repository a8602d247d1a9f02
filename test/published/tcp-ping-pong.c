/* SPDX-License-Identifier: MIT */
/* tcp-ping-pong server|client IP PORT [ROUNDS [BYTES]]: a message goes to and fro over one
 * connection; each side checks every byte. */
#include "common.h"

static size_t bytes = 64;
static unsigned rounds = 2000;

/* Pops until a whole message came; its bytes must all be `value`. */
static void receive(int qd, int value)
{
    size_t got = 0;
    while (got < bytes) {
        demi_qtoken_t qt = (demi_qtoken_t)-1;
        CHECK(demi_pop(&qt, qd) == 0);
        demi_qresult_t qr = finish(qt, DEMI_OPC_POP);
        CHECK(qr.qr_qd == qd);
        CHECK(qr.qr_value.sga.sga_numsegs == 1);
        const uint8_t *data = qr.qr_value.sga.sga_segs[0].sgaseg_buf;
        for (uint32_t i = 0; i < qr.qr_value.sga.sga_segs[0].sgaseg_len; i++)
            CHECK(data[i] == (uint8_t)value);
        got += qr.qr_value.sga.sga_segs[0].sgaseg_len;
        CHECK(demi_sgafree(&qr.qr_value.sga) == 0);
    }
    CHECK(got == bytes);
}

static void transmit(int qd, int value)
{
    demi_qtoken_t qt = (demi_qtoken_t)-1;
    demi_sgarray_t sga = demi_sgaalloc(bytes);
    CHECK(sga.sga_numsegs == 1 && sga.sga_segs[0].sgaseg_len == bytes);
    memset(sga.sga_segs[0].sgaseg_buf, value, bytes);
    CHECK(demi_push(&qt, qd, &sga) == 0);
    demi_qresult_t qr = finish(qt, DEMI_OPC_PUSH);
    CHECK(qr.qr_qd == qd && qr.qr_qt == qt);
    CHECK(demi_sgafree(&sga) == 0);
}

int main(int argc, char *const argv[])
{
    if (argc < 4)
        return EXIT_FAILURE;
    const struct sockaddr_in addr = address(argv[2], argv[3]);
    if (argc > 4)
        CHECK(sscanf(argv[4], "%u", &rounds) == 1);
    if (argc > 5)
        CHECK(sscanf(argv[5], "%zu", &bytes) == 1);
    start(argc, argv);
    const int server = strcmp(argv[1], "server") == 0;
    int qd = server ? serve_one(&addr) : connect_to(&addr);
    for (unsigned i = 0; i < rounds; i++) {
        if (!server)
            transmit(qd, (int)(i % 251));
        receive(qd, (int)(i % 251));
        if (server)
            transmit(qd, (int)(i % 251));
    }
    CHECK(demi_close(qd) == 0);
    printf("%s: %u rounds of %zu bytes\n", argv[1], rounds, bytes);
    return EXIT_SUCCESS;
}
