/* SPDX-License-Identifier: MIT */
/*
 * merge: a queue over two. A pop comes from whichever has an element, from them in turn while both
 * have; it ends when both have ended. An error of one fails one pop, and from then on that one
 * counts as ended. A push goes to both, by reference, and completes when both have, with the first
 * error.
 */
#ifndef DK_COMPOSE_MERGE_H
#define DK_COMPOSE_MERGE_H

#include "core/queue.h"

/* Creates a queue over two different ones. As dk_operator_create; -EINVAL when they are one. */
int dk_merge_create(int *qd_out, struct dk_instance *inst, struct dk_queue *one,
                    struct dk_queue *two);

#endif /* DK_COMPOSE_MERGE_H */
