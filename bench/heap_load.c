/* SPDX-License-Identifier: MIT */
/*
 * heap-load WORKLOAD: work for an allocator, whichever the process has. Prints what the allocator
 * is and nanoseconds per operation, the median of several stretches; or, for "memory", what is
 * resident over what is live. heap_compare.py runs it.
 *
 * Built twice: over malloc, and as heap-load-demi over demi_malloc. Timed workloads write the first
 * word of each object, so that what is measured is the allocator; the memory trace writes all.
 */
#include "heap_load.h"

#include "bench.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STRETCHES = 9, SIZES = 4096, BATCH = 1000, RING = 1024, VECTORS = 8, MAX_THREADS = 2 };

#define VECTOR_BYTES ((size_t)64 << 10)

struct worker {
    int number;
    uint32_t seed;
    uint32_t sizes[SIZES];
    uint32_t order[BATCH];
    double ns[STRETCHES];
};

struct workload {
    const char *name;
    int threads;
    uint32_t rounds;                                 /* per stretch */
    uint32_t max_power;                              /* sizes reach from 16 to 16 << max_power */
    double (*run)(struct worker *, uint32_t rounds); /* returns how many operations it was */
};

uint32_t heap_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* Each doubling of the size is half as likely. */
uint32_t heap_skewed_size(uint32_t *state, uint32_t max_power)
{
    uint32_t power = (uint32_t)__builtin_ctz(heap_random(state) | 1u << (max_power - 1));
    return (16u << power) + heap_random(state) % (16u << power) + 1;
}

static inline void *allocate(size_t size)
{
    uint64_t *p = HEAP_ALLOC(size);
    if (p == NULL)
        abort();
    *(volatile uint64_t *)p = size;
    return p;
}

static double pairs_fixed(struct worker *worker, uint32_t rounds)
{
    (void)worker;
    for (uint32_t i = 0; i < rounds; i++)
        HEAP_FREE(allocate(64));
    return rounds;
}

static double pairs_mixed(struct worker *worker, uint32_t rounds)
{
    for (uint32_t i = 0; i < rounds; i++)
        HEAP_FREE(allocate(worker->sizes[i % SIZES]));
    return rounds;
}

static double batches(struct worker *worker, uint32_t rounds)
{
    void *live[BATCH];
    for (uint32_t i = 0; i < rounds; i++) {
        for (uint32_t k = 0; k < BATCH; k++)
            live[k] = allocate(worker->sizes[(i * BATCH + k) % SIZES]);
        for (uint32_t k = 0; k < BATCH; k++)
            HEAP_FREE(live[worker->order[k]]);
    }
    return (double)rounds * BATCH;
}

/* One goes, one comes, among as many as a program may have of one kind. */
static double replace(struct worker *worker, uint32_t rounds)
{
    void *live[BATCH];
    for (uint32_t k = 0; k < BATCH; k++)
        live[k] = allocate(worker->sizes[k % SIZES]);
    for (uint32_t i = 0; i < rounds; i++) {
        const uint32_t k = worker->order[i % BATCH];
        HEAP_FREE(live[k]);
        live[k] = allocate(worker->sizes[i % SIZES]);
    }
    for (uint32_t k = 0; k < BATCH; k++)
        HEAP_FREE(live[k]);
    return rounds;
}

/* From each thread to the other: what is in a slot is the reader's to free. */
static void *rings[MAX_THREADS][RING];

static double exchange(struct worker *worker, uint32_t rounds)
{
    void **out = rings[worker->number], **in = rings[1 - worker->number];
    for (uint32_t sent = 0, freed = 0; sent < rounds || freed < rounds;) {
        bool moved = false;
        if (sent < rounds && __atomic_load_n(&out[sent % RING], __ATOMIC_ACQUIRE) == NULL) {
            void *p = allocate(worker->sizes[sent % SIZES]);
            __atomic_store_n(&out[sent++ % RING], p, __ATOMIC_RELEASE);
            moved = true;
        }
        void *p = freed < rounds ? __atomic_load_n(&in[freed % RING], __ATOMIC_ACQUIRE) : NULL;
        if (p != NULL) {
            __atomic_store_n(&in[freed++ % RING], NULL, __ATOMIC_RELEASE);
            HEAP_FREE(p);
            moved = true;
        }
        if (!moved)
            sched_yield();
    }
    return rounds;
}

/* Vectors that grow in turn, so that none has free memory behind it for long. */
static double growth(struct worker *worker, uint32_t rounds)
{
    double operations = 0;
    (void)worker;
    for (uint32_t i = 0; i < rounds; i++) {
        char *vectors[VECTORS] = {NULL};
        for (size_t size = 16; size <= VECTOR_BYTES; size += size / 2)
            for (int k = 0; k < VECTORS; k++) {
                vectors[k] = HEAP_REALLOC(vectors[k], size);
                vectors[k][size - 1] = 1;
                operations++;
            }
        for (int k = 0; k < VECTORS; k++)
            HEAP_FREE(vectors[k]);
    }
    return operations;
}

static const struct workload workloads[] = {
    {"pairs-64", 1, 400000, 1, pairs_fixed},    {"pairs-64-threads", 2, 400000, 1, pairs_fixed},
    {"pairs-mixed", 1, 400000, 8, pairs_mixed}, {"pairs-mixed-threads", 2, 400000, 8, pairs_mixed},
    {"replace", 1, 400000, 8, replace},         {"replace-threads", 2, 400000, 8, replace},
    {"batches", 1, 150, 11, batches},           {"batches-threads", 2, 150, 11, batches},
    {"remote", 2, 100000, 8, exchange},         {"growth", 1, 100, 1, growth},
};

static const struct workload *workload;
static pthread_barrier_t barrier;

static void prepare(struct worker *worker)
{
    worker->seed = 0x9e3779b9u + (uint32_t)worker->number;
    for (int i = 0; i < SIZES; i++)
        worker->sizes[i] = heap_skewed_size(&worker->seed, workload->max_power);
    for (uint32_t i = 0; i < BATCH; i++) {
        const uint32_t other = heap_random(&worker->seed) % (i + 1);
        worker->order[i] = worker->order[other];
        worker->order[other] = i;
    }
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    prepare(worker);
    workload->run(worker, workload->rounds / 4 + 1); /* warm */
    for (int i = 0; i < STRETCHES; i++) {
        pthread_barrier_wait(&barrier);
        const uint64_t start = bench_now_ns();
        const double operations = workload->run(worker, workload->rounds);
        worker->ns[i] = (double)(bench_now_ns() - start) / operations;
    }
    return NULL;
}

static double measure(void)
{
    static struct worker workers[MAX_THREADS];
    pthread_t threads[MAX_THREADS];
    double ns[MAX_THREADS * STRETCHES];
    size_t n = 0;
    pthread_barrier_init(&barrier, NULL, (unsigned)workload->threads);
    for (int i = 1; i < workload->threads; i++) {
        workers[i].number = i;
        pthread_create(&threads[i], NULL, work, &workers[i]);
    }
    work(&workers[0]);
    for (int i = 1; i < workload->threads; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < workload->threads; i++)
        for (int k = 0; k < STRETCHES; k++)
            ns[n++] = workers[i].ns[k];
    return bench_median(ns, n);
}

/* The library that the allocator is in: who runs this must not measure another than was meant. */
static void print_allocator(void)
{
    Dl_info info;
    void *(*allocator)(size_t) = HEAP_ALLOC;
    if (dladdr(*(void **)&allocator, &info) != 0)
        printf("allocator %s\n", info.dli_fname);
}

int main(int argc, char **argv)
{
    print_allocator();
    if (argc == 2 && strcmp(argv[1], "memory") == 0)
        return heap_memory_trace();
    for (size_t i = 0; argc == 2 && i < sizeof workloads / sizeof workloads[0]; i++)
        if (strcmp(argv[1], workloads[i].name) == 0)
            workload = &workloads[i];
    if (workload == NULL) {
        fprintf(stderr, "usage: heap-load memory");
        for (size_t i = 0; i < sizeof workloads / sizeof workloads[0]; i++)
            fprintf(stderr, "|%s", workloads[i].name);
        fprintf(stderr, "\n");
        return 2;
    }
    printf("ns %.3f\n", measure());
    return 0;
}
