/* SPDX-License-Identifier: MIT */
/*
 * map: elements are changed on their way in and on their way out. Here a checksum is added in front
 * on push and taken off, after a look at it, on pop; so what is in the queue is guarded, and the
 * program on neither side knows. An element that grows is replaced by a new one.
 */
#include <demi/libos.h>
#include <demi/queue.h>
#include <demi/sga.h>
#include <demi/wait.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define TEXT "the quick brown fox"

static uint32_t checksum(const void *bytes, uint32_t len)
{
    uint32_t sum = 2166136261u; /* FNV-1a */

    for (uint32_t i = 0; i < len; i++)
        sum = (sum ^ ((const uint8_t *)bytes)[i]) * 16777619u;
    return sum;
}

/* On push: a new element, with the checksum in front. The library frees the old one. */
static int add_sum(demi_sgarray_t *sga, void *arg)
{
    const demi_sgaseg_t old = sga->sga_segs[0];
    const uint32_t sum = checksum(old.sgaseg_buf, old.sgaseg_len);
    demi_sgarray_t longer = demi_sgaalloc(sizeof(sum) + old.sgaseg_len);

    (void)arg;
    if (longer.sga_numsegs == 0)
        return ENOMEM; /* the push fails with it */
    memcpy(longer.sga_segs[0].sgaseg_buf, &sum, sizeof(sum));
    memcpy((char *)longer.sga_segs[0].sgaseg_buf + sizeof(sum), old.sgaseg_buf, old.sgaseg_len);
    *sga = longer;
    return 0;
}

/* On pop: the element is narrowed, and no byte is copied. */
static int check_sum(demi_sgarray_t *sga, void *arg)
{
    demi_sgaseg_t seg = sga->sga_segs[0];
    uint32_t sum;

    (void)arg;
    if (seg.sgaseg_len < sizeof(sum))
        return EBADMSG;
    memcpy(&sum, seg.sgaseg_buf, sizeof(sum));
    seg.sgaseg_buf = (char *)seg.sgaseg_buf + sizeof(sum);
    seg.sgaseg_len -= (uint32_t)sizeof(sum);
    sga->sga_segs[0] = seg;
    return checksum(seg.sgaseg_buf, seg.sgaseg_len) == sum ? 0 : EBADMSG;
}

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

int main(void)
{
    demi_qresult_t qr;
    int err = demi_init(NULL);
    int plain, guarded;

    if (!err)
        err = demi_queue(&plain, 0);
    if (!err)
        err = demi_map_dir(&guarded, plain, add_sum, check_sum, NULL);
    if (!err)
        err = push_text(guarded, TEXT);
    if (!err)
        err = demi_blocking_pop(guarded, &qr);
    if (!err) {
        const demi_sgaseg_t seg = qr.qr_value.sga.sga_segs[0];

        printf("popped: %.*s\n", (int)seg.sgaseg_len, (const char *)seg.sgaseg_buf);
        demi_sgafree(&qr.qr_value.sga);
        err = push_text(plain, "1234" TEXT); /* past the map: the sum is wrong */
    }
    if (!err && demi_blocking_pop(guarded, &qr) != EBADMSG)
        err = EPROTO;
    if (err) {
        fprintf(stderr, "map: %s\n", strerror(err));
        return 1;
    }
    printf("a forged element fails its pop with: %s\n", strerror(EBADMSG));
    return demi_fini();
}
