/* SPDX-License-Identifier: MIT */
/*
 * What tools ask: version, library OSes, configuration, counters (demi/admin.h).
 */
#include "api/api.h"
#include "api/config.h"
#include "libos/table.h"
#include "mem/stats.h"

#include <demi/admin.h>

#ifndef DEMI_VERSION
#error "the build defines DEMI_VERSION"
#endif

const char *demi_version(void)
{
    return DEMI_VERSION;
}

int demi_backends(struct demi_backend backends_out[], size_t n, size_t *n_out)
{
    const struct dk_libos *l;
    size_t i;
    if ((!backends_out && n > 0) || !n_out)
        return EINVAL;
    for (i = 0; (l = dk_libos_at(i)) != NULL; i++) {
        if (i >= n)
            continue;
        const char *why = "";
        const char *engine = l->probe(&why);
        backends_out[i] = (struct demi_backend){.name = l->name,
                                                .kind = l->kind,
                                                .engine = engine,
                                                .summary = l->summary,
                                                .missing = *engine ? "" : why,
                                                .available = *engine != '\0'};
    }
    *n_out = i;
    return 0;
}

int demi_config_get(size_t index, struct demi_config_value *value_out, char *err, size_t err_len)
{
    if (!value_out || (!err && err_len > 0))
        return EINVAL;
    return dk_public(dk_config_describe(index, value_out, err, err_len));
}

/* Counters of the core, in the order in which they are listed. */
static size_t core_stats(const struct dk_instance *inst, struct demi_stat out[], size_t n)
{
    const struct demi_stat stats[] = {
        {"core.libos", 0, dk_api.libos->name},
        {"core.completions", __atomic_load_n(&inst->num_done, __ATOMIC_RELAXED), NULL},
        {"core.polls", inst->stats.polls, NULL},
        {"core.sleeps", inst->stats.sleeps, NULL},
        {"core.wakeups", inst->stats.wakeups, NULL},
        {"core.handovers", inst->stats.handovers, NULL},
        {"core.posted", inst->stats.posted, NULL},
        {"core.array_reads", inst->stats.array_reads, NULL},
        {"mem.buffers_in_use", dk_buf_in_use(), NULL},
    };
    size_t count = sizeof(stats) / sizeof(stats[0]);
    for (size_t i = 0; i < count && i < n; i++)
        out[i] = stats[i];
    const uint64_t *values = (const uint64_t *)dk_mem_stats;
    for (size_t i = 0; i < DK_MEM_STATS_COUNT; i++, count++)
        if (count < n)
            out[count] = (struct demi_stat){dk_mem_stat_names[i],
                                            __atomic_load_n(&values[i], __ATOMIC_RELAXED), NULL};
    return count;
}

int demi_stats(struct demi_stat stats_out[], size_t n, size_t *n_out)
{
    struct dk_instance *inst = dk_api_instance();
    if ((!stats_out && n > 0) || !n_out)
        return EINVAL;
    if (!inst)
        return ENOSYS;
    size_t count = core_stats(inst, stats_out, n);
    struct dk_poller *p = inst->poller;
    struct demi_stat s;
    for (size_t i = 0; p && p->ops->stat(p, i, &s.name, &s.value, &s.text) == 0; i++, count++)
        if (count < n)
            stats_out[count] = s;
    *n_out = count;
    return 0;
}
