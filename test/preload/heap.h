/* SPDX-License-Identifier: MIT */
/*
 * For programs that know nothing of Demikernel but that it may have been loaded before them.
 */
#ifndef TEST_PRELOAD_HEAP_H
#define TEST_PRELOAD_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether p points into the heap of libdemikernel.so; false also when that is not in the process.
 */
bool heap_has(const void *p);

/* Fills size bytes with what depends on the address, and checks that they are still that. */
void fill(void *p, size_t size);
bool filled(const void *p, size_t size);

/* A small generator: the next of a sequence that *state, not 0, begins. */
uint32_t next_random(uint32_t *state);

#endif /* TEST_PRELOAD_HEAP_H */
