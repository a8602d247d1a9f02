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

static int reserve(struct dk_xdp *x, const struct dk_xdp_options *o, size_t rx_bytes)
{
    size_t bytes = o->umem_bytes ? o->umem_bytes : UMEM_BYTES;
    const size_t need = OWN_BYTES + rx_bytes + rx_bytes / 8 + APP_BYTES;
    if (bytes < need)
        bytes = need;
    x->pin = (struct dk_registrar){.name = "xdp", .map = map, .unmap = unmap};
    int r = dk_registrar_add(&x->pin);
    if (r < 0)
        return r;
    r = dk_heap_reserve(bytes, OWN_BYTES, &x->umem, &x->umem_bytes);
    if (r < 0)
        dk_registrar_remove(&x->pin);
    else
        x->own_bytes = OWN_BYTES;
    return r;
}

/* Allocates buffers that lie in the UMEM: free places elsewhere are filled on the way, and given
 * back. */
static bool alloc_bufs(struct dk_xdp *x, uint32_t n)
{
    struct dk_buf *elsewhere = NULL, *buf;
    while (x->num_bufs < n && (buf = dk_buf_alloc_device(x->chunk_bytes, 0)) != NULL) {
        if (dk_xdp_can_read(x, buf->memory, x->chunk_bytes)) {
            x->bufs[x->num_bufs++] = buf;
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
    return x->num_bufs == n;
}

static bool open_rx(struct dk_xdp *x, uint32_t n)
{
    const size_t places = x->umem_bytes / x->chunk_bytes;
    x->bufs = dk_heap_zalloc(n * sizeof(*x->bufs)); /* these are freed by dk_xdp_umem_close */
    x->spare = dk_heap_malloc(n * sizeof(*x->spare));
    x->out = dk_heap_malloc(n * sizeof(*x->out));
    x->at = dk_heap_malloc(places * sizeof(*x->at));
    if (!x->bufs || !x->spare || !x->out || !x->at || !alloc_bufs(x, n))
        return false;
    memset(x->at, 0xff, places * sizeof(*x->at));
    for (uint32_t i = 0; i < n; i++) {
        x->at[(size_t)(x->bufs[i]->memory - x->umem) / x->chunk_bytes] = i;
        x->spare[x->num_spare++] = n - 1 - i;
    }
    return true;
}

static bool open_tx(struct dk_xdp *x)
{
    x->num_chunks = (uint32_t)(x->own_bytes / x->chunk_bytes);
    x->num_ids = x->num_chunks + IDS_FOR_PIECES;
    x->free_chunks = dk_heap_malloc(x->num_chunks * sizeof(*x->free_chunks));
    x->free_ids = dk_heap_malloc(IDS_FOR_PIECES * sizeof(*x->free_ids));
    x->held = dk_heap_zalloc(x->num_ids * sizeof(*x->held));
    if (!x->free_chunks || !x->free_ids || !x->held)
        return false;
    for (uint32_t id = x->num_ids; id-- > x->num_chunks;)
        x->free_ids[x->num_free_ids++] = (uint16_t)id;
    for (uint32_t id = x->num_chunks; id-- > 0;)
        x->free_chunks[x->num_free_chunks++] = (uint16_t)id;
    return true;
}

int dk_xdp_umem_open(struct dk_xdp *x, const struct dk_xdp_options *o)
{
    const size_t pool_bytes = o->rx_pool_bytes ? o->rx_pool_bytes : DK_FRAME_POOL_BYTES;
    x->chunk_bytes = CHUNK_BYTES;
    if (DK_XDP_HEADROOM + x->frame_max + DK_BUF_PEER_BYTES > x->chunk_bytes)
        x->chunk_bytes = CHUNK_MAX;
    /* So many bytes of frames: what the kernel keeps beside each comes on top. */
    uint32_t n = (uint32_t)(pool_bytes / x->frame_max);
    if (n < 2 * DK_XDP_BURST)
        n = 2 * DK_XDP_BURST;
    int r = reserve(x, o, (size_t)n * x->chunk_bytes);
    if (r < 0)
        return r;
    return open_rx(x, n) && open_tx(x) ? 0 : -ENOMEM;
}

static void let_go(void *p)
{
    if (p)
        dk_heap_free(p);
}

void dk_xdp_umem_close(struct dk_xdp *x)
{
    for (uint32_t id = x->num_chunks; id < x->num_ids && x->held; id++)
        if (x->held[id])
            dk_buf_put(x->held[id]);
    for (uint32_t i = 0; i < x->num_bufs; i++)
        dk_buf_give_up(x->bufs[i]);
    let_go(x->held);
    let_go(x->free_ids);
    let_go(x->free_chunks);
    let_go(x->at);
    let_go(x->out);
    let_go(x->spare);
    let_go(x->bufs);
    if (!x->umem)
        return;
    dk_heap_unreserve(x->umem, x->own_bytes);
    dk_registrar_remove(&x->pin);
}
