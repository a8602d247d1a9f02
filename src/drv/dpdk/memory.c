/* SPDX-License-Identifier: MIT */
/*
 * The heap's regions as external memory of DPDK.
 *
 * Two registrars (mem/region.h): DPDK learns of a region once per process (rte_extmem_register);
 * and each device that reads memory itself has it mapped behind its IOMMU (rte_dev_dma_map), which
 * wants memory that DPDK knows: so the first registrar is added first.
 * Drivers in software are on a bus that maps nothing. The I/O address is the virtual one: where
 * DPDK goes by physical addresses it is told of nothing, and all is copied.
 */
#include "drv/dpdk/port.h"
#include "os/sync.h"

#include <errno.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_memory.h>

#define PAGE 4096u

static struct dk_lock lock;
static uint32_t num_open; /* ports */

static int map(struct dk_registrar *r, void *base, size_t bytes, uint64_t *handle_out)
{
    (void)r;
    if (rte_extmem_register(base, bytes, NULL, 0, PAGE) < 0)
        return -rte_errno;
    *handle_out = (uintptr_t)base;
    return 0;
}

static void unmap(struct dk_registrar *r, void *base, size_t bytes, uint64_t handle)
{
    (void)r, (void)handle;
    rte_extmem_unregister(base, bytes);
}

static struct dk_registrar known = {.name = "dpdk", .map = map, .unmap = unmap};

static int map_dma(struct dk_registrar *r, void *base, size_t bytes, uint64_t *handle_out)
{
    const struct dk_dpdk_port *p = dk_container_of(r, struct dk_dpdk_port, dma);
    if (rte_dev_dma_map(p->device, base, (uintptr_t)base, bytes) < 0 && rte_errno != ENOTSUP)
        return rte_errno ? -rte_errno : -EIO;
    *handle_out = (uintptr_t)base;
    return 0;
}

static void unmap_dma(struct dk_registrar *r, void *base, size_t bytes, uint64_t handle)
{
    const struct dk_dpdk_port *p = dk_container_of(r, struct dk_dpdk_port, dma);
    (void)handle;
    rte_dev_dma_unmap(p->device, base, (uintptr_t)base, bytes); /* or the bus has no such thing */
}

static int open_both(struct dk_dpdk_port *p)
{
    int r = num_open == 0 ? dk_registrar_add(&known) : 0;
    if (r < 0)
        return r;
    p->dma = (struct dk_registrar){.name = "dpdk-dma", .map = map_dma, .unmap = unmap_dma};
    r = dk_registrar_add(&p->dma);
    if (r < 0 && num_open == 0)
        dk_registrar_remove(&known);
    return r;
}

int dk_dpdk_memory_open(struct dk_dpdk_port *p)
{
    if (rte_eal_iova_mode() != RTE_IOVA_VA)
        return -ENOTSUP;
    dk_lock(&lock);
    int r = open_both(p);
    p->knows_heap = r == 0;
    num_open += p->knows_heap;
    dk_unlock(&lock);
    return r;
}

void dk_dpdk_memory_close(struct dk_dpdk_port *p)
{
    if (!p->knows_heap)
        return;
    dk_lock(&lock);
    p->knows_heap = false;
    dk_registrar_remove(&p->dma);
    if (--num_open == 0)
        dk_registrar_remove(&known);
    dk_unlock(&lock);
}

bool dk_dpdk_memory_is_known(const struct dk_dpdk_port *p, const void *at)
{
    const struct dk_dpdk_port *first = p->first;
    return first->knows_heap && dk_region_handle_at(at, &known) != DK_NO_HANDLE &&
           dk_region_handle_at(at, &first->dma) != DK_NO_HANDLE;
}
