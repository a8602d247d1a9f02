/* SPDX-License-Identifier: MIT */
/*
 * partition: elements are dealt out to several queues by a function of their key, so that all of
 * one key are handled by one worker, in order. Each worker is a thread that pops its own output.
 */
#include <demi/libos.h>
#include <demi/queue.h>
#include <demi/sga.h>
#include <demi/wait.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define WORKERS  3
#define KEYS     10
#define ELEMENTS 1000

struct update {
    uint32_t key;
    uint32_t number; /* of the key: 0, 1, 2 ... */
};

struct worker {
    pthread_t thread;
    int qd; /* its output */
    int err;
    uint32_t next[KEYS]; /* of each key, the number that comes next */
    uint32_t seen;
};

static uint32_t by_key(const demi_sgarray_t *sga, void *arg)
{
    struct update update;

    (void)arg;
    memcpy(&update, sga->sga_segs[0].sgaseg_buf, sizeof(update));
    return update.key; /* output key % WORKERS */
}

static void *work(void *arg)
{
    struct worker *w = arg;
    demi_qresult_t qr;

    while ((w->err = demi_blocking_pop(w->qd, &qr)) == 0 && qr.qr_value.sga.sga_numsegs > 0) {
        struct update update;

        memcpy(&update, qr.qr_value.sga.sga_segs[0].sgaseg_buf, sizeof(update));
        demi_sgafree(&qr.qr_value.sga);
        if (update.number != w->next[update.key]++)
            w->err = EPROTO; /* it would be out of order */
        if (w->err)
            break;
        w->seen++;
    }
    return NULL;
}

static int push_updates(int qd)
{
    for (uint32_t i = 0; i < ELEMENTS; i++) {
        struct update update = {.key = i % KEYS, .number = i / KEYS};
        demi_sgarray_t sga = demi_sgaalloc(sizeof(update));
        int err;

        if (sga.sga_numsegs == 0)
            return ENOMEM;
        memcpy(sga.sga_segs[0].sgaseg_buf, &update, sizeof(update));
        err = demi_blocking_push(qd, &sga);
        demi_sgafree(&sga);
        if (err)
            return err;
    }
    return demi_shutdown(qd, SHUT_WR); /* the end goes to every output */
}

int main(void)
{
    struct worker workers[WORKERS] = {{0}};
    int qds[WORKERS], source;
    int err = demi_init(NULL);

    if (!err)
        err = demi_queue(&source, 64); /* a slow worker holds the producer back */
    if (!err)
        err = demi_partition(qds, WORKERS, source, by_key, NULL);
    for (int i = 0; i < WORKERS && !err; i++) {
        workers[i].qd = qds[i];
        err = pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    }
    if (!err)
        err = push_updates(source);
    for (int i = 0; i < WORKERS && !err; i++) {
        pthread_join(workers[i].thread, NULL);
        err = workers[i].err;
        printf("worker %d: %u elements\n", i, workers[i].seen);
    }
    if (err) {
        fprintf(stderr, "partition: %s\n", strerror(err));
        return 1;
    }
    return demi_fini();
}
