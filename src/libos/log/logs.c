/* SPDX-License-Identifier: MIT */
/*
 * The logs of an instance: their poller, and what is done with what the stores completed (logs.h).
 */
#include "libos/log/logs.h"

#include "core/pollers.h"
#include "os/statfile.h"

#include <errno.h>
#include <stdlib.h>

#define NAME(field, name) name,
static const char *const stat_names[DK_LOGS_STATS_COUNT] = {DK_STORE_STATS(NAME)
                                                                DK_BLKDEV_STATS(NAME)};

void dk_logq_note(struct dk_logq *lq)
{
    if (dk_list_empty(&lq->ready))
        dk_list_add_tail(&lq->logs->ready, &lq->ready);
}

void dk_logs_settle(struct dk_logs *logs)
{
    struct dk_list *l;
    while ((l = dk_list_first(&logs->ready)) != NULL) {
        dk_list_del_init(l);
        dk_logq_serve(dk_container_of(l, struct dk_logq, ready));
    }
}

static void logs_poll(struct dk_poller *p, int64_t now, bool spinning)
{
    struct dk_logs *logs = (struct dk_logs *)p;
    struct dk_list *l;
    dk_logs_poll_begin(logs);
    dk_list_for_each (l, &logs->disks) {
        struct dk_store *store = dk_container_of(l, struct dk_logs_disk, link)->store;
        dk_store_poll(store, now);
        if (spinning) /* else it sleeps next; a program that finds results may be busy for long */
            dk_store_start(store);
    }
    dk_logs_settle(logs);
    dk_logs_poll_end(logs);
}

static bool logs_backlog(struct dk_poller *p)
{
    (void)p;
    return false; /* what a poll finds it acts on */
}

static uint32_t logs_undrained(struct dk_poller *p)
{
    struct dk_list *l;
    uint32_t n = 0;
    dk_list_for_each (l, &((struct dk_logs *)p)->disks)
        n += dk_store_outstanding(dk_container_of(l, struct dk_logs_disk, link)->store);
    return n;
}

/* There is nobody to tell: what is not acknowledged may be there or not. */
static void logs_reset_undrained(struct dk_poller *p)
{
    (void)p;
}

static void logs_destroy(struct dk_poller *p)
{
    struct dk_logs *logs = (struct dk_logs *)p;
    struct dk_list *l, *tmp;
    dk_list_for_each_safe (l, tmp, &logs->disks) {
        struct dk_logs_disk *disk = dk_container_of(l, struct dk_logs_disk, link);
        disk->holds++;
        dk_logs_disk_close(disk);
        dk_logs_settle(logs); /* the last pushes are out: closed queues go */
        dk_logs_disk_put(disk);
    }
    dk_logs_free_pushes(logs);
    dk_logs_free_reads(logs);
    dk_logs_sleep_close(logs);
    free(logs);
}

static void logs_abandon(struct dk_poller *p)
{
    struct dk_logs *logs = (struct dk_logs *)p;
    struct dk_list *l;
    dk_list_for_each (l, &logs->disks)
        dk_logs_disk_abandon(dk_container_of(l, struct dk_logs_disk, link));
    dk_logs_sleep_close(logs);
}

static int logs_stat(struct dk_poller *p, size_t index, const char **name, uint64_t *value,
                     const char **text)
{
    struct dk_logs *logs = (struct dk_logs *)p;
    if (index >= DK_LOGS_STATS_COUNT)
        return -ENOENT;
    *name = stat_names[index];
    *value = __atomic_load_n((uint64_t *)logs->stats + index, __ATOMIC_RELAXED);
    *text = NULL;
    return 0;
}

static const struct dk_poller_ops logs_poller_ops = {
    .poll = logs_poll,
    .arm = dk_logs_arm,
    .block = dk_logs_block,
    .kick = dk_logs_kick,
    .fd = dk_logs_fd,
    .backlog = logs_backlog,
    .undrained = logs_undrained,
    .reset_undrained = logs_reset_undrained,
    .destroy = logs_destroy,
    .abandon = logs_abandon,
    .stat = logs_stat,
};

static void place_stats(struct dk_logs *logs)
{
    struct dk_statfile_block *block = dk_statfile_add(stat_names, DK_LOGS_STATS_COUNT, NULL, NULL);
    logs->stats = block ? (struct dk_logs_stats *)block->counters : &logs->own_stats;
}

int dk_logs_get(struct dk_logs **logs_out, struct dk_instance *inst)
{
    struct dk_logs *logs = (struct dk_logs *)inst->logs;
    if (logs) {
        *logs_out = logs;
        return 0;
    }
    logs = calloc(1, sizeof(*logs)); /* owned by inst, freed by logs_destroy */
    if (!logs)
        return -ENOMEM;
    logs->poller.ops = &logs_poller_ops;
    logs->inst = inst;
    dk_list_init(&logs->disks);
    dk_list_init(&logs->ready);
    dk_list_init(&logs->pushes);
    dk_list_init(&logs->reads);
    int r = dk_logs_sleep_open(logs);
    if (r < 0)
        goto fail;
    uint32_t mark = dk_statfile_mark();
    place_stats(logs);
    r = dk_instance_add_poller(inst, &logs->poller);
    if (r < 0)
        goto fail_add;
    inst->logs = &logs->poller;
    *logs_out = logs;
    return 0;
fail_add:
    dk_statfile_rewind(mark);
    dk_logs_sleep_close(logs);
fail:
    free(logs);
    return r;
}
