/* SPDX-License-Identifier: MIT */
/*
 * Calls of the application's functions: filters, maps, orders, framers.
 *
 * They run while the library works, on whichever thread leads, one at a time per instance. They may
 * use memory and scatter-gather arrays; any other call of theirs is -EDEADLK, which is what the
 * flag of the thread is for. The shortest path (fast.h) does not look at it: it is closed
 * meanwhile.
 */
#ifndef DK_CORE_FUNCTION_H
#define DK_CORE_FUNCTION_H

#include "core/fast.h"
#include "core/thread.h"

struct dk_function_scope {
    struct dk_instance *fast;
    struct dk_thread *self;
};

static inline struct dk_function_scope dk_function_enter(void)
{
    struct dk_function_scope scope = {dk_fast_get(), dk_thread_self};
    dk_fast_set(NULL);
    scope.self->in_function = true;
    return scope;
}

static inline void dk_function_leave(struct dk_function_scope scope)
{
    scope.self->in_function = false;
    dk_fast_set(scope.fast);
}

#endif /* DK_CORE_FUNCTION_H */
