/* SPDX-License-Identifier: MIT */
/*
 * Counters: those of the sockets and of the device are kept where other processes can read them;
 * those of the stack, which knows no files, and the device's own are copied there before each
 * sleep, now and then, and when this process asks.
 */
#include "libos/stack/sock.h"

#include <errno.h>

#define DEV_STATS_COUNT (sizeof(struct dk_netdev_stats) / sizeof(uint64_t))

#define NAME(field, name) name,
static const char *const stack_names[DK_STACK_STATS_COUNT] = {DK_STACK_STATS(NAME)};
static const char *const dev_names[DEV_STATS_COUNT] = {DK_NETDEV_STATS(NAME)};

static const char device_name[] = "stack.device";

/* Names of all counters in the order of the block; returns how many. */
static size_t collect_names(struct dk_stack *st, const char *names[])
{
    size_t n = 0;
    uint64_t ignored;
    for (size_t i = 0; i < DK_STACK_STATS_COUNT; i++)
        names[n++] = stack_names[i];
    for (size_t i = 0; i < DEV_STATS_COUNT; i++)
        names[n++] = dev_names[i];
    while (st->num_net < DK_STACK_NET_STATS_MAX &&
           dk_net_stat(st->net, st->num_net, &names[n], &ignored) == 0)
        st->shown_names[st->num_net++] = names[n++];
    st->num_shown = st->num_net;
    const struct dk_netdev_extra *extra = &dk_netdev_end(st->dev)->extra;
    for (uint32_t i = 0; i < extra->num && i < DK_STACK_DEV_STATS_MAX; i++)
        st->shown_names[st->num_shown++] = names[n++] = extra->names[i];
    return n;
}

void dk_stack_counters_open(struct dk_stack *st)
{
    const char *names[DK_STACK_STATS_COUNT + DEV_STATS_COUNT + DK_STACK_SHOWN_MAX];
    size_t n = collect_names(st, names);
    st->block = dk_statfile_add(names, n, device_name, st->driver);
    st->shown = st->own_shown;
    if (!st->block)
        return;
    st->stats = (struct dk_stack_stats *)st->block->counters;
    dk_netdev_move_stats(st->dev,
                         (struct dk_netdev_stats *)(st->block->counters + DK_STACK_STATS_COUNT));
    st->shown = st->block->counters + DK_STACK_STATS_COUNT + DEV_STATS_COUNT;
}

void dk_stack_counters_show(struct dk_stack *st)
{
    const char *name;
    uint64_t value;
    for (uint32_t i = 0; i < st->num_net; i++)
        if (dk_net_stat(st->net, i, &name, &value) == 0)
            __atomic_store_n(&st->shown[i], value, __ATOMIC_RELAXED);
    const uint64_t *extra = dk_netdev_end(st->dev)->extra.values;
    for (uint32_t i = st->num_net; i < st->num_shown; i++)
        __atomic_store_n(&st->shown[i], extra[i - st->num_net], __ATOMIC_RELAXED);
}

int dk_stack_stat(struct dk_poller *p, size_t index, const char **name, uint64_t *value,
                  const char **text)
{
    struct dk_stack *st = (struct dk_stack *)p;
    *text = NULL;
    if (index == 0) {
        if (dk_lead_try(st->inst)) {
            dk_stack_counters_show(st);
            dk_lead_drop(st->inst);
        }
        *name = device_name;
        *value = 0;
        *text = st->driver;
        return 0;
    }
    if (--index < DK_STACK_STATS_COUNT) {
        *name = stack_names[index];
        *value = __atomic_load_n((uint64_t *)st->stats + index, __ATOMIC_RELAXED);
        return 0;
    }
    index -= DK_STACK_STATS_COUNT;
    if (index < DEV_STATS_COUNT) {
        *name = dev_names[index];
        *value = __atomic_load_n((uint64_t *)st->dev->stats + index, __ATOMIC_RELAXED);
        return 0;
    }
    index -= DEV_STATS_COUNT;
    if (index >= st->num_shown)
        return -ENOENT;
    *name = st->shown_names[index];
    *value = __atomic_load_n(&st->shown[index], __ATOMIC_RELAXED);
    return 0;
}
