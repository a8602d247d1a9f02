/* SPDX-License-Identifier: MIT */
/*
 * filter: a queue of only those elements that a function lets through. Elements that do not pass
 * are dropped where they are, and nobody has to look at them.
 */
#include <demi/libos.h>
#include <demi/queue.h>
#include <demi/sga.h>
#include <demi/wait.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static uint32_t value_of(const demi_sgarray_t *sga)
{
    uint32_t value;

    memcpy(&value, sga->sga_segs[0].sgaseg_buf, sizeof(value));
    return value;
}

/* Runs inside the library: it may use memory and arrays, and must not block. */
static bool is_multiple(const demi_sgarray_t *sga, void *arg)
{
    return value_of(sga) % *(const uint32_t *)arg == 0;
}

static int push_number(int qd, uint32_t value)
{
    demi_sgarray_t sga = demi_sgaalloc(sizeof(value));
    int err;

    if (sga.sga_numsegs == 0)
        return ENOMEM;
    memcpy(sga.sga_segs[0].sgaseg_buf, &value, sizeof(value));
    err = demi_blocking_push(qd, &sga);
    demi_sgafree(&sga);
    return err;
}

int main(void)
{
    static const uint32_t three = 3;
    demi_qresult_t qr;
    uint32_t sum = 0;
    int err = demi_init(NULL);
    int source, multiples;

    if (!err)
        err = demi_queue(&source, 0);
    if (!err)
        err = demi_filter(&multiples, source, is_multiple, (void *)&three);
    for (uint32_t i = 1; i <= 100 && !err; i++)
        err = push_number(source, i);
    if (!err)
        err = demi_shutdown(source, SHUT_WR);
    while (!err && (err = demi_blocking_pop(multiples, &qr)) == 0 &&
           qr.qr_value.sga.sga_numsegs > 0) { /* the end of the stream passes, too */
        sum += value_of(&qr.qr_value.sga);
        demi_sgafree(&qr.qr_value.sga);
    }
    if (err) {
        fprintf(stderr, "filter: %s\n", strerror(err));
        return 1;
    }
    printf("sum of the multiples of 3 up to 100: %u\n", sum);
    return demi_fini();
}
