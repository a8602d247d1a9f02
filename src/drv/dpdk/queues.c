/* SPDX-License-Identifier: MIT */
/*
 * The queues of a port: one for each worker, all made with the first, because DPDK wants to know
 * them before a port starts.
 *
 * Where the driver has RSS, flows are spread by the Toeplitz hash with the symmetric key, and a
 * table of our making (RETA): over the queues that are open, in order. Elsewhere whoever sends to
 * the port chooses the queue (memif, rings), or the driver.
 *
 * A memif has as many queues as its client: a server with fewer does not take it, and one with more
 * has some that lead nowhere. The driver (DPDK 22.11) takes no notice of that: it reads and writes
 * where a ring of theirs was before, or the first ring, beside the thread whose ring that is. So a
 * queue behind the first is used only when the link is up and the rings were counted (memif.c).
 *
 * A port that is to be started anew, because its peer went, must not be in use meanwhile. Each
 * queue finds out by itself that the link is down, and rests; the last one starts the port, and the
 * others go on when they see that (`num_starts`). `lock` of the first queue guards all of that, and
 * which are open.
 *
 * Where the process ends without close, the last queue that becomes quiet stops a port in hardware.
 * Not every device is reset when its descriptor is closed: one that still receives would write, as
 * soon as another process has opened it, where this one had its rings.
 */
#include "drv/dpdk/port.h"

#include "base/bytes.h"
#include "base/toeplitz.h"
#include "drv/dpdk/eal.h"
#include "drv/why.h"
#include "mem/heap.h"
#include "os/log.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#define HASHED                                                                                     \
    (RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_NONFRAG_IPV4_UDP | RTE_ETH_RSS_NONFRAG_IPV6_TCP |  \
     RTE_ETH_RSS_NONFRAG_IPV6_UDP)

#define RETA_MAX RTE_ETH_RSS_RETA_SIZE_512

#define LAST_FRAMES_US 1000 /* the frames of a ring, at 10 Gb/s, take less */
#define UNANSWERED     3u   /* starts, after which a client of memif says so */

int dk_dpdk_queues_make(struct dk_dpdk_port *first, const struct dk_netdev_queue *queue)
{
    first->first = first->queues[0] = first;
    first->num_queues = 1;
    if (queue->num > DK_DPDK_QUEUES_MAX)
        return -EINVAL;
    for (uint16_t i = 1; i < queue->num; i++) {
        struct dk_dpdk_port *q = dk_heap_aligned(64, sizeof(*q)); /* freed by dk_dpdk_queues_free */
        if (!q)
            return -ENOMEM;
        *q = *first;
        q->queue = i;
        q->dev.stats = &q->dev.own_stats;
        first->queues[i] = q;
        first->num_queues++;
    }
    return 0;
}

void dk_dpdk_queues_free(struct dk_dpdk_port *first)
{
    for (uint32_t i = first->num_queues; i-- > 1;)
        dk_heap_free(first->queues[i]);
    dk_heap_free(first);
}

void dk_dpdk_queues_share(struct dk_dpdk_port *first)
{
    for (uint32_t i = 1; i < first->num_queues; i++) {
        struct dk_dpdk_port *q = first->queues[i];
        q->dev.caps = first->dev.caps;
        q->dev.ops = first->dev.ops;
        q->device = first->device;
        q->attaches = first->attaches;
        q->at_once = first->at_once;
        q->cleans = first->cleans;
        q->segments = first->segments;
        q->sums_ip = first->sums_ip;
        q->restarts = first->restarts;
        q->memif.role = first->memif.role;
        q->memif.in_heap = first->memif.in_heap;
        q->segments_max = first->segments_max;
        q->frame_max = first->frame_max;
        q->whole_max = first->whole_max;
    }
}

int dk_dpdk_queues_check(const struct dk_dpdk_port *p, const struct rte_eth_dev_info *info,
                         const char **why_out)
{
    const uint32_t rx = info->max_rx_queues, tx = info->max_tx_queues, most = rx < tx ? rx : tx;
    if (p->num_queues <= 1 || p->num_queues <= most)
        return 0;
    return dk_why(why_out, -ENOTSUP,
                  "dpdk: the port has %u queues, and each worker needs one: set workers to at most "
                  "that",
                  most);
}

/* The wish, in memory of the port. */
static struct rte_eth_rss_conf wish(struct dk_dpdk_port *p, uint32_t len)
{
    for (uint32_t i = 0; i < sizeof(p->key); i++)
        p->key[i] = dk_toeplitz_symmetric[i % 2];
    return (struct rte_eth_rss_conf){
        .rss_key = p->key, .rss_key_len = (uint8_t)len, .rss_hf = p->hashed};
}

static uint32_t key_bytes(const struct rte_eth_dev_info *info)
{
    return info->hash_key_size ? info->hash_key_size : DK_TOEPLITZ_KEY_BYTES;
}

void dk_dpdk_rss_choose(struct dk_dpdk_port *p, const struct rte_eth_dev_info *info,
                        struct rte_eth_conf *conf)
{
    const uint32_t len = key_bytes(info);
    if (p->num_queues <= 1 || len < DK_TOEPLITZ_KEY_BYTES || len > DK_DPDK_KEY_MAX)
        return;
    p->hashed = info->flow_type_rss_offloads & HASHED;
    if (p->hashed == 0)
        return;
    conf->rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    conf->rx_adv_conf.rss_conf = wish(p, len);
    if (info->reta_size <= RETA_MAX)
        p->reta_size = info->reta_size;
}

/* Some drivers heed the key only when it is changed, others have one that stays: it is read back.
 * Those that cannot tell are not asked to change it, of which they would write a line. */
void dk_dpdk_rss_settle(struct dk_dpdk_port *p)
{
    struct rte_eth_dev_info info;
    if (p->hashed == 0 || rte_eth_dev_info_get(p->port, &info) < 0)
        return;
    struct rte_eth_rss_conf conf = wish(p, key_bytes(&info));
    if (rte_eth_dev_rss_hash_conf_get(p->port, &conf) == 0) {
        conf = wish(p, key_bytes(&info));
        rte_eth_dev_rss_hash_update(p->port, &conf);
    }
    if (rte_eth_dev_rss_hash_conf_get(p->port, &conf) != 0)
        p->hashed = 0; /* nobody knows how flows are spread */
}

/* Spreads flows over the queues that are open. Without a table the driver's stays, over all. */
static void spread(struct dk_dpdk_port *first)
{
    struct rte_eth_rss_reta_entry64 table[RETA_MAX / RTE_ETH_RETA_GROUP_SIZE];
    uint16_t open[DK_DPDK_QUEUES_MAX], n = 0;
    if (first->reta_size == 0)
        return;
    for (uint16_t i = 0; i < first->num_queues; i++)
        if (first->queues[i]->is_open)
            open[n++] = i;
    for (uint32_t i = 0; i < first->reta_size; i++) {
        table[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE] = open[i % n];
        table[i / RTE_ETH_RETA_GROUP_SIZE].mask = UINT64_MAX;
    }
    if (rte_eth_dev_rss_reta_update(first->port, table, first->reta_size) != 0)
        first->reta_size = 0;
}

/* Of a queue that is not started: nothing comes, and nothing is taken. */
static uint16_t move_none(void *queue, struct rte_mbuf *mbufs[], uint16_t n)
{
    (void)queue;
    (void)mbufs;
    (void)n;
    return 0;
}

static void *no_queues[RTE_MAX_QUEUES_PER_PORT];
static const struct rte_eth_fp_ops not_started = {
    .rx_pkt_burst = move_none,
    .rxq = {.data = no_queues, .clbk = no_queues},
    .tx_pkt_burst = move_none,
    .txq = {.data = no_queues, .clbk = no_queues},
};

/* Started: by who has started the port, as its places are known from then on. */
static void set_started(struct dk_dpdk_port *q, bool started)
{
    q->started = started && q->is_joined;
    q->fast = q->started ? &rte_eth_fp_ops[q->port] : &not_started;
    q->rx_place = &q->fast->rxq.data[q->queue];
    q->rx_called = &q->fast->rxq.clbk[q->queue];
    q->tx_place = &q->fast->txq.data[q->queue];
    q->tx_called = &q->fast->txq.clbk[q->queue];
}

/* Whether the other end has it; where that cannot be told it is said, and taken for granted. */
static bool has_other_end(const struct dk_dpdk_port *q)
{
    const uint32_t num = dk_dpdk_memif_queues();
    if (num == 0)
        dk_log(DK_LOG_WARN,
               "dpdk: how many queues the other end of the memif has is not known: it must be %u, "
               "or frames get lost",
               q->first->num_queues);
    else if (q->queue >= num)
        dk_log(DK_LOG_ERROR,
               "dpdk: the other end of the memif has fewer queues (%u) than this one (%u): worker "
               "%u reaches nobody: give both ends as many workers",
               num, q->first->num_queues, q->queue);
    return num == 0 || q->queue < num;
}

void dk_dpdk_join(struct dk_dpdk_port *q)
{
    if (q->queue == 0 || q->memif.role == DK_DPDK_MEMIF_NOT)
        return;
    const bool is_up = dk_dpdk_link(&q->dev) == DK_LINK_UP;
    if (is_up == (q->is_joined || q->is_alone))
        return;
    q->is_joined = is_up && has_other_end(q);
    q->is_alone = is_up && !q->is_joined;
    set_started(q, !q->rests);
}

void dk_dpdk_queue_open(struct dk_dpdk_port *q)
{
    struct dk_dpdk_port *first = q->first;
    dk_lock(&first->lock);
    q->is_open = true;
    first->num_open++;
    q->starts = first->num_starts;
    q->rests = first->num_resting > 0;
    q->is_joined = q->queue == 0 || q->memif.role == DK_DPDK_MEMIF_NOT;
    set_started(q, !q->rests);
    first->num_resting += q->rests;
    spread(first);
    dk_unlock(&first->lock);
    dk_dpdk_join(q);
}

bool dk_dpdk_queue_close(struct dk_dpdk_port *q)
{
    struct dk_dpdk_port *first = q->first;
    dk_lock(&first->lock);
    if (q->is_open) {
        q->is_open = false;
        set_started(q, false);
        first->num_open--;
        first->num_resting -= q->rests && q->starts == first->num_starts;
        first->num_quiet -= q->is_quiet;
        if (first->num_open > 0)
            spread(first);
    }
    const bool last = first->num_open == 0;
    dk_unlock(&first->lock);
    return last;
}

static bool is_hashed(const struct dk_dpdk_port *first, const struct dk_flow *flow)
{
    const bool tcp = flow->protocol == IPPROTO_TCP;
    if (flow->local.version == 4)
        return first->hashed & (tcp ? RTE_ETH_RSS_NONFRAG_IPV4_TCP : RTE_ETH_RSS_NONFRAG_IPV4_UDP);
    return first->hashed & (tcp ? RTE_ETH_RSS_NONFRAG_IPV6_TCP : RTE_ETH_RSS_NONFRAG_IPV6_UDP);
}

/* Of what comes of a flow. */
static uint32_t hash_of(const struct dk_dpdk_port *first, const struct dk_flow *flow)
{
    const uint32_t bytes = flow->local.version == 4 ? 4 : 16;
    uint8_t input[36];
    memcpy(input, flow->remote.bytes, bytes);
    memcpy(input + bytes, flow->local.bytes, bytes);
    dk_put_be16(input + 2 * bytes, flow->remote_port);
    dk_put_be16(input + 2 * bytes + 2, flow->local_port);
    return dk_toeplitz(first->key, input, 2 * bytes + 4);
}

/* What is not hashed has the first entry of the table. */
bool dk_dpdk_steers_here(struct dk_netdev *dev, const struct dk_flow *flow)
{
    const struct dk_dpdk_port *p = dk_dpdk_port_of(dev), *first = p->first;
    if (!is_hashed(first, flow))
        return p->queue == 0;
    const uint32_t hash = hash_of(first, flow);
    return (first->reta_size ? hash % first->reta_size : hash) % first->num_queues == p->queue;
}

/* A server that does not want a client takes its connection, and closes it. */
static void count_unanswered(struct dk_dpdk_port *first)
{
    first->num_unanswered = first->is_up ? first->num_unanswered + 1 : 0;
    if (first->num_unanswered == UNANSWERED)
        dk_log(DK_LOG_ERROR,
               "dpdk: the server of the memif does not take this client: it has another one, none "
               "of this id and secret, or fewer queues than this end (%u): give both ends as many "
               "workers",
               first->num_queues);
}

/* The last one that rests starts the port; the lock is held. */
static void restart(struct dk_dpdk_port *first)
{
    count_unanswered(first);
    if (first->is_up && rte_eth_dev_stop(first->port) != 0)
        return;
    first->is_up = rte_eth_dev_start(first->port) == 0;
    if (!first->is_up)
        return;
    first->num_starts++;
    first->num_resting = 0;
}

void dk_dpdk_restart(struct dk_dpdk_port *q)
{
    struct dk_dpdk_port *first = q->first;
    const bool is_up = dk_dpdk_link(&q->dev) == DK_LINK_UP;
    dk_lock(&first->lock);
    if (is_up)
        first->num_unanswered = 0;
    if (!q->rests && !is_up) {
        q->rests = true;
        set_started(q, false);
        q->starts = first->num_starts;
        first->num_resting++;
    }
    if (q->rests && q->starts == first->num_starts && first->num_resting == first->num_open)
        restart(first);
    if (q->rests && q->starts != first->num_starts) {
        q->rests = false;
        set_started(q, true);
    }
    dk_unlock(&first->lock);
}

void dk_dpdk_quiesce(struct dk_netdev *dev)
{
    struct dk_dpdk_port *q = dk_dpdk_port_of(dev), *first = q->first;
    if (!dk_dpdk_is_hardware(first))
        return;
    dk_lock(&first->lock);
    if (q->is_open && !q->is_quiet) {
        q->is_quiet = true;
        set_started(q, false);
        first->num_quiet++;
    }
    if (first->is_up && first->num_quiet == first->num_open) {
        usleep(LAST_FRAMES_US);
        rte_eth_dev_stop(first->port);
        if (first->runs_on)
            dk_dpdk_close_port(first->port);
        first->is_up = false;
    }
    dk_unlock(&first->lock);
}
