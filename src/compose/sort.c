/* SPDX-License-Identifier: MIT */
/*
 * sort (sort.h): a list of elements in order, and a binary heap of the others.
 *
 * Most elements of most programs arrive in order, or are equal: those cost one comparison. Where
 * keys are random, what waits are the high ones, and most that arrive are the next to go: after
 * one such, the next is compared with the first. Others find their place in the list, or after NEAR
 * comparisons in the heap. The next element is the first of the list or of the heap, whichever
 * comes before the other.
 *
 * Invariants: no element of the list comes before the one that it follows, and no element of the
 * heap before its parent, (i - 1) / 2: by fn, and of equals by the number of arrival. There are
 * never more entries than elements may wait, and the heap has room for all.
 */
#include "compose/sort.h"

#include "compose/operator.h"
#include "core/function.h"
#include "mem/heap.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_ROOM 16u
#define NEAR       4 /* comparisons: about what the way through a heap costs */

struct entry {
    struct entry *next; /* of the list, or of those that are free */
    uint64_t number;
    demi_sgarray_t sga;
};

/* Entries stay where they are while there is an element in them. */
struct batch {
    struct batch *next;
    struct entry entries[];
};

struct sort {
    struct dk_operator op;
    demi_sort_fn fn;
    void *arg;
    uint64_t next_number;
    struct entry *first, *last; /* the list; last is of no meaning while first is NULL */
    struct entry *unused;
    uint32_t heaped;
    uint32_t room, max;    /* entries, and how many there may be */
    bool ended;            /* the source's end was seen */
    bool low;              /* the last to arrive at an end of the list came to its beginning */
    struct entry **heap;   /* owned, room pointers; the first `heaped` are elements */
    struct batch *batches; /* owned, room entries */
};

/* Whether a is popped before b. */
static inline bool before(const struct sort *s, const struct entry *a, const struct entry *b)
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
    for (uint32_t child; (child = 2 * i + 1) < s->heaped; i = child) {
        if (child + 1 < s->heaped && before(s, s->heap[child + 1], s->heap[child]))
            child++;
        if (!before(s, s->heap[child], entry))
            break;
        s->heap[i] = s->heap[child];
    }
    s->heap[i] = entry;
}

static void free_entry(struct sort *s, struct entry *entry)
{
    entry->next = s->unused;
    s->unused = entry;
}

static bool is_full(const struct sort *s)
{
    return !s->unused && s->room == s->max;
}

static bool is_empty(const struct sort *s)
{
    return !s->first && s->heaped == 0;
}

/* Makes as many entries as there are, if so many may be, and a heap with room for all. */
static bool grow(struct sort *s)
{
    uint32_t n = s->room ? s->room : FIRST_ROOM;
    if (n > s->max - s->room)
        n = s->max - s->room;
    struct entry **heap = dk_heap_malloc((s->room + n) * sizeof(struct entry *));
    struct batch *batch = heap ? dk_heap_malloc(sizeof(*batch) + n * sizeof(struct entry)) : NULL;
    if (!batch) {
        if (heap)
            dk_heap_free(heap);
        return false;
    }
    for (uint32_t i = 0; i < s->heaped; i++)
        heap[i] = s->heap[i];
    if (s->heap)
        dk_heap_free(s->heap);
    s->heap = heap;
    batch->next = s->batches;
    s->batches = batch;
    s->room += n;
    for (uint32_t i = n; i-- > 0;)
        free_entry(s, &batch->entries[i]);
    return true;
}

/* Whether the entry, which has arrived, is to come before one that waits. */
static inline bool overtakes(const struct sort *s, const struct entry *entry,
                             const struct entry *waiting)
{
    return s->fn(&waiting->sga, &entry->sga, s->arg) > 0;
}

static inline void put_first(struct sort *s, struct entry *entry)
{
    entry->next = s->first;
    s->first = entry;
}

static inline void put_last(struct sort *s, struct entry *entry)
{
    entry->next = NULL;
    s->last->next = entry;
    s->last = entry;
}

/* An entry between the first and the last of the list finds its place. Its number is the highest:
 * of equals it is the last. The list has one only where fn contradicts itself. */
static void put_between(struct sort *s, struct entry *entry)
{
    struct entry *at = s->first;
    for (int n = 0; n < NEAR && at != s->last; n++, at = at->next)
        if (at->next == s->last || overtakes(s, entry, at->next)) {
            entry->next = at->next;
            at->next = entry;
            return;
        }
    sift_up(s, s->heaped++, entry);
}

/* The entry does not belong to the end of the list that the one before it went to. */
static __attribute__((noinline)) void put_elsewhere(struct sort *s, struct entry *entry)
{
    if (overtakes(s, entry, s->low ? s->last : s->first) == s->low) {
        put_between(s, entry);
        return;
    }
    s->low = !s->low;
    if (s->low)
        put_first(s, entry);
    else
        put_last(s, entry);
}

/* The element in the first free entry has arrived. */
static inline void arrive(struct sort *s)
{
    struct entry *entry = s->unused;
    s->unused = entry->next;
    entry->number = s->next_number++;
    if (!s->first) {
        entry->next = NULL;
        s->first = s->last = entry;
        return;
    }
    struct dk_function_scope scope = dk_function_enter();
    bool low = s->low, overtaking = overtakes(s, entry, low ? s->first : s->last);
    if (dk_unlikely(overtaking != low))
        put_elsewhere(s, entry);
    else if (low)
        put_first(s, entry);
    else
        put_last(s, entry);
    dk_function_leave(scope);
}

/* Takes the next entry out when some are in the heap. */
static __attribute__((noinline)) struct entry *choose(struct sort *s)
{
    struct entry *first = s->first, *best = s->heap[0];
    struct dk_function_scope scope = dk_function_enter();
    if (first && before(s, first, best)) {
        s->first = first->next;
        best = first;
    } else {
        struct entry *last = s->heap[--s->heaped];
        sift_down(s, last);
    }
    dk_function_leave(scope);
    return best;
}

static inline void take_best(struct sort *s, demi_sgarray_t *sga_out)
{
    struct entry *best = s->first;
    if (dk_likely(s->heaped == 0))
        s->first = best->next;
    else
        best = choose(s);
    dk_sga_copy_all(sga_out, &best->sga);
    free_entry(s, best);
}

/* Takes all that the source has, as far as there is room: what the last take came to. */
static int collect(struct sort *s)
{
    while (!is_full(s) && !s->ended) {
        if (!s->unused && !grow(s))
            return -ENOMEM; /* the element stays in the source */
        int r = dk_operator_take(&s->op, &s->unused->sga);
        if (r != DK_TAKE_ELEMENT)
            return r;
        arrive(s);
    }
    return s->ended ? DK_TAKE_END : DK_TAKE_NONE;
}

static int sort_next(struct dk_operator *o, demi_sgarray_t *sga_out)
{
    struct sort *s = (struct sort *)o;
    int r = collect(s);
    s->ended |= r == DK_TAKE_END;
    if ((dk_take_has_failed(r) && r != -ENOMEM) || is_empty(s))
        return r;
    if (r == DK_TAKE_NONE)
        dk_taker_rest(o->source); /* there is an element: no wake-up is needed */
    take_best(s, sga_out);
    return DK_TAKE_ELEMENT;
}

static bool sort_keeps(const struct dk_operator *o)
{
    const struct sort *s = (const struct sort *)o;
    return !is_empty(s) || s->ended;
}

/* Serves a pop when all that the source has, as far as there is room, can be had at once. */
static bool sort_pop_now(struct dk_queue *q, demi_sgarray_t *sga_out)
{
    struct sort *s = q->impl;
    if (dk_unlikely(!dk_operator_may_pop_now(&s->op)))
        return false;
    do {
        if (dk_unlikely(!s->unused)) {
            if (!is_full(s))
                return false;
            break;
        }
        if (dk_unlikely(!dk_operator_take_now(&s->op, &s->unused->sga))) {
            if (is_empty(s) || !(s->ended || dk_queue_is_idle(s->op.source)))
                return false;
            break;
        }
        arrive(s);
    } while (dk_unlikely(!dk_queue_is_drained(s->op.source)));
    take_best(s, sga_out);
    return true;
}

static int by_arrival(const void *a, const void *b)
{
    const struct entry *x = *(struct entry *const *)a, *y = *(struct entry *const *)b;
    return (x->number > y->number) - (x->number < y->number);
}

/* Moves the elements of the list to the end of the heap's array: no heap any more. */
static void gather(struct sort *s)
{
    for (; s->first; s->first = s->first->next)
        s->heap[s->heaped++] = s->first;
}

/* Gives the element that arrived last back first: each goes to the head. */
static void sort_give_back(struct dk_operator *o)
{
    struct sort *s = (struct sort *)o;
    gather(s);
    if (s->heaped > 1)
        qsort(s->heap, s->heaped, sizeof(struct entry *), by_arrival);
    while (s->heaped > 0)
        dk_queue_return(o->source, &s->heap[--s->heaped]->sga);
}

static void sort_free(struct dk_operator *o)
{
    struct sort *s = (struct sort *)o;
    gather(s);
    while (s->heaped > 0)
        dk_sga_free(&s->heap[--s->heaped]->sga);
    for (struct batch *batch = s->batches, *next; batch; batch = next) {
        next = batch->next;
        dk_heap_free(batch);
    }
    if (s->heap)
        dk_heap_free(s->heap);
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
