/* SPDX-License-Identifier: MIT */
/* The published sizes, offsets and values of the interface's types. */
#include <demi/libos.h>
#include <demi/sga.h>
#include <demi/types.h>
#include <demi/wait.h>
#include <stddef.h>
#include <stdio.h>

#define SAME(a, b) _Static_assert((a) == (b), #a " is not the published " #b)

SAME(sizeof(demi_qtoken_t), 8);
SAME(sizeof(demi_sgaseg_t), 12);
SAME(DEMI_SGARRAY_MAXSIZE, 8);
SAME(sizeof(demi_sgarray_t), 8 + 4 + 12 * 8 + 16);
SAME(sizeof(demi_accept_result_t), 4 + 16);
SAME(sizeof(demi_qresult_t), 4 + 4 + 8 + 8 + 124);
SAME(sizeof(struct demi_args), 4 + 8 + 8);

SAME(offsetof(demi_sgaseg_t, sgaseg_len), 8);
SAME(offsetof(demi_sgarray_t, sga_numsegs), 8);
SAME(offsetof(demi_sgarray_t, sga_segs), 12);
SAME(offsetof(demi_sgarray_t, sga_addr), 108);
SAME(offsetof(demi_accept_result_t, addr), 4);
SAME(offsetof(demi_qresult_t, qr_qd), 4);
SAME(offsetof(demi_qresult_t, qr_qt), 8);
SAME(offsetof(demi_qresult_t, qr_ret), 16);
SAME(offsetof(demi_qresult_t, qr_value), 24);
SAME(offsetof(struct demi_args, argv), 4);
SAME(offsetof(struct demi_args, callback), 12);

SAME(DEMI_OPC_INVALID, 0);
SAME(DEMI_OPC_PUSH, 1);
SAME(DEMI_OPC_POP, 2);
SAME(DEMI_OPC_ACCEPT, 3);
SAME(DEMI_OPC_CONNECT, 4);
SAME(DEMI_OPC_CLOSE, 5);
SAME(DEMI_OPC_FAILED, 6);

int main(void)
{
    printf("sga %zu bytes, result %zu bytes\n", sizeof(demi_sgarray_t), sizeof(demi_qresult_t));
    return 0;
}
