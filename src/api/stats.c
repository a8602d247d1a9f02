/* SPDX-License-Identifier: MIT */
/*
 * Counters: where those of the process are kept, and how a program asks for its own and for another
 * process's (demi/admin.h).
 */
#include "api/stats.h"

#include "api/api.h"
#include "api/config_strings.h"
#include "libos/table.h"
#include "mem/stats.h"
#include "os/log.h"
#include "os/statfile.h"
#include "os/statread.h"

#include <demi/admin.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

/* Room for the counters of the process and of its first instance, and for those of each further one
 * with kernel sockets, or with a network stack. */
#define PROCESS_BYTES  65536
#define INSTANCE_BYTES 4096
#define STACK_BYTES    28672

_Static_assert(PROCESS_BYTES + DK_MAX_INSTANCES * STACK_BYTES <= DK_STATFILE_MAX_BYTES,
               "all instances have room");

static const char libos_name[] = "core.libos";
static const char *const buf_names[] = {"mem.buffers_in_use"};

static uint32_t instance_bytes(void)
{
    return dk_api.libos->is_stack ? STACK_BYTES : INSTANCE_BYTES;
}

void dk_stats_open(uint32_t max_instances)
{
    char dir[PATH_MAX] = "";
    struct dk_statdir_where w = dk_statdir_where();
    int r = dk_statdir_choose(&w, dir, sizeof(dir));
    if (r == 0)
        r = dk_statfile_open(dir, w.uid, PROCESS_BYTES + max_instances * instance_bytes());
    if (r < 0) {
        dk_log(DK_LOG_INFO, "no other process sees the statistics, for want of a file in %s: %s",
               dir, strerror(-r));
        return;
    }
    struct dk_statfile_block *block = dk_statfile_add(buf_names, 1, libos_name, dk_api.libos->name);
    dk_buf_show_in_use(block->counters);
    block = dk_statfile_add(dk_mem_stat_names, DK_MEM_STATS_COUNT, NULL, NULL);
    dk_mem_stats_move((struct dk_mem_stats *)block->counters);
}

/* Counters are moved out of the file first. */
void dk_stats_close(void)
{
    dk_buf_show_in_use(NULL);
    dk_mem_stats_move(NULL);
    dk_statfile_close();
}

/* The file is the parent's: it is exchanged for memory of the same contents before anything is
 * written. dk_buf_after_fork comes first, for its lock. */
void dk_stats_after_fork(void)
{
    dk_statfile_after_fork();
    dk_buf_show_in_use(NULL);
    dk_mem_stats_move(NULL);
}

/* Where a caller's array is filled: at most n entries, however many there are. */
struct sink {
    struct demi_stat *out;
    size_t n, count;
};

static void put(struct sink *sink, const char *name, uint64_t value, const char *text)
{
    if (sink->count < sink->n)
        sink->out[sink->count] = (struct demi_stat){name, value, text};
    sink->count++;
}

static void put_all(struct sink *sink, const char *const names[], const uint64_t *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        put(sink, names[i], __atomic_load_n(&values[i], __ATOMIC_RELAXED), NULL);
}

int demi_stats(struct demi_stat stats_out[], size_t n, size_t *n_out)
{
    struct dk_instance *inst = dk_api_instance();
    struct sink sink = {.out = stats_out, .n = n};
    struct demi_stat s;
    if ((!stats_out && n > 0) || !n_out)
        return EINVAL;
    if (!inst)
        return dk_public(dk_api_missing());
    dk_instance_count(inst);
    put(&sink, libos_name, 0, dk_api.libos->name);
    put_all(&sink, dk_instance_stat_names, (uint64_t *)inst->stats, DK_INSTANCE_STATS_COUNT);
    put(&sink, buf_names[0], dk_buf_in_use(), NULL);
    put_all(&sink, dk_mem_stat_names, (uint64_t *)dk_mem_stats_get(), DK_MEM_STATS_COUNT);
    struct dk_poller *p = inst->poller;
    for (size_t i = 0; p && p->ops->stat(p, i, &s.name, &s.value, &s.text) == 0; i++)
        put(&sink, s.name, s.value, s.text);
    *n_out = sink.count;
    return 0;
}

/* Adds a value to those of its name, in an array with room for it; returns the new length. */
static size_t merge(struct demi_stat stats[], size_t count, const struct dk_statread_value *value)
{
    size_t i = 0;
    while (i < count && strcmp(stats[i].name, value->name) != 0)
        i++;
    if (i == count)
        stats[count++] = (struct demi_stat){value->name, value->value, value->text};
    else
        stats[i].value += value->value;
    return count;
}

/* The strings outlive what they were read from. 0 or -ENOMEM. */
static int keep_strings(struct demi_stat stats[], size_t count)
{
    for (size_t i = 0; i < count; i++) {
        stats[i].name = dk_config_string(stats[i].name);
        if (!stats[i].name)
            return -ENOMEM;
        if (stats[i].text && !(stats[i].text = dk_config_string(stats[i].text)))
            return -ENOMEM;
    }
    return 0;
}

/* Makes one list of what was read: 0 or -ENOMEM. *stats_out is the caller's. */
static int collect(struct dk_statread *read, struct demi_stat **stats_out, size_t *count_out)
{
    struct dk_statread_value value;
    struct demi_stat *stats = calloc(dk_statread_max_values(read) + 1, sizeof(*stats));
    size_t count = 0;
    if (!stats)
        return -ENOMEM;
    while (dk_statread_next(read, &value))
        count = merge(stats, count, &value);
    int r = keep_strings(stats, count);
    if (r < 0) {
        free(stats);
        return r;
    }
    *stats_out = stats;
    *count_out = count;
    return 0;
}

int demi_stats_pid(struct demi_stat stats_out[], size_t n, size_t *n_out, int pid)
{
    struct dk_statdir_where w = dk_statdir_where();
    struct dk_statread read;
    struct demi_stat *stats;
    size_t count;
    if ((!stats_out && n > 0) || !n_out || pid <= 0)
        return EINVAL;
    int r = dk_statread_open(&read, &w, pid);
    if (r < 0)
        return dk_public(r);
    r = collect(&read, &stats, &count);
    dk_statread_close(&read);
    if (r < 0)
        return dk_public(r);
    for (size_t i = 0; i < count && i < n; i++)
        stats_out[i] = stats[i];
    free(stats);
    *n_out = count;
    return 0;
}
