/* SPDX-License-Identifier: MIT */
/*
 * A background thread waits for an operation that it never issues: so it leads, sleeps in the
 * device, and hands over like any other waiter. The rest of the library knows nothing of it. It
 * ends when its wait is ended.
 */
#include "api/background.h"

#include "core/thread.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>

#define MAX_THREADS 64

static struct {
    struct background_thread {
        pthread_t thread;
        struct dk_instance *inst;
        struct dk_waiter *waiter; /* NULL until it runs */
    } threads[MAX_THREADS];
    uint32_t num_threads;
    uint32_t stop;
} background;

/* It shows its wait record before it looks at `stop`, and stop() sets that before it looks for the
 * record: one of the two sees the other. */
static void *run(void *arg)
{
    struct background_thread *self = arg;
    struct dk_thread *t = dk_thread_get();
    demi_qresult_t qr;
    if (!t)
        return NULL;
    struct dk_waiter *w = &t->waiter;
    w->inst = self->inst;
    w->kind = DK_WAIT_ISSUED;
    w->qrs = &qr;
    w->num_qts = 1;
    w->all_ready = 0;
    __atomic_store_n(&self->waiter, w, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&background.stop, __ATOMIC_SEQ_CST))
        dk_wait(w, -1);
    return NULL;
}

int dk_background_start(struct dk_instance *inst)
{
    sigset_t all, old;
    if (background.num_threads == MAX_THREADS)
        return -EAGAIN;
    struct background_thread *self = &background.threads[background.num_threads];
    self->inst = inst;
    self->waiter = NULL;
    sigfillset(&all); /* signals are the application's */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = pthread_create(&self->thread, NULL, run, self);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r == 0)
        background.num_threads++;
    return -r;
}

void dk_background_stop(void)
{
    __atomic_store_n(&background.stop, 1, __ATOMIC_SEQ_CST);
    for (uint32_t i = 0; i < background.num_threads; i++) {
        struct background_thread *t = &background.threads[i];
        struct dk_waiter *w = __atomic_load_n(&t->waiter, __ATOMIC_SEQ_CST);
        if (w)
            dk_wait_end(w);
        pthread_join(t->thread, NULL);
    }
    background.num_threads = 0;
    __atomic_store_n(&background.stop, 0, __ATOMIC_RELEASE);
}

void dk_background_after_fork(void)
{
    background.num_threads = 0;
    background.stop = 0;
}
