/* SPDX-License-Identifier: MIT */
/*
 * A background thread waits for an operation that it never issues: so it leads, sleeps in the
 * device, and hands over like any other waiter. The rest of the library knows nothing of it. It
 * ends when a wait ends after `stop` was set.
 */
#include "api/background.h"

#include "core/thread.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>

#define MAX_THREADS 64

static struct {
    pthread_t threads[MAX_THREADS];
    struct dk_instance *instances[MAX_THREADS];
    uint32_t num_threads;
    uint32_t stop;
} background;

/* How long a wait lasts at most; kicked earlier when it is to stop. */
#define WAIT_NS 1000000000

static void *run(void *arg)
{
    struct dk_thread *t = dk_thread_get();
    demi_qresult_t qr;
    while (t && !__atomic_load_n(&background.stop, __ATOMIC_ACQUIRE)) {
        struct dk_waiter *w = &t->waiter;
        w->inst = arg;
        w->kind = DK_WAIT_ISSUED;
        w->qrs = &qr;
        w->num_qts = 1;
        w->all_ready = 0;
        dk_wait(w, WAIT_NS);
    }
    return NULL;
}

int dk_background_start(struct dk_instance *inst)
{
    sigset_t all, old;
    uint32_t i = background.num_threads;
    if (i == MAX_THREADS)
        return -EAGAIN;
    background.instances[i] = inst;
    sigfillset(&all); /* signals are the application's */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = pthread_create(&background.threads[i], NULL, run, inst);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r == 0)
        background.num_threads++;
    return -r;
}

void dk_background_stop(void)
{
    __atomic_store_n(&background.stop, 1, __ATOMIC_RELEASE);
    for (uint32_t i = 0; i < background.num_threads; i++) {
        struct dk_instance *inst = background.instances[i];
        if (inst->poller)
            inst->poller->ops->kick(inst->poller);
        pthread_join(background.threads[i], NULL);
    }
    background.num_threads = 0;
    __atomic_store_n(&background.stop, 0, __ATOMIC_RELEASE);
}

void dk_background_after_fork(void)
{
    background.num_threads = 0;
    background.stop = 0;
}
