/* SPDX-License-Identifier: MIT */
/*
 *     crash FIRST COUNT      runs the workloads of COUNT seeds
 *     crash SEED             runs one
 */
#include "crash.h"

#include <stdarg.h>

struct counts counts;
uint64_t seed_now;

void report(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "crash: seed %llu, moment %llu, state %llu: ", (unsigned long long)seed_now,
            (unsigned long long)counts.moments, (unsigned long long)counts.states);
    vfprintf(stderr, format, args);
    fprintf(stderr, "\ncrash: the same again by: crash %llu\n", (unsigned long long)seed_now);
    va_end(args);
    exit(1);
}

static void print(const char *what, uint64_t n)
{
    printf("%10llu %s\n", (unsigned long long)n, what);
}

int main(int argc, char **argv)
{
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
    for (uint64_t i = 0; i < count; i++)
        run_workload(first + i);
    printf("seeds %llu to %llu\n", (unsigned long long)first,
           (unsigned long long)(first + count - 1));
    print("appends", counts.appends);
    print("moments at which power may fail", counts.moments);
    print("of these with every subset of units", counts.exhaustive);
    print("crash states recovered", counts.states);
    print("of these with torn writes, drawn", counts.torn);
    print("of these read-only first", counts.read_only);
    print("crash states of recoveries recovered", counts.nested);
    print("ends and crashes that the workload went on from", counts.lives);
    return 0;
}
