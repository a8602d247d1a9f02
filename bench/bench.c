/* SPDX-License-Identifier: MIT */
/* Alternation, medians, the printed figures and the verdict. */
#include "bench.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

uint64_t bench_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int compare_figures(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double figures[], size_t n)
{
    qsort(figures, n, sizeof(figures[0]), compare_figures);
    return n % 2 == 1 ? figures[n / 2] : (figures[n / 2 - 1] + figures[n / 2]) / 2;
}

/* Sorts the figures of a side and prints their median, the least and the most. */
static void print_side(const char *what, const struct bench_side *side, const char *unit,
                       double figures[], int rounds)
{
    double median = bench_median(figures, (size_t)rounds);
    printf("FIGURE %s, %s: %.1f %s (%.1f to %.1f)\n", what, side->name, median, unit, figures[0],
           figures[rounds - 1]);
}

static int print_verdict(const struct bench_claim *claim, double ratio)
{
    if (claim->target <= 0) {
        printf("FIGURE %s: %.2fx\n", claim->what, ratio);
        return 0;
    }
    bool met = ratio >= claim->target;
    printf("%s %s: %.2fx, target >= %.2fx\n", met ? "PASS" : "FAIL", claim->what, ratio,
           claim->target);
    return met ? 0 : 1;
}

int bench_compare(const struct bench_claim *claim, const struct bench_side *ours,
                  const struct bench_side *theirs)
{
    const struct bench_side *sides[2] = {ours, theirs};
    double figures[2][BENCH_ROUNDS_MAX], ratios[BENCH_ROUNDS_MAX];
    const int rounds = claim->rounds != 0 ? claim->rounds : BENCH_ROUNDS;
    for (int round = 0; round < rounds; round++) {
        for (int turn = 0; turn < 2; turn++) {
            int side = (round + turn) % 2;
            figures[side][round] = sides[side]->run(sides[side]->arg);
            if (figures[side][round] < 0) {
                printf("FAIL %s: %s did not run\n", claim->what, sides[side]->name);
                return 1;
            }
        }
        double ratio = figures[0][round] / figures[1][round];
        ratios[round] = claim->more_is_better ? ratio : 1 / ratio;
    }
    printf("%s, median of %d alternated rounds\n", claim->what, rounds);
    print_side(claim->what, ours, claim->unit, figures[0], rounds);
    print_side(claim->what, theirs, claim->unit, figures[1], rounds);
    return print_verdict(claim, bench_median(ratios, (size_t)rounds));
}
