/* SPDX-License-Identifier: MIT */
/*
 * sort: a pop yields the element of highest priority that has arrived; of equals, the one that
 * arrived first. At most `max` elements wait in it; then it takes no more until one is popped. A
 * push is the source's.
 */
#ifndef DK_COMPOSE_SORT_H
#define DK_COMPOSE_SORT_H

#include "core/queue.h"

#include <demi/queue.h>

/* Creates a sorted queue over source. As dk_operator_create. */
int dk_sort_create(int *qd_out, struct dk_instance *inst, struct dk_queue *source, demi_sort_fn fn,
                   void *arg, uint32_t max);

#endif /* DK_COMPOSE_SORT_H */
