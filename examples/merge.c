/* SPDX-License-Identifier: MIT */
/*
 * merge: two queues become one. Pops take from both in turn; a push goes to both by reference: one
 * buffer, two readers.
 */
#include <demi/libos.h>
#include <demi/queue.h>
#include <demi/sga.h>
#include <demi/wait.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static int push_text(int qd, const char *text)
{
    demi_sgarray_t sga = demi_sgaalloc(strlen(text));
    int err;

    if (sga.sga_numsegs == 0)
        return ENOMEM;
    memcpy(sga.sga_segs[0].sgaseg_buf, text, strlen(text));
    err = demi_blocking_push(qd, &sga);
    demi_sgafree(&sga);
    return err;
}

/* Prints and frees one element; *place_out is where its bytes were. */
static int pop_text(int qd, const void **place_out)
{
    demi_qresult_t qr;
    int err = demi_blocking_pop(qd, &qr);

    if (err)
        return err;
    const demi_sgaseg_t seg = qr.qr_value.sga.sga_segs[0];
    printf("%.*s\n", (int)seg.sgaseg_len, (const char *)seg.sgaseg_buf);
    *place_out = seg.sgaseg_buf;
    return demi_sgafree(&qr.qr_value.sga);
}

int main(void)
{
    const void *one, *two;
    int err = demi_init(NULL);
    int left, right, both;

    if (!err)
        err = demi_queue(&left, 0);
    if (!err)
        err = demi_queue(&right, 0);
    if (!err)
        err = demi_merge(&both, left, right);
    for (int i = 0; i < 3 && !err; i++) /* what is on the left does not hold the right one back */
        err = push_text(left, "from the left");
    if (!err)
        err = push_text(right, "from the right");
    for (int i = 0; i < 4 && !err; i++)
        err = pop_text(both, &one);
    if (!err)
        err = push_text(both, "to both");
    if (!err)
        err = pop_text(both, &one);
    if (!err)
        err = pop_text(both, &two);
    if (err) {
        fprintf(stderr, "merge: %s\n", strerror(err));
        return 1;
    }
    printf("the same buffer: %s\n", one == two ? "yes" : "no");
    return demi_fini();
}
