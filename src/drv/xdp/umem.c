/* SPDX-License-Identifier: MIT */
/*
 * The memory that the kernel reads and writes (state.h).
 */
#include "drv/xdp/state.h"
#include "mem/heap.h"

#include <errno.h>

#define UMEM_BYTES     ((size_t)32 << 20)
#define OWN_BYTES      ((size_t)2 << 20) /* all that dk_heap_reserve gives */
#define APP_BYTES      ((size_t)4 << 20) /* for elements of the application, at least */
#define CHUNK_BYTES    2048u
#define CHUNK_MAX      4096u /* a page: the most that the kernel allows */
#define IDS_FOR_PIECES 1024u

/* The kernel pins what it is given, once. All that the heap has to do is to leave the pages where
 * they are: no region is given a handle. */
static int map(struct dk_registrar *r, void *base, size_t bytes, uint64_t *handle_out)
{
    (void)r, (void)base, (void)bytes;
    *handle_out = DK_NO_HANDLE;
    return 0;
}

static void unmap(struct dk_registrar *r, void *base, size_t bytes, uint64_t handle)
{
    (void)r, (void)base, (void)bytes, (void)handle;
}

static int reserve(struct dk_xdp_port *p, const struct dk_xdp_options *o, size_t rx_bytes)
{
    size_t bytes = o->umem_bytes ? o->umem_bytes : UMEM_BYTES;
    const size_t need = OWN_BYTES + rx_bytes + rx_bytes / 8 + APP_BYTES;
    if (bytes < need)
        bytes = need;
    p->pin = (struct dk_registrar){.name = "xdp", .map = map, .unmap = unmap};
    int r = dk_registrar_add(&p->pin);
    if (r < 0)
        return r;
    r = dk_heap_reserve(bytes, OWN_BYTES, &p->umem, &p->umem_bytes);
    if (r < 0)
        dk_registrar_remove(&p->pin);
    else
        p->own_bytes = OWN_BYTES;
    return r;
}

static bool is_in(const struct dk_xdp_port *p, const uint8_t *at, uint32_t len)
{
    const size_t offset = (size_t)((uintptr_t)at - (uintptr_t)p->umem);
    return offset < p->umem_bytes && len <= p->umem_bytes - offset;
}

/* Allocates buffers that lie in the UMEM: free places elsewhere are filled on the way, and given
 * back. */
static bool alloc_bufs(struct dk_xdp_port *p, uint32_t n)
{
    struct dk_buf *elsewhere = NULL, *buf;
    while (p->num_bufs < n && (buf = dk_buf_alloc_device(p->chunk_bytes, 0)) != NULL) {
        if (is_in(p, buf->memory, p->chunk_bytes)) {
            p->bufs[p->num_bufs++] = buf;
            continue;
        }
        buf->more = elsewhere;
        elsewhere = buf;
    }
    while ((buf = elsewhere) != NULL) {
        elsewhere = buf->more;
        buf->more = NULL;
        dk_buf_give_up(buf);
    }
    return p->num_bufs == n;
}

int dk_xdp_umem_open(struct dk_xdp_port *p, const struct dk_xdp_options *o)
{
    const size_t pool_bytes = o->rx_pool_bytes ? o->rx_pool_bytes : DK_FRAME_POOL_BYTES;
    p->chunk_bytes = CHUNK_BYTES;
    if (DK_XDP_HEADROOM + p->frame_max + DK_BUF_PEER_BYTES > p->chunk_bytes)
        p->chunk_bytes = CHUNK_MAX;
    /* So many bytes of frames: what the kernel keeps beside each comes on top. */
    p->bufs_each = (uint32_t)(pool_bytes / p->frame_max);
    if (p->bufs_each < 2 * DK_XDP_BURST)
        p->bufs_each = 2 * DK_XDP_BURST;
    const uint32_t n = p->workers * p->bufs_each;
    int r = reserve(p, o, (size_t)n * p->chunk_bytes);
    if (r < 0)
        return r;
    const size_t places = p->umem_bytes / p->chunk_bytes;
    p->bufs = dk_heap_zalloc(n * sizeof(struct dk_buf *)); /* freed by dk_xdp_umem_close */
    p->at = dk_heap_malloc(places * sizeof(*p->at));       /* likewise */
    if (!p->bufs || !p->at || !alloc_bufs(p, n))
        return -ENOMEM;
    memset(p->at, 0xff, places * sizeof(*p->at));
    for (uint32_t i = 0; i < n; i++)
        p->at[(size_t)(p->bufs[i]->memory - p->umem) / p->chunk_bytes] = i % p->bufs_each;
    return 0;
}

static void let_go(void *p)
{
    if (p)
        dk_heap_free(p);
}

void dk_xdp_umem_close(struct dk_xdp_port *p)
{
    for (uint32_t i = 0; i < p->num_bufs; i++)
        dk_buf_give_up(p->bufs[i]);
    let_go(p->at);
    let_go(p->bufs);
    if (!p->umem)
        return;
    dk_heap_unreserve(p->umem, p->own_bytes);
    dk_registrar_remove(&p->pin);
}

static bool open_rx(struct dk_xdp *x)
{
    x->num_bufs = x->port->bufs_each;
    x->bufs = x->port->bufs + (size_t)x->worker * x->num_bufs;
    x->spare = dk_heap_malloc(x->num_bufs * sizeof(*x->spare)); /* freed by dk_xdp_share_close */
    x->out = dk_heap_malloc(x->num_bufs * sizeof(*x->out));
    if (!x->spare || !x->out)
        return false;
    for (uint32_t i = 0; i < x->num_bufs; i++)
        x->spare[x->num_spare++] = x->num_bufs - 1 - i;
    return true;
}

static bool open_tx(struct dk_xdp *x)
{
    x->num_chunks = (uint32_t)(x->port->own_bytes / x->chunk_bytes / x->port->workers);
    x->num_ids = x->num_chunks + IDS_FOR_PIECES;
    x->chunks = x->umem + (size_t)x->worker * x->num_chunks * x->chunk_bytes;
    x->free_chunks = dk_heap_malloc(x->num_chunks * sizeof(*x->free_chunks)); /* likewise */
    x->free_ids = dk_heap_malloc(IDS_FOR_PIECES * sizeof(*x->free_ids));
    x->held = dk_heap_zalloc(x->num_ids * sizeof(struct dk_buf *));
    if (!x->free_chunks || !x->free_ids || !x->held)
        return false;
    for (uint32_t id = x->num_ids; id-- > x->num_chunks;)
        x->free_ids[x->num_free_ids++] = (uint16_t)id;
    for (uint32_t id = x->num_chunks; id-- > 0;)
        x->free_chunks[x->num_free_chunks++] = (uint16_t)id;
    return true;
}

int dk_xdp_share_open(struct dk_xdp *x)
{
    return open_rx(x) && open_tx(x) ? 0 : -ENOMEM;
}

void dk_xdp_share_close(struct dk_xdp *x)
{
    for (uint32_t id = x->num_chunks; id < x->num_ids && x->held; id++)
        if (x->held[id])
            dk_buf_put(x->held[id]);
    let_go(x->held);
    let_go(x->free_ids);
    let_go(x->free_chunks);
    let_go(x->out);
    let_go(x->spare);
}
