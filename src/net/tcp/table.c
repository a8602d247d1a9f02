/* SPDX-License-Identifier: MIT */
/*
 * Growing begins with one node for two buckets on average, and is over before there is one for
 * each: each node that is added empties or moves a few buckets. A node that is not the first in its
 * bucket costs a look at another, which is in no cache: so there are few of these.
 */
#include "net/tcp/table.h"

#include "mem/heap.h"

#include <errno.h>
#include <string.h>

#define BUCKETS_FIRST 1024u
#define BUCKETS_MAX   (UINT64_C(1) << 26)
#define READY_STEP    64u /* buckets that one addition empties: BUCKETS_FIRST is a multiple */
#define MOVE_STEP     8u  /* buckets that one addition moves */

static struct dk_tcp_node **array_make(uint64_t buckets)
{
    return dk_heap_malloc(buckets * sizeof(struct dk_tcp_node *));
}

int dk_tcp_table_init(struct dk_tcp_table *table)
{
    *table = (struct dk_tcp_table){.buckets = array_make(BUCKETS_FIRST), .mask = BUCKETS_FIRST - 1};
    if (!table->buckets)
        return -ENOMEM;
    memset(table->buckets, 0, BUCKETS_FIRST * sizeof(struct dk_tcp_node *));
    return 0;
}

void dk_tcp_table_fini(struct dk_tcp_table *table)
{
    if (table->bigger)
        dk_heap_free(table->bigger);
    if (table->buckets)
        dk_heap_free(table->buckets);
    *table = (struct dk_tcp_table){.buckets = NULL};
}

static void link_node(struct dk_tcp_node **bucket, struct dk_tcp_node *node, uint32_t side)
{
    node->next[side] = *bucket;
    *bucket = node;
}

static void unlink_node(struct dk_tcp_node **bucket, struct dk_tcp_node *node, uint32_t side)
{
    while (*bucket != node)
        bucket = &(*bucket)->next[side];
    *bucket = node->next[side];
}

static uint64_t bigger_mask(const struct dk_tcp_table *table)
{
    return 2 * table->mask + 1;
}

static struct dk_tcp_node **bigger_of(struct dk_tcp_table *table, const struct dk_tcp_node *node)
{
    return &table->bigger[node->hash & bigger_mask(table)];
}

/* Whether a node is, or belongs, in both arrays. */
static bool is_in_both(const struct dk_tcp_table *table, const struct dk_tcp_node *node)
{
    return table->bigger && (node->hash & table->mask) < table->moved;
}

static void grown(struct dk_tcp_table *table)
{
    dk_heap_free(table->buckets);
    table->buckets = table->bigger;
    table->mask = bigger_mask(table);
    table->side ^= 1;
    table->bigger = NULL;
}

static void move_bucket(struct dk_tcp_table *table)
{
    struct dk_tcp_node *node = table->buckets[table->moved++];
    for (; node; node = node->next[table->side])
        link_node(bigger_of(table, node), node, table->side ^ 1);
}

static void grow(struct dk_tcp_table *table)
{
    if (table->ready <= bigger_mask(table)) {
        memset(&table->bigger[table->ready], 0, READY_STEP * sizeof(struct dk_tcp_node *));
        table->ready += READY_STEP;
        return;
    }
    for (uint32_t i = 0; i < MOVE_STEP; i++)
        move_bucket(table);
    if (table->moved > table->mask)
        grown(table);
}

static void begin_to_grow(struct dk_tcp_table *table)
{
    if (table->mask + 1 < BUCKETS_MAX)
        table->bigger = array_make(2 * (table->mask + 1));
    table->ready = table->moved = 0;
}

void dk_tcp_table_add(struct dk_tcp_table *table, struct dk_tcp_node *node)
{
    link_node(&table->buckets[node->hash & table->mask], node, table->side);
    if (is_in_both(table, node))
        link_node(bigger_of(table, node), node, table->side ^ 1);
    table->num++;
    if (table->bigger)
        grow(table);
    else if (dk_unlikely(table->num > table->mask / 2))
        begin_to_grow(table);
}

void dk_tcp_table_del(struct dk_tcp_table *table, struct dk_tcp_node *node)
{
    unlink_node(&table->buckets[node->hash & table->mask], node, table->side);
    if (is_in_both(table, node))
        unlink_node(bigger_of(table, node), node, table->side ^ 1);
    table->num--;
}
