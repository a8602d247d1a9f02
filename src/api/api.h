/* SPDX-License-Identifier: MIT */
/*
 * What the files of api/ share: the instance of the calling thread, errors, profiling.
 *
 * Inside the library an error is a negative errno; dk_public turns it into the positive one of the
 * public interface, and is the only place that does.
 */
#ifndef DK_API_API_H
#define DK_API_API_H

#include "core/deferred.h"
#include "core/fast.h"
#include "core/thread.h"
#include "mem/watch.h"

#include <demi/types.h>
#include <errno.h>

struct dk_libos;

/* The process's instances; written by init.c only. */
struct dk_api {
    struct dk_instance *first; /* NULL: not started */
    const struct dk_libos *libos;
    demi_callback_t callback;
    uint32_t sort_max; /* of the configuration, as these */
    uint32_t element_max;
    const char *store;
};

DK_HIDDEN extern struct dk_api dk_api;

static inline int dk_public(int r)
{
    return r < 0 ? -r : 0;
}

/* Chooses the instance that the shortest calls of this thread find. */
static inline void dk_api_open_short(const struct dk_thread *t, struct dk_instance *inst)
{
    const bool is_seen = dk_api.callback || dk_watch_on || inst->eventfd >= 0;
    struct dk_instance *found = is_seen ? NULL : inst;
    const bool may_be_alone = !dk_alone_ended();
    if (!dk_mt())
        dk_fast_set(found);
    if (!dk_mt() || may_be_alone)
        inst->fast_thread = t->id;
    dk_alone_instance = may_be_alone ? found : NULL;
}

/* Returns the calling thread's instance; NULL before demi_init, and inside a function that the
 * library calls. Makes the thread's record, and begins a pop that was only noted. */
static inline struct dk_instance *dk_api_instance(void)
{
    struct dk_thread *t = dk_thread_get();
    if (dk_unlikely(!t || t->in_function))
        return NULL;
    struct dk_instance *inst = t->inst ? t->inst : __atomic_load_n(&dk_api.first, __ATOMIC_ACQUIRE);
    if (dk_likely(inst != NULL)) {
        dk_api_open_short(t, inst);
        dk_deferred_begin(inst);
    }
    return inst;
}

/* Why dk_api_instance returned NULL, a negative errno. */
static inline int dk_api_missing(void)
{
    return dk_thread_self && dk_thread_self->in_function ? -EDEADLK : -ENOSYS;
}

/* An open queue for a control call, with a hold; the lead is taken unless the queue locks itself. 0
 * or a negative errno. dk_api_leave ends it, and turns r into what the call returns. */
int dk_api_enter(int qd, struct dk_queue **q_out);
int dk_api_leave(struct dk_queue *q, int r);

/* A profiled scope: reports its duration to the application's callback when it is left. */
struct dk_scope {
    const char *name; /* NULL: nobody wants to know */
    int64_t start;
};

struct dk_scope dk_scope_begin(const char *name);
void dk_scope_report(const struct dk_scope *scope);

static inline void dk_scope_end(struct dk_scope *scope)
{
    if (dk_unlikely(scope->name != NULL))
        dk_scope_report(scope);
}

#define DK_PROFILE(name)                                                                           \
    struct dk_scope dk_scope_ __attribute__((cleanup(dk_scope_end))) =                             \
        dk_unlikely(dk_api.callback != NULL) ? dk_scope_begin(name) : (struct dk_scope)            \
    {                                                                                              \
        NULL, 0                                                                                    \
    }

#endif /* DK_API_API_H */
