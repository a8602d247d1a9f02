/* SPDX-License-Identifier: MIT */
/*
 * partition: elements are dealt out to n queues by a function, as steering by key to processors
 * (the second use of filters in HotOS'19).
 *
 * An element goes to output fn % n. Each output holds at most 1,024 that nobody has popped; a full
 * one stops the source (and is counted), for all: order within an output is that of the source.
 * Elements for an output that was closed are dropped and counted. The last close gives the source
 * back. A push on an output goes to the source.
 */
#ifndef DK_COMPOSE_PARTITION_H
#define DK_COMPOSE_PARTITION_H

#include "core/queue.h"

#include <demi/queue.h>

#define DK_PARTITION_MAX 4096 /* outputs */

/* Creates n queues over source, 1 to DK_PARTITION_MAX. As dk_operator_create; -EINVAL. */
int dk_partition_create(int qds_out[], uint32_t n, struct dk_instance *inst,
                        struct dk_queue *source, demi_partition_fn fn, void *arg);

#endif /* DK_COMPOSE_PARTITION_H */
