/* SPDX-License-Identifier: MIT */
/*
 * Buckets: durations below HIST_STEPS have one each; above, the position of the highest bit and the
 * HIST_STEP_BITS bits after it are the index. Neighbouring buckets are neighbouring ranges.
 */
#include "hist.h"

#include <string.h>

#define BAR_WIDTH 50

void hist_init(struct hist *hist)
{
    memset(hist, 0, sizeof(*hist));
}

static size_t bucket_of(uint64_t ns)
{
    if (ns < HIST_STEPS)
        return (size_t)ns;
    unsigned shift = 63U - (unsigned)__builtin_clzll(ns) - HIST_STEP_BITS;
    return ((size_t)shift << HIST_STEP_BITS) + (size_t)(ns >> shift);
}

/* The first duration of a bucket; of HIST_BUCKETS, the first beyond all. */
static uint64_t bucket_start(size_t bucket)
{
    if (bucket < 2 * HIST_STEPS)
        return bucket;
    size_t shift = (bucket >> HIST_STEP_BITS) - 1;
    return (uint64_t)(HIST_STEPS + (bucket & (HIST_STEPS - 1))) << shift;
}

void hist_add(struct hist *hist, uint64_t ns)
{
    if (ns > HIST_MAX_NS)
        ns = HIST_MAX_NS;
    if (hist->count == 0 || ns < hist->min_ns)
        hist->min_ns = ns;
    if (ns > hist->max_ns)
        hist->max_ns = ns;
    hist->count++;
    hist->sum_ns += ns;
    hist->buckets[bucket_of(ns)]++;
}

/* How many durations the fraction q is, rounded up, at least one. */
static uint64_t rank_of(const struct hist *hist, double q)
{
    double exact = q * (double)hist->count;
    uint64_t rank = (uint64_t)exact;
    if ((double)rank < exact)
        rank++;
    if (rank > hist->count)
        rank = hist->count;
    return rank == 0 ? 1 : rank;
}

static uint64_t clamp(uint64_t ns, uint64_t low, uint64_t high)
{
    if (ns < low)
        return low;
    return ns > high ? high : ns;
}

uint64_t hist_quantile(const struct hist *hist, double q)
{
    uint64_t seen = 0;
    size_t bucket = 0;
    if (hist->count == 0)
        return 0;
    for (uint64_t rank = rank_of(hist, q); bucket < HIST_BUCKETS; bucket++) {
        seen += hist->buckets[bucket];
        if (seen >= rank)
            break;
    }
    return clamp(bucket_start(bucket + 1) - 1, hist->min_ns, hist->max_ns);
}

double hist_mean(const struct hist *hist)
{
    return hist->count == 0 ? 0 : (double)hist->sum_ns / (double)hist->count;
}

/* Rows are whole numbers of buckets: the smallest power of two of them that needs few enough. */
static size_t buckets_per_row(size_t first, size_t last)
{
    size_t per_row = 1;
    while (last / per_row - first / per_row + 1 > HIST_ROWS_MAX)
        per_row *= 2;
    return per_row;
}

static uint64_t count_buckets(const struct hist *hist, size_t first, size_t end)
{
    uint64_t count = 0;
    for (size_t bucket = first; bucket < end && bucket < HIST_BUCKETS; bucket++)
        count += hist->buckets[bucket];
    return count;
}

size_t hist_rows(const struct hist *hist, struct hist_row rows[HIST_ROWS_MAX])
{
    if (hist->count == 0)
        return 0;
    size_t first = bucket_of(hist->min_ns);
    size_t last = bucket_of(hist->max_ns);
    size_t per_row = buckets_per_row(first, last);
    size_t num_rows = 0;
    for (size_t start = first / per_row * per_row; start <= last; start += per_row) {
        rows[num_rows++] = (struct hist_row){.from_ns = bucket_start(start),
                                             .to_ns = bucket_start(start + per_row),
                                             .count = count_buckets(hist, start, start + per_row)};
    }
    return num_rows;
}

static uint64_t largest_count(const struct hist_row *rows, size_t num_rows)
{
    uint64_t largest = 1;
    for (size_t i = 0; i < num_rows; i++) {
        if (rows[i].count > largest)
            largest = rows[i].count;
    }
    return largest;
}

static int bar_length(uint64_t count, uint64_t largest)
{
    if (count == 0)
        return 0;
    int length = (int)((double)count / (double)largest * BAR_WIDTH + 0.5);
    return length == 0 ? 1 : length;
}

void hist_print(const struct hist *hist, FILE *out)
{
    static const char bar[] = "##################################################";
    struct hist_row rows[HIST_ROWS_MAX];
    size_t num_rows = hist_rows(hist, rows);
    uint64_t largest = largest_count(rows, num_rows);
    for (size_t i = 0; i < num_rows; i++)
        fprintf(out, "%11.2f us %10llu %.*s\n", (double)rows[i].from_ns / 1e3,
                (unsigned long long)rows[i].count, bar_length(rows[i].count, largest), bar);
}
