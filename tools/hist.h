/* SPDX-License-Identifier: MIT */
/*
 * A log-linear histogram of durations in nanoseconds: every power of two is cut into HIST_STEPS
 * equal buckets, so a quantile is wrong by less than 1/HIST_STEPS of its value. Adding costs a few
 * instructions and no memory; durations of HIST_MAX_NS and more count as HIST_MAX_NS.
 */
#ifndef TOOLS_HIST_H
#define TOOLS_HIST_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define HIST_STEP_BITS 7
#define HIST_STEPS     (1 << HIST_STEP_BITS)
#define HIST_MAX_BITS  40
#define HIST_MAX_NS    ((UINT64_C(1) << HIST_MAX_BITS) - 1)
#define HIST_BUCKETS   ((HIST_MAX_BITS - HIST_STEP_BITS + 1) * HIST_STEPS)

struct hist {
    uint64_t count;
    uint64_t sum_ns;
    uint64_t min_ns; /* exact; 0 while empty */
    uint64_t max_ns; /* exact */
    uint64_t buckets[HIST_BUCKETS];
};

void hist_init(struct hist *hist);

void hist_add(struct hist *hist, uint64_t ns);

/* Returns the duration that the fraction q (0 to 1) of all do not exceed, 0 while empty. */
uint64_t hist_quantile(const struct hist *hist, double q);

/* Returns the mean in nanoseconds, 0 while empty. */
double hist_mean(const struct hist *hist);

/* One row of the histogram for a person: durations from_ns <= d < to_ns. */
struct hist_row {
    uint64_t from_ns;
    uint64_t to_ns;
    uint64_t count;
};

#define HIST_ROWS_MAX 24

/* Divides the range from least to greatest into at most HIST_ROWS_MAX rows, each by the same factor
 * longer than the one before; returns how many. */
size_t hist_rows(const struct hist *hist, struct hist_row rows[HIST_ROWS_MAX]);

/* Prints the rows as bars; a row that has any gets at least one mark. */
void hist_print(const struct hist *hist, FILE *out);

#endif /* TOOLS_HIST_H */
