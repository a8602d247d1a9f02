/* SPDX-License-Identifier: MIT */
/*
 * A hash table of nodes in the objects that are looked up. It grows as they become more, a few
 * buckets with each one that comes: nobody waits for all of it to be moved.
 *
 * While it grows there are two arrays. `buckets` has all nodes and is what is looked in, as ever;
 * `bigger` is made beside it: emptied by parts, then given the nodes of bucket after bucket. A node
 * has a link for each. When all are in `bigger` it takes the place of `buckets`. So a look-up is
 * the same at any time.
 *
 *      buckets [0, moved): their nodes are in `bigger` too
 *      bigger  [0, ready): is not what the memory had in it before
 *
 * The hash is the caller's, and keyed; equal nodes are the caller's to tell apart.
 */
#ifndef DK_NET_TCP_TABLE_H
#define DK_NET_TCP_TABLE_H

#include "base/compiler.h"

#include <stdint.h>

struct dk_tcp_node {
    struct dk_tcp_node *next[2]; /* in the array that has this side */
    uint64_t hash;
};

struct dk_tcp_table {
    struct dk_tcp_node **buckets;
    uint64_t mask;
    struct dk_tcp_node **bigger; /* twice as many; NULL: it does not grow */
    uint64_t ready, moved;
    uint64_t num;  /* nodes */
    uint32_t side; /* of next, that `buckets` has */
};

/* 0 or -ENOMEM. */
int dk_tcp_table_init(struct dk_tcp_table *table);

/* Forgets the nodes. */
void dk_tcp_table_fini(struct dk_tcp_table *table);

/* Adds a node whose hash is set. Never fails: without memory the table does not grow. */
void dk_tcp_table_add(struct dk_tcp_table *table, struct dk_tcp_node *node);

/* Takes one out that is in it. */
void dk_tcp_table_del(struct dk_tcp_table *table, struct dk_tcp_node *node);

/* The first node of a hash's bucket; the one behind another there. */
static inline struct dk_tcp_node *dk_tcp_table_first(const struct dk_tcp_table *table,
                                                     uint64_t hash)
{
    return table->buckets[hash & table->mask];
}

static inline struct dk_tcp_node *dk_tcp_table_next(const struct dk_tcp_table *table,
                                                    const struct dk_tcp_node *node)
{
    return node->next[table->side];
}

#endif /* DK_NET_TCP_TABLE_H */
