/* SPDX-License-Identifier: MIT */
/*
 * Edges: where elements of a memory queue are moved to by connections, so that no circle is made.
 *
 * The nodes are memory queues, the only ones out of which comes what is pushed into them. An edge
 * is a connection between queues that both stand over some. What stands over what does not change
 * while an edge lives: an operator has its source until it is closed.
 */
#ifndef DK_COMPOSE_EDGES_H
#define DK_COMPOSE_EDGES_H

#include "core/queue.h"

/* Storage is the caller's, filled with zeros; what is in it is edges.c's. */
struct dk_edge {
    struct dk_list all;
    struct dk_list next; /* found, and not followed yet */
    bool found;
    uint32_t num_from, num_to;
    struct dk_queue *
        *bases; /* owned, held: those that it leads from, then those that it leads to */
};

/* Adds the edge of a connection: 0, -EDEADLK where an element could come back to where it was, or
 * -ENOMEM. */
int dk_edge_add(struct dk_edge *e, struct dk_queue *in, struct dk_queue *out);

/* Removes it. Idempotent. */
void dk_edge_remove(struct dk_edge *e);

/* In the child of a fork: there are none. */
void dk_edges_abandon(void);

#endif /* DK_COMPOSE_EDGES_H */
