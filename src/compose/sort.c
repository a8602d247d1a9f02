/* SPDX-License-Identifier: MIT */
/*
 * sort (sort.h): a binary heap of elements with their numbers of arrival.
 *
 * Invariant: no element comes before its parent, (i - 1) / 2, by fn and then by number.
 */
#include "compose/sort.h"

#include "compose/operator.h"
#include "core/function.h"
#include "mem/heap.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_ROOM 16u

struct entry {
    uint64_t number;
    demi_sgarray_t sga;
};

struct sort {
    struct dk_operator op;
    demi_sort_fn fn;
    void *arg;
    uint32_t max;
    uint32_t count, room;
    uint64_t next_number;
    bool ended;            /* the source's end was seen */
    struct entry **heap;   /* owned, room pointers; the first count are elements */
    struct entry *entries; /* owned, room of them; heap[count..] are those that are free */
};

/* Whether a is popped before b. */
static bool before(const struct sort *s, const struct entry *a, const struct entry *b)
{
    int order = s->fn(&a->sga, &b->sga, s->arg);
    return order < 0 || (order == 0 && a->number < b->number);
}

/* Finds the place of an entry, from heap[i] towards the first. */
static void sift_up(struct sort *s, uint32_t i, struct entry *entry)
{
    for (; i > 0 && before(s, entry, s->heap[(i - 1) / 2]); i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = entry;
}

/* Finds the place of an entry, from the first on; heap[0] is free. */
static void sift_down(struct sort *s, struct entry *entry)
{
    uint32_t i = 0;
    for (uint32_t child; (child = 2 * i + 1) < s->count; i = child) {
        if (child + 1 < s->count && before(s, s->heap[child + 1], s->heap[child]))
            child++;
        if (!before(s, s->heap[child], entry))
            break;
        s->heap[i] = s->heap[child];
    }
    s->heap[i] = entry;
}

/* Makes room for one more. Entries move, so that all pointers are made anew. */
static bool grow(struct sort *s)
{
    uint32_t room = s->room ? s->room * 2 : FIRST_ROOM;
    struct entry *entries = dk_heap_malloc(room * sizeof(*entries));
    struct entry **heap = dk_heap_malloc(room * sizeof(struct entry *));
    if (!entries || !heap) {
        if (entries)
            dk_heap_free(entries);
        if (heap)
            dk_heap_free(heap);
        return false;
    }
    for (uint32_t i = 0; i < s->count; i++)
        entries[i] = *s->heap[i];
    for (uint32_t i = 0; i < room; i++)
        heap[i] = &entries[i];
    if (s->room) {
        dk_heap_free(s->entries);
        dk_heap_free(s->heap);
    }
    s->entries = entries;
    s->heap = heap;
    s->room = room;
    return true;
}

/* The element in heap[count] has arrived. */
static void arrive(struct sort *s)
{
    struct entry *entry = s->heap[s->count];
    entry->number = s->next_number++;
    struct dk_function_scope scope = dk_function_enter();
    sift_up(s, s->count++, entry);
    dk_function_leave(scope);
}

/* Takes all that the source has, as far as there is room: what the last take came to. */
static int collect(struct sort *s)
{
    while (s->count < s->max && !s->ended) {
        if (s->count == s->room && !grow(s))
            return -ENOMEM; /* the element stays in the source */
        int r = dk_operator_take(&s->op, &s->heap[s->count]->sga);
        if (r != DK_TAKE_ELEMENT)
            return r;
        arrive(s);
    }
    return s->ended ? DK_TAKE_END : DK_TAKE_NONE;
}

static void take_best(struct sort *s, demi_sgarray_t *sga_out)
{
    struct entry *best = s->heap[0];
    struct entry *last = s->heap[--s->count];
    struct dk_function_scope scope = dk_function_enter();
    sift_down(s, last);
    dk_function_leave(scope);
    s->heap[s->count] = best; /* free */
    dk_sga_copy_all(sga_out, &best->sga);
}

static int sort_next(struct dk_operator *o, demi_sgarray_t *sga_out)
{
    struct sort *s = (struct sort *)o;
    int r = collect(s);
    s->ended |= r == DK_TAKE_END;
    if (r < 0 && (r != -ENOMEM || s->count == 0))
        return r;
    if (s->count == 0)
        return r;
    if (r == DK_TAKE_NONE)
        dk_taker_rest(o->source); /* there is an element: no wake-up is needed */
    take_best(s, sga_out);
    return DK_TAKE_ELEMENT;
}

static bool sort_keeps(const struct dk_operator *o)
{
    const struct sort *s = (const struct sort *)o;
    return s->count > 0 || s->ended;
}

/* Serves a pop when all that the source has can be had at once. */
static bool sort_pop_now(struct dk_queue *q, demi_sgarray_t *sga_out)
{
    struct sort *s = q->impl;
    if (dk_unlikely(!dk_operator_may_pop_now(&s->op)))
        return false;
    while (s->count < s->max && s->count < s->room &&
           dk_operator_take_now(&s->op, &s->heap[s->count]->sga))
        arrive(s);
    if (s->count == 0 || (s->count < s->max && !s->ended && !dk_queue_is_idle(s->op.source)))
        return false;
    take_best(s, sga_out);
    return true;
}

static int by_arrival(const void *a, const void *b)
{
    const struct entry *x = *(struct entry *const *)a, *y = *(struct entry *const *)b;
    return (x->number > y->number) - (x->number < y->number);
}

/* Gives the element that arrived last back first: each goes to the head. */
static void sort_give_back(struct dk_operator *o)
{
    struct sort *s = (struct sort *)o;
    if (s->count > 1)
        qsort(s->heap, s->count, sizeof(struct entry *), by_arrival);
    while (s->count > 0)
        dk_queue_return(o->source, &s->heap[--s->count]->sga);
}

static void sort_free(struct dk_operator *o)
{
    struct sort *s = (struct sort *)o;
    for (uint32_t i = 0; i < s->count; i++)
        dk_sga_free(&s->heap[i]->sga);
    if (s->room) {
        dk_heap_free(s->entries);
        dk_heap_free(s->heap);
    }
}

static const struct dk_operator_kind sort_kind = {
    .next = sort_next,
    .give_back = sort_give_back,
    .keeps = sort_keeps,
    .free = sort_free,
};

static const struct dk_queue_ops sort_ops = DK_OPERATOR_OPS(NULL, sort_pop_now);

int dk_sort_create(int *qd_out, struct dk_instance *inst, struct dk_queue *source, demi_sort_fn fn,
                   void *arg, uint32_t max)
{
    struct sort *s = dk_heap_zalloc(sizeof(*s)); /* freed by operator.c */
    if (!s)
        return -ENOMEM;
    s->op.kind = &sort_kind;
    s->fn = fn;
    s->arg = arg;
    s->max = max;
    return dk_operator_create(&s->op, inst, &sort_ops, source, qd_out);
}
