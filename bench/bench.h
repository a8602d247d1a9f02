/* SPDX-License-Identifier: MIT */
/*
 * Frame of a benchmark program: two ways to do one thing, measured in alternation.
 *
 * A claim names what is compared and the least ratio it promises. Each side runs once per round,
 * the first side alternating. Figures are medians over the rounds; the ratio is the median of the
 * ratios of each round, because on a shared machine only neighbours in time compare. The program
 * prints the figures and the verdict in the lines that figures.py reads for scripts/bench.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_ROUNDS     5
#define BENCH_ROUNDS_MAX 501

struct bench_side {
    const char *name;
    /* Measures one round; the figure, or a negative number when it failed (it has said why). */
    double (*run)(void *arg);
    void *arg;
};

struct bench_claim {
    const char *what;    /* "push and pop, 64 bytes" */
    const char *unit;    /* "ns", "requests/s" */
    bool more_is_better; /* a rate; else a cost */
    double target;       /* how many times better `ours` must be than `theirs`; 0: no claim */
    int rounds;          /* at most BENCH_ROUNDS_MAX; 0: BENCH_ROUNDS */
};

/* Monotonic time in nanoseconds. */
uint64_t bench_now_ns(void);

/* Sorts the n figures and returns their median. */
double bench_median(double figures[], size_t n);

/*
 * Measures both sides in alternated rounds and prints the comparison. Returns 0 when the target
 * is met, 1 when it is missed or a side failed: what main() returns.
 */
int bench_compare(const struct bench_claim *claim, const struct bench_side *ours,
                  const struct bench_side *theirs);

#endif /* BENCH_BENCH_H */
