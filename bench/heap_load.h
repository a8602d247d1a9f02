/* SPDX-License-Identifier: MIT */
/*
 * The allocator that heap-load loads: malloc of the process, or demi_malloc.
 */
#ifndef BENCH_HEAP_LOAD_H
#define BENCH_HEAP_LOAD_H

#include <stdint.h>

#ifdef HEAP_LOAD_DEMI
#include <demi/memory.h>
#define HEAP_ALLOC   demi_malloc
#define HEAP_FREE    demi_free
#define HEAP_REALLOC demi_realloc
#else
#include <stdlib.h>
#define HEAP_ALLOC   malloc
#define HEAP_FREE    free
#define HEAP_REALLOC realloc
#endif

/* The next of a sequence that *state, not 0, begins. */
uint32_t heap_random(uint32_t *state);

/* 16 to about 16 << max_power bytes, small ones likelier. */
uint32_t heap_skewed_size(uint32_t *state, uint32_t max_power);

/* Runs the trace and prints a line per phase; returns what main() returns. */
int heap_memory_trace(void);

#endif /* BENCH_HEAP_LOAD_H */
