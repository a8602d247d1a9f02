/* SPDX-License-Identifier: MIT */
/*
 * Doubly linked list whose links live in the elements.
 *
 * A list head and an unlinked element both point to themselves, so dk_list_del may be called on
 * either. A list is not locked: whoever owns it says which lock guards it.
 */
#ifndef DK_BASE_LIST_H
#define DK_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct dk_list {
    struct dk_list *next, *prev;
};

#define dk_container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define dk_list_for_each(pos, head) for ((pos) = (head)->next; (pos) != (head); (pos) = (pos)->next)

/* As dk_list_for_each; the body may unlink pos. */
#define dk_list_for_each_safe(pos, tmp, head)                                                      \
    for ((pos) = (head)->next, (tmp) = (pos)->next; (pos) != (head);                               \
         (pos) = (tmp), (tmp) = (pos)->next)

static inline void dk_list_init(struct dk_list *l)
{
    l->next = l->prev = l;
}

static inline bool dk_list_empty(const struct dk_list *l)
{
    return l->next == l;
}

static inline void dk_list_add_tail(struct dk_list *head, struct dk_list *l)
{
    l->prev = head->prev;
    l->next = head;
    head->prev->next = l;
    head->prev = l;
}

static inline void dk_list_add_head(struct dk_list *head, struct dk_list *l)
{
    l->next = head->next;
    l->prev = head;
    head->next->prev = l;
    head->next = l;
}

/* Unlinks l and leaves it pointing nowhere useful; see dk_list_del_init where it may be unlinked
 * again. */
static inline void dk_list_del(struct dk_list *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
}

static inline void dk_list_del_init(struct dk_list *l)
{
    dk_list_del(l);
    dk_list_init(l);
}

static inline struct dk_list *dk_list_first(const struct dk_list *head)
{
    return head->next == head ? NULL : head->next;
}

#endif /* DK_BASE_LIST_H */
