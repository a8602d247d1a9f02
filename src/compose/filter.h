/* SPDX-License-Identifier: MIT */
/*
 * filter: a pop yields only elements for which fn holds, the others are dropped and counted; a push
 * is passed on only if fn holds, else it completes and is counted.
 */
#ifndef DK_COMPOSE_FILTER_H
#define DK_COMPOSE_FILTER_H

#include "core/queue.h"

#include <demi/queue.h>

/* Creates a filter over source. As dk_operator_create. */
int dk_filter_create(int *qd_out, struct dk_instance *inst, struct dk_queue *source,
                     demi_filter_fn fn, void *arg);

#endif /* DK_COMPOSE_FILTER_H */
