/* SPDX-License-Identifier: MIT */
/*
 * What the port counts itself: frames that never reached us; and its own counters (xstats), with
 * the state of its link, which are read once in a second, or when the link has an interrupt: a NIC
 * may be slow to tell.
 */
#include "drv/dpdk/port.h"

#include "mem/heap.h"
#include "os/log.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define EVERY_NS   1000000000
#define NAMES_MAX  512u /* of all ports that a process ever has */
#define NAME_BYTES 72u
#define XSTATS_MAX 16384

enum { LINK_UP, LINK_CHANGES, LINK_INTERRUPTS, NUM_OURS };

/* A name that stays, or NULL: there is no room for more. */
static const char *keep_name(const char *name)
{
    static struct dk_lock lock;
    static char names[NAMES_MAX][NAME_BYTES];
    char wanted[NAME_BYTES];
    uint32_t i = 0;
    snprintf(wanted, sizeof wanted, "port.%s", name);
    dk_lock(&lock);
    while (i < NAMES_MAX && names[i][0] && strcmp(names[i], wanted) != 0)
        i++;
    if (i < NAMES_MAX && !names[i][0])
        memcpy(names[i], wanted, sizeof wanted);
    dk_unlock(&lock);
    return i < NAMES_MAX ? names[i] : NULL;
}

static void add_counter(struct dk_dpdk_port *p, const char *name, uint64_t id)
{
    const char *kept = p->num_counters < DK_DPDK_COUNTERS ? keep_name(name) : NULL;
    if (!kept)
        return;
    p->counter_names[p->num_counters] = kept;
    p->xstat_ids[p->num_counters++] = id;
}

/* Those of one queue would leave no room for others; each worker counts its frames. */
static bool is_of_queue(const char *name)
{
    return (strncmp(name, "rx_q", 4) == 0 || strncmp(name, "tx_q", 4) == 0) &&
           isdigit((unsigned char)name[4]);
}

static void add_xstats(struct dk_dpdk_port *p)
{
    const int n = rte_eth_xstats_get_names(p->port, NULL, 0);
    if (n <= 0 || n > XSTATS_MAX)
        return;
    struct rte_eth_xstat_name *names = dk_heap_zalloc((size_t)n * sizeof *names); /* freed below */
    if (!names)
        return;
    const int got = rte_eth_xstats_get_names(p->port, names, (unsigned)n);
    for (int i = 0; i < got && i < n; i++)
        if (!is_of_queue(names[i].name))
            add_counter(p, names[i].name, (uint64_t)i);
    dk_heap_free(names);
}

/* Reads the state of the link, and the driver's counters. */
static void read_counters(struct dk_dpdk_port *p)
{
    const uint64_t up = dk_dpdk_link(&p->dev) == DK_LINK_UP;
    p->counted_at = p->now;
    if (up != p->counters[LINK_UP]) {
        p->counters[LINK_UP] = up;
        p->counters[LINK_CHANGES]++;
        dk_log(DK_LOG_INFO, "dpdk: the link of port %u is %s", p->port, up ? "up" : "down");
    }
    if (p->num_counters > NUM_OURS && (up || !p->guest))
        rte_eth_xstats_get_by_id(p->port, p->xstat_ids + NUM_OURS, p->counters + NUM_OURS,
                                 p->num_counters - NUM_OURS);
}

void dk_dpdk_counters_open(struct dk_dpdk_port *p)
{
    add_counter(p, "link_up", 0);
    add_counter(p, "link_changes", 0);
    add_counter(p, "link_interrupts", 0);
    if (p->num_counters < NUM_OURS) {
        p->num_counters = 0;
        return;
    }
    p->counters[LINK_UP] = dk_dpdk_link(&p->dev) == DK_LINK_UP;
    add_xstats(p);
    read_counters(p);
    p->dev.extra = (struct dk_netdev_extra){p->num_counters, p->counter_names, p->counters};
}

void dk_dpdk_count(struct dk_dpdk_port *p)
{
    struct rte_eth_stats now;
    dk_dpdk_revive(p);
    dk_dpdk_join(p);
    dk_dpdk_memif_look(p);
    if (p->queue != 0)
        return;
    const uint64_t interrupts = dk_dpdk_link_interrupts(p);
    p->counters[LINK_INTERRUPTS] += interrupts;
    if (p->num_counters > 0 && (interrupts > 0 || p->now - p->counted_at >= EVERY_NS))
        read_counters(p);
    if (rte_eth_stats_get(p->port, &now) != 0)
        return;
    const uint64_t missed = now.imissed - p->last.imissed;
    const uint64_t starved = now.rx_nombuf - p->last.rx_nombuf;
    const uint64_t damaged = now.ierrors - p->last.ierrors;
    if (missed > 0)
        dk_frame_drop_rx(&p->dev, rx_ring_full, missed);
    if (starved > 0)
        dk_frame_drop_rx(&p->dev, rx_no_memory, starved);
    if (damaged > 0)
        dk_frame_drop_rx(&p->dev, rx_damaged, damaged);
    p->last = now;
}
