/* SPDX-License-Identifier: MIT */
/*
 * Thread records (thread.h): a list of all, a list of those whose thread has ended.
 */
#include "core/thread.h"

#include "core/alone.h"

#include <pthread.h>
#include <stdlib.h>

_Thread_local struct dk_thread *dk_thread_self;
_Thread_local uint32_t dk_thread_number;

#define MAX_RECORDS 65536 /* threads alive at once */

static struct {
    struct dk_lock lock;
    struct dk_thread *free_records;
    struct dk_thread *records[MAX_RECORDS]; /* by id - 1 */
    uint32_t num_records;
    bool has_first; /* one has attached */
    pthread_key_t key;
    pthread_once_t once;
} threads = {.once = PTHREAD_ONCE_INIT};

/* Runs at the end of a thread: its record may serve another. */
static void thread_ended(void *arg)
{
    struct dk_thread *t = arg;
    dk_thread_self = NULL;
    dk_lock(&threads.lock);
    t->inst = NULL;
    t->num_woken = 0;
    t->next_free = threads.free_records;
    threads.free_records = t;
    dk_unlock(&threads.lock);
}

static void make_key(void)
{
    /* On failure records of ended threads are not reused: nothing else depends on the key. */
    if (pthread_key_create(&threads.key, thread_ended) != 0)
        threads.key = (pthread_key_t)-1;
}

static struct dk_thread *new_record(void)
{
    if (threads.num_records == MAX_RECORDS)
        return NULL;
    struct dk_thread *t = calloc(1, sizeof(*t)); /* owned by threads.records for ever */
    if (!t)
        return NULL;
    t->id = threads.num_records + 1;
    dk_list_init(&t->waiter.link);
    threads.records[threads.num_records++] = t;
    return t;
}

struct dk_thread *dk_thread_attach(void)
{
    pthread_once(&threads.once, make_key);
    dk_lock(&threads.lock);
    struct dk_thread *t = threads.free_records;
    if (t)
        threads.free_records = t->next_free;
    else
        t = new_record();
    if (!threads.has_first)
        dk_alone_begin();
    else
        dk_alone_end();
    threads.has_first = true;
    dk_unlock(&threads.lock);
    if (!t)
        return NULL;
    if (threads.key != (pthread_key_t)-1)
        pthread_setspecific(threads.key, t);
    t->waiter.thread = t->id;
    dk_thread_self = t;
    dk_thread_number = t->id;
    return t;
}

void dk_thread_detach_all(void)
{
    dk_lock(&threads.lock);
    for (uint32_t i = 0; i < threads.num_records; i++) {
        threads.records[i]->inst = NULL;
        threads.records[i]->num_woken = 0;
    }
    dk_unlock(&threads.lock);
}

void dk_thread_after_fork(void)
{
    threads.lock.word = 0;
    dk_alone_after_fork();
    dk_thread_detach_all();
    if (dk_thread_self)
        dk_list_init(&dk_thread_self->waiter.link);
}
