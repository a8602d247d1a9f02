/* SPDX-License-Identifier: MIT */
#include "store/index.h"

#include "mem/heap.h"

#include <stdbool.h>
#include <string.h>

void dk_index_init(struct dk_index *index, uint32_t max)
{
    *index = (struct dk_index){.max = max < 2 ? 2 : max, .stride = 1};
}

void dk_index_fini(struct dk_index *index)
{
    if (index->entries)
        dk_heap_free(index->entries);
    index->entries = NULL;
    index->num = index->room = 0;
}

/* Makes room for one more entry, up to max. False without memory. */
static bool make_room(struct dk_index *index)
{
    if (index->num < index->room || index->room == index->max)
        return true;
    uint32_t room = index->room == 0 ? 32 : index->room * 2;
    room = room < index->max ? room : index->max;
    struct dk_index_entry *entries = index->entries
                                         ? dk_heap_realloc(index->entries, room * sizeof(*entries))
                                         : dk_heap_malloc(room * sizeof(*entries));
    if (!entries)
        return false;
    index->entries = entries;
    index->room = room;
    return true;
}

/* How many entries are not beyond a record. */
static uint32_t count(const struct dk_index *index, uint64_t record)
{
    uint32_t low = 0, high = index->num;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (index->entries[middle].record <= record)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void thin_out(struct dk_index *index)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < index->num; i += 2)
        index->entries[kept++] = index->entries[i];
    index->num = kept;
    index->stride *= 2;
}

void dk_index_add(struct dk_index *index, uint64_t record, uint64_t ordinal, uint64_t offset)
{
    if (++index->skipped < index->stride || !make_room(index))
        return;
    index->skipped = 0;
    if (index->num == index->max)
        thin_out(index);
    uint32_t at = count(index, record);
    struct dk_index_entry *e = &index->entries[at];
    if (at > 0 && e[-1].record == record)
        return;
    memmove(e + 1, e, (index->num - at) * sizeof(*e));
    *e = (struct dk_index_entry){record, ordinal, offset};
    index->num++;
}

const struct dk_index_entry *dk_index_find(const struct dk_index *index, uint64_t record)
{
    uint32_t n = count(index, record);
    return n > 0 ? &index->entries[n - 1] : NULL;
}

void dk_index_cut(struct dk_index *index, uint64_t record)
{
    while (index->num > 0 && index->entries[index->num - 1].record >= record)
        index->num--;
}

void dk_index_trim(struct dk_index *index, uint64_t record)
{
    uint32_t gone = record > 0 ? count(index, record - 1) : 0;
    if (gone == 0)
        return;
    memmove(index->entries, index->entries + gone, (index->num - gone) * sizeof(*index->entries));
    index->num -= gone;
}
