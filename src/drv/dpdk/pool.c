/* SPDX-License-Identifier: MIT */
/*
 * Pools of mbufs (port.h).
 */
#include "drv/dpdk/port.h"
#include "mem/heap.h"

#include <errno.h>
#include <rte_errno.h>
#include <stdio.h>

#define CACHE     256u  /* of a thread that EAL knows */
#define TX_SPARE  1024u /* mbufs beside those in the ring of the port */
#define EXT_MBUFS 4096u
#define ROOM_MIN  2048u /* what NICs have as the smallest piece that holds a frame */
#define RX_MIN    256u  /* mbufs beside those in the ring of the port */

static struct rte_mempool *make(struct dk_dpdk_port *p, const char *what, uint32_t n, uint16_t priv,
                                uint32_t room)
{
    char name[RTE_MEMPOOL_NAMESIZE];
    snprintf(name, sizeof name, "demi_%s_%u_%u", what, p->port, p->queue);
    return rte_pktmbuf_pool_create(name, n, CACHE, priv, (uint16_t)room, SOCKET_ID_ANY);
}

static bool alloc_bufs(struct dk_dpdk_port *p, uint32_t n, uint32_t room)
{
    p->bufs = dk_heap_zalloc(n * sizeof(*p->bufs)); /* freed by dk_dpdk_pools_close */
    if (!p->bufs)
        return false;
    for (; p->num_bufs < n; p->num_bufs++) {
        struct dk_buf *buf = dk_buf_alloc_device(DK_FRAME_PAD + room, DK_BUF_PEER_BYTES);
        if (!buf)
            return false;
        p->bufs[p->num_bufs] = buf;
        if (!dk_dpdk_memory_is_known(p, buf->memory))
            return false;
    }
    return true;
}

/* Ties an mbuf to the buffer that it was made with: the pool has them in one order. */
static void tie(struct rte_mempool *pool, void *arg, void *obj, unsigned index)
{
    struct dk_dpdk_port *p = arg;
    struct rte_mbuf *m = obj;
    struct dk_dpdk_rx_priv *priv = rte_mbuf_to_priv(m);
    (void)pool;
    priv->buf = m->buf_addr == p->bufs[index]->memory + DK_FRAME_PAD ? p->bufs[index] : NULL;
    p->own_buffers &= priv->buf != NULL;
}

static bool make_pinned(struct dk_dpdk_port *p, uint32_t n, uint32_t room)
{
    char name[RTE_MEMPOOL_NAMESIZE];
    struct rte_pktmbuf_extmem *parts = dk_heap_zalloc(n * sizeof(*parts)); /* freed below */
    if (!parts)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        uint8_t *at = p->bufs[i]->memory + DK_FRAME_PAD;
        parts[i] = (struct rte_pktmbuf_extmem){at, (uintptr_t)at, room, (uint16_t)room};
    }
    snprintf(name, sizeof name, "demi_rx_%u_%u", p->port, p->queue);
    p->rx_pool = rte_pktmbuf_pool_create_extbuf(name, n, CACHE, sizeof(struct dk_dpdk_rx_priv),
                                                (uint16_t)room, SOCKET_ID_ANY, parts, n);
    dk_heap_free(parts);
    p->own_buffers = p->rx_pool != NULL;
    if (p->rx_pool)
        rte_mempool_obj_iter(p->rx_pool, tie, p);
    return p->own_buffers;
}

static void free_bufs(struct dk_dpdk_port *p)
{
    for (uint32_t i = 0; i < p->num_bufs; i++)
        dk_buf_give_up(p->bufs[i]);
    if (p->bufs)
        dk_heap_free(p->bufs);
    p->bufs = NULL;
    p->num_bufs = 0;
}

static void free_pool(struct rte_mempool **pool)
{
    rte_mempool_free(*pool); /* NULL is allowed */
    *pool = NULL;
}

static bool open_rx(struct dk_dpdk_port *p, uint32_t n, uint32_t room)
{
    if (p->own_buffers && alloc_bufs(p, n, room) && make_pinned(p, n, room)) {
        p->out = dk_heap_zalloc(n * sizeof(struct rte_mbuf *)); /* freed by dk_dpdk_pools_close */
        p->out_max = n / 2;
        p->own_pool = p->rx_pool;
        return p->out != NULL;
    }
    p->own_buffers = false;
    free_pool(&p->rx_pool);
    free_bufs(p);
    p->rx_pool = make(p, "rx", n, 0, room);
    return p->rx_pool != NULL;
}

int dk_dpdk_pools_open(struct dk_dpdk_port *p, uint32_t frames, size_t rx_bytes)
{
    const uint32_t bytes = p->frame_max > ROOM_MIN ? (p->frame_max + 63) & ~63u : ROOM_MIN;
    const uint32_t room = RTE_PKTMBUF_HEADROOM + bytes;
    const size_t pool_bytes = rx_bytes ? rx_bytes : DK_FRAME_POOL_BYTES;
    uint32_t n = (uint32_t)(pool_bytes / room);
    p->room = bytes;
    if (n < frames + RX_MIN)
        n = frames + RX_MIN;
    if (!dk_frame_slab_open(&p->slab, rx_bytes, p->frame_max) || !open_rx(p, n, room))
        return -ENOMEM;
    p->tx_pool = make(p, "tx", frames + TX_SPARE, 0, room);
    p->ext_pool = make(p, "ext", EXT_MBUFS, sizeof(struct dk_dpdk_ext_priv), 0);
    return p->tx_pool && p->ext_pool ? 0 : -ENOMEM;
}

void dk_dpdk_pools_close(struct dk_dpdk_port *p)
{
    free_bufs(p);
    if (p->out)
        dk_heap_free(p->out);
    p->own_pool = NULL;
    free_pool(&p->rx_pool);
    free_pool(&p->tx_pool);
    free_pool(&p->ext_pool);
    dk_frame_slab_close(&p->slab);
}
