/* SPDX-License-Identifier: MIT */
/*
 * An array indexed by descriptor.
 */
#include "qd_map.h"

#include <stdlib.h>
#include <string.h>

#define INITIAL_SPACE 64

void qd_map_init(struct qd_map *map)
{
    *map = (struct qd_map){0};
}

void qd_map_fini(struct qd_map *map)
{
    free(map->items);
    qd_map_init(map);
}

static bool grow(struct qd_map *map, size_t wanted)
{
    size_t space = map->space == 0 ? INITIAL_SPACE : map->space;
    while (space < wanted)
        space *= 2;
    void **items = reallocarray(map->items, space, sizeof(*items));
    if (items == NULL)
        return false;
    memset(items + map->space, 0, (space - map->space) * sizeof(*items));
    map->items = items;
    map->space = space;
    return true;
}

bool qd_map_set(struct qd_map *map, int qd, void *item)
{
    if (qd < 0)
        return false;
    if ((size_t)qd >= map->space && (item == NULL || !grow(map, (size_t)qd + 1)))
        return item == NULL;
    map->items[qd] = item;
    return true;
}

void *qd_map_get(const struct qd_map *map, int qd)
{
    return qd >= 0 && (size_t)qd < map->space ? map->items[qd] : NULL;
}
