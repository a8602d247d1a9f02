/* SPDX-License-Identifier: MIT */
/*
 * rte_eth_rx_burst and rte_eth_tx_burst of a queue, for the path that every packet takes.
 *
 * DPDK's are inline functions that find the port's place in a table and keep the numbers of port
 * and queue, in registers that are saved, for callbacks that nobody has added. These know the place
 * (dk_dpdk_port.fast), and read the numbers again for a callback: 15 instructions less to receive,
 * 11 to send. They neither check their arguments nor have DPDK's points of trace.
 */
#ifndef DK_DRV_DPDK_BURST_H
#define DK_DRV_DPDK_BURST_H

#include "base/compiler.h"
#include "drv/dpdk/port.h"

#include <rte_ethdev.h>

/* There are callbacks: of tracers, mostly. Returns how many frames they leave. */
uint16_t dk_dpdk_receive_called(struct dk_dpdk_port *p, uint16_t n, uint16_t max);
uint16_t dk_dpdk_send_called(const struct dk_dpdk_port *p, struct rte_mbuf *mbufs[], uint16_t n);

/* Receives to `came`. */
static inline uint16_t dk_dpdk_receive(struct dk_dpdk_port *p, uint16_t max)
{
    const uint16_t n = p->fast->rx_pkt_burst(*p->rx_place, p->came, max);
    if (dk_unlikely(__atomic_load_n(p->rx_called, __ATOMIC_RELAXED) != NULL))
        return dk_dpdk_receive_called(p, n, max);
    return n;
}

static inline uint16_t dk_dpdk_send(const struct dk_dpdk_port *p, struct rte_mbuf *mbufs[],
                                    uint16_t n)
{
    if (dk_unlikely(__atomic_load_n(p->tx_called, __ATOMIC_RELAXED) != NULL))
        return dk_dpdk_send_called(p, mbufs, n);
    return p->fast->tx_pkt_burst(*p->tx_place, mbufs, n);
}

#endif /* DK_DRV_DPDK_BURST_H */
