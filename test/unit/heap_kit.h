/* SPDX-License-Identifier: MIT */
/* What the tests of the heap share: sizes worth trying, contents, gauges, the process's memory. */
#ifndef DEMI_TEST_UNIT_HEAP_KIT_H
#define DEMI_TEST_UNIT_HEAP_KIT_H

#include "../lib/harness.h"
#include "mem/heap.h"
#include "mem/stats.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

enum { KIT_SIZES_MAX = 1000 };

/* Sizes up to limit, ascending: all borders of classes and powers of two, one less, one more. */
size_t kit_sizes(size_t sizes_out[KIT_SIZES_MAX], size_t limit);

struct kit_block {
    uint8_t *p;
    size_t size;
    uint64_t seed; /* of the contents */
};

/* Whether p is the start of an object that somebody holds, aligned, of at least size bytes. Fails
 * the test if not. */
void kit_must_be_object(const void *p, size_t size, size_t align);

/* Allocates one, filled. Contents are filled and checked up to 64 KiB from both ends. */
struct kit_block kit_malloc(size_t size, uint64_t seed);
void kit_fill(void *p, size_t size, uint64_t seed);
void kit_check(const void *p, size_t size, uint64_t seed);
void kit_check_block(const struct kit_block *block);

/* Fails the test if two of these overlap, as far as each may be used. Sorts them by address. */
void kit_must_be_apart(struct kit_block blocks[], size_t n);

bool kit_is_zero(const void *p, size_t size);
bool kit_is_held(const void *p);

struct kit_gauges {
    uint64_t superblocks;
    uint64_t large_objects;
    uint64_t regions;
    uint64_t region_bytes;
};

/* After this thread gave back what it can. */
struct kit_gauges kit_gauges(void);
void kit_must_be_back(struct kit_gauges before);

uint64_t kit_deferred(void);

/* Resident bytes of this process. */
size_t kit_rss(void);

#endif /* DEMI_TEST_UNIT_HEAP_KIT_H */
