/* SPDX-License-Identifier: MIT */
/*
 * A queue in memory between two threads: elements keep their boundaries, a full queue holds the
 * producer back, and demi_shutdown() ends the stream behind what is queued.
 */
#include <demi/libos.h>
#include <demi/queue.h>
#include <demi/sga.h>
#include <demi/wait.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define ELEMENTS 1000
#define CAPACITY 16

struct producer {
    pthread_t thread;
    int qd;
    int err; /* 0 or an errno */
};

/* Pushes the numbers 1 to ELEMENTS, one element each, and ends the stream. */
static void *produce(void *arg)
{
    struct producer *p = arg;

    for (uint32_t i = 1; i <= ELEMENTS; i++) {
        demi_sgarray_t sga = demi_sgaalloc(sizeof(i));

        if (sga.sga_numsegs == 0) {
            p->err = ENOMEM;
            break;
        }
        memcpy(sga.sga_segs[0].sgaseg_buf, &i, sizeof(i));
        p->err = demi_blocking_push(p->qd, &sga); /* waits while CAPACITY elements are queued */
        demi_sgafree(&sga);                       /* the queue keeps its own hold */
        if (p->err)
            break;
    }
    demi_shutdown(p->qd, SHUT_WR);
    return NULL;
}

/* Adds up what arrives until the stream ends. */
static int consume(int qd, uint64_t *sum)
{
    for (;;) {
        demi_qresult_t qr;
        uint32_t value;
        int err = demi_blocking_pop(qd, &qr);

        if (err)
            return err;
        if (qr.qr_value.sga.sga_numsegs == 0)
            return 0;
        memcpy(&value, qr.qr_value.sga.sga_segs[0].sgaseg_buf, sizeof(value));
        *sum += value;
        demi_sgafree(&qr.qr_value.sga);
    }
}

int main(void)
{
    struct producer producer = {.err = 0};
    uint64_t sum = 0;
    int err = demi_init(NULL);

    if (!err)
        err = demi_queue(&producer.qd, CAPACITY);
    if (!err)
        err = pthread_create(&producer.thread, NULL, produce, &producer);
    if (!err) {
        err = consume(producer.qd, &sum);
        pthread_join(producer.thread, NULL);
    }
    if (err || producer.err) {
        fprintf(stderr, "memory_queue: %s\n", strerror(err ? err : producer.err));
        return 1;
    }
    printf("sum of 1 to %d: %" PRIu64 "\n", ELEMENTS, sum);
    demi_close(producer.qd);
    return demi_fini();
}
