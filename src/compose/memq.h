/* SPDX-License-Identifier: MIT */
/*
 * The queue in memory: elements pass by reference, in order, between any threads of any instances.
 *
 * A push completes when its element is accepted; beyond `capacity` elements it waits for a pop.
 * shutdown(SHUT_WR) is the end of the stream for who pops; shutdown(SHUT_RD) drops what is queued
 * and fails pushes with -EPIPE.
 */
#ifndef DK_COMPOSE_MEMQ_H
#define DK_COMPOSE_MEMQ_H

#include "core/queue.h"

#include <stdint.h>

/* Creates a queue in memory that belongs to inst. capacity 0: no limit. 0, -EMFILE or -ENOMEM. */
int dk_memq_create(int *qd_out, struct dk_instance *inst, uint32_t capacity);

#endif /* DK_COMPOSE_MEMQ_H */
