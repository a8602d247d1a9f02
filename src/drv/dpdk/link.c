/* SPDX-License-Identifier: MIT */
/*
 * The state of the link.
 *
 * Where the driver has an interrupt for it, that is told on a thread of EAL's: it notes so, and
 * wakes who sleeps in the first queue, which looks when it is armed again. Then DPDK answers by
 * what the interrupt said, so a driver whose interrupt never comes must not be believed. Elsewhere
 * the state is read once in a second by who is awake (stats.c).
 */
#include "drv/dpdk/port.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum dk_link dk_dpdk_link(struct dk_netdev *dev)
{
    struct rte_eth_link link = {.link_status = RTE_ETH_LINK_DOWN};
    rte_eth_link_get_nowait(dk_dpdk_port_of(dev)->port, &link);
    return link.link_status == RTE_ETH_LINK_UP ? DK_LINK_UP : DK_LINK_DOWN;
}

/* rte_eth_dev_cb_fn: nothing of the port but its descriptor is touched. */
static int note(uint16_t port, enum rte_eth_event_type type, void *first, void *result)
{
    (void)port, (void)type, (void)result;
    eventfd_write(((const struct dk_dpdk_port *)first)->linkfd, 1);
    return 0;
}

int dk_dpdk_link_open(struct dk_dpdk_port *first)
{
    first->linkfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (first->linkfd < 0)
        return -errno;
    const int r = rte_eth_dev_callback_register(first->port, RTE_ETH_EVENT_INTR_LSC, note, first);
    if (r < 0) {
        close(first->linkfd);
        first->linkfd = -1;
    }
    return r;
}

void dk_dpdk_link_close(struct dk_dpdk_port *first)
{
    if (first->linkfd < 0)
        return;
    while (rte_eth_dev_callback_unregister(first->port, RTE_ETH_EVENT_INTR_LSC, note, first) ==
           -EAGAIN)
        continue; /* it runs: for a moment */
    close(first->linkfd);
    first->linkfd = -1;
}

uint64_t dk_dpdk_link_interrupts(const struct dk_dpdk_port *first)
{
    eventfd_t times = 0;
    if (dk_likely(first->linkfd < 0) || eventfd_read(first->linkfd, &times) < 0)
        return 0;
    return times;
}
