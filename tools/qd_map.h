/* SPDX-License-Identifier: MIT */
/*
 * Finds what a queue descriptor stands for. Descriptors are small integers, so it is an array that
 * grows to the largest one seen.
 */
#ifndef TOOLS_QD_MAP_H
#define TOOLS_QD_MAP_H

#include <stdbool.h>
#include <stddef.h>

struct qd_map {
    void **items; /* by descriptor; NULL: none. The items are the caller's */
    size_t space;
};

void qd_map_init(struct qd_map *map);
void qd_map_fini(struct qd_map *map);

/* Sets the item of a descriptor; NULL removes it (and cannot fail). False without memory. */
bool qd_map_set(struct qd_map *map, int qd, void *item);

/* Returns the item of a descriptor, or NULL. */
void *qd_map_get(const struct qd_map *map, int qd);

#endif /* TOOLS_QD_MAP_H */
