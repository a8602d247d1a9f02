/* SPDX-License-Identifier: MIT */
/*
 * Edges (edges.h). Between sockets there are none, which is the case that must be quick; else all
 * edges are looked at.
 */
#include "compose/edges.h"

#include "mem/heap.h"

#include <errno.h>

static struct {
    struct dk_lock lock;
    struct dk_list all;
} edges = {.all = {&edges.all, &edges.all}};

/* Counts the memory queues that q stands over, itself if it is one; writes them down (to not NULL).
 */
static uint32_t find_bases(struct dk_queue *q, struct dk_queue **to)
{
    struct dk_queue *sources[2];
    uint32_t n = q->ops->sources ? q->ops->sources(q, sources) : 0, found = 0;
    for (uint32_t i = 0; i < n; i++)
        found += find_bases(sources[i], to ? to + found : NULL);
    if (n > 0 || !q->anywhere)
        return found;
    if (to)
        *to = q;
    return 1;
}

static struct dk_queue *const *to_of(const struct dk_edge *e)
{
    return e->bases + e->num_from;
}

/* Whether what `a` leads to is where `b` leads from. */
static bool follows(const struct dk_edge *a, const struct dk_edge *b)
{
    for (uint32_t i = 0; i < a->num_to; i++)
        for (uint32_t k = 0; k < b->num_from; k++)
            if (to_of(a)[i] == b->bases[k])
                return true;
    return false;
}

/* Adds what was not found yet and follows e to the list. */
static void find_next(const struct dk_edge *e, struct dk_list *next)
{
    struct dk_list *l;
    dk_list_for_each (l, &edges.all) {
        struct dk_edge *other = dk_container_of(l, struct dk_edge, all);
        if (other->found || !follows(e, other))
            continue;
        other->found = true;
        dk_list_add_tail(next, &other->next);
    }
}

/* Whether a way along edges leads from the end of e to its beginning; the lock is held. */
static bool makes_circle(const struct dk_edge *e)
{
    struct dk_list next, *l;
    bool circle = follows(e, e);
    dk_list_init(&next);
    dk_list_for_each (l, &edges.all)
        dk_container_of(l, struct dk_edge, all)->found = false;
    find_next(e, &next);
    while (!circle && (l = dk_list_first(&next)) != NULL) {
        const struct dk_edge *found = dk_container_of(l, struct dk_edge, next);
        dk_list_del(l);
        circle = follows(found, e);
        find_next(found, &next);
    }
    return circle;
}

static void drop_bases(struct dk_edge *e)
{
    for (uint32_t i = 0; i < e->num_from + e->num_to; i++)
        dk_queue_put(e->bases[i]);
    dk_heap_free(e->bases);
    e->bases = NULL;
}

int dk_edge_add(struct dk_edge *e, struct dk_queue *in, struct dk_queue *out)
{
    dk_list_init(&e->all);
    e->bases = NULL;
    e->num_from = find_bases(in, NULL);
    e->num_to = e->num_from ? find_bases(out, NULL) : 0;
    if (e->num_to == 0)
        return 0;
    uint32_t n = e->num_from + e->num_to;
    e->bases = dk_heap_malloc(n * sizeof(struct dk_queue *)); /* freed by drop_bases */
    if (!e->bases)
        return -ENOMEM;
    find_bases(in, e->bases);
    find_bases(out, e->bases + e->num_from);
    for (uint32_t i = 0; i < n; i++)
        dk_add_u32(&e->bases[i]->holds, 1);
    dk_lock(&edges.lock);
    bool circle = makes_circle(e);
    if (!circle)
        dk_list_add_tail(&edges.all, &e->all);
    dk_unlock(&edges.lock);
    if (circle)
        drop_bases(e);
    return circle ? -EDEADLK : 0;
}

void dk_edge_remove(struct dk_edge *e)
{
    if (!e->bases)
        return;
    dk_lock(&edges.lock);
    dk_list_del(&e->all);
    dk_unlock(&edges.lock);
    drop_bases(e);
}

void dk_edges_abandon(void)
{
    edges.lock.word = 0;
    dk_list_init(&edges.all);
}
