/* SPDX-License-Identifier: MIT */
/*
 * tcp-push-pop server|client IP PORT [MESSAGES [BYTES]]: the client pushes (by pushto, the address
 * is ignored) and returns from main without closing; the server pops all of it, then the end.
 */
#include "common.h"

static size_t bytes = 64;
static unsigned messages = 1024;

static void pop_all(const struct sockaddr_in *addr)
{
    int qd = serve_one(addr);
    size_t total = 0;
    for (;;) {
        demi_qtoken_t qt = (demi_qtoken_t)-1;
        CHECK(demi_pop(&qt, qd) == 0);
        demi_qresult_t qr = finish(qt, DEMI_OPC_POP);
        const uint32_t n = qr.qr_value.sga.sga_segs[0].sgaseg_len;
        CHECK(demi_sgafree(&qr.qr_value.sga) == 0);
        if (n == 0)
            break;
        total += n;
    }
    CHECK(total == bytes * messages);
    printf("server: %zu bytes\n", total);
}

/* Keeps many pushes outstanding, and collects them by wait_any. */
static void push_all(const struct sockaddr_in *addr)
{
    enum { DEPTH = 16 };
    demi_qtoken_t qts[DEPTH];
    int qd = connect_to(addr);
    int outstanding = 0;
    for (unsigned i = 0; i < messages; i++) {
        demi_sgarray_t sga = demi_sgaalloc(bytes);
        CHECK(sga.sga_buf != NULL);
        memset(sga.sga_segs[0].sgaseg_buf, 1, bytes);
        CHECK(demi_pushto(&qts[outstanding++], qd, &sga, (const struct sockaddr *)addr,
                          sizeof(struct sockaddr_in)) == 0);
        CHECK(demi_sgafree(&sga) == 0);
        if (outstanding < DEPTH)
            continue;
        demi_qresult_t qr = {0};
        int offset = -1;
        CHECK(demi_wait_any(&qr, &offset, qts, outstanding, NULL) == 0);
        CHECK(qr.qr_opcode == DEMI_OPC_PUSH && qr.qr_qt == qts[offset]);
        qts[offset] = qts[--outstanding];
    }
    printf("client: %zu bytes, %d pushes outstanding at the end\n", bytes * messages, outstanding);
}

int main(int argc, char *const argv[])
{
    if (argc < 4)
        return EXIT_FAILURE;
    const struct sockaddr_in addr = address(argv[2], argv[3]);
    if (argc > 4)
        CHECK(sscanf(argv[4], "%u", &messages) == 1);
    if (argc > 5)
        CHECK(sscanf(argv[5], "%zu", &bytes) == 1);
    start(argc, argv);
    if (strcmp(argv[1], "server") == 0)
        pop_all(&addr);
    else
        push_all(&addr);
    return EXIT_SUCCESS;
}
