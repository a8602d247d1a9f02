/* SPDX-License-Identifier: MIT */
/*
 * map: elements are changed by a function, on their way in, on their way out, or both.
 *
 * The function gets an sga that it alone holds: on pop the element itself, copied first when it is
 * shared; on push a copy, because what is pushed is the application's. It may write, narrow,
 * reorder or drop segments, or put an sga of its own in place. It frees nothing: what it leaves is
 * freed here.
 */
#ifndef DK_COMPOSE_MAP_H
#define DK_COMPOSE_MAP_H

#include "core/queue.h"

#include <demi/queue.h>

/* Creates a map over source; a function may be NULL: unchanged that way. As dk_operator_create. */
int dk_map_create(int *qd_out, struct dk_instance *inst, struct dk_queue *source,
                  demi_map_fn on_push, demi_map_fn on_pop, void *arg);

#endif /* DK_COMPOSE_MAP_H */
