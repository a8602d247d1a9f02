/* SPDX-License-Identifier: MIT */
/*
 * What the relay has done, on standard error: one line, and one for each target. In one write: who
 * reads them never sees half of a report.
 */
#include "worker.h"

#include <stdio.h>
#include <stdlib.h>

static uint64_t sum_of(const struct relay_shared *shared, size_t offset)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < shared->config->workers; i++) {
        const char *counters = (const char *)&shared->workers[i].counters;
        sum += atomic_load_explicit((const atomic_ullong *)(const void *)(counters + offset),
                                    memory_order_relaxed);
    }
    return sum;
}

static void print(FILE *out, const struct relay_shared *shared)
{
    fprintf(out, "demi-relay: active %u", atomic_load(&shared->active));
#define RELAY_COUNTER_PRINT(field, name)                                                           \
    fprintf(out, ", " name " %llu",                                                                \
            (unsigned long long)sum_of(shared, offsetof(struct relay_counters, field)));
    RELAY_COUNTERS(RELAY_COUNTER_PRINT)
#undef RELAY_COUNTER_PRINT
    fputc('\n', out);
    for (uint32_t i = 0; i < shared->config->num_targets; i++) {
        const struct relay_target *t = &shared->targets.of[i];

        fprintf(
            out,
            "demi-relay: target %s %s, active %u, total %llu, failures %llu, probes passed %llu, "
            "probes failed %llu\n",
            t->name, atomic_load(&t->up) ? "up" : "down", atomic_load(&t->active),
            (unsigned long long)atomic_load(&t->total),
            (unsigned long long)atomic_load(&t->failures),
            (unsigned long long)atomic_load(&t->probes),
            (unsigned long long)atomic_load(&t->lost_probes));
    }
}

void relay_report(const struct relay_shared *shared)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);

    if (out == NULL) {
        fprintf(stderr, "demi-relay: no memory for a report\n");
        return;
    }
    print(out, shared);
    if (fclose(out) == 0)
        fwrite(text, 1, length, stderr);
    else
        fprintf(stderr, "demi-relay: no memory for a report\n");
    free(text);
}
