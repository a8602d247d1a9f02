/* SPDX-License-Identifier: MIT */
/*
 * The raw loop over a memif (memif.h): what any program over a port of DPDK has to do. A frame that
 * was received is sent as it is, but for its addresses, and its number at who asks.
 */
#include "memif.h"

#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_ether.h>
#include <rte_mbuf.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FRAMES     512
#define POOL       4095
#define CACHE      256
#define PATIENCE_S 10

/* EAL, with the arguments that the library is given, too. */
static void start_eal(const char *role, const char *socket)
{
    static char text[512];
    char *words[32], *rest = text;
    int num = 0;
    const char *memory = getenv("MEMIF_EAL");
    snprintf(text, sizeof(text),
             "memif-echo %s --no-pci --no-telemetry --log-level=*:4 --iova-mode=va --lcores=0@%d "
             "--vdev=net_memif0,role=%s,id=0,socket=%s",
             memory ? memory : "", sched_getcpu(), role, socket);
    while (num < 31 && (words[num] = strsep(&rest, " ")) != NULL)
        num++;
    memif_must(rte_eal_init(num, words) >= 0, "no EAL");
    memif_must(rte_eth_dev_count_avail() == 1, "no memif");
}

static struct rte_mempool *open_port(const char *role, const char *socket)
{
    const struct rte_eth_conf conf = {0};
    start_eal(role, socket);
    struct rte_mempool *pool =
        rte_pktmbuf_pool_create("raw", POOL, CACHE, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
    memif_must(pool && rte_eth_dev_configure(0, 1, 1, &conf) == 0 &&
                   rte_eth_rx_queue_setup(0, 0, FRAMES, SOCKET_ID_ANY, NULL, pool) == 0 &&
                   rte_eth_tx_queue_setup(0, 0, FRAMES, SOCKET_ID_ANY, NULL) == 0 &&
                   rte_eth_dev_start(0) == 0,
               "the port does not start");
    return pool;
}

static void await_link(void)
{
    struct rte_eth_link link = {0};
    const time_t begun = time(NULL);
    while (rte_eth_link_get_nowait(0, &link), link.link_status != RTE_ETH_LINK_UP)
        memif_must(time(NULL) - begun < PATIENCE_S, "no link");
}

static void swap_addresses(struct rte_mbuf *m)
{
    struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m, void *);
    const struct rte_ether_addr to = eth->src_addr;
    eth->src_addr = eth->dst_addr;
    eth->dst_addr = to;
}

static void send_one(struct rte_mbuf *m)
{
    memif_must(rte_eth_tx_burst(0, 0, &m, 1) == 1, "a frame was not sent");
}

static struct rte_mbuf *receive_one(void)
{
    struct rte_mbuf *m;
    while (rte_eth_rx_burst(0, 0, &m, 1) == 0)
        ;
    return m;
}

void memif_raw_serve(const char *socket)
{
    open_port("server", socket);
    memif_ready();
    await_link();
    for (;;) {
        struct rte_mbuf *m = receive_one();
        swap_addresses(m);
        send_one(m);
    }
}

void memif_raw_ask(const char *socket, uint32_t frame_bytes)
{
    struct rte_mempool *pool = open_port("client", socket);
    const uint32_t at = frame_bytes - MEMIF_BYTES; /* of the message, behind what are headers */
    struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
    await_link();
    memif_must(m && frame_bytes >= sizeof(struct rte_ether_hdr) + MEMIF_BYTES, "no frame");
    memset(rte_pktmbuf_append(m, (uint16_t)frame_bytes), 2, frame_bytes);
    do {
        memif_number(0, rte_pktmbuf_mtod_offset(m, void *, at));
        swap_addresses(m);
        send_one(m);
        m = receive_one();
        memif_check(0, rte_pktmbuf_mtod_offset(m, void *, at), m->pkt_len - at);
    } while (memif_count());
}
