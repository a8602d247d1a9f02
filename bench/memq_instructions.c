/* SPDX-License-Identifier: MIT */
/*
 * memq-instructions ROUNDS: push, wait, pop, wait on a queue in memory, one segment of 64 bytes.
 * Counts nothing itself: memq_instructions.sh runs it under callgrind, which collects inside
 * functions named to it; the difference of two runs is the steady state.
 */
#include <demi/libos.h>
#include <demi/queue.h>
#include <demi/sga.h>
#include <demi/wait.h>
#include <stdio.h>
#include <stdlib.h>

/* What an application does, all four calls; the results of both waits. */
__attribute__((noipa)) static int all_four(int qd, const demi_sgarray_t *sga, demi_qresult_t qr[2])
{
    demi_qtoken_t qt;
    int error = demi_push(&qt, qd, sga);
    error |= demi_wait(&qr[0], qt, NULL);
    error |= demi_pop(&qt, qd);
    error |= demi_wait(&qr[1], qt, NULL);
    return error;
}

static void rounds(int n, int qd)
{
    for (int i = 0; i < n; i++) {
        demi_qresult_t qr[2];
        demi_sgarray_t sga = demi_sgaalloc(64);
        if (sga.sga_buf == NULL || all_four(qd, &sga, qr) != 0 ||
            qr[0].qr_opcode != DEMI_OPC_PUSH || qr[1].qr_opcode != DEMI_OPC_POP ||
            qr[1].qr_value.sga.sga_segs[0].sgaseg_len != 64 || demi_sgafree(&sga) != 0 ||
            demi_sgafree(&qr[1].qr_value.sga) != 0) {
            fprintf(stderr, "memq-instructions: round %d failed\n", i);
            exit(1);
        }
    }
}

int main(int argc, char **argv)
{
    int qd = -1;
    if (argc != 2 || demi_init(NULL) != 0 || demi_queue(&qd, 0) != 0)
        return 1;
    rounds(atoi(argv[1]), qd);
    return demi_close(qd) != 0 || demi_fini() != 0;
}
