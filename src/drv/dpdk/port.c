/* SPDX-License-Identifier: MIT */
/*
 * Opening and closing a port (dpdk.h, port.h).
 */
#include "drv/dpdk/port.h"

#include "drv/dpdk/eal.h"
#include "drv/why.h"
#include "mem/heap.h"
#include "os/entropy.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_FRAMES 512u
#define MAX_FRAMES     8192u
#define MIN_MTU        68u
#define RETRY_NS       300000000 /* between two tries to connect */
#define TSO_BYTES      65535u

#define BOTH_CHECKSUMS_TX (RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM)
#define BOTH_CHECKSUMS_RX (RTE_ETH_RX_OFFLOAD_TCP_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM)
#define CUTS              (RTE_ETH_TX_OFFLOAD_TCP_TSO | RTE_ETH_TX_OFFLOAD_MULTI_SEGS)

/* What is told of a driver by its name: whether it wants frames in memory of its own pools, and
 * whether it has let go of a frame when tx_burst returns; and what it does not do that it says. The
 * others are asked. */
static const struct quirk {
    const char *driver;
    bool own_memory;
    bool at_once;
    bool memif;    /* its rings can be read from here (memif.c) */
    bool cuts_not; /* it says that it cuts segments, and refuses those that fill the MTU */
    bool host_mac; /* its address is that of its other end, the kernel's interface */
    bool link_not; /* its interrupt of the link does not come: that of em, behind MSI-X */
    bool runs_on;  /* after its stop the device receives, until it is closed */
    /* What tx_done_cleanup let go leaves descriptors that will never say that they are done, at
     * which its tx_burst waits for ever. */
    bool cleans_not;
    bool guest; /* its counters are its guest's, freed on a thread of its own when that goes */
} quirks[] = {
    {"net_memif", false, true, true},
    {"net_tap", false, true, .cuts_not = true, .host_mac = true},
    {"net_af_packet", false, true},
    {"net_pcap", false, true},
    {"net_null", false, true},
    {"net_af_xdp", true, false},
    {"net_virtio_user", true, false},
    {"net_vhost", true, false, .guest = true},
    {"net_e1000_em", .link_not = true},
    {"net_e1000_igb", .cleans_not = true},
    {"net_e1000_igb_vf", .cleans_not = true},
    {"net_virtio", .runs_on = true},
};

static bool has_all(uint64_t capabilities, uint64_t wanted)
{
    return (capabilities & wanted) == wanted;
}

/* A client of memif whose server has gone does not look for the next one by itself. The driver's
 * own thread connects, and tidies up behind a server that went: it is given time for that, since a
 * port that is stopped meanwhile is left half connected, or worse. A server takes the next client
 * without that, and must not be stopped while one comes: that is the same thread's work. */
void dk_dpdk_revive(struct dk_dpdk_port *p)
{
    if (!p->restarts || p->now - p->tried_at < RETRY_NS)
        return;
    const bool is_new = p->tried_at == 0 || p->active_at > p->tried_at;
    p->tried_at = p->now;
    if (!is_new)
        dk_dpdk_restart(p);
}

static uint32_t reclaim(struct dk_netdev *dev, int64_t now)
{
    struct dk_dpdk_port *p = dk_dpdk_port_of(dev);
    (void)now;
    if (p->cleans && p->attached > 0 && p->started)
        rte_eth_tx_done_cleanup(p->port, p->queue, 0);
    return p->attached;
}

/* All queues are closed. */
static void close_all(struct dk_dpdk_port *first)
{
    if (first->is_up)
        rte_eth_dev_stop(first->port);
    dk_dpdk_link_close(first);
    if (first->runs_on && first->knows_heap)
        dk_dpdk_bus_off(first);
    dk_dpdk_memory_close(first); /* it unmaps from the device, which is gone after the next line */
    dk_dpdk_drop_port(first->port);
    for (uint32_t i = 0; i < first->num_queues; i++)
        dk_dpdk_pools_close(first->queues[i]);
    dk_dpdk_queues_free(first);
}

static void close_queue(struct dk_netdev *dev)
{
    struct dk_dpdk_port *p = dk_dpdk_port_of(dev);
    for (uint32_t i = 0; i < p->num_ready; i++)
        rte_pktmbuf_free(p->ready[i]);
    dk_dpdk_rx_close(p);
    dk_dpdk_tx_close(p);
    dk_dpdk_memif_forget(p);
    p->num_ready = 0;
    dk_dpdk_sleep_close(p);
    if (dk_dpdk_queue_close(p))
        close_all(p->first);
}

static void abandon(struct dk_netdev *dev)
{
    struct dk_dpdk_port *p = dk_dpdk_port_of(dev);
    dk_dpdk_sleep_close(p);
    if (p->linkfd >= 0)
        close(p->linkfd);
}

#define OPS                                                                                        \
    .name = "dpdk", .rx_burst = dk_dpdk_rx_burst, .tx_burst = dk_dpdk_tx_burst,                    \
    .tx_put = dk_dpdk_tx_put, .tx_flush = dk_dpdk_tx_flush, .reclaim = reclaim,                    \
    .arm = dk_dpdk_arm, .link = dk_dpdk_link, .quiesce = dk_dpdk_quiesce, .close = close_queue,    \
    .abandon = abandon

static const struct dk_netdev_ops ops = {OPS};
/* Of a port that spreads flows as we say. */
static const struct dk_netdev_ops steered_ops = {OPS, .steers_here = dk_dpdk_steers_here};

/* ---- what the port is to do -------------------------------------------------------------------
 */

static const struct quirk *quirk_of(const struct rte_eth_dev_info *info)
{
    static const struct quirk none;
    for (size_t i = 0; i < sizeof(quirks) / sizeof(quirks[0]); i++)
        if (strcmp(quirks[i].driver, info->driver_name) == 0)
            return &quirks[i];
    return &none;
}

/* Chooses how frames are in memory. Whether it cleans is asked when the port runs. */
static void choose_memory(struct dk_dpdk_port *p, const struct rte_eth_dev_info *info,
                          const struct dk_dpdk_options *o)
{
    const struct quirk *quirk = quirk_of(info);
    const bool shared = o->device && strstr(o->device, "zero-copy=yes"); /* memif's */
    const bool may = !o->copy && !shared && !quirk->own_memory && dk_dpdk_memory_open(p) == 0;
    p->segments = has_all(info->tx_offload_capa, RTE_ETH_TX_OFFLOAD_MULTI_SEGS);
    p->segments_max = info->tx_desc_lim.nb_mtu_seg_max ? info->tx_desc_lim.nb_mtu_seg_max : 64;
    p->own_buffers = may;
    p->at_once = quirk->at_once;
    if (quirk->memif)
        dk_dpdk_memif_choose(p, o->device);
    p->restarts = p->memif.role == DK_DPDK_MEMIF_CLIENT;
    p->runs_on = quirk->runs_on;
    p->guest = quirk->guest;
    p->host_mac = quirk->host_mac;
    p->attaches = may && p->segments && quirk->at_once;
    p->cleans = may && p->segments && !quirk->at_once && !quirk->cleans_not;
}

static void choose_offloads(struct dk_dpdk_port *p, const struct rte_eth_dev_info *info,
                            uint32_t wanted, struct rte_eth_conf *conf)
{
    uint64_t *tx = &conf->txmode.offloads, *rx = &conf->rxmode.offloads;
    if (p->segments)
        *tx |= RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
    if (wanted & DK_NETDEV_TX_CHECKSUM && has_all(info->tx_offload_capa, BOTH_CHECKSUMS_TX)) {
        *tx |= BOTH_CHECKSUMS_TX;
        p->dev.caps.flags |= DK_NETDEV_TX_CHECKSUM;
    }
    if (wanted & DK_NETDEV_TSO && has_all(info->tx_offload_capa, CUTS | BOTH_CHECKSUMS_TX) &&
        !quirk_of(info)->cuts_not) {
        p->sums_ip = info->tx_offload_capa & RTE_ETH_TX_OFFLOAD_IPV4_CKSUM;
        *tx |= CUTS | BOTH_CHECKSUMS_TX | (p->sums_ip ? RTE_ETH_TX_OFFLOAD_IPV4_CKSUM : 0);
        p->dev.caps.flags |= DK_NETDEV_TSO;
    }
    if (wanted & DK_NETDEV_RX_CHECKSUM && has_all(info->rx_offload_capa, BOTH_CHECKSUMS_RX)) {
        *rx |= BOTH_CHECKSUMS_RX;
        p->dev.caps.flags |= DK_NETDEV_RX_CHECKSUM;
    }
    if (has_all(info->rx_offload_capa, RTE_ETH_RX_OFFLOAD_SCATTER))
        *rx |= RTE_ETH_RX_OFFLOAD_SCATTER;
}

static int check_mtu(uint32_t wanted, const struct rte_eth_dev_info *info, const char **why_out)
{
    uint32_t most = info->max_mtu;
    if (info->max_rx_pktlen > DK_FRAME_HEADER + RTE_ETHER_CRC_LEN && info->max_rx_pktlen < most)
        most = info->max_rx_pktlen - DK_FRAME_HEADER - RTE_ETHER_CRC_LEN;
    if (wanted != 0 && wanted < MIN_MTU)
        return dk_why(why_out, -EINVAL, "dpdk: an MTU of %u: at least %u", wanted, MIN_MTU);
    if (wanted > most)
        return dk_why(why_out, -EINVAL, "dpdk: an MTU of %u is more than the port can have (%u)",
                      wanted, most);
    return 0;
}

/* The port's MTU is changed only where ours is to be larger: a few drivers have it from their
 * configuration only. */
static int set_mtu(struct dk_dpdk_port *p, uint32_t wanted, uint16_t had, const char **why_out)
{
    uint16_t mtu = had;
    int r = wanted > had ? rte_eth_dev_set_mtu(p->port, (uint16_t)wanted) : 0;
    if (r < 0 && r != -ENOTSUP)
        return dk_why(why_out, r, "dpdk: the port cannot have an MTU of %u (it is %u): %s", wanted,
                      had, strerror(-r));
    rte_eth_dev_get_mtu(p->port, &mtu);
    if (wanted > mtu)
        return dk_why(why_out, -EINVAL, "dpdk: the port cannot have an MTU of %u (it is %u)",
                      wanted, mtu);
    p->dev.caps.mtu = wanted ? wanted : mtu;
    p->frame_max = dk_frame_max(mtu);
    p->whole_max = p->dev.caps.flags & DK_NETDEV_TSO ? dk_frame_max(TSO_BYTES) : p->frame_max;
    return 0;
}

static int configure(struct dk_dpdk_port *p, const struct dk_dpdk_options *o,
                     struct rte_eth_conf *conf, const char **why_out)
{
    struct rte_eth_dev_info info;
    uint16_t mtu = RTE_ETHER_MTU;
    int r = rte_eth_dev_info_get(p->port, &info);
    if (r < 0)
        return dk_why(why_out, r, "dpdk: the port says nothing of itself: %s", strerror(-r));
    r = check_mtu(o->mtu, &info, why_out);
    if (r == 0)
        r = dk_dpdk_queues_check(p, &info, why_out);
    if (r < 0)
        return r;
    rte_eth_dev_get_mtu(p->port, &mtu);
    p->device = info.device;
    conf->rxmode.mtu = o->mtu > mtu ? o->mtu : mtu;
    choose_memory(p, &info, o);
    choose_offloads(p, &info, o->offloads, conf);
    dk_dpdk_rss_choose(p, &info, conf);
    conf->intr_conf.rxq = 1;
    conf->intr_conf.lsc = *info.dev_flags & RTE_ETH_DEV_INTR_LSC && !quirk_of(&info)->link_not;
    r = rte_eth_dev_configure(p->port, p->num_queues, p->num_queues, conf);
    if (r < 0) {
        conf->intr_conf.rxq = 0;
        r = rte_eth_dev_configure(p->port, p->num_queues, p->num_queues, conf);
    }
    p->interrupts = conf->intr_conf.rxq != 0;
    p->link_interrupts = conf->intr_conf.lsc != 0;
    if (r < 0)
        return dk_why(why_out, r, "dpdk: the port cannot be configured: %s", strerror(-r));
    return set_mtu(p, o->mtu, mtu, why_out);
}

static int make_queue(struct dk_dpdk_port *p, const struct dk_dpdk_options *o,
                      const struct rte_eth_conf *conf, const char **why_out)
{
    struct rte_eth_dev_info info;
    uint16_t rx = (uint16_t)(o->ring_frames ? o->ring_frames : DEFAULT_FRAMES), tx = rx;
    rte_eth_dev_info_get(p->port, &info);
    rte_eth_dev_adjust_nb_rx_tx_desc(p->port, &rx, &tx);
    if (dk_dpdk_pools_open(p, (uint32_t)rx + tx, o->rx_pool_bytes) < 0)
        return dk_why(why_out, -ENOMEM,
                      "dpdk: no memory for frames: give EAL more (eal=-m 256), or ask for less "
                      "(pool=, ring=)");
    info.default_rxconf.offloads = conf->rxmode.offloads;
    info.default_txconf.offloads = conf->txmode.offloads;
    int r = rte_eth_rx_queue_setup(p->port, p->queue, rx, SOCKET_ID_ANY, &info.default_rxconf,
                                   p->rx_pool);
    if (r == 0)
        r = rte_eth_tx_queue_setup(p->port, p->queue, tx, SOCKET_ID_ANY, &info.default_txconf);
    return r < 0 ? dk_why(why_out, r, "dpdk: the port has no rings of %u frames: %s", rx,
                          strerror(-r))
                 : 0;
}

static int make_queues(struct dk_dpdk_port *first, const struct dk_dpdk_options *o,
                       const struct rte_eth_conf *conf, const char **why_out)
{
    int r = 0;
    dk_dpdk_queues_share(first);
    for (uint32_t i = 0; r == 0 && i < first->num_queues; i++) {
        first->queues[i]->own_buffers = first->knows_heap;
        r = make_queue(first->queues[i], o, conf, why_out);
    }
    return r;
}

/* ---- addresses --------------------------------------------------------------------------------
 */

static bool is_station(const struct dk_mac *mac)
{
    static const struct dk_mac none;
    return !(mac->bytes[0] & 1) && !dk_mac_equal(mac, &none);
}

/* Some ports in software have none. */
static void make_address(struct dk_mac *mac)
{
    const uint64_t random = dk_entropy_u64();
    memcpy(mac->bytes, &random, sizeof mac->bytes);
    mac->bytes[0] = (uint8_t)((mac->bytes[0] | 2) & ~1);
}

/* Has the port receive what is for us, and for groups: neighbour discovery. Two ends of a link with
 * one address would take each other's frames for their own. */
static void set_addresses(struct dk_dpdk_port *p, const struct dk_dpdk_options *o)
{
    struct dk_mac *mac = &p->dev.caps.mac;
    struct rte_ether_addr address;
    bool all = o->promiscuous;
    if (rte_eth_macaddr_get(p->port, &address) == 0 && !p->host_mac)
        memcpy(mac->bytes, address.addr_bytes, sizeof mac->bytes);
    if (is_station(&o->mac))
        *mac = o->mac;
    if (!is_station(mac))
        make_address(mac);
    if (!p->host_mac && memcmp(mac->bytes, address.addr_bytes, sizeof mac->bytes) != 0) {
        memcpy(address.addr_bytes, mac->bytes, sizeof mac->bytes);
        all |= rte_eth_dev_default_mac_addr_set(p->port, &address) != 0;
    }
    if (all)
        rte_eth_promiscuous_enable(p->port);
    if (rte_eth_allmulticast_enable(p->port) != 0 && !all)
        rte_eth_promiscuous_enable(p->port);
}

static int start(struct dk_dpdk_port *p, const struct dk_dpdk_options *o, const char **why_out)
{
    int r = p->link_interrupts ? dk_dpdk_link_open(p) : 0;
    if (r < 0)
        return dk_why(why_out, r, "dpdk: no descriptor for the link: %s", strerror(-r));
    r = rte_eth_dev_start(p->port);
    if (r < 0)
        return dk_why(why_out, r == -1 ? -ENOTCONN : r,
                      "dpdk: the port does not start (a client of memif needs its server first): "
                      "%s",
                      strerror(r == -1 ? ENOTCONN : -r));
    p->is_up = true;
    set_addresses(p, o);
    p->cleans &= p->own_buffers && rte_eth_tx_done_cleanup(p->port, 0, 0) >= 0;
    p->attaches |= p->cleans;
    if (p->attaches)
        p->dev.caps.flags |= DK_NETDEV_ZERO_COPY;
    rte_eth_stats_get(p->port, &p->last);
    dk_dpdk_counters_open(p);
    dk_dpdk_rss_settle(p);
    if (p->hashed)
        p->dev.ops = &steered_ops;
    dk_dpdk_queues_share(p);
    return 0;
}

static int open_queue(struct dk_dpdk_port *p, const char **why_out)
{
    int r = dk_dpdk_sleep_open(p, p->first->interrupts);
    if (r < 0)
        return dk_why(why_out, r, "dpdk: no descriptor to sleep on: %s", strerror(-r));
    /* Of both flags it is BAD alone, GOOD alone, or both, NONE: the checksum is not in the frame,
     * which never was on a wire (net_virtio). */
    p->checksum_flags = p->dev.caps.flags & DK_NETDEV_RX_CHECKSUM ? RTE_MBUF_F_RX_L4_CKSUM_GOOD : 0;
    p->until_look = 1;
    dk_dpdk_tx_open(p);
    dk_dpdk_queue_open(p);
    return 0;
}

static int set_up(struct dk_dpdk_port *p, const struct dk_dpdk_options *o, const char **why_out)
{
    struct rte_eth_conf conf = {.rxmode = {.mq_mode = RTE_ETH_MQ_RX_NONE}};
    int r = dk_dpdk_queues_make(p, &o->queue);
    if (r < 0)
        return dk_why(why_out, r, "dpdk: no memory for %u queues (at most %u)", o->queue.num,
                      DK_DPDK_QUEUES_MAX);
    r = configure(p, o, &conf, why_out);
    if (r == 0)
        r = make_queues(p, o, &conf, why_out);
    if (r == 0)
        r = start(p, o, why_out);
    return r == 0 ? open_queue(p, why_out) : r;
}

static struct dk_dpdk_port *alloc_port(void)
{
    struct dk_dpdk_port *p = dk_heap_aligned(64, sizeof(*p)); /* freed by dk_dpdk_queues_free */
    if (!p)
        return NULL;
    memset(p, 0, sizeof(*p));
    p->timerfd = p->epfd = p->intrfd = p->linkfd = -1;
    p->dev.ops = &ops;
    p->dev.stats = &p->dev.own_stats;
    p->dev.caps.max_burst = DK_DPDK_BURST;
    return p;
}

static int open_first(struct dk_dpdk_port **p_out, const struct dk_dpdk_options *options,
                      const char **why_out)
{
    int r = dk_dpdk_start(options, why_out);
    if (r < 0)
        return r;
    struct dk_dpdk_port *p = alloc_port();
    if (!p)
        return dk_why(why_out, -ENOMEM, "dpdk: no memory");
    r = dk_dpdk_take_port(options->device, &p->port, why_out);
    if (r < 0) {
        dk_heap_free(p);
        return r;
    }
    r = set_up(p, options, why_out);
    if (r < 0) {
        dk_dpdk_sleep_close(p);
        close_all(p);
        return r;
    }
    *p_out = p;
    return 0;
}

static int open_further(struct dk_dpdk_port **p_out, const struct dk_netdev_queue *queue,
                        const char **why_out)
{
    const struct dk_dpdk_port *first = dk_dpdk_port_of(queue->first);
    if (queue->first->ops->close != close_queue || queue->index >= first->num_queues)
        return dk_why(why_out, -EINVAL, "dpdk: the first queue is of another device");
    *p_out = first->queues[queue->index];
    return open_queue(*p_out, why_out);
}

static int open_port(struct dk_netdev **dev_out, const struct dk_dpdk_options *options,
                     const char **why_out)
{
    struct dk_dpdk_port *p = NULL;
    if (options->ring_frames > MAX_FRAMES)
        return dk_why(why_out, -EINVAL, "dpdk: rings of %u frames: at most %u",
                      options->ring_frames, MAX_FRAMES);
    int r = options->queue.first ? open_further(&p, &options->queue, why_out)
                                 : open_first(&p, options, why_out);
    if (r == 0)
        *dev_out = &p->dev;
    return r;
}

const struct dk_dpdk_driver dk_dpdk_driver = {.open = open_port};
